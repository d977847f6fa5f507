"""The saved network that a verb was asked to use."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from fastnn.training.classifier import Classifier
    from fastnn.training.regressor import Regressor


class Saved(NamedTuple):
    """A network, the file it came from, and what else that file says."""

    file: Path
    meta: dict[str, Any]
    predictor: Classifier | Regressor


def open_saved(run: Path, device: str, threads: int = 0) -> Saved:
    """The best network of a run folder, or that of a .safetensors file, on this device."""
    from fastnn.backend import get_backend
    from fastnn.kernels import kernels_for
    from fastnn.training import checkpoint
    from fastnn.training.predictor import weights_file
    from fastnn.training.saved import predictor_from

    file = weights_file(run)
    arrays, meta = checkpoint.load(file)
    backend = get_backend(device, threads=threads)
    # For the rows of one command, loading Numba takes longer than its kernels would save.
    kernels = kernels_for(backend, "reference") if backend.name == "cpu" else None
    predictor = predictor_from(arrays, meta, backend, source=file, kernels=kernels)
    return Saved(file, meta, predictor)
