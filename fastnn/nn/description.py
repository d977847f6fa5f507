"""What a network consists of, part by part, and what a pass through it costs.

FLOPs count every multiplication, addition, comparison, root and function value as one.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from fastnn.nn.blocks import Block

# A value of each part, in training: a norm takes mean (1), variance (3), both away (2), and gain
# and shift in (2); a softmax its maximum, difference, exponential, sum and quotient.
_NORM, _ACTIVATION, _DROPOUT, _SKIP, _SOFTMAX = 8, 1, 1, 1, 5


class Part(NamedTuple):
    """One operation of a layer, from `inputs` to `outputs` values an example."""

    layer: int
    name: str
    inputs: int
    outputs: int
    parameters: int  # that training changes
    running: int  # statistics that it only keeps
    flops: int  # of one example, forward, in training


def parts_of(
    sizes: Sequence[int],
    blocks: Sequence[Block],
    *,
    input_dropout: float = 0.0,
    classifies: bool = True,
) -> list[Part]:
    """The parts of a network in the order of its forward pass."""
    parts: list[Part] = []

    def add(
        layer: int, name: str, width: int, each: int, *, own: int = 0, running: int = 0
    ) -> None:
        parts.append(Part(layer, name, width, width, own, running, each * width))

    if input_dropout:
        add(0, f"dropout {input_dropout:g}", sizes[0], _DROPOUT)
    for layer, (inputs, outputs) in enumerate(pairwise(sizes)):
        # Before a batch norm there is no bias.
        biased = layer == len(blocks) or "bias" in blocks[layer].vectors()
        own = inputs * outputs + (outputs if biased else 0)
        parts.append(Part(layer, "affine", inputs, outputs, own, 0, 2 * inputs * outputs))
        if layer == len(blocks):
            if classifies:
                add(layer, "softmax", outputs, _SOFTMAX)
            break
        block = blocks[layer]
        if block.norm != "none":
            kept = 2 * outputs if block.norm == "batch" else 0
            add(layer, f"{block.norm} norm", outputs, _NORM, own=2 * outputs, running=kept)
        add(layer, block.activation, outputs, _ACTIVATION)
        if block.dropout:
            add(layer, f"dropout {block.dropout:g}", outputs, _DROPOUT)
        if block.residual and inputs == outputs:
            add(layer, "skip", outputs, _SKIP)
    return parts


def step_flops(parts: Sequence[Part], batch: int) -> int:
    """Forward and backward of a batch, the update left out.

    Backward is taken for twice the forward pass: of a product x @ w that is exact, for its two
    gradients are products as large; but nobody asks for that of the inputs.
    """
    forward = sum(part.flops for part in parts)
    first = next(part for part in parts if part.name == "affine")
    return batch * (3 * forward - first.flops)
