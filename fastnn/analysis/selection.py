"""Which runs, and in which order: conditions on settings and figures, and what to sort by."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fastnn.analysis.runs import FIGURES, USUAL, Run
from fastnn.errors import ConfigError, did_you_mean

KEYS = (*USUAL, *FIGURES, "name", "state", "started")
_SIGNS: Mapping[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq, "!=": operator.ne,
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_FORM = re.compile(r"\s*([\w-]+)\s*(!=|<=|>=|=|<|>)\s*(.*?)\s*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Condition:
    """A setting or figure, a sign, and what it is compared with."""

    key: str
    sign: str
    wanted: str

    @classmethod
    def parsed(cls, text: str) -> Condition:
        """From "dataset=mnist", "test_accuracy >= 0.9", ...; ConfigError for anything else."""
        found = _FORM.fullmatch(text)
        if found is None:
            raise ConfigError(
                f"--where: {text!r} must be a setting or figure, one of = != < <= > >=, and a "
                "value, such as 'hidden=512,256' or 'test_accuracy>=0.9'"
            )
        key = found[1].replace("-", "_")
        if key not in KEYS:
            raise ConfigError(
                f"--where: {found[1]!r} is neither a setting nor a figure of a run"
                f"{did_you_mean(key, KEYS)}"
            )
        return cls(key, found[2], found[3])

    def holds(self, run: Run) -> bool:
        """Numbers compare as numbers, all else as text; what a run has not is "none"."""
        value = run.facts.get(self.key)
        compare = _SIGNS[self.sign]
        if isinstance(value, int | float) and not isinstance(value, bool):
            number = _number(self.wanted)
            if number is not None:
                return bool(compare(value, number))
            if self.sign not in ("=", "!="):
                raise ConfigError(
                    f"--where: {self.key} is a number, and {self.wanted!r} is none; compare it "
                    f"with one, such as {self.key}{self.sign}0.5"
                )
        elif value is None and self.sign not in ("=", "!="):
            return False
        return bool(compare(plain_text(value), self.wanted))


def plain_text(value: Any) -> str:
    """A setting as it is given on the command line."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ",".join(map(plain_text, value)) or "none"
    if isinstance(value, dict):
        return ",".join(f"{key}={plain_text(one)}" for key, one in value.items())
    return "none" if value is None else str(value)


def merit(run: Run) -> tuple[int, float] | None:
    """How good its validation was, the greater the better: by accuracy, for numbers by loss."""
    accuracy, loss = (run.figures.get(f"valid_{name}") for name in ("accuracy", "loss"))
    if accuracy is not None:
        return 1, accuracy
    return None if loss is None else (0, -loss)


def _tested(run: Run) -> tuple[int, float] | None:
    """Accuracies first: an R^2 cannot be compared with them."""
    accuracy, r2 = (run.figures.get(f"test_{name}") for name in ("accuracy", "r2"))
    if accuracy is not None:
        return 1, accuracy
    return None if r2 is None else (0, r2)


# What to sort by, and whether the greatest comes first.
SORTS: Mapping[str, tuple[Callable[[Run], Any], bool]] = {
    "time": (lambda run: run.started, True),
    "test": (_tested, True),
    "valid": (merit, True),
    "loss": (lambda run: run.figures.get("valid_loss"), False),
    "name": (lambda run: run.name, False),
    "seconds": (lambda run: run.figures.get("seconds"), False),
    "epochs": (lambda run: run.figures.get("epochs_done"), True),
}


def ordered(runs: Iterable[Run], by: str, *, reverse: bool = False) -> list[Run]:
    """Newest, best, first in the alphabet, or quickest first; who has no such figure, last."""
    if by not in SORTS:
        raise ConfigError(
            f"--sort: {by!r} is not one of {', '.join(SORTS)}{did_you_mean(by, SORTS)}"
        )
    value, greatest_first = SORTS[by]
    by_name = sorted(runs, key=lambda run: run.name, reverse=greatest_first)
    known = [run for run in by_name if value(run) is not None]
    known.sort(key=value, reverse=greatest_first != reverse)
    return known + [run for run in by_name if value(run) is None]


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
