"""Where in its schedule a run is: by its steps, or under a time limit by the clock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastnn.nn.schedules import Schedule

# Steps after which what runs them is compiled, captured and in the caches: timed from there.
_WARM_UP = 3


class Pace:
    """A schedule, hurried where `max_time` seconds (0: any) do not allow all steps.

    Without a limit a step's place in the schedule is its own number. With one, what is left of the
    schedule is spread over the steps to come that the time left allows, and every hundredth of the
    time again.
    """

    def __init__(self, schedule: Schedule, max_time: float = 0.0) -> None:
        self._schedule = schedule
        self.max_time = max_time
        # A step, its place in the schedule, and how far each step from there brings it.
        self._step, self._place, self._stride = 0, 0.0, 1.0
        self._stretches = False  # the limit was another one when the place was noted
        self._warm = _WARM_UP
        self._timed_from = (0, 0.0)  # a step, and the seconds spent until then

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from the start of the run."""
        return self._schedule(self._place_of(step) if self.max_time else step)

    def begin(self, step: int) -> None:
        """Steps are run from here on, by something that has to warm up."""
        self._warm = step + _WARM_UP

    def plan(self, step: int, total: int, seconds: float) -> int | None:
        """Place the coming steps in the schedule; for how many of them that is known.

        `total` is how many steps the run has in the end, `seconds` what it took so far. None for
        all: without a limit.
        """
        if not self.max_time:
            return None
        each, place = self._seconds_a_step(step, seconds), self._place_of(step)
        if self._stretches:
            place, self._stretches = total * min(1.0, seconds / self.max_time), False
        to_come, left = total - step, max(0.0, self.max_time - seconds)
        allowed = max(1.0, left / each) if each else float(to_come)
        self._step, self._place = step, place
        self._stride = max(0.0, total - place) / max(1.0, min(to_come, allowed))
        return max(1, int(min(allowed, self.max_time / 100 / each))) if each else 1

    def state(self, step: int) -> dict[str, float]:
        """Plain values from which `load_state` goes on."""
        return {"place": self._place_of(step), "max_time": self.max_time}

    def load_state(self, step: int, values: Mapping[str, Any]) -> None:
        """Go on from a saved place; with another limit, from the place that the time spent has."""
        self._step, self._place, self._stride = step, values["place"], 1.0
        self._stretches = values["max_time"] != self.max_time

    def _place_of(self, step: int) -> float:
        return self._place + (step - self._step) * self._stride

    def _seconds_a_step(self, step: int, seconds: float) -> float:
        """What a step took so far, validation and saving included; 0 while that is not known."""
        if step <= self._warm:
            self._timed_from = (step, seconds)
            return 0.0
        first, before = self._timed_from
        return (seconds - before) / (step - first)
