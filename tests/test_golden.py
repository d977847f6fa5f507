"""Twenty steps from stored weights follow stored PyTorch runs (scripts/make_golden.py)."""

from pathlib import Path

import numpy as np
import pytest

from fastnn.data.examples import Examples
from fastnn.nn.blocks import Block
from fastnn.nn.model import MLP
from fastnn.nn.objective import Objective
from fastnn.nn.optim import SGD, Adam, RMSProp
from fastnn.training.build import example_weights
from fastnn.training.config import TrainConfig

GOLDEN = Path(__file__).parent / "golden"
SIZES = (20, 16, 12, 5)
OPTIMIZERS = {
    "sgd": (SGD, 0.1, {}),
    "momentum": (SGD, 0.05, {"momentum": 0.9}),
    "nesterov": (SGD, 0.05, {"momentum": 0.9, "nesterov": True}),
    "adam": (Adam, 0.01, {}),
    "adam-large-eps": (Adam, 0.05, {"eps": 1e-2}),
    "sgd-decay": (SGD, 0.1, {"weight_decay": 0.1}),
    "adam-decay": (Adam, 0.01, {"weight_decay": 0.1}),
    "adamw-decay": (Adam, 0.01, {"weight_decay": 0.1, "decoupled": True}),
}


# Block, objective, rule, rate, its settings, whether rows are weighed.
RECIPES = {
    "layer-gelu-adamw": (
        Block("gelu", "layer"), Objective(smoothing=0.1), Adam, 0.01,
        {"weight_decay": 0.1, "decoupled": True, "clip_norm": 1.5}, False,
    ),
    "batch-silu-rmsprop": (
        Block("silu", "batch"), Objective(), RMSProp, 0.01,
        {"weight_decay": 0.1, "eps": 1e-4}, True,
    ),
    "residual-tanh-nesterov": (
        Block("tanh", residual=True), Objective("mse"), SGD, 0.02,
        {"momentum": 0.9, "nesterov": True}, False,
    ),
    "leaky-relu-huber": (
        Block("leaky-relu"), Objective("huber", delta=0.7), Adam, 0.01, {}, False
    ),
    "sigmoid-mae": (Block("sigmoid"), Objective("mae"), Adam, 0.01, {}, False),
}  # fmt: skip


def stored(name):
    with np.load(GOLDEN / f"{name}.npz") as file:
        return {key: file[key] for key in file.files}


@pytest.fixture(scope="module")
def golden():
    return stored("steps")


@pytest.fixture(scope="module")
def toolkit():
    return stored("toolkit")


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_losses_gradients_and_weights_follow_pytorch(backend, golden, name, dtype):
    make, lr, hyper = OPTIMIZERS[name]
    model = MLP(SIZES, backend, rng=np.random.default_rng(0), dtype=dtype)
    for key in model.params:
        model.params[key][...] = backend.asarray(golden[f"start/{key}"], dtype)
    optimizer, ws = make(model.params, **hyper), model.workspace(golden["x"].shape[1])
    # float32's rounding, 6e-8, grows over twenty steps; a wrong formula shows at 1e-3.
    tolerance = 1e-12 if dtype == np.float64 else 2e-5
    for x, labels, expected in zip(
        golden["x"], golden["labels"], golden[f"{name}/losses"], strict=True
    ):
        losses = model.loss_and_grad(backend.asarray(x, dtype), backend.asarray(labels), ws)
        assert float(losses.mean()) == pytest.approx(expected, abs=tolerance)
        last_gradients = {k: backend.to_host(model.grads[k]).copy() for k in model.grads}
        optimizer.step(model.grads, lr)
    for key in model.params:
        np.testing.assert_allclose(
            backend.to_host(model.params[key]), golden[f"{name}/{key}"], rtol=0, atol=10 * tolerance
        )
        np.testing.assert_allclose(
            last_gradients[key], golden[f"{name}/grad/{key}"], rtol=0, atol=10 * tolerance
        )


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", RECIPES)
def test_blocks_losses_and_rules_follow_pytorch(backend, toolkit, name, dtype):
    block, objective, make, lr, settings, weighed = RECIPES[name]
    model = MLP(
        (6, 5, 5, 3), backend, rng=np.random.default_rng(0), blocks=[block] * 2,
        objective=objective, dtype=dtype,
    )  # fmt: skip
    for key in model.params:
        model.params[key][...] = backend.asarray(toolkit[f"start/{key}"], dtype)
    optimizer, ws = make(model.params, **settings), model.workspace(8)
    # A batch of eight makes a batch norm's variance, and float32's rounding with it, shakier.
    tolerance = 1e-12 if dtype == np.float64 else 1e-4
    for step, x in enumerate(toolkit["x"]):
        labels = backend.asarray(toolkit["labels"][step])
        if not objective.classifies:
            labels = backend.asarray(toolkit["targets"][step], dtype)
        weights = backend.asarray(toolkit["weights"][step], dtype) if weighed else None
        losses = model.loss_and_grad(backend.asarray(x, dtype), labels, ws, weights=weights)
        found = float(losses.mean()), np.linalg.norm(backend.to_host(model.grads.vector))
        expected = toolkit[f"{name}/losses"][step], toolkit[f"{name}/lengths"][step]
        assert found == pytest.approx(expected, abs=tolerance)
        optimizer.step(model.grads, lr)
    for key in model.params:
        np.testing.assert_allclose(
            backend.to_host(model.params[key]), toolkit[f"{name}/{key}"],
            rtol=0, atol=10 * tolerance, err_msg=key,
        )  # fmt: skip
    outputs = backend.to_host(model.forward(backend.asarray(toolkit["x"][0], dtype), ws))
    np.testing.assert_allclose(outputs, toolkit[f"{name}/evaluated"], atol=10 * tolerance)


def test_the_stored_runs_reach_what_they_are_there_for(toolkit):
    """Some gradients are cut and some are not; huber's residuals lie on both of its branches."""
    lengths = toolkit["layer-gelu-adamw/lengths"]
    assert lengths.min() < 1.5 < lengths.max()
    residuals = np.abs(toolkit["leaky-relu-huber/evaluated"] - toolkit["targets"][0])
    assert residuals.min() < 0.7 < residuals.max()
    for name in RECIPES:
        losses = toolkit[f"{name}/losses"]
        assert losses[-5:].mean() < losses[:5].mean()


def test_class_weights_are_scaled_as_in_the_stored_run(toolkit):
    config = TrainConfig(class_weight={"a": 0.5, "b": 3.0})
    labels = toolkit["labels"].ravel()
    weights = example_weights(config, Examples(np.zeros((len(labels), 1)), labels), "abc")
    np.testing.assert_allclose(weights, toolkit["weights"].ravel(), rtol=1e-6)
