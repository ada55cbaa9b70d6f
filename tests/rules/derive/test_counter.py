"""Counters: increments through resets, roll-overs, bad and late samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.derive_oracle import (
    BAD,
    GONE,
    LATE,
    MINUTE,
    REVISED,
    START,
    UNCERTAIN,
    CounterOracle,
    Row,
    Told,
    expected,
    histories,
    instance,
    run,
    series,
)

from ioc.rules.derive import counter
from ioc.rules.spec.derived import Counter

WORLD = [
    instance(series("tips")),
    instance(series("energy", minutes=60), resolution=0.05),
    instance(series("water", minutes=0.5), resolution=1.0),
]
many = settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
Cuts = st.lists(st.integers(1, 40), max_size=4)


def of(rollover: float | None = None) -> Counter:
    return Counter(kind="counter", rollover=rollover)


def told(spec: Counter, rows: Sequence[Row], cuts: Sequence[int] = ()) -> list[Told]:
    return run(lambda: counter.build(spec, WORLD, 0), rows, cuts)


def oracle(spec: Counter, rows: Sequence[Row]) -> list[Told]:
    return expected([lambda one=one: CounterOracle(spec, one) for one in WORLD], rows)  # type: ignore[misc]


def gains(
    *values: float, rollover: float | None = None, flags: dict[int, int] | None = None
) -> list[float | None]:
    rows = [Row(0, 0, START + k * MINUTE, v, (flags or {}).get(k, 0)) for k, v in enumerate(values)]
    return [t.value for t in told(of(rollover), rows)]


@many
@given(st.sampled_from([None, 2.0, 2.5]), histories(WORLD, values=st.integers(0, 250)), Cuts)
def test_every_increment_is_that_of_the_plain_oracle_however_rows_are_cut_and_restarted(
    rollover: float | None, rows: list[Row], cuts: list[int]
) -> None:
    assert told(of(rollover), rows, cuts) == oracle(of(rollover), rows)


@many
@given(histories(WORLD, values=st.integers(0, 250)))
def test_other_instances_change_nothing(rows: list[Row]) -> None:
    together = sorted(told(of(), rows), key=lambda t: t.at)
    assert [t[1:] for t in together] == [t[1:] for t in told(of(), sorted(rows, key=lambda row: row.at))]


def test_the_first_sample_gives_nothing_and_each_other_one_what_was_gained() -> None:
    assert gains(5, 5, 5.2, 7) == [0.0, 0.2, 1.8]


def test_a_fall_is_a_reset_that_counts_anew_from_zero() -> None:
    assert gains(5, 9, 0.5, 1) == [4.0, 0.5, 0.5]


def test_a_fall_from_the_last_tenth_rolls_over() -> None:
    assert gains(89.99, 1, rollover=100) == [1.0]
    assert gains(90, 1, rollover=100) == [11.0]
    assert gains(99, 1, 3, rollover=100) == [2.0, 2.0]


def test_a_bad_sample_is_bad_and_the_next_good_one_gives_the_whole_since_the_last_good() -> None:
    assert gains(1, 2, 99, 5, flags={2: BAD}) == [1.0, None, 3.0]
    assert gains(99, 1, 2, flags={0: BAD}) == [None, 1.0]


def test_an_uncertain_end_makes_an_increment_uncertain() -> None:
    rows = [Row(0, 0, START + k * MINUTE, float(k), UNCERTAIN if k == 1 else 0) for k in range(4)]
    assert [t.flags for t in told(of(), rows)] == [UNCERTAIN, UNCERTAIN, 0]


def test_late_and_revised_samples_change_nothing() -> None:
    rows = [Row(0, 0, START + k * MINUTE, float(k)) for k in (0, 4)]
    late = [Row(0, 0, START + MINUTE, 3.0, LATE), Row(0, 0, START, 2.0, REVISED)]
    end = Row(0, 0, START + 5 * MINUTE, 6.0)
    assert [t.value for t in told(of(), [*rows, *late, end])] == [4.0, 2.0]


def test_a_spike_retracted_by_the_next_sample_never_looks_like_a_reset() -> None:
    spike = Row(0, 0, START + 2 * MINUTE, 500.0)
    rows = [Row(0, 0, START, 100.0), Row(0, 0, START + MINUTE, 101.0), spike, spike._replace(flags=GONE)]
    end = Row(0, 0, START + 3 * MINUTE, 102.0)
    assert [(t.value, t.flags) for t in told(of(), [*rows, end])] == [
        (1.0, 0),
        (399.0, 0),
        (None, LATE | BAD),
        (1.0, 0),
    ]


@pytest.mark.parametrize("broken", ["rollover", "bad"])
def test_a_planted_bug_is_seen(monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    values = [10.0, 95.0, 3.0, 50.0, 4.0, 6.0]
    rows = [Row(0, 0, START + k * MINUTE, v, BAD if k == 3 else 0) for k, v in enumerate(values)]
    spec, true = of(100), counter._rows
    assert told(spec, rows) == oracle(spec, rows)

    def wrong(
        kept: Any, rollover: Any, up: Any, down: Any, at: Any, t: Any, tick: Any, flags: Any, *rest: Any
    ) -> None:
        if broken == "rollover":
            rollover = np.zeros_like(rollover)
        else:
            flags = np.zeros_like(flags)
        true(kept, rollover, up, down, at, t, tick, flags, *rest)

    monkeypatch.setattr(counter, "_rows", wrong)
    assert told(spec, rows) != oracle(spec, rows)
