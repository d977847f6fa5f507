"""The learning-rate range test: how large may the steps be? (Smith, arXiv:1506.01186)

A rate that rises exponentially, one step each, until the loss explodes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any

import numpy as np

from fastnn.backend import Backend, get_backend
from fastnn.data.batches import Batch, Batches
from fastnn.data.examples import Dataset
from fastnn.errors import ConfigError
from fastnn.training.build import build
from fastnn.training.config import TrainConfig
from fastnn.training.run import limited, load_data

_SMOOTHING = 0.9  # decay of the moving average of losses
_EXPLODED = 4.0  # times the least loss
_FALLEN = 0.98  # of what the loss was at first: more is noise
_FEWEST = 20  # steps, or the average would be of hardly any


@dataclass(frozen=True, slots=True)
class RangeTest:
    """What the test saw, and the rate that it suggests.

    `suggestion` is a tenth of `rate_of_least`, whose update led to the least smoothed loss. There
    what a step gains and what it overshoots are equal, and a training of thousands of steps needs a
    distance from that; the average lags, too, by about ten steps. A tenth is the habit (fastai's
    "minimum"). The other one, the rate of the steepest descent, needs the derivative of a noisy
    curve: over five seeds its logarithm spread seven times as far (docs/LOG.md).
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]  # each of the batch before the update at its rate
    smoothed: tuple[float, ...]
    rate_of_least: float
    suggestion: float
    exploded: bool  # and so the test ended before the last rate

    def summary(self) -> dict[str, Any]:
        """Everything as plain values; losses that are not finite are null."""
        values = asdict(self)
        for name in ("losses", "smoothed"):
            values[name] = [loss if isfinite(loss) else None for loss in values[name]]
        return values


def lr_find(
    config: TrainConfig | None = None,
    *,
    data: Dataset | None = None,
    start: float = 1e-6,
    end: float = 10.0,
    steps: int = 200,
    watch: Callable[[int], None] | None = None,
) -> RangeTest:
    """Train for up to `steps` steps while the rate rises from `start` to `end`, and let it all go.

    Network, loss, optimizer, batches and augmentation are those of `config`; its learning rate,
    schedule and epochs are not used. Of `data` (default: the set that the configuration names) only
    what a run would learn from is read. Ends early when the smoothed loss exceeds four times its
    least, or a loss is not finite. `watch` is called with the number of each finished step.
    """
    config = config or TrainConfig()
    if steps < _FEWEST:
        raise ConfigError(f"steps: {steps} must be at least {_FEWEST}")
    if not (isfinite(start) and start > 0):
        raise ConfigError(f"start: {start!r} must be a finite rate above 0")
    if not (isfinite(end) and end > start):
        raise ConfigError(f"end: {end!r} must be a finite rate above start, {start!r}")
    backend = get_backend(config.device, threads=config.threads)
    data = data or load_data(config)
    data = limited(data, config)
    rates = tuple(float(rate) for rate in np.geomspace(start, end, steps))
    with backend.activate(), np.errstate(all="ignore"):
        losses, smoothed = _risen(config, data, backend, rates, watch)
    return _judged(rates[: len(losses)], tuple(losses), tuple(smoothed))


def _risen(
    config: TrainConfig,
    data: Dataset,
    backend: Backend,
    rates: tuple[float, ...],
    watch: Callable[[int], None] | None,
) -> tuple[list[float], list[float]]:
    """The loss at each rate, up to the one that is too much, and the moving average."""
    parts = build(config, data, backend, ())
    optimizer, batches = parts.trainer.optimizer, parts.train_batches
    model = parts.trainer.model
    ws = model.workspace(batches.batch_size)
    losses: list[float] = []
    smoothed: list[float] = []
    average = 0.0
    for rate, (x, labels, weights) in zip(rates, _endless(batches), strict=False):
        head = ws.head(len(labels))
        each = model.loss_and_grad(x, labels, head, weights=weights, noise=batches.noise)
        loss = float(each.mean())
        optimizer.step(model.grads, rate)
        losses.append(loss)
        average = _SMOOTHING * average + (1 - _SMOOTHING) * loss
        smoothed.append(average / (1 - _SMOOTHING ** len(losses)))  # it started at 0
        if watch is not None:
            watch(len(losses))
        if _too_much(smoothed):
            break
    return losses, smoothed


def _too_much(smoothed: Sequence[float]) -> bool:
    """Whether the loss has exploded."""
    return not isfinite(smoothed[-1]) or smoothed[-1] > _EXPLODED * min(smoothed)


def _judged(
    rates: tuple[float, ...], losses: tuple[float, ...], smoothed: tuple[float, ...]
) -> RangeTest:
    """The suggestion, or a ConfigError where these rates allow none."""
    exploded = _too_much(smoothed)
    finite = smoothed if isfinite(smoothed[-1]) else smoothed[:-1]
    least = finite.index(min(finite)) if finite else 0
    fallen = bool(finite) and finite[least] <= _FALLEN * max(finite[:_FEWEST])
    if not fallen and not exploded:
        raise ConfigError(
            f"end: up to {rates[-1]:g} the loss did not fall, {finite[0]:.4g} at first and "
            f"{finite[least]:.4g} at best; go on to more"
        )
    if not fallen or least == 0:
        raise ConfigError(f"start: from {rates[0]:g} on the loss only rose; begin with less")
    before = rates[least - 1]  # whose update led to that loss
    return RangeTest(rates, losses, smoothed, before, before / 10, exploded)


def _endless(batches: Batches) -> Iterator[Batch]:
    """Epoch after epoch."""
    epoch = 0
    while True:
        yield from batches.epoch(epoch)
        epoch += 1
