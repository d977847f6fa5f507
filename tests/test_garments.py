"""What `garments.draw` promises: the same pictures everywhere, and ten kinds of them."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from numpy.typing import NDArray

from fastnn.data.garments import CLASS_NAMES, SHAPE, draw

BLOCK = 500
PIXELS = SHAPE[0] * SHAPE[1]
# A change of the drawing changes every recorded accuracy: replace this digest only on purpose.
FIRST_THOUSAND = "f951085dfde41a9e4e3f74e58309db8d44da09ef845b66bcca49570a7f82ebec"

Examples = tuple[NDArray[np.uint8], NDArray[np.int32]]


@pytest.fixture(scope="module")
def train() -> Examples:
    return draw(2000, split="train")


@pytest.fixture(scope="module")
def held_out() -> Examples:
    return draw(2000, split="test")


def class_means(examples: Examples) -> NDArray[np.float64]:
    images, labels = examples
    return np.stack([images[labels == label].mean(axis=0) for label in range(len(CLASS_NAMES))])


def test_shapes_types_and_range(train: Examples) -> None:
    images, labels = train
    assert images.shape == (2000, PIXELS) and images.dtype == np.uint8
    assert labels.shape == (2000,) and labels.dtype == np.int32
    assert set(labels) == set(range(len(CLASS_NAMES)))
    assert images.min() == 0 and images.max() == 255


def test_class_names_are_those_of_fashion_mnist() -> None:
    assert len(CLASS_NAMES) == 10
    assert CLASS_NAMES[0] == "T-shirt/top" and CLASS_NAMES[9] == "Ankle boot"


def test_no_examples() -> None:
    images, labels = draw(0, split="train")
    assert images.shape == (0, PIXELS) and images.dtype == np.uint8
    assert labels.shape == (0,) and labels.dtype == np.int32


def test_the_same_call_draws_the_same(train: Examples) -> None:
    images, labels = draw(2000, split="train")
    np.testing.assert_array_equal(images, train[0])
    np.testing.assert_array_equal(labels, train[1])


def test_the_drawing_has_not_changed(train: Examples) -> None:
    images, labels = train
    content = images[:1000].tobytes() + labels[:1000].astype("<i4").tobytes()
    assert hashlib.sha256(content).hexdigest() == FIRST_THOUSAND


@pytest.mark.parametrize("count", [1, 10, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 7])
def test_an_example_does_not_depend_on_the_count(train: Examples, count: int) -> None:
    images, labels = draw(count, split="train")
    np.testing.assert_array_equal(images, train[0][:count])
    np.testing.assert_array_equal(labels, train[1][:count])


def test_no_picture_is_drawn_twice(train: Examples, held_out: Examples) -> None:
    pictures = {image.tobytes() for images, _ in (train, held_out) for image in images}
    assert len(pictures) == 4000


def test_splits_and_blocks_are_shuffled_differently(train: Examples, held_out: Examples) -> None:
    blocks = np.concatenate([train[1], held_out[1]]).reshape(-1, BLOCK)
    orders = {labels.tobytes() for labels in blocks}
    assert len(orders) == len(blocks)


def test_another_seed_draws_other_examples(train: Examples) -> None:
    images, labels = draw(BLOCK, split="train", seed=1)
    assert not (images == train[0][:BLOCK]).all(axis=1).any()
    assert (labels != train[1][:BLOCK]).any()


def test_classes_are_balanced_in_every_block(train: Examples) -> None:
    for labels in train[1].reshape(-1, BLOCK):
        np.testing.assert_array_equal(np.bincount(labels), BLOCK // len(CLASS_NAMES))


def test_classes_are_mixed_within_a_block(train: Examples) -> None:
    assert len(set(train[1][:50])) >= 8


def test_the_mean_pictures_of_the_classes_differ(train: Examples) -> None:
    means = class_means(train)
    distances = np.sqrt(((means[:, None] - means[None]) ** 2).mean(axis=2))
    assert distances[~np.eye(len(means), dtype=bool)].min() > 5.0


def test_labels_belong_to_the_pictures(train: Examples, held_out: Examples) -> None:
    """The nearest class mean is a poor classifier, yet far better than one in ten."""
    means = class_means(train)
    images, labels = held_out
    nearest = ((images[:, None].astype(np.float32) - means.astype(np.float32)) ** 2).sum(axis=2)
    assert (nearest.argmin(axis=1) == labels).mean() > 0.5


def test_pictures_show_a_garment_on_black(train: Examples) -> None:
    images, labels = train
    lit = (images > 25).mean(axis=1)
    assert ((lit > 0.05) & (lit < 0.8)).mean() > 0.98
    for label in range(len(CLASS_NAMES)):
        assert np.median(images[labels == label].max(axis=1)) > 100
    border = images.reshape(-1, *SHAPE)[:, :, [0, -1]]
    assert (border < 25).mean() > 0.9


def test_pictures_of_a_class_vary(train: Examples) -> None:
    images, labels = train
    for label in range(len(CLASS_NAMES)):
        assert images[labels == label].std(axis=0).max() > 40
