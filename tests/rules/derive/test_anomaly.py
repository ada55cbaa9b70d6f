"""The anomaly kinds against plain loops, what samples do to them, and what they see in signals of known nature."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.derive_oracle import (
    BACKLOG,
    BAD,
    GONE,
    HOUR,
    LATE,
    MINUTE,
    REVISED,
    START,
    UNCERTAIN,
    Row,
    Told,
    expected,
    fed,
    instance,
    run,
    series,
)

from ioc.rules.derive import anomaly
from ioc.rules.derive.base import Deriver
from ioc.rules.spec.derived import Anomaly, Baseline, ChangePoint, ZScore

HANOI_US = 7 * HOUR
DAY = 24 * HOUR
WEEK = 7 * DAY
WORLD = [
    instance(series("level")),
    instance(series("speed", resolution=0.1), resolution=0.1),
    instance(series("power", resolution=1.0), resolution=0.5),
]


@dataclass
class Mean:
    """A forgetting location and scale of one instance."""

    level: float = 0.0
    spread: float = 0.0

    def sigmas(self, value: float, tick: float) -> float:
        sigma = max(math.sqrt(math.pi / 2) * self.spread, tick)
        return max(-1000.0, min(1000.0, (value - self.level) / sigma))

    def learn(self, value: float, weight: float, slack: float | None) -> None:
        if weight == 1:
            self.level = value
        residual = value - self.level
        if slack is not None and abs(residual) > 4 * self.spread + slack:
            residual = math.copysign(4 * self.spread + slack, residual)
        self.level += 1 / weight * residual
        self.spread += 1 / weight * (abs(residual) - self.spread)


class Plain:
    """What all have in common; `score` is None where it cannot be said yet."""

    def __init__(self, spec: Any, one: Any) -> None:
        self.spec, self.tick, self.resolution = spec, one.inputs[0].resolution, one.resolution
        self.seen = 0
        self.mean = Mean()
        self.begin()

    def begin(self) -> None: ...

    def score(self, row: Row) -> float | None:
        raise NotImplementedError

    def take(self, row: Row) -> tuple[float | None, int] | None:
        if row.flags & (LATE | REVISED):
            return (None, LATE | BAD) if row.flags == GONE else None
        if row.flags & BAD:
            return None, BAD | row.flags & BACKLOG
        score = self.score(row)
        flags = row.flags & (UNCERTAIN | BACKLOG)
        if score is None:
            return None, flags | BAD
        each = round(1 / self.resolution)
        return round(score * each) / each, flags

    def against_past(self, row: Row) -> float | None:
        z = None
        if self.seen >= max(8, self.spec.memory // 4):
            z = self.mean.sigmas(row.value, self.tick)
        self.seen += 1
        slack = self.tick if self.seen > 8 else None
        self.mean.learn(row.value, min(self.seen, self.spec.memory), slack)
        return z


class PlainZScore(Plain):
    def score(self, row: Row) -> float | None:
        return self.against_past(row)


class PlainChangePoint(Plain):
    def begin(self) -> None:
        self.up = self.down = 0.0

    def score(self, row: Row) -> float | None:
        z = self.against_past(row)
        if z is None:
            return None
        z = max(-4.0, min(4.0, z))
        self.up = min(20.0, max(0.0, self.up + z - self.spec.drift))
        self.down = min(20.0, max(0.0, self.down - z - self.spec.drift))
        return self.up if self.up >= self.down else -self.down


@dataclass
class Bucket:
    mean: Mean = field(default_factory=Mean)
    weight: float = 0.0
    weeks: list[int] = field(default_factory=list)


class PlainBaseline(Plain):
    def begin(self) -> None:
        self.buckets: dict[int, Bucket] = {}
        self.common, self.pooled = 0.0, 0

    def score(self, row: Row) -> float | None:
        week, rest_us = divmod(row.event_us + HANOI_US, WEEK)
        bucket = self.buckets.setdefault(rest_us // HOUR, Bucket())
        if week not in bucket.weeks:
            bucket.weeks.append(week)
            bucket.weight *= float(Decimal("0.5") ** (1 / Decimal(str(self.spec.half_life))))
        known = len(bucket.weeks) > self.spec.weeks
        z, weight = None, bucket.weight
        if known:
            spread = (weight * bucket.mean.spread + 8 * self.common) / (weight + 8)
            z = Mean(bucket.mean.level, spread).sigmas(row.value, self.tick)
        if weight:
            size = abs(row.value - bucket.mean.level)
            if self.pooled >= 8:
                size = min(size, 4 * self.common + self.tick)
            self.pooled = min(self.pooled + 1, 336)
            self.common += (size - self.common) / self.pooled
        bucket.weight += 1
        bucket.mean.learn(row.value, bucket.weight, self.tick if known else None)
        return z


@dataclass
class Side:
    """One side of a sign: the edge that one sample in a hundred exceeds, and by how much on average."""

    edge: float = 0.0
    excess: float = 0.0
    count: int = 0

    def vote(self, value: float, gain: float, size: float, floor: float) -> float:
        beyond = value - self.edge
        if not beyond > 0:
            self.edge -= gain * 10 * size * 0.01
            return 0.0
        ratio = beyond / (self.excess + floor)
        self.count = min(self.count + 1, 40)
        self.excess += (beyond - self.excess) / self.count
        self.edge += gain * 10 * size * 0.99
        return ratio / (ratio + 0.3)


class PlainAnomaly(Plain):
    def begin(self) -> None:
        self.day: dict[int, tuple[int, float]] = {}
        self.short = self.activity = self.active = self.day_short = self.day_long = self.tired = 0.0
        self.last = self.low = self.high = 0.0
        self.resting = 0
        self.sides = [(Side(), Side()) for _ in range(6)]
        self.sizes = [0.0] * 6

    def score(self, row: Row) -> float | None:
        x, memory = row.value, self.spec.memory
        if self.seen == 0:
            self.mean.level = self.short = self.last = self.low = self.high = x
        self.seen += 1
        self.low = min(x, self.low + (x - self.low) / (10 * memory))
        self.high = max(x, self.high + (x - self.high) / (10 * memory))
        floor = max(0.01 * (self.high - self.low), self.tick)
        quarter = (row.event_us + HANOI_US) % DAY // (15 * MINUTE)
        times, usual = self.day.get(quarter, (0, 0.0))
        of_day = x - usual if times else 0.0
        times = min(times + 1, 16)
        self.day[quarter] = times, usual + (x - usual) / times
        eight, fortyeight = min(8, self.seen), min(48, self.seen)
        self.short += (x - self.short) / eight
        self.activity += (abs(x - self.last) - self.activity) / eight
        self.day_short += (of_day - self.day_short) / eight
        self.day_long += (of_day - self.day_long) / fortyeight
        self.last = x
        level = self.mean.level
        signs = [
            x - level,
            self.short - level,
            self.activity - self.active,
            of_day,
            self.day_short,
            self.day_long,
        ]
        gain, votes = max(2 / memory, 1 / (self.seen + 1)), 0.0
        for k, sign in enumerate(signs):
            self.sizes[k] += gain * (min(abs(sign), 5 * self.sizes[k] + floor) - self.sizes[k])
            up = self.sides[k][0].vote(sign, gain, self.sizes[k], floor)
            votes += up + self.sides[k][1].vote(-sign, gain, self.sizes[k], floor)
        weight = min(memory, self.seen)
        self.active += 1 / weight * (min(self.activity, 4 * self.active + floor) - self.active)
        self.mean.learn(x, weight, floor)
        self.tired -= self.tired / (7 * memory)
        if self.seen <= max(8, memory // 4):
            return None
        share = max(0.0, votes / 6 - self.tired)
        score = min(1000.0, 5 * share / (1 - share)) if share < 0.995 else 1000.0
        if self.resting:
            self.resting -= 1
            half = self.spec.limit / self.resolution // 2 * self.resolution
            return min(score, half)
        if round(score / self.resolution) >= round(self.spec.limit / self.resolution):
            self.resting = self.spec.rest
            self.tired += 0.02
        return score


def baseline(**what: Any) -> Baseline:
    return Baseline.model_validate({"kind": "baseline", **what})


def zscore(**what: Any) -> ZScore:
    return ZScore.model_validate({"kind": "zscore", **what})


def change_point(**what: Any) -> ChangePoint:
    return ChangePoint.model_validate({"kind": "change_point", **what})


def signs(**what: Any) -> Anomaly:
    return Anomaly.model_validate({"kind": "anomaly", **what})


BUILD: dict[str, Any] = {
    "baseline": anomaly.build_baseline,
    "zscore": anomaly.build_zscore,
    "change_point": anomaly.build_change_point,
    "anomaly": anomaly.build_anomaly,
}
PLAIN: dict[str, type[Plain]] = {
    "baseline": PlainBaseline,
    "zscore": PlainZScore,
    "change_point": PlainChangePoint,
    "anomaly": PlainAnomaly,
}
SPECS = [
    baseline(weeks=1, half_life=1.5),
    baseline(),
    zscore(memory=8),
    zscore(memory=60),
    change_point(memory=20),
    change_point(memory=50, drift=0.25),
    signs(memory=32, rest=3),
    signs(memory=64, limit=1.5, rest=0),
]


def make(spec: Any, world: Sequence[Any] = WORLD) -> Callable[[], Deriver]:
    return lambda: BUILD[spec.kind](spec, world, HANOI_US)


def plain(spec: Any, rows: Sequence[Row]) -> list[Told]:
    return expected([lambda one=one: PLAIN[spec.kind](spec, one) for one in WORLD], rows)  # type: ignore[misc]


def histories(seed: int, size: int) -> list[Row]:
    """Rows of three series, each with a level that jumps, a day, noise that changes, spikes, and all sorts of flags."""
    dice = random.Random(seed)
    step = dice.choice([10 * MINUTE, HOUR, 8 * HOUR, DAY, WEEK])
    now, level, noise = [START] * 3, [0.0] * 3, [1.0] * 3
    rows: list[Row] = []
    for _ in range(size):
        i = dice.randrange(3)
        now[i] += step * dice.choice([0, 1, 1, 1, 1, 1, 1, 2, 5])
        if dice.random() < 0.03:
            level[i] += dice.choice([-20, 5, 20, 1000])
        if dice.random() < 0.03:
            noise[i] = dice.choice([0, 0.1, 1, 10])
        value = level[i] + dice.gauss(0, 1) * noise[i] + 5 * (now[i] % DAY > DAY // 2)
        value += dice.choice([0] * 30 + [50, -300])
        flags = dice.choice([0] * 20 + [UNCERTAIN, BACKLOG, BAD, BAD | BACKLOG, LATE, REVISED, GONE])
        stamp = now[i] - (3 * MINUTE if flags & (LATE | REVISED) else 0)
        rows.append(Row(i, 0, stamp, round(value / WORLD[i].inputs[0].resolution) * 1.0, flags))  # type: ignore[union-attr]
    return rows


many = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
Rows = st.builds(histories, st.integers(0, 1 << 30), st.integers(1, 400))
Specs = st.sampled_from(SPECS)


@many
@given(Specs, Rows, st.lists(st.integers(1, 400), max_size=4))
def test_every_kind_is_that_of_the_plain_loop_however_rows_are_cut_and_restarted(
    spec: Any, rows: list[Row], cuts: list[int]
) -> None:
    assert run(make(spec), rows, cuts) == plain(spec, rows)


@many
@given(Specs, Rows)
def test_other_series_change_nothing(spec: Any, rows: list[Row]) -> None:
    together = sorted(run(make(spec), rows), key=lambda told: told.at)
    apart = run(make(spec), sorted(rows, key=lambda row: row.at))
    assert [told[1:] for told in together] == [told[1:] for told in apart]


KERNELS = {
    "baseline": "_baseline_rows",
    "zscore": "_zscore_rows",
    "change_point": "_change_rows",
    "anomaly": "_anomaly_rows",
}


def interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernels as Python runs them, which see what is put in place of their parts."""
    for name in [*KERNELS.values(), "_judged", "_cut", "_sigmas", "_toward", "_vote"]:
        monkeypatch.setattr(anomaly, name, getattr(anomaly, name).py_func)


def net(kind: str) -> bool:
    """Whether a kind agrees with the plain loop on a few histories."""
    return all(
        run(make(spec), rows) == plain(spec, rows)
        for rows in [histories(seed, 250) for seed in range(8)]
        for spec in SPECS
        if spec.kind == kind
    )


@pytest.mark.parametrize("kind", KERNELS)
def test_machine_code_and_python_agree(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    interpreted(monkeypatch)
    assert net(kind)


@pytest.mark.parametrize(
    ("kind", "part", "bug"),
    [
        ("baseline", "HOUR_US", 2 * HOUR),
        ("baseline", "_cut", lambda value, most: value),
        ("zscore", "CUT", 5.0),
        ("zscore", "_judged", lambda j, f, out: out.given.__setitem__(j, True) or f & BAD == 0),
        ("change_point", "STEP_MAX", 1000.0),
        ("change_point", "TO_SIGMA", 1.2),
        ("anomaly", "QUARTER_US", 16 * MINUTE),
        ("anomaly", "TAIL", 0.011),
        ("anomaly", "EXCESSES", 1),
        ("anomaly", "TIRED", 0.0),
    ],
)
def test_the_net_catches(kind: str, part: str, bug: object, monkeypatch: pytest.MonkeyPatch) -> None:
    interpreted(monkeypatch)
    monkeypatch.setattr(anomaly, part, bug)
    assert not net(kind)


@pytest.mark.parametrize("spec", SPECS[::2], ids=lambda spec: spec.kind)
def test_bad_and_late_samples_change_nothing(spec: Any) -> None:
    rows = [row for row in histories(4, 300) if not row.flags & (BAD | LATE | REVISED)]
    wild = [
        row._replace(value=value, flags=flags)
        for row in rows
        for value, flags in [(1e6, BAD), (row.value, row.flags), (-1e6, LATE), (1e6, REVISED)]
    ]
    kept = [told for told in run(make(spec), wild) if wild[told.row].flags != BAD]
    assert [told[1:] for told in kept] == [told[1:] for told in run(make(spec), rows)]


@pytest.mark.parametrize("spec", SPECS[::2], ids=lambda spec: spec.kind)
def test_flags_follow_the_sample(spec: Any) -> None:
    row = Row(0, 0, START, 1.0)
    flags = [BAD | BACKLOG, GONE, LATE, UNCERTAIN | BACKLOG]
    told = run(make(spec), [row._replace(flags=f) for f in flags])
    assert [(t.row, t.value, t.flags) for t in told] == [
        (0, None, BAD | BACKLOG),
        (1, None, BAD | LATE),
        (3, None, BAD | UNCERTAIN | BACKLOG),
    ]


@pytest.mark.parametrize(
    ("spec", "size"), [(SPECS[0], 4888), (SPECS[2], 24), (SPECS[4], 40), (SPECS[6], 1216)], ids=str
)
def test_state_is_as_small_as_the_docstring_says(spec: Any, size: int) -> None:
    assert sum(column.nbytes for column in make(spec)().columns.values()) == size * len(WORLD)
    assert f"{size:,}" in (anomaly.__doc__ or "")


def scores(spec: Any, values: Sequence[float], step: int = 10 * MINUTE) -> list[float]:
    """What one series gives; −1 for BAD."""
    rows = [Row(0, 0, START + k * step, round(value, 2)) for k, value in enumerate(values)]
    return [-1.0 if told.value is None else told.value for told in run(make(spec), rows)]


def noise(count: int, seed: int = 1) -> list[float]:
    dice = random.Random(seed)
    return [dice.gauss(100, 1) for _ in range(count)]


def test_a_zscore_counts_sigmas_and_a_spike_does_not_widen_them() -> None:
    got = scores(zscore(), [*noise(1000), 110.0, *[1e5] * 10, 100.0, 110.0])
    assert got[:50] == [-1.0] * 50
    assert sum(abs(z) < 2 for z in got[50:1000]) / 950 == pytest.approx(0.954, abs=0.02)
    assert got[1000] == pytest.approx(10, abs=1)
    assert got[1005] == 1000
    assert abs(got[-2]) < 1
    assert got[-1] > 7


def test_the_least_sigma_is_one_tick() -> None:
    assert scores(zscore(memory=8), [5.0] * 10 + [5.01])[-2:] == [0.0, 1.0]


def test_a_zscore_follows_a_new_regime() -> None:
    got = scores(zscore(), noise(500) + [value + 50 for value in noise(1500, 2)])
    assert got[500] > 30
    assert max(map(abs, got[-200:])) < 4


def test_a_baseline_knows_the_hours_of_the_local_week() -> None:
    hours = 6 * 168
    usual = [1000.0 if k % 168 == 50 else value for k, value in enumerate(noise(hours))]
    usual[5 * 168 + 50], usual[5 * 168 + 60] = 100.0, 1000.0
    got = scores(baseline(weeks=2), usual, HOUR)
    assert got[: 2 * 168] == [-1.0] * (2 * 168)
    assert got[4 * 168 + 50] == 0.0
    assert got[5 * 168 + 50] < -500
    assert got[5 * 168 + 60] > 500
    assert sum(abs(z) > 5 for z in got[3 * 168 :]) <= 4


def test_a_baseline_forgets_by_half_in_its_half_life() -> None:
    # Four weeks at 0 and four at 1, a sample a week: the location is what an average with weights ½ and 1 gives.
    deriver = make(baseline(weeks=20, half_life=4))()
    for k in range(8):
        deriver.feed(fed([Row(0, 0, START + k * WEEK, float(k >= 4))]))
    level = deriver.columns["level"][0].max()
    assert level == pytest.approx(1 / (1 + 0.5))


@pytest.mark.parametrize("sign", [1, -1])
def test_a_change_point_gathers_what_no_single_sample_shows(sign: int) -> None:
    values = noise(1000) + [value + 1.5 * sign for value in noise(1000, 2)]
    got = [sign * z for z in scores(change_point(), values)]
    assert sum(abs(z) > 8 for z in got[50:1000]) < 10
    assert max(got[1000:1020]) > 8
    # Once the location has followed it ends.
    assert sum(abs(z) > 8 for z in got[-400:]) < 10


def day(k: int) -> float:
    return 50 * math.sin(2 * math.pi * k / 144)


def daily(count: int) -> list[float]:
    return [value + day(k) for k, value in enumerate(noise(count))]


AT = 144 * 12 + 36
"""A noon of the thirteenth day."""
STRANGE: dict[str, Callable[[int, float], float]] = {
    "level shift": lambda k, value: value + 60 * (k >= AT),
    "spike": lambda k, value: value + 150 * (k == AT),
    "noise burst": lambda k, value: value + 30 * (k >= AT) * (-1) ** k,
    "flat line": lambda k, value: 150.0 if k >= AT else value,
    "a day left out": lambda k, value: value - day(k) if AT - 36 <= k < AT + 108 else value,
}


@pytest.mark.parametrize("nature", STRANGE)
def test_an_anomaly_is_detected_within_hours_whatever_its_nature(nature: str) -> None:
    got = scores(signs(), [STRANGE[nature](k, value) for k, value in enumerate(daily(2200))])
    assert max(got[AT - 36 : AT + 72]) >= 3
    assert sum(z >= 3 for z in got[144 * 4 : AT - 36]) <= 1


def test_after_a_detection_an_anomaly_holds_an_alarm_but_raises_none() -> None:
    values = [value + 60 * (k >= AT) for k, value in enumerate(daily(2000))]
    got = scores(signs(rest=50), values)
    first = next(k for k in range(AT, 2000) if got[k] >= 3)
    assert max(got[first + 1 : first + 51]) == 1.5


def test_a_detection_tires_by_a_step_that_halves_in_five_memories() -> None:
    deriver = make(signs())()
    values = [100.0] * 1000 + [200.0] + [100.0] * 2000
    rows = [Row(0, 0, START + k * MINUTE, value) for k, value in enumerate(values)]
    got = deriver.feed(fed(rows[:1001])).value
    assert got[-1] >= 3
    assert max(got[100:-1]) == 0
    assert deriver.columns["tired"][0] == 0.02
    deriver.feed(fed(rows[1001:]))
    assert deriver.columns["tired"][0] == pytest.approx(0.01, rel=0.03)
