"""Run folders as they lie on disk: which there are, how far each is, and its figures.

Thousands are read in a second or two, so only the small text files are: the networks need not be
loaded, nor what loads them. Whatever is in those files, reading them raises nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from fastnn.analysis.history import best_epoch, read_facts, read_history
from fastnn.analysis.wording import dataset_name
from fastnn.errors import CheckpointError, DataError
from fastnn.training.callbacks import EpochReport
from fastnn.training.config import TrainConfig
from fastnn.training.layout import BEST, CONFIG, ENVIRONMENT, LAST, METRICS, RESULT, is_held

STATES = ("finished", "running", "stopped", "empty", "broken")
USUAL = TrainConfig().to_dict()
PARTS = ("train", "valid", "test")
FIGURES = (
    *(f"{part}_{figure}" for part in PARTS for figure in ("loss", "accuracy", "r2", "rmse")),
    "seconds", "epochs_done",
)  # fmt: skip
_MARKS = {"dataset", "hidden", "epochs"}  # by these a config.json is ours


@dataclass(frozen=True)
class Run:
    """A run folder as it was when read; `name` is its path below the folder that was searched."""

    path: Path
    name: str
    settings: Mapping[str, Any]  # every one; the default where the run's own is missing or damaged
    problem: str  # why it is broken, or nothing
    held: bool  # somebody trains in it
    _result: Mapping[str, Any]

    @cached_property
    def state(self) -> str:
        """One of STATES."""
        if self.held:
            return "running"
        if self.problem:
            return "broken"
        if self.result:
            return "finished"
        return "stopped" if _size(self.path / LAST) else "empty"

    @cached_property
    def history(self) -> list[EpochReport]:
        """The epochs' figures, oldest first."""
        return read_history(self.path / METRICS)

    @cached_property
    def result(self) -> Mapping[str, Any]:
        """The final figures; nothing where there are none, or where the run has gone on since."""
        done = self._result.get("epochs", 0)
        # Only who was asked for more can have gone on, so most histories are not even read.
        went_on = done < self.settings["epochs"] and len(self.history) > done
        return {} if went_on else self._result

    @cached_property
    def environment(self) -> Mapping[str, Any]:
        """Versions, processor and device."""
        return read_facts(self.path / ENVIRONMENT)

    @cached_property
    def started(self) -> datetime | None:
        """When training began, as it says; else when its settings were written."""
        said = self.environment.get("started")
        try:
            if isinstance(said, str):
                return datetime.fromisoformat(said).astimezone()
        except (ValueError, OverflowError, OSError):
            pass
        try:
            return datetime.fromtimestamp((self.path / CONFIG).stat().st_mtime).astimezone()
        except (ValueError, OverflowError, OSError):
            return None

    @property
    def dataset(self) -> str:
        """The data's name, without the folder of a file."""
        return dataset_name(self.settings["dataset"])

    @property
    def classifies(self) -> bool:
        """Whether it tells classes apart, instead of predicting numbers."""
        return bool(self.settings["loss"] == USUAL["loss"])

    @cached_property
    def best_epoch(self) -> EpochReport | None:
        """The epoch whose network is kept: the best validation, or the last without one."""
        best = best_epoch(self.history)
        return best or (self.history[-1] if self.history else None)

    @cached_property
    def figures(self) -> dict[str, Any]:
        """FIGURES that are known. Before a run has ended, those of its best epoch's validation."""
        if self.result:
            known = {key: self.result.get(key) for key in FIGURES}
            known["epochs_done"] = self.result["epochs"]
        else:
            best, seconds = self.best_epoch, sum(report.seconds for report in self.history)
            known = {"seconds": seconds, "epochs_done": len(self.history)}
            if best is not None:
                known |= {"valid_loss": best.valid_loss, "valid_accuracy": best.valid_accuracy}
        return {key: value for key, value in known.items() if _is_figure(key, value)}

    @property
    def facts(self) -> dict[str, Any]:
        """All that runs can be chosen by: settings, figures, and what else a table shows."""
        ran = {key: self.result[key] for key in ("device", "kernels") if key in self.result}
        return {
            **self.settings,
            **ran,  # instead of "auto"
            **self.figures,
            "dataset": self.dataset,
            "name": self.name,
            "state": self.state,
            "started": None if self.started is None else self.started.isoformat(),
        }

    def fingerprint(self) -> str | None:
        """That of the data it was trained on, from the header of a checkpoint."""
        from safetensors import SafetensorError, safe_open

        for name in (BEST, LAST):
            try:
                with safe_open(self.path / name, framework="numpy") as file:
                    found = json.loads((file.metadata() or {})["fastnn"])["fingerprint"]
                if isinstance(found, str):
                    return found
            except (OSError, SafetensorError, ValueError, KeyError, TypeError, RecursionError):
                pass  # damaged, or not there: perhaps the other one is
        return None


def read_run(path: Path, name: str | None = None) -> Run | None:
    """The run in this folder; None where the folder is no run's."""
    if _size(path / CONFIG) is None:
        return None
    config = read_facts(path / CONFIG)
    if config and not config.keys() >= _MARKS:
        return None  # many programs call their settings config.json
    settings = {key: value for key, value in config.items() if _fits_setting(key, value)}
    result = read_facts(path / RESULT)
    problem = _problem(path, config, settings, result)
    known = result if _is_result(result) else {}
    return Run(path, name or str(path), USUAL | settings, problem, is_held(path), known)


def open_folder(path: Path) -> Run:
    """The run in this folder, which was named by somebody; CheckpointError where there is none."""
    found = read_run(path, path.resolve().name)
    if found is not None:
        return found
    if not path.is_dir():
        what = "a file, expected the folder of a run" if path.exists() else "there is no such run"
        raise CheckpointError(f"{path}: {what}; see fastnn runs list")
    names = sorted(run.name for run in find_runs(path))
    hint = f"; it holds the runs {', '.join(names[-5:])}" if names else ""
    raise CheckpointError(f"{path}: this folder is not a run: it has no {CONFIG} of one{hint}")


def find_runs(root: Path) -> Iterator[Run]:
    """The runs below a folder and, where a folder in it is no run (a search, say), below that."""
    if not root.is_dir():
        what = "is no folder" if root.exists() else "there is no such folder"
        raise DataError(f"{root}: {what}; name one that holds runs, as given to train --out")
    for path in folders(root):
        run = read_run(path, path.name)
        if run is not None:
            yield run
            continue
        for inner in folders(path):
            run = read_run(inner, f"{path.name}/{inner.name}")
            if run is not None:
                yield run


def folders(root: Path) -> list[Path]:
    """The folders in a folder by name, but hidden ones; none where it cannot be read."""
    try:
        with os.scandir(root) as entries:
            names = [entry.name for entry in entries if entry.name[0] != "." and _is_folder(entry)]
    except OSError:
        return []
    return [root / name for name in sorted(names)]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads nowhere
        return False


def _problem(
    path: Path, config: Mapping[str, Any], settings: Mapping[str, Any], result: Mapping[str, Any]
) -> str:
    """What is wrong with a run's files, or nothing."""
    if not config:
        return f"{CONFIG} cannot be read"
    for key, value in config.items():
        if key in USUAL and key not in settings:
            return f"{CONFIG}: {key} is {str(value)[:40]!r}"
    ended = _size(path / RESULT) is not None
    if ended and not _is_result(result):
        return f"{RESULT} {'is incomplete' if result else 'cannot be read'}"
    sizes = {name: _size(path / name) for name in (BEST, LAST)}
    for name, size in sizes.items():
        if size == 0:
            return f"{name} is empty"
        if size is not None and not _is_whole(path / name, size):
            return f"{name} is damaged or cut off"
    if sizes[LAST] is None and (ended or sizes[BEST]):
        return "" if ended and sizes[BEST] else f"{LAST} is missing"
    return ""


def _is_whole(path: Path, size: int) -> bool:
    """Whether a safetensors file is as long as its header says: 8 bytes, header, arrays.

    What the arrays hold is not read.
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length)) if length < size else {}
        ends = [
            entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"
        ]
        return size == 8 + length + max(ends, default=-1)
    except (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        return False


def _is_result(result: Mapping[str, Any]) -> bool:
    needed = (result.get("train_loss"), result.get("seconds"))
    return type(result.get("epochs")) is int and all(map(_is_number, needed))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_figure(name: str, value: object) -> bool:
    """A number; errors of numbers that are predicted are several."""
    if name.endswith("_rmse") and isinstance(value, list):
        return bool(value) and all(map(_is_number, value))
    return _is_number(value)


def _fits_setting(key: str, value: object) -> bool:
    """Whether this is of the kind of that setting's default; not whether it is within its range."""
    if key not in USUAL:
        return False
    usual = USUAL[key]
    if isinstance(usual, list):
        return isinstance(value, list) and all(type(one) is type(usual[0]) for one in value)
    if usual is None:
        many = value.values() if isinstance(value, dict) else [value]
        return all(one is None or isinstance(one, str | int | float) for one in many)
    return type(value) is type(usual) or (type(usual) is float and type(value) is int)


def _size(path: Path) -> int | None:
    """Bytes of a file, None where there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return None
