"""Searching for settings: random draws, successive halving, and a record that can be gone on with.

All trials train for a few epochs, the best 1/factor of them for factor times as many, and so on up
to all epochs (Jamieson & Talwalkar, AISTATS 2016).

Whoever goes on trains anew, which costs 1/factor more than to continue from a saved state: a cosine
over all epochs would still be high when trials are compared after a few, and one over those few
would have run down when they go on. Trained anew, a schedule always runs through, each figure is
the one that `fastnn train` gives for those settings, and one line a training is all that is needed
to go on with a search.

The test part is cut off before anything else: a search that has seen it makes it worthless.

search.json        what is drawn, the settings in common, trials, factor and least epochs
trials.jsonl       one line for each training, appended when it ends
<time>-best        the run folder of the best settings, trained once more and recorded
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from fastnn import __version__
from fastnn.backend import get_backend
from fastnn.data.examples import Dataset
from fastnn.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    Interrupted,
    TrainingDiverged,
)
from fastnn.training import checkpoint
from fastnn.training.build import build
from fastnn.training.callbacks import Callback, EpochReport
from fastnn.training.config import TrainConfig
from fastnn.training.folder import RunFolder
from fastnn.training.halving import Halving
from fastnn.training.layout import LAST
from fastnn.training.run import Result, limited, load_data, load_run, resume, self_contained, train
from fastnn.training.signals import signals_interrupt
from fastnn.training.space import Space
from fastnn.training.trials import Outcome, append, in_words, ranked, read

_PLAN, _TRIALS = "search.json", "trials.jsonl"


@dataclass(frozen=True, slots=True)
class Tuned:
    """What a search ends with."""

    outcomes: list[Outcome]  # each trial's last, the best first
    config: TrainConfig  # complete, with the best settings
    result: Result | None  # of the best settings, trained once more; None where not asked for
    folder: Path | None

    @property
    def best(self) -> Outcome:
        """The best of those who were trained longest."""
        return self.outcomes[0]


class Search:
    """A search that is ready to run: every draw is known and has been checked.

    What `halving` gives goes before the space's own table [search], and that before the defaults.
    `load` gets the data that a configuration names; it is called after all those checks.
    """

    def __init__(
        self,
        space: Space,
        config: TrainConfig,
        halving: Mapping[str, int],
        load: Callable[[TrainConfig], Dataset] = load_data,
    ) -> None:
        if not config.val:
            raise ConfigError("val: a search needs a validation part, and val is 0")
        self.space = space
        listed = Halving().updated(space.search, f"{space.source}: [search]")
        self.halving = listed.updated(halving, "search")
        self.rungs = self.halving.rungs(config.epochs)
        self.draws = {n: space.draw(config.seed, n) for n in range(1, self.halving.trials + 1)}
        for trial, settings in self.draws.items():
            source = f"{space.source}: trial {trial} ({in_words(settings)})"
            # Fewest epochs ask most: a warm-up must fit into them.
            few = {"epochs": self.rungs[0][1]}
            try:
                config.updated(settings | few, source)
            except ConfigError as error:
                if "warmup" in str(error):
                    error.add_note("raise --min-epochs above it")
                raise
        self.backend = get_backend(config.device, threads=config.threads)
        self.data = limited(replace(load(config), test=None), config)
        self.config = self_contained(config, self.data)
        self.folder: RunFolder | None = None
        self.outcomes: dict[tuple[int, int], Outcome] = {}  # by trial and epochs

    @classmethod
    def from_folder(
        cls,
        path: str | Path,
        *,
        trials: int | None = None,
        device: str | None = None,
        threads: int | None = None,
        load: Callable[[TrainConfig], Dataset] = load_data,
    ) -> Search:
        """A search as its folder describes it, to go on with: more trials, or another device."""
        path = Path(path)
        try:
            plan = json.loads((path / _PLAN).read_text(encoding="utf-8"))
            space = Space(plan["space"], str(path / _PLAN))
            halving = asdict(Halving(**plan["halving"]))
            fingerprint = plan["fingerprint"]
        except OSError as error:
            raise CheckpointError(f"{path}: is no search's folder ({error.strerror})") from error
        except (ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"{path / _PLAN}: is damaged ({error})") from error
        config = checkpoint.config_of(plan, path / _PLAN)
        asked = {"device": device, "threads": threads}
        changes = {key: value for key, value in asked.items() if value is not None}
        if trials is not None:
            halving["trials"] = trials
        search = cls(space, config.updated(changes, "search"), halving, load)
        if search.data.fingerprint() != fingerprint:
            raise DataError(
                f"{search.data.name}: the training data are not those that the search {path} was "
                "started with (their fingerprints differ); go on with the same files"
            )
        search.folder = RunFolder(path)
        return search

    @property
    def total(self) -> int:
        """Trainings in all, those of the record included."""
        return sum(count for count, _ in self.rungs)

    def record_below(self, out: Path) -> Path:
        """Keep everything in a new folder below `out`; returns it."""
        self.folder = RunFolder.create(out, f"tune-{self.data.name}")
        self._write_plan(self.folder)
        return self.folder.path

    def run(
        self,
        *,
        refit: bool = True,
        report: Callable[[Outcome], None] = lambda outcome: None,
        callbacks: Sequence[Callback] = (),
    ) -> Tuned:
        """Train what is not on record, then the best settings once more.

        `report` hears of each training as it ends, `callbacks` go to the last one.
        """
        if self.folder is None:
            return self._run(refit, report, callbacks)
        path = self.folder.path
        with self.folder.locked():
            try:
                self._write_plan(self.folder)
                self.outcomes = read(path / _TRIALS)
                return self._run(refit, report, callbacks)
            except (Interrupted, KeyboardInterrupt) as stop:
                number = stop.number if isinstance(stop, Interrupted) else int(signal.SIGINT)
                done = f"{len(self.outcomes)} trainings are on record in {path / _TRIALS}"
                error = Interrupted(number, done)
                error.add_note(f"go on with: fastnn tune --resume {path}")
                raise error from None

    def _run(
        self, refit: bool, report: Callable[[Outcome], None], callbacks: Sequence[Callback]
    ) -> Tuned:
        going = list(self.draws)
        with self.backend.activate():
            for count, epochs in self.rungs:
                ended = [self._outcome(trial, epochs, report) for trial in going[:count]]
                going = [outcome.trial for outcome in ranked(ended) if outcome.status == "ok"]
        last: dict[int, Outcome] = {}
        for outcome in sorted(self.outcomes.values(), key=lambda outcome: outcome.merit):
            last[outcome.trial] = outcome  # a divergence counts only where nothing went well
        outcomes = ranked(last.values())
        best = outcomes[0]
        if best.status != "ok":
            kind = TrainingDiverged if best.status == "diverged" else ConfigError
            raise kind(f"no trial went well; trial {best.trial}: {best.message}")
        config = replace(self.config, epochs=best.epochs, **best.settings)
        result = self._refit(config, callbacks) if refit else None
        return Tuned(outcomes, config, result, None if self.folder is None else self.folder.path)

    def _outcome(self, trial: int, epochs: int, report: Callable[[Outcome], None]) -> Outcome:
        """From the record, or else trained now."""
        key = trial, epochs
        if key in self.outcomes:
            if self.outcomes[key].settings != self.draws[trial]:
                raise CheckpointError(
                    f"trial {trial} is on record with {in_words(self.outcomes[key].settings)}, but "
                    f"{in_words(self.draws[trial])} was drawn now; start a search of its own"
                )
            return self.outcomes[key]
        outcome = self._train(trial, epochs)
        if self.folder is not None:
            append(self.folder.path / _TRIALS, outcome)
        self.outcomes[key] = outcome
        report(outcome)
        return outcome

    def _train(self, trial: int, epochs: int) -> Outcome:
        settings = self.draws[trial]
        config = replace(self.config, epochs=epochs, **settings)
        status, message = "ok", None
        accuracy: float | None = None
        loss: float | None = None
        began = time.perf_counter()
        try:
            parts = build(config, self.data, self.backend, ())
            trainer = parts.trainer
            with nullcontext() if self.folder is None else signals_interrupt(trainer):
                trainer.fit(parts.train_batches, parts.valid_batches, epochs=epochs)
            accuracy, loss = _best(trainer.history)
        except TrainingDiverged as error:
            status, message = "diverged", str(error)
        except (ConfigError, MemoryError) as error:
            status, message = "failed", str(error) or "not enough memory"
        seconds = time.perf_counter() - began
        return Outcome(trial, epochs, status, accuracy, loss, seconds, settings, message)

    def _refit(self, config: TrainConfig, callbacks: Sequence[Callback]) -> Result:
        """The best settings as a recorded run: a new one, or the one that was interrupted."""
        if self.folder is None:
            return train(config, data=self.data, callbacks=callbacks)
        for last in sorted(self.folder.path.glob(f"*-best*/{LAST}")):
            run = load_run(last)
            if run.config == config:
                return resume(run, data=self.data, callbacks=callbacks)
        out = self.folder.path
        return train(config, data=self.data, out=out, name="best", callbacks=callbacks)

    def _write_plan(self, folder: RunFolder) -> None:
        plan = {
            "fastnn": __version__,
            "halving": asdict(self.halving),
            "space": self.space.values,
            "config": self.config.to_dict(),
            "fingerprint": self.data.fingerprint(),
        }
        folder.write_json(_PLAN, plan)


def tune(
    space: Mapping[str, Any] | str | Path,
    config: TrainConfig | None = None,
    *,
    data: Dataset | None = None,
    out: str | Path | None = None,
    refit: bool = True,
    report: Callable[[Outcome], None] = lambda outcome: None,
    **halving: int,
) -> Tuned:
    """Search `space` for the best settings over `config`, by validation accuracy (or loss).

    `space` is a mapping or a TOML file (see `fastnn.training.space`); `trials`, `factor` and
    `min_epochs` are `Halving`'s. With `out`, everything is recorded in a new folder below it.
    `config.seed` decides the draws, too. The test part is never read.
    """
    drawn = Space(space) if isinstance(space, Mapping) else Space.from_file(Path(space))
    load = load_data if data is None else lambda _: data
    search = Search(drawn, config or TrainConfig(), halving, load)
    if out is not None:
        search.record_below(Path(out))
    return search.run(refit=refit, report=report)


def _best(history: Iterable[EpochReport]) -> tuple[float | None, float | None]:
    """Validation accuracy and loss of the epoch whose weights are put back."""
    best = max(history, key=lambda epoch: (epoch.valid_accuracy or 0.0, -(epoch.valid_loss or 0.0)))
    return best.valid_accuracy, best.valid_loss
