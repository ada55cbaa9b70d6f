"""Dew point, heat index and wind chill: published tables, where each is defined, and an oracle of floats."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.several import Row, S, in_order, instance, run, shows

from ioc.model.batch import Flag
from ioc.rules.derive import weather
from ioc.rules.derive.base import Deriver
from ioc.rules.spec.derived import Weather

Kind = Literal["dew_point", "heat_index", "wind_chill"]
KINDS: tuple[Kind, ...] = ("dew_point", "heat_index", "wind_chill")


def of(kind: Kind, *names: Literal["temperature", "humidity", "wind"]) -> Deriver:
    spec = Weather(id="x", kind=kind, inputs={name: name for name in names})
    return weather.build(spec, [instance([10.0] * len(names))], 0)


def needed(kind: Kind) -> Deriver:
    return of(kind, "temperature", "wind" if kind == "wind_chill" else "humidity")


def once(kind: Kind, temperature: float, other: float) -> float | None:
    """One round."""
    return run(lambda: needed(kind), [(0, 0, 0.0, temperature, 0), (0, 1, 0.0, other, 0)])[0][3]


def fahrenheit(f: float) -> float:
    return (f - 32) / 1.8


# Published figures ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("temperature", "humidity", "dew"),
    [(20, 100, 20.0), (25, 50, 13.8), (30, 70, 23.9), (35, 60, 26.0), (0, 60, -6.8)],
)
def test_dew_points_as_tables_have_them(temperature: float, humidity: float, dew: float) -> None:
    assert once("dew_point", temperature, humidity) == pytest.approx(dew, abs=0.15)


@pytest.mark.parametrize(
    ("f", "humidity", "index_f"),
    [(80, 40, 80), (90, 50, 95), (90, 70, 105), (100, 40, 109), (86, 90, 105), (96, 65, 121), (110, 40, 136)],
)
def test_heat_indices_are_those_of_the_chart_of_the_nws(f: float, humidity: float, index_f: float) -> None:
    found = weather.heat_index_c(np.array([[fahrenheit(f), humidity]]))[0] * 1.8 + 32
    # The chart is Steadman's model itself; the page gives the regression an error of 1.3 °F.
    assert found == pytest.approx(index_f, abs=1.3)


@pytest.mark.parametrize(
    ("temperature", "wind_kmh", "chill"),
    [(0, 10, -3), (-5, 20, -12), (-10, 40, -21), (-20, 30, -33), (5, 5, 4), (5, 60, -2)],
)
def test_wind_chills_are_those_of_the_chart_of_environment_canada(
    temperature: float, wind_kmh: float, chill: float
) -> None:
    assert once("wind_chill", temperature, wind_kmh / 3.6) == pytest.approx(chill, abs=0.7)


# Where they are defined -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("temperature", "humidity"), [(20, 0), (20, -1), (20, 101), (-45.1, 50), (60.1, 50)])
def test_a_dew_point_that_is_not_defined_is_bad(temperature: float, humidity: float) -> None:
    assert once("dew_point", temperature, humidity) is None


def test_where_no_wind_chills_the_temperature_stands() -> None:
    assert once("wind_chill", 10.1, 20) == 10.1
    assert once("wind_chill", -5.0, 4.8 / 3.6) == -5.0
    assert once("wind_chill", 10.0, 20) != 10.0
    assert once("wind_chill", -5.0, 1.4) != -5.0
    assert once("wind_chill", -5.0, -1.0) is None


def test_below_80_f_the_heat_index_is_the_simple_form_and_at_40_f_the_temperature() -> None:
    assert once("heat_index", 20.0, 50) == 19.4
    assert once("heat_index", 4.4, 50) == 4.4
    assert once("heat_index", 30.0, 101) is None


def test_adjustments_of_dry_and_damp_air() -> None:
    dry = weather.heat_index_c(np.array([[fahrenheit(95), 5.0], [fahrenheit(95), 13.0]])) * 1.8 + 32
    assert dry[0] == pytest.approx(plain_heat(95, 5) - 2)
    assert dry[1] == pytest.approx(plain_heat(95, 13))
    damp = weather.heat_index_c(np.array([[fahrenheit(82), 95.0]])) * 1.8 + 32
    assert damp[0] == pytest.approx(plain_heat(82, 95) + 1)


def test_inputs_stand_in_any_order_and_must_be_the_right_ones() -> None:
    rows: list[Row] = [(0, 0, 0.0, 50.0, 0), (0, 1, 0.0, 25.0, 0)]
    assert run(lambda: of("dew_point", "humidity", "temperature"), rows)[0][3] == once(
        "dew_point", 25.0, 50.0
    )
    with pytest.raises(
        ValueError, match="wind_chill needs the inputs temperature, wind, not temperature, humidity"
    ):
        of("wind_chill", "temperature", "humidity")


# Against floats -------------------------------------------------------------------------------------------------------


def plain_heat(f: float, r: float) -> float:
    """Rothfusz, as the page prints it."""
    return (
        -42.379 + 2.04901523 * f + 10.14333127 * r - 0.22475541 * f * r - 6.83783e-3 * f**2
        - 5.481717e-2 * r**2 + 1.22874e-3 * f**2 * r + 8.5282e-4 * f * r**2 - 1.99e-6 * f**2 * r**2
    )  # fmt: skip


def plain(kind: Kind, t: float, x: float) -> float | None:
    if kind == "dew_point":
        if not 0 < x <= 100 or not -45 <= t <= 60:
            return None
        gamma = math.log(x / 100) + 17.62 * t / (243.12 + t)
        return 243.12 * gamma / (17.62 - gamma)
    if kind == "wind_chill":
        v = x * 3.6
        if x < 0:
            return None
        if t > 10 or v <= 4.8:
            return t
        return 13.12 + 0.6215 * t - 11.37 * v**0.16 + 0.3965 * t * v**0.16
    if not 0 <= x <= 100:
        return None
    f = t * 9 / 5 + 32
    if f <= 40:
        return t
    simple = (f + 61 + (f - 68) * 1.2 + x * 0.094) / 2
    if simple < 80:
        return (simple - 32) * 5 / 9
    full = plain_heat(f, x)
    if x < 13 and 80 <= f <= 112:
        full -= (13 - x) / 4 * math.sqrt((17 - abs(f - 95)) / 17)
    if x > 85 and 80 <= f <= 87:
        full += (x - 85) / 10 * (87 - f) / 5
    return (full - 32) * 5 / 9


TENTHS = st.integers(-600, 700).map(lambda k: k / 10)
OTHER = st.integers(-20, 1050).map(lambda k: k / 10)


def agrees(kind: Kind, t: float, x: float) -> bool:
    found, wanted = once(kind, t, x), plain(kind, t, x)
    if found is None or wanted is None:
        return found is wanted
    # Rounded to a tenth; where the float lies on the edge of one, either neighbour is right.
    return abs(found - wanted) <= 0.05 + 1e-6


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=150, deadline=None)
@given(t=TENTHS, x=OTHER)
def test_each_is_the_formula_in_floats(kind: Kind, t: float, x: float) -> None:
    assert agrees(kind, t, x)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(KINDS),
    st.lists(
        st.tuples(st.just(0), st.integers(0, 1), st.integers(0, 9).map(float), TENTHS, st.just(0)),
        max_size=20,
    ),
    st.lists(st.integers(0, 20), max_size=3),
)
def test_cuts_and_restarts_change_nothing(kind: Kind, rows: list[Row], cuts: list[int]) -> None:
    rows = in_order(sorted(rows, key=lambda r: r[2]))
    assert run(lambda: needed(kind), rows, cuts) == run(lambda: needed(kind), rows)


def test_flags_go_through() -> None:
    rows: list[Row] = [(0, 0, 0.0, 25.0, int(Flag.UNCERTAIN)), (0, 1, 3.0, 50.0, int(Flag.BACKLOG))]
    assert run(lambda: needed("dew_point"), rows) == [(1, 0, 3 * S, 13.9, Flag.UNCERTAIN | Flag.BACKLOG)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_planted_bug_is_caught(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    right = weather._CALCULATE[kind]
    # Half a percent of the temperature scale: what a mistyped coefficient does.
    monkeypatch.setitem(weather._CALCULATE, kind, lambda values: right(values) * 1.005)
    assert shows(st.tuples(TENTHS, OTHER), lambda tx: not agrees(kind, *tx))
