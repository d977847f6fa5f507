"""A compiled epoch: what it computes is what the kernels compute one by one, whoever shares it."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from fastnn import blas
from fastnn.backend import Backend, get_backend
from fastnn.data.batches import Batches
from fastnn.data.examples import Examples
from fastnn.data.scaling import Scaling
from fastnn.errors import ConfigError
from fastnn.kernels import Augmentation, cpu, kernels_for
from fastnn.kernels.reference import Reference
from fastnn.nn.blocks import Block
from fastnn.nn.model import MLP
from fastnn.nn.objective import Objective
from fastnn.nn.optim import SGD, Adam, Lion, RMSProp
from fastnn.training import compiled
from fastnn.training.run import resume, train
from fastnn.training.scoring import Tally
from fastnn.training.step import HostSteps, steps_for
from tests.conftest import blobs
from tests.test_training import changed, weights

pytestmark = pytest.mark.usefixtures("numba")

OPTIMIZERS = {
    "adam": lambda p, k: Adam(p, kernels=k),
    "adam l2": lambda p, k: Adam(p, weight_decay=0.1, kernels=k),
    "adamw": lambda p, k: Adam(p, weight_decay=0.1, decoupled=True, kernels=k),
    "sgd": lambda p, k: SGD(p, weight_decay=0.1, kernels=k),
    "momentum": lambda p, k: SGD(p, momentum=0.9, kernels=k),
    "nesterov": lambda p, k: SGD(p, momentum=0.9, nesterov=True, weight_decay=0.1, kernels=k),
    "rmsprop": lambda p, k: RMSProp(p, weight_decay=0.1, kernels=k),
    "lion": lambda p, k: Lion(p, weight_decay=0.1, kernels=k),
    "clipped norm": lambda p, k: SGD(p, clip_norm=0.05, kernels=k),
    "clipped values": lambda p, k: SGD(p, clip_value=0.003, momentum=0.9, kernels=k),
    "averaged": lambda p, k: Adam(p, average=0.9, kernels=k),
}

# What a network may have besides affine layers and ReLU, by itself and all together.
PARTS = {
    "activations": {"blocks": [Block("gelu"), Block("tanh"), Block()]},
    "layer norm": {"blocks": [Block("silu", "layer"), Block(), Block("relu", "layer")]},
    "batch norm": {"blocks": [Block("relu", "batch"), Block(), Block("sigmoid", "batch")]},
    "dropout": {"blocks": [Block(dropout=0.3), Block(), Block(dropout=0.9)]},
    "input dropout": {"input_dropout": 0.2},
    "skips": {"blocks": [Block("leaky-relu", residual=True)] * 3},
    "smoothing": {"objective": Objective(smoothing=0.2)},
    "weights": {"weights": True},
    "pictures": {"augmentation": Augmentation(3, 4, 1, 1, True, 2)},
    "coloured pictures": {"augmentation": Augmentation(2, 2, 3, 1, False, 0)},
    "everything": {
        "blocks": [Block("gelu", "layer", 0.2, True)] * 3, "input_dropout": 0.1, "weights": True,
        "objective": Objective(smoothing=0.1), "augmentation": Augmentation(3, 4, 1, 2, True, 1),
        "optimizer": "clipped norm",
    },
    "everything, batch norm": {
        "blocks": [Block("silu", "batch", 0.2, True)] * 3, "input_dropout": 0.1, "weights": True,
        "augmentation": Augmentation(3, 4, 1, 2, True, 1), "optimizer": "averaged",
    },
}  # fmt: skip


class Training:
    """A small network in the middle of nowhere, its steps run as `choice` says."""

    def __init__(
        self, choice, *, sizes=(12, 24, 17, 3), batch=32, optimizer="adam", threads=1, count=300,
        inputs=np.uint8, scaling="unit", dtype=np.float32, weights=False, augmentation=None,
        **network,
    ):  # fmt: skip
        self.backend = Backend("cpu", 0, np, threads=threads)
        kernels = kernels_for(self.backend, choice)
        rng = np.random.default_rng(0)
        x = rng.integers(0, 256, (count, sizes[0])).astype(inputs)
        shares = rng.random(count).astype(np.float32) if weights else None
        examples = Examples(x, rng.integers(0, sizes[-1], count).astype(np.int32), shares)
        self.model = MLP(sizes, self.backend, rng=rng, kernels=kernels, dtype=dtype, **network)
        self.optimizer = OPTIMIZERS[optimizer](self.model.params, kernels)
        self.batches = Batches(
            examples, batch, Scaling.fit(x, scaling), self.backend, seed=0, kernels=kernels,
            dtype=dtype, augmentation=augmentation,
        )  # fmt: skip
        self.tally = Tally(self.backend, len(self.batches))
        self.steps = steps_for(self.model, self.optimizer, self.batches, self.tally, choice)

    def run(self, *stops, rate=1e-2):
        """An epoch, returning to Python at these steps at least."""
        self.steps.open(0, 0)
        self.steps.plan(0, [rate * (1 + n) for n in range(len(self.batches))])
        step = 0
        with blas.limited(1):
            for stop in (*stops, len(self.batches)):
                while step < stop:
                    step = self.steps.run(step, stop)
        return self

    def agrees_with(self, other, tolerance):
        # A step's losses are summed in float64 by the one, in pairs of float32 by the other.
        np.testing.assert_allclose(self.tally.losses, other.tally.losses, rtol=tolerance or 1e-6)
        np.testing.assert_array_equal(self.tally.hits, other.tally.hits)
        pairs = [(self.model.params.vector, other.model.params.vector)]
        mine, theirs = self.optimizer.state(), other.optimizer.state()
        pairs += [(mine[name], theirs[name]) for name in mine]
        for one, two in pairs:
            np.testing.assert_allclose(one, two, rtol=0, atol=tolerance * np.abs(two).max())


@pytest.fixture(autouse=True)
def always_worth_it(monkeypatch):
    """Small networks, but as many threads as are asked for."""
    monkeypatch.setattr(compiled, "_WORK", 1)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_an_epoch_is_what_the_reference_computes(optimizer, threads):
    """In float64, where no rounding flips a ReLU: to the last digits, after ten updates."""
    more = {"optimizer": optimizer, "dtype": np.float64}
    found = Training("captured", threads=threads, **more).run()
    assert found.steps.path == "captured"
    found.agrees_with(Training("reference", **more).run(), 1e-9)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize(("threads", "batch"), [(1, 32), (2, 300), (3, 33), (2, 13)])
def test_every_part_of_a_network_is_what_the_reference_computes(part, threads, batch):
    """300 examples: 13 and 33 leave a last batch of one and of three."""
    more = {"dtype": np.float64, "sizes": (12, 20, 20, 20, 3), "batch": batch} | PARTS[part]
    found = Training("captured", threads=threads, **more).run(rate=1e-3)
    assert found.steps.path == "captured"
    found.agrees_with(Training("reference", **more).run(rate=1e-3), 1e-9)


@pytest.mark.parametrize("part", ["everything", "everything, batch norm"])
def test_parts_give_the_same_bits_in_calls_of_any_length_and_one_by_one(part):
    whole = Training("captured", sizes=(12, 20, 20, 20, 3), **PARTS[part]).run()
    Training("captured", sizes=(12, 20, 20, 20, 3), **PARTS[part]).run(*range(1, 10)).agrees_with(
        whole, 0
    )


def test_blocks_of_a_batch_meet_the_same_random_numbers(monkeypatch):
    more = {"batch": 110, "dtype": np.float64, "sizes": (12, 20, 20, 20, 3)} | PARTS["everything"]
    whole = Training("captured", **more).run(rate=1e-3)
    monkeypatch.setattr(compiled, "BLOCK", 50)
    Training("captured", threads=2, **more).run(rate=1e-3).agrees_with(whole, 1e-9)


@pytest.mark.parametrize("sizes", [(1, 1), (5, 3), (12, 1, 3), (784, 33, 10), (7, 40, 50, 60, 2)])
@pytest.mark.parametrize("batch", [1, 7, 300])
def test_awkward_networks_and_batches(sizes, batch):
    more = {"sizes": sizes, "batch": batch, "count": 40, "dtype": np.float64}
    expected = Training("reference", **more).run(rate=1e-3)
    for threads in (1, 2, 5):
        Training("captured", threads=threads, **more).run(rate=1e-3).agrees_with(expected, 1e-9)


@pytest.mark.parametrize("inputs", [np.uint8, np.float32])
@pytest.mark.parametrize("scaling", ["unit", "standard"])
def test_every_kind_of_input_and_scaling(inputs, scaling):
    more = {"inputs": inputs, "scaling": scaling}
    Training("captured", **more).run(rate=1e-4).agrees_with(
        Training("reference", **more).run(rate=1e-4), 1e-4
    )


def test_calls_of_any_length_give_the_same_bits_and_so_do_kernels_one_by_one():
    whole = Training("captured").run()
    Training("captured").run(*range(1, 10)).agrees_with(whole, 0)
    Training("fused").run().agrees_with(whole, 0)


@pytest.mark.parametrize("threads", [2, 3, 5])
def test_a_team_gives_the_same_bits_each_time(threads):
    """Of another size perhaps others: BLAS may choose another kernel for narrower products."""
    more = {"threads": threads, "sizes": (200, 150, 70, 5), "count": 2000}
    once, again = Training("captured", **more).run(), Training("captured", **more).run(1, 40)
    again.agrees_with(once, 0)


def test_a_batch_in_blocks_is_the_same_within_rounding(monkeypatch):
    more = {"batch": 110, "dtype": np.float64}
    whole = Training("captured", **more).run()
    for block in (16, 50, 109):
        monkeypatch.setattr(compiled, "BLOCK", block)
        for threads in (1, 2, 5):
            found = Training("captured", threads=threads, **more).run()
            found.agrees_with(whole, 1e-9)
            assert not np.array_equal(found.model.params.vector, whole.model.params.vector)


def test_labels_that_are_no_classes_write_nowhere_else():
    """Data sets refuse them; a caller of the kernels may still pass them in."""
    for labels in ([-1, 7], [10**9, -(10**9)]):
        z, dz = np.zeros((2, 3), np.float32), np.full((4, 3), 5, np.float32)
        losses, hits = np.zeros(2, np.float32), np.zeros(2, bool)
        kernels_for(get_backend("cpu")).softmax_xent(
            dz[1:3], losses, hits, z, np.array(labels), None, None, scale=1.0, smoothing=0.1
        )
        assert (dz[[0, 3]] == 5).all()
        assert losses == pytest.approx([np.log(3)] * 2)


def test_strided_inputs_are_multiplied_as_what_they_are():
    x = np.arange(24, dtype=np.float32).reshape(4, 6)[::2, ::3]
    w, b, y = np.eye(2, dtype=np.float32), np.zeros(2, np.float32), np.empty((2, 2), np.float32)
    kernels_for(get_backend("cpu"), "fused").affine(y, None, x, w, b)
    assert y.tolist() == [[0, 3], [12, 15]]


def test_matrices_of_other_types_are_refused():
    x, w, y = np.ones((2, 2)), np.ones((2, 2), np.float32), np.ones((2, 2), np.float32)
    with pytest.raises(Exception, match="of one dtype"):
        kernels_for(get_backend("cpu"), "fused").affine(y, None, x, w, np.zeros(2, np.float32))


def test_what_cannot_be_compiled_is_called_kernel_by_kernel():
    class Mine(Adam):
        """Somebody's own update."""

    training = Training("fused")
    model, batches, tally = training.model, training.batches, training.tally
    optimizer = Mine(model.params, kernels=model.kernels)
    steps = steps_for(model, optimizer, batches, tally, "auto")
    assert isinstance(steps, HostSteps)
    assert steps.path == "fused"
    with pytest.raises(
        ConfigError, match="'captured': Mine cannot be compiled; use --kernels auto"
    ):
        steps_for(model, optimizer, batches, tally, "captured")


def test_a_team_is_as_large_as_the_work_and_the_cores_allow(monkeypatch):
    monkeypatch.setattr(compiled, "_WORK", 2_500_000)
    for sizes, batch, expected in (
        ((20, 32, 2), 32, 1), ((784, 32, 10), 32, 1), ((784, 512, 256, 10), 32, 8),
        ((784, 64, 10), 50, 3),
    ):  # fmt: skip
        eight = Backend("cpu", 0, np, threads=8)
        model = MLP(sizes, eight, rng=np.random.default_rng(0))
        assert compiled.worthwhile_threads(model, batch) == expected
        one = MLP(sizes, Backend("cpu", 0, np, threads=1), rng=np.random.default_rng(0))
        assert compiled.worthwhile_threads(one, batch) == 1


def test_a_member_that_does_not_arrive_is_waited_for_and_can_be_excused():
    """The meeting itself: nobody passes before all have come."""
    from fastnn.kernels import native

    team = native.Team(2, np.zeros(1, np.int64), cpu.give_way_address())
    passed = threading.Event()

    def wait():
        native.meet(team)
        passed.set()

    native.meet(native.Team(1, team.counter, team.give_way))  # alone there is nobody to wait for
    for release in (lambda: native.meet(team), lambda: native.dismiss(team)):
        passed.clear()
        before = int(team.counter[0])
        thread = threading.Thread(target=wait)
        thread.start()
        while team.counter[0] == before:  # until it has arrived
            time.sleep(0.001)
        assert not passed.is_set()
        release()
        thread.join(20)
        assert passed.is_set()


@pytest.mark.parametrize("absent", [0, 1])
def test_a_member_that_fails_leaves_nobody_waiting_and_the_weights_alone(absent):
    training = Training("captured", threads=2)
    real, before = training.steps._kernels, training.model.params.vector.copy()

    def epoch(*arguments):
        if arguments[-1] == absent:
            raise KeyboardInterrupt
        real.epoch.epoch(*arguments)

    training.steps._kernels = SimpleNamespace(loops=real.loops, epoch=SimpleNamespace(epoch=epoch))
    raised = []

    def run():
        try:
            training.run()
        except KeyboardInterrupt as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)  # so that a failure is not a hang
    thread.start()
    thread.join(60)
    assert not thread.is_alive()
    assert len(raised) == 1
    assert np.array_equal(training.model.params.vector, before)


def test_constants_may_change_between_epochs():
    found, expected = (Training(c, dtype=np.float64) for c in ("captured", "reference"))
    for training in (found, expected):
        training.run()
        training.optimizer.weight_decay = 0.5
        training.run()
    found.agrees_with(expected, 1e-9)


def test_numbers_of_other_types_are_not_compiled_anew():
    kernels = kernels_for(get_backend("cpu"))
    compiled_before = len(kernels.loops.update.signatures)
    p, g, m = (np.zeros(4, np.float32) for _ in range(3))
    for zero in (0, 0.0, np.float32(0), np.float64(0)):
        kernels.sgd(
            p, g, m, p, p[:1], momentum=zero, nesterov=np.bool_(False), decay=zero, n_decay=2
        )
    assert len(kernels.loops.update.signatures) <= compiled_before + 1


@pytest.mark.parametrize("dtype", [">f4", ">u2", np.float16, np.longdouble, "?"])
@pytest.mark.parametrize("kernels", ["reference", "fused"])
def test_inputs_of_rare_types_are_learned_from(dtype, kernels):
    x = np.random.default_rng(0).integers(0, 2, (10, 4)).astype(dtype)
    examples, backend = Examples(x, np.arange(10, dtype=np.int32) % 2), get_backend("cpu")
    scaling = Scaling.fit(x.astype(np.float32), "standard")
    batches = Batches(examples, 5, scaling, backend, kernels=kernels_for(backend, kernels))
    expected = (x[:5].astype(np.float64) - scaling.offset) * scaling.factor
    assert batches.gather(np.arange(5)).x == pytest.approx(expected, rel=1e-6)


def test_foreign_parts_are_not_compiled():
    training, other = Training("captured"), Training("captured")
    with pytest.raises(ConfigError, match="other parameters or kernels than the network"):
        steps_for(training.model, other.optimizer, training.batches, training.tally, "captured")


def test_two_trainings_in_two_threads_take_turns_and_give_their_bits():
    alone = Training("captured", threads=2).run()
    both = [Training("captured", threads=2) for _ in range(2)]
    threads = [threading.Thread(target=training.run, daemon=True) for training in both]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    for training in both:
        training.agrees_with(alone, 0)


@pytest.mark.parametrize("kernels", ["reference", "fused", "captured"])
def test_a_run_may_go_on_with_other_threads(tmp_path, kernels):
    half = train(changed(epochs=2, kernels=kernels, threads=1), data=blobs(), out=tmp_path)
    more = resume(half.folder, data=blobs(), epochs=4, threads=0)
    whole = train(changed(epochs=4, kernels=kernels), data=blobs())
    np.testing.assert_allclose(weights(more), weights(whole), atol=1e-5)


CHILD = """
import fastnn
from tests.conftest import blobs
result = fastnn.train(fastnn.TrainConfig(hidden=(8,), epochs=1, device="cpu"), data=blobs())
assert result.kernels == "captured"
"""


def test_compiling_is_announced_and_happens_once(tmp_path):
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}

    def errors():
        answer = subprocess.run(
            [sys.executable, "-c", CHILD], env=environment, capture_output=True, text=True,
            check=True,
        )  # fmt: skip
        assert answer.stdout == ""
        return answer.stderr

    assert "compiling kernels for this CPU" in errors()
    assert errors() == ""


@pytest.mark.parametrize(
    ("fault", "expected", "told"),
    [
        ("import", "Numba cannot be used .*; reinstall numba", True),
        ("blas", "compiled code cannot call NumPy's BLAS", True),
        ("cache", "NUMBA_CACHE_DIR to a folder that can be written", True),
        ("disk", "No space.*; set NUMBA_CACHE_DIR to a folder", True),
        ("switch", "unset NUMBA_DISABLE_JIT", True),
        ("absent", r"Numba is not installed \(pip install numba\)", False),
    ],
)
def test_what_keeps_compiled_kernels_away_is_told(monkeypatch, caplog, fault, expected, told):
    def fail():
        raise {
            "import": ImportError("half an installation"),
            "cache": RuntimeError("cannot cache function 'meet': no locator available"),
            "disk": OSError(28, "No space left on device"),
        }[fault]

    if fault == "blas":
        monkeypatch.setattr(blas, "address_of", lambda name: None)
    elif fault == "switch":
        monkeypatch.setattr("numba.config.DISABLE_JIT", 1)
    elif fault == "absent":
        monkeypatch.setattr(cpu, "find_spec", lambda name: None)
    else:
        monkeypatch.setattr(cpu, "_loops", fail)
    monkeypatch.setattr(cpu, "compiled", cpu.compiled.__wrapped__)  # not what it found before
    with pytest.raises(ConfigError, match=expected):
        kernels_for(get_backend("cpu"), "captured")
    assert isinstance(kernels_for(get_backend("cpu"), "auto"), Reference)
    assert any("plain NumPy kernels are used instead" in text for text in caplog.messages) is told


def test_code_on_disk_belongs_to_the_sources_as_they_are():
    """Numba itself looks at one file of many."""
    folder = kernels_for(get_backend("cpu")).epoch.epoch.stats.cache_path
    sources = [Path(cpu.__file__).with_name(name) for name in cpu.SOURCES]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
    assert digest[:16] in folder


def test_a_run_that_goes_on_by_other_means_says_so(tmp_path, caplog):
    half = train(changed(epochs=2, kernels="captured"), data=blobs(), out=tmp_path)
    resume(half.folder, data=blobs(), epochs=3)
    assert caplog.messages == []
    resume(half.folder, data=blobs(), epochs=4, kernels="reference")
    (told,) = caplog.messages
    assert "by captured kernels on cpu" in told
    assert "from here on by reference kernels on cpu" in told
