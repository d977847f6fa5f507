"""Schedules at the points that define them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastnn.nn import schedules

rates = st.floats(1e-6, 1.0)


@given(rates, st.integers(0, 10**6))
def test_constant_never_changes(lr, step):
    assert schedules.constant(lr)(step) == lr


def test_step_decay_cuts_at_each_boundary():
    schedule = schedules.step_decay(0.8, every=3, factor=0.5)
    assert [schedule(step) for step in (0, 2, 3, 5, 6, 9)] == pytest.approx(
        [0.8, 0.8, 0.4, 0.4, 0.2, 0.1]
    )


def test_cosine_rises_linearly_then_falls_to_its_floor():
    schedule = schedules.warmed(schedules.cosine(1.0, total=20, floor=0.2), warmup=4)
    assert [schedule(step) for step in range(4)] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert schedule(4) == pytest.approx(1.0)
    assert schedule(14) == pytest.approx(0.6)  # half way between peak and floor
    assert schedule(24) == pytest.approx(0.2)
    assert schedule(10**6) == pytest.approx(0.2)


@given(st.integers(0, 50), st.integers(1, 200), rates)
def test_cosine_stays_between_zero_and_its_peak(warmup, length, peak):
    schedule = schedules.warmed(schedules.cosine(peak, total=length), warmup=warmup)
    values = [schedule(step) for step in range(warmup + length + 1)]
    assert all(0 <= value <= peak * (1 + 1e-12) for value in values)
    assert values[warmup:] == sorted(values[warmup:], reverse=True)


def test_one_cycle_starts_low_peaks_and_ends_lower():
    schedule = schedules.one_cycle(1.0, total=100, rise=0.3, start=25, end=1e4)
    values = [schedule(step) for step in range(101)]
    assert values[0] == pytest.approx(1 / 25)
    assert max(values) == values[30] == pytest.approx(1.0)
    assert values[:31] == sorted(values[:31])
    assert values[30:] == sorted(values[30:], reverse=True)
    assert values[100] == pytest.approx(1e-4)


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([], 0),
        ([3, 2, 1], 0),
        ([3, 3, 3], 1),  # two epochs without progress
        ([3, 3, 3, 3, 3], 2),
        ([3, 4, 2, 3, 1], 0),  # never two in a row
        ([3, 4, 2, 3, 4], 1),
        ([float("nan")] * 4, 2),
    ],
)
def test_plateaus_are_runs_without_progress(losses, expected):
    assert schedules.plateaus(losses, patience=2) == expected


def test_reduce_on_plateau_follows_the_live_list():
    losses: list[float] = []
    schedule = schedules.reduce_on_plateau(0.5, losses, patience=2, factor=0.1)
    seen = []
    for step, loss in enumerate([3.0, 3.0, 3.0, 3.0]):
        seen.append(schedule(step))
        losses.append(loss)
    assert [*seen, schedule(4)] == pytest.approx([0.5, 0.5, 0.5, 0.05, 0.05])


def test_reduce_on_plateau_can_start_from_a_restored_list():
    losses = [1.0, 1.0, 1.0, 1.0, 1.0]
    assert schedules.reduce_on_plateau(1.0, losses, patience=2)(0) == pytest.approx(0.01)


def test_one_cycle_stays_at_its_end():
    schedule = schedules.one_cycle(1.0, total=100, end=1e4)
    assert schedule(150) == pytest.approx(1e-4)


def test_a_cut_does_not_forget_the_best_loss_and_needs_real_progress():
    assert schedules.plateaus([1, 2, 2, 1.5, 1.5], patience=2) == 2
    assert schedules.plateaus([1 - 1e-5 * n for n in range(4)], patience=3) == 1
