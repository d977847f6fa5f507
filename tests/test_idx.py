"""The IDX reader: exact on good files, and a `DataError` that says where on all others."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from fastnn.data import idx
from fastnn.data.idx import (
    content_sha256,
    looks_like_idx,
    read_idx,
    read_labelled_images,
    read_labels,
)
from fastnn.errors import DataError
from tests.frugal import frugal
from tests.idx_files import idx_bytes, write_idx

many = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

IMAGES = np.arange(3 * 2 * 2, dtype=np.uint8).reshape(3, 2, 2)
CONTENT = idx_bytes(IMAGES)
PACKED = gzip.compress(CONTENT, mtime=0)


def header(*sizes: int, kind: int = 8) -> bytes:
    return struct.pack(f">BBBB{len(sizes)}I", 0, 0, kind, len(sizes), *sizes)


@many
@given(
    array=arrays(np.uint8, array_shapes(min_dims=1, max_dims=4, max_side=6)),
    packed=st.booleans(),
)
def test_what_was_written_is_read(tmp_path: Path, array: np.ndarray, packed: bool) -> None:
    path = write_idx(tmp_path / ("a.gz" if packed else "a"), array)
    found = read_idx(path, ndim=array.ndim)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, array)
    assert content_sha256(found) == hashlib.sha256(idx_bytes(array)).hexdigest()


def test_compression_is_told_by_content_not_by_name(tmp_path: Path) -> None:
    (tmp_path / "plain.gz").write_bytes(CONTENT)
    (tmp_path / "packed.idx").write_bytes(PACKED)
    for name in ("plain.gz", "packed.idx"):
        np.testing.assert_array_equal(read_idx(tmp_path / name), IMAGES)
        assert looks_like_idx(tmp_path / name)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", ["empty", "expected an IDX file"]),
        (b"\0\0\x08", ["byte 3", "inside the header", "1 more"]),
        (b"\0\0\x08\x03\0\0", ["byte 6", "inside the header", "10 more"]),
        (b"\x01\0\x08\x01", ["byte 0", "found 01 00", "expected 00 00"]),
        (header(1, kind=0x0D) + b"1234", ["byte 2", "0x0D (32-bit floats)", "expected 0x08"]),
        (header(1, kind=0x77) + b"1", ["byte 2", "0x77 (unknown)", "expected 0x08"]),
        (b"\0\0\x08\0", ["byte 3", "found 0 dimensions", "expected 1 to 8"]),
        (header(*[1] * 9) + b"1", ["byte 3", "found 9 dimensions", "expected 1 to 8"]),
        (header(2, 0), ["byte 8", "(2, 0)", "at least 1"]),
        (CONTENT[:-1], ["byte 27", "found 27 bytes", "expected 28", "(3, 2, 2)"]),
        (CONTENT + b"!!", ["byte 28", "found 30 bytes", "expected 28"]),
        (header(1 << 31, 1 << 31), ["byte 4", "expected at most 4294967296"]),
        (gzip.compress(CONTENT[:-1]), ["byte 27", "11 values", "expected 12"]),
        (gzip.compress(CONTENT + b"!"), ["byte 28", "more bytes", "12 values"]),
        (gzip.compress(b""), ["byte 0", "inside the header"]),
        (PACKED[:-9], ["end of the file inside", "gzip"]),
        (PACKED[:-3], ["end of the file inside", "gzip"]),
        (PACKED + b"?", [f"byte {len(PACKED)}", "after the gzip stream", "expected the end"]),
        (PACKED + PACKED, [f"byte {len(PACKED)}", "after the gzip stream"]),
        (PACKED[:-8] + b"0000" + PACKED[-4:], ["damaged gzip data", "data check"]),
        (gzip.compress(header(1 << 20, 1 << 10)), ["byte 4", "compressed bytes can hold"]),
    ],
)
def test_each_fault_is_told_with_its_place(tmp_path: Path, content: bytes, told: list[str]) -> None:
    path = tmp_path / "faulty"
    path.write_bytes(content)
    with frugal(), pytest.raises(DataError) as caught:
        read_idx(path)
    for text in [str(path), *told]:
        assert text in str(caught.value)


def test_labels_have_one_dimension(tmp_path: Path) -> None:
    labels = np.array([1, 0, 2], np.uint8)
    np.testing.assert_array_equal(read_labels(write_idx(tmp_path / "l", labels)), labels)
    with pytest.raises(DataError, match="found 3 dimensions, expected 1"):
        read_labels(write_idx(tmp_path / "i", IMAGES))


def test_images_and_labels_must_be_equally_many(tmp_path: Path) -> None:
    images = write_idx(tmp_path / "images", IMAGES)
    labels = write_idx(tmp_path / "labels", np.zeros(3, np.uint8))
    assert [len(array) for array in read_labelled_images(images, labels)] == [3, 3]
    fewer = write_idx(tmp_path / "fewer", np.zeros(2, np.uint8))
    with pytest.raises(DataError, match=r"images holds 3 .*fewer holds 2 labels.*expected"):
        read_labelled_images(images, fewer)
    with pytest.raises(DataError, match="1 dimension, expected 2"):
        read_labelled_images(labels, labels)


@pytest.mark.parametrize(
    ("kind", "told"),
    [("missing", "No such file"), ("folder", "a folder"), ("pipe", "not a regular file")],
)
def test_what_is_no_file_is_refused(tmp_path: Path, kind: str, told: str) -> None:
    path = tmp_path / kind
    with contextlib.ExitStack() as stack:
        if kind == "folder":
            path.mkdir()
        if kind == "pipe":
            if not hasattr(os, "mkfifo"):
                pytest.skip("this system has no named pipes")
            os.mkfifo(path)
            writer = os.open(path, os.O_RDWR)  # without one, opening it to read would wait
            stack.callback(os.close, writer)
        with pytest.raises(DataError, match=f"{kind}: .*{told}"):
            read_idx(path)


def test_an_endless_stream_is_left_after_what_was_promised(tmp_path: Path) -> None:
    squeeze = zlib.compressobj(9, zlib.DEFLATED, 31)
    packed = squeeze.compress(header(10, 10))
    packed += b"".join(squeeze.compress(bytes(1 << 20)) for _ in range(200)) + squeeze.flush()
    path = tmp_path / "bomb.gz"
    path.write_bytes(packed)
    with frugal(), pytest.raises(DataError, match="more bytes, expected the end after 100"):
        read_idx(path)


def test_lack_of_memory_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise MemoryError

    path = write_idx(tmp_path / "large", IMAGES)
    monkeypatch.setattr(idx, "_read", refuse)
    with pytest.raises(DataError, match="too large for the memory"):
        read_idx(path)


@many
@given(content=st.binary(max_size=200), opening=st.sampled_from([b"", b"\0\0\x08", PACKED[:10]]))
def test_random_bytes_never_raise_anything_else(
    tmp_path: Path, content: bytes, opening: bytes
) -> None:
    path = tmp_path / "random"
    path.write_bytes(opening + content)
    with contextlib.suppress(DataError):
        read_idx(path)


@pytest.mark.parametrize("content", [CONTENT, PACKED], ids=["plain", "gzip"])
def test_every_truncation_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "cut"
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(DataError):
            read_idx(path)


@pytest.mark.parametrize("content", [CONTENT, PACKED], ids=["plain", "gzip"])
def test_no_flipped_bit_raises_anything_else(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "flipped"
    for bit in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        with contextlib.suppress(DataError):
            found = read_idx(path)
            # gzip's own CRC guards the values; without it only the header can be checked.
            assert content is CONTENT or np.array_equal(found, IMAGES)
