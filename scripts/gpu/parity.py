"""The same training on the CPU and on every path of the GPU, and how far the results are apart."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn.backend import Array, Backend
from fastnn.data.examples import Dataset
from fastnn.training.config import TrainConfig
from fastnn.training.run import Result, train

# Largest relative difference of an epoch's loss to the CPU's. Rounding differs, and grows with the
# steps; a wrong gradient shows far above this.
ALLOWED = {"float32": 1e-3, "tf32": 3e-2}


def parity(backend: Backend, data: Dataset, *, epochs: int = 3) -> dict[str, Any]:
    """Loss curves against the CPU's; runs that must agree to the bit."""
    base = TrainConfig(epochs=epochs, batch_size=128, device=str(backend), schedule="cosine")
    cpu = train(base.updated({"device": "cpu"}, "parity"), data=data)
    rows, results = [], {}
    for kernels, precision in (
        ("reference", "float32"), ("fused", "float32"), ("captured", "float32"),
        ("fused", "tf32"), ("captured", "tf32"),
    ):  # fmt: skip
        config = base.updated({"kernels": kernels, "precision": precision}, "parity")
        result = results[kernels, precision] = train(config, data=data)
        apart = _apart(result, cpu)
        rows.append(
            {
                "what": f"{kernels} {precision}, losses against the CPU's",
                "apart": apart,
                "allowed": ALLOWED[precision],
                "ok": apart <= ALLOWED[precision] and result.kernels == kernels,
            }
        )
    for precision in ("float32", "tf32"):
        captured = results["captured", precision]
        config = base.updated({"kernels": "captured", "precision": precision}, "parity")
        for what, other in (
            ("captured against fused", results["fused", precision]),
            ("captured twice", train(config, data=data)),
        ):
            same = np.array_equal(_vector(captured), _vector(other))
            difference = float(np.abs(_vector(captured) - _vector(other)).max())
            rows.append(
                {
                    "what": f"{what}, {precision}, bits",
                    "apart": difference,
                    "allowed": 0.0,
                    "ok": same,
                }
            )
    return {"rows": rows, "ok": all(row["ok"] for row in rows)}


def _apart(found: Result, expected: Result) -> float:
    pairs = [
        (a, b)
        for x, y in zip(found.history, expected.history, strict=True)
        for a, b in ((x.train_loss, y.train_loss), (x.valid_loss, y.valid_loss))
    ]
    return max(abs(a - b) / abs(b) for a, b in pairs if a is not None and b is not None)


def _vector(result: Result) -> Array:
    model = result.classifier.model
    return model.backend.to_host(model.params.vector)
