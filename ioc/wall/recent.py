"""`Recent`: the last readings of every series in event order, for trends that no database need answer."""

from __future__ import annotations

from typing import Final

import numpy as np

from ioc.model.batch import F64, I64, U16, Batch, Flag

POINTS_MAX: Final = 2_048
"""Points remembered of one series."""
POINTS_TOTAL: Final = 2_048 * 2_048
"""Points remembered of all series together (75 MB); with more than 2,048 series each gets its share."""
NEVER_US: Final = -(1 << 62)

_OUT_OF_ORDER: Final = int(Flag.LATE | Flag.TOO_LATE | Flag.REVISED)
_FORGOTTEN: Final = int(Flag.REPEAT | Flag.CONFLICT | Flag.LAST_KNOWN | Flag.FUTURE)
_CAPACITY_FIRST: Final = 64


class Recent:
    """A ring a series, all in three arrays of shape (series, capacity); capacity doubles until its bound.

    Late readings are inserted where they belong, a revision takes the place of what it revises, and FUTURE ones
    stay out: one wrong clock would push everything else away.
    """

    def __init__(self, size: int = 0, points_max: int = POINTS_MAX, points_total: int = POINTS_TOTAL) -> None:
        self._points_max = points_max
        self._points_total = points_total
        self._event = np.zeros((0, 0), np.int64)
        self._value = np.zeros((0, 0), np.float64)
        self._flags = np.zeros((0, 0), np.uint16)
        self._start = np.zeros(0, np.int64)
        self._count = np.zeros(0, np.int64)
        self._last = np.zeros(0, np.int64)
        self.resize(size)

    @property
    def bound(self) -> int:
        """How many points of one series are remembered at most."""
        return max(1, min(self._points_max, self._points_total // max(1, len(self._count))))

    @property
    def _capacity(self) -> int:
        return self._event.shape[1]

    def resize(self, size: int) -> None:
        """Room for series numbers below `size`; never shrinks."""
        old = len(self._count)
        if size <= old:
            return
        series = [self.read(n) for n in range(old) if self._count[n]]
        numbers = np.flatnonzero(self._count)
        last = self._last
        self._start = np.zeros(size, np.int64)
        self._count = np.zeros(size, np.int64)
        self._last = np.full(size, NEVER_US, np.int64)
        self._last[:old] = last
        capacity = min(self.bound, max(self._capacity, _CAPACITY_FIRST))
        self._event = np.zeros((size, capacity), np.int64)
        self._value = np.zeros((size, capacity), np.float64)
        self._flags = np.zeros((size, capacity), np.uint16)
        for number, (event_us, value, flags) in zip(numbers, series, strict=True):
            self._write(int(number), event_us, value, flags)

    def feed(self, batch: Batch) -> None:
        """Take one judged batch."""
        keep = (batch.flags & _FORGOTTEN) == 0
        if not keep.all():
            batch = batch.take(keep)
        if not len(batch):
            return
        late = (batch.flags & _OUT_OF_ORDER) != 0
        if late.any():
            self._append(batch.take(~late))
            self._merge(batch.take(late))
        else:
            self._append(batch)

    def read(
        self, number: int, since_us: int = NEVER_US, until_us: int = 1 << 62, limit: int = POINTS_MAX
    ) -> tuple[I64, F64, U16]:
        """The newest `limit` points of since ≤ event time < until, oldest first."""
        count = int(self._count[number]) if number < len(self._count) else 0
        if not count:
            return np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.uint16)
        where = (int(self._start[number]) + np.arange(count)) % self._capacity
        event_us = self._event[number, where]
        low, high = np.searchsorted(event_us, [since_us, until_us])
        low = max(int(low), int(high) - limit)
        part = where[low : int(high)]
        return event_us[low : int(high)], self._value[number, part], self._flags[number, part]

    def oldest_us(self, number: int) -> int | None:
        """Event time of the oldest point remembered."""
        if number >= len(self._count) or not self._count[number]:
            return None
        return int(self._event[number, self._start[number]])

    def _append(self, batch: Batch) -> None:
        if not len(batch):
            return
        order = np.argsort(batch.series, kind="stable")
        series = batch.series[order]
        event_us = batch.event_us[order]
        first = np.flatnonzero(np.r_[True, series[1:] != series[:-1]])
        numbers = series[first]
        length = np.diff(np.r_[first, len(series)])
        rises = event_us > np.r_[NEVER_US, event_us[:-1]]
        rises[first] = event_us[first] > self._last[numbers]
        if not rises.all():
            # Not what order.py promises (a replay may overlap): those series take the slower way.
            odd = np.isin(batch.series, series[~rises])
            self._append(batch.take(~odd))
            self._merge(batch.take(odd))
            return
        self._grow(int((self._count[numbers] + length).max()))
        capacity = self._capacity
        within = np.arange(len(series)) - np.repeat(first, length)
        # Of more rows than fit only the last ones are written: two rows must not meet in one cell.
        fit = within >= np.repeat(length - capacity, length)
        rows = series[fit]
        cells = (self._start[rows] + self._count[rows] + within[fit]) % capacity
        self._event[rows, cells] = event_us[fit]
        self._value[rows, cells] = batch.value[order][fit]
        self._flags[rows, cells] = batch.flags[order][fit]
        total = self._count[numbers] + length
        over = np.maximum(0, total - capacity)
        self._start[numbers] = (self._start[numbers] + over) % capacity
        self._count[numbers] = total - over
        self._last[numbers] = event_us[first + length - 1]

    def _merge(self, batch: Batch) -> None:
        for number in np.unique(batch.series):
            rows = batch.take(batch.series == number)
            event_us, value, flags = self.read(int(number))
            event_us = np.r_[event_us, rows.event_us]
            value = np.r_[value, rows.value]
            flags = np.r_[flags, rows.flags]
            order = np.argsort(event_us, kind="stable")
            event_us = event_us[order]
            # Of one stamp the last to arrive stands.
            stands = np.r_[event_us[1:] != event_us[:-1], True]
            self._grow(int(stands.sum()))
            self._write(int(number), event_us[stands], value[order][stands], flags[order][stands])

    def _write(self, number: int, event_us: I64, value: F64, flags: U16) -> None:
        kept = min(len(event_us), self._capacity)
        self._start[number] = 0
        self._count[number] = kept
        self._event[number, :kept] = event_us[len(event_us) - kept :]
        self._value[number, :kept] = value[len(value) - kept :]
        self._flags[number, :kept] = flags[len(flags) - kept :]
        self._last[number] = max(int(self._last[number]), int(event_us[-1]))

    def _grow(self, count: int) -> None:
        """Room for `count` points a series, as far as the bound allows; no ring has wrapped before that."""
        capacity = self._capacity
        if count <= capacity or capacity >= self.bound:
            return
        while capacity < count:
            capacity *= 2
        capacity = min(capacity, self.bound)
        wider = ((0, 0), (0, capacity - self._capacity))
        self._event = np.pad(self._event, wider)
        self._value = np.pad(self._value, wider)
        self._flags = np.pad(self._flags, wider)


def as_points(event_us: I64, value: F64, flags: U16) -> list[list[float | int | None]]:
    """Rows of `[t_ms, value, flags]`; what is no number is null."""
    return [
        [int(t) // 1000, float(v) if np.isfinite(v) else None, int(f)]
        for t, v, f in zip(event_us, value, flags, strict=True)
    ]
