"""A saved run opened to be looked at: its network, its figures, and the data it was made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fastnn.analysis.history import read_facts, read_history
from fastnn.analysis.runs import read_run
from fastnn.analysis.wording import dataset_name
from fastnn.backend import get_backend
from fastnn.data.download import Progress
from fastnn.data.examples import Dataset, Examples, Schema
from fastnn.data.parts import shortened
from fastnn.data.source import read_labelled
from fastnn.errors import DataError
from fastnn.kernels import kernels_for
from fastnn.training import checkpoint
from fastnn.training.build import hold_out
from fastnn.training.callbacks import EpochReport
from fastnn.training.classifier import Classifier
from fastnn.training.config import TrainConfig
from fastnn.training.layout import BEST, ENVIRONMENT, METRICS
from fastnn.training.predictor import weights_file
from fastnn.training.regressor import Regressor
from fastnn.training.run import in_memory, limited, load_data
from fastnn.training.saved import predictor_from


@dataclass(frozen=True, slots=True)
class OpenedRun:
    """The best network of a run, or that of a .safetensors file, and what is known about it."""

    file: Path  # where the weights are from
    folder: Path | None  # None for a file that lies in no run folder
    meta: dict[str, Any]
    config: TrainConfig
    predictor: Classifier | Regressor

    @property
    def name(self) -> str:
        """What a title calls it."""
        return self.file.name if self.folder is None else self.folder.resolve().name

    def history(self) -> list[EpochReport]:
        """The epochs' figures, oldest first; lines that are damaged or cut off are left out."""
        if self.folder is None:
            return []
        return read_history(self.folder / METRICS)

    def result(self) -> Mapping[str, Any]:
        """What the run ended with; nothing where it has gone on since, or of another network."""
        run = None if self.folder is None or self.file.name != BEST else read_run(self.folder)
        return {} if run is None else run.result

    def environment(self) -> dict[str, Any]:
        """Versions and device; nothing where that is missing or broken."""
        return {} if self.folder is None else read_facts(self.folder / ENVIRONMENT)


@dataclass(frozen=True, slots=True)
class RunData:
    """The parts of a run's data to look at. `unvalidated` says why there is no validation part."""

    name: str
    test: Examples
    test_part: str  # what to call it: "test", or a file's name
    valid: Examples | None
    learned: int | None  # how many examples the run learned from, where its data could be read
    unvalidated: str = ""


def open_run(run: Path, device: str = "auto", threads: int = 0) -> OpenedRun:
    """Read a run folder or a .safetensors file; CheckpointError where it holds no network."""
    file = weights_file(run)
    arrays, meta = checkpoint.load(file)
    backend = get_backend(device, threads=threads)
    # For the rows of one command, loading Numba takes longer than its kernels would save.
    kernels = kernels_for(backend, "reference") if backend.name == "cpu" else None
    predictor = predictor_from(arrays, meta, backend, source=file, kernels=kernels)
    recorded = run.is_dir() or (file.parent / "config.json").exists()
    folder = file.parent if recorded else None
    return OpenedRun(file, folder, meta, checkpoint.config_of(meta, file), predictor)


def load_run_data(
    opened: OpenedRun,
    *,
    data: Dataset | None = None,
    data_dir: str | None = None,
    test_data: Path | None = None,
    or_validation: bool = False,
    warn: Callable[[str], None] | None = None,
    progress: Progress | None = None,
) -> RunData:
    """The test part of a run's data, and the validation part that it held out.

    `data` is what the run was trained on, where that were arrays in memory. `test_data` is a
    labelled file to look at instead; the run's own data then may be missing. With `or_validation`
    the validation part stands in where there is no test part, and is named so.
    DataError where there is no test part, or another one than the network was made for.
    """
    config, schema = opened.config, opened.predictor.schema
    if data_dir is not None:
        config = replace(config, data_dir=data_dir)
    if test_data is not None:
        name = dataset_name(config.dataset)
        try:
            test = read_labelled(test_data, schema, label=config.label)
        except DataError as error:
            error.add_note(f"this network was trained on {_kind(schema, config)}")
            raise
        try:
            data = data or load_data(config, warn=warn, progress=progress)
        except DataError as error:
            return RunData(name, test, test_data.name, None, None, str(error))
        return RunData(name, test, test_data.name, *_held_out(data, opened))
    if data is None and in_memory(config):
        raise DataError(
            f"{opened.name} was trained on arrays in memory: look at it from Python with data=, or "
            "name a labelled file with --test-data"
        )
    if data is None:
        data = load_data(config, warn=warn, progress=progress)
    if data.schema != schema:
        raise DataError(
            f"{data.name} is no longer what the network was trained on: found {data.schema}, "
            f"expected {schema}"
        )
    valid, learned, why = _held_out(data, opened)
    if data.test is not None:
        return RunData(data.name, data.test, "test", valid, learned, why)
    if or_validation and valid is not None:
        why = "there is no test part, and what is shown is the validation part"
        return RunData(data.name, valid, "validation", None, learned, why)
    raise DataError(f"{data.name} has no test part; name a file with --test-data")


def _kind(schema: Schema, config: TrainConfig) -> str:
    """What its examples are like, for somebody whose file is of another kind."""
    labels = ", ".join(schema.targets) or f"classes such as {schema.class_names[0]!r}"
    if schema.columns:
        features = shortened(", ".join(schema.features))
        where = ", ".join(schema.columns[: schema.label_columns])
        return f"the columns {features}, and {labels} in {where}"
    return f"inputs of shape {schema.shape}, and {labels}"


def _held_out(data: Dataset, opened: OpenedRun) -> tuple[Examples | None, int | None, str]:
    """The examples it validated on, drawn anew; how many it learned from; or why not."""
    data = limited(data, opened.config)
    if data.fingerprint() != opened.meta.get("fingerprint"):
        why = f"the training part of {data.name} is not the one that the run learned from"
        return None, None, why
    learn, valid = hold_out(data, opened.config)
    why = "" if valid is not None else "the run held nothing out for validation (val 0)"
    return valid, len(learn.labels), why
