"""Write README's tables and its picture from the records under benchmarks/results/.

    python -m scripts.fill_readme

Each table stands between two comments, <!-- NAME --> and <!-- /NAME -->; the picture is
docs/throughput.png and .svg, and needs matplotlib.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from benchmarks.records import RESULTS
from fastnn.bench import plot
from fastnn.bench.facts import caption
from fastnn.bench.record import load
from fastnn.bench.table import markdown
from fastnn.training.config import TrainConfig, load_recipe

README = Path(__file__).parent.parent / "README.md"

# What the source projects reported for themselves.
SOURCES = {
    "adam-50": "cost 0.0497, train 98.17 %, test 88 to 90 %",
    "sgd-25": "loss 0.3855, test 85.09 %",
    "mnist-2": "test over 90 %",
    "fashion-2": "test about 85 %",
}


def record(name: str) -> dict[str, Any]:
    """One file of benchmarks/results/."""
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return found


def filled(text: str) -> str:
    """README's text with every table made anew."""
    for name, table in (
        ("recipes", recipes()),
        ("throughput", throughput()),
        ("startup", startup()),
    ):
        found = re.search(rf"(<!-- {name} -->\n).*?(\n<!-- /{name} -->)", text, flags=re.S)
        if found is None:
            raise SystemExit(f"{README}: no place for {name}")
        text = text[: found.end(1)] + table + text[found.start(2) :]
    return text


def recipes() -> str:
    """A row a recipe: settings, the source's figures, fastnn's."""
    rows = [
        "| recipe | settings | the source's figures | train loss | train | test | seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    found = record("recipes")["recipes"]
    for name, source in SOURCES.items():
        r = found[name]
        rows.append(
            f"| `{name}` | {described(load_recipe(name))} | {source} | {r['train_loss']:.4f} | "
            f"{100 * r['train_accuracy']:.2f} % | {100 * r['test_accuracy']:.2f} % | "
            f"{r['seconds']:.0f} |"
        )
    return "\n".join(rows)


def described(config: TrainConfig) -> str:
    """A recipe's settings in a phrase."""
    hidden = "-".join(map(str, config.hidden))
    return (
        f"{config.dataset}, hidden {hidden}, {config.optimizer} {config.learning_rate:g}, "
        f"{config.schedule}, batch {config.batch_size}, {config.epochs} epochs"
    )


def throughput() -> str:
    """A row a batch size; below it peak memory, and what it was measured on."""
    found = load(RESULTS / "throughput.json")
    parts = [markdown(found)]
    if found.memory:
        each = ", ".join(f"{name} {mib:.0f}" for name, mib in found.memory["mebibytes"].items())
        batch = found.memory["batch"]
        parts.append(f"Peak memory at batch {batch}, MiB beyond bytes and libraries: {each}.")
    return "\n\n".join([*parts, caption(found.facts)])


def startup() -> str:
    """Milliseconds of a fresh process."""
    found = record("startup")["milliseconds"]
    rows = ["| command | milliseconds | of `import numpy` |", "|---|---|---|"]
    for name, value in found.items():
        rows.append(f"| `{name}` | {value:.0f} | {value / found['import numpy']:.2f} |")
    return "\n".join(rows)


def main() -> None:
    """Rewrite README in place, and draw its picture anew."""
    README.write_text(filled(README.read_text(encoding="utf-8")), encoding="utf-8")
    found = load(RESULTS / "throughput.json")
    for suffix in (".png", ".svg"):
        (README.parent / "docs" / f"throughput{suffix}").write_bytes(plot.render(found, suffix))


if __name__ == "__main__":
    main()
