"""The arithmetic alone."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ioc.model.batch import F64, I64, Bool
from ioc.rules import kernels

FLOATS = st.floats(-10, 10) | st.integers(-3, 3).map(float)


def step(
    value: F64,
    event_us: I64,
    gap: Bool,
    on: Bool,
    since_us: I64,
    limit: F64,
    reset: F64,
    on_delay_us: I64,
    off_delay_us: I64,
) -> tuple[Bool, I64]:
    """What `swings` does, by arrays: one sample for each cell; which levels are on after it, since when others wait.

    `value`, `event_us`, `gap` (n,): signed value, event time, whether a gap lies before it; the rest (n, w).
    """
    against: Bool = np.where(on, value[:, None] < reset, value[:, None] >= limit)
    since_us = np.where(gap[:, None] | (since_us == kernels.NO_TIME), event_us[:, None], since_us)
    delay_us = np.where(on, off_delay_us, on_delay_us)
    flips = against & (event_us[:, None] - since_us >= delay_us)
    return on ^ flips, np.where(against & ~flips, since_us, kernels.NO_TIME)


@given(FLOATS, FLOATS, st.floats(0, 5), st.booleans(), st.sampled_from([1.0, -1.0]))
def test_a_value_within_the_quiet_band_is_one_that_the_step_leaves_alone(
    value: float, limit: float, deadband: float, on: bool, sign: float
) -> None:
    bound, reset = np.array([[sign * limit]]), np.array([[sign * limit - deadband]])
    state, none, zero = np.array([[on]]), np.array([[kernels.NO_TIME]]), np.zeros((1, 1), np.int64)
    low, high = kernels.quiet_band(state, np.zeros(1, np.bool_), bound, reset, np.array([sign]))
    after, _ = step(
        np.array([sign * value]), np.array([5]), np.zeros(1, np.bool_), state, none, bound, reset, zero, zero
    )
    assert kernels.outside(np.array([value]), low, high)[0] == (after[0, 0] != on)


def test_a_busy_cell_has_no_quiet_value() -> None:
    for sign in (1.0, -1.0):
        low, high = kernels.quiet_band(
            np.zeros((1, 1), np.bool_),
            np.ones(1, np.bool_),
            np.ones((1, 1)),
            np.zeros((1, 1)),
            np.array([sign]),
        )
        for value in (-np.inf, -1e300, 0.0, 1e300, np.inf, np.nan):
            assert kernels.outside(np.array([value]), low, high)[0]


@given(st.lists(st.integers(0, 4), max_size=30))
def test_rounds_hold_each_series_once_and_keep_its_order(series: list[int]) -> None:
    numbers = np.array(series, np.int64)
    places, ends = kernels.rounds(numbers) if series else (np.zeros(0, np.int64), [])
    assert sorted(places.tolist()) == list(range(len(series)))
    seen: dict[int, int] = {}
    start = 0
    for end in ends:
        run = places[start:end].tolist()
        assert len({series[i] for i in run}) == len(run)
        for i in run:
            assert seen.get(series[i], -1) < i
            seen[series[i]] = i
        start = end


@given(st.lists(st.integers(0, 4), min_size=1, max_size=30))
def test_first_and_last_of_each_series(series: list[int]) -> None:
    numbers = np.array(series, np.int64)
    first = {n: series.index(n) for n in series}
    last = {n: i for i, n in enumerate(series)}
    assert kernels.first_of_each(numbers).tolist() == sorted(first.values())
    assert kernels.last_of_each(numbers).tolist() == sorted(last.values())


@given(st.lists(st.lists(st.booleans(), min_size=5, max_size=5), min_size=1, max_size=5))
def test_levels_go_through_bits_and_back(levels: list[list[bool]]) -> None:
    on = np.array(levels)
    assert np.array_equal(kernels.levels_of(kernels.mask_of(on), 5), on)
    assert kernels.any_level(on).tolist() == [any(row) for row in levels]


@given(st.floats(allow_nan=False).filter(lambda value: value != -np.inf))
def test_the_number_below_is_that_of_the_library(value: float) -> None:
    assert kernels._below(np.array([value]))[0] == np.nextafter(value, -np.inf)


def test_ranges_are_spread_one_after_the_other() -> None:
    cells, owner = kernels.spread(np.array([7, 0, 3]), np.array([2, 0, 3]))
    assert (cells.tolist(), owner.tolist()) == ([7, 8, 3, 4, 5], [0, 0, 2, 2, 2])
