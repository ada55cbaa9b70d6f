"""The limit rules' state: a Schmitt trigger for each level of each cell, and whether a cell is known and confirmed.

A quiet day costs two comparisons a row. Every series has a *quiet band*: the values that leave all of its cells as
they are. Rows within it are dropped in bulk; the rest goes in rounds, the k-th of them with the k-th occurrence of
each series, because a sample must see what the one before it did.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ioc.model.batch import F64, I64, Batch, Bool, Flag
from ioc.model.change import Change, ChangeKind
from ioc.rules import carry, kernels
from ioc.rules.found import Found
from ioc.rules.kernels import NO_TIME, Index
from ioc.rules.past import Past
from ioc.rules.table import LimitTable

_BAD: Final = int(Flag.BAD | Flag.OUT_OF_RANGE)
_BACKLOG: Final = int(Flag.BACKLOG)
_LATE: Final = int(Flag.LATE | Flag.REVISED)
_RISES: Final = (ChangeKind.ONSET, ChangeKind.LEVEL_UP)
"""What is to be heard, and so waits for a fresh sample where backlog brought it about."""
_IGNORED: Final = int(Flag.REPEAT | Flag.CONFLICT | Flag.LAST_KNOWN | Flag.FUTURE | Flag.TOO_LATE)


@dataclass(frozen=True, slots=True)
class Rows:
    """Some rows of one batch, each of another series, with what the kernels ask of them; all of shape (n,)."""

    row: Index
    series: Index
    value: F64
    event_us: I64
    backlog: Bool

    def take(self, where: Bool) -> Rows:
        """Those of a mask."""
        return Rows(
            self.row[where], self.series[where], self.value[where], self.event_us[where], self.backlog[where]
        )


class Limits:
    """Every cell of one table. Arrays of shape (cells, levels), (cells,) or (series,) as said."""

    def __init__(self, table: LimitTable, names: Sequence[str], max_gap_us: I64) -> None:
        cells, size = len(table), len(table.start)
        self.table = table
        self.names = names
        self.max_gap_us = max_gap_us
        self.on = np.zeros((cells, table.width), np.bool_)
        self.since_us = np.full((cells, table.width), NO_TIME, np.int64)
        """When the delay began that runs towards the other state of a level; NO_TIME if none."""
        self.unknown = np.zeros(cells, np.bool_)
        self.unconfirmed = np.zeros(cells, np.bool_)
        self.shown = np.zeros(cells)
        """The value of the last change of an active cell: silence has none of its own."""
        self.past = Past()
        self.last_us = np.zeros(size, np.int64)
        """(series,) Event time of the last sample; only looked at where a delay runs."""
        self.live = np.zeros(size, np.bool_)
        """(series,) Whether a level is on or a delay runs: what bad quality would matter to."""
        self.has_past = np.zeros(size, np.bool_)
        self.low = np.full(size, -np.inf)
        self.high = np.full(size, np.inf)
        self._hot = np.zeros(size, np.bool_)
        self.refresh(np.flatnonzero(table.count))
        self._rest_low, self._rest_high = self.low.copy(), self.high.copy()
        """(series,) The band of a series all of whose cells rest: where no late sample would have raised anything."""

    def refresh(self, series: Index) -> None:
        """Compute again what follows from the cells of these series; each must have one."""
        if len(series):
            self._refresh(series, *kernels.spread(self.table.start[series], self.table.count[series]))

    def _refresh(self, series: Index, cells: Index, owner: Index) -> None:
        table = self.table
        self._set_bands(
            series,
            np.searchsorted(owner, np.arange(len(series))),
            self.on[cells],
            (self.since_us[cells] != NO_TIME).any(axis=1),
            self.unknown[cells] | self.unconfirmed[cells],
            (table.limit[cells], table.reset[cells], table.sign[cells]),
        )

    def _set_bands(
        self, series: Index, first: Index, on: Bool, waits: Bool, doubtful: Bool, bounds: tuple[F64, F64, F64]
    ) -> None:
        """What follows from these cells, those of the i-th series beginning at `first[i]`."""
        low, high = kernels.quiet_band(on, waits | doubtful, *bounds)
        self.low[series] = np.maximum.reduceat(low, first)
        self.high[series] = np.minimum.reduceat(high, first)
        self.live[series] = np.logical_or.reduceat(on.any(axis=1) | waits, first)

    def feed(self, batch: Batch, now_us: int, found: list[Found]) -> None:
        """Judge the rows of a batch in their order."""
        series, flags = batch.series, batch.flags
        hot = kernels.outside(batch.value, self.low[series], self.high[series])
        plain = not flags.any()
        late = bad = judged = np.zeros(0, np.bool_)
        if not plain:
            late = (flags & _LATE != 0) & (flags & _IGNORED == 0)
            bad = flags & _BAD != 0
            judged = (flags & (_LATE | _IGNORED) == 0) | (late & ~bad)
            hot = np.where(bad, self.live[series], hot)
            hot = np.where(late, self._late_matters(batch), hot) & judged
        if not hot.any():
            return
        # Once a row of a series does something, what the ones after it do depends on it.
        touched = series[hot]
        self._hot[touched] = True
        rows = np.flatnonzero(self._hot[series] if plain else self._hot[series] & judged)
        self._hot[touched] = False
        rows = rows[self.table.count[series[rows]] > 0]
        if not len(rows):
            return
        places, ends = kernels.rounds(series[rows])
        start = 0
        for end in ends:
            row = rows[places[start:end]]
            start = end
            backlog = flags[row] & _BACKLOG != 0
            these = Rows(row, series[row].astype(np.int64), batch.value[row], batch.event_us[row], backlog)
            if plain:
                self._good(these, now_us, found)
                continue
            self._good(these.take(~(late[row] | bad[row])), now_us, found)
            self._bad(these.take(bad[row]), now_us, found)
            self._late(these.take(late[row]), now_us, found)

    def _late_matters(self, batch: Batch) -> Bool:
        low, high = self._rest_low[batch.series], self._rest_high[batch.series]
        return kernels.outside(batch.value, low, high) | self.has_past[batch.series]

    def _good(self, rows: Rows, now_us: int, found: list[Found]) -> None:
        rows = rows.take(kernels.outside(rows.value, self.low[rows.series], self.high[rows.series]))
        if not len(rows.row):
            return
        table = self.table
        count = table.count[rows.series]
        cells, owner = kernels.spread(table.start[rows.series], count)
        rule = table.rule[cells]
        limit, reset, sign = table.limit[cells], table.reset[cells], table.sign[cells]
        gap = rows.event_us - self.last_us[rows.series] > self.max_gap_us[rows.series]
        self.last_us[rows.series] = rows.event_us
        before = self.on[cells]
        on, since_us = kernels.step(
            rows.value[owner] * sign,
            rows.event_us[owner],
            gap[owner],
            before,
            self.since_us[cells],
            limit,
            reset,
            table.on_delay_us[rule],
            table.off_delay_us[rule],
        )
        self.since_us[cells] = since_us
        moved = (on != before).any(axis=1)
        # A cell that is unknown or unconfirmed is active, so every good sample of it says something.
        says = moved | self.unknown[cells] | (self.unconfirmed[cells] & ~rows.backlog[owner])
        if says.any():
            self.on[cells] = on
            where = np.flatnonzero(says)
            self._say(rows, owner[where], cells[where], before[where], now_us, found)
        self._set_bands(
            rows.series,
            np.cumsum(count) - count,
            on,
            (since_us != NO_TIME).any(axis=1),
            self.unconfirmed[cells],
            (limit, reset, sign),
        )

    def _say(
        self, rows: Rows, owner: Index, cells: Index, before: Bool, now_us: int, found: list[Found]
    ) -> None:
        """Note and tell what a good sample did to these cells, whose levels have been written."""
        on = self.on[cells]
        old, new = kernels.highest(before), kernels.highest(on)
        moved = (on != before).any(axis=1)
        backlog = rows.backlog[owner]
        was_unknown, was_unconfirmed = self.unknown[cells], self.unconfirmed[cells]
        self.unknown[cells] = False
        self.unconfirmed[cells] = np.where(backlog, (new > old) | was_unconfirmed, False) & (new > 0)
        self.has_past[rows.series[owner[moved]]] = True
        if moved.any():
            masks = kernels.mask_of(on[moved]).tolist()
            for cell, event_us, mask in zip(
                cells[moved].tolist(), rows.event_us[owner[moved]].tolist(), masks, strict=True
            ):
                self.past.note(cell, event_us, mask)
        steps = old != new
        confirms = was_unconfirmed & ~backlog & (new > 0) & (new <= old)
        told = was_unknown | steps | confirms
        self.shown[cells[told]] = np.where(new > 0, rows.value[owner], 0.0)[told]
        # In the order in which one cell says several things at once; what is left lends a clear its figures.
        for says, kind, level in (
            (was_unknown & (new > 0), ChangeKind.KNOWN, old),
            (steps, None, new),
            (confirms, ChangeKind.CONFIRMED, new),
        ):
            at = np.flatnonzero(says)
            if len(at):
                kinds = [kind] * len(at) if kind else list(map(_kind_of, old[at].tolist(), new[at].tolist()))
                self._tell(kinds, rows, owner[at], cells[at], level[at], old[at], now_us, found)

    def _tell(
        self,
        kinds: list[ChangeKind],
        rows: Rows,
        owner: Index,
        cells: Index,
        level: Index,
        old: Index,
        now_us: int,
        found: list[Found],
    ) -> None:
        """A change for each of these cells; priority and limit are those of its level, or of the level that was left."""
        table = self.table
        rule, series, named = table.rule[cells], table.series[cells], np.where(level > 0, level, old) - 1
        columns = zip(
            kinds,
            rows.row[owner].tolist(),
            table.order[rule].tolist(),
            series.tolist(),
            rule.tolist(),
            level.tolist(),
            table.priority[rule, named].tolist(),
            rows.value[owner].tolist(),
            (table.limit[cells, named] * table.sign[cells]).tolist(),
            rows.event_us[owner].tolist(),
            rows.backlog[owner].tolist(),
            self.max_gap_us[series].tolist(),
            strict=True,
        )
        for kind, row, order, one, at, lv, priority, value, limit, event_us, backlog, gap_us in columns:
            change = Change(
                kind=kind,
                rule=table.rules[at].id,
                asset=self.names[one],
                level=lv,
                priority=priority,
                value=value,
                limit=limit,
                event_us=event_us,
                now_us=now_us,
                backlog=backlog,
                confirm_within_us=gap_us if backlog and kind in _RISES else 0,
            )
            found.append((row, order, one, change))

    def _bad(self, rows: Rows, now_us: int, found: list[Found]) -> None:
        """Bad quality never raises nor clears: delays begin anew, and what is on becomes unknown."""
        rows = rows.take(self.live[rows.series])
        if not len(rows.row):
            return
        cells, owner = kernels.spread(self.table.start[rows.series], self.table.count[rows.series])
        self.since_us[cells] = NO_TIME
        level = kernels.highest(self.on[cells])
        at = np.flatnonzero((level > 0) & ~self.unknown[cells])
        self.unknown[cells[at]] = True
        kinds = [ChangeKind.UNKNOWN] * len(at)
        self._tell(kinds, rows, owner[at], cells[at], level[at], level[at], now_us, found)
        self._refresh(rows.series, cells, owner)

    def _late(self, rows: Rows, now_us: int, found: list[Found]) -> None:
        """Earlier verdicts stand; where this sample alone would have given another one, say so."""
        cells, owner = kernels.spread(self.table.start[rows.series], self.table.count[rows.series])
        differ: list[tuple[int, int, int]] = []
        for at, (cell, event_us, value) in enumerate(
            zip(cells.tolist(), rows.event_us[owner].tolist(), rows.value[owner].tolist(), strict=True)
        ):
            around = self.past.around(cell, event_us)
            if around is not None:
                had, would = self._verdicts(cell, value, *around)
                if had != would:
                    differ.append((at, had, would))
        if differ:
            where, old, level = np.array(differ, np.int64).T
            kinds = [ChangeKind.CORRECTION] * len(differ)
            self._tell(kinds, rows, owner[where], cells[where], level, old, now_us, found)

    def _verdicts(self, cell: int, value: float, before: int, at: int) -> tuple[int, int]:
        """The level a cell had, and the one it would have had with this value instead."""
        table = self.table
        rule = table.rule[cell]
        had = would = 0
        signed = value * table.sign[cell]
        for column in range(table.width):
            if table.limit[cell, column] == np.inf:
                continue
            was, is_on = before >> column & 1, at >> column & 1
            on = is_on
            # One sample alone completes no delay.
            if table.on_delay_us[rule, column] == 0:
                if not was or signed >= table.reset[cell, column]:
                    on = int(was or signed >= table.limit[cell, column])
                elif table.off_delay_us[rule, column] == 0:
                    on = 0
            had = column + 1 if is_on else had
            would = column + 1 if on else would
        return had, would

    def silence(self, series: Index, due_us: I64, now_us: int, found: list[Found]) -> None:
        """These series have been silent up to their deadlines: what is on becomes unknown."""
        has = self.live[series]
        series, due_us = series[has], due_us[has]
        if not len(series):
            return
        cells, owner = kernels.spread(self.table.start[series], self.table.count[series])
        at = np.flatnonzero(self.on[cells].any(axis=1) & ~self.unknown[cells])
        self.unknown[cells[at]] = True
        for cell, due in zip(cells[at].tolist(), due_us[owner[at]].tolist(), strict=True):
            found.append((due, *self._place(cell), self._own(ChangeKind.UNKNOWN, cell, due, now_us)))
        self._refresh(series, cells, owner)

    def _place(self, cell: int) -> tuple[int, int]:
        return int(self.table.order[self.table.rule[cell]]), int(self.table.series[cell])

    def _level(self, cell: int) -> int:
        return int(kernels.highest(self.on[cell : cell + 1])[0])

    def _own(self, kind: ChangeKind, cell: int, event_us: int, now_us: int) -> Change:
        """A change of an active cell that no sample brought about."""
        table, level = self.table, self._level(cell)
        return Change(
            kind=kind,
            rule=table.rules[table.rule[cell]].id,
            asset=self.names[table.series[cell]],
            level=0 if kind is ChangeKind.RULE_REMOVED else level,
            priority=int(table.priority[table.rule[cell], level - 1]),
            value=float(self.shown[cell]),
            limit=float(table.limit[cell, level - 1] * table.sign[cell]),
            event_us=event_us,
            now_us=now_us,
        )

    def take_over(self, before: Limits, now_us: int, found: list[Found]) -> None:
        """Another table's state, by rule, series and level; what was active and has no place here is told."""
        places = carry.put(carry.taken(before), self)
        for cell in np.flatnonzero(before.on.any(axis=1)).tolist():
            place = before._place(cell)
            mine = places.get((before.table.rules[before.table.rule[cell]].id, place[1]))
            if mine is None or not self.on[mine].any():
                found.append((0, *place, before._own(ChangeKind.RULE_REMOVED, cell, now_us, now_us)))
            elif self._level(mine) != before._level(cell):
                found.append((0, *place, self._own(ChangeKind.LEVEL_DOWN, mine, now_us, now_us)))
                # A lower level is no sample: who did not know before does not know now.
                if self.unknown[mine]:
                    found.append((0, *place, self._own(ChangeKind.UNKNOWN, mine, now_us, now_us)))

    def state(self) -> dict[str, Any]:
        """What differs from rest, by rule and series; canonical."""
        return carry.taken(self)

    def restore(self, state: dict[str, Any]) -> None:
        """Back to what `state` gave; the table must be the same and all at rest."""
        carry.put(state, self)


def _kind_of(old: int, new: int) -> ChangeKind:
    if old == 0:
        return ChangeKind.ONSET
    if new == 0:
        return ChangeKind.CLEAR
    return ChangeKind.LEVEL_UP if new > old else ChangeKind.LEVEL_DOWN
