"""Each reference kernel against an independent referee, at awkward sizes too."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fastnn.backend import get_backend
from fastnn.errors import ConfigError
from fastnn.kernels import Kernels, XentScratch, kernels_for
from fastnn.kernels.cpu import Compiled
from fastnn.kernels.reference import Reference
from fastnn.nn.optim import Adam
from fastnn.nn.params import Flat, Layout

SIZES = [(1, 1, 1), (1, 784, 10), (7, 3, 1), (128, 20, 5), (33, 1, 9)]


def xent(kernels, xp, z, labels, scale=1.0):
    """softmax_xent with its buffers made here: (dz, losses, hits)."""
    b, c = z.shape
    dz, losses, hits = xp.empty_like(z), xp.empty(b, z.dtype), xp.empty(b, bool)
    scratch = XentScratch(
        xp.eye(c, dtype=z.dtype), xp.empty_like(z), xp.empty((b, 1), z.dtype), xp.empty(b, np.int64)
    )
    kernels.softmax_xent(
        dz, losses, hits, z.copy(), labels, None, scratch, scale=scale, smoothing=0.0
    )
    return dz, losses, hits


def test_the_reference_satisfies_the_protocol(without_numba):
    kernels: Kernels = Reference(np)
    assert kernels_for(get_backend("cpu")) == kernels


def test_compiled_kernels_serve_a_cpu_unless_the_reference_is_asked_for(numba):
    backend = get_backend("cpu")
    assert all(isinstance(kernels_for(backend, c), Compiled) for c in ("auto", "fused", "captured"))
    assert isinstance(kernels_for(backend, "reference"), Reference)


@pytest.mark.parametrize(
    ("choice", "precision", "named"),
    [
        ("fused", "float32", r"'fused': Numba is not .*\(pip install .* use --kernels auto$"),
        ("captured", "float32", "'captured': Numba is not installed"),
        ("captured", "tf32", "precision 'tf32' needs an NVIDIA GPU.* --precision float32$"),
        ("auto", "tf32", "precision 'tf32' needs an NVIDIA GPU.* use --precision float32$"),
        ("quick", "float32", "kernels: 'quick' is not one of auto, reference, fused, captured"),
        ("auto", "fp8", "precision: 'fp8' is not one of float32, tf32"),
    ],
)
def test_what_a_cpu_does_not_have_is_refused_by_name(without_numba, choice, precision, named):
    with pytest.raises(ConfigError, match=named):
        kernels_for(get_backend("cpu"), choice, precision)


@pytest.mark.parametrize(("b", "i", "o"), SIZES)
@pytest.mark.parametrize("relu", [True, False])
def test_affine_is_the_sum_over_inputs(backend, b, i, o, relu):
    rng = np.random.default_rng(b * 100 + o)
    x, w, bias = rng.normal(size=(b, i)), rng.normal(size=(i, o)), rng.normal(size=o)
    kernels, y = kernels_for(backend), backend.xp.empty((b, o))
    mask = kernels.new_mask(b, o) if relu else None
    kernels.affine(y, mask, *map(backend.asarray, (x, w, bias)))
    for row, column in [(0, 0), (b - 1, o - 1)]:
        exact = math.fsum([*(x[row] * w[:, column]), bias[column]])
        expected = max(exact, 0.0) if relu else exact
        assert backend.to_host(y)[row, column] == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_the_backward_pass_cuts_where_the_relu_did(backend):
    """x = max(x0 w0, 0) by the kernel itself, whose mask may hold what it likes."""
    kernels, xp = kernels_for(backend), backend.xp
    x0, w0 = backend.asarray([[1.0], [-1.0]]), backend.asarray([[2.0, -3.0, 0.0]])
    x, mask = xp.empty((2, 3)), kernels.new_mask(2, 3)
    kernels.affine(x, mask, x0, w0, xp.zeros(3))
    assert backend.to_host(x).tolist() == [[2, 0, 0], [0, 3, 0]]
    dy, w = backend.asarray([[5.0], [7.0]]), backend.asarray([[1.0], [10.0], [100.0]])
    dx, dw, db = xp.empty((2, 3)), xp.empty((3, 1)), xp.empty(1)
    kernels.affine_backward(dx, dw, db, dy, x, w, mask)
    assert backend.to_host(dx).tolist() == [[5, 0, 0], [0, 70, 0]]
    assert backend.to_host(dw).tolist() == [[10], [21], [0]]
    assert backend.to_host(db).tolist() == [12]
    kernels.affine_backward(dx, dw, db, dy, x, w, None)
    assert backend.to_host(dx).tolist() == [[5, 50, 500], [7, 70, 700]]


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_equal_logits_cost_log_of_classes(backend, classes):
    z, labels = backend.xp.full((4, classes), 3.0), backend.asarray(np.arange(4) % classes)
    dz, losses, _ = xent(kernels_for(backend), backend.xp, z, labels)
    assert backend.to_host(losses) == pytest.approx([math.log(classes)] * 4)
    assert backend.to_host(dz)[0, 0] == pytest.approx(1 / classes - 1)


@pytest.mark.parametrize("size", [1e4, -1e4, 3e38])
def test_huge_logits_stay_finite(backend, size):
    z = backend.asarray([[size, 0.0, 0.0], [size, size, size]], np.float32)
    dz, losses, _ = xent(kernels_for(backend), backend.xp, z, backend.asarray([0, 2]))
    assert np.isfinite(backend.to_host(dz)).all()
    first = 0.0 if size > 0 else math.log(2) - size
    assert backend.to_host(losses) == pytest.approx([first, math.log(3)], rel=1e-6, abs=1e-6)


rows = arrays(
    np.float64, st.tuples(st.integers(1, 6), st.integers(2, 6)), elements=st.floats(-30, 30)
)


@given(rows, st.integers(0, 5))
@settings(deadline=None)
def test_xent_agrees_with_exact_scalar_arithmetic(z, label):
    label %= z.shape[1]
    labels = np.full(len(z), label)
    dz, losses, _ = xent(Reference(np), np, z, labels, scale=0.5)
    for row, logits in enumerate(z.tolist()):
        top = max(logits)
        total = math.fsum(math.exp(v - top) for v in logits)
        assert losses[row] == pytest.approx(math.log(total) + top - logits[label], abs=1e-9)
        for column, v in enumerate(logits):
            slope = math.exp(v - top) / total - (column == label)
            assert dz[row, column] == pytest.approx(0.5 * slope, abs=1e-12)


def test_a_hit_is_the_largest_logit_and_of_equal_ones_the_first(backend):
    z = backend.asarray([[1.0, 1.0], [1.0, 1.0], [0.0, 2.0]])
    _, _, hits = xent(kernels_for(backend), backend.xp, z, backend.asarray([0, 1, 1]))
    assert backend.to_host(hits).tolist() == [True, False, True]


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("offset", [None, 10.0])
def test_gather_takes_and_scales_rows(backend, dtype, offset):
    inputs = backend.asarray(np.arange(20).reshape(5, 4), dtype)
    labels, rows = backend.asarray([0, 1, 2, 3, 4], np.int32), backend.asarray([4, 0, 4])
    x, labels_out = backend.xp.empty((3, 4), np.float32), backend.xp.empty(3, np.int32)
    kernels_for(backend).gather(
        x, labels_out, inputs, labels, rows, backend.xp.empty((3, 4), dtype),
        None if offset is None else backend.asarray([offset], np.float32),
        backend.asarray([0.5], np.float32), backend.xp.zeros(2, np.uint64), augmentation=None,
    )  # fmt: skip
    shift = offset or 0.0
    expected = [[(v - shift) / 2 for v in row] for row in ([16, 17, 18, 19], [0, 1, 2, 3])]
    assert backend.to_host(x).tolist() == [expected[0], expected[1], expected[0]]
    assert backend.to_host(labels_out).tolist() == [4, 0, 4]


def scalar_adam(p, gradients, *, lr, beta1, beta2, eps, decay=0.0, decoupled=False):
    """Algorithm 1 of the paper for one number, step by step in plain Python."""
    m = v = 0.0
    for t, g in enumerate(gradients, start=1):
        if decoupled:
            p = p - lr * decay * p
        else:
            g = g + decay * p
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        m_hat = m / (1 - beta1**t)
        v_hat = v / (1 - beta2**t)
        p = p - lr * m_hat / (math.sqrt(v_hat) + eps)
    return p


@pytest.mark.parametrize("eps", [1e-8, 1e-2, 10.0])
@pytest.mark.parametrize(("decay", "decoupled"), [(0.0, False), (0.1, False), (0.1, True)])
def test_adam_is_algorithm_1_for_every_element(backend, eps, decay, decoupled):
    rng = np.random.default_rng(1)
    size, n_decay, steps = 5, 3, 12
    start, gradients = rng.normal(size=size), rng.normal(size=(steps, size))
    p = backend.asarray(start.copy())
    m, v, scratch = (backend.xp.zeros(size) for _ in range(3))
    hyper = {"lr": 0.05, "beta1": 0.9, "beta2": 0.99, "eps": eps}
    flat = Flat(Layout.of({"w": (1, 1)}), backend, np.float64)
    optimizer = Adam(flat, beta1=0.9, beta2=0.99, eps=eps, weight_decay=decay, decoupled=decoupled)
    table = backend.asarray(optimizer.rates([hyper["lr"]] * steps))
    for t in range(steps):
        kernels_for(backend).adam(
            p, backend.asarray(gradients[t].copy()), m, v, scratch, table[t],
            beta1=0.9, beta2=0.99, decay=decay, n_decay=n_decay, decoupled=decoupled,
        )  # fmt: skip
    for k in range(size):
        mine = {"decay": decay if k < n_decay else 0.0, "decoupled": decoupled}
        expected = scalar_adam(start[k], gradients[:, k].tolist(), **hyper, **mine)
        assert backend.to_host(p)[k] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
def test_sgd_follows_its_recurrence(backend, momentum, nesterov):
    rng = np.random.default_rng(2)
    start, gradients = rng.normal(size=4), rng.normal(size=(6, 4))
    p, m, scratch = backend.asarray(start.copy()), backend.xp.zeros(4), backend.xp.zeros(4)
    for g in gradients:
        kernels_for(backend).sgd(
            p, backend.asarray(g.copy()), m, scratch, backend.asarray([0.1]),
            momentum=momentum, nesterov=nesterov, decay=0.0, n_decay=0,
        )  # fmt: skip
    for k in range(4):
        x, speed = start[k], 0.0
        for g in gradients[:, k]:
            speed = momentum * speed + g
            x -= 0.1 * (g + momentum * speed if nesterov else speed)
        assert backend.to_host(p)[k] == pytest.approx(x, abs=1e-13)
