"""Run the packaged recipes on the real data sets and record their figures for README.

    FASTNN_DATA=... python -m scripts.run_recipes [NAME ...]                seed 0, the sources'
    FASTNN_DATA=... python -m scripts.run_recipes NAME ... --seeds 5        seeds 0 to 4
    FASTNN_DATA=... python -m scripts.run_recipes best --dataset mnist --seeds 5

Writes benchmarks/results/recipes.json, keeping what was not run again. The test part is read once a
run, at its end.
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from typing import Any

from benchmarks.records import RESULTS, facts_with_warnings, write
from fastnn.training.callbacks import Callback, EpochReport
from fastnn.training.config import TrainConfig, load_recipe, recipe_names
from fastnn.training.run import train
from fastnn.training.trainer import Trainer

SEVERAL = ("fast", "balanced", "best")  # published with several seeds


class Lines(Callback):
    """One short line an epoch, so that a long recipe shows that it lives."""

    def on_epoch_end(self, trainer: Trainer, report: EpochReport) -> None:
        print(f"  epoch {report.epoch}/{trainer.epochs}  loss {report.train_loss:.4f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    single = [name for name in recipe_names() if name not in SEVERAL]
    parser.add_argument("names", nargs="*", default=single)
    parser.add_argument("--seeds", type=int, default=0, metavar="N", help="seeds 0 to N - 1")
    parser.add_argument("--dataset", help="instead of the recipe's own")
    parser.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="runs side by side, on one thread each"
    )
    options = parser.parse_args()
    path = RESULTS / "recipes.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    once, seeded = found.get("recipes", {}), found.get("seeded", {})
    for name in options.names:
        config = load_recipe(name)
        if options.dataset:
            config = replace(config, dataset=options.dataset)
        if options.seeds:
            label = f"{name} on {config.dataset}"
            if options.jobs > 1:
                config = replace(config, threads=1)
            configs = [replace(config, seed=seed) for seed in range(options.seeds)]
            seeded[label] = {
                "recipe": name, "threads": config.threads, "jobs": options.jobs, "runs": [],
                "facts": facts_with_warnings(),
            }  # fmt: skip
            with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
                for figures in pool.map(_run, [label] * len(configs), configs):
                    seeded[label]["runs"].append(figures)
                    write("recipes", {"recipes": once, "seeded": seeded})
        else:
            once[name] = _run(name, config) | {"facts": facts_with_warnings()}
        write("recipes", {"recipes": once, "seeded": seeded})


def _run(label: str, config: TrainConfig) -> dict[str, Any]:
    """The figures of one run."""
    print(f"{label}, seed {config.seed}", flush=True)
    summary = train(config, callbacks=[Lines()]).summary()
    summary.pop("run")
    print(
        f"  test accuracy {summary['test_accuracy']:.4f} in {summary['seconds']:.1f} s", flush=True
    )
    return summary


if __name__ == "__main__":
    main()
