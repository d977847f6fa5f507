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
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, astuple, dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any

from fastnn import __version__
from fastnn.errors import OutputError
from fastnn.training import checkpoint
from fastnn.training.callbacks import Callback, EpochReport
from fastnn.training.config import TrainConfig
from fastnn.training.layout import BEST, LAST, held
from fastnn.training.predictor import Predictor
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
        text = json.dumps(values, indent=2, allow_nan=False) + "\n"
        checkpoint.write_atomically(self.path / name, text.encode())

    def rewrite_metrics(self, history: list[EpochReport]) -> None:
        """Both metrics files anew: drops what was reported after the last saved state."""
        lines = "".join(map(_json_line, history))
        table = _csv_row(_COLUMNS) + "".join(_csv_row(astuple(report)) for report in history)
        checkpoint.write_atomically(self.path / "metrics.jsonl", lines.encode())
        checkpoint.write_atomically(self.path / "metrics.csv", table.encode())

    def append_metrics(self, report: EpochReport) -> None:
        """One more line in both metrics files."""
        for name, line in (
            ("metrics.jsonl", _json_line(report)),
            ("metrics.csv", _csv_row(astuple(report))),
        ):
            path = self.path / name
            try:
                with path.open("a", encoding="utf-8", newline="") as file:
                    file.write(line)
            except OSError as error:
                raise OutputError(f"{path}: cannot be written ({error.strerror})") from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from training in this folder; tidies what a killed one left."""
        with held(self.path) as alone:
            if alone:
                for abandoned in self.path.glob(".*.tmp"):
                    abandoned.unlink(missing_ok=True)
            yield


class Recorder(Callback):
    """Writes the state, the best network and the metrics of a run into its folder."""

    def __init__(
        self, folder: RunFolder, config: TrainConfig, predictor: Predictor, fingerprint: str
    ) -> None:
        self.folder = folder
        self._predictor = predictor
        self._common = {
            "fastnn": __version__,
            "config": config.to_dict(),
            "fingerprint": fingerprint,
        }

    def on_fit_start(self, trainer: Trainer) -> None:
        self.folder.rewrite_metrics(trainer.history)
        self.on_save(trainer)  # a run killed before its first save can be resumed, too

    def on_save(self, trainer: Trainer) -> None:
        arrays, model = self._predictor.parts()
        meta = {**self._common, "model": model}
        between_epochs = trainer.position == 0
        if between_epochs and (trainer.best.weights is None or trainer.best.epoch == trainer.epoch):
            with trainer.averaged():
                used, _ = self._predictor.parts()  # on a CPU these are views
                checkpoint.save(self.folder.path / BEST, used, {**meta, "epoch": trainer.epoch})
        state_arrays, state = trainer.state()
        host = trainer.model.backend.to_host
        arrays |= {name: host(array) for name, array in state_arrays.items()}
        checkpoint.save(self.folder.path / LAST, arrays, {**meta, "state": state})

    def on_epoch_end(self, trainer: Trainer, report: EpochReport) -> None:
        self.folder.append_metrics(report)


def _json_line(report: EpochReport) -> str:
    return json.dumps(asdict(report), allow_nan=False) + "\n"


def _csv_row(values: Iterable[object]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()
