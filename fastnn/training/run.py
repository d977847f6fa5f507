"""Where the objects meet: from a configuration to a trained, evaluated, recorded network."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from fastnn import __version__
from fastnn.backend import Array, Backend, get_backend
from fastnn.data.examples import Dataset
from fastnn.data.source import load_dataset
from fastnn.errors import CheckpointError, DataError, Interrupted, TrainingDiverged
from fastnn.training import checkpoint
from fastnn.training.build import Parts, build
from fastnn.training.callbacks import Callback, EpochReport
from fastnn.training.classifier import LAST, Classifier, load_params
from fastnn.training.config import TrainConfig
from fastnn.training.folder import Recorder, RunFolder
from fastnn.training.scoring import Score
from fastnn.training.signals import signals_interrupt


@dataclass(frozen=True, slots=True)
class Result:
    """What a run ends with. `train` is the final network on all the examples it learned from."""

    dataset: str
    classifier: Classifier
    history: list[EpochReport]
    train: Score
    valid: Score | None
    test: Score | None
    seconds: float  # of training, validation included
    folder: Path | None

    def summary(self) -> dict[str, Any]:
        """The final figures as plain values; accuracies in 0..1, null where there was no part."""
        return {
            "dataset": self.dataset,
            "train_loss": self.train.loss,
            "train_accuracy": self.train.accuracy,
            "valid_loss": None if self.valid is None else self.valid.loss,
            "valid_accuracy": None if self.valid is None else self.valid.accuracy,
            "test_loss": None if self.test is None else self.test.loss,
            "test_accuracy": None if self.test is None else self.test.accuracy,
            "seconds": self.seconds,
            "epochs": len(self.history),
            "run": None if self.folder is None else str(self.folder),
        }


def train(
    config: TrainConfig | None = None,
    *,
    data: Dataset | None = None,
    out: str | Path | None = None,
    name: str | None = None,
    callbacks: Sequence[Callback] = (),
) -> Result:
    """Train as `config` says (default: `TrainConfig()`), on `data` or on the set it names.

    With `out`, everything is recorded in a new folder below it, and SIGINT or SIGTERM end the run
    after the step under way with its state saved. The test part is read once, at the end.
    """
    config = config or TrainConfig()
    backend = get_backend(config.device)
    data = data or load_data(config)
    if config.dataset == "auto":
        config = replace(config, dataset=data.name)
    with backend.activate():
        parts = build(config, data, backend, callbacks)
        folder = None if out is None else RunFolder.create(Path(out), name or data.name)
        return _finish(config, data, parts, folder)


@dataclass(frozen=True, slots=True)
class SavedRun:
    """The last state of a run folder, as read from disk."""

    folder: RunFolder
    config: TrainConfig
    arrays: dict[str, Array]
    meta: dict[str, Any]


def load_run(path: str | Path) -> SavedRun:
    """Read the last state of the run in this folder."""
    folder = RunFolder(Path(path))
    arrays, meta = checkpoint.load(folder.path / LAST)
    return SavedRun(folder, checkpoint.config_of(meta, folder.path / LAST), arrays, meta)


def resume(
    run: str | Path | SavedRun,
    *,
    data: Dataset | None = None,
    epochs: int | None = None,
    device: str | None = None,
    callbacks: Sequence[Callback] = (),
) -> Result:
    """Go on with a run from its last saved state, as if it had never stopped.

    Only the number of epochs and the device may change. A run that is complete is scored again.
    """
    saved = run if isinstance(run, SavedRun) else load_run(run)
    config = replace(
        saved.config,
        epochs=saved.config.epochs if epochs is None else epochs,
        device=device or saved.config.device,
    )
    data = data or load_data(config)
    if data.fingerprint() != saved.meta.get("fingerprint"):
        raise DataError(
            f"{data.name}: the training data are not those that the run {saved.folder.path} was "
            "started with (their fingerprints differ); resume with the same files"
        )
    backend = get_backend(config.device)
    with backend.activate():
        parts = build(config, data, backend, callbacks)
        load_params(parts.classifier.model, saved.arrays)
        try:
            parts.trainer.load_state(saved.arrays, saved.meta["state"])
        except (KeyError, TypeError) as error:
            raise CheckpointError(f"{saved.folder.path}: the saved state lacks {error}") from error
        if config.epochs > saved.config.epochs:
            parts.trainer.stopped = None  # more epochs are asked for than when it stopped early
        return _finish(config, data, parts, saved.folder)


def load_data(config: TrainConfig, **options: Any) -> Dataset:
    """The data set that a configuration names; `options` go to `load_dataset`."""
    return load_dataset(
        config.dataset,
        data_dir=None if config.data_dir is None else Path(config.data_dir),
        test_data=None if config.test_data is None else Path(config.test_data),
        label=config.label,
        limit=config.limit_train or None,
        seed=config.seed,
        **options,
    )


def _finish(config: TrainConfig, data: Dataset, parts: Parts, folder: RunFolder | None) -> Result:
    """Fit, score every part with the final network, record."""
    trainer, classifier = parts.trainer, parts.classifier
    began = time.perf_counter()
    if folder is None:
        trainer.fit(parts.train_batches, parts.valid_batches, epochs=config.epochs)
    else:
        folder.write_json("config.json", config.to_dict())
        folder.write_json("environment.json", _environment(trainer.model.backend))
        trainer.callbacks.insert(0, Recorder(folder, config, classifier, data.fingerprint()))
        try:
            with signals_interrupt(trainer):
                trainer.fit(parts.train_batches, parts.valid_batches, epochs=config.epochs)
        except (Interrupted, TrainingDiverged) as error:
            error.add_note(f"go on with: fastnn train --resume {folder.path}")
            raise
    seconds = time.perf_counter() - began
    result = Result(
        dataset=data.name,
        classifier=classifier,
        history=trainer.history,
        train=classifier.evaluate(parts.learn),
        valid=None if parts.valid is None else classifier.evaluate(parts.valid),
        test=None if data.test is None else classifier.evaluate(data.test),
        seconds=seconds,
        folder=None if folder is None else folder.path,
    )
    if folder is not None:
        folder.write_json("result.json", result.summary())
    return result


def _environment(backend: Backend) -> dict[str, str]:
    return {
        "fastnn": __version__,
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        **backend.describe(),
        "device_reason": backend.reason,
    }
