"""Labels as they were read, and the classes and codes 0..C-1 that they become."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastnn.data.parts import Part, whole_number
from fastnn.errors import DataError


def classes_of(part: Part) -> tuple[str, ...]:
    """The distinct labels in order: by value if all are whole numbers, else as text."""
    distinct = [str(value) for value in np.unique(part.labels)]
    numbers = [number for text in distinct if (number := whole_number(text)) is not None]
    if len(numbers) == len(distinct):  # labels such as 3 and 3.0 are one class
        names = tuple(map(str, sorted(set(numbers))))
    else:  # with a single name among them all are names
        names = tuple(sorted(distinct))
    if len(names) < 2:
        raise DataError(f"{part.path}: found one class, {names[0]!r}, expected two or more")
    return names


def codes_of(part: Part, class_names: tuple[str, ...]) -> NDArray[np.int32]:
    """The labels (N,) as places in `class_names`."""
    code_of = {name: code for code, name in enumerate(class_names)}
    numeric = all(whole_number(name) is not None for name in class_names)
    distinct, places = np.unique(part.labels, return_inverse=True)
    codes = np.empty(len(distinct), np.int32)
    for i, value in enumerate(distinct):
        text = str(whole_number(str(value))) if numeric else str(value)
        if text not in code_of:
            row = part.first_row + int(np.argmax(places == i))
            raise DataError(
                f"{part.path}: row {row}: found the label {str(value)!r}, expected one of the "
                f"{len(class_names)} classes of the training part: {_some(class_names)}"
            )
        codes[i] = code_of[text]
    return codes[places]


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
