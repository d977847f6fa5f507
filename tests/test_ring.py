"""Streaming: whatever the two streams do first, each batch is read as it was meant."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from fastnn.data.examples import Examples
from fastnn.data.ring import Ring

COLUMNS, BATCH = 3, 4


class Lazy:
    """Streams as queues: work waits until the host or an event needs it, or `drain` is called.

    `eager` names the stream that always runs as far as it can; the other only where it must.
    """

    def __init__(self, eager):
        self.eager = eager
        self.queues = {"compute": [], "copy": []}
        self.done = set()  # tickets of records that have been reached
        self.tickets = 0

    def put(self, stream, kind, what):
        self.queues[stream].append((kind, what))
        self.advance(self.eager)

    def advance(self, stream, until=None):
        """Run a stream's work until it is blocked, or until a ticket is reached."""
        queue = self.queues[stream]
        while queue and (until is None or until not in self.done):
            kind, what = queue[0]
            if kind == "wait" and what not in self.done:
                other = "copy" if stream == "compute" else "compute"
                self.advance(other, until=what)
                assert what in self.done, "a wait for what was never recorded"
            queue.pop(0)
            if kind == "record":
                self.done.add(what)
            elif kind == "work":
                what()


def fake(lazy):
    """`backend` and the copy into device memory, on those queues."""

    class Stream:
        def __init__(self, name="copy", **_options):
            self.name = name

        def synchronize(self):
            lazy.advance(self.name)

        def wait_event(self, event):
            if event.ticket is not None:  # an event that was never recorded holds nobody up
                lazy.put(self.name, "wait", event.ticket)

    class Event:
        ticket = None

        def __init__(self, **_options):
            pass

        def record(self, stream):
            lazy.tickets += 1
            self.ticket, self.stream = lazy.tickets, stream.name
            lazy.put(stream.name, "record", self.ticket)

        def synchronize(self):
            if self.ticket is not None:
                lazy.advance(self.stream, until=self.ticket)

    class Memory(np.ndarray):
        def set(self, host, stream):
            lazy.put(stream.name, "work", lambda: np.copyto(self, host))  # reads `host` only then

    compute = Stream("compute")
    cuda = SimpleNamespace(
        Stream=Stream, Event=Event, get_current_stream=lambda: compute,
        alloc_pinned_memory=lambda size: np.zeros(size, np.uint8),
    )  # fmt: skip
    empty = lambda shape, dtype: np.full(shape, 255, dtype).view(Memory)  # noqa: E731
    return SimpleNamespace(xp=SimpleNamespace(cuda=cuda, empty=empty))


@pytest.mark.parametrize("eager", ["compute", "copy", "neither"])
@pytest.mark.parametrize("half_batches", [1, 2, 5, 100])
@pytest.mark.parametrize("count", [1, 4, 29, 40])
@pytest.mark.parametrize("start", [0, 3])
def test_each_batch_is_read_whole_and_in_order(eager, half_batches, count, start):
    lazy = Lazy("copy" if eager == "copy" else "compute")
    if eager == "neither":
        lazy.eager = None
        lazy.advance = lambda stream, until=None, go=lazy.advance: stream and go(stream, until)
    inputs = np.arange(count * COLUMNS, dtype=np.uint8).reshape(count, COLUMNS)
    examples = Examples(inputs, np.arange(count) + 1000)
    ring = Ring(examples, BATCH, fake(lazy), half_bytes=half_batches * BATCH * COLUMNS)
    read, expected = [], []
    batches = -(-count // BATCH)
    for epoch, first in enumerate([min(start, batches - 1), 0, 0]):
        order = np.random.default_rng(epoch).permutation(count)
        where = ring.open(order, first)
        for batch in range(first, batches):
            ring.await_batch(batch)
            rows = where[batch * BATCH : (batch + 1) * BATCH]

            def look(rows=rows):
                read.append((np.array(ring.inputs[rows]), np.array(ring.labels[rows])))

            lazy.put("compute", "work", look)
            expected.append(order[batch * BATCH : (batch + 1) * BATCH])
    for stream in ("compute", "copy"):
        lazy.advance(stream)
    assert len(read) == len(expected)
    for (found, labels), rows in zip(read, expected, strict=True):
        assert np.array_equal(found, inputs[rows])
        assert np.array_equal(labels, rows + 1000)


def test_a_half_is_as_many_batches_as_fit_into_its_bytes():
    examples = Examples(np.zeros((50, 3), np.float32), np.zeros(50, np.int32))  # 48 bytes a batch
    for half_bytes, batches in ((1, 1), (48, 1), (95, 1), (96, 2), (500, 10)):
        ring = Ring(examples, BATCH, fake(Lazy("compute")), half_bytes=half_bytes)
        assert ring.half == batches * BATCH
    assert Ring(examples, BATCH, fake(Lazy("compute"))).half * 12 > 60_000_000
