"""Activations and losses: values against plain floats, slopes against differences, extremes."""

import math

import numpy as np
import pytest

from fastnn.kernels.formulas import ACTIVATIONS, LOSSES, on_arrays

# As their papers write them, one float at a time.
VALUES = {
    "relu": lambda x, c: max(x, 0.0),
    "leaky-relu": lambda x, c: x if x >= 0 else 0.01 * x,
    "gelu": lambda x, c: 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "silu": lambda x, c: x / (1 + math.exp(-x)),
    "tanh": lambda x, c: (math.exp(2 * x) - 1) / (math.exp(2 * x) + 1),
    "sigmoid": lambda x, c: 1 / (1 + math.exp(-x)),
    "identity": lambda x, c: x,
    "mse": lambda x, c: x**2,
    "mae": lambda x, c: math.fabs(x),
    "huber": lambda x, c: x**2 / 2 if abs(x) <= c else c * abs(x) - c**2 / 2,
}
KINKS = {"relu": [0], "leaky-relu": [0], "mae": [0], "huber": [-1, 1]}
# Value and slope far to the left and far to the right, as multiples of x and as numbers.
LIMITS = {
    "relu": ((0, 0), (1, 0), 0, 1),
    "leaky-relu": ((0.01, 0), (1, 0), 0.01, 1),
    "gelu": ((0, 0), (1, 0), 0, 1),
    "silu": ((0, 0), (1, 0), 0, 1),
    "tanh": ((0, -1), (0, 1), 0, 0),
    "sigmoid": ((0, 0), (0, 1), 0, 0),
    "identity": ((1, 0), (1, 0), 1, 1),
}
TABLES = {**ACTIVATIONS, **LOSSES}
every = pytest.mark.parametrize("name", TABLES)
both = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def value(name, x):
    return on_arrays(TABLES[name].value, np)(x, TABLES[name].c)


def slope(name, x):
    return on_arrays(TABLES[name].slope, np)(x, TABLES[name].c)


@every
def test_values_are_those_of_the_papers(name):
    points = [-9.5, -2.0, -1.0, -0.3, -1e-9, 0.0, 1e-9, 0.3, 0.999, 1.0, 2.5, 9.5]
    expected = [VALUES[name](x, 1.0) for x in points]
    np.testing.assert_allclose(value(name, np.array(points)), expected, rtol=1e-13, atol=1e-15)


@every
def test_slopes_agree_with_central_differences(name):
    x = np.linspace(-6.03, 6.01, 301)
    step = 1e-5
    for kink in KINKS.get(name, []):
        assert np.abs(x - kink).min() > step
    numeric = (value(name, x + step) - value(name, x - step)) / (2 * step)
    np.testing.assert_allclose(slope(name, x), numeric, rtol=0, atol=1e-9)


@pytest.mark.parametrize("c", [0.25, 3.0])
def test_huber_is_smooth_where_its_branches_meet(c):
    formula = LOSSES["huber"]
    x = np.array([-c, c])
    for text in (formula.value, formula.slope):
        function = on_arrays(text, np)
        np.testing.assert_allclose(function(x * (1 - 1e-12), c), function(x * (1 + 1e-12), c))
    assert on_arrays(formula.value, np)(np.array([2 * c]), c) == pytest.approx(1.5 * c * c)
    assert on_arrays(formula.slope, np)(np.array([-7 * c, 7 * c]), c) == pytest.approx([-c, c])


def test_slopes_at_kinks_are_those_of_pytorch():
    zero = np.zeros(1)
    assert slope("relu", zero) == 0
    assert slope("leaky-relu", zero) == 0.01
    assert slope("mae", zero) == 0


@every
@both
def test_the_dtype_is_kept_and_float32_is_as_good_as_it_can_be(name, dtype):
    x = np.linspace(-8, 8, 99)
    for part in (value, slope):
        found = part(name, x.astype(dtype))
        assert found.dtype == dtype
        # Rounding of x, of the result and of a few terms up to 8 in size.
        np.testing.assert_allclose(found, part(name, x), rtol=0, atol=60 * np.finfo(dtype).eps)


@both
@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("size", [40.0, 1e4])
def test_far_out_every_activation_has_its_limit(name, dtype, size):
    """Warnings are errors here, so nothing may overflow on the way either."""
    x = np.array([-size, size], dtype)
    (a_left, b_left), (a_right, b_right), slope_left, slope_right = LIMITS[name]
    limits = [a_left * -size + b_left, a_right * size + b_right]
    # Half of a sigmoid's last bit, times x, is all that a float can tell of a limit at 0.
    near = {"rtol": 1e-6, "atol": size * np.finfo(dtype).eps}
    np.testing.assert_allclose(value(name, x), limits, **near)
    np.testing.assert_allclose(slope(name, x), [slope_left, slope_right], **near)


@both
@pytest.mark.parametrize("name", LOSSES)
def test_far_out_every_loss_is_finite_and_exact(name, dtype):
    x = np.array([-1e4, 1e4], dtype)
    expected = {"mse": (1e8, 2e4), "mae": (1e4, 1), "huber": (1e4 - 0.5, 1)}[name]
    np.testing.assert_allclose(value(name, x), expected[0], rtol=1e-7)
    np.testing.assert_allclose(slope(name, x), [-expected[1], expected[1]], rtol=1e-7)


@both
def test_infinity_passes_a_relu_on_one_side_only(dtype):
    x = np.array([-np.inf, np.inf], dtype)
    assert value("relu", x).tolist() == [0, np.inf]
    assert slope("relu", x).tolist() == [0, 1]


@every
def test_nan_stays_nan(name):
    """So that a training that diverges cannot go unnoticed."""
    assert np.isnan(value(name, np.array([np.nan]))).all()


def test_every_row_of_the_tables_is_tested():
    assert VALUES.keys() == TABLES.keys()
    assert LIMITS.keys() == ACTIVATIONS.keys()
