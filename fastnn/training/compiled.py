"""Training steps on a CPU as one compiled function: `epoch.epoch`, run by a team of threads.

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
from fastnn.kernels import Augmentation
from fastnn.kernels.cpu import Compiled, constants_of, give_way_address, shares_of
from fastnn.nn.blocks import NORMS
from fastnn.nn.model import MLP
from fastnn.nn.optim import SGD, Adam, Lion, Optimizer, RMSProp
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
    """What the compiled epoch does not know of this training; None if it can run it.

    It takes the place of their methods, so a subclass, which may have others, is not for it.
    """
    rules = (SGD, Adam, RMSProp, Lion)
    for part, known in ((model, (MLP,)), (optimizer, rules), (batches, (Batches,))):
        if type(part) not in known:
            return f"{type(part).__name__} cannot be compiled"
    if not model.objective.classifies:
        return f"an epoch with the loss {model.objective.loss} cannot be compiled"
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
        self._kernels, self._optimizer = kernels, optimizer
        self._batches, self._tally = batches, tally
        self._team_size = worthwhile_threads(model, batches.batch_size)
        self._give_way = give_way_address()
        self._pace = 0.0  # seconds a step, as last seen
        columns = optimizer.rates([1.0]).shape[1]
        self._rates: Array = np.zeros((len(batches), columns), model.dtype)
        self._order: Array = np.empty(0, np.int64)
        # The statistics of a batch norm are those of the whole batch.
        whole = any(block.norm == "batch" for block in model.blocks)
        rows = batches.batch_size if whole else min(batches.batch_size, BLOCK)
        weighted = batches.source.weights is not None
        self._fixed = (
            kernels.products[model.dtype],
            _net(kernels, model, rows),
            _blocks(kernels, model, rows),
            _source(kernels, model, batches),
            _variation(kernels, model, batches),
            kernels.epoch.Page(
                np.empty((rows, model.sizes[0]), model.dtype),
                np.empty(rows, np.int64),
                np.empty(rows if weighted else 0, model.dtype),
                np.empty(rows, model.dtype),
                np.empty(rows, bool),
            ),
        )
        self._limits = None
        if optimizer.clip_value or optimizer.clip_norm:
            self._limits = kernels.epoch.Limits(
                float(optimizer.clip_value), float(optimizer.clip_norm), np.zeros(self._team_size)
            )
        self._smoothing = float(model.objective.smoothing)
        self._rule = _rule(kernels, optimizer)
        self._call(0, 0)  # compiles, or loads from disk: not on the clock of the first epoch

    def open(self, epoch: int, start: int) -> None:
        self._order = self._batches.open(epoch, start)
        self._rule = _rule(self._kernels, self._optimizer)  # constants may have been changed

    def plan(self, step: int, learning_rates: Sequence[float]) -> None:
        self._rates[step : step + len(learning_rates)] = self._optimizer.rates(learning_rates)

    def run(self, step: int, until: int) -> int:
        steps = max(1, int(_RETURN / self._pace)) if self._pace else 1
        until = min(until, step + steps)
        began = time.perf_counter()
        self._call(step, until)
        self._pace = (time.perf_counter() - began) / (until - step)
        return until

    def _call(self, step: int, until: int) -> None:
        """Steps `step` to `until`, this thread and the rest of the team each doing their share."""
        native, epoch = self._kernels.loops.native, self._kernels.epoch.epoch
        size = self._team_size if until > step else 1
        team = native.Team(size, np.zeros(1, np.int64), self._give_way)
        arguments = (
            *self._fixed, self._rule, self._limits, self._smoothing, self._order,
            self._batches.batch_size, self._rates, self._tally.losses, self._tally.hits,
            self._batches.noise[0], step, until, team,
        )  # fmt: skip
        if size == 1:
            epoch(*arguments, 0)
            return
        failures: list[BaseException] = []

        def work(member: int) -> None:
            try:
                with blas.limited(1):  # some builds of OpenBLAS count threads for each caller
                    epoch(*arguments, member)
            except BaseException as error:  # nobody may wait for this member
                native.dismiss(team)
                failures.append(error)

        helpers = [threading.Thread(target=work, args=(member,)) for member in range(1, size)]
        with _one_team:
            try:
                for helper in helpers:
                    helper.start()
                work(0)
            except BaseException:  # a signal's, between two of these lines
                native.dismiss(team)
                raise
            finally:
                for helper in helpers:
                    if helper.ident is not None:  # was started
                        helper.join()
        if failures:
            raise failures[0]


def _places(model: MLP, name: str, count: int) -> Array:
    """Where a parameter of each of so many layers starts; -1 where a layer has none."""
    starts = {slot.name: slot.start for slot in model.params.layout.slots}
    return np.array([starts.get(f"layers.{n}.{name}", -1) for n in range(count)], np.int64)


def _net(kernels: Compiled, model: MLP, rows: int) -> Any:
    """The network as flat vectors, with buffers for so many rows."""
    depth, each = len(model.sizes) - 1, rows * sum(model.sizes[1:])
    return kernels.epoch.Net(
        np.array(model.sizes, np.int64),
        _places(model, "weight", depth),
        _places(model, "bias", depth),
        model.params.vector,
        model.grads.vector,
        np.empty(each, model.dtype),
        np.empty(each, model.dtype),
    )


def _blocks(kernels: Compiled, model: MLP, rows: int) -> Any:
    """The blocks as arrays, with their buffers; None where all are plain."""
    blocks, hidden, each = model.blocks, len(model.blocks), rows * sum(model.sizes[1:])
    if all(block.plain for block in blocks):
        return None
    shares = [shares_of(block.dropout) for block in blocks]
    kinds = [constants_of(block.activation) for block in blocks]
    return kernels.epoch.Blocks(
        plain=np.array([block.plain for block in blocks], bool),
        activations=np.array([kind for kind, _ in kinds], np.int64),
        constants=np.array([c for _, c in kinds], np.float64),
        norms=np.array([NORMS.index(block.norm) for block in blocks], np.int64),
        thresholds=np.array([threshold for threshold, _ in shares], np.uint64),
        scales=np.array([scale for _, scale in shares], np.float64),
        skips=np.array([layer.skips for layer in model.hidden], bool),
        gains_at=_places(model, "gain", hidden),
        shifts_at=_places(model, "shift", hidden),
        means_at=_places(model, "running_mean", hidden),
        variances_at=_places(model, "running_variance", hidden),
        a=np.empty(each, model.dtype),
        n=np.empty(each, model.dtype),
        da=np.empty(each, model.dtype),
        factors=np.empty((hidden, max(rows, *model.sizes)), model.dtype),
    )


def _source(kernels: Compiled, model: MLP, batches: Batches) -> Any:
    """All examples, and how they are scaled."""
    source, nothing = batches.source, np.zeros(1, model.dtype)
    return kernels.epoch.Source(
        source.inputs,
        source.labels,
        nothing if source.offset is None else source.offset,
        source.factor,
        nothing[:0] if source.weights is None else source.weights,
    )


def _variation(kernels: Compiled, model: MLP, batches: Batches) -> Any:
    """What happens to inputs while they are gathered; None where it is nothing."""
    if batches.augmentation is None and not model.input_dropout:
        return None
    augmentation = batches.augmentation or Augmentation(0, 0, 0, 0, False, 0)
    return kernels.epoch.Variation(*augmentation, *shares_of(model.input_dropout))


def _rule(kernels: Compiled, optimizer: Optimizer) -> Any:
    """The optimizer as its moments and constants."""
    loops, state = kernels.loops, optimizer.state()
    common: dict[str, Any] = {
        "average": optimizer.averaged,
        "decay": optimizer.weight_decay,
        "n_decay": optimizer.params.layout.n_decay,
    }
    match optimizer:
        case SGD():
            own = {"momentum": optimizer.momentum, "nesterov": optimizer.nesterov}
            return loops.rule(loops.SGD, state["m"], state["m"], **own, **common)
        case Adam():
            own = {
                "beta1": optimizer.beta1, "beta2": optimizer.beta2,
                "decoupled": optimizer.decoupled,
            }  # fmt: skip
            return loops.rule(loops.ADAM, state["m"], state["v"], **own, **common)
        case RMSProp():
            own = {"beta2": optimizer.beta2, "eps": optimizer.eps}
            return loops.rule(loops.RMSPROP, state["v"], state["v"], **own, **common)
        case Lion():
            own = {"beta1": optimizer.beta1, "beta2": optimizer.beta2}
            return loops.rule(loops.LION, state["m"], state["m"], **own, **common)
    raise TypeError(type(optimizer).__name__)  # why_not_compiled knows which there are
