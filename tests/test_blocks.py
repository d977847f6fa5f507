"""Blocks: gradients of all their parts, what dropout drops, what batch norm remembers."""

import math
from itertools import product

import numpy as np
import pytest

from fastnn.backend import get_backend
from fastnn.errors import ConfigError
from fastnn.kernels import kernels_for
from fastnn.kernels.counted import STREAM_BLOCKS
from fastnn.kernels.formulas import ACTIVATIONS
from fastnn.nn.blocks import NORMS, Block
from fastnn.nn.gradcheck import check_gradients
from fastnn.nn.model import MLP
from fastnn.nn.objective import LOSSES, Objective
from scripts.gradient_table import LIMIT, WEIGHED, Case, worst_error


def noise_of(backend, key, before=0):
    return backend.asarray(np.array([key, before], np.uint64))


def float64_model(backend, sizes, block, **settings):
    """A model whose biases, gains and shifts are random too, and its inputs and classes."""
    rng = np.random.default_rng(0)
    blocks = [block] * (len(sizes) - 2)
    model = MLP(sizes, backend, rng=rng, blocks=blocks, dtype=np.float64, **settings)
    for name in model.params:
        if not name.endswith("weight"):
            drawn = rng.uniform(0.5, 1.5, model.params[name].shape)
            model.params[name][...] = backend.asarray(drawn)
    return model, rng


# Gradients. How the networks are kept off kinks is told in scripts/gradient_table.py.


@pytest.mark.parametrize("rich", [False, True])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients_of_every_activation_and_norm(backend, activation, norm, rich):
    assert worst_error(Case(activation, norm, WEIGHED, rich), backend) < LIMIT


@pytest.mark.parametrize("column", [*LOSSES, WEIGHED])
@pytest.mark.parametrize("norm", NORMS)
def test_gradients_of_every_loss(backend, norm, column):
    assert worst_error(Case("tanh", norm, column, rich=True), backend) < LIMIT


@pytest.mark.parametrize("weighed", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_gradients_with_smoothing_and_weights_apart(backend, smoothing, weighed):
    model, rng = float64_model(
        backend, (4, 5, 3), Block("silu"), objective=Objective(smoothing=smoothing)
    )
    weights = [0.0, 0.5, 2.0, 1.0, 1.5, 1.0] if weighed else None
    x = rng.normal(size=(6, 4))
    assert check_gradients(model, x, np.arange(6) % 3, weights=weights).worst < 1e-7


@pytest.mark.parametrize(
    ("dropout", "input_dropout", "residual"),
    [case for case in product((0.0, 0.4), (0.0, 0.3), (False, True)) if any(case)],
)
def test_gradients_of_each_extra_by_itself(backend, dropout, input_dropout, residual):
    """Sizes make the first layer skip as well, whose inputs nobody asks a gradient of."""
    block = Block("gelu", "layer", dropout=dropout, residual=residual)
    model, rng = float64_model(backend, (5, 5, 5, 3), block, input_dropout=input_dropout)
    x = rng.normal(size=(6, 5))
    assert check_gradients(model, x, np.arange(6) % 3).worst < 1e-7


@pytest.mark.parametrize("norm", NORMS)
def test_gradients_of_a_batch_of_one_row(backend, norm):
    """Batch norm then takes mean and variance as given: they are no part of the derivative."""
    assert worst_error(Case("tanh", norm, WEIGHED, rich=True), backend, rows=1) < LIMIT


def test_gradients_where_blocks_differ(backend):
    rng = np.random.default_rng(3)
    blocks = [Block("tanh", "batch"), Block(), Block("silu", dropout=0.2), Block("sigmoid")]
    model = MLP((4, 5, 6, 4, 5, 3), backend, rng=rng, blocks=blocks, dtype=np.float64)
    for _, *biases in model.layers(model.params):
        for bias in biases:  # before a batch norm there is none
            bias[...] = backend.asarray(rng.normal(size=bias.shape))
    x = rng.normal(size=(6, 4))
    assert check_gradients(model, x, np.arange(6) % 3, step=1e-5).worst < LIMIT


def trained_once(backend, norm, dtype, rows, workspace_rows=None):
    """Losses and gradients of a network with everything in it, on the host."""
    rng = np.random.default_rng(2)
    model = MLP(
        (20, 16, 16, 5), backend, rng=rng, blocks=[Block("gelu", norm, 0.2, True)] * 2,
        input_dropout=0.1, objective=Objective(smoothing=0.1), dtype=dtype,
    )  # fmt: skip
    x, labels = backend.asarray(rng.normal(size=(rows, 20)), dtype), np.arange(rows) % 5
    ws = model.workspace(workspace_rows or rows).head(rows)
    weights = backend.asarray(rng.uniform(0, 2, rows), dtype)
    noise = noise_of(backend, 5)
    losses = model.loss_and_grad(x, backend.asarray(labels), ws, weights=weights, noise=noise)
    assert losses.dtype == dtype
    return backend.to_host(losses).copy(), backend.to_host(model.grads.vector).copy()


@pytest.mark.parametrize("norm", NORMS)
def test_float32_gradients_agree_with_float64(backend, norm):
    found = [trained_once(backend, norm, dtype, 32)[1] for dtype in (np.float32, np.float64)]
    error = np.abs(found[0] - found[1]).max() / np.abs(found[1]).max()
    assert 0 < error < 64 * np.finfo(np.float32).eps


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("rows", [1, 7])
def test_a_smaller_last_batch_uses_the_same_buffers(backend, norm, rows):
    own, shared = (trained_once(backend, norm, np.float64, rows, size) for size in (None, 32))
    assert np.array_equal(own[0], shared[0])
    assert np.array_equal(own[1], shared[1])


def test_gradient_check_leaves_running_statistics_alone(backend):
    model, rng = float64_model(backend, (3, 4, 2), Block("tanh", "batch"))
    before = backend.to_host(model.params.vector).copy()
    found = check_gradients(model, rng.normal(size=(4, 3)), [0, 1, 0, 1])
    assert np.array_equal(backend.to_host(model.params.vector), before)
    assert {name for name in model.params if ".running_" in name} == (
        model.params._views.keys() - found.errors.keys()
    )


def test_a_residual_block_of_zero_weights_hands_its_inputs_on(backend):
    model, rng = float64_model(backend, (4, 4, 4, 2), Block("tanh", residual=True))
    for number in (0, 1):
        model.params[f"layers.{number}.weight"][...] = 0
        model.params[f"layers.{number}.bias"][...] = 0
    x = backend.asarray(rng.normal(size=(3, 4)))
    ws = model.workspace(3)
    model.forward(x, ws)
    assert np.array_equal(backend.to_host(ws.outputs[1]), backend.to_host(x))


# Dropout.


def kept(backend, shape, dropout, *, key=7, before=0, stream=STREAM_BLOCKS, dtype=np.float64):
    """What dropout makes of ones: 0 where they are dropped."""
    ones = backend.asarray(np.ones(shape), dtype)
    y = backend.xp.empty_like(ones)
    kernels_for(backend).activate(
        y, ones, None, noise_of(backend, key, before), activation="identity", dropout=dropout,
        stream=stream,
    )  # fmt: skip
    return backend.to_host(y)


@pytest.mark.parametrize("dropout", [0.01, 0.1, 0.5, 0.9])
def test_dropout_keeps_its_share_and_the_expected_value(backend, dropout):
    y = kept(backend, (200, 150), dropout)
    share = (y != 0).mean()
    bound = 4 * math.sqrt(dropout * (1 - dropout) / y.size)
    assert share == pytest.approx(1 - dropout, abs=bound)
    assert np.unique(y[y != 0]) == pytest.approx(1 / (1 - dropout), rel=1e-12)
    assert y.mean() == pytest.approx(1, abs=bound / (1 - dropout))
    for axis in (0, 1):  # no row and no column is favoured
        few = y.shape[axis]
        worst = np.abs((y != 0).mean(axis=axis) - (1 - dropout)).max()
        assert worst < 5 * math.sqrt(dropout * (1 - dropout) / few)


def test_neighbours_are_dropped_independently(backend):
    dropped = kept(backend, (300, 100), 0.5) == 0
    for a, b in ((dropped[1:], dropped[:-1]), (dropped[:, 1:], dropped[:, :-1])):
        assert (a & b).mean() == pytest.approx(0.25, abs=4 * math.sqrt(3 / 16 / a.size))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_mask_depends_on_key_layer_and_position_alone(backend, dtype):
    mask = kept(backend, (12, 33), 0.4, before=100, dtype=dtype) == 0
    parts = [
        kept(backend, (rows, 33), 0.4, before=100 + first, dtype=dtype) == 0
        for first, rows in ((0, 5), (5, 1), (6, 6))
    ]
    assert np.array_equal(np.concatenate(parts), mask)
    for other in (
        {"key": 8, "before": 100},
        {"before": 101},
        {"before": 100, "stream": STREAM_BLOCKS + 1},
    ):
        differing = ((kept(backend, (12, 33), 0.4, **other) == 0) != mask).mean()
        assert differing == pytest.approx(0.48, abs=0.1)  # 2 * 0.4 * 0.6


@pytest.mark.parametrize("key", [0, 2**64 - 1])
def test_any_key_and_any_place_will_do(backend, key):
    y = kept(backend, (40, 50), 0.5, key=key, before=2**40)
    assert (y == 0).mean() == pytest.approx(0.5, abs=4 * math.sqrt(0.25 / y.size))


def test_backward_drops_what_forward_dropped(backend):
    noise, shape = noise_of(backend, 11, 3), (9, 20)
    ones = backend.xp.ones(shape)
    dx = backend.xp.empty(shape)
    kernels_for(backend).activate_backward(
        dx, ones, ones, noise, activation="identity", dropout=0.3, stream=STREAM_BLOCKS
    )
    assert np.array_equal(backend.to_host(dx), kept(backend, shape, 0.3, key=11, before=3))


def test_only_training_drops(backend):
    block = Block("identity", dropout=0.5)
    model, rng = float64_model(backend, (6, 8, 3), block, input_dropout=0.5)
    plain, _ = float64_model(backend, (6, 8, 3), Block("identity"))
    x = backend.asarray(rng.normal(size=(5, 6)))
    noise, ws = noise_of(backend, 1), model.workspace(5)
    expected = backend.to_host(plain.forward(x, plain.workspace(5))).copy()
    assert np.array_equal(backend.to_host(model.forward(x, ws, noise)), expected)
    assert not np.allclose(backend.to_host(model.forward(x, ws, noise, training=True)), expected)
    assert np.array_equal(backend.to_host(model.forward(x, ws, noise)), expected)


def test_layers_and_inputs_are_dropped_independently(backend):
    """An identity network of ones shows each mask by itself."""
    model = MLP(
        (50, 50, 50, 2), backend, rng=np.random.default_rng(0), dtype=np.float64,
        blocks=[Block("identity", dropout=0.5)] * 2, input_dropout=0.5,
    )  # fmt: skip
    for weight, bias in model.layers(model.params)[:2]:
        weight[...], bias[...] = 0, 1
    ws = model.workspace(40)
    model.forward(backend.xp.ones((40, 50)), ws, noise_of(backend, 5), training=True)
    masks = [backend.to_host(a) == 0 for a in (ws.inputs, *ws.outputs[:2])]
    for a, b in ((0, 1), (0, 2), (1, 2)):
        share = (masks[a] & masks[b]).mean()
        assert share == pytest.approx(0.25, abs=4 * math.sqrt(3 / 16 / masks[a].size))


# Norms.


def rows_of(array):
    return [[float(value) for value in row] for row in array]


def mean_and_variance(values):
    mean = math.fsum(values) / len(values)
    return mean, math.fsum((value - mean) ** 2 for value in values) / len(values)


@pytest.mark.parametrize("shape", [(7, 5), (2, 3), (1, 4), (33, 1)])
def test_layer_norm_is_that_of_each_row(backend, shape):
    rng = np.random.default_rng(0)
    x, gain, shift = rng.normal(3, 2, shape), rng.normal(size=shape[1]), rng.normal(size=shape[1])
    y, x_hat = backend.xp.empty(shape), backend.xp.empty(shape)
    factor = backend.xp.empty((shape[0], 1))
    kernels_for(backend).normalize(
        y, x_hat, factor, *map(backend.asarray, (x, gain, shift)), None, axis=1, track=False
    )
    for row, found in zip(rows_of(x), rows_of(backend.to_host(y)), strict=True):
        mean, variance = mean_and_variance(row)
        expected = [
            g * (value - mean) / math.sqrt(variance + 1e-5) + s
            for value, g, s in zip(row, gain, shift, strict=True)
        ]
        assert found == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_batch_norm_remembers_a_tenth_of_each_batch(backend):
    """Against plain floats, batch by batch; one has a single row and leaves no trace."""
    sizes = (3, 4, 2)
    model = MLP(
        sizes, backend, rng=np.random.default_rng(0), blocks=[Block("identity", "batch")],
        dtype=np.float64,
    )  # fmt: skip
    rng = np.random.default_rng(1)
    running = [(0.0, 1.0)] * sizes[1]
    weight = backend.to_host(model.params["layers.0.weight"]).copy()
    ws = model.workspace(6)
    for rows in (6, 2, 1, 5):
        x = rng.normal(1, 2, (rows, sizes[0]))
        model.forward(backend.asarray(x), ws.head(rows), training=True)
        found = rows_of(backend.to_host(ws.outputs[0])[:rows])
        for column in range(sizes[1]):
            a = [math.fsum(row * weight[:, column]) for row in x]
            mean, variance = mean_and_variance(a) if rows > 1 else running[column]
            expected = [(value - mean) / math.sqrt(variance + 1e-5) for value in a]
            assert [row[column] for row in found] == pytest.approx(expected, rel=1e-11, abs=1e-11)
            if rows > 1:
                old_mean, old_variance = running[column]
                running[column] = (
                    0.9 * old_mean + 0.1 * mean,
                    0.9 * old_variance + 0.1 * variance * rows / (rows - 1),
                )
        for at, name in enumerate(("running_mean", "running_variance")):
            stored = backend.to_host(model.params[f"layers.0.{name}"]).tolist()
            assert stored == pytest.approx([pair[at] for pair in running], rel=1e-12)


def test_evaluation_uses_running_statistics_and_leaves_them(backend):
    model, rng = float64_model(backend, (3, 4, 2), Block("identity", "batch"))
    x = backend.asarray(rng.normal(size=(8, 3)))
    before = backend.to_host(model.params.vector).copy()
    together = backend.to_host(model.forward(x, model.workspace(8))).copy()
    ws = model.workspace(1)
    alone = [backend.to_host(model.forward(x[row : row + 1], ws))[0].copy() for row in range(8)]
    np.testing.assert_allclose(together, alone, rtol=1e-12)
    assert np.array_equal(backend.to_host(model.params.vector), before)
    get = {name: backend.to_host(model.params[f"layers.0.{name}"]) for name in (
        "weight", "gain", "shift", "running_mean", "running_variance"
    )}  # fmt: skip
    a = math.fsum(backend.to_host(x)[0] * get["weight"][:, 1])
    a = (a - get["running_mean"][1]) / math.sqrt(get["running_variance"][1] + 1e-5)
    ws = model.workspace(8)
    model.forward(x, ws)
    expected = a * get["gain"][1] + get["shift"][1]
    assert backend.to_host(ws.outputs[0])[0, 1] == pytest.approx(expected, rel=1e-12)


def test_running_statistics_are_not_trained(backend):
    model, rng = float64_model(backend, (3, 4, 2), Block("tanh", "batch"))
    ws = model.workspace(5)
    model.loss_and_grad(
        backend.asarray(rng.normal(size=(5, 3))), backend.asarray([0, 1] * 2 + [0]), ws
    )
    for name in ("running_mean", "running_variance"):
        assert not backend.to_host(model.grads[f"layers.0.{name}"]).any()
    # 3 * 4 weights and 4 * 2, 2 biases, for there is none before a batch norm, 4 gains, 4 shifts.
    assert model.parameters == 12 + 8 + 2 + 8
    assert model.params.count == model.parameters + 8


# What is refused.


@pytest.mark.parametrize(
    ("sizes", "settings", "named"),
    [
        ((3, 4, 2), {"blocks": [Block("rleu")]}, "activation: 'rleu' .*did you mean 'relu'"),
        ((3, 4, 2), {"blocks": [Block(norm="bach")]}, "norm: 'bach' .*did you mean 'batch'"),
        ((3, 4, 2), {"blocks": [Block(dropout=1.0)]}, "dropout: 1.0 must be .* below 1"),
        ((3, 4, 2), {"blocks": [Block(dropout=-0.1)]}, "dropout: -0.1 must be at least 0"),
        ((3, 4, 2), {"blocks": []}, "blocks: found 0, expected one for each of the 1"),
        ((3, 4, 5, 2), {"blocks": [Block(residual=True)] * 2}, r"residual: .*found \(4, 5\)"),
        ((3, 4, 4, 2), {"blocks": [Block(residual=True), Block()]}, "residual: must hold for all"),
        ((3, 4, 2), {"input_dropout": 1.0}, "input_dropout: 1.0"),
        ((3, 4, 2), {"objective": Objective("msa")}, "loss: 'msa' .*did you mean 'mse'"),
        ((3, 4, 2), {"objective": Objective(smoothing=1.0)}, "label_smoothing: 1.0"),
        ((3, 4, 2), {"objective": Objective("mae", smoothing=0.1)}, "label_smoothing: belongs to"),
        ((3, 4, 2), {"objective": Objective("huber", delta=0.0)}, "huber_delta: 0.0 must be above"),
    ],
)
def test_impossible_networks_are_named(sizes, settings, named):
    with pytest.raises(ConfigError, match=named):
        MLP(sizes, get_backend("cpu"), rng=np.random.default_rng(0), **settings)
