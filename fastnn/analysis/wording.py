"""Figures and names as people read them: one way for the terminal, the plots and the report."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from math import isnan
from pathlib import Path
from unicodedata import bidirectional

_FIRST_ISOLATE, _END_ISOLATE = "\u2068", "\u2069"


def number_text(value: float | None, digits: int = 4) -> str:
    """0.29411 as "0.2941", 16674.3 as "16,674": no powers of ten where digits say it."""
    if value is None or isnan(value):
        return "-"
    return f"{value:,.0f}" if 10**digits <= abs(value) < 1e9 else f"{value:.{digits}g}"


def percent_text(share: float | None, digits: int = 2) -> str:
    """0.8812 as "88.12 %"; a dash where there is none, or it is undefined."""
    return "-" if share is None or isnan(share) else f"{100 * share:.{digits}f} %"


def sure_text(probability: float) -> str:
    """0.912 as "91.2 %"; no certainty that is not there, so neither 100 % nor 0 %."""
    if probability >= 0.9995:
        return ">99.9 %"
    return "<0.1 %" if probability < 0.0005 else f"{100 * probability:.1f} %"


def counted(count: int, what: str) -> str:
    """1 as "1 example", 1200 as "1,200 examples"."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def dataset_name(dataset: str) -> str:
    """A data set as a title calls it: by its name, or that of its file without the folder."""
    return Path(dataset).stem if os.sep in dataset else dataset


def short_names(names: Sequence[str], most: int) -> list[str]:
    """Names of at most so many letters, which can be told apart."""
    return told_apart(
        names, lambda name: name if len(name) <= most else name[: most - 1].rstrip() + "…"
    )


def told_apart(names: Sequence[str], cut: Callable[[str], str]) -> list[str]:
    """Names cut short; where some become the same, each begins with its number."""
    short = [cut(name) for name in names]
    if len(set(short)) < len(short):
        short = [cut(f"{number} {name}") for number, name in enumerate(names)]
    return short


def isolated(name: str) -> str:
    """A name within a sentence; one that is written from right to left leaves the rest in order."""
    if any(bidirectional(sign) in ("R", "AL") for sign in name):
        return f"{_FIRST_ISOLATE}{name}{_END_ISOLATE}"
    return name
