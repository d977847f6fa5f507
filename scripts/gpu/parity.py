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


# A network that needs every kernel besides the plain one's. SGD, because Adam makes steps of full
# size of the rounding that is all the gradient a bias before a batch norm has.
EVERYTHING: dict[str, Any] = {
    "hidden": [96, 96], "activation": ["gelu", "silu"], "norm": "batch", "dropout": 0.2,
    "input_dropout": 0.1, "residual": True, "label_smoothing": 0.1, "class_weight": "balanced",
    "clip_norm": 0.5, "clip_value": 0.1, "ema": 0.99, "optimizer": "sgd", "learning_rate": 0.1,
}  # fmt: skip
VARIED: dict[str, Any] = {"shift": 2, "flip": True, "cutout": 4}


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
    rows += _with_everything(backend, data, epochs)
    return {"rows": rows, "ok": all(row["ok"] for row in rows)}


def _with_everything(backend: Backend, data: Dataset, epochs: int) -> list[dict[str, Any]]:
    """Rows of the same kind for networks with a norm of each sort and all else."""
    rows = []
    for norm in ("layer", "batch"):
        more = EVERYTHING | (VARIED if len(data.shape) > 1 else {}) | {"norm": norm}
        base = TrainConfig(epochs=epochs).updated(more, "parity")
        cpu = base.updated({"device": "cpu", "kernels": "reference"}, "parity")
        expected, found = train(cpu, data=data), []
        for kernels in ("fused", "captured"):
            config = base.updated({"device": str(backend), "kernels": kernels}, "parity")
            found.append(train(config, data=data))
            apart = _apart(found[-1], expected)
            rows.append(
                {
                    "what": f"{kernels}, everything and {norm} norm, losses against the CPU's",
                    "apart": apart,
                    "allowed": ALLOWED["float32"],
                    "ok": apart <= ALLOWED["float32"] and found[-1].kernels == kernels,
                }
            )
        difference = float(np.abs(_vector(found[0]) - _vector(found[1])).max())
        rows.append(
            {
                "what": f"captured against fused, everything and {norm} norm, bits",
                "apart": difference,
                "allowed": 0.0,
                "ok": np.array_equal(_vector(found[0]), _vector(found[1])),
            }
        )
    return rows


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
