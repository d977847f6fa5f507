"""The project's speed targets beside what the records under benchmarks/results/ say.

    python -m scripts.targets

Each is a ratio within one interleaved run: how many times as fast as the peer fastnn is.
"""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.records import RESULTS
from fastnn.bench.record import load
from scripts.fill_readme import record

BATCHES = (32, 128, 512, 2048, 8192)
TRAINING = [  # ours, peer, least ratio at each batch size
    ("fastnn NumPy", "torch", (0.7, 1.4, 1.5, 1.7, 1.7)),
    ("fastnn", "torch", (2.0, 2.3, 2.0, 2.0, 2.0)),
    ("fastnn", "JAX", (1.0, 1.05, 1.1, 1.1, 1.2)),
]
AT_128 = [
    ("fastnn NumPy", "scikit-learn", 3.0), ("fastnn", "scikit-learn", 5.5),
    ("fastnn NumPy", "from-scratch", 2.0), ("fastnn", "from-scratch", 3.5),
]  # fmt: skip
TINY = [
    ("fastnn NumPy", "torch", 6.0), ("fastnn NumPy", "scikit-learn", 5.0),
    ("fastnn", "torch", 20.0), ("fastnn", "JAX", 1.3), ("fastnn", "scikit-learn", 16.0),
]  # fmt: skip
PREDICTION = [("fastnn NumPy", "torch", 1.0), ("fastnn", "torch", 1.2)]

Line = tuple[str, float, float]  # what, measured, target


def lines() -> Iterator[Line]:
    """Every target, with the ratio measured."""
    default = load(RESULTS / "throughput.json")
    (tiny,) = load(RESULTS / "tiny.json").batches.values()
    for ours, peer, least in TRAINING:
        for batch, target in zip(BATCHES, least, strict=True):
            found = default.batches[batch]
            ratio = found[peer].median / found[ours].median
            yield f"{ours} against {peer}, batch {batch}", ratio, target
    for ours, peer, target in AT_128:
        found = default.batches[128]
        yield f"{ours} against {peer}, batch 128", found[peer].median / found[ours].median, target
    for ours, peer, target in TINY:
        ratio = tiny[peer].median / tiny[ours].median
        yield f"{ours} against {peer}, 20-32-2, batch 32", ratio, target
    rows = record("prediction")["contestants"]
    for ours, peer, target in PREDICTION:
        key = "60000 rows a second"
        yield (
            f"{ours} against {peer}, 60,000 rows predicted",
            rows[ours][key] / rows[peer][key],
            target,
        )
    seconds = record("time_to_accuracy")["contestants"]
    for peer in ("torch", "JAX"):
        ratio = seconds[peer]["90%"]["mean"] / seconds["fastnn"]["90%"]["mean"]
        yield f"fastnn against {peer}, seconds to 90 %", ratio, 1.0


def main() -> None:
    """Print a line a target."""
    for what, ratio, target in lines():
        verdict = "reached" if ratio >= target else "missed"
        print(f"{what:52} {ratio:6.2f}  target {target:5.2f}  {verdict}")


if __name__ == "__main__":
    main()
