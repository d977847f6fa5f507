"""Writes .npy and .npz files for tests, independently of the reader."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np


def npy_bytes(array: Any, *, allow_pickle: bool = False) -> bytes:
    """The .npy file of an array, from NumPy's own writer."""
    buffer = io.BytesIO()
    np.save(buffer, np.asanyarray(array), allow_pickle=allow_pickle)
    return buffer.getvalue()


def npy_header(text: str, *, version: int = 1) -> bytes:
    """The opening of an .npy file whose header is this text, sound or not."""
    length = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes((version, 0)) + length + text.encode()


def write_npz(tmp_path: Path, **parts: Any) -> Path:
    """Write the arrays as set.npz."""
    path = tmp_path / "set.npz"
    np.savez(path, **parts)
    return path


def write_npy(tmp_path: Path, array: Any) -> Path:
    """Write an array, or the bytes of a file, as table.npy."""
    path = tmp_path / "table.npy"
    path.write_bytes(array if isinstance(array, bytes) else npy_bytes(array))
    return path
