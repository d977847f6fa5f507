"""The optimizer battery: known problems solved, dtype kept, state restored, reruns identical."""

import math
from functools import partial

import numpy as np
import pytest

from fastnn.backend import get_backend
from fastnn.errors import CheckpointError, ConfigError
from fastnn.nn.optim import OPTIMIZERS, SGD, Adam, Lion, Optimizer, RMSProp, load_state
from fastnn.nn.params import Flat, Layout

BATTERY = {  # row of OPTIMIZERS, its own settings, learning rate
    "sgd": ("sgd", {}, 0.01),
    "momentum": ("sgd", {"momentum": 0.9}, 0.003),
    "nesterov": ("sgd", {"momentum": 0.9, "nesterov": True}, 0.003),
    "rmsprop": ("rmsprop", {}, 0.05),
    "adam": ("adam", {}, 0.05),
    "adamw": ("adamw", {}, 0.05),
    "lion": ("lion", {}, 0.01),
}
every = pytest.mark.parametrize("name", BATTERY)
COMMON = {"weight_decay": 0.1, "clip_norm": 4.0, "clip_value": 1.5, "average": 0.9}


def problem(backend, name, dtype=np.float64, **common):
    params = Flat(Layout.of({"w": (2, 3), "b": (4,)}), backend, dtype)
    row, settings, lr = BATTERY[name]
    return params, params.twin(), OPTIMIZERS[row].make(params, **settings, **common), lr


def test_the_battery_has_every_optimizer():
    assert {row for row, _, _ in BATTERY.values()} == OPTIMIZERS.keys()


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
    for step in range(12_000):
        # Steps that do not shrink with the gradient must shrink by themselves.
        fading = 1 - step / 12_000 if name in ("rmsprop", "lion") else 1
        grads.vector[:2] = backend.asarray(rosenbrock(backend.to_host(params.vector[:2])))
        optimizer.step(grads, rate * fading)
    assert backend.to_host(params.vector[:2]) == pytest.approx([1.0, 1.0], abs=0.05)


def logistic(p, x, labels):
    """Gradient of the mean loss of a logistic regression with an L2 penalty."""
    return x.T @ (1 / (1 + np.exp(-x @ p)) - labels) / len(x) + 0.1 * p


@every
def test_finds_the_optimum_of_a_logistic_regression(backend, name):
    """The optimum by Newton's method, whose gradient is zero to rounding."""
    params, grads, optimizer, lr = problem(backend, name)
    rng = np.random.default_rng(0)
    size = params.layout.size
    x, labels = rng.normal(size=(40, size)), rng.integers(0, 2, 40)
    best = np.zeros(size)
    for _ in range(20):
        share = 1 / (1 + np.exp(-x @ best))
        hessian = (x.T * (share * (1 - share))) @ x / len(x) + 0.1 * np.eye(size)
        best -= np.linalg.solve(hessian, logistic(best, x, labels))
    assert np.abs(logistic(best, x, labels)).max() < 1e-14
    assert np.abs(best).max() > 0.3
    rate = lr * {"sgd": 30}.get(BATTERY[name][0], 3)  # a flat problem: no curvature above 1.5
    for step in range(1000):
        grads.vector[...] = backend.asarray(logistic(backend.to_host(params.vector), x, labels))
        optimizer.step(grads, rate * 0.994**step)
    assert np.abs(backend.to_host(params.vector) - best).max() < 1e-3


@pytest.mark.parametrize("lr", [1e-2, 1e-3, 1e-4])
def test_lion_ends_within_a_few_steps_of_the_optimum(backend, lr):
    """Every step is `lr` long, however near the optimum is."""
    params, grads, optimizer, _ = problem(backend, "lion")
    target, size = np.linspace(-1, 1, params.layout.size), params.layout.size
    params.vector[...] = backend.asarray(target + np.linspace(-50, 50, size) * lr)
    away = []
    for _ in range(600):
        before = backend.to_host(params.vector).copy()
        grads.vector[...] = backend.asarray(quadratic(before, target))
        optimizer.step(grads, lr)
        after = backend.to_host(params.vector)
        assert np.abs(after - before) == pytest.approx(lr, rel=1e-9)
        away.append(np.abs(after - target).max())
    assert lr / 2 <= max(away[-100:]) < 20 * lr


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
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("common", [{}, COMMON], ids=["plain", "all"])
def test_restored_state_goes_on_exactly(backend, name, common, dtype):
    draws = np.random.default_rng(0).normal(size=(8, 128))
    params, grads, optimizer, lr = problem(backend, name, dtype, **common)
    size = params.layout.size
    for step in range(8):
        if step == 3:
            saved = {key: backend.to_host(a).copy() for key, a in optimizer.state().items()}
            saved_params, saved_steps = backend.to_host(params.vector).copy(), optimizer.steps
        grads.vector[...] = backend.asarray(draws[step, :size], dtype)
        optimizer.step(grads, lr)
    again, again_grads, fresh, _ = problem(backend, name, dtype, **common)
    again.vector[...] = backend.asarray(saved_params)
    load_state(fresh, {key: backend.asarray(a) for key, a in saved.items()}, saved_steps)
    for step in range(3, 8):
        again_grads.vector[...] = backend.asarray(draws[step, :size], dtype)
        fresh.step(again_grads, lr)
    assert np.array_equal(backend.to_host(again.vector), backend.to_host(params.vector))
    for key, moment in optimizer.state().items():
        assert np.array_equal(backend.to_host(fresh.state()[key]), backend.to_host(moment)), key
        assert moment.dtype == dtype


@every
def test_rates_made_ahead_are_those_of_single_steps(backend, name):
    """An epoch's table of rates, as a GPU gets it, against one step after another."""
    draws = np.random.default_rng(0).normal(size=(5, 128))
    params, grads, optimizer, lr = problem(backend, name, **COMMON)
    again, again_grads, ahead, _ = problem(backend, name, **COMMON)
    size = params.layout.size
    table = ahead.rates([lr * factor for factor in (1, 0.5, 2, 0, 1)])
    assert ahead.rates([]).shape == (0, table.shape[1])
    for draw, row, factor in zip(draws, table, (1, 0.5, 2, 0, 1), strict=True):
        grads.vector[...] = again_grads.vector[...] = backend.asarray(draw[:size])
        optimizer.step(grads, lr * factor)
        ahead.update(again_grads, backend.asarray(row))
    assert np.array_equal(backend.to_host(again.vector), backend.to_host(params.vector))


@every
def test_decay_shrinks_matrices_and_spares_biases(backend, name):
    params, grads, optimizer, _ = problem(backend, name, weight_decay=0.5)
    params["w"][...] = params["b"][...] = 1.0
    optimizer.step(grads, 0.1)
    assert (backend.to_host(params["w"]) < 1.0).all()
    assert (backend.to_host(params["w"]) > -0.1).all()
    assert (backend.to_host(params["b"]) == 1.0).all()


@every
def test_what_has_no_gradient_stays_put(backend, name):
    """Padding between parameters, and running statistics, are never moved."""
    params, grads, optimizer, lr = problem(backend, name, **COMMON)
    params["b"][...] = 3.0
    for _ in range(3):
        grads.vector[...] = 0
        grads["w"][...] = 1.0
        optimizer.step(grads, lr)
    host = backend.to_host(params.vector)
    known = {slot.name: slot for slot in params.layout.slots}
    assert (backend.to_host(params["b"]) == 3.0).all()
    padding = np.ones(params.layout.size, bool)
    for slot in known.values():
        padding[slot.start : slot.stop] = False
    assert padding.any()
    assert not host[padding].any()


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


# Rules that no stored PyTorch run covers, one float at a time.


def trajectory(backend, optimizer_of, start, gradients, lr):
    """Two matrix elements and one bias, updated step by step: (steps, 3) on the host."""
    params = Flat(Layout.of({"w": (1, 2), "b": (1,)}), backend, np.float64)
    params["w"][...] = backend.asarray([start[:2]])
    params["b"][...] = backend.asarray(start[2:])
    optimizer, grads, found = optimizer_of(params), params.twin(), []
    for gradient in gradients:
        grads["w"][...] = backend.asarray([gradient[:2]])
        grads["b"][...] = backend.asarray(gradient[2:])
        optimizer.step(grads, lr)
        w, b = backend.to_host(params["w"])[0], backend.to_host(params["b"])
        found.append([*w.tolist(), *b.tolist()])
    return found


START = [1.5, -0.25, 0.75]
GRADIENTS = [[0.3, -2.0, 0.0], [-0.4, -1.0, 1e-3], [0.0, 5.0, -1e-3], [0.2, 0.1, 4.0], [0, 0, 0]]


@pytest.mark.parametrize("decay", [0.0, 0.2])
def test_lion_is_its_published_program(backend, decay):
    """Program 1 of arXiv:2302.06675, decay on the two matrix elements only.

    So many steps, for momentum to decide against some gradients and not against others.
    """
    beta1, beta2, lr = 0.9, 0.99, 0.05
    gradients = GRADIENTS + np.random.default_rng(0).normal(0.1, 1, (50, 3)).tolist()
    found = trajectory(backend, partial(Lion, weight_decay=decay), START, gradients, lr)
    for k, share in enumerate((decay, decay, 0.0)):
        p, m = START[k], 0.0
        for step, gradient in enumerate(gradients):
            blend = beta1 * m + (1 - beta1) * gradient[k]
            sign = (blend > 0) - (blend < 0)
            p = p - lr * (sign + share * p)
            m = beta2 * m + (1 - beta2) * gradient[k]
            assert found[step][k] == pytest.approx(p, rel=1e-13, abs=1e-14)


@pytest.mark.parametrize("decay", [0.0, 0.2])
@pytest.mark.parametrize("eps", [1e-8, 1e-2])
def test_rmsprop_divides_by_the_root_mean_square(backend, decay, eps):
    beta2, lr = 0.8, 0.05
    make = partial(RMSProp, beta2=beta2, eps=eps, weight_decay=decay)
    found = trajectory(backend, make, START, GRADIENTS, lr)
    for k, share in enumerate((decay, decay, 0.0)):
        p, v = START[k], 0.0
        for step, gradient in enumerate(GRADIENTS):
            g = gradient[k] + share * p
            v = beta2 * v + (1 - beta2) * g**2
            p -= lr * g / (math.sqrt(v) + eps)
            assert found[step][k] == pytest.approx(p, rel=1e-13, abs=1e-14)


# Clipping, before any rule. With plain gradient descent and rate 1, p is what was left of it.


def clipped(backend, gradient, dtype=np.float64, **limits):
    params = Flat(Layout.of({"w": (2, 3)}), backend, dtype)
    grads = params.twin()
    grads["w"][...] = backend.asarray(np.reshape(gradient, (2, 3)), dtype)
    SGD(params, **limits).step(grads, 1.0)
    assert params.vector.dtype == dtype
    return (-backend.to_host(params["w"])).ravel()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("norm", [2.6, 12.9, 13.0, 13.1, 100.0])
def test_a_gradient_longer_than_the_limit_is_shortened_to_it(backend, norm, dtype):
    gradient = [3.0, -4.0, 12.0, 0.0, 0.0, 0.0]  # of length 13
    left = clipped(backend, gradient, dtype, clip_norm=norm)
    expected = [element * min(1, norm / 13) for element in gradient]
    assert left.tolist() == pytest.approx(expected, rel=float(8 * np.finfo(dtype).eps))
    if norm >= 13:
        assert left.tolist() == gradient


def test_elements_are_cut_one_by_one_and_before_the_norm(backend):
    gradient = [3.0, -4.0, 12.0, 0.5, 0.0, -0.5]
    assert clipped(backend, gradient, clip_value=4).tolist() == [3, -4, 4, 0.5, 0, -0.5]
    left = clipped(backend, [0.5, -9.0, 9.0, 0.5, 0.5, -0.5], clip_value=0.5, clip_norm=0.1)
    share = 0.1 / math.sqrt(6 * 0.25)
    assert left == pytest.approx(np.array([1, -1, 1, 1, 1, -1]) * 0.5 * share)


@pytest.mark.parametrize("limits", [{"clip_norm": 1.0}, {"clip_value": 1.0}])
def test_clipping_keeps_zero_and_nan(backend, limits):
    assert not clipped(backend, [0.0] * 6, **limits).any()
    assert np.isnan(clipped(backend, [np.nan, *[1.0] * 5], **limits)[0])


def test_a_norm_with_nan_in_it_spoils_all(backend):
    """So that the guard against divergence sees it, whatever it looks at."""
    assert np.isnan(clipped(backend, [np.nan, *[1.0] * 5], clip_norm=1.0)).all()


# The moving average of weights.


@pytest.mark.parametrize("decay", [0.5, 0.9, 0.999])
def test_the_average_follows_plain_floats(backend, decay):
    params = Flat(Layout.of({"w": (1, 1)}), backend, np.float64)
    params.vector[:1] = 4.0
    optimizer, grads = SGD(params, average=decay), params.twin()
    p = mean = 4.0
    for t in range(1, 40):
        gradient = math.sin(t)
        grads.vector[:1] = gradient
        optimizer.step(grads, 0.5)
        p -= 0.5 * gradient
        own = min(decay, t / (t + 9))
        mean = own * mean + (1 - own) * p
        assert float(optimizer.averaged[0]) == pytest.approx(mean, rel=1e-13)
        assert float(params.vector[0]) == pytest.approx(p, rel=1e-13)


def test_without_an_average_there_is_none(backend):
    params = Flat(Layout.of({"w": (1, 1)}), backend, np.float64)
    assert SGD(params).averaged is None


def test_a_rule_must_be_written(backend):
    params = Flat(Layout.of({"w": (1, 1)}), backend, np.float64)
    with pytest.raises(NotImplementedError):
        Optimizer(params).rates([0.1])


@pytest.mark.parametrize(
    "settings", [{"average": 1.0}, {"average": -0.1}, {"clip_norm": -1}, {"weight_decay": -1}]
)
def test_impossible_settings_are_named(backend, settings):
    params = Flat(Layout.of({"w": (2, 2)}), backend, np.float32)
    with pytest.raises(ConfigError, match=f"{next(iter(settings))}: .* must be at least 0"):
        Adam(params, **settings)
