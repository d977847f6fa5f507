"""What every data source becomes: host arrays of examples, in named parts.

Inputs stay as they were read (uint8 pixels or float32 columns) until a batch is gathered: scaling
belongs to the model, and bytes take a quarter of the memory of floats.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastnn.errors import ConfigError, DataError
from fastnn.rng import Stream, generator


class Examples(NamedTuple):
    """One part of a data set: inputs (N, D) uint8 or float32, labels (N,) int32 in 0..C-1.

    Where numbers are to be predicted instead of classes, labels are targets (N, T) float32.
    `weights` (N,), 0 or more, say how much each example counts in training; None for all alike.
    """

    inputs: NDArray[Any]
    labels: NDArray[Any]
    weights: NDArray[np.float32] | None = None

    def take(self, rows: NDArray[np.intp]) -> Examples:
        """A copy of these rows."""
        weights = None if self.weights is None else self.weights[rows]
        return Examples(self.inputs[rows], self.labels[rows], weights)


@dataclass(frozen=True, slots=True)
class Schema:
    """What examples of one kind are like: enough to read more of them and to name their labels."""

    class_names: tuple[str, ...]  # empty where numbers are predicted
    shape: tuple[int, ...]  # of one example
    pixels: bool  # inputs are bytes
    columns: tuple[str, ...] = ()  # a table's header: the labels' names, then the features'
    targets: tuple[str, ...] = ()  # names of the numbers to predict; empty where classes are

    @property
    def width(self) -> int:
        """D, the values of one example."""
        return prod(self.shape)

    @property
    def outputs(self) -> int:
        """What a network has to put out: C for classes, T for numbers."""
        return len(self.targets or self.class_names)

    @property
    def picture(self) -> tuple[int, ...] | None:
        """(H, W) or (H, W, 3) where an example is a picture that can be looked at, else None."""
        return picture_shape(self.shape) if self.pixels else None

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the values of an example, (D,): a table's header, else x0, x1, ..."""
        header = self.columns[self.label_columns :]
        if len(header) == self.width:
            return header
        return tuple(f"x{place}" for place in range(self.width))

    @property
    def label_columns(self) -> int:
        """How many columns of a table hold labels."""
        return len(self.targets) or 1


@dataclass(frozen=True, slots=True)
class Dataset:
    """A named data set on the host. `shape` is one example's, (28, 28) for Fashion-MNIST.

    Either `class_names` say what the labels stand for, or `targets` name the numbers to predict.
    """

    name: str
    train: Examples = field(repr=False)
    test: Examples | None = field(repr=False)
    class_names: tuple[str, ...]
    shape: tuple[int, ...]
    columns: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for part, examples in (("training", self.train), ("test", self.test)):
            if examples is not None:
                fault = self._fault(examples)
                if fault:
                    raise DataError(f"{self.name}: the {part} part {fault}")

    def _fault(self, examples: Examples) -> str | None:
        """What does not fit, in words."""
        inputs, labels, weights = examples
        if inputs.ndim != 2 or inputs.shape[1] != self.schema.width:
            return f"has inputs of shape {inputs.shape}, expected (N, {self.schema.width})"
        if len(inputs) == 0:
            return "holds no examples"
        if weights is not None and weights.shape != (len(inputs),):
            return f"has {len(inputs)} inputs but weights of shape {weights.shape}; each needs one"
        if self.targets:
            return self._fault_of_numbers(labels, (len(inputs), len(self.targets)))
        return self._fault_of_codes(labels, len(inputs))

    def _fault_of_codes(self, labels: NDArray[Any], count: int) -> str | None:
        if labels.shape != (count,):
            return f"has {count} inputs but labels of shape {labels.shape}; each needs one"
        classes = len(self.class_names)
        # Checked here once, because no kernel looks: an index out of range would be bent into it.
        if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= classes:
            found = f"{labels.min()} to {labels.max()} as {labels.dtype}"
            return f"has labels {found}, expected whole numbers from 0 to {classes - 1}"
        return None

    def _fault_of_numbers(self, labels: NDArray[Any], shape: tuple[int, int]) -> str | None:
        if self.class_names:
            return f"has classes and the targets {', '.join(self.targets)}; expected one of both"
        if labels.shape != shape:
            return f"has targets of shape {labels.shape}, expected {shape}"
        if labels.dtype.kind != "f" or not np.isfinite(labels).all():
            return f"has targets as {labels.dtype}, expected floats that are all finite"
        return None

    @property
    def schema(self) -> Schema:
        """What its examples are like."""
        pixels = self.train.inputs.dtype == np.uint8
        return Schema(self.class_names, self.shape, pixels, self.columns, self.targets)

    def fingerprint(self) -> str:
        """SHA-256 over the training arrays: tells two data sets of the same name apart."""
        digest = hashlib.sha256()
        for array in self.train:
            if array is None:  # no weights
                continue
            digest.update(f"{array.shape} {array.dtype.str} ".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def limited(self, count: int, seed: int) -> Dataset:
        """The same data set with `count` training examples, classes in proportion."""
        total = len(self.train.labels)
        if count >= total:
            return self
        classes = 0 if self.targets else len(np.unique(self.train.labels))
        if count < classes:
            raise ConfigError(
                f"limit_train: {count} examples cannot show {classes} classes; "
                f"expected at least {classes}"
            )
        rng = generator(seed, Stream.SAMPLE)
        _, rows = self.split(total - count, rng, what="limit_train")
        return replace(self, train=self.train.take(rows))

    def split(
        self, count: int, rng: np.random.Generator, *, what: str
    ) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """`count` rows of the training part and the rest: classes in proportion, or just drawn."""
        halves = random_split if self.targets else stratified_split
        return halves(self.train.labels, count, rng, what=what)


def picture_shape(shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """(H, W) or (H, W, 3) where bytes of this shape are a picture in grey or colour, else None."""
    plain = shape[:2] if shape[2:] == (1,) else shape
    return plain if len(plain) == 2 or (len(plain) == 3 and plain[2] == 3) else None


def random_split(
    labels: NDArray[np.float32], count: int, rng: np.random.Generator, *, what: str
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Split rows 0..N-1 into `count` drawn ones and the rest, both in rising order."""
    total = len(labels)
    if not 0 < count < total:
        raise ConfigError(
            f"{what} holds out {count} of {total} examples; expected 1 to {total - 1}, so that one "
            "is left to learn from, or none (0)"
        )
    order = rng.permutation(total)
    return np.sort(order[:count]), np.sort(order[count:])


def stratified_split(
    labels: NDArray[np.int32], count: int, rng: np.random.Generator, *, what: str
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Split rows 0..N-1 into `count` chosen ones and the rest, each class in proportion.

    The rest keeps at least one example of every class. Fractions of an example go to the classes
    with the largest remainder, so that exactly `count` are chosen. Both parts come back in rising
    order, so that copying them reads memory forwards.
    """
    sizes = np.bincount(labels)
    most = int(len(labels) - np.count_nonzero(sizes))
    if not 0 < count <= most:
        raise ConfigError(
            f"{what} holds out {count} of {len(labels)} examples; expected 1 to {most}, so that "
            f"each of {np.count_nonzero(sizes)} classes keeps one to learn from, or none (0)"
            + (
                "; labels as different as these may be numbers to predict, for which there is "
                "--loss mse"
                if 2 * np.count_nonzero(sizes) > len(labels)
                else ""
            )
        )
    shares = sizes * (count / len(labels))
    room = np.maximum(sizes - 1, 0)
    quota = np.minimum(np.floor(shares).astype(np.intp), room)
    while (lacking := count - int(quota.sum())) > 0:
        wanted_first = np.argsort(quota - shares, kind="stable")
        quota[wanted_first[quota[wanted_first] < room[wanted_first]][:lacking]] += 1
    chosen = np.zeros(len(labels), dtype=bool)
    for label, number in enumerate(quota):
        members = np.flatnonzero(labels == label)
        chosen[rng.permutation(members)[:number]] = True
    return np.flatnonzero(chosen), np.flatnonzero(~chosen)
