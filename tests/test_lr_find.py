"""The range test for learning rates: against a bound known from curvature, and what it refuses."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
from typer.testing import CliRunner

from fastnn.cli.app import app
from fastnn.data.examples import Examples
from fastnn.errors import ConfigError
from fastnn.training.config import TrainConfig
from fastnn.training.lr_find import lr_find
from tests.conftest import blobs

LINEAR = TrainConfig(
    hidden=(), val=0, batch_size=300, optimizer="sgd", device="cpu", kernels="reference"
)
SMALL = TrainConfig(hidden=(16,), batch_size=32, device="cpu", kernels="reference")


def unlearnable(seed):
    """Labels that have nothing to do with the inputs: the best is to predict a third for each."""
    data = blobs(seed=seed)
    labels = np.random.default_rng(seed).permutation(data.train.labels)
    return replace(data, train=Examples(data.train.inputs, labels))


@pytest.mark.parametrize("scaling", ["unit", "standard"])
@pytest.mark.parametrize("seed", range(3))
def test_the_suggestion_keeps_below_the_bound_of_gradient_descent(scaling, seed):
    """A linear softmax around equal probabilities is a quadratic with a known curvature.

    Its Hessian is (I - 1/C) / C, of norm 1/C, times the mean of x x^T with a 1 for the bias;
    gradient descent on it diverges for rates above 2 / (largest eigenvalue).
    """
    data = unlearnable(seed)
    x = data.train.inputs.astype(float)
    x = x / 255 if scaling == "unit" else (x - x.mean(axis=0)) / x.std(axis=0)
    x = np.column_stack([x, np.ones(len(x))])
    bound = 2 / (np.linalg.eigvalsh(x.T @ x / len(x))[-1] / 3)
    found = lr_find(LINEAR.updated({"scaling": scaling, "seed": seed}, "test"), data=data, end=1e3)
    assert bound / 100 < found.suggestion < bound
    assert bound / 5 < found.rate_of_least < bound * 5
    assert found.exploded
    assert len(found.rates) < 200


def test_rates_rise_by_one_factor_and_losses_are_those_of_training(blob_data):
    """Until rates matter, the loss is that of the network as it starts, on each batch in turn."""
    from fastnn.backend import get_backend
    from fastnn.training.build import build

    found = lr_find(SMALL, data=blob_data, start=1e-12, end=1e3, steps=120)
    factors = np.array(found.rates[1:]) / found.rates[:-1]
    assert factors == pytest.approx(np.full(len(factors), 1e15 ** (1 / 119)))
    assert found.rates[0] == pytest.approx(1e-12)
    parts = build(SMALL, blob_data, get_backend("cpu"), ())
    order = parts.train_batches.order(0)
    for step in range(5):
        rows = order[32 * step : 32 * (step + 1)]
        right = parts.predictor.predict_proba(parts.learn.inputs[rows])
        expected = -np.log(right[np.arange(32), parts.learn.labels[rows]]).mean()
        assert found.losses[step] == pytest.approx(expected, rel=1e-4)


def test_smoothed_is_a_mean_weighted_by_age_and_ends_it():
    found = lr_find(SMALL.updated({"optimizer": "sgd"}, "test"), data=unlearnable(0), end=1e4)
    for n in (0, 1, 17, len(found.losses) - 1):
        weights = 0.9 ** np.arange(n, -1, -1)
        assert found.smoothed[n] == pytest.approx(
            np.average(found.losses[: n + 1], weights=weights)
        )
    exploded = [loss > 4 * min(found.smoothed[: n + 1]) for n, loss in enumerate(found.smoothed)]
    assert exploded.index(True) == len(found.rates) - 1 < 199


def test_it_is_repeatable_and_the_configuration_counts(blob_data):
    first, again = (lr_find(SMALL, data=blob_data) for _ in range(2))
    assert first == again
    for settings in (
        {"optimizer": "sgd"}, {"loss": "cross-entropy", "label_smoothing": 0.2}, {"seed": 1},
        {"dropout": 0.3}, {"norm": "batch"}, {"batch_size": 64}, {"class_weight": {"class 0": 3}},
    ):  # fmt: skip
        assert lr_find(SMALL.updated(settings, "test"), data=blob_data).losses != first.losses
    pictures = replace(blob_data, shape=(3, 4))
    moved = lr_find(SMALL.updated({"flip": True}, "test"), data=pictures)
    assert moved.losses != first.losses


def test_neither_the_test_part_nor_the_held_out_rows_are_read(blob_data):
    from fastnn.training.build import hold_out

    expected = lr_find(SMALL, data=blob_data)
    assert lr_find(SMALL, data=replace(blob_data, test=None)) == expected
    _, valid = hold_out(blob_data, SMALL)
    held = {row.tobytes() for row in valid.inputs}
    inputs = blob_data.train.inputs.copy()
    inputs[[row.tobytes() in held for row in inputs]] = 0
    spoilt = replace(blob_data, train=Examples(inputs, blob_data.train.labels))
    assert (spoilt.train.inputs == 0).all(axis=1).sum() == 30
    assert lr_find(SMALL, data=spoilt) == expected


def test_a_rate_that_never_explodes_is_no_error(blob_data):
    found = lr_find(SMALL, data=blob_data, end=1e-2)
    assert not found.exploded
    assert len(found.rates) == 200
    assert found.rates[-1] == pytest.approx(1e-2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 19}, "steps: 19 must be at least 20"),
        ({"start": 0.0}, "start: 0.0"), ({"start": float("nan")}, "start: nan"),
        ({"end": 1e-6}, "end: 1e-06"), ({"end": float("inf")}, "end: inf"),
        ({"start": 1e12, "end": 1e14}, "start: from 1e\\+12 on the loss only rose"),
        ({"start": 1e-12, "end": 1e-9}, "end: up to 1e-09 the loss did not fall"),
    ],
)  # fmt: skip
def test_what_allows_no_answer_is_refused(blob_data, settings, message):
    with pytest.raises(ConfigError, match=message):
        lr_find(SMALL.updated({"batch_size": 300}, "test"), data=blob_data, **settings)


def invoke(*arguments, code=0):
    result = CliRunner().invoke(app, ["lr-find", *map(str, arguments)])
    assert result.exit_code == code, (result.stdout, result.stderr, result.exception)
    return result


def test_the_verb_prints_a_number_and_leaves_nothing(blob_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.rglob("*"))
    arguments = ("--dataset", blob_file, "--hidden", "16", "--device", "cpu")
    arguments += ("--kernels", "reference", "--optimizer", "sgd", "--momentum", "0.9")
    printed = invoke(*arguments)
    (line,) = invoke(*arguments, "--json", "--quiet").stdout.splitlines()
    done = json.loads(line)
    assert float(printed.stdout) == pytest.approx(done["suggestion"], rel=0.05)
    assert "a tenth of" in printed.stderr
    assert len(done["rates"]) == len(done["losses"]) == len(done["smoothed"])
    assert set(tmp_path.rglob("*")) == before
    assert "steps: 3" in invoke(*arguments, "--steps", "3", code=2).stderr
    assert "must end with .png" in invoke(*arguments, "--out", "x.txt", code=2).stderr
    assert "--epochs" in invoke(*arguments, "--epochs", "3", code=2).stderr


def test_a_picture_without_matplotlib_is_refused_at_once(blob_file, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    arguments = ("--dataset", tmp_path / "absent.csv", "--out", tmp_path / "rates.png")
    assert "pip install matplotlib" in invoke(*arguments, code=2).stderr


@pytest.mark.skipif(find_spec("matplotlib") is None, reason="needs matplotlib")
@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_the_picture_is_written_and_the_same_each_time(blob_file, tmp_path, suffix):
    files = [tmp_path / f"{name}{suffix}" for name in "ab"]
    for file in files:
        invoke("--dataset", blob_file, "--hidden", "16", "--kernels", "reference", "--out", file)
    assert files[0].read_bytes() == files[1].read_bytes()
    assert files[0].read_bytes()[:4] == (b"\x89PNG" if suffix == ".png" else b"<?xm")
