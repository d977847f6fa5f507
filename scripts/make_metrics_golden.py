"""Regenerate tests/golden/metrics.json: scikit-learn's and SciPy's figures of a small sample.

    pip install scikit-learn && python -m scripts.make_metrics_golden

Sixty examples of five classes of which class 3 never occurs and class 4 is never said. What is
undefined is stored as null. scikit-learn (which brings SciPy) is needed here, and in the tests that
compare with it where it is installed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

CLASSES, TEMPERATURE = 5, 2.5
GOLDEN = Path(__file__).parent.parent / "tests" / "golden" / "metrics.json"


def sample() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Outputs (60, 5) that are right more often than not, and codes (60,)."""
    rng = np.random.default_rng(6)
    codes = rng.choice([0, 1, 2, 4], 60)
    z = rng.normal(0, 1.5, (60, CLASSES))
    z[np.arange(60), codes] += 2
    z[:, 4] -= 9
    return z.round(3), codes


def figures(z: NDArray[np.float64], codes: NDArray[np.int64]) -> dict[str, Any]:
    """What scikit-learn and SciPy say about the sample."""
    from scipy.special import softmax
    from scipy.stats import binomtest
    from sklearn.metrics import (
        confusion_matrix,
        log_loss,
        precision_recall_fscore_support,
        top_k_accuracy_score,
    )

    labels, said = list(range(CLASSES)), z.argmax(axis=1)
    per_class = precision_recall_fscore_support(codes, said, labels=labels, zero_division=np.nan)
    macro = precision_recall_fscore_support(
        codes, said, labels=np.unique(codes), average="macro", zero_division=0
    )
    right = int((said == codes).sum())
    interval = binomtest(right, len(codes)).proportion_ci(method="wilson")
    return {
        "per_class": np.transpose(per_class),
        "macro": np.array(macro[:3]),
        "confusion": confusion_matrix(codes, said, labels=labels),
        "top_k": np.array([top_k_accuracy_score(codes, z, k=k, labels=labels) for k in (1, 2, 3)]),
        "losses": np.array(
            [log_loss(codes, softmax(z / t, axis=1), labels=labels) for t in (1, TEMPERATURE)]
        ),
        "interval": np.array([interval.low, interval.high]),
    }


def main() -> None:
    """Write the file."""
    z, codes = sample()
    stored = {"z": z, "codes": codes, "temperature": TEMPERATURE, **figures(z, codes)}
    lines = (f'"{name}": {json.dumps(_plain(value))}' for name, value in stored.items())
    GOLDEN.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    print(f"{GOLDEN}: {GOLDEN.stat().st_size:,} bytes")


def _plain(value: Any) -> Any:
    """Lists and numbers, NaN as None."""
    if isinstance(value, np.ndarray | list):
        return [_plain(inner) for inner in np.asarray(value).tolist()]
    return None if value != value else value


if __name__ == "__main__":
    main()
