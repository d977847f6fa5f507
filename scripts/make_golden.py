"""Regenerate tests/golden/steps.npz: twenty steps of PyTorch, the referee of fastnn's training.

    pip install torch numpy && python -m scripts.make_golden

Everything is float64, so that the test may ask for agreement to rounding. Weight decay is given to
matrices only, as fastnn does. torch is needed here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

SIZES = (20, 16, 12, 5)
BATCH, STEPS = 8, 20
Groups = list[dict[str, Any]]
OPTIMIZERS: dict[str, Callable[[Groups], Any]] = {
    "sgd": lambda groups: torch.optim.SGD(groups, lr=0.1),
    "momentum": lambda groups: torch.optim.SGD(groups, lr=0.05, momentum=0.9),
    "nesterov": lambda groups: torch.optim.SGD(groups, lr=0.05, momentum=0.9, nesterov=True),
    "adam": lambda groups: torch.optim.Adam(groups, lr=0.01),
    "adam-large-eps": lambda groups: torch.optim.Adam(groups, lr=0.05, eps=1e-2),
    "sgd-decay": lambda groups: torch.optim.SGD(_decayed(groups, 0.1), lr=0.1),
    "adam-decay": lambda groups: torch.optim.Adam(_decayed(groups, 0.1), lr=0.01),
    "adamw-decay": lambda groups: torch.optim.AdamW(_decayed(groups, 0.1), lr=0.01),
}


def _decayed(groups: Groups, decay: float) -> Groups:
    matrices, vectors = groups
    return [matrices | {"weight_decay": decay}, vectors | {"weight_decay": 0.0}]


def main() -> None:
    """Run every optimizer from the same start on the same batches and store what it did."""
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    x = torch.rand(STEPS, BATCH, SIZES[0])
    labels = torch.randint(SIZES[-1], (STEPS, BATCH))
    stored = {"x": x.numpy(), "labels": labels.numpy().astype(np.int32)}
    start: list[tuple[torch.Tensor, torch.Tensor]] = []
    for layer, (fan_in, fan_out) in enumerate(pairwise(SIZES)):
        # torch keeps weights as (O, I); fastnn's (I, O) is stored.
        start.append((torch.randn(fan_out, fan_in) * 0.4, torch.randn(fan_out) * 0.1))
        stored[f"start/layers.{layer}.weight"] = start[-1][0].T.numpy().copy()
        stored[f"start/layers.{layer}.bias"] = start[-1][1].numpy().copy()
    for name, make in OPTIMIZERS.items():
        layers = [(w.clone().requires_grad_(), b.clone().requires_grad_()) for w, b in start]
        groups = [{"params": [w for w, _ in layers]}, {"params": [b for _, b in layers]}]
        optimizer = make(groups)
        losses = []
        for step in range(STEPS):
            z = x[step]
            for layer, (w, b) in enumerate(layers):
                z = torch.nn.functional.linear(z, w, b)
                if layer < len(layers) - 1:
                    z = torch.relu(z)
            loss = torch.nn.functional.cross_entropy(z, labels[step])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        stored[f"{name}/losses"] = np.array(losses)
        for layer, (w, b) in enumerate(layers):
            stored[f"{name}/layers.{layer}.weight"] = w.detach().T.numpy().copy()
            stored[f"{name}/layers.{layer}.bias"] = b.detach().numpy().copy()
            stored[f"{name}/grad/layers.{layer}.weight"] = w.grad.T.numpy().copy()
            stored[f"{name}/grad/layers.{layer}.bias"] = b.grad.numpy().copy()
    path = Path(__file__).parent.parent / "tests" / "golden" / "steps.npz"
    path.parent.mkdir(exist_ok=True)
    np.savez_compressed(path, **stored)
    print(f"{path}: {path.stat().st_size:,} bytes, torch {torch.__version__}")


if __name__ == "__main__":
    main()
