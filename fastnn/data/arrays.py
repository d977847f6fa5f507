"""NumPy files as examples: which arrays of an .npz or .npy file are inputs, which are labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastnn.data.examples import Schema
from fastnn.data.npy import load_member, load_npy, opened_archive
from fastnn.data.parts import (
    PICTURE,
    TRAINED_ON_BYTES,
    Part,
    are_bytes,
    as_bytes,
    label_column,
    picture_shape,
    shortened,
)
from fastnn.errors import DataError

if TYPE_CHECKING:
    from zipfile import ZipInfo

_WITH_TEST = (
    ("x_train", "y_train", "x_test", "y_test"),
    ("train_images", "train_labels", "test_images", "test_labels"),
)
_ONE_PART = (
    ("x", "y"), ("X", "y"), ("X", "Y"), ("images", "labels"), ("inputs", "labels"),
    ("features", "labels"),
)  # fmt: skip
_INPUTS_ALONE = ("x", "X", "images", "inputs", "features", "x_test", "test_images")


def read_npz(path: Path) -> tuple[Part, Part | None]:
    """The training part of an .npz file, and its test part if it has one."""
    with opened_archive(path) as (archive, members):
        for keys in (*_WITH_TEST, *(keys[:2] for keys in _WITH_TEST), *_ONE_PART):
            if set(members) == set(keys):
                loaded = [load_member(path, archive, members[key]) for key in keys]
                train = part_of(loaded[0], loaded[1], path, (keys[0], keys[1]))
                if len(keys) == 2:
                    return train, None
                return train, part_of(loaded[2], loaded[3], path, (keys[2], keys[3]))
        accepted = "; ".join(", ".join(keys) for keys in (*_WITH_TEST, *_ONE_PART))
        raise DataError(
            f"{path}: found {_listed(members)}, expected one of these sets of arrays: {accepted} "
            "(the test arrays may be left out)"
        )


def read_npy(path: Path, *, label: str | None = None) -> Part:
    """A 2-D .npy array as a table without a header: labels in column `label`, else the first."""
    table = load_npy(path)
    if table.ndim != 2 or table.shape[1] < 2 or table.dtype.kind == "U":
        raise DataError(
            f"{path}: found {_described(table)}, expected numbers in rows and columns: a column "
            "of labels and at least one of features"
        )
    at = label_column(path, table.shape[1], (), label)
    inputs = _as_inputs(np.delete(table, at, axis=1), path, "the features")
    if inputs.shape[1] == PICTURE:
        narrowed = as_bytes(inputs)
        inputs = inputs if narrowed is None else narrowed
    labels = _as_labels(table[:, at], path, f"column {at}")
    return Part(path, inputs, labels, picture_shape(inputs), 0)


def part_of(
    inputs: NDArray[Any], labels: NDArray[Any], where: Path, names: tuple[str, str]
) -> Part:
    """Inputs (N, ...) and labels (N,) as a part; `where` and `names` appear in messages."""
    flat = _as_inputs(inputs, where, names[0])
    codes = _as_labels(labels, where, names[1])
    if len(flat) != len(codes):
        raise DataError(
            f"{where}: found {len(flat)} rows in {names[0]} and {len(codes)} in {names[1]}, "
            "expected equally many"
        )
    return Part(where, flat, codes, inputs.shape[1:], 0)


def read_array_inputs(path: Path, schema: Schema, *, label: str | None = None) -> NDArray[Any]:
    """Inputs (N, D) of an .npz or .npy file; uint8 if pixels, else float32.

    A table in an .npy file may have one more column: its labels, which are dropped.
    """
    if path.suffix.lower() == ".npz":
        with opened_archive(path) as (archive, members):
            key = next((key for key in _INPUTS_ALONE if key in members), None)
            if key is None:
                raise DataError(
                    f"{path}: found {_listed(members)}, expected one of {', '.join(_INPUTS_ALONE)}"
                )
            array = load_member(path, archive, members[key])
    else:
        array = load_npy(path)
        if array.ndim == 2 and array.shape[1] == schema.width + 1:
            array = np.delete(array, label_column(path, schema.width + 1, (), label), axis=1)
    inputs = _as_inputs(array, path, "the inputs")
    if inputs.shape[1] != schema.width:
        raise DataError(
            f"{path}: found {inputs.shape[1]} values in each example (shape {array.shape}), "
            f"expected {schema.width}"
        )
    if not schema.pixels:
        return inputs.astype(np.float32, copy=False)
    narrowed = as_bytes(inputs)
    if narrowed is None:
        row, column = np.argwhere(~are_bytes(inputs))[0]
        raise DataError(
            f"{path}: row {row}, column {column}: found {inputs[row, column]}, "
            f"expected {TRAINED_ON_BYTES}"
        )
    return narrowed


def _as_inputs(array: NDArray[Any], path: Path, name: str) -> NDArray[Any]:
    """Numbers (N, ...) as (N, D): bytes and truth values as uint8, all others as float32."""
    if array.ndim < 2 or array.size == 0 or array.dtype.kind == "U":
        raise DataError(f"{path}: {name}: found {_described(array)}, expected numbers (N, ...)")
    flat = array.reshape(len(array), -1)
    if flat.dtype == np.bool_:
        return flat.astype(np.uint8)
    if flat.dtype == np.uint8:
        return flat
    with np.errstate(over="ignore", invalid="ignore"):
        floats = flat.astype(np.float32)
    finite = np.isfinite(floats)
    if not finite.all():
        row, column = np.argwhere(~finite)[0]
        raise DataError(
            f"{path}: {name}, row {row}, column {column}: found {flat[row, column]}, "
            "expected a finite 32-bit number"
        )
    return floats


def _as_labels(array: NDArray[Any], path: Path, name: str) -> NDArray[Any]:
    """Labels (N,) as integers, or as str objects."""
    if array.ndim != 1 or array.size == 0:
        raise DataError(f"{path}: {name}: found {_described(array)}, expected one label a row")
    if array.dtype.kind == "f":
        with np.errstate(all="ignore"):  # what is not finite is no whole number either
            values = array.astype(np.float64)
            whole = (np.abs(values) < 2**53) & (values == np.floor(values))
        if not whole.all():
            row = int(np.argmin(whole))
            raise DataError(
                f"{path}: {name}, row {row}: found {array[row]}, expected a whole number as label"
            )
        return values.astype(np.int64)
    if array.dtype.kind == "U":
        return _as_text(array, path, name)
    return array.astype(np.uint8) if array.dtype == np.bool_ else array


def _as_text(array: NDArray[Any], path: Path, name: str) -> NDArray[Any]:
    points = np.ascontiguousarray(array).view(array.dtype.str[0] + "u4").reshape(len(array), -1)
    wrong = ((points > 0x10FFFF) | ((points >= 0xD800) & (points < 0xE000))).any(axis=1)
    if wrong.any():
        raise DataError(
            f"{path}: {name}, row {int(np.argmax(wrong))}: found no Unicode text, "
            "expected a name as label"
        )
    names = [text.strip() for text in array.tolist()]
    if "" in names:
        raise DataError(
            f"{path}: {name}, row {names.index('')}: found an empty label, expected one"
        )
    return np.array(names, dtype=object)


def _described(array: NDArray[Any]) -> str:
    return f"shape {array.shape} of {array.dtype}"


def _listed(names: dict[str, ZipInfo]) -> str:
    return shortened(", ".join(names), 200) or "no arrays"
