"""What a network is trained for: a loss of its outputs, and the settings of that loss."""

from __future__ import annotations

from typing import NamedTuple

from fastnn.errors import ConfigError, did_you_mean
from fastnn.kernels.formulas import LOSSES as RESIDUAL_LOSSES

LOSSES = ("cross-entropy", *RESIDUAL_LOSSES)


class Objective(NamedTuple):
    """A loss: cross-entropy of class codes, or mse, mae or huber of targets (B, T).

    `smoothing` is the cross-entropy's label smoothing, `delta` the size up to which huber is a
    square.
    """

    loss: str = "cross-entropy"
    smoothing: float = 0.0
    delta: float = 1.0

    @property
    def classifies(self) -> bool:
        """Whether labels are class codes, not numbers to predict."""
        return self.loss == "cross-entropy"

    def check(self) -> None:
        """ConfigError where a setting is impossible or belongs to another loss."""
        if self.loss not in LOSSES:
            raise ConfigError(
                f"loss: {self.loss!r} is not one of {', '.join(LOSSES)}"
                f"{did_you_mean(self.loss, LOSSES)}"
            )
        if not 0 <= self.smoothing < 1:
            raise ConfigError(f"label_smoothing: {self.smoothing!r} must be at least 0 and below 1")
        if self.smoothing and not self.classifies:
            raise ConfigError(
                f"label_smoothing: belongs to cross-entropy, not {self.loss}; "
                "remove it, or train a classifier"
            )
        if not self.delta > 0:
            raise ConfigError(f"huber_delta: {self.delta!r} must be above 0")
