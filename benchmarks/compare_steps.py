"""Step times of fastnn and of the usual from-scratch NumPy, interleaved in one run.

    python -m benchmarks.compare_steps [--batches 32,128] [--rounds 15] [--save]

Rounds alternate between the competitors, so that a noisy machine disturbs all alike. Printed are
the median and the quartiles of a step's time, the ratio to fastnn's, and the loss after twenty
steps, which must agree; and the time of the matrix products alone, below which nobody can go.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from benchmarks.facts import facts, write
from benchmarks.steps import COMPETITORS, examples, products_alone

WARM_UP = 20


def measure(batch: int, rounds: int, steps: int) -> dict[str, dict[str, float]]:
    """Microseconds a step, in quartiles over rounds, and the loss after the warm-up's last step."""
    data = examples()
    made = {name: make(data, batch) for name, make in COMPETITORS.items()}
    losses = {}
    for name, step in made.items():
        for _ in range(WARM_UP):
            step()
        losses[name] = step.loss()
    if np.ptp(list(losses.values())) > 1e-3:
        raise SystemExit(f"not the same computation: losses {losses} after {WARM_UP} steps")
    made["products alone"] = products_alone(batch)
    times: dict[str, list[float]] = {name: [] for name in made}
    for _ in range(rounds):
        for name, step in made.items():
            began = time.perf_counter()
            for _ in range(steps):
                step()
            times[name].append((time.perf_counter() - began) / steps * 1e6)
    return {
        name: {
            "median": float(np.median(times[name])),
            "lower": float(np.quantile(times[name], 0.25)),
            "upper": float(np.quantile(times[name], 0.75)),
            "loss": losses.get(name),
        }
        for name in made
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batches", default="32,128,512")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/steps.json")
    options = parser.parse_args()
    record = {"facts": facts(), "steps": {}}
    print(f"{'batch':>5}  {'competitor':22}  {'us a step (quartiles)':>24}  ratio      loss")
    for batch in map(int, options.batches.split(",")):
        found = measure(batch, options.rounds, options.steps)
        record["steps"][str(batch)] = found
        for name, row in found.items():
            row["ratio"] = row["median"] / found["fastnn"]["median"]
            spread = f"{row['median']:,.0f} ({row['lower']:,.0f} to {row['upper']:,.0f})"
            loss = "" if row["loss"] is None else f"{row['loss']:.6f}"
            print(f"{batch:5}  {name:22}  {spread:>24}  {row['ratio']:5.2f}  {loss}")
    if options.save:
        write("steps", record)


if __name__ == "__main__":
    main()
