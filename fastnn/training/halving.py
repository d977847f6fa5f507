"""Successive halving's arithmetic: how many trials train for how many epochs.

Jamieson & Talwalkar, AISTATS 2016; epochs are counted back from the last rung, as in Hyperband (Li
et al., JMLR 2018). Standard library only, so that `fastnn tune --help` needs no NumPy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from fastnn.errors import ConfigError, did_you_mean


@dataclass(frozen=True, slots=True)
class Halving:
    """How many trials there are, and who goes on."""

    trials: int = 27
    factor: int = 3
    min_epochs: int = 1

    def __post_init__(self) -> None:
        for name, least in (("trials", 1), ("factor", 2), ("min_epochs", 1)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ConfigError(f"{name}: {value!r} must be a whole number, at least {least}")

    def updated(self, changes: Mapping[str, Any], source: str) -> Halving:
        """A copy with some settings changed; `source` is named if one is unknown."""
        names = [item.name for item in fields(self)]
        for key in changes:
            if key not in names:
                raise ConfigError(f"{source}: unknown setting {key!r}{did_you_mean(key, names)}")
        return replace(self, **changes)

    def rungs(self, epochs: int) -> list[tuple[int, int]]:
        """(trials, epochs) of each rung. A trial that is alone goes on to all epochs at once."""
        if self.min_epochs > epochs:
            raise ConfigError(f"min_epochs: {self.min_epochs} is more than the {epochs} epochs")
        spans = [epochs]
        while spans[0] // self.factor >= self.min_epochs:
            spans.insert(0, spans[0] // self.factor)
        rungs, count = [], self.trials
        for span in spans[:-1]:
            if count > 1:
                rungs.append((count, span))
                count = max(1, count // self.factor)
        return [*rungs, (count, epochs)]
