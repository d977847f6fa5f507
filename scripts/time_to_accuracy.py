"""Seconds of training until the test accuracy first reaches 88, 89 and 90 %, over several seeds.

    FASTNN_DATA=... python -m scripts.time_to_accuracy [--device cuda] [--seeds 5] [--peers all]

Fashion-MNIST, the default network, Adam with a cosine over 15 epochs, batch 128, all 60,000
training images. The clock runs during training steps only; the test part is read after every
epoch to find the moment, so these are figures of speed, not of selection. Peers train by the same
recipe from the same kind of start. Whoever compiles does so before the clock starts.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np

from fastnn.backend import get_backend
from fastnn.bench.competitors import Problem, Skipped
from fastnn.bench.facts import machine_facts
from fastnn.data.batches import Batches
from fastnn.data.examples import Dataset
from fastnn.errors import ConfigError, FastNNError
from fastnn.kernels import kernels_for
from fastnn.kernels.cpu import Compiled
from fastnn.rng import Stream, generator
from fastnn.training.build import build, make_schedule
from fastnn.training.callbacks import Callback, EpochReport
from fastnn.training.config import TrainConfig
from fastnn.training.predictor import CHUNK
from fastnn.training.run import load_data
from fastnn.training.scoring import evaluate
from fastnn.training.trainer import Trainer
from scripts.fits import FITS

THRESHOLDS = (0.88, 0.89, 0.90)
RECIPE = TrainConfig(dataset="fashion-mnist", val=0, epochs=15, schedule="cosine")
_PAUSE = 0.2  # seconds between runs, in which thread pools fall asleep


@dataclass(slots=True)
class Curve:
    """Seconds of training, and the accuracy, after each epoch."""

    seconds: list[float] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)

    def add(self, seconds: float, accuracy: float) -> None:
        """One more epoch, which took so long."""
        self.seconds.append((self.seconds[-1] if self.seconds else 0.0) + seconds)
        self.accuracy.append(accuracy)

    def reached(self, threshold: float) -> float | None:
        """When the accuracy first was so high."""
        pairs = zip(self.seconds, self.accuracy, strict=True)
        return next((seconds for seconds, found in pairs if found >= threshold), None)


class Watch(Callback):
    """Follows a training of fastnn."""

    def __init__(self, test: Batches) -> None:
        self.test = test
        self.curve = Curve()

    def on_epoch_end(self, trainer: Trainer, report: EpochReport) -> None:
        self.curve.add(report.seconds, evaluate(trainer.model, self.test).accuracy)


def fastnn_run(config: TrainConfig, data: Dataset) -> Curve:
    """Train once with fastnn."""
    backend = get_backend(config.device)
    with backend.activate():
        parts = build(config, data, backend, [])
        assert data.test is not None
        kernels = parts.trainer.model.kernels
        scaling = parts.predictor.scaling
        test = Batches(data.test, CHUNK[backend.name], scaling, backend, kernels=kernels)
        watch = Watch(test)
        parts.trainer.callbacks.append(watch)
        parts.trainer.fit(parts.train_batches, None, epochs=config.epochs)
    return watch.curve


def peer_run(name: str, config: TrainConfig, data: Dataset) -> Curve:
    """Train once with a peer."""
    assert data.test is not None
    steps = -(-len(data.train.labels) // config.batch_size)
    schedule = make_schedule(config, steps, [])
    problem = Problem(data.train, seed=config.seed)
    fit, curve = FITS[name](problem, data.test, config.batch_size), Curve()
    for epoch in range(config.epochs):
        began = time.perf_counter()
        order = generator(config.seed, Stream.ORDER, epoch).permutation(len(data.train.labels))
        fit.epoch(order, np.array([schedule(epoch * steps + step) for step in range(steps)]))
        curve.add(time.perf_counter() - began, fit.accuracy())
    return curve


Run = Callable[[TrainConfig, Dataset], Curve]


def contestants(device: str, precision: str, peers: str) -> dict[str, Run]:
    """fastnn by its own choice, on a CPU also by plain NumPy, and the peers that are asked for."""
    backend = get_backend(device)
    kernels = kernels_for(backend, "auto", precision)

    def ours(choice: str) -> Run:
        changes = {"device": str(backend), "precision": precision, "kernels": choice}
        return lambda config, data: fastnn_run(config.updated(changes, "run"), data)

    found = {"fastnn": ours("auto")}
    if peers == "none":
        return found
    if backend.name != "cpu":
        raise ConfigError("--peers: they are compared on a CPU only; use --peers none")
    if not isinstance(kernels, Compiled):
        del found["fastnn"]  # it would be plain NumPy, too
    found["fastnn NumPy"] = ours("reference")
    return found | {name: partial(peer_run, name) for name in FITS}


def measure(
    device: str, seeds: int, precision: str = "float32", peers: str = "none"
) -> dict[str, Any]:
    """Mean and spread, by contestant, of the seconds to each threshold and of the last accuracy."""
    data = load_data(RECIPE)
    runs = contestants(device, precision, peers)
    for name in list(runs):
        try:
            runs[name](RECIPE.updated({"epochs": 1}, "warm-up"), data)  # compiles, wakes the device
        except Skipped as reason:
            print(f"{name}: not measured: {reason}", file=sys.stderr)
            del runs[name]
    curves: dict[str, list[Curve]] = {name: [] for name in runs}
    for seed in range(seeds):
        names = list(runs)
        for name in names[seed % len(names) :] + names[: seed % len(names)]:
            time.sleep(_PAUSE)
            curve = runs[name](RECIPE.updated({"seed": seed}, "run"), data)
            curves[name].append(curve)
            print(
                f"seed {seed}, {name}: {curve.accuracy[-1]:.2%} in {curve.seconds[-1]:.1f} s",
                file=sys.stderr,
            )
    families = ("torch", "jax") if peers != "none" else ()
    return {
        "facts": machine_facts([str(get_backend(device))], precision, families),
        "seeds": seeds,
        "contestants": {name: summary(found) for name, found in curves.items()},
    }


def summary(curves: list[Curve]) -> dict[str, Any]:
    """What the runs of one contestant have in common."""
    found: dict[str, Any] = {}
    for threshold in THRESHOLDS:
        moments = [curve.reached(threshold) for curve in curves]
        seconds = [moment for moment in moments if moment is not None]
        found[f"{threshold:.0%}"] = _spread(seconds) | {"reached": len(seconds)}
    found["last accuracy"] = _spread([curve.accuracy[-1] for curve in curves])
    found["seconds of all epochs"] = _spread([curve.seconds[-1] for curve in curves])
    return found


def _spread(values: list[float]) -> dict[str, Any]:
    if not values:
        return {"mean": None, "spread": None, "least": None, "most": None}
    spread = stdev(values) if len(values) > 1 else 0.0
    return {"mean": mean(values), "spread": spread, "least": min(values), "most": max(values)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:INDEX")
    parser.add_argument("--precision", default="float32", help="float32, or on a GPU tf32")
    parser.add_argument("--seeds", type=int, default=5, help="runs")
    parser.add_argument("--peers", choices=("none", "all"), default="none", help="torch and JAX")
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    parser.add_argument("--save", type=Path, metavar="FILE", help="write the record")
    options = parser.parse_args()
    if options.seeds < 1:
        parser.error(f"--seeds: {options.seeds} must be at least 1")
    try:
        found = measure(options.device, options.seeds, options.precision, options.peers)
    except FastNNError as error:
        parser.exit(error.exit_code, f"error: {error}\n")
    if options.save is not None:
        options.save.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    if options.json:
        print(json.dumps(found))
        return
    for name, figures in found["contestants"].items():
        print(name)
        for threshold in THRESHOLDS:
            row = figures[f"{threshold:.0%}"]
            when = "not reached"
            if row["mean"] is not None:
                when = f"{row['mean']:.2f} s +- {row['spread']:.2f}"
            print(f"  {threshold:.0%}: {when} ({row['reached']} of {options.seeds} seeds)")
        last, whole = figures["last accuracy"], figures["seconds of all epochs"]
        print(f"  at the end: {last['mean']:.2%} +- {last['spread']:.2%}, {whole['mean']:.2f} s")


if __name__ == "__main__":
    main()
