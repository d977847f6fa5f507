"""A trained network that predicts numbers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastnn.data.examples import Examples, Schema
from fastnn.data.scaling import Scaling
from fastnn.errors import CheckpointError
from fastnn.kernels.formulas import LOSSES, on_arrays
from fastnn.training.predictor import Predictor
from fastnn.training.scoring import RegressionScore, regression_score


@dataclass(frozen=True, slots=True)
class Regressor(Predictor):
    """Predicts numbers, in their own units, from raw inputs, scaled as in training.

    The network itself puts out scaled numbers: of mean 0 and deviation 1 in the training part.
    """

    @property
    def target_names(self) -> tuple[str, ...]:
        """What the T numbers are."""
        return self.schema.targets

    def predict(self, inputs: ArrayLike) -> NDArray[np.float64]:
        """Numbers (N, T) for raw inputs (N, D) or (N, *shape); (N,) where there is one target."""
        predicted = self._predicted(inputs)
        return predicted[:, 0] if predicted.shape[1] == 1 else predicted

    def evaluate(self, examples: Examples) -> RegressionScore:
        """Loss, R^2 and errors on raw examples with their targets (N, T), or (N,) if T is 1."""
        checked = self.checked(examples)
        with np.errstate(all="ignore"):  # a diverged network is reported, not warned about
            predicted = self._predicted(checked.inputs)
            loss = self.loss(predicted, checked.labels)
        return regression_score(loss, predicted, checked.labels)

    def loss(self, predicted: NDArray[np.floating], targets: NDArray[np.floating]) -> float:
        """Mean loss of predictions (N, T), of scaled numbers as in training."""
        scaled, objective = self._scaling_of_targets.scaled, self.model.objective
        residuals = scaled(predicted) - scaled(targets)
        return float(on_arrays(LOSSES[objective.loss].value, np)(residuals, objective.delta).mean())

    def in_own_units(self, outputs: NDArray[np.floating]) -> NDArray[np.float64]:
        """Numbers (N, T) of what the network put out."""
        return self._scaling_of_targets.unscaled(outputs)

    def _predicted(self, inputs: ArrayLike) -> NDArray[np.float64]:
        """Numbers (N, T)."""
        return self.in_own_units(self.outputs(inputs))

    @property
    def _scaling_of_targets(self) -> Scaling:
        assert self.targets is not None, "a Regressor is made with the scaling of its targets"
        return self.targets

    @classmethod
    def _check_kind(cls, schema: Schema, source: Path) -> None:
        if not schema.targets:
            raise CheckpointError(
                f"{source}: holds a network that tells {len(schema.class_names)} classes apart, "
                "not one that predicts numbers; load it with Classifier.load"
            )
