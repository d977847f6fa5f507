"""Writes IDX files for tests, independently of the reader."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def idx_bytes(array: NDArray[np.uint8]) -> bytes:
    """The uncompressed IDX file of an array of bytes."""
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return header + array.tobytes()


def write_idx(path: Path, array: NDArray[np.uint8]) -> Path:
    """Write an array of bytes, compressed if the name ends in .gz."""
    content = idx_bytes(array)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content, 1, mtime=0) if path.suffix == ".gz" else content)
    return path


def write_folder(folder: Path, *, train: int = 12, test: int = 6, ending: str = ".gz") -> Path:
    """Write four small files under the canonical names: 4 x 5 pixels, labels 0, 1, 2, 0, ..."""
    for prefix, count in (("train", train), ("t10k", test)):
        images = np.arange(count * 20, dtype=np.uint8).reshape(count, 4, 5)
        labels = (np.arange(count) % 3).astype(np.uint8)
        write_idx(folder / f"{prefix}-images-idx3-ubyte{ending}", images)
        write_idx(folder / f"{prefix}-labels-idx1-ubyte{ending}", labels)
    return folder
