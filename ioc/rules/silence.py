"""The watchdog: which series are silent, by receive time, and which bring only what is too old to warn.

Two things follow from silence and they are not the same. A series is *stale* once nothing new came for its deadline,
whoever is to blame: a blind spot. It raises *no data* only while its source is connected, with one interval of grace
after every connection: a source that is down is one alarm, not one for each of its series.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ioc.model.batch import F64, I32, I64, NOT_JUDGED, Batch, Bool, Flag
from ioc.model.change import Change, ChangeKind
from ioc.registry import NO_DEADLINE_US, SeriesColumns
from ioc.rules import kernels
from ioc.rules.found import Found
from ioc.rules.kernels import Index, View, view
from ioc.rules.spec import NoDataRule
from ioc.rules.system import NEVER, System
from ioc.rules.table import Watch

_BACKLOG = int(Flag.BACKLOG)
_BAD = int(Flag.BAD | Flag.OUT_OF_RANGE)
_PLAIN_NOT = NOT_JUDGED | _BACKLOG | _BAD
NO_SOURCE = -1


def _fitted(old: npt.NDArray[Any], size: int, fill: int | bool) -> npt.NDArray[Any]:
    out = np.full(size, fill, old.dtype)
    out[: len(old)] = old[:size]
    return out


class Watchdog:
    """What is known of each series' health. Arrays of shape (series,)."""

    def __init__(self, system: System) -> None:
        self._system = system
        self.heard_us: I64 = np.zeros(0, np.int64)
        """When it was last fed; NEVER before the first time."""
        self.known_us: I64 = np.zeros(0, np.int64)
        """Since when it is watched."""
        self.source: I32 = np.zeros(0, np.int32)
        """Which source fed it last."""
        self.old_us: I64 = np.zeros(0, np.int64)
        """When the first backlog came after the last fresh sample; NEVER if the last was fresh."""
        self.stale: Bool = np.zeros(0, np.bool_)
        self.bad: Bool = np.zeros(0, np.bool_)
        self.due_us: I64 = np.zeros(0, np.int64)
        """The next deadline of each series, exact."""
        self._next_us = NO_DEADLINE_US
        """No deadline of any series lies before this."""
        self._lead_us = NO_DEADLINE_US
        """A sample sets no deadline nearer than this after itself, unless it is backlog."""
        self._silent: Bool = np.zeros(0, np.bool_)
        """Whether any rule about its silence or lateness is on."""
        self._marked: Bool = np.zeros(0, np.bool_)
        """Whether it is stale, bad, old or silent: what a sample ends, or must be looked at to know whether."""
        self.rules: list[Watch] = []
        self.names: list[str] = []
        self._watched: Bool = np.zeros(0, np.bool_)
        self._stale_after_us: I64 = np.zeros(0, np.int64)
        self._interval_us: I64 = np.zeros(0, np.int64)

    def rebuild(
        self, columns: SeriesColumns, rules: list[Watch], names: list[str], now_us: int
    ) -> list[Found]:
        """Another registry or other rules; tells those that were on and are gone.

        What is new, or comes back, is known from now on.
        """
        found: list[Found] = []
        by_id = {watch.rule.id: watch for watch in rules}
        for watch in self.rules:
            on = np.flatnonzero(watch.on)
            now = by_id.get(watch.rule.id)
            keeps = now is not None and type(now.rule) is type(watch.rule)
            kept = np.zeros(len(on), np.bool_)
            if keeps and now is not None:
                kept = _fitted(now.about, max(len(watch.on), len(now.about)), False)[on]
                now.on[on[kept]] = True
            gone = on[~kept]
            at_us = np.full(len(gone), now_us)
            self._tell(
                ChangeKind.RULE_REMOVED, watch, gone, np.zeros(len(gone), np.int64), at_us, now_us, found
            )
        size = len(columns)
        new = columns.watched & ~_fitted(self._watched, size, False)
        # What came before it was watched says nothing of its health: nobody saw to it that more would come.
        self.heard_us = np.where(new, NEVER, _fitted(self.heard_us, size, NEVER))
        self.source = np.where(new, NO_SOURCE, _fitted(self.source, size, NO_SOURCE)).astype(np.int32)
        self.old_us = np.where(new, NEVER, _fitted(self.old_us, size, NEVER))
        self.bad = _fitted(self.bad, size, False) & ~new
        self.known_us = np.where(new, now_us, _fitted(self.known_us, size, 0))
        self.stale = _fitted(self.stale, size, False) & columns.watched
        self.due_us = np.full(size, NO_DEADLINE_US, np.int64)
        self._watched = columns.watched
        self._stale_after_us, self._interval_us = columns.stale_after_us, columns.interval_us
        self._lead_us = int(columns.stale_after_us.min(initial=NO_DEADLINE_US))
        self.rules, self.names = rules, names
        self.refresh_all()
        return found

    def refresh_all(self) -> None:
        """Compute again what follows from the rest: after another state of a source, other rules, a restart."""
        self._silent = np.zeros(len(self.due_us), np.bool_)
        for watch in self.rules:
            self._silent |= watch.on
        self._marked = self._silent | self.stale | self.bad | (self.old_us != NEVER)
        self._refresh(np.arange(len(self.due_us)))
        self._next_us = int(self.due_us.min(initial=NO_DEADLINE_US))
        self._heard_at: View[int] = view(self.heard_us)
        self._source_at: View[int] = view(self.source)
        self._old_at: View[int] = view(self.old_us)
        self._due_at: View[int] = view(self.due_us)
        self._stale_at: View[bool] = view(self.stale)
        self._bad_at: View[bool] = view(self.bad)
        self._silent_at: View[bool] = view(self._silent)
        self._marked_at: View[bool] = view(self._marked)
        self._after_at: View[int] = view(self._stale_after_us)

    def next_deadline_us(self, until_us: int) -> int:
        """The next deadline, exact if it is up to `until_us`; otherwise none lies before what is returned."""
        if self._next_us <= until_us:
            self._next_us = int(self.due_us.min(initial=NO_DEADLINE_US))
        return self._next_us

    def _refresh(self, series: Index) -> None:
        due_us, silent_us, old_us = self._dues(series)
        for watch in self.rules:
            theirs = silent_us if isinstance(watch.rule, NoDataRule) else old_us
            may = watch.about[series] & ~watch.on[series]
            due_us = np.where(may, np.minimum(due_us, theirs), due_us)
        self.due_us[series] = due_us

    def _begin_us(self, series: Index) -> tuple[I64, Bool, I64]:
        """Since when nothing has come, whether the source is connected, and since when it is or last was."""
        connected, since_us = self._system.columns()
        source = np.where(self.source[series] == NO_SOURCE, self._system.default(), self.source[series])
        since_us, connected = since_us[source], connected[source]
        heard_us = self.heard_us[series]
        unheard_us = np.where(since_us == NEVER, NO_DEADLINE_US, np.maximum(self.known_us[series], since_us))
        return np.where(heard_us == NEVER, unheard_us, heard_us), connected, since_us

    def _dues(self, series: Index) -> tuple[I64, I64, I64]:
        """When each turns stale, may raise no data and may raise too late, whatever rules there are."""
        begin_us, connected, since_us = self._begin_us(series)
        after_us = self._stale_after_us[series]
        grace_us = since_us + self._interval_us[series]
        old_us = self.old_us[series]
        stale_us = np.where(self.stale[series] | ~self._watched[series], NO_DEADLINE_US, begin_us + after_us)
        silent_us = np.where(connected, np.maximum(begin_us, grace_us) + after_us, NO_DEADLINE_US)
        # A connection after the first old sample begins anew: a source that flaps is not a late series.
        old_due_us = np.where(old_us >= since_us, old_us, grace_us) + after_us
        late_us = np.where(connected & (old_us != NEVER), old_due_us, NO_DEADLINE_US)
        return np.minimum(stale_us, NO_DEADLINE_US), np.minimum(silent_us, NO_DEADLINE_US), late_us

    def feed(self, batch: Batch, source: int, now_us: int | I64, found: list[Found]) -> None:
        """Rows that are new in their series' order feed it, fresh or backlog, whatever their quality.

        `now_us` is when: one time, or of each row (n,) where none is backlog.
        """
        if isinstance(now_us, int):
            self._next_us = min(self._next_us, now_us + self._lead_us)
            begin = self._feed_few(batch, source, now_us) if len(batch) <= kernels.FEW else 0
            if begin == len(batch):
                return
        else:
            self._next_us = min(self._next_us, int(now_us[0]) + self._lead_us)
            begin = 0
        when_us = np.broadcast_to(now_us, len(batch))
        row = np.arange(begin, len(batch))
        series, flags = batch.series[begin:].astype(np.int64), batch.flags[begin:]
        plain = not (flags & _PLAIN_NOT).any()
        if not plain:
            row = np.flatnonzero(batch.flags[begin:] & NOT_JUDGED == 0) + begin
            series, flags = batch.series[row].astype(np.int64), batch.flags[row]
        marked = bool(self._marked.take(series).any())
        fresh = flags & _BACKLOG == 0
        if marked and self._silent[series].any():
            self._end(series, fresh, row, when_us, found)
        when_us = when_us[row]
        self.heard_us[series] = when_us
        self.source[series] = source
        # Nothing of a series that was just fed is due before it turns stale.
        self.due_us[series] = np.minimum(self._stale_after_us.take(series) + when_us, NO_DEADLINE_US)
        if plain and not marked:
            return
        self.stale[series] = False
        last = kernels.last_of_each(series)
        self.bad[series[last]] = flags[last] & _BAD != 0
        self._age(series, fresh, last, int(when_us[0]) if len(when_us) else 0)
        self._marked[series] = self._silent[series] | self.bad[series] | (self.old_us[series] != NEVER)

    def _feed_few(self, batch: Batch, source: int, now_us: int) -> int:
        """The same row by row, up to the first that needs more; returns how many rows have been fed."""
        for row, (series, flags) in enumerate(zip(batch.series.tolist(), batch.flags.tolist(), strict=True)):
            if flags & _PLAIN_NOT or self._marked_at[series]:
                if flags & NOT_JUDGED:
                    continue
                if flags & _BACKLOG or self._silent_at[series]:
                    return row
                self._stale_at[series] = False
                self._old_at[series] = NEVER
                self._bad_at[series] = self._marked_at[series] = flags & _BAD != 0
            self._heard_at[series] = now_us
            self._source_at[series] = source
            due_us = now_us + self._after_at[series]
            self._due_at[series] = due_us if due_us < NO_DEADLINE_US else NO_DEADLINE_US
        return len(batch)

    def _age(self, series: Index, fresh: Bool, last: Index, now_us: int) -> None:
        """Since when each series brings only backlog, after these rows."""
        self.old_us[series[fresh]] = NEVER
        old = series[last[~fresh[last]]]
        self.old_us[old] = np.where(self.old_us[old] == NEVER, now_us, self.old_us[old])
        self._refresh(old)
        self._next_us = min(self._next_us, int(self.due_us[old].min(initial=NO_DEADLINE_US)))

    def _end(self, series: Index, fresh: Bool, row: Index, when_us: I64, found: list[Found]) -> None:
        """What was silent speaks, what was late is on time; `when_us` by the row of the batch."""
        for watch in self.rules:
            ends = watch.on[series] if isinstance(watch.rule, NoDataRule) else watch.on[series] & fresh
            at = np.flatnonzero(ends)
            at = at[kernels.first_of_each(series[at])]
            which = series[at]
            self._tell(ChangeKind.CLEAR, watch, which, row[at], when_us[row[at]], int(when_us[-1]), found)
            watch.on[which] = False
        touched = np.unique(series)
        self._silent[touched] = False
        for watch in self.rules:
            self._silent[touched] |= watch.on[touched]

    def fire(self, now_us: int, found: list[Found]) -> tuple[Index, I64]:
        """Everything that is due; returns the series that have turned stale, and when each did."""
        due = self.due_us <= now_us if self._next_us <= now_us else np.zeros(0, np.bool_)
        series = np.flatnonzero(due)
        stale_us, silent_us, old_us = self._dues(series)
        for watch in self.rules:
            due_us = silent_us if isinstance(watch.rule, NoDataRule) else old_us
            due = (due_us <= now_us) & watch.about[series] & ~watch.on[series]
            self._tell(ChangeKind.ONSET, watch, series[due], due_us[due], due_us[due], now_us, found)
            watch.on[series[due]] = True
            self._silent[series[due]] = True
        turned = stale_us <= now_us
        self.stale[series[turned]] = True
        self._marked[series] = True
        self._refresh(series)
        # What was due is over; when the next one is, shows once it is asked for.
        self._next_us = max(self._next_us, now_us + 1)
        return series[turned], stale_us[turned]

    def _silent_s(self, watch: Watch, series: Index, until_us: I64) -> F64:
        """For how long nothing, or nothing fresh, has come."""
        begin_us, *_ = self._begin_us(series)
        if not isinstance(watch.rule, NoDataRule):
            begin_us = np.where(self.old_us[series] == NEVER, begin_us, self.old_us[series])
        return np.where(begin_us == NO_DEADLINE_US, 0, until_us - begin_us) / 1e6

    def _tell(
        self,
        kind: ChangeKind,
        watch: Watch,
        series: Index,
        when: Index,
        event_us: I64,
        now_us: int,
        found: list[Found],
    ) -> None:
        """Changes of one rule on these series, each at its row or deadline and of its event time."""
        values = self._silent_s(watch, series, event_us)
        limits = self._stale_after_us[series] / 1e6
        columns = (series, when, event_us, values, limits)
        for one, place, at_us, value, limit in zip(*(c.tolist() for c in columns), strict=True):
            change = Change(
                kind=kind,
                rule=watch.rule.id,
                asset=self.names[one],
                level=1 if kind is ChangeKind.ONSET else 0,
                priority=watch.rule.priority,
                value=value,
                limit=limit,
                event_us=at_us,
                now_us=now_us,
            )
            found.append((place, watch.order, one, change))

    def state(self) -> dict[str, Any]:
        """Canonical: sources by their place among the sorted names."""
        names = self._system.names
        rank = np.array([*(sorted(names).index(name) for name in names), NO_SOURCE], np.int32)
        return {
            "heard_us": self.heard_us.copy(),
            "known_us": self.known_us.copy(),
            "source": rank[self.source],
            "old_us": self.old_us.copy(),
            "stale": self.stale.copy(),
            "bad": self.bad.copy(),
            "on": {watch.rule.id: np.flatnonzero(watch.on) for watch in self.rules if watch.on.any()},
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Back to what `state` gave; the system has been restored before, the rules stand."""
        for name in ("heard_us", "known_us", "source", "old_us", "stale", "bad"):
            setattr(self, name, state[name].copy())
        for watch in self.rules:
            watch.on[:] = False
            watch.on[state["on"].get(watch.rule.id, np.zeros(0, np.int64))] = True
        self.refresh_all()
