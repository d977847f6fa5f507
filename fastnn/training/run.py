"""Where the objects meet: from a configuration to a trained, evaluated, recorded network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from math import isfinite
from pathlib import Path
from typing import Any

from fastnn import __version__
from fastnn.backend import Array, Backend, get_backend
from fastnn.data.examples import Dataset
from fastnn.data.source import DATASET_NAMES, load_dataset
from fastnn.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    DeviceError,
    Interrupted,
    TrainingDiverged,
)
from fastnn.training import checkpoint
from fastnn.training.build import Parts, build
from fastnn.training.callbacks import Callback, EpochReport
from fastnn.training.classifier import Classifier
from fastnn.training.config import TrainConfig
from fastnn.training.folder import Recorder, RunFolder
from fastnn.training.layout import LAST
from fastnn.training.predictor import load_params
from fastnn.training.regressor import Regressor
from fastnn.training.scoring import RegressionScore, Score
from fastnn.training.signals import signals_interrupt


@dataclass(frozen=True, slots=True)
class Result:
    """What a run ends with. `train` is the final network on all the examples it learned from."""

    dataset: str
    predictor: Classifier | Regressor
    history: list[EpochReport]
    train: Score | RegressionScore
    valid: Score | RegressionScore | None
    test: Score | RegressionScore | None
    seconds: float  # of fitting, validation and the time before a resume included
    folder: Path | None
    device: str  # cpu, cuda:0, ...
    kernels: str  # what ran the steps: reference, fused or captured
    precision: str  # of matrix products: float32 or tf32
    best_epoch: int | None = None  # whose weights are kept; None where nothing was held out

    @property
    def classifier(self) -> Classifier:
        """The network, where it tells classes apart."""
        if isinstance(self.predictor, Classifier):
            return self.predictor
        raise AttributeError(f"{self.dataset} holds numbers to predict: use result.regressor")

    @property
    def regressor(self) -> Regressor:
        """The network, where it predicts numbers."""
        if isinstance(self.predictor, Regressor):
            return self.predictor
        raise AttributeError(f"{self.dataset} holds classes: use result.classifier")

    def summary(self) -> dict[str, Any]:
        """The final figures as plain values; accuracies in 0..1, null where there was no part.

        Where numbers are predicted, losses are of scaled targets: an mse of 1 is what predicting
        their mean gives.
        """
        figures = [name for name in asdict(self.train) if name != "count"]
        parts = {"train": self.train, "valid": self.valid, "test": self.test}
        return {
            "dataset": self.dataset,
            **{
                f"{part}_{name}": None if score is None else getattr(score, name)
                for part, score in parts.items()
                for name in figures
            },
            "seconds": self.seconds,
            "epochs": len(self.history),
            "best_epoch": self.best_epoch,
            "run": None if self.folder is None else str(self.folder),
            "device": self.device,
            "kernels": self.kernels,
            "precision": self.precision,
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
    backend = get_backend(config.device, threads=config.threads)
    data = limited(data or load_data(config), config)
    config = self_contained(config, data)
    with backend.activate():
        parts = build(config, data, backend, callbacks)
        if out is None:
            _fit(config, parts)
            return _result(config, data, parts, None)
        folder = RunFolder.create(Path(out), name or data.name)
        return _record(config, data, parts, folder, data.fingerprint())


@dataclass(frozen=True, slots=True)
class SavedRun:
    """The last state of a run folder, as read from disk."""

    folder: RunFolder
    config: TrainConfig
    arrays: dict[str, Array]
    meta: dict[str, Any]

    @property
    def epochs_done(self) -> int:
        """Finished epochs."""
        done: int = self.meta["state"]["epoch"]
        return done


def load_run(path: str | Path) -> SavedRun:
    """Read the last state of the run in this folder (or of its last.safetensors)."""
    path = Path(path)
    folder = RunFolder(path.parent if path.name == LAST else path)
    arrays, meta = checkpoint.load(folder.path / LAST)
    state = meta.get("state")
    if not isinstance(state, dict) or "epoch" not in state:
        raise CheckpointError(f"{folder.path / LAST}: holds a network but no state to go on from")
    return SavedRun(folder, checkpoint.config_of(meta, folder.path / LAST), arrays, meta)


def resume(
    run: str | Path | SavedRun,
    *,
    data: Dataset | None = None,
    epochs: int | None = None,
    device: str | None = None,
    threads: int | None = None,
    kernels: str | None = None,
    precision: str | None = None,
    max_time: float | None = None,
    target_accuracy: float | None = None,
    callbacks: Sequence[Callback] = (),
) -> Result:
    """Go on with a run from its last saved state, as if it had never stopped.

    Only the number of epochs, their time limit, and what computes them, may change. A run that is
    complete is scored again.
    """
    saved = run if isinstance(run, SavedRun) else load_run(run)
    if epochs is not None and epochs < saved.epochs_done:
        raise ConfigError(
            f"epochs: the run has done {saved.epochs_done} already, it cannot end after {epochs}"
        )
    asked = {
        "epochs": epochs, "device": device, "threads": threads, "kernels": kernels,
        "precision": precision, "max_time": max_time, "target_accuracy": target_accuracy,
    }  # fmt: skip
    changes: dict[str, Any] = {key: value for key, value in asked.items() if value is not None}
    config = replace(saved.config, **changes)
    if data is None and in_memory(saved.config):
        raise DataError(
            f"{saved.folder.path} was trained on arrays in memory: resume it from Python with data="
        )
    data = limited(data or load_data(config), config)
    fingerprint = data.fingerprint()
    if fingerprint != saved.meta.get("fingerprint"):
        raise DataError(
            f"{data.name}: the training data are not those that the run {saved.folder.path} was "
            "started with (their fingerprints differ); resume with the same files"
        )
    backend = get_backend(config.device, threads=config.threads)
    with backend.activate():
        parts = build(config, data, backend, callbacks)
        load_params(parts.predictor.model, saved.arrays)
        try:
            parts.trainer.load_state(saved.arrays, saved.meta["state"])
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{saved.folder.path}: damaged state ({error})") from error
        if config.epochs > saved.config.epochs or any(
            getattr(config, name) != getattr(saved.config, name)
            for name in ("max_time", "target_accuracy")
        ):
            parts.trainer.go_on()  # more is asked for than when it stopped early
        return _record(config, data, parts, saved.folder, fingerprint)


def in_memory(config: TrainConfig) -> bool:
    """Whether a run's data were given as arrays, so that nothing names where they are."""
    return config.dataset not in DATASET_NAMES and not Path(config.dataset).is_absolute()


def load_data(config: TrainConfig, **options: Any) -> Dataset:
    """The data set that a configuration names; `options` go to `load_dataset`."""
    return load_dataset(
        config.dataset,
        data_dir=None if config.data_dir is None else Path(config.data_dir),
        test_data=None if config.test_data is None else Path(config.test_data),
        label=config.label,
        limit=config.limit_train or None,
        seed=config.seed,
        numbers=not config.classifies,
        **options,
    )


def _record(
    config: TrainConfig, data: Dataset, parts: Parts, folder: RunFolder, fingerprint: str
) -> Result:
    """Fit and score while everything is kept in the folder."""
    with folder.locked(), signals_interrupt(parts.trainer):
        folder.write_json("config.json", config.to_dict())
        if not (folder.path / "environment.json").exists():
            folder.write_json("environment.json", _environment(parts.trainer.model.backend))
        recorder = Recorder(folder, config, parts.predictor, fingerprint)
        parts.trainer.callbacks.insert(0, recorder)
        try:
            _fit(config, parts)
        except Interrupted as error:
            error.add_note(f"go on with: fastnn train --resume {folder.path}")
            raise
        except TrainingDiverged as error:
            error.add_note(f"the last good state is kept in {folder.path / LAST}")
            raise
        except DeviceError as error:
            if (folder.path / LAST).exists():
                error.add_note(f"the last saved state is kept: fastnn train --resume {folder.path}")
            raise
        result = _result(config, data, parts, folder)
        folder.write_json("result.json", result.summary())
        return result


def _fit(config: TrainConfig, parts: Parts) -> None:
    parts.trainer.fit(parts.train_batches, parts.valid_batches, epochs=config.epochs)


def _result(config: TrainConfig, data: Dataset, parts: Parts, folder: RunFolder | None) -> Result:
    """Score every part with the final network: the only time that the test part is read."""
    trainer, predictor = parts.trainer, parts.predictor
    seconds = trainer.elapsed
    result = Result(
        dataset=data.name,
        predictor=predictor,
        history=trainer.history,
        train=predictor.evaluate(parts.learn),
        valid=None if parts.valid is None else predictor.evaluate(parts.valid),
        test=None if data.test is None else predictor.evaluate(data.test),
        seconds=seconds,
        folder=None if folder is None else folder.path,
        device=str(predictor.model.backend),
        kernels=trainer.path,
        precision=config.precision,
        best_epoch=trainer.best.epoch or None,
    )
    if not isfinite(result.train.loss):
        raise TrainingDiverged(
            "the final network's loss is not finite. Lower the learning rate, or scale the inputs"
        )
    return result


def limited(data: Dataset, config: TrainConfig) -> Dataset:
    """With as many training examples as a configuration asks for."""
    return data.limited(config.limit_train, config.seed) if config.limit_train else data


def self_contained(config: TrainConfig, data: Dataset) -> TrainConfig:
    """With the name that `auto` stood for and absolute paths: usable from any other folder."""
    changes: dict[str, Any] = {
        key: str(Path(path).resolve())
        for key in ("dataset", "data_dir", "test_data")
        if (path := getattr(config, key)) is not None and Path(path).exists()
    }
    if config.dataset == "auto":
        changes["dataset"] = data.name
    elif config.dataset in DATASET_NAMES:
        changes.pop("dataset", None)  # a name stays one, even beside a folder that is called so
    return replace(config, **changes)


def _numba() -> str:
    try:
        return version("numba")
    except PackageNotFoundError:
        return "not installed"


def _environment(backend: Backend) -> dict[str, str]:
    return {
        "fastnn": __version__,
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        **backend.describe(),
        "numba": _numba(),
        "device_reason": backend.reason,
    }
