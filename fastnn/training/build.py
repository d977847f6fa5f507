"""From a configuration to the objects of a run, made to fit each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fastnn.backend import Backend
from fastnn.data.batches import Batches
from fastnn.data.examples import Dataset, Examples, stratified_split
from fastnn.data.scaling import Scaling
from fastnn.kernels import kernels_for
from fastnn.nn.model import MLP
from fastnn.nn.optim import SGD, Adam, Optimizer
from fastnn.nn.schedules import (
    Schedule,
    constant,
    one_cycle,
    reduce_on_plateau,
    step_decay,
    warmup_cosine,
)
from fastnn.rng import Stream, generator
from fastnn.training.callbacks import Callback
from fastnn.training.classifier import CHUNK, Classifier
from fastnn.training.config import TrainConfig
from fastnn.training.trainer import Trainer


@dataclass(frozen=True, slots=True)
class Parts:
    """The objects of one run, made to fit each other."""

    trainer: Trainer
    classifier: Classifier
    learn: Examples
    valid: Examples | None
    train_batches: Batches
    valid_batches: Batches | None


def build(
    config: TrainConfig, data: Dataset, backend: Backend, callbacks: Sequence[Callback]
) -> Parts:
    """Everything that a configuration asks for, on this data set and device."""
    learn, valid = _hold_out(data, config)
    scaling = Scaling.fit(learn.inputs, config.scaling)
    sizes = (learn.inputs.shape[1], *config.hidden, len(data.class_names))
    kernels = kernels_for(backend, config.kernels, config.precision)
    model = MLP(sizes, backend, rng=generator(config.seed, Stream.WEIGHTS), kernels=kernels)
    classifier = Classifier(model, scaling, data.schema)
    train_batches = Batches(
        learn, config.batch_size, scaling, backend, seed=config.seed, kernels=kernels
    )
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
    )
    valid_batches = None
    if valid is not None:
        valid_batches = Batches(valid, CHUNK[backend.name], scaling, backend, kernels=kernels)
    return Parts(trainer, classifier, learn, valid, train_batches, valid_batches)


def _hold_out(data: Dataset, config: TrainConfig) -> tuple[Examples, Examples | None]:
    """The examples to learn from, and those to validate on."""
    if not config.val:
        return data.train, None
    count = round(config.val * len(data.train.labels))
    rng = generator(config.seed, Stream.SPLIT)
    held, rest = stratified_split(data.train.labels, count, rng, what=f"val: {config.val:g}")
    return data.train.take(rest), data.train.take(held)


def make_optimizer(config: TrainConfig, model: MLP) -> Optimizer:
    """The optimizer that a configuration names."""
    if config.optimizer == "sgd":
        return SGD(
            model.params,
            momentum=config.momentum,
            nesterov=config.nesterov,
            weight_decay=config.weight_decay,
            kernels=model.kernels,
        )
    return Adam(
        model.params,
        beta1=config.beta1,
        beta2=config.beta2,
        eps=config.eps,
        weight_decay=config.weight_decay,
        decoupled=config.optimizer == "adamw",
        kernels=model.kernels,
    )


def make_schedule(config: TrainConfig, steps_per_epoch: int, losses: Sequence[float]) -> Schedule:
    """The schedule that a configuration names, its epochs counted in steps."""
    rate, total = config.learning_rate, config.epochs * steps_per_epoch
    match config.schedule:
        case "step":
            every = config.schedule_every * steps_per_epoch
            return step_decay(rate, every=every, factor=config.schedule_factor)
        case "cosine":
            return warmup_cosine(rate, warmup=config.warmup * steps_per_epoch, total=total)
        case "one-cycle":
            return one_cycle(rate, total=total)
        case "plateau":
            return reduce_on_plateau(
                rate, losses, patience=config.schedule_every, factor=config.schedule_factor
            )
        case _:
            return constant(rate)
