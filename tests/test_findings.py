"""What an evaluation comes to in sentences, and figures and names as text."""

from __future__ import annotations

import numpy as np
import pytest

import fastnn
from fastnn.analysis.evaluation import Evaluation, NumbersEvaluation
from fastnn.analysis.report.findings import findings, of_epochs, regression_findings
from fastnn.analysis.wording import number_text, short_names


def test_findings_name_the_best_the_worst_and_the_confused():
    codes = np.repeat([0, 1, 2], 10)
    said = codes.copy()
    said[10:14] = 2  # four of class 1 are taken for class 2
    outputs = 9.0 * np.eye(3)[said]
    sentences = findings(Evaluation(("ape", "bee", "cat"), codes, outputs), train_accuracy=0.99)
    assert "knows ape best" in sentences[0]
    assert "bee least" in sentences[0]
    assert "takes bee for cat: 4 of 10 times" in sentences[1]
    assert "too sure of itself" in sentences[2]
    assert "99.00 % right, 12.3 points more" in sentences[3]


def test_findings_of_epochs_tell_when_it_got_worse():
    def history(*losses):
        return [
            fastnn.EpochReport(n, n, 0.1, 1.0, 0.5, loss, 0.5, 1.0, 1.0)
            for n, loss in enumerate(losses, 1)
        ]

    assert of_epochs(history(0.5, 0.4, 0.3)) == []
    assert of_epochs(history(None, None)) == []
    (said,) = of_epochs(history(0.5, 0.3, 0.4))
    assert "epoch 2 (0.3000)" in said
    assert "0.4000" in said


def sentences_of(outputs, codes, **known):
    names = tuple("abc"[: np.shape(outputs)[1]])
    return " ".join(findings(Evaluation(names, np.array(codes), np.array(outputs)), **known))


@pytest.mark.parametrize(
    ("train_accuracy", "words"),
    [(0.70, "no better than here"), (0.75, "no better than here"), (0.77, "hardly more"),
     (0.95, "20.0 points more: it has learned part of that by heart")],
)  # fmt: skip
def test_the_gap_to_training_is_told_as_it_is(train_accuracy, words):
    outputs = [[3.0, 0.0], [3.0, 0.0], [3.0, 0.0], [0.0, 3.0]]
    assert words in sentences_of(outputs, [0, 0, 0, 0], train_accuracy=train_accuracy)


@pytest.mark.parametrize(
    ("sure_right", "words"),
    [  # (probability of what is said, how many of ten are right) for each bin
        ([(0.99, 5)], "too sure of itself"),
        ([(0.55, 9)], "less sure than it could be"),
        ([(0.95, 7), (0.62, 9)], "too sure of some answers and not sure enough of others"),
        ([(0.9, 9)], "can be taken at their word"),
    ],
)
def test_confidence_is_judged_bin_by_bin(sure_right, words):
    outputs, codes = [], []
    for probability, right in sure_right:
        outputs += [np.log([probability, 1 - probability])] * 10
        codes += [0] * right + [1] * (10 - right)
    assert words in sentences_of(outputs, codes)


@pytest.mark.parametrize(
    ("targets", "predicted", "words", "never"),
    [
        ([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], "explains 100.00 %", "worse"),
        (
            [1.0, 2.0, 3.0],
            [3.0, 2.0, 1.0],
            "worse than always saying the mean (R² -3.00)",
            "explain",
        ),
        ([5.0], [4.0], "typical error", "R²"),
        ([5.0, 5.0], [4.0, 4.0], "typical error", "explain"),
    ],
)
def test_numbers_are_judged_by_what_they_explain(targets, predicted, words, never):
    column = np.array(targets)[:, None], np.array(predicted)[:, None]
    said = " ".join(regression_findings(NumbersEvaluation(("t",), *column, 0.0)))
    assert words in said
    assert never not in said


def test_what_cannot_be_explained_is_a_dash():
    constant = NumbersEvaluation(("a", "b"), np.array([[1.0, 1], [1, 2]]), np.ones((2, 2)), 0.0)
    assert constant.r2_texts[0] == "-"
    assert constant.r2_texts[1] == "-1.0000"  # 1 - mean of (0, 1) / variance of (1, 2)
    assert constant.r2_text != "-"
    alone = NumbersEvaluation(("a",), np.array([[3.0]]), np.array([[2.0]]), 0.0)
    assert alone.r2_text == "-"


def test_names_that_would_become_the_same_are_numbered():
    assert short_names(["cat", "dog"], 5) == ["cat", "dog"]
    assert short_names(["elephants", "dog"], 5) == ["elep…", "dog"]
    assert short_names(["class one", "class two"], 6) == ["0 cla…", "1 cla…"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.29411, "0.2941"), (16674.3, "16,674"), (1234.56, "1235"), (-98765.4, "-98,765"),
     (None, "-"), (float("nan"), "-"), (2.5e12, "2.5e+12"), (1e-7, "1e-07")],
)  # fmt: skip
def test_numbers_are_written_without_powers_of_ten_where_digits_do(value, text):
    assert number_text(value) == text
