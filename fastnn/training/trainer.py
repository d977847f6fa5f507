"""The training loop: epochs of steps, validation, early stopping, and a state that can be saved."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from math import inf, isfinite
from typing import Any

import numpy as np

from fastnn import blas
from fastnn.backend import Array
from fastnn.data.batches import Batches
from fastnn.errors import Interrupted, TrainingDiverged
from fastnn.nn.model import MLP
from fastnn.nn.optim import Optimizer, load_state
from fastnn.nn.schedules import Schedule
from fastnn.training.best import Best
from fastnn.training.callbacks import Callback, EpochReport
from fastnn.training.pace import Pace
from fastnn.training.scoring import Mirror, Score, Tally, evaluate
from fastnn.training.step import Steps, steps_for

_log = logging.getLogger("fastnn")


class Trainer:
    """Fits a model to batches.

    `monitored` receives one loss an epoch (validation where there is one, else training): the list
    that a reduce-on-plateau schedule reads. `patience` epochs without a better validation end the
    run; 0 never does. Where there is a validation part the best epoch's weights are put back at the
    end, whatever ended the run. `kernels` is the choice of `steps_for`: whether steps become a CUDA
    graph, or on a CPU a compiled epoch. After `max_time` seconds of fitting (0: any) the run ends,
    its last epoch unfinished, and the schedule runs through in that time or in `epochs`, whichever
    is shorter (where that is the time, no two runs are the same). A validation accuracy of
    `target_accuracy` ends it too. `mirror` is `evaluate`'s.

    Where the optimizer averages the weights, the average is what is validated and in the end used.
    """

    def __init__(
        self,
        model: MLP,
        optimizer: Optimizer,
        schedule: Schedule,
        *,
        callbacks: Sequence[Callback] = (),
        monitored: list[float] | None = None,
        patience: int = 0,
        save_every: int = 0,
        kernels: str = "auto",
        max_time: float = 0.0,
        target_accuracy: float = 0.0,
        mirror: Mirror | None = None,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.schedule = schedule
        self.callbacks = list(callbacks)
        self.monitored = [] if monitored is None else monitored
        self.patience = patience
        self.save_every = save_every
        self.kernels = kernels
        self.max_time = max_time
        self.target_accuracy = target_accuracy
        self.mirror = mirror
        self.path = ""  # what runs the steps of `fit`: reference, fused or captured
        self.history: list[EpochReport] = []
        self.best = Best()
        self.epoch = 0  # finished epochs
        self.position = 0  # finished steps of the epoch under way
        self.epochs = 0  # asked for
        self.steps_per_epoch = 0
        self.batch_size = 0
        self.stopped: str | None = None
        self._was_computed_by = ""  # what ran the steps before this was loaded
        self._pace = Pace(lambda step: self.schedule(step), max_time)  # callbacks may replace it
        self._last: Array | None = None  # weights after the last step, where others are used
        self._patience_from = 0  # epoch from which patience counts, if later than the best
        self._seconds = 0.0  # spent on the epoch under way
        self.elapsed = 0.0  # seconds of fitting so far, those before a resume included
        self._clock = 0.0
        self._signal: int | None = None
        self._tally = Tally(model.backend, 0)

    def fit(
        self, train: Batches, valid: Batches | None = None, *, epochs: int
    ) -> list[EpochReport]:
        """Train up to `epochs` epochs in all, those of a loaded state included."""
        with self.model.backend.activate():
            self._fit(train, valid, epochs)
        return self.history

    def stop(self, reason: str) -> None:
        """End the run after the epoch under way."""
        self.stopped = reason

    def go_on(self) -> None:
        """Forget that the run was stopped, unless its time is over; patience counts anew."""
        self._patience_from = self.epoch
        if not self.max_time or self.elapsed < self.max_time:
            self.stopped = None

    def interrupt(self, number: int) -> None:
        """End the run after the step under way, saved; `number` is the signal that asked for it."""
        self._signal = number

    def state(self) -> tuple[dict[str, Array], dict[str, Any]]:
        """Arrays (live, on the device) and plain values from which `load_state` goes on exactly."""
        arrays = {f"optim/{name}": array for name, array in self.optimizer.state().items()}
        best = None
        if self.best.weights is not None:
            arrays["best"] = self.best.weights
            best = {"epoch": self.best.epoch, "score": asdict(self.best.score)}
        if self.position:
            arrays["tally/losses"] = self._tally.losses
            arrays["tally/hits"] = self._tally.hits
        return arrays, {
            "epoch": self.epoch,
            "position": self.position,
            "steps": self.optimizer.steps,
            "pace": self._pace.state(self.optimizer.steps),
            "seconds": self._seconds,
            "elapsed": self.elapsed,
            "stopped": self.stopped,
            "computed_by": self._computed_by(),
            "patience_from": self._patience_from,
            "history": [asdict(report) for report in self.history],
            "monitored": self.monitored,
            "best": best,
        }

    def load_state(self, arrays: Mapping[str, Array], values: Mapping[str, Any]) -> None:
        """Go on from a saved state; the model's parameters are loaded separately."""
        arrays = {name: self.model.backend.asarray(array) for name, array in arrays.items()}
        moments = {
            name.removeprefix("optim/"): array
            for name, array in arrays.items()
            if name.startswith("optim/")
        }
        load_state(self.optimizer, moments, values["steps"])
        self.epoch, self.position = values["epoch"], values["position"]
        self._seconds, self.elapsed = values["seconds"], values["elapsed"]
        self._was_computed_by = values.get("computed_by", "")
        self.stopped, self._patience_from = values["stopped"], values["patience_from"]
        self.history = [EpochReport(**report) for report in values["history"]]
        self.monitored[:] = values["monitored"]
        if values["best"] is not None:
            score = Score(**values["best"]["score"])
            self.best.offer(values["best"]["epoch"], score, arrays["best"])
        unlimited = {"place": float(values["steps"]), "max_time": 0.0}  # as older runs all were
        self._pace.load_state(values["steps"], values.get("pace", unlimited))
        self._last = None
        if self.position:
            self._tally = Tally(self.model.backend, len(arrays["tally/losses"]))
            self._tally.losses[...] = arrays["tally/losses"]
            self._tally.hits[...] = arrays["tally/hits"]

    def _fit(self, train: Batches, valid: Batches | None, epochs: int) -> None:
        self.epochs, self.steps_per_epoch = epochs, len(train)
        self.batch_size = train.batch_size
        self._signal = None
        if self._tally.steps != len(train):  # else it is that of a loaded state
            self._tally = Tally(self.model.backend, len(train))
        steps = steps_for(self.model, self.optimizer, train, self._tally, self.kernels)
        self.path = steps.path
        self._tell_of_other_rounding()
        self._clock = time.perf_counter()  # what was compiled is not on it
        self._pace.begin(self.optimizer.steps)
        if self._last is not None:  # of an earlier call
            self.model.params.vector[...] = self._last
        try:
            self._announce("on_fit_start")
            # Validation, too: BLAS's workers would spin on into the next epoch (docs/LOG.md).
            with blas.limited(steps.blas_threads):
                while self.epoch < epochs and self.stopped is None:
                    with np.errstate(all="ignore"):  # divergence is reported at the epoch's end
                        self._run_steps(steps, train)
                    self._finish_epoch(train, valid)
        finally:
            used = self.optimizer.averaged if self.epoch else None
            if valid is not None and self.best.weights is not None:
                used = self.best.weights
            if used is not None:
                self._last = self.model.params.vector.copy()
                self.model.params.vector[...] = used
            self._announce("on_fit_end")

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Meanwhile the network has the average of its weights, where there is one."""
        average, vector = self.optimizer.averaged, self.model.params.vector
        if average is None:
            yield
            return
        kept = vector.copy()
        vector[...] = average
        try:
            yield
        finally:
            vector[...] = kept

    def _run_steps(self, steps: Steps, train: Batches) -> None:
        """The rest of one epoch. Nothing is read back from the device, unless a save is due."""
        optimizer = self.optimizer
        began = time.perf_counter() - self._seconds
        planned = self.position  # up to where learning rates are known
        steps.open(self.epoch, self.position)
        while self.position < self.steps_per_epoch and not self._out_of_time():
            if self.position >= planned:
                planned = self._plan(steps)
            reached = steps.run(self.position, min(planned, self._next_stop()))
            optimizer.steps += reached - self.position
            self.position = reached
            if self._signal or (self.save_every and optimizer.steps % self.save_every == 0):
                self._seconds = time.perf_counter() - began
                self._save_between()
        if self.epoch + 1 < self.epochs:
            train.draw_ahead(self.epoch + 1)
        self.model.backend.synchronize()
        self.path = steps.path  # capturing may have failed
        self._seconds = time.perf_counter() - began

    def _plan(self, steps: Steps) -> int:
        """Give the coming steps their learning rates; up to which step of the epoch."""
        now, rest = self.optimizer.steps, self.steps_per_epoch - self.position
        if self.max_time:  # else nobody asks how late it is
            self.model.backend.synchronize()
        total = now + (self.epochs - self.epoch - 1) * self.steps_per_epoch + rest
        planned = self._pace.plan(now, total, self._spent())
        count = rest if planned is None else min(rest, planned)
        steps.plan(self.position, [self._pace.rate(now + ahead) for ahead in range(count)])
        return self.position + count

    @property
    def time_left(self) -> float:
        """Seconds until the time limit; infinite without one."""
        return max(0.0, self.max_time - self._spent()) if self.max_time else inf

    def _spent(self) -> float:
        """Seconds of fitting so far."""
        return self.elapsed + time.perf_counter() - self._clock

    def _out_of_time(self) -> bool:
        """Whether the run is to end here. An epoch has one step at least, or it could not end."""
        return bool(self.position) and not self.time_left

    def _computed_by(self) -> str:
        """On what the rounding of steps depends, besides the libraries and the processor."""
        backend = self.model.backend
        threads = f", threads {backend.threads}" if backend.name == "cpu" else ""
        return f"{self.path} kernels on {backend}{threads}"

    def _tell_of_other_rounding(self) -> None:
        before, now = self._was_computed_by, self._computed_by()
        if before not in ("", now):
            _log.warning(
                "until now this run was computed by %s, from here on by %s: the same mathematics, "
                "other rounding",
                before,
                now,
            )

    def _next_stop(self) -> int:
        """Where in the epoch steps must end: at its end, or earlier if a save is due."""
        if not self.save_every:
            return self.steps_per_epoch
        due = self.save_every - self.optimizer.steps % self.save_every
        return min(self.steps_per_epoch, self.position + due)

    def _finish_epoch(self, train: Batches, valid: Batches | None) -> None:
        """Validate, report, save, and decide whether to go on."""
        self._check_finite()
        seen = min(train.count, self.position * train.batch_size)
        running = self._tally.score(seen, self.position)
        with self.averaged():
            score = None if valid is None else evaluate(self.model, valid, self.mirror)
            if score is not None and not isfinite(score.loss):
                raise self._diverged(self.position)
            self.epoch += 1
            if score is not None:
                self.best.offer(self.epoch, score, self.model.params.vector)
        classifies = self.model.objective.classifies
        report = EpochReport(
            epoch=self.epoch,
            step=self.optimizer.steps,
            learning_rate=self._pace.rate(self.optimizer.steps - 1),
            train_loss=running.loss,
            train_accuracy=running.accuracy if classifies else None,
            valid_loss=None if score is None else score.loss,
            valid_accuracy=None if score is None or not classifies else score.accuracy,
            seconds=self._seconds,
            samples_per_second=seen / self._seconds,
        )
        self.history.append(report)
        self.monitored.append(running.loss if score is None else score.loss)
        self._decide(score)
        self.position, self._seconds = 0, 0.0
        self._announce("on_save")
        self._announce("on_epoch_end", report)
        self._leave_if_interrupted()

    def _decide(self, score: Score | None) -> None:
        """Whether the run ends after this epoch."""
        if score is not None:
            waited = self.epoch - max(self.best.epoch, self._patience_from)
            if self.patience and waited >= self.patience:
                self.stop(f"no better validation for {self.patience} epochs")
            if self.target_accuracy and score.accuracy >= self.target_accuracy:
                self.stop(f"validation accuracy {100 * self.target_accuracy:g} % reached")
        if not self.time_left:
            self.stop(f"{self.max_time:g} seconds are over")

    def _save_between(self) -> None:
        """Save in the middle of an epoch, but never a state whose loss is not finite."""
        self._check_finite()
        self._announce("on_save")
        self._leave_if_interrupted()

    def _leave_if_interrupted(self) -> None:
        if self._signal:
            raise Interrupted(
                self._signal,
                f"the state after epoch {self.epoch}, step {self.position} "
                f"of {self.steps_per_epoch} of the next, is complete",
            )

    def _check_finite(self) -> None:
        """Raise where a loss of this epoch, or an update after it, has become infinite or NaN."""
        bad = self._tally.first_bad(self.position)
        if bad is None:
            xp, backend = self.model.backend.xp, self.model.backend
            if backend.to_host(xp.isfinite(self.model.params.vector).all()):
                return
            bad = self.position  # every loss was finite, but the last update was not
        raise self._diverged(bad)

    def _diverged(self, position: int) -> TrainingDiverged:
        """The error for a loss that stopped being finite before this step of the epoch, from 0."""
        step = self.optimizer.steps - self.position + position
        culprit = max(step - 1, 0)  # a loss tells of the update before it
        return TrainingDiverged(
            f"the loss is not finite in epoch {self.epoch + 1} after step {culprit + 1} (learning "
            f"rate {self._pace.rate(culprit):g}). Lower the learning rate, or scale the inputs"
        )

    def _announce(self, event: str, *arguments: object) -> None:
        now = time.perf_counter()
        self.elapsed += now - self._clock
        self._clock = now
        for callback in self.callbacks:
            getattr(callback, event)(self, *arguments)
