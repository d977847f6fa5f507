"""The matrix products of a step and nothing else: with this library no step takes less."""

from __future__ import annotations

from itertools import pairwise

from fastnn.backend import get_backend
from fastnn.bench.competitors import Entrant, Problem

NAME = "products alone"


def entrants(device: str) -> list[Entrant]:
    """The floor, on the library that fastnn uses on this device."""
    return [Entrant(NAME, "floor", device, Products)]


class Products:
    """y = x w, dw = x^T dy and dx = dy w^T of each layer, the first layer's dx left out."""

    def __init__(self, problem: Problem, batch: int, device: str) -> None:
        self._backend = get_backend(device)
        xp = self._backend.xp
        self._products = []
        with self._backend.activate():
            for layer, (fan_in, fan_out) in enumerate(pairwise(problem.sizes)):
                x, dy, w = (
                    xp.ones(shape, "float32")
                    for shape in ((batch, fan_in), (batch, fan_out), (fan_in, fan_out))
                )
                self._products.append((x, w, xp.empty_like(dy)))
                self._products.append((x.T, dy, xp.empty_like(w)))
                if layer > 0:
                    self._products.append((dy, w.T, xp.empty_like(x)))

    def run(self, steps: int) -> None:
        dot = self._backend.xp.dot
        with self._backend.activate():
            for _ in range(steps):
                for a, b, out in self._products:
                    dot(a, b, out=out)
            self._backend.synchronize()

    def loss(self) -> None:
        return None
