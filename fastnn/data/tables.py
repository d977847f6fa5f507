"""CSV tables of numbers with a label column: Kaggle's layout, and any other with commas.

NumPy's C parser reads blocks of rows; only a block that it rejects is looked at cell by cell, to
say which one is wrong. The first row is a header if none of its cells is a number, or if one of
them is the name of the label column.
"""

from __future__ import annotations

import csv
import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Never

import numpy as np
from numpy.typing import NDArray

from fastnn.data.examples import Schema
from fastnn.data.files import opened
from fastnn.data.parts import (
    PICTURE,
    TRAINED_ON_BYTES,
    Part,
    as_bytes,
    check_columns,
    label_column,
    label_names,
    number,
    picture_shape,
    required_bytes,
    shortened,
    target_columns,
)
from fastnn.errors import DataError

_BLOCK = 1 << 22  # characters parsed at once: their numbers take at most four times as many bytes
_LONGEST_ROW = 1 << 24  # characters
_PIXELS_NAMED = "a whole number from 0 to 255, because the columns are named pixelN"


def read_table(path: Path, *, label: str | None = None, numbers: bool = False) -> Part:
    """A CSV file as examples; `label` names the label column, or numbers it from 0 (-1: last).

    Without it the label column is the one called "label", else the first. Where labels are
    `numbers` to predict, `label` may be several columns, separated by commas.
    """
    with _open_table(path, label, numbers=numbers) as table:
        if table.width < 2:
            raise DataError(
                f"{path}: row 1: found one column, expected a label and at least one feature, "
                "separated by commas"
            )
        if numbers:
            return _numbers(table, label)
        at = label_column(path, table.width, table.names, label)
        features = [name for column, name in enumerate(table.names) if column != at]
        named = _are_pixels(features)
        may_be_bytes = named or table.width - 1 == PICTURE
        parse = _Parse(table, at, may_be_bytes, _PIXELS_NAMED if named else None)
        inputs, labels = parse.all_rows()
    columns = (table.names[at], *features) if table.names else ()
    return Part(path, inputs, labels, picture_shape(inputs), table.first_row, columns)


def read_table_inputs(path: Path, schema: Schema, *, label: str | None = None) -> NDArray[Any]:
    """Inputs (N, D) of a CSV file with or without labels; uint8 if pixels, else float32."""
    labelled = schema.width + schema.label_columns
    with _open_table(path, label, numbers=bool(schema.targets)) as table:
        at = None
        if table.width == labelled and schema.targets:
            part = _numbers(table, label)
            check_columns(path, part.columns[schema.label_columns :], _features(schema))
            if not schema.pixels:
                return part.inputs.astype(np.float32, copy=False)
            return required_bytes(part.inputs, path, TRAINED_ON_BYTES, first_row=part.first_row)
        if table.width == labelled:
            at = label_column(path, table.width, table.names, label)
        elif table.width != schema.width:
            plural = "a label column" if labelled == schema.width + 1 else "the label columns"
            raise DataError(
                f"{path}: row 1: found {table.width} columns, expected {schema.width}, "
                f"or {labelled} with {plural}"
            )
        features = [name for column, name in enumerate(table.names) if column != at]
        check_columns(path, features, _features(schema))
        required = TRAINED_ON_BYTES if schema.pixels else None
        inputs, _ = _Parse(table, at, schema.pixels, required).all_rows()
    return inputs


def _numbers(table: _Table, label: str | None) -> Part:
    """All columns as numbers: those that `label` names as targets (N, T), the rest as inputs."""
    at = target_columns(table.path, table.width, table.names, label)
    rest = [column for column in range(table.width) if column not in at]
    values, _ = _Parse(table, None, may_be_bytes=False, required=None).all_rows()
    inputs = values[:, rest]
    columns = tuple(table.names[column] for column in (*at, *rest)) if table.names else ()
    if _are_pixels(columns[len(at) :]):
        inputs = required_bytes(inputs, table.path, _PIXELS_NAMED, first_row=table.first_row)
    elif len(rest) == PICTURE and (narrowed := as_bytes(inputs)) is not None:
        inputs = narrowed
    shape = picture_shape(inputs)
    return Part(table.path, inputs, values[:, at], shape, table.first_row, columns)


def _are_pixels(features: Sequence[str]) -> bool:
    """Whether columns are called so."""
    return bool(features) and all(re.fullmatch(r"pixel\d+", name) for name in features)


def _features(schema: Schema) -> tuple[str, ...]:
    """What the training file's header calls its features."""
    return schema.columns[schema.label_columns :]


@dataclass(frozen=True, slots=True)
class _Table:
    """An open CSV file: its rows of text yet to be parsed, the first of them row `first_row`."""

    path: Path
    names: tuple[str, ...]
    width: int
    first_row: int
    rows: Iterator[str]


@contextmanager
def _open_table(path: Path, label: str | None, *, numbers: bool = False) -> Iterator[_Table]:
    # Bytes that are not UTF-8 become lone surrogates, so that the row they stand in is known.
    with (
        opened(path) as file,
        io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape") as text,
    ):
        labels = label_names(label) if numbers else [label]
        yield _begun(_rows(text, path), path, [name or "label" for name in labels])


def _begun(rows: Iterator[str], path: Path, labels: Sequence[str]) -> _Table:
    """What the first row tells, and the rows of numbers."""
    first = next(rows, None)
    if first is None:
        raise DataError(f"{path}: the file is empty; expected rows of numbers")
    cells = tuple(cell.strip() for cell in _cells(first, path, 1))
    # Columns may be called 0, 1, 2 or 1999.
    is_named = any(label in cells and number(label) is None for label in labels)
    if not is_named and any(number(cell) is not None for cell in cells):
        return _Table(path, (), len(cells), 1, chain([first], rows))
    second = next(rows, None)
    if second is None:
        raise DataError(f"{path}: row 2: found a header and nothing after it, expected numbers")
    return _Table(path, cells, len(cells), 2, chain([second], rows))


def _rows(text: io.TextIOWrapper, path: Path) -> Iterator[str]:
    """The lines that hold something; an empty one may only stand at the end."""
    row = empty = 0
    while line := text.readline(_LONGEST_ROW + 1):
        row += 1
        if len(line) > _LONGEST_ROW:
            raise DataError(
                f"{path}: row {row}: found more than {_LONGEST_ROW} characters in one row, "
                "expected fewer; is this a CSV file?"
            )
        if not line.isascii() and (stray := re.search("[\udc80-\udcff]", line)):
            raise DataError(
                f"{path}: row {row}, character {stray.start() + 1}: found the byte "
                f"0x{ord(stray[0]) - 0xDC00:02X}, expected text in UTF-8"
            )
        if line.isspace():
            empty = empty or row
        elif empty:
            raise DataError(f"{path}: row {empty}: found an empty row, expected values")
        else:
            yield line


@dataclass(frozen=True, slots=True)
class _Parse:
    """How to parse the rows of `table`: without column `at` if that is not None.

    `required` is what a cell must be where bytes are not only possible but demanded.
    """

    table: _Table
    at: int | None
    may_be_bytes: bool
    required: str | None

    def all_rows(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Features (N, D), uint8 if all blocks are bytes, else float32; labels as str objects."""
        features: list[NDArray[Any]] = []
        labels: list[str] = []
        row, narrow = self.table.first_row, self.may_be_bytes
        for lines in _in_blocks(self.table.rows):
            block, names = self._block(lines, row, narrow)
            row, narrow = row + len(lines), block.dtype == np.uint8
            features.append(block)
            labels += names
        # Bytes joined with floats become floats: one block with a fraction decides for all.
        return np.concatenate(features), np.array(labels, dtype=object)

    def _block(
        self, lines: list[str], first_row: int, narrow: bool
    ) -> tuple[NDArray[Any], list[str]]:
        records = self._fast(lines, np.uint8) if narrow else None  # seven times as fast as floats
        if records is None:
            records = self._fast(lines, np.float64)
        if records is None or len(records) != len(lines):
            self._blame(lines, first_row)
        sides = records.dtype.names or ()
        block = np.concatenate([records[side] for side in sides if side != "label"], axis=1)
        labels = [] if self.at is None else [text.strip() for text in records["label"]]
        if any(_label_objection(text) for text in set(labels)):
            self._blame(lines, first_row)
        narrowed = as_bytes(block) if narrow else None
        if narrowed is not None:
            return narrowed, labels
        with np.errstate(over="ignore"):
            block = block.astype(np.float32)
        if self.required or not np.isfinite(block).all():
            self._blame(lines, first_row)
        return block, labels

    def _fast(self, lines: list[str], kind: type[np.generic]) -> NDArray[Any] | None:
        """The lines as records of features before the label, the label and those after it."""
        at, width = self.at, self.table.width
        before, after = (0, width) if at is None else (at, width - at - 1)
        fields: list[tuple[str, type, tuple[int, ...]]] = []
        fields += [("before", kind, (before,))] if before else []
        fields += [("label", object, ())] if at is not None else []
        fields += [("after", kind, (after,))] if after else []
        with warnings.catch_warnings():
            # Some versions of NumPy would cut 1.5 down to a byte, with no more than this warning.
            warnings.simplefilter("error", DeprecationWarning)
            try:
                return np.loadtxt(
                    lines, dtype=fields, comments=None, delimiter=",", quotechar='"', ndmin=1
                )
            except (ValueError, DeprecationWarning):
                return None

    def _blame(self, lines: list[str], first_row: int) -> Never:
        """Find the first bad cell among lines that did not parse, and say what is wrong with it."""
        table = self.table
        for row, line in enumerate(lines, first_row):
            cells = _cells(line, table.path, row)
            if len(cells) != table.width:
                raise DataError(
                    f"{table.path}: row {row}: found {len(cells)} columns, "
                    f"expected {table.width} as in row 1"
                )
            for column, cell in enumerate(cells):
                expected = self._objection(column, cell)
                if expected:
                    name = f" ({shortened(table.names[column])})" if table.names else ""
                    found = shortened(cell.strip()) or "an empty cell"
                    raise DataError(
                        f"{table.path}: row {row}, column {column}{name}: found {found}, "
                        f"expected {expected}"
                    )
        raise DataError(
            f"{table.path}: rows {first_row} to {first_row + len(lines) - 1}: found text that is "
            "no plain table, expected numbers separated by commas"
        )

    def _objection(self, column: int, cell: str) -> str | None:
        if column == self.at:
            return _label_objection(cell)
        value = number(cell)
        if value is None:
            hint = "" if self.at is None else "; if these are labels, name their column by --label"
            return (self.required or "a number") + hint
        if self.required:
            return None if 0 <= value <= 255 and value.is_integer() else self.required
        return None if abs(value) <= float(np.finfo(np.float32).max) else "a finite 32-bit number"


def _label_objection(cell: str) -> str | None:
    value = number(cell)
    if value is None:
        return None if cell.strip() else "a label"
    if value.is_integer():
        return None
    return (
        "a whole number or a name as label; --label names another column, --loss mse takes numbers"
    )


def _in_blocks(rows: Iterator[str]) -> Iterator[list[str]]:
    lines: list[str] = []
    size = 0
    for line in rows:
        lines.append(line)
        size += len(line)
        if size >= _BLOCK:
            yield lines
            lines, size = [], 0
    if lines:
        yield lines


def _cells(line: str, path: Path, row: int) -> list[str]:
    try:
        return next(csv.reader([line], strict=True))
    except csv.Error as error:
        raise DataError(f"{path}: row {row}: found {error}, expected cells and commas") from error
