"""Loss and accuracy over many batches, summed on the device and read once; figures of numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastnn.backend import Array, Backend
from fastnn.data.batches import Batches
from fastnn.nn.model import MLP, Workspace


@dataclass(frozen=True, slots=True)
class Score:
    """Mean cross-entropy (nats), share of right answers (0..1), and of how many examples."""

    loss: float
    accuracy: float
    count: int


@dataclass(frozen=True, slots=True)
class RegressionScore:
    """How well numbers are predicted: mean loss of scaled targets, and figures in their own units.

    `r2` is the mean of the targets' R^2: 1 is perfect, 0 as good as the part's own mean. `rmse`
    holds each target's root mean square error. There is no `accuracy`.
    """

    loss: float
    r2: float
    rmse: tuple[float, ...]
    count: int
    accuracy: None = None


class TargetFigures(NamedTuple):
    """How well one number is predicted: R^2, root mean square and mean absolute error."""

    r2: float
    rmse: float
    mae: float


def target_figures(
    predicted: NDArray[np.floating], targets: NDArray[np.floating]
) -> list[TargetFigures]:
    """The figures of each column of predictions (N, T).

    A target that never changes has an R^2 of 1 where it is met and 0 where not, as in scikit-learn.
    """
    with np.errstate(all="ignore"):  # a diverged network is reported, not warned about
        errors = np.subtract(predicted, targets, dtype=np.float64)
        squares = np.square(errors).mean(axis=0)
        varies = np.ptp(targets, axis=0) > 0  # the variance of equal numbers may round to over 0
        variance = np.where(varies, targets.var(axis=0, dtype=np.float64), 1.0)
        r2 = np.where(varies, 1 - squares / variance, squares == 0)
        columns = r2, np.sqrt(squares), np.abs(errors).mean(axis=0)
    return [TargetFigures(*row) for row in np.transpose(columns).tolist()]


def regression_score(
    loss: float, predicted: NDArray[np.floating], targets: NDArray[np.floating]
) -> RegressionScore:
    """What predictions (N, T) are worth."""
    rows = target_figures(predicted, targets)
    r2 = float(np.mean([row.r2 for row in rows]))
    return RegressionScore(loss, r2, tuple(row.rmse for row in rows), len(targets))


class Tally:
    """Each step's summed loss and number of hits, in two device vectors (steps,).

    One slot a step instead of one running sum: it costs the same, and names the step at which a
    loss stopped being finite although nothing is read before the epoch ends.
    """

    def __init__(self, backend: Backend, steps: int) -> None:
        self._backend = backend
        self.steps = steps
        self.losses: Array = backend.xp.zeros(steps, np.float32)
        self.hits: Array = backend.xp.zeros(steps, np.int64)

    def add(self, step: int, ws: Workspace) -> None:
        """Note the losses and hits that the last pass left in `ws`."""
        ws.losses.sum(axis=0, keepdims=True, out=self.losses[step : step + 1])
        ws.hits.sum(axis=0, keepdims=True, out=self.hits[step : step + 1])

    def first_bad(self, steps: int) -> int | None:
        """The first of `steps` steps whose loss is not finite. Reads from the device."""
        bad = np.flatnonzero(~np.isfinite(self._backend.to_host(self.losses[:steps])))
        return int(bad[0]) if len(bad) else None

    def score(self, count: int, steps: int) -> Score:
        """Mean over the `count` examples of the first `steps` steps. Reads from the device."""
        loss = float(self._backend.to_host(self.losses[:steps]).sum(dtype=np.float64))
        hits = int(self._backend.to_host(self.hits[:steps]).sum())
        return Score(loss / count, hits / count, count)


Mirror = tuple[int, int, int]  # height, width and channels of pictures that are seen mirrored, too


def evaluate(model: MLP, batches: Batches, mirror: Mirror | None = None) -> Score:
    """Score of the network as it is on all examples; with `mirror`, of both ways to see each."""
    ws = model.workspace(batches.batch_size)
    tally = Tally(model.backend, len(batches))
    with np.errstate(all="ignore"):  # a diverged network is reported, not warned about
        for step, (x, labels, _) in enumerate(batches):
            head = ws.head(len(labels))
            outputs(model, x, head, mirror)
            model.score(labels, head)
            tally.add(step, head)
    return tally.score(batches.count, len(batches))


def outputs(model: MLP, x: Array, ws: Workspace, mirror: Mirror | None) -> Array:
    """The network's outputs (B, C), a view of `ws`; with `mirror`, the mean of two.

    The mean of the outputs for pictures x (B, H * W * channels) and for their mirror images: for
    classes the geometric mean of both predictions, but for a factor.
    """
    z = model.forward(x, ws)
    if mirror is not None:
        first = z.copy()
        flipped = x.reshape(len(x), *mirror)[:, :, ::-1].reshape(x.shape)
        z = model.forward(model.backend.xp.ascontiguousarray(flipped), ws)
        model.backend.xp.add(z, first, out=z)
        model.backend.xp.multiply(z, 0.5, out=z)
    return z
