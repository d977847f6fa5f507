"""The benchmark's GPU side on the stand-in: who takes part, equal losses, the record."""

from __future__ import annotations

import json
import sys

import pytest

from fastnn.bench import ours, products
from fastnn.bench.competitors import Problem
from fastnn.bench.record import disagreements
from fastnn.bench.roster import devices
from fastnn.errors import DeviceError
from tests.bench_doubles import small_problem
from tests.test_cli import invoke


def test_every_path_of_the_device_takes_part(gpu, monkeypatch):
    assert list(ours.paths("cuda")) == ["fastnn", "fastnn fused", "fastnn reference"]
    assert list(ours.paths("cuda", "tf32")) == ["fastnn", "fastnn fused"]
    monkeypatch.setitem(sys.modules, "nvmath.bindings.cublasLt", None)
    assert list(ours.paths("cuda")) == ["fastnn fused", "fastnn reference"]


@pytest.mark.parametrize("steps", [5, 23])  # 300 examples are nine batches of 32: over two epochs
@pytest.mark.parametrize("precision", ["float32", "tf32"])
def test_all_paths_have_the_loss_of_the_cpu(gpu, precision, steps):
    *_, cpu = ours.entrants("cpu")
    competitors = {"cpu": cpu.make(small_problem(), 32, "cpu")}
    for entrant in ours.entrants("cuda", precision):
        competitors[entrant.key] = entrant.make(small_problem(precision), 32, "cuda")
    for competitor in competitors.values():
        competitor.run(steps)
    losses = {name: competitor.loss() for name, competitor in competitors.items()}
    assert disagreements(32, losses, precision) == []
    assert competitors["fastnn (cuda)"]._steps.path == "captured"
    assert competitors["fastnn fused (cuda)"]._steps.path == "fused"
    gpu.history.clear()
    competitors["fastnn (cuda)"].run(1)
    assert "synchronize" in gpu.history  # else only launches would be timed


def test_the_precision_is_that_of_the_problem(gpu):
    found = {}
    for precision in ("float32", "tf32"):
        competitor = ours.Fastnn(small_problem(precision), 32, "cuda", kernels="fused")
        competitor.run(5)
        found[precision] = competitor.loss()
    assert found["float32"] != found["tf32"]


def test_the_floor_is_a_graph_where_steps_are(gpu, monkeypatch):
    (floor,) = products.entrants("cuda")
    competitor = floor.make(small_problem(), 32, "cuda")
    gpu.counts.clear()
    competitor.run(7)
    assert gpu.counts["replays"] == 7
    monkeypatch.setitem(sys.modules, "nvmath.bindings.cublasLt", None)
    competitor = floor.make(small_problem(), 32, "cuda")
    gpu.counts.clear()
    competitor.run(7)
    assert gpu.counts["dot"] == 7 * 5


def test_tf32_leaves_the_cpu_out_or_needs_a_gpu(gpu, monkeypatch):
    places, skipped = devices("auto", "tf32")
    assert places == ["cuda:0"]
    assert skipped == {"cpu": "a CPU has no tf32"}
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(DeviceError):
        devices("auto", "tf32")


def test_the_command_measures_both_devices_and_names_the_crossing(gpu, monkeypatch, tmp_path):
    monkeypatch.setattr(Problem, "drawn", lambda sizes, precision: small_problem(precision))
    record = tmp_path / "record.json"
    arguments = ["--batch-sizes", "16,32", "--rounds", "1", "--peers", "none"]
    text = invoke("bench", *arguments, "--save", str(record)).stdout
    assert "the GPU" in text
    found = json.loads(record.read_text())
    assert set(found["batches"]["32"]) >= {
        "fastnn NumPy",
        "fastnn (cuda)",
        "fastnn reference (cuda)",
    }
    assert found["facts"]["gpu"] == "Stand-in"
    assert found["facts"]["precision"] == "float32"


def test_tf32_on_a_cpu_is_refused(monkeypatch):
    arguments = ["--device", "cpu", "--precision", "tf32", "--batch-sizes", "16"]
    assert "needs an NVIDIA GPU" in invoke("bench", *arguments, code=2).stderr
