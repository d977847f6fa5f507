"""`fastnn tune`: what it prints where, its exit codes, and a search that is stopped by Ctrl-C."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fastnn.training.config import TrainConfig
from fastnn.training.halving import Halving
from tests.test_cli import events, invoke, plain
from tests.test_interruption import listen

SPACE = """\
learning_rate = { log = [1e-4, 1e-2] }
hidden = [[8], [16, 8]]
batch_size = 32
"""
ROW = r"^ +(\d+) +(\d+) +(\d+) +(\d+\.\d\d) % +\d+\.\d{4} +([\d.e-]+) +(8|16,8)$"


@pytest.fixture
def space(tmp_path: Path) -> Path:
    path = tmp_path / "space.toml"
    path.write_text(SPACE)
    return path


@pytest.fixture
def arguments(space, blob_file, tmp_path):
    """Six trials: 6 x 1 epoch, 2 x 3."""
    return [
        "tune", space, "--dataset", blob_file, "--out", tmp_path / "runs", "--device", "cpu",
        "--epochs", 3, "--trials", 6,
    ]  # fmt: skip


def test_a_table_and_settings_on_stdout_and_progress_on_stderr(arguments, blob_file, tmp_path):
    result = invoke(*arguments)
    table, settings = result.stdout.split("\n\n")[:2]
    rows = re.findall(ROW, table, re.M)
    assert [row[0] for row in rows] == ["1", "2", "3", "4", "5", "6"]
    assert [row[2] for row in rows] == ["3", "3", "1", "1", "1", "1"]
    accuracies = [float(row[3]) for row in rows]
    assert accuracies[:2] == sorted(accuracies[:2], reverse=True)
    assert accuracies[2:] == sorted(accuracies[2:], reverse=True)
    progress = [line for line in result.stderr.splitlines() if "  trial " in line]
    assert [line.split()[0] for line in progress] == [f"{n}/8" for n in range(1, 9)]
    assert "blobs on cpu: 6 x 1 epoch, then 2 x 3 epochs" in result.stderr
    assert "\x1b" not in result.stdout + result.stderr

    (tmp_path / "best.toml").write_text(settings)
    best = TrainConfig.from_file(tmp_path / "best.toml")
    assert best.batch_size == 32
    assert f"{best.learning_rate:.4g}" == rows[0][4]
    again = invoke("train", "--config", tmp_path / "best.toml", "--out", tmp_path / "b", "--json")
    done = events(again.stdout)[-1]
    assert f"{100 * done['valid_accuracy']:.2f}" == rows[0][3]

    (command,) = [line for line in result.stderr.splitlines() if line.startswith("fastnn evaluate")]
    (scored,) = events(invoke(*command.split()[1:], "--json").stdout)
    assert scored["accuracy"] == done["test_accuracy"]


def test_json_is_json_lines_and_nothing_else(arguments, tmp_path):
    result = invoke(*arguments, "--json", "-q", "--no-refit")
    assert result.stderr == ""
    start, *trials, done = events(result.stdout)
    assert (start["event"], done["event"]) == ("start", "done")
    assert {trial["event"] for trial in trials} == {"trial"}
    assert start["rungs"] == [[6, 1], [2, 3]]
    best = max(trials[6:], key=lambda trial: (trial["valid_accuracy"], -trial["valid_loss"]))
    for key in ("trial", "epochs", "valid_accuracy", "valid_loss", "settings"):
        assert done[key] == best[key]
    assert done["run"] is None
    (folder,) = (tmp_path / "runs").iterdir()
    assert str(folder) == start["search"] == done["search"]
    record = [json.loads(line) for line in (folder / "trials.jsonl").read_text().splitlines()]
    assert record == [
        {key: value for key, value in trial.items() if key not in ("schema", "event")}
        for trial in trials
    ]


def test_resume_trains_what_is_missing_only(arguments, tmp_path):
    first = events(invoke(*arguments, "--json").stdout)
    folder = Path(first[0]["search"])
    record = folder / "trials.jsonl"
    record.write_text(record.read_text()[:-40])
    _, *trials, done = events(invoke("tune", "--resume", folder, "--json").stdout)
    assert [(trial["trial"], trial["epochs"]) for trial in trials] == [
        (first[-2]["trial"], first[-2]["epochs"])
    ]
    assert done == first[-1]
    more = events(invoke("tune", "--resume", folder, "--trials", 7, "--json").stdout)
    assert more[1]["trial"] == 7


def test_the_recipe_and_the_space_share_the_settings(space, blob_file, tmp_path):
    """Options, then the space, then --config; of the halving: options, then [search]."""
    space.write_text(SPACE + "[search]\ntrials = 5\nmin_epochs = 2\n")
    (tmp_path / "base.toml").write_text('batch_size = 64\nschedule = "cosine"\nepochs = 9\n')
    result = invoke(
        "tune", space, "--config", tmp_path / "base.toml", "--dataset", blob_file, "--epochs", 2,
        "--trials", 2, "--out", tmp_path / "runs", "--json",
    )  # fmt: skip
    start, *_, done = events(result.stdout)
    assert start["rungs"] == [[2, 2]]
    saved = TrainConfig.from_file(Path(done["run"]) / "config.json")
    assert (saved.batch_size, saved.schedule, saved.epochs) == (32, "cosine", 2)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("learning_rat = 0.1", "did you mean 'learning_rate'"),
        ("batch_size = []", "batch_size: the list is empty"),
        ("dropout = { uniform = [0.5, 0.1] }", "dropout: [0.5, 0.1] is the wrong way round"),
        ("weight_decay = { log = [0, 0.1] }", "weight_decay: 0 has no logarithm"),
        ("batch_size = 0", "trial 1 (batch_size 0): batch_size: 0 must be at least 1"),
        ("optimizer = 'adam'\nmomentum = 0.9", "trial 1"),
        ("dropout = ", "space.toml: "),
        ("dropout = 2020-01-01", "date"),
        ("dropout = 0.1\n[search]\ntrials = 0", "trials: 0"),
    ],
)
def test_a_wrong_space_is_exit_code_2_and_leaves_nothing(arguments, space, tmp_path, text, words):
    space.write_text(text)
    result = invoke(*arguments[:-2], code=2)
    assert words in plain(result.stderr)
    assert result.stdout == ""
    assert not (tmp_path / "runs").exists()


def test_other_mistakes_have_their_codes(arguments, tmp_path):
    assert "SPACE" in invoke("tune", code=2).stderr
    invoke("tune", tmp_path / "absent.toml", code=2)
    invoke("tune", "--resume", tmp_path, code=3)
    refused = invoke(*arguments, "--resume", tmp_path, code=2).stderr
    assert "space, out, dataset, epochs cannot be changed" in plain(refused)
    assert "val is 0" in invoke(*arguments, "--val", 0, code=2).stderr
    assert "min_epochs: 4" in invoke(*arguments, "--min-epochs", 4, code=2).stderr
    assert not (tmp_path / "runs").exists()


def test_a_search_in_which_everything_diverges_is_code_5(arguments, space):
    space.write_text("learning_rate = 1e30")
    result = invoke(*arguments, "--json", code=5)
    *trials, error = events(result.stdout)[1:]
    assert {trial["status"] for trial in trials} == {"diverged"}
    assert (error["event"], error["code"]) == ("error", 5)


def test_help_names_the_defaults():
    text = plain(invoke("tune", "--help").stdout)
    usual = Halving()
    for words in (usual.trials, usual.factor, usual.min_epochs):
        assert f"[default: {words}]" in text


def test_ctrl_c_returns_130_and_tells_how_to_go_on(arguments):
    """A real process, interrupted in the middle of a last training that would take hours."""
    long = [str(argument) for argument in arguments]
    long[long.index("--epochs") + 1] = "1000000"
    command = [sys.executable, "-m", "fastnn", *long]
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env=environment, preexec_fn=listen
    ) as process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            assert "6 x 1 epoch, then 2 x 5 epochs, then 1 x 1000000 epochs" in line
            folder = process.stderr.readline().removeprefix("search ").strip()
            while not process.stderr.readline().startswith("8/9"):
                assert process.poll() is None
            process.send_signal(signal.SIGINT)
            rest = process.stderr.read()
        except BaseException:
            process.kill()  # else a failure would wait for those hours
            raise
    assert process.returncode == 130, rest
    assert "8 trainings are on record" in rest
    assert rest.endswith(f"go on with: fastnn tune --resume {folder}\n")
    assert "Traceback" not in rest
