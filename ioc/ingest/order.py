"""What happens to a sample: the table of docs/architecture.md, decided once, before the log, per series.

`Judgement` gives every raw row its flags, event time and revision without touching the state; `Order.feed` takes
judged rows, live or from the log, and is the only thing that moves the state. So a record that could not be
written leaves no trace, and a replay ends where the live run did.

Per series the state is its *mark* (highest stamp taken) and the values known at each stamp within the lateness
bound, at most `stamps_max`; beyond, the database decides. The bound on their number works by halves: whenever
`stamps_max / 2` stamps have been taken, all up to the mark of the halving before are forgotten. That costs nothing
a row and does not depend on where one batch ends and the next begins.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ioc.model.batch import Batch, Flag
from ioc.registry import SeriesColumns

NO_MARK = -1

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


class _Series(NamedTuple):
    """What decides on the next stamp of one series."""

    mark_us: int
    floor_us: int
    """Stamps up to here are forgotten for want of room."""
    half_us: int
    """The mark at the last halving: the next floor."""
    taken: int
    """Stamps taken since the last halving."""

    def with_stamp(self, stamp: int, stamps_max: int) -> _Series:
        """After taking a stamp that was not known."""
        mark_us = max(self.mark_us, stamp)
        if self.taken + 1 < stamps_max // 2:
            return _Series(mark_us, self.floor_us, self.half_us, self.taken + 1)
        return _Series(mark_us, self.half_us, mark_us, 0)


_NOTHING = _Series(NO_MARK, NO_MARK, NO_MARK, 0)


class Order:
    """Marks and known stamps of every series."""

    def __init__(self, columns: SeriesColumns, lateness_us: int, max_ahead_us: int, stamps_max: int) -> None:
        self.series: dict[int, _Series] = {}
        self.known: dict[int, dict[int, tuple[float, ...]]] = {}
        self.rebuild(columns, lateness_us, max_ahead_us, stamps_max)

    def rebuild(self, columns: SeriesColumns, lateness_us: int, max_ahead_us: int, stamps_max: int) -> None:
        """Another registry or other bounds; every series keeps what is known of it."""
        assert stamps_max >= 2
        self.columns = columns
        self.lateness_us = lateness_us
        self.max_ahead_us = max_ahead_us
        self.stamps_max = stamps_max

    def mark_us(self, series: int) -> int:
        """The highest stamp taken of a series; NO_MARK before the first."""
        return self.series.get(series, _NOTHING).mark_us

    def feed(self, batch: Batch) -> None:
        """Take judged rows."""
        kept = np.flatnonzero((batch.flags & FORGOTTEN) == 0)
        for series, stamp, value in zip(
            batch.series[kept].tolist(),
            batch.event_us[kept].tolist(),
            batch.value[kept].tolist(),
            strict=True,
        ):
            known = self.known.setdefault(series, {})
            if stamp in known:
                known[stamp] = (*known[stamp], value)
                continue
            known[stamp] = (value,)
            self.series[series] = self.series.get(series, _NOTHING).with_stamp(stamp, self.stamps_max)
            # What is behind the bound is never asked for again; sweeping seldom keeps the cost per row small.
            if len(known) % 64 == 0:
                bound = self._bound(series)
                self.known[series] = {s: v for s, v in known.items() if s >= bound}

    def _bound(self, series: int) -> int:
        now = self.series[series]
        return max(now.mark_us - self.lateness_us, now.floor_us + 1)

    def state(self) -> dict[str, Any]:
        """Canonical: series by number, stamps in order."""
        windows: dict[str, Any] = {}
        for series in sorted(self.known):
            known = self.known[series]
            bound = self._bound(series)
            stamps = sorted(s for s in known if s >= bound)
            if not stamps:
                continue
            windows[str(series)] = {
                "stamp": np.array(stamps, np.int64),
                "count": np.array([len(known[s]) for s in stamps], np.int32),
                "value": np.array([v for s in stamps for v in known[s]], np.float64),
            }
        numbers = sorted(self.series)
        marks = np.array([self.series[n] for n in numbers], np.int64).reshape(len(numbers), 4)
        return {"numbers": np.array(numbers, np.int32), "marks": marks, "known": windows}

    def restore(self, state: dict[str, Any]) -> None:
        """Back to what `state` gave."""
        self.series = {
            number: _Series(*row)
            for number, row in zip(state["numbers"].tolist(), state["marks"].tolist(), strict=True)
        }
        self.known = {}
        for series, columns in state["known"].items():
            ends = np.cumsum(columns["count"]).tolist()
            values = columns["value"].tolist()
            starts = [0, *ends][:-1]
            self.known[int(series)] = {
                stamp: tuple(values[start:end])
                for stamp, start, end in zip(columns["stamp"].tolist(), starts, ends, strict=True)
            }


class Judgement:
    """The judging of what goes into one commit: rows see those before them, the state stays as it is."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._series: dict[int, _Series] = {}
        self._new: dict[int, dict[int, tuple[float, ...]]] = {}

    def judge(self, raw: Batch, now_us: int | None) -> Batch:
        """The batch with flags, event times and revisions decided.

        `now_us` and the wall clock at receipt bound the future, the later of the two: `now` is slewed, and lags for
        hours behind a wall clock that was put right. None where the samples themselves move the clock.
        """
        order = self._order
        columns = order.columns
        event_us = raw.event_us.copy()
        flags = raw.flags.copy()
        revision = raw.revision.copy()
        outside = (raw.value < columns.low[raw.series]) | (raw.value > columns.high[raw.series])
        flags[outside] |= _OUT_OF_RANGE
        rows = zip(
            raw.series.tolist(), event_us.tolist(), raw.received_us.tolist(), raw.value.tolist(), strict=True
        )
        raw_flags = raw.flags.tolist()
        for row, (series, stamp, received, value) in enumerate(rows):
            now = self._series.get(series) or order.series.get(series, _NOTHING)
            given = raw_flags[row]
            if given & _NO_STAMP:
                if given & _RETAINED:
                    flags[row] |= _LAST_KNOWN
                    event_us[row] = received
                    continue
                stamp = max(received, now.mark_us + 1)
                event_us[row] = stamp
            elif now_us is not None and stamp - max(now_us, received) > order.max_ahead_us:
                flags[row] |= _FUTURE
                continue
            if stamp < now.mark_us - order.lateness_us or stamp <= now.floor_us:
                flags[row] |= _TOO_LATE
                continue
            known = self._known(series, stamp)
            if known:
                if value in known:
                    flags[row] |= _REPEAT
                    continue
                if not columns.replace[series]:
                    flags[row] |= _CONFLICT
                    continue
                flags[row] |= _REVISED
                revision[row] = len(known)
            else:
                if stamp < now.mark_us:
                    flags[row] |= _LATE
                elif received - stamp > columns.max_age_us[series]:
                    flags[row] |= _BACKLOG
                self._series[series] = now.with_stamp(stamp, order.stamps_max)
            self._new.setdefault(series, {})[stamp] = (*known, value)
        return Batch(raw.source, raw.series, event_us, raw.received_us, raw.value, flags, revision)

    def _known(self, series: int, stamp: int) -> tuple[float, ...]:
        new = self._new.get(series)
        if new is not None and stamp in new:
            return new[stamp]
        known = self._order.known.get(series)
        return known.get(stamp, ()) if known is not None else ()
