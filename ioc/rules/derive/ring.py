"""What windows, rates and counters share: values in whole ticks, and a ring of each instance's last good samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from ioc.model.batch import F64, I32, I64, U16, Bool, Flag
from ioc.registry import Series
from ioc.rules.derive import base
from ioc.rules.derive.base import Fed, Given, Instance
from ioc.rules.jit import compiled
from ioc.rules.kernels import Index
from ioc.rules.samples import BAD as BAD_BITS
from ioc.rules.samples import LATE as LATE_BITS

U8 = npt.NDArray[np.uint8]

NEVER_US: Final = -(1 << 62)
"""Before every stamp."""
HEAD_ROOM_US: Final = 3_600_000_000
"""How far behind its window a ring reaches for the sake of late samples: the default of the lateness bound."""
SPARE: Final = 8
"""Slots for samples that come a little denser than their interval."""

# What the kernels compare with, as plain numbers.
BAD: Final = BAD_BITS
LATE: Final = LATE_BITS
GIVEN_LATE: Final = int(Flag.LATE)
GIVEN_BAD: Final = int(Flag.BAD)
UNCERTAIN: Final = int(Flag.UNCERTAIN)
BACKLOG: Final = int(Flag.BACKLOG)


class Grid:
    """Whole ticks of each instance, whose resolutions may differ."""

    def __init__(self, resolutions: Sequence[float]) -> None:
        self._of = np.array(resolutions, np.float64)
        self._distinct = sorted(set(resolutions))

    def ticks(self, at: Index, value: F64) -> I64:
        """Values (n,) of these instances (n,) in their ticks."""
        if len(self._distinct) == 1:
            return base.ticks(value, self._distinct[0])
        out = np.zeros(len(at), np.int64)
        for resolution in self._distinct:
            where = self._of[at] == resolution
            out[where] = base.ticks(value[where], resolution)
        return out

    def values(self, at: Index, count: I64) -> F64:
        """So many ticks (n,) of these instances (n,) as values."""
        if len(self._distinct) == 1:
            return base.from_ticks(count, self._distinct[0])
        out = np.zeros(len(at))
        for resolution in self._distinct:
            where = self._of[at] == resolution
            out[where] = base.from_ticks(count[where], resolution)
        return out


def tick_of(resolution: float) -> Fraction:
    """One tick, as exactly as people wrote it."""
    each = base.per_unit(resolution)
    return Fraction(1, each) if each else Fraction(str(resolution))


def inputs_of(instance: Instance) -> list[Series]:
    """Those that are there."""
    return [series for series in instance.inputs if series is not None]


def told(fed: Fed, given: Bool, tick: I64, flags: U16, grid: Grid) -> Given:
    """What the rows marked `given` (n,) make: ticks (n,) of the outputs, NaN where `flags` (n,) say BAD."""
    if given.all():
        row, at, event_us = fed.row, fed.at, fed.event_us
    else:
        kept = np.flatnonzero(given)
        row, at, event_us, tick, flags = (
            fed.row[kept],
            fed.at[kept],
            fed.event_us[kept],
            tick[kept],
            flags[kept],
        )
    value = grid.values(at, tick)
    value[(flags & GIVEN_BAD) != 0] = np.nan
    return Given(row, at, event_us, value, flags)


class Ring(NamedTuple):
    """The last good samples of n instances by (stamp, rank of their input), in w slots each, in whole ticks.

    `kind` is twice the rank plus 1 if uncertain. `counted` and `covered_us` are what each adds to a window, beside
    finer samples of its period; of shape (n, 0) where no instance has several inputs. `mark_us` is the highest stamp
    of any sample, `lost_us` that of what is no longer held. Never more than `capacity` samples are held, which is no
    state. 17 bytes a slot (33 with several inputs) and 24 an instance.
    """

    stamp_us: I64
    tick: I64
    kind: U8
    counted: I64
    covered_us: I64
    head: I32
    size: I32
    mark_us: I64
    lost_us: I64
    capacity: I32

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """The state."""
        return {name: column for name, column in self._asdict().items() if name != "capacity"}


def ring(instances: Sequence[Instance], over_us: int) -> Ring:
    """Empty, with room for a window over the inputs at their intervals, and head room."""
    several = any(len(inputs_of(i)) > 1 for i in instances)
    capacity = np.array([_capacity(inputs_of(i), over_us) for i in instances], np.int32)
    n, slots = len(instances), int(capacity.max(initial=1))
    return Ring(
        np.zeros((n, slots), np.int64),
        np.zeros((n, slots), np.int64),
        np.zeros((n, slots), np.uint8),
        np.zeros((n, slots if several else 0), np.int64),
        np.zeros((n, slots if several else 0), np.int64),
        np.zeros(n, np.int32),
        np.zeros(n, np.int32),
        np.full(n, NEVER_US, np.int64),
        np.full(n, NEVER_US, np.int64),
        capacity,
    )


def _capacity(inputs: Sequence[Series], over_us: int) -> int:
    """Samples in a window (whose coarser totals reach behind it) and in as much again or in the head room."""
    reach_us = reach_of(inputs)
    window = sum(math.ceil((over_us + reach_us) / series.interval_us) for series in inputs)
    room = sum(math.ceil(HEAD_ROOM_US / series.interval_us) for series in inputs)
    return window + min(room, window) + SPARE


def reach_of(inputs: Sequence[Series]) -> int:
    """How far behind a window, in µs, samples matter to what those within it count."""
    return max(series.interval_us for series in inputs) if len(inputs) > 1 else 0


def contiguous(fed: Fed) -> tuple[Index, Index, I64, U16]:
    """Instance, role, stamp and flags as the kernels take them."""
    return (
        np.ascontiguousarray(fed.at),
        np.ascontiguousarray(fed.role),
        np.ascontiguousarray(fed.event_us),
        np.ascontiguousarray(fed.flags),
    )


@compiled
def rounded(part: int, whole: int) -> int:
    """part / whole (whole > 0) to the nearest integer, half to even."""
    result = part // whole
    twice = 2 * (part - result * whole)
    if twice > whole or (twice == whole and result % 2 != 0):
        result += 1
    return result


@compiled
def wrapped(place: int, slots: int) -> int:
    """A place in a ring of so many slots that is less than a round too far."""
    return place - slots if place >= slots else place


@compiled
def slot(ring: Ring, i: int, k: int) -> int:
    """Where the k-th oldest sample of an instance lies."""
    return wrapped(int(ring.head[i]) + k, ring.stamp_us.shape[1])


@compiled
def upto(ring: Ring, i: int, event_us: int) -> int:
    """How many samples of an instance are of this stamp or older."""
    low, high = 0, int(ring.size[i])
    while low < high:
        middle = (low + high) // 2
        if ring.stamp_us[i, slot(ring, i, middle)] <= event_us:
            low = middle + 1
        else:
            high = middle
    return low


@compiled
def forget_oldest(ring: Ring, i: int) -> None:
    """Hold one less."""
    ring.lost_us[i] = max(ring.lost_us[i], ring.stamp_us[i, slot(ring, i, 0)])
    ring.head[i] = slot(ring, i, 1)
    ring.size[i] -= 1


@compiled
def _move(ring: Ring, i: int, source: int, target: int) -> None:
    s, t = slot(ring, i, source), slot(ring, i, target)
    ring.stamp_us[i, t] = ring.stamp_us[i, s]
    ring.tick[i, t] = ring.tick[i, s]
    ring.kind[i, t] = ring.kind[i, s]
    if ring.counted.shape[1]:
        ring.counted[i, t] = ring.counted[i, s]
        ring.covered_us[i, t] = ring.covered_us[i, s]


@compiled
def change(ring: Ring, i: int, event_us: int, tick: int, kind: int, bad: bool) -> None:
    """Put a sample in its place or instead of that of its stamp; a bad one is taken out. O(samples held)."""
    rank = kind // 2
    k = upto(ring, i, event_us)
    while k > 0:
        s = slot(ring, i, k - 1)
        if ring.stamp_us[i, s] < event_us or ring.kind[i, s] // 2 < rank:
            break
        k -= 1
    size = int(ring.size[i])
    found = False
    if k < size:
        s = slot(ring, i, k)
        found = ring.stamp_us[i, s] == event_us and ring.kind[i, s] // 2 == rank
    if bad:
        if found:
            for m in range(k, size - 1):
                _move(ring, i, m + 1, m)
            ring.size[i] -= 1
        return
    if not found:
        while ring.size[i] >= ring.capacity[i]:
            if k == 0:
                ring.lost_us[i] = max(ring.lost_us[i], event_us)
                return
            forget_oldest(ring, i)
            k -= 1
        for m in range(ring.size[i] - 1, k - 1, -1):
            _move(ring, i, m, m + 1)
        ring.size[i] += 1
    s = slot(ring, i, k)
    ring.stamp_us[i, s] = event_us
    ring.tick[i, s] = tick
    ring.kind[i, s] = kind
