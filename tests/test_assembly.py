"""Data sets from arrays in memory follow the rules of files."""

import numpy as np
import pytest

import fastnn
from fastnn.data.assembly import dataset_from_arrays
from fastnn.errors import DataError


def test_images_and_text_labels():
    x = np.arange(24, dtype=np.uint8).reshape(4, 2, 3)
    data = dataset_from_arrays(x, ["b", "a", "b", "c"])
    assert data.class_names == ("a", "b", "c")
    assert data.train.labels.tolist() == [1, 0, 1, 2]
    assert data.shape == (2, 3)
    assert data.train.inputs.dtype == np.uint8
    assert data.test is None


def test_tables_become_float32_and_the_test_part_uses_the_training_classes():
    data = dataset_from_arrays([[0.5, 1], [2, 3]], [10, -3], [[1.0, 1.0]], [10], name="mine")
    assert data.name == "mine"
    assert data.class_names == ("-3", "10")
    assert data.train.inputs.dtype == np.float32
    assert data.test.labels.tolist() == [1]


@pytest.mark.parametrize(
    ("arrays", "fault"),
    [
        (([[1.0], [2.0]], [0]), "2 rows in x and 1 in y"),
        (([[1.0], [np.nan]], [0, 1]), "row 1, column 0: found nan"),
        (([1.0, 2.0], [0, 1]), "expected numbers"),
        (([[1.0], [2.0]], [0, 0]), "one class"),
        (([[1.0], [2.0]], [0, 1], [[1.0]], [7]), "label '7'"),
        (([[1.0], [2.0]], [0, 1], [[1.0, 2.0]], [0]), "2 features"),
        (([[1.0], [2.0]], [0, 1], [[1.0]]), "both or neither"),
        (([["a"], ["b"]], [0, 1]), "expected numbers"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(arrays, fault):
    with pytest.raises(DataError, match=fault):
        dataset_from_arrays(*arrays)


def test_a_table_can_be_trained_on_and_predicted():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 5)) * [1, 10, 100, 1, 1] + 3
    y = np.where(x[:, 0] + x[:, 1] / 10 > 6, "yes", "no")
    data = fastnn.dataset_from_arrays(x[:300], y[:300], x[300:], y[300:])
    config = fastnn.TrainConfig(hidden=(16,), epochs=30, batch_size=16, learning_rate=0.01)
    for scaling in ("unit", "standard"):
        result = fastnn.train(config.updated({"scaling": scaling}, "test"), data=data)
        assert result.test.accuracy > 0.9
        names = [result.classifier.class_names[code] for code in result.classifier.predict(x[300:])]
        assert np.mean(np.array(names) == y[300:]) == pytest.approx(result.test.accuracy)


def test_a_table_classifier_takes_bytes_for_numbers():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 200, (60, 3)).astype(np.float32)
    data = fastnn.dataset_from_arrays(x, x[:, 0] > 100)
    config = fastnn.TrainConfig(hidden=(4,), epochs=1)
    classifier = fastnn.train(config, data=data).classifier
    expected = classifier.predict_proba(x)
    assert np.array_equal(classifier.predict_proba(x.astype(np.uint8)), expected)
