"""Figures as places on a page: what the report's templates draw as SVG.

Places are in units of the drawing's own coordinates, x to the right and y down, as SVG has them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor, isfinite, log10
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnn.analysis.metrics import MANY, Calibration
from fastnn.analysis.wording import counted, number_text

Values = Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Frame:
    """A drawing of `width` by `height` with a plot inside: left, top, right and bottom edge."""

    width: int
    height: int
    left: int
    top: int
    right: int
    bottom: int

    def across(self, share: float) -> float:
        """The place this share of the way from the left edge to the right one."""
        return _rounded(self.left + share * (self.right - self.left))

    def up(self, share: float) -> float:
        """The place this share of the way from the bottom edge to the top one."""
        return _rounded(self.bottom - share * (self.bottom - self.top))


@dataclass(frozen=True, slots=True)
class Tick:
    """A place along an axis and what is written there."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Line:
    """A curve: `path` is SVG's, `marks` are the places of its values, `texts` their figures."""

    name: str
    style: str  # the class that gives it colour
    path: str
    marks: list[tuple[float, float] | None]
    texts: list[str]

    @property
    def readout(self) -> dict[str, Any]:
        """What the page's script needs to show the figures of one epoch."""
        return {"name": self.name, "marks": self.marks, "texts": self.texts}


@dataclass(frozen=True, slots=True)
class LineChart:
    """Curves over the epochs. `best` is the place of the epoch whose weights are kept."""

    title: str
    frame: Frame
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    lines: list[Line]
    epochs: list[tuple[int, float]]  # number and place
    best: float | None


def line_chart(
    title: str,
    epochs: Sequence[int],
    series: Mapping[tuple[str, str], Values],
    *,
    write: Callable[[float], str],
    best: int | None = None,
) -> LineChart:
    """Curves of (name, style): values over epochs; a value that is missing leaves a gap."""
    frame = Frame(480, 304, 74, 16, 464, 262)
    finite = [v for values in series.values() for v in values if v is not None and isfinite(v)]
    ticks = round_numbers(min(finite, default=0.0), max(finite, default=1.0))
    low, high = min([*ticks, *finite]), max([*ticks, *finite])
    first, last = (epochs[0], epochs[-1]) if epochs else (0, 1)

    def x(epoch: float) -> float:
        return frame.across((epoch - first) / (last - first) if last > first else 0.5)

    def y(value: float) -> float:
        return frame.up((value - low) / (high - low))

    lines = []
    for (name, style), values in series.items():
        marks = [
            None if v is None or not isfinite(v) else (x(e), y(v))
            for e, v in zip(epochs, values, strict=True)
        ]
        if any(marks):
            texts = ["-" if v is None else write(v) for v in values]
            lines.append(Line(name, style, _path(marks), marks, texts))
    step = max(1, ceil(len(epochs) / 6))
    shown = [e for e in epochs if (e - first) % step == 0] if epochs else []
    return LineChart(
        title, frame, [Tick(x(e), str(e)) for e in shown], [Tick(y(t), write(t)) for t in ticks],
        lines, [(e, x(e)) for e in epochs], None if best is None else x(best),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Bar:
    """A bin of confidence: its bar of accuracy and the one of its count, from their base lines."""

    x: float
    width: float
    height: float
    share: float  # height of the count's bar
    few: bool  # examples, so that its height says little
    text: str


@dataclass(frozen=True, slots=True)
class ReliabilityChart:
    """Accuracy over confidence; `after` is the path of the same with a temperature."""

    frame: Frame
    base: int  # where the counts' bars stand
    bars: list[Bar]
    after: str
    marks: list[tuple[float, float]]  # of the same
    ticks: list[Tick]  # along x
    y_ticks: list[Tick]


def reliability_chart(found: Calibration, after: Calibration | None) -> ReliabilityChart:
    """The bins' accuracies as bars, their counts as bars below; a curve for where many are."""
    frame, room = Frame(480, 440, 70, 16, 446, 318), 56
    bins = len(found.examples)
    high = frame.bottom - frame.top
    most = max(1, int(found.examples.max()))
    bars = [
        Bar(
            frame.across(place / bins), _rounded((frame.right - frame.left) / bins - 1.5),
            _rounded(found.accuracy[place] * high), _rounded(room * count / most), count < MANY,
            f"{counted(count, 'example')}, "
            f"{100 * found.confidence[place]:.1f} % sure on average, "
            f"{100 * found.accuracy[place]:.1f} % right",
        )
        for place, count in enumerate(found.examples.tolist())
        if count
    ]  # fmt: skip
    marks: list[tuple[float, float]] = []
    if after is not None:
        filled = after.examples >= MANY
        marks = [
            (frame.across(sure), frame.up(right))
            for sure, right in zip(
                after.confidence[filled].tolist(), after.accuracy[filled].tolist(), strict=True
            )
        ]
    shares = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    return ReliabilityChart(
        frame, frame.bottom + 40 + room, bars, _path(marks), marks,
        [Tick(frame.across(share), f"{100 * share:.0f} %") for share in shares],
        [Tick(frame.up(share), f"{100 * share:.0f} %") for share in shares],
    )  # fmt: skip


def scatter_places(
    points: NDArray[np.floating], frame: Frame, margin: float = 10.0
) -> list[tuple[float, float]]:
    """Points (N, 2) fitted into a frame, one scale for both directions; y upwards."""
    low, high = points.min(axis=0), points.max(axis=0)
    room = np.array([frame.right - frame.left, frame.bottom - frame.top]) - 2 * margin
    scale = min((room / np.maximum(high - low, 1e-12)).tolist())
    centre = np.array([frame.left + frame.right, frame.top + frame.bottom]) / 2
    placed = (points - (low + high) / 2) * scale * np.array([1, -1]) + centre
    return [(_rounded(x), _rounded(y)) for x, y in placed.tolist()]


@dataclass(frozen=True, slots=True)
class AgreementChart:
    """Predicted over true numbers; the diagonal is where both agree."""

    title: str
    frame: Frame
    marks: list[tuple[float, float]]
    ticks: list[tuple[Tick, Tick]]  # along x and y


def agreement_chart(title: str, true: NDArray[Any], predicted: NDArray[Any]) -> AgreementChart:
    """One target's numbers (N,), on the same scale both ways."""
    frame = Frame(440, 400, 78, 14, 398, 346)
    both = np.concatenate([true, predicted]).astype(np.float64)
    ticks = round_numbers(float(both.min()), float(both.max()))
    low, high = min(ticks[0], float(both.min())), max(ticks[-1], float(both.max()))

    def x(value: float) -> float:
        return frame.across((value - low) / (high - low))

    def y(value: float) -> float:
        return frame.up((value - low) / (high - low))

    marks = [(x(a), y(b)) for a, b in zip(true.tolist(), predicted.tolist(), strict=True)]
    written = [(Tick(x(tick), text), Tick(y(tick), text)) for tick, text in _written(ticks)]
    return AgreementChart(title, frame, marks, written)


def round_numbers(low: float, high: float, about: int = 5) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten from below `low` to above `high`, about so many.

    Rounded, so that 3 * 0.1 is written as 0.3.
    """
    if not high > low:
        low, high = (0.0, 1.0) if low == 0 else (min(0.0, 2 * low), max(0.0, 2 * low))
    raw = (high - low) / about
    power = 10.0 ** floor(log10(raw))
    step = next(power * lead for lead in (1, 2, 5, 10) if power * lead >= raw * (1 - 1e-9))
    digits = max(0, -floor(log10(step)))
    return [round(n * step, digits) for n in range(floor(low / step), ceil(high / step) + 1)]


def _written(ticks: list[float]) -> list[tuple[float, str]]:
    """Numbers with as many digits as tell them apart."""
    for digits in range(4, 17):
        texts = [number_text(tick, digits) for tick in ticks]
        if len(set(texts)) == len(texts):
            break
    return list(zip(ticks, texts, strict=True))


def _path(marks: Sequence[tuple[float, float] | None]) -> str:
    """SVG's path through the marks, begun anew after a gap."""
    parts, pen = [], "M"
    for mark in marks:
        if mark is None:
            pen = "M"
        else:
            parts.append(f"{pen}{mark[0]:g} {mark[1]:g}")
            pen = "L"
    return "".join(parts)


def _rounded(place: float) -> float:
    return round(place, 1)
