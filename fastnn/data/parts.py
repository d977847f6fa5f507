"""The form in which every reader hands over what it read, and the rules that all readers share."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastnn.errors import DataError, did_you_mean

TRAINED_ON_BYTES = "a whole number from 0 to 255, because the model was trained on bytes"
PICTURE = 784  # so many columns that are all bytes are taken for a picture of 28 x 28


class Part(NamedTuple):
    """Examples of one file: inputs (N, D) uint8 or float32; labels (N,) integers, or str objects.

    Where numbers are to be predicted, labels are targets (N, T) float32. `shape` is one example's.
    Row i of the arrays is called row `first_row` + i in messages. `columns` is what a header calls
    the labels and then the features, or empty without a header. `weights` are those of `Examples`.
    """

    path: Path
    inputs: NDArray[Any]
    labels: NDArray[Any]
    shape: tuple[int, ...]
    first_row: int
    columns: tuple[str, ...] = ()
    weights: NDArray[np.float32] | None = None


def target_columns(path: Path, width: int, names: Sequence[str], label: str | None) -> list[int]:
    """The places 0..width-1 of the columns of numbers to predict."""
    places = [label_column(path, width, names, one) for one in label_names(label)]
    if len(set(places)) != len(places):
        raise DataError(
            f"{path}: label columns {label!r}: found one of them twice, expected each once"
        )
    if len(places) == width:
        raise DataError(
            f"{path}: label columns {label!r}: found no other, expected at least one feature"
        )
    return places


def label_names(label: str | None) -> list[str | None]:
    """The columns that a comma-separated list names; a name that holds a comma needs its number."""
    return [None] if label is None else [name.strip() for name in label.split(",")]


def label_column(path: Path, width: int, names: Sequence[str], label: str | None) -> int:
    """The place 0..width-1 of the label column; `names` is empty where there is no header."""
    if label is None:
        return names.index("label") if "label" in names else 0
    if re.fullmatch(r"-?[0-9]{1,9}", label):
        at = int(label)
        if not -width <= at < width:
            raise DataError(
                f"{path}: label column {label}: found {width} columns, "
                f"expected a number from {-width} to {width - 1}"
            )
        return at % width
    if not names:
        raise DataError(
            f"{path}: label column {label!r}: found no header row to look it up in, "
            "expected a column number such as 0 or -1"
        )
    if names.count(label) != 1 and set(label.split(",")) <= set(names):
        raise DataError(
            f"{path}: row 1: found no one column called {label!r}; several columns hold numbers to "
            "predict, for which there is --loss mse"
        )
    if names.count(label) != 1:
        raise DataError(
            f"{path}: row 1: found {names.count(label)} columns called {label!r}, expected one; "
            f"the columns are {shortened(', '.join(names))}{did_you_mean(label, names)}"
            + ("; several columns of numbers need --loss mse" if "," in label else "")
        )
    return names.index(label)


def check_columns(path: Path, found: Sequence[str], expected: Sequence[str]) -> None:
    """Refuse a header that differs from the training file's, where both have one.

    Values under another name are another quantity, yet nothing else would tell: the scores would
    just be bad.
    """
    if not found or not expected:
        return
    for one, other in zip_longest(found, expected):
        if one != other:
            raise DataError(
                f"{path}: row 1: found {_named(one)}, expected {_named(other)} as in training; "
                "the columns must be the same, in the same order"
            )


def are_bytes(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Which of the values are whole numbers from 0 to 255."""
    whole: NDArray[np.bool_] = (values >= 0) & (values <= 255) & (values == np.floor(values))
    return whole


def as_bytes(values: NDArray[Any]) -> NDArray[np.uint8] | None:
    """The values as uint8 if all of them are whole numbers from 0 to 255, else None."""
    if values.dtype == np.uint8:
        return values
    return values.astype(np.uint8) if are_bytes(values).all() else None


def number(cell: str) -> float | None:
    """The number that NumPy's C parser would read in this cell, or None."""
    if "_" in cell or not cell.strip().isascii():
        return None
    try:
        return float(cell)
    except ValueError:
        return None


def whole_number(text: str) -> int | None:
    """The whole number that a label stands for, also in "3.0" and "07", or None."""
    value = number(text)
    if value is None or not value.is_integer():
        return None
    return int(text) if re.fullmatch("[-+]?[0-9]+", text) else int(value)


def required_bytes(
    values: NDArray[Any], path: Path, expected: str, *, first_row: int = 0
) -> NDArray[np.uint8]:
    """The values (N, D) as uint8; DataError that names the first which is none."""
    narrowed = as_bytes(values)
    if narrowed is None:
        row, column = np.argwhere(~are_bytes(values))[0]
        raise DataError(
            f"{path}: row {first_row + row}, column {column}: found {values[row, column]}, "
            f"expected {expected}"
        )
    return narrowed


def picture_shape(inputs: NDArray[Any]) -> tuple[int, ...]:
    """One example's shape: a square picture if (N, D) bytes allow one, else (D,)."""
    columns = inputs.shape[1]
    side = round(columns**0.5)
    return (side, side) if inputs.dtype == np.uint8 and side * side == columns else (columns,)


def shortened(text: str, most: int = 60) -> str:
    """Text of a file as a message may show it: printable, and at most so many characters."""
    shown = text if text.isprintable() else repr(text)
    return shown if len(shown) <= most else shown[: most - 3] + "..."


def _named(column: str | None) -> str:
    return "no more columns" if column is None else f"the column {shortened(repr(column))}"
