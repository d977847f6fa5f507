"""Seconds of training until the test accuracy first reaches 88, 89 and 90 %, over several seeds.

    FASTNN_DATA=... python -m scripts.time_to_accuracy [--device cuda] [--seeds 5] [--json]

Fashion-MNIST, the default network, Adam with a cosine over 15 epochs, batch 128, all 60,000
training images. The clock runs during training steps only; the test part is read after every
epoch to find the moment, so these are figures of speed, not of selection.
"""

from __future__ import annotations

import argparse
import json
import sys
from statistics import mean, stdev
from typing import Any

from fastnn.backend import get_backend
from fastnn.data.batches import Batches
from fastnn.data.examples import Dataset
from fastnn.errors import FastNNError
from fastnn.training.build import build
from fastnn.training.callbacks import Callback, EpochReport
from fastnn.training.classifier import CHUNK
from fastnn.training.config import TrainConfig
from fastnn.training.run import load_data
from fastnn.training.scoring import evaluate
from fastnn.training.trainer import Trainer

THRESHOLDS = (0.88, 0.89, 0.90)
RECIPE = TrainConfig(dataset="fashion-mnist", val=0, epochs=15, schedule="cosine")


class Watch(Callback):
    """Notes the training seconds at which each threshold was first reached."""

    def __init__(self, test: Batches) -> None:
        self.test = test
        self.seconds = 0.0
        self.reached: dict[float, float] = {}
        self.accuracy = 0.0

    def on_epoch_end(self, trainer: Trainer, report: EpochReport) -> None:
        self.seconds += report.seconds
        self.accuracy = evaluate(trainer.model, self.test).accuracy
        for threshold in THRESHOLDS:
            if self.accuracy >= threshold:
                self.reached.setdefault(threshold, self.seconds)


def one_run(config: TrainConfig, data: Dataset) -> Watch:
    """Train once and watch."""
    backend = get_backend(config.device)
    with backend.activate():
        parts = build(config, data, backend, [])
        assert data.test is not None
        kernels = parts.trainer.model.kernels
        scaling = parts.classifier.scaling
        test = Batches(data.test, CHUNK[backend.name], scaling, backend, kernels=kernels)
        watch = Watch(test)
        parts.trainer.callbacks.append(watch)
        parts.trainer.fit(parts.train_batches, None, epochs=config.epochs)
    return watch


def measure(device: str, seeds: int, precision: str = "float32") -> dict[str, Any]:
    """Mean and spread of the seconds to each threshold, and of the last accuracy."""
    data = load_data(RECIPE)
    base = {"device": device, "precision": precision}
    one_run(RECIPE.updated(base | {"epochs": 1}, "warm-up"), data)  # compiles, wakes the device
    runs = []
    for seed in range(seeds):
        run = one_run(RECIPE.updated(base | {"seed": seed}, "run"), data)
        print(f"seed {seed}: {run.accuracy:.2%} in {run.seconds:.1f} s", file=sys.stderr)
        runs.append(run)
    found: dict[str, Any] = {"device": device, "precision": precision, "seeds": seeds}
    for threshold in THRESHOLDS:
        seconds = [run.reached[threshold] for run in runs if threshold in run.reached]
        found[f"{threshold:.0%}"] = _summary(seconds) | {"reached": len(seconds)}
    found["last accuracy"] = _summary([run.accuracy for run in runs])
    found["seconds of all epochs"] = _summary([run.seconds for run in runs])
    return found


def _summary(values: list[float]) -> dict[str, Any]:
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
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    options = parser.parse_args()
    if options.seeds < 1:
        parser.error(f"--seeds: {options.seeds} must be at least 1")
    try:
        found = measure(options.device, options.seeds, options.precision)
    except FastNNError as error:
        parser.exit(error.exit_code, f"error: {error}\n")
    if options.json:
        print(json.dumps(found))
        return
    for threshold in THRESHOLDS:
        row = found[f"{threshold:.0%}"]
        when = (
            "not reached" if row["mean"] is None else f"{row['mean']:.2f} s +- {row['spread']:.2f}"
        )
        print(f"{threshold:.0%}: {when} ({row['reached']} of {options.seeds} seeds)")
    last, whole = found["last accuracy"], found["seconds of all epochs"]
    print(f"at the end: {last['mean']:.2%} +- {last['spread']:.2%}, {whole['mean']:.2f} s")


if __name__ == "__main__":
    main()
