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


def test_tests_that_are_all_skipped_are_no_success(gpu, monkeypatch, tmp_path):
    from types import SimpleNamespace

    check = gpu_check.Check(get_backend("cuda"), tmp_path)
    for last, code, ok in (
        ("307 skipped, 1419 deselected in 2.28s", 0, False),
        ("12 passed, 3 skipped in 9s", 0, True),
        ("1 failed, 12 passed in 9s", 1, False),
    ):
        answer = SimpleNamespace(returncode=code, stdout=f"...\n{last}\n", stderr="")
        monkeypatch.setattr(gpu_check, "_run", lambda command, answer=answer: answer)
        assert check.tests()["ok"] is ok


def test_a_folder_that_cannot_be_is_refused(gpu, monkeypatch, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert run_main(monkeypatch, "--out", str(tmp_path / "file" / "x")) == 1
    assert "error: --out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--precision", "tf32", "--device", "cpu"], 2, "needs an NVIDIA GPU"),
        (["--seeds", "0"], 2, "--seeds: 0 must be at least 1"),
        (["--device", "nonsense"], 2, "device: 'nonsense'"),
    ],
)
def test_time_to_accuracy_refuses_in_one_line(monkeypatch, capsys, arguments, code, words):
    from scripts import time_to_accuracy
    from tests.conftest import blobs as small

    monkeypatch.setattr(time_to_accuracy, "load_data", lambda config: small())
    monkeypatch.setattr(sys, "argv", ["time_to_accuracy", *arguments])
    with pytest.raises(SystemExit) as ended:
        time_to_accuracy.main()
    assert ended.value.code == code
    assert words in capsys.readouterr().err


def test_time_to_accuracy_notes_when_each_threshold_is_passed(monkeypatch, capsys):
    from scripts import time_to_accuracy

    monkeypatch.setattr(time_to_accuracy, "load_data", lambda config: blobs())
    monkeypatch.setattr(
        sys, "argv", ["time_to_accuracy", "--device", "cpu", "--seeds", "2", "--json"]
    )
    time_to_accuracy.main()
    (found,) = json.loads(capsys.readouterr().out)["contestants"].values()
    assert found["88%"]["reached"] == 2
    assert 0 < found["88%"]["mean"] <= found["seconds of all epochs"]["mean"]
    assert found["last accuracy"]["mean"] > 0.9
