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
from fastnn.kernels import Augmentation, XentScratch, kernels_for
from fastnn.kernels.formulas import ACTIVATIONS, LOSSES
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

    def pair(self, host):
        """A host array as it is, and a copy on the device."""
        return host, self.device.asarray(host.copy())

    def noise(self, first):
        """A key that fills all 64 bits, and how many examples come before."""
        return self.pair(np.array([0xFEDCBA9876543210, first], np.uint64))

    def host(self, array):
        return self.device.to_host(array)

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


def scratch_for(rows, classes, dtype):
    """What the reference may write on; nobody else asks for it."""
    return (
        XentScratch(
            np.eye(classes, dtype=dtype), np.empty((rows, classes), dtype),
            np.empty((rows, 1), dtype), np.empty(rows, np.int64),
        ),
        None,
    )  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("classes", [1, 2, 10, 31, 32, 33, 100])
@pytest.mark.parametrize("rows", [1, 3, 4, 129])
@pytest.mark.parametrize("size", [1.0, 1e4])
@pytest.mark.parametrize(("smoothing", "weighted"), [(0.0, False), (0.1, False), (0.3, True)])
def test_softmax_xent(device, rows, classes, size, smoothing, weighted, dtype):
    both = Both(device, dtype)
    z = both.pair(both.rng.normal(size=(rows, classes)).astype(dtype) * np.dtype(dtype).type(size))
    labels = both.pair(both.rng.integers(0, classes, rows))
    weights = both.pair(both.rng.uniform(0, 3, rows).astype(dtype)) if weighted else None
    dz, losses, hits = both.empty(rows, classes), both.empty(rows), both.empty(rows, dtype=bool)
    right = z[0].argmax(axis=1) == labels[0]
    both.call(
        "softmax_xent", dz, losses, hits, z, labels, weights, scratch_for(rows, classes, dtype),
        scale=0.25, smoothing=smoothing,
    )  # fmt: skip
    both.agree(dz, losses, length=classes)
    assert np.array_equal(both.host(hits[1]), right)


def test_logits_at_the_ends_of_their_range_are_smoothed_without_overflow(device):
    """Half of 3e38 times 33 classes is far above float32."""
    both = Both(device, np.float32)
    host = np.full((2, 33), -3e38, np.float32)
    host[:, 0] = 0
    z, labels = both.pair(host), both.pair(np.array([0, 1]))
    dz, losses, hits = both.empty(2, 33), both.empty(2), both.empty(2, dtype=bool)
    both.call(
        "softmax_xent", dz, losses, hits, z, labels, None, scratch_for(2, 33, np.float32),
        scale=1.0, smoothing=0.5,
    )  # fmt: skip
    assert np.isfinite(both.host(losses[1])).all()
    both.agree(dz, losses, length=33)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (3, 2), (5, 33), (129, 40)])
@pytest.mark.parametrize("weighted", [True, False])
def test_residual_loss(device, rows, columns, loss, weighted, dtype):
    both = Both(device, dtype)
    z, targets = both.normal(rows, columns), both.normal(rows, columns)
    targets[0][0, 0] = targets[1][0, 0] = z[0][0, 0]  # a residual of 0
    weights = both.pair(both.rng.uniform(0, 3, rows).astype(dtype)) if weighted else None
    dz, losses = both.empty(rows, columns), both.empty(rows)
    both.call("residual_loss", dz, losses, z, targets, weights, loss=loss, c=0.7, scale=0.25)
    both.agree(dz, losses, length=columns)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_residual_that_is_no_number_stays_so(device, loss):
    both = Both(device, np.float32)
    z, targets = (
        both.pair(np.array([[np.nan], [1.0]], np.float32)),
        both.pair(np.zeros((2, 1), "f")),
    )
    dz, losses = both.empty(2, 1), both.empty(2)
    both.call("residual_loss", dz, losses, z, targets, None, loss=loss, c=1.0, scale=1.0)
    assert np.isnan(both.host(losses[1])).tolist() == [True, False]
    assert np.isnan(both.host(dz[1])).tolist() == [[True], [False]]


def sides(pairs):
    """Pairs of (host, device) as a pair of those on the host and those on the device."""
    return tuple(zip(*pairs, strict=True))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("b", "o"), [(2, 1), (3, 2), (33, 9), (130, 100), (257, 31)])
@pytest.mark.parametrize(("axis", "kept"), [(1, False), (0, False), (0, True)])
@pytest.mark.parametrize("aliased", [True, False])
def test_normalization_forward_and_backward(device, b, o, axis, kept, aliased, dtype):
    both = Both(device, dtype)
    x = both.pair((both.rng.normal(size=(b, o)) * 3 + 5).astype(dtype))
    gain, shift = both.normal(o), both.normal(o)
    running = (both.normal(o), both.pair(both.rng.uniform(1, 2, o).astype(dtype)))
    y, x_hat = both.empty(b, o), x if aliased else both.empty(b, o)
    factor = both.empty(b, 1) if axis else both.empty(1, o)
    both.call(
        "normalize", y, x_hat, factor, x, gain, shift, sides(running) if kept else None,
        axis=axis, track=kept,
    )  # fmt: skip
    length = o if axis else b
    both.agree(y, x_hat, factor, *running, length=4 * length)
    for host, found in ((x_hat[0], x_hat[1]), (factor[0], factor[1])):  # the same for what follows
        found[...] = device.asarray(host)
    dy, dgain, dshift = both.normal(b, o), both.empty(o), both.empty(o)
    dx = dy if aliased else both.empty(b, o)
    both.call("normalize_backward", dx, dgain, dshift, dy, x_hat, factor, gain, axis=axis)
    both.agree(dx, length=length)
    both.agree(dgain, dshift, length=b)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("b", "o"), [(1, 1), (1, 9), (33, 2), (130, 100)])
@pytest.mark.parametrize("aliased", [True, False])
def test_normalization_by_given_statistics(device, b, o, aliased, dtype):
    both = Both(device, dtype)
    x, gain, shift = both.normal(b, o), both.normal(o), both.normal(o)
    running = (both.normal(o), both.pair(both.rng.uniform(1, 2, o).astype(dtype)))
    before = [pair[0].copy() for pair in running]
    y, x_hat, factor = both.empty(b, o), x if aliased else both.empty(b, o), both.empty(1, o)
    both.call("normalize", y, x_hat, factor, x, gain, shift, sides(running), axis=0, track=False)
    both.agree(y, x_hat, factor, length=2)
    assert all(np.array_equal(both.host(b[1]), a) for a, b in zip(before, running, strict=True))
    dy, dgain, dshift = both.normal(b, o), both.empty(o), both.empty(o)
    dx = dy if aliased else both.empty(b, o)
    both.call("normalize_backward", dx, dgain, dshift, dy, x_hat, factor, gain, axis=None)
    both.agree(dx, length=2)
    both.agree(dgain, dshift, length=b)


@pytest.mark.parametrize("axis", [0, 1])
def test_far_from_zero_a_variance_is_still_found(device, axis):
    """The mean of squares less the square of the mean would leave nothing of it in float32."""
    both = Both(device, np.float32)
    x = (both.rng.normal(size=(64, 64)) + 4000).astype(np.float32)
    y, x_hat = both.empty(64, 64), both.pair(x)
    factor = both.empty(64, 1) if axis else both.empty(1, 64)
    both.fused.normalize(
        y[1], x_hat[1], factor[1], x_hat[1], *both.device.xp.ones((2, 64), np.float32), None,
        axis=axis, track=False,
    )  # fmt: skip
    deviation = x.astype(np.float64).std(axis=axis)
    assert both.host(factor[1]).ravel() * deviation == pytest.approx(np.ones(64), rel=1e-3)


@pytest.mark.parametrize("axis", [0, 1])
def test_normalization_passes_on_what_is_no_number(device, axis):
    both = Both(device, np.float32)
    x = both.pair(np.array([[np.nan, 1, 2], [3, 4, 6]], np.float32))
    y, factor = both.empty(2, 3), both.empty(2, 1) if axis else both.empty(1, 3)
    gain, shift = both.normal(3), both.normal(3)
    both.call("normalize", y, x, factor, x, gain, shift, None, axis=axis, track=False)
    expected = [[True] * 3, [False] * 3] if axis else [[True, False, False]] * 2
    assert np.isnan(both.host(y[1])).tolist() == expected


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("aliased", [True, False])
def test_activation_forward_and_backward(device, activation, dropout, aliased, dtype):
    both = Both(device, dtype)
    host = both.rng.normal(size=(37, 9)) * 4
    host[0, :4] = 0, -0.0, -200, 200  # where exp alone would overflow
    x, skip, noise = both.pair(host.astype(dtype)), both.normal(37, 9), both.noise(70)
    dy = both.normal(37, 9)
    dx = dy if aliased else both.empty(37, 9)
    settings = {"activation": activation, "dropout": dropout, "stream": 3}
    both.call("activate_backward", dx, dy, x, noise, **settings)
    both.agree(dx, length=8)
    y = x if aliased else both.empty(37, 9)
    both.call("activate", y, x, None if aliased else skip, noise, **settings)
    both.agree(y, length=8)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_pass_on_what_is_no_number(device, activation):
    both = Both(device, np.float32)
    x = both.pair(np.array([[np.nan, 1.0]], np.float32))
    y, settings = both.empty(1, 2), {"activation": activation, "dropout": 0.0, "stream": 0}
    both.call("activate", y, x, None, both.noise(0), **settings)
    assert np.isnan(both.host(y[1])).tolist() == [[True, False]]
    both.call("activate_backward", y, x, both.pair(np.ones((1, 2), "f")), both.noise(0), **settings)
    assert np.isnan(both.host(y[1])).tolist() == [[True, False]]  # a gradient that is none


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("b", "o"), [(1, 1), (1, 9), (33, 7), (257, 40)])
@pytest.mark.parametrize("dropout", [1e-30, 0.3, 0.99])
@pytest.mark.parametrize(("stream", "first"), [(0, 0), (1, 3), (9, 2**40)])
def test_the_same_are_dropped_everywhere(device, b, o, dropout, stream, first, dtype):
    both = Both(device, dtype)
    ones, noise = both.pair(np.ones((b, o), dtype)), both.noise(first)
    settings = {"activation": "identity", "dropout": dropout, "stream": stream}
    for name, inputs in (("activate", (ones, None)), ("activate_backward", (ones, ones))):
        kept = both.empty(b, o)
        both.call(name, kept, *inputs, noise, **settings)
        assert np.array_equal(both.host(kept[1]) == 0, kept[0] == 0)
        both.agree(kept)
    assert (kept[0] == 0).mean() == pytest.approx(dropout, abs=3 / np.sqrt(b * o))


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


@pytest.mark.parametrize("source", [np.uint8, np.float32])
@pytest.mark.parametrize(
    ("height", "width", "channels"), [(1, 1, 1), (5, 3, 1), (4, 6, 3), (28, 28, 1)]
)
@pytest.mark.parametrize(
    ("shift", "flip", "cutout"), [(0, True, 0), (2, False, 0), (0, False, 2), (3, True, 5)]
)
def test_pictures_are_varied_alike_to_the_byte(
    device, height, width, channels, shift, flip, cutout, source
):
    both, rows, columns = Both(device, np.float32), 70, height * width * channels
    inputs = both.pair(both.rng.integers(1, 256, (40, columns)).astype(source))
    labels, chosen = both.pair(np.arange(40)), both.pair(both.rng.integers(0, 40, rows))
    x, found = both.empty(rows, columns), both.empty(rows, dtype=np.int64)
    raw, one = both.empty(rows, columns, dtype=source), both.pair(np.ones(1, np.float32))
    both.call(
        "gather", x, found, inputs, labels, chosen, raw, None, one, both.noise(640),
        augmentation=Augmentation(height, width, channels, shift, flip, cutout),
    )  # fmt: skip
    assert np.array_equal(both.host(x[1]), x[0])
    assert np.array_equal(both.host(found[1]), found[0])
    if columns > 1:
        assert not np.array_equal(x[0], inputs[0][chosen[0]])


def test_what_is_varied_is_scaled_as_ever(device):
    """What comes into view is a raw 0: black, and not the mean."""
    both = Both(device, np.float32)
    inputs, labels = both.pair(np.full((9, 12), 200, np.uint8)), both.pair(np.arange(9))
    chosen, x, found = both.pair(np.arange(9)), both.empty(9, 12), both.empty(9, dtype=np.int64)
    offset, factor = both.normal(12), both.normal(12)
    both.call(
        "gather", x, found, inputs, labels, chosen, both.empty(9, 12, dtype=np.uint8), offset,
        factor, both.noise(0), augmentation=Augmentation(3, 4, 1, 2, False, 0),
    )  # fmt: skip
    both.agree(x)
    black = np.isclose(both.host(x[1]), -offset[0] * factor[0], rtol=1e-5)
    assert 0 < black.sum() < black.size


@pytest.mark.parametrize("columns", [1, 5])
@pytest.mark.parametrize("augmented", [True, False])
def test_rows_of_targets_are_gathered_whole(device, columns, augmented):
    """Also where there are more targets than inputs."""
    both = Both(device, np.float32)
    inputs, targets = both.pair(np.zeros((9, 2), np.uint8)), both.normal(9, columns)
    chosen, factor = both.pair(both.rng.integers(0, 9, 6)), both.pair(np.ones(1, np.float32))
    x, found, raw = both.empty(6, 2), both.empty(6, columns), both.empty(6, 2, dtype=np.uint8)
    how = Augmentation(1, 2, 1, 1, False, 0) if augmented else None
    both.call(
        "gather", x, found, inputs, targets, chosen, raw, None, factor, both.noise(0),
        augmentation=how,
    )  # fmt: skip
    assert np.array_equal(both.host(found[1]), targets[0][chosen[0]])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(40,), (40, 1), (40, 33)])
@pytest.mark.parametrize("rows", [1, 130])
def test_take(device, rows, shape, dtype):
    both = Both(device, dtype)
    table, chosen = both.normal(*shape), both.pair(both.rng.integers(0, 40, rows))
    out = both.empty(rows, *shape[1:])
    both.call("take", out, table, chosen)
    assert np.array_equal(both.host(out[1]), table[0][chosen[0]])


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


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1, 33, 1000])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_rmsprop_over_several_steps(device, size, decay, dtype):
    both = Both(device, dtype)
    p, scratch, rates = both.normal(size), both.empty(size), both.pair(np.array([0.1], dtype))
    v = both.pair(np.zeros(size, dtype))
    for _ in range(3):
        both.call(
            "rmsprop", p, both.normal(size), v, scratch, rates,
            beta2=0.9, eps=1e-3, decay=decay, n_decay=size // 2,
        )  # fmt: skip
    both.agree(p, v, length=8)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1, 33, 1000])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_lion_over_several_steps(device, size, decay, dtype):
    both = Both(device, dtype)
    p, scratch = both.normal(size), both.empty(size)
    m, rates = both.pair(np.zeros(size, dtype)), both.pair(np.array([0.1, 0.95], dtype))
    for _ in range(3):
        g = both.normal(size)
        g[0][-1] = g[1][-1] = 0  # padding: no step in either direction
        both.call(
            "lion", p, g, m, scratch, rates, beta1=0.9, beta2=0.99, decay=decay, n_decay=size // 2
        )
    both.agree(p, m, length=8)


def test_lion_passes_on_what_is_no_number(device):
    both = Both(device, np.float32)
    p, m, scratch = both.normal(3), both.pair(np.zeros(3, "f")), both.empty(3)
    g, rates = both.pair(np.array([np.nan, 1, 0], "f")), both.pair(np.array([0.1, 1], "f"))
    before = p[0].copy()
    both.call("lion", p, g, m, scratch, rates, beta1=0.9, beta2=0.99, decay=0.0, n_decay=0)
    found = both.host(p[1])
    assert np.isnan(found).tolist() == [True, False, False]
    assert found[2] == before[2]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1, 33, 256, 257, 1000, 70_000])
@pytest.mark.parametrize(("value", "norm"), [(0.5, 0.0), (0.0, 0.7), (0.5, 0.7), (0.0, 1e6)])
def test_clip(device, size, value, norm, dtype):
    both = Both(device, dtype)
    g = both.normal(size)
    before = g[0].copy()
    both.call("clip", g, both.empty(size), value=value, norm=norm)
    both.agree(g, length=8)
    found = both.host(g[1]).astype(np.float64)
    if norm == 1e6:
        assert np.array_equal(both.host(g[1]), before)
    elif norm:
        assert np.linalg.norm(found) <= norm * 1.0001
    if value:
        assert np.abs(found).max() <= value


@pytest.mark.parametrize(("value", "norm"), [(0.5, 0.0), (0.0, 0.7), (0.5, 0.7)])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_bad_gradient_is_not_clipped_into_a_good_one(device, value, norm, bad):
    both = Both(device, np.float32)
    host = np.ones(300, np.float32)
    host[270] = bad
    g = both.pair(host)
    with np.errstate(invalid="ignore"):
        both.call("clip", g, both.empty(300), value=value, norm=norm)
    np.testing.assert_allclose(both.host(g[1]), g[0], rtol=1e-5)
    assert np.isnan(both.host(g[1])[270]) or value


@pytest.mark.parametrize("norm", [0.0, 1.0])
def test_a_gradient_of_zeros_stays_one(device, norm):
    both = Both(device, np.float32)
    g = both.pair(np.zeros(300, np.float32))
    both.call("clip", g, both.empty(300), value=0.0, norm=norm)
    assert not both.host(g[1]).any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1, 33, 1000])
def test_average(device, size, dtype):
    both = Both(device, dtype)
    mean, p, scratch = both.normal(size), both.normal(size), both.empty(size)
    both.call("average", mean, p, scratch, both.pair(np.array([0.1], dtype)))
    both.agree(mean)


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
