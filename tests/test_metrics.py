"""Figures of classification: by hand, from closed forms, and as scikit-learn has them."""

from __future__ import annotations

import json
import math
from collections import Counter
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastnn.analysis.metrics import (
    calibration,
    class_figures,
    confusion_matrix,
    cross_entropy,
    fit_temperature,
    macro,
    most_confused,
    share_interval,
    softmax,
    top_k_accuracy,
)
from scripts.make_metrics_golden import CLASSES, figures, sample

GOLDEN = json.loads((Path(__file__).parent / "golden" / "metrics.json").read_text())
# Rows are true: of 4 examples of class 0 three were found; class 2 was never said; 3 never occurs.
HAND = np.array([[3, 1, 0, 0], [0, 2, 0, 1], [1, 1, 0, 0], [0, 0, 0, 0]])


def ours(z, codes, temperature):
    """The same figures as the golden file holds."""
    confusion = confusion_matrix(codes, z.argmax(axis=1), z.shape[1])
    rows = class_figures(confusion)
    accuracy = float(np.mean(z.argmax(axis=1) == codes))
    return {
        "per_class": np.array(rows),
        "macro": np.array(macro(rows)[:3]),
        "confusion": confusion,
        "top_k": np.array([top_k_accuracy(z, codes, k) for k in (1, 2, 3)]),
        "losses": np.array([cross_entropy(z, codes), cross_entropy(z, codes, temperature)]),
        "interval": np.array(share_interval(accuracy, len(codes))),
    }


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, value in found.items():
        np.testing.assert_allclose(value, np.array(expected[name], float), rtol=1e-12, err_msg=name)


def test_figures_are_those_of_scikit_learn_as_stored():
    stored = dict(GOLDEN)
    z, codes = np.array(stored.pop("z")), np.array(stored.pop("codes"))
    assert_same(ours(z, codes, stored.pop("temperature")), stored)


def test_figures_are_those_of_scikit_learn_as_installed():
    pytest.importorskip("sklearn", reason="scikit-learn is not installed; the stored figures are")
    rng = np.random.default_rng(1)
    for z, codes in (
        sample(),
        (rng.normal(size=(500, CLASSES)) * 3, rng.integers(0, CLASSES, 500)),
    ):
        assert_same(ours(z, codes, 2.5), figures(z, codes))


def test_classes_by_hand():
    rows = class_figures(HAND)
    assert rows[0] == (3 / 4, 3 / 4, 3 / 4, 4)
    assert rows[1] == (2 / 4, 2 / 3, pytest.approx(4 / 7), 3)
    assert math.isnan(rows[2].precision)
    assert rows[2][1:] == (0, 0, 2)
    assert rows[3].precision == 0
    assert math.isnan(rows[3].recall)
    assert (rows[3].f1, rows[3].support) == (0, 0)
    # Three classes occur; of class 2 the precision is undefined and counts as 0.
    assert macro(rows) == (
        pytest.approx((3 / 4 + 2 / 4) / 3),
        pytest.approx((3 / 4 + 2 / 3) / 3),
        pytest.approx((3 / 4 + 4 / 7) / 3),
        9,
    )


def test_a_class_that_neither_occurs_nor_was_said_has_no_figures():
    rows = class_figures(np.array([[2, 0], [0, 0]]))
    assert rows[0] == (1, 1, 1, 2)
    assert all(math.isnan(value) for value in rows[1][:3])
    assert macro(rows) == (1, 1, 1, 2)


def test_most_confused_by_hand():
    assert most_confused(HAND, 2) == [(0, 1, 1, 1 / 4), (1, 3, 1, 1 / 3)]  # ties: in reading order
    assert [pair[:3] for pair in most_confused(HAND, 99)] == [
        (0, 1, 1), (1, 3, 1), (2, 0, 1), (2, 1, 1),
    ]  # fmt: skip
    assert most_confused(np.array([[5, 1], [3, 0]]), 1) == [(1, 0, 3, 1.0)]
    assert most_confused(np.diag([4, 2]), 5) == []


def test_top_k_by_hand():
    z = np.array([[3.0, 2, 1], [3, 2, 1], [3, 2, 1], [0, 0, 5]])
    codes = np.array([0, 1, 2, 0])
    assert [top_k_accuracy(z, codes, k) for k in (1, 2, 3)] == [1 / 4, 3 / 4, 1]


def test_of_equal_outputs_the_first_class_is_said():
    z, codes = np.zeros((3, 3), np.float32), np.arange(3)
    assert [top_k_accuracy(z, codes, k) for k in (1, 2, 3)] == [1 / 3, 2 / 3, 1]


def test_cross_entropy_by_hand():
    z = np.log([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]])
    codes = np.array([0, 1])
    assert cross_entropy(z, codes) == pytest.approx((math.log(2) + math.log(10)) / 2)
    squares = (0.25, 0.0625, 0.0625), (0.01, 0.01, 0.64)  # at T = 1/2, not yet summing to 1
    expected = -math.log(0.25 / sum(squares[0])) - math.log(0.01 / sum(squares[1]))
    assert cross_entropy(z, codes, 0.5) == pytest.approx(expected / 2)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_huge_outputs_overflow_nothing(kind):
    z = np.array([[1e4, -1e4, 0], [-3e38, 3e38, 0]], kind)
    np.testing.assert_array_equal(softmax(z), [[1, 0, 0], [0, 1, 0]])
    assert cross_entropy(z[:1], np.array([2])) == 1e4
    assert cross_entropy(z[:1], np.array([2]), 100.0) == pytest.approx(100)
    assert fit_temperature(z[:1], np.array([2])) == pytest.approx(100)


def test_the_interval_is_where_a_normal_approximation_reaches_the_share():
    """Wilson's definition: |share - p| is 1.96 standard errors of p itself, at both ends."""
    for hits, count in ((8, 10), (1, 3), (884, 1000)):
        share = hits / count
        for p in share_interval(share, count):
            assert abs(share - p) / math.sqrt(p * (1 - p) / count) == pytest.approx(1.9599639845)
    assert share_interval(0.0, 20)[0] == pytest.approx(0, abs=1e-15)
    assert share_interval(1.0, 20)[1] == pytest.approx(1, abs=1e-15)
    assert 0.83 < share_interval(1.0, 20)[0] < 0.84  # 20 / (20 + 1.96^2)


def two_classes(confidences, right):
    """Probabilities (N, 2) of class 0, and codes that make the answers right or wrong."""
    p = np.array(confidences)
    return np.stack([p, 1 - p], axis=1), np.where(right, 0, 1)


def test_calibration_error_by_hand():
    p, codes = two_classes([0.6, 0.7, 0.9, 0.95], [True, True, True, False])
    found = calibration(p, codes, p.argmax(axis=1), bins=5)
    # (0.4, 0.6]: sure 0.6, right 1. (0.6, 0.8]: 0.7, 1. (0.8, 1]: 0.925, 1/2, two of them.
    assert found.ece == pytest.approx((0.4 + 0.3 + 2 * 0.425) / 4)
    assert found.examples.tolist() == [0, 0, 1, 1, 2]
    np.testing.assert_allclose(found.confidence, [np.nan, np.nan, 0.6, 0.7, 0.925])
    np.testing.assert_allclose(found.accuracy, [np.nan, np.nan, 1, 1, 0.5])


@pytest.mark.parametrize("bins", [1, 2, 7, 15, 49, 100])
def test_an_edge_belongs_to_the_bin_below(bins):
    code = np.array([0])
    for edge in range(1, bins + 1):
        p = np.array([[edge / bins, 0.0]])  # only the greatest counts
        assert np.flatnonzero(calibration(p, code, code, bins).examples) == [edge - 1]
        above = calibration(np.nextafter(p, 2), code, code, bins)
        assert np.flatnonzero(above.examples) == [min(edge, bins - 1)]


@pytest.mark.parametrize("scale", [0.1, 1.0, 7.0])
def test_temperature_has_a_closed_form_for_one_difference(scale):
    """Of outputs (d, 0) with class 0 in 3 of 4: sigmoid(d / T) = 3/4, so T = d / ln 3."""
    z = np.array([[2.0, 0.0]] * 4) * scale
    expected = 2 * scale / math.log(3)
    assert fit_temperature(z, np.array([0, 0, 0, 1])) == pytest.approx(expected, rel=1e-9)
    single = (z + 5).astype(np.float32)
    assert fit_temperature(single, np.array([0, 1, 0, 0])) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("factor", [0.3, 1.0, 4.0])
def test_temperature_undoes_a_factor_of_calibrated_outputs(factor):
    rng = np.random.default_rng(3)
    z = rng.normal(0, 2, (20_000, 4))
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    codes = (p.cumsum(axis=1) < rng.random((len(z), 1))).sum(axis=1)  # each drawn by its own p
    found = fit_temperature(z * factor, codes)
    assert found == pytest.approx(factor, rel=0.03)
    grid = factor * np.geomspace(0.9, 1.1, 41)
    losses = [
        np.mean(
            np.logaddexp.reduce(z * factor / t, axis=1) - (z * factor / t)[range(20_000), codes]
        )
        for t in grid
    ]
    assert found == pytest.approx(grid[int(np.argmin(losses))], rel=0.006)  # a step of the grid
    assert cross_entropy(z * factor, codes, found) <= min(losses)


def test_temperature_ends_at_its_bounds():
    z = np.array([[9.0, 1, 0], [0, 700, 1], [1, 2, 3e3]])
    assert fit_temperature(z, np.array([0, 1, 2])) == pytest.approx(0.01)  # all right
    assert fit_temperature(z, np.array([1, 2, 0])) == pytest.approx(100)  # all wrong
    assert fit_temperature(np.full((4, 3), 2.5), np.array([0, 1, 2, 0])) == 1  # any fits


outputs_and_codes = st.integers(2, 6).flatmap(
    lambda classes: st.lists(
        st.tuples(
            st.lists(st.floats(-60, 60, width=32), min_size=classes, max_size=classes),
            st.integers(0, classes - 1),
        ),
        min_size=1,
        max_size=25,
    )
)


@settings(deadline=None, max_examples=60)
@given(outputs_and_codes, st.floats(0.05, 20))
def test_what_holds_for_any_outputs(rows, temperature):
    z, codes = np.array([row for row, _ in rows], np.float32), np.array([code for _, code in rows])
    said, classes = z.argmax(axis=1), z.shape[1]
    confusion = confusion_matrix(codes, said, classes)
    pairs = Counter(zip(codes.tolist(), said.tolist(), strict=True))
    assert {(i, j): int(confusion[i, j]) for i, j in pairs} == pairs
    assert confusion.sum() == len(rows)

    mean = macro(class_figures(confusion))
    assert all(0 <= value <= 1 for value in mean[:3])
    assert mean.support == len(rows)

    shares = [top_k_accuracy(z, codes, k) for k in range(1, classes + 1)]
    assert shares == sorted(shares)
    assert shares[0] == np.mean(said == codes) == float(Fraction(int(np.trace(confusion)), len(z)))
    assert shares[-1] == 1

    p = softmax(z, temperature)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    own = np.take_along_axis(p, said[:, None], axis=1)[:, 0]
    np.testing.assert_array_equal(own, p.max(axis=1))  # the answers are as they were
    found = calibration(p, codes, said)
    assert 0 <= found.ece <= 1
    assert found.examples.sum() == len(rows)

    best = fit_temperature(z, codes)
    assert 0.0099 < best < 100.1
    assert cross_entropy(z, codes, best) <= cross_entropy(z, codes, temperature) + 1e-9
