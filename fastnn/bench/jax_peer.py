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
    if device not in (own, f"{own}:0"):
        raise Skipped(f"its default device is {own} (JAX_PLATFORMS chooses another)")
    return [Entrant("JAX", "jax", device, Jax)]


class Jax:
    """The fastest that people write: data on the device, and the loop inside the jit.

    A `lax.fori_loop`, which compiles once for any number of steps; a `lax.scan` takes the same time
    (docs/LOG.md).
    """

    def __init__(self, problem: Problem, batch: int, device: str) -> None:
        import jax

        tf32 = problem.precision == "tf32"
        jax.config.update("jax_default_matmul_precision", "tensorfloat32" if tf32 else "highest")
        self._inputs = jax.device_put(problem.floats)
        self._labels = jax.device_put(problem.examples.labels)
        self._state: Any = start_state(problem)
        self._done = 0
        self._loop = _loop(batch, len(problem.examples.labels) // batch)

    def run(self, steps: int) -> None:
        import jax

        last = self._done + steps
        self._state = self._loop(self._state, self._done, last, self._inputs, self._labels)
        self._done = last
        jax.block_until_ready(self._state)

    def loss(self) -> float:
        return float(self._state[-1])


def _loop(batch: int, batches: int) -> Any:
    """(state, first step, last, inputs, labels) -> state, compiled at the first call."""
    import jax
    from jax import lax

    def step(k: Any, state: Any, inputs: Any, labels: Any) -> Any:
        row = k % batches * batch
        x = lax.dynamic_slice_in_dim(inputs, row, batch)
        there = lax.dynamic_slice_in_dim(labels, row, batch)
        return adam_step(state, x, there, LEARNING_RATE, k + 1)

    def steps(state: Any, first: Any, last: Any, inputs: Any, labels: Any) -> Any:
        return lax.fori_loop(first, last, lambda k, s: step(k, s, inputs, labels), state)

    return jax.jit(steps)


def start_state(problem: Problem) -> Any:
    """Layers at the common start, both moments at zero, and no loss yet."""
    import jax

    start = jax.device_put([(w.copy(), b.copy()) for w, b in problem.start])
    zeros = jax.tree.map(np.zeros_like, start)
    return start, zeros, zeros, np.float32("nan")


def logits(layers: Any, x: Any) -> Any:
    """ReLU between the layers."""
    import jax

    for w, b in layers[:-1]:
        x = jax.nn.relu(x @ w + b)
    w, b = layers[-1]
    return x @ w + b


def adam_step(state: Any, x: Any, labels: Any, rate: Any, t: Any) -> Any:
    """The state after step number t, counted from 1, to be traced."""
    import jax
    from jax import numpy as jnp

    def loss_of(layers: Any) -> Any:
        z = logits(layers, x)
        right = jnp.take_along_axis(z, labels[:, None], axis=1)[:, 0]
        return jnp.mean(jax.nn.logsumexp(z, axis=1) - right)

    layers, m, v, _ = state
    loss, g = jax.value_and_grad(loss_of)(layers)
    m = jax.tree.map(lambda m, g: BETA1 * m + (1 - BETA1) * g, m, g)
    v = jax.tree.map(lambda v, g: BETA2 * v + (1 - BETA2) * g * g, v, g)
    t = t.astype(jnp.float32)
    c1, c2 = 1 - BETA1**t, 1 - BETA2**t
    layers = jax.tree.map(
        lambda p, m, v: p - rate * (m / c1) / (jnp.sqrt(v / c2) + EPS), layers, m, v
    )
    return layers, m, v, loss
