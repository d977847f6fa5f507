"""The saved network that a verb was asked to use."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from fastnn.training.classifier import Classifier


class Saved(NamedTuple):
    """A network, the file it came from, and what else that file says."""

    file: Path
    meta: dict[str, Any]
    classifier: Classifier


def open_saved(run: Path, device: str) -> Saved:
    """The best network of a run folder, or that of a .safetensors file, on this device."""
    from fastnn.backend import get_backend
    from fastnn.training import checkpoint
    from fastnn.training.classifier import Classifier, weights_file

    file = weights_file(run)
    arrays, meta = checkpoint.load(file)
    classifier = Classifier.from_checkpoint(arrays, meta, get_backend(device), source=file)
    return Saved(file, meta, classifier)
