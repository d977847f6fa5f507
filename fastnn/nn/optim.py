"""Optimizers: a kernel, its hyper-parameters, and its moments in the layout of the parameters.

They know nothing of schedules: the learning rates are given. What the kernel needs to know of one
step, learning rate and bias corrections, is a row of `rates`, worked out on the host in float64 for
as many steps ahead as are asked for; so nothing that changes from step to step is a scalar that a
captured CUDA graph would freeze.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fastnn.backend import Array
from fastnn.errors import CheckpointError
from fastnn.kernels import Kernels, kernels_for
from fastnn.nn.params import Flat


class Optimizer(Protocol):
    """What the trainer asks of an optimizer. `steps` counts the updates made so far."""

    steps: int
    params: Flat

    def rates(self, learning_rates: Sequence[float]) -> NDArray[np.float64]:
        """A row (K,) for each of the coming steps, (steps, K), on the host."""

    def update(self, grads: Flat, rates: Array) -> None:
        """Update the parameters in place by one row of rates; `grads` may be used as scratch.

        Does not count the step: a replayed graph passes here only once.
        """

    def step(self, grads: Flat, lr: float) -> None:
        """One whole update with this learning rate, counted."""

    def state(self) -> dict[str, Array]:
        """The moments by name, for a checkpoint: live arrays, not copies."""


class _Counted:
    """The one part that all optimizers have in common: a step is its rates, applied and counted."""

    steps: int
    params: Flat

    def step(self: Optimizer, grads: Flat, lr: float) -> None:
        rates = self.params.backend.asarray(self.rates([lr])[0], self.params.vector.dtype)
        self.update(grads, rates)
        self.steps += 1


class SGD(_Counted):
    """Stochastic gradient descent, with momentum (Polyak) or Nesterov's variant.

    m = momentum * m + g; p -= lr * m, or p -= lr * (g + momentum * m) with `nesterov`.
    `weight_decay` is an L2 penalty on matrices: g += weight_decay * p.
    """

    def __init__(
        self,
        params: Flat,
        *,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        kernels: Kernels | None = None,
    ) -> None:
        self.params = params
        self.momentum = momentum
        self.nesterov = nesterov
        self.weight_decay = weight_decay
        self.kernels = kernels_for(params.backend) if kernels is None else kernels
        self.steps = 0
        self._m = params.twin().vector
        self._scratch = params.twin().vector

    def rates(self, learning_rates: Sequence[float]) -> NDArray[np.float64]:
        return np.array(learning_rates, np.float64)[:, None]

    def update(self, grads: Flat, rates: Array) -> None:
        self.kernels.sgd(
            self.params.vector, grads.vector, self._m, self._scratch, rates,
            momentum=self.momentum, nesterov=self.nesterov,
            decay=self.weight_decay, n_decay=self.params.layout.n_decay,
        )  # fmt: skip

    def state(self) -> dict[str, Array]:
        return {"m": self._m}


class Adam(_Counted):
    """Adam as in Algorithm 1 of Kingma & Ba (arXiv:1412.6980): p -= lr * m^ / (sqrt(v^) + eps).

    eps stands outside the root and is not rescaled (PyTorch and optax agree; the paper's remark on
    a cheaper order, scikit-learn and Chainer scale it by the bias correction). `weight_decay` is an
    L2 penalty on matrices, or decoupled from the gradient (AdamW) if `decoupled`.
    """

    def __init__(
        self,
        params: Flat,
        *,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decoupled: bool = False,
        kernels: Kernels | None = None,
    ) -> None:
        self.params = params
        self.beta1 = beta1
        self.beta2 = beta2
        self.eps = eps
        self.weight_decay = weight_decay
        self.decoupled = decoupled
        self.kernels = kernels_for(params.backend) if kernels is None else kernels
        self.steps = 0
        self._m = params.twin().vector
        self._v = params.twin().vector
        self._scratch = params.twin().vector

    def rates(self, learning_rates: Sequence[float]) -> NDArray[np.float64]:
        """Rows of size, eps' and shrink, from lr and the number t of the step, counted from 1.

        m^ / (sqrt(v^) + eps) with v^ = v / (1 - beta2^t): multiplying numerator and denominator by
        root = sqrt(1 - beta2^t) leaves sqrt(v) + eps * root below, and lr * root / (1 - beta1^t)
        above. shrink = 1 - lr * weight_decay is AdamW's factor.
        """
        rows = []
        for t, lr in enumerate(learning_rates, start=self.steps + 1):
            root = sqrt(1 - self.beta2**t)
            size = lr * root / (1 - self.beta1**t)
            rows.append((size, self.eps * root, 1 - lr * self.weight_decay))
        return np.array(rows, np.float64).reshape(-1, 3)

    def update(self, grads: Flat, rates: Array) -> None:
        self.kernels.adam(
            self.params.vector, grads.vector, self._m, self._v, self._scratch, rates,
            beta1=self.beta1, beta2=self.beta2, decay=self.weight_decay,
            n_decay=self.params.layout.n_decay, decoupled=self.decoupled,
        )  # fmt: skip

    def state(self) -> dict[str, Array]:
        return {"m": self._m, "v": self._v}


def load_state(optimizer: Optimizer, state: Mapping[str, Array], steps: int) -> None:
    """Put saved moments back, in place; the set of names and every shape must fit."""
    mine = optimizer.state()
    if mine.keys() != state.keys():
        raise CheckpointError(
            f"optimizer state: found {sorted(state)}, expected {sorted(mine)}; "
            "resume with the optimizer the run was started with"
        )
    for name, moment in mine.items():
        if state[name].shape != moment.shape:
            raise CheckpointError(
                f"optimizer state {name!r}: found shape {state[name].shape}, "
                f"expected {moment.shape}; the network's widths differ"
            )
        moment[...] = state[name]
    optimizer.steps = steps
