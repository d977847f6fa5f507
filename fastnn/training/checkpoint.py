"""Checkpoints: one safetensors file each, written so that a crash leaves the old one whole.

Arrays keep their names (`params/layers.0.weight`, `optim/m`, `scaling/factor`, ...); everything
else is JSON under the one metadata key "fastnn".
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fastnn.backend import Array
from fastnn.errors import CheckpointError, ConfigError, OutputError
from fastnn.training.config import TrainConfig

FORMAT = 2  # 1 knew plain blocks only


def save(path: Path, arrays: Mapping[str, Array], meta: Mapping[str, Any]) -> None:
    """Write host arrays and JSON-able values; OutputError where the disk refuses."""
    from safetensors.numpy import save as serialize

    whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    text = json.dumps({"format": FORMAT, **meta}, allow_nan=False)
    write_atomically(path, serialize(whole, metadata={"fastnn": text}))


def load(path: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    """The arrays and values that `save` wrote; CheckpointError for anything else."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            text = (file.metadata() or {}).get("fastnn")
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except FileNotFoundError:
        raise CheckpointError(f"{path}: there is no such file; was a run saved here?") from None
    except (OSError, SafetensorError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path}: not a readable safetensors file ({error})") from error
    if text is None:
        raise CheckpointError(f"{path}: a safetensors file, but not one that fastnn wrote")
    try:
        meta = json.loads(text)
        version = int(meta["format"])
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: its fastnn metadata is damaged ({error})") from error
    if version > FORMAT:
        raise CheckpointError(
            f"{path}: has format {version}, this fastnn reads up to {FORMAT}; update fastnn"
        )
    return arrays, meta


def config_of(meta: Mapping[str, Any], source: Path) -> TrainConfig:
    """The configuration in a checkpoint's metadata."""
    try:
        return TrainConfig().updated(meta["config"], str(source))
    except (KeyError, TypeError, ConfigError) as error:
        raise CheckpointError(f"{source}: its configuration cannot be used ({error})") from error


def write_atomically(path: Path, data: bytes) -> None:
    """Put `data` under `path` at once: temporary file, fsync, rename, fsync of the folder.

    A link keeps its place, and what it leads to is written. What is no file, such as a pipe or
    /dev/stdout, is written to as it is; a file that may not be written is left alone.
    """
    path = Path(os.path.realpath(path)) if path.is_symlink() else path
    if path.exists() and not path.is_file() and not path.is_dir():
        _write_through(path, data)
        return
    if path.is_file() and not os.access(path, os.W_OK):
        raise OutputError(f"{path}: cannot be written (it is read-only); name another file")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(path.parent)
    except OSError as error:
        kept = "; the previous one is untouched" if path.exists() else ""
        raise OutputError(f"{path}: cannot be written ({error.strerror or error}){kept}") from error


def _write_through(path: Path, data: bytes) -> None:
    try:
        with path.open("wb") as file:
            file.write(data)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable, where the system lets a folder be opened."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
