"""A record as a picture: examples a second over the batch size, both axes logarithmic.

What is drawn is decided in `lines`, without matplotlib; `figure` puts it on paper.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from itertools import count
from math import exp, log
from typing import Any

from fastnn.analysis.palette import BLUE, FAINT, GREEN, GREY, INK, PAPER, VERMILION, WINE
from fastnn.analysis.style import frame, spread
from fastnn.bench.facts import caption
from fastnn.bench.record import Record, throughput
from fastnn.errors import ConfigError

# One a family, black for fastnn.
_COLOURS = {
    "fastnn": INK, "floor": GREY, "numpy": BLUE, "torch": VERMILION, "jax": GREEN,
    "sklearn": WINE,
}  # fmt: skip
_DASHES = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.5, 1.2, 1.5)))  # within a family
_MARKERS = {"cpu": "o", "cuda": "s"}
_SIZE = (9.2, 5.6)  # inches; at 150 dots an inch about twice the width that README shows
_LABEL_HEIGHT = 0.041  # of the axes' height


@dataclass(frozen=True, slots=True)
class Line:
    """One competitor: batch sizes, and examples a second in quartiles."""

    label: str
    family: str
    device: str
    batches: list[int]
    median: list[float]
    lower: list[float]
    upper: list[float]


def lines(record: Record) -> list[Line]:
    """What is to be drawn, in the record's order."""
    found = []
    for name in record.names():
        figures = {b: by_name[name] for b, by_name in record.batches.items() if name in by_name}
        any_figure = next(iter(figures.values()))
        found.append(
            Line(
                name, any_figure.family, any_figure.device.partition(":")[0], list(figures),
                [throughput(b, f.median) for b, f in figures.items()],
                [throughput(b, f.upper) for b, f in figures.items()],  # slow steps, low throughput
                [throughput(b, f.lower) for b, f in figures.items()],
            )
        )  # fmt: skip
    return found


def figure(record: Record) -> Any:
    """A matplotlib Figure, made without pyplot and therefore without global state."""
    from matplotlib.figure import Figure

    drawn = lines(record)
    if not drawn:
        raise ConfigError("there is nothing to draw: no batch size was measured to its end")
    paper = Figure(figsize=_SIZE, facecolor=PAPER)
    axes = paper.add_axes((0.085, 0.185, 0.67, 0.715))
    _frame(axes, drawn)
    used: dict[str, Any] = {}
    for line in drawn:
        dash = _DASHES[next(used.setdefault(line.family, count())) % len(_DASHES)]
        _draw(axes, line, dash)
    _label(axes, drawn)
    paper.text(0.085, 0.945, "Training throughput, examples a second", size=14, weight="bold")
    network = record.facts.get("network", _DEFAULT)
    how = f"{network}, Adam. Medians and quartiles of interleaved rounds."
    text = textwrap.fill(f"{how} {caption(record.facts)}", 152)
    paper.text(0.012, 0.02, text, size=7.6, color=FAINT, va="bottom")
    return paper


_DEFAULT = "784-512-256-10"  # what records did not name before they could hold another


def _frame(axes: Any, drawn: list[Line]) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

    batches = sorted({batch for line in drawn for batch in line.batches})
    speeds = [speed for line in drawn for speed in line.lower + line.upper]
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xlim(batches[0] / 1.15, batches[-1] * 1.15)
    axes.set_ylim(min(speeds) / 1.15, max(speeds) * 1.15)
    axes.xaxis.set_major_locator(FixedLocator(batches))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda batch, _: f"{batch:,.0f}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(FixedLocator(_round_numbers(min(speeds), max(speeds))))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda speed, _: f"{speed:,.0f}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("batch size")
    frame(axes)


def _round_numbers(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten, within the range."""
    decades = range(int(log(low, 10)) - 1, int(log(high, 10)) + 2)
    candidates = [step * 10.0**decade for decade in decades for step in (1, 2, 5)]
    return [number for number in candidates if low / 1.1 <= number <= high * 1.1]


def _draw(axes: Any, line: Line, dash: Any) -> None:
    ours = line.family == "fastnn"
    below = [m - low for m, low in zip(line.median, line.lower, strict=True)]
    above = [up - m for m, up in zip(line.median, line.upper, strict=True)]
    axes.errorbar(
        line.batches, line.median, yerr=[below, above], label=line.label,
        color=_COLOURS.get(line.family, FAINT), linestyle=dash, marker=_MARKERS[line.device],
        linewidth=2.8 if ours else 1.6, markersize=5.5 if ours else 3.8,
        elinewidth=1.0, capsize=2.5, zorder=5 if ours else 3,
    )  # fmt: skip


def _label(axes: Any, drawn: list[Line]) -> None:
    """Names beside the ends of the lines, moved apart where they would cover each other."""
    low, high = axes.get_ylim()
    gap = _LABEL_HEIGHT * log(high / low)
    heights = spread([log(line.median[-1]) for line in drawn], gap)
    for line, height in zip(drawn, heights, strict=True):
        colour = _COLOURS.get(line.family, FAINT)
        axes.annotate(
            line.label,
            xy=(line.batches[-1], line.median[-1]),
            xytext=(1.05, exp(height)),
            textcoords=("axes fraction", "data"),
            color=colour, size=10, va="center", annotation_clip=False,
            weight="bold" if line.family == "fastnn" else "normal",
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.7, "alpha": 0.6,
                        "shrinkA": 2, "shrinkB": 5, "relpos": (0, 0.5)},
        )  # fmt: skip
