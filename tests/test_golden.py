"""Twenty steps from stored weights follow a stored PyTorch run (scripts/make_golden.py)."""

from pathlib import Path

import numpy as np
import pytest

from fastnn.nn.model import MLP
from fastnn.nn.optim import SGD, Adam

GOLDEN = Path(__file__).parent / "golden" / "steps.npz"
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


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as stored:
        return {name: stored[name] for name in stored.files}


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
