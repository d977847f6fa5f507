"""Saved networks: each becomes the kind of predictor that it was."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastnn.backend import Array, Backend, get_backend
from fastnn.kernels import Kernels
from fastnn.training import checkpoint
from fastnn.training.classifier import Classifier
from fastnn.training.predictor import weights_file
from fastnn.training.regressor import Regressor


def load_predictor(path: str | Path, device: str = "auto") -> Classifier | Regressor:
    """The network of a run folder (its best) or of a .safetensors file, whatever it predicts."""
    file = weights_file(Path(path))
    arrays, meta = checkpoint.load(file)
    return predictor_from(arrays, meta, get_backend(device), source=file)


def predictor_from(
    arrays: Mapping[str, Array],
    meta: Mapping[str, Any],
    backend: Backend,
    *,
    source: Path,
    kernels: Kernels | None = None,
) -> Classifier | Regressor:
    """The network in what `checkpoint.load` returned; see `Predictor.from_checkpoint`."""
    facts = meta.get("model")
    numbers = isinstance(facts, dict) and bool(facts.get("targets"))
    kind: type[Classifier] | type[Regressor] = Regressor if numbers else Classifier
    return kind.from_checkpoint(arrays, meta, backend, source=source, kernels=kernels)
