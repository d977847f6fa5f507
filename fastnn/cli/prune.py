"""`fastnn runs prune`: runs that fit every criterion, shown, and deleted where asked for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fastnn.cli import output
from fastnn.cli.options import Json
from fastnn.cli.run_options import Folder, Where
from fastnn.errors import OutputError

if TYPE_CHECKING:
    from fastnn.analysis.runs import Run


def prune(
    folder: Folder = Path("runs"),
    keep_best: Annotated[
        int | None,
        typer.Option(
            "--keep-best",
            min=0,
            metavar="N",
            help="all but the N with the best validation accuracy (for numbers: loss) of each data "
            "set, among those that --where leaves. Not by test figures: chosen by them, the runs "
            "that stay would look better than they are",
        ),
    ] = None,
    older_than: Annotated[
        str | None,
        typer.Option(
            "--older-than", metavar="TIME", help="began longer ago than this: 30d, 2w, 12h"
        ),
    ] = None,
    broken: Annotated[bool, typer.Option("--broken", help="files are damaged or missing")] = False,
    unfinished: Annotated[
        bool, typer.Option("--unfinished", help="stopped before the end, or before the first save")
    ] = False,
    where: Where = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="delete them, instead of showing them")
    ] = False,
    json: Json = False,
) -> None:
    """Show which runs in DIR fit every criterion given; with --yes, delete them.

    Never deleted: runs that are being trained, links, and folders that hold any file that is not
    a run's own, such as predictions. Its report and pictures of the names that fastnn plot gives
    are its own.
    """
    with output.exit_codes(as_json=json):
        from datetime import datetime

        from fastnn.analysis import pruning
        from fastnn.analysis.runs import find_runs
        from fastnn.analysis.selection import Condition

        criteria = pruning.Criteria(
            [Condition.parsed(text) for text in where or ()],
            keep_best,
            None if older_than is None else pruning.seconds(older_than),
            broken,
            unfinished,
        )
        chosen = criteria.chosen(find_runs(folder), datetime.now().astimezone())
        sizes = {run.path: pruning.size(run.path) for run in chosen}
        stay = {run.path: pruning.refusal(run.path, folder) for run in chosen}
        failed = _finish_others(folder) if yes else 0
        for run in chosen:
            if yes and not stay[run.path]:
                try:
                    pruning.remove(run, folder)
                except OutputError as error:
                    stay[run.path] = str(error)
                    failed += 1
            _tell(run, sizes[run.path], stay[run.path], yes, json)
        going = [path for path, reason in stay.items() if not reason]
        freed = sum(sizes[path] for path in going)
        if json:
            output.emit("done", {"runs": len(going), "bytes": freed, "deleted": yes})
        else:
            _conclude(len(going), freed, yes)
        if failed:
            raise OutputError(f"{failed} of the folders could not be deleted: see above")


def _finish_others(folder: Path) -> int:
    """Complete what an interrupted prune began; how many could not be."""
    from fastnn.analysis import pruning

    failed = 0
    for path in pruning.remains(folder):
        try:
            pruning.finish(path)
            output.note(f"removed {path}, left by a prune that was interrupted", wrap=False)
        except OutputError as error:
            output.warn(str(error))
            failed += 1
    return failed


def _tell(run: Run, size: int, reason: str, yes: bool, as_json: bool) -> None:
    """One line about a run: on stdout if it goes, on stderr if it stays."""
    from fastnn.cli.run_pages import bytes_text
    from fastnn.cli.run_table import validation

    if as_json:
        values = {"path": str(run.path), "state": run.state, "bytes": size, "stays": reason or None}
        output.emit("run", values | {"deleted": yes and not reason})
    elif reason:
        output.note(output.one_line(f"{run.name} stays: {reason}"))
    else:
        name = output.one_line(run.name)
        print(f"{bytes_text(size):>11}  {run.state:8}  {validation(run):>7}  {name}")


def _conclude(count: int, freed: int, yes: bool) -> None:
    from fastnn.cli.run_pages import bytes_text

    what = f"{count:,} run{'' if count == 1 else 's'}, {bytes_text(freed)}"
    if yes:
        output.note(f"deleted {what}")
    elif count:
        output.note(f"would delete {what}; nothing was, add --yes to do it")
    else:
        output.note("no run would go")
