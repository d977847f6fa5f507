"""The multilayer perceptron and the buffers that one batch of it needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import DTypeLike

from fastnn.backend import Array, Backend
from fastnn.errors import ConfigError
from fastnn.kernels import Kernels, XentScratch, kernels_for
from fastnn.kernels.counted import STREAM_INPUTS
from fastnn.nn.blocks import Block, Buffers, layers_of
from fastnn.nn.initial import initial_weights
from fastnn.nn.objective import Objective
from fastnn.nn.params import Flat, Layout, Slot


@dataclass(frozen=True, slots=True)
class Workspace:
    """Everything a forward and backward pass of up to B rows writes, allocated once.

    outputs[l] is y of layer l, (B, O_l), the last being the logits; gradients[l] is the gradient of
    the loss with respect to it, or to x @ w + b where the block is plain. What else a hidden layer
    keeps are a plain block's mask or another one's buffers; the rest serves the loss kernel.
    """

    outputs: tuple[Array, ...]
    gradients: tuple[Array, ...]
    masks: tuple[Array | None, ...]  # what each plain block's ReLU let through
    buffers: tuple[Buffers | None, ...]  # of the other blocks
    inputs: Array | None  # (B, D): what dropout left of the inputs
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
                buffers=tuple(None if b is None else b.head(rows) for b in self.buffers),
                inputs=None if self.inputs is None else self.inputs[:rows],
                losses=self.losses[:rows],
                hits=self.hits[:rows],
                scratch=XentScratch(self.scratch.identity, *(a[:rows] for a in self.scratch[1:])),
            )
        return self._heads[rows]


class MLP:
    """Affine layers with a block between each two of them (nn/blocks.py) and a loss on top.

    `sizes` are the widths from the inputs to the outputs, (784, 512, 256, 10) say. Weights are
    (I, O) and rows are examples, so y = x @ w + b needs no transpose. `blocks` has one for each
    hidden layer; without it all are plain, affine and ReLU. Weights start as `init` says, by
    default He's normal draw where there is a ReLU (nn/initial.py), biases at zero; the output layer
    starts as the hidden layer before it does. Weights are drawn on the host, so a CPU and a GPU run
    with one `rng` start alike.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        backend: Backend,
        *,
        rng: np.random.Generator,
        blocks: Sequence[Block] | None = None,
        input_dropout: float = 0.0,
        objective: Objective | None = None,
        init: str = "auto",
        kernels: Kernels | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        if len(sizes) < 2 or min(sizes) < 1:
            raise ConfigError(
                f"sizes: {tuple(sizes)} must be at least two positive widths, inputs to outputs"
            )
        self.sizes = tuple(int(size) for size in sizes)
        self.blocks = (Block(),) * (len(sizes) - 2) if blocks is None else tuple(blocks)
        self.input_dropout = input_dropout
        self.objective = objective or Objective()
        self._check()
        self.backend = backend
        self.kernels = kernels_for(backend) if kernels is None else kernels
        self.dtype = np.dtype(dtype)
        shapes = parameter_shapes(self.sizes, self.blocks)
        self.params = Flat(Layout.of(shapes), backend, self.dtype)
        self.grads = self.params.twin()
        activations = [block.activation for block in self.blocks]
        activations.append(activations[-1] if activations else "relu")
        for (weight, *_), activation in zip(self.layers(self.params), activations, strict=True):
            inputs, outputs = weight.shape
            draw = initial_weights(init, activation, inputs, outputs, rng)
            weight[...] = backend.asarray(draw, dtype=self.dtype)
        for name in self.params:
            if name.endswith((".gain", ".running_variance")):
                self.params[name][...] = 1
        self._weights = self.layers(self.params)
        self._weight_grads = self.layers(self.grads)
        self.hidden = layers_of(self.blocks, self.params, self.grads)
        self._identity = backend.asarray(np.eye(self.sizes[-1]), dtype=self.dtype)
        self._no_noise = backend.xp.zeros(2, np.uint64)

    @staticmethod
    def layers(flat: Flat) -> list[tuple[Array, ...]]:
        """(weight, bias) of each layer, or (weight,) where there is none, as views into `flat`."""
        names = [name.removesuffix("weight") for name in flat if name.endswith(".weight")]
        return [
            tuple(flat[prefix + name] for name in ("weight", "bias") if prefix + name in flat)
            for prefix in names
        ]

    @property
    def trained(self) -> list[Slot]:
        """Where the parameters lie that training changes: not those of running statistics."""
        return [slot for slot in self.params.layout.slots if ".running_" not in slot.name]

    @property
    def parameters(self) -> int:
        """How many numbers training changes."""
        return sum(slot.stop - slot.start for slot in self.trained)

    def workspace(self, batch: int) -> Workspace:
        """Buffers for batches of up to `batch` rows."""
        xp, outputs = self.backend.xp, self.sizes[-1]
        hidden = list(zip(self.blocks, self.sizes[1:-1], strict=True))

        def empty(*shape: int) -> Array:
            array: Array = xp.empty(shape, self.dtype)
            return array

        def buffers(block: Block, width: int) -> Buffers | None:
            if block.plain:
                return None
            a = empty(batch, width)
            factor = empty(1, width) if block.norm == "batch" else empty(batch, 1)
            n = a if block.norm == "none" else empty(batch, width)
            return Buffers(a, n, factor, empty(batch, width))

        return Workspace(
            outputs=tuple(empty(batch, n) for n in self.sizes[1:]),
            gradients=tuple(empty(batch, n) for n in self.sizes[1:]),
            masks=tuple(
                self.kernels.new_mask(batch, n) if block.plain else None for block, n in hidden
            ),
            buffers=tuple(buffers(block, width) for block, width in hidden),
            inputs=empty(batch, self.sizes[0]) if self.input_dropout else None,
            losses=empty(batch),
            hits=xp.zeros(batch, bool),
            scratch=XentScratch(
                identity=self._identity,
                onehot=empty(batch, outputs),
                row=empty(batch, 1),
                guess=xp.empty(batch, np.int64),
            ),
        )

    def forward(
        self, x: Array, ws: Workspace, noise: Array | None = None, *, training: bool = False
    ) -> Array:
        """Outputs (B, C) of scaled inputs (B, D); a view of `ws`, overwritten by the next call.

        In `training` dropout is at work, by the numbers that `noise` (2,) names, and batch norm
        uses the batch's own statistics.
        """
        expected = (len(ws.losses), self.sizes[0])
        if x.shape != expected:
            raise ConfigError(
                f"x: found shape {x.shape}, expected {expected}, rows as in `ws` (ws.head(B) has "
                "fewer) and as many columns as the network has inputs"
            )
        noise = self._no_noise if noise is None else noise
        x = self._inputs(x, ws, noise, training=training)
        for layer, y, mask, kept in zip(
            self.hidden, ws.outputs, ws.masks, ws.buffers, strict=False
        ):
            if kept is None:
                self.kernels.affine(y, mask, x, layer.params["weight"], layer.params["bias"])
            else:
                layer.forward(self.kernels, y, x, kept, noise, training=training)
            x = y
        w, b = self._weights[-1]
        self.kernels.affine(ws.outputs[-1], None, x, w, b)
        return ws.outputs[-1]

    def loss(self, x: Array, labels: Array, ws: Workspace) -> Array:
        """The loss of each row, (B,), of the network as it is used: without dropout, smoothing.

        `labels` (B,) are class codes, or targets (B, T) where the objective is one of numbers.
        `ws.hits` tells which rows are classified right. Also leaves the gradient of the mean loss
        with respect to the outputs in `ws.gradients`.
        """
        self.forward(x, ws)
        return self.score(labels, ws)

    def score(self, labels: Array, ws: Workspace) -> Array:
        """`loss` of the outputs that lie in `ws`."""
        self._losses(ws.outputs[-1], labels, None, ws, smoothing=0.0)
        return ws.losses

    def training_loss(
        self,
        x: Array,
        labels: Array,
        ws: Workspace,
        *,
        weights: Array | None = None,
        noise: Array | None = None,
    ) -> Array:
        """The loss of each row that training lessens, (B,): with dropout, smoothing, weights."""
        z = self.forward(x, ws, noise, training=True)
        self._losses(z, labels, weights, ws, smoothing=self.objective.smoothing)
        return ws.losses

    def loss_and_grad(
        self,
        x: Array,
        labels: Array,
        ws: Workspace,
        *,
        weights: Array | None = None,
        noise: Array | None = None,
    ) -> Array:
        """`training_loss`, (B,); fills `grads` with the gradient of the rows' mean.

        `ws` is that of `workspace`, for exactly B rows: `ws.head(B)` where it has more.
        """
        noise = self._no_noise if noise is None else noise
        losses = self.training_loss(x, labels, ws, weights=weights, noise=noise)
        if ws.inputs is not None:
            x = ws.inputs
        for number in range(len(self._weights) - 1, -1, -1):
            w, *_ = self._weights[number]
            dw, *rest = self._weight_grads[number]
            db = rest[0] if rest else None
            dy = da = ws.gradients[number]
            kept = ws.buffers[number] if number < len(self.hidden) else None
            if kept is not None:
                da = self.hidden[number].backward(self.kernels, dy, kept, noise)
            if number == 0:  # nobody asks for the gradient of the images: the widest product saved
                self.kernels.affine_backward(None, dw, db, da, x, w, None)
                break
            below, y = ws.gradients[number - 1], ws.outputs[number - 1]
            self.kernels.affine_backward(below, dw, db, da, y, w, ws.masks[number - 1])
            if kept is not None and self.hidden[number].skips:
                self.backend.xp.add(below, dy, out=below)
        return losses

    def _inputs(self, x: Array, ws: Workspace, noise: Array, *, training: bool) -> Array:
        """The inputs as the first layer gets them: some dropped in training."""
        if ws.inputs is None or not training:
            return x
        self.kernels.activate(
            ws.inputs, x, None, noise, activation="identity", dropout=self.input_dropout,
            stream=STREAM_INPUTS,
        )  # fmt: skip
        return ws.inputs

    def _losses(
        self, z: Array, labels: Array, weights: Array | None, ws: Workspace, *, smoothing: float
    ) -> None:
        """Fill losses, hits and the gradient of the outputs."""
        dz, objective, rows = ws.gradients[-1], self.objective, len(ws.losses)
        for name, array, shape in (
            ("labels", labels, (rows,) if objective.classifies else (rows, self.sizes[-1])),
            ("weights", weights, (rows,)),
        ):
            if array is not None and array.shape != shape:
                raise ConfigError(f"{name}: found shape {array.shape}, expected {shape}")
        scale = 1 / rows
        if objective.classifies:
            self.kernels.softmax_xent(
                dz, ws.losses, ws.hits, z, labels, weights, ws.scratch, scale=scale,
                smoothing=smoothing,
            )  # fmt: skip
        else:
            self.kernels.residual_loss(
                dz, ws.losses, z, labels, weights, loss=objective.loss, c=objective.delta,
                scale=scale,
            )  # fmt: skip

    def _skips(self) -> bool:
        """Whether there is a place for a residual connection."""
        return any(one == other for one, other in pairwise(self.sizes[:-1]))

    def _check(self) -> None:
        if len(self.blocks) != len(self.sizes) - 2:
            raise ConfigError(
                f"blocks: found {len(self.blocks)}, expected one for each of the "
                f"{len(self.sizes) - 2} hidden layers"
            )
        for block in self.blocks:
            block.check()
        if len({block.residual for block in self.blocks}) > 1:
            raise ConfigError("residual: must hold for all blocks of a network or for none")
        if any(block.residual for block in self.blocks) and len(set(self.sizes[1:-1])) > 1:
            raise ConfigError(
                f"residual: needs hidden layers of one width, found {self.sizes[1:-1]}"
            )
        if any(block.residual for block in self.blocks) and not self._skips():
            raise ConfigError(
                f"residual: of widths {self.sizes} no hidden layer is as wide as its inputs"
            )
        if not 0 <= self.input_dropout < 1:
            raise ConfigError(f"input_dropout: {self.input_dropout!r} must be at least 0, below 1")
        self.objective.check()


def parameter_shapes(sizes: Sequence[int], blocks: Sequence[Block]) -> dict[str, tuple[int, ...]]:
    """Every parameter's shape by name, of a network with these widths."""
    shapes: dict[str, tuple[int, ...]] = {}
    for number, (fan_in, fan_out) in enumerate(pairwise(sizes)):
        block = blocks[number] if number < len(blocks) else Block()
        shapes[f"layers.{number}.weight"] = (fan_in, fan_out)
        shapes |= {f"layers.{number}.{name}": (fan_out,) for name in block.vectors()}
    return shapes
