"""The clock: how many steps make a round, and rounds interleaved between the competitors.

A noisy machine then disturbs all alike, and nobody is always measured after the same neighbour.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from math import ceil

from fastnn.bench.competitors import Competitor


@dataclass(frozen=True, slots=True)
class Clock:
    """Time and how it is spent; tests bring their own `now` and `sleep`."""

    round_seconds: float = 0.15  # a round is as many steps as take about this long
    pause: float = 0.11
    now: Callable[[], float] = time.perf_counter
    sleep: Callable[[float], None] = time.sleep

    def turn(self, competitor: Competitor, steps: int) -> float:
        """Seconds a step, over `steps` steps and with the device waited for at their end.

        After its last call a thread pool goes on spinning (OpenBLAS's for 0.1 s) on cores that the
        next competitor needs: torch after NumPy took 1.5 times as long without the pause. The
        untimed steps wake what slept meanwhile; docs/LOG.md has the figures.
        """
        self.sleep(self.pause)
        competitor.run(ceil(steps / 3))
        began = self.now()
        competitor.run(steps)
        return (self.now() - began) / steps

    def steps_in_a_round(self, competitor: Competitor) -> int:
        """Found by trying 1, 8, 64, ... steps until they take a quarter of a round."""
        steps = 1
        while True:
            seconds = self.turn(competitor, steps)
            if seconds * steps >= self.round_seconds / 4:
                return max(1, ceil(self.round_seconds / seconds - 0.5))
            steps *= 8

    def interleaved(
        self,
        competitors: Mapping[str, Competitor],
        steps: Mapping[str, int],
        rounds: int,
        guard: Callable[[str], AbstractContextManager[None]] = lambda name: nullcontext(),
    ) -> dict[str, list[float]]:
        """Seconds a step, one figure a round; each round begins with the next competitor.

        `guard(name)` surrounds each turn; whose turn it ends with an error is left out.
        """
        names = list(competitors)
        times: dict[str, list[float]] = {name: [] for name in names}
        for done in range(rounds):
            shift = done % len(names)
            for name in names[shift:] + names[:shift]:
                if len(times[name]) == done:  # no turn of its has failed
                    with guard(name):
                        times[name].append(self.turn(competitors[name], steps[name]))
        return {name: found for name, found in times.items() if len(found) == rounds}
