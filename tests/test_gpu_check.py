"""scripts/gpu_check.py, rehearsed on the stand-in: its times mean nothing, its verdicts do."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from fastnn.backend import get_backend
from fastnn.data.examples import Dataset, Examples
from fastnn.kernels.cuda import Fused
from scripts import gpu_check
from scripts.gpu import timing
from scripts.gpu.breakdown import breakdown
from scripts.gpu.parity import parity
from scripts.gpu.probe import probe
from tests.conftest import blobs


@pytest.fixture
def active(gpu, monkeypatch):
    monkeypatch.setattr(timing, "COPIES", 2)
    monkeypatch.setattr(timing, "REPLAYS", 1)
    backend = get_backend("cuda")
    with backend.activate():
        yield backend


def test_the_probe_finds_products_right_and_names_what_is_missing(active, gpu):
    found = probe(active, batches=(5,), cube=8)
    assert found["ok"]
    assert "NotImplementedError" in found["capture of cupy.matmul"]
    rows = found["tf32"]["products"]["5"]
    assert rows["layer 0 y RELU_BIAS_BITS"]["supported"]
    assert not any("layer 0 dx" in name for name in rows)
    gpu.lt.supported.remove(gpu.lt.Epilogue.BGRADA)
    rows = probe(active, batches=(5,), cube=8)["float32"]["products"]["5"]
    assert not rows["layer 2 dw SUM_OF_B"]["supported"]


def test_the_probe_finds_a_wrong_product(active, gpu, monkeypatch):
    right = gpu.lt.matmul

    def wrong(*arguments):
        right(*arguments)
        gpu.current.do(lambda: None)
        from tests.stand_in.fake_cublaslt import _at

        _at(arguments[10], np.float32, 1)[0] += 1

    monkeypatch.setattr(gpu.lt, "matmul", wrong)
    assert not probe(active, batches=(5,), cube=8)["ok"]


def test_parity_passes_and_finds_a_wrong_kernel(active, monkeypatch):
    data = blobs(classes=4)
    assert parity(active, data, epochs=2)["ok"]
    right = Fused.adam

    def wrong(self, p, *arguments, **options):
        right(self, p, *arguments, **options)
        right(self, p, *arguments, **options)

    monkeypatch.setattr(Fused, "adam", wrong)
    found = parity(active, data, epochs=2)
    assert not found["ok"]
    assert [row["ok"] for row in found["rows"]][:2] == [True, False]


def test_the_breakdown_names_every_launch(active):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, 784), dtype=np.uint8)
    examples = Examples(images, np.arange(60, dtype=np.int32) % 10)
    data = Dataset("noise", examples, None, tuple("abcdefghij"), (28, 28))
    found = breakdown(active, data, batches=(6,))["tf32, batch 6"]
    assert list(found) == [
        "page", "gather", "forward 0", "forward 1", "forward 2", "loss", "backward 2",
        "backward 1", "backward 0", "tally", "adam", "sum of these", "whole step, replayed",
    ]  # fmt: skip


def run_main(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["gpu_check", *arguments])
    with pytest.raises(SystemExit) as ended:
        gpu_check.main()
    return ended.value.code


def test_a_part_that_fails_is_written_and_the_others_run(gpu, monkeypatch, tmp_path, capsys):
    def broken(self):
        raise RuntimeError("not today")

    monkeypatch.setattr(gpu_check.Check, "parity", broken)
    arguments = ("--out", str(tmp_path / "out"), "--only", "parity,environment")
    assert run_main(monkeypatch, *arguments) == 1
    assert "failed: parity" in capsys.readouterr().out
    assert "not today" in json.loads((tmp_path / "out" / "parity.json").read_text())["error"]
    assert json.loads((tmp_path / "out" / "environment.json").read_text())["gpu"] == "Stand-in"
    assert run_main(monkeypatch, "--out", str(tmp_path), "--only", "environment") == 0


def test_without_a_gpu_it_says_so_and_ends_with_the_device_code(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert run_main(monkeypatch, "--out", str(tmp_path / "out")) == 4
    assert "error:" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_unknown_part_is_refused(monkeypatch, tmp_path, capsys):
    assert run_main(monkeypatch, "--out", str(tmp_path), "--only", "party") == 2
    assert "there are environment, probe" in capsys.readouterr().err
