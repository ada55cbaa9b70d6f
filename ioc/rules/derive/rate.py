"""Rates of change over a window of event time, and the time until a limit is reached at that rate.

*Theil–Sen*: the median of the slopes of all pairs of samples (the mean of the middle two if there is an even number),
which one bad sample among four or more cannot move beyond what its neighbours say. (Theil 1950; Sen, JASA 63, 1968.)
A slope is the quotient of two whole numbers, ticks by µs, both below 2^53, and rounded as IEEE says; rounding keeps
order, so the k-th smallest is the rounded k-th smallest exact slope on every CPU, however they are put in order.
*Least squares*: from sums of whole numbers, of times and values relative to the newest sample. Times are in the
shortest of `UNITS_US` with which no sum can overflow for values within the input's range; stamps between them are
rounded to it.

Bad samples are passed over: at one, the rate is that of the others, UNCERTAIN; the time to a limit is BAD, because the
last value is not known. Beyond `PAIRED_MAX` (`FITTED_MAX`) samples in a window, so many of them are taken, evenly by
rank, the oldest and newest among them. A window with fewer samples than the definition asks for is BAD, as is one so
dense that a part of it is no longer held. Late samples are put in their place and give what it would have been at
their own stamp.

Cost: O(samples²) a sample for Theil–Sen, O(samples) for least squares. State: 17 bytes a sample held (`ring.Ring`) and
24 an instance; 40 for times to a limit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from ioc.model.batch import F64, I64, U16, Bool
from ioc.model.event import Event
from ioc.registry import Series
from ioc.rules.derive.base import Deriver, Fed, Given, Instance
from ioc.rules.derive.ring import (
    BACKLOG,
    BAD,
    GIVEN_BAD,
    GIVEN_LATE,
    LATE,
    UNCERTAIN,
    Grid,
    Ring,
    change,
    contiguous,
    inputs_of,
    ring,
    slot,
    tick_of,
    told,
    upto,
)
from ioc.rules.jit import compiled
from ioc.rules.kernels import Index, last_of_each
from ioc.rules.spec.derived import Rate, TimeTo

PAIRED_MAX: Final = 64
"""Samples of which Theil–Sen pairs each with each: 2,016 slopes."""
FITTED_MAX: Final = 1024
"""Samples through which a line is fitted."""
UNITS_US: Final = (1_000, 10_000, 100_000, 1_000_000, 10_000_000, 60_000_000, 600_000_000, 3_600_000_000)
SUM_MAX: Final = 1 << 61
MINUTE_US: Final = 60_000_000


@compiled
def _take(ring: Ring, i: int, j: int, event_us: I64, tick: I64, flags: U16) -> bool:
    """Put a row's sample in its place; whether it changed anything, or could have."""
    if ring.lost_us[i] >= event_us[j] and (flags[j] & LATE) != 0:
        return False
    change(ring, i, event_us[j], tick[j], flags[j] & UNCERTAIN, (flags[j] & BAD) != 0)
    ring.mark_us[i] = max(ring.mark_us[i], event_us[j])
    return True


@compiled
def _picked(ring: Ring, i: int, low: int, high: int, stamp_us: I64, ticks: I64) -> int:
    """Samples [low, high), or as many as `stamp_us`, `ticks` hold, evenly by rank with both ends; their number."""
    count = min(high - low, len(ticks))
    for n in range(count):
        s = slot(ring, i, low + (n * (high - low - 1) // (count - 1) if count > 1 else 0))
        stamp_us[n], ticks[n] = ring.stamp_us[i, s], ring.tick[i, s]
    return count


@compiled
def _slopes(stamp_us: I64, ticks: I64, count: int, slopes: F64) -> int:
    """The slopes of all pairs of `count` samples in ticks by µs; their number."""
    n = 0
    for a in range(count):
        for b in range(a + 1, count):
            slopes[n] = (ticks[b] - ticks[a]) / (stamp_us[b] - stamp_us[a])
            n += 1
    return n


@compiled
def _nth(values: F64, place: int) -> float:
    """The value that would stand at this place if they were sorted."""
    return float(np.partition(values, place)[place])


@compiled
def _median(values: F64) -> float:
    """The middle value, or the mean of the middle two."""
    middle = len(values) // 2
    high = _nth(values, middle)
    if len(values) % 2 == 1:
        return high
    return (_nth(values, middle - 1) + high) / 2


@compiled
def _fit(stamp_us: I64, ticks: I64, count: int, unit_us: int) -> float:
    """The slope of the line of least squares through `count` samples, in ticks by unit; NaN if all are of one time."""
    t1, v1, t2, tv = 0, 0, 0, 0
    for n in range(count):
        # Both are 0 or positive before //, which then rounds alike everywhere: half a unit up.
        t = (stamp_us[count - 1] - stamp_us[n] + unit_us // 2) // unit_us
        v = ticks[count - 1] - ticks[n]
        t1 += t
        v1 += v
        t2 += t * t
        tv += t * v
    below = count * t2 - t1 * t1
    return (count * tv - t1 * v1) / below if below > 0 else np.nan


@compiled
def _doubts(ring: Ring, i: int, low: int, high: int) -> bool:
    """Whether any of samples [low, high) is uncertain."""
    count = 0
    for k in range(low, high):
        count += ring.kind[i, slot(ring, i, k)] & 1
    return count > 0


class Asked(NamedTuple):
    """What is asked of a rate. `factor`, `unit_us` by instance (n,): output ticks of a slope of 1; unit of time."""

    over_us: int
    samples: int
    paired: bool
    factor: F64
    unit_us: I64


@compiled
def _rate_rows(
    ring: Ring,
    asked: Asked,
    at: Index,
    event_us: I64,
    tick: I64,
    flags: U16,
    out: I64,
    out_flags: U16,
    given: Bool,
) -> None:
    """Row after row (n,) into the state; `out` (n,) in ticks of the output where `given` (n,)."""
    most = PAIRED_MAX if asked.paired else FITTED_MAX
    stamps, ticks = np.empty(most, np.int64), np.empty(most, np.int64)
    slopes = np.empty(PAIRED_MAX * (PAIRED_MAX - 1) // 2)
    for j in range(len(at)):
        i, t, f = at[j], event_us[j], flags[j]
        if not _take(ring, i, j, event_us, tick, flags):
            continue
        late = (f & LATE) != 0
        whole = ring.lost_us[i] <= t - asked.over_us
        if late and not whole:
            continue
        given[j] = True
        out_flags[j] = (GIVEN_LATE if late else 0) | (f & BACKLOG)
        low, high = upto(ring, i, t - asked.over_us), upto(ring, i, t)
        slope = np.nan
        if whole and high - low >= asked.samples:
            count = _picked(ring, i, low, high, stamps, ticks)
            if asked.paired:
                slope = _median(slopes[: _slopes(stamps, ticks, count, slopes)])
            else:
                slope = _fit(stamps, ticks, count, asked.unit_us[i])
        if np.isnan(slope):
            out_flags[j] |= GIVEN_BAD
            continue
        if (f & BAD) != 0 or _doubts(ring, i, low, high):
            out_flags[j] |= UNCERTAIN
        out[j] = int(np.rint(slope * asked.factor[i]))


class Rates:
    """One rate of every instance."""

    def __init__(self, spec: Rate, instances: Sequence[Instance]) -> None:
        inputs = [inputs_of(instance)[0] for instance in instances]
        paired = spec.method == "theil_sen"
        unit_us = [1 if paired else _unit(series, spec.over) for series in inputs]
        factor = [
            float(Fraction(spec.per, unit) * tick_of(series.resolution) / tick_of(instance.resolution))
            for series, unit, instance in zip(inputs, unit_us, instances, strict=True)
        ]
        self._in = Grid([series.resolution for series in inputs])
        self._out = Grid([instance.resolution for instance in instances])
        self._asked = Asked(spec.over, spec.samples, paired, np.array(factor), np.array(unit_us, np.int64))
        self._ring = ring(instances, spec.over)
        self.columns: Mapping[str, npt.NDArray[Any]] = self._ring.columns()

    def feed(self, fed: Fed) -> Given:
        """One rate for each row that has one."""
        n = len(fed)
        out, out_flags, given = np.zeros(n, np.int64), np.zeros(n, np.uint16), np.zeros(n, np.bool_)
        at, _, event_us, flags = contiguous(fed)
        ticks = self._in.ticks(at, fed.value)
        _rate_rows(self._ring, self._asked, at, event_us, ticks, flags, out, out_flags, given)
        return told(fed, given, out, out_flags, self._out)

    def feed_event(self, event: Event, at: Sequence[int]) -> Given:
        """Events say nothing here."""
        return Given.none()


def _unit(series: Series, over_us: int) -> int:
    """The unit of time with which sums over a window stay below `SUM_MAX`."""
    reach = (series.range[1] - series.range[0]) / series.resolution
    for unit_us in UNITS_US:
        span = over_us / unit_us + 1
        if FITTED_MAX**2 * span * max(span, reach) < SUM_MAX:
            return unit_us
    return UNITS_US[-1]


class Until(NamedTuple):
    """What is asked of a time to a limit. By instance (n,) unless said otherwise.

    Everything is turned upwards by `sign`: 1 or −1. `limit` is in input ticks, turned; NaN where none is in force.
    `reached` is the least whole tick that reaches it, `tick_us` the output's resolution, `horizon` in its ticks.
    """

    over_us: int
    samples: int
    sign: int
    limit: F64
    reached: I64
    tick_us: F64
    horizon: I64


@compiled
def _until(until: Until, i: int, tick: int, slope: float) -> int:
    """Output ticks until the limit is reached from a value at a slope, both turned upwards."""
    if slope <= 0:
        return int(until.horizon[i])
    ahead = (until.limit[i] - tick) / slope / until.tick_us[i]
    return int(np.rint(ahead)) if ahead < until.horizon[i] else int(until.horizon[i])


@compiled
def _until_rows(
    ring: Ring,
    until: Until,
    at: Index,
    event_us: I64,
    tick: I64,
    flags: U16,
    out: I64,
    out_flags: U16,
    given: Bool,
) -> None:
    """Row after row (n,) into the state; `out` (n, 3) in ticks of the output where `given` (n,): the time, and those
    at the upper and lower quartile of the slopes."""
    stamps, ticks = np.empty(PAIRED_MAX, np.int64), np.empty(PAIRED_MAX, np.int64)
    scratch = np.empty(PAIRED_MAX * (PAIRED_MAX - 1) // 2)
    for j in range(len(at)):
        i, t, f = at[j], event_us[j], flags[j]
        if not _take(ring, i, j, event_us, tick, flags) or np.isnan(until.limit[i]):
            continue
        late = (f & LATE) != 0
        whole = ring.lost_us[i] <= t - until.over_us
        if late and not whole:
            continue
        given[j] = True
        out_flags[j] = (GIVEN_LATE if late else 0) | (f & BACKLOG)
        low, high = upto(ring, i, t - until.over_us), upto(ring, i, t)
        value = until.sign * tick[j]
        reached = value >= until.reached[i]
        if (f & BAD) != 0 or not (reached or (whole and high - low >= until.samples)):
            out_flags[j] |= GIVEN_BAD
            continue
        if _doubts(ring, i, low, high):
            out_flags[j] |= UNCERTAIN
        if not reached:
            count = _picked(ring, i, low, high, stamps, ticks)
            slopes = scratch[: _slopes(stamps, ticks, count, scratch)] * until.sign
            # By nearest rank, as many slopes outside on either side.
            quarter = -(-len(slopes) // 4) - 1
            out[j, 0] = _until(until, i, value, _median(slopes))
            out[j, 1] = _until(until, i, value, _nth(slopes, len(slopes) - 1 - quarter))
            out[j, 2] = _until(until, i, value, _nth(slopes, quarter))


class Times:
    """The time to one limit of every instance.

    `columns["lower"]` and `columns["upper"]` (n,) bound, in minutes, the last one given in its order: the times at the
    upper and lower quartile of the slopes; NaN where it is not known.
    """

    def __init__(self, spec: TimeTo, instances: Sequence[Instance]) -> None:
        inputs = [inputs_of(instance)[0] for instance in instances]
        sign = 1 if spec.direction == "up" else -1
        self._in = Grid([series.resolution for series in inputs])
        self._out = Grid([instance.resolution for instance in instances])
        limit = [
            None if i.limit is None else sign * Fraction(str(i.limit)) / tick_of(series.resolution)
            for i, series in zip(instances, inputs, strict=True)
        ]
        tick_us = [MINUTE_US * tick_of(i.resolution) for i in instances]
        self._until = Until(
            spec.over,
            spec.samples,
            sign,
            np.array([math.nan if x is None else float(x) for x in limit]),
            np.array([0 if x is None else math.ceil(x) for x in limit], np.int64),
            np.array([float(x) for x in tick_us]),
            np.array([int(spec.horizon // x) for x in tick_us], np.int64),
        )
        self._ring = ring(instances, spec.over)
        self._lower = np.full(len(instances), np.nan)
        self._upper = np.full(len(instances), np.nan)
        self.columns: Mapping[str, npt.NDArray[Any]] = {
            **self._ring.columns(),
            "lower": self._lower,
            "upper": self._upper,
        }

    def feed(self, fed: Fed) -> Given:
        """One time for each row that has one."""
        n = len(fed)
        out, out_flags, given = np.zeros((n, 3), np.int64), np.zeros(n, np.uint16), np.zeros(n, np.bool_)
        at, _, event_us, flags = contiguous(fed)
        ticks = self._in.ticks(at, fed.value)
        _until_rows(self._ring, self._until, at, event_us, ticks, flags, out, out_flags, given)
        in_order = np.flatnonzero(given & ((out_flags & GIVEN_LATE) == 0))
        last = in_order[last_of_each(at[in_order])]
        unknown = (out_flags[last] & GIVEN_BAD) != 0
        for column, bound in ((self._lower, 1), (self._upper, 2)):
            column[at[last]] = np.where(unknown, np.nan, self._out.values(at[last], out[last, bound]))
        return told(fed, given, out[:, 0], out_flags, self._out)

    def feed_event(self, event: Event, at: Sequence[int]) -> Given:
        """Events say nothing here."""
        return Given.none()


def build_rate(spec: Rate, instances: Sequence[Instance], utc_offset_us: int) -> Deriver:
    """Rates at rest."""
    return Rates(spec, instances)


def build_time_to(spec: TimeTo, instances: Sequence[Instance], utc_offset_us: int) -> Deriver:
    """Times to a limit at rest."""
    return Times(spec, instances)
