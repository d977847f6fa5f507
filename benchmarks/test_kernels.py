"""Each kernel at the default network's sizes, from small batches to large, on every device."""

from __future__ import annotations

import numpy as np
import pytest

from fastnn.bench.competitors import SIZES
from fastnn.kernels import XentScratch
from fastnn.nn.model import MLP
from fastnn.nn.optim import Adam

pytestmark = pytest.mark.benchmark(max_time=0.4, min_rounds=5, warmup=True, warmup_iterations=3)


@pytest.fixture(params=[32, 512, 16384])
def batch(request):
    return request.param


def timed(benchmark, backend, call):
    """The device is waited for inside the timed call: otherwise only launches are measured."""

    def synchronised():
        with backend.activate():
            call()
            backend.synchronize()

    benchmark.extra_info |= backend.describe()
    benchmark(synchronised)


def test_affine(benchmark, backend, kernels, batch):
    xp, rng = backend.xp, np.random.default_rng(0)
    x = backend.asarray(rng.random((batch, SIZES[0])), np.float32)
    w, b = xp.ones((SIZES[0], SIZES[1]), np.float32), xp.zeros(SIZES[1], np.float32)
    y, mask = xp.empty((batch, SIZES[1]), np.float32), kernels.new_mask(batch, SIZES[1])
    timed(benchmark, backend, lambda: kernels.affine(y, mask, x, w, b))


def test_affine_backward(benchmark, backend, kernels, batch):
    xp, (i, o) = backend.xp, SIZES[1:3]
    x, dy = xp.ones((batch, i), np.float32), xp.ones((batch, o), np.float32)
    w, mask = xp.ones((i, o), np.float32), kernels.new_mask(batch, i)
    dx, dw, db = xp.empty_like(x), xp.empty_like(w), xp.empty(o, np.float32)
    before, ones = xp.ones((batch, 1), np.float32), xp.ones((1, i), np.float32)
    kernels.affine(x, mask, before, ones, xp.zeros(i, np.float32))  # fills the mask
    timed(benchmark, backend, lambda: kernels.affine_backward(dx, dw, db, dy, x, w, mask))


def test_softmax_xent(benchmark, backend, kernels, batch):
    xp, classes = backend.xp, SIZES[-1]
    z, labels = xp.ones((batch, classes), np.float32), xp.zeros(batch, np.int64)
    dz, losses, hits = xp.empty_like(z), xp.empty(batch, np.float32), xp.empty(batch, bool)
    scratch = XentScratch(
        xp.eye(classes, dtype=np.float32), xp.empty_like(z), xp.empty((batch, 1), np.float32),
        xp.empty(batch, np.int64),
    )  # fmt: skip
    timed(
        benchmark,
        backend,
        lambda: kernels.softmax_xent(
            dz, losses, hits, z, labels, None, scratch, scale=1 / batch, smoothing=0.0
        ),
    )


def test_gather(benchmark, backend, kernels, batch):
    xp, columns = backend.xp, SIZES[0]
    inputs, labels = xp.zeros((60_000, columns), np.uint8), xp.zeros(60_000, np.int64)
    rows = backend.asarray(np.random.default_rng(0).permutation(60_000)[:batch])
    x, raw = xp.empty((batch, columns), np.float32), xp.empty((batch, columns), np.uint8)
    out, factor = xp.empty(batch, np.int64), backend.asarray([1 / 255], np.float32)
    noise = xp.zeros(2, np.uint64)
    timed(
        benchmark,
        backend,
        lambda: kernels.gather(
            x, out, inputs, labels, rows, raw, None, factor, noise, augmentation=None
        ),
    )


def test_adam(benchmark, backend, kernels):
    model = MLP(SIZES, backend, rng=np.random.default_rng(0), kernels=kernels)
    optimizer = Adam(model.params, kernels=kernels)
    model.grads.vector[...] = 0.01
    rates = backend.asarray(optimizer.rates([1e-3])[0], np.float32)
    timed(benchmark, backend, lambda: optimizer.update(model.grads, rates))
