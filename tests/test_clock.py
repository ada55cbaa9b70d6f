"""The core's time never falls and never stands still."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ioc.clock import REFUSED, SLEW_DIVISOR, SourceClock, SystemClock

S = 1_000_000
T0 = 1_700_000_000 * S
H = 3600 * S


def test_it_begins_at_the_later_of_the_wall_clock_and_the_last_record() -> None:
    assert SystemClock(T0, 0, T0 - H).now(T0, 0) == T0 + 1
    assert SystemClock(T0, 0, T0 + H).now(T0, 0) == T0 + H + 1


def test_wall_clock_one_hour_back_between_two_runs_never_lets_now_fall_and_is_reported_once() -> None:
    clock = SystemClock(T0 - H, 0, T0)
    first = clock.now(T0 - H, 0)
    assert first > T0
    later = clock.now(T0 - H + 10 * S, 10 * S)
    assert later == first + 9 * S
    assert clock.take_step() == -H
    assert clock.take_step() == 0


def test_a_step_while_running_is_reported_and_slewed() -> None:
    clock = SystemClock(T0, 0, 0)
    assert clock.now(T0 + 10 * S, 10 * S) == T0 + 10 * S
    assert clock.take_step() == 0
    assert clock.now(T0 + 20 * S + H, 20 * S) == T0 + 21 * S
    assert clock.take_step() == H


@given(st.lists(st.tuples(st.integers(-2 * H, 2 * H), st.integers(0, 100 * S)), max_size=30))
def test_now_rises_strictly_and_keeps_within_a_tenth_of_elapsed_time(steps: list[tuple[int, int]]) -> None:
    clock = SystemClock(T0, 0, 0)
    wall, mono, before = T0, 0, T0
    for jump, elapsed in steps:
        wall += elapsed + jump
        mono += elapsed
        now = clock.now(wall, mono)
        assert now > before
        assert now - before <= max(1, elapsed + elapsed // SLEW_DIVISOR)
        assert now - before >= elapsed - elapsed // SLEW_DIVISOR
        before = now


def test_source_clock_has_no_value_before_the_first_sample_and_follows_the_highest() -> None:
    clock = SourceClock(0)
    assert clock.now_us == 0
    assert clock.admit([0]) == [REFUSED]
    assert clock.admit([T0, T0 - H, 0, T0 + 8 * 24 * H, T0 + 7 * 24 * H]) == [
        T0,
        T0,
        T0,
        REFUSED,
        T0 + 7 * 24 * H,
    ]
    assert clock.now_us == T0 + 7 * 24 * H
