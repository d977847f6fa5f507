"""The benchmark's clock: what is timed and what is not, and in which order everybody runs."""

import pytest

from tests.bench_doubles import Made, World


def test_a_turn_times_its_steps_and_neither_the_pause_nor_the_waking():
    world = World()
    seconds = world.clock(pause=7.0).turn(Made(world, cost=0.5), 6)
    assert seconds == pytest.approx(0.5)
    assert world.runs == [("made", 2), ("made", 6)]
    assert world.time == pytest.approx(7 + 8 * 0.5)


@pytest.mark.parametrize(("cost", "steps"), [(0.001, 150), (0.01, 15), (0.149, 1), (60.0, 1)])
def test_a_round_takes_about_its_time_and_at_least_one_step(cost, steps):
    world = World()
    assert world.clock(round_seconds=0.15).steps_in_a_round(Made(world, cost=cost)) == steps


def test_rounds_are_interleaved_and_each_begins_with_the_next():
    world = World()
    made = {name: Made(world, name, cost) for name, cost in (("a", 1.0), ("b", 2.0), ("c", 3.0))}
    times = world.clock().interleaved(made, {"a": 1, "b": 1, "c": 1}, rounds=4)
    assert [name for name, _ in world.runs[::2]] == [*"abc", *"bca", *"cab", *"abc"]
    for name, cost in (("a", 1.0), ("b", 2.0), ("c", 3.0)):
        assert times[name] == pytest.approx([cost] * 4)
