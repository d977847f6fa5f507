"""Scaling: the promised range or moments, and what happens to a column that never changes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fastnn.data.scaling import Scaling
from fastnn.errors import ConfigError


def scaled(scaling, inputs):
    offset = 0.0 if scaling.offset is None else scaling.offset
    return (inputs.astype(np.float64) - offset) * scaling.factor


pixels = arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 9)))
tables = arrays(
    np.float32,
    st.tuples(st.integers(1, 40), st.integers(1, 9)),
    elements=st.floats(-1e3, 1e3, width=32),
)


def test_pixels_share_the_range_of_a_byte():
    inputs = np.array([[0, 51], [255, 102]], np.uint8)
    assert scaled(Scaling.fit(inputs), inputs) == pytest.approx(np.array([[0, 0.2], [1, 0.4]]))


@given(pixels)
@settings(deadline=None)
def test_standardised_pixels_have_one_common_mean_and_deviation(inputs):
    scaling = Scaling.fit(inputs, "standard")
    assert scaling.offset is not None
    assert scaling.offset == pytest.approx([inputs.mean(dtype=np.float64)])
    spread = inputs.std(dtype=np.float64)
    assert scaling.factor == pytest.approx([1 / spread if spread else 1.0])


@given(tables)
@settings(deadline=None)
def test_table_columns_each_fill_the_unit_interval(inputs):
    out = scaled(Scaling.fit(inputs), inputs)
    for column, values in zip(out.T, inputs.T, strict=True):
        assert column.min() == pytest.approx(0, abs=1e-9)
        assert column.max() == pytest.approx(1.0 if values.max() > values.min() else 0.0)


def test_table_columns_are_standardised_one_by_one():
    rng = np.random.default_rng(0)
    inputs = (rng.normal(size=(500, 3)) * [1, 50, 0] + [5, -3, 7]).astype(np.float32)
    out = scaled(Scaling.fit(inputs, "standard"), inputs)
    assert out.mean(axis=0) == pytest.approx([0, 0, 0], abs=1e-5)
    assert out.std(axis=0) == pytest.approx([1, 1, 0], abs=1e-5)


def test_unknown_kind_is_named():
    with pytest.raises(ConfigError, match="scaling: 'minmax'"):
        Scaling.fit(np.zeros((2, 2), np.float32), "minmax")


def test_a_constant_column_is_recognised_in_spite_of_rounding():
    inputs = np.full((1000, 1), 0.1, np.float32)
    assert Scaling.fit(inputs, "standard").factor.tolist() == [1.0]


def test_targets_are_standardised_by_the_weights_of_examples():
    """A whole weight is so many examples; what has none is not there."""
    rng = np.random.default_rng(0)
    targets = rng.normal(size=(50, 2)) * [1e-3, 1e6] + [1e3, -1]
    weights = rng.integers(0, 4, 50).astype(np.float32)
    scaling = Scaling.of_targets(targets, weights)
    repeated = np.repeat(targets, weights.astype(int), axis=0)
    out = scaled(scaling, repeated)
    assert out.mean(axis=0) == pytest.approx([0, 0], abs=1e-9)
    assert out.std(axis=0) == pytest.approx([1, 1])
    np.testing.assert_array_equal(scaling.scaled(targets), scaled(scaling, targets))
    np.testing.assert_allclose(scaling.unscaled(scaling.scaled(targets)), targets, rtol=1e-12)


def test_a_target_that_never_changes_keeps_its_unit_in_spite_of_rounding():
    rng = np.random.default_rng(0)
    for value in (0.1, 1 / 3, 1e6 / 7):
        for _ in range(20):
            weights = rng.uniform(0, 1, 77).astype(np.float32)
            scaling = Scaling.of_targets(np.full((77, 1), value), weights)
            assert scaling.factor.tolist() == [1.0]
