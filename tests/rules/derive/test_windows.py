"""Windows against a plain oracle, what each kind of sample does to them, and rain that is told twice."""

from __future__ import annotations

import csv
import gzip
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.data import shared
from support.derive_oracle import (
    BAD,
    GONE,
    HOUR,
    LATE,
    MINUTE,
    REVISED,
    START,
    UNCERTAIN,
    Row,
    S,
    Told,
    WindowOracle,
    expected,
    fed,
    histories,
    instance,
    run,
    series,
)

from ioc.rules.derive import windows
from ioc.rules.derive.base import Deriver, Instance
from ioc.rules.spec.derived import Window

LEVEL = series("level")
FINE = series("rain_10min", minutes=10, resolution=0.1)
COARSE = series("rain_1h", minutes=60, resolution=0.1)
WORLD = [
    instance(series("level")),
    instance(series("speed", minutes=20), resolution=0.05),
    instance(series("power", minutes=5), resolution=1.0),
]
SPECS = [
    {"function": "sum", "coverage": 0.5},
    {"function": "mean", "coverage": 0},
    {"function": "min", "coverage": 0.1},
    {"function": "max", "coverage": 0.34},
    {"function": "count", "coverage": 0},
    {"function": "percentile", "percentile": 90, "coverage": 0.5},
    {"function": "percentile", "percentile": 0, "coverage": 0},
]
many = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
Cuts = st.lists(st.integers(1, 40), max_size=4)


def window(**what: Any) -> Window:
    return Window.model_validate({"kind": "window", "over": "1h", **what})


def told(
    spec: Window, rows: Sequence[Row], cuts: Sequence[int] = (), world: Sequence[Instance] = WORLD
) -> list[Told]:
    return run(lambda: windows.build(spec, world, 0), rows, cuts)


def oracle(spec: Window, rows: Sequence[Row], world: Sequence[Instance] = WORLD) -> list[Told]:
    return expected([lambda one=one: WindowOracle(spec, one) for one in world], rows)  # type: ignore[misc]


def of_level(spec: Window, *rows: tuple[int, float, int]) -> list[tuple[float | None, int]]:
    """What one series of 10 minutes gives: (minutes, value, flags) → (value, flags)."""
    fed_rows = [Row(0, 0, START + minute * MINUTE, value, flags) for minute, value, flags in rows]
    return [(t.value, t.flags) for t in told(spec, fed_rows, world=[instance(LEVEL)])]


def every(minutes: int, count: int, value: float = 1.0) -> list[tuple[int, float, int]]:
    return [(minutes * k, value, 0) for k in range(count)]


@many
@given(st.sampled_from(SPECS), st.sampled_from(["1h", "150min", "5min"]), histories(WORLD), Cuts)
def test_every_window_is_that_of_the_plain_oracle_however_rows_are_cut_and_restarted(
    what: dict[str, Any], over: str, rows: list[Row], cuts: list[int]
) -> None:
    spec = window(**{**what, "over": over})
    assert told(spec, rows, cuts) == oracle(spec, rows)


@many
@given(st.sampled_from(SPECS), histories(WORLD))
def test_other_instances_change_nothing(what: dict[str, Any], rows: list[Row]) -> None:
    spec = window(**what)
    together = sorted(told(spec, rows), key=lambda t: t.at)
    apart = sorted(rows, key=lambda row: row.at)
    assert [t[1:] for t in together] == [t[1:] for t in told(spec, apart)]
    alone = [row._replace(at=0) for row in rows if row.at == 1]
    assert [t[2:] for t in together if t.at == 1] == [t[2:] for t in told(spec, alone, world=WORLD[1:2])]


RAIN = [
    instance(series("rain_10min", minutes=10), series("rain_1h", minutes=60)),
    instance(series("a", minutes=5), series("b", minutes=10), series("c", minutes=30)),
    instance(series("rain_1h", minutes=60)),
]


@many
@given(histories(RAIN, values=st.integers(0, 300), size=60), st.sampled_from(["1h", "3h"]), Cuts)
def test_rain_told_at_several_intervals_is_summed_as_the_oracle_does(
    rows: list[Row], over: str, cuts: list[int]
) -> None:
    spec = window(function="sum", coverage=0.3, over=over)
    assert told(spec, rows, cuts, RAIN) == oracle(spec, rows, RAIN)


@settings(many, max_examples=60)
@given(st.permutations([(10, 0), (20, 0), (30, 0), (40, 0), (50, 0), (60, 0), (60, 1), (120, 1)]), st.data())
def test_a_rain_sum_does_not_depend_on_which_total_came_first(
    order: list[tuple[int, int]], data: st.DataObject
) -> None:
    value = {key: data.draw(st.integers(0, 50)) / 10 for key in order}
    rows = [Row(0, role, START + minute * MINUTE, value[minute, role], LATE) for minute, role in order]
    last = Row(0, 0, START + 130 * MINUTE, 0.0)
    spec = window(function="sum", over="3h", coverage=0)
    world = [instance(FINE, COARSE, resolution=0.1)]
    fine = sum(round(10 * v) for (_, role), v in value.items() if role == 0)
    total = max(fine, round(10 * value[60, 1])) + round(10 * value[120, 1])
    assert told(spec, [*rows, last], world=world)[-1].value == total / 10


def test_rain_of_an_hour_is_not_counted_again_when_its_hourly_total_comes() -> None:
    fine = [Row(0, 0, START + k * 10 * MINUTE, 2.0) for k in range(1, 7)]
    total = Row(0, 1, START + HOUR, 12.0)
    spec = window(function="sum", over="1h")
    world = [instance(FINE, COARSE, resolution=0.1)]
    assert [t.value for t in told(spec, [*fine, total], world=world)] == [None] * 4 + [10.0, 12.0, 12.0]


def test_an_hourly_total_fills_in_for_what_the_finer_gauge_did_not_tell() -> None:
    spec = window(function="sum", over="1h")
    world = [instance(FINE, COARSE, resolution=0.1)]
    rows = [Row(0, 0, START + 10 * MINUTE, 2.0), Row(0, 1, START + HOUR, 12.0)]
    assert told(spec, rows, world=world)[-1] == (1, 0, START + HOUR, 12.0, 0)
    # And one that knows of less takes nothing away.
    assert told(spec, [rows[0], rows[1]._replace(value=1.0)], world=world)[-1].value == 2.0


def test_a_window_excludes_its_beginning_and_includes_its_end() -> None:
    assert of_level(window(function="sum", over="30min", coverage=0), *every(10, 5))[-1] == (3.0, 0)


def test_a_window_is_bad_until_covered() -> None:
    given = of_level(window(function="sum"), *every(10, 6))
    assert given == [(None, BAD)] * 4 + [(5.0, 0), (6.0, 0)]


def test_a_bad_sample_contributes_nothing_and_marks_its_window() -> None:
    given = of_level(window(function="sum"), *every(10, 6), (60, 99.0, BAD), (70, 1.0, 0), (80, 99.0, BAD))
    assert given[6:] == [(5.0, UNCERTAIN), (5.0, 0), (None, BAD)]


def test_an_uncertain_sample_marks_every_window_that_it_is_in() -> None:
    given = of_level(
        window(function="max"),
        *every(10, 6),
        (60, 5.0, UNCERTAIN),
        *[(60 + 10 * k, 1.0, 0) for k in range(1, 7)],
    )
    assert given[6:] == [(5.0, UNCERTAIN)] * 6 + [(1.0, 0)]


def test_a_late_sample_takes_its_place_and_counts_from_then_on() -> None:
    rows = [*every(10, 6), (80, 1.0, 0), (70, 7.0, LATE), (90, 1.0, 0)]
    given = of_level(window(function="sum", coverage=0.5), *rows)
    assert given[6:] == [(4.0, 0), (11.0, LATE), (11.0, 0)]


def test_a_revised_value_replaces_that_of_its_stamp() -> None:
    given = of_level(window(function="sum"), *every(10, 6), (30, 4.0, REVISED), (60, 1.0, 0))
    assert given[6:] == [(None, BAD | LATE), (9.0, 0)]


def test_a_retracted_sample_is_taken_out() -> None:
    given = of_level(window(function="max"), *every(10, 6), (60, 9.0, 0), (60, 9.0, GONE), (70, 1.0, 0))
    assert given[6:] == [(9.0, 0), (1.0, LATE | UNCERTAIN), (1.0, 0)]


def test_a_series_denser_than_its_ring_has_bad_windows_rather_than_wrong_ones() -> None:
    rows = [Row(0, 0, START + k * MINUTE, 1.0) for k in range(61)]
    dense = told(window(function="sum"), [*rows, Row(0, 0, START + 7 * HOUR, 1.0)], world=[instance(LEVEL)])
    assert {t.value for t in dense[:20]} == {None, *map(float, range(5, 21))}
    assert {t.value for t in dense[20:]} == {None}
    after = [Row(0, 0, START + HOUR + k * 10 * MINUTE, 1.0) for k in range(1, 9)]
    assert told(window(function="sum"), [*rows, *after], world=[instance(LEVEL)])[-1].value == 6.0


def test_a_sample_older_than_everything_held_changes_nothing() -> None:
    rows = [Row(0, 0, START + k * 10 * MINUTE, 1.0) for k in range(60)]
    spec, world = window(function="sum"), [instance(LEVEL)]
    deriver: Deriver = windows.build(spec, world, 0)
    deriver.feed(fed(rows))
    before = {name: column.copy() for name, column in deriver.columns.items()}
    assert not len(deriver.feed(fed([Row(0, 0, START - MINUTE, 500.0, LATE)])))
    assert all(np.array_equal(before[name], column) for name, column in deriver.columns.items())


@pytest.mark.parametrize(
    ("percentile", "value"), [(0, 1.0), (16.6, 1.0), (16.7, 2.0), (50, 3.0), (90, 6.0), (100, 6.0)]
)
def test_a_percentile_is_the_value_of_the_nearest_rank(percentile: float, value: float) -> None:
    rows = [(10 * k, float(v), 0) for k, v in enumerate([3, 6, 1, 5, 2, 4])]
    assert of_level(window(function="percentile", percentile=percentile), *rows)[-1] == (value, 0)


def test_a_mean_is_rounded_once_half_to_even() -> None:
    spec, world = window(function="mean", over="20min"), [instance(LEVEL)]
    rows = [
        Row(0, 0, START, 0.02),
        Row(0, 0, START + 10 * MINUTE, 0.03),
        Row(0, 0, START + 20 * MINUTE, 0.04),
    ]
    assert [t.value for t in told(spec, rows, world=world)] == [None, 0.02, 0.04]


ROWS = [
    *[Row(0, 0, START + k * 10 * MINUTE, v) for k, v in enumerate([9.0, 0, 3, 3, 4, 4, 5, 2, 8, 1, 3, 3])],
    Row(0, 0, START + 65 * MINUTE, 50.0, LATE),
    Row(0, 0, START + 120 * MINUTE, 1.0, UNCERTAIN),
    Row(0, 0, START + 130 * MINUTE, 1.0, BAD),
    Row(0, 0, START + 140 * MINUTE, 1.0),
]


class TestPlantedBugs:
    """The comparison with the oracle sees each of these."""

    @pytest.mark.parametrize("function", ["sum", "mean", "min", "max", "count", "percentile"])
    def test_none_without(self, function: str) -> None:
        spec = window(function=function, percentile=50 if function == "percentile" else None)
        assert told(spec, ROWS) == oracle(spec, ROWS)

    def caught(self, monkeypatch: pytest.MonkeyPatch, broken: Any, function: str) -> bool:
        true = windows._rows
        monkeypatch.setattr(windows, "_rows", lambda *given: true(*broken(*given)))
        spec = window(function=function, percentile=50 if function == "percentile" else None)
        return told(spec, ROWS) != oracle(spec, ROWS)

    @pytest.mark.parametrize("function", ["sum", "mean", "min", "max", "count", "percentile"])
    def test_a_window_that_includes_its_beginning(
        self, monkeypatch: pytest.MonkeyPatch, function: str
    ) -> None:
        def broken(ring: Any, sums: Any, plan: Any, *rest: Any) -> Any:
            return ring, sums, plan._replace(over_us=plan.over_us + 1), *rest

        assert self.caught(monkeypatch, broken, function)

    @pytest.mark.parametrize("function", ["sum", "mean", "max", "count"])
    def test_late_samples_that_are_not_put_in_their_place(
        self, monkeypatch: pytest.MonkeyPatch, function: str
    ) -> None:
        def broken(
            ring: Any, sums: Any, plan: Any, at: Any, role: Any, t: Any, tick: Any, flags: Any, *rest: Any
        ) -> Any:
            late = (flags & LATE) != 0
            return (
                ring,
                sums,
                plan,
                at,
                role,
                t,
                tick,
                np.where(late, flags | BAD, flags).astype(np.uint16),
                *rest,
            )

        assert self.caught(monkeypatch, broken, function)

    def test_a_fine_total_counted_beside_the_coarse_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        rows = [Row(0, role, START + (3 * k + role) * 20 * MINUTE, 1.0) for k in range(4) for role in (0, 1)]
        spec = window(function="sum", over="3h", coverage=0)
        true = windows._rows

        def broken(ring: Any, sums: Any, plan: Any, at: Any, *rest: Any) -> None:
            true(ring, sums, plan._replace(period_us=np.minimum(plan.period_us, 10 * MINUTE)), at, *rest)

        assert told(spec, rows, world=RAIN) == oracle(spec, rows, RAIN)
        monkeypatch.setattr(windows, "_rows", broken)
        assert told(spec, rows, world=RAIN) != oracle(spec, rows, RAIN)


def test_sums_of_real_rain_with_gaps_are_those_of_a_plain_loop() -> None:
    path = shared("data", "series", "hydrology", "keag_small_usgs01037000_hourly.csv.gz")
    at_us, value = [], []
    with gzip.open(path, "rt") as lines:
        for line in csv.DictReader(lines):
            stamp = int(datetime.fromisoformat(line["datetime"]).replace(tzinfo=UTC).timestamp()) * S
            if line["precip"] and (not at_us or stamp > at_us[-1]):
                at_us.append(stamp)
                value.append(float(line["precip"]))
    assert len(at_us) > 8_000
    rain = series("rain", minutes=60)
    rows = [Row(0, 0, t, v) for t, v in zip(at_us, value, strict=True)]
    out = told(window(function="sum", over="24h", coverage=0.9), rows, [1, 100, 4_000], [instance(rain)])
    last: deque[tuple[int, int]] = deque()
    for given_here, t, v in zip(out, at_us, value, strict=True):
        last.append((t, round(v * 100)))
        while last[0][0] <= t - 24 * HOUR:
            last.popleft()
        total = sum(ticks for _, ticks in last)
        assert (given_here.event_us, given_here.value) == (t, total / 100 if len(last) >= 22 else None)
    assert sum(t.value is None for t in out) > 20
