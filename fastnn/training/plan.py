"""What a run would be: its parts, steps and memory, by arithmetic on shapes alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import ceil
from typing import Any

from fastnn.backend import Backend
from fastnn.data.examples import Dataset, Examples
from fastnn.kernels import Kernels, kernels_for
from fastnn.nn.blocks import Block
from fastnn.nn.description import Part, parts_of, step_flops
from fastnn.nn.model import parameter_shapes
from fastnn.nn.optim import OPTIMIZERS, Optimizer
from fastnn.nn.params import Layout
from fastnn.training.build import (
    blocks_of,
    check_labels,
    example_weights,
    hold_out,
    make_augmentation,
    pictures,
)
from fastnn.training.config import TrainConfig
from fastnn.training.predictor import CHUNK

_FLOAT, _CODE = 4, 8  # bytes of a float32, and of a label on the device


@dataclass(frozen=True, slots=True)
class Plan:
    """A run that was not started. Memory is in bytes on the device, by what it is for."""

    dataset: str
    device: str
    learn: int  # examples
    valid: int
    test: int
    sizes: tuple[int, ...]
    parts: list[Part]
    memory: dict[str, int]
    batch_size: int
    step_flops: int
    steps_per_epoch: int
    steps: int

    @property
    def parameters(self) -> int:
        """How many numbers training changes."""
        return sum(part.parameters for part in self.parts)

    def summary(self) -> dict[str, Any]:
        """Everything as plain values."""
        parts = [part._asdict() for part in self.parts]
        return asdict(self) | {"parts": parts, "parameters": self.parameters}


def plan(config: TrainConfig, data: Dataset, backend: Backend) -> Plan:
    """What `train` would do with these; raises what it would refuse of settings and data."""
    check_labels(data, config)
    kernels = kernels_for(backend, config.kernels, config.precision)
    learn, valid = hold_out(data, config)
    make_augmentation(config, data)
    if config.flip_test:
        pictures(data.shape, data.schema.pixels, "flip_test")
    learn = learn._replace(weights=example_weights(config, learn, data.class_names))
    blocks, sizes = blocks_of(config), (data.schema.width, *config.hidden, data.schema.outputs)
    batch = min(config.batch_size, len(learn.inputs))
    parts = parts_of(
        sizes, blocks, input_dropout=config.input_dropout, classifies=config.classifies
    )
    vector = _FLOAT * Layout.of(parameter_shapes(sizes, blocks)).size
    chunk = 0 if valid is None else min(CHUNK[backend.name], len(valid.inputs))
    workspace = [
        _workspace_bytes(config, sizes, blocks, rows, kernels) for rows in (batch, chunk) if rows
    ]
    memory = {
        "weights": vector,
        "gradients": vector,
        "moments": vector * (_moments(config) + 1),  # and the optimizer's scratch
        "best weights": 0 if valid is None else vector,
        "average": vector if config.ema else 0,
        "data": _data_bytes(learn) + (0 if valid is None else _data_bytes(valid)),
        "workspace": sum(workspace),
        "batches": _batch_bytes(learn, batch) + (_batch_bytes(valid, chunk) if valid else 0),
    }
    steps = ceil(len(learn.inputs) / batch)
    return Plan(
        dataset=data.name,
        device=str(backend),
        learn=len(learn.inputs),
        valid=0 if valid is None else len(valid.inputs),
        test=0 if data.test is None else len(data.test.inputs),
        sizes=sizes,
        parts=parts,
        memory=memory,
        batch_size=batch,
        step_flops=step_flops(parts, batch),
        steps_per_epoch=steps,
        steps=steps * config.epochs,
    )


def _moments(config: TrainConfig) -> int:
    """How many vectors the optimizer keeps."""
    make: Any = OPTIMIZERS[config.optimizer].make
    rule: type[Optimizer] = getattr(make, "func", make)  # of a partial
    return len(rule.moments)


def _workspace_bytes(
    config: TrainConfig,
    sizes: Sequence[int],
    blocks: Sequence[Block],
    rows: int,
    kernels: Kernels,
) -> int:
    """What `MLP.workspace` holds: outputs and their gradients, buffers of blocks, of the loss."""
    outputs = sizes[-1]
    floats = 2 * sum(sizes[1:]) + outputs + 2  # and one-hot rows, losses, sums
    if config.input_dropout:
        floats += sizes[0]
    once, masks = 0, 0
    for block, width in zip(blocks, sizes[1:-1], strict=True):
        if block.plain:
            masks += int(kernels.new_mask(1, width).nbytes)
            continue
        floats += 2 * width + (0 if block.norm == "none" else width)
        if block.norm == "batch":
            once += width
        else:
            floats += 1
    return rows * (_FLOAT * floats + masks + 1 + _CODE) + _FLOAT * once  # hits, guesses


def _data_bytes(examples: Examples) -> int:
    """Inputs as they are, labels as wide as an index or targets, weights."""
    each = 0 if examples.weights is None else _FLOAT
    each += _label_bytes(examples)
    return int(examples.inputs.nbytes) + each * len(examples.labels)


def _label_bytes(examples: Examples) -> int:
    """One example's label or targets."""
    return _CODE if examples.labels.ndim == 1 else _FLOAT * int(examples.labels.shape[1])


def _batch_bytes(examples: Examples, rows: int) -> int:
    """The reused buffers of a batch: gathered, and scaled."""
    columns = examples.inputs.shape[1]
    each = columns * (_FLOAT + examples.inputs.itemsize) + _label_bytes(examples)
    return int(rows * (each + (0 if examples.weights is None else _FLOAT)))
