"""The exception tree: every error that fastnn raises on purpose, and the exit code it becomes.

FastNNError
├── ConfigError        a setting: field, value, what is allowed
├── DataError          a data file: which, where in it, what was found, what was expected
├── CheckpointError    a saved run: not ours, newer format, shape mismatch
├── DeviceError        --device cuda: CuPy missing or broken, no driver, no such device
├── TrainingDiverged   a loss stopped being finite
├── CheckFailed        a check of figures: a benchmark's, or a target accuracy that was missed
├── OutputError        a result could not be written
└── Interrupted        SIGINT or SIGTERM, after the state was saved

A message says what happened, quotes the offending value and ends with what to do.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable
from functools import partial
from importlib import import_module
from typing import Any


class FastNNError(Exception):
    """Root of the tree. `exit_code` is what the command line returns for it."""

    exit_code = 1


class ConfigError(FastNNError, ValueError):
    """A setting is outside what is allowed, or two settings contradict each other."""

    exit_code = 2


class DataError(FastNNError, ValueError):
    """A data file is missing, malformed, or not what its name says."""

    exit_code = 3


class CheckpointError(FastNNError):
    """A saved run cannot be read, or does not fit what it is loaded into."""

    exit_code = 3


class DeviceError(FastNNError, RuntimeError):
    """The device that was asked for cannot be used: `problem` says why, `remedy` what mends it."""

    exit_code = 4

    def __init__(self, problem: str, remedy: str, *, absent: bool = False) -> None:
        super().__init__(f"{problem}. {remedy}")
        self.problem = problem
        self.remedy = remedy
        self.absent = absent  # there is nothing that could be broken: no CuPy, or no driver

    def __reduce__(self) -> tuple[Any, ...]:
        """Exceptions are copied between processes by their arguments."""
        return partial(type(self), absent=self.absent), (self.problem, self.remedy)


class TrainingDiverged(FastNNError, FloatingPointError):
    """The loss became infinite or NaN; the last good checkpoint is kept."""

    exit_code = 5


class CheckFailed(FastNNError):
    """Everything was measured and kept, but a check of the figures failed: a regression, say."""

    exit_code = 6


class OutputError(FastNNError, OSError):
    """A file of results could not be written (full disk, read-only folder)."""


class Interrupted(FastNNError):
    """A signal ended the run after its state was saved; exit code 128 + signal number."""

    def __init__(self, number: int, saved: str) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}; {saved}")
        self.number = number
        self.saved = saved
        self.exit_code = 128 + number

    def __reduce__(self) -> tuple[type[Interrupted], tuple[int, str]]:
        """Exceptions are copied between processes by their arguments."""
        return type(self), (self.number, self.saved)


def require(module: str, package: str, what: str) -> None:
    """ConfigError where an optional package is missing: what needs it, and the command to type.

    `package` is its name as people write it; pip takes it in lower case.
    """
    try:
        import_module(module)
    except ImportError:
        raise ConfigError(
            f"{what} need {package}, which is not installed; pip install {package.lower()}"
        ) from None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """'; did you mean ...?' for the nearest known word, or nothing: the end of a message."""
    from difflib import get_close_matches

    near = get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
