"""Shuffled, scaled mini-batches gathered into one reused buffer on the device.

The order of an epoch depends on (seed, epoch) alone, so a run may start again at any batch of any
epoch and meet the same examples.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from fastnn.backend import Array, Backend
from fastnn.data.examples import Examples
from fastnn.data.ring import Ring
from fastnn.data.scaling import Scaling
from fastnn.errors import ConfigError
from fastnn.kernels import Augmentation, Kernels, kernels_for
from fastnn.rng import Stream, generator


class Batch(NamedTuple):
    """Scaled inputs x (B, D), labels (B,) or targets (B, T), weights (B,) or None.

    Views that the next batch overwrites.
    """

    x: Array
    labels: Array
    weights: Array | None


class Source(NamedTuple):
    """All examples as they lie on the device, and how they are scaled: (inputs - offset) * factor.

    Where they stream through a ring, it stands in for them.
    """

    inputs: Array  # (N, D) uint8 or float
    labels: Array  # (N,)
    offset: Array | None  # (1,) or (D,)
    factor: Array  # (1,) or (D,)
    weights: Array | None  # (N,)


class Batches:
    """The examples of one part, served `batch_size` rows at a time from the device.

    With a `seed` each epoch has its own order; without, rows come as they are. The last batch is
    smaller where the division leaves a remainder. Inputs that fill more than half of a GPU's free
    memory stay on the host and stream through a `Ring` instead (`resident` overrules).

    `noise` (2,) uint64 on the device is where the batch stands among all random numbers: the
    epoch's key, and how many of its examples come before (kernels/__init__.py). An `augmentation`
    varies pictures by it, and so does dropout.
    """

    def __init__(
        self,
        examples: Examples,
        batch_size: int,
        scaling: Scaling,
        backend: Backend,
        *,
        seed: int | None = None,
        kernels: Kernels | None = None,
        dtype: DTypeLike = np.float32,
        resident: bool | None = None,
        augmentation: Augmentation | None = None,
    ) -> None:
        if batch_size < 1:
            raise ConfigError(f"batch_size: {batch_size} must be at least 1")
        examples = examples._replace(inputs=_of_a_known_type(examples.inputs))
        self.count: int = len(examples.inputs)
        columns = examples.inputs.shape[1]
        self.batch_size = min(batch_size, self.count)
        self.backend = backend
        self.seed = seed
        self._kernels = kernels_for(backend) if kernels is None else kernels
        if resident is None:
            free = backend.free_bytes()
            resident = free is None or examples.inputs.nbytes <= free // 2
        if not resident and (examples.weights is not None or examples.labels.ndim > 1):
            raise ConfigError(
                f"the inputs ({examples.inputs.nbytes / 1e9:.1f} GB) do not fit this GPU, and "
                "weights and targets cannot stream through it; use --limit-train or --device cpu"
            )
        self._ring = None if resident else Ring(examples, self.batch_size, backend)
        if self._ring is None:
            inputs = backend.asarray(examples.inputs)
            # Codes as int64 index without a conversion, which would allocate in every step.
            codes = examples.labels.ndim == 1
            labels = backend.asarray(examples.labels, np.int64 if codes else dtype)
        else:
            inputs, labels = self._ring.inputs, self._ring.labels
        offset = None if scaling.offset is None else backend.asarray(scaling.offset, dtype)
        share = examples.weights
        weights = None if share is None else backend.asarray(share, dtype)
        factor = backend.asarray(scaling.factor, dtype)
        self.source = Source(inputs, labels, offset, factor, weights)
        self.augmentation = augmentation
        self.noise: Array = backend.xp.zeros(2, np.uint64)
        self._ahead: tuple[int, Array] | None = None
        self._x = backend.xp.empty((self.batch_size, columns), dtype)
        self._labels_out = backend.xp.empty((self.batch_size, *labels.shape[1:]), labels.dtype)
        self._weights_out = None if weights is None else backend.xp.empty(self.batch_size, dtype)
        self._raw = backend.xp.empty((self.batch_size, columns), inputs.dtype)

    def __len__(self) -> int:
        """Batches in an epoch."""
        return math.ceil(self.count / self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        """The batches of epoch 0, each time: ask `epoch(n)` for another order."""
        return self.epoch(0)

    def order(self, epoch: int) -> Array:
        """Row numbers (N,) in the order of this epoch, on the host."""
        if self._ahead is not None and self._ahead[0] == epoch:
            return self._ahead[1]
        if self.seed is None:
            return np.arange(self.count)
        return generator(self.seed, Stream.ORDER, epoch).permutation(self.count)

    def draw_ahead(self, epoch: int) -> None:
        """Draw an epoch's order (a millisecond for 60,000) while the device is busy."""
        self._ahead = (epoch, self.order(epoch))

    def epoch(self, epoch: int, *, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, from batch number `start` on."""
        rows = self.backend.asarray(self.open(epoch, start))
        for batch in range(start, len(self)):
            self.await_batch(batch)
            first = batch * self.batch_size
            self.place(first)
            yield self.gather(rows[first : first + self.batch_size])

    def open(self, epoch: int, start: int = 0) -> Array:
        """Begin an epoch at batch `start`: where each example (N,) will lie, on the host.

        Batch k is rows k*B to (k+1)*B of it, for `gather`, once `await_batch(k)` has returned.
        """
        order = self.order(epoch)
        self.noise[0] = self.key(epoch)
        return order if self._ring is None else self._ring.open(order, start)

    def key(self, epoch: int) -> np.uint64:
        """The key of this epoch's random numbers."""
        if self.seed is None:
            return np.uint64(0)
        rng = generator(self.seed, Stream.NOISE, epoch)
        return rng.integers(2**64, dtype=np.uint64)

    def place(self, first: int) -> None:
        """Tell `noise` how many examples of the epoch come before the next batch."""
        self.noise[1] = first

    def await_batch(self, batch: int) -> None:
        """Order the work that follows after the arrival of this batch's examples."""
        if self._ring is not None:
            self._ring.await_batch(batch)

    def gather(self, rows: Array) -> Batch:
        """The examples that lie at `rows` (B,) on the device, scaled."""
        b, source = len(rows), self.source
        x, labels = self._x[:b], self._labels_out[:b]
        self._kernels.gather(
            x, labels, source.inputs, source.labels, rows, self._raw[:b],
            source.offset, source.factor, self.noise, augmentation=self.augmentation,
        )  # fmt: skip
        if source.weights is None or self._weights_out is None:
            return Batch(x, labels, None)
        weights = self._weights_out[:b]
        self._kernels.take(weights, source.weights, rows)
        return Batch(x, labels, weights)


def _of_a_known_type(inputs: Array) -> Array:
    """Inputs as they are, or if kernels do not compile for their type, in the next wider one."""
    dtype = inputs.dtype.newbyteorder("=")
    if dtype.kind == "f" and dtype not in (np.float32, np.float64):
        dtype = np.dtype(np.float32 if dtype.itemsize < 4 else np.float64)
    return inputs.astype(dtype, copy=False)
