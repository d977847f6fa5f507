"""Input scaling: fitted on the training part, stored with the model, applied while gathering."""

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
