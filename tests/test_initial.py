"""The draw of weights: mean, deviation and shape of each, and the choice by activation."""

from math import sqrt

import numpy as np
import pytest

from fastnn.errors import ConfigError
from fastnn.nn.initial import INITS, initial_weights

DEVIATIONS = {"he": sqrt(2 / 400), "glorot": sqrt(2 / 700), "lecun": sqrt(1 / 400)}


@pytest.mark.parametrize("init", [init for init in INITS if init != "auto"])
def test_a_draw_has_its_mean_deviation_and_shape(init):
    scheme, shape = init.split("-")
    draw = initial_weights(init, "relu", 400, 300, np.random.default_rng(0))
    count, sigma = draw.size, DEVIATIONS[scheme]
    assert draw.shape == (400, 300)
    assert abs(draw.mean()) < 4 * sigma / sqrt(count)
    assert abs(draw.std() - sigma) < 4 * sigma / sqrt(2 * count)
    # Inside one deviation lie 68.27 % of a normal draw, and 1 / sqrt(3) of a uniform one.
    share = {"normal": 0.6827, "uniform": 1 / sqrt(3)}[shape]
    inside = (np.abs(draw) < sigma).mean()
    assert inside == pytest.approx(share, abs=4 * sqrt(share * (1 - share) / count))


@pytest.mark.parametrize(
    ("activation", "chosen"),
    [
        ("relu", "he-normal"), ("leaky-relu", "he-normal"), ("gelu", "he-normal"),
        ("silu", "he-normal"), ("tanh", "glorot-normal"), ("sigmoid", "glorot-normal"),
        ("identity", "lecun-normal"),
    ],
)  # fmt: skip
def test_auto_suits_the_activation(activation, chosen):
    draws = [
        initial_weights(init, activation, 5, 4, np.random.default_rng(0))
        for init in ("auto", chosen)
    ]
    assert np.array_equal(*draws)


def test_an_unknown_init_is_named_with_a_suggestion():
    with pytest.raises(ConfigError, match=r"init: 'he-norml' .*did you mean 'he-normal'"):
        initial_weights("he-norml", "relu", 2, 2, np.random.default_rng(0))
