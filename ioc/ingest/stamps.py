"""What is known of every series' stamps, in arrays: the memory of `order.py`.

Per series the *mark* (highest stamp taken) and the stamps known within the lateness bound with their values, at
most `stamps_max`; beyond, the database decides. The bound on their number works by halves: whenever
`stamps_max / 2` stamps have been taken, all up to the mark of the halving before are forgotten. That costs nothing
a row and does not depend on where one batch ends and the next begins.

Memory: 44 bytes a series, and 16 bytes a slot in one pool, where each series owns a stretch of at least 4 slots, its
stamps in order; one that was revised takes a slot for each value. A full stretch drops what is behind the bound; if
that leaves less than a quarter free, the series moves to a stretch half as large again as it needs. What
moves leave behind, and what a series has left over from a burst, goes when the pool is full, by packing it anew. So
20 to 32 bytes a stamp.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, MutableSequence
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from ioc.model.batch import F64, I32, I64, Bool

NO_MARK = -1

_SLOTS_MIN = 4
_COPIED_WHOLE = 64
"""From this many stamps a series on, copying by slices beats copying by indices."""
_POOL_MAX = 2**31 - 1


def view(column: npt.NDArray[Any]) -> MutableSequence[Any]:
    """For reading and writing single elements: 3 times as fast as the array itself."""
    return cast(MutableSequence[Any], column.data)


class Groups(NamedTuple):
    """The rows of a batch, series by series: `rows` (n,) keeps the order of a series' rows, `follows` (n - 1,) says
    of all but the first whether the row before is of the same series; `number`, `starts` and `counts` (series,) say
    which series, from where in `rows`, and how many."""

    rows: I64
    follows: Bool
    number: I64
    starts: I64
    counts: I64

    @staticmethod
    def of(series: I32) -> Groups:
        """Sorted by 16 bits at a time, which numpy does by counting: 4 times as fast as by comparing."""
        rows = np.argsort(series.astype(np.uint16), kind="stable")
        if int(series.max()) > 0xFFFF:
            rows = rows[np.argsort((series >> 16).astype(np.uint16)[rows], kind="stable")]
        return Groups.sorted(rows, series[rows])

    @staticmethod
    def sorted(rows: I64, series: npt.NDArray[Any]) -> Groups:
        """Of rows that stand series by series already."""
        follows = series[1:] == series[:-1]
        edges = np.flatnonzero(~follows)
        bounds = np.empty(len(edges) + 2, np.int64)
        bounds[0], bounds[1:-1], bounds[-1] = 0, edges + 1, len(series)
        starts = bounds[:-1]
        return Groups(rows, follows, series[starts].astype(np.int64), starts, bounds[1:] - starts)

    def place(self) -> I64:
        """For each of `rows` its series' place in `number`."""
        return np.repeat(np.arange(len(self.number)), self.counts)


class Stamps:
    """Marks and known stamps of every series. The columns have the shape (series,); who was never heard of has
    NO_MARK and no slots."""

    def __init__(self) -> None:
        self.lateness_us = 0
        self.stamps_max = 2
        self._columns(0)
        self._pool(1)

    def _columns(self, size: int) -> None:
        self.mark = np.full(size, NO_MARK, np.int64)
        self.floor = np.full(size, NO_MARK, np.int64)
        """Stamps up to here are forgotten for want of room."""
        self.half = np.full(size, NO_MARK, np.int64)
        """The mark at the last halving: the next floor."""
        self.taken = np.zeros(size, np.int32)
        """Stamps taken since the last halving."""
        self.base, self.end = np.zeros(size, np.int32), np.zeros(size, np.int32)
        """The stretch of slots that a series owns."""
        self.lo, self.hi = np.zeros(size, np.int32), np.zeros(size, np.int32)
        """The slots in use."""
        self._views()

    def _views(self) -> None:
        self.marks, self.floors, self.halves = view(self.mark), view(self.floor), view(self.half)
        self.takens = view(self.taken)
        self._base, self._end = view(self.base), view(self.end)
        self._lo, self._hi = view(self.lo), view(self.hi)

    def _pool(self, size: int) -> None:
        assert size <= _POOL_MAX
        self.stamp, self.value = np.empty(size, np.int64), np.empty(size, np.float64)
        self._stamp, self._value = view(self.stamp), view(self.value)
        self.slots_used = 0
        """Of the pool, by all stretches that there are or were."""

    def resize(self, size: int) -> None:
        """Room for series numbers below `size`."""
        more = size - len(self.mark)
        if more <= 0:
            return
        for name in ("mark", "floor", "half", "taken", "base", "end", "lo", "hi"):
            column: npt.NDArray[Any] = getattr(self, name)
            fill = NO_MARK if column.dtype == np.int64 else 0
            setattr(self, name, np.concatenate((column, np.full(more, fill, column.dtype))))
        self._views()

    def bound(self, lateness_us: int, stamps_max: int) -> None:
        """Other bounds. What a narrower one has made forgotten stays so under a wider one."""
        assert stamps_max >= 2
        if lateness_us > self.lateness_us:
            floor = np.where(self.mark != NO_MARK, self.mark - self.lateness_us - 1, NO_MARK)
            np.maximum(self.floor, floor, out=self.floor)
            np.maximum(self.half, self.floor, out=self.half)
        self.lateness_us, self.stamps_max = lateness_us, stamps_max

    # ---- what is known

    def knows(self, series: int, stamp: int, value: float) -> int:
        """How many values are known at a stamp; -1 if this value is one of them."""
        hi = self._hi[series]
        at = bisect_left(self._stamp, stamp, self._lo[series], hi)
        if at == hi or self._stamp[at] != stamp:
            return 0
        after = bisect_right(self._stamp, stamp, at, hi)
        values = self._value if after - at < 32 else self.value
        return -1 if value in values[at:after] else after - at

    def find(self, number: I64, stamp: I64) -> tuple[Bool, F64]:
        """For pairs of series and stamp whether it is known, and the first value there."""
        hi = self.hi[number]
        at = self._search(self.lo[number], hi, stamp)
        return (at < hi) & (self.stamp[at] == stamp), self.value[at]

    def _search(self, lo: I32, hi: I32, stamp: I64) -> I64:
        """In each stretch the first slot whose stamp is not below, all by bisection in step."""
        low, high = lo.astype(np.int64), hi.astype(np.int64)
        for _ in range(int((high - low).max(initial=0)).bit_length()):
            middle = (low + high) >> 1
            below = (self.stamp[middle] < stamp) & (low < high)
            low, high = np.where(below, middle + 1, low), np.where(below, high, middle)
        return low

    def rises(self, groups: Groups, stamp: I64) -> bool:
        """Whether every series' stamps, in the order of `groups.rows`, rise from its mark on."""
        falls = groups.follows & (stamp[1:] <= stamp[:-1])
        return not falls.any() and bool((stamp[groups.starts] > self.mark[groups.number]).all())

    # ---- taking

    def take_each(self, rows: Iterable[tuple[int, int, float]]) -> None:
        """Series, stamp and value, row by row, whatever they are."""
        marks, takens, his, ends = self.marks, self.takens, self._hi, self._end
        half = self.stamps_max // 2
        for number, stamp, value in rows:
            if stamp <= marks[number]:
                self._take_behind(number, stamp, value)
                continue
            at = his[number]
            if at == ends[number]:
                at = self._room(number)
            self._stamp[at] = stamp
            self._value[at] = value
            his[number] = at + 1
            marks[number] = stamp
            taken = takens[number] + 1
            if taken < half:
                takens[number] = taken
            else:
                self._halve(number)

    def _halve(self, series: int) -> None:
        self.floors[series] = self.halves[series]
        self.halves[series] = self.marks[series]
        self.takens[series] = 0

    def _take_behind(self, series: int, stamp: int, value: float) -> None:
        """A stamp up to the mark: another value at a known one, or a late one."""
        hi = self._hi[series]
        if hi == self._end[series]:
            hi = self._room(series)
        lo = self._lo[series]
        at = bisect_right(self._stamp, stamp, lo, hi)
        known = at > lo and self._stamp[at - 1] == stamp
        self.stamp[at + 1 : hi + 1] = self.stamp[at:hi]
        self.value[at + 1 : hi + 1] = self.value[at:hi]
        self._stamp[at], self._value[at] = stamp, value
        self._hi[series] = hi + 1
        if not known and self._counts(series, stamp):
            taken = self.takens[series] = self.takens[series] + 1
            if taken >= self.stamps_max // 2:
                self._halve(series)

    def _counts(self, series: int, stamp: int) -> bool:
        """Whether a stamp not found here is one more taken."""
        return True

    def take(self, groups: Groups, stamp: I64, value: F64) -> None:
        """Many rows, `stamp` and `value` in the order of `groups.rows`; whatever they are, plain ones fast."""
        if self.rises(groups, stamp):
            self._append(groups, stamp, value)
            return
        mark = self.mark[groups.number]
        place = groups.place()
        behind = stamp <= mark[place]
        plain = np.flatnonzero(~behind)
        falls = (place[plain[1:]] == place[plain[:-1]]) & (stamp[plain[1:]] <= stamp[plain[:-1]])
        # A series' rows are taken one by one where they depend on each other: where they fall, or where there are
        # late ones with a halving among them.
        careful = self.taken[groups.number] + groups.counts >= self.stamps_max // 2
        careful &= np.bincount(place[behind], minlength=len(mark)) > 0
        careful[place[plain[1:][falls]]] = True
        each = behind | careful[place]
        rows = np.flatnonzero(each)
        series = groups.number[place[rows]]
        self.take_each(zip(series.tolist(), stamp[rows].tolist(), value[rows].tolist(), strict=True))
        rows = np.flatnonzero(~each)
        if len(rows):
            self._append(Groups.sorted(rows, groups.number[place[rows]]), stamp[rows], value[rows])

    def _append(self, groups: Groups, stamp: I64, value: F64) -> None:
        """Stamps that rise within their series from its mark on."""
        number, starts, counts = groups.number, groups.starts, groups.counts
        hi = self.hi[number]
        short = np.flatnonzero(hi + counts > self.end[number])
        if len(short):
            if self._has(int(_grown(hi - self.lo[number] + counts)[short].sum())):
                self._rooms(number[short], counts[short])
            else:
                self._repack(number, counts)
            hi = self.hi[number]
        at = _slots(hi, counts)
        self.stamp[at] = stamp
        self.value[at] = value
        self.hi[number] = hi + counts
        last = starts + counts - 1
        taken = self.taken[number] + counts
        half = self.stamps_max // 2
        halved = np.flatnonzero(taken >= half)
        if len(halved):
            first = np.maximum(half - (taken[halved] - counts[halved]), 1)
            times = 1 + (counts[halved] - first) // half
            row = starts[halved] + first - 1 + (times - 1) * half
            before = np.where(times == 1, self.half[number[halved]], stamp[np.maximum(row - half, 0)])
            self.floor[number[halved]] = before
            self.half[number[halved]] = stamp[row]
            taken[halved] = last[halved] - row
        self.taken[number] = taken
        self.mark[number] = stamp[last]

    # ---- room

    def _room(self, series: int) -> int:
        """Room for one more stamp of a series; where its stamps end now."""
        hi = self._hi[series]
        bound = max(self.marks[series] - self.lateness_us, self.floors[series] + 1)
        lo = self._lo[series] = bisect_left(self._stamp, bound, self._lo[series], hi)
        base, live = self._base[series], hi - lo
        if 4 * (live + 1) > 3 * (self._end[series] - base):
            slots = int(_grown(live + 1))
            if not self._has(slots):
                self._repack(np.array([series]), np.ones(1, np.int64))
                return cast(int, self._hi[series])
            base = self.slots_used
            self.slots_used += slots
            self._base[series], self._end[series] = base, base + slots
        self.stamp[base : base + live] = self.stamp[lo:hi]
        self.value[base : base + live] = self.value[lo:hi]
        self._lo[series], self._hi[series] = base, base + live
        return cast(int, base + live)

    def _rooms(self, number: I64, count: I64) -> None:
        """Room for `count` more stamps of each series; the pool has what that takes."""
        self._forget(number)
        live = self.hi[number] - self.lo[number]
        wanted = live + count
        grows = np.flatnonzero(4 * wanted > 3 * (self.end[number] - self.base[number]))
        if len(grows):
            slots = _grown(wanted[grows])
            ends = self.slots_used + np.cumsum(slots)
            self.base[number[grows]] = ends - slots
            self.end[number[grows]] = ends
            self.slots_used = int(ends[-1])
        lo, base = self.lo[number], self.base[number]
        if live.sum() > _COPIED_WHOLE * len(number):
            for start, at, n in zip(lo.tolist(), base.tolist(), live.tolist(), strict=True):
                self.stamp[at : at + n] = self.stamp[start : start + n]
                self.value[at : at + n] = self.value[start : start + n]
        else:
            source, target = _slots(lo, live), _slots(base, live)
            self.stamp[target] = self.stamp[source]
            self.value[target] = self.value[source]
        self.lo[number], self.hi[number] = base, base + live

    def _has(self, slots: int) -> bool:
        return self.slots_used + slots < len(self.stamp)

    def _forget(self, number: I64) -> None:
        """Drop what is behind the bound."""
        lo, hi = self.lo[number], self.hi[number]
        bound = np.maximum(self.mark[number] - self.lateness_us, self.floor[number] + 1)
        old = np.flatnonzero((lo < hi) & (self.stamp[lo] < bound))
        self.lo[number[old]] = self._search(lo[old], hi[old], bound[old])

    def _repack(self, number: I64, count: I64) -> None:
        """A new pool without what moves have left behind, with room for `count` more stamps of each series given.

        All series move, and others than those given may have less room than before."""
        more = np.zeros(len(self.mark), np.int64)
        more[number] = count
        number = np.flatnonzero((self.hi > self.lo) | (more > 0))
        self._forget(number)
        counts = self.hi[number] - self.lo[number]
        wanted = counts + more[number]
        own = self.end[number] - self.base[number]
        own = np.where((4 * wanted > 3 * own) | (own > 3 * wanted), _grown(wanted), own)
        self._load(number, own, counts, *self._gather(number))

    def _gather(self, number: I64) -> tuple[I64, F64]:
        """Stamps and values of series, one after the other."""
        lo, hi = self.lo[number], self.hi[number]
        counts = hi - lo
        if counts.sum() > _COPIED_WHOLE * len(number):
            parts = [slice(*part) for part in zip(lo.tolist(), hi.tolist(), strict=True)]
            return np.concatenate([self.stamp[p] for p in parts]), np.concatenate(
                [self.value[p] for p in parts]
            )
        at = _slots(lo, counts)
        return self.stamp[at], self.value[at]

    def _load(self, number: I64, own: I32, counts: I32, stamp: I64, value: F64) -> None:
        """A new pool with these, each series with `own` slots, and half as many more."""
        base = np.cumsum(own, dtype=np.int64) - own
        used = int(own.sum(dtype=np.int64))
        self._pool(used + used // 2 + _SLOTS_MIN)
        self.slots_used = used
        at = _slots(base, counts)
        self.stamp[at], self.value[at] = stamp, value
        for column in (self.base, self.end, self.lo, self.hi):
            column[:] = 0
        self.base[number] = self.lo[number] = base
        self.end[number] = base + own
        self.hi[number] = base + counts

    # ---- state

    def state(self) -> dict[str, Any]:
        """Canonical: series by number, stamps in order.

        `numbers` (series,) int32; `marks` (series, 4) int64: mark, floor, half, taken; `counts` (series,) int32 of
        the `stamp` int64 and `value` float64 that follow series by series; a stamp stands once for each value.
        """
        number = np.flatnonzero(self.mark != NO_MARK)
        self._forget(number)
        stamp, value = self._gather(number)
        columns = (self.mark, self.floor, self.half, self.taken)
        return {
            "numbers": number.astype(np.int32),
            "marks": np.stack([column[number].astype(np.int64) for column in columns], 1),
            "counts": self.hi[number] - self.lo[number],
            "stamp": stamp,
            "value": value,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Back to what `state` gave."""
        number = state["numbers"].astype(np.int64)
        self._columns(max(len(self.mark), int(number.max(initial=-1)) + 1))
        columns: tuple[npt.NDArray[Any], ...] = (self.mark, self.floor, self.half, self.taken)
        for column, values in zip(columns, state["marks"].T, strict=True):
            column[number] = values
        counts = state["counts"]
        self._load(number, _grown(counts), counts, state["stamp"], state["value"])


class Ahead(Stamps):
    """What judged but not yet durable rows will make of the stamps, without what is `known` already; only of series
    that `touch` has named."""

    def __init__(self, known: Stamps) -> None:
        super().__init__()
        self._known = known
        self._touched: set[int] = set()

    def clear(self) -> None:
        """Forget all, for another commit."""
        self.lateness_us, self.stamps_max = self._known.lateness_us, self._known.stamps_max
        number = list(self._touched)
        for column in (self.base, self.end, self.lo, self.hi):
            column[number] = 0
        self._touched.clear()
        self.slots_used = 0
        self.resize(len(self._known.mark))

    def touch(self, series: list[int]) -> None:
        """Series that will be asked for or fed begin as they are known."""
        new = list(set(series) - self._touched)
        if not new:
            return
        self._touched.update(new)
        for name in ("mark", "floor", "half", "taken"):
            getattr(self, name)[new] = getattr(self._known, name)[new]

    def knows(self, series: int, stamp: int, value: float) -> int:
        """As `Stamps.knows`, of what is known and what will be."""
        before, own = self._known.knows(series, stamp, value), super().knows(series, stamp, value)
        return -1 if before < 0 or own < 0 else before + own

    def find(self, number: I64, stamp: I64) -> tuple[Bool, F64]:
        """As `Stamps.find`, of what is known and what will be."""
        before, first = self._known.find(number, stamp)
        own, value = super().find(number, stamp)
        return before | own, np.where(before, first, value)

    def _counts(self, series: int, stamp: int) -> bool:
        return self._known.knows(series, stamp, np.nan) == 0


def _grown(wanted: Any) -> Any:
    """Slots for this many stamps and half as many more."""
    return np.maximum(wanted + wanted // 2, _SLOTS_MIN)


def _slots(start: npt.NDArray[Any], counts: npt.NDArray[Any]) -> I64:
    """The slots of stretches, one after the other."""
    ends = np.cumsum(counts, dtype=np.int64)
    at = np.repeat(start - (ends - counts), counts)
    at += np.arange(len(at))
    return at
