"""Figures of classification, from the true codes and what a network put out.

N examples, C classes. Outputs z (N, C) are what the last layer puts out, before the softmax; codes
(N,) are the true classes, 0..C-1. Where a figure is undefined (the precision of a class that was
never predicted) it is NaN.
"""

from __future__ import annotations

from math import sqrt
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Codes = NDArray[np.integer]

BINS = 15
MANY = 10  # examples from which a bin's accuracy says something
HOTTEST = 100.0  # temperatures are sought between 1 / 100 and 100


def softmax(z: Floats, temperature: float = 1.0) -> NDArray[np.float64]:
    """p = exp(z / T) / sum of exp(z / T), (N, C); each row shifted by its maximum first."""
    scaled = z.astype(np.float64)
    scaled -= scaled.max(axis=1, keepdims=True)
    scaled /= temperature
    np.exp(scaled, out=scaled)
    scaled /= scaled.sum(axis=1, keepdims=True)
    return scaled


def cross_entropy(z: Floats, codes: Codes, temperature: float = 1.0) -> float:
    """Mean of log sum exp(z / T) - z[code] / T, in nats."""
    scaled = z.astype(np.float64) / temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    own = np.take_along_axis(scaled, codes[:, None], axis=1)[:, 0]
    return float(np.mean(np.log(np.exp(scaled).sum(axis=1)) - own))


def share_interval(share: float, count: int) -> tuple[float, float]:
    """The 95 % interval (Wilson 1927) of a probability of which `count` trials showed a share.

    Unlike share +- 1.96 standard errors it stays within 0..1 and is right for small counts.
    """
    z = NormalDist().inv_cdf(0.975)
    centre = share + z * z / (2 * count)
    reach = z * sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2)
    whole = 1 + z * z / count
    return max(0.0, (centre - reach) / whole), min(1.0, (centre + reach) / whole)


def confusion_matrix(codes: Codes, predicted: Codes, classes: int) -> NDArray[np.int64]:
    """How many examples of class i (row) were taken for class j (column), (C, C)."""
    pairs = codes.astype(np.int64) * classes + predicted
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


class ClassFigures(NamedTuple):
    """One class: precision TP / (TP + FP), recall TP / (TP + FN), their harmonic mean, TP + FN."""

    precision: float
    recall: float
    f1: float
    support: int


def class_figures(confusion: NDArray[np.int64]) -> list[ClassFigures]:
    """Figures of each class from the confusion matrix (C, C)."""
    right, support = np.diagonal(confusion), confusion.sum(axis=1)
    taken = confusion.sum(axis=0)
    with np.errstate(invalid="ignore"):  # 0 / 0 is NaN, on purpose
        precision, recall = right / taken, right / support
        f1 = 2 * right / (support + taken)
    rows = zip(precision.tolist(), recall.tolist(), f1.tolist(), support.tolist(), strict=True)
    return [ClassFigures(*row) for row in rows]


def macro(figures: list[ClassFigures]) -> ClassFigures:
    """The mean over the classes that occur; a precision or F1 that is undefined counts as 0."""
    occurring = [row for row in figures if row.support]
    means = np.nan_to_num(np.array([row[:3] for row in occurring])).mean(axis=0)
    precision, recall, f1 = means.tolist()
    return ClassFigures(precision, recall, f1, sum(row.support for row in occurring))


def top_k_accuracy(z: Floats, codes: Codes, k: int) -> float:
    """Share of examples whose class is among the k greatest outputs.

    Of equal outputs the class that comes first counts as greater, as argmax has it.
    """
    own = np.take_along_axis(z, codes[:, None], axis=1)
    earlier = np.arange(z.shape[1]) < codes[:, None]
    rank = ((z > own) | ((z == own) & earlier)).sum(axis=1)
    return float(np.mean(rank < k))


class Calibration(NamedTuple):
    """How often the network is right when it says it is so sure; arrays are (bins,).

    `ece` is the expected calibration error: the mean over examples of |accuracy - confidence| of
    their bin (Naeini et al. 2015; Guo et al. 2017, arXiv:1706.04599, eq. 3). Empty bins are NaN.
    """

    ece: float
    confidence: NDArray[np.float64]  # mean of the bin's examples
    accuracy: NDArray[np.float64]
    examples: NDArray[np.int64]


def calibration(
    probabilities: Floats, codes: Codes, predicted: Codes, bins: int = BINS
) -> Calibration:
    """Examples in `bins` equal bins of confidence, (low, high], their greatest probability."""
    confidence = probabilities.max(axis=1).astype(np.float64)
    places = np.searchsorted(np.arange(1, bins) / bins, confidence)  # how many are below it
    count = np.bincount(places, minlength=bins)
    sure = np.bincount(places, confidence, bins)
    right = np.bincount(places, codes == predicted, bins)
    ece = float(np.abs(right - sure).sum() / len(codes))
    with np.errstate(invalid="ignore"):
        return Calibration(ece, sure / count, right / count, count)


def fit_temperature(z: Floats, codes: Codes) -> float:
    """The T whose softmax(z / T) has the least cross-entropy (Guo et al. 2017, section 4.2).

    In b = 1 / T the loss is convex with the slope mean(E_p[z] - z[code]), whose zero is found by
    bisection of log b. Where all examples are right, ever smaller T are ever better: the search
    ends at 1/100; where guessing is best, at 100. Outputs that are all equal fit with any: 1.
    """
    shifted = z - z.max(axis=1, keepdims=True)
    if not shifted.any():
        return 1.0
    own = float(np.take_along_axis(shifted, codes[:, None], axis=1).mean(dtype=np.float64))
    low, high = -np.log(HOTTEST), np.log(HOTTEST)
    for _ in range(40):
        middle = (low + high) / 2
        p = softmax(shifted, float(np.exp(-middle)))
        slope = float((p * shifted).sum(axis=1).mean()) - own
        # A slope of 0 is where exp has underflowed: all are right, and surer is better still.
        low, high = (middle, high) if slope <= 0 else (low, middle)
    return float(np.exp(-(low + high) / 2))


class Confused(NamedTuple):
    """So many `examples` of class `true` were taken for `taken_for`: a `share` of that class."""

    true: int
    taken_for: int
    examples: int
    share: float


def most_confused(confusion: NDArray[np.int64], most: int) -> list[Confused]:
    """The pairs of classes confused most often, at most so many, none that never were."""
    wrong = confusion - np.diag(np.diagonal(confusion))
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    rows, columns = (places.tolist() for places in np.unravel_index(order, wrong.shape))
    support = confusion.sum(axis=1)
    return [
        Confused(i, j, int(wrong[i, j]), float(wrong[i, j] / support[i]))
        for i, j in zip(rows, columns, strict=True)
        if wrong[i, j]
    ]
