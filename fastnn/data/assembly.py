"""From parts as they were read, or arrays in memory, to a `Dataset` whose parts fit each other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from fastnn.data.arrays import part_of
from fastnn.data.examples import Dataset, Examples, Schema
from fastnn.data.labels import classes_of, codes_of
from fastnn.data.parts import Part, check_columns
from fastnn.errors import DataError


def dataset_from_arrays(
    x: ArrayLike,
    y: ArrayLike,
    x_test: ArrayLike | None = None,
    y_test: ArrayLike | None = None,
    *,
    name: str = "arrays",
    numbers: bool = False,
    weights: ArrayLike | None = None,
) -> Dataset:
    """A data set of inputs (N, ...) and labels (N,), whole numbers or text, as in an .npz file.

    Bytes are taken for pixels (all share the range 0 to 255), other numbers for columns of a table.
    Classes are the distinct labels in order; they become codes 0..C-1. Where y holds `numbers` to
    predict, it is (N,) or (N, T). `weights` (N,), 0 or more, say how much each training example
    counts.
    """
    if (x_test is None) != (y_test is None):
        raise DataError("found one of x_test and y_test, expected both or neither")
    train = part_of(
        np.asarray(x), np.asarray(y), Path(name), ("x", "y"), numbers=numbers,
        weights=None if weights is None else np.asarray(weights),
    )  # fmt: skip
    if x_test is None or y_test is None:
        return assembled(name, train, None, numbers=numbers)
    test = part_of(
        np.asarray(x_test), np.asarray(y_test), Path(f"{name}, test part"), ("x_test", "y_test"),
        numbers=numbers,
    )  # fmt: skip
    return assembled(name, train, test, numbers=numbers)


def assembled(name: str, train: Part, test: Part | None, *, numbers: bool = False) -> Dataset:
    """A data set of two parts, whose labels become codes in the order of the training classes.

    Or remain the `numbers` that they are.
    """
    class_names = () if numbers else classes_of(train)
    targets = _target_names(train) if numbers else ()
    labels = train.labels if numbers else codes_of(train, class_names)
    examples = Examples(train.inputs, labels, train.weights)
    data = Dataset(name, examples, None, class_names, train.shape, train.columns, targets)
    return data if test is None else replace(data, test=fitted(test, data.schema))


def fitted(part: Part, schema: Schema) -> Examples:
    """A further part as examples of this kind; DataError where it is of another."""
    if part.columns:
        check_columns(part.path, part.columns, schema.columns)
    if part.inputs.shape[1] != schema.width:
        raise DataError(
            f"{part.path}: found {part.inputs.shape[1]} features (shape {part.shape}), "
            f"expected {schema.width} as in training"
        )
    inputs = part.inputs
    if schema.pixels and inputs.dtype != np.uint8:
        raise DataError(
            f"{part.path}: found numbers other than whole ones from 0 to 255, "
            "expected bytes as in training"
        )
    if not schema.pixels:
        inputs = inputs.astype(np.float32, copy=False)
    if not schema.targets:
        return Examples(inputs, codes_of(part, schema.class_names))
    if part.labels.shape[1] != len(schema.targets):
        raise DataError(
            f"{part.path}: found {part.labels.shape[1]} numbers to predict, expected "
            f"{len(schema.targets)} as in training: {', '.join(schema.targets)}"
        )
    return Examples(inputs, part.labels)


def _target_names(part: Part) -> tuple[str, ...]:
    """The header's names for the numbers to predict; without one y, or y0, y1, ..."""
    count = part.labels.shape[1]
    if part.columns:
        return part.columns[:count]
    return ("y",) if count == 1 else tuple(f"y{target}" for target in range(count))
