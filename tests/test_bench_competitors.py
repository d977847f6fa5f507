"""Everybody does the same work: the same rows in the same order, and the same losses."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fastnn.bench import memory, ours
from fastnn.bench.competitors import Entrant, Problem, Skipped, imported
from fastnn.bench.facts import caption, caveats, machine_facts
from fastnn.bench.ours import Fastnn
from fastnn.bench.record import AGREE_AFTER, AGREE_WITHIN
from fastnn.bench.roster import PEERS, chosen_peers, devices, roster
from fastnn.errors import ConfigError, DeviceError
from tests.bench_doubles import small_problem

ROOT = Path(__file__).parent.parent


# In a process of its own: JAX, once imported, forbids every later os.fork, and other tests need it.
CHILD = """
import json, sys
from fastnn.bench.competitors import Skipped
from fastnn.bench.record import AGREE_AFTER
from fastnn.bench.roster import PEERS
from tests.bench_doubles import small_problem

family, problem = sys.argv[1], small_problem()
before = [w.copy() for w, _ in problem.start]
losses = {}
try:
    for entrant in PEERS[family]("cpu"):
        if entrant.name == "torch.compile":
            continue  # takes a compiler and many seconds; `fastnn bench` compares it in each run
        for batch in (32, 128):
            competitor = entrant.make(problem, batch, "cpu")
            competitor.run(1)
            competitor.run(AGREE_AFTER - 1)
            losses[f"{entrant.name}, {batch}"] = competitor.loss()
except Skipped as reason:
    print(json.dumps({"skipped": str(reason)}))
else:
    same = all((w == now).all() for w, (now, _) in zip(before, problem.start))
    print(json.dumps({"losses": losses, "start_untouched": same}))
"""


def test_batches_are_full_and_start_again_at_the_front():
    rows = small_problem().rows(128)  # of 300
    assert [next(rows).start for _ in range(5)] == [0, 128, 0, 128, 0]


@pytest.mark.parametrize("batch", [32, 300])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kernels", ["reference", "fused", "captured"])
def test_from_scratch_agrees_with_fastnn_over_twenty_steps(batch, dtype, kernels, request):
    from fastnn.bench.from_scratch import FromScratch

    if kernels != "reference":
        request.getfixturevalue("numba")
    problem = small_problem()
    mine = Fastnn(problem, batch, "cpu", kernels=kernels)
    theirs = FromScratch(problem, batch, "cpu", dtype=dtype)
    for _ in range(20):
        mine.run(1)
        theirs.run(1)
        assert theirs.loss() == pytest.approx(mine.loss(), rel=1e-5)


@pytest.mark.parametrize("family", PEERS)
def test_peers_agree_with_fastnn_and_leave_the_start_alone(family):
    command = [sys.executable, "-c", CHILD, family]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    found = json.loads(answer.stdout.splitlines()[-1])
    if "skipped" in found:
        pytest.skip(f"{family}: {found['skipped']}")
    expected = {}
    for batch in (32, 128):
        mine = Fastnn(small_problem(), batch, "cpu")
        mine.run(AGREE_AFTER)
        expected[batch] = mine.loss()
    for name, loss in found["losses"].items():
        batch = int(name.split(", ")[1])
        assert loss == pytest.approx(expected[batch], rel=AGREE_WITHIN["float32"]), name
    assert found["start_untouched"]


def test_the_roster_begins_with_fastnn_and_says_who_is_missing(without_numba, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    found, skipped = roster(["cpu"], ["numpy", "torch"])
    assert [entrant.key for entrant in found] == [
        "fastnn NumPy", "products alone", "from-scratch", "from-scratch float64",
    ]  # fmt: skip
    assert "torch" in skipped


def test_every_path_of_the_cpu_takes_part(numba):
    assert list(ours.paths("cpu")) == ["fastnn", "fastnn fused", "fastnn NumPy"]
    problem = small_problem()
    steps = {e.name: e.make(problem, 32, "cpu")._steps for e in ours.entrants("cpu")}
    paths = {name: each.path for name, each in steps.items()}
    assert paths == {"fastnn": "captured", "fastnn fused": "fused", "fastnn NumPy": "reference"}


def test_a_missing_package_is_told_from_a_broken_one(tmp_path, monkeypatch):
    with pytest.raises(Skipped, match=r"not installed \(pip install no-such"):
        imported("no_such_module", "no-such")
    (tmp_path / "half_installed.py").write_text("raise OSError('no libfoo.so')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(Skipped, match=r"no libfoo\.so.*reinstall half"):
        imported("half_installed", "half")


def test_peers_are_chosen_by_name():
    assert chosen_peers("all") == tuple(PEERS)
    assert chosen_peers("none") == ()
    assert chosen_peers("jax, torch") == ("torch", "jax")
    with pytest.raises(ConfigError, match="'tork'.*did you mean 'torch'"):
        chosen_peers("tork")


def test_auto_measures_what_there_is(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    found, skipped = devices("auto")
    assert found == ["cpu"]
    assert "CuPy is" in skipped["cuda"]
    with pytest.raises(DeviceError):
        devices("cuda")


def test_names_tell_the_device():
    assert Entrant("torch", "torch", "cpu", Fastnn).key == "torch"
    assert Entrant("torch", "torch", "cuda:1", Fastnn).key == "torch (cuda)"


def test_facts_name_machine_versions_and_overrides(monkeypatch):
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    found = machine_facts()
    assert set(found) >= {
        "date", "fastnn", "commit", "processor", "cores", "numpy", "blas", "blas_architecture",
        "blas_threads", "precision", "peers", "python", "device",
    }  # fmt: skip
    assert found["overrides"]["OPENBLAS_CORETYPE"] == "Haswell"
    assert "OPENBLAS_CORETYPE=Haswell" in caveats(found | {"load_before": 0.0})[0]
    busy = {"overrides": {}, "load_before": 3.0, "cores": "2"}
    assert "busy during the last minute" in caveats(busy)[0]
    assert caveats(busy | {"load_before": 0.1}) == []
    assert found["processor"] in caption(found)
    gpu = found | {"gpu": "H200", "cuda_runtime": "13.0", "cupy": "14.2", "precision": "tf32"}
    assert "H200, CuPy 14.2 with CUDA 13.0" in caption(gpu)
    assert caption(gpu).endswith("products in tf32.")


def test_memory_of_a_child_process_is_plausible():
    (entrant, *_), _ = roster(["cpu"], [])
    (mebibytes,) = memory.peak_memory([entrant], 128, Problem(small_problem().examples)).values()
    assert 5 < mebibytes < 200  # five vectors of 2 MiB, and a batch's activations


def test_a_child_that_fails_is_left_out_with_its_reason():
    said = []
    nobody = Entrant("nobody", "numpy", "cpu", Fastnn)
    assert memory.peak_memory([nobody], 32, small_problem(), say=said.append) == {}
    assert said == ["nobody: memory not measured: StopIteration"]
