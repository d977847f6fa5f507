"""The best epoch so far: its figures and a copy of its weights."""

from __future__ import annotations

from dataclasses import dataclass

from fastnn.backend import Array
from fastnn.training.scoring import Score

WORST = Score(loss=float("inf"), accuracy=-1.0, count=0)


@dataclass(slots=True)
class Best:
    """Higher validation accuracy is better; of equals, lower loss. Epochs count from 1."""

    epoch: int = 0
    score: Score = WORST
    weights: Array | None = None  # (P,), on the model's device

    def offer(self, epoch: int, score: Score, weights: Array) -> bool:
        """Keep a copy if this epoch beats the best; tell whether it did."""
        if (score.accuracy, -score.loss) <= (self.score.accuracy, -self.score.loss):
            return False
        self.epoch, self.score = epoch, score
        if self.weights is None:
            self.weights = weights.copy()
        else:
            self.weights[...] = weights
        return True
