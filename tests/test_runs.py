"""Runs as they are read from disk: states, figures, damage; choosing, comparing and deleting."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastnn.analysis import pruning
from fastnn.analysis.comparison import Comparison
from fastnn.analysis.runs import find_runs, open_folder, read_run
from fastnn.analysis.selection import KEYS, Condition, ordered
from fastnn.data.assembly import dataset_from_arrays
from fastnn.errors import CheckpointError, ConfigError, DataError, OutputError
from fastnn.training.config import TrainConfig
from fastnn.training.folder import RunFolder
from fastnn.training.layout import FILES, PLOTS, REPORT, is_held
from fastnn.training.run import resume, train
from tests.conftest import blobs

QUICK = TrainConfig(hidden=(8,), epochs=3, batch_size=50, learning_rate=0.01, device="cpu")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run's folder, to be copied."""
    return train(QUICK, data=blobs(), out=tmp_path_factory.mktemp("runs")).folder


@pytest.fixture
def run(trained, tmp_path):
    """A run folder of a test's own, with nothing else beside it."""
    return shutil.copytree(trained, tmp_path / "runs" / trained.name)


def copies(run: Path, count: int) -> list[Path]:
    """More runs like this one beside it, with accuracies 0.00, 0.01, ... and it among them."""
    folders = [run, *(shutil.copytree(run, run.with_name(f"copy-{n}")) for n in range(1, count))]
    for n, folder in enumerate(folders):
        rewrite(folder / "result.json", valid_accuracy=n / 100, test_accuracy=1 - n / 100)
    return folders


def rewrite(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def states(root: Path) -> dict[str, str]:
    return {found.name: found.state for found in find_runs(root)}


def test_a_finished_run_has_the_figures_that_training_returned(tmp_path):
    result = train(QUICK, data=blobs(), out=tmp_path)
    (found,) = find_runs(tmp_path)
    assert (found.path, found.state, found.problem) == (result.folder, "finished", "")
    assert found.figures["test_accuracy"] == result.test.accuracy
    assert found.figures["valid_loss"] == result.valid.loss
    assert found.figures["epochs_done"] == 3
    assert found.history == result.history
    assert found.settings == replace(QUICK, dataset="blobs").to_dict()
    assert abs((datetime.now().astimezone() - found.started).total_seconds()) < 3600


def test_only_files_that_are_known_lie_in_a_run_folder(trained):
    """What training writes is what pruning may delete."""
    assert {file.name for file in trained.iterdir()} == set(FILES) - {REPORT, *PLOTS}


def test_before_a_run_has_ended_its_figures_are_those_of_its_best_epoch(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    lines[0] |= {"valid_accuracy": 0.25, "valid_loss": 3.0}
    lines[1] |= {"valid_accuracy": 0.75, "valid_loss": 2.0}
    lines[2] |= {"valid_accuracy": 0.75, "valid_loss": 2.5}
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (run / "result.json").unlink()
    found = read_run(run)
    assert found.state == "stopped"
    assert (found.figures["valid_accuracy"], found.figures["valid_loss"]) == (0.75, 2.0)
    assert found.figures["epochs_done"] == 3
    assert "test_accuracy" not in found.figures


def test_a_result_counts_no_more_where_the_run_has_gone_on(trained, tmp_path):
    run = shutil.copytree(trained, tmp_path / "run")
    old = (run / "result.json").read_text()
    resume(run, data=blobs(), epochs=5)
    assert read_run(run).figures["epochs_done"] == 5
    (run / "result.json").write_text(old)  # as if it were still training, or had been stopped
    found = read_run(run)
    assert (found.state, found.figures["epochs_done"]) == ("stopped", 5)
    assert "test_accuracy" not in found.figures


def test_a_run_that_stopped_early_is_finished(run):
    rewrite(run / "config.json", epochs=99)
    assert read_run(run).state == "finished"


def test_numbers_that_are_predicted_have_an_r2(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3)).astype(np.float32)
    data = dataset_from_arrays(x[:150], x[:150, 0], x[150:], x[150:, 0], numbers=True)
    result = train(replace(QUICK, loss="mse"), data=data, out=tmp_path)
    found = read_run(result.folder)
    assert not found.classifies
    assert found.figures["test_r2"] == result.test.r2
    assert found.figures["test_rmse"] == list(result.test.rmse)
    assert "test_accuracy" not in found.figures


HOLD = """
import sys
from pathlib import Path
from fastnn.training.folder import RunFolder
with RunFolder(Path(sys.argv[1])).locked():
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def held(run):
    """A run that another process is training, as far as locks tell."""
    pytest.importorskip("fcntl")
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(run)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert other.stdout.readline() == b"held\n"
    yield run
    other.communicate()


def test_a_run_that_another_process_holds_is_running(held):
    assert read_run(held).state == "running"
    (held / "config.json").write_text("{")
    assert read_run(held).state == "running"


def test_looking_at_a_lock_takes_it_from_nobody(run):
    pytest.importorskip("fcntl")
    import fcntl

    looking = os.open(run, os.O_RDONLY)
    fcntl.flock(looking, fcntl.LOCK_SH)  # as is_held does, for a moment
    assert not is_held(run)
    os.close(looking)
    with RunFolder(run).locked():
        assert is_held(run)
    assert not is_held(run)


def test_who_wants_to_train_waits_for_one_who_only_looks(run, monkeypatch):
    pytest.importorskip("fcntl")
    import fcntl

    looking = os.open(run, os.O_RDONLY)
    fcntl.flock(looking, fcntl.LOCK_SH)
    monkeypatch.setattr("fastnn.training.layout.time.sleep", lambda _: os.close(looking))
    with RunFolder(run).locked():
        assert is_held(run)


@pytest.mark.parametrize(
    ("damage", "state", "reason"),
    [
        ({"config.json": ""}, "broken", "config.json cannot be read"),
        ({"config.json": "[1]"}, "broken", "config.json cannot be read"),
        ({"result.json": "{"}, "broken", "result.json cannot be read"),
        ({"result.json": '{"epochs": 3}'}, "broken", "result.json is incomplete"),
        ({"result.json": '{"epochs": 3, "train_loss": 1}'}, "broken", "result.json is incomplete"),
        ({"last.safetensors": ""}, "broken", "last.safetensors is empty"),
        ({"last.safetensors": None}, "finished", ""),
        ({"last.safetensors": None, "result.json": None}, "broken", "last.safetensors is missing"),
        ({"last.safetensors": None, "best.safetensors": None}, "broken", "is missing"),
        (
            {"last.safetensors": None, "best.safetensors": None, "result.json": None},
            "empty",
            "",
        ),
        ({"metrics.jsonl": "{}\nnonsense\n"}, "finished", ""),
        ({"environment.json": "\0"}, "finished", ""),
    ],
)
def test_what_is_wrong_with_a_run_is_said(run, damage, state, reason):
    for name, text in damage.items():
        (run / name).unlink() if text is None else (run / name).write_text(text)
    found = read_run(run)
    assert found.state == state
    assert reason in found.problem
    assert bool(reason) == bool(found.problem)


def test_a_figure_of_a_wrong_kind_is_left_out(run):
    rewrite(run / "result.json", test_accuracy=[0.5], test_loss="low", valid_accuracy=True)
    figures = read_run(run).figures
    assert figures.keys().isdisjoint({"test_accuracy", "test_loss", "valid_accuracy"})
    assert "train_accuracy" in figures


def test_a_setting_of_a_wrong_kind_is_quoted_and_replaced(run):
    rewrite(run / "config.json", hidden="many")
    found = read_run(run)
    assert (found.state, found.problem) == ("broken", "config.json: hidden is 'many'")
    assert found.settings["hidden"] == TrainConfig().to_dict()["hidden"]


def test_runs_are_found_in_a_folder_and_in_searches_there(run):
    root = run.parent
    search = root / "20261120-000000-tune-blobs"
    shutil.copytree(run, search / "20261120-000001-best")
    shutil.copytree(run, search / "deeper" / "still")  # no search has such
    shutil.copytree(run, root / ".hidden")
    (search / "search.json").write_text("{}")
    (root / "other").mkdir()
    (root / "other" / "config.json").write_text('{"model": "of another program"}')
    (root / "notes.txt").write_text("")
    (root / "nowhere").symlink_to(root / "absent")
    (root / "circle").symlink_to(root / "circle")
    assert states(root) == {
        run.name: "finished",
        "20261120-000000-tune-blobs/20261120-000001-best": "finished",
    }


def test_what_is_no_run_is_an_error_that_says_so(run, tmp_path):
    with pytest.raises(CheckpointError, match=f"it holds the runs {run.name}"):
        open_folder(run.parent)
    with pytest.raises(CheckpointError, match="no such run"):
        open_folder(tmp_path / "absent")
    with pytest.raises(CheckpointError, match="a file, expected"):
        open_folder(run / "config.json")
    with pytest.raises(DataError, match="no such folder"):
        list(find_runs(tmp_path / "absent"))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
JSON_FILES = ("config.json", "environment.json", "metrics.jsonl", "result.json")


@st.composite
def damage(draw, whole: bytes) -> bytes:
    """Bytes as they may be after a crash, a bad disk, or somebody's editor."""
    kind = draw(st.sampled_from(["cut", "flip", "value", "keys", "huge"]))
    place = draw(st.integers(0, len(whole) - 1))
    if kind == "cut":
        return whole[:place]
    if kind == "flip":
        return whole[:place] + bytes([draw(st.integers(0, 255))]) + whole[place + 1 :]
    if kind == "value":
        return json.dumps(draw(VALUES)).encode()
    if kind == "huge":
        return whole.replace(b": 3", draw(st.sampled_from([b": 1e999", b": " + b"9" * 400])))
    lines = whole.splitlines() if whole.count(b'"epoch"') else [whole]
    rows = [json.loads(line) for line in lines]
    key = draw(st.sampled_from(sorted(rows[0])))
    rows[-1] = {**rows[-1], key: draw(VALUES)}
    return b"\n".join(json.dumps(row).encode() for row in rows)


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data(), st.sampled_from(JSON_FILES))
def test_no_damage_of_the_small_files_raises(trained, tmp_path, data, name):
    from tests.test_runs_cli import printed

    root = tmp_path / "damaged"
    shutil.rmtree(root, ignore_errors=True)
    run = shutil.copytree(trained, root / "run")
    (run / name).write_bytes(data.draw(damage((run / name).read_bytes())))
    printed("list", root)
    printed("list", root, "--json")
    for by in ("time", "test", "valid", "loss", "seconds", "epochs"):
        ordered([*find_runs(root), read_run(trained)], by)
    found = read_run(run)
    if found is not None:
        printed("show", run)
        printed("show", run, "--json")
        printed("compare", run, trained)
        for key in KEYS:
            Condition.parsed(f"{key}=1").holds(found)
        pruning.Criteria(keep_best=1, older_than=0).chosen([found], datetime.now().astimezone())


def test_a_file_that_is_a_pipe_or_a_folder_is_damage(run):
    (run / "result.json").unlink()
    os.mkfifo(run / "result.json")
    (run / "metrics.jsonl").unlink()
    (run / "metrics.jsonl").mkdir()
    found = read_run(run)
    assert (found.state, found.history) == ("broken", [])


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("hidden=8", True), ("hidden=8,8", False), ("hidden != 8", False),
        ("learning-rate=1e-2", True), ("learning_rate<0.01", False), ("learning_rate<=.01", True),
        ("epochs_done>2", True), ("epochs_done>=4", False), ("optimizer=adam", True),
        ("optimizer!=sgd", True), ("nesterov=false", True), ("data_dir=none", True),
        ("data_dir!=none", False), ("train_r2>0", False), ("device=cpu", True),
        ("started>=2001-01-01", True), ("started<2001-01-01", False), ("state=finished", True),
        ("dataset=blobs", True), ("dataset!=blobs", False), ("kernels!=auto", True),
    ],
)  # fmt: skip
def test_conditions_hold_or_not(trained, text, answer):
    assert Condition.parsed(text).holds(read_run(trained)) is answer


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hiden=8", "did you mean 'hidden'"),
        ("hidden", "must be a setting or figure"),
        ("hidden~8", "must be a setting or figure"),
    ],
)
def test_conditions_that_mean_nothing_are_refused(text, message):
    with pytest.raises(ConfigError, match=message):
        Condition.parsed(text)


def test_an_order_needs_a_number_to_compare_with(trained):
    with pytest.raises(ConfigError, match="'many' is none"):
        Condition.parsed("epochs>many").holds(read_run(trained))


def test_runs_are_sorted_best_first_and_unknown_last(run):
    first, second, third = copies(run, 3)
    (third / "result.json").unlink()
    (third / "metrics.jsonl").write_text("")
    names = {path.name: path for path in (first, second, third)}

    def order(by, **options):
        return [names[found.name] for found in ordered(find_runs(run.parent), by, **options)]

    assert order("valid") == [second, first, third]
    assert order("test") == [first, second, third]
    assert order("test", reverse=True) == [second, first, third]
    rewrite(first / "environment.json", started="2020-01-01T00:00:00+00:00")
    rewrite(third / "environment.json", started="2040-01-01T00:00:00+09:00")
    assert order("time") == [third, second, first]
    with pytest.raises(ConfigError, match="did you mean 'valid'"):
        order("vald")


def test_a_comparison_holds_what_differs_and_who_is_best(run, tmp_path):
    other = train(replace(QUICK, hidden=(4,)), data=blobs(seed=1), out=tmp_path / "b").folder
    twin = shutil.copytree(run, tmp_path / "twin")
    same = Comparison.of([open_folder(run), open_folder(twin)])
    assert (same.settings, same.figures, same.best, same.same_data) == ({}, {}, {}, True)
    rewrite(twin / "result.json", test_accuracy=0.5, test_loss=9.0)
    rewrite(run / "result.json", test_accuracy=0.4, test_loss=8.0)
    rewrite(other / "result.json", test_accuracy=0.5, test_loss=10.0)
    found = Comparison.of([open_folder(path) for path in (run, twin, other)])
    assert found.settings == {"hidden": [[8], [8], [4]]}
    assert found.figures["test_accuracy"] == [0.4, 0.5, 0.5]
    assert (found.best["test_accuracy"], found.best["test_loss"]) == ([1, 2], [0])
    assert found.same_data is False
    for name in ("best.safetensors", "last.safetensors"):
        (twin / name).write_bytes(b"no checkpoint")
    assert Comparison.of([open_folder(run), open_folder(twin)]).same_data is None


def test_other_losses_are_not_compared(run, tmp_path):
    other = shutil.copytree(run, tmp_path / "other")
    rewrite(other / "config.json", loss="mse")
    rewrite(other / "result.json", test_loss=0.0, seconds=1e9)
    best = Comparison.of([open_folder(run), open_folder(other)]).best
    assert "test_loss" not in best
    assert best["seconds"] == [0]


NOW = datetime(2026, 11, 20).astimezone()


def chosen(root: Path, **criteria: object) -> set[str]:
    return {run.name for run in pruning.Criteria(**criteria).chosen(find_runs(root), NOW)}


def test_the_best_are_kept_of_each_data_set_by_validation(run):
    first, second, third, other = copies(run, 4)
    rewrite(other / "config.json", dataset="mnist")
    assert chosen(run.parent, keep_best=1) == {first.name, second.name}
    assert chosen(run.parent, keep_best=2) == {first.name}
    assert chosen(run.parent, keep_best=0) == {path.name for path in (first, second, third, other)}
    (third / "result.json").unlink()
    (third / "metrics.jsonl").write_text("")  # nothing to rank it by
    assert chosen(run.parent, keep_best=1) == {first.name}
    where = [Condition.parsed("dataset!=mnist"), Condition.parsed("valid_accuracy<0.01")]
    assert chosen(run.parent, keep_best=1, where=where) == set()  # ranked among those left


def test_criteria_choose_together(run):
    first, second, third = copies(run, 3)
    for days, path in ((40, first), (20, second), (40, third)):
        started = (NOW - timedelta(days=days)).isoformat()
        rewrite(path / "environment.json", started=started)
    month = pruning.seconds("30d")
    assert chosen(run.parent, older_than=month) == {first.name, third.name}
    assert chosen(run.parent, older_than=month, keep_best=1) == {first.name}
    (first / "result.json").unlink()
    (second / "result.json").write_text("")
    assert chosen(run.parent, unfinished=True) == {first.name}
    assert chosen(run.parent, broken=True) == {second.name}
    assert chosen(run.parent, broken=True, older_than=month) == set()


@pytest.mark.parametrize(("text", "days"), [("30d", 30), ("2w", 14), ("12h", 0.5), (" 72 m", 0.05)])
def test_ages_are_read(text, days):
    assert pruning.seconds(text) == pytest.approx(days * 86400)


@pytest.mark.parametrize("text", ["30", "d", "-3d", "3y"])
def test_ages_that_are_none_are_refused(text):
    with pytest.raises(ConfigError, match="--older-than"):
        pruning.seconds(text)


def test_criteria_that_say_nothing_or_contradict_are_refused():
    with pytest.raises(ConfigError, match="which runs"):
        pruning.Criteria()
    with pytest.raises(ConfigError, match="both broken and unfinished"):
        pruning.Criteria(broken=True, unfinished=True)


def test_a_run_is_deleted_with_what_a_killed_process_left(run):
    (run / ".last.safetensors.123.tmp").write_bytes(b"half")
    (run / "report.html").write_text("")
    pruning.remove(open_folder(run), run.parent)
    assert list(run.parent.iterdir()) == []


@pytest.mark.parametrize("name", ["predictions.csv", "other.png", "config.json.bak", ".x.1.tmp"])
def test_a_folder_with_anything_else_is_left_alone(run, name):
    (run / name).write_text("mine")
    before = sorted(run.rglob("*"))
    assert name in pruning.refusal(run, run.parent)
    with pytest.raises(OutputError, match="not a run's"):
        pruning.remove(open_folder(run), run.parent)
    assert sorted(run.rglob("*")) == before


def test_links_are_not_followed(run, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    run.rename(elsewhere)
    link, search = run, run.parent / "search"
    link.symlink_to(elsewhere)
    (tmp_path / "searches").mkdir()
    shutil.copytree(elsewhere, tmp_path / "searches" / "inner")
    search.symlink_to(tmp_path / "searches")
    assert states(run.parent) == {link.name: "finished", "search/inner": "finished"}
    for path in (link, search / "inner"):
        with pytest.raises(OutputError, match="is a link"):
            pruning.remove(open_folder(path), run.parent)
    best = elsewhere / "best.safetensors"
    best.rename(tmp_path / "big")
    best.symlink_to(tmp_path / "big")
    with pytest.raises(OutputError, match=r"not a run's: best\.safetensors"):
        pruning.remove(open_folder(elsewhere), tmp_path)
    assert best.exists()


def test_a_config_that_may_be_anybodys_is_left_alone(tmp_path):
    folder = tmp_path / "runs" / "site"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("// with a comment\n{}")
    assert states(folder.parent) == {"site": "broken"}
    with pytest.raises(OutputError, match="nothing but a damaged"):
        pruning.remove(open_folder(folder), folder.parent)
    assert (folder / "config.json").exists()


def test_a_run_that_is_trained_is_never_deleted(held):
    assert chosen(held.parent, keep_best=0) == set()
    with pytest.raises(OutputError, match="another process"):
        pruning.remove(open_folder(held), held.parent)
    assert {file.name for file in held.iterdir()} >= {"config.json", "last.safetensors"}


@pytest.mark.parametrize("files", range(7))
def test_a_deletion_that_is_interrupted_leaves_no_half_run(run, monkeypatch, files):
    """Whenever it is killed: here at each file, the first one included."""
    unlink, left = Path.unlink, [files]

    def killed(path, *args, **options):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        unlink(path, *args, **options)

    monkeypatch.setattr(Path, "unlink", killed)
    with pytest.raises(KeyboardInterrupt):
        pruning.remove(open_folder(run), run.parent)
        raise KeyboardInterrupt  # all seven were deleted
    monkeypatch.undo()
    assert states(run.parent) == {}
    for rest in pruning.remains(run.parent):
        pruning.finish(rest)
    assert list(run.parent.iterdir()) == []


def test_remains_with_anything_else_in_them_stay(run):
    hidden = run.rename(run.with_name(f".{run.name}.pruned"))
    (hidden / "mine.txt").write_text("")
    assert pruning.remains(run.parent) == [hidden]
    with pytest.raises(OutputError, match="cannot be deleted"):
        pruning.finish(hidden)
    assert (hidden / "mine.txt").exists()


def test_the_browser_needs_no_numpy():
    code = (
        "import sys; from fastnn.analysis import comparison, pruning, runs, selection\n"
        "assert 'numpy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_broken_runs_take_no_place_among_the_best(run):
    best = run.parent / "z-broken"
    shutil.copytree(run, best)
    result = json.loads((best / "result.json").read_text())
    (best / "result.json").write_text(json.dumps(result | {"valid_accuracy": 1.0}))
    (best / "best.safetensors").write_bytes(b"")
    (best / "last.safetensors").write_bytes(b"")
    assert states(run.parent) == {run.name: "finished", "z-broken": "broken"}
    assert chosen(run.parent, keep_best=1) == set()


def test_a_run_that_went_on_since_it_was_chosen_is_left_alone(run):
    result = (run / "result.json").read_bytes()
    (run / "result.json").unlink()
    found = open_folder(run)
    assert found.state == "stopped"
    (run / "result.json").write_bytes(result)
    with pytest.raises(OutputError, match="it was stopped and is finished now"):
        pruning.remove(found, run.parent)
    assert (run / "result.json").exists()


def test_without_locks_what_may_be_running_is_left_alone(run, monkeypatch):
    (run / "result.json").unlink()
    monkeypatch.setitem(sys.modules, "fcntl", None)
    with pytest.raises(OutputError, match="no locks"):
        pruning.remove(open_folder(run), run.parent)
    assert (run / "last.safetensors").exists()


@pytest.mark.parametrize("name", ["best.safetensors", "last.safetensors"])
@pytest.mark.parametrize("damage", [lambda data: data[:-5], lambda data: b"a,b\n1,2\n" * 99])
def test_damaged_weights_are_told(run, name, damage):
    whole = (run / name).read_bytes()
    (run / name).write_bytes(damage(whole))
    assert states(run.parent) == {run.name: "broken"}
    assert name in open_folder(run).problem


def test_figures_too_large_to_be_true_are_damage(run):
    lines = (run / "metrics.jsonl").read_text().splitlines()
    report = json.loads(lines[0])
    lines[0] = json.dumps(report | {"valid_loss": 1.7e308})
    lines[1] = json.dumps(report | {"valid_loss": -1.7e308})
    (run / "metrics.jsonl").write_text("\n".join(lines))
    history = open_folder(run).history
    assert [epoch.valid_loss for epoch in history][:2] == [None, None]
