"""From parts as they were read, or arrays in memory, to a `Dataset` whose parts fit each other."""

from __future__ import annotations

from itertools import zip_longest
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from fastnn.data.arrays import part_of
from fastnn.data.examples import Dataset, Examples
from fastnn.data.labels import classes_of, codes_of
from fastnn.data.parts import Part, shortened
from fastnn.errors import DataError


def dataset_from_arrays(
    x: ArrayLike,
    y: ArrayLike,
    x_test: ArrayLike | None = None,
    y_test: ArrayLike | None = None,
    *,
    name: str = "arrays",
) -> Dataset:
    """A data set of inputs (N, ...) and labels (N,), whole numbers or text, as in an .npz file.

    Bytes are taken for pixels (all share the range 0 to 255), other numbers for columns of a table.
    Classes are the distinct labels in order; they become codes 0..C-1.
    """
    if (x_test is None) != (y_test is None):
        raise DataError("found one of x_test and y_test, expected both or neither")
    where = Path(name)
    train = part_of(np.asarray(x), np.asarray(y), where, ("x", "y"))
    if x_test is None or y_test is None:
        return assembled(name, train, None)
    test = part_of(np.asarray(x_test), np.asarray(y_test), where, ("x_test", "y_test"))
    return assembled(name, train, test)


def assembled(name: str, train: Part, test: Part | None) -> Dataset:
    """A data set of two parts, whose labels become codes in the order of the training classes."""
    class_names = classes_of(train)
    examples = Examples(train.inputs, codes_of(train, class_names))
    if test is None:
        return Dataset(name, examples, None, class_names, train.shape)
    _compare_columns(train, test)
    if test.inputs.shape[1] != train.inputs.shape[1]:
        raise DataError(
            f"{test.path}: found {test.inputs.shape[1]} features (shape {test.shape}), "
            f"expected {train.inputs.shape[1]} as in {train.path}"
        )
    inputs = test.inputs
    if inputs.dtype != train.inputs.dtype:
        if train.inputs.dtype == np.uint8:
            raise DataError(
                f"{test.path}: found numbers other than 0 to 255, expected bytes as in {train.path}"
            )
        inputs = inputs.astype(np.float32)
    held_out = Examples(inputs, codes_of(test, class_names))
    return Dataset(name, examples, held_out, class_names, train.shape)


def _compare_columns(train: Part, test: Part) -> None:
    # Values under another name are another quantity, yet nothing else would tell: the scores would
    # just be bad. The label may stand elsewhere, because its column is looked up in each file.
    if not train.columns or not test.columns:
        return
    for expected, found in zip_longest(train.columns, test.columns):
        if found != expected:
            raise DataError(
                f"{test.path}: row 1: found {_named(found)}, expected {_named(expected)} "
                f"as in {train.path}; both files need the same columns in the same order"
            )


def _named(column: str | None) -> str:
    return "no more columns" if column is None else f"the column {shortened(repr(column))}"
