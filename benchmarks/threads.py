"""Microseconds a step over threads, the process pinned to one core and to two.

    python -m benchmarks.threads [--save]

If two thread pools fought for the same cores, or one had more threads than cores, a row would show
it: such a step took forty times as long in a prototype. Linux only: pinning needs its affinity
mask. Each process measures all its rows in turns; processes alternate too.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys

import numpy as np

from benchmarks.records import facts_with_warnings, write
from fastnn.bench.competitors import Problem
from fastnn.bench.ours import Fastnn, paths
from fastnn.bench.timing import Clock

BATCHES = (32, 128, 2048)


def child() -> None:
    """Print {path, threads: {batch: [microseconds]}} for this process's cores."""
    problem, clock = Problem.drawn(), Clock()
    cores = len(os.sched_getaffinity(0))
    found: dict[str, dict[int, list[float]]] = {}
    for batch in BATCHES:
        made = {
            f"{name}, {threads} thread{'s' * (threads > 1)}": Fastnn(
                problem, batch, "cpu", kernels=kernels, threads=threads
            )
            for name, kernels in paths("cpu").items()
            for threads in range(1, cores + 1)
        }
        steps = {name: clock.steps_in_a_round(competitor) for name, competitor in made.items()}
        for name, times in clock.interleaved(made, steps, 3).items():
            found.setdefault(name, {})[batch] = [seconds * 1e6 for seconds in times]
    print(json.dumps(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="processes for each number of cores")
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    rows: dict[str, dict[int, list[float]]] = {}
    for _ in range(options.rounds):
        for count in range(1, min(2, len(cores)) + 1):
            answer = subprocess.run(
                [sys.executable, "-c", "from benchmarks.threads import child; child()"],
                stdout=subprocess.PIPE, text=True, check=True,
                preexec_fn=lambda count=count: os.sched_setaffinity(0, cores[:count]),
            )  # fmt: skip
            for name, batches in json.loads(answer.stdout).items():
                row = rows.setdefault(f"{count} core{'s' * (count > 1)}, {name}", {})
                for batch, times in batches.items():
                    row.setdefault(int(batch), []).extend(times)
    medians = {
        name: {batch: float(np.median(times)) for batch, times in batches.items()}
        for name, batches in rows.items()
    }
    for name, batches in medians.items():
        print(f"{name:38}", "  ".join(f"{batch}: {us:9,.0f}" for batch, us in batches.items()))
    if options.save:
        write("threads", {"facts": facts_with_warnings(), "microseconds": medians})


if __name__ == "__main__":
    main()
