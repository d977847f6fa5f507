"""Optimizers: a kernel, its hyper-parameters, and its moments in the layout of the parameters.

They know nothing of schedules: the learning rate is an argument of every step.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from fastnn.backend import Array
from fastnn.errors import CheckpointError
from fastnn.kernels import Kernels, kernels_for
from fastnn.nn.params import Flat


class Optimizer(Protocol):
    """What the trainer asks of an optimizer. `steps` counts the updates made so far."""

    steps: int

    def step(self, grads: Flat, lr: float) -> None:
        """Update the parameters in place; `grads` may be used as scratch."""

    def state(self) -> dict[str, Array]:
        """The moments by name, for a checkpoint: live arrays, not copies."""


class SGD:
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

    def step(self, grads: Flat, lr: float) -> None:
        self.steps += 1
        self.kernels.sgd(
            self.params.vector, grads.vector, self._m, self._scratch,
            lr=lr, momentum=self.momentum, nesterov=self.nesterov,
            decay=self.weight_decay, n_decay=self.params.layout.n_decay,
        )  # fmt: skip

    def state(self) -> dict[str, Array]:
        return {"m": self._m}


class Adam:
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

    def step(self, grads: Flat, lr: float) -> None:
        self.steps += 1
        self.kernels.adam(
            self.params.vector, grads.vector, self._m, self._v, self._scratch,
            lr=lr, beta1=self.beta1, beta2=self.beta2, eps=self.eps,
            decay=self.weight_decay, n_decay=self.params.layout.n_decay,
            decoupled=self.decoupled, step=self.steps,
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
