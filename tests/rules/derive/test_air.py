"""VN_AQI and US AQI: the Decision's own vectors, and hours and days against a plain loop."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.several import (
    FLAGS,
    HANOI_US,
    HOUR,
    Row,
    S,
    Told,
    in_order,
    instance,
    of_instance,
    run,
    shows,
)

from ioc.model.batch import Flag
from ioc.rules.derive import air
from ioc.rules.derive.base import Deriver
from ioc.rules.samples import RETRACTED
from ioc.rules.spec.derived import UsAqi, VnAqi

Pollutant = Literal["pm25", "pm10", "so2", "no2", "co", "o3"]
NOON = 1_774_933_200  # a whole hour, and no midnight, in Hà Nội
MIDNIGHT = NOON - 12 * HOUR
DOMAIN_PM25 = (26.9, 24.7, 20.5, 23.5, 19.5, 16.5, 19.0, 16.5, 20.3, 22.4, 19.6, 20.6)
"""PM2.5 from 9 to 20 h, domain.md §1."""


def vn(*names: Pollutant, period: Literal["hourly", "daily"] = "hourly") -> VnAqi:
    return VnAqi(id="aqi", kind="vn_aqi", period=period, inputs={name: name for name in names})


def of(*names: Pollutant, period: Literal["hourly", "daily"] = "hourly", every_s: float = HOUR) -> Deriver:
    at = [instance([every_s] * len(names), 1.0), instance([every_s] * len(names), 1.0)]
    return air.build_vn_aqi(vn(*names, period=period), at, HANOI_US)


def hourly(*columns: Sequence[float | None], start: float = MIDNIGHT + HOUR) -> list[Row]:
    """Hourly means stamped at the end of their hours, input by input."""
    return [
        (0, role, start + k * HOUR, value, 0)
        for k, values in enumerate(itertools.zip_longest(*columns))
        for role, value in enumerate(values)
        if value is not None
    ]


# The Decision's vectors -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "concentration", "index"),
    [
        ("o3_1h", "136.1", 43),
        ("pm25", "20.3", 41),
        ("pm25", "20.27", 41),
        ("o3_8h", "89.3", 45),
        ("o3_1h", "114.6", 36),
        ("no2", "130.8", 65),
        ("pm25", "55.7", 110),
        ("no2", "118.7", 59),
    ],
)
def test_sub_indices_are_those_of_the_decision_but_for_its_erratum(
    table: str, concentration: str, index: int
) -> None:
    assert air.sub_index(air.VN[table], Fraction(concentration)) == index


def test_the_erratum_computes_to_what_domain_md_says() -> None:
    assert Fraction("118.7") * 50 / 100 == Fraction("59.35")


def test_nowcast_of_the_decision_s_example_is_20_27() -> None:
    found = air.nowcast([Fraction(str(c)) for c in reversed(DOMAIN_PM25)])
    assert found is not None
    assert air.half_up(found * 100) == 2027


def test_the_example_through_the_deriver_is_41() -> None:
    result = run(lambda: of("pm25"), hourly(DOMAIN_PM25, start=NOON - 3 * HOUR))
    assert result[-1] == (11, 0, (NOON + 8 * HOUR) * S, 41.0, 0)


@pytest.mark.parametrize("name", ["o3_1h", "o3_8h", "co", "so2", "no2", "pm10", "pm25"])
def test_every_row_of_the_table_is_its_index_and_what_is_above_is_500(name: str) -> None:
    table = air.VN[name]
    assert [air.sub_index(table, c) for c, _ in table] == [i for _, i in table]
    assert air.sub_index(table, table[-1][0] + 1) == 500


@pytest.mark.parametrize(
    ("air_ug", "vn_index", "us"), [(15, 30, 62), (30, 60, 90), (50, 100, 137), (100, 164, 182)]
)
def test_the_same_air_by_both_indices(air_ug: int, vn_index: int, us: int) -> None:
    assert air.sub_index(air.VN["pm25"], Fraction(air_ug)) == vn_index
    assert air.us_index(Fraction(air_ug)) == us


@pytest.mark.parametrize(
    ("concentration", "index"),
    [("0", 0), ("9.0", 50), ("9.09", 50), ("9.1", 51), ("35.4", 100), ("35.49", 100), ("35.5", 101), ("55.4", 150),
     ("125.5", 201), ("225.4", 300), ("225.5", 301), ("325.4", 500), ("999", 500)],
)  # fmt: skip
def test_us_breakpoints_of_2024_with_the_concentration_cut_to_tenths(concentration: str, index: int) -> None:
    assert air.us_index(Fraction(concentration)) == index


def test_us_aqi_of_constant_air_is_that_of_the_table() -> None:
    spec = UsAqi(id="us", kind="us_aqi", inputs={"pm25": "pm25"})
    result = run(lambda: air.build_us_aqi(spec, [instance([HOUR], 1.0)], HANOI_US), hourly([30.0] * 5))
    assert [value for _, _, _, value, _ in result] == [None, 90, 90, 90, 90]


# NowCast --------------------------------------------------------------------------------------------------------------


def test_nowcast_needs_two_of_the_three_newest_hours() -> None:
    c = Fraction(10)
    assert air.nowcast([c, None, None, c, c, c]) is None
    assert air.nowcast([None, c, c]) == 10
    assert air.nowcast([c, None, c]) == 10


def test_nowcast_is_normalised_over_gaps() -> None:
    # w = ½; weights 1, –, ¼: (8 + 40/4) / (5/4).
    assert air.nowcast([Fraction(8), None, Fraction(40)]) == Fraction(72, 5)


def test_nowcast_of_clean_air_is_0() -> None:
    assert air.nowcast([Fraction(0)] * 12) == 0


# The hourly index -----------------------------------------------------------------------------------------------------


def test_without_pm_there_is_no_index() -> None:
    result = run(lambda: of("pm25", "no2"), hourly([None, None], [700.0, 700.0]))
    assert [(value, flags) for _, _, _, value, flags in result] == [(None, Flag.BAD)] * 2
    with pytest.raises(ValueError, match="pm10 or pm25"):
        of("no2")


def test_the_index_is_that_of_the_worst_and_o3_counts_by_its_hour() -> None:
    rows = hourly([10.0] * 3, [10.0, 10.0, 200.0])
    assert [v for _, _, _, v, _ in run(lambda: of("pm25", "o3"), rows)][-1] == 100


def test_denser_inputs_are_averaged_by_clock_hour_and_the_row_at_its_end_closes_it() -> None:
    # (8:00, 9:00] of 10 and 30; (9:00, 10:00] of 40: NowCast with w = ½ of 20, 40 → (40 + 10) / 1.5.
    rows = [(0, 0, NOON + q * 900.0, 10.0 if q % 2 else 30.0, 0) for q in range(1, 5)]
    rows += [(0, 0, NOON + 3600 + q * 900.0, 40.0, 0) for q in range(1, 5)]
    result = run(lambda: of("pm25", every_s=900), rows)
    assert result == [
        (3, 0, (NOON + HOUR) * S, None, Flag.BAD),
        (7, 0, (NOON + 2 * HOUR) * S, air.sub_index(air.VN["pm25"], Fraction(100, 3)), 0),
    ]


def test_an_hour_of_less_than_three_quarters_is_missing() -> None:
    for samples, known in ((3, True), (2, False)):
        rows = [(0, 0, NOON + h * 3600 + q * 900.0, 10.0, 0) for h in range(2) for q in range(1, samples + 1)]
        rows.append((0, 0, NOON + 7210.0, 10.0, 0))
        result = run(lambda: of("pm25", every_s=900), rows)
        assert (result[-1][3] is not None) == known


def test_an_hour_waits_for_every_input_that_is_alive() -> None:
    rows = hourly([10.0] * 3, [10.0] * 3)
    assert [row for row, *_ in run(lambda: of("pm25", "no2"), rows)] == [0, 3, 5]
    # no2 falls silent: its next hour is closed by the row beyond it, later ones by pm25 alone.
    rows = hourly([10.0] * 6, [10.0, 10.0])
    assert [(row, us // S - MIDNIGHT) for row, _, us, _, _ in run(lambda: of("pm25", "no2"), rows)] == [
        (0, 3600), (3, 7200), (5, 10800), (5, 14400), (6, 18000), (7, 21600)
    ]  # fmt: skip


def test_an_index_that_waited_through_a_silence_is_backlog() -> None:
    rows = [(0, 0, NOON + s, 10.0, 0) for s in (HOUR, 2 * HOUR, 2.5 * HOUR, 5.2 * HOUR)]
    assert run(lambda: of("pm25"), rows)[-1] == (3, 0, (NOON + 3 * HOUR) * S, 20.0, Flag.BACKLOG)


def test_late_and_retracted_rows_change_nothing_and_bad_ones_are_not_counted() -> None:
    rows = hourly([10.0] * 3)
    odd: list[Row] = [
        (0, 0, rows[-1][2], 500.0, int(Flag.REVISED)),
        (0, 0, rows[0][2] - 60, 500.0, int(Flag.LATE)),
        (0, 0, rows[-1][2], 10.0, int(Flag.LATE | Flag.BAD) | RETRACTED),
    ]
    more = hourly([10.0], start=rows[-1][2] + HOUR)
    assert [t[1:] for t in run(lambda: of("pm25"), rows + odd + more)] == [
        t[1:] for t in run(lambda: of("pm25"), rows + more)
    ]
    spoiled = [*rows[:-1], (0, 0, rows[-1][2], 500.0, int(Flag.BAD)), *more]
    assert run(lambda: of("pm25"), spoiled)[-1][3] == 20


# The daily index ------------------------------------------------------------------------------------------------------


def test_a_day_runs_from_1_h_to_0_h_and_pm_counts_by_its_mean() -> None:
    rows = hourly([500.0, *[30.0] * 24, 500.0], start=MIDNIGHT)
    result = run(lambda: of("pm25", period="daily"), rows)
    assert [(us // S - MIDNIGHT, value) for _, _, us, value, _ in result] == [(0, None), (86_400, 60.0)]


def test_o3_counts_by_its_worst_hour_and_by_its_worst_eight_unless_above_400() -> None:
    pm = [10.0] * 24
    high_hour = [0.0] * 20 + [160.0] + [0.0] * 3
    eight = [0.0] * 4 + [120.0] * 8 + [0.0] * 12
    above = [0.0] * 4 + [408.0] * 8 + [0.0] * 12
    for o3, index in ((high_hour, 50), (eight, 100), (above, 202)):
        assert run(lambda: of("pm25", "o3", period="daily"), hourly(pm, o3))[-1][3] == index


def test_a_day_of_less_than_18_hours_of_pm_has_no_index() -> None:
    for hours, known in ((18, True), (17, False)):
        values = [None] * (24 - hours) + [10.0] * hours
        assert (run(lambda: of("pm25", period="daily"), hourly(values))[-1][3] is not None) == known


# Against a plain loop -------------------------------------------------------------------------------------------------

NAMES: tuple[Pollutant, ...] = ("pm25", "so2", "o3")
INTERVALS = (900, HOUR, HOUR)
STEPS = {
    "pm25": [(0, 0), (25, 50), (50, 100), (80, 150), (150, 200), (250, 300), (350, 400), (500, 500)],
    "so2": [(0, 0), (125, 50), (350, 100), (550, 150), (800, 200), (1600, 300), (2100, 400), (2630, 500)],
    "o3": [(0, 0), (160, 50), (200, 100), (300, 150), (400, 200), (800, 300), (1000, 400), (1200, 500)],
    "o3_8h": [(0, 0), (100, 50), (120, 100), (170, 150), (210, 200), (400, 300)],
}
Samples = dict[tuple[int, int], list[tuple[float, float, int]]]


def plain_index(name: str, c: Fraction) -> int:
    for (c0, i0), (c1, i1) in itertools.pairwise(STEPS[name]):
        if c <= c1:
            exact = i0 + Fraction(i1 - i0) * (c - c0) / (c1 - c0)
            return int(exact) + (exact - int(exact) >= Fraction(1, 2))
    return 500


def plain_mean(taken: Samples, at: int, role: int, end: float) -> tuple[Fraction | None, bool]:
    mine = [s for s in taken.get((at, role), []) if end - HOUR < s[0] <= end]
    good = [s for s in mine if not s[2] & (Flag.BAD | Flag.OUT_OF_RANGE) and math.isfinite(s[1])]
    if len(good) < max(1, math.ceil(0.75 * HOUR / INTERVALS[role])):
        return None, False
    mean = sum((Fraction(str(s[1])) for s in good), Fraction(0)) / len(good)
    return max(mean, Fraction(0)), any(s[2] & Flag.UNCERTAIN for s in good)


def plain_value(taken: Samples, at: int, end: float, daily: bool) -> tuple[float | None, int]:
    subs: dict[str, int] = {}
    doubt = False
    for role, name in enumerate(NAMES):
        back = 24 if daily else 12 if name == "pm25" else 1
        pairs = [plain_mean(taken, at, role, end - k * HOUR) for k in range(back)]
        c = [mean for mean, _ in pairs]
        doubt = doubt or any(uncertain for _, uncertain in pairs)
        known = [x for x in c if x is not None]
        if daily and name == "pm25":
            if len(known) >= 18:
                subs[name] = plain_index(name, sum(known) / Fraction(len(known)))
        elif daily and known:
            subs[name] = plain_index(name, max(known))
            runs = [[x for x in c[k : k + 8] if x is not None] for k in range(17)]
            eights = [sum(r) / Fraction(len(r)) for r in runs if len(r) >= 6]
            if name == "o3" and eights and max(eights) <= 400:
                subs["o3_8h"] = plain_index("o3_8h", max(eights))
        elif not daily and name == "pm25" and 3 - c[:3].count(None) >= 2:
            w = max(min(known) / max(known), Fraction(1, 2)) if max(known) else Fraction(1)
            terms = [(w**k, x) for k, x in enumerate(c) if x is not None]
            subs[name] = plain_index(name, sum(a * x for a, x in terms) / sum(a for a, _ in terms))
        elif not daily and name != "pm25" and known:
            subs[name] = plain_index(name, known[0])
    flags = int(Flag.UNCERTAIN) if doubt else 0
    return (float(max(subs.values())), flags) if "pm25" in subs else (None, flags | Flag.BAD)


def plain(rows: Sequence[Row], daily: bool) -> list[Told]:
    """What the docstring of the module says, from all samples, row by row."""
    length = 24 * HOUR if daily else HOUR
    taken: Samples = {}
    newest: dict[int, float] = {}
    closed: set[tuple[int, float]] = set()
    result: list[Told] = []

    def close(row: int, at: int, end: float) -> None:
        closed.add((at, end))
        _, _, seconds, _, flags = rows[row]
        value, said = plain_value(taken, at, end, daily)
        backlog = flags & Flag.BACKLOG or seconds - end > HOUR
        result.append((row, at, round(end * S), value, said | (Flag.BACKLOG if backlog else 0)))

    for row, (at, role, seconds, value, flags) in enumerate(rows):
        if flags & (Flag.LATE | Flag.REVISED):
            continue
        end = math.ceil((seconds - MIDNIGHT) / length) * length + MIDNIGHT
        if at in newest and end > newest[at] and (at, newest[at]) not in closed:
            close(row, at, newest[at])
        newest[at] = max(newest.get(at, end), end)
        taken.setdefault((at, role), []).append((seconds, value, flags))
        last = [taken[at, r][-1][0] for r in range(3) if (at, r) in taken]
        whole = all(t >= end or t <= end - 2 * HOUR for t in last)
        if whole and seconds == end == newest[at] and (at, end) not in closed:
            close(row, at, end)
    return result


def both(every: tuple[float, ...] = INTERVALS, *, daily: bool = False) -> Deriver:
    at = [instance(every, 1.0), instance(every, 1.0)]
    return air.build_vn_aqi(vn(*NAMES, period="daily" if daily else "hourly"), at, HANOI_US)


VALUES = st.integers(-20, 9000).map(lambda k: k / 10) | st.sampled_from([25.0, 26.0, 55.7, math.nan])


@st.composite
def many_rows(draw: st.DrawFn) -> list[Row]:
    """Quarter hours of PM and hours of the others for some hours, some lost, with stamps a bit off."""
    hours = draw(st.integers(1, 16))
    off = st.sampled_from([0.0] * 6 + [1.0, 10.0, -10.0, 5000.0, 20_000.0])
    rows: list[Row] = []
    lost = st.sampled_from([False] * 5 + [True])
    for quarter in range(1, 4 * hours + 1):
        for role in (0, 1, 2):
            if (role == 0 or quarter % 4 == 0) and not draw(lost):
                seconds = NOON + 900.0 * quarter + draw(off)
                rows.append(
                    (
                        draw(st.integers(0, 1)) if quarter % 7 == 0 else 0,
                        role,
                        seconds,
                        draw(VALUES),
                        draw(FLAGS),
                    )
                )
    return in_order(rows)


@st.composite
def days(draw: st.DrawFn) -> list[Row]:
    """Hours of some days, nearly all of them there."""
    hours = draw(st.integers(20, 55))
    at = draw(st.integers(0, 23)) * HOUR + NOON
    there = draw(st.sampled_from([0.75, 0.9, 1.0]))
    rng = draw(st.randoms(use_true_random=False))
    flags = [0] * 12 + [int(Flag.UNCERTAIN), int(Flag.BAD), int(Flag.BACKLOG), int(Flag.LATE)]
    return in_order(
        [
            (rng.random() < 0.05, role, float(at + h * HOUR), rng.randint(0, 5000) / 10, rng.choice(flags))
            for h in range(hours)
            for role in (0, 1, 2)
            if rng.random() < there
        ]
    )


def hours_of() -> Deriver:
    return both()


def days_of() -> Deriver:
    return both((HOUR, HOUR, HOUR), daily=True)


@settings(max_examples=100, deadline=None)
@given(many_rows())
def test_hours_are_those_of_a_plain_loop(rows: list[Row]) -> None:
    assert run(hours_of, rows) == plain(rows, daily=False)


@settings(max_examples=100, deadline=None)
@given(days())
def test_days_are_those_of_a_plain_loop(rows: list[Row]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(globals(), "INTERVALS", (HOUR, HOUR, HOUR))
        assert run(days_of, rows) == plain(rows, daily=True)


@settings(max_examples=60, deadline=None)
@given(many_rows(), st.lists(st.integers(0, 200), max_size=5))
def test_cuts_and_restarts_change_nothing(rows: list[Row], cuts: list[int]) -> None:
    assert run(hours_of, rows, cuts) == run(hours_of, rows)
    assert run(days_of, rows, cuts) == run(days_of, rows)


@settings(max_examples=60, deadline=None)
@given(many_rows())
def test_interleaving_of_instances_changes_nothing(rows: list[Row]) -> None:
    apart = sorted(rows, key=lambda r: r[0])
    for at in (0, 1):
        assert of_instance(run(hours_of, apart), at) == of_instance(run(hours_of, rows), at)


def as_written(rows: list[Row]) -> bool:
    return run(hours_of, rows) != plain(rows, daily=False)


def _beyond(right: Callable[..., Any]) -> Callable[..., Any]:
    """An hour that begins at its sharp stamp, instead of ending there."""

    def gather(*args: Any) -> Any:
        given = list(args)
        given[3] = given[3] + 1
        return right(*given)

    return gather


def _takes_bad(right: Callable[..., Any]) -> Callable[..., Any]:
    def gather(*args: Any) -> Any:
        given = list(args)
        given[5] = np.ones_like(given[5])
        return right(*given)

    return gather


def _unnormalised(means: Sequence[Fraction | None]) -> Fraction | None:
    if sum(c is not None for c in means[:3]) < 2:
        return None
    there = [c for c in means if c is not None]
    w = max(min(there) / max(there), Fraction(1, 2)) if max(there) else Fraction(1, 2)
    total = sum((w**i * c for i, c in enumerate(means) if c is not None), Fraction(0))
    return (
        total / 2 if w == Fraction(1, 2) else total / sum(w**i for i, c in enumerate(means) if c is not None)
    )


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("gather", _beyond(air.gather)),
        ("gather", _takes_bad(air.gather)),
        ("nowcast", _unnormalised),
        ("half_up", math.floor),
    ],
)
def test_a_planted_bug_is_caught(name: str, wrong: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(air, name, wrong)
    assert shows(many_rows(), as_written)
