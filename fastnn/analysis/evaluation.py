"""What a network said about labelled examples: their figures, and which are worth looking at."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastnn.analysis.metrics import (
    HOTTEST,
    Calibration,
    ClassFigures,
    Codes,
    Confused,
    calibration,
    class_figures,
    confusion_matrix,
    cross_entropy,
    fit_temperature,
    most_confused,
    share_interval,
    softmax,
    top_k_accuracy,
)
from fastnn.data.examples import Examples
from fastnn.errors import DataError
from fastnn.training.classifier import Classifier
from fastnn.training.predictor import Predictor
from fastnn.training.regressor import Regressor
from fastnn.training.scoring import TargetFigures, target_figures

if TYPE_CHECKING:
    from fastnn.analysis.opened import RunData

_NEAR = 1.01  # a temperature so near an end of the search is that end


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
        outputs = _finite_outputs(classifier, checked)
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

    @property
    def interval(self) -> tuple[float, float]:
        """Where the accuracy on ever more such examples would lie, at 95 %."""
        return share_interval(self.accuracy, self.count)

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

    def most_confused(self, most: int = 5) -> list[Confused]:
        """The pairs of classes confused most often."""
        return most_confused(self.confusion, most)

    def calibration(self, temperature: float = 1.0) -> Calibration:
        """Confidence against accuracy, with the outputs divided by a temperature."""
        p = self.probabilities if temperature == 1.0 else softmax(self.outputs, temperature)
        return calibration(p, self.codes, self.predicted)

    def loss_at(self, temperature: float) -> float:
        """`loss`, with the outputs divided by a temperature."""
        return cross_entropy(self.outputs, self.codes, temperature)

    def fitted_temperature(self) -> float:
        """The temperature that fits these examples best; take those held out for validation."""
        return fit_temperature(self.outputs, self.codes)

    def mistakes(self, most: int) -> NDArray[np.intp]:
        """Rows of the most confident mistakes, surest first."""
        wrong = np.flatnonzero(~self.right)
        return wrong[np.argsort(-self.confidence[wrong], kind="stable")[:most]]

    def worth_showing(self, row: int, most: int = 3) -> list[int]:
        """The likeliest classes of an example; if the true one is not among them, it comes last."""
        codes: list[int] = np.argsort(-self.probabilities[row], kind="stable")[:most].tolist()
        true = int(self.codes[row])
        return codes if true in codes else [*codes[:-1], true]

    def of_class(self, code: int, *, right: bool, most: int) -> NDArray[np.intp]:
        """The first rows of a class that were answered right, or wrong."""
        return np.flatnonzero((self.codes == code) & (self.right == right))[:most]


class Temperature(NamedTuple):
    """What outputs are to be divided by; where there is no such value, `why` says so."""

    value: float | None
    why: str = ""


def validation_of(classifier: Classifier, data: RunData) -> Evaluation | None:
    """The network run once over the validation part, if there is one."""
    return None if data.valid is None else Evaluation.of(classifier, data.valid)


def temperature_of(valid: Evaluation | None, unvalidated: str) -> Temperature:
    """Fitted on the validation part; `unvalidated` is why there is none."""
    if valid is None:
        return Temperature(None, unvalidated)
    fitted = valid.fitted_temperature()
    if fitted < _NEAR / HOTTEST:
        return Temperature(None, "every answer on the validation part is right")
    if fitted > HOTTEST / _NEAR:
        return Temperature(None, "on the validation part guessing is as good")
    return Temperature(fitted)


@dataclass(frozen=True)
class NumbersEvaluation:
    """A regressor's predictions (N, T) of targets (N, T) that are known, in their own units."""

    names: tuple[str, ...]
    targets: NDArray[np.floating]
    predicted: NDArray[np.float64]
    loss: float  # of scaled targets

    @classmethod
    def of(cls, regressor: Regressor, examples: Examples) -> NumbersEvaluation:
        """Run the network once over raw examples."""
        checked = regressor.checked(examples)
        predicted = regressor.in_own_units(_finite_outputs(regressor, checked))
        loss = regressor.loss(predicted, checked.labels)
        return cls(regressor.target_names, checked.labels, predicted, loss)

    @property
    def count(self) -> int:
        """N."""
        return len(self.targets)

    @cached_property
    def per_target(self) -> list[TargetFigures]:
        """R^2 and errors of each target."""
        return target_figures(self.predicted, self.targets)

    @property
    def r2(self) -> float:
        """The mean of the targets' R^2."""
        return float(np.mean([row.r2 for row in self.per_target]))

    @property
    def r2_texts(self) -> list[str]:
        """Each R^2; a dash where the target never varies, so that there is nothing to explain."""
        varies = np.ptp(self.targets, axis=0) > 0
        return [
            f"{row.r2:.4f}" if here else "-"
            for row, here in zip(self.per_target, varies.tolist(), strict=True)
        ]

    @property
    def r2_text(self) -> str:
        """`r2`; a dash where no target varies."""
        return "-" if set(self.r2_texts) == {"-"} else f"{self.r2:.4f}"


def _finite_outputs(predictor: Predictor, checked: Examples) -> NDArray[np.floating]:
    with np.errstate(all="ignore"):  # what is not finite is told below, once
        outputs = predictor.outputs(checked.inputs)
    broken = len(outputs) - int(np.isfinite(outputs).all(axis=1).sum())
    if broken:
        raise DataError(
            f"the network's outputs for {broken:,} of {len(outputs):,} examples are not finite: "
            "its training diverged, or these inputs are far from those it learned from"
        )
    return outputs
