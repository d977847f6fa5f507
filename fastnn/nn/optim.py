"""Optimizers: a kernel, its hyper-parameters, and its moments in the layout of the parameters.

They know nothing of schedules: the learning rates are given. What the kernel needs to know of one
step, learning rate and bias corrections, is a row of `rates`, worked out on the host in float64 for
as many steps ahead as are asked for; so nothing that changes from step to step is a scalar that a
captured CUDA graph would freeze.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import inf, sqrt
from typing import NamedTuple, TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from fastnn.backend import Array
from fastnn.errors import CheckpointError, ConfigError
from fastnn.kernels import Kernels, kernels_for
from fastnn.nn.params import Flat


class Common(TypedDict, total=False):
    """The keyword arguments of every optimizer: see `Optimizer`."""

    weight_decay: float
    clip_norm: float
    clip_value: float
    average: float
    kernels: Kernels | None


class Optimizer:
    """What all optimizers share: clip the gradient, apply a rule, average the weights; count.

    `clip_value` cuts each element of the gradient, `clip_norm` then shortens the whole; 0 leaves it
    as it is. `average` is the decay of an exponential moving average of all parameters (Polyak
    averaging; running statistics are averaged along), 0 for none. Step t, counted from 1, uses
    min(average, t / (t + 9)), so that the random start is soon forgotten.

    A rule is a subclass with moments by name in `moments` and the two methods below.
    """

    moments: tuple[str, ...] = ()

    def __init__(
        self,
        params: Flat,
        *,
        weight_decay: float = 0.0,
        clip_norm: float = 0.0,
        clip_value: float = 0.0,
        average: float = 0.0,
        kernels: Kernels | None = None,
    ) -> None:
        for name, value, below in (
            ("weight_decay", weight_decay, inf),
            ("clip_norm", clip_norm, inf),
            ("clip_value", clip_value, inf),
            ("average", average, 1),
        ):
            if not 0 <= value < below:
                raise ConfigError(f"{name}: {value!r} must be at least 0 and below {below:g}")
        self.params = params
        self.weight_decay = weight_decay
        self.clip_norm = clip_norm
        self.clip_value = clip_value
        self.average = average
        self.kernels = kernels_for(params.backend) if kernels is None else kernels
        self.steps = 0
        self._state = {name: params.twin().vector for name in self.moments}
        if average:
            self._state["average"] = params.vector.copy()
        self._scratch = params.twin().vector

    def columns(self, learning_rates: Sequence[float]) -> list[tuple[float, ...]]:
        """What the rule's kernel needs to know of each of the coming steps: a row (K,) each."""
        raise NotImplementedError

    def apply(self, grads: Flat, rates: Array) -> None:
        """Update the parameters in place by the rule, with one row (K,)."""
        raise NotImplementedError

    def rates(self, learning_rates: Sequence[float]) -> NDArray[np.float64]:
        """A row for each of the coming steps, on the host: the rule's, and the averaging rate."""
        width = len(self.columns([1.0])[0])  # asked for: there may be no steps to come
        rows = np.array(self.columns(learning_rates), np.float64).reshape(-1, width)
        if not self.average:
            return rows
        steps = np.arange(self.steps + 1, self.steps + 1 + len(learning_rates))
        return np.column_stack([rows, 1 - np.minimum(self.average, steps / (steps + 9))])

    def update(self, grads: Flat, rates: Array) -> None:
        """Update the parameters in place by one row of rates; `grads` may be used as scratch.

        Does not count the step: a replayed graph passes here only once.
        """
        if self.clip_norm or self.clip_value:
            self.kernels.clip(
                grads.vector, self._scratch, value=self.clip_value, norm=self.clip_norm
            )
        self.apply(grads, rates)
        if self.average:
            mean = self._state["average"]
            self.kernels.average(mean, self.params.vector, self._scratch, rates[-1:])

    def step(self, grads: Flat, lr: float) -> None:
        """One whole update with this learning rate, counted."""
        rates = self.params.backend.asarray(self.rates([lr])[0], self.params.vector.dtype)
        self.update(grads, rates)
        self.steps += 1

    def state(self) -> dict[str, Array]:
        """Moments, and the average, by name, for a checkpoint: live arrays, not copies."""
        return self._state

    @property
    def averaged(self) -> Array | None:
        """The average of the parameters so far, (P,), or None."""
        return self._state.get("average")


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum (Polyak) or Nesterov's variant.

    m = momentum * m + g; p -= lr * m, or p -= lr * (g + momentum * m) with `nesterov`.
    `weight_decay` is an L2 penalty on matrices: g += weight_decay * p.
    """

    moments = ("m",)

    def __init__(
        self,
        params: Flat,
        *,
        momentum: float = 0.0,
        nesterov: bool = False,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(params, **common)
        self.momentum = momentum
        self.nesterov = nesterov

    def columns(self, learning_rates: Sequence[float]) -> list[tuple[float, ...]]:
        return [(lr,) for lr in learning_rates]

    def apply(self, grads: Flat, rates: Array) -> None:
        self.kernels.sgd(
            self.params.vector, grads.vector, self._state["m"], self._scratch, rates[:1],
            momentum=self.momentum, nesterov=self.nesterov,
            decay=self.weight_decay, n_decay=self.params.layout.n_decay,
        )  # fmt: skip


class RMSProp(Optimizer):
    """RMSProp (Tieleman & Hinton, 2012): p -= lr * g / (sqrt(v) + eps), v the mean square of g.

    `beta2` is the decay of that mean (PyTorch's alpha). Not centred, without momentum.
    `weight_decay` is an L2 penalty on matrices.
    """

    moments = ("v",)

    def __init__(
        self, params: Flat, *, beta2: float = 0.99, eps: float = 1e-8, **common: Unpack[Common]
    ) -> None:
        super().__init__(params, **common)
        self.beta2 = beta2
        self.eps = eps

    def columns(self, learning_rates: Sequence[float]) -> list[tuple[float, ...]]:
        return [(lr,) for lr in learning_rates]

    def apply(self, grads: Flat, rates: Array) -> None:
        self.kernels.rmsprop(
            self.params.vector, grads.vector, self._state["v"], self._scratch, rates[:1],
            beta2=self.beta2, eps=self.eps, decay=self.weight_decay,
            n_decay=self.params.layout.n_decay,
        )  # fmt: skip


class Adam(Optimizer):
    """Adam as in Algorithm 1 of Kingma & Ba (arXiv:1412.6980): p -= lr * m^ / (sqrt(v^) + eps).

    eps stands outside the root and is not rescaled (PyTorch and optax agree; the paper's remark on
    a cheaper order, scikit-learn and Chainer scale it by the bias correction). `weight_decay` is an
    L2 penalty on matrices, or decoupled from the gradient (AdamW) if `decoupled`.
    """

    moments = ("m", "v")

    def __init__(
        self,
        params: Flat,
        *,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        decoupled: bool = False,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(params, **common)
        self.beta1 = beta1
        self.beta2 = beta2
        self.eps = eps
        self.decoupled = decoupled

    def columns(self, learning_rates: Sequence[float]) -> list[tuple[float, ...]]:
        """Rows of size, eps' and shrink, from lr and the number t of the step, counted from 1.

        m^ / (sqrt(v^) + eps) with v^ = v / (1 - beta2^t): multiplying numerator and denominator by
        root = sqrt(1 - beta2^t) leaves sqrt(v) + eps * root below, and lr * root / (1 - beta1^t)
        above. shrink = 1 - lr * weight_decay is AdamW's factor.
        """
        rows: list[tuple[float, ...]] = []
        for t, lr in enumerate(learning_rates, start=self.steps + 1):
            root = sqrt(1 - self.beta2**t)
            size = lr * root / (1 - self.beta1**t)
            rows.append((size, self.eps * root, 1 - lr * self.weight_decay))
        return rows

    def apply(self, grads: Flat, rates: Array) -> None:
        state = self._state
        self.kernels.adam(
            self.params.vector, grads.vector, state["m"], state["v"], self._scratch, rates[:3],
            beta1=self.beta1, beta2=self.beta2, decay=self.weight_decay,
            n_decay=self.params.layout.n_decay, decoupled=self.decoupled,
        )  # fmt: skip


class Lion(Optimizer):
    """Lion (Chen et al., arXiv:2302.06675): p -= lr * sign(beta1 * m + (1 - beta1) * g).

    Every step has the same size, so learning rates are a third to a tenth of Adam's.
    `weight_decay` is decoupled from the gradient and acts on matrices.
    """

    moments = ("m",)

    def __init__(
        self, params: Flat, *, beta1: float = 0.9, beta2: float = 0.99, **common: Unpack[Common]
    ) -> None:
        super().__init__(params, **common)
        self.beta1 = beta1
        self.beta2 = beta2

    def columns(self, learning_rates: Sequence[float]) -> list[tuple[float, ...]]:
        return [(lr, 1 - lr * self.weight_decay) for lr in learning_rates]

    def apply(self, grads: Flat, rates: Array) -> None:
        self.kernels.lion(
            self.params.vector, grads.vector, self._state["m"], self._scratch, rates[:2],
            beta1=self.beta1, beta2=self.beta2, decay=self.weight_decay,
            n_decay=self.params.layout.n_decay,
        )  # fmt: skip


class Entry(NamedTuple):
    """How to make an optimizer, and which settings of a run are its own."""

    make: Callable[..., Optimizer]
    settings: tuple[str, ...]


OPTIMIZERS: Mapping[str, Entry] = {
    "adam": Entry(Adam, ("beta1", "beta2", "eps")),
    "adamw": Entry(partial(Adam, decoupled=True), ("beta1", "beta2", "eps")),
    "sgd": Entry(SGD, ("momentum", "nesterov")),
    "rmsprop": Entry(RMSProp, ("beta2", "eps")),
    "lion": Entry(Lion, ("beta1", "beta2")),
}


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
