"""fastnn as a competitor, by each way that it can take on a device."""

from __future__ import annotations

from functools import partial

import numpy as np

from fastnn import blas
from fastnn.backend import get_backend
from fastnn.bench.competitors import BETA1, BETA2, EPS, LEARNING_RATE, Entrant, Problem
from fastnn.data.batches import Batches
from fastnn.data.examples import Examples
from fastnn.data.scaling import Scaling
from fastnn.kernels import kernels_for
from fastnn.kernels.cpu import Compiled
from fastnn.kernels.cuda import Fused
from fastnn.nn.model import MLP
from fastnn.nn.optim import Adam
from fastnn.training.scoring import Tally
from fastnn.training.step import steps_for


def paths(device: str, precision: str = "float32") -> dict[str, str]:
    """The ways through a step that fastnn has on this device: name in tables -> --kernels."""
    backend = get_backend(device)
    kernels = kernels_for(backend, "auto", precision)
    if isinstance(kernels, Compiled):
        return {"fastnn": "captured", "fastnn fused": "fused", "fastnn NumPy": "reference"}
    if not isinstance(kernels, Fused):
        return {"fastnn NumPy": "reference"}
    found = {"fastnn fused": "fused"}
    if kernels.why_not_captured is None:
        found = {"fastnn": "captured"} | found
    if precision == "float32":  # CuPy's own products know no other
        found["fastnn reference"] = "reference"
    return found


def entrants(device: str, precision: str = "float32") -> list[Entrant]:
    """One for each path."""
    return [
        Entrant(name, "fastnn", device, partial(Fastnn, kernels=kernels))
        for name, kernels in paths(device, precision).items()
    ]


class Fastnn:
    """Gather and scale bytes, forward, backward, tally, Adam: the trainer's own steps."""

    def __init__(
        self,
        problem: Problem,
        batch: int,
        device: str,
        *,
        kernels: str = "auto",
        threads: int = 0,
    ) -> None:
        self._backend = get_backend(device, threads=threads)
        chosen = kernels_for(self._backend, kernels, problem.precision)
        with self._backend.activate():
            model = MLP(problem.sizes, self._backend, rng=np.random.default_rng(0), kernels=chosen)
            for mine, common in zip(model.layers(model.params), problem.start, strict=True):
                for array, start in zip(mine, common, strict=True):
                    array[...] = self._backend.asarray(start)
            optimizer = Adam(model.params, beta1=BETA1, beta2=BETA2, eps=EPS, kernels=chosen)
            inputs, labels, _ = problem.examples
            whole = len(labels) // batch * batch
            self._batches = Batches(
                Examples(inputs[:whole], labels[:whole]),
                batch,
                Scaling.fit(inputs),
                self._backend,
                kernels=chosen,
            )
            self._tally = Tally(self._backend, len(self._batches))
            self._steps = steps_for(model, optimizer, self._batches, self._tally, kernels)
        self._optimizer = optimizer
        self._position = 0  # in the epoch

    def run(self, steps: int) -> None:
        with self._backend.activate():
            with blas.limited(self._steps.blas_threads):
                while steps:
                    if self._position in (0, len(self._batches)):
                        self._position = 0
                        self._steps.open(0, 0)
                        self._steps.plan(0, [LEARNING_RATE] * len(self._batches))
                    until = min(len(self._batches), self._position + steps)
                    reached = self._steps.run(self._position, until)
                    self._optimizer.steps += reached - self._position
                    steps -= reached - self._position
                    self._position = reached
            self._backend.synchronize()

    def loss(self) -> float:
        last = self._backend.to_host(self._tally.losses)[self._position - 1]
        return float(last) / self._batches.batch_size
