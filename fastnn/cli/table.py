"""A table on stdout whose rows have names in any script, no wider than the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from fastnn.cli import output

NARROWEST = 8  # cells that names are left with, however narrow the terminal


def print_table(
    heads: Sequence[str],
    rows: Sequence[tuple[str, Sequence[str]]],
    *,
    gap: int = 2,
) -> None:
    """Names on the left, cut off where a terminal is too narrow, and figures right-aligned.

    `heads` are one for the names, then one for each figure. Widths are counted in cells: a Chinese
    character takes two, an accent that is combined with a letter none.
    """
    from rich.cells import cell_len

    first, *others = heads
    columns = zip(*(cells for _, cells in rows), strict=True)
    widths = [
        max(map(cell_len, [head, *column])) for head, column in zip(others, columns, strict=True)
    ]
    named = max(cell_len(first), *(cell_len(name) for name, _ in rows))
    room = output.stdout_width()
    if room is not None:
        named = min(named, max(NARROWEST, room - sum(width + gap for width in widths)))
    for name, cells in [(first, others), *rows]:
        figures = "".join(
            " " * (gap + width - cell_len(cell)) + cell
            for width, cell in zip(widths, cells, strict=True)
        )
        print(_filled(name, named) + figures)


def _filled(name: str, width: int) -> str:
    """The name in exactly so many cells."""
    from rich.cells import cell_len, set_cell_size

    if cell_len(name) > width:
        return set_cell_size(name, width - 1) + "…"
    return set_cell_size(name, width)
