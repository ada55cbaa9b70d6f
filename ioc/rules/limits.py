"""The limit rules' state: a Schmitt trigger for each level of each cell, and whether a cell is known and confirmed.

A quiet day costs two comparisons a row. Every series has a *quiet band*: the values that leave all of its cells as
they are. Rows within it are dropped in bulk; the rest goes in rounds, the k-th of them with the k-th occurrence of
each series, because a sample must see what the one before it did. Where rows are few, `single` judges them one by one;
so it does, of any number, those of channels that count samples, know periods or are doubtful.

Of a cell with w levels the arrays hold 27 + 9 w bytes, of a channel 84. Beyond that only what is not at rest takes
room: at most 64 changes of 8 bytes (`Past`), up to times − 1 stamps of 8 bytes for each level that counts, and what is
doubtful some 100 bytes; and some 100 bytes a cell of a rule with periods.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from ioc.model.batch import I64, Bool
from ioc.model.change import Change, ChangeKind
from ioc.rules import carry, kernels
from ioc.rules.found import Found
from ioc.rules.kernels import NO_TIME, Index
from ioc.rules.past import Past
from ioc.rules.samples import BACKLOG, BAD, IGNORED, LATE, ODD, RETRACTED, Samples
from ioc.rules.single import Sample, Single
from ioc.rules.table import LimitTable


def _one_by_one(samples: Samples) -> Iterator[Sample]:
    columns = (
        samples.row,
        samples.channel,
        samples.value,
        samples.event_us,
        samples.flags,
        samples.tests,
    )
    return zip(*(column.tolist() for column in columns), strict=True)


SWINGS_FEW = 1
"""Up to so many rows that leave their bands are judged one by one; more are a round, one compiled pass: two already cost
as much one by one."""
Near = Mapping[int, Sequence[int]]
"""Series number → numbers of the series that are its neighbours; symmetric, none its own."""


class Limits:
    """Every cell of one table. Arrays of shape (cells, levels), (cells,) or (channels,) as said.

    `max_gap_us` (channels,): no delay is completed over a longer gap between two samples. `near`: whose agreement
    makes a doubtful alarm a certain one, where the same rule is on for certain at that level and not unknown.
    """

    def __init__(self, table: LimitTable, max_gap_us: I64, near: Near = MappingProxyType({})) -> None:
        cells, size = len(table), len(table.start)
        self.table = table
        self.names = table.channels.names
        self.max_gap_us = max_gap_us
        self.near = near
        self.on = np.zeros((cells, table.width), np.bool_)
        self.since_us = np.full((cells, table.width), NO_TIME, np.int64)
        """When the delay began that runs towards the other state of a level; NO_TIME if none."""
        self.unknown = np.zeros(cells, np.bool_)
        self.unconfirmed = np.zeros(cells, np.bool_)
        self.shown = np.zeros(cells)
        """The value of the last change of an active cell: silence has none of its own."""
        self.past = Past()
        self.stamps: dict[int, array[int]] = {}
        """By place in `on`, of levels that are off and count: the event times of the samples that counted."""
        self.doubts: dict[int, tuple[int, int]] = {}
        """By cell: the level that is doubtful, above those that are on, and the event time of the last sample for it."""
        self.alone = table.alone.copy()
        """(channels,) Whether rows are judged one by one: some cell counts, knows periods or is doubtful."""
        self._counts = bool(table.alone.any())
        self._neighbours: dict[int, tuple[int, ...]] = {}
        """By cell, as far as it was asked for: the same rule's cells on the series near it."""
        self.last_us = np.zeros(size, np.int64)
        """(channels,) Event time of the last sample; only looked at where a delay runs."""
        self.live = np.zeros(size, np.bool_)
        """(channels,) False where no delay runs and what is on is unknown: where bad quality matters to nothing."""
        self.has_past = np.zeros(size, np.bool_)
        self.low = np.full(size, -np.inf)
        self.high = np.full(size, np.inf)
        self.cell_low = np.full(cells, -np.inf)
        self.cell_high = np.full(cells, np.inf)
        self._hot = np.zeros(size, np.bool_)
        self.refresh(np.flatnonzero(table.count))
        self.rest_low, self.rest_high = self.low.copy(), self.high.copy()
        """(channels,) The band of a series all of whose cells rest: where no late sample would have raised anything."""
        self._single = Single(self)

    def refresh(self, series: Index) -> None:
        """Compute again what follows from the cells of these series; each must have one."""
        if not len(series):
            return
        count = self.table.count[series]
        cells, _ = kernels.spread(self.table.start[series], count)
        on, waits = self.on[cells], kernels.any_level(self.since_us[cells] != NO_TIME)
        unknown, doubtful = self.unknown[cells], self._doubtful(cells)
        self._set_bands(cells, on, waits | unknown | doubtful | self.unconfirmed[cells])
        self._join_bands(series, count, cells)
        first = np.cumsum(count) - count
        matters = waits | ((kernels.any_level(on) | doubtful) & ~unknown)
        self.live[series] = np.logical_or.reduceat(matters, first)
        self.alone[series] = self.table.alone[series] | np.logical_or.reduceat(doubtful, first)

    def _doubtful(self, cells: Index) -> Bool:
        if not self.doubts:
            return np.zeros(len(cells), np.bool_)
        return np.isin(cells, list(self.doubts))

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

    def feed(self, samples: Samples, now_us: int, found: list[Found]) -> None:
        """Judge samples in their order."""
        if (self.doubts or (samples.flags & BAD).any()) and self.near:
            together = self._may_agree(samples)
            self._agreeing(samples.take(together), now_us, found)
            samples = samples.take(~together)
        if len(samples) <= kernels.FEW:
            done = self._single.feed(_one_by_one(samples), now_us, found, SWINGS_FEW)
            if done >= len(samples):
                return
            samples = samples.take(slice(done, None))
        series, flags = samples.channel, samples.flags
        hot = kernels.outside(samples.value, self.low.take(series), self.high.take(series))
        plain = not (flags & ODD).any()
        judged = np.ones(0, np.bool_)
        if not plain:
            late = (flags & LATE != 0) & (flags & IGNORED == 0)
            bad = flags & BAD != 0
            retracted = late & (flags & RETRACTED != 0)
            judged = (flags & (LATE | IGNORED) == 0) | (late & ~bad) | retracted
            hot = np.where(bad, self.live[series] | self._beyond_rest(samples), hot)
            hot = np.where(late, self._late_matters(samples), hot) & judged | retracted
        if not hot.any():
            return
        # Once a row of a series does something, what the ones after it do depends on it.
        touched = series[hot]
        self._hot[touched] = True
        rows = np.flatnonzero(self._hot[series] if plain else self._hot[series] & judged)
        self._hot[touched] = False
        rows = rows[self.table.count[series[rows]] > 0]
        if len(rows):
            self._rounds(samples.take(rows), plain, now_us, found)

    def _rounds(self, rows: Samples, plain: bool, now_us: int, found: list[Found]) -> None:
        """Judge rows, each series' in their order."""
        places, ends = kernels.rounds(rows.channel)
        start = 0
        for end in ends:
            # Rounds only get smaller.
            if end - start <= SWINGS_FEW:
                self._single.feed(_one_by_one(rows.take(places[start:])), now_us, found)
                return
            these = rows.take(places[start:end])
            start = end
            if not plain or self._counts or self.doubts:
                odd = (these.flags & ODD != 0) | self.alone[these.channel]
                self._single.feed(_one_by_one(these.take(odd)), now_us, found)
                these = these.take(~odd)
            self._good(these, now_us, found)

    def _beyond_rest(self, samples: Samples) -> Bool:
        """Whether a bad sample may raise something as doubtful; NaN never does."""
        low, high = self.rest_low[samples.channel], self.rest_high[samples.channel]
        beyond: Bool = (samples.value < low) | (samples.value > high)
        return beyond

    def _may_agree(self, samples: Samples) -> Bool:
        """Which rows can have to do with neighbours that agree: those of series that are doubtful or may become so,
        and of the series near them. What the others do depends on no neighbour."""
        owner = self.table.channels.owner
        doubted = (
            (samples.flags & BAD != 0) & (samples.flags & (LATE | IGNORED) == 0) & self._beyond_rest(samples)
        )
        centres = set(owner[samples.channel[doubted]].tolist())
        centres.update(owner[self.table.channel[list(self.doubts)]].tolist())
        about = sorted(centres.union(*(self.near.get(series, ()) for series in centres)))
        together: Bool = np.isin(owner[samples.channel], about)
        return together

    def _agreeing(self, samples: Samples, now_us: int, found: list[Found]) -> None:
        """One row after the other, after each of which neighbours may agree."""
        for sample in _one_by_one(samples):
            self._single.feed((sample,), now_us, found)
            if self.doubts:
                self.agree(sample, now_us, found)

    def agree(self, sample: Sample, now_us: int, found: list[Found]) -> None:
        """After a sample of a channel was judged: what is doubtful there and on near it, or doubtful near it and on
        there, becomes the alarm itself."""
        first = int(self.table.start[sample[1]])
        for cell in range(first, first + int(self.table.count[sample[1]])):
            near = self._near_cells(cell)
            if cell in self.doubts:
                other = next((other for other in near if self._bears_out(other, cell)), None)
                if other is not None:
                    self._single.agree(sample, cell, other, now_us, found)
            for other in near:
                if other in self.doubts and self._bears_out(cell, other):
                    self._single.agree(sample, other, cell, now_us, found)

    def _bears_out(self, cell: int, doubtful: int) -> bool:
        """Whether one cell's state makes what is doubtful at another certain."""
        level, _ = self.doubts[doubtful]
        return self._single.levels(cell).bit_length() >= level and not (
            self.unknown[cell] or self.unknown[doubtful]
        )

    def _near_cells(self, cell: int) -> tuple[int, ...]:
        known = self._neighbours.get(cell)
        if known is None:
            table = self.table
            series = np.array(self.near.get(int(table.channels.owner[table.channel[cell]]), ()), np.int64)
            cells = table.find(np.full(len(series), table.rule[cell], np.int64), series)
            known = self._neighbours[cell] = tuple(cells[cells >= 0].tolist())
        return known

    def _late_matters(self, samples: Samples) -> Bool:
        low, high = self.rest_low[samples.channel], self.rest_high[samples.channel]
        return kernels.outside(samples.value, low, high) | self.has_past[samples.channel]

    def _good(self, rows: Samples, now_us: int, found: list[Found]) -> None:
        if len(rows) <= SWINGS_FEW:
            self._single.feed(_one_by_one(rows), now_us, found)
            return
        from ioc.rules.swings import swing

        table = self.table
        says = np.empty((int(table.count[rows.channel].sum()), 4), np.int64)
        told = swing(
            rows.channel,
            rows.value,
            rows.event_us,
            rows.flags & BACKLOG == 0,
            table.start,
            table.count,
            table.rule,
            table.sign,
            table.limit,
            table.reset,
            table.on_delay_us,
            table.off_delay_us,
            self.max_gap_us,
            self.unknown,
            self.unconfirmed,
            self.on,
            self.since_us,
            self.cell_low,
            self.cell_high,
            self.low,
            self.high,
            self.live,
            self.last_us,
            says,
        )
        if not told:
            return
        places, *what = says[:told].T
        for sample, cell, had, has in zip(
            _one_by_one(rows.take(places)), *(column.tolist() for column in what), strict=True
        ):
            self._single.say(sample, cell, had, has, now_us, found)
        # Only now it is known whether they are confirmed.
        cells = what[0]
        waits = kernels.any_level(self.since_us[cells] != NO_TIME)
        self._set_bands(cells, self.on[cells], waits | self.unconfirmed[cells])
        touched = np.unique(rows.channel[places])
        count = table.count[touched]
        self._join_bands(touched, count, kernels.spread(table.start[touched], count)[0])

    def silence(self, series: Index, due_us: I64, now_us: int, found: list[Found]) -> None:
        """These series have been silent up to their deadlines: what is on becomes unknown."""
        has = self.live[series]
        series, due_us = series[has], due_us[has]
        if not len(series):
            return
        cells, owner = kernels.spread(self.table.start[series], self.table.count[series])
        active = kernels.any_level(self.on[cells]) | self._doubtful(cells)
        at = np.flatnonzero(active & ~self.unknown[cells])
        self.unknown[cells[at]] = True
        for cell, due in zip(cells[at].tolist(), due_us[owner[at]].tolist(), strict=True):
            change = self._own(ChangeKind.UNKNOWN, cell, due, now_us)
            found.append((due, *self._place(cell), change))
        self.refresh(series)

    def _place(self, cell: int) -> tuple[int, int]:
        about = self.table.channels.owner[self.table.channel[cell]]
        return int(self.table.order[self.table.rule[cell]]), int(about)

    def _own(self, kind: ChangeKind, cell: int, event_us: int, now_us: int) -> Change:
        """A change of an active cell that no sample brought about."""
        level, priority = self._single.shown(cell)
        sample = (0, int(self.table.channel[cell]), float(self.shown[cell]), event_us, 0, 0)
        found: list[Found] = []
        told = 0 if kind is ChangeKind.RULE_REMOVED else level
        self._single.tell(kind, sample, cell, told, level, now_us, found, priority)
        return found[0][-1]

    def _level(self, cell: int) -> int:
        return self._single.shown(cell)[0]

    def take_over(self, before: Limits, now_us: int, found: list[Found]) -> None:
        """Another table's state, by rule, series and level; what was active and has no place here is told."""
        places = carry.put(carry.taken(before), self)
        active = kernels.any_level(before.on)
        active[list(before.doubts)] = True
        for cell in np.flatnonzero(active).tolist():
            place = before._place(cell)
            mine = places.get((before.table.rules[before.table.rule[cell]].id, place[1]))
            if mine is None or not self._level(mine):
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
