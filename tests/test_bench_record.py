"""What a study records: quartiles, losses that disagree, who was skipped; and its file."""

import json

import pytest

from fastnn.bench.competitors import Entrant, Skipped
from fastnn.bench.record import Figure, Record, disagreements, load
from fastnn.bench.study import study
from fastnn.errors import DataError
from tests.bench_doubles import FACTS, Made, World, figure, record, small_problem


def run(world, entrants, batches=(32,), **settings):
    found = Record(FACTS)
    study(
        found, entrants, small_problem(), batches, rounds=3, clock=world.clock(),
        say=lambda _: None, **settings,
    )  # fmt: skip
    return found


def test_quartiles_are_those_of_the_rounds():
    found = Figure.of([1.0, 5.0, 2.0, 4.0, 3.0], family="f", device="cpu", steps=7, loss=None)
    assert (found.lower, found.median, found.upper) == (2e6, 3e6, 4e6)
    assert (found.steps, found.rounds) == (7, 5)


@pytest.mark.parametrize("wrong", [1.02, 0.0, float("nan"), float("inf")])
def test_a_loss_far_from_the_median_is_named(wrong):
    (line,) = disagreements(64, {"a": 1.0, "b": 1.0001, "c": wrong})
    assert line.startswith("batch 64: c has loss")
    assert disagreements(64, {"a": 1.0, "b": 1.0001}) == []


def test_a_study_measures_everybody_at_every_batch_size():
    world = World()
    entrants = [world.entrant("a", cost=0.01), world.entrant("b", family="numpy", cost=0.02)]
    found = run(world, entrants, (32, 64))
    assert list(found.batches) == [32, 64]
    assert found.names() == ["a", "b"]
    assert found.batches[64]["b"].median == pytest.approx(0.02e6)
    assert found.batches[64]["b"].family == "numpy"
    assert found.disagreements == []


def test_a_study_reports_a_wrong_loss_and_keeps_json_finite():
    world = World()
    entrants = [world.entrant(name) for name in "ab"] + [world.entrant("c", loss=float("nan"))]
    found = run(world, entrants)
    assert len(found.disagreements) == 1
    assert json.loads(found.to_json())["batches"]["32"]["c"]["loss"] is None


def test_the_floor_has_no_loss_and_disagrees_with_nobody():
    world = World()
    assert not run(world, [world.entrant("a"), world.entrant("p", loss=None)]).disagreements


@pytest.mark.parametrize("error", [Skipped("no compiler"), RuntimeError("out of memory\nat 0x0")])
def test_a_peer_that_cannot_take_part_is_a_line_with_its_reason(error):
    def make(problem, batch, device):
        raise error

    world = World()
    found = run(world, [world.entrant("a"), Entrant("peer", "torch", "cpu", make)])
    assert list(found.batches[32]) == ["a"]
    assert str(error).partition("\n")[0] in found.skipped["peer"]
    assert "0x0" not in found.skipped["peer"]


@pytest.mark.parametrize("fails_after", [5, 6, 40])
def test_a_peer_that_fails_later_loses_only_itself(fails_after):
    """After its loss was taken: while the round is sized, or in a round."""
    world = World()

    class Weak(Made):
        done = 0

        def run(self, steps):
            self.done += steps
            if self.done > fails_after:
                raise MemoryError("no more")
            super().run(steps)

    def make(problem, batch, device):
        return Weak(world, "peer")

    entrants = [world.entrant("a"), Entrant("peer", "torch", "cpu", make)]
    found = run(world, entrants, batches=(32, 64))
    assert [list(batch) for batch in found.batches.values()] == [["a"], ["a"]]
    assert found.skipped["peer"] == (
        "at batch 32: MemoryError: no more; at batch 64: MemoryError: no more"
    )


def test_an_error_of_fastnn_itself_is_not_skipped():
    def make(problem, batch, device):
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        run(World(), [Entrant("fastnn", "fastnn", "cpu", make)])


def test_an_interrupt_keeps_what_was_measured():
    world = World()
    found = Record(FACTS)

    def say(line):
        if line.startswith("batch 128"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        study(
            found, [world.entrant("a")], small_problem(), (32, 64, 128), rounds=2,
            clock=world.clock(), say=say,
        )  # fmt: skip
    assert list(found.batches) == [32, 64]


def test_a_record_survives_its_file(tmp_path):
    path = tmp_path / "r.json"
    kept = record({32: {"fastnn": figure(100.0), "JAX": figure(90.0, family="jax")}})
    kept.skipped["torch"] = "not installed"
    path.write_text(kept.to_json())
    assert load(path) == kept


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not a record"),
        ("[]", "not a record"),
        ('{"format": 1}', "not a record"),
        ('{"format": 99}', "format 99"),
        ('{"format": 1, "batches": {"32": {"a": {"median": 1}}}}', "not a record"),
    ],
)
def test_other_files_are_refused(tmp_path, text, words):
    path = tmp_path / "r.json"
    path.write_text(text)
    with pytest.raises(DataError, match=words):
        load(path)
    with pytest.raises(DataError, match="no such file"):
        load(tmp_path / "absent.json")


@pytest.mark.parametrize("median", [0.0, -1.0, float("nan")])
def test_a_median_that_is_no_time_is_refused(tmp_path, median):
    path = tmp_path / "r.json"
    text = record({32: {"fastnn": figure(12345.5)}}).to_json()
    path.write_text(text.replace("12345.5", str(median).replace("nan", "NaN")))
    with pytest.raises(DataError, match="a median of"):
        load(path)


def test_disagreements_of_all_batch_sizes_are_kept_and_rounds_are_those_asked_for():
    world = World()
    entrants = [
        world.entrant("a"), world.entrant("b"), world.entrant("c", family="torch", loss=1.005)
    ]  # fmt: skip
    found = Record(FACTS)
    study(
        found, entrants, small_problem(), (32, 64), rounds=4, clock=world.clock(),
        say=lambda _: None,
    )  # fmt: skip
    assert [line.partition(":")[0] for line in found.disagreements] == ["batch 32", "batch 64"]
    assert {f.rounds for batch in found.batches.values() for f in batch.values()} == {4}
    loose = Record(FACTS)  # within what tf32 may differ by
    study(
        loose, entrants, small_problem("tf32"), (32,), rounds=1, clock=world.clock(),
        say=lambda _: None,
    )  # fmt: skip
    assert loose.disagreements == []
