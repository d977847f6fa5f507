"""That the whole thing learns: what is there to be learned, and only that."""

import numpy as np
import pytest

from fastnn.data.examples import Dataset, Examples
from fastnn.data.garments import CLASS_NAMES, SHAPE, draw
from fastnn.training.config import TrainConfig
from fastnn.training.run import train


def garments(count, test_count=500):
    return Dataset(
        "garments",
        Examples(*draw(count, split="train")),
        Examples(*draw(test_count, split="test")),
        CLASS_NAMES,
        SHAPE,
    )


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_overfits_64_images_to_zero_error(optimizer):
    config = TrainConfig(
        epochs=100, batch_size=16, val=0, hidden=(64,), optimizer=optimizer,
        learning_rate=0.003 if optimizer == "adam" else 0.2,
    )  # fmt: skip
    result = train(config, data=garments(64))
    assert result.train.accuracy == 1.0
    assert result.train.loss < 0.05


def test_shuffled_labels_do_not_beat_chance():
    data = garments(2000, test_count=2000)
    labels = np.random.default_rng(0).permutation(data.train.labels)
    shuffled = Dataset(
        data.name, Examples(data.train.inputs, labels), data.test, CLASS_NAMES, SHAPE
    )
    result = train(TrainConfig(epochs=5, hidden=(64,)), data=shuffled)
    chance, spread = 0.1, (0.1 * 0.9 / 2000) ** 0.5
    # Five standard deviations, and some room because predictions of one network are correlated.
    assert abs(result.test.accuracy - chance) < 5 * spread + 0.02


def test_the_default_network_learns_garments_from_few_examples():
    result = train(TrainConfig(epochs=4), data=garments(4000))
    assert result.test.accuracy > 0.7


def test_fashion_mnist_reaches_the_promised_accuracy(real_data):
    config = TrainConfig(
        dataset="fashion-mnist", data_dir=str(real_data / "fashion-mnist"),
        hidden=(128,), epochs=6, batch_size=64,
    )  # fmt: skip
    result = train(config)
    assert result.test.accuracy > 0.86
    assert result.test.count == 10_000
