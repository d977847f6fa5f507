"""What a network said about labelled examples, and the examples worth looking at."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fastnn.analysis.metrics import (
    Calibration,
    ClassFigures,
    Codes,
    calibration,
    class_figures,
    confusion_matrix,
    cross_entropy,
    fit_temperature,
    softmax,
    top_k_accuracy,
)
from fastnn.data.examples import Examples
from fastnn.errors import DataError
from fastnn.training.classifier import Classifier


@dataclass(frozen=True)
class Evaluation:
    """A classifier's outputs (N, C) for examples whose classes, codes (N,), are known.

    Everything else follows from these two and is worked out when first asked for.
    """

    class_names: tuple[str, ...]
    codes: Codes
    outputs: NDArray[np.floating]

    @classmethod
    def of(cls, classifier: Classifier, examples: Examples) -> Evaluation:
        """Run the network once over raw examples."""
        checked = classifier.checked(examples)
        outputs = classifier.outputs(checked.inputs)
        if not np.isfinite(outputs).all():
            raise DataError("the network's outputs are not finite: its training diverged")
        return cls(classifier.class_names, checked.labels, outputs)

    @property
    def count(self) -> int:
        """N."""
        return len(self.codes)

    @cached_property
    def predicted(self) -> NDArray[np.intp]:
        """The class said, (N,)."""
        return np.asarray(self.outputs.argmax(axis=1))

    @cached_property
    def right(self) -> NDArray[np.bool_]:
        """Whether it is the true one, (N,)."""
        return np.asarray(self.predicted == self.codes)

    @cached_property
    def probabilities(self) -> NDArray[np.float64]:
        """Softmax of the outputs, (N, C)."""
        return softmax(self.outputs)

    @cached_property
    def confidence(self) -> NDArray[np.float64]:
        """Probability of the class said, (N,)."""
        return np.asarray(self.probabilities.max(axis=1))

    @cached_property
    def accuracy(self) -> float:
        """Share of right answers."""
        return float(self.right.mean())

    @cached_property
    def loss(self) -> float:
        """Mean cross-entropy, in nats."""
        return cross_entropy(self.outputs, self.codes)

    @cached_property
    def confusion(self) -> NDArray[np.int64]:
        """(C, C): rows are true classes, columns what was said."""
        return confusion_matrix(self.codes, self.predicted, len(self.class_names))

    @cached_property
    def per_class(self) -> list[ClassFigures]:
        """Precision, recall, F1 and support of each class."""
        return class_figures(self.confusion)

    @cached_property
    def top_k(self) -> dict[int, float]:
        """Accuracy of the best k guesses, for the k among 2, 3 and 5 that leave any class out."""
        return {
            k: top_k_accuracy(self.outputs, self.codes, k)
            for k in (2, 3, 5)
            if k < len(self.class_names)
        }

    def calibration(self, temperature: float = 1.0) -> Calibration:
        """Confidence against accuracy, with the outputs divided by a temperature."""
        p = self.probabilities if temperature == 1.0 else softmax(self.outputs, temperature)
        return calibration(p, self.codes, self.predicted)

    def fitted_temperature(self) -> float:
        """The temperature that fits these examples best; take those held out for validation."""
        return fit_temperature(self.outputs, self.codes)

    def mistakes(self, most: int) -> NDArray[np.intp]:
        """Rows of the most confident mistakes, surest first."""
        wrong = np.flatnonzero(~self.right)
        return wrong[np.argsort(-self.confidence[wrong], kind="stable")[:most]]

    def of_class(self, code: int, *, right: bool, most: int) -> NDArray[np.intp]:
        """The first rows of a class that were answered right, or wrong."""
        return np.flatnonzero((self.codes == code) & (self.right == right))[:most]
