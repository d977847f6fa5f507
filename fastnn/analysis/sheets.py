"""Sheets of images: examples with their labels, mistakes, answers class by class, and weights.

Each function returns a matplotlib Figure. A sheet is one pair of axes in inches from the upper
left, so that hundreds of images on it stay quick to draw and evenly spaced. Images are (N, H, W),
or (N, H, W, 3), uint8; what makes them of a data set's rows is `as_images`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnn.analysis.evaluation import Evaluation
from fastnn.analysis.palette import DIVERGING, FAINT, GREY, GRID, INK, RIGHT, WRONG
from fastnn.analysis.style import (
    BODY,
    DOTS,
    SMALL,
    WIDTH,
    finished,
    fitted,
    new_figure,
    one_line,
    width_of,
)
from fastnn.analysis.wording import sure_text
from fastnn.data.examples import picture_shape
from fastnn.errors import ConfigError

MOST_CLASSES = 60  # of more classes, the first get a row: a sheet has an end

Images = NDArray[np.uint8]
Codes = NDArray[np.integer]

_EDGE = 0.14  # inches on all sides, as `new_figure` has for its title
_GAP = 0.1
_TINY = 7.5  # points, for what stands below small images
_NAME_ROOM = 1.3  # inches for the name of a row
_LINE = 0.155  # inches from one line of small print to the next
_SIGNS = {True: ("✓", RIGHT), False: ("✗", WRONG)}


def as_images(inputs: NDArray[Any], shape: tuple[int, ...]) -> Images:
    """Rows (N, D) as images; ConfigError where they are none."""
    picture = picture_shape(shape)
    if picture is None or inputs.dtype != np.uint8:
        raise ConfigError(
            f"these examples are no images but {inputs.dtype} of shape {shape}; expected bytes of "
            "shape (height, width) or (height, width, 3)"
        )
    return inputs.reshape(-1, *picture)


def samples(evaluation: Evaluation, images: Images, *, count: int = 20, note: str = "") -> Any:
    """The first examples, each with what was predicted and what is true."""
    shown = min(count, evaluation.count)
    right = int(evaluation.right[:shown].sum())
    across = min(shown, 5) or 1
    side = (WIDTH - 2 * _EDGE - 4 * _GAP) / 5
    pitch = side * _aspect(images) + 2 * _LINE + 0.2
    width = max(across * (side + _GAP) - _GAP + 2 * _EDGE, 4.4)
    title = f"Predicted and true: {right} of the first {shown} right"
    sheet = _Sheet(pitch * -(-shown // across) - 0.2, title, note, width=width)
    names = evaluation.class_names
    for n in range(shown):
        x, y = _EDGE + n % across * (side + _GAP), n // across * pitch
        below = sheet.image(images[n], x, y, side) + 0.05
        sign, colour = _SIGNS[bool(evaluation.right[n])]
        said = f"{sign} {names[evaluation.predicted[n]]}"
        sheet.text(x, below, said, room=side, color=colour, weight="bold")
        true = f"true: {names[evaluation.codes[n]]}"
        sheet.text(x, below + _LINE, true, room=side, color=FAINT)
    return sheet.done()


def contact_sheet(
    images: Images, codes: Codes, class_names: Sequence[str], *, per_class: int = 12,
    note: str = "", title: str = "",
) -> Any:  # fmt: skip
    """The first images of each class, a row a class with its name before."""
    shown, note = _first_classes(len(class_names), note)
    margin = _name_width(class_names[:shown])
    side = (WIDTH - 2 * _EDGE - margin + 0.04) / per_class - 0.04
    side = min(side, 0.9)
    pitch = side * _aspect(images) + 0.04
    title = title or f"{len(class_names)} classes, the first {per_class} examples of each"
    sheet = _Sheet(pitch * shown, title, note)
    for code in range(shown):
        y = code * pitch
        sheet.name(class_names[code], y + pitch / 2 - 0.02)
        for place, row in enumerate(np.flatnonzero(codes == code)[:per_class]):
            sheet.image(images[row], _EDGE + margin + place * (side + 0.04), y, side)
    return sheet.done()


def mistakes(evaluation: Evaluation, images: Images, *, count: int = 12, note: str = "") -> Any:
    """The most confident mistakes, each with the probabilities of its three likeliest classes.

    Where the true class is not among them, it has the third's place.
    """
    rows = evaluation.mistakes(count)
    wrong = int((~evaluation.right).sum())
    title = f"The {len(rows)} most confident of {wrong:,} mistakes" if len(rows) else "No mistakes"
    side, pitch = 0.95, max(0.95 * _aspect(images), 0.88) + 0.22
    sheet = _Sheet(
        max(pitch * -(-len(rows) // 2) - 0.22, 0.0), title,
        f"{note}\n✗ what was predicted, ✓ what is true" if len(rows) else note,
    )  # fmt: skip
    column = (WIDTH - 2 * _EDGE + 0.3) / 2
    for n, row in enumerate(rows.tolist()):
        x, y = _EDGE + n % 2 * column, n // 2 * pitch
        sheet.image(images[row], x, y, side)
        sheet.text(x, y + side * _aspect(images) + 0.03, f"#{row}", color=FAINT, size=_TINY)
        _bars(sheet, evaluation, row, x + side + 0.14, y, column - side - 0.44)
    return sheet.done()


def answers(evaluation: Evaluation, images: Images, *, per_class: int = 4, note: str = "") -> Any:
    """The first right and the first wrong answers of each class; below wrong ones what was said."""
    names = evaluation.class_names
    shown, note = _first_classes(len(names), note)
    margin, middle = _name_width(names[:shown]), 0.2
    side = (WIDTH - 2 * _EDGE - margin - middle) / (2 * per_class) - 0.05
    side = min(side, 0.9)
    pitch = side * _aspect(images) + _LINE + 0.06
    right = f"{100 * evaluation.accuracy:.2f} %"
    sheet = _Sheet(pitch * shown + 0.25, f"Right and wrong answers; {right} are right", note)
    starts = {True: _EDGE + margin, False: _EDGE + margin + per_class * (side + 0.05) + middle}
    for good, x in starts.items():
        sign, colour = _SIGNS[good]
        heading = "right" if good else "wrong, with what was predicted"
        sheet.text(x, 0.0, f"{sign} {heading}", color=colour, weight="bold", size=BODY)
    for code in range(shown):
        y = code * pitch + 0.25
        sheet.name(names[code], y + side * _aspect(images) / 2)
        for good, x in starts.items():
            found = evaluation.of_class(code, right=good, most=per_class).tolist()
            for place, row in enumerate(found):
                left = x + place * (side + 0.05)
                below = sheet.image(images[row], left, y, side)
                if not good:
                    said = names[evaluation.predicted[row]]
                    sheet.text(left, below + 0.03, said, room=side, color=WRONG, size=_TINY)
            if not found:
                sheet.text(x, y + 0.1, "none", color=FAINT)
    return sheet.done()


def weights(
    first: NDArray[np.floating], shape: tuple[int, ...], *, names: Sequence[str] = (),
    most: int = 40, note: str = "",
) -> Any:  # fmt: skip
    """First-layer weights (I, O) as images, those of the units of greatest norm first.

    All share one scale, the same on both sides of zero. Three channels are shown as colours, grey
    for zero. `names` are those of the units, where the layer is the only one.
    """
    order = np.argsort(-np.linalg.norm(first, axis=0), kind="stable")[:most]
    top = full_colour(first[:, order])
    pictures = first.T[order].reshape(len(order), *shape)
    in_colour = pictures.ndim == 4 and pictures.shape[3] == 3
    if in_colour:
        pictures = np.clip(0.5 + pictures / (2 * top), 0, 1)
    across = 8 if len(order) > 12 else 5
    side = (WIDTH - 2 * _EDGE + _GAP) / across - _GAP
    pitch = side * _aspect(pictures) + _LINE + 0.1
    every = len(order) == first.shape[1]
    which = f"{len(order)} units" if every else f"{len(order)} of {first.shape[1]} units"
    title = f"First-layer weights of {which}, greatest norm first"
    if in_colour:
        note = f"{note}\ngrey: 0; each channel by itself, brighter above 0 and darker below"
    low = pitch * -(-len(order) // across)
    sheet = _Sheet(low + (0 if in_colour else 0.32), title, note)
    for n, unit in enumerate(order.tolist()):
        x, y = _EDGE + n % across * (side + _GAP), n // across * pitch
        below = sheet.image(pictures[n], x, y, side, limit=None if in_colour else top)
        caption = names[unit] if names else f"unit {unit}"
        sheet.text(x, below + 0.03, caption, room=side, color=FAINT, size=_TINY)
    if not in_colour:
        sheet.scale(top, low)
    return sheet.done()


def full_colour(weights: NDArray[np.floating]) -> float:
    """The weight that has the full colour: one in two hundred is greater, and looks the same."""
    return float(np.quantile(np.abs(weights), 0.995)) or 1.0


class _Sheet:
    """Axes in inches, y downwards from below the title."""

    def __init__(self, height: float, title: str, note: str, *, width: float = WIDTH) -> None:
        height += _EDGE
        self.paper = new_figure(height, title, note, width=width, layout="none")
        total = float(self.paper.get_size_inches()[1])
        self.axes = self.paper.add_axes((0, 0, 1, height / total))
        self.axes.set_axis_off()
        self.width, self.height = width, height

    def image(
        self, pixels: NDArray[Any], x: float, y: float, width: float, limit: float | None = None
    ) -> float:
        """Draw an image of this width at x, y; returns y below it.

        Values reach to both sides of zero by `limit`, or from 0 to 255.
        """
        bottom = y + width * pixels.shape[0] / pixels.shape[1]
        look = {"cmap": "gray", "vmin": 0, "vmax": 255}
        if limit is not None:
            look = {"cmap": _diverging(), "vmin": -limit, "vmax": limit}
        # Pixels that are enlarged stay squares, which are a third of the bytes, too.
        look["interpolation"] = "nearest" if pixels.shape[1] < width * DOTS else "auto"
        self.axes.imshow(pixels, extent=(x, x + width, bottom, y), aspect="auto", **look)
        self._box(x, y, width, bottom - y, facecolor="none", edgecolor=GRID, linewidth=0.6)
        return float(bottom)

    def text(
        self, x: float, y: float, text: str, *, room: float = 99, size: float = SMALL, **look: Any
    ) -> None:
        """A line whose upper left is at x, y, shortened where it is wider than its room."""
        line = fitted(text, room, size, look.get("weight", "normal"))
        self.axes.text(x, y, line, size=size, **{"va": "top", **look})

    def name(self, name: str, y: float) -> None:
        """The name of a row around y."""
        self.text(_EDGE, y, name, room=_NAME_ROOM, color=INK, va="center", size=BODY)

    def bar(self, x: float, y: float, width: float, height: float, colour: str) -> None:
        self._box(x, y, width, height, facecolor=colour, linewidth=0)

    def scale(self, top: float, y: float) -> None:
        """The colours of weights from -top to top."""
        ramp = np.linspace(-top, top, 101)[None]
        left, width = self.width / 2 - 1.2, 2.4
        look = {"cmap": _diverging(), "vmin": -top, "vmax": top}
        self.axes.imshow(
            ramp, extent=(left, left + width, y + 0.24, y + 0.1), aspect="auto", **look
        )
        for x, label, side in (
            (left - 0.06, f"\N{MINUS SIGN}{top:.2g}", "right"),
            (left + width + 0.06, f"{top:.2g}", "left"),
        ):
            self.text(x, y + 0.17, label, ha=side, va="center", color=FAINT)

    def done(self) -> Any:
        self.axes.set(xlim=(0, self.width), ylim=(self.height, 0))
        return finished(self.paper)

    def _box(self, x: float, y: float, width: float, height: float, **look: Any) -> None:
        from matplotlib.patches import Rectangle

        self.axes.add_patch(Rectangle((x, y), width, height, **look))


def _bars(
    sheet: _Sheet, evaluation: Evaluation, row: int, x: float, y: float, width: float
) -> None:
    """Name, probability and a bar of each class worth showing for this example."""
    p, true = evaluation.probabilities[row], int(evaluation.codes[row])
    for code in evaluation.worth_showing(row):
        said, is_true = code == evaluation.predicted[row], code == true
        sign, colour = _SIGNS[is_true] if said or is_true else ("", GREY)
        name = f"{sign} {evaluation.class_names[code]}".lstrip()
        ink, weight = (INK, "bold") if sign else (FAINT, "normal")
        sheet.text(x, y, name, room=width - 0.65, color=ink, weight=weight)
        sheet.text(x + width, y, sure_text(float(p[code])), ha="right", color=FAINT)
        sheet.bar(x, y + 0.165, width, 0.07, GRID)
        sheet.bar(x, y + 0.165, width * float(p[code]), 0.07, colour)
        y += 0.31


def _aspect(images: NDArray[Any]) -> float:
    return float(images.shape[1] / images.shape[2])


def _name_width(names: Sequence[str]) -> float:
    """Inches that the names before rows need."""
    return 0.14 + min(_NAME_ROOM, max(width_of(one_line(name), BODY) for name in names))


def _first_classes(classes: int, note: str) -> tuple[int, str]:
    """How many classes have a row, and the note that says so."""
    if classes <= MOST_CLASSES:
        return classes, note
    return MOST_CLASSES, f"{note}\nthe first {MOST_CLASSES} of {classes} classes"


def _diverging() -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("diverging", DIVERGING)
