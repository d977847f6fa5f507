"""What every data source becomes: host arrays of examples, in named parts.

Inputs stay as they were read (uint8 pixels or float32 columns) until a batch is gathered: scaling
belongs to the model, and bytes take a quarter of the memory of floats.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastnn.errors import ConfigError, DataError
from fastnn.rng import Stream, generator


class Examples(NamedTuple):
    """One part of a data set: inputs (N, D) uint8 or float32, labels (N,) int32 in 0..C-1."""

    inputs: NDArray[Any]
    labels: NDArray[np.int32]

    def take(self, rows: NDArray[np.intp]) -> Examples:
        """A copy of these rows."""
        return Examples(self.inputs[rows], self.labels[rows])


@dataclass(frozen=True, slots=True)
class Dataset:
    """A named data set on the host. `shape` is one example's, (28, 28) for these images."""

    name: str
    train: Examples
    test: Examples | None
    class_names: tuple[str, ...]
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        for part, examples in (("training", self.train), ("test", self.test)):
            if examples is None:
                continue
            count, columns = examples.inputs.shape
            if count == 0:
                raise DataError(f"{self.name}: the {part} part holds no examples")
            if len(examples.labels) != count:
                raise DataError(
                    f"{self.name}: the {part} part has {count} inputs but "
                    f"{len(examples.labels)} labels; each input needs one label"
                )
            if columns != int(np.prod(self.shape)):
                raise DataError(
                    f"{self.name}: the {part} part has {columns} columns where the shape "
                    f"{self.shape} asks for {int(np.prod(self.shape))}"
                )

    def fingerprint(self) -> str:
        """SHA-256 over the training arrays: tells two data sets of the same name apart."""
        digest = hashlib.sha256()
        for array in self.train:
            digest.update(f"{array.shape} {array.dtype.str} ".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def limited(self, count: int, seed: int) -> Dataset:
        """The same data set with `count` training examples, classes in proportion."""
        total = len(self.train.labels)
        if count >= total:
            return self
        rows, _ = stratified_split(
            self.train.labels, count, generator(seed, Stream.SAMPLE), what=f"a sample of {count}"
        )
        return Dataset(self.name, self.train.take(rows), self.test, self.class_names, self.shape)


def stratified_split(
    labels: NDArray[np.int32], count: int, rng: np.random.Generator, *, what: str
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Split rows 0..N-1 into `count` chosen ones and the rest, each class in proportion.

    Both parts come back in rising order, so that copying them reads memory forwards. Fractions of
    an example go to the classes with the largest remainder, so the first part has exactly `count`.
    """
    total = len(labels)
    if not 0 < count < total:
        raise ConfigError(f"{what}: {count} of {total} examples leaves one part empty")
    sizes = np.bincount(labels)
    shares = sizes * (count / total)
    quota = np.floor(shares).astype(np.intp)
    most_cut_first = np.argsort(quota - shares, kind="stable")
    quota[most_cut_first[: count - int(quota.sum())]] += 1
    chosen = np.zeros(total, dtype=bool)
    for label, number in enumerate(quota):
        members = np.flatnonzero(labels == label)
        chosen[rng.permutation(members)[:number]] = True
    return np.flatnonzero(chosen), np.flatnonzero(~chosen)
