"""What a study found: figures, who was skipped, what it was measured on; and its JSON file."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from fastnn.errors import DataError

FORMAT = 1

# Adam steps before losses are compared. More would be a weaker test: rounding flips a ReLU sooner
# or later: after 24 steps correct competitors are up to 3 % apart, after 5 up to 0.03 % (LOG).
AGREE_AFTER = 5
AGREE_WITHIN = {"float32": 1e-3, "tf32": 1e-2}  # tf32 keeps 10 bits of each factor


@dataclass(frozen=True, slots=True)
class Figure:
    """One competitor at one batch size: microseconds a step, in quartiles over the rounds."""

    family: str
    device: str
    median: float
    lower: float
    upper: float
    steps: int  # in a round
    rounds: int
    loss: float | None  # after AGREE_AFTER steps

    @classmethod
    def of(
        cls, seconds: Iterable[float], *, family: str, device: str, steps: int, loss: float | None
    ) -> Figure:
        """From the seconds a step of each round."""
        times = np.array(list(seconds)) * 1e6
        lower, median, upper = (float(q) for q in np.quantile(times, (0.25, 0.5, 0.75)))
        return cls(family, device, median, lower, upper, steps, len(times), loss)


@dataclass(slots=True)
class Record:
    """Figures by batch size and competitor, in the order of measuring."""

    facts: dict[str, Any]
    batches: dict[int, dict[str, Figure]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)  # who, and why
    disagreements: list[str] = field(default_factory=list)
    memory: dict[str, Any] = field(default_factory=dict)  # see memory.py

    def names(self) -> list[str]:
        """Every competitor that was measured at some batch size, in order."""
        return list(dict.fromkeys(name for found in self.batches.values() for name in found))

    def to_json(self) -> str:
        """The record as a file's text, readable for people, too."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=2, allow_nan=False) + "\n"


def throughput(batch: int, microseconds: float) -> float:
    """Examples a second."""
    return batch / microseconds * 1e6


def load(path: Path) -> Record:
    """A record that `to_json` wrote; DataError for anything else."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values["format"] > FORMAT:
            raise DataError(
                f"{path}: has format {values['format']}, this fastnn reads up to {FORMAT}; "
                "update fastnn"
            )
        batches = {
            int(batch): {str(name): Figure(**figure) for name, figure in found.items()}
            for batch, found in values["batches"].items()
        }
        for figure in (figure for found in batches.values() for figure in found.values()):
            if not (isfinite(figure.median) and figure.median > 0):
                raise ValueError(f"a median of {figure.median!r}")
        kept = {key: values[key] for key in ("facts", "skipped", "disagreements", "memory")}
        if not isinstance(kept["facts"], dict):
            raise TypeError(f"facts are {kept['facts']!r}")
        return Record(batches=batches, **kept)
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file; --save writes one") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{path}: not a record of fastnn bench ({type(error).__name__}: {error}); expected a "
            "file that --save wrote"
        ) from error


def disagreements(batch: int, losses: dict[str, float], precision: str = "float32") -> list[str]:
    """One line for each competitor whose loss is not near the median of all."""
    finite = [loss for loss in losses.values() if isfinite(loss)]
    middle = float(np.median(finite)) if finite else float("nan")
    return [
        f"batch {batch}: {name} has loss {loss:.6f} after {AGREE_AFTER} steps, the median is "
        f"{middle:.6f}: not the same computation"
        for name, loss in losses.items()
        if not abs(loss - middle) <= AGREE_WITHIN[precision] * abs(middle)  # false for NaN, too
    ]
