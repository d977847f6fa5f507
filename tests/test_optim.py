"""The optimizer battery: known problems solved, dtype kept, state restored, reruns identical."""

import numpy as np
import pytest

from fastnn.backend import get_backend
from fastnn.errors import CheckpointError
from fastnn.nn.optim import SGD, Adam, load_state
from fastnn.nn.params import Flat, Layout

BATTERY = {
    "sgd": (lambda p: SGD(p), 0.01),
    "momentum": (lambda p: SGD(p, momentum=0.9), 0.003),
    "nesterov": (lambda p: SGD(p, momentum=0.9, nesterov=True), 0.003),
    "adam": (lambda p: Adam(p), 0.05),
    "adamw": (lambda p: Adam(p, decoupled=True), 0.05),
}
every = pytest.mark.parametrize("name", BATTERY)


def problem(backend, name, dtype=np.float64):
    params = Flat(Layout.of({"w": (2, 3), "b": (4,)}), backend, dtype)
    make, lr = BATTERY[name]
    return params, params.twin(), make(params), lr


def quadratic(p, target):
    """Gradient of a badly scaled bowl, condition number 50."""
    return (p - target) * np.linspace(1, 50, p.size)


def rosenbrock(p):
    x, y = p[0], p[1]
    return np.array([-2 * (1 - x) - 400 * x * (y - x * x), 200 * (y - x * x)])


@every
def test_finds_the_minimum_of_a_badly_scaled_bowl(backend, name):
    params, grads, optimizer, lr = problem(backend, name)
    target = np.linspace(-1, 1, params.layout.size)
    for step in range(3000):
        host = backend.to_host(params.vector)
        grads.vector[...] = backend.asarray(quadratic(host, target))
        optimizer.step(grads, lr * 0.998**step)
    assert np.abs(backend.to_host(params.vector) - target).max() < 1e-2


@every
def test_descends_rosenbrocks_valley(backend, name):
    params, grads, optimizer, lr = problem(backend, name)
    rate = {"sgd": 1e-3, "momentum": 1e-4, "nesterov": 1e-4}.get(name, lr * 0.1)
    params.vector[:2] = backend.asarray([-1.0, 1.0])
    for _ in range(20_000):
        grads.vector[:2] = backend.asarray(rosenbrock(backend.to_host(params.vector[:2])))
        optimizer.step(grads, rate)
    assert backend.to_host(params.vector[:2]) == pytest.approx([1.0, 1.0], abs=0.05)


@every
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_keeps_the_dtype_and_repeats_bit_for_bit(backend, name, dtype):
    results = []
    for _ in range(2):
        params, grads, optimizer, lr = problem(backend, name, dtype)
        rng = np.random.default_rng(0)
        for _ in range(5):
            grads.vector[...] = backend.asarray(rng.normal(size=params.layout.size), dtype)
            optimizer.step(grads, lr)
        results.append(backend.to_host(params.vector).copy())
    assert results[0].dtype == dtype
    assert np.array_equal(*results)
    assert results[0].any()


@every
def test_restored_state_goes_on_exactly(backend, name):
    rng = np.random.default_rng(0)
    draws = rng.normal(size=(8, 128))
    params, grads, optimizer, lr = problem(backend, name)
    size = params.layout.size
    for step in range(8):
        if step == 3:
            saved = {key: backend.to_host(a).copy() for key, a in optimizer.state().items()}
            saved_params, saved_steps = backend.to_host(params.vector).copy(), optimizer.steps
        grads.vector[...] = backend.asarray(draws[step, :size])
        optimizer.step(grads, lr)
    again, again_grads, fresh, _ = problem(backend, name)
    again.vector[...] = backend.asarray(saved_params)
    load_state(fresh, {key: backend.asarray(a) for key, a in saved.items()}, saved_steps)
    for step in range(3, 8):
        again_grads.vector[...] = backend.asarray(draws[step, :size])
        fresh.step(again_grads, lr)
    assert np.array_equal(backend.to_host(again.vector), backend.to_host(params.vector))


def test_decay_shrinks_matrices_and_spares_biases():
    for optimizer_of in (
        lambda p: SGD(p, weight_decay=0.5),
        lambda p: Adam(p, weight_decay=0.5),
        lambda p: Adam(p, weight_decay=0.5, decoupled=True),
    ):
        params = Flat(Layout.of({"w": (2, 3), "b": (4,)}), get_backend("cpu"), np.float64)
        params["w"][...] = params["b"][...] = 1.0
        optimizer_of(params).step(params.twin(), 0.1)
        assert (params["w"] < 1.0).all()
        assert (params["b"] == 1.0).all()


def test_decoupled_decay_is_proportional_to_the_rate_and_not_rescaled():
    params = Flat(Layout.of({"w": (2, 2)}), get_backend("cpu"), np.float64)
    params["w"][...] = 2.0
    Adam(params, weight_decay=0.5, decoupled=True).step(params.twin(), 0.1)
    assert params["w"] == pytest.approx(2.0 * (1 - 0.1 * 0.5))


def test_a_state_that_does_not_fit_is_refused():
    params = Flat(Layout.of({"w": (2, 3)}), get_backend("cpu"), np.float64)
    with pytest.raises(CheckpointError, match=r"found \['m'\], expected \['m', 'v'\]"):
        load_state(Adam(params), {"m": np.zeros(64)}, 1)
    with pytest.raises(CheckpointError, match="shape"):
        load_state(SGD(params), {"m": np.zeros(7)}, 1)
