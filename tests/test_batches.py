"""Batches: every row once an epoch, in an order that depends on (seed, epoch) alone."""

import numpy as np
import pytest

from fastnn.backend import get_backend
from fastnn.data.batches import Batches
from fastnn.data.examples import Examples
from fastnn.data.scaling import Scaling
from fastnn.errors import ConfigError

CPU = get_backend("cpu")
PLAIN = Scaling("unit", None, np.array([1.0]))


def numbered(count, batch_size, **options):
    """Batches over rows that carry their own number."""
    rows = np.arange(count)
    examples = Examples(rows[:, None].astype(np.uint8), rows.astype(np.int32))
    return Batches(examples, batch_size, PLAIN, CPU, **options)


def served(batches, epoch=0, start=0):
    return [labels.tolist() for _, labels, _ in batches.epoch(epoch, start=start)]


@pytest.mark.parametrize(("count", "size"), [(10, 3), (10, 5), (10, 1), (10, 10), (3, 100), (1, 1)])
def test_every_row_comes_once_with_its_label(backend, count, size):
    rows = np.arange(count)
    examples = Examples(rows[:, None].astype(np.uint8), rows.astype(np.int32))
    batches = Batches(examples, size, PLAIN, backend, seed=0)
    seen = []
    for x, labels, _ in batches.epoch(0):
        assert len(x) == len(labels) <= size
        assert backend.to_host(x)[:, 0].tolist() == backend.to_host(labels).tolist()
        seen += backend.to_host(labels).tolist()
    assert sorted(seen) == rows.tolist()
    assert len(list(batches.epoch(0))) == len(batches)


def test_without_a_seed_rows_come_as_they_are():
    assert served(numbered(7, 3)) == [[0, 1, 2], [3, 4, 5], [6]]


def test_order_depends_on_seed_and_epoch_and_nothing_else():
    batches = numbered(50, 8, seed=3)
    first = served(batches, epoch=5)
    served(batches, epoch=1)
    assert served(numbered(50, 8, seed=3), epoch=5) == first
    assert served(batches, epoch=6) != first
    assert served(numbered(50, 8, seed=4), epoch=5) != first


@pytest.mark.parametrize("start", [0, 1, 6, 7])
def test_an_epoch_can_be_entered_at_any_batch(start):
    batches = numbered(50, 8, seed=3)
    assert served(batches, epoch=2, start=start) == served(batches, epoch=2)[start:]


def test_all_batches_share_one_buffer():
    views = [x for x, _, _ in numbered(10, 4).epoch(0)]
    assert np.shares_memory(views[0], views[1])
    assert np.shares_memory(views[0], views[2])


def test_scaling_reaches_the_batch():
    examples = Examples(np.array([[0, 255], [51, 102]], np.uint8), np.array([0, 1], np.int32))
    (batch,) = Batches(examples, 2, Scaling.fit(examples.inputs), CPU)
    assert batch.x.dtype == np.float32
    assert batch.x == pytest.approx(np.array([[0, 1], [0.2, 0.4]]))


def test_batch_size_is_checked():
    with pytest.raises(ConfigError, match="batch_size: 0"):
        numbered(4, 0)


def test_a_batch_larger_than_the_data_reserves_no_more_than_the_data():
    assert numbered(10, 10**9).batch_size == 10
