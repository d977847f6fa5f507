"""The recipe of `time_to_accuracy` in PyTorch and in JAX: the same start, order and rates.

Each `Fit` trains epochs over orders and learning rates that it is given, and tells its accuracy on
the test part. Inputs are scaled to floats beforehand: nobody there scales bytes while training.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fastnn.bench import jax_peer, torch_peers
from fastnn.bench.competitors import BETA1, BETA2, EPS, Problem, imported
from fastnn.data.examples import Examples

Floats = NDArray[np.floating]


class Fit(Protocol):
    """A training under way."""

    def epoch(self, order: NDArray[np.integer], rates: Floats) -> None:
        """A step for each rate: step k takes rows k*B to (k+1)*B of `order`."""

    def accuracy(self) -> float:
        """Share of the test part that is right."""


def torch_fit(problem: Problem, test: Examples, batch: int) -> Fit:
    """PyTorch as one writes it: eager, resident tensors, fused Adam."""
    imported("torch", "torch")
    return _Torch(problem, test, batch)


def jax_fit(problem: Problem, test: Examples, batch: int) -> Fit:
    """JAX at its fastest: an epoch is one compiled scan."""
    imported("jax", "jax")
    return _Jax(problem, test, batch)


FITS: dict[str, Callable[[Problem, Examples, int], Fit]] = {"torch": torch_fit, "JAX": jax_fit}


class _Torch:
    def __init__(self, problem: Problem, test: Examples, batch: int) -> None:
        import torch

        self._batch = batch
        self._network = torch_peers.network(problem, torch.device("cpu"))
        self._optimizer = torch.optim.Adam(
            self._network.parameters(), betas=(BETA1, BETA2), eps=EPS, fused=True
        )
        self._inputs, self._labels = torch_peers.tensors(problem)
        self._test = torch_peers.tensors(Problem(test))

    def epoch(self, order: NDArray[np.integer], rates: Floats) -> None:
        import torch

        rows = torch.from_numpy(order)
        for step, rate in enumerate(rates.tolist()):
            these = rows[step * self._batch : (step + 1) * self._batch]
            self._optimizer.param_groups[0]["lr"] = rate
            self._optimizer.zero_grad(set_to_none=True)
            loss = torch_peers.cross_entropy(
                self._network, self._inputs[these], self._labels[these]
            )
            loss.backward()
            self._optimizer.step()

    def accuracy(self) -> float:
        import torch

        inputs, labels = self._test
        with torch.no_grad():
            return float((self._network(inputs).argmax(dim=1) == labels).float().mean())


class _Jax:
    def __init__(self, problem: Problem, test: Examples, batch: int) -> None:
        import jax

        self._batch = batch
        self._inputs = jax.device_put(problem.floats)
        self._labels = jax.device_put(problem.examples.labels)
        self._test = jax.device_put(Problem(test).floats), np.asarray(test.labels)
        self._state = jax_peer.start_state(problem)
        self._done = 0
        self._scan, self._logits = jax.jit(_scan), jax.jit(jax_peer.logits)

    def epoch(self, order: NDArray[np.integer], rates: Floats) -> None:
        import jax

        whole = len(order) // self._batch
        parts = [(order[: whole * self._batch].reshape(whole, self._batch), rates[:whole])]
        if len(rates) > whole:  # the last batch is smaller
            parts.append((order[None, whole * self._batch :], rates[whole:]))
        for rows, own in parts:
            self._state = self._scan(
                self._state, self._done, rows, own.astype(np.float32), self._inputs, self._labels
            )
            self._done += len(own)
        jax.block_until_ready(self._state)

    def accuracy(self) -> float:
        inputs, labels = self._test
        found = np.asarray(self._logits(self._state[0], inputs)).argmax(axis=1)
        return float((found == labels).mean())


def _scan(state: Any, done: Any, rows: Any, rates: Any, inputs: Any, labels: Any) -> Any:
    """All steps whose rows (steps, B) and rates (steps,) are given, after `done` others."""
    from jax import lax
    from jax import numpy as jnp

    def one(inputs: Any, labels: Any, state: Any, step: Any) -> Any:
        t, these, rate = step
        return jax_peer.adam_step(state, inputs[these], labels[these], rate, t), None

    steps = done + 1 + jnp.arange(len(rates)), rows, rates
    return lax.scan(partial(one, inputs, labels), state, steps)[0]
