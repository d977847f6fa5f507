"""A training step never asks the device a question: proved on the CPU with arrays that refuse."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fastnn.backend import Backend
from fastnn.data.batches import Batches
from fastnn.data.examples import Examples
from fastnn.data.scaling import Scaling
from fastnn.nn.model import MLP
from fastnn.nn.optim import SGD, Adam
from fastnn.nn.schedules import constant
from fastnn.training.trainer import Trainer


class ReadBack(AssertionError):
    """Somebody looked at a value that would have been on the device."""


class DeviceArray(np.ndarray[Any, Any]):
    """Computes like NumPy's array, but its values cannot be looked at."""

    def _refuse(self, *_args: object, **_options: object) -> Any:
        raise ReadBack("a value was read back from the device")

    __float__ = __int__ = __bool__ = __index__ = __complex__ = __str__ = __repr__ = _refuse
    __iter__ = __contains__ = item = tolist = tobytes = _refuse

    def __setitem__(self, key: Any, value: Any) -> None:
        """As CuPy: a host array must be moved first."""
        if isinstance(value, np.ndarray) and not isinstance(value, DeviceArray):
            raise ReadBack("a host array was assigned into a device array")
        super().__setitem__(key, value)


def guarded() -> tuple[Backend, list[bool]]:
    """A backend whose arrays refuse; the list tells whether looking is allowed at the moment."""
    allowed = [True]

    def wrapped(function):
        return lambda *args, **options: function(*args, **options).view(DeviceArray)

    names = ("dot", "add", "multiply", "subtract", "divide", "maximum", "greater", "equal", "exp")
    names += ("log", "sqrt", "isfinite", "arange", "float32", "take")
    made = {name: wrapped(getattr(np, name)) for name in ("zeros", "empty", "asarray")}
    xp = SimpleNamespace(**{name: getattr(np, name) for name in names}, **made)

    class Guarded(Backend):
        def to_host(self, array):
            if not allowed[0]:
                raise ReadBack("to_host inside an epoch")
            return np.asarray(array).view(np.ndarray)

    return Guarded("cpu", 0, xp), allowed


@pytest.mark.parametrize(
    "make", [Adam, SGD, lambda p: SGD(p, momentum=0.9, nesterov=True, weight_decay=0.1)]
)
def test_an_epoch_reads_nothing_back(make):
    backend, allowed = guarded()
    rng = np.random.default_rng(0)
    examples = Examples(rng.integers(0, 256, (50, 12), dtype=np.uint8), np.arange(50) % 3)
    batches = Batches(examples, 8, Scaling.fit(examples.inputs, "standard"), backend, seed=0)
    model = MLP((12, 9, 3), backend, rng=rng)
    assert isinstance(model.params.vector, DeviceArray)

    class Watched(Trainer):
        def _run_steps(self, *args):
            allowed[0] = False
            super()._run_steps(*args)
            allowed[0] = True

    before = np.array(model.params.vector.view(np.ndarray))
    trainer = Watched(model, make(model.params), constant(0.01))
    history = trainer.fit(batches, epochs=2)
    assert len(history) == 2
    assert not np.array_equal(before, model.params.vector.view(np.ndarray))


@pytest.mark.parametrize(
    "look", [float, int, bool, list, repr, lambda a: a.item(), lambda a: a.sum().tolist()]
)
def test_the_guard_itself_refuses(look):
    backend, _ = guarded()
    with pytest.raises(ReadBack):
        look(backend.xp.zeros(1))


def test_a_stray_look_at_the_loss_is_caught(monkeypatch):
    """The mistake this file exists for, made on purpose."""
    backend, _ = guarded()
    rng = np.random.default_rng(0)
    examples = Examples(rng.integers(0, 256, (20, 4), dtype=np.uint8), np.arange(20) % 2)
    batches = Batches(examples, 8, Scaling.fit(examples.inputs), backend, seed=0)
    model = MLP((4, 2), backend, rng=rng)
    right = MLP.loss_and_grad
    monkeypatch.setattr(
        MLP, "loss_and_grad", lambda self, *args: float(right(self, *args).sum()) or None
    )
    with pytest.raises(ReadBack):
        Trainer(model, SGD(model.params), constant(0.01)).fit(batches, epochs=1)


def test_a_saved_state_is_moved_to_the_device_when_it_is_loaded():
    """A run goes on where its arrays lie on a device and the checkpoint's on the host."""
    histories = []
    for split in (False, True):
        backend, _ = guarded()
        rng = np.random.default_rng(0)
        examples = Examples(rng.integers(0, 256, (60, 12), dtype=np.uint8), np.arange(60) % 3)
        parts = [
            Examples(examples.inputs[s], examples.labels[s]) for s in (slice(40), slice(40, 60))
        ]
        scaling = Scaling.fit(parts[0].inputs)
        learn, valid = (Batches(part, 8, scaling, backend, seed=0) for part in parts)
        model = MLP((12, 9, 3), backend, rng=np.random.default_rng(1))
        trainer = Trainer(model, Adam(model.params), constant(0.01))
        trainer.fit(learn, valid, epochs=1 if split else 2)
        if split:
            arrays, values = trainer.state()
            host = {name: backend.to_host(array).copy() for name, array in arrays.items()}
            again = MLP((12, 9, 3), backend, rng=np.random.default_rng(2))
            again.params.vector[...] = backend.asarray(backend.to_host(model.params.vector).copy())
            trainer = Trainer(again, Adam(again.params), constant(0.01))
            trainer.load_state(host, values)
            trainer.fit(learn, valid, epochs=2)
        histories.append([(r.train_loss, r.valid_loss) for r in trainer.history])
    assert histories[0] == histories[1]
