"""What a run would be, against the objects of a run that was made, and against hand counts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fastnn.backend import get_backend
from fastnn.errors import ConfigError
from fastnn.nn.blocks import Block
from fastnn.nn.description import parts_of, step_flops
from fastnn.nn.model import MLP
from fastnn.training.build import build
from fastnn.training.config import TrainConfig
from fastnn.training.plan import plan

PLAIN = TrainConfig(hidden=(20, 16), batch_size=32, device="cpu", kernels="reference")
SETTINGS = [
    {}, {"hidden": ()}, {"val": 0}, {"batch_size": 1000}, {"optimizer": "sgd", "momentum": 0.9},
    {"norm": "batch", "activation": "gelu", "ema": 0.9}, {"norm": "layer", "input_dropout": 0.1},
    {"hidden": (12, 12), "residual": True, "class_weight": "balanced", "optimizer": "lion"},
]  # fmt: skip


def arrays_in(thing, seen=None):
    """All arrays that an object holds, directly or in tuples, once each, views by what they are."""
    seen = {} if seen is None else seen
    if isinstance(thing, np.ndarray):
        seen[thing.ctypes.data, thing.shape] = thing
    elif isinstance(thing, tuple):
        for item in thing:
            arrays_in(item, seen)
    return seen


def bytes_of(*things):
    return sum(array.nbytes for array in arrays_in(things).values())


@pytest.mark.parametrize("settings", SETTINGS)
def test_memory_is_that_of_the_real_objects(blob_data, settings):
    config = PLAIN.updated(settings, "test")
    found = plan(config, blob_data, get_backend("cpu")).memory
    parts = build(config, blob_data, get_backend("cpu"), ())
    trainer, model = parts.trainer, parts.trainer.model
    assert found["weights"] == model.params.vector.nbytes
    assert found["gradients"] == model.grads.vector.nbytes
    state = trainer.optimizer.state()
    moments = bytes_of(*state.values(), trainer.optimizer._scratch)
    assert found["moments"] + found["average"] == moments
    served = [batches for batches in (parts.train_batches, parts.valid_batches) if batches]
    assert found["data"] == sum(
        bytes_of(b.source.inputs, b.source.labels, b.source.weights) for b in served
    )
    assert found["batches"] == sum(
        bytes_of(b._x, b._raw, b._labels_out, b._weights_out) for b in served
    )
    workspaces = 0
    for b in served:
        ws = model.workspace(b.batch_size)
        held = (ws.outputs, ws.gradients, ws.masks, ws.inputs, ws.losses, ws.hits, ws.scratch[1:])
        workspaces += bytes_of(*held, *(tuple(kept) for kept in ws.buffers if kept))
    assert found["workspace"] == workspaces
    assert (found["best weights"] > 0) == (parts.valid is not None)


@pytest.mark.parametrize("settings", SETTINGS)
def test_steps_and_parameters_are_those_of_the_run(blob_data, settings):
    config = PLAIN.updated(settings | {"epochs": 3}, "test")
    found = plan(config, blob_data, get_backend("cpu"))
    parts = build(config, blob_data, get_backend("cpu"), ())
    history = parts.trainer.fit(parts.train_batches, parts.valid_batches, epochs=3)
    assert found.steps == history[-1].step
    assert found.steps_per_epoch == history[0].step
    assert found.parameters == parts.trainer.model.parameters
    assert (found.learn, found.test) == (len(parts.learn.labels), 300)
    assert found.valid == (0 if parts.valid is None else len(parts.valid.labels))


@pytest.mark.parametrize("norm", ["none", "layer", "batch"])
@pytest.mark.parametrize("sizes", [(7, 3), (7, 5, 3), (7, 5, 5, 3)])
def test_parts_hold_every_parameter(norm, sizes):
    blocks = [Block("tanh", norm, 0.5, residual=len(sizes) > 3)] * (len(sizes) - 2)
    model = MLP(sizes, get_backend("cpu"), rng=np.random.default_rng(0), blocks=blocks)
    parts = parts_of(sizes, blocks)
    assert sum(part.parameters for part in parts) == model.parameters
    assert sum(part.parameters + part.running for part in parts) == model.params.count
    for layer in range(len(sizes) - 1):
        own = sum(part.parameters + part.running for part in parts if part.layer == layer)
        slots = [s for s in model.params.layout.slots if s.name.startswith(f"layers.{layer}.")]
        assert own == sum(slot.stop - slot.start for slot in slots)


def test_parts_stand_in_the_order_of_the_forward_pass():
    blocks = [Block("relu", "batch", 0.25, residual=True)] * 2
    parts = parts_of((4, 6, 6, 2), blocks, input_dropout=0.1)
    assert [(part.layer, part.name) for part in parts] == [
        (0, "dropout 0.1"), (0, "affine"), (0, "batch norm"), (0, "relu"), (0, "dropout 0.25"),
        (1, "affine"), (1, "batch norm"), (1, "relu"), (1, "dropout 0.25"), (1, "skip"),
        (2, "affine"), (2, "softmax"),
    ]  # fmt: skip
    assert [part.name for part in parts_of((4, 2), (), classifies=False)] == ["affine"]


def test_products_are_counted_by_hand():
    """A product (B, I) x (I, O) is B I O multiplications, and with the bias as many additions."""
    parts = parts_of((3, 4, 2), [Block()])
    affine = [part.flops for part in parts if part.name == "affine"]
    assert affine == [2 * 3 * 4, 2 * 4 * 2]
    rest = 4 + 5 * 2  # the ReLU; the softmax
    assert step_flops(parts, 10) == 10 * (2 * 24 + 3 * 16 + 3 * rest)


def test_a_plan_refuses_what_a_run_would(blob_data):
    for settings, named in (
        ({"class_weight": {"cat": 2}}, "class_weight"), ({"shift": 1}, "shift"),
        ({"flip_test": True}, "flip_test"), ({"val": 0.001}, "val"),
    ):  # fmt: skip
        config = PLAIN.updated(settings, "test")
        for attempt in (plan, lambda *a: build(*a, ())):
            with pytest.raises(ConfigError, match=named):
                attempt(config, blob_data, get_backend("cpu"))


def test_a_plan_of_a_network_too_large_for_any_memory_costs_nothing(blob_data):
    config = replace(PLAIN, hidden=(1_000_000, 1_000_000))
    found = plan(config, blob_data, get_backend("cpu"))
    assert found.memory["weights"] > 4e12
