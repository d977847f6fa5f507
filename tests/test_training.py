"""The loop: learning, stopping, best weights, divergence, and runs that are repeated or resumed."""

import json
import math
import signal
import sys
from dataclasses import replace

import numpy as np
import pytest

from fastnn.backend import get_backend
from fastnn.data.examples import Examples
from fastnn.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    DeviceError,
    Interrupted,
    OutputError,
    TrainingDiverged,
)
from fastnn.training import checkpoint
from fastnn.training.best import Best
from fastnn.training.build import build
from fastnn.training.callbacks import Callback
from fastnn.training.classifier import Classifier
from fastnn.training.config import TrainConfig
from fastnn.training.layout import BEST, LAST
from fastnn.training.run import resume, train
from fastnn.training.scoring import Score
from tests.conftest import blobs

SMALL = TrainConfig(
    hidden=(16,), epochs=4, batch_size=32, learning_rate=0.01, val=0.2, device="cpu"
)


def changed(**settings):
    return SMALL.updated(settings, "test")


def weights(result):
    return result.classifier.model.params.vector.copy()


def noisy_labels(data):
    """The same inputs, every fifth label wrong: validation gets worse once these are learned."""
    labels = data.train.labels.copy()
    labels[::5] = (labels[::5] + 1) % 3
    return replace(data, train=Examples(data.train.inputs, labels))


def rank(report):
    """What makes an epoch better: accuracy, then loss, then being earlier."""
    return report.valid_accuracy, -report.valid_loss, -report.epoch


def only(folder):
    (run,) = folder.iterdir()
    return run


class Note(Callback):
    """Remembers what happened; may ask the run to end after some step or epoch."""

    def __init__(self, interrupt_at=None):
        self.events, self.interrupt_at = [], interrupt_at

    def on_fit_start(self, trainer):
        self.events.append("start")

    def on_save(self, trainer):
        self.events.append(f"save {trainer.epoch}.{trainer.position}")
        if self.interrupt_at == (trainer.epoch, trainer.position):
            trainer.interrupt(2)

    def on_epoch_end(self, trainer, report):
        self.events.append(f"epoch {report.epoch}")

    def on_fit_end(self, trainer):
        self.events.append("end")


def test_learns_a_small_problem(blob_data):
    result = train(SMALL, data=blob_data)
    assert result.test is not None
    assert result.test.accuracy > 0.97
    assert result.history[-1].train_loss < result.history[0].train_loss
    assert [report.epoch for report in result.history] == [1, 2, 3, 4]


def test_reported_figures_are_those_of_the_network(blob_data):
    """Scores against a plain computation from the probabilities."""
    result = train(SMALL, data=blob_data)
    test = blob_data.test
    chosen = result.classifier.predict_proba(test.inputs)
    right = chosen[np.arange(len(test.labels)), test.labels]
    assert result.test.loss == pytest.approx(-np.log(right.astype(np.float64)).mean(), rel=1e-5)
    hits = (result.classifier.predict(test.inputs) == test.labels).mean()
    assert result.test.accuracy == pytest.approx(hits)
    assert result.test.count == len(test.labels)
    assert result.train.count == 240
    assert result.valid.count == 60


def test_events_come_in_order(blob_data):
    note = Note()
    train(changed(epochs=2, save_every=5), data=blob_data, callbacks=[note])
    steps = math.ceil(240 / 32)
    assert steps == 8
    assert note.events == [
        "start", "save 0.5", "save 1.0", "epoch 1", "save 1.2", "save 1.7", "save 2.0", "epoch 2",
        "end",
    ]  # fmt: skip


def test_same_seed_same_bits_other_seed_other_bits(blob_data):
    first, again, other = (weights(train(changed(seed=seed), data=blob_data)) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_best_epoch_is_put_back_and_patience_ends_the_run(blob_data):
    note = Note()
    config = changed(epochs=60, learning_rate=0.05, patience=3)
    result = train(config, data=noisy_labels(blob_data), callbacks=[note])
    ranked = [(r.valid_accuracy, -r.valid_loss, -r.epoch) for r in result.history]
    best = -max(ranked)[2]
    assert len(result.history) == best + 3 < 60
    assert result.valid.accuracy == result.history[best - 1].valid_accuracy
    assert result.valid.loss == pytest.approx(result.history[best - 1].valid_loss, rel=1e-6)
    assert note.events[-1] == "end"


def test_best_prefers_accuracy_then_loss_and_keeps_a_copy():
    best, vector = Best(), np.zeros(3)
    assert best.offer(1, Score(0.5, 0.8, 10), vector)
    vector[:] = 1
    assert not best.offer(2, Score(0.4, 0.7, 10), vector)
    assert not best.offer(3, Score(0.5, 0.8, 10), vector)
    assert best.weights.tolist() == [0, 0, 0]
    assert best.offer(4, Score(0.4, 0.8, 10), vector)
    assert (best.epoch, best.weights.tolist()) == (4, [1, 1, 1])


def test_without_validation_the_last_weights_stay(blob_data):
    result = train(changed(val=0, epochs=2), data=blob_data)
    assert result.valid is None
    assert result.history[-1].valid_loss is None
    assert result.train.count == 300


def test_no_epochs_gives_the_initial_network(blob_data, tmp_path):
    result = train(changed(epochs=0), data=blob_data, out=tmp_path)
    assert result.history == []
    assert result.test.accuracy < 0.9
    assert Classifier.load(result.folder).evaluate(blob_data.test) == result.test


def test_divergence_names_epoch_step_and_rate_and_keeps_the_last_good_state(blob_data, tmp_path):
    class Poison(Callback):
        """A learning rate that explodes in the second epoch."""

        def on_epoch_end(self, trainer, report):
            trainer.schedule = lambda step: 1e30

    with pytest.raises(TrainingDiverged) as caught:
        train(SMALL, data=blob_data, out=tmp_path, callbacks=[Poison()])
    text = str(caught.value)
    assert "epoch 2" in text
    assert "1e+30" in text
    assert LAST in caught.value.__notes__[0]
    (folder,) = tmp_path.iterdir()
    arrays, meta = checkpoint.load(folder / LAST)
    assert meta["state"]["epoch"] == 1
    assert all(np.isfinite(array).all() for array in arrays.values() if array.dtype.kind == "f")
    assert "after step 9 (" in text  # the first wild update: the second epoch's first


def test_a_last_update_that_overflows_is_noticed_before_it_is_saved(blob_data, tmp_path):
    class Poison(Callback):
        def on_fit_start(self, trainer):
            last = 8 - 1
            trainer.schedule = lambda step: 1e39 if step == last else 0.01

    config = changed(optimizer="sgd", epochs=1)
    with pytest.raises(TrainingDiverged, match=r"after step 8 \(learning rate 1e\+39\)"):
        train(
            config.updated({"val": 0.2}, "test"), data=blob_data, out=tmp_path, callbacks=[Poison()]
        )
    arrays, _ = checkpoint.load(only(tmp_path) / LAST)
    assert all(np.isfinite(array).all() for array in arrays.values() if array.dtype.kind == "f")


def test_run_folder_holds_what_it_promises(blob_data, tmp_path):
    result = train(changed(epochs=3), data=blob_data, out=tmp_path, name="a / b")
    names = {path.name for path in result.folder.iterdir()}
    assert names == {
        "config.json", "environment.json", "metrics.jsonl", "metrics.csv", "last.safetensors",
        "best.safetensors", "result.json",
    }  # fmt: skip
    assert result.folder.name.endswith("-a-b")
    lines = [
        json.loads(line) for line in (result.folder / "metrics.jsonl").read_text().splitlines()
    ]
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    table = (result.folder / "metrics.csv").read_text().splitlines()
    assert len(table) == 4
    assert table[0].split(",") == list(lines[0])
    config = TrainConfig.from_file(result.folder / "config.json")
    assert config == changed(epochs=3, dataset="blobs")
    assert json.loads((result.folder / "result.json").read_text())["test_accuracy"] == (
        result.test.accuracy
    )


def test_run_folders_are_never_shared(blob_data, tmp_path):
    folders = {
        train(changed(epochs=0), data=blob_data, out=tmp_path, name="same").folder for _ in range(3)
    }
    assert len(folders) == 3


def test_saved_network_predicts_the_same(blob_data, tmp_path):
    result = train(changed(scaling="standard"), data=blob_data, out=tmp_path)
    loaded = Classifier.load(result.folder)
    inputs = blob_data.test.inputs
    assert np.array_equal(loaded.predict_proba(inputs), result.classifier.predict_proba(inputs))
    assert loaded.class_names == blob_data.class_names
    assert loaded.evaluate(blob_data.test) == result.test


def test_probabilities_sum_to_one_and_one_row_is_enough(blob_data):
    classifier = train(changed(epochs=1), data=blob_data).classifier
    inputs = blob_data.test.inputs
    assert classifier.predict_proba(inputs).sum(axis=1) == pytest.approx(np.ones(len(inputs)))
    assert classifier.predict_proba(inputs[0]).shape == (1, 3)
    assert classifier.predict_proba(inputs[:0]).shape == (0, 3)


@pytest.mark.parametrize(
    ("inputs", "fault"),
    [
        (np.zeros((2, 5), np.uint8), "5 values each"),
        (np.full((2, 12), 0.5), "whole pixel values"),
        (np.full((2, 12), 256), "whole pixel values"),
        (np.full((2, 12), np.nan), "finite"),
        ([["a"] * 12], "numbers"),
        ([[1, 2], [3]], "numbers"),
    ],
)
def test_inputs_unlike_those_of_training_are_refused(blob_data, inputs, fault):
    classifier = train(changed(epochs=0), data=blob_data).classifier
    with pytest.raises(DataError, match=fault):
        classifier.predict(inputs)


EVERYTHING = {
    "norm": "batch", "dropout": 0.2, "input_dropout": 0.1, "residual": True, "hidden": (16, 16),
    "activation": ("gelu", "leaky-relu"), "label_smoothing": 0.1, "class_weight": "balanced",
    "shift": 1, "flip": True, "cutout": 1, "flip_test": True, "clip_norm": 1.0, "clip_value": 0.5,
    "ema": 0.9, "optimizer": "lion", "weight_decay": 0.01, "max_time": 1e9, "learning_rate": 0.001,
}  # fmt: skip


@pytest.mark.parametrize(
    "settings",
    [
        {}, {"optimizer": "sgd"}, {"val": 0.0}, {"schedule": "cosine"}, EVERYTHING,
        EVERYTHING | {"norm": "layer", "optimizer": "rmsprop", "val": 0.0, "schedule": "one-cycle"},
    ],
)  # fmt: skip
@pytest.mark.parametrize("kernels", ["reference", "fused", "captured"])
def test_resume_after_any_save_equals_an_uninterrupted_run(
    blob_data, tmp_path, settings, kernels, request
):
    if kernels != "reference":
        request.getfixturevalue("numba")
    settings = settings | {"kernels": kernels}
    blob_data = replace(blob_data, shape=(3, 4))  # as pictures
    config = changed(epochs=3, save_every=3).updated(settings, "test")
    whole = train(config, data=blob_data)
    steps = math.ceil((240 if config.val else 300) / 32)
    moments = [(epoch, n) for epoch in range(3) for n in range(steps)]
    moments = [(e, n) for e, n in moments if (e * steps + n) % 3 == 0 or n == 0][1:]
    assert len(moments) > 6
    for moment in moments:
        with pytest.raises(Interrupted):
            train(config, data=blob_data, out=tmp_path, callbacks=[Note(interrupt_at=moment)])
        folder = max(tmp_path.iterdir(), key=lambda path: path.stat().st_mtime_ns)
        resumed = resume(folder, data=blob_data)
        assert np.array_equal(weights(resumed), weights(whole)), moment
        for one, other in zip(resumed.history, whole.history, strict=True):
            assert (one.train_loss, one.train_accuracy) == (other.train_loss, other.train_accuracy)
            assert (one.valid_loss, one.valid_accuracy) == (other.valid_loss, other.valid_accuracy)
        lines = (folder / "metrics.jsonl").read_text().splitlines()
        assert [json.loads(line)["epoch"] for line in lines] == [1, 2, 3]


def test_two_epochs_and_two_more_equal_four(blob_data, tmp_path):
    half = train(changed(epochs=2), data=blob_data, out=tmp_path)
    more = resume(half.folder, data=blob_data, epochs=4)
    assert np.array_equal(weights(more), weights(train(changed(epochs=4), data=blob_data)))


def test_resuming_a_finished_run_only_scores_it_again(blob_data, tmp_path):
    data = noisy_labels(blob_data)
    done = train(changed(epochs=60, patience=2, learning_rate=0.05), data=data, out=tmp_path)
    assert len(done.history) < 60  # it was stopped early
    again = resume(done.folder, data=data)
    assert again.history == done.history
    assert (again.test, again.valid) == (done.test, done.valid)
    assert again.seconds >= sum(report.seconds for report in done.history)


def test_more_epochs_after_an_early_stop_count_patience_anew(blob_data, tmp_path):
    data = noisy_labels(blob_data)
    done = train(changed(epochs=60, patience=3, learning_rate=0.05), data=data, out=tmp_path)
    longer = resume(done.folder, data=data, epochs=80)
    best = max(range(len(longer.history)), key=lambda n: rank(longer.history[n])) + 1
    assert len(longer.history) == max(best, len(done.history)) + 3


def test_fewer_epochs_than_done_are_refused(blob_data, tmp_path):
    done = train(changed(epochs=3), data=blob_data, out=tmp_path)
    with pytest.raises(ConfigError, match="done 3 already"):
        resume(done.folder, data=blob_data, epochs=2)


@pytest.mark.parametrize(
    "settings",
    [
        {"patience": 3},
        {"schedule": "plateau", "schedule_every": 1},
        {"optimizer": "sgd", "momentum": 0.9, "nesterov": True},
    ],
)
def test_what_waits_is_restored_too(blob_data, tmp_path, settings):
    """Interrupted after each epoch in turn: patience and plateaus count across the gap."""
    data = noisy_labels(blob_data)
    config = changed(epochs=12, learning_rate=0.05, **settings)
    whole = train(config, data=data)
    for epoch in range(1, len(whole.history)):
        out = tmp_path / str(epoch)
        with pytest.raises(Interrupted):
            train(config, data=data, out=out, callbacks=[Note(interrupt_at=(epoch, 0))])
        resumed = resume(only(out), data=data)
        assert np.array_equal(weights(resumed), weights(whole)), epoch
        assert [r.learning_rate for r in resumed.history] == [
            r.learning_rate for r in whole.history
        ]
        assert len(resumed.history) == len(whole.history)


def test_the_best_file_holds_the_best_epoch_at_every_moment(blob_data, tmp_path):
    """Also right after saves in the middle of an epoch and after epochs that were worse."""
    data = noisy_labels(blob_data)
    seen = []

    class Compare(Callback):
        def on_save(self, trainer):
            if not trainer.history:
                return
            best = max(trainer.history, key=rank)
            arrays, meta = checkpoint.load(only(tmp_path) / BEST)
            assert meta["epoch"] == best.epoch
            held = arrays["params/layers.0.weight"].ravel()
            assert np.array_equal(held, trainer.best.weights[: held.size])
            seen.append((trainer.epoch, trainer.position, best.epoch))

    config = changed(epochs=10, learning_rate=0.05, save_every=3)
    result = train(config, data=data, out=tmp_path, callbacks=[Compare()])
    assert any(position for _, position, _ in seen)
    assert any(best < epoch for epoch, _, best in seen)
    assert Classifier.load(result.folder).evaluate(data.test) == result.test


def test_the_plateau_watches_the_validation_loss(blob_data):
    note = []

    class Watch(Callback):
        def on_epoch_end(self, trainer, report):
            note.append((trainer.monitored[-1], report.valid_loss, report.train_loss))

    train(SMALL, data=blob_data, callbacks=[Watch()])
    assert all(seen == valid != learned for seen, valid, learned in note)


def test_resumed_with_more_epochs_and_killed_at_once_still_has_them(blob_data, tmp_path):
    done = train(changed(epochs=2), data=blob_data, out=tmp_path)

    class Die(Callback):
        def on_fit_start(self, trainer):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        resume(done.folder, data=blob_data, epochs=4, callbacks=[Die()])
    assert len(resume(done.folder, data=blob_data).history) == 4


def test_two_trainings_in_one_folder_are_refused(blob_data, tmp_path):
    done = train(changed(epochs=1), data=blob_data, out=tmp_path)
    (done.folder / ".last.safetensors.999.tmp").write_bytes(b"left by a killed process")

    class Second(Callback):
        def on_epoch_end(self, trainer, report):
            with pytest.raises(OutputError, match="another process is training"):
                resume(done.folder, data=blob_data, epochs=3)

    resume(done.folder, data=blob_data, epochs=2, callbacks=[Second()])
    assert not list(done.folder.glob(".*"))


def test_a_validation_loss_that_is_not_finite_ends_the_run(blob_data, tmp_path):
    """One huge step of a whole-batch epoch: its own loss was measured before the update."""
    config = changed(epochs=1, optimizer="sgd", batch_size=512, learning_rate=1e25)
    with pytest.raises(TrainingDiverged):
        train(config, data=blob_data, out=tmp_path)
    assert not (only(tmp_path) / "result.json").exists()
    with pytest.raises(TrainingDiverged):
        train(config.updated({"val": 0}, "test"), data=blob_data)
    assert "NaN" not in (only(tmp_path) / "metrics.jsonl").read_text()


def test_a_run_can_be_used_from_any_folder(blob_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = train(changed(dataset=blob_file.name, epochs=1), out="runs")
    monkeypatch.chdir("/")
    assert len(resume(tmp_path / done.folder, epochs=2).history) == 2


def test_resume_refuses_other_data(blob_data, tmp_path):
    result = train(changed(epochs=1), data=blob_data, out=tmp_path)
    with pytest.raises(DataError, match="fingerprints differ"):
        resume(result.folder, data=blobs(seed=1))


def test_a_checkpoint_with_other_widths_is_refused(blob_data, tmp_path):
    result = train(changed(epochs=1), data=blob_data, out=tmp_path)
    arrays, meta = checkpoint.load(result.folder / LAST)
    arrays["params/layers.0.weight"] = arrays["params/layers.0.weight"][:, :-1]
    checkpoint.save(result.folder / LAST, arrays, meta)
    with pytest.raises(CheckpointError, match=r"layers.0.weight: found shape \(12, 15\)"):
        resume(result.folder, data=blob_data)


@pytest.mark.parametrize(
    "damage",
    [
        {"class_names": ["a"]}, {"dtype": "int8"}, {"sizes": [12, -1]}, {"shape": [5]},
        {"sizes": "x"}, {"pixels": None, "columns": None},
    ],
)  # fmt: skip
def test_a_damaged_model_description_is_a_checkpoint_error(blob_data, tmp_path, damage):
    result = train(changed(epochs=0), data=blob_data, out=tmp_path)
    arrays, meta = checkpoint.load(result.folder / BEST)
    checkpoint.save(result.folder / BEST, arrays, meta | {"model": meta["model"] | damage})
    with pytest.raises(CheckpointError):
        Classifier.load(result.folder)


def test_scoring_refuses_labels_that_are_no_classes(blob_data):
    classifier = train(changed(epochs=0), data=blob_data).classifier
    inputs = blob_data.test.inputs[:3]
    for labels in ([0, 1, 3], [0, -1, 1], [0, 1]):
        with pytest.raises(DataError, match="labels"):
            classifier.evaluate(Examples(inputs, np.array(labels)))


def test_an_incomplete_checkpoint_says_what_is_missing(blob_data, tmp_path):
    result = train(changed(epochs=1), data=blob_data, out=tmp_path)
    arrays, meta = checkpoint.load(result.folder / BEST)
    del arrays["scaling/factor"]
    checkpoint.save(result.folder / BEST, arrays, meta)
    with pytest.raises(CheckpointError, match="scaling/factor"):
        Classifier.load(result.folder)


def test_reports_count_time_and_rate_of_their_own_epoch(blob_data, monkeypatch):
    """A clock that ticks once a look: every epoch must come out the same."""
    ticks = iter(range(10**6))
    monkeypatch.setattr("fastnn.training.trainer.time.perf_counter", lambda: float(next(ticks)))

    class Rising(Callback):
        def on_fit_start(self, trainer):
            trainer.schedule = lambda step: (step + 1) * 1e-6

    history = train(changed(epochs=3), data=blob_data, callbacks=[Rising()]).history
    assert len({report.seconds for report in history}) == 1
    for report in history:
        assert report.samples_per_second * report.seconds == pytest.approx(240)
        assert report.learning_rate == pytest.approx(report.step * 1e-6)
    assert [report.step for report in history] == [8, 16, 24]


def test_an_interrupt_between_epochs_leaves_at_the_boundary(blob_data, tmp_path):
    class Stop(Callback):
        def on_epoch_end(self, trainer, report):
            trainer.interrupt(15)

    with pytest.raises(Interrupted):
        train(SMALL, data=blob_data, out=tmp_path, callbacks=[Stop()])
    _, meta = checkpoint.load(only(tmp_path) / LAST)
    assert (meta["state"]["epoch"], meta["state"]["position"]) == (1, 0)


def test_an_interrupted_trainer_can_go_on(blob_data):
    """In one process, without a file: an interrupt asks once, and the tally is not lost."""
    parts = build(SMALL, blob_data, get_backend("cpu"), [Note(interrupt_at=(1, 3))])
    parts.trainer.save_every = 1
    with pytest.raises(Interrupted):
        parts.trainer.fit(parts.train_batches, None, epochs=4)
    assert parts.trainer.position == 3
    history = parts.trainer.fit(parts.train_batches, None, epochs=4)
    whole = build(SMALL, blob_data, get_backend("cpu"), ())
    expected = whole.trainer.fit(whole.train_batches, None, epochs=4)
    assert [r.train_loss for r in history] == [r.train_loss for r in expected]


def test_the_device_is_the_one_that_was_asked_for(blob_data, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    done = train(changed(epochs=1), data=blob_data, out=tmp_path)
    with pytest.raises(DeviceError):
        train(changed(device="cuda"), data=blob_data)
    with pytest.raises(DeviceError):
        resume(done.folder, data=blob_data, device="cuda")
    with pytest.raises(DeviceError):
        Classifier.load(done.folder, "cuda")


def test_limits_also_count_for_given_data(blob_data):
    assert train(changed(limit_train=60, epochs=0), data=blob_data).train.count == 48


def test_arrays_in_memory_must_be_given_again(blob_data, tmp_path):
    done = train(changed(epochs=1), data=blob_data, out=tmp_path)
    with pytest.raises(DataError, match="data="):
        resume(done.folder)


def test_a_named_set_stays_a_name_beside_a_folder_called_so(blob_data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "garments").mkdir()
    done = train(changed(dataset="garments", epochs=0), data=blob_data, out="runs")
    assert TrainConfig.from_file(done.folder / "config.json").dataset == "garments"


def test_many_rows_and_huge_logits_are_predicted_alike(blob_data):
    classifier = train(changed(epochs=1), data=blob_data).classifier
    rows = np.tile(blob_data.test.inputs, (9, 1))[:2500]
    whole = classifier.predict_proba(rows)
    parts = np.concatenate(
        [classifier.predict_proba(rows[n : n + 700]) for n in range(0, 2500, 700)]
    )
    assert whole == pytest.approx(parts, abs=1e-6)
    classifier.model.params.vector[...] *= 1e4
    assert classifier.predict_proba(rows).sum(axis=1) == pytest.approx(np.ones(2500))


def test_signal_handlers_are_put_back_and_an_ignored_one_stays_so(blob_data, tmp_path):
    seen = []

    class Look(Callback):
        def on_epoch_end(self, trainer, report):
            seen.append(signal.getsignal(signal.SIGINT))

    for before in (signal.getsignal(signal.SIGINT), signal.SIG_IGN):
        kept = signal.signal(signal.SIGINT, before)
        try:
            train(changed(epochs=1), data=blob_data, out=tmp_path, callbacks=[Look()])
            assert signal.getsignal(signal.SIGINT) == before
        finally:
            signal.signal(signal.SIGINT, kept)
    assert seen[0] != signal.SIG_IGN == seen[1]
