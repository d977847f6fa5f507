"""A training step never asks the device a question: a stand-in for a GPU counts the transfers."""

from __future__ import annotations

import numpy as np
import pytest

from fastnn.backend import get_backend
from fastnn.data.batches import Batches
from fastnn.data.examples import Examples
from fastnn.data.scaling import Scaling
from fastnn.kernels import kernels_for
from fastnn.nn.model import MLP
from fastnn.nn.optim import SGD, Adam
from fastnn.nn.schedules import constant
from fastnn.training.trainer import Trainer

OPTIMIZERS = [
    Adam,
    SGD,
    lambda p, **more: SGD(p, momentum=0.9, nesterov=True, weight_decay=0.1, **more),
]


def pieces(choice="auto", make=Adam, scaling="standard"):
    """A model on the stand-in GPU, its optimizer, and batches of 8 of 50 examples."""
    backend, rng = get_backend("cuda"), np.random.default_rng(0)
    kernels = kernels_for(backend, choice)
    examples = Examples(rng.integers(0, 256, (50, 12), dtype=np.uint8), np.arange(50) % 3)
    scaled = Scaling.fit(examples.inputs, scaling)
    batches = Batches(examples, 8, scaled, backend, seed=0, kernels=kernels)
    model = MLP((12, 9, 3), backend, rng=rng, kernels=kernels)
    return model, make(model.params, kernels=kernels), batches


class Watched(Trainer):
    """Notes what each epoch's steps had the device do."""

    def _run_steps(self, *args):
        counts, self.epochs_counts = (
            self.model.backend.xp.counts,
            getattr(self, "epochs_counts", []),
        )
        before = counts.copy()
        super()._run_steps(*args)
        self.epochs_counts.append(counts - before)


@pytest.mark.parametrize("make", OPTIMIZERS)
@pytest.mark.parametrize("choice", ["reference", "fused", "captured"])
def test_an_epoch_reads_nothing_back(gpu, choice, make):
    """Two transfers an epoch, both to the device: the order of the examples and the rates."""
    model, optimizer, batches = pieces(choice, make)
    trainer = Watched(model, optimizer, constant(0.01), kernels=choice)
    before = gpu.asnumpy(model.params.vector)
    trainer.fit(batches, epochs=4)
    assert [counts["transfers"] for counts in trainer.epochs_counts] == [2] * 4
    assert not np.array_equal(before, gpu.asnumpy(model.params.vector))


def test_a_stray_look_at_the_loss_is_caught(gpu, monkeypatch):
    """The mistake this file exists for, made on purpose."""
    model, optimizer, batches = pieces("reference")
    right = MLP.loss_and_grad
    monkeypatch.setattr(
        MLP,
        "loss_and_grad",
        lambda self, *args, **more: float(right(self, *args, **more).sum()) or None,
    )
    trainer = Watched(model, optimizer, constant(0.01))
    trainer.fit(batches, epochs=1)
    assert trainer.epochs_counts[0]["transfers"] == 2 + len(batches)


@pytest.mark.parametrize("choice", ["fused", "captured"])
def test_a_fused_step_allocates_nothing(gpu, choice):
    model, optimizer, batches = pieces(choice)
    trainer = Watched(model, optimizer, constant(0.01), kernels=choice)
    trainer.fit(batches, epochs=3)
    # What an epoch uploads is new memory; its steps add none, whatever their number. The very
    # first product makes the workspace of all. Order, rates, cursor and key are put in place.
    assert [counts["allocations"] for counts in trainer.epochs_counts] == [3, 2, 2]
    assert [counts["plain operations"] for counts in trainer.epochs_counts] == [4] * 3


def test_a_saved_state_is_moved_to_the_device_when_it_is_loaded(gpu):
    """A run goes on where its arrays lie on a device and the checkpoint's on the host."""
    histories = []
    for split in (False, True):
        model, optimizer, learn = pieces()
        valid = pieces()[2]
        trainer = Trainer(model, optimizer, constant(0.01))
        trainer.fit(learn, valid, epochs=1 if split else 2)
        if split:
            arrays, values = trainer.state()
            host = {name: gpu.asnumpy(array) for name, array in arrays.items()}
            again, optimizer, _ = pieces()
            again.params.vector[...] = gpu.asarray(gpu.asnumpy(model.params.vector))
            trainer = Trainer(again, optimizer, constant(0.01))
            trainer.load_state(host, values)
            trainer.fit(learn, valid, epochs=2)
        histories.append([(r.train_loss, r.valid_loss) for r in trainer.history])
    assert histories[0] == histories[1]
