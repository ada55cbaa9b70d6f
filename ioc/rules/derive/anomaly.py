"""What is unusual for a series: against its hour of the week, against its own recent past, or by several signs at once.

Results are in robust sigmas, from −1000 to 1000, rounded to the definition's resolution. A sample is judged by what
was known before it and then learnt from; nothing is trained, and what lies long back is forgotten. A bad sample gives
BAD, a retracted one BAD at its own stamp, other late ones nothing; none of them changes anything. All arithmetic is
+ − × ÷ and comparisons on doubles, in each series' own order.

*Location and scale* (`_toward`): an exponentially forgetting mean of values that are cut off where they stray from it
by more than `CUT` mean deviations (Huber's ψ, "Robust Estimation of a Location Parameter", 1964), and a mean absolute
deviation cut off likewise; a normal distribution's sigma is √(π/2) of these. One input tick is the least sigma.

*Baseline*: both for each hour of the local week; the weight of what a bucket holds halves in `half_life` weeks. Two or
three samples tell little of a scale, so that of all hours together stands beside a bucket's own as `PRIOR` samples.

*Z-score*: (value − location) / sigma.

*Change point*: Page's two-sided CUSUM ("Continuous Inspection Schemes", 1954) of these z, each at most `STEP_MAX`:
the greater of up ← max(0, up + z − drift) and down ← max(0, down − z − drift), at most `SUM_MAX`, so that it ends
soon after the location has followed; negative where the shift is downwards.

*Anomaly*: six signs, each watched upwards and downwards: the deviation from the location; that of a short mean; the
mean step from sample to sample beyond its usual (noise bursts; downwards a flat line); the deviation from the usual at
this time of day; and a short and a long mean of that. For each side the value that one sample in a hundred exceeds is
tracked (stochastic approximation, Robbins and Monro 1951) with the mean excess e beyond it, as peaks over threshold
are fitted. A sign that exceeds it by s·e votes s / (s + `HALF`). S, the mean of the six votes, is told as
5 S / (1 − S) sigmas: many signs at once that the series seldom gives, rather than one that is large, since heavy
tails are usual. Each detection (`limit`) lessens S after it by `TIRED`, which halves in 5 `memory`; for `rest` samples
the result stays at half of the limit at most: it may hold an alarm, but raise none.

Cost: O(1) a sample. State by instance: baseline 4,888 bytes, z-score 24, change point 40, anomaly 1,216.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from ioc.model.batch import F64, I32, I64, U16, Bool
from ioc.model.event import Event
from ioc.rules.derive.base import Deriver, Fed, Given, Instance
from ioc.rules.derive.ring import (
    BACKLOG,
    BAD,
    GIVEN_BAD,
    GIVEN_LATE,
    LATE,
    UNCERTAIN,
    Grid,
    contiguous,
    inputs_of,
    tick_of,
    told,
)
from ioc.rules.jit import compiled
from ioc.rules.kernels import Index
from ioc.rules.samples import RETRACTED
from ioc.rules.spec.derived import Anomaly, Baseline, ChangePoint, ZScore

U8 = npt.NDArray[np.uint8]

HOUR_US: Final = 3_600_000_000
WEEK: Final = 168
CUT: Final = 4.0
"""Mean deviations, 3.2 sigmas: of normal noise one sample in 700 is cut off."""
TO_SIGMA: Final = 1.2533141373155003
"""√(π/2)."""
SIGMAS_MAX: Final = 1000.0
STARTING: Final = 8
"""So many samples are taken as they are: there is no scale yet to cut them off by."""
PRIOR: Final = 8
POOL: Final = 2 * WEEK
"""Samples that the scale of all hours together remembers."""
NEVER: Final = -(1 << 31)
"""No week."""

STEP_MAX: Final = 4.0
SUM_MAX: Final = 20.0

SIGNS: Final = 6
TAIL: Final = 0.01
"""The part of samples beyond the tracked edge, on either side."""
EXCESSES: Final = 40
"""How many excesses their mean remembers."""
EDGE_STEP: Final = 10.0
"""By how many mean sizes of a sign its edge moves, times its rate (2 / memory): fast enough to follow a new regime."""
HALF: Final = 0.3
"""The excess, in mean ones, that counts as half a vote."""
FLOOR: Final = 0.01
"""The part of the recent range below which nothing is unusual."""
SHORT: Final = 8
LONG: Final = 48
"""Samples of the short and the long means."""
QUARTERS: Final = 96
QUARTER_US: Final = 900_000_000
DAYS: Final = 16
"""Samples that the usual of a quarter of an hour remembers."""
TIRED: Final = 0.02
SCALE: Final = 5.0
"""Puts the limit that NAB was scored at, S = 3/8, at 3 sigmas."""


class Usual(NamedTuple):
    """By instance (n,): good samples seen, location, mean absolute deviation from it."""

    seen: I64
    level: F64
    spread: F64


class Buckets(NamedTuple):
    """By instance and hour of the local week (n, 168), but for what all hours have in common (n,).

    `weight` is that of all its samples, `week` the last week that brought one, `weeks` how many did (at most 255).
    `common` is the mean deviation of all hours, of `pooled` samples.
    """

    pooled: I64
    common: F64
    level: F64
    spread: F64
    weight: F64
    week: I32
    weeks: U8


class Shift(NamedTuple):
    """By instance (n,): a `Usual`, and the two sums."""

    seen: I64
    level: F64
    spread: F64
    up: F64
    down: F64


class Signs(NamedTuple):
    """By instance: `Usual`, and (n,) what the six signs are made from; their tails (n, 6, 2), upwards first.

    `low` and `high` bound the recent range; `activity` is the short mean of steps, `active` the usual one;
    `day_short` and `day_long` are means of the deviation from the usual of the day, `day` (n, 96); `tired` is what
    the detections so far take off; `resting` counts down. `size` (n, 6) is the mean size of each sign.
    """

    seen: I64
    level: F64
    spread: F64
    short: F64
    last: F64
    activity: F64
    active: F64
    low: F64
    high: F64
    day_short: F64
    day_long: F64
    tired: F64
    resting: I32
    day: F64
    day_seen: U8
    size: F64
    edge: F64
    excess: F64
    passed: U8


class Out(NamedTuple):
    """What the rows (n,) make: whole ticks, flags, and whether anything. `per` ticks make a sigma, by instance."""

    per: F64
    tick: I64
    flags: U16
    given: Bool


@compiled
def _judged(j: int, f: int, out: Out) -> bool:
    """Whether the row counts; what is said of it otherwise is said here."""
    if (f & LATE) != 0:
        if (f & RETRACTED) != 0:
            out.given[j] = True
            out.flags[j] = GIVEN_LATE | GIVEN_BAD
        return False
    out.given[j] = True
    out.flags[j] = f & (BACKLOG | UNCERTAIN)
    if (f & BAD) != 0:
        out.flags[j] = GIVEN_BAD | (f & BACKLOG)
        return False
    return True


@compiled
def _cut(value: float, most: float) -> float:
    """At most so far from 0."""
    return min(max(value, -most), most)


@compiled
def _sigmas(residual: float, spread: float, tick: float) -> float:
    """A residual in robust sigmas."""
    return _cut(residual / max(TO_SIGMA * spread, tick), SIGMAS_MAX)


@compiled
def _toward(level: float, spread: float, value: float, gain: float, slack: float) -> tuple[float, float]:
    """Location and mean deviation after one more value; `slack` widens the cut."""
    residual = _cut(value - level, CUT * spread + slack)
    return level + gain * residual, spread + gain * (abs(residual) - spread)


@compiled
def _baseline_rows(
    kept: Buckets,
    tick: F64,
    keeps: float,
    weeks: int,
    utc_offset_us: int,
    at: Index,
    event_us: I64,
    value: F64,
    flags: U16,
    out: Out,
) -> None:
    """Row after row (n,) into the buckets; a bucket's weight is multiplied by `keeps` with each week that uses it."""
    for j in range(len(at)):
        i = at[j]
        if not _judged(j, flags[j], out):
            continue
        hours = (event_us[j] + utc_offset_us) // HOUR_US
        week, b = hours // WEEK, hours % WEEK
        if kept.week[i, b] != week:
            kept.week[i, b] = week
            kept.weeks[i, b] = min(kept.weeks[i, b] + 1, 255)
            kept.weight[i, b] *= keeps
        known = kept.weeks[i, b] > weeks
        weight, residual = kept.weight[i, b], value[j] - kept.level[i, b]
        if known:
            spread = (weight * kept.spread[i, b] + PRIOR * kept.common[i]) / (weight + PRIOR)
            out.tick[j] = round(_sigmas(residual, spread, tick[i]) * out.per[i])
        else:
            out.flags[j] |= GIVEN_BAD
        if weight == 0:
            kept.level[i, b] = value[j]
        else:
            most = CUT * kept.common[i] + tick[i] if kept.pooled[i] >= STARTING else np.inf
            kept.pooled[i] = min(kept.pooled[i] + 1, POOL)
            kept.common[i] += (min(abs(residual), most) - kept.common[i]) / kept.pooled[i]
        kept.weight[i, b] += 1
        kept.level[i, b], kept.spread[i, b] = _toward(
            kept.level[i, b], kept.spread[i, b], value[j], 1 / kept.weight[i, b], tick[i] if known else np.inf
        )


@compiled
def _zscore_rows(
    kept: Usual,
    tick: F64,
    memory: int,
    wait: int,
    at: Index,
    event_us: I64,
    value: F64,
    flags: U16,
    out: Out,
) -> None:
    """Row after row (n,) into location and scale; BAD for the first `wait`."""
    for j in range(len(at)):
        i = at[j]
        if not _judged(j, flags[j], out):
            continue
        if kept.seen[i] >= wait:
            out.tick[j] = round(_sigmas(value[j] - kept.level[i], kept.spread[i], tick[i]) * out.per[i])
        else:
            out.flags[j] |= GIVEN_BAD
        slack = tick[i] if kept.seen[i] >= STARTING else np.inf
        if kept.seen[i] == 0:
            kept.level[i] = value[j]
        kept.seen[i] += 1
        kept.level[i], kept.spread[i] = _toward(
            kept.level[i], kept.spread[i], value[j], 1 / min(kept.seen[i], memory), slack
        )


@compiled
def _change_rows(
    kept: Shift,
    tick: F64,
    memory: int,
    wait: int,
    drift: float,
    at: Index,
    event_us: I64,
    value: F64,
    flags: U16,
    out: Out,
) -> None:
    """Row after row (n,) into both sums; BAD for the first `wait`."""
    for j in range(len(at)):
        i = at[j]
        if not _judged(j, flags[j], out):
            continue
        if kept.seen[i] >= wait:
            z = _cut(_sigmas(value[j] - kept.level[i], kept.spread[i], tick[i]), STEP_MAX)
            kept.up[i] = _cut(max(0.0, kept.up[i] + z - drift), SUM_MAX)
            kept.down[i] = _cut(max(0.0, kept.down[i] - z - drift), SUM_MAX)
            shift = kept.up[i] if kept.up[i] >= kept.down[i] else -kept.down[i]
            out.tick[j] = round(shift * out.per[i])
        else:
            out.flags[j] |= GIVEN_BAD
        slack = tick[i] if kept.seen[i] >= STARTING else np.inf
        if kept.seen[i] == 0:
            kept.level[i] = value[j]
        kept.seen[i] += 1
        kept.level[i], kept.spread[i] = _toward(
            kept.level[i], kept.spread[i], value[j], 1 / min(kept.seen[i], memory), slack
        )


@compiled
def _vote(kept: Signs, i: int, k: int, sign: float, gain: float, floor: float) -> float:
    """The votes of the k-th sign, 0 to 1 on either side; then its tails learn from it."""
    kept.size[i, k] += gain * (min(abs(sign), 5 * kept.size[i, k] + floor) - kept.size[i, k])
    step = gain * EDGE_STEP * kept.size[i, k]
    votes = 0.0
    for side in range(2):
        beyond = (sign if side == 0 else -sign) - kept.edge[i, k, side]
        if beyond > 0:
            excess = beyond / (kept.excess[i, k, side] + floor)
            votes += excess / (excess + HALF)
            kept.passed[i, k, side] = min(kept.passed[i, k, side] + 1, EXCESSES)
            kept.excess[i, k, side] += (beyond - kept.excess[i, k, side]) / kept.passed[i, k, side]
            kept.edge[i, k, side] += step * (1 - TAIL)
        else:
            kept.edge[i, k, side] -= step * TAIL
    return votes


@compiled
def _anomaly_rows(
    kept: Signs,
    tick: F64,
    memory: int,
    wait: int,
    rest: int,
    limit: I64,
    utc_offset_us: int,
    at: Index,
    event_us: I64,
    value: F64,
    flags: U16,
    out: Out,
) -> None:
    """Row after row (n,) into the signs; BAD for the first `wait`. `limit`, by instance, in ticks of the output."""
    for j in range(len(at)):
        i, x = at[j], value[j]
        if not _judged(j, flags[j], out):
            continue
        if kept.seen[i] == 0:
            kept.level[i] = kept.short[i] = kept.last[i] = kept.low[i] = kept.high[i] = x
        kept.seen[i] += 1
        seen = kept.seen[i]
        kept.low[i] = min(kept.low[i] + (x - kept.low[i]) / (10 * memory), x)
        kept.high[i] = max(kept.high[i] + (x - kept.high[i]) / (10 * memory), x)
        floor = max(FLOOR * (kept.high[i] - kept.low[i]), tick[i])
        b = (event_us[j] + utc_offset_us) // QUARTER_US % QUARTERS
        of_day = x - kept.day[i, b] if kept.day_seen[i, b] > 0 else 0.0
        kept.day_seen[i, b] = min(kept.day_seen[i, b] + 1, DAYS)
        kept.day[i, b] += (x - kept.day[i, b]) / kept.day_seen[i, b]
        kept.short[i] += (x - kept.short[i]) / min(SHORT, seen)
        kept.activity[i] += (abs(x - kept.last[i]) - kept.activity[i]) / min(SHORT, seen)
        kept.day_short[i] += (of_day - kept.day_short[i]) / min(SHORT, seen)
        kept.day_long[i] += (of_day - kept.day_long[i]) / min(LONG, seen)
        kept.last[i] = x
        gain = max(2 / memory, 1 / (seen + 1))
        votes = _vote(kept, i, 0, x - kept.level[i], gain, floor)
        votes += _vote(kept, i, 1, kept.short[i] - kept.level[i], gain, floor)
        votes += _vote(kept, i, 2, kept.activity[i] - kept.active[i], gain, floor)
        votes += _vote(kept, i, 3, of_day, gain, floor)
        votes += _vote(kept, i, 4, kept.day_short[i], gain, floor)
        votes += _vote(kept, i, 5, kept.day_long[i], gain, floor)
        gain = 1 / min(memory, seen)
        kept.active[i] += gain * (min(kept.activity[i], CUT * kept.active[i] + floor) - kept.active[i])
        kept.level[i], kept.spread[i] = _toward(kept.level[i], kept.spread[i], x, gain, floor)
        # Decays as ½ per 5 memory would: ln 2 / 5 ≈ 1/7.
        kept.tired[i] -= kept.tired[i] / (7 * memory)
        if seen <= wait:
            out.flags[j] |= GIVEN_BAD
            continue
        share = max(votes / SIGNS - kept.tired[i], 0.0)
        told_ticks = round(min(SCALE * share / max(1 - share, SCALE / SIGMAS_MAX), SIGMAS_MAX) * out.per[i])
        if kept.resting[i] > 0:
            kept.resting[i] -= 1
            told_ticks = min(told_ticks, limit[i] // 2)
        elif told_ticks >= limit[i]:
            kept.resting[i] = rest
            kept.tired[i] += TIRED
        out.tick[j] = told_ticks


Rows = Callable[[Index, I64, F64, U16, Out], None]


class Streaming:
    """One of these kinds, for every instance."""

    def __init__(self, kept: Any, instances: Sequence[Instance], rows: Rows) -> None:
        self._rows = rows
        self._grid = Grid([instance.resolution for instance in instances])
        self._per = np.array([float(1 / tick_of(instance.resolution)) for instance in instances])
        self.columns: Mapping[str, npt.NDArray[Any]] = kept._asdict()

    def feed(self, fed: Fed) -> Given:
        """One score for each row in order."""
        n = len(fed)
        out = Out(self._per, np.zeros(n, np.int64), np.zeros(n, np.uint16), np.zeros(n, np.bool_))
        at, _, event_us, flags = contiguous(fed)
        self._rows(at, event_us, np.ascontiguousarray(fed.value), flags, out)
        return told(fed, out.given, out.tick, out.flags, self._grid)

    def feed_event(self, event: Event, at: Sequence[int]) -> Given:
        """Events say nothing here."""
        return Given.none()


def _ticks(instances: Sequence[Instance]) -> F64:
    """The least sigma of each input."""
    return np.array([inputs_of(instance)[0].resolution for instance in instances], np.float64)


def _wait(memory: int) -> int:
    """Samples before anything is said."""
    return max(STARTING, memory // 4)


def build_baseline(spec: Baseline, instances: Sequence[Instance], utc_offset_us: int) -> Deriver:
    """Baselines that know nothing yet."""
    shape, tick = (len(instances), WEEK), _ticks(instances)
    kept = Buckets(
        np.zeros(len(instances), np.int64),
        np.zeros(len(instances)),
        np.zeros(shape),
        np.zeros(shape),
        np.zeros(shape),
        np.full(shape, NEVER, np.int32),
        np.zeros(shape, np.uint8),
    )
    # By `decimal`, since the power of a double may differ from one machine to another.
    keeps = float(Decimal("0.5") ** (1 / Decimal(str(spec.half_life))))

    def rows(at: Index, event_us: I64, value: F64, flags: U16, out: Out) -> None:
        _baseline_rows(kept, tick, keeps, spec.weeks, utc_offset_us, at, event_us, value, flags, out)

    return Streaming(kept, instances, rows)


def build_zscore(spec: ZScore, instances: Sequence[Instance], utc_offset_us: int) -> Deriver:
    """Scores at rest."""
    n, tick, wait = len(instances), _ticks(instances), _wait(spec.memory)
    kept = Usual(np.zeros(n, np.int64), np.zeros(n), np.zeros(n))

    def rows(at: Index, event_us: I64, value: F64, flags: U16, out: Out) -> None:
        _zscore_rows(kept, tick, spec.memory, wait, at, event_us, value, flags, out)

    return Streaming(kept, instances, rows)


def build_change_point(spec: ChangePoint, instances: Sequence[Instance], utc_offset_us: int) -> Deriver:
    """Sums at rest."""
    n, tick, wait = len(instances), _ticks(instances), _wait(spec.memory)
    kept = Shift(np.zeros(n, np.int64), np.zeros(n), np.zeros(n), np.zeros(n), np.zeros(n))

    def rows(at: Index, event_us: I64, value: F64, flags: U16, out: Out) -> None:
        _change_rows(kept, tick, spec.memory, wait, spec.drift, at, event_us, value, flags, out)

    return Streaming(kept, instances, rows)


def build_anomaly(spec: Anomaly, instances: Sequence[Instance], utc_offset_us: int) -> Deriver:
    """Signs at rest."""
    n, tick, wait = len(instances), _ticks(instances), _wait(spec.memory)
    limit = np.array([round(spec.limit / tick_of(each.resolution)) for each in instances], np.int64)
    kept = Signs(
        seen=np.zeros(n, np.int64),
        level=np.zeros(n),
        spread=np.zeros(n),
        short=np.zeros(n),
        last=np.zeros(n),
        activity=np.zeros(n),
        active=np.zeros(n),
        low=np.zeros(n),
        high=np.zeros(n),
        day_short=np.zeros(n),
        day_long=np.zeros(n),
        tired=np.zeros(n),
        resting=np.zeros(n, np.int32),
        day=np.zeros((n, QUARTERS)),
        day_seen=np.zeros((n, QUARTERS), np.uint8),
        size=np.zeros((n, SIGNS)),
        edge=np.zeros((n, SIGNS, 2)),
        excess=np.zeros((n, SIGNS, 2)),
        passed=np.zeros((n, SIGNS, 2), np.uint8),
    )

    def rows(at: Index, event_us: I64, value: F64, flags: U16, out: Out) -> None:
        _anomaly_rows(
            kept, tick, spec.memory, wait, spec.rest, limit, utc_offset_us, at, event_us, value, flags, out
        )  # fmt: skip

    return Streaming(kept, instances, rows)
