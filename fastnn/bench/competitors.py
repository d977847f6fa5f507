"""What a competitor is, and what all of them share: data, order, start, loss and optimizer.

Every competitor trains the same network, kept in float32, with softmax, cross-entropy and Adam.
Batch k is rows k*B to (k+1)*B of the examples, full batches only, and again from the front after
the last one. Shuffling is left out for all alike: it is no different work, but would differ between
libraries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from itertools import cycle
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fastnn.backend import get_backend
from fastnn.data.examples import Examples
from fastnn.data.garments import draw
from fastnn.nn.model import MLP

SIZES = (784, 512, 256, 10)
EXAMPLES = 60_000  # as many as Fashion-MNIST has: 47 MB as bytes, more than a cache holds
LEARNING_RATE, BETA1, BETA2, EPS = 1e-3, 0.9, 0.999, 1e-8

_DRAWN = 6_000  # repeated up to EXAMPLES: the arithmetic does not care what the images show


class Competitor(Protocol):
    """Somebody's training, made for one problem, batch size and device."""

    def run(self, steps: int) -> None:
        """The next `steps` training steps; returns when the device has done them."""

    def loss(self) -> float | None:
        """Mean loss of the last batch, before its update; None if there is no such thing."""


class Skipped(Exception):
    """A competitor cannot take part; the message is the reason, with what would mend it."""


@dataclass(frozen=True)
class Problem:
    """What everybody trains: the examples, the widths of the network, and its initial weights."""

    examples: Examples
    sizes: tuple[int, ...] = SIZES
    precision: str = "float32"  # of matrix products; tf32 on a GPU only
    seed: int = 0  # of the common start

    @classmethod
    def drawn(cls, sizes: tuple[int, ...] = SIZES, precision: str = "float32") -> Problem:
        """A network of these widths: on drawn garments if they fit it, else on random bytes."""
        rows = np.arange(EXAMPLES) % _DRAWN
        if (sizes[0], sizes[-1]) == (SIZES[0], SIZES[-1]):
            images, labels = draw(_DRAWN, split="train")
        else:
            rng = np.random.default_rng(0)
            images = rng.integers(0, 256, (_DRAWN, sizes[0]), dtype=np.uint8)
            labels = rng.integers(0, sizes[-1], _DRAWN, dtype=np.int32)
        return cls(Examples(images[rows], labels[rows]), sizes, precision)

    @cached_property
    def floats(self) -> NDArray[np.float32]:
        """Inputs (N, D) in 0..1, for those who scale before they train rather than while."""
        scaled: NDArray[np.float32] = self.examples.inputs.astype(np.float32)
        scaled *= np.float32(1 / 255)
        return scaled

    @cached_property
    def start(self) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Weights (I, O) and biases (O,) that every competitor copies before its first step."""
        model = MLP(self.sizes, get_backend("cpu"), rng=np.random.default_rng(self.seed))
        return [(weight, bias) for weight, bias in model.layers(model.params)]

    def rows(self, batch: int) -> Iterator[slice]:
        """Which rows are batch 0, 1, 2, ..., without end."""
        firsts = range(0, len(self.examples.labels) - batch + 1, batch)
        return (slice(first, first + batch) for first in cycle(firsts))


Make = Callable[[Problem, int, str], Competitor]  # problem, batch size, device


@dataclass(frozen=True, slots=True)
class Entrant:
    """A competitor that could be made: its name, whose it is, and where it computes."""

    name: str
    family: str  # fastnn, floor, numpy, torch, jax, sklearn
    device: str
    make: Make

    @property
    def key(self) -> str:
        """The name in tables and records: devices other than the CPU are named, too."""
        kind = self.device.partition(":")[0]
        return self.name if kind == "cpu" else f"{self.name} ({kind})"


def imported(module: str, package: str) -> Any:
    """An optional module, or Skipped with the command that would install it."""
    try:
        return import_module(module)
    except Exception as error:  # a broken installation may raise anything
        if isinstance(error, ModuleNotFoundError) and error.name == module.partition(".")[0]:
            raise Skipped(f"not installed (pip install {package})") from None
        problem = f"{type(error).__name__}: {error}"
        raise Skipped(f"cannot be imported ({problem}); reinstall {package}") from error
