"""A trained network that tells classes apart."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastnn.data.examples import Examples, Schema
from fastnn.errors import CheckpointError, ConfigError
from fastnn.training.predictor import Predictor
from fastnn.training.scoring import Score, evaluate

_COLDEST = 1e-6  # temperature, and its inverse the hottest


@dataclass(frozen=True, slots=True)
class Classifier(Predictor):
    """Predicts classes from raw inputs, scaled as in training. Class codes count from 0.

    With `mirror`, from each picture and its mirror image.
    """

    @property
    def class_names(self) -> tuple[str, ...]:
        """What the codes 0..C-1 stand for."""
        return self.schema.class_names

    def predict_proba(self, inputs: ArrayLike, *, temperature: float = 1.0) -> NDArray[np.floating]:
        """Class probabilities (N, C) of raw inputs (N, D) or (N, *shape).

        The outputs are divided by the temperature: above 1 makes the network less sure of itself
        and leaves its answers as they are. `fastnn evaluate` fits one on the validation part. From
        1e-6 to 1e6.
        """
        if not _COLDEST <= temperature <= 1 / _COLDEST:
            raise ConfigError(
                f"temperature: {temperature} must be a number from {_COLDEST:g} to {1 / _COLDEST:g}"
            )
        out = self.outputs(inputs)
        if len(out):
            out -= out.max(axis=1, keepdims=True)
            out /= temperature
            np.exp(out, out=out)
            out /= out.sum(axis=1, keepdims=True)
        return out

    def predict(self, inputs: ArrayLike) -> NDArray[np.intp]:
        """Class codes (N,) of raw inputs."""
        return np.asarray(self.outputs(inputs).argmax(axis=1))

    def evaluate(self, examples: Examples) -> Score:
        """Loss and accuracy on labelled raw examples, one or more."""
        with self.model.backend.activate():
            return evaluate(self.model, self._batches(self.checked(examples)), self.mirror)

    @classmethod
    def _check_kind(cls, schema: Schema, source: Path) -> None:
        if schema.targets:
            raise CheckpointError(
                f"{source}: holds a network that predicts numbers ({', '.join(schema.targets)}), "
                "not classes; load it with Regressor.load"
            )
