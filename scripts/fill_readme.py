"""Write README's tables and its picture from the records under benchmarks/results/.

    python -m scripts.fill_readme

Each table stands between two comments, <!-- NAME --> and <!-- /NAME -->; the picture is
docs/throughput.png and .svg, and needs matplotlib.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from benchmarks.records import RESULTS
from fastnn.analysis.style import rendered
from fastnn.bench import plot
from fastnn.bench.facts import caption
from fastnn.bench.record import Record, load
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
    for table in (
        recipes,
        seeded,
        throughput,
        ratios,
        accuracy,
        prediction,
        threads,
        startup,
        sizes,
    ):
        name = table.__name__
        found = re.search(rf"(<!-- {name} -->\n).*?(\n<!-- /{name} -->)", text, flags=re.S)
        if found is None:
            raise SystemExit(f"{README}: no place for {name}")
        text = text[: found.end(1)] + table() + text[found.start(2) :]
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


def seeded() -> str:
    """A row a recipe that was run with several seeds: mean and standard deviation."""
    rows = [
        "| recipe | settings | seeds | test accuracy | worst seed | seconds |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for entry in record("recipes")["seeded"].values():
        config, runs = load_recipe(entry["recipe"]), entry["runs"]
        own = runs[0]["dataset"] == config.dataset
        other = "" if own else f" --dataset {runs[0]['dataset']}"
        phrase = described(config) if own else "the same on other pictures"
        found = [100 * run["test_accuracy"] for run in runs]
        rows.append(
            f"| `--recipe {entry['recipe']}{other}` | {phrase} | {len(runs)} | "
            f"{_percent(found)} | {min(found):.2f} % | "
            f"{mean(run['seconds'] for run in runs):.0f} |"
        )
    return "\n".join(rows)


def _percent(values: list[float]) -> str:
    """Mean and standard deviation, where there is one."""
    spread = f" ± {stdev(values):.2f}" if len(values) > 1 else ""
    return f"{mean(values):.2f}{spread} %"


def described(config: TrainConfig) -> str:
    """A recipe's settings in a phrase: what is not told is left out."""
    usual, hidden = TrainConfig(), "-".join(map(str, config.hidden))
    network = [f"hidden {hidden}"]
    if config.activation != usual.activation:
        network.append("-".join(config.activation))
    network += [
        f"{shown} {value:g}" if isinstance(value, float | int) else f"{value} {shown}"
        for shown, name in (
            ("norm", "norm"),
            ("dropout", "dropout"),
            ("input dropout", "input_dropout"),
            ("label smoothing", "label_smoothing"),
            ("shifts by", "shift"),
            ("cut-outs of", "cutout"),
            ("decay", "weight_decay"),
            ("average", "ema"),
        )
        if (value := getattr(config, name)) != getattr(usual, name)
    ]
    network += ["flips"] * config.flip + ["two views of each test image"] * config.flip_test
    return (
        f"{config.dataset}, {', '.join(network)}, {config.optimizer} {config.learning_rate:g}, "
        f"{config.schedule}, batch {config.batch_size}, {config.epochs} epochs"
    )


def shown() -> Record:
    """The record of throughput without a path that is never the default."""
    found = load(RESULTS / "throughput.json")
    kept = {
        batch: {name: figure for name, figure in figures.items() if name != "fastnn fused"}
        for batch, figures in found.batches.items()
    }
    memory = {
        name: mib for name, mib in found.memory["mebibytes"].items() if name != "fastnn fused"
    }
    return replace(found, batches=kept, memory=found.memory | {"mebibytes": memory})


def throughput() -> str:
    """A row a batch size; below it peak memory, and what it was measured on."""
    found = shown()
    each = ", ".join(f"{name} {mib:.0f}" for name, mib in found.memory["mebibytes"].items())
    batch = found.memory["batch"]
    memory = f"Peak memory at batch {batch}, MiB beyond bytes and libraries: {each}."
    return "\n\n".join([markdown(found), memory, caption(found.facts)])


def ratios() -> str:
    """How many times as fast as each peer, from the same record; below 1, fastnn is behind."""
    found, tiny = load(RESULTS / "throughput.json"), load(RESULTS / "tiny.json")
    heads = [f"batch {batch:,}" for batch in found.batches]
    (batch, little), *_ = tiny.batches.items()
    lines = [
        f"| as fast as | with | {' | '.join(heads)} | {tiny.facts['network']}, batch {batch} |",
        "|---|---|" + "---:|" * (len(heads) + 1),
    ]
    for peer in ("torch", "torch.compile", "JAX", "scikit-learn", "from-scratch"):
        for ours, label in (("fastnn", "numba"), ("fastnn NumPy", "NumPy")):
            cells = [
                f"{figures[peer].median / figures[ours].median:.2f}"
                for figures in (*found.batches.values(), little)
            ]
            lines.append(f"| {peer} | {label} | {' | '.join(cells)} |")
    return "\n".join(lines)


def accuracy() -> str:
    """Seconds to an accuracy, mean and standard deviation over the seeds."""
    found = record("time_to_accuracy")
    rows = [
        f"| {found['seeds']} seeds | 88 % | 89 % | 90 % | all 15 epochs | accuracy then |",
        "|---|---|---|---|---|---|",
    ]
    for name, figures in found["contestants"].items():
        cells = []
        for threshold in ("88%", "89%", "90%"):
            row = figures[threshold]
            reached = "" if row["reached"] == found["seeds"] else f" ({row['reached']} seeds)"
            text = "not reached" if row["mean"] is None else _with_spread(row, 1, " s")
            cells.append(text + reached)
        whole, last = figures["seconds of all epochs"], figures["last accuracy"]
        percent = {key: 100 * last[key] for key in ("mean", "spread")}
        cells += [_with_spread(whole, 1, " s"), _with_spread(percent, 2, " %")]
        rows.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(rows)


def prediction() -> str:
    """Rows a second, and one row's latency."""
    found = record("prediction")["contestants"]
    rows = [
        "| | 60,000 rows, thousands a second | 100 rows | one row, us, median | 99 of 100 within |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, r in found.items():
        rows.append(
            f"| {name} | {r['60000 rows a second'] / 1000:.0f} | "
            f"{r['100 rows a second'] / 1000:.0f} | {r['one row, us, p50']:.0f} | "
            f"{r['one row, us, p99']:.0f} |"
        )
    return "\n".join(rows)


def threads() -> str:
    """Microseconds a step by pinned cores, path and threads."""
    found = record("threads")["microseconds"]
    batches = list(next(iter(found.values())))
    rows = [
        f"| us a step | {' | '.join(f'batch {int(batch):,}' for batch in batches)} |",
        "|---|" + "---:|" * len(batches),
    ]
    for name, figures in found.items():
        rows.append(f"| {name} | {' | '.join(f'{figures[b]:,.0f}' for b in batches)} |")
    return "\n".join(rows)


def startup() -> str:
    """Milliseconds of a fresh process."""
    found = record("startup")["milliseconds"]
    rows = ["| command | milliseconds | of `import numpy` |", "|---|---:|---:|"]
    for name, value in found.items():
        shown = name if name.startswith("first step") else f"`{name}`"
        rows.append(f"| {shown} | {value:.0f} | {value / found['import numpy']:.2f} |")
    return "\n".join(rows)


def sizes() -> str:
    """Megabytes on disk after the installation."""
    found = record("startup")["megabytes"]
    heads, cells = " | ".join(found), " | ".join(f"{size:.0f}" for size in found.values())
    return f"| | {heads} |\n|---|{'---:|' * len(found)}\n| MB | {cells} |"


def _with_spread(row: dict[str, float], digits: int, unit: str) -> str:
    return f"{row['mean']:.{digits}f} ± {row['spread']:.{digits}f}{unit}"


def main() -> None:
    """Rewrite README in place, and draw its picture anew."""
    README.write_text(filled(README.read_text(encoding="utf-8")), encoding="utf-8")
    found = shown()
    for suffix in (".png", ".svg"):
        (README.parent / "docs" / f"throughput{suffix}").write_bytes(
            rendered(plot.figure(found), suffix)
        )


if __name__ == "__main__":
    main()
