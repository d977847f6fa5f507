"""How weights start: the deviation that keeps a signal's size from layer to layer; its shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import sqrt

import numpy as np

from fastnn.backend import Array
from fastnn.errors import ConfigError, did_you_mean

# Variance of a weight, from I and O.
SCHEMES: Mapping[str, Callable[[int, int], float]] = {
    "he": lambda inputs, outputs: 2 / inputs,  # arXiv:1502.01852
    "glorot": lambda inputs, outputs: 2 / (inputs + outputs),  # AISTATS 2010
    "lecun": lambda inputs, outputs: 1 / inputs,  # Efficient BackProp, 1998
}
SHAPES = ("normal", "uniform")
INITS = ("auto", *(f"{scheme}-{shape}" for scheme in SCHEMES for shape in SHAPES))

# What `auto` takes for an activation: He's where half of the signal is lost.
_FITTING = {"tanh": "glorot-normal", "sigmoid": "glorot-normal", "identity": "lecun-normal"}


def initial_weights(
    init: str, activation: str, inputs: int, outputs: int, rng: np.random.Generator
) -> Array:
    """Draw (I, O) in float64; `init` is one of INITS, "auto" choosing by the activation."""
    if init not in INITS:
        raise ConfigError(
            f"init: {init!r} is not one of {', '.join(INITS)}{did_you_mean(init, INITS)}"
        )
    if init == "auto":
        init = _FITTING.get(activation, "he-normal")
    scheme, shape = init.split("-")
    deviation = sqrt(SCHEMES[scheme](inputs, outputs))
    if shape == "normal":
        return rng.standard_normal((inputs, outputs)) * deviation
    limit = sqrt(3) * deviation  # a uniform draw from [-1, 1] has variance 1/3
    return rng.uniform(-limit, limit, (inputs, outputs))
