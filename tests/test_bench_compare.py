"""Comparing records: shares from text, what is left out, the gate, and the crossover."""

import pytest

from fastnn.bench.compare import compare, limit_of, require_common
from fastnn.bench.crossover import crossover
from fastnn.errors import CheckFailed, ConfigError, DataError
from tests.bench_doubles import figure, record


@pytest.mark.parametrize(
    ("text", "share"),
    [("10%", 0.1), ("0.1", 0.1), (" 2.5 %", 0.025), ("0", 0), ("1", 1), ("150%", 1.5)],
)
def test_shares(text, share):
    assert limit_of(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["", "%", "ten", "10", "-5%", "nan", "inf%", "0,1", "10%%"])
def test_nonsense_is_no_share(text):
    with pytest.raises(ConfigError, match="must be a share such as 10%"):
        limit_of(text)


def test_what_both_have_is_compared_and_the_rest_is_named():
    old = record({32: {"fastnn": figure(100.0), "JAX": figure(80.0)}, 64: {"fastnn": figure(1.0)}})
    new = record({32: {"fastnn": figure(110.0), "torch": figure(90.0)}, 128: {}}, cores="8")
    found = compare(old, new)
    ((change),) = found.changes
    assert (change.batch, change.name, change.ratio) == (32, "fastnn", pytest.approx(1.1))
    assert str(change) == "batch 32: fastnn 100 -> 110 us (+10.0 %)"
    assert found.left_out == [
        "batch sizes only in the old record: 64",
        "competitors only in the old record: JAX",
        "batch sizes only in the new record: 128",
        "competitors only in the new record: torch",
    ]
    assert found.caveats == ["cores was '2', is '8'"]


def test_only_fastnn_can_fail_the_gate_and_only_beyond_the_limit():
    old = record({32: {"fastnn": figure(100.0), "JAX": figure(100.0, family="jax")}})
    new = record({32: {"fastnn": figure(109.0), "JAX": figure(300.0, family="jax")}})
    found = compare(old, new)
    found.check(0.10)
    with pytest.raises(CheckFailed, match="batch 32: fastnn 100 -> 109 us"):
        found.check(0.05)


def test_the_gate_does_not_pass_what_was_not_measured_again():
    """A GPU's path that is gone, say because the step can no longer be captured."""
    floor = figure(50.0, family="floor")
    old = record({32: {"fastnn": figure(100.0), "fastnn (cuda)": figure(9.0), "products": floor}})
    new = record({32: {"fastnn": figure(100.0), "products": floor}})
    with pytest.raises(CheckFailed, match=r"not measured again: fastnn \(cuda\) at batch 32"):
        compare(old, new).check(0.1)
    with pytest.raises(CheckFailed, match="no path of fastnn is in both"):
        compare(record({32: {"products": floor}}), new).check(0.1)
    compare(record({32: {"fastnn": figure(100.0)}, 64: {"fastnn": figure(1.0)}}), new).check(0.1)


def test_nothing_in_common_is_an_error():
    old = record({32: {"fastnn": figure(100.0)}})
    require_common(old, [32, 64], ["fastnn"])
    for batches, names in (([64], ["fastnn"]), ([32], ["JAX"])):
        with pytest.raises(DataError, match="nothing in common"):
            require_common(old, batches, names)


def both(**speeds):
    """A record of microseconds at 32, 64 and 128 on the CPU and by two paths on the GPU."""
    batches = {}
    for number, batch in enumerate((32, 64, 128)):
        batches[batch] = {
            "fastnn": figure(speeds["cpu"][number]),
            "fused (cuda)": figure(speeds["gpu"][number], device="cuda:0"),
            "slow (cuda)": figure(1e6, device="cuda:0"),
            "torch (cuda)": figure(1.0, family="torch", device="cuda:0"),
        }
    return record(batches)


@pytest.mark.parametrize(
    ("cpu", "gpu", "words"),
    [
        ((100, 200, 400), (150, 160, 170), "overtakes the CPU at batch 64 (400,000 to 320,000 ex"),
        ((100, 200, 400), (50, 60, 70), "at every batch size, from 32 on"),
        ((100, 110, 120), (150, 160, 170), "does not overtake the CPU for good up to batch 128"),
        ((100, 200, 100), (50, 60, 170), "does not overtake the CPU for good up to batch 128"),
    ],
)
def test_the_crossover_is_named(cpu, gpu, words):
    assert words in crossover(both(cpu=cpu, gpu=gpu))


def test_without_a_gpu_there_is_no_crossover():
    assert crossover(record({32: {"fastnn": figure(100.0)}})) is None


def test_the_worst_is_named_first():
    old = record({b: {"fastnn": figure(100.0)} for b in (32, 64, 128)})
    new = record({b: {"fastnn": figure(t)} for b, t in ((32, 120.0), (64, 300.0), (128, 150.0))})
    with pytest.raises(CheckFailed) as caught:
        compare(old, new).check(0.1)
    named = [int(part.split(":")[0]) for part in str(caught.value).split("batch ")[1:]]
    assert named == [64, 128, 32]


@pytest.mark.parametrize("fact", ["gpu", "precision", "blas_threads", "overrides"])
def test_another_machine_or_setting_is_a_caveat(fact):
    here, there = record({32: {"fastnn": figure(1.0)}}), record({}, **{fact: "other"})
    assert any(line.startswith(f"{fact} was 'other'") for line in compare(there, here).caveats)


def test_a_gpu_alone_has_nothing_to_overtake():
    alone = record({32: {"fastnn (cuda)": figure(1.0, device="cuda:0")}})
    assert crossover(alone) is None
