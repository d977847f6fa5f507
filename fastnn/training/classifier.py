"""A trained network with all that is needed to use it: scaling, class names, input shape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastnn.backend import Array, Backend, get_backend
from fastnn.data.batches import Batches
from fastnn.data.examples import Examples
from fastnn.data.scaling import Scaling
from fastnn.errors import CheckpointError, DataError
from fastnn.nn.model import MLP
from fastnn.rng import Stream, generator
from fastnn.training import checkpoint
from fastnn.training.scoring import Score, evaluate

# Rows worked at a time: activations of the default network stay in the last-level cache.
CHUNK = 1024

BEST, LAST = "best.safetensors", "last.safetensors"


@dataclass(frozen=True, slots=True)
class Classifier:
    """Predicts from raw inputs, scaled as in training. Class codes count from 0."""

    model: MLP
    scaling: Scaling
    class_names: tuple[str, ...]
    shape: tuple[int, ...]  # of one example
    pixels: bool  # trained on bytes

    @classmethod
    def load(cls, path: str | Path, device: str = "auto") -> Classifier:
        """From a run folder (its best weights) or from a .safetensors file."""
        arrays, meta = checkpoint.load(weights_file(Path(path)))
        return cls.from_checkpoint(arrays, meta, get_backend(device))

    @classmethod
    def from_checkpoint(
        cls, arrays: Mapping[str, Array], meta: Mapping[str, Any], backend: Backend
    ) -> Classifier:
        """From what `checkpoint.load` returned."""
        try:
            facts = meta["model"]
            rng = generator(0, Stream.WEIGHTS)  # the draw is overwritten below
            model = MLP(facts["sizes"], backend, rng=rng, dtype=facts["dtype"])
            scaling = Scaling(
                facts["scaling"], arrays.get("scaling/offset"), arrays["scaling/factor"]
            )
            names, shape = tuple(facts["class_names"]), tuple(facts["shape"])
            load_params(model, arrays)
            return cls(model, scaling, names, shape, bool(facts["pixels"]))
        except (KeyError, TypeError) as error:
            raise CheckpointError(f"the checkpoint lacks {error}; it is not complete") from error

    def parts(self) -> tuple[dict[str, Array], dict[str, Any]]:
        """Host arrays and values from which `from_checkpoint` rebuilds this."""
        host = self.model.backend.to_host
        params = self.model.params
        arrays = {f"params/{name}": host(params[name]) for name in params}
        arrays["scaling/factor"] = self.scaling.factor
        if self.scaling.offset is not None:
            arrays["scaling/offset"] = self.scaling.offset
        return arrays, {
            "sizes": list(self.model.sizes),
            "dtype": self.model.dtype.name,
            "scaling": self.scaling.kind,
            "class_names": list(self.class_names),
            "shape": list(self.shape),
            "pixels": self.pixels,
        }

    def predict_proba(self, inputs: ArrayLike) -> NDArray[np.floating]:
        """Class probabilities (N, C) of raw inputs (N, D) or (N, *shape)."""
        flat = self._flattened(np.asarray(inputs))
        out = np.empty((len(flat), len(self.class_names)), self.model.dtype)
        if len(flat) == 0:
            return out
        batches = self._batches(Examples(flat, np.zeros(len(flat), np.int32)))
        ws, done = self.model.workspace(batches.batch_size), 0
        for x, labels in batches:
            rows = len(labels)
            logits = self.model.forward(x, ws.head(rows))
            out[done : done + rows] = self.model.backend.to_host(logits)
            done += rows
        out -= out.max(axis=1, keepdims=True)
        np.exp(out, out=out)
        out /= out.sum(axis=1, keepdims=True)
        return out

    def predict(self, inputs: ArrayLike) -> NDArray[np.intp]:
        """Class codes (N,) of raw inputs."""
        return np.asarray(self.predict_proba(inputs).argmax(axis=1))

    def evaluate(self, examples: Examples) -> Score:
        """Loss and accuracy on labelled raw examples."""
        flat = self._flattened(examples.inputs)
        return evaluate(self.model, self._batches(Examples(flat, examples.labels)))

    def _batches(self, examples: Examples) -> Batches:
        return Batches(
            examples, CHUNK, self.scaling, self.model.backend,
            kernels=self.model.kernels, dtype=self.model.dtype,
        )  # fmt: skip

    def _flattened(self, inputs: NDArray[Any]) -> NDArray[Any]:
        """Inputs as (N, D) in the kind the network was trained on."""
        columns = self.model.sizes[0]
        rows = inputs if inputs.ndim > 1 else inputs[None]
        flat = rows.reshape(len(rows), prod(rows.shape[1:]))
        if flat.shape[1] != columns:
            raise DataError(
                f"inputs of shape {inputs.shape} have {flat.shape[1]} values each; "
                f"this network takes {columns}, shape {self.shape}"
            )
        if not self.pixels:
            return flat.astype(np.float32, copy=False)
        if flat.dtype == np.uint8:
            return flat
        pixels = flat.astype(np.uint8)
        if not np.array_equal(pixels, flat):
            raise DataError(
                "inputs must be whole pixel values from 0 to 255, as in training: "
                "fastnn does the scaling itself"
            )
        return pixels


def weights_file(path: Path) -> Path:
    """The file to take weights from: the best of a run folder, else its last, else the path."""
    if not path.is_dir():
        return path
    best = path / BEST
    return best if best.exists() else path / LAST


def load_params(model: MLP, arrays: Mapping[str, Array]) -> None:
    """Copy `params/...` into the model; every name and shape must fit."""
    for name in model.params:
        found, view = arrays.get(f"params/{name}"), model.params[name]
        if found is None or found.shape != view.shape:
            shape = None if found is None else found.shape
            raise CheckpointError(f"{name}: found shape {shape}, expected {view.shape}")
        view[...] = model.backend.asarray(found, dtype=model.dtype)
