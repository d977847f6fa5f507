"""A trained network with all that is needed to use it: what classifiers and regressors share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastnn.backend import Array, Backend, get_backend
from fastnn.data.batches import Batches
from fastnn.data.examples import Dataset, Examples, Schema
from fastnn.data.scaling import Scaling
from fastnn.errors import CheckpointError, DataError
from fastnn.kernels import Kernels
from fastnn.nn.blocks import Block
from fastnn.nn.model import MLP, Workspace
from fastnn.nn.objective import Objective
from fastnn.rng import Stream, generator
from fastnn.training import checkpoint
from fastnn.training.layout import BEST, LAST
from fastnn.training.scoring import Mirror, outputs

# Rows worked at a time: on a CPU the default network's activations stay in the last-level cache, a
# GPU wants enough rows to fill it.
CHUNK = {"cpu": 1024, "cuda": 8192}


@dataclass(frozen=True, slots=True)
class Predictor:
    """A network that takes raw inputs, scaled as in training.

    With `mirror`, from each picture and its mirror image. `targets` is how numbers to predict were
    scaled, None for classes.
    """

    model: MLP
    scaling: Scaling
    schema: Schema
    mirror: Mirror | None = None
    targets: Scaling | None = None

    @classmethod
    def load(cls, path: str | Path, device: str = "auto") -> Self:
        """From a run folder (its best weights) or from a .safetensors file."""
        file = weights_file(Path(path))
        arrays, meta = checkpoint.load(file)
        return cls.from_checkpoint(arrays, meta, get_backend(device), source=file)

    @classmethod
    def from_checkpoint(
        cls,
        arrays: Mapping[str, Array],
        meta: Mapping[str, Any],
        backend: Backend,
        *,
        source: Path,
        kernels: Kernels | None = None,
    ) -> Self:
        """From what `checkpoint.load` returned; `source` is named where it is not complete."""
        try:
            facts = meta["model"]
            schema = Schema(
                tuple(facts["class_names"]),
                tuple(facts["shape"]),
                bool(facts["pixels"]),
                tuple(facts["columns"]),
                tuple(facts.get("targets", ())),
            )
            cls._check_kind(schema, source)
            scaling = Scaling(
                facts["scaling"], arrays.get("scaling/offset"), arrays["scaling/factor"]
            )
            sizes, dtype = facts["sizes"], {"float32": np.float32, "float64": np.float64}
            if (sizes[0], sizes[-1]) != (schema.width, schema.outputs):
                raise ValueError(f"widths {sizes} do not fit shape and labels")
            vectors = (scaling.offset, scaling.factor)
            if any(a is not None and a.size not in (1, sizes[0]) for a in vectors):
                raise ValueError(f"scaling does not fit {sizes[0]} inputs")
            targets = None
            if schema.targets:
                offset, factor = arrays["targets/offset"], arrays["targets/factor"]
                targets = Scaling("standard", offset, factor)
                if not offset.shape == factor.shape == (sizes[-1],):
                    raise ValueError(f"scaling of targets does not fit {sizes[-1]} outputs")
            objective = Objective(*facts.get("objective", ()))
            if objective.classifies == bool(schema.targets):
                raise ValueError(f"the loss {objective.loss} does not fit the labels")
            mirror = facts.get("mirror")
            with backend.activate():
                model = MLP(
                    sizes,
                    backend,
                    rng=generator(0, Stream.WEIGHTS),  # the draw is overwritten at once
                    # Files of format 1 know nothing but plain blocks.
                    blocks=[Block(*block) for block in facts["blocks"]]
                    if "blocks" in facts
                    else None,
                    objective=objective,
                    dtype=dtype[facts["dtype"]],
                    kernels=kernels,
                )
                load_params(model, arrays)
                if "optim/average" in arrays:  # the last state of a run: this is what it uses
                    model.params.vector[...] = backend.asarray(arrays["optim/average"], model.dtype)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise CheckpointError(f"{source}: damaged or incomplete ({error})") from error
        return cls(model, scaling, schema, None if mirror is None else tuple(mirror), targets)

    @classmethod
    def _check_kind(cls, schema: Schema, source: Path) -> None:
        """CheckpointError where a network predicts another kind of thing than this class does."""

    def parts(self) -> tuple[dict[str, Array], dict[str, Any]]:
        """Host arrays and values from which `from_checkpoint` rebuilds this."""
        host = self.model.backend.to_host
        params = self.model.params
        arrays = {f"params/{name}": host(params[name]) for name in params}
        arrays["scaling/factor"] = self.scaling.factor
        if self.scaling.offset is not None:
            arrays["scaling/offset"] = self.scaling.offset
        if self.targets is not None and self.targets.offset is not None:
            arrays["targets/offset"] = self.targets.offset
            arrays["targets/factor"] = self.targets.factor
        return arrays, {
            "sizes": list(self.model.sizes),
            "blocks": [list(block) for block in self.model.blocks],
            "objective": list(self.model.objective),
            "mirror": self.mirror,
            "dtype": self.model.dtype.name,
            "scaling": self.scaling.kind,
            **asdict(self.schema),
        }

    def outputs(self, inputs: ArrayLike) -> NDArray[np.floating]:
        """The last layer's outputs (N, C) or (N, T) for raw inputs (N, D) or (N, *shape)."""

        def last(x: Array, ws: Workspace) -> Array:
            return outputs(self.model, x, ws, self.mirror)

        return self._passed(inputs, self.schema.outputs, last)

    def hidden(self, inputs: ArrayLike) -> NDArray[np.floating]:
        """The last hidden layer's outputs (N, H) for raw inputs; a linear model's scaled inputs.

        Of the pictures as they are: what `mirror` averages are the outputs.
        """

        def last_hidden(x: Array, ws: Workspace) -> Array:
            self.model.forward(x, ws)
            return ws.outputs[-2] if len(ws.outputs) > 1 else x

        return self._passed(inputs, self.model.sizes[-2], last_hidden)

    def _passed(
        self, inputs: ArrayLike, width: int, through: Callable[[Array, Workspace], Array]
    ) -> NDArray[np.floating]:
        """What `through` makes of scaled inputs, (N, width) on the host."""
        flat = self._flattened(inputs)
        out = np.empty((len(flat), width), self.model.dtype)
        if len(flat) == 0:
            return out
        done, backend = 0, self.model.backend
        with backend.activate():
            batches = self._batches(Examples(flat, np.zeros(len(flat), np.int32)))
            ws = self.model.workspace(batches.batch_size)
            for x, labels, _ in batches:
                rows = len(labels)
                out[done : done + rows] = backend.to_host(through(x, ws.head(rows)))
                done += rows
        return out

    def checked(self, examples: Examples) -> Examples:
        """Labelled raw examples in the form of training; DataError where they do not fit."""
        labels = np.asarray(examples.labels)
        if self.schema.targets:
            labels = labels.astype(np.float32) if labels.dtype.kind in "iu" else labels
            labels = labels[:, None] if labels.ndim == 1 else labels
        flat = Examples(self._flattened(examples.inputs), labels)
        # A data set checks what kernels do not: as many labels as inputs, all of them classes.
        return Dataset(
            "evaluation", flat, None, self.schema.class_names, self.schema.shape,
            targets=self.schema.targets,
        ).train  # fmt: skip

    def _batches(self, examples: Examples) -> Batches:
        return Batches(
            examples, CHUNK[self.model.backend.name], self.scaling, self.model.backend,
            kernels=self.model.kernels, dtype=self.model.dtype,
        )  # fmt: skip

    def _flattened(self, inputs: ArrayLike) -> NDArray[Any]:
        """Inputs as (N, D) in the kind the network was trained on."""
        try:
            array = np.asarray(inputs)
            if array.dtype.kind not in "buif":
                array = array.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise DataError(f"inputs must be an array of numbers ({error})") from error
        rows = array if array.ndim > 1 else array[None]
        flat = rows.reshape(len(rows), prod(rows.shape[1:]))
        if flat.shape[1] != self.schema.width:
            raise DataError(
                f"inputs of shape {array.shape} have {flat.shape[1]} values each; this network "
                f"takes {self.schema.width}, shape {self.schema.shape}"
            )
        if flat.dtype == np.uint8 and self.schema.pixels:
            return flat
        if not np.isfinite(flat).all():
            raise DataError("inputs must be finite numbers; found infinity or NaN")
        if not self.schema.pixels:
            return np.asarray(flat, np.float32)
        pixels: NDArray[np.uint8] = np.clip(flat, 0, 255).astype(np.uint8)
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
    for name in (BEST, LAST):
        if (path / name).exists():
            return path / name
    runs = sorted(file.parent.name for file in path.glob(f"*/{LAST}"))
    hint = f"; it holds the runs {', '.join(runs[-5:])}" if runs else ""
    raise CheckpointError(f"{path}: this folder is not a run: it has no {BEST}{hint}")


def load_params(model: MLP, arrays: Mapping[str, Array]) -> None:
    """Copy `params/...` into the model; every name and shape must fit."""
    for name in model.params:
        found, view = arrays.get(f"params/{name}"), model.params[name]
        if found is None or found.shape != view.shape:
            shape = None if found is None else found.shape
            raise CheckpointError(f"{name}: found shape {shape}, expected {view.shape}")
        view[...] = model.backend.asarray(found, dtype=model.dtype)
