"""The limit rules' state: a Schmitt trigger for each level of each cell, and whether a cell is known and confirmed.

A quiet day costs two comparisons a row. Every series has a *quiet band*: the values that leave all of its cells as
they are. Rows within it are dropped in bulk; the rest goes in rounds, the k-th of them with the k-th occurrence of
each series, because a sample must see what the one before it did. Where rows are few, `single` judges them one by one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ioc.model.batch import F64, I64, U16, Batch, Bool
from ioc.model.change import Change, ChangeKind
from ioc.rules import carry, kernels
from ioc.rules.found import Found
from ioc.rules.kernels import NO_TIME, Index
from ioc.rules.past import Past
from ioc.rules.single import BACKLOG, BAD, IGNORED, LATE, ODD, Sample, Single
from ioc.rules.table import LimitTable


@dataclass(frozen=True, slots=True)
class Rows:
    """Some rows of one batch, each of another series, with what the kernels ask of them; all of shape (n,)."""

    row: Index
    series: Index
    value: F64
    event_us: I64
    flags: U16

    @staticmethod
    def of(batch: Batch, row: Index) -> Rows:
        """These rows of a batch."""
        series = batch.series[row].astype(np.int64)
        return Rows(row, series, batch.value[row], batch.event_us[row], batch.flags[row])

    def take(self, where: Bool | Index) -> Rows:
        """Those of a mask or index."""
        return Rows(
            self.row[where], self.series[where], self.value[where], self.event_us[where], self.flags[where]
        )

    def samples(self) -> Iterator[Sample]:
        """One by one."""
        columns = (self.row, self.series, self.value, self.event_us, self.flags)
        return zip(*(column.tolist() for column in columns), strict=True)


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
        """(series,) False where no delay runs and what is on is unknown: where bad quality matters to nothing."""
        self.has_past = np.zeros(size, np.bool_)
        self.low = np.full(size, -np.inf)
        self.high = np.full(size, np.inf)
        self.cell_low = np.full(cells, -np.inf)
        self.cell_high = np.full(cells, np.inf)
        self._hot = np.zeros(size, np.bool_)
        self.refresh(np.flatnonzero(table.count))
        self.rest_low, self.rest_high = self.low.copy(), self.high.copy()
        """(series,) The band of a series all of whose cells rest: where no late sample would have raised anything."""
        self._single = Single(self)

    def refresh(self, series: Index) -> None:
        """Compute again what follows from the cells of these series; each must have one."""
        if not len(series):
            return
        count = self.table.count[series]
        cells, _ = kernels.spread(self.table.start[series], count)
        on, waits = self.on[cells], kernels.any_level(self.since_us[cells] != NO_TIME)
        unknown = self.unknown[cells]
        self._set_bands(cells, on, waits | unknown | self.unconfirmed[cells])
        self._join_bands(series, count, cells)
        matters = waits | (kernels.any_level(on) & ~unknown)
        self.live[series] = np.logical_or.reduceat(matters, np.cumsum(count) - count)

    def _set_bands(self, cells: Index, on: Bool, busy: Bool) -> None:
        table = self.table
        limit, reset = table.limit.take(cells, axis=0), table.reset.take(cells, axis=0)
        sign = table.sign.take(table.rule.take(cells))
        self.cell_low[cells], self.cell_high[cells] = kernels.quiet_band(on, busy, limit, reset, sign)

    def _join_bands(self, series: Index, count: Index, cells: Index) -> None:
        """The band of each series out of those of its `count` cells."""
        first = np.cumsum(count) - count
        self.low[series] = np.maximum.reduceat(self.cell_low.take(cells), first)
        self.high[series] = np.minimum.reduceat(self.cell_high.take(cells), first)

    def feed(self, batch: Batch, now_us: int, found: list[Found]) -> None:
        """Judge the rows of a batch in their order."""
        if len(batch) <= kernels.FEW:
            columns = (batch.series, batch.value, batch.event_us, batch.flags)
            samples = zip(range(len(batch)), *(column.tolist() for column in columns), strict=True)
            self._single.feed(samples, now_us, found)
            return
        series, flags = batch.series.astype(np.int64), batch.flags
        hot = kernels.outside(batch.value, self.low.take(series), self.high.take(series))
        plain = not (flags & ODD).any()
        judged = np.ones(0, np.bool_)
        if not plain:
            late = (flags & LATE != 0) & (flags & IGNORED == 0)
            bad = flags & BAD != 0
            judged = (flags & (LATE | IGNORED) == 0) | (late & ~bad)
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
        if len(rows):
            self._rounds(Rows.of(batch, rows), plain, now_us, found)

    def _rounds(self, rows: Rows, plain: bool, now_us: int, found: list[Found]) -> None:
        """Judge rows, each series' in their order."""
        places, ends = kernels.rounds(rows.series)
        start = 0
        for end in ends:
            # Rounds only get smaller.
            if end - start <= kernels.FEW:
                self._single.feed(rows.take(places[start:]).samples(), now_us, found)
                return
            these = rows.take(places[start:end])
            start = end
            if not plain:
                odd = these.flags & ODD != 0
                self._single.feed(these.take(odd).samples(), now_us, found)
                these = these.take(~odd)
            self._good(these, now_us, found)

    def _late_matters(self, batch: Batch) -> Bool:
        low, high = self.rest_low[batch.series], self.rest_high[batch.series]
        return kernels.outside(batch.value, low, high) | self.has_past[batch.series]

    def _good(self, rows: Rows, now_us: int, found: list[Found]) -> None:
        rows = rows.take(kernels.outside(rows.value, self.low[rows.series], self.high[rows.series]))
        if len(rows.row) <= kernels.FEW:
            self._single.feed(rows.samples(), now_us, found)
            return
        table = self.table
        count = table.count[rows.series]
        gap = rows.event_us - self.last_us[rows.series] > self.max_gap_us[rows.series]
        self.last_us[rows.series] = rows.event_us
        all_cells, owner = kernels.spread(table.start[rows.series], count)
        value = rows.value.take(owner)
        low, high = self.cell_low.take(all_cells), self.cell_high.take(all_cells)
        leaves = np.flatnonzero(kernels.outside(value, low, high))
        cells, owner, value = all_cells.take(leaves), owner.take(leaves), value.take(leaves)
        rule = table.rule.take(cells)
        before, since_us = self.on.take(cells, axis=0), self.since_us.take(cells, axis=0)
        on, since_us = kernels.step(
            value * table.sign.take(rule),
            rows.event_us.take(owner),
            gap.take(owner),
            before,
            since_us,
            table.limit.take(cells, axis=0),
            table.reset.take(cells, axis=0),
            table.on_delay_us.take(rule, axis=0),
            table.off_delay_us.take(rule, axis=0),
        )
        for level in range(table.width):
            self.since_us[:, level][cells] = since_us[:, level]
        moved = kernels.any_level(on != before)
        self.on[cells[moved]] = on[moved]
        # A cell that is unknown or unconfirmed is active, so every good sample of it says something.
        fresh = (rows.flags & BACKLOG == 0).take(owner)
        says = np.flatnonzero(moved | self.unknown.take(cells) | (self.unconfirmed.take(cells) & fresh))
        for sample, cell, had, has in zip(
            rows.take(owner[says]).samples(),
            cells[says].tolist(),
            kernels.mask_of(before[says]).tolist(),
            kernels.mask_of(on[says]).tolist(),
            strict=True,
        ):
            self._single.say(sample, cell, had, has, now_us, found)
        waits = kernels.any_level(since_us != NO_TIME)
        self._set_bands(cells, on, waits | self.unconfirmed.take(cells))
        self._join_bands(rows.series, count, all_cells)
        self.live[rows.series[owner[waits | kernels.any_level(on)]]] = True

    def silence(self, series: Index, due_us: I64, now_us: int, found: list[Found]) -> None:
        """These series have been silent up to their deadlines: what is on becomes unknown."""
        has = self.live[series]
        series, due_us = series[has], due_us[has]
        if not len(series):
            return
        cells, owner = kernels.spread(self.table.start[series], self.table.count[series])
        at = np.flatnonzero(kernels.any_level(self.on[cells]) & ~self.unknown[cells])
        self.unknown[cells[at]] = True
        for cell, due in zip(cells[at].tolist(), due_us[owner[at]].tolist(), strict=True):
            change = self._own(ChangeKind.UNKNOWN, cell, due, now_us)
            found.append((due, *self._place(cell), change))
        self.refresh(series)

    def _place(self, cell: int) -> tuple[int, int]:
        return int(self.table.order[self.table.rule[cell]]), int(self.table.series[cell])

    def _own(self, kind: ChangeKind, cell: int, event_us: int, now_us: int) -> Change:
        """A change of an active cell that no sample brought about."""
        level = self._level(cell)
        sample = (0, int(self.table.series[cell]), float(self.shown[cell]), event_us, 0)
        found: list[Found] = []
        told = 0 if kind is ChangeKind.RULE_REMOVED else level
        self._single.tell(kind, sample, cell, told, level, now_us, found)
        return found[0][-1]

    def _level(self, cell: int) -> int:
        return self._single.levels(cell).bit_length()

    def take_over(self, before: Limits, now_us: int, found: list[Found]) -> None:
        """Another table's state, by rule, series and level; what was active and has no place here is told."""
        places = carry.put(carry.taken(before), self)
        for cell in np.flatnonzero(kernels.any_level(before.on)).tolist():
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
