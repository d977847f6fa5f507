"""The search: what is drawn, who goes on, what is recorded, and what is never looked at."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

import fastnn
from fastnn.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    Interrupted,
    OutputError,
    TrainingDiverged,
)
from fastnn.training.config import TrainConfig
from fastnn.training.folder import RunFolder
from fastnn.training.halving import Halving
from fastnn.training.space import Space
from fastnn.training.trials import Outcome, ranked
from fastnn.training.tune import Search, tune
from tests.conftest import blobs

SPACE = {
    "learning_rate": {"log": [1e-5, 1e-1]},
    "hidden": [[4], [8, 8]],
    "dropout": {"uniform": [0.0, 0.5]},
    "schedule": "cosine",
}
CONFIG = TrainConfig(epochs=4, batch_size=32, val=0.2, device="cpu", kernels="reference")
HALVING = {"trials": 6, "factor": 2, "min_epochs": 1}  # 6 x 1, 3 x 2, 1 x 4


def draws(entry: object, key: str = "learning_rate", count: int = 3000) -> list:
    space = Space({key: entry})
    return [space.draw(7, trial)[key] for trial in range(count)]


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "trials.jsonl").read_text().splitlines()]


def untimed(outcomes) -> list[dict]:
    return [{key: value for key, value in asdict(o).items() if key != "seconds"} for o in outcomes]


class Untouchable:
    """A test part that is an error to look at."""

    def __getattribute__(self, name: str) -> object:
        raise AssertionError(f"the test part was asked for its {name}")

    __bool__ = __iter__ = __len__ = lambda self: self.anything


def sealed():
    data = blobs()
    object.__setattr__(data, "test", Untouchable())
    return data


def test_log_draws_are_even_in_the_exponent():
    values = np.array(draws({"log": [1e-4, 1e-1]}))
    assert values.min() >= 1e-4
    assert values.max() <= 1e-1
    thirds, _ = np.histogram(np.log10(values), bins=[-4, -3, -2, -1])
    assert np.all(np.abs(thirds - 1000) < 110)  # four deviations of a binomial of 3000 and 1/3


def test_uniform_draws_are_even():
    values = np.array(draws({"uniform": [0.2, 0.5]}, "dropout"))
    assert values.min() >= 0.2
    assert values.max() <= 0.5
    thirds, _ = np.histogram(values, bins=[0.2, 0.3, 0.4, 0.5])
    assert np.all(np.abs(thirds - 1000) < 110)


def test_whole_settings_get_whole_numbers_and_both_ends():
    values = draws({"uniform": [3, 5]}, "warmup")
    assert {type(value) for value in values} == {int}
    counts = Counter(values)
    assert sorted(counts) == [3, 4, 5]
    assert all(abs(count - 1000) < 110 for count in counts.values())
    sizes = draws({"log": [16, 256]}, "batch_size")
    assert {type(value) for value in sizes} == {int}
    assert (min(sizes), max(sizes)) == (16, 256)
    assert abs(sum(size < 64 for size in sizes) - 1500) < 150


def test_lists_are_drawn_from_and_values_are_fixed():
    counts = Counter(tuple(value) for value in draws([[4], [8, 8], []], "hidden"))
    assert sorted(counts) == [(), (4,), (8, 8)]
    assert all(abs(count - 1000) < 110 for count in counts.values())
    assert set(draws(0.05, "weight_decay", 20)) == {0.05}
    weights = {"a": 1.0, "b": 2.0}
    assert draws(weights, "class_weight", 2) == [weights, weights]


def test_a_trial_is_the_same_whenever_it_is_drawn():
    space = Space(SPACE)
    backwards = {trial: space.draw(0, trial) for trial in (9, 4, 1)}
    assert backwards[4] == Space(SPACE).draw(0, 4)
    assert len({str(space.draw(0, trial)) for trial in range(50)}) == 50
    assert space.draw(1, 4) != space.draw(0, 4)
    other = Space(SPACE | {"learning_rate": {"log": [1e-3, 1e-2]}})
    assert {**other.draw(0, 4), "learning_rate": 0} == {**space.draw(0, 4), "learning_rate": 0}
    assert space.varied == ["learning_rate", "hidden", "dropout"]


@pytest.mark.parametrize(
    ("space", "words"),
    [
        ({"learning_rat": 0.1}, "unknown setting 'learning_rat'; did you mean 'learning_rate'"),
        ({"batch_size": []}, "batch_size: the list is empty"),
        ({"learning_rate": {"log": [1e-2, 1e-4]}}, "learning_rate: [0.01, 0.0001] is the wrong"),
        ({"weight_decay": {"log": [0, 0.1]}}, "weight_decay: 0 has no logarithm"),
        ({"learning_rate": {"uniform": [0, 1]}}, "learning_rate: 0 must be above 0"),
        ({"dropout": {"uniform": [0, 1.5]}}, "dropout: 1.5 must be at least 0 and below 1"),
        ({"dropout": {"unifrom": [0, 0.5]}}, "did you mean 'uniform'"),
        ({"dropout": {"uniform": [0, 0.5], "log": [1, 2]}}, "dropout: {"),
        ({"dropout": {}}, "dropout: {}"),
        ({"dropout": {"uniform": [0.5]}}, "dropout: [0.5] must be two numbers"),
        ({"dropout": {"uniform": [0, float("nan")]}}, "must be two numbers"),
        ({"batch_size": {"uniform": [1.5, 8]}}, "batch_size: [1.5, 8] must be two whole numbers"),
        ({"optimizer": {"uniform": [0, 1]}}, "optimizer: a range is for numbers"),
        ({"epochs": [1, 2]}, "epochs: is the same for all trials"),
        ({"val": 0.3}, "val: is the same for all trials"),
        ({}, "names no setting"),
        ({"search": {"trials": 3}}, "names no setting"),
        ({"search": 3, "dropout": 0.1}, "search: 3 must be a table"),
        ({"dropout": {0.1, 0.2}}, "set is not JSON"),
    ],
)
def test_spaces_that_make_no_sense_name_the_setting(space, words):
    with pytest.raises(ConfigError) as caught:
        Space(space, "s.toml")
    assert str(caught.value).startswith("s.toml: ")
    assert words in str(caught.value)


def test_draws_that_contradict_themselves_are_told_before_anything_is_trained():
    def load(config):
        raise AssertionError("data were read")

    space = Space({"optimizer": ["sgd", "adam"], "momentum": 0.9}, "s.toml")
    with pytest.raises(
        ConfigError, match=r"s.toml: trial \d+ \(optimizer adam, momentum 0.9\): mo"
    ):
        Search(space, CONFIG, {}, load)
    with pytest.raises(ConfigError, match="trial 1 .*warmup: 1 must be below the 1 epochs"):
        Search(Space({"warmup": 1}), CONFIG, {}, load)
    with pytest.raises(ConfigError, match="trial 1 .*hidden: (64|32) must be a list"):
        Search(Space({"hidden": [64, 32]}), CONFIG, {}, load)
    with pytest.raises(ConfigError, match="val: a search needs"):
        Search(Space(SPACE), replace(CONFIG, val=0), {}, load)


@pytest.mark.parametrize(
    ("halving", "epochs", "expected"),
    [
        (Halving(27, 3, 1), 27, [(27, 1), (9, 3), (3, 9), (1, 27)]),
        (Halving(81, 3, 1), 81, [(81, 1), (27, 3), (9, 9), (3, 27), (1, 81)]),  # Hyperband, s = 4
        (Halving(81, 3, 3), 27, [(81, 3), (27, 9), (9, 27)]),
        (Halving(10, 3, 1), 10, [(10, 1), (3, 3), (1, 10)]),
        (Halving(4, 3, 1), 27, [(4, 1), (1, 27)]),
        (Halving(1, 3, 1), 27, [(1, 27)]),
        (Halving(8, 2, 5), 5, [(8, 5)]),
    ],
)
def test_rungs(halving, epochs, expected):
    assert halving.rungs(epochs) == expected


@pytest.mark.parametrize(
    "wrong", [{"trials": 0}, {"factor": 1}, {"min_epochs": 0}, {"trials": 2.5}, {"trials": "9"}]
)
def test_halving_is_checked(wrong):
    with pytest.raises(ConfigError, match=f"{next(iter(wrong))}: "):
        Halving(**wrong)


def test_halving_names_what_it_does_not_know():
    with pytest.raises(ConfigError, match="x: unknown setting 'trial'; did you mean 'trials'"):
        Halving().updated({"trial": 3}, "x")
    with pytest.raises(ConfigError, match="min_epochs: 5 is more than the 4"):
        Halving(min_epochs=5).rungs(4)


def test_rank_is_by_epochs_then_accuracy_then_loss_then_number():
    def outcome(trial, epochs, accuracy, loss, status="ok"):
        return Outcome(trial, epochs, status, accuracy, loss, 1.0, {})

    worst_first = [
        outcome(1, 9, None, None, "diverged"),
        outcome(2, 1, 0.99, 0.1),
        outcome(3, 3, 0.70, 0.1),
        outcome(5, 3, 0.80, 0.5),
        outcome(6, 3, 0.80, 0.4),
        outcome(4, 3, 0.80, 0.4),
    ]
    assert [o.trial for o in ranked(worst_first)] == [4, 6, 5, 3, 2, 1]
    numbers = [outcome(1, 3, None, 0.5), outcome(2, 3, None, 0.4)]
    assert [o.trial for o in ranked(numbers)] == [2, 1]


def test_the_best_of_each_rung_go_on_and_the_winner_is_the_best_of_the_last(tmp_path):
    tuned = tune(SPACE, CONFIG, data=blobs(), out=tmp_path, **HALVING)
    record = lines(tuned.folder)
    assert [line["epochs"] for line in record] == [1] * 6 + [2] * 3 + [4]
    for rung, after in ((record[:6], record[6:9]), (record[6:9], record[9:])):
        order = sorted(rung, key=lambda line: (-line["valid_accuracy"], line["valid_loss"]))
        assert [line["trial"] for line in after] == [o["trial"] for o in order[: len(after)]]
    assert tuned.best.trial == record[-1]["trial"]
    assert tuned.best.settings == record[-1]["settings"]
    assert [outcome.epochs for outcome in tuned.outcomes] == [4, 2, 2, 1, 1, 1]
    assert len({str(line["settings"]) for line in record[:6]}) == 6


def test_the_figures_are_those_that_train_gives():
    """The referee is a run of its own, through the front door."""
    data = blobs()
    heard: list[Outcome] = []
    tuned = tune(SPACE, CONFIG, data=data, report=heard.append, refit=False, **HALVING)
    assert tuned.result is None
    assert tuned.folder is None
    for outcome in heard[5:]:
        config = replace(CONFIG, epochs=outcome.epochs, **outcome.settings)
        valid = fastnn.train(config, data=data).valid
        assert (outcome.valid_accuracy, outcome.valid_loss) == (valid.accuracy, valid.loss)


def test_the_best_settings_are_trained_once_more_and_recorded(tmp_path):
    tuned = tune(SPACE, CONFIG, data=blobs(), out=tmp_path, **HALVING)
    assert tuned.result.folder.parent == tuned.folder
    assert tuned.result.valid.accuracy == tuned.best.valid_accuracy
    assert tuned.result.valid.loss == tuned.best.valid_loss
    assert tuned.result.test is None
    kept = TrainConfig.from_file(tuned.result.folder / "config.json")
    assert kept == tuned.config
    assert kept.learning_rate == tuned.best.settings["learning_rate"]
    (tmp_path / "best.toml").write_text(tuned.config.to_toml())
    assert TrainConfig.from_file(tmp_path / "best.toml") == tuned.config


def test_the_test_part_is_never_read(tmp_path):
    config = replace(CONFIG, limit_train=200)
    tuned = tune(SPACE, config, data=sealed(), out=tmp_path, **HALVING)
    assert tuned.result.train.count == 160
    search = Search.from_folder(tuned.folder, load=lambda _: sealed())
    assert search.run().result.test is None
    with pytest.raises(AssertionError, match="the test part was asked"):  # the trap works
        fastnn.train(config, data=sealed())


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A search that nothing disturbed."""
    return tune(SPACE, CONFIG, data=blobs(), out=tmp_path_factory.mktemp("whole"), **HALVING)


@pytest.mark.parametrize("kept", [0.0, 0.5, 3, 3.4, 6, 7.99, 10])
def test_a_search_goes_on_from_wherever_its_record_was_cut(whole, kept, tmp_path):
    """`kept` lines, the fraction being the share of a line that was half-written."""
    folder = tmp_path / "cut"
    folder.mkdir()
    (folder / "search.json").write_bytes((whole.folder / "search.json").read_bytes())
    record = (whole.folder / "trials.jsonl").read_text().splitlines(keepends=True)
    complete = int(kept)
    text = "".join(record[:complete])
    if kept > complete:
        text += record[complete][: int((kept - complete) * len(record[complete]))]
        assert not text.endswith("\n")
    (folder / "trials.jsonl").write_text(text)
    trained: list[Outcome] = []
    search = Search.from_folder(folder, load=lambda _: blobs())
    tuned = search.run(refit=False, report=trained.append)
    assert len(trained) == 10 - complete
    assert untimed(tuned.outcomes) == untimed(whole.outcomes)
    assert tuned.config == whole.config
    after = (folder / "trials.jsonl").read_text()
    assert after.startswith("".join(record[:complete]))
    assert [{**line, "seconds": 0} for line in lines(folder)] == [
        {**json.loads(line), "seconds": 0} for line in record
    ]


def test_a_complete_search_is_only_told_again(tmp_path, monkeypatch):
    first = tune(SPACE, CONFIG, data=blobs(), out=tmp_path, **HALVING)
    monkeypatch.setattr("fastnn.training.trainer.Trainer._run_steps", None)  # no step is trained
    again = Search.from_folder(first.folder, load=lambda _: blobs()).run()
    assert again.result.folder == first.result.folder
    assert again.result.valid == first.result.valid
    assert len(list(first.folder.glob("*-best*"))) == 1


def test_more_trials_can_be_added(tmp_path):
    few = tune(SPACE, CONFIG, data=blobs(), out=tmp_path, refit=False, trials=2, factor=2)
    trained: list[Outcome] = []
    search = Search.from_folder(few.folder, trials=6, load=lambda _: blobs())
    more = search.run(refit=False, report=trained.append)
    asked = {(outcome.trial, outcome.epochs) for outcome in trained}
    assert {(trial, 1) for trial in (3, 4, 5, 6)} <= asked
    assert not asked & {(1, 1), (2, 1)}
    straight = tune(SPACE, CONFIG, data=blobs(), refit=False, **HALVING)
    assert more.best.merit >= straight.best.merit
    assert json.loads((few.folder / "search.json").read_text())["halving"]["trials"] == 6


def test_a_divergence_is_a_result(tmp_path):
    space = {"learning_rate": [1e-2, 1e30]}
    tuned = tune(space, CONFIG, data=blobs(), out=tmp_path, trials=8, factor=2)
    record = lines(tuned.folder)
    wild = [line for line in record if line["settings"]["learning_rate"] == 1e30]
    tame = [line for line in record if line["settings"]["learning_rate"] == 1e-2]
    assert wild
    assert tame
    assert {line["status"] for line in wild} == {"diverged"}
    assert {line["epochs"] for line in wild} == {1}  # none went on
    assert all("Lower the learning rate" in line["message"] for line in wild)
    assert all(line["valid_loss"] is None for line in wild)
    assert {line["status"] for line in tame} == {"ok"}
    assert tuned.config.learning_rate == 1e-2
    assert tuned.outcomes[-1].status == "diverged"


def test_settings_that_these_data_do_not_take_are_a_result(tmp_path):
    tuned = tune({"shift": [0, 2]}, CONFIG, data=blobs(), out=tmp_path, trials=6, factor=2)
    failed = [line for line in lines(tuned.folder) if line["status"] == "failed"]
    assert failed
    assert all("shift: is for pictures" in line["message"] for line in failed)
    assert tuned.config.shift == 0


def test_where_nothing_goes_well_the_error_says_why():
    with pytest.raises(TrainingDiverged, match="no trial went well; trial 1: the loss is not fin"):
        tune({"learning_rate": 1e30}, CONFIG, data=blobs(), trials=2)
    with pytest.raises(ConfigError, match="no trial went well; trial 1: shift: is for pictures"):
        tune({"shift": 2}, CONFIG, data=blobs(), trials=2)


def test_ctrl_c_keeps_what_is_there_and_tells_how_to_go_on(tmp_path, whole):
    heard: list[Outcome] = []

    def interrupt(outcome: Outcome) -> None:
        heard.append(outcome)
        if len(heard) == 4:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted) as caught:
        tune(SPACE, CONFIG, data=blobs(), out=tmp_path, report=interrupt, **HALVING)
    (folder,) = tmp_path.iterdir()
    assert caught.value.exit_code == 130
    assert "4 trainings are on record" in str(caught.value)
    assert caught.value.__notes__ == [f"go on with: fastnn tune --resume {folder}"]
    rest: list[Outcome] = []
    tuned = Search.from_folder(folder, load=lambda _: blobs()).run(refit=False, report=rest.append)
    assert len(rest) == 6
    assert untimed(tuned.outcomes) == untimed(whole.outcomes)


def test_an_interrupted_last_training_goes_on(tmp_path, whole):
    class Stop(fastnn.Callback):
        def on_epoch_end(self, trainer, report):
            if report.epoch == 2:
                trainer.interrupt(15)

    search = Search(Space(SPACE), CONFIG, HALVING, lambda _: blobs())
    folder = search.record_below(tmp_path)
    with pytest.raises(Interrupted) as caught:
        search.run(callbacks=[Stop()])
    assert caught.value.exit_code == 143
    tuned = Search.from_folder(folder, load=lambda _: blobs()).run()
    assert len(list(folder.glob("*-best*"))) == 1
    assert tuned.result.valid == whole.result.valid


def test_a_damaged_record_names_the_line(whole, tmp_path):
    (tmp_path / "search.json").write_bytes((whole.folder / "search.json").read_bytes())
    record = (whole.folder / "trials.jsonl").read_text().splitlines(keepends=True)
    for damage in ("{half\n", '{"trial": 3}\n', "3\n"):
        (tmp_path / "trials.jsonl").write_text(record[0] + damage + record[2])
        with pytest.raises(CheckpointError, match="line 2 is damaged"):
            Search.from_folder(tmp_path, load=lambda _: blobs()).run()


def test_a_record_of_other_draws_is_refused(whole, tmp_path):
    plan = json.loads((whole.folder / "search.json").read_text())
    plan["space"]["dropout"] = 0.25
    (tmp_path / "search.json").write_text(json.dumps(plan))
    (tmp_path / "trials.jsonl").write_bytes((whole.folder / "trials.jsonl").read_bytes())
    with pytest.raises(CheckpointError, match="trial 1 is on record with .* was drawn now"):
        Search.from_folder(tmp_path, load=lambda _: blobs()).run()


def test_other_data_other_folders_and_two_at_once_are_refused(whole, tmp_path):
    with pytest.raises(DataError, match="fingerprints differ"):
        Search.from_folder(whole.folder, load=lambda _: blobs(seed=1))
    with pytest.raises(CheckpointError, match="is no search's folder"):
        Search.from_folder(tmp_path)
    (tmp_path / "search.json").write_text('{"space": {"dropout": 0.1}}')
    with pytest.raises(CheckpointError, match=r"search.json: is damaged"):
        Search.from_folder(tmp_path)
    search = Search.from_folder(whole.folder, load=lambda _: blobs())
    with RunFolder(whole.folder).locked(), pytest.raises(OutputError, match="another process"):
        search.run()


def test_a_space_and_its_search_table_come_from_a_file(tmp_path):
    path = tmp_path / "space.toml"
    path.write_text("dropout = [0.0, 0.1]\n[search]\ntrials = 5\nfactor = 4\n")
    search = Search(Space.from_file(path), CONFIG, {"factor": 2}, lambda _: blobs())
    assert search.halving == Halving(trials=5, factor=2, min_epochs=1)
    path.write_text("dropout = [0.0, 0.1]\n[search]\ntrails = 5\n")
    with pytest.raises(ConfigError, match=r"\[search\]: unknown setting 'trails'.* 'trials'"):
        Search(Space.from_file(path), CONFIG, {}, lambda _: blobs())
