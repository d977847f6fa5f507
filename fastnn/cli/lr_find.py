"""`fastnn lr-find`: a learning rate for a network and its data, found in a few hundred steps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastnn.cli import output
from fastnn.cli.options import ConfigFile, Json, Recipe, layered, with_settings

if TYPE_CHECKING:
    from fastnn.training.lr_find import RangeTest


@with_settings(
    "epochs", "learning_rate", "schedule", "warmup", "schedule_every", "schedule_factor",
    "patience", "max_time", "target_accuracy", "ema", "flip_test", "save_every",
)  # fmt: skip
def lr_find(
    given: Mapping[str, Any],
    recipe: Recipe = None,
    config: ConfigFile = None,
    start: Annotated[float, typer.Option("--start", help="first learning rate")] = 1e-6,
    end: Annotated[float, typer.Option("--end", help="last one, if the loss allows")] = 10.0,
    steps: Annotated[int, typer.Option("--steps", help="steps from the first to the last")] = 200,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="picture: .png, .svg or .pdf")
    ] = None,
    json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="no progress on stderr")] = False,
) -> None:
    """Suggest a learning rate: raise it step by step until the loss explodes.

    The suggestion is a tenth of the rate at which the smoothed loss was least. Reads only what a
    run would learn from, and leaves nothing behind.
    """
    with output.exit_codes(as_json=json):
        from fastnn.analysis.style import require_matplotlib, suffix_of
        from fastnn.cli.progress import download_bar
        from fastnn.training import lr_find as finding
        from fastnn.training.run import load_data

        if out is not None:  # before anything is measured
            suffix_of(out)
            require_matplotlib()
        settings = layered(recipe, config, given)
        with download_bar(quiet) as progress:
            data = load_data(settings, warn=output.warn, progress=progress)
        found = finding.lr_find(settings, data=data, start=start, end=end, steps=steps)
        if json:
            output.emit("done", {"dataset": data.name} | found.summary())
        else:
            print(f"{found.suggestion:.2g}")
        if not quiet:
            _explain(found)
        if out is not None:
            from fastnn.analysis.plots import learning_rates
            from fastnn.analysis.style import rendered
            from fastnn.training.checkpoint import write_atomically

            network = "-".join(map(str, (data.schema.width, *settings.hidden, data.schema.outputs)))
            title = f"{data.name}, {network}, {settings.optimizer}, batch {settings.batch_size}"
            write_atomically(out, rendered(learning_rates(found, title), suffix_of(out)))
            output.note(f"written: {out}", wrap=False)


def _explain(found: RangeTest) -> None:
    """How the number came about, on stderr."""
    output.note(
        f"suggested: {found.suggestion:.2g}, a tenth of {found.rate_of_least:.2g}, where the "
        f"smoothed loss was least ({min(found.smoothed):.4f}, {found.smoothed[0]:.4f} at first)"
    )
    if found.exploded:
        output.note(f"the loss exploded at {found.rates[-1]:.2g}, after {len(found.rates)} steps")
    else:
        output.note(
            f"the loss did not explode up to {found.rates[-1]:.2g}: see a larger --end, too"
        )
