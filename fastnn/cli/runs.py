"""`fastnn runs`: the runs on record, one of them, several side by side, and deleting them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fastnn.cli import output
from fastnn.cli.options import Json
from fastnn.cli.prune import prune
from fastnn.cli.run_options import Folder, Where, run_values
from fastnn.errors import ConfigError
from fastnn.training.layout import CONFIG

app = typer.Typer(no_args_is_help=True, help="List, show, compare and delete recorded runs.")


@app.command("list")
def list_runs(
    folder: Folder = Path("runs"),
    sort: Annotated[
        str,
        typer.Option(
            "--sort",
            help="time (newest first), test, valid or loss (best first), name, seconds, epochs",
        ),
    ] = "time",
    reverse: Annotated[bool, typer.Option("--reverse", help="the other way round")] = False,
    where: Where = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=0, metavar="N", help="only the first N")
    ] = None,
    json: Json = False,
) -> None:
    """The runs in DIR, and in the folders of searches there.

    In the column test, R2 where numbers are predicted. Settings and figures for --where are those
    of fastnn runs list --json.
    """
    with output.exit_codes(as_json=json):
        from fastnn.analysis.runs import find_runs
        from fastnn.analysis.selection import Condition, ordered

        conditions = [Condition.parsed(text) for text in where or ()]
        found = list(find_runs(folder))
        chosen = [run for run in found if all(condition.holds(run) for condition in conditions)]
        shown = ordered(chosen, sort, reverse=reverse)[:limit]
        if json:
            for run in shown:
                output.emit("run", run_values(run))
            output.emit("done", {"found": len(found), "shown": len(shown)})
            return
        from fastnn.cli.run_table import print_runs

        if shown:
            print_runs(shown, f"{folder}/")
        for run in shown:
            if run.problem:
                output.note(output.one_line(f"{run.name}: {run.problem}"))
        if len(shown) < len(found):
            output.note(f"{len(shown):,} of {len(found):,} runs")
        elif not found:
            one = (folder / CONFIG).exists()
            output.note(
                f"{folder} is a run itself: see fastnn runs show {folder}" if one
                else f"no runs in {folder}"
            )  # fmt: skip


@app.command()
def show(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="run folder")], json: Json = False
) -> None:
    """What is on record about RUN: figures, curves, settings, environment, files."""
    with output.exit_codes(as_json=json):
        from fastnn.analysis.runs import open_folder
        from fastnn.cli.run_pages import folder_sizes, print_run

        found = open_folder(run)
        sizes, fingerprint = folder_sizes(run), found.fingerprint()
        if json:
            values = {"environment": found.environment, "files": sizes, "fingerprint": fingerprint}
            output.emit("done", run_values(found) | values)
        else:
            print_run(found, fingerprint, sizes)


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="two run folders or more")],
    json: Json = False,
) -> None:
    """Only what differs between runs, and which is best in each figure."""
    with output.exit_codes(as_json=json):
        from dataclasses import asdict

        from fastnn.analysis.comparison import Comparison
        from fastnn.analysis.runs import open_folder
        from fastnn.cli.run_pages import print_comparison

        if len(runs) < 2:
            raise ConfigError("RUN: found one run to compare; name another")
        found = [open_folder(run) for run in runs]
        comparison = Comparison.of(found)
        if comparison.same_data is False:
            output.warn("not trained on the same data: the fingerprints differ")
        elif comparison.same_data is None:
            output.note("whether they were trained on the same data is unknown")
        if json:
            for run in found:
                output.emit("run", run_values(run))
            output.emit("done", asdict(comparison))
            return
        print_comparison(found, comparison, output.stdout_width() or 10**6)


app.command("prune")(prune)
