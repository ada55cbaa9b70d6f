"""What happens to a sample: the table of docs/architecture.md, decided once, before the log, per series.

`Judgement` gives every raw row its flags, event time and revision without touching the state; `Order.feed` takes
judged rows, live or from the log, and is the only thing that moves the state. So a record that could not be
written leaves no trace, and a replay ends where the live run did.

Few rows are decided one by one. Of many, all that can be decided without regard to the rows before them in the batch
is decided at once; only series where that is not so (a fall within the batch, a known stamp with another value) are
taken row by row.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ioc.ingest.stamps import NO_MARK, Ahead, Groups, Stamps, view
from ioc.model.batch import I32, I64, U16, Batch, Flag
from ioc.registry import SeriesColumns

_FUTURE = int(Flag.FUTURE)
_LAST_KNOWN = int(Flag.LAST_KNOWN)
_REPEAT = int(Flag.REPEAT)
_REVISED = int(Flag.REVISED)
_CONFLICT = int(Flag.CONFLICT)
_BACKLOG = int(Flag.BACKLOG)
_LATE = int(Flag.LATE)
_TOO_LATE = int(Flag.TOO_LATE)
_NO_STAMP = int(Flag.NO_STAMP)
_RETAINED = int(Flag.RETAINED)
_OUT_OF_RANGE = int(Flag.OUT_OF_RANGE | Flag.BAD)

FORGOTTEN = _FUTURE | _LAST_KNOWN | _REPEAT | _CONFLICT | _TOO_LATE
"""Rows with any of these leave no trace in the state of the order."""
REVISION_MAX = 65_535
"""What the column holds; a clock that stands still makes revisions without end, and what is beyond is a conflict."""

_FOREVER_US = 1 << 63
_FEW = 96
"""Up to this many rows plain loops beat arrays."""


class Order:
    """Marks and known stamps of every series, and the bounds by which samples are judged."""

    def __init__(self, columns: SeriesColumns, lateness_us: int, max_ahead_us: int, stamps_max: int) -> None:
        self.stamps = Stamps()
        self._ahead = Ahead(self.stamps)
        self._grouped: tuple[I32, Groups] | None = None
        self.rebuild(columns, lateness_us, max_ahead_us, stamps_max)

    def rebuild(self, columns: SeriesColumns, lateness_us: int, max_ahead_us: int, stamps_max: int) -> None:
        """Another registry or other bounds; every series keeps what is known of it."""
        self.columns = columns
        self.low, self.high = view(columns.low), view(columns.high)
        self.max_age_us, self.replace = view(columns.max_age_us), view(columns.replace)
        self.max_age_min_us = int(columns.max_age_us.min(initial=0))
        self.max_ahead_us = max_ahead_us
        self.stamps.resize(len(columns))
        self.stamps.bound(lateness_us, stamps_max)

    @property
    def lateness_us(self) -> int:
        """How far behind its series' mark a sample is still put into order."""
        return self.stamps.lateness_us

    @property
    def stamps_max(self) -> int:
        """The most stamps that are known of a series."""
        return self.stamps.stamps_max

    def mark_us(self, series: int) -> int:
        """The highest stamp taken of a series; NO_MARK before the first."""
        return self.stamps.marks[series] if series < len(self.stamps.marks) else NO_MARK

    def feed(self, batch: Batch) -> None:
        """Take judged rows."""
        self.take(batch, self.stamps)

    def take(self, batch: Batch, stamps: Stamps) -> None:
        """Judged rows into these stamps."""
        series, event_us, value = batch.series, batch.event_us, batch.value
        if len(series) <= _FEW:
            rows: Iterable[tuple[int, int, float]]
            rows = zip(series.tolist(), event_us.tolist(), value.tolist(), strict=True)
            flags = batch.flags.tolist()
            if any(flags):
                rows = [row for row, bits in zip(rows, flags, strict=True) if not bits & FORGOTTEN]
            stamps.take_each(rows)
            return
        if int(np.bitwise_or.reduce(batch.flags)) & FORGOTTEN:
            kept = np.flatnonzero((batch.flags & FORGOTTEN) == 0)
            series, event_us, value = series[kept], event_us[kept], value[kept]
        if len(series):
            groups = self.groups(series)
            stamps.take(groups, event_us[groups.rows], value[groups.rows])

    def groups(self, series: I32) -> Groups:
        """The rows of a batch by series; feeding asks for the same column as judging."""
        if self._grouped is None or self._grouped[0] is not series:
            self._grouped = series, Groups.of(series)
        return self._grouped[1]

    def ahead(self) -> Ahead:
        """For one judgement at a time: what its rows will make of the stamps."""
        self._ahead.clear()
        return self._ahead

    def state(self) -> dict[str, Any]:
        """Canonical; see `Stamps.state`."""
        return self.stamps.state()

    def restore(self, state: dict[str, Any]) -> None:
        """Back to what `state` gave."""
        self.stamps.restore(_of_this_build(state))


def _of_this_build(state: dict[str, Any]) -> dict[str, Any]:
    """The form before this one had columns for each series; checkpoints in it are still read."""
    if "known" not in state:
        return state
    known = {int(series): columns for series, columns in state["known"].items()}
    none = {"stamp": np.zeros(0, np.int64), "count": np.zeros(0, np.int32), "value": np.zeros(0)}
    parts = [known.get(number, none) for number in state["numbers"].tolist()]
    return {
        "numbers": state["numbers"],
        "marks": state["marks"],
        "counts": np.array([len(p["value"]) for p in parts], np.int32),
        "stamp": np.concatenate([none["stamp"], *(np.repeat(p["stamp"], p["count"]) for p in parts)]),
        "value": np.concatenate([none["value"], *(p["value"] for p in parts)]),
    }


class Judgement:
    """The judging of what goes into one commit: rows see those before them, the state stays as it is.

    One judgement of an order at a time: a newer one makes an older one invalid.
    """

    def __init__(self, order: Order) -> None:
        self._order = order
        self._stamps = order.stamps
        """What the next batch is judged by."""
        self._ahead: Ahead | None = None
        self._before: Batch | None = None
        """Judged last; `_stamps` do not have it yet, and only another batch will ask."""

    def judge(self, raw: Batch, now_us: int | None) -> Batch:
        """The batch with flags, event times and revisions decided; the same object where that changes nothing.

        `now_us` and the wall clock at receipt bound the future, the later of the two: `now` is slewed, and lags for
        hours behind a wall clock that was put right. None where the samples themselves move the clock.
        """
        if self._before is not None:
            if self._ahead is None:
                self._stamps = self._ahead = self._order.ahead()
                self._ahead.touch(self._before.series.tolist())
            self._order.take(self._before, self._ahead)
            self._ahead.touch(raw.series.tolist())
        self._before = self._few(raw, now_us) if len(raw) <= _FEW else self._many(raw, now_us)
        return self._before

    def _few(self, raw: Batch, now_us: int | None) -> Batch:
        if self._plain(raw, now_us) or not (decided := self._each(raw, now_us)):
            return raw
        event_us, flags, revision = raw.event_us.copy(), raw.flags.copy(), raw.revision.copy()
        for row, bits, stamp, number in decided:
            flags[row] |= bits
            event_us[row] = stamp
            revision[row] = number
        return Batch(raw.source, raw.series, event_us, raw.received_us, raw.value, flags, revision)

    def _plain(self, raw: Batch, now_us: int | None) -> bool:
        """Whether judging changes nothing, as far as a glance at each row tells."""
        order, marks = self._order, self._stamps.marks
        low, high, max_age_us = order.low, order.high, order.max_age_us
        numbers = raw.series.tolist()
        tops = {number: marks[number] for number in numbers}
        limit_us = _FOREVER_US if now_us is None else now_us + order.max_ahead_us
        stamps, receipts = raw.event_us.tolist(), raw.received_us.tolist()
        rows = zip(numbers, stamps, receipts, raw.value.tolist(), raw.flags.tolist(), strict=True)
        for series, stamp, received, value, given in rows:
            if (
                stamp <= tops[series]
                or stamp > limit_us
                or given & _NO_STAMP
                or received - stamp > max_age_us[series]
                or value < low[series]
                or value > high[series]
            ):
                return False
            tops[series] = stamp
        return True

    def _each(self, raw: Batch, now_us: int | None) -> list[tuple[int, int, int, int]]:
        """One row after the other, whatever they are. Of those that judging changes: row, flags, event time,
        revision."""
        order, known = self._order, self._stamps
        low, high, max_age_us, replace = order.low, order.high, order.max_age_us, order.replace
        lateness_us, max_ahead_us = known.lateness_us, order.max_ahead_us
        half_max = known.stamps_max // 2
        decided: list[tuple[int, int, int, int]] = []
        numbers, stamps, values = raw.series.tolist(), raw.event_us.tolist(), raw.value.tolist()
        receipts, givens = raw.received_us.tolist(), raw.flags.tolist()
        rows: Iterable[int] = range(len(numbers))
        if len(numbers) > 1:
            rows = sorted(rows, key=numbers.__getitem__)
        series = -1
        new: dict[int, set[float]] = {}
        for row in rows:
            if numbers[row] != series:
                series = numbers[row]
                mark, floor = known.marks[series], known.floors[series]
                half, taken = known.halves[series], known.takens[series]
                new = {}
            stamp, value, received, given = stamps[row], values[row], receipts[row], givens[row]
            bits = _OUT_OF_RANGE if value < low[series] or value > high[series] else 0
            if given & _NO_STAMP:
                if given & _RETAINED:
                    decided.append((row, bits | _LAST_KNOWN, received, 0))
                    continue
                stamp = max(received, mark + 1)
            elif now_us is not None and stamp - max(now_us, received) > max_ahead_us:
                decided.append((row, bits | _FUTURE, stamp, 0))
                continue
            revision = 0
            if stamp > mark:
                mark = stamp
                if received - stamp > max_age_us[series]:
                    bits |= _BACKLOG
            elif stamp < mark - lateness_us or stamp <= floor:
                decided.append((row, bits | _TOO_LATE, stamp, 0))
                continue
            else:
                revision = known.knows(series, stamp, value)
                fresh = new.get(stamp, ())
                if revision < 0 or value in fresh:
                    decided.append((row, bits | _REPEAT, stamp, 0))
                    continue
                revision += len(fresh)
                if not revision:
                    bits |= _LATE
                elif replace[series] and revision <= REVISION_MAX:
                    bits |= _REVISED
                else:
                    decided.append((row, bits | _CONFLICT, stamp, 0))
                    continue
            if stamp in new:
                new[stamp].add(value)
            else:
                new[stamp] = {value}
            if not revision:
                taken += 1
                if taken >= half_max:
                    floor, half, taken = half, mark, 0
            if bits or given & _NO_STAMP:
                decided.append((row, bits, stamp, revision))
        return decided

    def _many(self, raw: Batch, now_us: int | None) -> Batch:
        order, stamps = self._order, self._stamps
        columns, series = order.columns, raw.series
        groups = order.groups(series)
        timeless = bool(int(np.bitwise_or.reduce(raw.flags)) & _NO_STAMP)
        ahead = now_us is not None and int(raw.event_us.max()) - now_us > order.max_ahead_us
        if not timeless and not ahead and stamps.rises(groups, raw.event_us[groups.rows]):
            age_us = raw.received_us - raw.event_us
            flags, event_us, revision = raw.flags, raw.event_us, raw.revision
            if int(age_us.max()) > order.max_age_min_us:
                flags = flags | np.where(age_us > columns.max_age_us[series], _BACKLOG, 0).astype(np.uint16)
        else:
            flags, event_us, revision = self._mixed(raw, groups, now_us)
        outside = (raw.value < columns.low[series]) | (raw.value > columns.high[series])
        if outside.any():
            flags = flags | np.where(outside, _OUT_OF_RANGE, 0).astype(np.uint16)
        if flags is raw.flags:
            return raw
        return Batch(raw.source, series, event_us, raw.received_us, raw.value, flags, revision)

    def _mixed(self, raw: Batch, groups: Groups, now_us: int | None) -> tuple[U16, I64, U16]:
        """Flags, event times and revisions of many rows of all kinds. In here rows stand as in `groups.rows`."""
        order, known = self._order, self._stamps
        rows, number, index = groups.rows, groups.number, groups.place()
        stamp, value, received = raw.event_us[rows], raw.value[rows], raw.received_us[rows]
        given = raw.flags[rows]
        mark = known.mark[number]
        bits = np.zeros(len(rows), np.uint16)

        # What leaves no trace, whatever the rows before it.
        timeless = (given & _NO_STAMP) != 0
        stamp = np.where(timeless, np.maximum(received, mark[index] + 1), stamp)
        last_known = timeless & ((given & _RETAINED) != 0)
        stamp[last_known] = received[last_known]
        bits[last_known] = _LAST_KNOWN
        if now_us is not None:
            bits[(stamp - np.maximum(received, now_us) > order.max_ahead_us) & ~timeless] = _FUTURE

        # Behind the mark that stood before the batch.
        behind = np.flatnonzero((stamp <= mark[index]) & (bits == 0))
        of = index[behind]
        too_late = (stamp[behind] < mark[of] - known.lateness_us) | (stamp[behind] <= known.floor[number[of]])
        bits[behind[too_late]] = _TOO_LATE
        behind, of = behind[~too_late], of[~too_late]
        found, first = known.find(number[of], stamp[behind])
        bits[behind] = np.where(found, _REPEAT, _LATE)
        depends = np.zeros(len(number), np.bool_)  # series whose rows depend on each other
        depends[of[found & (first != value[behind])]] = True
        late = behind[~found]
        ranked = late[np.lexsort((stamp[late], index[late]))]
        twice = (stamp[ranked[1:]] == stamp[ranked[:-1]]) & (index[ranked[1:]] == index[ranked[:-1]])
        depends[index[ranked[1:][twice]]] = True

        # Ahead of it: these must rise, but for the same again.
        rest = np.flatnonzero(bits == 0)
        before, after = rest[:-1], rest[1:]
        falls = (index[after] == index[before]) & (stamp[after] <= stamp[before])
        again = falls & (stamp[after] == stamp[before]) & (value[after] == value[before]) & ~timeless[after]
        bits[after[again]] = _REPEAT
        depends[index[after[falls & ~again]]] = True
        plain = rest[bits[rest] == 0]
        age_us = received[plain] - stamp[plain]
        bits[plain[age_us > order.columns.max_age_us[number[index[plain]]]]] = _BACKLOG

        # What is behind must still be within bounds after the batch, whatever its place in it.
        top = mark.copy()
        top[index[plain]] = stamp[plain]
        new = np.bincount(np.concatenate((index[plain], index[late])), minlength=len(number))
        halves = known.taken[number] + new >= known.stamps_max // 2
        depends[of[(stamp[behind] < top[of] - known.lateness_us) | halves[of]]] = True

        revision = raw.revision
        careful = np.flatnonzero(depends[index])
        if len(careful):
            bits[careful], stamp[careful] = 0, raw.event_us[rows[careful]]
            revision = revision.copy()
            for row, own, event, count in self._each(raw.take(rows[careful]), now_us):
                at = careful[row]
                bits[at], stamp[at], revision[rows[at]] = own, event, count
        flags, event_us = raw.flags.copy(), raw.event_us
        flags[rows] |= bits
        if timeless.any():
            event_us = event_us.copy()
            event_us[rows] = stamp
        return flags, event_us, revision
