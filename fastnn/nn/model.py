"""The multilayer perceptron and the buffers that one batch of it needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import sqrt

import numpy as np
from numpy.typing import DTypeLike

from fastnn.backend import Array, Backend
from fastnn.errors import ConfigError
from fastnn.kernels import Kernels, XentScratch, kernels_for
from fastnn.nn.params import Flat, Layout


@dataclass(frozen=True, slots=True)
class Workspace:
    """Everything a forward and backward pass of up to B rows writes, allocated once.

    outputs[l] is y of layer l, (B, O_l), the last being the logits; gradients[l] is the gradient of
    the loss with respect to x @ w + b of that layer; the rest serves the loss kernel.
    """

    outputs: tuple[Array, ...]
    gradients: tuple[Array, ...]
    masks: tuple[Array | None, ...]  # what each ReLU let through; None for the logits
    losses: Array  # (B,)
    hits: Array  # (B,) bool
    scratch: XentScratch
    _heads: dict[int, Workspace] = field(default_factory=dict)

    def head(self, rows: int) -> Workspace:
        """The first `rows` rows of every buffer, as views: for a smaller, last batch."""
        if rows == len(self.losses):
            return self
        if rows not in self._heads:
            self._heads[rows] = Workspace(
                outputs=tuple(a[:rows] for a in self.outputs),
                gradients=tuple(a[:rows] for a in self.gradients),
                masks=tuple(None if a is None else a[:rows] for a in self.masks),
                losses=self.losses[:rows],
                hits=self.hits[:rows],
                scratch=XentScratch(self.scratch.identity, *(a[:rows] for a in self.scratch[1:])),
            )
        return self._heads[rows]


class MLP:
    """Affine layers with ReLU between them and a softmax cross-entropy on top.

    `sizes` are the widths from the inputs to the classes, (784, 512, 256, 10) say. Weights are
    (I, O) and rows are examples, so y = x @ w + b needs no transpose. Weights start as He's normal
    draw (arXiv:1502.01852), biases at zero. Weights are drawn on the host, so a CPU and a GPU run
    with one `rng` start alike.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        backend: Backend,
        *,
        rng: np.random.Generator,
        kernels: Kernels | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        if len(sizes) < 2 or min(sizes) < 1:
            raise ConfigError(
                f"sizes: {tuple(sizes)} must be at least two positive widths, inputs to classes"
            )
        self.sizes = tuple(int(size) for size in sizes)
        self.backend = backend
        self.kernels = kernels_for(backend) if kernels is None else kernels
        self.dtype = np.dtype(dtype)
        shapes: dict[str, tuple[int, ...]] = {}
        for layer, (fan_in, fan_out) in enumerate(pairwise(sizes)):
            shapes[f"layers.{layer}.weight"] = (fan_in, fan_out)
            shapes[f"layers.{layer}.bias"] = (fan_out,)
        self.params = Flat(Layout.of(shapes), backend, self.dtype)
        self.grads = self.params.twin()
        for weight, _ in self.layers(self.params):
            draw = he_normal(weight.shape[0], weight.shape[1], rng)
            weight[...] = backend.asarray(draw, dtype=self.dtype)
        self._weights = self.layers(self.params)
        self._weight_grads = self.layers(self.grads)
        self._identity = backend.asarray(np.eye(self.sizes[-1]), dtype=self.dtype)

    @staticmethod
    def layers(flat: Flat) -> list[tuple[Array, Array]]:
        """(weight, bias) of each layer, as views into `flat`."""
        return [
            (flat[f"layers.{n}.weight"], flat[f"layers.{n}.bias"]) for n in range(len(flat) // 2)
        ]

    def workspace(self, batch: int) -> Workspace:
        """Buffers for batches of up to `batch` rows."""
        xp, hidden, classes = self.backend.xp, self.sizes[1:-1], self.sizes[-1]
        return Workspace(
            outputs=tuple(xp.empty((batch, n), self.dtype) for n in self.sizes[1:]),
            gradients=tuple(xp.empty((batch, n), self.dtype) for n in self.sizes[1:]),
            masks=(*(self.kernels.new_mask(batch, n) for n in hidden), None),
            losses=xp.empty(batch, self.dtype),
            hits=xp.empty(batch, bool),
            scratch=XentScratch(
                identity=self._identity,
                onehot=xp.empty((batch, classes), self.dtype),
                row=xp.empty((batch, 1), self.dtype),
                guess=xp.empty(batch, np.int64),
            ),
        )

    def forward(self, x: Array, ws: Workspace) -> Array:
        """Logits (B, C) of scaled inputs (B, D); a view of `ws`, overwritten by the next call."""
        for y, mask, (w, b) in zip(ws.outputs, ws.masks, self._weights, strict=True):
            self.kernels.affine(y, mask, x, w, b)
            x = y
        return x

    def loss(self, x: Array, labels: Array, ws: Workspace) -> Array:
        """Cross-entropy of each row, (B,): forward only; `ws.hits` tells which rows are right.

        Also leaves the gradient of the mean loss with respect to the logits in `ws.gradients`.
        """
        z = self.forward(x, ws)
        self.kernels.softmax_xent(
            ws.gradients[-1], ws.losses, ws.hits, z, labels, ws.scratch, scale=1 / len(labels)
        )
        return ws.losses

    def loss_and_grad(self, x: Array, labels: Array, ws: Workspace) -> Array:
        """Cross-entropy of each row, (B,); fills `grads` with the gradient of their mean.

        `ws` is that of `workspace`, for exactly B rows: `ws.head(B)` where it has more.
        """
        losses = self.loss(x, labels, ws)
        for layer in range(len(self._weights) - 1, -1, -1):
            w, _ = self._weights[layer]
            dw, db = self._weight_grads[layer]
            dy = ws.gradients[layer]
            if layer == 0:  # nobody asks for the gradient of the images: the widest product saved
                self.kernels.affine_backward(None, dw, db, dy, x, w, None)
            else:
                below, y = ws.gradients[layer - 1], ws.outputs[layer - 1]
                self.kernels.affine_backward(below, dw, db, dy, y, w, ws.masks[layer - 1])
        return losses


def he_normal(fan_in: int, fan_out: int, rng: np.random.Generator) -> Array:
    """Normal draw of standard deviation sqrt(2 / I), (I, O) float64: keeps variance under ReLU."""
    return rng.standard_normal((fan_in, fan_out)) * sqrt(2 / fan_in)
