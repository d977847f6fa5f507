"""Numbers are predicted end to end: by a known function, by least squares, with weights, anew."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import fastnn
from fastnn.data.examples import Dataset, Examples
from fastnn.errors import CheckpointError, ConfigError, DataError
from fastnn.training import checkpoint
from fastnn.training.config import TrainConfig
from fastnn.training.regressor import Regressor
from fastnn.training.run import resume, train
from fastnn.training.saved import load_predictor
from tests.conftest import blobs

SMALL = TrainConfig(
    loss="mse", hidden=(32,), epochs=60, batch_size=16, learning_rate=0.01, scaling="standard",
    schedule="cosine", device="cpu",
)  # fmt: skip
LINEAR = replace(SMALL, hidden=(), val=0, epochs=300)


def changed(**settings):
    return SMALL.updated(settings, "test")


def linear(targets: int = 1, noise: float = 0.0, count: int = 300, seed: int = 0):
    """Inputs (N, 4) and linear functions of them (N, T), of very different sizes and offsets."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 4)) * [1, 10, 0.1, 3] + [0, 5, -2, 1]
    slopes = rng.normal(size=(4, targets)) * 10.0 ** np.arange(targets)
    y = x @ slopes + 1000 * np.arange(1, targets + 1)
    y += noise * y.std(axis=0) * rng.normal(size=y.shape)
    return x.astype(np.float32), y.astype(np.float32)


def dataset(x, y, cut: int = 200, **options) -> Dataset:
    return fastnn.dataset_from_arrays(x[:cut], y[:cut], x[cut:], y[cut:], numbers=True, **options)


@pytest.fixture
def data() -> Dataset:
    return dataset(*linear(2, noise=0.1))


def r2_by_definition(truth, predicted):
    """As in a textbook: 1 - residual sum of squares / total sum of squares, mean of columns."""
    rest = [np.sum((t - p) ** 2) for t, p in zip(truth.T, predicted.T, strict=True)]
    total = [np.sum((t - t.mean()) ** 2) for t in truth.T]
    return np.mean([1 - r / t for r, t in zip(rest, total, strict=True)])


@pytest.mark.parametrize("targets", [1, 3])
@pytest.mark.parametrize("loss", ["mse", "mae", "huber"])
def test_a_linear_function_is_learned(targets, loss):
    x, y = linear(targets)
    result = train(changed(loss=loss), data=dataset(x, y))
    assert result.test.r2 > 0.99
    predicted = result.regressor.predict(x[200:])
    assert predicted.shape == ((100,) if targets == 1 else (100, 3))
    predicted = predicted.reshape(100, targets)
    truth = y[200:].astype(np.float64)
    assert result.test.r2 == pytest.approx(r2_by_definition(truth, predicted), rel=1e-9)
    errors = [np.linalg.norm(t - p) / 10 for t, p in zip(truth.T, predicted.T, strict=True)]
    assert result.test.rmse == pytest.approx(errors, rel=1e-9)
    assert all(
        error < 0.1 * spread for error, spread in zip(errors, truth.std(axis=0), strict=True)
    )


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_linear_model_converges_to_least_squares(optimizer, weighted):
    """The best linear fit does not depend on how inputs and targets were scaled."""
    x, y = linear(2, noise=0.3, count=128)
    weights = np.random.default_rng(1).uniform(0.1, 3, 128) if weighted else None
    data = fastnn.dataset_from_arrays(x, y, numbers=True, weights=weights)
    rate = {"sgd": 0.2, "adam": 0.05}[optimizer]
    config = replace(LINEAR, optimizer=optimizer, batch_size=128, learning_rate=rate, epochs=1500)
    found = train(config, data=data).regressor.predict(x)
    design = np.c_[x, np.ones(128)].astype(np.float64)
    root = np.ones((128, 1)) if weights is None else np.sqrt(weights)[:, None]
    best, *_ = np.linalg.lstsq(design * root, y * root, rcond=None)
    spread = y.std(axis=0)
    assert np.abs((found - design @ best) / spread).max() < 2e-3
    if weighted:  # and the weights mattered
        plain, *_ = np.linalg.lstsq(design, y, rcond=None)
        assert np.abs((design @ (plain - best)) / spread).max() > 2e-2


def test_an_mse_of_1_is_what_predicting_the_mean_gives():
    x, y = linear(2)
    data = fastnn.dataset_from_arrays(x, y * [1, 1e4], numbers=True)
    parts = train(changed(epochs=0, val=0), data=data).regressor
    parts.model.params.vector[...] = 0
    score = parts.evaluate(data.train)
    assert score.loss == pytest.approx(1.0, rel=1e-5)
    assert score.r2 == pytest.approx(0.0, abs=1e-6)
    assert score.accuracy is None
    np.testing.assert_allclose(
        parts.predict(x), np.tile((y * [1, 1e4]).mean(axis=0), (300, 1)), rtol=1e-5
    )


def test_targets_that_never_change_are_predicted_and_scored():
    x, _ = linear()
    weights = np.random.default_rng(0).uniform(0, 1, 300)
    data = fastnn.dataset_from_arrays(x, np.full(300, 0.1), numbers=True, weights=weights)
    result = train(changed(epochs=0), data=data)
    regressor = result.regressor
    assert regressor.targets.factor.tolist() == [1.0]
    assert result.train.r2 == 0.0
    regressor.model.params.vector[...] = 0
    met = Examples(x, np.full(300, regressor.predict(x[:1])[0], np.float64))
    assert regressor.evaluate(met).r2 == 1.0


# ---- weights -------------------------------------------------------------------------------------


def fitted_on(x, y, weights, **settings):
    data = fastnn.dataset_from_arrays(x, y, numbers=True, weights=weights)
    return train(changed(val=0, epochs=5, **settings), data=data).regressor


def test_labels_of_weight_zero_do_not_matter():
    x, y = linear(2)
    weights = np.ones(300)
    weights[::3] = 0
    corrupted = y.copy()
    corrupted[::3] = 1e6
    expected = fitted_on(x, y, weights)
    found = fitted_on(x, corrupted, weights)
    assert np.array_equal(found.model.params.vector, expected.model.params.vector)
    assert np.array_equal(found.predict(x), expected.predict(x))
    without = fitted_on(x, corrupted, None)
    assert not np.array_equal(without.model.params.vector, expected.model.params.vector)


def test_labels_of_weight_zero_do_not_matter_for_classes():
    data = blobs()
    weights = np.ones(len(data.train.labels), np.float32)
    weights[::2] = 0
    config = TrainConfig(hidden=(8,), epochs=2, val=0, device="cpu")

    def learned(labels):
        part = Examples(data.train.inputs, labels, weights)
        return train(config, data=replace(data, train=part)).classifier.model.params.vector

    corrupted = data.train.labels.copy()
    corrupted[::2] = (corrupted[::2] + 1) % 3
    assert np.array_equal(learned(corrupted), learned(data.train.labels))


def test_twice_the_weight_is_two_examples():
    x, y = linear(count=60)
    weights = np.ones(60)
    weights[:20] = 2
    settings = {"batch_size": 1000, "scaling": "unit", "optimizer": "sgd", "learning_rate": 0.1}
    twice = fitted_on(np.r_[x, x[:20]], np.r_[y, y[:20]], None, **settings)
    found = fitted_on(x, y, weights, **settings).predict(x)
    np.testing.assert_allclose(found, twice.predict(x), rtol=1e-4)
    plain = fitted_on(x, y, None, **settings).predict(x)
    assert np.abs(plain - found).max() > 1e-2 * y.std()


@pytest.mark.parametrize(
    ("weights", "told"),
    [
        (np.ones(3), r"weights: found shape \(3,\) of float64, expected one number for each of"),
        (np.ones((4, 1)), r"found shape \(4, 1\)"),
        ([1, 1, -1, 1], "weights, row 2: found -1, expected 0 or more"),
        ([1, np.nan, 1, 1], "weights, row 1, column 0: found nan"),
        ([1, 1, 1, np.inf], "weights, row 3, column 0: found inf"),
        (np.zeros(4), "nothing but 0"),
        (["a"] * 4, "<U1"),
    ],
)
def test_weights_that_cannot_be_are_refused(weights, told):
    with pytest.raises(DataError, match=told):
        fastnn.dataset_from_arrays(np.eye(4), [0, 1, 0, 1], weights=weights)


def test_weights_that_leave_nothing_to_learn_are_refused(data):
    held = train(changed(epochs=0, val=0.5), data=data).valid.count
    assert held == 100
    for weights in (np.zeros(200), np.full(200, np.nan)):
        part = data.train._replace(weights=weights.astype(np.float32))
        with pytest.raises(ConfigError, match="weights: must be finite, 0 or more, and not all 0"):
            train(changed(epochs=0), data=replace(data, train=part))


# ---- saving, going on ----------------------------------------------------------------------------


def test_a_saved_regressor_predicts_the_same(data, tmp_path):
    result = train(changed(epochs=3), data=data, out=tmp_path)
    inputs = data.test.inputs
    loaded = Regressor.load(result.folder, "cpu")
    assert np.array_equal(loaded.predict(inputs), result.regressor.predict(inputs))
    assert loaded.evaluate(data.test) == result.test
    assert loaded.target_names == ("y0", "y1")
    assert type(load_predictor(result.folder)) is Regressor
    saved = json.loads((result.folder / "result.json").read_text())
    assert saved["test_accuracy"] is None
    assert saved["test_rmse"] == list(result.test.rmse)
    assert saved["valid_r2"] == result.valid.r2
    line = json.loads((result.folder / "metrics.jsonl").read_text().splitlines()[-1])
    assert line["valid_accuracy"] is None
    assert line["valid_loss"] == result.history[-1].valid_loss


def test_each_kind_of_network_is_loaded_as_what_it_is(data, tmp_path):
    numbers = train(changed(epochs=1), data=data, out=tmp_path).folder
    config = TrainConfig(hidden=(4,), epochs=1, device="cpu")
    classes = train(config, data=blobs(), out=tmp_path).folder
    with pytest.raises(CheckpointError, match=r"predicts numbers \(y0, y1\).*Regressor.load"):
        fastnn.Classifier.load(numbers)
    with pytest.raises(CheckpointError, match=r"3 classes apart.*Classifier.load"):
        fastnn.Regressor.load(classes)
    assert type(load_predictor(classes)) is fastnn.Classifier


@pytest.mark.parametrize("damage", ["wide", "missing", "loss"])
def test_a_damaged_regressor_is_refused(data, tmp_path, damage):
    file = train(changed(epochs=0), data=data, out=tmp_path).folder / "last.safetensors"
    arrays, meta = checkpoint.load(file)
    if damage == "wide":
        arrays["targets/factor"] = np.ones(3)
    if damage == "missing":
        del arrays["targets/offset"]
    if damage == "loss":
        meta["model"]["objective"][0] = "cross-entropy"
    checkpoint.save(tmp_path / "bad.safetensors", arrays, meta)
    with pytest.raises(CheckpointError, match=r"bad\.safetensors: damaged or incomplete"):
        load_predictor(tmp_path / "bad.safetensors", "cpu")


def test_the_best_epoch_is_that_of_the_lowest_loss(data):
    result = train(changed(epochs=8, learning_rate=0.1, schedule="constant"), data=data)
    losses = [report.valid_loss for report in result.history]
    assert result.valid.loss == pytest.approx(min(losses), rel=1e-6)
    assert np.argmin(losses) != len(losses) - 1  # else this would show nothing


def test_a_resumed_run_ends_as_one_that_never_stopped(data, tmp_path):
    weighted = replace(
        data, train=data.train._replace(weights=np.linspace(0, 2, 200, dtype=np.float32))
    )
    whole = train(changed(epochs=6, schedule="constant"), data=weighted)
    half = train(changed(epochs=3, schedule="constant"), data=weighted, out=tmp_path)
    gone_on = resume(half.folder, data=weighted, epochs=6)
    vectors = [result.regressor.model.params.vector for result in (whole, gone_on)]
    assert np.array_equal(*vectors)
    assert [r.valid_loss for r in gone_on.history] == [r.valid_loss for r in whole.history]
    with pytest.raises(DataError, match="fingerprints differ"):
        resume(half.folder, data=data, epochs=6)


# ---- what does not fit ---------------------------------------------------------------------------


def test_a_loss_and_data_of_another_kind_are_refused(data):
    with pytest.raises(ConfigError, match=r"loss: mse is for numbers, but blobs holds 3 classes"):
        train(changed(), data=blobs())
    with pytest.raises(ConfigError, match=r"loss: cross-entropy .* use mse, mae or huber"):
        train(TrainConfig(device="cpu"), data=data)


@pytest.mark.parametrize("name", ["auto", "fashion-mnist", "mnist", "garments"])
def test_pictures_of_classes_are_no_numbers(name):
    with pytest.raises(ConfigError, match=f"dataset: {name} holds pictures of classes"):
        train(changed(dataset=name))


def test_a_result_knows_which_kind_it_has(data):
    result = train(changed(epochs=0), data=data)
    with pytest.raises(AttributeError, match=r"use result\.regressor"):
        result.classifier  # noqa: B018 - the look-up is the test
    result = train(TrainConfig(epochs=0, device="cpu"), data=blobs())
    with pytest.raises(AttributeError, match=r"use result\.classifier"):
        result.regressor  # noqa: B018


@pytest.mark.parametrize(
    ("labels", "fault"),
    [
        (np.zeros(3), r"targets of shape \(3, 1\), expected \(3, 2\)"),
        (np.zeros((3, 3)), r"targets of shape \(3, 3\)"),
        (np.array([["a", "b"]] * 3), "U1, expected floats"),
        (np.array([[0, 1], [np.nan, 1], [2, 3]]), "all finite"),
    ],
)
def test_targets_that_do_not_fit_are_refused(data, labels, fault):
    regressor = train(changed(epochs=0), data=data).regressor
    with pytest.raises(DataError, match=fault):
        regressor.evaluate(Examples(np.zeros((3, 4), np.float32), labels))


def test_a_data_set_holds_classes_or_numbers(data):
    with pytest.raises(DataError, match="has classes and the targets y0, y1; expected one of both"):
        replace(data, class_names=("a", "b"))


def test_limits_and_hold_outs_are_drawn_without_classes(data):
    rows = data.limited(50, seed=0).train
    assert rows.labels.shape == (50, 2)
    places = [int(np.flatnonzero((data.train.inputs == row).all(axis=1))[0]) for row in rows.inputs]
    assert len(set(places)) == 50
    assert max(places) > 100  # not just the front
    assert np.array_equal(rows.labels, data.train.labels[places])
    assert data.limited(50, seed=1).train.labels.tolist() != rows.labels.tolist()
    with pytest.raises(ConfigError, match="val: 0.999 holds out 200 of 200"):
        train(changed(val=0.999), data=data)


def test_no_rows_give_no_predictions(data):
    regressor = train(changed(epochs=0), data=data).regressor
    assert regressor.predict(np.zeros((0, 4))).shape == (0, 2)


def test_pictures_may_stand_for_numbers(tmp_path: Path):
    """An .npz of bytes, with weights: brightness from pixels."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (200, 3, 3), dtype=np.uint8)
    brightness = images.reshape(200, -1).mean(axis=1)
    np.savez(tmp_path / "a.npz", x=images, y=brightness, weights=np.arange(200))
    config = changed(dataset=str(tmp_path / "a.npz"), val=0)
    result = train(config)
    assert result.train.r2 > 0.98
    assert result.regressor.schema.pixels
    assert result.regressor.schema.shape == (3, 3)
