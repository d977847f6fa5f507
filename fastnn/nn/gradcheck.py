"""Backpropagation against central differences, for every parameter of a network."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from fastnn.errors import ConfigError
from fastnn.nn.model import MLP


class GradientCheck(NamedTuple):
    """Largest error in each parameter's gradient, relative to that gradient's largest entry.

    Relative to a thousandth of the whole gradient's where that is more: a bias before a batch norm
    has gradient zero, and all that differences show of it is rounding.
    """

    errors: dict[str, float]

    @property
    def worst(self) -> float:
        return max(self.errors.values())


def check_gradients(
    model: MLP,
    x: ArrayLike,
    labels: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    step: float = 1e-6,
) -> GradientCheck:
    """Compare `model.loss_and_grad` with (L(p + step) - L(p - step)) / (2 * step), each p in turn.

    L is the mean training loss: dropout keeps one mask, batch norm uses the batch's statistics. Its
    running ones are no parameters, and are afterwards what they were.

    The model must be float64 (differences of float32 losses are mostly rounding) and should have
    random biases: at zero biases a row that is dead in one layer sits exactly on the next layer's
    ReLU kink, where a right gradient shows an error of about 0.1. Two passes per parameter, so
    meant for small networks; below 1e-6 is right, above 1e-3 is wrong.
    """
    if model.dtype != np.float64:
        raise ConfigError(f"dtype: check_gradients needs a float64 model, not {model.dtype}")
    x, labels = model.backend.asarray(x), model.backend.asarray(labels)
    share = None if weights is None else model.backend.asarray(weights, model.dtype)
    ws, before = model.workspace(len(labels)), model.params.vector.copy()
    model.loss_and_grad(x, labels, ws, weights=share)
    analytic = model.backend.to_host(model.grads.vector)
    vector = model.params.vector
    floor = 1e-3 * float(np.abs(analytic).max())
    errors = {}
    for slot in model.trained:
        numeric = np.empty(slot.stop - slot.start)
        for k in range(slot.start, slot.stop):
            kept = float(vector[k])
            vector[k] = kept + step
            above = float(model.training_loss(x, labels, ws, weights=share).mean())
            vector[k] = kept - step
            below = float(model.training_loss(x, labels, ws, weights=share).mean())
            vector[k] = kept
            numeric[k - slot.start] = (above - below) / (2 * step)
        found = analytic[slot.start : slot.stop]
        scale = max(float(np.abs(numeric).max()), float(np.abs(found).max()), floor, 1e-8)
        errors[slot.name] = float(np.abs(found - numeric).max()) / scale
    vector[...] = before
    return GradientCheck(errors)
