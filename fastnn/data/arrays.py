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
    as_bytes,
    label_column,
    picture_shape,
    required_bytes,
    shortened,
    target_columns,
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
_WEIGHTS = "weights"  # of the training examples: may stand beside any of these
_INPUTS_ALONE = ("x", "X", "images", "inputs", "features", "x_test", "test_images")


def read_npz(path: Path, *, numbers: bool = False) -> tuple[Part, Part | None]:
    """The training part of an .npz file, and its test part if it has one."""
    with opened_archive(path) as (archive, members):
        for keys in (*_WITH_TEST, *(keys[:2] for keys in _WITH_TEST), *_ONE_PART):
            if set(members) - {_WEIGHTS} == set(keys):
                loaded = {key: load_member(path, archive, members[key]) for key in members}
                train = part_of(
                    loaded[keys[0]], loaded[keys[1]], path, (keys[0], keys[1]), numbers=numbers,
                    weights=loaded.get(_WEIGHTS),
                )  # fmt: skip
                if len(keys) == 2:
                    return train, None
                test = part_of(
                    loaded[keys[2]], loaded[keys[3]], path, (keys[2], keys[3]), numbers=numbers
                )
                return train, test
        accepted = "; ".join(", ".join(keys) for keys in (*_WITH_TEST, *_ONE_PART))
        raise DataError(
            f"{path}: found {_listed(members)}, expected one of these sets of arrays: {accepted} "
            f"(the test arrays may be left out, and {_WEIGHTS} of the training part be added)"
        )


def read_npy(path: Path, *, label: str | None = None, numbers: bool = False) -> Part:
    """A 2-D .npy array as a table without a header: labels in column `label`, else the first.

    Where labels are `numbers` to predict, `label` may be several columns, separated by commas.
    """
    table = load_npy(path)
    if table.ndim != 2 or table.shape[1] < 2 or table.dtype.kind == "U":
        raise DataError(
            f"{path}: found {_described(table)}, expected numbers in rows and columns: a column "
            "of labels and at least one of features"
        )
    at: int | list[int]
    if numbers:
        at = target_columns(path, table.shape[1], (), label)
        labels = _as_targets(table[:, at], path, "the label columns")
    else:
        at = label_column(path, table.shape[1], (), label)
        labels = _as_labels(table[:, at], path, f"column {at}")
    inputs = _as_inputs(np.delete(table, at, axis=1), path, "the features")
    if inputs.shape[1] == PICTURE:
        narrowed = as_bytes(inputs)
        inputs = inputs if narrowed is None else narrowed
    return Part(path, inputs, labels, picture_shape(inputs), 0)


def part_of(
    inputs: NDArray[Any],
    labels: NDArray[Any],
    where: Path,
    names: tuple[str, str],
    *,
    numbers: bool = False,
    weights: NDArray[Any] | None = None,
) -> Part:
    """Inputs (N, ...) and labels (N,) as a part; `where` and `names` appear in messages.

    Where labels are `numbers` to predict they may also be (N, T).
    """
    flat = _as_inputs(inputs, where, names[0])
    codes = (_as_targets if numbers else _as_labels)(labels, where, names[1])
    if len(flat) != len(codes):
        raise DataError(
            f"{where}: found {len(flat)} rows in {names[0]} and {len(codes)} in {names[1]}, "
            "expected equally many"
        )
    shares = None if weights is None else _as_weights(weights, len(flat), where)
    return Part(where, flat, codes, inputs.shape[1:], 0, weights=shares)


def read_array_inputs(path: Path, schema: Schema, *, label: str | None = None) -> NDArray[Any]:
    """Inputs (N, D) of an .npz or .npy file; uint8 if pixels, else float32.

    A table in an .npy file may have its columns of labels, too, which are dropped.
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
        width = schema.width + schema.label_columns
        if array.ndim == 2 and array.shape[1] == width:
            places = target_columns if schema.targets else label_column
            array = np.delete(array, places(path, width, (), label), axis=1)
    inputs = _as_inputs(array, path, "the inputs")
    if inputs.shape[1] != schema.width:
        raise DataError(
            f"{path}: found {inputs.shape[1]} values in each example (shape {array.shape}), "
            f"expected {schema.width}"
        )
    if not schema.pixels:
        return inputs.astype(np.float32, copy=False)
    return required_bytes(inputs, path, TRAINED_ON_BYTES)


def _as_inputs(array: NDArray[Any], path: Path, name: str) -> NDArray[Any]:
    """Numbers (N, ...) as (N, D): bytes and truth values as uint8, all others as float32."""
    if array.ndim < 2 or array.size == 0 or array.dtype.kind == "U":
        raise DataError(f"{path}: {name}: found {_described(array)}, expected numbers (N, ...)")
    flat = array.reshape(len(array), -1)
    if flat.dtype == np.bool_:
        return flat.astype(np.uint8)
    return flat if flat.dtype == np.uint8 else _as_floats(flat, path, name)


def _as_targets(array: NDArray[Any], path: Path, name: str) -> NDArray[np.float32]:
    """Numbers to predict, (N,) or (N, T), as (N, T) float32."""
    if array.ndim not in (1, 2) or array.size == 0 or array.dtype.kind not in "buif":
        raise DataError(
            f"{path}: {name}: found {_described(array)}, expected the numbers to predict, (N,) or "
            "(N, T)"
        )
    return _as_floats(array.reshape(len(array), -1), path, name)


def _as_weights(array: NDArray[Any], count: int, path: Path) -> NDArray[np.float32]:
    """What each training example counts, (N,) float32."""
    if array.shape != (count,) or array.dtype.kind not in "buif":
        raise DataError(
            f"{path}: {_WEIGHTS}: found {_described(array)}, expected one number for each of the "
            f"{count} training examples"
        )
    weights = _as_floats(array[:, None], path, _WEIGHTS)[:, 0]
    if weights.min() < 0:
        row = int(np.argmax(weights < 0))
        raise DataError(f"{path}: {_WEIGHTS}, row {row}: found {array[row]}, expected 0 or more")
    if not weights.any():
        raise DataError(f"{path}: {_WEIGHTS}: found nothing but 0, expected examples that count")
    return weights


def _as_floats(flat: NDArray[Any], path: Path, name: str) -> NDArray[np.float32]:
    """Numbers (N, D) as float32, all of them finite."""
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
