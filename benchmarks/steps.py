"""One training step of each competitor, from the same start on the same bytes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import count, pairwise

import numpy as np

from benchmarks.from_scratch import FromScratch
from fastnn.backend import Backend, get_backend
from fastnn.data.batches import Batches
from fastnn.data.examples import Examples
from fastnn.data.garments import draw
from fastnn.data.scaling import Scaling
from fastnn.nn.model import MLP
from fastnn.nn.optim import Adam

SIZES = (784, 512, 256, 10)
EXAMPLES = 16_384
LEARNING_RATE = 1e-3


def examples(size: int = EXAMPLES) -> Examples:
    """Drawn images: the arithmetic does not care what they show."""
    return Examples(*draw(size, split="train"))


def fastnn_step(data: Examples, batch: int, backend: Backend | None = None) -> Callable[[], None]:
    """Gather, scale, forward, backward and Adam; nothing is read back."""
    backend = backend or get_backend("cpu")
    model = MLP(SIZES, backend, rng=np.random.default_rng(0))
    optimizer, ws = Adam(model.params), model.workspace(batch)
    batches = Batches(data, batch, Scaling.fit(data.inputs), backend)
    epochs = (batches.epoch(n) for n in count())
    state = {"epoch": next(epochs)}

    def step() -> None:
        pair = next(state["epoch"], None)
        if pair is None:
            state["epoch"] = next(epochs)
            pair = next(state["epoch"])
        model.loss_and_grad(*pair, ws)
        optimizer.step(model.grads, LEARNING_RATE)

    step.loss = lambda: float(ws.losses.mean())
    return step


def from_scratch_step(data: Examples, batch: int, dtype: type = np.float32) -> Callable[[], None]:
    """The same step as tutorials write it."""
    start = MLP(SIZES, get_backend("cpu"), rng=np.random.default_rng(0))
    layers = start.layers(start.params)
    network = FromScratch(
        [w.astype(dtype) for w, _ in layers], [b.astype(dtype) for _, b in layers], LEARNING_RATE
    )
    state = {"first": 0, "loss": float("nan")}

    def step() -> None:
        rows = slice(state["first"], state["first"] + batch)
        state["loss"] = network.step(data.inputs[rows], data.labels[rows])
        state["first"] = (state["first"] + batch) % len(data.labels)

    step.loss = lambda: float(state["loss"])
    return step


def products_alone(batch: int) -> Callable[[], None]:
    """The step's eight matrix products in float32 and nothing else: nobody can be faster."""
    dots = []
    for layer, (fan_in, fan_out) in enumerate(pairwise(SIZES)):
        x, dy = np.ones((batch, fan_in), np.float32), np.ones((batch, fan_out), np.float32)
        w = np.ones((fan_in, fan_out), np.float32)
        dots += [(x, w, np.empty_like(dy)), (x.T, dy, np.empty_like(w))]
        dots += [(dy, w.T, np.empty_like(x))] if layer else []

    def step() -> None:
        for a, b, out in dots:
            np.dot(a, b, out=out)

    return step


# NumPy computes in float64 unless told otherwise, and tutorials do not tell it otherwise; the
# float32 row is the same code with its arrays cast once, as a careful writer would.
COMPETITORS = {
    "fastnn": fastnn_step,
    "from-scratch": partial(from_scratch_step, dtype=np.float64),
    "from-scratch-float32": from_scratch_step,
}
