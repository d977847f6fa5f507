"""Examples that do not fit a GPU, streamed through a ring while the steps run.

The ring is one device buffer of two halves. While steps read one half, a second stream copies the
next examples of the epoch, in its order, into the other from pinned host memory. Readers see an
ordinary table with row numbers, so a captured step need not know that its data move.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn.backend import Array, Backend
from fastnn.data.examples import Examples

HALF_BYTES = 64 << 20  # large enough to hide the start of a copy, small beside any GPU's memory


class Ring:
    """`inputs` (2H, D) and `labels` (2H,) on the device; H is a whole number of batches.

    `open` an epoch, then call `await_batch(k)` for k = start, start + 1, ... before the work that
    reads batch k. Copies are ordered by events: a half is overwritten only after the steps that
    read it, and read only after it has arrived. The host waits only for its own pinned buffer.
    """

    def __init__(
        self,
        examples: Examples,
        batch_size: int,
        backend: Backend,
        *,
        half_bytes: int | None = None,
    ) -> None:
        source, cuda = examples.inputs, backend.xp.cuda
        row_bytes = source.shape[1] * source.itemsize
        self.half = max(1, (half_bytes or HALF_BYTES) // (row_bytes * batch_size)) * batch_size
        self._batch_size = batch_size
        self._source, self._source_labels = source, examples.labels
        self._cuda = cuda
        self.inputs = backend.xp.empty((2 * self.half, source.shape[1]), source.dtype)
        self.labels = backend.xp.empty(2 * self.half, np.int64)
        self._pinned = [
            (
                _pinned(cuda, (self.half, source.shape[1]), source.dtype),
                _pinned(cuda, (self.half,), np.dtype(np.int64)),
            )
            for _ in range(2)
        ]
        self._copies = cuda.Stream(non_blocking=True)
        self._arrived = [cuda.Event(disable_timing=True) for _ in range(2)]
        self._released = cuda.Event(disable_timing=True)
        self._order: Array = np.empty(0, np.int64)
        self._sent = 0  # the last part of the epoch whose copy was started

    def __del__(self) -> None:
        """Let a copy under way end before its memory is given to somebody else."""
        if hasattr(self, "_copies"):
            self._copies.synchronize()

    def open(self, order: Array, start: int) -> Array:
        """Begin an epoch in this order at batch `start`: where each of its examples will lie."""
        self._order = order
        self._send(start * self._batch_size // self.half)
        where: Array = np.arange(len(order)) % (2 * self.half)
        return where

    def await_batch(self, batch: int) -> None:
        """Make the current stream wait for a batch; at the first of a half, send for the next."""
        part = batch * self._batch_size // self.half
        self._cuda.get_current_stream().wait_event(self._arrived[part % 2])
        if part == self._sent:
            self._send(part + 1)

    def _send(self, part: int) -> None:
        """Start to copy the part-th half-full of the epoch into its half of the ring."""
        self._sent = part
        rows = self._order[part * self.half : (part + 1) * self.half]
        if len(rows) == 0:
            return
        side = part % 2
        host_inputs, host_labels = (buffer[: len(rows)] for buffer in self._pinned[side])
        self._arrived[side].synchronize()  # the last copy out of this pinned buffer
        np.take(self._source, rows, axis=0, out=host_inputs, mode="clip")
        host_labels[...] = self._source_labels[rows]
        # Whatever the steps read from this half until now comes before the copy.
        self._released.record(self._cuda.get_current_stream())
        self._copies.wait_event(self._released)
        first = side * self.half
        for target, host in ((self.inputs, host_inputs), (self.labels, host_labels)):
            target[first : first + len(rows)].set(host, stream=self._copies)
        self._arrived[side].record(self._copies)


def _pinned(cuda: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """A host array in page-locked memory: copies from it run beside the computation."""
    size = int(np.prod(shape))
    memory = cuda.alloc_pinned_memory(size * dtype.itemsize)
    return np.frombuffer(memory, dtype, size).reshape(shape)
