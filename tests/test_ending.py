"""How runs end: when their time is over, or when they are good enough; and with which weights."""

from __future__ import annotations

from dataclasses import replace
from math import ceil

import numpy as np
import pytest

from fastnn.backend import get_backend
from fastnn.errors import Interrupted
from fastnn.training.build import build
from fastnn.training.callbacks import Callback
from fastnn.training.classifier import Classifier
from fastnn.training.config import TrainConfig
from fastnn.training.run import resume, train
from fastnn.training.scoring import evaluate
from fastnn.training.step import HostSteps
from fastnn.training.trainer import steps_for

CONFIG = TrainConfig(
    hidden=(8,), batch_size=32, val=0.2, device="cpu", kernels="reference", optimizer="sgd",
    learning_rate=0.1,
)  # fmt: skip
STEPS = ceil(240 / 32)


class Clock:
    """Time that passes only in steps and validations, and by how much a test says."""

    def __init__(self, monkeypatch, step, valid=0.0):
        self.now, self.rates, self._step, self._valid = 0.0, [], step, valid
        monkeypatch.setattr("fastnn.training.trainer.time.perf_counter", lambda: self.now)
        monkeypatch.setattr("fastnn.training.trainer.steps_for", self._steps_for)
        monkeypatch.setattr("fastnn.training.trainer.evaluate", self._evaluate)

    def _evaluate(self, *arguments):
        self.now += self._valid
        return evaluate(*arguments)

    def _steps_for(self, *arguments):
        clock, inner = self, steps_for(*arguments)

        class Timed:
            path, blas_threads = inner.path, inner.blas_threads

            def open(self, epoch, start):
                inner.open(epoch, start)

            def plan(self, step, learning_rates):
                self._start, self._rates = step, list(learning_rates)
                inner.plan(step, learning_rates)

            def run(self, step, until):
                cost = clock._step
                clock.now += cost(len(clock.rates)) if callable(cost) else cost
                clock.rates.append(self._rates[step - self._start])
                return inner.run(step, until)

        return Timed()


def slow_start(step):
    """A first step that compiles, and then a hundred a second."""
    return 3.0 if step == 0 else 0.01


def slowing(step):
    """A neighbour arrives after a while."""
    return 0.01 if step < 300 else 0.03


@pytest.mark.parametrize(
    ("step", "valid", "limit"),
    [(1.0, 0.0, 20.5), (0.01, 0.0, 5.0), (slow_start, 0.0, 8.0), (slowing, 0.0, 10.0),
     (0.01, 0.05, 6.0), (0.01, 0.3, 9.0)],
)  # fmt: skip
def test_a_run_ends_in_time_and_its_schedule_with_it(blob_data, monkeypatch, step, valid, limit):
    clock = Clock(monkeypatch, step, valid)
    config = CONFIG.updated({"epochs": 500, "max_time": limit, "schedule": "cosine"}, "test")
    result = train(config, data=blob_data)
    last = step(10**6) if callable(step) else step
    assert limit <= result.seconds < limit + last + valid + 1e-9
    assert result.history[-1].epoch == len(result.history) < 500
    assert len(clock.rates) == result.history[-1].step
    assert clock.rates == sorted(clock.rates, reverse=True)
    assert clock.rates[0] == pytest.approx(0.1, rel=0.01)
    assert clock.rates[-1] < 0.1 * 0.02
    assert result.history[-1].learning_rate == clock.rates[-1]


def test_half_of_the_time_is_half_of_the_schedule(blob_data, monkeypatch):
    clock = Clock(monkeypatch, 0.01)
    config = CONFIG.updated({"epochs": 500, "max_time": 8.0, "schedule": "cosine"}, "test")
    train(config, data=blob_data)
    assert len(clock.rates) == pytest.approx(800, abs=1)
    for share, rate in ((0.25, 0.0854), (0.5, 0.05), (0.75, 0.0146)):
        assert clock.rates[round(share * 800)] == pytest.approx(rate, abs=0.002)


@pytest.mark.parametrize("schedule", ["cosine", "step", "one-cycle", "constant"])
def test_a_limit_that_is_never_met_changes_nothing(blob_data, monkeypatch, schedule):
    settings = {"epochs": 12, "schedule": schedule, "warmup": 2, "save_every": 3}
    clock = Clock(monkeypatch, slow_start)
    whole = train(CONFIG.updated(settings, "test"), data=blob_data)
    rates, clock.rates = clock.rates, []
    seconds = 3 + 0.01 * 12 * STEPS
    limited = train(CONFIG.updated(settings | {"max_time": seconds + 0.1}, "test"), data=blob_data)
    assert clock.rates == rates
    assert np.array_equal(
        limited.classifier.model.params.vector, whole.classifier.model.params.vector
    )
    assert [r.valid_loss for r in limited.history] == [r.valid_loss for r in whole.history]


def test_figures_of_an_unfinished_epoch_are_over_what_was_seen(blob_data, monkeypatch):
    """At a rate that moves no weight, by the probabilities of the network as it started."""
    Clock(monkeypatch, 1.0)
    settings = {"learning_rate": 1e-30, "max_time": STEPS + 3, "val": 0.2, "epochs": 9}
    config = CONFIG.updated(settings, "test")
    parts = build(config, blob_data, get_backend("cpu"), ())
    seen = parts.train_batches.order(1)[: 3 * 32]
    right = parts.predictor.predict_proba(parts.learn.inputs[seen])
    labels = parts.learn.labels[seen]
    _, report = parts.trainer.fit(parts.train_batches, parts.valid_batches, epochs=9)
    losses = -np.log(right[np.arange(96), labels].astype(float))
    assert report.train_loss == pytest.approx(losses.mean(), rel=1e-5)
    assert report.train_accuracy == (right.argmax(axis=1) == labels).mean()
    assert report.samples_per_second * report.seconds == pytest.approx(96)
    assert report.step == STEPS + 3
    assert parts.trainer.stopped == f"{STEPS + 3} seconds are over"


def test_time_before_an_interruption_counts(blob_data, monkeypatch, tmp_path):
    class Interrupt(Callback):
        def on_save(self, trainer):
            if trainer.optimizer.steps == 12:
                trainer.interrupt(2)

    clock = Clock(monkeypatch, 1.0)
    settings = {"epochs": 99, "max_time": 30.0, "schedule": "cosine", "save_every": 4}
    config = CONFIG.updated(settings, "test")
    with pytest.raises(Interrupted):
        train(config, data=blob_data, out=tmp_path, callbacks=[Interrupt()])
    (folder,) = tmp_path.iterdir()
    result = resume(folder, data=blob_data)
    assert result.history[-1].step == len(clock.rates) == 30
    assert clock.rates == sorted(clock.rates, reverse=True)
    assert clock.rates[-1] < 0.1 * 0.02


def test_a_run_whose_time_is_over_goes_on_when_it_gets_more(blob_data, monkeypatch, tmp_path):
    Clock(monkeypatch, 1.0)
    config = CONFIG.updated({"epochs": 20, "max_time": 11.0}, "test")
    done = train(config, data=blob_data, out=tmp_path)
    assert [report.step for report in done.history] == [8, 11]
    assert len(resume(done.folder, data=blob_data, epochs=30).history) == 2
    more = resume(done.folder, data=blob_data, max_time=16.0)
    assert [report.step for report in more.history] == [8, 11, 16]


def test_more_time_stretches_the_schedule_instead_of_going_on_at_its_end(
    blob_data, monkeypatch, tmp_path
):
    clock = Clock(monkeypatch, 0.1)
    config = CONFIG.updated({"epochs": 500, "max_time": 10.0, "schedule": "cosine"}, "test")
    done = train(config, data=blob_data, out=tmp_path)
    first = len(clock.rates)
    assert clock.rates[-1] < 0.1 * 0.02
    resume(done.folder, data=blob_data, max_time=20.0)
    # Half of the new time is over, and with it half of the schedule.
    assert clock.rates[first] == pytest.approx(0.05, rel=0.1)
    assert clock.rates[-1] < 0.1 * 0.02
    assert len(clock.rates) == pytest.approx(2 * first, abs=2)


def test_planning_under_a_time_limit_costs_a_share_of_the_steps(blob_data, monkeypatch):
    """However short steps are: rates are worked out for those that come, not for a whole epoch."""
    planned, inner = [], HostSteps.plan
    monkeypatch.setattr(
        HostSteps, "plan",
        lambda self, step, rates: (planned.append(len(rates)), inner(self, step, rates))[1],
    )  # fmt: skip
    Clock(monkeypatch, 0.001)
    config = CONFIG.updated({"epochs": 10**6, "max_time": 2.0, "batch_size": 1}, "test")
    steps = train(config, data=blob_data).history[-1].step
    assert steps == pytest.approx(2000, abs=5)
    assert sum(planned) < 1.2 * steps
    assert len(planned) < 150


def test_the_target_ends_the_run_where_it_is_first_reached(blob_data):
    config = CONFIG.updated({"epochs": 6, "learning_rate": 0.01}, "test")
    accuracies = [r.valid_accuracy for r in train(config, data=blob_data).history]
    assert accuracies[0] < accuracies[-1]
    for target in {a for a in accuracies if a > accuracies[0]}:
        ended = train(config.updated({"target_accuracy": target}, "test"), data=blob_data)
        first = next(n for n, accuracy in enumerate(accuracies) if accuracy >= target)
        assert len(ended.history) == first + 1
        assert ended.valid.accuracy == accuracies[first]


@pytest.mark.parametrize("val", [0.2, 0.0])
@pytest.mark.parametrize("norm", ["none", "batch"])
def test_the_average_is_what_is_validated_saved_and_left(blob_data, tmp_path, val, norm):
    """Against an average taken by hand of the weights after each step."""
    decay, averages, saved = 0.95, {}, []

    class Follow(Callback):
        """Sees every step: saves come after each, while the epoch is under way."""

        def on_fit_start(self, trainer):
            self.average = trainer.model.params.vector.astype(np.float64)

        def on_save(self, trainer):
            steps, vector = trainer.optimizer.steps, trainer.model.params.vector
            if trainer.position:
                keep = min(decay, steps / (steps + 9))
                self.average = keep * self.average + (1 - keep) * vector
            else:
                averages[trainer.epoch] = self.average
                saved.append(vector.copy())

    settings = {"epochs": 5, "val": val, "ema": decay, "save_every": 1, "norm": norm}
    config = CONFIG.updated(settings, "test")
    result = train(config, data=blob_data, out=tmp_path, callbacks=[Follow()])
    best = 5 if not val else max(
        result.history, key=lambda r: (r.valid_accuracy, -r.valid_loss, -r.epoch)
    ).epoch  # fmt: skip
    final = result.classifier.model.params.vector.copy()
    assert final == pytest.approx(averages[best], rel=1e-4, abs=1e-6)
    assert not np.allclose(final, saved[best - 1], rtol=1e-3)  # what training goes on from
    kept = Classifier.load(result.folder, "cpu").model.params.vector
    assert np.array_equal(kept, final)
    model = result.classifier.model
    parts = build(config, blob_data, get_backend("cpu"), ())
    for report in result.history if val else ():
        model.params.vector[...] = averages[report.epoch]
        score = result.classifier.evaluate(parts.valid)
        assert report.valid_loss == pytest.approx(score.loss, rel=1e-4)


def test_training_does_not_see_the_average(blob_data):
    """Its losses are the same with and without; those of the validation are not."""
    config = CONFIG.updated({"epochs": 3}, "test")
    plain, averaged = (train(replace(config, ema=ema), data=blob_data) for ema in (0.0, 0.9))
    assert [r.train_loss for r in plain.history] == [r.train_loss for r in averaged.history]
    assert [r.valid_loss for r in plain.history] != [r.valid_loss for r in averaged.history]


@pytest.mark.parametrize("valid", [True, False])
def test_a_second_fit_goes_on_from_the_last_weights_not_from_those_in_use(blob_data, valid):
    """Where the average, or the best epoch, was left in the model."""

    def fitted(*stops):
        config = CONFIG.updated({"ema": 0.9, "val": 0.2 if valid else 0.0}, "test")
        parts = build(config, blob_data, get_backend("cpu"), ())
        for epochs in stops:
            parts.trainer.fit(parts.train_batches, parts.valid_batches, epochs=epochs)
        return parts.trainer

    whole, twice = fitted(4), fitted(2, 4)
    assert np.array_equal(whole.model.params.vector, twice.model.params.vector)
    assert [r.train_loss for r in whole.history] == [r.train_loss for r in twice.history]


def test_the_last_state_is_used_with_its_average_too(blob_data, tmp_path):
    config = CONFIG.updated({"ema": 0.99, "val": 0.0, "epochs": 2}, "test")
    done = train(config, data=blob_data, out=tmp_path)
    inputs = blob_data.test.inputs
    for name in ("best", "last"):
        loaded = Classifier.load(done.folder / f"{name}.safetensors", device="cpu")
        assert np.array_equal(
            loaded.predict_proba(inputs), done.classifier.predict_proba(inputs)
        ), name
