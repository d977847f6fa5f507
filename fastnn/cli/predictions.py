"""Predictions as they are written: rows of a CSV, events, or pictures beside bars."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from fastnn.cli import output
from fastnn.cli.guesses import print_guesses
from fastnn.cli.terminal import plain, width_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastnn.training.classifier import Classifier
    from fastnn.training.regressor import Regressor

SHOWN_ROWS = 10  # of a data file
_SHOWN_CLASSES = 5
_NAMED = 24  # cells at most that the names of all examples share


def ranked(
    classifier: Classifier, probabilities: NDArray[Any], least: float, k: int
) -> Iterator[tuple[dict[str, Any], list[list[object]]]]:
    """The K likeliest classes of each example, as values of an event and as rows of cells.

    Where the likeliest has less than `least`, the example has no class; an event's "top" still
    tells the guesses.
    """
    order = (-probabilities).argsort(axis=1, kind="stable")[:, :k]  # equals: the first, as argmax
    for codes, row in zip(order.tolist(), probabilities, strict=True):
        shares = row[codes].tolist()
        names = [classifier.class_names[code] for code in codes]
        unsure = shares[0] < least
        values: dict[str, Any] = {
            "class": None if unsure else codes[0],
            "name": None if unsure else names[0],
            "probability": shares[0],
        }
        guesses = list(zip(codes, names, shares, strict=True))
        cells: list[list[object]] = [
            ["", "", f"{share:.6f}"] if unsure else [code, name, f"{share:.6f}"]
            for code, name, share in guesses
        ]
        if k > 1:
            keys = ("class", "name", "probability")
            values["top"] = [dict(zip(keys, guess, strict=True)) for guess in guesses]
            cells = [[rank, *rest] for rank, rest in enumerate(cells, 1)]
        yield values, cells


def numbers(
    regressor: Regressor, inputs: NDArray[Any]
) -> Iterator[tuple[dict[str, Any], list[list[object]]]]:
    """What is predicted of each example, as values of an event and as one row of cells."""
    names = regressor.target_names
    for row in regressor.predict(inputs).reshape(len(inputs), len(names)).tolist():
        yield {"values": dict(zip(names, row, strict=True))}, [[f"{value:.9g}" for value in row]]


def write(
    columns: Sequence[str],
    found: Iterable[tuple[dict[str, Any], list[list[object]]]],
    files: list[str] | None,
    as_json: bool,
) -> None:
    """Predictions as JSON Lines or CSV on stdout; those of pictures name their files."""
    table = csv.writer(sys.stdout, lineterminator="\n")
    if not as_json:
        table.writerow(["index", *(["file"] if files else []), *columns])
    for index, (values, rows) in enumerate(found):
        if as_json:
            file = {"file": files[index]} if files else {}
            output.emit("prediction", {"index": index, **file, **values})
        else:
            for cells in rows:
                table.writerow([index, *([files[index]] if files else []), *cells])


def draw(
    classifier: Classifier,
    probabilities: NDArray[Any],
    least: float,
    top_k: int | None,
    inputs: NDArray[Any],
    files: list[str] | None,
) -> None:
    """Each picture, or the first rows of a data file, beside its likeliest classes."""
    from rich.console import Console

    console = Console(highlight=False, emoji=False)
    schema = classifier.schema
    shown = len(inputs) if files else min(len(inputs), SHOWN_ROWS)
    order = (-probabilities[:shown]).argsort(axis=1, kind="stable")[:, : top_k or _SHOWN_CLASSES]
    widths = [width_of(plain(console, name)) for name in classifier.class_names]
    named = min(max((widths[code] for code in order.ravel().tolist()), default=0), _NAMED)
    for index, codes in enumerate(order.tolist()):
        shares = probabilities[index, codes].tolist()
        print_guesses(
            console,
            files[index] if files else f"row {index}",
            inputs[index].reshape(schema.picture) if schema.picture else None,
            [(classifier.class_names[code], s) for code, s in zip(codes, shares, strict=True)],
            f"unsure: below {least:g}" if shares[0] < least else "",
            named,
        )
    if shown < len(inputs):
        output.note(f"the first {shown} of {len(inputs):,} rows; --no-show writes all of them")
