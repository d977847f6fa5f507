"""What is seen of a training: on a real pseudo-terminal, in a log, with signs and without."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from fastnn.cli import progress
from fastnn.cli.sparkline import ASCII_BARS, BARS, sparkline
from tests.terminal import run_in_terminal

TRAIN = (
    sys.executable, "-m", "fastnn", "train", "--hidden", "16", "--batch-size", "32",
    "--device", "cpu", "--epochs", "4",
)  # fmt: skip


def command(data, out, *more: str) -> list[str]:
    return [*TRAIN, "--dataset", str(data), "--out", str(out), *more]


@pytest.mark.parametrize("columns", [60, 200])
def test_a_terminal_keeps_one_line_an_epoch(blob_file, tmp_path, columns):
    screen, raw, stdout = run_in_terminal(command(blob_file, tmp_path), columns)
    lines = screen.text()  # feeding it has checked that none was too long
    assert [line.split()[:2] for line in lines if line.startswith("epoch")] == [
        ["epoch", f"{n}/4"] for n in range(1, 5)
    ]
    assert not set("".join(lines)) & set(progress._LINE + BARS)
    assert set("━─") & set(raw)
    assert "ETA" in raw
    assert re.search(f"val loss [{BARS}]", raw)
    assert lines[-1] == ""  # where the bar was
    assert "run  " in stdout


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {}])
def test_colours_can_be_refused(blob_file, tmp_path, environment):
    screen, *_ = run_in_terminal(command(blob_file, tmp_path), 80, **environment)
    colours = {style for style in screen.styles if re.search(r"\b[34]\d\b", style)}
    assert bool(colours) is not bool(environment)


def test_a_terminal_without_unicode_gets_ascii(blob_file, tmp_path):
    _, raw, _ = run_in_terminal(command(blob_file, tmp_path), 80, PYTHONIOENCODING="ascii")
    assert re.search(f"val loss [{re.escape(ASCII_BARS)}]", raw)
    assert re.search(r"epoch 1/4  .*--", raw)
    assert "\\u" not in raw  # what `ascii` would make of bars


def test_a_dumb_terminal_gets_lines_alone(blob_file, tmp_path):
    screen, raw, _ = run_in_terminal(command(blob_file, tmp_path), 80, TERM="dumb")
    assert "\x1b" not in raw
    assert len([line for line in screen.text() if line.startswith("epoch ")]) == 4


@pytest.mark.parametrize("environment", [{}, {"FORCE_COLOR": "1"}])
def test_a_log_gets_a_whole_line_an_epoch(blob_file, tmp_path, environment):
    answer = subprocess.run(
        command(blob_file, tmp_path), capture_output=True, text=True, env=os.environ | environment
    )
    assert "\x1b" not in answer.stderr
    assert "\r" not in answer.stderr
    epochs = [line for line in answer.stderr.splitlines() if line.startswith("epoch ")]
    assert len(epochs) == 4
    assert all("lr 0.001" in line and "ETA" in line for line in epochs)


# ---- the line itself -----------------------------------------------------------------------------


def bar_at(width: int | None, monkeypatch, *, losses=(0.9, 0.5, 0.4), train=None, **trainer) -> str:
    """The bar 10 s into the fourth of a hundred epochs of 400 batches of 64."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    console = Console(width=width, force_terminal=True, stderr=True)
    display = progress.Progress(SimpleNamespace(), console)
    display._line, display._bars = progress._LINE, BARS
    history = [
        SimpleNamespace(valid_loss=loss, train_loss=fallen, samples_per_second=1234.0)
        for loss, fallen in zip(losses, train or losses, strict=True)
    ]
    state = {
        "epoch": 3, "epochs": 100, "position": 0, "steps_per_epoch": 400, "batch_size": 64,
        "history": history, "time_left": math.inf,
    }  # fmt: skip
    seen = SimpleNamespace(**(state | trainer))
    display._bar(seen)
    now[0], seen.position = 10.0, 100
    return display._bar(seen).plain


def test_a_wide_line_says_everything(monkeypatch):
    line = bar_at(200, monkeypatch)
    assert re.fullmatch(
        r"epoch 4/100  ━{10}─{30}  100/400 +640/s  ETA \d+:\d\d  val loss █▂▁", line
    )


def test_no_width_is_exceeded_and_what_matters_most_stays(monkeypatch):
    for width in range(14, 201):
        line = bar_at(width, monkeypatch, losses=tuple(np.linspace(2, 1, 99)), epoch=99)
        assert len(line) < width
        assert line.startswith("epoch 100/")
        found = [part in line for part in ("ETA", "━", "val loss █", "640/s", "100/400")]
        assert found == sorted(found, reverse=True)  # what matters less goes first
        assert width < 60 or found[:4] == [True] * 4
        assert width < 80 or all(found)


def test_the_line_follows_a_resized_terminal(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    columns = [200]
    size = "rich.console.os.get_terminal_size"
    monkeypatch.setattr(size, lambda _file: os.terminal_size((columns[0], 50)))
    wide = bar_at(None, monkeypatch)
    columns[0] = 60
    assert len(bar_at(None, monkeypatch)) < 60 < len(wide)


def test_without_validation_the_curve_is_that_of_training(monkeypatch):
    line = bar_at(100, monkeypatch, losses=(None,) * 3, train=(3.0, 2.0, 1.0))
    assert line.endswith("train loss █▅▁")
    assert "val" not in line


def test_before_the_first_epoch_ends_there_is_no_curve(monkeypatch):
    line = bar_at(100, monkeypatch, losses=(), epoch=0)
    assert "loss" not in line
    assert "640/s" in line


def test_throughput_is_that_of_the_epoch_under_way_or_of_the_last(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    trainer = SimpleNamespace(epoch=0, position=50, batch_size=10, history=[])
    speed = progress.Speed()
    assert speed.of(trainer) == 0  # resumed there a moment ago
    now[0], trainer.position = 2.0, 90
    assert speed.of(trainer) == 200
    now[0] = 50.0  # validation: the position rests
    assert speed.of(trainer) == 200
    trainer.epoch, trainer.position = 1, 0
    trainer.history = [SimpleNamespace(samples_per_second=210.0)]
    assert speed.of(trainer) == 210
    now[0], trainer.position = 51.0, 5
    assert speed.of(trainer) == 50


# ---- sparklines ----------------------------------------------------------------------------------


def test_bars_are_as_high_as_their_values():
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7]) == "▁▂▃▄▅▆▇█"
    assert sparkline([7, 0, 3.5], bars="abc") == "cab"
    assert sparkline([1, None, 2, math.inf]) == "▁ █ "
    assert sparkline(list(range(100)), 4) == "▁▃▆█"
    assert set(sparkline(list(range(8)), bars=ASCII_BARS)) == set(ASCII_BARS)
