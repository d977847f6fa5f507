"""The matrix products of a step and nothing else: with this library no step takes less."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from fastnn.backend import Array, Backend, get_backend
from fastnn.bench.competitors import Entrant, Problem
from fastnn.kernels import Kernels, kernels_for
from fastnn.kernels.cuda import Fused, graph_of

NAME = "products alone"


def entrants(device: str) -> list[Entrant]:
    """The floor, on the library that fastnn uses on this device."""
    return [Entrant(NAME, "floor", device, Products)]


class Products:
    """y = x w, dw = x^T dy and dx = dy w^T of each layer, the first layer's dx left out.

    On a GPU they are replayed as one CUDA graph, where fastnn's steps can be.
    """

    def __init__(self, problem: Problem, batch: int, device: str) -> None:
        self._backend = get_backend(device)
        xp = self._backend.xp
        self._products: list[tuple[Array, Array, Array]] = []
        with self._backend.activate():
            for layer, (fan_in, fan_out) in enumerate(pairwise(problem.sizes)):
                x, dy, w = (
                    xp.ones(shape, "float32")
                    for shape in ((batch, fan_in), (batch, fan_out), (fan_in, fan_out))
                )
                self._products.append((xp.empty_like(dy), x, w))
                self._products.append((xp.empty_like(w), x.T, dy))
                if layer > 0:
                    self._products.append((xp.empty_like(x), dy, w.T))
            # What a graph of them touches, the kernels' workspace too, must live as long as it.
            self._kernels = kernels_for(self._backend, "auto", problem.precision)
            self._all = _fastest(self._backend, self._kernels, self._products)

    def run(self, steps: int) -> None:
        with self._backend.activate():
            for _ in range(steps):
                self._all()
            self._backend.synchronize()

    def loss(self) -> None:
        return None


def _fastest(
    backend: Backend, kernels: Kernels, products: list[tuple[Array, Array, Array]]
) -> Callable[[], object]:
    """A call that computes all (out, a, b)."""
    if not isinstance(kernels, Fused):
        dot = backend.xp.dot

        def in_turn() -> None:
            for out, a, b in products:
                dot(a, b, out=out)

        return in_turn

    def launched() -> None:
        for out, a, b in products:
            kernels.products.dot(out, a, b)

    launched()  # chooses algorithms
    if kernels.why_not_captured is not None:
        return launched
    launch: Callable[[], object] = graph_of(backend.xp, launched).launch
    return launch
