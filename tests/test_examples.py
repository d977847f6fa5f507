"""Splits keep proportions; data sets refuse parts that do not fit."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fastnn.data.examples import Dataset, Examples, stratified_split
from fastnn.errors import ConfigError, DataError
from fastnn.rng import Stream, generator


@given(st.lists(st.integers(0, 4), min_size=2, max_size=200), st.data())
def test_split_is_exact_disjoint_and_in_proportion(labels, data):
    labels = np.array(labels, np.int32)
    sizes = np.unique(labels, return_counts=True)[1]
    assume(len(labels) > len(sizes))
    count = data.draw(st.integers(1, len(labels) - len(sizes)))
    rng = generator(0, Stream.SPLIT)
    chosen, rest = stratified_split(labels, count, rng, what="test")
    assert len(chosen) == count
    assert sorted([*chosen, *rest]) == list(range(len(labels)))
    assert set(labels[rest]) == set(labels)  # no class is lost to learn from
    if sizes.min() * (1 - count / len(labels)) >= 1:  # none is so small that it had to be spared
        for label in np.unique(labels):
            share = (labels == label).sum() * count / len(labels)
            assert abs((labels[chosen] == label).sum() - share) < 1


def test_split_depends_on_the_seed_and_is_not_just_the_front():
    labels = np.zeros(100, np.int32)
    picks = [
        stratified_split(labels, 10, generator(seed, Stream.SPLIT), what="test")[0].tolist()
        for seed in (0, 0, 1)
    ]
    assert picks[0] == picks[1] != picks[2]
    assert max(picks[0]) > 10


@pytest.mark.parametrize("count", [0, 4, 5])
def test_a_split_that_empties_a_part_is_refused(count):
    with pytest.raises(ConfigError, match=f"val holds out {count} of 4"):
        stratified_split(np.zeros(4, np.int32), count, generator(0, Stream.SPLIT), what="val")


def examples(count, columns=4):
    return Examples(np.zeros((count, columns), np.uint8), np.arange(count, dtype=np.int32) % 2)


@pytest.mark.parametrize(
    ("train", "test", "fault"),
    [
        (examples(0), None, "training part holds no examples"),
        (examples(3), examples(0), "test part holds no examples"),
        (
            Examples(np.zeros((3, 4), np.uint8), np.zeros(2, np.int32)),
            None,
            "3 inputs but labels of shape \\(2,\\)",
        ),
        (Examples(np.zeros((2, 4)), np.array([0, 2])), None, "labels 0 to 2 as int64, expected"),
        (Examples(np.zeros((2, 4)), np.array([-1, 1])), None, "labels -1 to 1"),
        (Examples(np.zeros((2, 4)), np.array([0.0, 1.0])), None, "float64"),
        (Examples(np.zeros((2, 2, 2)), np.array([0, 1])), None, r"shape \(2, 2, 2\)"),
        (examples(3), examples(3, columns=5), "shape \\(3, 5\\), expected \\(N, 4\\)"),
    ],
)
def test_parts_that_do_not_fit_are_refused(train, test, fault):
    with pytest.raises(DataError, match=fault):
        Dataset("mine", train, test, ("a", "b"), (2, 2))


def test_fingerprint_notices_any_change():
    prints = set()
    for change in ("none", "input", "label", "dtype"):
        part = examples(6)
        if change == "input":
            part.inputs[2, 1] = 1
        if change == "label":
            part.labels[3] = 0
        if change == "dtype":
            part = Examples(part.inputs.view(np.int8), part.labels)
        prints.add(Dataset("mine", part, None, ("a", "b"), (4,)).fingerprint())
    assert len(prints) == 4


def test_limited_keeps_proportions_and_the_test_part():
    data = Dataset("mine", examples(100), examples(10), ("a", "b"), (4,))
    small = data.limited(20, seed=1)
    assert np.bincount(small.train.labels).tolist() == [10, 10]
    assert small.test is data.test
    assert data.limited(1000, seed=1) is data
