"""The IDX format of MNIST and its relatives: read strictly, and never past what a header promised.

A file is two zero bytes, a type byte, a count of dimensions, that many sizes (32 bits, most
significant byte first) and then the values; often the whole of it is compressed with gzip.
"""

from __future__ import annotations

import hashlib
import math
import os
import zlib
from io import BufferedReader
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fastnn.data.files import DEFLATE_LIMIT, MAX_BYTES, opened
from fastnn.errors import DataError

_MAX_DIMENSIONS = 8
_CHUNK = 1 << 20
_GZIP_MAGIC = b"\x1f\x8b"
_UNSIGNED_BYTE = 0x08
_OTHER_TYPES = {
    0x09: "signed bytes",
    0x0B: "16-bit integers",
    0x0C: "32-bit integers",
    0x0D: "32-bit floats",
    0x0E: "64-bit floats",
}


def read_idx(path: Path, *, ndim: int | None = None) -> NDArray[np.uint8]:
    """The array of unsigned bytes in an IDX file, gzipped or not, with `ndim` dimensions if given.

    Whether it is gzipped is read from the content; the file's name does not matter.
    """
    with opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size == 0:
            raise DataError(f"{path}: the file is empty; expected an IDX file")
        packed = file.read(2) == _GZIP_MAGIC
        file.seek(0)
        try:
            return _read(_Inflated(file, path) if packed else file, path, size, packed, ndim)
        except zlib.error as error:
            raise DataError(
                f"{path}: damaged gzip data before byte {file.tell()}: {error}; get the file again"
            ) from error


def read_labels(path: Path) -> NDArray[np.uint8]:
    """The labels (N,) in an IDX file of one dimension."""
    return read_idx(path, ndim=1)


def read_labelled_images(images: Path, labels: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Images (N, ...) and their labels (N,), from two files that must hold equally many."""
    pictures, names = read_idx(images), read_labels(labels)
    if pictures.ndim < 2:
        raise DataError(
            f"{images}: byte 3: found 1 dimension, expected 2 or more; is this a file of labels?"
        )
    if len(pictures) != len(names):
        raise DataError(
            f"{images} holds {len(pictures)} images but {labels} holds {len(names)} labels; "
            "expected as many labels as images"
        )
    return pictures, names


def content_sha256(array: NDArray[np.uint8]) -> str:
    """SHA-256 of the uncompressed IDX file that holds this array.

    `read_idx` accepts no byte more or less than header and values, so the digest of the file
    follows from the array, however the file was compressed.
    """
    digest = hashlib.sha256(bytes((0, 0, _UNSIGNED_BYTE, array.ndim)))
    digest.update(np.asarray(array.shape, ">u4").tobytes())
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def looks_like_idx(path: Path) -> bool:
    """Whether the first bytes could open an IDX file, gzipped or not."""
    with opened(path) as file:
        return file.read(2) in (_GZIP_MAGIC, b"\0\0")


class _Source(Protocol):
    """What `_read` needs of a stream: the next bytes, at most `count`, and none at the end."""

    def read(self, count: int, /) -> bytes: ...


class _Inflated:
    """The content of one gzip member, a bounded piece at a time; zlib checks its CRC at the end."""

    def __init__(self, file: BufferedReader, path: Path) -> None:
        self._file = file
        self._path = path
        self._zlib = zlib.decompressobj(wbits=31)

    def read(self, count: int, /) -> bytes:
        while not self._zlib.eof:
            packed = self._zlib.unconsumed_tail or self._file.read(_CHUNK)
            piece = self._zlib.decompress(packed, count)
            if piece:
                return piece
            if not packed:
                raise DataError(
                    f"{self._path}: byte {self._file.tell()}: found the end of the file inside "
                    "the gzip stream, expected more; the file was cut short, get it again"
                )
        if self._zlib.unused_data or self._file.read(1):
            raise DataError(
                f"{self._path}: byte {self._file.tell() - len(self._zlib.unused_data)}: found "
                "bytes after the gzip stream, expected the end of the file"
            )
        return b""


def _read(
    source: _Source, path: Path, size: int, packed: bool, ndim: int | None
) -> NDArray[np.uint8]:
    shape = _read_shape(source, path, ndim)
    start, total = 4 + 4 * len(shape), math.prod(shape)
    _check_claim(path, shape, start + total, size, packed)
    values = np.empty(total, np.uint8)
    filled = _fill(values, source)
    if filled < total:
        raise DataError(
            f"{path}: byte {start + filled}: found the end after {filled} values, "
            f"expected {total} for the shape {shape}"
        )
    if source.read(1):
        raise DataError(
            f"{path}: byte {start + total}: found more bytes, expected the end after "
            f"{total} values for the shape {shape}"
        )
    return values.reshape(shape)


def _read_shape(source: _Source, path: Path, ndim: int | None) -> tuple[int, ...]:
    magic = _exactly(4, 0, source, path)
    if magic[:2] != b"\0\0":
        raise DataError(
            f"{path}: byte 0: found {magic[:2].hex(' ')}, expected 00 00; this is no IDX file"
        )
    if magic[2] != _UNSIGNED_BYTE:
        kind = _OTHER_TYPES.get(magic[2], "unknown")
        raise DataError(
            f"{path}: byte 2: found type 0x{magic[2]:02X} ({kind}), expected 0x08 (unsigned bytes)"
        )
    allowed = range(1, _MAX_DIMENSIONS + 1) if ndim is None else (ndim,)
    if magic[3] not in allowed:
        expected = f"1 to {_MAX_DIMENSIONS}" if ndim is None else str(ndim)
        raise DataError(f"{path}: byte 3: found {magic[3]} dimensions, expected {expected}")
    sizes = np.frombuffer(_exactly(4 * magic[3], 4, source, path), ">u4")
    shape = tuple(int(extent) for extent in sizes)
    if 0 in shape:
        raise DataError(
            f"{path}: byte {4 + 4 * shape.index(0)}: found the shape {shape}, "
            "expected every size to be at least 1"
        )
    return shape


def _exactly(count: int, offset: int, source: _Source, path: Path) -> bytes:
    header = np.empty(count, np.uint8)
    found = _fill(header, source)
    if found < count:
        raise DataError(
            f"{path}: byte {offset + found}: found the end inside the header, "
            f"expected {count - found} more bytes"
        )
    return header.tobytes()


def _fill(values: NDArray[np.uint8], source: _Source) -> int:
    filled = 0
    while filled < len(values):
        piece = source.read(min(_CHUNK, len(values) - filled))
        if not piece:
            break
        values[filled : filled + len(piece)] = np.frombuffer(piece, np.uint8)
        filled += len(piece)
    return filled


def _check_claim(path: Path, shape: tuple[int, ...], claimed: int, size: int, packed: bool) -> None:
    """Compare what the header promises with what the file can hold, before any memory is taken."""
    if claimed > MAX_BYTES:
        raise DataError(
            f"{path}: byte 4: found the shape {shape}, which is {claimed} bytes; "
            f"expected at most {MAX_BYTES}"
        )
    if packed and claimed > DEFLATE_LIMIT * size:
        raise DataError(
            f"{path}: byte 4: found the shape {shape}, which is {claimed} bytes; expected at "
            f"most {DEFLATE_LIMIT * size}, all that {size} compressed bytes can hold"
        )
    if not packed and claimed != size:
        raise DataError(
            f"{path}: byte {min(claimed, size)}: found {size} bytes in the file, expected "
            f"{claimed} for the shape {shape}; the file was cut short or added to"
        )
