"""scikit-learn's MLPClassifier as a competitor, on the CPU."""

from __future__ import annotations

import numpy as np

from fastnn.bench.competitors import (
    BETA1,
    BETA2,
    EPS,
    LEARNING_RATE,
    Entrant,
    Problem,
    imported,
)


def entrants(device: str) -> list[Entrant]:
    """It computes on the CPU only."""
    if device != "cpu":
        return []
    imported("sklearn.neural_network", "scikit-learn")
    return [Entrant("scikit-learn", "sklearn", device, Sklearn)]


class Sklearn:
    """`partial_fit` on k B rows is k steps of Adam; its checks of the arguments are made once."""

    def __init__(self, problem: Problem, batch: int, device: str) -> None:
        from sklearn.neural_network import MLPClassifier

        self._inputs, self._labels = problem.floats, problem.examples.labels
        self._batch, self._batches = batch, len(self._labels) // batch
        self._done = 0
        self._network = MLPClassifier(
            problem.sizes[1:-1], solver="adam", alpha=0.0, batch_size=batch, shuffle=False,
            learning_rate_init=LEARNING_RATE, beta_1=BETA1, beta_2=BETA2, epsilon=EPS,
        )  # fmt: skip
        # It has no weights before its first step. The common start replaces what that step left
        # behind, and without an optimizer the next step makes one whose moments are zero.
        classes = np.arange(problem.sizes[-1])
        self._network.partial_fit(self._inputs[:batch], self._labels[:batch], classes=classes)
        start = [(w.copy(), b.copy()) for w, b in problem.start]
        self._logistic = len(classes) == 2
        if self._logistic:  # one output instead of two: the log-odds of the second class
            w, b = start[-1]
            start[-1] = w[:, 1:] - w[:, :1], b[1:] - b[:1]
        self._network.coefs_ = [w for w, _ in start]
        self._network.intercepts_ = [b for _, b in start]
        del self._network._optimizer

    def run(self, steps: int) -> None:
        while steps:
            first = self._done % self._batches
            # The last step has a call of its own: `loss_` is the mean over the steps of a call.
            count = min(max(1, steps - 1), self._batches - first)
            rows = slice(first * self._batch, (first + count) * self._batch)
            self._network.partial_fit(self._inputs[rows], self._labels[rows])
            self._done += count
            steps -= count

    def loss(self) -> float | None:
        """None for two classes: Adam scales one output's gradient otherwise than those of two."""
        return None if self._logistic else float(self._network.loss_)
