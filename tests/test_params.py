"""The flat vector: aligned disjoint views, matrices first, padding that stays zero."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastnn.backend import ALIGNMENT, get_backend
from fastnn.nn.model import MLP
from fastnn.nn.optim import SGD, Adam
from fastnn.nn.params import Flat, Layout

shapes = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=5),
    st.lists(st.integers(1, 9), min_size=1, max_size=3),
    min_size=1,
    max_size=8,
)


@given(shapes)
def test_views_cover_disjoint_aligned_ranges(shapes):
    flat = Flat(Layout.of(shapes), get_backend("cpu"), np.float32)
    written = np.zeros(flat.layout.size, int)
    for slot in flat.layout.slots:
        written[slot.start : slot.stop] += 1
        view = flat[slot.name]
        assert view.shape == tuple(shapes[slot.name])
        assert np.shares_memory(view, flat.vector)
        assert view.ctypes.data % ALIGNMENT == 0
    assert written.max() == 1
    assert flat.count == written.sum() == sum(int(np.prod(s)) for s in shapes.values())


@given(shapes)
def test_decay_covers_all_matrices_and_no_vector(shapes):
    layout = Layout.of(shapes)
    for slot in layout.slots:
        if len(slot.shape) >= 2:
            assert slot.stop <= layout.n_decay
        else:
            assert slot.start >= layout.n_decay


def test_views_write_through():
    flat = Flat(Layout.of({"w": (2, 3), "b": (3,)}), get_backend("cpu"), np.float32)
    flat["w"][...] = 7
    assert flat.vector[:6].tolist() == [7] * 6
    assert list(flat) == ["w", "b"]
    assert len(flat) == 2


@pytest.mark.parametrize(
    "make", [Adam, lambda p: SGD(p, momentum=0.9), lambda p: Adam(p, weight_decay=0.1)]
)
def test_padding_stays_zero(make):
    rng = np.random.default_rng(0)
    model = MLP((5, 7, 3), get_backend("cpu"), rng=rng)
    optimizer, ws = make(model.params), model.workspace(4)
    used = np.zeros(model.params.layout.size, bool)
    for slot in model.params.layout.slots:
        used[slot.start : slot.stop] = True
    assert not used.all()
    for _ in range(5):
        x = rng.random((4, 5), dtype=np.float32)
        model.loss_and_grad(x, np.array([0, 1, 2, 0]), ws)
        optimizer.step(model.grads, 0.1)
    assert not model.params.vector[~used].any()
    assert model.params.vector[used].any()
