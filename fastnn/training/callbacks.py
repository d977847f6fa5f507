"""What may be hung on the training loop: four moments, none of them inside an epoch's steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastnn.training.trainer import Trainer


@dataclass(frozen=True, slots=True)
class EpochReport:
    """One epoch's figures. Training figures are running ones: each batch before its update."""

    epoch: int  # from 1
    step: int  # updates since the start
    learning_rate: float  # of the epoch's last step
    train_loss: float
    train_accuracy: float | None  # None where numbers are predicted
    valid_loss: float | None
    valid_accuracy: float | None
    seconds: float  # of training, without validation
    samples_per_second: float


class Callback:
    """Override what you need."""

    def on_fit_start(self, trainer: Trainer) -> None:
        """Before the first step; after a resumed state was loaded."""

    def on_save(self, trainer: Trainer) -> None:
        """The state is complete and worth keeping: after each epoch, and where asked between."""

    def on_epoch_end(self, trainer: Trainer, report: EpochReport) -> None:
        """After `on_save`."""

    def on_fit_end(self, trainer: Trainer) -> None:
        """Whatever ended the run, an exception included; the best weights are back."""
