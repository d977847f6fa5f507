"""fastnn as a competitor, by each way that it can take on a device."""

from __future__ import annotations

from functools import partial
from itertools import chain, count

import numpy as np

from fastnn.backend import get_backend
from fastnn.bench.competitors import BETA1, BETA2, EPS, LEARNING_RATE, Entrant, Problem
from fastnn.data.batches import Batches
from fastnn.data.examples import Examples
from fastnn.data.scaling import Scaling
from fastnn.nn.model import MLP
from fastnn.nn.optim import Adam


def paths(device: str) -> list[str]:
    """The ways through a step that fastnn has on this device, as names in tables."""
    return ["fastnn"]


def entrants(device: str) -> list[Entrant]:
    """One for each path."""
    return [Entrant(path, "fastnn", device, partial(Fastnn, path=path)) for path in paths(device)]


class Fastnn:
    """Gather and scale bytes, forward, backward, Adam; nothing is read back while it runs."""

    def __init__(self, problem: Problem, batch: int, device: str, *, path: str = "fastnn") -> None:
        self._backend = get_backend(device)
        with self._backend.activate():
            self._model = MLP(problem.sizes, self._backend, rng=np.random.default_rng(0))
            for mine, common in zip(
                self._model.layers(self._model.params), problem.start, strict=True
            ):
                for array, start in zip(mine, common, strict=True):
                    array[...] = self._backend.asarray(start)
            self._optimizer = Adam(self._model.params, beta1=BETA1, beta2=BETA2, eps=EPS)
            self._ws = self._model.workspace(batch)
            inputs, labels = problem.examples
            whole = len(labels) // batch * batch
            batches = Batches(
                Examples(inputs[:whole], labels[:whole]),
                batch,
                Scaling.fit(inputs),
                self._backend,
            )
        self._next = chain.from_iterable(batches.epoch(n) for n in count())

    def run(self, steps: int) -> None:
        with self._backend.activate():
            for _ in range(steps):
                self._model.loss_and_grad(*next(self._next), self._ws)
                self._optimizer.step(self._model.grads, LEARNING_RATE)
            self._backend.synchronize()

    def loss(self) -> float:
        return float(self._backend.to_host(self._ws.losses).mean())
