"""Write README's tables from the records under benchmarks/results/.

    python -m scripts.fill_readme

Each table stands between two comments, <!-- NAME --> and <!-- /NAME -->.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from benchmarks.facts import RESULTS
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
    for name, table in (("recipes", recipes()), ("steps", steps()), ("startup", startup())):
        pattern = rf"(<!-- {name} -->\n).*?(\n<!-- /{name} -->)"
        text, count = re.subn(
            pattern, lambda m, t=table: m[1] + t + m[2], text, count=1, flags=re.S
        )
        if count != 1:
            raise SystemExit(f"{README}: no place for {name}")
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


def steps() -> str:
    """A row a batch size, and below the table what it was measured on."""
    found = record("steps")
    rows = [
        "| batch | fastnn | from-scratch | ratio | from-scratch, float32 | ratio | products |",
        "|---|---|---|---|---|---|---|",
    ]
    for batch, by_name in found["steps"].items():
        cells = [f"{by_name['fastnn']['median']:,.0f}"]
        for name in ("from-scratch", "from-scratch-float32"):
            cells += [f"{by_name[name]['median']:,.0f}", f"{by_name[name]['ratio']:.2f}"]
        cells.append(f"{by_name['products alone']['median']:,.0f}")
        rows.append(f"| {batch} | {' | '.join(cells)} |")
    facts = found["facts"]
    return "\n".join(rows) + (
        f"\n\nMeasured on {facts['date']}: {facts['processor']}, {facts['cores']} cores, "
        f"NumPy {facts['numpy']}, {facts['blas']} ({facts['blas_architecture']} kernels, "
        f"{facts['blas_threads']} threads), Python {facts['python']}."
    )


def startup() -> str:
    """Milliseconds of a fresh process."""
    found = record("startup")["milliseconds"]
    rows = ["| command | milliseconds | of `import numpy` |", "|---|---|---|"]
    for name, value in found.items():
        rows.append(f"| `{name}` | {value:.0f} | {value / found['import numpy']:.2f} |")
    return "\n".join(rows)


def main() -> None:
    """Rewrite README in place."""
    README.write_text(filled(README.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
