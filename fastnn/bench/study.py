"""The measurement itself: everybody at every batch size, batch size by batch size."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from math import isfinite

import numpy as np

from fastnn.bench.competitors import Competitor, Entrant, Problem, Skipped
from fastnn.bench.record import AGREE_AFTER, Figure, Record, disagreements
from fastnn.bench.timing import Clock

BATCHES = (32, 64, 128, 256, 512, 2048, 8192, 16384)  # dense where the curves bend
ROUNDS = 7


def study(
    record: Record,
    entrants: Sequence[Entrant],
    problem: Problem,
    batches: Sequence[int],
    *,
    rounds: int = ROUNDS,
    clock: Clock | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Fill `record`, one batch size after the other: what is there already survives a Ctrl-C."""
    for number, batch in enumerate(batches, 1):
        say(f"batch {batch} ({number} of {len(batches)})")
        record.batches[batch] = _at(batch, record, entrants, problem, rounds, clock or Clock(), say)
        gc.collect()  # competitors are large, and some hold themselves


def _at(
    batch: int,
    record: Record,
    entrants: Sequence[Entrant],
    problem: Problem,
    rounds: int,
    clock: Clock,
    say: Callable[[str], None],
) -> dict[str, Figure]:
    """Make all, compare their losses, then measure them in turns."""
    made: dict[str, Competitor] = {}
    losses: dict[str, float | None] = {}
    with np.errstate(all="ignore"):  # a competitor that diverges is found by its loss
        for entrant in entrants:
            try:
                competitor = entrant.make(problem, batch, entrant.device)
                competitor.run(AGREE_AFTER)
                losses[entrant.key] = competitor.loss()
            except Exception as error:
                if entrant.family == "fastnn":
                    raise
                named = "" if isinstance(error, Skipped) else f"{type(error).__name__}: "
                reason = f"{named}{str(error).strip().partition(chr(10))[0]}"
                say(f"{entrant.key}: not measured at batch {batch}: {reason}")
                record.skipped.setdefault(entrant.key, f"from batch {batch} on: {reason}")
            else:
                made[entrant.key] = competitor
        known = {key: loss for key, loss in losses.items() if loss is not None}
        wrong = disagreements(batch, known, problem.precision)
        steps = {key: clock.steps_in_a_round(competitor) for key, competitor in made.items()}
        times = clock.interleaved(made, steps, rounds)
    record.disagreements += wrong
    by_key = {entrant.key: entrant for entrant in entrants}
    return {
        key: Figure.of(
            times[key],
            family=by_key[key].family,
            device=by_key[key].device,
            steps=steps[key],
            loss=_finite(losses[key]),
        )
        for key in made
    }


def _finite(loss: float | None) -> float | None:
    """JSON has no NaN; the disagreement that it caused is recorded in words."""
    return loss if loss is not None and isfinite(loss) else None
