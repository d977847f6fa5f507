"""One hidden layer: affine, then norm, activation and dropout, and a skip around them all.

    y = skip + dropout(f(norm(x @ w + b)))

A block that is only affine and ReLU is *plain*: its ReLU is fused into the matrix products, and it
needs none of what stands here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from fastnn.backend import Array
from fastnn.errors import ConfigError, did_you_mean
from fastnn.kernels import Kernels
from fastnn.kernels.counted import STREAM_BLOCKS
from fastnn.kernels.formulas import ACTIVATIONS
from fastnn.nn.params import Flat

NORMS = ("none", "layer", "batch")


class Block(NamedTuple):
    """What a hidden layer is made of, besides its width.

    `residual` adds the block's inputs to its outputs wherever both have the same width.
    """

    activation: str = "relu"
    norm: str = "none"
    dropout: float = 0.0
    residual: bool = False

    @property
    def plain(self) -> bool:
        """Affine and ReLU, and nothing else."""
        return self == Block()

    def check(self) -> None:
        """ConfigError where a part is unknown or a share impossible."""
        for field, value, known in (
            ("activation", self.activation, tuple(ACTIVATIONS)),
            ("norm", self.norm, NORMS),
        ):
            if value not in known:
                raise ConfigError(
                    f"{field}: {value!r} is not one of {', '.join(known)}"
                    f"{did_you_mean(value, known)}"
                )
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout: {self.dropout!r} must be at least 0 and below 1")

    def vectors(self) -> tuple[str, ...]:
        """Parameters besides the weight, (O,) each, and a batch norm's running statistics.

        A batch norm takes every bias away again, so there is none before it: its gradient would be
        rounding only, which Adam would take for a direction.
        """
        return {
            "none": ("bias",),
            "layer": ("bias", "gain", "shift"),
            "batch": ("gain", "shift", "running_mean", "running_variance"),
        }[self.norm]


class Buffers(NamedTuple):
    """What a block that is not plain keeps of a batch for its backward pass."""

    a: Array  # (B, O): x @ w + b, and after a norm x_hat instead
    n: Array  # (B, O): what goes into the activation; a itself without a norm
    factor: Array  # (B, 1) after a layer norm, (1, O) after a batch norm
    da: Array  # (B, O): gradient of the loss with respect to x @ w + b

    def head(self, rows: int) -> Buffers:
        """The first rows, as views."""
        factor = self.factor if len(self.factor) == 1 else self.factor[:rows]
        n = self.a[:rows] if self.n is self.a else self.n[:rows]
        return Buffers(self.a[:rows], n, factor, self.da[:rows])


@dataclass(frozen=True, slots=True)
class Layer:
    """A block with its place in the network and views of its parameters and gradients."""

    block: Block
    number: int
    params: dict[str, Array]
    grads: dict[str, Array]

    @property
    def skips(self) -> bool:
        """Whether its inputs are added to its outputs."""
        inputs, outputs = self.params["weight"].shape
        return self.block.residual and bool(inputs == outputs)

    def forward(
        self,
        kernels: Kernels,
        y: Array,
        x: Array,
        buffers: Buffers,
        noise: Array,
        *,
        training: bool,
    ) -> None:
        """y (B, O) from x (B, I). Dropout, and the batch's own statistics, only in `training`."""
        p, block = self.params, self.block
        kernels.affine(buffers.a, None, x, p["weight"], p.get("bias"))
        if block.norm != "none":
            kernels.normalize(
                buffers.n, buffers.a, buffers.factor, buffers.a, p["gain"], p["shift"],
                self._running(), axis=self._axis, track=training and self._tracks(len(x)),
            )  # fmt: skip
        kernels.activate(
            y, buffers.n, x if self.skips else None, noise, activation=block.activation,
            dropout=block.dropout if training else 0.0, stream=STREAM_BLOCKS + self.number,
        )  # fmt: skip

    def backward(self, kernels: Kernels, dy: Array, buffers: Buffers, noise: Array) -> Array:
        """Gradient with respect to x @ w + b, (B, O), from that of y; fills those of the norm."""
        block, da = self.block, buffers.da
        kernels.activate_backward(
            da, dy, buffers.n, noise, activation=block.activation, dropout=block.dropout,
            stream=STREAM_BLOCKS + self.number,
        )  # fmt: skip
        if block.norm != "none":
            own = block.norm == "layer" or self._tracks(len(dy))
            kernels.normalize_backward(
                da, self.grads["gain"], self.grads["shift"], da, buffers.a, buffers.factor,
                self.params["gain"], axis=self._axis if own else None,
            )  # fmt: skip
        return da

    @property
    def _axis(self) -> int:
        return 1 if self.block.norm == "layer" else 0

    def _running(self) -> tuple[Array, Array] | None:
        if self.block.norm != "batch":
            return None
        return self.params["running_mean"], self.params["running_variance"]

    def _tracks(self, rows: int) -> bool:
        """A batch of one row has no variance: it is normalised by the running statistics."""
        return self.block.norm == "batch" and rows > 1


def layers_of(blocks: Sequence[Block], params: Flat, grads: Flat) -> list[Layer]:
    """The hidden layers of a network, with views into its vectors."""

    def views(flat: Flat, number: int) -> dict[str, Array]:
        prefix = f"layers.{number}."
        return {name.removeprefix(prefix): flat[name] for name in flat if name.startswith(prefix)}

    return [
        Layer(block, number, views(params, number), views(grads, number))
        for number, block in enumerate(blocks)
    ]
