"""Rates and times to a limit against exact fractions, and what one bad sample can do."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
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
    RateOracle,
    Row,
    TimeOracle,
    Told,
    expected,
    fed,
    histories,
    instance,
    run,
    series,
)

from ioc.rules.derive import rate
from ioc.rules.derive.base import Deriver, Instance
from ioc.rules.spec.derived import Rate, TimeTo

WORLD = [
    instance(series("level"), resolution=0.001),
    instance(series("speed", minutes=5), resolution=0.05),
    instance(series("power", minutes=20, resolution=0.1), resolution=1.0),
]
LIMITED = [
    instance(series("level"), resolution=0.1, limit=0.29),
    instance(series("speed", minutes=5), resolution=0.1, limit=-0.105),
    instance(series("power", minutes=20), resolution=0.1, limit=1.1),
]
many = settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
Cuts = st.lists(st.integers(1, 40), max_size=4)


def of_rate(**what: Any) -> Rate:
    return Rate.model_validate({"kind": "rate", "over": "1h", **what})


def of_time(**what: Any) -> TimeTo:
    return TimeTo.model_validate({"kind": "time_to", "over": "1h", "rule": "r", "level": 1, **what})


def unit_us(spec: Rate, one: Instance) -> int:
    assert one.inputs[0] is not None
    return rate._unit(one.inputs[0], spec.over) if spec.method == "regression" else 1


def rates(
    spec: Rate, rows: Sequence[Row], cuts: Sequence[int] = (), world: Sequence[Instance] = WORLD
) -> list[Told]:
    return run(lambda: rate.build_rate(spec, world, 0), rows, cuts)


def oracle(spec: Rate, rows: Sequence[Row], world: Sequence[Instance] = WORLD) -> list[Told]:
    return expected([lambda one=one: RateOracle(spec, one, unit_us(spec, one)) for one in world], rows)  # type: ignore[misc]


def times(
    spec: TimeTo, rows: Sequence[Row], cuts: Sequence[int] = (), world: Sequence[Instance] = LIMITED
) -> list[Told]:
    return run(lambda: rate.build_time_to(spec, world, 0), rows, cuts)


def rise(*values: float, flags: int = 0) -> list[Row]:
    """One value every 10 minutes."""
    return [Row(0, 0, START + 10 * k * MINUTE, value, flags) for k, value in enumerate(values)]


@many
@given(
    st.sampled_from(["theil_sen", "regression"]), st.sampled_from(["1h", "2h"]), st.sampled_from([3, 4]),
    histories(WORLD), Cuts,
)  # fmt: skip
def test_every_rate_is_that_of_the_plain_oracle_however_rows_are_cut_and_restarted(
    method: str, over: str, samples: int, rows: list[Row], cuts: list[int]
) -> None:
    spec = of_rate(method=method, over=over, samples=samples, per="1h" if samples == 3 else "1min")
    assert rates(spec, rows, cuts) == oracle(spec, rows)


@many
@given(st.sampled_from(["up", "down"]), histories(LIMITED), Cuts)
def test_every_time_to_a_limit_is_that_of_the_plain_oracle_however_rows_are_cut_and_restarted(
    direction: str, rows: list[Row], cuts: list[int]
) -> None:
    spec = of_time(direction=direction, horizon="3h")
    oracles = [TimeOracle(spec, one) for one in LIMITED]
    makers: list[Callable[[], TimeOracle]] = [lambda one=one: one for one in oracles]  # type: ignore[misc]
    assert times(spec, rows, cuts) == expected(makers, rows)
    deriver: Deriver = rate.build_time_to(spec, LIMITED, 0)
    deriver.feed(fed(rows))
    for bound, name in enumerate(("lower", "upper")):
        wanted = [np.nan if one.bounds[bound] is None else one.bounds[bound] for one in oracles]
        assert np.array_equal(deriver.columns[name], np.array(wanted, np.float64), equal_nan=True)


@many
@given(st.sampled_from(["theil_sen", "regression"]), histories(WORLD))
def test_other_instances_change_nothing(method: str, rows: list[Row]) -> None:
    spec = of_rate(method=method)
    together = sorted(rates(spec, rows), key=lambda t: t.at)
    apart = rates(spec, sorted(rows, key=lambda row: row.at))
    assert [t[1:] for t in together] == [t[1:] for t in apart]


@pytest.mark.parametrize("method", ["theil_sen", "regression"])
def test_a_long_dense_window_is_thinned_evenly(method: str) -> None:
    dice = random.Random(5)
    world = [instance(series("level", minutes=1 / 6), resolution=0.001)]
    rows = [
        Row(0, 0, START + k * 10_000_000 + dice.randrange(9_000_000), dice.randrange(900) / 100)
        for k in range(120)
    ]
    spec = of_rate(method=method)
    assert rates(spec, rows, world=world) == oracle(spec, rows, world)


@pytest.mark.parametrize("method", ["theil_sen", "regression"])
def test_a_straight_line_has_its_slope(method: str) -> None:
    given = rates(of_rate(method=method), rise(0, 0.1, 0.2, 0.3))
    assert [(t.value, t.flags) for t in given] == [(None, BAD), (None, BAD), (0.6, 0), (0.6, 0)]


@given(st.integers(0, 5), st.integers(-(10**5), 10**5), st.lists(st.integers(4, 6), min_size=5, max_size=5))
@settings(many, max_examples=100)
def test_one_bad_spike_moves_theil_sen_no_further_than_its_neighbours_go(
    place: int, spike: int, steps: list[int]
) -> None:
    values = [0, *np.cumsum(steps).tolist()]
    values[place] += spike
    # Each pair without the spike rises 0.04 to 0.06 m in 10 min; 10 of 15 pairs are such.
    value = rates(of_rate(), rise(*[v / 100 for v in values]))[-1].value
    assert value is not None
    assert 0.24 <= value <= 0.36


def test_bad_samples_are_passed_over_and_doubt_is_told() -> None:
    rows = rise(0, 0.1, 0.2, 0.3, 99, 0.5)
    rows[4] = rows[4]._replace(flags=BAD)
    given = rates(of_rate(), rows)
    assert [(t.value, t.flags) for t in given[3:]] == [(0.6, 0), (0.6, UNCERTAIN), (0.6, 0)]


def test_late_revised_and_retracted_samples_are_put_right() -> None:
    rows = [
        *rise(0, 0.1, 0.2, 0.9),
        Row(0, 0, START + 30 * MINUTE, 0.9, GONE),
        Row(0, 0, START + 5 * MINUTE, 0.05, LATE),
        Row(0, 0, START + 20 * MINUTE, 0.8, REVISED),
    ]
    given = rates(of_rate(method="regression"), rows)
    assert [(t.value, t.flags) for t in given[4:]] == [
        (0.6, LATE | UNCERTAIN),
        (None, BAD | LATE),
        (2.451, LATE),
    ]


def test_the_time_to_a_limit_from_a_steady_rise() -> None:
    world = [instance(series("level"), resolution=0.1, limit=1.0)]
    spec = of_time(samples=3)
    rows = rise(0, 0.1, 0.2, 0.3, 1.0, 1.2)
    given = times(spec, rows, world=world)
    assert [(t.value, t.flags) for t in given] == [
        (None, BAD),
        (None, BAD),
        (80.0, 0),
        (70.0, 0),
        (0.0, 0),
        (0.0, 0),
    ]


def test_the_time_to_a_limit_is_the_horizon_when_it_is_far_or_the_level_falls() -> None:
    world = [instance(series("level"), resolution=0.1, limit=1.0)]
    for values in ([0.3, 0.2, 0.1, 0.0], [0.0, 0.0, 0.0, 0.0], [0.0, 0.01, 0.02, 0.03]):
        assert times(of_time(horizon="2h"), rise(*values), world=world)[-1].value == 120.0


def test_quartile_slopes_bound_the_time_to_a_limit() -> None:
    world = [instance(series("level"), resolution=0.1, limit=1.0)]
    deriver: Deriver = rate.build_time_to(of_time(), world, 0)
    given = deriver.feed(fed(rise(0, 0.1, 0.15, 0.3, 0.32)))
    lower, upper = float(deriver.columns["lower"][0]), float(deriver.columns["upper"][0])
    assert 60 < lower < given.value[-1] < upper < 120
    deriver.feed(fed([Row(0, 0, START + 50 * MINUTE, 0.4, BAD)]))
    assert np.isnan(deriver.columns["lower"]).all() and np.isnan(deriver.columns["upper"]).all()


def test_without_a_limit_in_force_nothing_is_given() -> None:
    assert times(of_time(), rise(0, 0.1, 0.2, 0.3, 0.4), world=[instance(series("level"))]) == []


class TestPlantedBugs:
    """The comparison with the oracle sees each of these."""

    @pytest.mark.parametrize("method", ["theil_sen", "regression"])
    def test_a_window_that_includes_its_beginning(self, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
        spec, rows = of_rate(method=method), rise(0, 0.5, 0.1, 0.2, 0.4, 0.8, 1.6, 1.7)
        assert rates(spec, rows) == oracle(spec, rows)
        true = rate._rate_rows
        monkeypatch.setattr(
            rate,
            "_rate_rows",
            lambda ring, asked, *rest: true(ring, asked._replace(over_us=asked.over_us + 1), *rest),
        )
        assert rates(spec, rows) != oracle(spec, rows)

    def test_a_limit_that_is_reached_one_tick_late(self, monkeypatch: pytest.MonkeyPatch) -> None:
        world = [instance(series("level"), resolution=0.1, limit=0.29)]
        spec, rows = of_time(), rise(0.6, 0.5, 0.4, 0.3, 0.29)
        wanted = expected([lambda: TimeOracle(spec, world[0])], rows)
        assert times(spec, rows, world=world) == wanted
        true = rate._until_rows

        def broken(ring: Any, until: Any, *rest: Any) -> None:
            true(ring, until._replace(reached=until.reached + 1), *rest)

        monkeypatch.setattr(rate, "_until_rows", broken)
        assert times(spec, rows, world=world) != wanted
