"""How every picture of fastnn looks and is saved: one paper, one frame, the same bytes each time.

Figures are made without pyplot, and nothing global is changed: neither state nor settings.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastnn.analysis.palette import FAINT, GRID, INK, PAPER
from fastnn.analysis.wording import told_apart
from fastnn.errors import ConfigError, require

SUFFIXES = (".png", ".svg", ".pdf")
DOTS = 150  # an inch, in a .png
WIDTH = 7.2  # inches: 1080 dots; letters of 9 points are readable where a page shows it at 600
TITLE, BODY, SMALL = 12.5, 9.5, 8.5  # points

_MARGIN = 0.14  # inches around everything


def require_matplotlib() -> None:
    """ConfigError, before anything is computed, where a picture could not be drawn."""
    require("matplotlib", "matplotlib", "pictures")


def suffix_of(path: Path) -> str:
    """The format that a picture's name asks for, or ConfigError."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ConfigError(f"plot: {str(path)!r} must end with {', '.join(SUFFIXES)}")
    return suffix


def new_figure(
    height: float, title: str, note: str = "", *, width: float = WIDTH, layout: str = "constrained"
) -> Any:
    """A matplotlib Figure: title and note above, then `height` inches for what it shows.

    With another `layout` than constrained, axes are placed by whoever draws.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    room = width - 2 * _MARGIN
    titles = _wrapped(title, room, TITLE, "bold")
    notes = [part for line in note.splitlines() for part in _wrapped(line, room, SMALL)]
    header = _MARGIN + 0.24 * len(titles) + 0.17 * len(notes) + 0.1
    total = height + header
    paper = Figure(figsize=(width, total), facecolor=PAPER)
    at = total - _MARGIN
    for block, size, step, colour, weight in (
        (titles, TITLE, 0.24, INK, "bold"),
        (notes, SMALL, 0.17, FAINT, "normal"),
    ):
        for line in block:
            paper.text(
                _MARGIN / width, at / total, line, size=size, va="top", color=colour, weight=weight
            )
            at -= step
    if layout == "constrained":
        side, low = _MARGIN / width, 0.08 / total
        rect = (side, low, 1 - 2 * side, height / total - low)
        paper.set_layout_engine(ConstrainedLayoutEngine(rect=rect))
    return paper


def frame(axes: Any, *, grid: str = "both") -> None:
    """Axes as all plots have them: a faint grid behind, no ticks, no box."""
    axes.tick_params(which="both", labelsize=SMALL, length=0, pad=4, colors=FAINT)
    for axis in (axes.xaxis, axes.yaxis):
        axis.label.set(size=BODY, color=INK)
    if grid:
        axes.grid(axis=grid, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(GRID)


def finished(paper: Any) -> Any:
    """The same figure with every text taken as it is: a class may be called $x$."""
    from matplotlib.text import Text

    for text in paper.findobj(Text):
        text.set_parse_math(False)
    return paper


def rendered(paper: Any, suffix: str) -> bytes:
    """A figure as a file's bytes, in the format that the suffix names."""
    import matplotlib as mpl

    file = io.BytesIO()
    metadata = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(suffix, {})
    # Letters as outlines: an SVG then looks the same without the font. No date: the same bytes.
    settings = {"svg.fonttype": "path", "svg.hashsalt": "fastnn"}
    with mpl.rc_context(settings), boxes_for_missing_letters():
        paper.savefig(file, format=suffix[1:], dpi=DOTS, metadata=metadata)
    return file.getvalue()


def one_line(text: str) -> str:
    """Without line breaks and other signs that no font can show."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())


def width_of(text: str, size: float, weight: str = "normal") -> float:
    """Inches that a line takes, and a little more: a .png rounds the place of each letter."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    with boxes_for_missing_letters():
        points, _, _ = text_to_path.get_text_width_height_descent(
            text, FontProperties(size=size, weight=weight), ismath=False
        )
    return 1.03 * float(points) / 72


def fitted(name: str, inches: float, size: float, weight: str = "normal") -> str:
    """A name as one line no wider than this: as much of its middle is left out as must be."""
    line = whole = one_line(name)
    width = width_of(whole, size, weight)
    kept = len(whole) if width <= inches else min(len(whole), int(len(whole) * inches / width) + 4)
    while kept > 2 and width_of(line, size, weight) > inches:
        kept -= 1
        tail = (kept - 1) // 3
        line = f"{whole[: kept - 1 - tail].rstrip()}…{whole[len(whole) - tail :].lstrip()}"
    return line


def fitted_apart(names: Sequence[str], inches: float, size: float) -> list[str]:
    """Names no wider than this, which can be told apart."""
    return told_apart(names, lambda name: fitted(name, inches, size))


def _wrapped(text: str, inches: float, size: float, weight: str = "normal") -> list[str]:
    """Lines of whole words, none wider than this."""
    lines: list[str] = []
    for word in one_line(text).split():
        longer = f"{lines[-1]} {word}" if lines else ""
        if longer and width_of(longer, size, weight) <= inches:
            lines[-1] = longer
        else:
            lines.append(fitted(word, inches, size, weight))
    return lines


@contextmanager
def boxes_for_missing_letters() -> Iterator[None]:
    """A letter that the font lacks becomes a box, which says it well enough without a warning."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def spread(wanted: list[float], gap: float) -> list[float]:
    """Positions near the wanted ones, in their order and at least `gap` apart.

    Neighbours that are too close become a block around their common mean; blocks that then touch
    are joined.
    """
    order = sorted(range(len(wanted)), key=lambda n: wanted[n])
    blocks: list[list[int]] = []

    def bottom(block: list[int]) -> float:
        mean = sum(wanted[n] for n in block) / len(block)
        return mean - gap * (len(block) - 1) / 2

    for n in order:
        blocks.append([n])
        while len(blocks) > 1 and bottom(blocks[-1]) - (
            bottom(blocks[-2]) + gap * (len(blocks[-2]) - 1)
        ) < gap * (1 - 1e-9):
            last = blocks.pop()
            blocks[-1] += last
    placed = [0.0] * len(wanted)
    for block in blocks:
        for step, n in enumerate(block):
            placed[n] = bottom(block) + gap * step
    return placed
