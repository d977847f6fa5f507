"""Scaling, fitted on the training part and stored with the model.

Of inputs it is applied while they are gathered; of numbers to predict once, and taken back from
what the network puts out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnn.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Scaling:
    """x = (inputs - offset) * factor; both (1,) for pixels or (D,) for columns of a table.

    `unit` maps to [0, 1], `standard` to mean 0 and standard deviation 1. Bytes are pixels: they
    share one range, 0 to 255, and one mean. Columns of a table each have their own; a column that
    never changes becomes 0. `offset` is None where nothing is to be subtracted.
    """

    kind: str
    offset: NDArray[np.float64] | None
    factor: NDArray[np.float64]

    @classmethod
    def fit(cls, inputs: NDArray[Any], kind: str = "unit") -> Scaling:
        """Learn the range, or mean and deviation, of inputs (N, D)."""
        if kind not in ("unit", "standard"):
            raise ConfigError(f"scaling: {kind!r} is not one of unit, standard")
        if inputs.dtype == np.uint8:
            if kind == "unit":
                return cls(kind, None, np.array([1 / 255]))
            offset, spread = _mean_and_deviation_of_bytes(inputs)
        elif kind == "unit":
            offset = inputs.min(axis=0).astype(np.float64)
            spread = inputs.max(axis=0) - offset
        else:
            offset = inputs.mean(axis=0, dtype=np.float64)
            spread = inputs.std(axis=0, dtype=np.float64)
        return cls(kind, offset, 1 / np.where(spread > 0, spread, 1.0))

    @classmethod
    def of_targets(
        cls, targets: NDArray[np.floating], weights: NDArray[np.float32] | None = None
    ) -> Scaling:
        """To mean 0 and deviation 1 of each column of targets (N, T), by the weights of examples.

        What does not count has no part in it, and twice the weight is the same as two examples.
        """
        shares = np.ones(len(targets)) if weights is None else weights.astype(np.float64)
        counted, shares = targets[shares > 0].astype(np.float64), shares[shares > 0]
        mean = np.average(counted, axis=0, weights=shares)
        deviation = np.sqrt(np.average((counted - mean) ** 2, axis=0, weights=shares))
        varies = np.ptp(counted, axis=0) > 0  # the deviation of equal numbers may round to over 0
        return cls("standard", mean, 1 / np.where(varies, deviation, 1.0))

    def scaled(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """(values - offset) * factor."""
        offset = 0.0 if self.offset is None else self.offset
        scaled: NDArray[np.float64] = (values.astype(np.float64) - offset) * self.factor
        return scaled

    def unscaled(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """What `scaled` would make these values of."""
        offset = 0.0 if self.offset is None else self.offset
        unscaled: NDArray[np.float64] = values.astype(np.float64) / self.factor + offset
        return unscaled


def _mean_and_deviation_of_bytes(
    inputs: NDArray[np.uint8],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both exactly, each (1,), from the 256 counts: a float copy of the images would be 4 times."""
    counts = np.zeros(256, dtype=np.int64)
    for block in np.array_split(inputs, -(-len(inputs) // 4096)):
        counts += np.bincount(block.ravel(), minlength=256)
    values = np.arange(256)
    mean = np.average(values, weights=counts)
    deviation = np.sqrt(np.average((values - mean) ** 2, weights=counts))
    return np.array([mean]), np.array([deviation])
