"""`fastnn bench`: what it prints, refuses before it measures, writes and returns."""

import json
import signal
import sys

import pytest

from fastnn.bench import roster, study, timing
from fastnn.bench.competitors import Problem
from fastnn.bench.record import load
from fastnn.errors import DeviceError
from tests.bench_doubles import World, figure, record, small_problem
from tests.test_cli import events, invoke

QUICK = ("--batch-sizes", "32", "--rounds", "2", "--device", "cpu")


@pytest.fixture
def quick(monkeypatch):
    """Small data and short rounds."""
    monkeypatch.setattr(Problem, "drawn", classmethod(lambda cls, *given: small_problem()))
    monkeypatch.setattr(study, "Clock", lambda: timing.Clock(round_seconds=0.001, pause=0.0))


@pytest.fixture
def forbidden(monkeypatch):
    """Whoever measures here has checked too little before."""

    def measure(*args, **kwargs):
        raise AssertionError("measured")

    monkeypatch.setattr(study, "study", measure)


def test_a_real_run_takes_seconds_and_agrees(without_numba, tmp_path):
    result = invoke("bench", *QUICK, "--peers", "numpy", "--save", tmp_path / "r.json")
    names = [line.split("  ")[0] for line in result.stdout.splitlines()[2:7]]
    expected = ["batch", "fastnn NumPy", "products alone", "from-scratch", "from-scratch float64"]
    assert names == expected
    assert "Measured on" in result.stdout
    assert "batch 32 (1 of 1)" in result.stderr
    assert load(tmp_path / "r.json").names() == expected[1:]


def test_json_lines(quick, without_numba):
    skipped, *rows, done = events(invoke("bench", *QUICK, "--peers", "none", "--json").stdout)
    assert skipped["name"] == "fastnn with compiled kernels"
    assert "pip install numba" in skipped["reason"]
    assert [row["event"] for row in rows] == ["measured", "measured"]
    assert [row["name"] for row in rows] == ["fastnn NumPy", "products alone"]
    assert rows[0]["per_second"] == pytest.approx(32e6 / rows[0]["median"])
    assert (done["event"], done["crossover"], done["disagreements"]) == ("done", None, [])


def test_any_network_can_be_measured(monkeypatch, tmp_path):
    monkeypatch.setattr(study, "Clock", lambda: timing.Clock(round_seconds=0.001, pause=0.0))
    save = tmp_path / "tiny.json"
    invoke("bench", *QUICK, "--network", "20-32-2", "--peers", "numpy", "--save", save)
    assert load(save).facts["network"] == "20-32-2"


def test_pictures_and_record_are_written(quick, tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    png, svg = tmp_path / "a.png", tmp_path / "a.svg"
    result = invoke("bench", *QUICK, "--peers", "none", "--plot", png, "--plot", svg)
    assert png.read_bytes().startswith(b"\x89PNG")
    assert svg.exists()
    assert f"written: {png}, {svg}" in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "a.svg"]


def old_record(tmp_path, microseconds):
    path = tmp_path / "old.json"
    path.write_text(record({32: {"fastnn NumPy": figure(microseconds)}}).to_json())
    return path


def test_a_regression_is_exit_code_6(quick, tmp_path):
    old = old_record(tmp_path, 1e-3)
    save = tmp_path / "new.json"
    result = invoke(
        "bench", *QUICK, "--peers", "none", "--compare", old, "--fail-if", "10%", "--save", save,
        code=6,
    )  # fmt: skip
    assert "slower than --fail-if 10% allows: batch 32: fastnn NumPy 0 ->" in result.stderr
    assert save.exists()
    assert "note: competitors only in the new record: " in result.stderr
    assert "note: processor was 'A Chip'" in result.stderr


def test_no_regression_and_no_gate_are_fine(quick, tmp_path):
    slow, fast = old_record(tmp_path, 1e9), tmp_path / "fast.json"
    invoke("bench", *QUICK, "--peers", "none", "--compare", slow, "--fail-if", "0.1")
    fast.write_text(record({32: {"fastnn NumPy": figure(1e-3)}}).to_json())
    assert "us (+" in invoke("bench", *QUICK, "--peers", "none", "--compare", fast).stdout


def test_losses_that_disagree_are_exit_code_6_and_loud(quick, monkeypatch):
    world = World()
    made = [world.entrant("a"), world.entrant("b"), world.entrant("c", loss=2.0)]
    monkeypatch.setattr(roster, "roster", lambda *args: (made, {}))
    monkeypatch.setattr(study, "Clock", world.clock)
    result = invoke("bench", *QUICK, "--peers", "none", code=6)
    assert "losses disagree. batch 32: c has loss 2.000000" in result.stderr


def test_what_is_missing_is_a_line(quick, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert "torch: not measured: " in invoke("bench", *QUICK, "--peers", "torch").stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--batch-sizes", "32,x"], 2, "--batch-sizes: '32,x' must be numbers from 1 to 60000"),
        (["--batch-sizes", "0"], 2, "--batch-sizes: '0'"),
        (["--batch-sizes", "70000"], 2, "--batch-sizes: '70000'"),
        (["--network", "20x2"], 2, "--network: '20x2' must be widths"),
        (["--network", "20"], 2, "--network: '20' must be widths"),
        (["--peers", "keras"], 2, "peers: 'keras' is not one of"),
        (["--device", "gpu"], 2, "device: 'gpu'"),
        (["--fail-if", "10%"], 2, "--fail-if needs --compare"),
        (["--compare", "OLD", "--fail-if", "ten"], 2, "--fail-if: 'ten'"),
        (["--compare", "absent.json"], 3, "absent.json: there is no such file"),
        (["--compare", "OLD", "--batch-sizes", "64", "--peers", "none"], 3, "nothing in common"),
        (["--save", "r.txt"], 2, "save: 'r.txt' must end with .json"),
        (["--save", "absent/r.json"], 1, "absent/r.json: cannot be written (No such file"),
        (["--save", "FOLDER"], 1, "is a folder"),
        (["--plot", "p.bmp"], 2, "plot: 'p.bmp' must end with"),
    ],
)
def test_mistakes_are_found_before_anything_is_measured(
    forbidden, tmp_path, arguments, code, words
):
    (tmp_path / "folder.json").mkdir()
    places = {"OLD": old_record(tmp_path, 1.0), "FOLDER": tmp_path / "folder.json"}
    result = invoke("bench", *(places.get(word, word) for word in arguments), code=code)
    assert words in result.stderr
    assert result.stdout == ""


def test_a_full_disk_is_found_before_anything_is_measured(forbidden, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    result = invoke("bench", *QUICK, "--save", tmp_path / "r.json", code=1)
    assert "cannot be written (No space left on device); nothing was measured" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_missing_matplotlib_is_found_before_anything_is_measured(
    forbidden, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = invoke("bench", *QUICK, "--plot", tmp_path / "p.png", code=2)
    assert "pip install matplotlib" in result.stderr


@pytest.mark.parametrize(
    ("ending", "code"),
    [
        (lambda: signal.raise_signal(signal.SIGINT), 130),
        (lambda: signal.raise_signal(signal.SIGTERM), 143),
        (lambda: (_ for _ in ()).throw(DeviceError("the GPU is gone", "Look for it")), 4),
    ],
    ids=["ctrl-c", "sigterm", "device"],
)
def test_whatever_ends_it_what_was_measured_is_kept(quick, tmp_path, monkeypatch, ending, code):
    from fastnn.cli import output

    note = output.note

    def end(text, *args, **kwargs):
        if text.startswith("batch 64"):
            list(ending() or ())
        note(text, *args, **kwargs)

    monkeypatch.setattr(output, "note", end)
    save = tmp_path / "r.json"
    result = invoke(
        "bench", "--batch-sizes", "32,64", "--rounds", "2", "--peers", "none", "--save", save,
        code=code,
    )  # fmt: skip
    assert "fastnn" in result.stdout
    assert list(json.loads(save.read_text())["batches"]) == ["32"]
    assert f"written: {save}" in result.stderr
    assert ("1 batch size was measured until then" in result.stderr) is (code != 4)


def test_an_unknown_precision_is_refused_before_anything_else(forbidden):
    text = invoke("bench", *QUICK, "--precision", "fp8", code=2).stderr
    assert "precision: 'fp8' is not one of float32, tf32" in text
