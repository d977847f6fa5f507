"""A picture beside bars of its classes' probabilities: what `fastnn predict` shows to people."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from fastnn.cli.output import percent
from fastnn.cli.pictures import drawing
from fastnn.cli.terminal import can_print, cells, columns, plain, width_of

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from rich.console import Console
    from rich.text import Text

_GAP = 2
_PERCENT = len("100.00 %")
_BAR = (6, 40)  # cells, at least and at most
_LEAST = 24  # cells beside a picture; in fewer, bars stand below it
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def print_guesses(
    console: Console,
    title: str,
    picture: NDArray[Any] | None,
    guesses: Sequence[tuple[str, float]],
    remark: str = "",
    named: int = 0,
) -> None:
    """Draw a picture (height, width) or (height, width, 3), and beside it (class, probability).

    Names take at least `named` cells, so that the bars of several pictures can be compared.
    """
    from rich.text import Text

    whole = columns(console)
    drawn = [] if picture is None else drawing(console, _shrunk(picture, whole // 2))
    left = drawn[0].cell_len + _GAP if drawn else 0
    room = whole - left
    if room < _LEAST:
        left, room = 0, whole
    lines = [
        Text(_end_of(plain(console, title), room), "bold"),
        *_bars(console, guesses, room, named),
    ]
    if remark:
        lines.append(Text(cells(remark, min(room, len(remark)))))
    if left:
        blank = Text()
        for beside, line in zip_longest(drawn, lines, fillvalue=blank):
            padding = " " * (left - beside.cell_len) if line else ""
            console.print(Text.assemble(beside, padding, line), soft_wrap=True)
    else:
        for line in (*drawn, *lines):
            console.print(line, soft_wrap=True)
    console.print()


def _bars(
    console: Console, guesses: Sequence[tuple[str, float]], room: int, named: int
) -> list[Text]:
    """A line a class: name, bar, percentage; the first stands out."""
    from rich.text import Text

    names = [plain(console, name) for name, _ in guesses]
    spare = room - _PERCENT - _GAP
    column = min(max(named, *map(width_of, names)), max(1, spare - _GAP - _BAR[0]))
    width = min(_BAR[1], spare - column - _GAP)
    lines = []
    for rank, (name, (_, probability)) in enumerate(zip(names, guesses, strict=True)):
        line = Text(cells(name, column), "bold" if rank == 0 else "")
        if width >= _BAR[0]:
            bar = cells(_bar(probability, width, console), width)
            line.append(" " * _GAP + bar, "not bold cyan" if rank == 0 else "dim")
        line.append(f"{percent(probability):>{_PERCENT + _GAP}}")
        lines.append(line)
    return lines


def _bar(share: float, width: int, console: Console) -> str:
    if not can_print(console, _EIGHTHS):
        return "#" * round(share * width)
    whole, rest = divmod(round(share * width * 8), 8)
    return _EIGHTHS[-1] * whole + _EIGHTHS[rest].strip()


def _shrunk(picture: NDArray[Any], width: int) -> NDArray[Any]:
    """A picture no wider than so many pixels: each the mean of a square of them."""
    import numpy as np

    side = -(-picture.shape[1] // max(1, width))
    if side == 1:
        return picture
    excess = [(0, -size % side) for size in picture.shape[:2]] + [(0, 0)] * (picture.ndim - 2)
    filled = np.pad(picture, excess, mode="edge")
    height, width, *colours = filled.shape
    squares = filled.reshape(height // side, side, width // side, side, *colours)
    means: NDArray[np.uint8] = squares.mean(axis=(1, 3)).astype(np.uint8)
    return means


def _end_of(text: str, width: int) -> str:
    """A path that is too long shows its end."""
    while width_of(text) > width:
        text = text[1:]
    return text
