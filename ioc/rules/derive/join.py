"""The round: samples of several inputs that belong together, and the derived series that are a function of one round.

A round is complete at the row after which every input that reports as often as the fastest one has a sample that is
in no earlier round, these lie within half an interval of the newest of them, and every slower input has one that is
within 1.5 of its own intervals of that. So each sample of a fast input is in one round at most, and a slow one is held
until the next comes. A round that is never completed gives nothing.

Late and retracted samples change nothing here: a round is what was known when it was complete.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ioc.model.batch import F64, I64, U16, Bool, Flag
from ioc.model.event import Event
from ioc.rules.derive.base import Fed, Given, Instance, from_ticks, per_unit, ticks
from ioc.rules.jit import compiled
from ioc.rules.kernels import NO_TIME, Index
from ioc.rules.samples import BAD, LATE

UNCERTAIN: Final = int(Flag.UNCERTAIN)
BACKLOG: Final = int(Flag.BACKLOG)
_SAID: Final = int(Flag.BAD)
_COUNTED_MAX: Final = 2.0**53
"""More ticks than this a double cannot tell apart."""

Calculate = Callable[[F64], F64]
"""Values (m, inputs), all good and finite → results (m,) in the output's unit, NaN where it is not defined."""


@dataclass(frozen=True, slots=True, eq=False)
class Rounds:
    """m complete rounds in the order of the rows that completed them.

    `row`, `at`, `event_us`, `flags` (m,) as in `Given`, `event_us` that of the newest fast sample; `values`
    (m, inputs), 0 where an optional input is absent. UNCERTAIN if any input is, BACKLOG if a fast one is.
    """

    row: Index
    at: Index
    event_us: I64
    flags: U16
    values: F64


class Join:
    """The last sample of each input of each instance: 19 bytes an input."""

    def __init__(self, instances: Sequence[Instance]) -> None:
        inputs = len(instances[0].inputs) if instances else 0
        shape = len(instances), inputs
        self.columns: Mapping[str, npt.NDArray[Any]] = {
            "last_us": np.full(shape, NO_TIME),
            "last": np.zeros(shape),
            "flags": np.zeros(shape, np.uint16),
            "fresh": np.zeros(shape, np.bool_),
        }
        self._fast, self._hold_us = _holds(instances, shape)

    def feed(self, fed: Fed) -> Rounds:
        """The rounds that these rows complete."""
        state = self.columns
        n, inputs = len(fed), state["last"].shape[1]
        which, event_us = np.empty(n, np.int64), np.empty(n, np.int64)
        flags, values = np.empty(n, np.uint16), np.empty((n, inputs))
        m = complete(
            fed.at, fed.role, fed.event_us, fed.value, fed.flags,
            state["last_us"], state["last"], state["flags"], state["fresh"], self._fast, self._hold_us,
            which, event_us, flags, values,
        )  # fmt: skip
        which = which[:m]
        return Rounds(fed.row[which], fed.at[which], event_us[:m], flags[:m], values[:m])


def _holds(instances: Sequence[Instance], shape: tuple[int, int]) -> tuple[Bool, I64]:
    """Which inputs report as often as the fastest, and how far from the round's newest stamp each is good for.

    Both (instances, inputs); the hold is −1 where an input is absent.
    """
    fast, hold_us = np.zeros(shape, np.bool_), np.full(shape, -1)
    for at, instance in enumerate(instances):
        every_us = min((s.interval_us for s in instance.inputs if s), default=0)
        for role, series in enumerate(instance.inputs):
            if series:
                fast[at, role] = series.interval_us == every_us
                hold_us[at, role] = every_us // 2 if fast[at, role] else series.interval_us * 3 // 2
    return fast, hold_us


@compiled
def complete(
    at: Index,
    role: Index,
    event_us: I64,
    value: F64,
    row_flags: U16,
    last_us: I64,
    last: F64,
    flags: U16,
    fresh: Bool,
    fast: Bool,
    hold_us: I64,
    which: Index,
    round_us: I64,
    round_flags: U16,
    values: F64,
) -> int:
    """Take rows (n,) into the state (instances, inputs); write the rounds completed into the last four, return how many.

    `which` (n,) is the position of the row, `values` (n, inputs).
    """
    m = 0
    inputs = last.shape[1]
    for k in range(len(at)):
        if row_flags[k] & LATE:
            continue
        a, mine = at[k], role[k]
        last_us[a, mine], last[a, mine], flags[a, mine] = event_us[k], value[k], row_flags[k]
        fresh[a, mine] = True
        newest = NO_TIME
        for r in range(inputs):
            if fast[a, r] and last_us[a, r] > newest:
                newest = last_us[a, r]
        whole = newest != NO_TIME
        said = 0
        for r in range(inputs):
            if hold_us[a, r] < 0:
                continue
            if last_us[a, r] == NO_TIME or abs(newest - last_us[a, r]) > hold_us[a, r]:
                whole = False
            if fast[a, r]:
                whole = whole and fresh[a, r]
                said |= flags[a, r] & BACKLOG
            said |= flags[a, r] & UNCERTAIN
            if flags[a, r] & BAD or not np.isfinite(last[a, r]):
                said |= _SAID
        if whole:
            which[m], round_us[m], round_flags[m] = k, newest, said
            for r in range(inputs):
                values[m, r] = last[a, r] if hold_us[a, r] >= 0 else 0.0
                fresh[a, r] = False
            m += 1
    return m


class OfRounds:
    """A derived series whose value is a function of one round and of nothing before it."""

    def __init__(self, instances: Sequence[Instance], calculate: Calculate) -> None:
        self._join = Join(instances)
        self.columns = self._join.columns
        self._resolution = resolutions(instances)
        self._calculate = calculate

    def feed(self, fed: Fed) -> Given:
        """The function of each round that is completed."""
        rounds = self._join.feed(fed)
        value = np.full(len(rounds.at), np.nan)
        good = np.flatnonzero((rounds.flags & _SAID) == 0)
        if len(good):
            value[good] = self._calculate(rounds.values[good])
        return said(rounds.row, rounds.at, rounds.event_us, value, rounds.flags, self._resolution[rounds.at])

    def feed_event(self, event: Event, at: Sequence[int]) -> Given:
        """Nothing: only samples count."""
        return Given.none()


def resolutions(instances: Sequence[Instance]) -> F64:
    """That of each output, (instances,)."""
    return np.array([instance.resolution for instance in instances], np.float64)


def said(row: Index, at: Index, event_us: I64, value: F64, flags: U16, resolution: F64) -> Given:
    """Values rounded to their resolutions (n,), half to even; what is no number, or too large for one, as BAD."""
    rounded = np.full(len(value), np.nan)
    known = np.isfinite(value) & (np.abs(value) < _COUNTED_MAX * resolution)
    for each in np.unique(resolution):
        mine = np.flatnonzero(known & (resolution == each))
        rounded[mine] = from_ticks(ticks(value[mine], float(each)), float(each))
    return Given(row, at, event_us, rounded, np.where(known, flags, flags | _SAID).astype(np.uint16))


def unit_of(resolution: float) -> Fraction:
    """What one tick is, exactly."""
    each = per_unit(resolution)
    return Fraction(1, each) if each else Fraction(str(resolution))


def roles(kind: str, named: Sequence[str], needed: Sequence[str]) -> list[int]:
    """Where each input that a kind needs stands among those named; ValueError where one is missing or too many."""
    if set(named) != set(needed):
        raise ValueError(f"{kind} needs the inputs {', '.join(needed)}, not {', '.join(named) or 'none'}")
    return [list(named).index(name) for name in needed]
