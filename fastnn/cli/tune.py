"""`fastnn tune`: from a space of settings to the best of them, recorded and trained once more."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastnn.cli import output
from fastnn.cli.options import Json, layered, with_settings
from fastnn.errors import ConfigError
from fastnn.training.halving import Halving

if TYPE_CHECKING:
    from fastnn.data.examples import Dataset
    from fastnn.training.config import TrainConfig
    from fastnn.training.trials import Outcome
    from fastnn.training.tune import Search, Tuned

_USUAL = Halving()
_RESUMABLE = {"trials", "device", "threads"}
_ROWS = 10  # of the table, at most


@with_settings()
def tune(
    given: Mapping[str, Any],
    space: Annotated[
        Path | None,
        typer.Argument(
            metavar="SPACE",
            help="TOML file: learning_rate = { log = [1e-4, 1e-2] }, "
            "dropout = { uniform = [0, 0.5] }, batch_size = [64, 128], weight_decay = 0.05, ...",
        ),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option("--trials", help=f"how many settings are drawn [default: {_USUAL.trials}]"),
    ] = None,
    factor: Annotated[
        int | None,
        typer.Option(
            "--factor",
            help=f"the best 1/FACTOR train FACTOR times as long [default: {_USUAL.factor}]",
        ),
    ] = None,
    min_epochs: Annotated[
        int | None,
        typer.Option(
            "--min-epochs",
            help=f"each trial trains so long at least [default: {_USUAL.min_epochs}]",
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option("--recipe", metavar="NAME_OR_FILE", help="settings that SPACE does not name"),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", metavar="FILE", help="the same, as .toml or a run's config.json"),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="where the search's folder goes [default: runs]"),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            "--resume",
            metavar="SEARCH",
            help="go on with this search; only --trials, --device and --threads may change",
        ),
    ] = None,
    refit: Annotated[
        bool, typer.Option("--refit/--no-refit", help="train the best settings once more, recorded")
    ] = True,
    json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="no progress on stderr")] = False,
) -> None:
    """Search SPACE for the settings with the best validation accuracy; for numbers, least loss.

    All trials train for a few epochs, the best third for three times as many, and so on up to
    --epochs. The test part is never read. SPACE's table [search] may hold trials, factor and
    min_epochs; options count before it.
    """
    halving = {"trials": trials, "factor": factor, "min_epochs": min_epochs}
    asked = {**given, **{name: value for name, value in halving.items() if value is not None}}
    with output.exit_codes(as_json=json):
        from fastnn.cli.progress import Progress

        if resume is None:
            if space is None:
                raise ConfigError("SPACE: name a TOML file of settings to draw, or --resume SEARCH")
            search = _start(space, recipe, config, asked, quiet)
            folder = search.record_below(out or Path("runs"))
        else:
            others = {"space": space, "recipe": recipe, "config": config, "out": out}
            taken = [key for key, value in others.items() if value is not None]
            search = _resume(resume, asked, taken, quiet)
            folder = resume
        _announce(search, folder, json, quiet)

        def report(outcome: Outcome) -> None:
            if json:
                output.emit("trial", asdict(outcome))
            if not quiet:
                output.note(_line(outcome, search))

        progress = [] if quiet else [Progress(search.data, output.stderr_console())]
        tuned = search.run(refit=refit, report=report, callbacks=progress)
        if json:
            output.emit("done", _summary(tuned))
        else:
            _print(tuned, search.space.varied)


def _start(
    space: Path, recipe: str | None, config: Path | None, given: dict[str, Any], quiet: bool
) -> Search:
    from fastnn.training.space import Space
    from fastnn.training.tune import Search

    drawn = Space.from_file(space)
    asked = {name: given.pop(name) for name in asdict(_USUAL) if name in given}
    return Search(drawn, layered(recipe, config, given), asked, _loader(quiet))


def _resume(path: Path, given: dict[str, Any], taken: list[str], quiet: bool) -> Search:
    from fastnn.training.tune import Search

    taken += sorted(given.keys() - _RESUMABLE)
    if taken:
        raise ConfigError(
            f"--resume takes its settings from the search: {', '.join(taken)} cannot be changed, "
            f"only {', '.join(sorted(_RESUMABLE))}"
        )
    return Search.from_folder(path, **given, load=_loader(quiet))


def _loader(quiet: bool) -> Callable[[TrainConfig], Dataset]:
    from fastnn.cli.progress import download_bar
    from fastnn.training.run import load_data

    def load(config: TrainConfig) -> Dataset:
        with download_bar(quiet) as progress:
            return load_data(config, warn=output.warn, progress=progress)

    return load


def _announce(search: Search, folder: Path, as_json: bool, quiet: bool) -> None:
    """What is about to be trained, and where it is recorded."""
    if as_json:
        values = {"dataset": search.data.name, "device": str(search.backend)}
        output.emit("start", values | {"rungs": search.rungs, "search": str(folder)})
    if not quiet:
        rungs = ", then ".join(f"{trials} x {_plural(span)}" for trials, span in search.rungs)
        output.note(f"{search.data.name} on {search.backend}: {rungs}")
        output.note(f"search {folder}", wrap=False)


def _line(outcome: Outcome, search: Search) -> str:
    """One finished training in a line."""
    done = len(search.outcomes)
    drawn = ", ".join(f"{key} {_cell(outcome, key)}" for key in search.space.varied)
    words = [f"{done}/{search.total}", f"trial {outcome.trial}", _plural(outcome.epochs)]
    if outcome.status == "ok":
        words += [f"val {output.loss_text(outcome.valid_loss)}"]
        if outcome.valid_accuracy is not None:
            words += [f"acc {output.percent(outcome.valid_accuracy)}"]
    else:
        words += [outcome.status]
    words += [f"{outcome.seconds:.1f} s", drawn]
    return "  ".join(words) + (f"  ({outcome.message})" if outcome.message else "")


def _plural(epochs: int) -> str:
    return f"{epochs} epoch" + ("" if epochs == 1 else "s")


def _summary(tuned: Tuned) -> dict[str, Any]:
    """The final figures as plain values."""
    run = None if tuned.result is None else tuned.result.folder
    return {
        "search": str(tuned.folder),
        "trial": tuned.best.trial,
        "epochs": tuned.best.epochs,
        "valid_accuracy": tuned.best.valid_accuracy,
        "valid_loss": tuned.best.valid_loss,
        "settings": tuned.best.settings,
        "run": None if run is None else str(run),
    }


def _print(tuned: Tuned, columns: list[str]) -> None:
    """The best trials as a table, the best settings as TOML, and what to do next."""
    rows = tuned.outcomes[:_ROWS]
    widths = {key: max(len(key), *(len(_cell(row, key)) for row in rows)) for key in columns}
    names = "  ".join(f"{key:>{widths[key]}}" for key in columns)
    print(f"rank  trial  epochs  accuracy      loss  {names}")
    for rank, row in enumerate(rows, start=1):
        figures = f"{output.percent(row.valid_accuracy):>8}  {output.loss_text(row.valid_loss):>8}"
        drawn = "  ".join(f"{_cell(row, key):>{widths[key]}}" for key in columns)
        ended = "" if row.status == "ok" else f"  {row.status}"
        print(f"{rank:>4}  {row.trial:>5}  {row.epochs:>6}  {figures}  {drawn}{ended}")
    if len(tuned.outcomes) > _ROWS:
        print(f"and {len(tuned.outcomes) - _ROWS} more in {tuned.folder}")
    print(f"\n# trial {tuned.best.trial}: settings for fastnn train --config FILE")
    print(tuned.config.to_toml(), end="")
    if tuned.result is not None:
        print(f"\nrun   {tuned.result.folder}")
        output.note("the search never read the test part. To score the run on it, once:")
        output.note(f"fastnn evaluate {tuned.result.folder}", wrap=False)
        output.note("(--test-data FILE names one where the data have no test part)")


def _cell(outcome: Outcome, key: str) -> str:
    value = outcome.settings[key]
    if isinstance(value, list):
        return ",".join(map(str, value)) or "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
