"""Where the time of one step goes: each of its launches alone, and all of them replayed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from fastnn.backend import Backend
from fastnn.bench.competitors import SIZES
from fastnn.data.batches import Batches
from fastnn.data.examples import Dataset
from fastnn.data.scaling import Scaling
from fastnn.kernels import kernels_for
from fastnn.kernels.cuda import Fused
from fastnn.nn.model import MLP
from fastnn.nn.optim import Adam
from fastnn.training.scoring import Tally
from fastnn.training.step import DeviceSteps
from scripts.gpu.timing import elapsed_us, in_graph_us


def breakdown(
    backend: Backend, data: Dataset, *, batches: tuple[int, ...] = (128, 8192)
) -> dict[str, Any]:
    """Microseconds by launch for each precision and batch size."""
    return {
        f"{precision}, batch {batch}": one_step(backend, data, precision, batch)
        for precision in ("float32", "tf32")
        for batch in batches
    }


def one_step(backend: Backend, data: Dataset, precision: str, batch: int) -> dict[str, float]:
    """Microseconds of each launch in a graph of its own, their sum, and of the whole step."""
    kernels = kernels_for(backend, "captured", precision)
    assert isinstance(kernels, Fused)
    scaling = Scaling.fit(data.train.inputs)
    batches = Batches(data.train, batch, scaling, backend, seed=0, kernels=kernels)
    model = MLP(SIZES, backend, rng=np.random.default_rng(0), kernels=kernels)
    optimizer, tally = Adam(model.params, kernels=kernels), Tally(backend, len(batches))
    steps = DeviceSteps(model, optimizer, batches, tally, kernels, capture=True)
    full = data.train.inputs.shape[0] // batch
    steps.open(0, 0)
    steps.plan(0, [1e-3] * len(batches))
    for step in range(3):  # launched, captured, replayed
        steps.run(step % full, full)
    found = {
        name: in_graph_us(backend, call)
        for name, call in _launches(backend, model, optimizer, batches).items()
    }
    found["sum of these"] = sum(found.values())
    steps.open(1, 0)
    steps.plan(0, [1e-3] * len(batches))
    left = iter(range(1, full))
    repeats = min(full - 2, 300)
    found["whole step, replayed"] = elapsed_us(
        backend, lambda: steps.run(next(left), full), repeats
    )
    return found


def _launches(
    backend: Backend, model: MLP, optimizer: Adam, batches: Batches
) -> dict[str, Callable[[], object]]:
    """Each launch of a step by name, on arrays of the step's shapes."""
    kernels, batch = model.kernels, batches.batch_size
    assert isinstance(kernels, Fused)
    ws, layers, grads = (
        model.workspace(batch), model.layers(model.params), model.layers(model.grads)
    )  # fmt: skip
    rows = backend.asarray(np.arange(batch))
    x, labels, _ = batches.gather(rows)
    rates = backend.asarray(optimizer.rates([1e-3])[0], model.dtype)
    table = backend.asarray(optimizer.rates([1e-3] * 4), model.dtype)
    cursor, order = backend.asarray([0], np.int32), backend.asarray(np.arange(4 * batch))
    sums, hits = backend.xp.zeros(10**6, np.float32), backend.xp.zeros(10**6, np.int64)
    page = (rows.copy(), rates.copy(), batches.noise, cursor, order, table)
    calls: dict[str, Callable[[], object]] = {
        "page": partial(kernels.turn_page, *page, batch=batch),
        "gather": partial(batches.gather, rows),
    }
    below = x
    for layer, (w, b) in enumerate(layers):
        y, mask = ws.outputs[layer], (*ws.masks, None)[layer]
        calls[f"forward {layer}"] = partial(kernels.affine, y, mask, below, w, b)
        below = y
    calls["loss"] = partial(
        kernels.softmax_xent, ws.gradients[-1], ws.losses, ws.hits, ws.outputs[-1], labels,
        None, ws.scratch, scale=1 / batch, smoothing=0.0,
    )  # fmt: skip
    for layer in reversed(range(len(layers))):
        (dw, db), (w, _) = grads[layer], layers[layer]
        dx, mask = (ws.gradients[layer - 1], ws.masks[layer - 1]) if layer else (None, None)
        below = ws.outputs[layer - 1] if layer else x
        calls[f"backward {layer}"] = partial(
            kernels.affine_backward, dx, dw, db, ws.gradients[layer], below, w, mask
        )
    calls["tally"] = partial(kernels.tally, sums, hits, cursor.copy(), ws.losses, ws.hits)
    calls["adam"] = partial(optimizer.update, model.grads, rates)
    return calls
