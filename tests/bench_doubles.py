"""Made-up competitors, clocks and records: the benchmark's tests judge no real time."""

from __future__ import annotations

from fastnn.bench.competitors import Entrant, Problem
from fastnn.bench.record import Figure, Record
from fastnn.bench.timing import Clock
from tests.conftest import blobs

FACTS = {
    "date": "2026-11-20", "fastnn": "0.1.0", "commit": "abc", "processor": "A Chip", "cores": "2",
    "numpy": "2.4", "blas": "openblas 0.3", "blas_architecture": "Zen", "blas_threads": "2",
    "python": "3.11", "precision": "float32", "overrides": {}, "peers": {"torch": "2.13"},
}  # fmt: skip


class Made:
    """Takes `cost` seconds a step of a clock that stands still otherwise; notes who ran when."""

    def __init__(self, world, name="made", cost=0.01, loss=1.0):
        self.world, self.name, self.cost, self._loss = world, name, cost, loss

    def run(self, steps):
        self.world.runs.append((self.name, steps))
        self.world.time += self.cost * steps

    def loss(self):
        return self._loss


class World:
    """Where time passes only when somebody works or sleeps."""

    def __init__(self):
        self.time, self.runs = 0.0, []

    def clock(self, **settings):
        return Clock(now=lambda: self.time, sleep=self.sleep, **settings)

    def sleep(self, seconds):
        self.time += seconds

    def entrant(self, name, *, family="fastnn", device="cpu", **made):
        def make(problem, batch, device):
            return Made(self, name, **made)

        return Entrant(name, family, device, make)


def small_problem(precision="float32"):
    """Three hundred rows of twelve bytes, three classes."""
    return Problem(blobs().train, (12, 16, 3), precision)


def figure(median, *, family="fastnn", device="cpu", spread=0.1, loss=1.0):
    return Figure(family, device, median, median * (1 - spread), median * (1 + spread), 10, 5, loss)


def record(batches, **facts):
    return Record(FACTS | facts, dict(batches))
