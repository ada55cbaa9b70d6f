"""Data quality after IOOS QARTOD: which samples of a tested series are doubtful, as `ioos_qc` 3.0 decides it.

Definitions: https://github.com/ioos/ioos_qc, `qartod.py` of 3.0.0; ours differ only in that a sample is told what is
known of it when it comes. A failed test makes it BAD; a suspect one, or one that could not be made (too few
observations for the attenuated signal, a month without a season, nothing before the first sample to find a spike by),
UNCERTAIN. What the sensor itself sent as bad, and an empty value, is no part of what later samples are held against.

A spike shows only when the next sample comes. It is then told by a row of its own: its stamp and value again,
`samples.RETRACTED`, and in `tests` what was found. A failed one is thereby taken back (LATE, BAD). One that is only
suspect (UNCERTAIN), or was bad already, has REPEAT instead, which is nothing to any rule: it is there to be shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from ioc.model.batch import F64, I32, I64, NOT_JUDGED, U16, Bool, Flag
from ioc.model.quality import SUSPECT, QualityTests, Test
from ioc.registry import Registry, Series
from ioc.rules import kernels
from ioc.rules.jit import compiled
from ioc.rules.kernels import NO_TIME, Index
from ioc.rules.samples import BAD, IGNORED, RETRACTED, Samples

_BAD = int(Flag.BAD)
_UNCERTAIN = int(Flag.UNCERTAIN)
_RETRACTS = int(Flag.LATE | Flag.BAD) | RETRACTED
_TELLS_BAD = int(Flag.REPEAT | Flag.BAD) | RETRACTED
_TELLS_SUSPECT = int(Flag.REPEAT | Flag.UNCERTAIN) | RETRACTED
_GROSS_RANGE = int(Test.GROSS_RANGE)
_SPIKE = int(Test.SPIKE)
_RATE_OF_CHANGE = int(Test.RATE_OF_CHANGE)
_FLAT_LINE = int(Test.FLAT_LINE)
_ATTENUATED = int(Test.ATTENUATED)
_CLIMATOLOGY = int(Test.CLIMATOLOGY)
_PHYSICAL_RANGE = int(Test.PHYSICAL_RANGE)
_SUSPECT = SUSPECT
_SECOND_US = 1_000_000
_NEVER = 1 << 62
"""More samples than any series has."""

DENSER: Final = 4
"""How many times as often as its interval a series may report before the window of the attenuated signal, whose ring
is made for so many, forgets samples; from then on it says only what the remembered ones prove."""
RING_MAX: Final = 100_000
"""The most samples that the tests of one series may remember."""


class Sets(NamedTuple):
    """k distinct sets of tests, as (k,), (k, 2): suspect and fail, or by month (k, 12) and (k, 12, 2): low and high.

    A test that is absent has bounds that nothing passes.
    """

    gross_suspect: F64
    gross_fail: F64
    spike: F64
    spiky: Bool
    """Whether there is a spike test."""
    rate: F64
    """A second."""
    finely: Bool
    """Whether time is counted in microseconds instead of whole seconds."""
    tolerance: F64
    flat: I64
    """How many intervals must lie within the tolerance."""
    flat_span: I64
    """How many samples that makes at most."""
    over_us: I64
    """0 without a test of the signal's attenuation."""
    min_obs: I64
    by_std: Bool
    attenuated: F64
    seasonal: Bool
    season: Bool
    season_suspect: F64
    season_fail: F64


class Rings(NamedTuple):
    """Which set each of t tested series has (t,), and where its samples stand in the rings."""

    set: I32
    size: I64
    value_at: I64
    us_at: I64


class State(NamedTuple):
    """What is remembered of t tested series, 73 bytes each, (t,), and of their last samples.

    `size` values of 8 bytes each, with a stamp of 8 bytes more where the attenuated signal is tested: the longer of
    the flat line's intervals + 1 and 4 times those of the window + 8. The n-th sample of a series stands at n % size.
    """

    seen: I64
    last_us: I64
    last: F64
    before: F64
    last_bad: Bool
    run: I64
    """How many of the last samples lie within the flat line's tolerance of each other, between `low` and `high`."""
    low: F64
    high: F64
    first: I64
    """The oldest sample within the window of the attenuated signal."""
    lost_us: I64
    """The stamp of the newest sample that had no more room in it."""
    ring: F64
    """By `Rings.value_at`."""
    ring_us: I64
    """By `Rings.us_at`."""


_SCALARS: Final = tuple(name for name in State._fields if not name.startswith("ring"))
_SCALAR_BYTES: Final = 73


@compiled
def flat_run(sets: Sets, rings: Rings, state: State, s: int, value: float) -> int:
    """How many of the last samples, this one included and up to `flat_span`, lie within the tolerance.

    The longest such run grows by one or breaks; only a break looks back. `ring` has this sample already.
    """
    k = rings.set[s]
    low, high = min(state.low[s], value), max(state.high[s], value)
    if state.run[s] > 0 and high - low < sets.tolerance[k]:
        state.low[s], state.high[s] = low, high
        state.run[s] += 1
        return int(state.run[s])
    size, at, now = rings.size[s], rings.value_at[s], state.seen[s]
    low = high = value
    run = 1
    for back in range(now - 1, max(now - sets.flat_span[k], -1), -1):
        one = state.ring[at + back % size]
        if not max(high, one) - min(low, one) < sets.tolerance[k]:
            break
        low, high = min(low, one), max(high, one)
        run += 1
    state.run[s], state.low[s], state.high[s] = run, low, high
    return run


@compiled
def attenuation(sets: Sets, rings: Rings, state: State, s: int, event_us: int) -> int:
    """0 good, 1 suspect, 2 failed, 3 not to be said; `ring` has this sample already.

    The range stops at the first sample that proves enough; the deviation (ddof 0) goes twice over the window, oldest
    first, so that it depends on nothing but the window.
    """
    k, size, now = rings.set[s], rings.size[s], state.seen[s]
    at, us_at = rings.value_at[s], rings.us_at[s]
    since_us = event_us - sets.over_us[k]
    first = state.first[s]
    while first < now and state.ring_us[us_at + first % size] <= since_us:
        first += 1
    if now - first == size:
        state.lost_us[s] = state.ring_us[us_at + first % size]
        first += 1
    state.ring_us[us_at + now % size] = event_us
    state.first[s] = first
    n = now + 1 - first
    if n < sets.min_obs[k]:
        return 3
    whole = state.lost_us[s] <= since_us
    suspect, fail = sets.attenuated[k, 0], sets.attenuated[k, 1]
    if sets.by_std[k]:
        if not whole:
            return 3
        total = 0.0
        for i in range(first, now + 1):
            total += state.ring[at + i % size]
        mean = total / n
        total = 0.0
        for i in range(first, now + 1):
            away = state.ring[at + i % size] - mean
            total += away * away
        strength = np.sqrt(total / n)
    else:
        low = high = state.ring[at + now % size]
        for i in range(now - 1, first - 1, -1):
            if high - low >= suspect:
                break
            one = state.ring[at + i % size]
            low, high = min(low, one), max(high, one)
        strength = high - low
    if strength >= suspect:
        return 0
    if not whole:
        return 3
    return 2 if strength < fail else 1


@compiled
def judge(
    sets: Sets,
    rings: Rings,
    state: State,
    place: I32,
    event_us: I64,
    value: F64,
    month: Index,
    flags: U16,
    tests: U16,
    told_flags: U16,
    told_tests: U16,
    told_us: I64,
    told: F64,
) -> int:
    """Samples (n,) one by one; `place` is the row of `state`, −1 for a series without tests, `month` from 0.

    Sets `flags` and `tests`, moves `state`, and gives in `told_…`, where `told_flags` is not 0, the row about the
    sample before it. Returns how many of those there are.
    """
    count = 0
    for i in range(len(place)):
        s, bits, v = place[i], flags[i], value[i]
        if s < 0 or bits & IGNORED or np.isnan(v):
            continue
        k = rings.set[s]
        failed, suspect, unknown = 0, 0, False
        if v < sets.gross_fail[k, 0] or v > sets.gross_fail[k, 1]:
            failed |= _GROSS_RANGE
        elif v < sets.gross_suspect[k, 0] or v > sets.gross_suspect[k, 1]:
            suspect |= _GROSS_RANGE
        if sets.seasonal[k]:
            m = month[i]
            if not sets.season[k, m]:
                unknown = True
            elif v < sets.season_fail[k, m, 0] or v > sets.season_fail[k, m, 1]:
                failed |= _CLIMATOLOGY
            elif v < sets.season_suspect[k, m, 0] or v > sets.season_suspect[k, m, 1]:
                suspect |= _CLIMATOLOGY
        if not bits & (NOT_JUDGED | BAD):
            now, now_us = state.seen[s], event_us[i]
            if now > 0:
                # As ioos_qc counts: whole seconds, and what is less as one.
                gap_us = max(now_us - state.last_us[s], 1)
                seconds = gap_us / _SECOND_US if sets.finely[k] else float(max(gap_us // _SECOND_US, 1))
                rate = abs(v - state.last[s]) / seconds
                if rate > sets.rate[k, 1]:
                    failed |= _RATE_OF_CHANGE
                elif rate > sets.rate[k, 0]:
                    suspect |= _RATE_OF_CHANGE
            elif sets.spiky[k]:
                unknown = True
            if now > 1 and sets.spiky[k]:
                height = abs(state.last[s] - (state.before[s] + v) / 2)
                if height > sets.spike[k, 0]:
                    if height > sets.spike[k, 1]:
                        told_tests[i] = _SPIKE
                        told_flags[i] = _TELLS_BAD if state.last_bad[s] else _RETRACTS
                    else:
                        told_tests[i] = _SPIKE * _SUSPECT
                        told_flags[i] = _TELLS_SUSPECT
                    told_us[i], told[i] = state.last_us[s], state.last[s]
                    count += 1
            if rings.size[s] > 0:
                state.ring[rings.value_at[s] + now % rings.size[s]] = v
                run = flat_run(sets, rings, state, s, v)
                if run > sets.flat[k, 1]:
                    failed |= _FLAT_LINE
                elif run > sets.flat[k, 0]:
                    suspect |= _FLAT_LINE
                if sets.over_us[k] > 0:
                    weak = attenuation(sets, rings, state, s, now_us)
                    if weak == 2:
                        failed |= _ATTENUATED
                    elif weak == 1:
                        suspect |= _ATTENUATED
                    elif weak == 3:
                        unknown = True
            state.before[s], state.last[s], state.last_us[s] = state.last[s], v, now_us
            state.last_bad[s] = failed != 0
            state.seen[s] = now + 1
        tests[i] |= failed | suspect * _SUSPECT
        if failed:
            flags[i] = bits | _BAD
        elif suspect or unknown:
            flags[i] = bits | _UNCERTAIN
    return count


class Quality:
    """The tests of every numbered series that has some."""

    def __init__(self, registry: Registry, numbers: Mapping[str, int], utc_offset_us: int) -> None:
        self._utc_offset_us = utc_offset_us
        self._size = max(numbers.values(), default=-1) + 1
        known = ((number, registry.series.get(series_id)) for series_id, number in numbers.items())
        tested = sorted(
            (
                (number, series.quality, series.interval_us)
                for number, series in known
                if series and series.quality
            ),
            key=lambda one: one[0],
        )
        self._series: Index = np.array([number for number, *_ in tested], np.int64)
        """(t,): the number of each tested series, rising."""
        self._place: I32 = np.full(self._size + 1, -1, np.int32)
        """By series number the row of each tested series; the last is every other channel's."""
        self._place[self._series] = np.arange(len(tested), dtype=np.int32)
        self._kinds: dict[tuple[QualityTests, int], int] = {}
        kind = [
            self._kinds.setdefault((quality, interval), len(self._kinds)) for _, quality, interval in tested
        ]
        self._sets = _sets(list(self._kinds))
        self._rings = _rings(list(self._kinds), self._sets, np.array(kind, np.int32))
        self._state = _at_rest(self._sets, self._rings)
        self._by_month = bool(self._sets.seasonal.any())

    @property
    def columns(self) -> Mapping[str, npt.NDArray[Any]]:
        """The whole state: (t,) by tested series, and the rings, which lie one behind the other in the same order."""
        return self._state._asdict()

    @property
    def bytes_each(self) -> I64:
        """(series numbers,): what is remembered of each; 0 without tests."""
        out = np.zeros(self._size, np.int64)
        stamps = self._sets.over_us[self._rings.set] > 0
        out[self._series] = _SCALAR_BYTES + self._rings.size * (8 + 8 * stamps)
        return out

    def feed(self, samples: Samples) -> Samples:
        """The same rows with what was found of them, each behind the one about the sample before it, if any."""
        sent_bad = samples.flags & BAD
        if sent_bad.any():
            physical = np.where(sent_bad != 0, np.uint16(_PHYSICAL_RANGE), np.uint16(0))
            samples = samples.with_flags(samples.flags, samples.tests | physical)
        if not len(self._series) or not len(samples):
            return samples
        place = self._place.take(samples.channel, mode="clip")
        if not (place >= 0).any():
            return samples
        n = len(samples)
        flags, tests = samples.flags.copy(), samples.tests.copy()
        told_flags, told_tests = np.zeros((2, n), np.uint16)
        told_us, told = np.empty(n, np.int64), np.empty(n)
        month = self._months(samples.event_us) if self._by_month else samples.row
        count = judge(
            self._sets,
            self._rings,
            self._state,
            place,
            samples.event_us,
            samples.value,
            month,
            flags,
            tests,
            told_flags,
            told_tests,
            told_us,
            told,
        )
        judged = samples.with_flags(flags, tests)
        if not count:
            return judged
        at = np.flatnonzero(told_flags)
        about = Samples(
            samples.row[at], samples.channel[at], told_us[at], told[at], told_flags[at], told_tests[at]
        )
        return _before(about, at, judged)

    def _months(self, event_us: I64) -> Index:
        local = (event_us + self._utc_offset_us).astype("datetime64[us]")
        return local.astype("datetime64[M]").astype(np.int64) % 12

    def take_over(self, before: Quality) -> None:
        """What another one remembers of the series that are tested as they were."""
        _, mine, theirs = np.intersect1d(
            self._series, before._series, assume_unique=True, return_indices=True
        )
        was = np.array([before._kinds.get(kind, -1) for kind in self._kinds], np.int64)
        same = was[self._rings.set[mine]] == before._rings.set[theirs]
        mine, theirs = mine[same], theirs[same]
        for name in _SCALARS:
            getattr(self._state, name)[mine] = getattr(before._state, name)[theirs]
        size = self._rings.size[mine]
        stamps = np.where(self._sets.over_us[self._rings.set[mine]] > 0, size, 0)
        for ring, at, length in (("ring", "value_at", size), ("ring_us", "us_at", stamps)):
            to, _ = kernels.spread(getattr(self._rings, at)[mine], length)
            source, _ = kernels.spread(getattr(before._rings, at)[theirs], length)
            getattr(self._state, ring)[to] = getattr(before._state, ring)[source]

    def state(self) -> dict[str, Any]:
        """A copy, canonical: by series number."""
        return {name: column.copy() for name, column in self.columns.items()}

    def restore(self, state: dict[str, Any]) -> None:
        """Back to what `state` gave, with the same tests and numbers."""
        for name, column in self.columns.items():
            column[:] = state[name]


def _before(about: Samples, at: Index, judged: Samples) -> Samples:
    """Each row of `about` right before the row of `judged` that it came with."""
    order = np.argsort(np.concatenate([at * 2, np.arange(len(judged)) * 2 + 1]), kind="stable")
    return Samples(
        np.concatenate([about.row, judged.row])[order],
        np.concatenate([about.channel, judged.channel])[order],
        np.concatenate([about.event_us, judged.event_us])[order],
        np.concatenate([about.value, judged.value])[order],
        np.concatenate([about.flags, judged.flags])[order],
        np.concatenate([about.tests, judged.tests])[order],
    )


def _sets(kinds: list[tuple[QualityTests, int]]) -> Sets:
    n = len(kinds)
    everything = (-np.inf, np.inf)
    sets = Sets(
        gross_suspect=np.tile(everything, (n, 1)),
        gross_fail=np.tile(everything, (n, 1)),
        spike=np.full((n, 2), np.inf),
        spiky=np.zeros(n, np.bool_),
        rate=np.full((n, 2), np.inf),
        finely=np.array([interval_us < _SECOND_US for _, interval_us in kinds], np.bool_),
        tolerance=np.zeros(n),
        flat=np.full((n, 2), _NEVER, np.int64),
        flat_span=np.zeros(n, np.int64),
        over_us=np.zeros(n, np.int64),
        min_obs=np.zeros(n, np.int64),
        by_std=np.zeros(n, np.bool_),
        attenuated=np.zeros((n, 2)),
        seasonal=np.zeros(n, np.bool_),
        season=np.zeros((n, 12), np.bool_),
        season_suspect=np.tile(everything, (n, 12, 1)),
        season_fail=np.tile(everything, (n, 12, 1)),
    )
    for k, (tests, interval_us) in enumerate(kinds):
        if tests.gross_range:
            sets.gross_fail[k] = tests.gross_range.fail
            sets.gross_suspect[k] = tests.gross_range.suspect or tests.gross_range.fail
        if tests.spike:
            sets.spike[k] = tests.spike.suspect, tests.spike.fail
            sets.spiky[k] = True
        if tests.rate_of_change:
            sets.rate[k] = tests.rate_of_change.suspect, tests.rate_of_change.fail or np.inf
        if tests.flat_line:
            sets.tolerance[k] = tests.flat_line.tolerance
            sets.flat[k] = tests.flat_line.suspect // interval_us, tests.flat_line.fail // interval_us
            sets.flat_span[k] = sets.flat[k].max() + 1
        if tests.attenuated:
            sets.over_us[k] = tests.attenuated.over
            sets.min_obs[k] = tests.attenuated.min_obs
            sets.by_std[k] = tests.attenuated.check == "std"
            sets.attenuated[k] = tests.attenuated.suspect, tests.attenuated.fail
        sets.seasonal[k] = bool(tests.climatology)
        for season in tests.climatology:
            months = np.array(season.months) - 1
            sets.season[k, months] = True
            sets.season_suspect[k, months] = season.suspect
            sets.season_fail[k, months] = season.fail or everything
    return sets


def ring_size(tests: QualityTests, interval_us: int) -> int:
    """How many samples of a series its tests remember."""
    size = 0
    if tests.flat_line:
        size = max(tests.flat_line.suspect, tests.flat_line.fail) // interval_us + 1
    if tests.attenuated:
        size = max(size, DENSER * (tests.attenuated.over // interval_us) + 8, tests.attenuated.min_obs)
    return size


def faults(series: Series) -> list[str]:
    """What is wrong with the tests of a series at its interval, each with how to mend it."""
    tests, found = series.quality, []
    if tests and tests.flat_line and tests.flat_line.suspect < series.interval_us:
        found.append(
            "quality.flat_line.suspect is shorter than one interval, so that every sample would be flat"
        )
    if tests and (size := ring_size(tests, series.interval_us)) > RING_MAX:
        found.append(
            f"quality remembers {size} samples, at most {RING_MAX} are possible: shorten flat_line or attenuated.over"
        )
    return found


def _rings(kinds: list[tuple[QualityTests, int]], sets: Sets, kind: I32) -> Rings:
    size = np.array([ring_size(*one) for one in kinds], np.int64)[kind] if kinds else np.zeros(0, np.int64)
    stamps = np.where(sets.over_us[kind] > 0, size, 0)
    return Rings(kind, size, np.cumsum(size) - size, np.cumsum(stamps) - stamps)


def _at_rest(sets: Sets, rings: Rings) -> State:
    t = len(rings.set)
    return State(
        seen=np.zeros(t, np.int64),
        last_us=np.zeros(t, np.int64),
        last=np.zeros(t),
        before=np.zeros(t),
        last_bad=np.zeros(t, np.bool_),
        run=np.zeros(t, np.int64),
        low=np.zeros(t),
        high=np.zeros(t),
        first=np.zeros(t, np.int64),
        lost_us=np.full(t, NO_TIME, np.int64),
        ring=np.zeros(int(rings.size.sum())),
        ring_us=np.zeros(int(rings.size[sets.over_us[rings.set] > 0].sum()), np.int64),
    )
