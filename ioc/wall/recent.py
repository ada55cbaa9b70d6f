"""`Recent`: the last readings of every series in event order, for trends that no database need answer."""

from __future__ import annotations

from bisect import bisect_left
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from ioc.model.batch import F64, I32, I64, U16, Batch, Flag

POINTS_MAX: Final = 2_048
"""Points remembered of one series."""
POINTS_TOTAL: Final = 2_048 * 2_048
"""Points remembered of all series together (75 MB); with more than 2,048 series each gets its share."""
NEVER_US: Final = -(1 << 62)

_OUT_OF_ORDER: Final = int(Flag.LATE | Flag.TOO_LATE | Flag.REVISED)
_FORGOTTEN: Final = int(Flag.REPEAT | Flag.CONFLICT | Flag.LAST_KNOWN | Flag.FUTURE)
_CAPACITY_FIRST: Final = 64
_WAITING_ROWS_MAX: Final = 32_768
_WAITING_BATCHES_MAX: Final = 256


def by_series(series: I32) -> npt.NDArray[np.intp]:
    """The order of the rows by series, rows of one series in their own order."""
    # Two bytes at a time: those numpy sorts by radix, ten times as fast as whole numbers.
    order = np.argsort(series.astype(np.uint16), kind="stable")
    if series.max(initial=0) >> 16:
        order = order[np.argsort((series >> 16).astype(np.uint16)[order], kind="stable")]
    return order


class _Rows(NamedTuple):
    """The columns that are remembered."""

    series: I32
    event_us: I64
    value: F64
    flags: U16

    def take(self, where: Any) -> _Rows:
        return _Rows(*(column[where] for column in self))


class Recent:
    """A ring a series, all in three arrays of shape (capacity, series); capacity doubles until its bound.

    Series that speak at the same pace write side by side, which is what makes many of them cheap. Late readings are
    inserted where they belong, a revision takes the place of what it revises, and FUTURE ones stay out: one wrong
    clock would push everything else away. Batches wait until somebody reads or there are many, so that a record of
    one row costs next to nothing.
    """

    def __init__(self, size: int = 0, points_max: int = POINTS_MAX, points_total: int = POINTS_TOTAL) -> None:
        self._points_max = points_max
        self._points_total = points_total
        self._event = np.zeros((0, 0), np.int64)
        self._value = np.zeros((0, 0), np.float64)
        self._flags = np.zeros((0, 0), np.uint16)
        self._written = np.zeros(0, np.int64)
        """Points of each series so far; number n stands in cell n % capacity, the last `capacity` of them stand."""
        self._last = np.zeros(0, np.int64)
        self._waiting: list[Batch] = []
        self._waiting_rows = 0
        self.resize(size)

    @property
    def bound(self) -> int:
        """How many points of one series are remembered at most."""
        return max(1, min(self._points_max, self._points_total // max(1, len(self._written))))

    @property
    def _capacity(self) -> int:
        return len(self._event)

    def resize(self, size: int) -> None:
        """Room for series numbers below `size`; never shrinks."""
        more = size - len(self._written)
        if more <= 0:
            return
        written = self._written
        self._written = np.pad(written, (0, more))
        self._last = np.pad(self._last, (0, more), constant_values=NEVER_US)
        capacity = min(self.bound, max(self._capacity, _CAPACITY_FIRST))
        kept = np.minimum(written, min(self._capacity, capacity))
        where = (written - kept + np.arange(capacity)[:, None]) % max(1, self._capacity)

        def moved(cells: npt.NDArray[Any]) -> npt.NDArray[Any]:
            return np.pad(np.take_along_axis(cells, where, axis=0), ((0, 0), (0, more)))

        self._event, self._value, self._flags = moved(self._event), moved(self._value), moved(self._flags)
        self._written[: len(written)] = kept

    def feed(self, batch: Batch) -> None:
        """Take one judged batch."""
        self._waiting.append(batch)
        self._waiting_rows += len(batch)
        if self._waiting_rows > _WAITING_ROWS_MAX or len(self._waiting) > _WAITING_BATCHES_MAX:
            self._settle()

    def _settle(self) -> None:
        """Put into the rings what waits."""
        waiting, self._waiting, self._waiting_rows = self._waiting, [], 0
        if not waiting:
            return
        rows = _Rows(*(np.concatenate([getattr(batch, name) for batch in waiting]) for name in _Rows._fields))
        forgotten = (rows.flags & _FORGOTTEN) != 0
        if forgotten.any():
            rows = rows.take(~forgotten)
        self._append(rows.take(by_series(rows.series)))

    def read(
        self, number: int, since_us: int = NEVER_US, until_us: int = 1 << 62, limit: int = POINTS_MAX
    ) -> tuple[I64, F64, U16]:
        """The newest `limit` points of since ≤ event time < until, oldest first."""
        self._settle()
        event_us, value, flags = self._ring(number)
        low, high = np.searchsorted(event_us, [since_us, until_us])
        part = slice(max(int(low), int(high) - limit), int(high))
        return event_us[part], value[part], flags[part]

    def oldest_us(self, number: int) -> int | None:
        """Event time of the oldest point remembered."""
        self._settle()
        if number >= len(self._written) or not self._written[number]:
            return None
        return int(self._event[max(0, self._written[number] - self._capacity) % self._capacity, number])

    def _ring(self, number: int) -> tuple[I64, F64, U16]:
        """All points of one series, oldest first."""
        written = int(self._written[number]) if number < len(self._written) else 0
        if not written:
            return np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.uint16)
        where = np.arange(max(0, written - self._capacity), written) % self._capacity
        return self._event[where, number], self._value[where, number], self._flags[where, number]

    def _append(self, rows: _Rows) -> None:
        """Rows sorted by series, those of one series as they came."""
        series, event_us = rows.series, rows.event_us
        if not len(series):
            return
        first = np.flatnonzero(np.append(True, series[1:] != series[:-1]))
        length = np.diff(first, append=len(series))
        numbers = series[first].astype(np.intp)
        odd = (rows.flags & _OUT_OF_ORDER) != 0
        # What order.py promises may not hold where a replay overlaps.
        odd[1:] |= event_us[1:] <= event_us[:-1]
        odd[first] = (event_us[first] <= self._last[numbers]) | ((rows.flags[first] & _OUT_OF_ORDER) != 0)
        if odd.any():
            slow = np.repeat(np.logical_or.reduceat(odd, first), length)
            self._append(rows.take(~slow))
            self._merge(rows.take(slow))
            return
        written, capacity = self._written[numbers], self._grow(int((self._written[numbers] + length).max()))
        within = np.arange(len(series)) - np.repeat(first, length)
        if length.max() > capacity:
            # Of more rows than fit only the last ones are written: two rows must not meet in one cell.
            self._append(rows.take(within >= np.repeat(length - capacity, length)))
            return
        cells = np.repeat(written % capacity, length) + within
        cells[cells >= capacity] -= capacity
        cells = cells * len(self._written) + series
        self._event.reshape(-1)[cells] = event_us
        self._value.reshape(-1)[cells] = rows.value
        self._flags.reshape(-1)[cells] = rows.flags
        self._written[numbers] = written + length
        self._last[numbers] = event_us[first + length - 1]

    def _merge(self, rows: _Rows) -> None:
        """The same for rows in any order of time."""
        first = np.flatnonzero(np.append(True, rows.series[1:] != rows.series[:-1])).tolist()
        for begin, end in zip(first, [*first[1:], len(rows.series)], strict=True):
            self._insert(int(rows.series[begin]), rows.take(slice(begin, end)))

    def _insert(self, number: int, rows: _Rows) -> None:
        """Rows of one series. Only what is newer than the oldest of them moves."""
        written, capacity = self._written.item(number), self._capacity
        oldest = max(0, written - capacity)
        if written >= self.bound:
            # The ring is full: what is older than all of it has no place, and moves nothing.
            rows = rows.take(rows.event_us >= self._event[oldest % capacity, number])
            if not len(rows.event_us):
                return
        begin = bisect_left(
            range(oldest, written), rows.event_us.min(), key=lambda n: self._event.item(n % capacity, number)
        )
        tail = np.arange(oldest + begin, written) % capacity
        event_us = np.append(self._event[tail, number], rows.event_us)
        value = np.append(self._value[tail, number], rows.value)
        flags = np.append(self._flags[tail, number], rows.flags)
        order = np.argsort(event_us, kind="stable")
        # Of one stamp the last to arrive stands.
        order = order[np.append(event_us[order][1:] != event_us[order][:-1], True)]
        written = oldest + begin + len(order)
        capacity = self._grow(written)
        order = order[-capacity:]
        cells = np.arange(written - len(order), written) % capacity
        self._event[cells, number] = event_us[order]
        self._value[cells, number] = value[order]
        self._flags[cells, number] = flags[order]
        self._written[number] = written
        self._last[number] = max(self._last.item(number), event_us.item(order[-1]))

    def _grow(self, count: int) -> int:
        """Room for `count` points a series, as far as the bound allows; no ring has wrapped before that. Capacity."""
        capacity = self._capacity
        if count > capacity and capacity < self.bound:
            while capacity < count:
                capacity *= 2
            capacity = min(capacity, self.bound)
            more = ((0, capacity - self._capacity), (0, 0))
            self._event = np.pad(self._event, more)
            self._value = np.pad(self._value, more)
            self._flags = np.pad(self._flags, more)
        return capacity


def as_points(event_us: I64, value: F64, flags: U16) -> list[list[float | int | None]]:
    """Rows of `[t_ms, value, flags]`; what is no number is null."""
    return [
        [int(t) // 1000, float(v) if np.isfinite(v) else None, int(f)]
        for t, v, f in zip(event_us, value, flags, strict=True)
    ]
