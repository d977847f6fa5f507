"""What an evaluation comes to, in sentences that somebody in a hurry can use."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fastnn.analysis.evaluation import Evaluation, NumbersEvaluation
from fastnn.analysis.wording import isolated, number_text, percent_text
from fastnn.training.callbacks import EpochReport

_CLEAR_GAP = 0.03  # of accuracy between what was learned and the test part
_CLEAR_ECE = 0.02
_NAMED = 3  # targets, where there are more


def findings(
    evaluation: Evaluation,
    *,
    temperature: float | None = None,
    train_accuracy: float | None = None,
    history: Sequence[EpochReport] = (),
) -> list[str]:
    """The most useful first: classes, confusions, how sure, whether it learned by heart."""
    return [
        *_of_classes(evaluation),
        *_of_confidence(evaluation, temperature),
        *_of_gap(evaluation.accuracy, train_accuracy),
        *of_epochs(history),
    ]


def regression_findings(found: NumbersEvaluation, history: Sequence[EpochReport] = ()) -> list[str]:
    """How much of the targets is explained, and when training was at its best."""
    rows = list(zip(found.names, found.per_target, strict=True))
    said = []
    if found.r2_text != "-" and found.r2 < 0:
        said.append(f"It is worse than always saying the mean (R² {found.r2:.2f}).")
    elif found.r2_text != "-":
        said.append(
            f"It explains {percent_text(found.r2)} of the variance of what it predicts; always "
            "saying the mean would explain nothing."
        )
    worst = sorted(rows, key=lambda row: row[1].r2)[:_NAMED]
    errors = ", ".join(f"{isolated(name)} {number_text(row.rmse)}" for name, row in worst)
    which = "" if len(rows) == len(worst) else f" of the {len(worst)} that it knows least"
    said.append(f"Its typical error{which}, the root mean square, is {errors}.")
    return [*said, *of_epochs(history)]


def of_epochs(history: Sequence[EpochReport]) -> list[str]:
    """Where the validation loss was least, if it rose after that."""
    losses = [(report.valid_loss, report.epoch) for report in history]
    known = [(loss, epoch) for loss, epoch in losses if loss is not None]
    if not known:
        return []
    least, epoch = min(known)
    last = known[-1][0]
    if known[-1][1] == epoch or last < 1.02 * least:
        return []
    return [
        f"The validation loss was least in epoch {epoch} ({least:.4f}) and has risen to "
        f"{last:.4f} since: fewer epochs, dropout or weight decay may help."
    ]


def _of_classes(evaluation: Evaluation) -> list[str]:
    names = evaluation.class_names
    f1 = np.array([row.f1 if row.support else np.nan for row in evaluation.per_class])
    if len(names) < 3 or np.isnan(f1).all():
        return []
    best, worst = int(np.nanargmax(f1)), int(np.nanargmin(f1))
    said = []
    if f1[best] > f1[worst]:
        said.append(
            f"It knows {isolated(names[best])} best (F1 {percent_text(f1[best])}) and "
            f"{isolated(names[worst])} least ({percent_text(f1[worst])})."
        )
    for pair in evaluation.most_confused(1):
        said.append(
            f"Most often it takes {isolated(names[pair.true])} for "
            f"{isolated(names[pair.taken_for])}: "
            f"{pair.examples:,} of {evaluation.per_class[pair.true].support:,} times."
        )
    return said


def _of_confidence(evaluation: Evaluation, temperature: float | None) -> list[str]:
    ece, sure = evaluation.calibration().ece, float(evaluation.confidence.mean())
    right = percent_text(evaluation.accuracy)
    about = f"It is {percent_text(sure)} sure on average and {right} right"
    if ece < _CLEAR_ECE:
        return [f"{about}: its probabilities can be taken at their word (ECE {percent_text(ece)})."]
    kind = "too sure of itself" if sure > evaluation.accuracy else "less sure than it could be"
    if abs(sure - evaluation.accuracy) < ece / 2:  # bins on both sides outweigh each other
        kind = "too sure of some answers and not sure enough of others"
    said = f"{about}: {kind} (ECE {percent_text(ece)})."
    if temperature is not None:
        after = evaluation.calibration(temperature).ece
        if after < ece:
            said += f" With a temperature of {temperature:.2f} the ECE is {percent_text(after)}."
    return [said]


def _of_gap(accuracy: float, train_accuracy: float | None) -> list[str]:
    if train_accuracy is None:
        return []
    gap = 100 * (train_accuracy - accuracy)
    about = f"On what it learned from it is {percent_text(train_accuracy)} right"
    if gap <= 0:
        return [f"{about}, no better than here: nothing is learned by heart."]
    if gap > 100 * _CLEAR_GAP:
        return [f"{about}, {gap:.1f} points more: it has learned part of that by heart."]
    return [f"{about}, hardly more: little of it is learned by heart."]
