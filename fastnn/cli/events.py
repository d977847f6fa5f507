"""Training as JSON Lines: what `fastnn train --json` prints while it runs."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from fastnn.cli.output import emit
from fastnn.training.callbacks import Callback, EpochReport

if TYPE_CHECKING:
    from fastnn.data.examples import Dataset
    from fastnn.training.trainer import Trainer


class Events(Callback):
    """One "start" event and one "epoch" event for each epoch."""

    def __init__(self, data: Dataset) -> None:
        self._data = data

    def on_fit_start(self, trainer: Trainer) -> None:
        model = trainer.model
        values = {
            "dataset": self._data.name,
            "device": str(model.backend),
            "reason": model.backend.reason,
            "kernels": trainer.path,
            "sizes": list(model.sizes),
            "parameters": model.parameters,
            "epochs": trainer.epochs,
            "steps_per_epoch": trainer.steps_per_epoch,
            "resumed_epoch": trainer.epoch,
            "resumed_step": trainer.position,
        }
        emit("start", values)

    def on_epoch_end(self, trainer: Trainer, report: EpochReport) -> None:
        emit("epoch", asdict(report))
