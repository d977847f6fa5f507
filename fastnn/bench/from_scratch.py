"""The usual from-scratch NumPy network, as a yardstick: what tutorials write.

Fresh arrays at every operation, a list of parameter arrays, one-hot labels, Adam as a loop over
the list. The same mathematics as fastnn: He's start is passed in, ReLU, softmax with cross-entropy,
Adam with eps outside the root, no gradient of the images. Computes in the dtype of the weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastnn.bench.competitors import BETA1, BETA2, EPS, LEARNING_RATE, Entrant, Problem

Float = NDArray[Any]


def entrants(device: str) -> list[Entrant]:
    """In float32 as all the others, and in NumPy's default, which tutorials leave as it is."""
    if device != "cpu":
        return []
    return [
        Entrant("from-scratch", "numpy", device, FromScratch),
        Entrant("from-scratch float64", "numpy", device, partial(FromScratch, dtype=np.float64)),
    ]


class FromScratch:
    """The network as a competitor: it is given raw bytes, as fastnn is."""

    def __init__(
        self, problem: Problem, batch: int, device: str, *, dtype: DTypeLike = np.float32
    ) -> None:
        weights = [w.astype(dtype) for w, _ in problem.start]
        biases = [b.astype(dtype) for _, b in problem.start]
        self._network = Network(weights, biases, LEARNING_RATE, BETA1, BETA2, EPS)
        self._examples, self._rows = problem.examples, problem.rows(batch)
        self._loss = float("nan")

    def run(self, steps: int) -> None:
        for _ in range(steps):
            rows = next(self._rows)
            self._loss = self._network.step(
                self._examples.inputs[rows], self._examples.labels[rows]
            )

    def loss(self) -> float:
        return self._loss


class Network:
    """Weights, biases, and Adam's moments as lists."""

    def __init__(
        self, weights: Sequence[Float], biases: Sequence[Float],
        lr: float, beta1: float, beta2: float, eps: float,
    ) -> None:  # fmt: skip
        self.params = [*weights, *biases]
        self.depth = len(weights)
        self.m = [np.zeros_like(p) for p in self.params]
        self.v = [np.zeros_like(p) for p in self.params]
        self.t = 0
        self.lr, self.beta1, self.beta2, self.eps = lr, beta1, beta2, eps

    def step(self, images: Float, labels: Float) -> float:
        """One step on raw bytes (B, D) and labels (B,); returns the mean loss."""
        dtype = self.params[0].dtype.type
        x = images.astype(dtype) / dtype(255)
        onehot = np.eye(self.params[self.depth - 1].shape[1], dtype=dtype)[labels]
        weights, biases = self.params[: self.depth], self.params[self.depth :]
        activations = [x]
        for n, (w, b) in enumerate(zip(weights, biases, strict=True)):
            z = activations[-1] @ w + b
            activations.append(np.maximum(z, 0) if n < self.depth - 1 else z)
        shifted = activations[-1] - activations[-1].max(axis=1, keepdims=True)
        exps = np.exp(shifted)
        probabilities = exps / exps.sum(axis=1, keepdims=True)
        loss = -np.mean(np.sum(onehot * np.log(probabilities + dtype(1e-12)), axis=1))

        dz = (probabilities - onehot) / dtype(len(x))
        weight_grads: list[Float] = []
        bias_grads: list[Float] = []
        for n in reversed(range(self.depth)):
            weight_grads.insert(0, activations[n].T @ dz)
            bias_grads.insert(0, dz.sum(axis=0))
            if n > 0:
                dz = (dz @ weights[n].T) * (activations[n] > 0)

        self.t += 1
        for n, gradient in enumerate([*weight_grads, *bias_grads]):
            self.m[n] = self.beta1 * self.m[n] + (1 - self.beta1) * gradient
            self.v[n] = self.beta2 * self.v[n] + (1 - self.beta2) * gradient**2
            m_hat = self.m[n] / (1 - self.beta1**self.t)
            v_hat = self.v[n] / (1 - self.beta2**self.t)
            self.params[n] = self.params[n] - self.lr * m_hat / (np.sqrt(v_hat) + self.eps)
        return float(loss)
