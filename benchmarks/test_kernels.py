"""Each kernel at the default network's sizes, from small batches to large, on every device."""

from __future__ import annotations

import numpy as np
import pytest

from fastnn.bench.competitors import SIZES
from fastnn.kernels import kernels_for
from fastnn.nn.model import MLP

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


def test_affine(benchmark, backend, batch):
    xp, rng = backend.xp, np.random.default_rng(0)
    x = backend.asarray(rng.random((batch, SIZES[0])), np.float32)
    w, b = xp.ones((SIZES[0], SIZES[1]), np.float32), xp.zeros(SIZES[1], np.float32)
    y, kernels = xp.empty((batch, SIZES[1]), np.float32), kernels_for(backend)
    timed(benchmark, backend, lambda: kernels.affine(y, x, w, b, relu=True))


def test_affine_backward(benchmark, backend, batch):
    xp, (i, o) = backend.xp, SIZES[1:3]
    x, dy = xp.ones((batch, i), np.float32), xp.ones((batch, o), np.float32)
    w = xp.ones((i, o), np.float32)
    dx, dw, db = xp.empty_like(x), xp.empty_like(w), xp.empty(o, np.float32)
    kernels = kernels_for(backend)
    timed(benchmark, backend, lambda: kernels.affine_backward(dx, dw, db, dy, x, w))


def test_softmax_xent(benchmark, backend, batch):
    xp, classes = backend.xp, SIZES[-1]
    z, labels = xp.ones((batch, classes), np.float32), xp.zeros(batch, np.int64)
    dz, onehot = xp.empty_like(z), xp.empty_like(z)
    losses, row = xp.empty(batch, np.float32), xp.empty((batch, 1), np.float32)
    eye, kernels = xp.eye(classes, dtype=np.float32), kernels_for(backend)
    timed(
        benchmark,
        backend,
        lambda: kernels.softmax_xent(dz, losses, z, labels, eye, onehot, row, scale=1 / batch),
    )


def test_gather(benchmark, backend, batch):
    xp, columns = backend.xp, SIZES[0]
    inputs, labels = xp.zeros((60_000, columns), np.uint8), xp.zeros(60_000, np.int64)
    rows = backend.asarray(np.random.default_rng(0).permutation(60_000)[:batch])
    x, raw = xp.empty((batch, columns), np.float32), xp.empty((batch, columns), np.uint8)
    out, factor = xp.empty(batch, np.int64), backend.asarray([1 / 255], np.float32)
    kernels = kernels_for(backend)
    timed(
        benchmark,
        backend,
        lambda: kernels.gather(x, out, inputs, labels, rows, raw, None, factor),
    )


def test_adam(benchmark, backend):
    model = MLP(SIZES, backend, rng=np.random.default_rng(0))
    p, g = model.params.vector, model.grads.vector
    m, v, scratch = (model.params.twin().vector for _ in range(3))
    g[...] = 0.01
    timed(
        benchmark,
        backend,
        lambda: model.kernels.adam(
            p, g, m, v, scratch, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8,
            decay=0.0, n_decay=0, decoupled=False, step=100,
        ),
    )  # fmt: skip
