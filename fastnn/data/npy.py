"""The bytes of .npy and .npz files as arrays: never pickles, and nothing allocated on trust.

They are read here rather than by `numpy.load`, so that what a header claims is compared with the
bytes that are there before memory is taken, and no hostile file ends in a strange error.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from fastnn.data.files import DEFLATE_LIMIT, MAX_BYTES, opened
from fastnn.data.parts import shortened
from fastnn.errors import DataError

if TYPE_CHECKING:
    from zipfile import ZipFile, ZipInfo

_LONGEST_HEADER = 1 << 16
_CHUNK = 1 << 20
_MAX_DIMENSIONS = 8
_SHOWN = 200  # characters of a name or a shape in a message


@contextmanager
def opened_archive(path: Path) -> Iterator[tuple[ZipFile, dict[str, ZipInfo]]]:
    """An open .npz file and its members by array name, their sizes checked."""
    import zipfile

    with opened(path) as file:
        try:
            archive = zipfile.ZipFile(file)
        except Exception as error:  # zipfile lets a dozen unrelated types out
            raise DataError(f"{path}: found no zip archive ({error}), expected .npz") from error
        with archive:
            members: dict[str, ZipInfo] = {}
            for info in archive.infolist():
                name = info.filename.removesuffix(".npy")
                if name in members:
                    shown = shortened(name, _SHOWN)
                    raise DataError(f"{path}: found {shown} twice, expected it once")
                members[name] = info
            _check_claims(path, archive, os.fstat(file.fileno()).st_size)
            yield archive, members


def load_member(path: Path, archive: ZipFile, info: ZipInfo) -> NDArray[Any]:
    """The array in one member of an open .npz file."""
    import zipfile

    name = shortened(info.filename, _SHOWN)
    ratio = {zipfile.ZIP_STORED: 1, zipfile.ZIP_DEFLATED: DEFLATE_LIMIT}.get(info.compress_type)
    if ratio is None:
        raise DataError(
            f"{path}: {name}: found compression method {info.compress_type}, "
            "expected none or deflate; save it with numpy.savez_compressed"
        )
    if info.file_size > ratio * info.compress_size:
        raise DataError(
            f"{path}: {name}: found a claim of {info.file_size} bytes, expected at most "
            f"{ratio * info.compress_size}, all that {info.compress_size} stored bytes can hold"
        )
    try:
        with archive.open(info) as stream:
            return _load(stream, info.file_size, f"{path}: {name}")
    except (DataError, OSError, MemoryError):
        raise
    except Exception as error:  # zipfile and zlib let a dozen unrelated types out
        raise DataError(f"{path}: {name}: found a damaged zip member: {error}") from error


def load_npy(path: Path) -> NDArray[Any]:
    """The array in an .npy file."""
    with opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > MAX_BYTES:
            raise DataError(f"{path}: found {size} bytes, expected at most {MAX_BYTES}")
        return _load(file, size, str(path))


def _check_claims(path: Path, archive: ZipFile, size: int) -> None:
    total = sum(info.file_size for info in archive.infolist())
    if total > MAX_BYTES:
        raise DataError(f"{path}: found {total} bytes of arrays, expected at most {MAX_BYTES}")
    packed = sum(info.compress_size for info in archive.infolist())
    if packed > size:
        raise DataError(
            f"{path}: found members said to take {packed} bytes, expected at most {size}, "
            "the size of the file"
        )


def _load(stream: IO[bytes], size: int, where: str) -> NDArray[Any]:
    """The array in `size` bytes of .npy format."""
    head = stream.read(_LONGEST_HEADER)
    shape, in_columns, dtype, start = _parse_header(head, where)
    if dtype.kind not in "buifU" or dtype.itemsize == 0:
        kind = "Python objects (pickles)" if dtype.hasobject else f"values of type {dtype}"
        raise DataError(f"{where}: found {kind}, expected numbers or text; they are never read")
    if len(shape) > _MAX_DIMENSIONS or min(shape, default=0) < 0:
        raise DataError(
            f"{where}: found the shape {shortened(str(shape), _SHOWN)}, "
            f"expected 0 to {_MAX_DIMENSIONS} sizes, none negative"
        )
    claimed = math.prod(shape) * dtype.itemsize
    if start + claimed != size:
        raise DataError(
            f"{where}: byte {start}: found {size - start} bytes of values, expected {claimed} "
            f"for the shape {shortened(str(shape), _SHOWN)} of {dtype}"
        )
    values = np.empty(claimed, np.uint8)
    filled = 0
    piece = head[start:]
    while piece:
        if filled + len(piece) > claimed:
            raise DataError(f"{where}: found more bytes than the {size} it is said to have")
        values[filled : filled + len(piece)] = np.frombuffer(piece, np.uint8)
        filled += len(piece)
        piece = stream.read(_CHUNK)  # the read that finds the end also checks a zip member's CRC
    if filled < claimed:
        raise DataError(f"{where}: byte {start + filled}: found the end, expected {size} bytes")
    return values.view(dtype).reshape(shape, order="F" if in_columns else "C")


def _parse_header(head: bytes, where: str) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    buffer = io.BytesIO(head)
    try:
        version = npy_format.read_magic(buffer)
        parse = {
            (1, 0): npy_format.read_array_header_1_0,
            (2, 0): npy_format.read_array_header_2_0,
        }[version]
        shape, in_columns, dtype = parse(buffer)
    except Exception as error:  # NumPy evaluates a Python literal here: almost any type comes out
        raise DataError(
            f"{where}: byte 0: found no readable .npy header "
            f"({shortened(str(error), _SHOWN)}), expected one of version 1 or 2"
        ) from error
    return shape, in_columns, dtype, buffer.tell()
