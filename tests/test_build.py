"""Every setting reaches the object it is for."""

import numpy as np
import pytest

from fastnn.backend import get_backend
from fastnn.data.examples import Dataset, Examples
from fastnn.nn.optim import SGD, Adam
from fastnn.training.build import build, make_optimizer, make_schedule
from fastnn.training.config import TrainConfig

STEPS = 10  # an epoch


def configured(**settings):
    return TrainConfig(**{"learning_rate": 1.0, "epochs": 6, **settings})


@pytest.fixture
def model(blob_data):
    return build(TrainConfig(hidden=(4,)), blob_data, get_backend("cpu"), ()).predictor.model


@pytest.mark.parametrize(
    ("settings", "kind", "expected"),
    [
        (
            {"optimizer": "sgd", "momentum": 0.8, "nesterov": True, "weight_decay": 0.3},
            SGD,
            {"momentum": 0.8, "nesterov": True, "weight_decay": 0.3},
        ),
        ({"optimizer": "sgd", "momentum": 0.8}, SGD, {"nesterov": False, "weight_decay": 0.0}),
        (
            {"beta1": 0.7, "beta2": 0.8, "eps": 1e-3, "weight_decay": 0.2},
            Adam,
            {"beta1": 0.7, "beta2": 0.8, "eps": 1e-3, "weight_decay": 0.2, "decoupled": False},
        ),
        ({"optimizer": "adamw", "weight_decay": 0.2}, Adam, {"decoupled": True}),
    ],
)
def test_optimizers_get_their_hyper_parameters(model, settings, kind, expected):
    optimizer = make_optimizer(configured(**settings), model)
    assert type(optimizer) is kind
    assert optimizer.params is model.params
    assert {key: getattr(optimizer, key) for key in expected} == expected


@pytest.mark.parametrize(
    ("settings", "losses", "expected"),
    [
        ({}, [], {0: 1.0, 59: 1.0}),
        (
            {"schedule": "step", "schedule_every": 2, "schedule_factor": 0.5},
            [],
            {19: 1.0, 20: 0.5, 40: 0.25},
        ),
        ({"schedule": "cosine"}, [], {0: 1.0, 30: 0.5, 60: 0.0}),
        ({"schedule": "cosine", "warmup": 2}, [], {0: 0.05, 19: 1.0, 40: 0.5, 60: 0.0}),
        ({"schedule": "one-cycle"}, [], {0: 0.04, 18: 1.0, 60: 1e-4}),
        (
            {"schedule": "plateau", "schedule_every": 2, "schedule_factor": 0.5},
            [1.0, 1.0, 1.0],
            {30: 0.5},
        ),
        ({"schedule": "plateau", "schedule_every": 3}, [1.0, 1.0, 1.0], {30: 1.0}),
    ],
)
def test_schedules_count_their_epochs_in_steps(settings, losses, expected):
    schedule = make_schedule(configured(**settings), STEPS, losses)
    assert {step: schedule(step) for step in expected} == pytest.approx(expected, abs=1e-12)


def test_scaling_is_fitted_on_the_learning_part_only():
    """Rows with a value of their own: whatever is held out must not be in the range."""
    values = np.linspace(-5, 5, 40, dtype=np.float32)[:, None]
    examples = Examples(values, np.arange(40, dtype=np.int32) % 2)
    data = Dataset("line", examples, None, ("a", "b"), (1,))
    extremes = 0
    for seed in range(20):
        parts = build(TrainConfig(val=0.25, seed=seed), data, get_backend("cpu"), ())
        scaling = parts.predictor.scaling
        assert parts.valid is not None
        assert scaling.offset == pytest.approx(parts.learn.inputs.min())
        assert 1 / scaling.factor == pytest.approx(np.ptp(parts.learn.inputs))
        extremes += parts.valid.inputs.min() < parts.learn.inputs.min()
    assert extremes  # some split did hold an extreme out


def test_the_split_is_stratified_and_of_the_asked_size(blob_data):
    parts = build(TrainConfig(val=0.2), blob_data, get_backend("cpu"), ())
    assert parts.valid is not None
    assert np.bincount(parts.valid.labels).tolist() == [20, 20, 20]
    assert np.bincount(parts.learn.labels).tolist() == [80, 80, 80]


def test_the_held_out_share_is_rounded_not_cut():
    labels = np.zeros(100, np.int32)
    labels[:50] = 1
    data = Dataset("even", Examples(np.zeros((100, 1), np.uint8), labels), None, ("a", "b"), (1,))
    parts = build(TrainConfig(val=0.29), data, get_backend("cpu"), ())  # 0.29 * 100 = 28.999...
    assert parts.valid is not None
    assert len(parts.valid.labels) == 29
