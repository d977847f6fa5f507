"""The measurement itself: everybody at every batch size, batch size by batch size."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import isfinite

import numpy as np

from fastnn.bench.competitors import Competitor, Entrant, Problem, Skipped
from fastnn.bench.record import AGREE_AFTER, Figure, Record, disagreements
from fastnn.bench.timing import Clock

BATCHES = (32, 64, 128, 256, 512, 2048, 8192, 16384)  # dense where the curves bend


def study(
    record: Record,
    entrants: Sequence[Entrant],
    problem: Problem,
    batches: Sequence[int],
    *,
    rounds: int,
    clock: Clock | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Fill `record`, one batch size after the other: what is there survives whatever comes."""
    for number, batch in enumerate(batches, 1):
        say(f"batch {batch} ({number} of {len(batches)})")
        with np.errstate(all="ignore"):  # a competitor that diverges is found by its loss
            record.batches[batch] = _Heat(record, problem, batch, say).run(
                entrants, rounds, clock or Clock()
            )
        gc.collect()  # competitors are large, and some hold themselves


@dataclass(frozen=True, slots=True)
class _Heat:
    """All competitors at one batch size."""

    record: Record
    problem: Problem
    batch: int
    say: Callable[[str], None]

    def run(self, entrants: Sequence[Entrant], rounds: int, clock: Clock) -> dict[str, Figure]:
        """Compare the losses of those that could be made, then measure them in turns."""
        made: dict[str, Competitor] = {}
        losses: dict[str, float | None] = {}
        steps: dict[str, int] = {}
        by_key = {entrant.key: entrant for entrant in entrants}
        for key, entrant in by_key.items():
            with self._unless_it_fails(entrant):
                competitor = entrant.make(self.problem, self.batch, entrant.device)
                competitor.run(AGREE_AFTER)
                losses[key] = competitor.loss()
                made[key] = competitor
        known = {key: loss for key, loss in losses.items() if loss is not None}
        self.record.disagreements += disagreements(self.batch, known, self.problem.precision)
        for key, competitor in made.items():
            with self._unless_it_fails(by_key[key]):
                steps[key] = clock.steps_in_a_round(competitor)
        times = clock.interleaved(
            {key: made[key] for key in steps},
            steps,
            rounds,
            guard=lambda key: self._unless_it_fails(by_key[key]),
        )
        return {
            key: Figure.of(
                found,
                family=by_key[key].family,
                device=by_key[key].device,
                steps=steps[key],
                loss=_finite(losses[key]),
            )
            for key, found in times.items()
        }

    @contextmanager
    def _unless_it_fails(self, entrant: Entrant) -> Iterator[None]:
        """A peer that fails is noted and left out; fastnn must not fail."""
        try:
            yield
        except Exception as error:
            if entrant.family == "fastnn":
                raise
            named = "" if isinstance(error, Skipped) else f"{type(error).__name__}: "
            reason = f"{named}{str(error).strip().partition(chr(10))[0]}"
            self.say(f"{entrant.key}: not measured at batch {self.batch}: {reason}")
            before = self.record.skipped.get(entrant.key)
            now = f"at batch {self.batch}: {reason}"
            self.record.skipped[entrant.key] = f"{before}; {now}" if before else now


def _finite(loss: float | None) -> float | None:
    """JSON has no NaN; the disagreement that it caused is recorded in words."""
    return loss if loss is not None and isfinite(loss) else None
