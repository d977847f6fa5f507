"""What a search draws from: ranges, lists and fixed values by setting, checked before use.

learning_rate = { log = [1e-4, 1e-2] }   # log-uniform
dropout = { uniform = [0.0, 0.5] }
hidden = [[512, 256], [1024, 1024]]      # one of a list
weight_decay = 0.05                      # fixed
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from math import exp, isfinite, log
from pathlib import Path
from typing import Any

from fastnn.errors import ConfigError, did_you_mean
from fastnn.rng import Stream, generator
from fastnn.training.config import Rule, TrainConfig, read_table

# What all trials have in common: else their scores were of different examples or on other scales,
# or there were two who say how long a trial lasts.
SHARED = (
    "dataset", "data_dir", "test_data", "label", "limit_train", "val", "loss", "huber_delta",
    "epochs", "max_time", "target_accuracy", "seed", "device", "threads", "save_every",
)  # fmt: skip
_FIELDS = {item.name: item for item in fields(TrainConfig)}
_KINDS = ("log", "uniform")


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers from `low` to `high`, both included; `log`: alike in their logarithm."""

    low: float
    high: float
    log: bool
    whole: bool

    def at(self, share: float) -> float:
        """The number at this share, 0 <= share < 1, of the range.

        Six digits are kept: enough to tell draws apart, short enough to be typed again, and the
        same wherever the last bit of exp is another.
        """
        low, high = self.low, self.high + self.whole  # each whole number is the floor of its own 1
        if self.log:
            value = exp(log(low) + share * (log(high) - log(low)))
        else:
            value = low + share * (high - low)
        value = int(value) if self.whole else float(f"{value:.6g}")
        return max(self.low, min(value, self.high))


class Space:
    """The settings that a search draws. `source` is named in what is said about mistakes.

    A table [search] among them is not drawn but kept in `search`: the search's own settings.
    """

    def __init__(self, values: Mapping[str, Any], source: str = "space") -> None:
        try:
            self.values: dict[str, Any] = json.loads(json.dumps(dict(values)))
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"{source}: expected plain numbers, texts, lists and tables ({error})"
            ) from None
        self.source = source
        entries = dict(self.values)
        self.search: dict[str, Any] = entries.pop("search", {})
        if not isinstance(self.search, dict):
            raise ConfigError(f"{source}: search: {self.search!r} must be a table")
        if not entries:
            raise ConfigError(f"{source}: names no setting to draw")
        try:
            self._entries = {key: _entry(key, value) for key, value in entries.items()}
        except ConfigError as error:
            raise ConfigError(f"{source}: {error}") from None

    @classmethod
    def from_file(cls, path: Path) -> Space:
        """Read a .toml (or .json) file."""
        return cls(read_table(path), str(path))

    @property
    def varied(self) -> list[str]:
        """The settings that are not the same in every draw."""
        return [key for key, value in self.values.items() if key != "search" and _varies(value)]

    def draw(self, seed: int, trial: int) -> dict[str, Any]:
        """The settings of this trial, whenever and after whatever it is drawn.

        One uniform number for each entry, in their order, so that another range for one setting
        leaves the others as they were.
        """
        shares = generator(seed, Stream.TUNE, trial).random(len(self._entries)).tolist()
        return {
            key: at(share) for (key, at), share in zip(self._entries.items(), shares, strict=True)
        }


def _entry(key: str, value: Any) -> Callable[[float], Any]:
    """What makes a draw of a uniform number; ConfigError naming the key."""
    if key not in _FIELDS:
        names = [name for name in _FIELDS if name not in SHARED]
        raise ConfigError(f"unknown setting {key!r}{did_you_mean(key, names)}")
    if key in SHARED:
        raise ConfigError(f"{key}: is the same for all trials; set it outside of the space")
    if isinstance(value, dict) and (_varies(value) or key != "class_weight"):
        return _range(key, value).at
    if isinstance(value, list):
        if not value:
            raise ConfigError(f"{key}: the list is empty; expected one value or more")
        choices = value
        return lambda share: choices[int(share * len(choices))]
    return lambda share: value


def _varies(value: Any) -> bool:
    if isinstance(value, list):
        return len(value) > 1
    return isinstance(value, dict) and bool(value.keys() & set(_KINDS))


def _range(key: str, table: dict[str, Any]) -> Range:
    """The range that a table describes."""
    (kind, ends), *more = table.items() or [("", None)]
    if kind not in _KINDS or more:
        raise ConfigError(
            f"{key}: {table!r} must be {{ uniform = [low, high] }} or {{ log = [low, high] }}"
            f"{did_you_mean(kind, _KINDS)}"
        )
    of = str(_FIELDS[key].type).removesuffix(" | None")
    if of not in ("int", "float"):
        raise ConfigError(f"{key}: a range is for numbers; give a list of values instead")
    if not (isinstance(ends, list) and len(ends) == 2 and all(_fits(end, of) for end in ends)):
        whole = "whole " if of == "int" else ""
        raise ConfigError(f"{key}: {ends!r} must be two {whole}numbers, [low, high]")
    low, high = ends
    if low > high:
        raise ConfigError(f"{key}: {ends!r} is the wrong way round; expected [{high}, {low}]")
    rule: Rule = _FIELDS[key].metadata["rule"]
    for end in ends:
        if not rule.admits(end):
            raise ConfigError(f"{key}: {end!r} must be {rule.allowed()}")
    if kind == "log" and low <= 0:
        raise ConfigError(
            f"{key}: {low!r} has no logarithm; expected a low end above 0, or uniform"
        )
    return Range(low, high, kind == "log", of == "int")


def _fits(end: Any, kind: str) -> bool:
    """Whether this can be the end of a range of whole numbers (int) or of any (float)."""
    number = isinstance(end, int | float) and not isinstance(end, bool) and isfinite(end)
    return number and (kind == "float" or end == int(end))
