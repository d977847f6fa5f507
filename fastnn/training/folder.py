"""The folder of one run: what lies in it, and a callback that keeps it up to date.

config.json          the settings, every one; can be given back with --config
environment.json     versions, processor, device
metrics.jsonl, .csv  one line an epoch
last.safetensors     the whole state, from which --resume goes on
best.safetensors     the network to use: best validation, or the last without a validation part
result.json          the final figures, once there are any
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any

from fastnn import __version__
from fastnn.errors import OutputError
from fastnn.training import checkpoint
from fastnn.training.callbacks import Callback, EpochReport
from fastnn.training.classifier import BEST, LAST, Classifier
from fastnn.training.config import TrainConfig
from fastnn.training.trainer import Trainer

_COLUMNS = tuple(item.name for item in fields(EpochReport))


@dataclass(frozen=True, slots=True)
class RunFolder:
    """A folder that belongs to one run and is never written by another."""

    path: Path

    @classmethod
    def create(cls, out: Path, name: str) -> RunFolder:
        """A new folder `out/<time>-<name>`; a number is added where that exists already."""
        stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
        safe = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "run"
        number = 1
        while True:
            path = out / (f"{stamp}-{safe}" + (f"-{number}" if number > 1 else ""))
            try:
                path.mkdir(parents=True)
                return cls(path)
            except FileExistsError:
                if not out.is_dir():
                    raise OutputError(f"{out}: is a file; --out needs a folder") from None
                number += 1
            except OSError as error:
                raise OutputError(f"{path}: cannot be made ({error.strerror})") from error

    def write_json(self, name: str, values: Any) -> None:
        """A small JSON file, indented for people."""
        text = json.dumps(values, indent=2) + "\n"
        checkpoint.write_atomically(self.path / name, text.encode())

    def rewrite_metrics(self, history: list[EpochReport]) -> None:
        """Both metrics files anew: drops what was reported after the last saved state."""
        for name, header in (("metrics.jsonl", ""), ("metrics.csv", _csv_row(_COLUMNS))):
            checkpoint.write_atomically(self.path / name, header.encode())
        for report in history:
            self.append_metrics(report)

    def append_metrics(self, report: EpochReport) -> None:
        """One more line in both metrics files."""
        row = asdict(report)
        for name, line in (
            ("metrics.jsonl", json.dumps(row) + "\n"),
            ("metrics.csv", _csv_row(row.values())),
        ):
            path = self.path / name
            try:
                with path.open("a", encoding="utf-8", newline="") as file:
                    file.write(line)
            except OSError as error:
                raise OutputError(f"{path}: cannot be written ({error.strerror})") from error


class Recorder(Callback):
    """Writes the state, the best network and the metrics of a run into its folder."""

    def __init__(
        self, folder: RunFolder, config: TrainConfig, classifier: Classifier, fingerprint: str
    ) -> None:
        self.folder = folder
        self._classifier = classifier
        self._common = {
            "fastnn": __version__,
            "config": config.to_dict(),
            "fingerprint": fingerprint,
        }

    def on_fit_start(self, trainer: Trainer) -> None:
        self.folder.rewrite_metrics(trainer.history)
        if not trainer.epoch and not trainer.position:
            self.on_save(trainer)  # so that a run killed in its first epoch can be resumed, too

    def on_save(self, trainer: Trainer) -> None:
        arrays, model = self._classifier.parts()
        meta = {**self._common, "model": model}
        improved = trainer.position == 0 and trainer.best.epoch == trainer.epoch
        if improved or (trainer.best.weights is None and trainer.position == 0):
            checkpoint.save(self.folder.path / BEST, arrays, {**meta, "epoch": trainer.epoch})
        state_arrays, state = trainer.state()
        host = trainer.model.backend.to_host
        arrays |= {name: host(array) for name, array in state_arrays.items()}
        checkpoint.save(self.folder.path / LAST, arrays, {**meta, "state": state})

    def on_epoch_end(self, trainer: Trainer, report: EpochReport) -> None:
        self.folder.append_metrics(report)


def _csv_row(values: Iterable[object]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()
