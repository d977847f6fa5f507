"""Steps on a stand-in GPU: the same network as on the CPU, however its steps are run."""

import numpy as np
import pytest

import fastnn
from fastnn.backend import get_backend
from fastnn.training.run import train
from tests.conftest import blobs


def trained(**settings):
    config = fastnn.TrainConfig(
        hidden=(24, 17), epochs=3, batch_size=32, val=0.2, learning_rate=3e-3, **settings
    )
    return train(config, data=blobs(classes=5))


def vector(result):
    model = result.classifier.model
    return model.backend.to_host(model.params.vector)


@pytest.mark.parametrize("kernels", ["reference", "fused", "captured"])
@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_every_path_learns_what_the_cpu_learns(gpu, kernels, optimizer):
    more = {"weight_decay": 0.01, "optimizer": optimizer}
    more |= {"momentum": 0.9, "nesterov": True} if optimizer == "sgd" else {}
    expected = trained(device="cpu", **more)
    found = trained(device="cuda", kernels=kernels, **more)
    assert found.kernels == kernels
    assert [r.train_loss for r in found.history] == pytest.approx(
        [r.train_loss for r in expected.history], rel=1e-4
    )
    np.testing.assert_allclose(vector(found), vector(expected), rtol=0, atol=1e-4)
