"""What a network says about labelled examples, against its arithmetic written out."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

import fastnn
from fastnn.analysis.evaluation import Evaluation, NumbersEvaluation
from fastnn.data.examples import Dataset, Examples
from fastnn.errors import ConfigError, DataError
from fastnn.training import checkpoint
from fastnn.training.classifier import Classifier
from fastnn.training.predictor import BEST
from tests.conftest import blobs

CONFIG = fastnn.TrainConfig(
    hidden=(9, 7), epochs=2, batch_size=32, device="cpu", kernels="reference"
)


def pictures(count: int = 60) -> Dataset:
    """Noise of 4 x 4 bytes in three classes, which are as bright as their code."""
    rng = np.random.default_rng(2)
    codes = np.arange(count, dtype=np.int32) % 3
    inputs = (rng.integers(0, 90, (count, 16)) + 80 * codes[:, None]).astype(np.uint8)
    part = Examples(inputs, codes)
    return Dataset("pictures", part, part, ("dim", "grey", "bright"), (4, 4))


def written_out(run, x):
    """Scaled inputs and every layer's outputs, in float64 from the arrays of a run's file."""
    arrays, _ = checkpoint.load(run / BEST)
    offset = arrays.get("scaling/offset", 0)
    layers = [(np.asarray(x, np.float64) - offset) * arrays["scaling/factor"]]
    depth = sum(name.endswith(".weight") for name in arrays if name.startswith("params/"))
    for layer in range(depth):
        own = {key: arrays[f"params/layers.{layer}.{key}"] for key in ("weight", "bias")}
        z = np.einsum("bi,io->bo", layers[-1], own["weight"].astype(np.float64)) + own["bias"]
        layers.append(z if layer == depth - 1 else np.where(z > 0, z, 0))
    return layers


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A result with its run folder."""
    return fastnn.train(CONFIG, data=blobs(), out=tmp_path_factory.mktemp("runs"))


@pytest.mark.parametrize("count", [1, 50, 2100])  # 1024 rows are a batch
def test_outputs_and_hidden_are_the_forward_pass_written_out(trained, count):
    x = np.random.default_rng(count).integers(0, 256, (count, 12)).astype(np.uint8)
    _, first, last_hidden, z = written_out(trained.folder, x)
    assert first.shape == (count, 9)
    loaded = Classifier.load(trained.folder, device="cpu")
    np.testing.assert_allclose(loaded.hidden(x), last_hidden, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(loaded.outputs(x), z, rtol=1e-4, atol=1e-5)
    assert (last_hidden > 0).any()


@pytest.mark.parametrize("scaling", ["unit", "standard"])
def test_a_linear_model_has_its_scaled_inputs_to_show(tmp_path, scaling):
    data = blobs()
    config = replace(CONFIG, hidden=(), scaling=scaling)
    result = fastnn.train(config, data=data, out=tmp_path)
    scaled, z = written_out(result.folder, data.test.inputs)
    hidden = result.classifier.hidden(data.test.inputs)
    assert hidden.shape == (300, 12)
    np.testing.assert_allclose(hidden, scaled, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(result.classifier.outputs(data.test.inputs), z, rtol=1e-4, atol=1e-5)


def test_mirrored_outputs_are_the_mean_of_two_and_hidden_ones_those_of_the_picture(tmp_path):
    data = pictures()
    result = fastnn.train(replace(CONFIG, flip_test=True), data=data, out=tmp_path)
    seen = data.test.inputs
    mirrored = np.flip(seen.reshape(-1, 4, 4), axis=2).reshape(-1, 16)
    one, other = written_out(result.folder, seen), written_out(result.folder, mirrored)
    found = result.classifier.outputs(seen)
    np.testing.assert_allclose(found, (one[-1] + other[-1]) / 2, rtol=1e-4, atol=1e-5)
    assert np.abs(found - one[-1]).max() > 1e-3
    np.testing.assert_allclose(result.classifier.hidden(seen), one[-2], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "settings",
    [
        {"norm": "batch", "activation": ("gelu",)},
        {"norm": "layer", "residual": True, "hidden": (8, 8)},
        {"dropout": 0.4, "activation": ("tanh", "relu")},
    ],
)
def test_the_last_layer_makes_outputs_of_what_is_hidden(tmp_path, settings):
    x = blobs().test.inputs
    result = fastnn.train(replace(CONFIG, **settings), data=blobs(), out=tmp_path)
    arrays, _ = checkpoint.load(result.folder / BEST)
    hidden = result.classifier.hidden(x).astype(np.float64)
    z = hidden @ arrays["params/layers.2.weight"] + arrays["params/layers.2.bias"]
    np.testing.assert_allclose(result.classifier.outputs(x), z, rtol=1e-4, atol=1e-5)


def test_a_gpu_has_the_same_hidden_outputs(trained, gpu):
    x = blobs().test.inputs
    expected = written_out(trained.folder, x)[-2]
    on_gpu = Classifier.load(trained.folder, device="cuda")
    np.testing.assert_allclose(on_gpu.hidden(x), expected, rtol=1e-4, atol=1e-5)


def test_no_rows_give_no_outputs(trained):
    none = np.zeros((0, 12), np.uint8)
    assert trained.classifier.outputs(none).shape == (0, 3)
    assert trained.classifier.hidden(none).shape == (0, 7)
    assert trained.classifier.predict_proba(none, temperature=2).shape == (0, 3)


def test_a_temperature_softens_probabilities_and_changes_no_answer(trained):
    x = blobs().test.inputs
    z = written_out(trained.folder, x)[-1]
    for temperature in (0.5, 1.0, 3.0):
        p = trained.classifier.predict_proba(x, temperature=temperature)
        # log p_i - log p_j = (z_i - z_j) / T: what a softmax is, without its formula
        np.testing.assert_allclose(
            np.log(p[:, 0] / p[:, 1]), (z[:, 0] - z[:, 1]) / temperature, rtol=1e-3, atol=1e-4
        )
        np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-6)
        np.testing.assert_array_equal(p.argmax(axis=1), z.argmax(axis=1))
    for wrong in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ConfigError, match="temperature"):
            trained.classifier.predict_proba(x, temperature=wrong)


def test_an_evaluation_agrees_with_the_score_of_training(trained):
    found = Evaluation.of(trained.classifier, blobs().test)
    assert found.accuracy == trained.test.accuracy
    assert found.loss == pytest.approx(trained.test.loss, rel=1e-6)
    assert found.count == trained.test.count == 300
    np.testing.assert_array_equal(found.predicted, trained.classifier.predict(blobs().test.inputs))
    assert found.loss_at(1.0) == found.loss
    low, high = found.interval
    assert low < found.accuracy < high


def test_the_network_runs_once_over_the_examples(trained, monkeypatch):
    rows = []

    def counted(self, inputs):
        rows.append(len(inputs))
        return original(self, inputs)

    original = Classifier.outputs
    monkeypatch.setattr(Classifier, "outputs", counted)
    found = Evaluation.of(trained.classifier, blobs().test)
    assert found.loss > 0
    assert len(found.per_class) == len(found.confusion) == 3
    assert found.calibration(2.0).examples.sum() == 300
    assert found.fitted_temperature() > 0
    assert rows == [300]


def test_examples_worth_looking_at():
    z = np.log(
        [[0.6, 0.3, 0.1], [0.05, 0.9, 0.05], [0.2, 0.5, 0.3], [0.7, 0.2, 0.1], [0.4, 0.3, 0.3]]
    )
    found = Evaluation(("a", "b", "c"), np.array([0, 0, 2, 2, 0]), z)
    np.testing.assert_allclose(found.confidence, [0.6, 0.9, 0.5, 0.7, 0.4])
    assert found.right.tolist() == [True, False, False, False, True]
    assert found.mistakes(9).tolist() == [1, 3, 2]
    assert found.mistakes(2).tolist() == [1, 3]
    assert found.of_class(0, right=True, most=9).tolist() == [0, 4]
    assert found.of_class(0, right=True, most=1).tolist() == [0]
    assert found.of_class(2, right=False, most=9).tolist() == [2, 3]
    assert found.of_class(1, right=False, most=9).tolist() == []
    assert found.top_k == {2: 4 / 5}  # of three classes, three guesses leave none out
    assert found.accuracy == 2 / 5


def test_outputs_that_are_not_finite_are_told(trained):
    broken = Classifier.load(trained.folder, device="cpu")
    broken.model.params["layers.1.bias"][0] = np.inf
    with pytest.raises(DataError, match=r"300 of 300 examples are not finite"):
        Evaluation.of(broken, blobs().test)
    with pytest.raises(DataError, match="labels"):
        Evaluation.of(trained.classifier, Examples(np.zeros((2, 12), np.uint8), np.array([0, 3])))


@pytest.mark.parametrize("loss", ["mse", "mae", "huber"])
def test_numbers_have_their_errors_in_their_own_units(tmp_path, loss):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 5))
    y = np.stack([1e4 + 500 * x[:, 0], 3 * x[:, 1] - x[:, 2]], axis=1) + rng.normal(size=(200, 2))
    data = fastnn.dataset_from_arrays(x[:150], y[:150], x[150:], y[150:], numbers=True)
    config = replace(CONFIG, loss=loss, epochs=20, learning_rate=0.02, scaling="standard")
    result = fastnn.train(config, data=data, out=tmp_path)
    found = NumbersEvaluation.of(result.regressor, data.test)

    predicted, truth = result.regressor.predict(data.test.inputs), data.test.labels.tolist()
    for column, row in enumerate(found.per_target):
        errors = [p[column] - t[column] for p, t in zip(predicted.tolist(), truth, strict=True)]
        mean = math.fsum(t[column] for t in truth) / 50
        spread = math.fsum((t[column] - mean) ** 2 for t in truth)
        squares = math.fsum(error**2 for error in errors)
        assert row.rmse == pytest.approx(math.sqrt(squares / 50), rel=1e-9)
        assert row.mae == pytest.approx(math.fsum(map(abs, errors)) / 50, rel=1e-9)
        assert row.r2 == pytest.approx(1 - squares / spread, rel=1e-6)
    assert (found.r2, found.count) == (result.test.r2, 50)
    assert result.test.rmse == tuple(row.rmse for row in found.per_target)
    assert found.loss == result.test.loss
    # The loss of training, which its kernels summed in float32 over the validation part.
    held_out = min(report.valid_loss for report in result.history)
    assert result.valid.loss == pytest.approx(held_out, rel=1e-5)


def test_errors_are_those_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    rng = np.random.default_rng(5)
    targets, predicted = rng.normal(size=(2, 40, 3)).astype(np.float32)
    found = NumbersEvaluation(("a", "b", "c"), targets, predicted.astype(np.float64), 0.0)
    rows = np.array(found.per_target).T
    np.testing.assert_allclose(
        rows[0], metrics.r2_score(targets, predicted, multioutput="raw_values"), rtol=1e-5
    )
    for row, power in ((rows[1] ** 2, "squared"), (rows[2], "absolute")):
        referee = getattr(metrics, f"mean_{power}_error")
        expected = referee(targets, predicted, multioutput="raw_values")
        np.testing.assert_allclose(row, expected, rtol=1e-5)


def test_a_gpu_sees_both_ways_where_asked(tmp_path, gpu):
    images = np.random.default_rng(0).integers(0, 256, (40, 3, 4)).astype(np.uint8)
    data = fastnn.dataset_from_arrays(images, np.arange(40) % 2)
    config = replace(CONFIG, flip_test=True, device="cpu")
    folder = fastnn.train(config, data=data, out=tmp_path).folder
    expected = Classifier.load(folder, device="cpu").outputs(images)
    on_gpu = Classifier.load(folder, device="cuda").outputs(images)
    np.testing.assert_allclose(on_gpu, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("temperature", [1e-6, 1e-3, 1e6])
def test_an_extreme_temperature_leaves_the_answer_alone(trained, temperature):
    x = blobs().test.inputs
    said = trained.classifier.predict_proba(x, temperature=temperature)
    own = said[np.arange(len(x)), trained.classifier.predict(x)]
    assert (own >= said.max(axis=1) - 1e-6).all()
    np.testing.assert_allclose(said.sum(axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("temperature", [0, -1, 1e-7, 1e7, float("nan"), float("inf")])
def test_temperatures_that_are_none_are_refused(trained, temperature):
    with pytest.raises(fastnn.ConfigError, match="temperature"):
        trained.classifier.predict_proba(blobs().test.inputs, temperature=temperature)
