"""`fastnn runs` as it is typed: tables at any width, JSON, pages, and deleting on request only."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from rich.cells import cell_len
from typer.testing import CliRunner

from fastnn.cli.app import app
from fastnn.training.config import TrainConfig
from fastnn.training.run import train
from tests.conftest import blobs

QUICK = TrainConfig(hidden=(8,), epochs=3, batch_size=50, learning_rate=0.01, device="cpu")


def printed(*arguments, code=0, **env):
    result = CliRunner().invoke(app, ["runs", *map(str, arguments)], env=env)
    assert result.exit_code == code, (result.stdout, result.stderr, result.exception)
    return result


def events(text):
    parsed = [json.loads(line, parse_constant=pytest.fail) for line in text.splitlines()]
    assert all(event["schema"] == 1 for event in parsed)
    return parsed


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder of two finished runs."""
    out = tmp_path_factory.mktemp("trained")
    train(QUICK, data=blobs(), out=out, name="first")
    train(
        QUICK.updated({"hidden": [16, 4], "seed": 1}, "test"), data=blobs(), out=out, name="other"
    )
    return out


@pytest.fixture
def runs(trained, tmp_path):
    """These, to be damaged; the paths of both, by name."""
    out = shutil.copytree(trained, tmp_path / "runs")
    return {path.name[16:]: path for path in out.iterdir()}, out


def test_a_table_in_a_file_has_every_column_and_whole_names(runs):
    paths, out = runs
    long = out / ("20261120-000000-" + "x" * 120)
    shutil.copytree(paths["first"], long)
    (paths["other"] / "result.json").unlink()
    text = printed("list", out, COLUMNS="60").stdout
    assert "\x1b" not in text
    head, *lines = text.splitlines()
    assert head.split() == [
        f"{out}/", "began", "data", "hidden", "epochs", "valid", "test", "seconds", "valid", "loss",
        "state",
    ]  # fmt: skip
    by_name = {line.split()[0]: line for line in lines}
    assert by_name.keys() == {path.name for path in out.iterdir()}
    done = json.loads((paths["first"] / "result.json").read_text())
    assert f"{100 * done['test_accuracy']:.2f} %" in by_name[paths["first"].name]
    other = by_name[paths["other"].name]
    assert re.search(r" 16-4 +3/3 +[\d.]+ % +- +\d\.\d  [▁-█]{3} +stopped$", other)


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_lines_fit_the_terminal(runs, width):
    _, out = runs
    text = printed("list", out, COLUMNS=str(width), FORCE_COLOR="1", NO_COLOR="1").stdout
    lines = text.splitlines()
    assert len(lines) == 3
    assert all(len(line) <= width for line in lines)
    assert all(line.endswith("finished") for line in lines[1:])
    assert ("valid loss" in lines[0]) == (width > 60)
    assert re.search(r"[\d.]+ % +[\d.]+ %", lines[1])  # validation and test stay to the last


def test_long_and_strange_names_are_cut_and_cleaned(runs):
    paths, out = runs
    paths["first"].rename(out / ("長い名前" * 20 + "\n\x1b[31m"))
    text = printed("list", out, COLUMNS="60", FORCE_COLOR="1", NO_COLOR="1").stdout
    _, *lines = text.splitlines()
    assert len(lines) == 2
    assert all(cell_len(line) <= 60 and line.endswith("finished") for line in lines)
    assert "\x1b" not in text
    assert "[31m" in text  # what is left of the escape sequence


def test_colour_is_for_terminals_that_want_it(runs):
    _, out = runs
    wanted = {"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": "200"}
    assert "\x1b[" in printed("list", out, **wanted).stdout
    assert "\x1b" not in printed("list", out, **wanted, NO_COLOR="1").stdout


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_an_encoding_without_bars_gets_other_signs(runs, encoding):
    _, out = runs
    answer = subprocess.run(
        [sys.executable, "-m", "fastnn", "runs", "list", str(out)],
        capture_output=True, env=os.environ | {"PYTHONIOENCODING": encoding}, check=True,
    )  # fmt: skip
    text = answer.stdout.decode("ascii")
    assert "\\u" not in text
    assert re.search(r"@\S*\.", text)


def test_json_is_one_event_a_run_and_the_end(runs):
    paths, out = runs
    *found, done = events(printed("list", out, "--json", "--sort", "name").stdout)
    assert [event["event"] for event in found] == ["run", "run"]
    assert (done["event"], done["found"], done["shown"]) == ("done", 2, 2)
    assert [event["name"] for event in found] == sorted(path.name for path in paths.values())
    first = next(event for event in found if event["path"] == str(paths["first"]))
    saved = json.loads((paths["first"] / "result.json").read_text())
    assert first["test_accuracy"] == saved["test_accuracy"]
    assert (first["state"], first["problem"], first["epochs_done"]) == ("finished", None, 3)
    assert first["settings"]["hidden"] == [8]
    assert len(first["valid_losses"]) == 3


def test_runs_are_filtered_sorted_and_limited(runs):
    _, out = runs

    def names(*options):
        found = events(printed("list", out, "--json", *options).stdout)[:-1]
        return [event["name"][16:] for event in found]

    assert names("--where", "hidden=16,4") == ["other"]
    assert names("--where", "seed<1", "--where", "epochs=3") == ["first"]
    assert names("--where", "seed<1", "--where", "seed>0") == []
    assert names("--sort", "name", "--reverse", "--limit", "1") == names("--sort", "name")[1:]
    assert "'hidden'" in printed("list", out, "--where", "hiden=8", code=2).stderr
    assert "sort: 'size'" in printed("list", out, "--sort", "size", code=2).stderr
    assert "1 of 2 runs" in printed("list", out, "--limit", "1").stderr


def test_broken_runs_are_listed_with_the_reason_and_empty_folders_told(runs, tmp_path):
    paths, out = runs
    (paths["first"] / "config.json").write_text("{")
    result = printed("list", out)
    assert re.search(rf"^{paths['first'].name} .* broken$", result.stdout, re.M)
    assert f"{paths['first'].name}: config.json cannot be read" in result.stderr
    (tmp_path / "none").mkdir()
    assert "no runs in" in printed("list", tmp_path / "none").stderr
    assert "no such folder" in printed("list", tmp_path / "absent", code=3).stderr


def test_a_page_shows_all_that_is_on_record(runs):
    paths, _ = runs
    run = paths["other"]
    text = printed("show", run).stdout
    saved = json.loads((run / "result.json").read_text())
    for part in ("train", "valid", "test"):
        loss, accuracy = saved[f"{part}_loss"], 100 * saved[f"{part}_accuracy"]
        assert re.search(rf"^{part} +{loss:.4f} +{accuracy:.2f} %$", text, re.M)
    epochs = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    losses = [f"{epoch['train_loss']:.4f}" for epoch in epochs]
    assert re.search(rf"^train loss +\S+ +{losses[0]} +{min(losses)} +{losses[-1]}$", text, re.M)
    assert re.search(r"^hidden +16,4$", text, re.M)
    assert "momentum" not in text
    assert re.search(r"^numpy +\d", text, re.M)
    (done,) = events(printed("show", run, "--json").stdout)
    assert f"fingerprint    {done['fingerprint']}" in text
    assert done["files"] == {file.name: file.stat().st_size for file in run.iterdir()}
    assert max(map(len, text.splitlines()[:12])) <= 60 + len(str(run))


def test_a_comparison_marks_the_best_and_warns_of_other_data(runs, tmp_path):
    paths, _ = runs
    result = printed("compare", paths["first"], paths["other"])
    assert "WARNING" not in result.stderr
    assert re.search(r"^hidden +8 +16,4$", result.stdout, re.M)
    assert "optimizer" not in result.stdout
    saved = [json.loads((paths[name] / "result.json").read_text()) for name in ("first", "other")]
    first, other = (run["test_loss"] for run in saved)
    marks = ("\\*", " ") if first < other else (" ", "\\*")
    assert re.search(
        rf"^test_loss +{first:.4f} {marks[0]} +{other:.4f} ?{marks[1].strip()}", result.stdout, re.M
    )
    third = train(QUICK, data=blobs(seed=3), out=tmp_path / "third").folder
    assert "not trained on the same data" in printed("compare", *paths.values(), third).stderr
    assert "name another" in printed("compare", third, code=2).stderr
    *found, done = events(printed("compare", *paths.values(), third, "--json").stdout)
    assert [run["event"] for run in found] == ["run"] * 3
    assert done["same_data"] is False
    assert set(done["settings"]) == {"hidden", "seed"}


def test_many_runs_are_compared_in_blocks_that_fit(runs):
    paths, _ = runs
    both = [paths["first"], paths["other"]] * 6
    text = printed("compare", *both, COLUMNS="60", FORCE_COLOR="1", NO_COLOR="1").stdout
    _, body = text.split("\n\n", 1)
    assert max(map(len, body.splitlines())) <= 60
    shown = re.findall(r"^hidden +(.+)$", body, re.M)
    assert " ".join(shown).split() == ["8", "16,4"] * 6


def test_prune_only_shows_until_it_is_told_yes(runs):
    paths, out = runs
    before = sorted(out.rglob("*"))
    result = printed("prune", out, "--where", "seed=1")
    assert paths["other"].name in result.stdout
    assert paths["first"].name not in result.stdout
    assert "would delete 1 run" in result.stderr
    assert sorted(out.rglob("*")) == before
    gone, done = events(printed("prune", out, "--where", "seed=1", "--yes", "--json").stdout)
    assert (gone["path"], gone["deleted"]) == (str(paths["other"]), True)
    assert (done["runs"], done["bytes"], done["deleted"]) == (1, gone["bytes"], True)
    assert list(out.iterdir()) == [paths["first"]]


def test_prune_asks_for_a_criterion_and_leaves_what_is_not_its_own(runs):
    paths, out = runs
    assert "which runs are to go" in printed("prune", out, "--yes", code=2).stderr
    (paths["first"] / "mine.txt").write_text("")
    result = printed("prune", out, "--keep-best", "0", "--yes")
    assert "stays: it holds what is not a run's: mine.txt" in result.stderr
    assert "deleted 1 run," in result.stderr
    assert list(out.iterdir()) == [paths["first"]]


def test_prune_finishes_what_an_earlier_one_began(runs):
    paths, out = runs
    (paths["first"] / "config.json").unlink()
    hidden = paths["first"].rename(out / f".{paths['first'].name}.pruned")
    printed("prune", out, "--broken")
    assert hidden.exists()
    assert "removed" in printed("prune", out, "--broken", "--yes").stderr
    assert list(out.iterdir()) == [paths["other"]]


def test_a_deletion_that_the_system_refuses_is_an_error_at_the_end(runs, monkeypatch):
    _, out = runs

    def refused(self, target):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr("pathlib.Path.rename", refused)
    result = printed("prune", out, "--keep-best", "0", "--yes", code=1)
    assert result.stderr.count("cannot be deleted (Permission denied)") == 2
    assert len(list(out.iterdir())) == 2


def test_accuracies_and_r2_are_not_ranked_against_each_other(runs, tmp_path):
    paths, out = runs
    numbers = out / "numbers"
    shutil.copytree(paths["first"], numbers)
    result = json.loads((numbers / "result.json").read_text())
    for part in ("train", "valid", "test"):
        result[f"{part}_r2"], result[f"{part}_accuracy"] = 0.9999, None
    (numbers / "result.json").write_text(json.dumps(result))
    names = [
        event["name"]
        for event in events(printed("list", out, "--sort", "test", "--json").stdout)[:-1]
    ]
    assert names[-1] == "numbers"


def test_a_run_named_as_a_folder_of_runs_is_pointed_out(runs):
    paths, _ = runs
    assert "is a run itself" in " ".join(printed("list", paths["first"]).stderr.split())
