"""How a training of a search ended: its figures, its rank, and its line in the search's record."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fastnn.errors import CheckpointError, OutputError
from fastnn.training import checkpoint


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one training of a trial ended; the figures are those of its best epoch."""

    trial: int  # from 1
    epochs: int  # of this rung
    status: str  # ok, diverged, or failed: the settings cannot be used on these data
    valid_accuracy: float | None  # None where numbers are predicted
    valid_loss: float | None
    seconds: float
    settings: dict[str, Any]  # as drawn
    message: str | None = None  # of what ended it

    @property
    def merit(self) -> tuple[bool, int, float, float]:
        """The greater the better: first by epochs, then by accuracy, then by loss."""
        loss = 0.0 if self.valid_loss is None else self.valid_loss
        return self.status == "ok", self.epochs, self.valid_accuracy or 0.0, -loss


def ranked(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """The best first; of equals, the trial that was drawn first."""
    by_trial = sorted(outcomes, key=lambda outcome: outcome.trial)
    return sorted(by_trial, key=lambda outcome: outcome.merit, reverse=True)


def in_words(settings: Mapping[str, Any]) -> str:
    """learning_rate 0.001, hidden [64, 32]."""
    return ", ".join(f"{key} {value}" for key, value in settings.items())


def append(path: Path, outcome: Outcome) -> None:
    """One more line in the record."""
    try:
        with path.open("a", encoding="utf-8", newline="") as file:
            file.write(json.dumps(asdict(outcome), allow_nan=False) + "\n")
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from error


def read(path: Path) -> dict[tuple[int, int], Outcome]:
    """The trainings on record. A last line without its end, from a killed search, is cut off."""
    text = path.read_bytes() if path.exists() else b""
    whole = text[: text.rfind(b"\n") + 1]
    if whole != text:
        checkpoint.write_atomically(path, whole)
    outcomes = {}
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            outcome = Outcome(**json.loads(line))
            outcomes[outcome.trial, outcome.epochs] = outcome
        except (ValueError, TypeError) as error:
            raise CheckpointError(
                f"{path}: line {number} is damaged ({error}); without it that training is repeated"
            ) from error
    return outcomes
