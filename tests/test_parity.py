"""Fused kernels and the reference give the same numbers, at awkward shapes and in both dtypes.

On a CPU the fused kernels are Numba's. On the stand-in they are the very sources that a GPU gets,
compiled for the host; with a GPU, they are what runs there. Tolerances come from the dtype and the
length of a sum.
"""

from __future__ import annotations

import numpy as np
import pytest

from fastnn.backend import get_backend
from fastnn.errors import DeviceError
from fastnn.kernels import XentScratch, kernels_for
from fastnn.kernels.reference import Reference
from fastnn.nn.optim import Adam
from fastnn.nn.params import Flat, Layout

SHAPES = [(1, 1, 1), (1, 9, 2), (3, 2, 1), (33, 100, 7), (130, 5, 129), (257, 31, 40)]
DTYPES = [np.float32, np.float64]


@pytest.fixture(params=["numba", "stand-in", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request):
    if request.param == "numba":
        request.getfixturevalue("numba")
        return get_backend("cpu")
    if request.param == "stand-in":
        request.getfixturevalue("gpu")
    try:
        return get_backend("cuda")
    except DeviceError as error:
        pytest.skip(f"not tested on {request.param}: {error.problem}")


@pytest.fixture
def gpu_device(device):
    """For the kernels that only a captured step needs."""
    if device.name == "cpu":
        pytest.skip("a CPU has no such kernel")
    return device


class Both:
    """Arrays on the host for the reference and on the device for the fused kernels."""

    def __init__(self, device, dtype, seed=0):
        self.device, self.dtype = device, np.dtype(dtype)
        self.rng = np.random.default_rng(seed)
        self.reference, self.fused = Reference(np), kernels_for(device)

    def normal(self, *shape):
        host = self.rng.normal(size=shape).astype(self.dtype)
        return host, self.device.asarray(host.copy())

    def empty(self, *shape, dtype=None):
        dtype = dtype or self.dtype
        return np.full(shape, 77, dtype), self.device.asarray(np.full(shape, 78, dtype))

    def call(self, name, *arguments, **scalars):
        """The same kernel on both sides; pairs go to their sides."""
        for side, kernels in enumerate((self.reference, self.fused)):
            getattr(kernels, name)(
                *(x[side] if isinstance(x, tuple) else x for x in arguments), **scalars
            )

    def agree(self, *pairs, length=1):
        tolerance = 8 * np.finfo(self.dtype).eps * max(length, 1)
        for host, array in pairs:
            found = self.device.to_host(array)
            scale = max(1.0, float(np.abs(host).max()))
            np.testing.assert_allclose(found, host, rtol=tolerance, atol=tolerance * scale)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("b", "i", "o"), SHAPES)
@pytest.mark.parametrize("relu", [True, False])
def test_affine_forward_and_backward(device, b, i, o, relu, dtype):
    both = Both(device, dtype)
    x0, w0, b0 = both.normal(b, 3), both.normal(3, i), both.normal(i)
    x, mask = both.empty(b, i), None
    if relu:
        mask = (both.reference.new_mask(b, i), both.fused.new_mask(b, i))
    both.call("affine", x, mask, x0, w0, b0)
    both.agree(x, length=4)
    dy, w = both.normal(b, o), both.normal(i, o)
    dx, dw, db = both.empty(b, i), both.empty(i, o), both.empty(o)
    both.call("affine_backward", dx, dw, db, dy, x, w, mask)
    both.agree(dx, length=o)
    both.agree(dw, db, length=b)
    both.call("affine_backward", None, dw, db, dy, x, w, None)
    both.agree(dw, db, length=b)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("classes", [1, 2, 10, 31, 32, 33, 100])
@pytest.mark.parametrize("rows", [1, 3, 4, 129])
@pytest.mark.parametrize("size", [1.0, 1e4])
def test_softmax_xent(device, rows, classes, size, dtype):
    both = Both(device, dtype)
    z = tuple(a * a.dtype.type(size) for a in both.normal(rows, classes))
    labels = both.rng.integers(0, classes, rows)
    labels = (labels, device.asarray(labels))
    dz, losses, hits = both.empty(rows, classes), both.empty(rows), both.empty(rows, dtype=bool)
    scratch = (
        XentScratch(
            np.eye(classes, dtype=dtype), np.empty((rows, classes), dtype),
            np.empty((rows, 1), dtype), np.empty(rows, np.int64),
        ),
        None,
    )  # fmt: skip
    both.reference.softmax_xent(
        dz[0],
        losses[0],
        hits[0],
        z[0].copy(),
        labels[0],
        None,
        scratch[0],
        scale=0.25,
        smoothing=0.0,
    )
    both.fused.softmax_xent(
        dz[1], losses[1], hits[1], z[1], labels[1], None, scratch[1], scale=0.25, smoothing=0.0
    )
    both.agree(dz, losses, length=classes)
    assert np.array_equal(hits[0], device.to_host(hits[1]))


def test_of_equal_logits_the_first_wins_wherever_its_lane_is(device):
    """Class c belongs to lane c % 32: ties within a lane, and between lanes in both orders."""
    both = Both(device, np.float32)
    ties = [(3, 35), (3, 20), (20, 35), (31, 32), (0, 39), (5, 6, 38), (7,)]
    host = np.zeros((len(ties), 40), np.float32)
    for row, classes in enumerate(ties):
        host[row, list(classes)] = 5
    for offset, expected in ((0, True), (1, False)):
        labels = np.array([classes[min(offset, len(classes) - 1)] for classes in ties])
        dz, losses = device.asarray(host.copy()), device.xp.zeros(len(ties), np.float32)
        hits = device.xp.zeros(len(ties), bool)
        z = device.asarray(host.copy())
        both.fused.softmax_xent(
            dz, losses, hits, z, device.asarray(labels), None, None, scale=1.0, smoothing=0.0
        )
        found = device.to_host(hits).tolist()
        assert found == [expected or len(classes) == 1 for classes in ties]


def test_a_label_of_another_integer_type_is_read_as_what_it_is(device):
    both = Both(device, np.float32)
    _, z = both.normal(5, 3)
    found = []
    for dtype in (np.int32, np.int64, np.uint8):
        dz, losses, hits = (device.xp.zeros(s, d) for s, d in (((5, 3), "f4"), (5, "f4"), (5, "?")))
        labels = device.asarray([0, 1, 2, 1, 0], dtype)
        both.fused.softmax_xent(dz, losses, hits, z, labels, None, None, scale=1.0, smoothing=0.0)
        found.append(device.to_host(losses).tolist())
    assert found[0] == found[1] == found[2]


def test_not_a_number_is_passed_on_not_hidden(device):
    """The divergence guard lives on it."""
    both = Both(device, np.float32)
    z = device.asarray([[np.nan, 0.0], [0.0, np.nan], [np.inf, 0.0], [1.0, 0.0]], np.float32)
    dz, losses, hits = (device.xp.zeros(s, d) for s, d in (((4, 2), "f4"), (4, "f4"), (4, "?")))
    both.fused.softmax_xent(
        dz, losses, hits, z, device.asarray([0, 0, 0, 0]), None, None, scale=1.0, smoothing=0.0
    )
    assert np.isnan(device.to_host(losses)).tolist() == [True, True, True, False]
    double = Both(device, np.float64)  # no epilogue: the own kernel adds the bias
    y, mask = device.xp.zeros((1, 2)), double.fused.new_mask(1, 2)
    x, w = device.asarray([[1.0]]), device.asarray([[np.nan, 1.0]])
    double.fused.affine(y, mask, x, w, device.xp.zeros(2))
    assert np.isnan(device.to_host(y)).tolist() == [[True, False]]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("source", [np.uint8, np.float32])
@pytest.mark.parametrize(("offset", "factors"), [(None, 1), (None, 5), (1, 1), (1, 5), (5, 5)])
@pytest.mark.parametrize("rows", [1, 3, 70])
def test_gather(device, rows, offset, factors, source, dtype):
    both = Both(device, dtype)
    inputs = both.rng.integers(0, 256, (9, 5)).astype(source)
    pairs = [(a, device.asarray(a)) for a in (inputs, np.arange(9), both.rng.integers(0, 9, rows))]
    shift = (None, None) if offset is None else both.normal(offset)
    factor = both.normal(factors)
    x, labels = both.empty(rows, 5), both.empty(rows, dtype=np.int64)
    raw = both.empty(rows, 5, dtype=source)
    noise = (np.zeros(2, np.uint64), device.xp.zeros(2, np.uint64))
    both.call("gather", x, labels, *pairs, raw, shift, factor, noise, augmentation=None)
    both.agree(x)
    assert np.array_equal(labels[0], device.to_host(labels[1]))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1, 33, 1000])
@pytest.mark.parametrize(
    "settings", [{}, {"weight_decay": 0.1}, {"weight_decay": 0.1, "decoupled": True}]
)
def test_adam_over_several_steps(device, size, settings, dtype):
    both = Both(device, dtype)
    layout = Layout.of({"w": (1, 1)})
    rates = Adam(Flat(layout, get_backend("cpu"), dtype), **settings).rates([0.01, 0.02, 0.005])
    p, m, v, scratch = both.normal(size), both.empty(size), both.empty(size), both.empty(size)
    for moment in (m, v):
        moment[0][...] = moment[1][...] = 0
    for row in rates.astype(dtype):
        g = both.normal(size)
        both.call(
            "adam", p, g, m, v, scratch, (row, device.asarray(row)),
            beta1=0.9, beta2=0.999, decay=settings.get("weight_decay", 0.0),
            n_decay=size // 2, decoupled=settings.get("decoupled", False),
        )  # fmt: skip
    both.agree(p, m, v, length=8)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_sgd_over_several_steps(device, momentum, nesterov, decay, dtype):
    both = Both(device, dtype)
    p, m, scratch = both.normal(37), both.empty(37), both.empty(37)
    m[0][...] = m[1][...] = 0
    row = np.array([0.1], dtype)
    for _ in range(3):
        g = both.normal(37)
        both.call(
            "sgd", p, g, m, scratch, (row, device.asarray(row)),
            momentum=momentum, nesterov=nesterov, decay=decay, n_decay=20,
        )  # fmt: skip
    both.agree(p, m, length=8)


@pytest.mark.parametrize("count", [1, 37, 300, 1000])
def test_tally_sums_a_batch_into_its_slot_and_goes_on(gpu_device, count):
    both = Both(gpu_device, np.float32)
    host, losses = both.normal(count)
    hits = host > 0
    sums, found = gpu_device.xp.zeros(4, np.float32), gpu_device.xp.zeros(4, np.int64)
    cursor = gpu_device.asarray([2], np.int32)
    both.fused.tally(sums, found, cursor, losses, gpu_device.asarray(hits))
    assert gpu_device.to_host(found).tolist() == [0, 0, hits.sum(), 0]
    assert gpu_device.to_host(sums)[2] == pytest.approx(host.sum(dtype=np.float64), abs=1e-4)
    assert gpu_device.to_host(cursor).tolist() == [3]


def test_a_tally_of_many_is_exact(gpu_device):
    """Sums of float64 losses are made in float64, and hits do not wrap."""
    double = Both(gpu_device, np.float64)
    sums, found = gpu_device.xp.zeros(1, np.float32), gpu_device.xp.zeros(1, np.int64)
    losses = np.ones(70_000)
    losses[0] = 2.0**24
    hits = gpu_device.asarray(np.ones(70_000, bool))
    cursor = gpu_device.asarray([0], np.int32)
    double.fused.tally(sums, found, cursor, gpu_device.asarray(losses), hits)
    assert gpu_device.to_host(found).tolist() == [70_000]
    assert gpu_device.to_host(sums)[0] == np.float32(2.0**24 + 69_999)


def test_kernels_serve_both_dtypes_in_turn(device):
    """What they keep for the one does not serve the other."""
    kernels = kernels_for(device)
    for dtype in (np.float32, np.float64, np.float32):
        x, labels = device.xp.zeros((2, 2), dtype), device.xp.zeros(2, np.int64)
        inputs, rows = device.asarray([[2, 4], [6, 8]], np.uint8), device.asarray([1, 0])
        factor = device.asarray([0.5], dtype)
        noise = device.xp.zeros(2, np.uint64)
        kernels.gather(
            x, labels, inputs, device.asarray([7, 9]), rows, x, None, factor, noise,
            augmentation=None,
        )  # fmt: skip
        assert device.to_host(x).tolist() == [[3, 4], [1, 2]]


def test_a_page_holds_the_rows_and_rates_of_its_step(gpu_device):
    both = Both(gpu_device, np.float32)
    order, table = (
        gpu_device.asarray(np.arange(700)[::-1]),
        gpu_device.asarray(np.eye(3), np.float32),
    )
    for step, count in ((0, 300), (1, 300), (2, 100)):
        rows, rates = gpu_device.xp.zeros(count, np.int64), gpu_device.xp.zeros(3, np.float32)
        cursor, noise = gpu_device.asarray([step], np.int32), gpu_device.xp.zeros(2, np.uint64)
        both.fused.turn_page(rows, rates, noise, cursor, order, table, batch=300)
        assert gpu_device.to_host(noise).tolist() == [0, 300 * step]
        assert gpu_device.to_host(rows).tolist() == list(
            range(699 - 300 * step, 699 - 300 * step - count, -1)
        )
        assert gpu_device.to_host(rates).tolist() == [float(k == step) for k in range(3)]
