"""Regenerate tests/golden/*.npz: twenty steps of PyTorch, the referee of fastnn's training.

    pip install torch numpy && python -m scripts.make_golden

steps.npz has the plain network under every optimizer of old, toolkit.npz the blocks, losses and
rules that came later, several at a time. Everything is float64, so that the test may ask for
agreement to rounding. Weight decay is given to matrices only, as fastnn does. torch is needed here
and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
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


Tensors = dict[str, torch.Tensor]
GOLDEN = Path(__file__).parent.parent / "tests" / "golden"
WIDTHS, CLASS_WEIGHTS = (6, 5, 5, 3), (0.5, 3.0, 1.0)


@dataclass(frozen=True)
class Recipe:
    """A network of `WIDTHS` and how it is trained; `loss` is of outputs, labels and row weights."""

    activation: Callable[[torch.Tensor], torch.Tensor]
    loss: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
    optimizer: Callable[[Groups], Any]
    norm: str = "none"
    residual: bool = False
    clip_norm: float = 0.0
    classifies: bool = False

    def outputs(self, p: Tensors, x: torch.Tensor, *, training: bool) -> torch.Tensor:
        """(B, C), all weights being (I, O) as in fastnn; moves the running statistics."""
        for layer in range(len(WIDTHS) - 2):
            own = {k.split(".")[-1]: v for k, v in p.items() if k.startswith(f"layers.{layer}.")}
            z = x @ own["weight"] + own.get("bias", 0)
            if self.norm == "layer":
                z = torch.nn.functional.layer_norm(z, z.shape[1:], own["gain"], own["shift"])
            elif self.norm == "batch":
                z = torch.nn.functional.batch_norm(
                    z, own["running_mean"], own["running_variance"], own["gain"], own["shift"],
                    training=training,
                )  # fmt: skip
            y = self.activation(z)
            x = x + y if self.residual and x.shape == y.shape else y
        last = f"layers.{len(WIDTHS) - 2}."
        return x @ p[last + "weight"] + p[last + "bias"]


def _weighed(z: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """fastnn divides by B; torch's own weights would have it divide by the sum of weights."""
    rows = torch.nn.functional.cross_entropy(z, labels, reduction="none")
    return (rows * weights).mean()


RECIPES = {
    "layer-gelu-adamw": Recipe(
        lambda z: torch.nn.functional.gelu(z, approximate="tanh"),
        lambda z, y, w: torch.nn.functional.cross_entropy(z, y, label_smoothing=0.1),
        lambda groups: torch.optim.AdamW(_decayed(groups, 0.1), lr=0.01),
        norm="layer",
        clip_norm=1.5,
        classifies=True,
    ),
    "batch-silu-rmsprop": Recipe(
        torch.nn.functional.silu,
        _weighed,
        lambda groups: torch.optim.RMSprop(_decayed(groups, 0.1), lr=0.01, eps=1e-4),
        norm="batch",
        classifies=True,
    ),
    "residual-tanh-nesterov": Recipe(
        torch.tanh,
        lambda z, y, w: torch.nn.functional.mse_loss(z, y),
        lambda groups: torch.optim.SGD(groups, lr=0.02, momentum=0.9, nesterov=True),
        residual=True,
    ),
    "leaky-relu-huber": Recipe(
        torch.nn.functional.leaky_relu,
        lambda z, y, w: torch.nn.functional.huber_loss(z, y, delta=0.7),
        lambda groups: torch.optim.Adam(groups, lr=0.01),
    ),
    "sigmoid-mae": Recipe(
        torch.sigmoid,
        lambda z, y, w: torch.nn.functional.l1_loss(z, y),
        lambda groups: torch.optim.Adam(groups, lr=0.01),
    ),
}


def _decayed(groups: Groups, decay: float) -> Groups:
    matrices, vectors = groups
    return [matrices | {"weight_decay": decay}, vectors | {"weight_decay": 0.0}]


def main() -> None:
    """Write both files."""
    torch.set_default_dtype(torch.float64)
    for name, run in (("steps", plain), ("toolkit", toolkit)):
        path = GOLDEN / f"{name}.npz"
        np.savez_compressed(path, **run())
        print(f"{path}: {path.stat().st_size:,} bytes, torch {torch.__version__}")


def plain() -> dict[str, Any]:
    """Every optimizer from the same start on the same batches, and what it did."""
    torch.manual_seed(0)
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
    return stored


def toolkit() -> dict[str, Any]:
    """Every recipe from one start, its losses and gradient norms, and where it ended."""
    torch.manual_seed(1)
    x = torch.randn(STEPS, BATCH, WIDTHS[0])
    labels = torch.randint(WIDTHS[-1], (STEPS, BATCH))
    targets = torch.randn(STEPS, BATCH, WIDTHS[-1])
    weights = torch.tensor(CLASS_WEIGHTS)[labels]
    weights = weights / weights.mean()
    stored = {"x": x, "labels": labels, "targets": targets, "weights": weights}
    start: Tensors = {}
    for layer, (inputs, outputs) in enumerate(pairwise(WIDTHS)):
        start[f"layers.{layer}.weight"] = torch.randn(inputs, outputs) * 0.6
        for name in ("bias", "gain", "shift", "running_mean", "running_variance"):
            start[f"layers.{layer}.{name}"] = torch.rand(outputs) + 0.5
    stored |= {f"start/{name}": value for name, value in start.items()}
    for name, recipe in RECIPES.items():
        stored |= {f"{name}/{key}": value for key, value in _run(recipe, start, stored).items()}
    return {name: value.numpy() for name, value in stored.items()}


def _run(recipe: Recipe, start: Tensors, data: Tensors) -> Tensors:
    # There is no bias before a batch norm.
    own = {"none": ("bias",), "layer": ("bias", "gain", "shift")}.get(
        recipe.norm, ("gain", "shift", "running")
    )
    last = f"layers.{len(WIDTHS) - 2}."
    p = {
        name: value.clone()
        for name, value in start.items()
        if name.endswith("weight")
        or name.split(".")[-1].split("_")[0] in (("bias",) if name.startswith(last) else own)
    }
    trained = [value.requires_grad_() for name, value in p.items() if ".running_" not in name]
    matrices = [value for value in trained if value.ndim == 2]
    vectors = [value for value in trained if value.ndim == 1]
    optimizer = recipe.optimizer([{"params": matrices}, {"params": vectors}])
    losses, lengths = [], []
    for x, labels, targets, weights in zip(
        data["x"], data["labels"], data["targets"], data["weights"], strict=True
    ):
        z = recipe.outputs(p, x, training=True)
        loss = recipe.loss(z, labels if recipe.classifies else targets, weights)
        optimizer.zero_grad()
        loss.backward()
        length = torch.cat([value.grad.ravel() for value in trained]).norm()
        if recipe.clip_norm:  # torch's own function adds 1e-6 to the length
            for value in trained:
                value.grad *= min(1.0, recipe.clip_norm / length.item())
        optimizer.step()
        losses.append(loss.detach())
        lengths.append(length)
    with torch.no_grad():
        evaluated = recipe.outputs(p, data["x"][0], training=False)
    ended = {name: value.detach() for name, value in p.items()}
    return ended | {
        "losses": torch.stack(losses), "lengths": torch.stack(lengths), "evaluated": evaluated
    }  # fmt: skip


if __name__ == "__main__":
    main()
