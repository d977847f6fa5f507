"""One training step, and the ways to run it: called by the host, compiled, launched, or replayed.

`HostSteps` is the plain form, on any device: the host cuts the epoch's order into batches and picks
each step's rates. `CompiledSteps` (compiled.py) does the same in one compiled function on a CPU. In
`DeviceSteps` order and rates of the whole epoch lie on the GPU, and a counter
there picks a step's share of them; so every step is the same list of launches, which may be
captured as a CUDA graph, once for each size of batch, and then replayed by a single call.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from fastnn.backend import Array
from fastnn.data.batches import Batches
from fastnn.errors import ConfigError, DeviceError
from fastnn.kernels.cpu import Compiled
from fastnn.kernels.cuda import Fused, graph_of
from fastnn.nn.model import MLP
from fastnn.nn.optim import Optimizer
from fastnn.training.compiled import CompiledSteps, why_not_compiled, worthwhile_threads
from fastnn.training.scoring import Tally


class Steps(Protocol):
    """The steps of one epoch after another."""

    @property
    def path(self) -> str:
        """What runs them, for the record: reference, fused or captured."""

    @property
    def blas_threads(self) -> int:
        """How many threads BLAS should use meanwhile."""

    def open(self, epoch: int, start: int) -> None:
        """Begin an epoch at step `start`."""

    def plan(self, step: int, learning_rates: Sequence[float]) -> None:
        """Learning rates for the epoch's steps from `step`, the next one, on."""

    def run(self, step: int, until: int) -> int:
        """Forward, backward, tally, update: the epoch's step number `step`, and perhaps more.

        Returns the number of the step that comes next, `until` at most.
        """


class HostSteps:
    """Every kernel called anew, with what the host cut out for this step."""

    def __init__(self, model: MLP, optimizer: Optimizer, batches: Batches, tally: Tally) -> None:
        self._model, self._optimizer, self._batches, self._tally = model, optimizer, batches, tally
        self.path = "fused" if isinstance(model.kernels, Compiled) else "reference"
        self.blas_threads = worthwhile_threads(model, batches.batch_size)
        self._ws = model.workspace(batches.batch_size)
        self._order: Array = np.empty(0)
        self._rates: Array = np.empty(0)
        self._first = 0  # step of the first row of rates

    def open(self, epoch: int, start: int) -> None:
        self._order = self._model.backend.asarray(self._batches.open(epoch, start))

    def plan(self, step: int, learning_rates: Sequence[float]) -> None:
        table = self._optimizer.rates(learning_rates)
        self._rates = self._model.backend.asarray(table, self._model.dtype)
        self._first = step

    def run(self, step: int, until: int) -> int:
        batch = self._batches.batch_size
        self._batches.await_batch(step)
        self._batches.place(step * batch)
        rows = self._order[step * batch : (step + 1) * batch]
        x, labels, weights = self._batches.gather(rows)
        head = self._ws.head(len(labels))
        self._model.loss_and_grad(x, labels, head, weights=weights, noise=self._batches.noise)
        self._tally.add(step, head)
        self._optimizer.update(self._model.grads, self._rates[step - self._first])
        return step + 1


class DeviceSteps:
    """Fused kernels that find their share of the epoch by a counter on the GPU.

    The first step of each size of batch is launched kernel by kernel: kernels are compiled and
    algorithms chosen by it. The second is captured while it is launched, and from then on replayed.
    Everything a graph touches belongs to this object or to what it was made of, and stays where it
    is. Where capturing fails, or is not wanted, all steps are launched; the results are the same
    to the bit.
    """

    def __init__(
        self,
        model: MLP,
        optimizer: Optimizer,
        batches: Batches,
        tally: Tally,
        kernels: Fused,
        *,
        capture: bool | None = None,
    ) -> None:
        backend, xp = model.backend, model.backend.xp
        self._model, self._optimizer, self._batches, self._tally = model, optimizer, batches, tally
        self._kernels = kernels
        self._must = capture is True
        why = kernels.why_not_captured
        if model.dtype != np.float32:
            why = why or "only products in float32 can be captured"
        if why and capture is not False:
            self._not_captured(why)
        self._capturing = capture is not False and not why
        self._ws = model.workspace(batches.batch_size)
        columns = optimizer.rates([1.0]).shape[1]
        self._order: Array = xp.empty(batches.count, np.int64)
        self._table: Array = xp.empty((len(batches), columns), model.dtype)
        self._cursor: Array = backend.asarray([0], np.int32)
        self._rows: Array = xp.empty(batches.batch_size, np.int64)
        self._rates: Array = xp.empty(columns, model.dtype)
        self._launched: set[int] = set()  # sizes of batches whose kernels have run
        self._graphs: dict[int, Any] = {}  # by size of batch
        self.blas_threads = backend.threads

    @property
    def path(self) -> str:
        """Whether steps are replayed (or will be): "captured", else "fused"."""
        return "captured" if self._capturing or any(self._graphs.values()) else "fused"

    def open(self, epoch: int, start: int) -> None:
        self._order[...] = self._model.backend.asarray(self._batches.open(epoch, start))
        self._cursor[...] = start

    def plan(self, step: int, learning_rates: Sequence[float]) -> None:
        table = self._model.backend.asarray(
            self._optimizer.rates(learning_rates), self._model.dtype
        )
        self._table[step : step + len(table)] = table

    def run(self, step: int, until: int) -> int:
        batches = self._batches
        batches.await_batch(step)
        rows = min(batches.batch_size, batches.count - step * batches.batch_size)
        graph = self._graphs.get(rows)
        if graph is None and rows in self._launched and self._capturing:
            graph = self._graphs[rows] = self._captured(rows)
        if graph is None:
            self._launch(rows)
            self._launched.add(rows)
        else:
            graph.launch()
        return step + 1

    def _launch(self, rows: int) -> None:
        """All kernels of a step with so many rows, onto the current stream."""
        page, model = self._rows[:rows], self._model
        self._kernels.turn_page(
            page, self._rates, self._batches.noise, self._cursor, self._order, self._table,
            batch=self._batches.batch_size,
        )  # fmt: skip
        x, labels, weights = self._batches.gather(page)
        head = self._ws.head(rows)
        model.loss_and_grad(x, labels, head, weights=weights, noise=self._batches.noise)
        self._kernels.tally(
            self._tally.losses, self._tally.hits, self._cursor, head.losses, head.hits
        )
        self._optimizer.update(model.grads, self._rates)

    def _captured(self, rows: int) -> Any:
        """The step as a graph, or None where it cannot be captured (nothing has run then)."""
        try:
            return graph_of(self._model.backend.xp, lambda: self._launch(rows))
        except Exception as error:
            first = error.__context__ or error  # ending a broken capture fails once more
            self._capturing = False
            self._not_captured(f"{type(first).__name__}: {first}", error)
            return None

    def _not_captured(self, why: str, cause: Exception | None = None) -> None:
        if self._must:
            raise DeviceError(
                f"the step cannot be captured as a CUDA graph ({why})", "Use --kernels auto"
            ) from cause
        warnings.warn(
            f"steps are launched kernel by kernel instead of replayed as a CUDA graph ({why})",
            RuntimeWarning,
            stacklevel=2,
        )


def steps_for(
    model: MLP, optimizer: Optimizer, batches: Batches, tally: Tally, choice: str = "auto"
) -> Steps:
    """The way to run steps that `choice` (as `--kernels`) names, with the kernels the model has.

    "captured" insists on a graph, or on a CPU on compiled steps; "fused" never makes one, "auto"
    does where it can be made.
    """
    if isinstance(model.kernels, Compiled) and choice in ("auto", "captured"):
        why = why_not_compiled(model, optimizer, batches)
        if why is None:
            return CompiledSteps(model, optimizer, batches, tally, model.kernels)
        if choice == "captured":
            raise ConfigError(f"kernels 'captured': {why}; use --kernels auto")
    if isinstance(model.kernels, Fused):
        capture = {"captured": True, "fused": False}.get(choice)
        return DeviceSteps(model, optimizer, batches, tally, model.kernels, capture=capture)
    return HostSteps(model, optimizer, batches, tally)
