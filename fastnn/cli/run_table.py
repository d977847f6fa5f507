"""Runs as a table: a line each, as wide as the terminal lets it be, and whole in a file."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import typer

from fastnn.cli import output
from fastnn.cli.output import one_line
from fastnn.cli.sparkline import ASCII_BARS, BARS, sparkline
from fastnn.cli.terminal import can_encode

if TYPE_CHECKING:
    from fastnn.analysis.runs import Run

_CURVE = 12  # bars
_COLOURS = {"finished": "green", "running": "cyan", "stopped": "yellow", "broken": "red"}
_SHORTEST = 12  # what is left of a name at least


class Column(NamedTuple):
    """What a column is called, how soon it goes where there is no room, and its cells."""

    title: str
    importance: int
    cell: Callable[[Run], str]
    right: bool = True
    width: int = 0  # known before its cells are, which take long; 0 for as wide as those are


def print_runs(runs: Sequence[Run], title: str) -> None:
    """One line a run on stdout; `title` stands above their names.

    In a terminal the least important columns go until a line fits, then names are cut.
    """
    from rich.cells import cell_len
    from rich.console import Console

    console = Console()
    columns = [Column(one_line(title), 10, lambda run: run.name, right=False), *_COLUMNS]
    cells = [
        [] if column.width else [one_line(column.cell(run)) for run in runs] for column in columns
    ]
    widths = [
        column.width or max(map(cell_len, [column.title, *texts]))
        for column, texts in zip(columns, cells, strict=True)
    ]
    shown = list(range(len(columns)))
    if console.is_terminal:
        widths[0] = max(_SHORTEST, *map(cell_len, cells[0]))  # a long title takes no column's room
        shown, widths = _fitted(columns, widths, console.width)
    colour = console.color_system is not None and not console.no_color
    print(_line([_cut(columns[n].title, widths[n]) for n in shown], shown, columns, widths))
    for row, run in enumerate(runs):
        texts = [
            _cut(cells[n][row], widths[n]) if cells[n] else columns[n].cell(run) for n in shown
        ]
        line = _line(texts, shown, columns, widths)
        state = _COLOURS.get(run.state)
        if colour and state and line.endswith(run.state):
            line = line.removesuffix(run.state) + typer.style(run.state, fg=state)
        print(line)


def curve(values: Sequence[float | None], width: int = _CURVE) -> str:
    """A sparkline in signs that stdout can show."""
    drawn = can_encode(sys.stdout.encoding or "ascii", BARS)
    return sparkline(values, width, BARS if drawn else ASCII_BARS)


def validation(run: Run) -> str:
    """The accuracy of the best epoch; where numbers are predicted, its loss."""
    figures = run.figures
    if run.classifies or "valid_accuracy" in figures:
        return output.percent(figures.get("valid_accuracy"))
    loss = figures.get("valid_loss")
    return "-" if loss is None else f"loss {loss:.4f}"


def network(run: Run) -> str:
    """The widths of the hidden layers."""
    return "-".join(map(str, run.settings["hidden"])) or "linear"


def epochs(run: Run) -> str:
    """How many epochs are done, of how many."""
    return f"{run.figures['epochs_done']}/{run.settings['epochs']}"


def started(run: Run) -> str:
    """When it began, to the minute."""
    return "-" if run.started is None else run.started.strftime("%Y-%m-%d %H:%M")


def _tested(run: Run) -> str:
    r2 = run.figures.get("test_r2")
    return output.percent(run.figures.get("test_accuracy")) if r2 is None else f"R2 {r2:.4f}"


def _seconds(run: Run) -> str:
    return f"{run.figures['seconds']:.1f}"


def _losses(run: Run) -> str:
    return curve([report.valid_loss for report in run.history])


def _dataset(run: Run) -> str:
    return run.dataset


def _state(run: Run) -> str:
    return run.state


_COLUMNS = (
    Column("began", 1, started),
    Column("data", 3, _dataset, right=False),
    Column("hidden", 6, network, right=False),
    Column("epochs", 5, epochs),
    Column("valid", 9, validation),
    Column("test", 8, _tested),
    Column("seconds", 2, _seconds),
    Column("valid loss", 4, _losses, right=False, width=_CURVE),
    Column("state", 7, _state, right=False),
)


def _fitted(
    columns: Sequence[Column], widths: Sequence[int], width: int
) -> tuple[list[int], list[int]]:
    """Which columns are shown, and every column's width."""
    shown, cut = list(range(len(columns))), list(widths)

    def excess() -> int:
        return sum(cut[n] for n in shown) + 2 * (len(shown) - 1) - width

    for least in range(1, 7):
        if excess() > 0:
            shown = [n for n in shown if columns[n].importance != least]
    cut[0] = max(_SHORTEST, cut[0] - max(0, excess()))
    while excess() > 0 and len(shown) > 1:
        shown.remove(min(shown, key=lambda n: columns[n].importance))
    return shown, cut


def _line(
    texts: Sequence[str], shown: Sequence[int], columns: Sequence[Column], widths: Sequence[int]
) -> str:
    """Texts beside each other, each as wide as its column."""
    from rich.cells import cell_len

    parts = []
    for n, text in zip(shown, texts, strict=True):
        space = " " * (widths[n] - cell_len(text))
        parts.append(space + text if columns[n].right else text + space)
    return "  ".join(parts).rstrip()


def _cut(text: str, width: int) -> str:
    """The end of a text, which tells more of a name than its beginning."""
    from rich.cells import cell_len

    if cell_len(text) <= width:
        return text
    while cell_len(text) > width - 2:
        text = text[1:]
    return ".." + text
