"""JAX as a competitor: all steps of a call in one compiled loop, on its default device."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from fastnn.bench.competitors import (
    BETA1,
    BETA2,
    EPS,
    LEARNING_RATE,
    Entrant,
    Problem,
    Skipped,
    imported,
)


def entrants(device: str) -> list[Entrant]:
    """The one device that JAX chooses by itself, where that is the one asked for."""
    # JAX would take three quarters of a GPU's memory at once, and leave too little for the others.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    jax = imported("jax", "jax")
    own = "cpu" if jax.default_backend() == "cpu" else "cuda"
    if own != device.partition(":")[0]:
        raise Skipped(f"its default device is {own} (JAX_PLATFORMS chooses another)")
    if own != "cpu":  # no TF32: everybody multiplies in float32
        jax.config.update("jax_default_matmul_precision", "highest")
    return [Entrant("JAX", "jax", device, Jax)]


class Jax:
    """The fastest that people write: data on the device, and the loop inside the jit.

    `fori_loop` rather than `scan`, which needs the number of steps when it compiles: both become
    the same loop, and take the same time (docs/LOG.md).
    """

    def __init__(self, problem: Problem, batch: int, device: str) -> None:
        import jax

        self._inputs = jax.device_put(problem.floats)
        self._labels = jax.device_put(problem.examples.labels)
        start = jax.device_put([(w.copy(), b.copy()) for w, b in problem.start])
        zeros = jax.tree.map(np.zeros_like, start)
        self._state: Any = (start, zeros, zeros, np.float32("nan"))
        self._done = 0
        self._loop = _loop(batch, len(problem.examples.labels) // batch)

    def run(self, steps: int) -> None:
        import jax

        first, self._done = self._done, self._done + steps
        self._state = self._loop(self._state, first, self._done, self._inputs, self._labels)
        jax.block_until_ready(self._state)

    def loss(self) -> float:
        return float(self._state[-1])


def _loop(batch: int, batches: int) -> Any:
    """The compiled function (state, first step, last step, inputs, labels) -> state."""
    import jax
    from jax import lax
    from jax import numpy as jnp

    def loss_of(layers: Any, x: Any, labels: Any) -> Any:
        for w, b in layers[:-1]:
            x = jax.nn.relu(x @ w + b)
        w, b = layers[-1]
        z = x @ w + b
        right = jnp.take_along_axis(z, labels[:, None], axis=1)[:, 0]
        return jnp.mean(jax.nn.logsumexp(z, axis=1) - right)

    def run(state: Any, first: Any, last: Any, inputs: Any, labels: Any) -> Any:
        def step(k: Any, state: Any) -> Any:
            layers, m, v, _ = state
            row = k % batches * batch
            x = lax.dynamic_slice_in_dim(inputs, row, batch)
            loss, g = jax.value_and_grad(loss_of)(
                layers, x, lax.dynamic_slice_in_dim(labels, row, batch)
            )
            m = jax.tree.map(lambda m, g: BETA1 * m + (1 - BETA1) * g, m, g)
            v = jax.tree.map(lambda v, g: BETA2 * v + (1 - BETA2) * g * g, v, g)
            t = (k + 1).astype(jnp.float32)
            c1, c2 = 1 - BETA1**t, 1 - BETA2**t
            layers = jax.tree.map(
                lambda p, m, v: p - LEARNING_RATE * (m / c1) / (jnp.sqrt(v / c2) + EPS),
                layers, m, v,
            )  # fmt: skip
            return layers, m, v, loss

        return lax.fori_loop(first, last, step, state)

    return jax.jit(run)
