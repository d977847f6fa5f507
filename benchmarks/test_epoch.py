"""One epoch of `Trainer.fit` over as many examples as Fashion-MNIST has, shuffled and tallied."""

from __future__ import annotations

import numpy as np
import pytest

from fastnn.bench.competitors import LEARNING_RATE
from fastnn.data.batches import Batches
from fastnn.data.scaling import Scaling
from fastnn.nn.model import MLP
from fastnn.nn.optim import Adam
from fastnn.nn.schedules import constant
from fastnn.training.trainer import Trainer


@pytest.mark.parametrize("batch", [32, 128, 512, 2048, 16384])
def test_epoch(benchmark, backend, kernels, problem, batch):
    benchmark.group = "epoch"
    benchmark.extra_info |= backend.describe()
    with backend.activate():
        model = MLP(problem.sizes, backend, rng=np.random.default_rng(0), kernels=kernels)
        scaling = Scaling.fit(problem.examples.inputs)
        batches = Batches(problem.examples, batch, scaling, backend, seed=0, kernels=kernels)
        trainer = Trainer(model, Adam(model.params, kernels=kernels), constant(LEARNING_RATE))

        def next_epoch():
            with backend.activate():
                trainer.fit(batches, epochs=trainer.epoch + 1)
                backend.synchronize()

        benchmark.pedantic(next_epoch, warmup_rounds=1, rounds=3)
