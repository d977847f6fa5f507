"""Runs that are killed, signalled or choked, as real processes: nothing is lost or half-written."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from fastnn.training import checkpoint
from tests.conftest import blobs

KILLS = 20
SETTINGS = (
    "--hidden", "24", "--epochs", "12", "--batch-size", "16", "--save-every", "3", "--seed", "5",
    "--device", "cpu", "--quiet",
)  # fmt: skip
EVERYTHING = (
    "--norm", "batch", "--dropout", "0.2", "--input-dropout", "0.1", "--hidden", "24,24",
    "--residual", "--activation", "silu", "--label-smoothing", "0.1", "--class-weight", "0=2,2=0.5",
    "--shift", "1", "--flip", "--cutout", "1", "--flip-test", "--clip-norm", "1", "--ema", "0.9",
    "--optimizer", "adamw", "--weight-decay", "0.01", "--schedule", "cosine", "--max-time", "1h",
)  # fmt: skip


def listen() -> None:
    """Undo what a background job inherits: a SIGINT that is ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def start(*arguments: str) -> subprocess.Popen[str]:
    """`fastnn train`, not waited for: use it as a context manager, which closes its pipes."""
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "fastnn", "train", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        preexec_fn=listen,
    )  # fmt: skip


def finished(folder: Path):
    """All arrays of the final state, and its values without wall-clock times."""
    arrays, meta = checkpoint.load(folder / "last.safetensors")
    state = meta["state"]
    for report in [state, *state["history"]]:
        for key in ("seconds", "elapsed", "samples_per_second"):
            report.pop(key, None)
    best, _ = checkpoint.load(folder / "best.safetensors")
    return arrays, state, best


def assert_same(one: Path, other: Path) -> None:
    for mine, theirs in zip(finished(one), finished(other), strict=True):
        assert mine.keys() == theirs.keys()
        for key in mine:
            if isinstance(mine[key], np.ndarray):
                assert mine[key].tobytes() == theirs[key].tobytes(), key
            else:
                assert mine[key] == theirs[key], key


def only(folder: Path) -> Path:
    (run,) = folder.iterdir()
    return run


@pytest.fixture
def blob_file(tmp_path) -> Path:
    """The usual blobs, as pictures of 3 x 4 pixels."""
    data = blobs()
    path = tmp_path / "blobs.npz"
    np.savez(
        path,
        x_train=data.train.inputs.reshape(-1, 3, 4), y_train=data.train.labels,
        x_test=data.test.inputs.reshape(-1, 3, 4), y_test=data.test.labels,
    )  # fmt: skip
    return path


@pytest.fixture(params=["reference", "captured", "everything"])
def settings(request) -> tuple[str, ...]:
    """Steps called by the host, steps compiled, which come back only now and then, and all else."""
    if request.param == "everything":
        return (*SETTINGS, "--kernels", "reference", *EVERYTHING)
    if request.param == "captured":
        request.getfixturevalue("numba")
    return (*SETTINGS, "--kernels", request.param)


@pytest.fixture
def reference(blob_file, tmp_path, settings) -> Path:
    out = tmp_path / "whole"
    with start("--dataset", str(blob_file), "--out", str(out), *settings) as process:
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return only(out)


def killed_after(process: subprocess.Popen[str], seconds: float) -> bool:
    """Kill -9 unless the process has ended by itself within this time."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(60)
        return True
    assert process.returncode == 0, process.stderr.read()
    return False


def saved_states(home: Path) -> list[int]:
    return [path.stat().st_mtime_ns for path in home.glob("*/last.safetensors")]


def wait_for_a_save(process: subprocess.Popen[str], home: Path, before: list[int]) -> None:
    """Until this process has begun to train: its start-up is not what is to be killed."""
    while process.poll() is None and saved_states(home) in ([], before):
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.005)


def test_killed_at_random_moments_and_resumed_equals_never_killed(
    blob_file, tmp_path, reference, settings
):
    rng = random.Random(0)
    kills = chain = 0
    while kills < KILLS or chain < 2:  # and some come to their end between two kills
        chain += 1
        home = tmp_path / "killed" / str(chain)
        arguments = ["--dataset", str(blob_file), "--out", str(home), *settings]
        alive = True
        while alive:
            before = saved_states(home)
            with start(*arguments) as process:
                wait_for_a_save(process, home, before)
                alive = killed_after(process, rng.uniform(0.0, 0.3))
            kills += alive
            arguments = ["--resume", str(only(home)), "--quiet"]
        assert_same(reference, only(home))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_the_step_saves_and_says_how_to_go_on(
    blob_file, tmp_path, number, settings
):
    out = tmp_path / "signalled"
    endless = ("--epochs", "100000", "--json")
    with start("--dataset", str(blob_file), "--out", str(out), *settings, *endless) as process:
        for line in process.stdout:  # until the second epoch is under way
            if json.loads(line)["event"] == "epoch":
                break
        process.send_signal(number)
        rest, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert f"fastnn train --resume {only(out)}" in errors
    last = json.loads(rest.splitlines()[-1])
    assert (last["event"], last["code"]) == ("error", 128 + number)
    assert "Traceback" not in errors
    _, meta = checkpoint.load(only(out) / "last.safetensors")
    assert meta["state"]["epoch"] >= 1


def test_a_second_signal_ends_at_once_with_the_terminal_in_order(blob_file, tmp_path):
    """The first signal waits for the step, here one that never ends; the second does not."""
    code = (
        "import os, signal, sys, time\n"
        "from fastnn.training.callbacks import Callback\n"
        "from fastnn.training.config import TrainConfig\n"
        "from fastnn.training.run import train\n"
        "class Stuck(Callback):\n"
        "    def on_epoch_end(self, trainer, report):\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "        print('first', flush=True)\n"
        "        try: os.kill(os.getpid(), signal.SIGINT); time.sleep(60)\n"
        "        except KeyboardInterrupt: print('second', flush=True); raise\n"
        "train(TrainConfig(dataset=sys.argv[1], hidden=(4,)), out=sys.argv[2], callbacks=[Stuck()])"
    )
    command = [sys.executable, "-c", code, str(blob_file), str(tmp_path / "out")]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=30, preexec_fn=listen)
    assert answer.stdout.split() == ["first", "second"]


def test_progress_that_nobody_reads_does_not_end_the_run(blob_file, tmp_path):
    command = (
        f"{sys.executable} -m fastnn train --dataset {blob_file} --out {tmp_path}/out --hidden 4 "
        "--epochs 40 --json 2> >(head -n 1 > /dev/null)"
    )
    answer = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert answer.returncode == 0
    assert json.loads(answer.stdout.splitlines()[-1])["epochs"] == 40


def test_a_closed_stdout_is_no_error(blob_file, tmp_path):
    command = (
        f"{sys.executable} -m fastnn train --dataset {blob_file} --out {tmp_path}/out --hidden 4 "
        "--epochs 1 --quiet >&-"
    )
    answer = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert (answer.returncode, answer.stderr) == (0, "")


def test_a_reader_that_leaves_ends_the_run_quietly(blob_file, tmp_path):
    out = str(tmp_path / "piped")
    endless = ("--epochs", "100000", "--json")
    with start("--dataset", str(blob_file), "--out", out, *SETTINGS, *endless) as process:
        process.stdout.readline()
        process.stdout.close()
        errors = process.stderr.read()
    assert process.returncode == 141
    assert errors == ""


def test_a_folder_that_cannot_be_made_is_one_clear_line(blob_file, tmp_path):
    taken = tmp_path / "taken"
    taken.write_text("a file where a folder should be")
    with start("--dataset", str(blob_file), "--out", str(taken), *SETTINGS) as process:
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.count("\n") == 1
    assert str(taken) in errors


@pytest.mark.skipif(
    not Path("/dev/full").exists(), reason="needs /dev/full to simulate a full disk"
)
def test_a_full_disk_for_results_is_reported(blob_file, tmp_path):
    out = tmp_path / "full"
    with Path("/dev/full").open("w") as full:
        process = subprocess.run(
            [sys.executable, "-m", "fastnn", "train", "--dataset", str(blob_file), "--out",
             str(out), *SETTINGS],
            stdout=full, stderr=subprocess.PIPE, text=True, timeout=60,
        )  # fmt: skip
    assert process.returncode == 1
    assert "No space left" in process.stderr
    assert "Traceback" not in process.stderr
    assert (only(out) / "last.safetensors").exists()
