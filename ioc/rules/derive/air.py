"""Air quality indices from hourly means: VN_AQI (Decision 1459/QĐ-TCMT, 12/11/2019) and US EPA's of PM2.5 (2024).

A sample belongs to the local clock hour (h − 1:00, h:00] of its stamp, so that hourly means stamped at their end and
anything denser are taken alike. The mean of an hour is that of its good samples in whole ticks; it exists if there are
three quarters of those that the input's interval promises (the completeness of EPA's NowCast and 40 CFR 58; Decision
1459 names none). Means below 0 (drift about zero) count as 0. All arithmetic is in whole numbers and fractions.

A period (hour or day) is closed by the row with which every input that is alive has reached its end, or by the first
row beyond it; an input is not waited for once it is silent for two hours. The index bears the period's end. What of
an input comes after that (a gateway that was behind) still counts in the hours after; late and retracted samples do
not. An index that was waiting for its closing row for more than an hour is BACKLOG: no news.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ioc.model.batch import I64, U16, Bool
from ioc.model.event import Event
from ioc.rules.derive.base import Deriver, Fed, Given, Instance, ticks
from ioc.rules.derive.join import BACKLOG, UNCERTAIN, resolutions, roles, said, unit_of
from ioc.rules.jit import compiled
from ioc.rules.kernels import NO_TIME, Index
from ioc.rules.samples import BAD, LATE
from ioc.rules.spec.derived import UsAqi, VnAqi

HOUR_US: Final = 3_600_000_000
DAY: Final = 24
NOWCAST: Final = 12
"""Hours that NowCast looks back on, this one included."""
_COVERAGE: Final = Fraction(3, 4)
_SILENT_US: Final = 2 * HOUR_US
_TICKS_MAX: Final = 2.0**40
"""More ticks in one sample are no concentration, and might fill the sum of an hour."""

Table = tuple[tuple[Fraction, Fraction], ...]
"""(concentration, index), rising; linear between."""


def _table(concentrations: Sequence[int], indices: Sequence[int]) -> Table:
    return tuple((Fraction(c), Fraction(i)) for c, i in zip(concentrations, indices, strict=False))


_I: Final = (0, 50, 100, 150, 200, 300, 400, 500)
VN: Final[Mapping[str, Table]] = {
    "o3_1h": _table((0, 160, 200, 300, 400, 800, 1000, 1200), _I),
    "o3_8h": _table((0, 100, 120, 170, 210, 400), _I),
    "co": _table((0, 10_000, 30_000, 45_000, 60_000, 90_000, 120_000, 150_000), _I),
    "so2": _table((0, 125, 350, 550, 800, 1600, 2100, 2630), _I),
    "no2": _table((0, 100, 200, 700, 1200, 2350, 3100, 3850), _I),
    "pm10": _table((0, 50, 150, 250, 350, 420, 500, 600), _I),
    "pm25": _table((0, 25, 50, 80, 150, 250, 350, 500), _I),
}
"""Decision 1459, table 2; µg/m³. Its last row reads "≥": what is above is 500. No index of o3_8h above 400."""
O3_8H_MAX: Final = 400
INDEX_MAX: Final = 500

US_PM25: Final = (
    ((0, 90), (0, 50)),
    ((91, 354), (51, 100)),
    ((355, 554), (101, 150)),
    ((555, 1254), (151, 200)),
    ((1255, 2254), (201, 300)),
    ((2255, 3254), (301, 500)),
)
"""EPA, in force from 2024-05-06: (tenths of µg/m³ from, to), (index from, to). Above the last row 500."""


def half_up(exact: Fraction) -> int:
    """To the nearest whole number, a half upwards: Decision 1459 names no method; this fits its examples."""
    return math.floor(exact + Fraction(1, 2))


def sub_index(table: Table, concentration: Fraction) -> int:
    """One pollutant's VN_AQI."""
    for (c0, i0), (c1, i1) in itertools.pairwise(table):
        if concentration <= c1:
            return half_up(i0 + (concentration - c0) * (i1 - i0) / (c1 - c0))
    return INDEX_MAX


def us_index(concentration: Fraction) -> int:
    """US AQI of PM2.5, µg/m³; the concentration is cut to 0.1."""
    tenths = math.floor(concentration * 10)
    for (c0, c1), (i0, i1) in US_PM25:
        if tenths <= c1:
            return half_up(i0 + Fraction((tenths - c0) * (i1 - i0), c1 - c0))
    return INDEX_MAX


def nowcast(means: Sequence[Fraction | None]) -> Fraction | None:
    """NowCast of hourly means, the present one first, at most 12; None without two of the three newest.

    w = max(Cmin / Cmax, ½); Σ w^(i−1) c_i / Σ w^(i−1) over the hours that are there: Decision 1459, 2.2.b, and EPA. The
    Decision prints Σ (½)^i c_i for w = ½, which is the same but for gaps; both are normalised here.
    """
    there = [c for c in means if c is not None]
    if sum(c is not None for c in means[:3]) < 2:
        return None
    highest = max(there)
    weight = max(min(there) / highest, Fraction(1, 2)) if highest else Fraction(1, 2)
    total = below = Fraction(0)
    for i, c in enumerate(means):
        if c is not None:
            total += weight**i * c
            below += weight**i
    return total / below


def build_vn_aqi(spec: VnAqi, instances: Sequence[Instance], utc_offset_us: int) -> Deriver:
    """VN_AQI at rest; ValueError where neither pm10 nor pm25 is named."""
    names = list(spec.inputs)
    if not {"pm10", "pm25"} & set(names):
        raise ValueError("vn_aqi needs pm10 or pm25 among its inputs")
    if spec.period == "daily":
        return _OfHours(instances, utc_offset_us, DAY, DAY, functools.partial(vn_daily, names))
    return _OfHours(instances, utc_offset_us, 1, NOWCAST, functools.partial(vn_hourly, names))


def build_us_aqi(spec: UsAqi, instances: Sequence[Instance], utc_offset_us: int) -> Deriver:
    """US AQI of PM2.5 at rest."""
    roles(spec.kind, list(spec.inputs), ("pm25",))
    return _OfHours(instances, utc_offset_us, 1, NOWCAST, us_hourly)


Means = Callable[[int, int], Fraction | None]
"""(input, hours back from the end of the period) → the mean of that hour, µg/m³."""


def vn_hourly(names: Sequence[str], mean: Means) -> int | None:
    """Hourly VN_AQI: the worst sub-index, PM by NowCast, the others by this hour; None without PM."""
    found = {}
    for role, name in enumerate(names):
        if name in ("pm10", "pm25"):
            concentration = nowcast([mean(role, back) for back in range(NOWCAST)])
        else:
            concentration = mean(role, 0)
        if concentration is not None:
            found[name] = sub_index(VN["o3_1h" if name == "o3" else name], concentration)
    return max(found.values()) if {"pm10", "pm25"} & set(found) else None


def vn_daily(names: Sequence[str], mean: Means) -> int | None:
    """Daily VN_AQI: PM by the mean of 01:00–00:00 (18 hours at least), the others by their highest hour.

    O3 also by its highest mean of 8 hours that end in the day and began in it (6 at least), unless that is above 400.
    """
    found = {}
    for role, name in enumerate(names):
        hours = [mean(role, back) for back in range(DAY - 1, -1, -1)]
        there = [c for c in hours if c is not None]
        if name in ("pm10", "pm25"):
            if len(there) >= _COVERAGE * DAY:
                found[name] = sub_index(VN[name], sum(there, Fraction(0)) / len(there))
        elif there:
            found[name] = sub_index(VN["o3_1h" if name == "o3" else name], max(there))
            eights = _eights(hours) if name == "o3" else []
            if eights and max(eights) <= O3_8H_MAX:
                found["o3_8h"] = sub_index(VN["o3_8h"], max(eights))
    return max(found.values()) if {"pm10", "pm25"} & set(found) else None


def _eights(hours: Sequence[Fraction | None]) -> list[Fraction]:
    """The means of 8 hours of one day."""
    means = []
    for end in range(8, len(hours) + 1):
        there = [c for c in hours[end - 8 : end] if c is not None]
        if len(there) >= _COVERAGE * 8:
            means.append(sum(there, Fraction(0)) / len(there))
    return means


def us_hourly(mean: Means) -> int | None:
    """US NowCast AQI of the only input, PM2.5."""
    concentration = nowcast([mean(0, back) for back in range(NOWCAST)])
    return None if concentration is None else us_index(concentration)


class _OfHours:
    """An index of the hourly means of the inputs, an hour or a day at a time.

    State: 8 bytes an input and 21 for each hour kept of it (12, or 24 of a daily index), 16 an instance.
    """

    def __init__(
        self,
        instances: Sequence[Instance],
        utc_offset_us: int,
        hours: int,
        slots: int,
        index: Callable[[Means], int | None],
    ) -> None:
        n, inputs = len(instances), len(instances[0].inputs) if instances else 0
        self.columns: Mapping[str, npt.NDArray[Any]] = {
            "period": np.full(n, NO_TIME),
            "closed": np.full(n, NO_TIME),
            "last_us": np.full((n, inputs), NO_TIME),
            "hour": np.full((n, inputs, slots), NO_TIME),
            "sum": np.zeros((n, inputs, slots), np.int64),
            "count": np.zeros((n, inputs, slots), np.int32),
            "uncertain": np.zeros((n, inputs, slots), np.bool_),
        }
        self._offset_us, self._hours, self._slots, self._index = utc_offset_us, hours, slots, index
        self._resolution = resolutions(instances)
        self._of = np.ones((n, inputs))
        self._unit = [[Fraction(0)] * inputs for _ in range(n)]
        self._needed = np.ones((n, inputs), np.int64)
        for at, instance in enumerate(instances):
            for role, series in enumerate(instance.inputs):
                if series:
                    self._of[at, role] = series.resolution
                    self._unit[at][role] = unit_of(series.resolution)
                    promised = Fraction(HOUR_US, series.interval_us)
                    self._needed[at, role] = max(1, math.ceil(_COVERAGE * math.floor(promised)))

    def feed(self, fed: Fed) -> Given:
        """The indices of the periods that these rows close."""
        state = self.columns
        count, good = self._ticks(fed)
        found: list[tuple[int, int, int, float, int]] = []
        k = 0
        while True:
            k, row = gather(
                k, fed.at, fed.role, fed.event_us, count, good, fed.flags, self._offset_us, self._hours,
                state["period"], state["closed"], state["last_us"],
                state["hour"], state["sum"], state["count"], state["uncertain"],
            )  # fmt: skip
            if row < 0:
                break
            at = int(fed.at[row])
            hour = int(state["closed"][at]) * self._hours
            end_us = hour * HOUR_US - self._offset_us
            value, flags = self._close(at, hour)
            if fed.flags[row] & BACKLOG or fed.event_us[row] - end_us > HOUR_US:
                flags |= BACKLOG
            found.append((int(fed.row[row]), at, end_us, value, flags))
        if not found:
            return Given.none()
        row_of, at_of, event_us, values, said_of = zip(*found, strict=True)
        where = np.array(at_of, np.int64)
        return said(
            np.array(row_of, np.int64),
            where,
            np.array(event_us, np.int64),
            np.array(values, np.float64),
            np.array(said_of, np.uint16),
            self._resolution[where],
        )

    def feed_event(self, event: Event, at: Sequence[int]) -> Given:
        """Nothing: only samples count."""
        return Given.none()

    def _ticks(self, fed: Fed) -> tuple[I64, Bool]:
        """Values in ticks of their input (n,), and which may count in a mean."""
        each = self._of[fed.at, fed.role]
        good: Bool = (fed.flags & BAD) == 0
        good &= np.isfinite(fed.value)
        good &= np.abs(fed.value) < _TICKS_MAX * each
        count = np.zeros(len(fed), np.int64)
        for resolution in np.unique(each):
            mine = np.flatnonzero(good & (each == resolution))
            count[mine] = ticks(fed.value[mine], float(resolution))
        return count, good

    def _close(self, at: int, hour: int) -> tuple[float, int]:
        """The index of the period that ends with `hour`, NaN where it cannot be said, and UNCERTAIN if a mean is."""
        state, uncertain = self.columns, False

        def mean(role: int, back: int) -> Fraction | None:
            nonlocal uncertain
            slot = (hour - back) % self._slots
            place = at, role, slot
            if state["hour"][place] != hour - back or state["count"][place] < self._needed[at, role]:
                return None
            uncertain |= bool(state["uncertain"][place])
            exact = Fraction(int(state["sum"][place]), int(state["count"][place])) * self._unit[at][role]
            return max(exact, Fraction(0))

        index = self._index(mean)
        return float("nan") if index is None else float(index), UNCERTAIN if uncertain else 0


@compiled
def gather(
    start: int,
    at: Index,
    role: Index,
    event_us: I64,
    count: I64,
    good: Bool,
    flags: U16,
    offset_us: int,
    hours: int,
    period: I64,
    closed: I64,
    last_us: I64,
    slot_hour: I64,
    slot_sum: I64,
    slot_count: npt.NDArray[np.int32],
    slot_uncertain: Bool,
) -> tuple[int, int]:
    """Take rows from `start` up to the next that closes a period: (where to go on, that row or −1).

    `count` is the value in ticks; `period`, `closed` (instances,) are the newest period with a sample and the last one
    closed, `last_us` (instances, inputs), the slots (instances, inputs, slots), that of an hour at hour % slots.
    """
    slots = slot_hour.shape[2]
    for k in range(start, len(at)):
        if flags[k] & LATE:
            continue
        a, mine = at[k], role[k]
        hour = -((-(event_us[k] + offset_us)) // HOUR_US)
        now = -((-hour) // hours)
        if period[a] != NO_TIME and now > period[a] and closed[a] < period[a]:
            closed[a] = period[a]
            return k, k
        period[a] = max(period[a], now)
        last_us[a, mine] = event_us[k]
        slot = hour % slots
        if slot_hour[a, mine, slot] != hour:
            slot_hour[a, mine, slot] = hour
            slot_sum[a, mine, slot] = 0
            slot_count[a, mine, slot] = 0
            slot_uncertain[a, mine, slot] = False
        if good[k]:
            slot_sum[a, mine, slot] += count[k]
            slot_count[a, mine, slot] += 1
            if flags[k] & UNCERTAIN:
                slot_uncertain[a, mine, slot] = True
        if now == period[a] and closed[a] < now:
            end_us = now * hours * HOUR_US - offset_us
            whole = True
            for r in range(last_us.shape[1]):
                if last_us[a, r] < end_us and last_us[a, r] > end_us - _SILENT_US:
                    whole = False
            if whole and last_us[a, mine] >= end_us:
                closed[a] = now
                return k + 1, k
    return len(at), -1
