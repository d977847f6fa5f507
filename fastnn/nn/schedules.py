"""Learning rates as plain functions of the step; steps count from 0.

Reduce-on-plateau also looks at the losses so far. It is written as a function of that list, not as
an object with counters, so a resumed run recomputes it instead of restoring it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import cos, pi

Schedule = Callable[[float], float]


def constant(lr: float) -> Schedule:
    """lr at every step."""
    return lambda step: lr


def step_decay(lr: float, *, every: int, factor: float = 0.1) -> Schedule:
    """lr * factor ** (step // every)."""
    return lambda step: lr * factor ** (step // every)


def cosine(peak: float, *, total: int, floor: float = 0.0) -> Schedule:
    """Half a cosine from `peak` down to `floor` at `total`.

    Without restarts: after SGDR (Loshchilov & Hutter, arXiv:1608.03983).
    """

    def schedule(step: float) -> float:
        progress = min(1.0, step / max(1, total))
        return floor + (peak - floor) * (1 + cos(pi * progress)) / 2

    return schedule


def warmed(schedule: Schedule, *, warmup: int) -> Schedule:
    """Linear rise to the schedule's first rate over `warmup` steps; then the schedule."""
    if not warmup:
        return schedule
    return lambda step: (
        schedule(0) * (step + 1) / warmup if step < warmup else schedule(step - warmup)
    )


def one_cycle(
    peak: float, *, total: int, rise: float = 0.3, start: float = 25.0, end: float = 1e4
) -> Schedule:
    """Cosine from peak / start up to `peak` in the first `rise` of steps, then down to peak / end.

    Smith & Topin, arXiv:1708.07120; with two cosines and fastai's constants.
    """
    summit = max(1, round(rise * total))

    def schedule(step: float) -> float:
        if step < summit:
            low, progress = peak / start, step / summit
            return low + (peak - low) * (1 - cos(pi * progress)) / 2
        low, progress = peak / end, min(1.0, (step - summit) / max(1, total - summit))
        return low + (peak - low) * (1 + cos(pi * progress)) / 2

    return schedule


def reduce_on_plateau(
    lr: float, losses: Sequence[float], *, patience: int = 5, factor: float = 0.1
) -> Schedule:
    """lr * factor ** (plateaus in `losses`), read anew whenever an epoch has been added."""
    known, cuts = 0, 0

    def schedule(step: float) -> float:
        nonlocal known, cuts
        if len(losses) != known:
            known, cuts = len(losses), plateaus(losses, patience=patience)
        return lr * factor**cuts

    return schedule


def plateaus(losses: Sequence[float], *, patience: int, threshold: float = 1e-4) -> int:
    """How often `patience` epochs in a row failed to beat the best loss by a share `threshold`."""
    best, waited, count = float("inf"), 0, 0
    for loss in losses:
        if loss < best * (1 - threshold):
            best, waited = loss, 0
        else:
            waited += 1
            if waited == patience:
                waited, count = 0, count + 1
    return count
