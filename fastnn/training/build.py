"""From a configuration to the objects of a run, made to fit each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastnn.backend import Backend
from fastnn.data.batches import Batches
from fastnn.data.examples import Dataset, Examples
from fastnn.data.scaling import Scaling
from fastnn.errors import ConfigError, did_you_mean
from fastnn.kernels import Augmentation, Kernels, kernels_for
from fastnn.nn.blocks import Block
from fastnn.nn.model import MLP
from fastnn.nn.objective import Objective
from fastnn.nn.optim import OPTIMIZERS, Common, Optimizer
from fastnn.nn.schedules import (
    Schedule,
    constant,
    cosine,
    one_cycle,
    reduce_on_plateau,
    step_decay,
    warmed,
)
from fastnn.rng import Stream, generator
from fastnn.training.callbacks import Callback
from fastnn.training.classifier import Classifier
from fastnn.training.config import TrainConfig
from fastnn.training.predictor import CHUNK
from fastnn.training.regressor import Regressor
from fastnn.training.trainer import Trainer


@dataclass(frozen=True, slots=True)
class Parts:
    """The objects of one run, made to fit each other."""

    trainer: Trainer
    predictor: Classifier | Regressor
    learn: Examples
    valid: Examples | None
    train_batches: Batches
    valid_batches: Batches | None


def build(
    config: TrainConfig, data: Dataset, backend: Backend, callbacks: Sequence[Callback]
) -> Parts:
    """Everything that a configuration asks for, on this data set and device."""
    check_labels(data, config)
    learn, valid = hold_out(data, config)
    scaling = Scaling.fit(learn.inputs, config.scaling)
    kernels = kernels_for(backend, config.kernels, config.precision)
    model = make_model(config, learn.inputs.shape[1], data.schema.outputs, backend, kernels)
    mirror = pictures(data.shape, data.schema.pixels, "flip_test") if config.flip_test else None
    weights = example_weights(config, learn, data.class_names)
    targets = Scaling.of_targets(learn.labels, weights) if data.targets else None
    kind = Classifier if targets is None else Regressor
    predictor = kind(model, scaling, data.schema, mirror, targets)
    train_batches = Batches(
        _as_trained(learn, targets)._replace(weights=weights),
        config.batch_size, scaling, backend, seed=config.seed, kernels=kernels,
        augmentation=make_augmentation(config, data),
    )  # fmt: skip
    monitored: list[float] = []
    trainer = Trainer(
        model,
        make_optimizer(config, model),
        make_schedule(config, len(train_batches), monitored),
        callbacks=callbacks,
        monitored=monitored,
        patience=config.patience,
        save_every=config.save_every,
        kernels=config.kernels,
        max_time=config.max_time,
        target_accuracy=config.target_accuracy,
        mirror=mirror,
    )
    valid_batches = None
    if valid is not None:
        unweighted = _as_trained(valid, targets)._replace(weights=None)
        valid_batches = Batches(unweighted, CHUNK[backend.name], scaling, backend, kernels=kernels)
    return Parts(trainer, predictor, learn, valid, train_batches, valid_batches)


def check_labels(data: Dataset, config: TrainConfig) -> None:
    """ConfigError where a loss of classes meets numbers, or the reverse."""
    if config.classifies and data.targets:
        raise ConfigError(
            f"loss: cross-entropy tells classes apart, but {data.name} holds numbers to predict; "
            "use mse, mae or huber"
        )
    if not config.classifies and not data.targets:
        raise ConfigError(
            f"loss: {config.loss} is for numbers, but {data.name} holds "
            f"{len(data.class_names)} classes; use cross-entropy, or load it with numbers=True"
        )


def hold_out(data: Dataset, config: TrainConfig) -> tuple[Examples, Examples | None]:
    """The examples to learn from, and those to validate on."""
    if not config.val:
        return data.train, None
    count = round(config.val * len(data.train.labels))
    rng = generator(config.seed, Stream.SPLIT)
    held, rest = data.split(count, rng, what=f"val: {config.val:g}")
    return data.train.take(rest), data.train.take(held)


def _as_trained(examples: Examples, targets: Scaling | None) -> Examples:
    """With scaled labels, where these are numbers to predict."""
    if targets is None:
        return examples
    return examples._replace(labels=targets.scaled(examples.labels))


def make_model(
    config: TrainConfig, inputs: int, outputs: int, backend: Backend, kernels: Kernels
) -> MLP:
    """The network that a configuration describes, with its initial weights."""
    return MLP(
        (inputs, *config.hidden, outputs),
        backend,
        rng=generator(config.seed, Stream.WEIGHTS),
        blocks=blocks_of(config),
        input_dropout=config.input_dropout,
        objective=Objective(config.loss, config.label_smoothing, config.huber_delta),
        init=config.init,
        kernels=kernels,
    )


def blocks_of(config: TrainConfig) -> list[Block]:
    """One for each hidden layer."""
    activations = config.activation * (len(config.hidden) if len(config.activation) == 1 else 1)
    return [
        Block(activation, config.norm, config.dropout, config.residual)
        for activation in activations
    ]


def make_optimizer(config: TrainConfig, model: MLP) -> Optimizer:
    """The optimizer that a configuration names."""
    common = Common(
        weight_decay=config.weight_decay,
        clip_norm=config.clip_norm,
        clip_value=config.clip_value,
        average=config.ema,
        kernels=model.kernels,
    )
    settings = {
        name: value
        for name in OPTIMIZERS[config.optimizer].settings
        if (value := getattr(config, name)) is not None
    }
    return OPTIMIZERS[config.optimizer].make(model.params, **settings, **common)


def make_augmentation(config: TrainConfig, data: Dataset) -> Augmentation | None:
    """How training pictures are varied, or None."""
    asked = [name for name in ("shift", "flip", "cutout") if getattr(config, name)]
    if not asked:
        return None
    shape = pictures(data.shape, data.schema.pixels, asked[0])
    for name, most in (("shift", min(shape[:2]) - 1), ("cutout", max(shape[:2]))):
        if getattr(config, name) > most:
            raise ConfigError(
                f"{name}: {getattr(config, name)} leaves nothing of pictures of "
                f"{shape[0]} x {shape[1]}; expected at most {most}"
            )
    return Augmentation(*shape, shift=config.shift, flip=config.flip, cutout=config.cutout)


def pictures(shape: tuple[int, ...], pixels: bool, field: str) -> tuple[int, int, int]:
    """Height, width and channels of one example; ConfigError if it is not a picture."""
    if len(shape) not in (2, 3):
        raise ConfigError(f"{field}: is for pictures, and this data set holds rows of a table")
    if not pixels:
        raise ConfigError(f"{field}: is for pictures of bytes (uint8), and these inputs are floats")
    return (*shape, 1)[:3]  # type: ignore[return-value]  # two or three, and a 1


def example_weights(
    config: TrainConfig, learn: Examples, class_names: Sequence[str]
) -> NDArray[np.float32] | None:
    """Each example's share in the loss, (N,), of mean 1: its own weight times that of its class.

    Of mean 1, so that the learning rate keeps its meaning. `balanced` is N / (C * members), as in
    scikit-learn.
    """
    if learn.weights is None and config.class_weight is None:
        return None
    weights = np.ones(len(learn.labels)) if learn.weights is None else learn.weights.astype(float)
    if config.class_weight is not None:
        weights = weights * _class_weights(config, learn, class_names)[learn.labels]
    total = weights.sum()
    if not (np.isfinite(weights).all() and weights.min() >= 0 and total > 0):
        raise ConfigError("weights: must be finite, 0 or more, and not all 0")
    scaled: NDArray[np.float32] = (weights * (len(weights) / total)).astype(np.float32)
    return scaled


def _class_weights(
    config: TrainConfig, learn: Examples, class_names: Sequence[str]
) -> NDArray[np.float64]:
    """(C,) weights by class code."""
    if isinstance(config.class_weight, Mapping):
        weights = np.ones(len(class_names))
        for name, weight in config.class_weight.items():
            if name not in class_names:
                raise ConfigError(
                    f"class_weight: {name!r} is not a class; the classes are "
                    f"{', '.join(class_names)}{did_you_mean(name, class_names)}"
                )
            weights[class_names.index(name)] = weight
        if not weights[learn.labels].any():
            raise ConfigError(
                f"class_weight: {dict(config.class_weight)} leaves no example that counts"
            )
        return weights
    members = np.bincount(learn.labels, minlength=len(class_names))
    balanced: NDArray[np.float64] = len(learn.labels) / (len(members) * np.maximum(members, 1))
    return balanced


def make_schedule(config: TrainConfig, steps_per_epoch: int, losses: Sequence[float]) -> Schedule:
    """The schedule that a configuration names, its epochs counted in steps."""
    rate, warmup = config.learning_rate, config.warmup * steps_per_epoch
    total = config.epochs * steps_per_epoch - warmup
    every = config.schedule_every
    schedules: dict[str, Callable[[], Schedule]] = {
        "constant": lambda: constant(rate),
        "step": lambda: step_decay(
            rate, every=every * steps_per_epoch, factor=config.schedule_factor
        ),
        "cosine": lambda: cosine(rate, total=total),
        "one-cycle": lambda: one_cycle(rate, total=total),
        "plateau": lambda: reduce_on_plateau(
            rate, losses, patience=every, factor=config.schedule_factor
        ),
    }
    return warmed(schedules[config.schedule](), warmup=warmup)
