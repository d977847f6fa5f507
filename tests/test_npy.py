"""The bytes of .npy and .npz files: no trust in what they claim, and no error but our own."""

from __future__ import annotations

import contextlib
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays, scalar_dtypes

from fastnn.data.arrays import read_array_inputs, read_npy, read_npz
from fastnn.data.npy import load_member, load_npy, opened_archive
from fastnn.errors import DataError
from tests.array_files import npy_bytes, npy_header, write_npy, write_npz
from tests.conftest import kind_of
from tests.frugal import frugal

many = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

IMAGES = np.arange(3 * 2 * 2, dtype=np.uint8).reshape(3, 2, 2)
LABELS = np.array([2, 0, 1])


@many
@given(
    array=arrays(
        scalar_dtypes().filter(lambda kind: kind.kind in "buif"),
        array_shapes(min_dims=0, max_dims=4, max_side=4),
    ),
    order=st.sampled_from("CF"),
    packed=st.booleans(),
)
def test_what_was_written_is_loaded(
    tmp_path: Path, array: np.ndarray, order: str, packed: bool
) -> None:
    array = np.asarray(array, order=order)
    path = tmp_path / "set.npz"
    (np.savez_compressed if packed else np.savez)(path, a=array)
    with opened_archive(path) as (archive, members):
        assert list(members) == ["a"]
        found = load_member(path, archive, members["a"])
    for loaded in (found, load_npy(write_npy(tmp_path, array))):
        assert loaded.dtype == array.dtype
        np.testing.assert_array_equal(loaded, array)


def test_pickles_are_never_read(tmp_path: Path) -> None:
    content = npy_bytes(np.array([{}, {}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=r"Python objects \(pickles\).*never read"):
        read_npy(write_npy(tmp_path, content))
    path = write_npz(tmp_path, x=IMAGES, y=np.array(["a", "b", 3], dtype=object))
    with pytest.raises(DataError, match=r"y\.npy: found Python objects"):
        read_npz(path)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", ["byte 0", "expected one of version 1 or 2"]),
        (b"not an array", ["byte 0", "header"]),
        (npy_bytes(np.ones((2, 2)))[:-1], ["byte 128", "found 31 bytes", "expected 32"]),
        (npy_bytes(np.ones((2, 2))) + b"!", ["byte 128", "found 33 bytes", "expected 32"]),
        (npy_header("{'descr': '<f8', 'fortran_order': False, 'shape': (1099511627776, 8)}"),
         ["found 0 bytes", "expected 70368744177664"]),
        (npy_header("{'descr': '<f8', 'fortran_order': False, 'shape': (-1, 8)}"),
         ["(-1, 8)", "none negative"]),
        (npy_header("{'descr': '<U0', 'fortran_order': False, 'shape': (9999999999, 8)}"),
         ["<U0", "expected numbers or text"]),
        (npy_header("{'descr': '<f8', 'fortran_order': False, 'shape': " + str((1,) * 99) + "}"),
         ["expected 0 to 8 sizes"]),
        (npy_header("(" * 5000), ["byte 0", "header"]),
        (npy_header("1" * 20_000, version=2), ["byte 0", "header"]),
        (b"\x93NUMPY\x02\0\xff\xff\xff\xff", ["byte 0", "header"]),
        (b"\x93NUMPY\x03\0\x02\0\0\0{}", ["byte 0", "header"]),
    ],
)  # fmt: skip
def test_each_fault_of_a_header_is_told(tmp_path: Path, content: bytes, told: list[str]) -> None:
    path = write_npy(tmp_path, content)
    with frugal(), pytest.raises(DataError) as caught:
        load_npy(path)
    for words in [str(path), *told]:
        assert words in str(caught.value)


def test_an_archive_is_not_trusted(tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    huge = npy_header("{'descr': '|u1', 'fortran_order': False, 'shape': (1073741824, 1)}")

    def archive(claim: int, packed: int | None = None, kind: int = zipfile.ZIP_DEFLATED) -> None:
        with zipfile.ZipFile(path, "w", kind) as file:
            file.writestr("x.npy", huge + bytes(1 << 20))
            file.writestr("y.npy", npy_bytes(LABELS))
            file.filelist[0].file_size = claim
            if packed is not None:
                file.filelist[0].compress_size = packed

    for claim, packed, kind, told in (
        (5 << 30, None, zipfile.ZIP_DEFLATED, "expected at most 4294967296"),
        (2 << 30, None, zipfile.ZIP_DEFLATED, "x.npy: found a claim of 2147483648 bytes"),
        (2 << 30, 2 << 30, zipfile.ZIP_DEFLATED, "said to take"),
        (2 << 30, None, zipfile.ZIP_STORED, "x.npy: found a claim of 2147483648 bytes"),
        (len(huge) + (1 << 20), None, zipfile.ZIP_DEFLATED, "expected 1073741824 for the shape"),
        (len(huge) + (1 << 20), None, zipfile.ZIP_BZIP2, "compression method 12"),
    ):
        archive(claim, packed, kind)
        with frugal(), pytest.raises(DataError, match=told):
            read_npz(path)


def test_a_name_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("x.npy", npy_bytes(IMAGES))
        file.writestr("x", npy_bytes(IMAGES))
    with pytest.raises(DataError, match="found x twice"):
        read_npz(path)


def read_all(path: Path) -> None:
    """Every reader on one file; none may raise anything but `DataError`."""
    for read in (
        lambda: read_npz(path) if path.suffix == ".npz" else read_npy(path),
        lambda: read_array_inputs(path, kind_of(4, pixels=True)),
    ):
        with contextlib.suppress(DataError):
            read()


def small_files(tmp_path: Path) -> dict[Path, bytes]:
    table = np.array([[1, 0.5, 2], [0, 1.5, 3]])
    labels = np.array(["a", "b", "ä"])
    plain, packed = tmp_path / "plain.npz", tmp_path / "packed.npz"
    np.savez(plain, x=IMAGES, y=labels)
    np.savez_compressed(packed, x=IMAGES, y=LABELS.astype(float))
    alone = write_npy(tmp_path, table)
    names = tmp_path / "names.npy"
    np.save(names, labels.astype("U9")[:, None])
    return {path: path.read_bytes() for path in (plain, packed, alone, names)}


@many
@given(content=st.binary(max_size=200), opening=st.sampled_from([b"", b"PK\x03\x04", b"\x93NUMPY"]))
def test_random_bytes_never_raise_anything_else(
    tmp_path: Path, content: bytes, opening: bytes
) -> None:
    for ending in (".npz", ".npy"):
        path = tmp_path / f"random{ending}"
        path.write_bytes(opening + content)
        read_all(path)


@many
@given(body=st.text("{}'descrfortan_ohp: |<>fuUiSO0123456789,()TrueFals[]L", max_size=120))
def test_random_headers_never_raise_anything_else(tmp_path: Path, body: str) -> None:
    read_all(write_npy(tmp_path, npy_header(body) + bytes(64)))


@many
@given(
    kind=st.text("<>|=?bhilqpBHILQPefdgFDGSUVOMma0123456789[]", min_size=1, max_size=4),
    shape=st.lists(st.integers(-2, 4), max_size=4).map(tuple),
    content=st.binary(max_size=300),
)
def test_random_types_never_raise_anything_else(
    tmp_path: Path, kind: str, shape: tuple[int, ...], content: bytes
) -> None:
    text = repr({"descr": kind, "fortran_order": False, "shape": shape})
    with contextlib.suppress(TypeError, ValueError, SyntaxError, DeprecationWarning):
        content = content.ljust(4096)[: np.dtype(kind).itemsize * abs(int(np.prod(shape)))]
    read_all(write_npy(tmp_path, npy_header(text) + content))


def test_no_truncation_raises_anything_else(tmp_path: Path) -> None:
    for path, content in small_files(tmp_path).items():
        for length in range(0, len(content), 3):
            path.write_bytes(content[:length])
            read_all(path)


@settings(many, max_examples=400)
@given(data=st.data(), byte=st.integers(0, 255))
def test_no_changed_byte_raises_anything_else(
    tmp_path: Path, data: st.DataObject, byte: int
) -> None:
    files = small_files(tmp_path)
    path = data.draw(st.sampled_from(sorted(files)))
    content = bytearray(files[path])
    content[data.draw(st.integers(0, len(content) - 1))] = byte
    path.write_bytes(content)
    with frugal():
        read_all(path)
