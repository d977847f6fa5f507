"""The .npz and .npy readers: accepted sets of arrays, and what becomes of their values."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays, scalar_dtypes

from fastnn.data.arrays import read_array_inputs, read_npy, read_npz
from fastnn.data.examples import Schema
from fastnn.errors import DataError
from tests.array_files import npy_bytes, write_npy, write_npz
from tests.conftest import kind_of

many = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

IMAGES = np.arange(3 * 2 * 2, dtype=np.uint8).reshape(3, 2, 2)
LABELS = np.array([2, 0, 1])


@pytest.mark.parametrize("keys", ["x y", "X y", "images labels", "inputs labels"])
def test_one_part(tmp_path: Path, keys: str) -> None:
    inputs, labels = keys.split()
    train, test = read_npz(write_npz(tmp_path, **{inputs: IMAGES, labels: LABELS}))
    assert test is None
    assert train.inputs.dtype == np.uint8
    assert train.shape == (2, 2)
    np.testing.assert_array_equal(train.inputs, IMAGES.reshape(3, 4))
    np.testing.assert_array_equal(train.labels, LABELS)


@pytest.mark.parametrize(
    "keys",
    ["x_train y_train x_test y_test", "train_images train_labels test_images test_labels"],
)
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_two_parts(tmp_path: Path, keys: str, save: Callable[..., None]) -> None:
    path = tmp_path / "set.npz"
    contents = [IMAGES, LABELS, IMAGES[:1], LABELS[:1]]
    save(path, **dict(zip(keys.split(), contents, strict=True)))
    train, test = read_npz(path)
    assert test is not None
    np.testing.assert_array_equal(train.inputs, IMAGES.reshape(3, 4))
    np.testing.assert_array_equal(test.inputs, IMAGES[:1].reshape(1, 4))
    save(path, **dict(zip(keys.split()[:2], contents[:2], strict=True)))
    assert read_npz(path)[1] is None


@pytest.mark.parametrize("keys", ["x", "x_train y_train x_test", "x y z", "a b", ""])
def test_other_sets_of_arrays_are_refused(tmp_path: Path, keys: str) -> None:
    path = write_npz(tmp_path, **dict.fromkeys(keys.split(), IMAGES))
    with pytest.raises(DataError) as caught:
        read_npz(path)
    message = str(caught.value)
    assert f"found {', '.join(keys.split()) or 'no arrays'}," in message
    assert "x_train, y_train, x_test, y_test" in message
    assert "inputs, labels" in message


@pytest.mark.parametrize(
    ("inputs", "kind"),
    [
        (np.array([[True, False], [False, True]]), np.uint8),
        (np.array([[0, 255], [1, 2]], np.uint8), np.uint8),
        (np.array([[0, 255], [1, 2]], np.int64), np.float32),
        (np.array([[0, 0.5], [1, 2]], ">f8"), np.float32),
        (np.array([[0, 0.5], [1, 2]], np.float16, order="F"), np.float32),
    ],
)
def test_kinds_of_inputs(tmp_path: Path, inputs: np.ndarray, kind: type) -> None:
    train, _ = read_npz(write_npz(tmp_path, x=inputs, y=np.array([0, 1])))
    assert train.inputs.dtype == kind
    np.testing.assert_array_equal(train.inputs, inputs.astype(kind))


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (np.array([3, -1, 3], np.int8), [3, -1, 3]),
        (np.array([3.0, -1.0, 3.0]), [3, -1, 3]),
        (np.array([True, False, True]), [1, 0, 1]),
        (np.array(["Käse", " b", "c"]), ["Käse", "b", "c"]),
        (np.array(["ab", "b", "c"], ">U5"), ["ab", "b", "c"]),
    ],
)
def test_kinds_of_labels(tmp_path: Path, labels: np.ndarray, expected: list[object]) -> None:
    assert read_npz(write_npz(tmp_path, x=IMAGES, y=labels))[0].labels.tolist() == expected


@pytest.mark.parametrize("content", [b"\xff\xff\xff\xff", b"\x00\xd8\x00\x00", b"\x00\x00\x11\x00"])
def test_labels_are_text_that_can_be_printed(tmp_path: Path, content: bytes) -> None:
    labels = np.array(["a", "b", "c"], "<U1")
    labels.view("<u4")[1] = np.frombuffer(content, "<u4")[0]
    with pytest.raises(DataError, match="y, row 1: found no Unicode text, expected a name"):
        read_npz(write_npz(tmp_path, x=IMAGES, y=labels))


def test_a_truth_value_is_0_or_1(tmp_path: Path) -> None:
    content = npy_bytes(np.array([[True, False, True]]))[:-3] + b"\x07\x00\x01"
    found = read_array_inputs(write_npy(tmp_path, content), kind_of(3, pixels=True))
    np.testing.assert_array_equal(found, [[1, 0, 1]])


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ({"x": IMAGES, "y": LABELS[:2]}, ["3 rows in x and 2 in y", "expected equally"]),
        ({"x": IMAGES, "y": LABELS[:, None]}, ["y", "(3, 1)", "expected one label a row"]),
        ({"x": IMAGES, "y": np.array([0, 1.5, 2])}, ["y, row 1", "1.5", "whole number"]),
        ({"x": IMAGES, "y": np.array([0, 1, np.nan])}, ["y, row 2", "nan", "whole number"]),
        ({"x": IMAGES, "y": np.array(["a", " ", "b"])}, ["y, row 1", "empty label"]),
        ({"x": IMAGES, "y": np.array([b"a", b"b", b"c"])}, ["y.npy", "|S1", "numbers or text"]),
        ({"x": IMAGES.ravel(), "y": LABELS}, ["x", "(12,)", "expected numbers (N, ...)"]),
        ({"x": IMAGES[:0], "y": LABELS[:0]}, ["x", "(0, 2, 2)", "expected"]),
        ({"x": np.array([["a"]]), "y": LABELS[:1]}, ["x", "<U1", "expected numbers"]),
        ({"x": np.array([[1j]]), "y": LABELS[:1]}, ["x.npy", "complex128", "expected numbers"]),
        ({"x": np.array([[1, np.inf]]), "y": LABELS[:1]}, ["row 0, column 1", "inf", "finite"]),
        ({"x": np.array([[1e39, 1]]), "y": LABELS[:1]}, ["row 0, column 0", "1e+39", "finite"]),
    ],
)
def test_each_fault_of_an_archive_is_told(
    tmp_path: Path, parts: dict[str, np.ndarray], told: list[str]
) -> None:
    path = write_npz(tmp_path, **parts)
    with pytest.raises(DataError) as caught:
        read_npz(path)
    for words in [str(path), *told]:
        assert words in str(caught.value)


def test_a_table(tmp_path: Path) -> None:
    table = np.array([[1, 0.5, 2], [0, 1.5, 3]])
    part = read_npy(write_npy(tmp_path, table))
    np.testing.assert_array_equal(part.inputs, table[:, 1:])
    assert part.inputs.dtype == np.float32
    assert part.labels.tolist() == [1, 0]
    assert read_npy(write_npy(tmp_path, table), label="-1").labels.tolist() == [2, 3]
    with pytest.raises(DataError, match="label column 3: found 3 columns"):
        read_npy(write_npy(tmp_path, table), label="3")
    with pytest.raises(DataError, match=r"column 1, row 0: found 0\.5"):
        read_npy(write_npy(tmp_path, table), label="1")


def test_a_table_of_784_bytes_is_pictures(tmp_path: Path) -> None:
    table = np.full((2, 785), 7.0)
    part = read_npy(write_npy(tmp_path, table))
    assert (part.inputs.dtype, part.shape) == (np.uint8, (28, 28))
    table[1, 5] = 7.5
    part = read_npy(write_npy(tmp_path, table))
    assert (part.inputs.dtype, part.shape) == (np.float32, (784,))


@pytest.mark.parametrize("array", [IMAGES, LABELS, LABELS[:, None], np.array([["a", "b"]])])
def test_what_is_no_table_is_refused(tmp_path: Path, array: np.ndarray) -> None:
    with pytest.raises(DataError, match=r"table\.npy: found shape .* expected numbers in rows"):
        read_npy(write_npy(tmp_path, array))


@pytest.mark.parametrize("key", ["x", "X", "images", "inputs", "x_test", None])
def test_inputs_alone(tmp_path: Path, key: str | None) -> None:
    path = write_npz(tmp_path, **{key: IMAGES}) if key else write_npy(tmp_path, IMAGES)
    pixels = read_array_inputs(path, kind_of(4, pixels=True))
    floats = read_array_inputs(path, kind_of(4, pixels=False))
    assert (pixels.dtype, floats.dtype) == (np.uint8, np.float32)
    for found in (pixels, floats):
        np.testing.assert_array_equal(found, IMAGES.reshape(3, 4))
    with pytest.raises(DataError, match=r"found 4 values .*\(3, 2, 2\).*expected 7"):
        read_array_inputs(path, kind_of(7, pixels=True))


def test_inputs_need_a_known_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="found z, expected one of x, X, images"):
        read_array_inputs(write_npz(tmp_path, z=IMAGES), kind_of(4, pixels=True))


def test_labels_of_a_table_are_dropped(tmp_path: Path) -> None:
    path = write_npy(tmp_path, np.array([[9, 1, 2], [8, 3, 4]]))
    found = read_array_inputs(path, kind_of(2, pixels=True))
    np.testing.assert_array_equal(found, [[1, 2], [3, 4]])
    found = read_array_inputs(path, kind_of(2, pixels=False), label="2")
    np.testing.assert_array_equal(found, [[9, 1], [8, 3]])


def test_a_model_of_bytes_takes_no_fractions(tmp_path: Path) -> None:
    path = write_npy(tmp_path, np.array([[1.0, 2.0], [3.0, 0.25]]))
    with pytest.raises(DataError, match=r"row 1, column 1: found 0\.25.*trained on bytes"):
        read_array_inputs(path, kind_of(2, pixels=True))
    whole = read_array_inputs(
        write_npy(tmp_path, np.array([[1.0, 255.0]])), kind_of(2, pixels=True)
    )
    assert whole.dtype == np.uint8


@many
@given(
    inputs=arrays(
        scalar_dtypes().filter(lambda kind: kind.kind in "buif"),
        array_shapes(min_dims=2, max_dims=4, max_side=4),
    )
)
def test_what_was_written_is_read(tmp_path: Path, inputs: np.ndarray) -> None:
    path = write_npz(tmp_path, x=inputs, y=np.arange(len(inputs)))
    with np.errstate(all="ignore"):
        expected = inputs.reshape(len(inputs), -1).astype(np.float32)
    if np.isfinite(expected).all():
        train, _ = read_npz(path)
        assert train.shape == inputs.shape[1:]
        np.testing.assert_array_equal(train.inputs.astype(np.float32), expected)
    else:
        with pytest.raises(DataError, match="finite"):
            read_npz(path)


@many
@given(content=st.binary(min_size=48, max_size=48), kind=st.sampled_from(["U4", "f8", "f2", "f16"]))
def test_random_values_never_raise_anything_else(tmp_path: Path, content: bytes, kind: str) -> None:
    values = np.frombuffer(content, kind)
    path = write_npz(tmp_path, x=np.zeros((len(values), 2)), y=values)
    with contextlib.suppress(DataError):
        read_npz(path)
    path = write_npz(tmp_path, x=values.reshape(1, -1), y=np.zeros(1))
    with contextlib.suppress(DataError):
        read_npz(path)


# ---- numbers to predict, and weights -------------------------------------------------------------


@pytest.mark.parametrize(
    "values",
    [
        np.array([0.5, -2, 7]),
        np.array([3, 1, 2], np.int16),
        np.array([[1, 2], [3, 4], [5, 6.5]]),
        np.array([True, False, True]),
    ],
)
def test_numbers_to_predict(tmp_path: Path, values: np.ndarray) -> None:
    path = write_npz(tmp_path, x=IMAGES, y=values)
    part, _ = read_npz(path, numbers=True)
    assert part.labels.dtype == np.float32
    np.testing.assert_array_equal(part.labels, values.reshape(3, -1))


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (np.array(["a", "b", "c"]), r"y: found shape \(3,\) of <U1, expected the numbers to"),
        (np.zeros((3, 1, 1)), r"y: found shape \(3, 1, 1\)"),
        (np.zeros((3, 0)), r"y: found shape \(3, 0\)"),
        (np.array([[0, 1], [2, np.nan], [1, 1]]), "y, row 1, column 1: found nan"),
        (np.array([0, 1, 1e39]), r"y, row 2, column 0: found 1e\+39"),
    ],
)
def test_faults_of_numbers_to_predict(tmp_path: Path, values: np.ndarray, told: str) -> None:
    with pytest.raises(DataError, match=told):
        read_npz(write_npz(tmp_path, x=IMAGES, y=values), numbers=True)


def test_several_columns_of_a_table_to_predict(tmp_path: Path) -> None:
    table = np.array([[1, 0.5, 2, 9], [0, 1.5, 3, 8]])
    path = write_npy(tmp_path, table)
    part = read_npy(path, label="3,1", numbers=True)
    np.testing.assert_array_equal(part.labels, [[9, 0.5], [8, 1.5]])
    np.testing.assert_array_equal(part.inputs, [[1, 2], [0, 3]])
    schema = Schema((), (2,), False, (), ("y0", "y1"))
    np.testing.assert_array_equal(read_array_inputs(path, schema, label="3,1"), [[1, 2], [0, 3]])


@pytest.mark.parametrize("keys", ["x y", "x_train y_train x_test y_test"])
def test_weights_are_those_of_the_training_part(tmp_path: Path, keys: str) -> None:
    arrays = dict(zip(keys.split(), [IMAGES, LABELS, IMAGES[:2], LABELS[:2]], strict=False))
    train, test = read_npz(write_npz(tmp_path, **arrays, weights=np.array([0, 2, 0.5])))
    assert train.weights is not None
    assert train.weights.dtype == np.float32
    assert train.weights.tolist() == [0, 2, 0.5]
    assert test is None or test.weights is None
    with pytest.raises(DataError, match="weights, row 1: found -1"):
        read_npz(write_npz(tmp_path, **arrays, weights=np.array([1, -1, 1])))
