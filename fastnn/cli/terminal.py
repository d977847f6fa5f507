"""What a terminal can show: whether it is one, which signs it knows, how wide a text is in it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from fastnn.cli.output import one_line

if TYPE_CHECKING:
    from rich.console import Console


def redraws(console: Console) -> bool:
    """Whether lines can be drawn over there; FORCE_COLOR alone does not make a file a terminal."""
    return console.file.isatty() and not console.is_dumb_terminal


def columns(console: Console) -> int:
    """The cells of a line. rich takes any dumb terminal to have 80."""
    if console.is_dumb_terminal and console.file.isatty():
        return os.get_terminal_size(console.file.fileno()).columns or console.width
    return console.width


def can_print(console: Console, signs: str) -> bool:
    """Whether the console's encoding has all of these signs."""
    return can_encode(console.encoding, signs)


def can_encode(encoding: str, signs: str) -> bool:
    """Whether an encoding has all of these signs."""
    try:
        signs.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def plain(console: Console, text: str) -> str:
    """Text on one line without control characters, and without what the encoding lacks."""
    return one_line(text).encode(console.encoding, "backslashreplace").decode(console.encoding)


def cells(text: str, width: int) -> str:
    """Text filled or cut to so many cells, of which a letter may take two."""
    from rich.cells import set_cell_size

    return set_cell_size(text, width)


def width_of(text: str) -> int:
    """The cells that a text takes."""
    from rich.cells import cell_len

    return cell_len(text)
