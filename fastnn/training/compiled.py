"""Training steps on a CPU as one compiled function: `loops.epoch`, run by a team of threads.

What a CUDA graph is to a GPU: between the first step and the last nobody returns to Python.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastnn import blas
from fastnn.backend import Array
from fastnn.data.batches import Batches
from fastnn.kernels.cpu import Compiled, give_way_address
from fastnn.nn.model import MLP
from fastnn.nn.optim import SGD, Adam, Optimizer
from fastnn.training.scoring import Tally

# Rows worked at a time, so that a block's activations stay in the caches (docs/LOG.md).
BLOCK = 2048

# Multiply-adds of a step that make a thread worth its meetings with the others: some 30 us of work
# (docs/LOG.md has a table).
_WORK = 2_500_000

# Two trainings in two Python threads take turns: members that wait for a core let others wait.
_one_team = threading.Lock()

_RETURN = 0.05  # seconds after which a call comes back to see whether a signal has arrived


def worthwhile_threads(model: MLP, batch: int) -> int:
    """How many threads make a step of this network faster, of those that the backend allows."""
    work = 3 * batch * model.params.layout.size  # forward, and two products backward
    return max(1, min(model.backend.threads, work // _WORK))


def why_not_compiled(model: MLP, optimizer: Optimizer, batches: Batches) -> str | None:
    """What `loops.epoch` does not know of this training; None if it can run it.

    It takes the place of their methods, so a subclass, which may have others, is not for it.
    """
    for part, known in ((model, (MLP,)), (optimizer, (SGD, Adam)), (batches, (Batches,))):
        if type(part) not in known:
            return f"{type(part).__name__} cannot be compiled"
    assert isinstance(optimizer, SGD | Adam)
    if optimizer.params is not model.params or optimizer.kernels is not model.kernels:
        return "the optimizer has other parameters or kernels than the network"
    return None


class CompiledSteps:
    """Steps that come back to Python a few times a second.

    The same kernels as called one by one, but each member of a team of threads computes its share
    of every result. BLAS has one thread meanwhile.
    """

    path = "captured"
    blas_threads = 1

    def __init__(
        self,
        model: MLP,
        optimizer: Optimizer,
        batches: Batches,
        tally: Tally,
        kernels: Compiled,
    ) -> None:
        loops, self._loops = kernels.loops, kernels.loops
        self._optimizer, self._batches, self._tally = optimizer, batches, tally
        self._dtype = model.dtype
        self._team_size = worthwhile_threads(model, batches.batch_size)
        self._give_way = give_way_address()
        self._pace = 0.0  # seconds a step, as last seen
        self._rates: Array = np.empty((0, optimizer.rates([1.0]).shape[1]), model.dtype)
        self._order: Array = np.empty(0, np.int64)
        rows = min(batches.batch_size, BLOCK)
        source = batches.source
        self._fixed = (
            kernels.products[model.dtype],
            _net(loops, model, rows),
            loops.Source(
                source.inputs,
                source.labels,
                np.zeros(1, model.dtype) if source.offset is None else source.offset,
                source.factor,
            ),
            loops.Page(
                np.empty((rows, model.sizes[0]), model.dtype),
                np.empty(rows, np.int64),
                np.empty(rows, model.dtype),
                np.empty(rows, bool),
            ),
        )
        self._rule = _rule(loops, optimizer)
        self._call(0, 0)  # compiles, or loads from disk: not on the clock of the first epoch

    def open(self, epoch: int, start: int, learning_rates: Sequence[float]) -> None:
        self._order = self._batches.open(epoch, start)
        self._rates = self._optimizer.rates(learning_rates).astype(self._dtype)
        self._rule = _rule(self._loops, self._optimizer)  # constants may have been changed

    def run(self, step: int, until: int) -> int:
        steps = max(1, int(_RETURN / self._pace)) if self._pace else 1
        until = min(until, step + steps)
        began = time.perf_counter()
        self._call(step, until)
        self._pace = (time.perf_counter() - began) / (until - step)
        return until

    def _call(self, step: int, until: int) -> None:
        """Steps `step` to `until`, this thread and the rest of the team each doing their share."""
        loops, size = self._loops, self._team_size if until > step else 1
        team = loops.native.Team(size, np.zeros(1, np.int64), self._give_way)
        arguments = (
            *self._fixed, self._rule, self._order, self._batches.batch_size, self._rates,
            self._tally.losses, self._tally.hits, step, until, team,
        )  # fmt: skip
        if size == 1:
            loops.epoch(*arguments, 0)
            return
        failures: list[BaseException] = []

        def work(member: int) -> None:
            try:
                with blas.limited(1):  # some builds of OpenBLAS count threads for each caller
                    loops.epoch(*arguments, member)
            except BaseException as error:  # nobody may wait for this member
                loops.native.dismiss(team)
                failures.append(error)

        helpers = [threading.Thread(target=work, args=(member,)) for member in range(1, size)]
        with _one_team:
            try:
                for helper in helpers:
                    helper.start()
                work(0)
            except BaseException:  # a signal's, between two of these lines
                loops.native.dismiss(team)
                raise
            finally:
                for helper in helpers:
                    if helper.ident is not None:  # was started
                        helper.join()
        if failures:
            raise failures[0]


def _net(loops: Any, model: MLP, rows: int) -> Any:
    """The network as flat vectors, with buffers for so many rows."""
    starts = {slot.name: slot.start for slot in model.params.layout.slots}
    layers = range(len(model.sizes) - 1)
    each = rows * sum(model.sizes[1:])
    return loops.Net(
        np.array(model.sizes, np.int64),
        np.array([starts[f"layers.{n}.weight"] for n in layers], np.int64),
        np.array([starts[f"layers.{n}.bias"] for n in layers], np.int64),
        model.params.vector,
        model.grads.vector,
        np.empty(each, model.dtype),
        np.empty(each, model.dtype),
    )


def _rule(loops: Any, optimizer: Optimizer) -> Any:
    """The optimizer as its moments and constants."""
    moments, n_decay = optimizer.state(), optimizer.params.layout.n_decay
    match optimizer:
        case SGD():
            return loops.sgd_rule(
                moments["m"], optimizer.momentum, optimizer.nesterov, optimizer.weight_decay,
                n_decay,
            )  # fmt: skip
        case Adam():
            return loops.adam_rule(
                moments["m"], moments["v"], optimizer.beta1, optimizer.beta2,
                optimizer.weight_decay, optimizer.decoupled, n_decay,
            )  # fmt: skip
    raise TypeError(type(optimizer).__name__)  # why_not_compiled knows which there are
