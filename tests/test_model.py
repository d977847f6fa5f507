"""The network: gradients against finite differences, shapes, initial weights, buffers."""

import tracemalloc

import numpy as np
import pytest

from fastnn.backend import get_backend
from fastnn.errors import ConfigError
from fastnn.nn.blocks import Block
from fastnn.nn.gradcheck import check_gradients
from fastnn.nn.model import MLP
from fastnn.nn.optim import SGD, Adam


def float64_model(sizes, backend, seed=0):
    """A model with random biases, as `check_gradients` asks for."""
    rng = np.random.default_rng(seed)
    model = MLP(sizes, backend, rng=rng, dtype=np.float64)
    for _, bias in model.layers(model.params):
        bias[...] = backend.asarray(rng.normal(size=bias.shape))
    return model


@pytest.mark.parametrize("sizes", [(6, 3), (6, 5, 3), (4, 7, 6, 5, 2), (1, 1, 2), (3, 4, 1)])
@pytest.mark.parametrize("rows", [1, 9])
def test_every_gradient_agrees_with_central_differences(backend, sizes, rows):
    model = float64_model(sizes, backend)
    rng = np.random.default_rng(1)
    x = backend.asarray(rng.normal(size=(rows, sizes[0])))
    labels = backend.asarray(rng.integers(0, sizes[-1], rows), np.int32)
    result = check_gradients(model, x, labels)
    assert set(result.errors) == set(model.params)
    assert result.worst < 1e-7


def test_gradient_check_finds_a_wrong_gradient(backend, monkeypatch):
    model = float64_model((4, 5, 3), backend)
    x, labels = (
        backend.asarray(np.random.default_rng(1).normal(size=(6, 4))),
        backend.asarray([0, 1, 2] * 2),
    )
    right = MLP.loss_and_grad

    def wrong(self, *args, **kwargs):
        losses = right(self, *args, **kwargs)
        self.grads["layers.1.weight"][2, 1] *= 1.01
        return losses

    monkeypatch.setattr(MLP, "loss_and_grad", wrong)
    result = check_gradients(model, x, labels)
    assert result.errors["layers.1.weight"] > 1e-4
    assert result.errors["layers.0.weight"] < 1e-7


def test_gradient_check_leaves_the_parameters_alone(backend):
    model = float64_model((3, 4, 2), backend)
    before = backend.to_host(model.params.vector).copy()
    check_gradients(model, backend.xp.ones((2, 3)), backend.asarray([0, 1]))
    assert np.array_equal(before, backend.to_host(model.params.vector))


def test_gradient_check_refuses_float32(backend):
    model = MLP((3, 2), backend, rng=np.random.default_rng(0))
    with pytest.raises(ConfigError, match="float64"):
        check_gradients(model, backend.xp.ones((2, 3)), backend.asarray([0, 1]))


def test_float32_gradients_agree_with_float64(backend):
    rng = np.random.default_rng(3)
    x, labels = rng.normal(size=(64, 50)), rng.integers(0, 10, 64)
    found = {}
    for dtype in (np.float32, np.float64):
        model = MLP((50, 40, 30, 10), backend, rng=np.random.default_rng(0), dtype=dtype)
        model.loss_and_grad(backend.asarray(x, dtype), backend.asarray(labels), model.workspace(64))
        found[dtype] = backend.to_host(model.grads.vector)
    error = np.abs(found[np.float32] - found[np.float64]).max() / np.abs(found[np.float64]).max()
    assert 0 < error < 64 * np.finfo(np.float32).eps


def test_a_smaller_last_batch_uses_the_same_buffers(backend):
    model = float64_model((5, 6, 3), backend)
    rng = np.random.default_rng(4)
    x, labels = backend.asarray(rng.normal(size=(7, 5))), backend.asarray(rng.integers(0, 3, 7))
    whole, large = model.workspace(7), model.workspace(32)
    expected = backend.to_host(model.loss_and_grad(x, labels, whole)).copy()
    gradient = backend.to_host(model.grads.vector).copy()
    assert np.array_equal(backend.to_host(model.loss_and_grad(x, labels, large.head(7))), expected)
    assert np.array_equal(backend.to_host(model.grads.vector), gradient)
    assert large.head(7) is large.head(7)
    assert large.head(32) is large


@pytest.mark.parametrize("sizes", [(5,), (), (5, 0, 2), (0, 3)])
def test_impossible_widths_are_named(sizes):
    with pytest.raises(ConfigError, match="sizes"):
        MLP(sizes, get_backend("cpu"), rng=np.random.default_rng(0))


def test_initial_weights_do_not_depend_on_precision_and_biases_are_zero(backend):
    models = [
        MLP((20, 10, 5), backend, rng=np.random.default_rng(7), dtype=dtype)
        for dtype in (np.float32, np.float64)
    ]
    host = [backend.to_host(m.params["layers.0.weight"]) for m in models]
    assert np.array_equal(host[0], host[1].astype(np.float32))
    assert not any(backend.to_host(bias).any() for _, bias in models[0].layers(models[0].params))


@pytest.mark.parametrize("make", [Adam, SGD, lambda p: SGD(p, momentum=0.9, nesterov=True)])
def test_a_step_allocates_nothing_that_grows_with_the_batch(make):
    """Peak of traced memory during a step, at two batch sizes far apart.

    Both are large enough to fill NumPy's own casting buffer (8192 elements, whatever the batch).
    """
    peaks = {}
    for batch in (8192, 16384):
        model = MLP((50, 40, 10), get_backend("cpu"), rng=np.random.default_rng(0))
        optimizer, ws = make(model.params), model.workspace(batch)
        x = np.random.default_rng(1).random((batch, 50), dtype=np.float32)
        labels = np.arange(batch) % 10
        model.loss_and_grad(x, labels, ws)
        optimizer.step(model.grads, 1e-3)
        tracemalloc.start()
        model.loss_and_grad(x, labels, ws)
        optimizer.step(model.grads, 1e-3)
        peaks[batch] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert abs(peaks[16384] - peaks[8192]) < 1024  # one bool a row would be 8192 bytes


def test_shapes_that_do_not_fit_are_named(backend):
    model = float64_model((4, 5, 3), backend)
    ws, x = model.workspace(6), backend.xp.ones((6, 4))
    labels = backend.asarray([0, 1, 2] * 2)
    with pytest.raises(ConfigError, match=r"x: found shape \(6, 3\), expected \(6, 4\)"):
        model.loss_and_grad(x[:, :3], labels, ws)
    with pytest.raises(ConfigError, match=r"labels: found shape \(4,\), expected \(6,\)"):
        model.loss_and_grad(x, labels[:4], ws)
    with pytest.raises(ConfigError, match=r"weights: found shape \(2,\), expected \(6,\)"):
        model.loss_and_grad(x, labels, ws, weights=backend.xp.ones(2))


def test_a_residual_connection_needs_a_place(backend):
    with pytest.raises(ConfigError, match=r"residual: of widths \(4, 5, 3\) no hidden layer"):
        MLP((4, 5, 3), backend, rng=np.random.default_rng(0), blocks=[Block(residual=True)])
