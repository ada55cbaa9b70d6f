"""Rounds against a plain loop, and what a round is."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.several import FLAGS, Row, S, Told, fed, in_order, instance, of_instance, run, shows, told

from ioc.model.batch import F64, Flag
from ioc.rules.derive import join
from ioc.rules.derive.base import Instance
from ioc.rules.samples import LATE, RETRACTED

WORLD = [instance([10, 10, 30]), instance([10, None, 10]), instance([60, 20, 60])]


def spread(values: F64) -> F64:
    """Every input shows in the sum."""
    weighed: F64 = values @ np.array([1.0, 100.0, 10_000.0])
    return weighed


def of_world() -> join.OfRounds:
    return join.OfRounds(WORLD, spread)


def plain(rows: Sequence[Row], world: Sequence[Instance] = WORLD) -> list[Told]:
    """What the docstring of the module says, row by row."""
    last: dict[tuple[int, int], tuple[float, float, int]] = {}
    used: set[tuple[int, int, float]] = set()
    result: list[Told] = []
    for row, (at, role, seconds, value, flags) in enumerate(rows):
        if flags & (Flag.LATE | Flag.REVISED):
            continue
        last[at, role] = seconds, value, flags
        there = {r: s.interval_us / S for r, s in enumerate(world[at].inputs) if s}
        fastest = min(there.values())
        fast = [r for r in there if there[r] == fastest]
        if any((at, r) not in last for r in there) or any((at, r, last[at, r][0]) in used for r in fast):
            continue
        newest = max(last[at, r][0] for r in fast)
        if any(abs(newest - last[at, r][0]) > there[r] * (0.5 if r in fast else 1.5) for r in there):
            continue
        used |= {(at, r, last[at, r][0]) for r in fast}
        said = 0
        for r in there:
            said |= last[at, r][2] & Flag.UNCERTAIN
            said |= last[at, r][2] & Flag.BACKLOG if r in fast else 0
            if last[at, r][2] & (Flag.BAD | Flag.OUT_OF_RANGE) or not math.isfinite(last[at, r][1]):
                said |= Flag.BAD
        total = None if said & Flag.BAD else sum(last[at, r][1] * 100**r for r in there)
        result.append((row, at, round(newest * S), total, said))
    return result


@st.composite
def stations(draw: st.DrawFn) -> list[Row]:
    """All three report every ten seconds as they should, but for what is lost and what the clock is off."""
    there, off = st.sampled_from([True] * 4 + [False]), st.sampled_from([0.0, 0.0, 1.0, 4.0, 6.0])
    rows = []
    for tick in range(draw(st.integers(8, 20))):
        for at, every in enumerate(((1, 1, 3), (1, 0, 1), (6, 2, 6))):
            for role in range(3):
                if every[role] and tick % every[role] == 0 and draw(there):
                    value = draw(st.integers(-9, 9).map(float))
                    rows.append((at, role, 10.0 * tick + draw(off), value, draw(FLAGS)))
    return rows


RANDOM = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.integers(0, 2),
        st.integers(0, 24).map(lambda k: 5.0 * k) | st.integers(0, 120).map(float),
        st.integers(-9, 9).map(float) | st.just(math.nan),
        FLAGS,
    ),
    max_size=60,
).map(lambda rows: [r for r in sorted(rows, key=lambda r: r[2]) if WORLD[r[0]].inputs[r[1]]])
ROWS = (stations() | RANDOM).map(in_order)


@settings(max_examples=150, deadline=None)
@given(ROWS)
def test_rounds_are_those_of_a_plain_loop(rows: list[Row]) -> None:
    assert run(of_world, rows) == plain(rows)


@settings(max_examples=150, deadline=None)
@given(ROWS, st.lists(st.integers(0, 100), max_size=5))
def test_cuts_and_restarts_change_nothing(rows: list[Row], cuts: list[int]) -> None:
    assert run(of_world, rows, cuts) == run(of_world, rows)


@settings(max_examples=150, deadline=None)
@given(ROWS, st.permutations([0, 1, 2]))
def test_interleaving_of_instances_changes_nothing(rows: list[Row], order: list[int]) -> None:
    apart = sorted(rows, key=lambda r: order[r[0]])
    for at in range(3):
        assert of_instance(run(of_world, apart), at) == of_instance(run(of_world, rows), at)


@settings(max_examples=100, deadline=None)
@given(ROWS)
def test_stamps_of_an_instance_rise(rows: list[Row]) -> None:
    result = run(of_world, rows)
    for at in range(3):
        stamps = [us for us, _, _ in of_instance(result, at)]
        assert stamps == sorted(set(stamps))


@pytest.mark.parametrize("bug", ["holds fast inputs longer", "holds slow inputs for ever", "takes late rows"])
def test_a_planted_bug_is_caught(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = join.complete

    def wrong(*args: Any) -> int:
        given = list(args)
        if bug == "takes late rows":
            given[4] = given[4] & ~np.uint16(LATE)
        else:
            hold_us = 5 * S if bug == "holds fast inputs longer" else 45 * S
            given[10] = np.where(given[10] == hold_us, 3 * hold_us, given[10])
        return right(*given)

    monkeypatch.setattr(join, "complete", wrong)
    assert shows(ROWS, lambda rows: run(of_world, rows) != plain(rows))


def test_a_sample_used_twice_is_caught() -> None:
    def forgetful(rows: list[Row]) -> list[Told]:
        deriver, result = of_world(), []
        for k, row in enumerate(rows):
            deriver.columns["fresh"][...] = True
            result += told(deriver.feed(fed([row], k)))
        return result

    assert shows(ROWS, lambda rows: forgetful(rows) != plain(rows))


def test_the_row_that_completes_a_round_gives_its_newest_stamp(
    tell: Callable[[list[Row]], list[Told]],
) -> None:
    rows = [(0, 0, 100.0, 1.0, 0), (0, 2, 80.0, 3.0, 0), (0, 1, 98.0, 2.0, 0)]
    assert tell(rows) == [(2, 0, 100 * S, 30_201.0, 0)]


def test_half_an_interval_apart_is_one_round_and_more_is_none(
    tell: Callable[[list[Row]], list[Told]],
) -> None:
    for apart, rounds in ((5.0, 1), (5.1, 0)):
        rows = [(0, 2, 100.0, 3.0, 0), (0, 0, 100.0, 1.0, 0), (0, 1, 100.0 + apart, 2.0, 0)]
        assert len(tell(rows)) == rounds


def test_a_slow_input_holds_for_one_and_a_half_of_its_intervals(
    tell: Callable[[list[Row]], list[Told]],
) -> None:
    for apart, rounds in ((45.0, 1), (45.1, 0)):
        rows = [(0, 2, 100.0, 3.0, 0), (0, 0, 100 + apart, 1.0, 0), (0, 1, 100 + apart, 2.0, 0)]
        assert len(tell(rows)) == rounds


def test_late_and_retracted_rows_change_nothing(tell: Callable[[list[Row]], list[Told]]) -> None:
    rows: list[Row] = [(0, 2, 100.0, 3.0, 0), (0, 0, 100.0, 1.0, 0), (0, 1, 100.0, 2.0, 0)]
    odd: list[Row] = [
        (0, 0, 100.0, 7.0, int(Flag.REVISED)),
        (0, 1, 90.0, 7.0, int(Flag.LATE)),
        (0, 0, 100.0, 1.0, int(Flag.LATE | Flag.BAD) | RETRACTED),
    ]
    assert [t[1:] for t in tell(rows[:2] + odd + rows[2:] + odd)] == [t[1:] for t in tell(rows)]


def test_what_is_too_large_to_be_counted_is_bad() -> None:
    deriver = join.OfRounds([instance([10])], lambda values: values[:, 0] * 1e300)
    assert told(deriver.feed(fed([(0, 0, 0.0, 1.0, 0), (0, 0, 10.0, 0.0, 0)]))) == [
        (0, 0, 0, None, int(Flag.BAD)),
        (1, 0, 10 * S, 0.0, 0),
    ]


def test_results_are_rounded_to_each_output_s_resolution() -> None:
    deriver = join.OfRounds([instance([10], 0.1), instance([10], 5)], lambda values: values[:, 0])
    assert [t[3] for t in told(deriver.feed(fed([(0, 0, 0.0, 12.38, 0), (1, 0, 0.0, 12.38, 0)])))] == [
        12.4,
        10.0,
    ]


def test_missing_and_unknown_inputs_are_refused_by_name() -> None:
    assert join.roles("thd", ["b", "a"], ["a", "b"]) == [1, 0]
    with pytest.raises(ValueError, match="x needs the inputs a, b, not a"):
        join.roles("x", ["a"], ["a", "b"])


@pytest.fixture
def tell() -> Callable[[list[Row]], list[Told]]:
    return lambda rows: run(of_world, rows)
