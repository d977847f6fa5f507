"""Run the packaged recipes on the real data sets and record their figures for README.

    FASTNN_DATA=... python -m scripts.run_recipes [NAME ...]

Writes benchmarks/results/recipes.json, keeping the records of recipes that were not run again.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from benchmarks.records import RESULTS, facts_with_warnings, write
from fastnn.training.callbacks import Callback, EpochReport
from fastnn.training.config import load_recipe, recipe_names
from fastnn.training.run import train
from fastnn.training.trainer import Trainer


class Lines(Callback):
    """One short line an epoch, so that a long recipe shows that it lives."""

    def on_epoch_end(self, trainer: Trainer, report: EpochReport) -> None:
        print(f"  epoch {report.epoch}/{trainer.epochs}  loss {report.train_loss:.4f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=recipe_names())
    options = parser.parse_args()
    path = RESULTS / "recipes.json"
    recipes: dict[str, Any] = json.loads(path.read_text())["recipes"] if path.exists() else {}
    for name in options.names:
        print(name)
        config = load_recipe(name)
        summary = train(config, callbacks=[Lines()]).summary()
        summary.pop("run")
        recipes[name] = summary | {"facts": facts_with_warnings()}
        print(f"  test accuracy {summary['test_accuracy']:.4f} in {summary['seconds']:.1f} s")
    write("recipes", {"recipes": recipes})


if __name__ == "__main__":
    main()
