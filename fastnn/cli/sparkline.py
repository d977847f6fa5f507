"""A row of numbers as a row of bars, eight heights high."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

BARS = "▁▂▃▄▅▆▇█"
ASCII_BARS = ".:-=+*#@"  # darker instead of higher


def sparkline(values: Sequence[float | None], width: int = 20, bars: str = BARS) -> str:
    """At most `width` bars: the least value lowest, and of many values a mean for each bar.

    What is None or not finite is a blank. Where BARS cannot be printed, `bars` are others.
    """
    shown = _condensed([math.nan if value is None else float(value) for value in values], width)
    finite = [value for value in shown if math.isfinite(value)]
    if not finite:
        return " " * len(shown)
    low, span = min(finite), max(finite) - min(finite)

    def bar(value: float) -> str:
        if not math.isfinite(value):
            return " "
        return bars[round((value - low) / span * (len(bars) - 1)) if span else 0]

    return "".join(map(bar, shown))


def _condensed(values: list[float], width: int) -> list[float]:
    """Means of as many equal shares as there are bars."""
    count = len(values)
    if count <= width:
        return values
    edges = [round(place * count / width) for place in range(width + 1)]
    return [sum(values[first:last]) / (last - first) for first, last in pairwise(edges)]
