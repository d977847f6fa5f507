"""The command line: what it prints where, what it returns, and what it says when it cannot."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from fastnn.cli.app import app
from fastnn.training.config import TrainConfig
from tests.idx_files import write_idx

QUICK = ("--epochs", "2", "--hidden", "16", "--batch-size", "32", "--device", "cpu")


def invoke(*arguments: object, code: int = 0, env: dict[str, str] | None = None):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], env=env)
    assert result.exit_code == code, (result.stdout, result.stderr, result.exception)
    assert "Traceback" not in result.stderr
    return result


def events(text: str) -> list[dict]:
    parsed = [json.loads(line) for line in text.splitlines()]
    assert all(event["schema"] == 1 and "event" in event for event in parsed)
    return parsed


def plain(text: str) -> str:
    """Without the boxes and line breaks of usage messages."""
    return re.sub(r"[\s│╭╮╰╯─]+", " ", text)


@pytest.fixture
def run(blob_file, tmp_path):
    """A finished run folder."""
    result = invoke("train", "--dataset", blob_file, "--out", tmp_path / "runs", *QUICK, "--json")
    return events(result.stdout)[-1]["run"]


def test_train_prints_a_table_on_stdout_and_progress_on_stderr(blob_file, tmp_path):
    result = invoke("train", "--dataset", blob_file, "--out", tmp_path / "runs", *QUICK)
    for part in ("train", "valid", "test"):
        assert re.search(rf"^{part} +\d\.\d{{4}} +\d+\.\d\d % +\d+$", result.stdout, re.M)
    assert "epoch" not in re.sub("2 epochs in|kept +epoch [12],", "", result.stdout)
    lines = [line for line in result.stderr.splitlines() if line.startswith("epoch ")]
    assert [line.split()[1] for line in lines] == ["1/2", "2/2"]
    assert "blobs on cpu" in result.stderr
    assert "\x1b" not in result.stdout + result.stderr


def test_train_json_is_json_lines_and_nothing_else(blob_file, tmp_path):
    result = invoke("train", "--dataset", blob_file, "--out", tmp_path / "runs", *QUICK, "--json")
    first, *epochs, done = events(result.stdout)
    assert first["event"] == "start"
    assert [epoch["event"] for epoch in epochs] == ["epoch", "epoch"]
    assert set(done) >= {
        "event", "dataset", "train_loss", "train_accuracy", "test_loss", "test_accuracy", "seconds",
        "epochs", "run",
    }  # fmt: skip
    assert done["event"] == "done"
    assert done["dataset"] == "blobs"
    assert done["epochs"] == 2
    assert 0 <= done["test_accuracy"] <= 1


def test_quiet_is_quiet(blob_file, tmp_path):
    result = invoke("train", "--dataset", blob_file, "--out", tmp_path, *QUICK, "--json", "-q")
    assert result.stderr == ""


def test_options_override_the_config_file_which_overrides_the_recipe(blob_file, tmp_path):
    recipe = tmp_path / "mine.toml"
    recipe.write_text("epochs = 1\nbatch_size = 20\nhidden = [9]\n")
    config = tmp_path / "mine.json"
    config.write_text('{"batch_size": 30, "hidden": [8]}')
    result = invoke(
        "train", "--dataset", blob_file, "--out", tmp_path / "runs", "--recipe", recipe,
        "--config", config, "--hidden", "7,6", "--json",
    )  # fmt: skip
    done = events(result.stdout)[-1]
    saved = TrainConfig.from_file(tmp_path / "runs" / done["run"].split("/")[-1] / "config.json")
    assert (saved.epochs, saved.batch_size, saved.hidden) == (1, 30, (7, 6))


def test_a_saved_configuration_repeats_the_run(run, tmp_path):
    again = invoke("train", "--config", f"{run}/config.json", "--out", tmp_path / "b", "--json")
    done = events(again.stdout)[-1]
    first = json.loads(Path(run, "result.json").read_text())
    assert done["test_loss"] == first["test_loss"]
    assert done["train_loss"] == first["train_loss"]


def test_device_can_come_from_the_environment(blob_file, tmp_path, monkeypatch):
    monkeypatch.setenv("FASTNN_DEVICE", "nonsense")
    result = invoke("train", "--dataset", blob_file, "--out", tmp_path, "--epochs", "0", code=2)
    assert "nonsense" in result.stderr
    invoke("train", "--dataset", blob_file, "--out", tmp_path, *QUICK)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--epochs", "-3"], 2, "epochs: -3 must be at least 0"),
        (["--epochs", "ten"], 2, "--epochs"),
        (["--lr", "0"], 2, "learning_rate: 0.0 must be above 0"),
        (["--optimizer", "adma"], 2, "optimizer: 'adma' must be one of adam, adamw, sgd"),
        (["--hidden", "512;256"], 2, "'512;256'"),
        (["--hidden", "0"], 2, "hidden: 0 must be at least 1"),
        (["--epoch-count", "3"], 2, "--epoch-count"),
        (["--recipe", "adam50"], 2, "did you mean 'adam-50'"),
        (["--config", "absent.toml"], 2, "absent.toml"),
        (["--device", "gpu"], 2, "device: 'gpu'"),
        (["--dataset", "fashion-minst"], 3, "fashion-mnist"),
        (["--dataset", "mnist"], 3, "FASTNN_OFFLINE"),
        (["--dataset", "absent.csv"], 3, "absent.csv"),
        (["--max-time", "5 minutes"], 2, "max_time: '5 minutes' must be a time such as 90, 60s"),
        (["--max-time", "-5"], 2, "max_time: '-5'"),
        (["--class-weight", "coat"], 2, "class_weight: 'coat' must be balanced, or NAME=WEIGHT"),
        (["--loss", "mse", "--label-smoothing", "0.1"], 2, "label_smoothing: belongs to"),
        (["--dropout", "1"], 2, "dropout: 1.0 must be at least 0 and below 1"),
        (["--activation", "relu,swish"], 2, "activation: 'swish' must be one of relu"),
        (["--resume", "absent"], 3, "absent"),
        (["--resume", "absent", "--lr", "1"], 2, "learning_rate"),
    ],
)
def test_mistakes_get_one_clear_message_and_their_code(arguments, code, words, tmp_path):
    out = [] if "--resume" in arguments else ["--out", tmp_path]
    result = invoke("train", *out, *arguments, code=code)
    assert words in plain(result.stderr)
    assert result.stdout == ""
    assert not list(tmp_path.iterdir())


def test_cuda_that_is_not_there_has_its_own_code(blob_file, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    arguments = ("--dataset", blob_file, "--out", tmp_path, "--device", "cuda", "--epochs", "1")
    result = invoke("train", *arguments, code=4)
    assert "CuPy is" in result.stderr
    assert "cupy-cuda13x[ctk]" in result.stderr
    (event,) = events(invoke("train", *arguments, "--json", code=4).stdout)
    assert (event["event"], event["code"]) == ("error", 4)


def test_divergence_has_its_own_code_and_keeps_the_run(blob_file, tmp_path):
    result = invoke(
        "train", "--dataset", blob_file, "--out", tmp_path, *QUICK, "--lr", "1e30", code=5
    )
    assert "learning rate 1e+30" in result.stderr
    assert len(list(tmp_path.glob("*-blobs/last.safetensors"))) == 1


def test_a_missed_target_is_told_after_everything_was_kept(blob_file, tmp_path):
    arguments = ("--dataset", blob_file, "--out", tmp_path / "r", *QUICK, "--target-accuracy", "1")
    missed = invoke("train", *arguments, "--lr", "1e-9", "--json", code=6)
    *_, done, error = events(missed.stdout)
    assert (done["event"], error["event"], error["code"]) == ("done", "error", 6)
    assert "100.00 % was asked for" in error["message"]
    assert done["run"] in error["message"]
    assert {"result.json", "best.safetensors"} <= {
        path.name for path in Path(done["run"]).iterdir()
    }
    again = invoke("train", "--resume", done["run"], code=6)
    assert "target_accuracy" in again.stderr
    assert "test" in again.stdout
    reached = invoke("train", *arguments, "--lr", "0.02", "--epochs", "50")
    assert "validation accuracy 100 % reached" in reached.stderr
    assert reached.stderr.count("\nepoch") < 50


def test_a_time_limit_is_taken_from_the_command_line(blob_file, tmp_path):
    arguments = ("--dataset", blob_file, "--out", tmp_path / "r", *QUICK, "--json")
    done = invoke("train", *arguments, "--epochs", "100000", "--max-time", "0.2s")
    assert events(done.stdout)[-1]["epochs"] < 100000
    assert "0.2 seconds are over" in done.stderr
    again = invoke("train", "--resume", events(done.stdout)[-1]["run"], "--max-time", "0.4s")
    assert "0.4 seconds are over" in again.stderr


def test_unknown_verb_suggests_and_returns_2():
    assert "train" in plain(invoke("trian", code=2).stderr)


def test_auto_without_network_warns_loudly_and_names_garments(tmp_path):
    result = invoke(
        "train",
        "--limit-train",
        "500",
        "--epochs",
        "1",
        "--hidden",
        "8",
        "--out",
        tmp_path,
        "--json",
    )
    assert "WARNING" in result.stderr
    assert "NOT Fashion-MNIST" in result.stderr
    assert events(result.stdout)[-1]["dataset"] == "garments"


def test_resume_goes_on(run):
    result = invoke("train", "--resume", run, "--epochs", "3", "--json")
    first, epoch, done = events(result.stdout)
    assert first["resumed_epoch"] == 2
    assert epoch["epoch"] == 3
    assert (done["epochs"], done["run"]) == (3, run)


def test_evaluate_repeats_the_test_figures_of_the_run(run):
    expected = json.loads(Path(run, "result.json").read_text())
    (done,) = events(invoke("evaluate", run, "--json").stdout)
    assert done["event"] == "done"
    assert done["accuracy"] == expected["test_accuracy"]
    assert done["loss"] == pytest.approx(expected["test_loss"], rel=1e-6)  # summed in float32
    assert done["count"] == 300
    assert "accuracy" in invoke("evaluate", run).stdout


def test_evaluate_names_what_is_missing(tmp_path, run):
    invoke("evaluate", tmp_path / "absent", code=3)
    (tmp_path / "noise.safetensors").write_bytes(b"noise")
    assert "noise.safetensors" in invoke("evaluate", tmp_path / "noise.safetensors", code=3).stderr


def test_predict_writes_a_csv_that_agrees_with_the_classifier(run, blob_data, tmp_path):
    np.save(tmp_path / "inputs.npy", blob_data.test.inputs[:7])
    table = list(
        csv.DictReader(io.StringIO(invoke("predict", run, tmp_path / "inputs.npy").stdout))
    )
    assert list(table[0]) == ["index", "class", "name", "probability"]
    from fastnn.training.classifier import Classifier

    expected = Classifier.load(run).predict_proba(blob_data.test.inputs[:7])
    assert [int(row["index"]) for row in table] == list(range(7))
    assert [int(row["class"]) for row in table] == expected.argmax(axis=1).tolist()
    assert [float(row["probability"]) for row in table] == pytest.approx(
        expected.max(axis=1).tolist(), abs=1e-6
    )
    assert {row["name"] for row in table} <= {"0", "1", "2"}
    as_json = events(invoke("predict", run, tmp_path / "inputs.npy", "--json").stdout)
    assert [event["class"] for event in as_json[:-1]] == expected.argmax(axis=1).tolist()
    assert as_json[-1]["count"] == 7


def test_predict_takes_idx_and_csv(run, blob_data, tmp_path):
    inputs = blob_data.test.inputs[:4]
    write_idx(tmp_path / "images", inputs.reshape(4, 3, 4))
    np.savetxt(tmp_path / "rows.csv", inputs, fmt="%d", delimiter=",")
    outputs = {
        invoke("predict", run, path).stdout for path in (tmp_path / "images", tmp_path / "rows.csv")
    }
    assert len(outputs) == 1


def test_predict_refuses_other_widths(run, tmp_path):
    np.save(tmp_path / "wide.npy", np.zeros((2, 99), np.uint8))
    assert "99" in invoke("predict", run, tmp_path / "wide.npy", code=3).stderr


def test_info_shows_the_network(run):
    text = invoke("info", run).stdout
    assert re.search(r"^ +0  affine +12 +16 +208 +384$", text, re.M)
    assert re.search(r"^ +0  relu +16 +16 +- +16$", text, re.M)
    assert re.search(r"^ +1  affine +16 +3 +51 +96$", text, re.M)
    assert re.search(r"^total +259 +511$", text, re.M)
    assert "running" not in text
    (done,) = events(invoke("info", run, "--json").stdout)
    assert (done["sizes"], done["parameters"]) == ([12, 16, 3], 259)
    assert [(part["layer"], part["name"]) for part in done["layers"]] == [
        (0, "affine"), (0, "relu"), (1, "affine"), (1, "softmax"),
    ]  # fmt: skip


def test_info_counts_running_statistics_apart(blob_file, tmp_path):
    arguments = ("--dataset", blob_file, "--out", tmp_path, *QUICK, "--kernels", "reference")
    done = invoke("train", *arguments, "--norm", "batch", "--dropout", "0.5", "--json")
    run = events(done.stdout)[-1]["run"]
    text = invoke("info", run).stdout
    assert re.search(r"^ +0  batch norm +16 +16 +32 +32 +128$", text, re.M)
    assert max(map(len, text.split("classes")[0].splitlines()[2:])) <= 80
    (values,) = events(invoke("info", run, "--json").stdout)
    assert values["parameters"] == 259 + 32 - 16  # a batch norm has no bias before it


def test_info_knows_files_of_the_first_format(run):
    """They say nothing of blocks, objective or mirror: all were plain."""
    from fastnn.training import checkpoint

    file = Path(run, "best.safetensors")
    arrays, meta = checkpoint.load(file)
    before = invoke("info", run).stdout
    old = {k: v for k, v in meta["model"].items() if k not in ("blocks", "objective", "mirror")}
    checkpoint.save(file, arrays, meta | {"model": old, "format": 1})
    assert checkpoint.load(file)[1]["format"] == 1
    assert invoke("info", run).stdout == before


def test_a_dry_run_shows_everything_and_writes_nothing(blob_file, tmp_path):
    home = tmp_path / "runs"
    arguments = ("--dataset", blob_file, "--out", home, *QUICK, "--dry-run", "--norm", "layer")
    text = invoke("train", *arguments).stdout
    assert "270 examples to learn from, 30 to validate on, 300 to test" in text
    assert re.search(r"^ +0  layer norm +16 +16 +32 +128$", text, re.M)
    assert re.search(r"^steps +9 an epoch, 18 in all$", text, re.M)
    assert re.search(r"^memory +\d+\.\d MiB$", text, re.M)
    assert re.search(r"^norm +layer$", text, re.M)
    (done,) = events(invoke("train", *arguments, "--json").stdout)
    assert (done["event"], done["steps"], done["parameters"]) == ("done", 18, 259 + 32)
    assert done["config"]["norm"] == "layer"
    assert done["memory"]["data"] == 300 * (12 + 8)
    assert not home.exists()
    assert "--dry-run" in invoke("train", "--resume", "x", "--dry-run", code=2).stderr


def test_doctor_checks_gradients_and_reports_the_gpu():
    found = events(invoke("doctor", "--json").stdout)
    topics = {finding["topic"]: finding for finding in found[:-1]}
    assert topics["gradients"]["state"] == "ok"
    assert topics["gpu"]["text"]
    assert topics["blas"]["text"]
    assert "gradients" in invoke("doctor").stdout


def test_doctor_warns_of_a_forced_blas_architecture(monkeypatch):
    from fastnn import blas
    from fastnn.cli import doctor

    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    monkeypatch.setattr(doctor, "_architecture_without_override", lambda: "SkylakeX")
    facts = {"blas": "openblas", "blas_architecture": "Haswell", "blas_threads": "2"}
    monkeypatch.setattr(blas, "facts", lambda: facts)
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    (warning,) = [
        finding for finding in events(invoke("doctor", "--json").stdout)
        if finding.get("state") == "warning"
    ]  # fmt: skip
    assert "OPENBLAS_CORETYPE=Haswell" in warning["text"]
    assert "SkylakeX" in warning["text"]


def test_doctor_finds_wrong_gradients(monkeypatch):
    from types import SimpleNamespace

    from fastnn.nn import gradcheck

    monkeypatch.setattr(gradcheck, "check_gradients", lambda *_: SimpleNamespace(worst=1e-3))
    found = events(invoke("doctor", "--json", code=1).stdout)
    assert {f["topic"]: f["state"] for f in found[:-1]}["gradients"] == "broken"
    assert found[-1]["broken"] is True


def test_doctor_warns_where_other_processes_are_busy(monkeypatch):
    from fastnn import blas

    facts = {"blas": "openblas", "blas_architecture": "Zen", "blas_threads": "2"}
    monkeypatch.setattr(blas, "facts", lambda: facts)
    monkeypatch.setattr(blas, "usable_cores", lambda: 2)
    for load, expected in ((0.2, 0), (1.9, 1)):
        monkeypatch.setattr(os, "getloadavg", lambda load=load: (load, 0.0, 0.0))
        found = [event.get("text", "") for event in events(invoke("doctor", "--json").stdout)]
        assert sum("OPENBLAS_NUM_THREADS=1" in text for text in found) == expected


def test_data_list_names_all_sets_and_where_they_are():
    listed = {event["name"] for event in events(invoke("data", "list", "--json").stdout)}
    assert listed == {"fashion-mnist", "mnist", "garments"}
    assert "fastnn data fetch mnist" in invoke("data", "list").stdout


def test_data_fetch_offline_says_so():
    assert "FASTNN_OFFLINE" in invoke("data", "fetch", "mnist", code=3).stderr
    assert "did you mean 'mnist'" in invoke("data", "fetch", "mnits", code=3).stderr


def test_data_show_draws_images_with_captions(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    text = invoke("data", "show", "garments", "--count", "2").stdout
    lines = text.splitlines()
    assert len(lines) == 15  # 14 rows of signs and the captions
    assert max(map(len, lines)) <= 60
    assert any("@" in line or "#" in line for line in lines)
    assert "\x1b" not in text


def test_data_show_refuses_tables(tmp_path):
    (tmp_path / "t.csv").write_text("label,a,b\n0,1,2.5\n1,3,4\n")
    assert "expected pictures" in invoke("data", "show", tmp_path / "t.csv", code=3).stderr


def options_of(verb: str) -> set[str]:
    from typer.main import get_command

    command = get_command(app).commands[verb]
    return {flag for option in command.params for flag in (*option.opts, *option.secondary_opts)}


def test_every_setting_is_an_option_of_train():
    expected = {"--" + item.name.replace("_", "-") for item in fields(TrainConfig)}
    assert expected <= options_of("train")
    assert {"--lr", "--no-residual", "--no-flip", "--no-flip-test", "--no-nesterov"} <= options_of(
        "train"
    )


def test_every_option_reaches_its_setting(blob_file, tmp_path):
    """Each with a value that is not its default, so that none can be lost or swapped."""
    text = """
        --limit-train 200 --val 0.25 --scaling standard --hidden 8,8 --activation tanh,gelu
        --norm layer --dropout 0.125 --input-dropout 0.0625 --residual --init glorot-uniform
        --label-smoothing 0.1 --class-weight 0=2,2=0.5 --epochs 2 --batch-size 50 --optimizer adamw
        --lr 0.01 --beta1 0.8 --beta2 0.7 --eps 1e-6 --weight-decay 0.001
        --clip-norm 3 --clip-value 2 --ema 0.9 --schedule step --warmup 1 --schedule-every 2
        --schedule-factor 0.5 --patience 7 --max-time 1.5m --target-accuracy 0.01 --seed 3
        --device cpu --threads 1 --kernels reference --save-every 2
    """
    arguments = text.split()
    done = invoke("train", "--dataset", blob_file, "--out", tmp_path / "r", *arguments, "--json")
    saved = json.loads(Path(events(done.stdout)[-1]["run"], "config.json").read_text())
    assert saved | {
        "limit_train": 200, "val": 0.25, "scaling": "standard", "hidden": [8, 8],
        "activation": ["tanh", "gelu"], "norm": "layer", "dropout": 0.125, "input_dropout": 0.0625,
        "residual": True, "init": "glorot-uniform", "label_smoothing": 0.1,
        "class_weight": {"0": 2.0, "2": 0.5}, "epochs": 2, "batch_size": 50, "optimizer": "adamw",
        "learning_rate": 0.01, "beta1": 0.8, "beta2": 0.7,
        "eps": 1e-6, "weight_decay": 0.001, "clip_norm": 3, "clip_value": 2, "ema": 0.9,
        "schedule": "step", "warmup": 1, "schedule_every": 2, "schedule_factor": 0.5, "patience": 7,
        "max_time": 90, "target_accuracy": 0.01, "seed": 3, "device": "cpu", "threads": 1,
        "kernels": "reference", "save_every": 2,
    } == saved  # fmt: skip
    assert {name for name, value in TrainConfig().to_dict().items() if saved[name] == value} == {
        "data_dir", "test_data", "label", "shift", "flip", "cutout", "flip_test", "loss",
        "huber_delta", "precision", "momentum", "nesterov",
    }  # fmt: skip


def test_momentum_reaches_sgd_and_nobody_else(blob_file, tmp_path):
    arguments = ("--dataset", blob_file, "--out", tmp_path / "r", *QUICK, "--momentum", "0.5")
    done = invoke("train", *arguments, "--nesterov", "--optimizer", "sgd", "--json")
    saved = json.loads(Path(events(done.stdout)[-1]["run"], "config.json").read_text())
    assert (saved["momentum"], saved["nesterov"]) == (0.5, True)
    refused = invoke("train", *arguments, code=2)
    assert "momentum: belongs to sgd, and optimizer is adam; remove one" in plain(refused.stderr)


def test_pictures_are_varied_and_switches_can_be_taken_back(tmp_path):
    settings = tmp_path / "flipped.toml"
    settings.write_text("flip = true\nflip_test = true\n")
    done = invoke(
        "train", "--dataset", "garments", "--limit-train", "200", "--epochs", "1", "--hidden", "8",
        "--config", settings, "--no-flip", "--shift", "2", "--cutout", "5", "--out", tmp_path / "r",
        "--json",
    )  # fmt: skip
    saved = TrainConfig.from_file(Path(events(done.stdout)[-1]["run"], "config.json"))
    assert (saved.flip, saved.flip_test, saved.shift, saved.cutout) == (False, True, 2, 5)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("60s", 60), ("5m", 300), (" 1.5 h ", 5400), (".5", 0.5)]
)
def test_times_can_be_given_in_units(text, seconds):
    from fastnn.cli import options

    assert options.seconds(text) == seconds


def test_the_help_fits_a_narrow_terminal_and_has_titles():
    text = invoke("train", "--help", env={"COLUMNS": "80"}).stdout
    assert max(map(len, text.splitlines())) <= 80
    titles = re.findall(r"^(\w.*):$", text, re.M)
    assert titles == [
        "Data", "Network", "Loss", "Training", "Optimizer", "Learning rate over time",
        "When to end", "Machine", "Command",
    ]  # fmt: skip
    network = text.split("Network:")[1].split("Loss:")[0]
    assert "--dropout" in network
    assert "--resume" in text.split("Command:")[1]


def test_help_and_version():
    assert "fastnn train" in invoke("--help").stdout
    assert re.match(r"fastnn \d+\.\d+\.\d+", invoke("--version").stdout)
    text = plain(invoke("train", "--help").stdout)
    for flag in ("--dataset", "--hidden", "--resume", "--recipe", "--json"):
        assert flag in text


def test_debug_lets_the_traceback_through(tmp_path):
    command = [sys.executable, "-m", "fastnn", "--debug", "evaluate", str(tmp_path / "absent")]
    answer = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    assert answer.returncode == 1
    assert "CheckpointError" in answer.stderr


def test_predictions_into_a_closed_pipe_end_quietly(run, tmp_path):
    np.save(tmp_path / "many.npy", np.zeros((200_000, 12), np.uint8))
    command = f"{sys.executable} -m fastnn predict {run} {tmp_path}/many.npy | head -n 1"
    answer = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, env=os.environ
    )
    assert answer.stdout == "index,class,name,probability\n"
    assert answer.stderr == ""
    assert answer.returncode == 141


def test_the_epoch_line_keeps_what_matters_most():
    from fastnn.cli.progress import _fitted

    parts = [(9, "epoch 1/2"), (6, "loss 1"), (8, "acc 2"), (1, "lr 3")]
    assert _fitted(parts, 100) == "epoch 1/2  loss 1  acc 2  lr 3"
    assert _fitted(parts, 24) == "epoch 1/2  loss 1  acc 2"
    assert _fitted(parts, 18) == "epoch 1/2  acc 2"
    assert _fitted(parts, 3) == "epoch 1/2"


def test_the_time_left_follows_the_pace_of_this_process(monkeypatch, blob_data):
    from types import SimpleNamespace

    from fastnn.cli import progress

    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    bar = progress.Progress(blob_data, progress.stderr_console())
    bar._first_epoch = 4.0  # resumed there
    trainer = SimpleNamespace(
        epoch=4, position=0, steps_per_epoch=10, epochs=10, time_left=math.inf
    )
    assert bar._remaining(trainer) == "-:--"
    now[0], trainer.epoch, trainer.position = 130.0, 5, 5  # one and a half epochs in 30 s
    assert bar._remaining(trainer) == "1:30"  # four and a half to go
    trainer.time_left = 45.0
    assert bar._remaining(trainer) == "0:45"


def test_figures_that_are_not_finite_become_null(capsys):
    from fastnn.cli.output import emit

    emit("x", {"a": float("nan"), "b": float("inf"), "c": 1.5})
    assert json.loads(capsys.readouterr().out) == {
        "schema": 1, "event": "x", "a": None, "b": None, "c": 1.5,
    }  # fmt: skip


def test_an_interrupt_outside_training_is_130(monkeypatch, run):
    def interrupted(*_args):
        raise KeyboardInterrupt

    monkeypatch.setattr("fastnn.training.checkpoint.load", interrupted)
    assert "interrupted" in invoke("info", run, code=130).stderr


def test_a_name_that_the_system_refuses_is_not_blamed_on_stdout():
    error = invoke("info", "x" * 300, code=1).stderr
    assert "stdout" not in error
    assert "x" * 300 in error


def test_predict_and_evaluate_know_the_label_column_of_the_run(tmp_path):
    rows = "\n".join(f"{n % 7},{n % 5},{'even' if n % 2 else 'odd'}" for n in range(60))
    table = tmp_path / "table.csv"
    table.write_text(f"a,b,kind\n{rows}\n")
    trained = invoke(
        "train", "--dataset", table, "--label", "-1", "--out", tmp_path / "runs", *QUICK, "--json"
    )
    run = events(trained.stdout)[-1]["run"]
    assert "60 examples, 2 classes of column 'kind' (even, odd)" in trained.stderr
    assert len(invoke("predict", run, table).stdout.splitlines()) == 61
    (done,) = events(invoke("evaluate", run, "--test-data", table, "--json").stdout)
    assert done["count"] == 60
    other = tmp_path / "other.csv"
    other.write_text(f"b,a,kind\n{rows}\n")
    for verb in (["predict", run, other], ["evaluate", run, "--test-data", other]):
        assert "expected the column" in invoke(*verb, code=3).stderr


def test_data_that_changed_are_noticed_when_evaluated(tmp_path):
    table = tmp_path / "table.npz"
    x, y = np.arange(40, dtype=np.uint8).reshape(20, 2), np.arange(20) % 2
    np.savez(table, x_train=x, y_train=y, x_test=x, y_test=y)
    arguments = ("--dataset", table, "--out", tmp_path / "runs", *QUICK, "--json")
    run = events(invoke("train", *arguments).stdout)[-1]["run"]
    np.savez(table, x_train=x, y_train=y + 5, x_test=x, y_test=y + 5)
    assert "no longer what the network was trained on" in invoke("evaluate", run, code=3).stderr


def test_an_untrained_network_says_so(blob_file, tmp_path):
    arguments = ("--dataset", blob_file, "--out", tmp_path / "r", "--epochs", "0", "--json")
    run = events(invoke("train", *arguments).stdout)[-1]["run"]
    assert "never trained" in invoke("evaluate", run).stderr


def test_a_missing_gpu_is_told_before_data_are_read(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    invoke("train", "--device", "cuda", "--dataset", "absent.csv", code=4)


def test_hidden_none_is_a_linear_model(blob_file, tmp_path):
    arguments = ("--dataset", blob_file, "--out", tmp_path / "r", "--epochs", "0", "--json")
    first, *_ = events(invoke("train", *arguments, "--hidden", " none ").stdout)
    assert first["sizes"] == [12, 3]


def test_names_that_stdout_cannot_encode_are_escaped(tmp_path):
    table = tmp_path / "table.csv"
    table.write_text("label,a\nblå,1\ngrün,2\nblå,3\n", encoding="utf-8")
    run = [sys.executable, "-m", "fastnn", "train", "--dataset", str(table), "--val", "0", "-q"]
    run += ["--epochs", "1", "--out", str(tmp_path / "runs")]
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    subprocess.run(run, check=True, capture_output=True, env=environment)
    (folder,) = (tmp_path / "runs").iterdir()
    predict = [sys.executable, "-m", "fastnn", "predict", str(folder), str(table)]
    answer = subprocess.run(predict, capture_output=True, text=True, env=environment)
    assert answer.returncode == 0, answer.stderr
    assert "bl\\xe5" in answer.stdout or "gr\\xfcn" in answer.stdout


def test_a_warning_of_the_library_is_one_line_on_stderr(monkeypatch, capsys):
    import warnings

    from fastnn.cli import app

    monkeypatch.setattr(app, "app", lambda: warnings.warn("steps are slow", stacklevel=2))
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        app.main()
    assert capsys.readouterr().err == "WARNING: steps are slow\n"


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="this system has no full device")
def test_help_that_cannot_be_written_ends_without_a_traceback():
    with Path("/dev/full").open("wb") as full:
        answer = subprocess.run(
            [sys.executable, "-m", "fastnn", "--help"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert answer.returncode == 1
    assert "Traceback" not in answer.stderr


def test_labels_that_are_numbers_to_predict_are_guessed(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("a,price,rent\n" + "".join(f"{n},{n * 7},{n}\n" for n in range(60)))
    said = plain(invoke("train", "--dataset", table, "--label", "price", code=2).stderr)
    assert "there is --loss mse" in said
    said = plain(invoke("train", "--dataset", table, "--label", "price,rent", code=3).stderr)
    assert "there is --loss mse" in said
    assert "did you mean" not in said
