"""The limit rules one sample at a time, in plain Python: for few rows numpy's fixed cost is dearer than a loop.

It works on views of the arrays that `limits` judges in rounds, so both ways take turns as rows are few or many. What
a sample says of a cell, and how a late or bad one is taken, is written only here.
"""

from __future__ import annotations

from math import inf, nextafter
from typing import TYPE_CHECKING, Final

from ioc.model.batch import Flag
from ioc.model.change import Change, ChangeKind
from ioc.rules.found import Found
from ioc.rules.kernels import NO_TIME, View, view

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ioc.rules.limits import Limits

BAD: Final = int(Flag.BAD | Flag.OUT_OF_RANGE)
BACKLOG: Final = int(Flag.BACKLOG)
LATE: Final = int(Flag.LATE | Flag.REVISED)
IGNORED: Final = int(Flag.REPEAT | Flag.CONFLICT | Flag.LAST_KNOWN | Flag.FUTURE | Flag.TOO_LATE)
ODD: Final = BAD | LATE | IGNORED
"""A row with none of these is good and in order."""

_RISES: Final = frozenset((ChangeKind.ONSET, ChangeKind.LEVEL_UP))
"""What is to be heard, and so waits for a fresh sample where backlog brought it about."""

Sample = tuple[int, int, float, int, int]
"""(row of the batch, or deadline; series number; value; event time; flags)."""


class Single:
    """Views of one `Limits`. Levels lie flat: level k of a cell at cell × width + k − 1; as bits, it is bit k − 1."""

    def __init__(self, limits: Limits) -> None:
        table = limits.table
        self._names, self._past, self._width = limits.names, limits.past, table.width
        self._ids = [rule.id for rule in table.rules]
        self._order: list[int] = table.order.tolist()
        self._priority: list[list[int]] = table.priority.tolist()
        self._delay_us: list[tuple[list[int], list[int]]] = [
            (on, off) for on, off in zip(table.on_delay_us.tolist(), table.off_delay_us.tolist(), strict=True)
        ]
        self._rule: View[int] = view(table.rule)
        self._sign: list[float] = table.sign.tolist()
        self._limit: View[float] = view(table.limit)
        self._reset: View[float] = view(table.reset)
        self._start: View[int] = view(table.start)
        self._count: View[int] = view(table.count)
        self._on: View[bool] = view(limits.on)
        self._since_us: View[int] = view(limits.since_us)
        self._cell_low: View[float] = view(limits.cell_low)
        self._cell_high: View[float] = view(limits.cell_high)
        self._unknown: View[bool] = view(limits.unknown)
        self._unconfirmed: View[bool] = view(limits.unconfirmed)
        self._shown: View[float] = view(limits.shown)
        self._has_past: View[bool] = view(limits.has_past)
        self._last_us: View[int] = view(limits.last_us)
        self._max_gap_us: View[int] = view(limits.max_gap_us)
        self._live: View[bool] = view(limits.live)
        self._low: View[float] = view(limits.low)
        self._high: View[float] = view(limits.high)
        self._rest_low: View[float] = view(limits.rest_low)
        self._rest_high: View[float] = view(limits.rest_high)

    def feed(self, samples: Iterable[Sample], now_us: int, found: list[Found]) -> None:
        """Judge rows; those of one series come in their order."""
        low, high = self._low, self._high
        for sample in samples:
            _, series, value, _, flags = sample
            if not flags & ODD:
                if not low[series] <= value <= high[series]:
                    self._good(sample, now_us, found)
            elif flags & IGNORED:
                continue
            elif flags & LATE:
                if not flags & BAD:
                    self._late(sample, now_us, found)
            elif self._live[series]:
                self._bad(sample, now_us, found)

    def _good(self, sample: Sample, now_us: int, found: list[Found]) -> None:
        """A sample that leaves its series' band, and so the band of at least one cell."""
        _, series, value, event_us, _ = sample
        gap = event_us - self._last_us[series] > self._max_gap_us[series]
        self._last_us[series] = event_us
        lowest, highest = -inf, inf
        first = self._start[series]
        for cell in range(first, first + self._count[series]):
            low, high = self._cell_low[cell], self._cell_high[cell]
            if not low <= value <= high:
                low, high = self._step(sample, cell, gap, now_us, found)
            if low > lowest:
                lowest = low
            if high < highest:
                highest = high
        self._low[series], self._high[series] = lowest, highest

    def _step(
        self, sample: Sample, cell: int, gap: bool, now_us: int, found: list[Found]
    ) -> tuple[float, float]:
        """What `kernels.step` does, for one cell; returns its band."""
        _, series, value, event_us, flags = sample
        rule = self._rule[cell]
        signed = value * self._sign[rule]
        before = after = 0
        waits = False
        for column in range(self._width):
            at = cell * self._width + column
            is_on, since_us = self._on[at], self._since_us[at]
            before |= is_on << column
            if signed < self._reset[at] if is_on else signed >= self._limit[at]:
                if gap or since_us == NO_TIME:
                    since_us = event_us
                if event_us - since_us >= self._delay_us[rule][is_on][column]:
                    is_on, since_us = not is_on, NO_TIME
                    self._on[at] = is_on
                else:
                    waits = True
                self._since_us[at] = since_us
            elif since_us != NO_TIME:
                self._since_us[at] = NO_TIME
            after |= is_on << column
        # A cell that is unknown or unconfirmed is active, so every good sample of it says something.
        if before != after or self._unknown[cell] or (self._unconfirmed[cell] and not flags & BACKLOG):
            self.say(sample, cell, before, after, now_us, found)
        if after or waits:
            self._live[series] = True
        return self._band(cell, after, waits or self._unconfirmed[cell])

    def _band(self, cell: int, levels: int, busy: bool) -> tuple[float, float]:
        """What `kernels.quiet_band` gives, for one cell; keeps it."""
        low, high = inf, -inf
        if not busy:
            low, high = high, low
            for column in range(self._width):
                at = cell * self._width + column
                if levels >> column & 1:
                    low = max(low, self._reset[at])
                else:
                    high = min(high, self._limit[at])
            high = nextafter(high, -inf)
            if self._sign[self._rule[cell]] < 0:
                low, high = -high, -low
        self._cell_low[cell], self._cell_high[cell] = low, high
        return low, high

    def say(
        self, sample: Sample, cell: int, before: int, after: int, now_us: int, found: list[Found]
    ) -> None:
        """Note and tell what a good sample did to a cell, whose levels have been written."""
        _, series, value, event_us, flags = sample
        backlog = flags & BACKLOG != 0
        old, new = before.bit_length(), after.bit_length()
        if before != after:
            self._past.note(cell, event_us, after)
            self._has_past[series] = True
        told = old != new
        # In the order in which one cell says several things at once; what is left lends a clear its figures.
        if self._unknown[cell]:
            self._unknown[cell] = False
            told = True
            if new:
                self.tell(ChangeKind.KNOWN, sample, cell, old, old, now_us, found)
        if old != new:
            self.tell(_kind_of(old, new), sample, cell, new, new or old, now_us, found)
        if self._unconfirmed[cell]:
            self._unconfirmed[cell] = backlog and new > 0
            if not backlog and 0 < new <= old:
                told = True
                self.tell(ChangeKind.CONFIRMED, sample, cell, new, new, now_us, found)
        elif backlog and new > old:
            self._unconfirmed[cell] = True
        if told:
            self._shown[cell] = value if new else 0.0

    def _bad(self, sample: Sample, now_us: int, found: list[Found]) -> None:
        """Bad quality never raises nor clears: delays begin anew, and what is on becomes unknown."""
        series = sample[1]
        lowest, highest = -inf, inf
        first = self._start[series]
        for cell in range(first, first + self._count[series]):
            for at in range(cell * self._width, (cell + 1) * self._width):
                self._since_us[at] = NO_TIME
            levels = self.levels(cell)
            if levels and not self._unknown[cell]:
                self._unknown[cell] = True
                level = levels.bit_length()
                self.tell(ChangeKind.UNKNOWN, sample, cell, level, level, now_us, found)
            low, high = self._band(cell, levels, levels > 0)
            lowest, highest = max(lowest, low), min(highest, high)
        self._low[series], self._high[series] = lowest, highest
        self._live[series] = False

    def _late(self, sample: Sample, now_us: int, found: list[Found]) -> None:
        """Earlier verdicts stand; where this sample alone would have given another one, say so."""
        _, series, value, event_us, _ = sample
        if not self._has_past[series] and self._rest_low[series] <= value <= self._rest_high[series]:
            return
        first = self._start[series]
        for cell in range(first, first + self._count[series]):
            around = self._past.around(cell, event_us)
            if around is not None:
                had, would = self._verdicts(cell, value, *around)
                if had != would:
                    self.tell(ChangeKind.CORRECTION, sample, cell, would, would or had, now_us, found)

    def _verdicts(self, cell: int, value: float, before: int, at: int) -> tuple[int, int]:
        """The level a cell had, and the one it would have had with this value instead."""
        on_delay_us, off_delay_us = self._delay_us[self._rule[cell]]
        had = would = 0
        signed = value * self._sign[self._rule[cell]]
        for column in range(self._width):
            limit, reset = self._limit[cell * self._width + column], self._reset[cell * self._width + column]
            if limit == inf:
                continue
            was, is_on = before >> column & 1, at >> column & 1
            on = is_on
            # One sample alone completes no delay.
            if on_delay_us[column] == 0:
                if not was or signed >= reset:
                    on = int(was or signed >= limit)
                elif off_delay_us[column] == 0:
                    on = 0
            had = column + 1 if is_on else had
            would = column + 1 if on else would
        return had, would

    def levels(self, cell: int) -> int:
        """Which levels of a cell are on."""
        at = cell * self._width
        return sum(self._on[at + column] << column for column in range(self._width))

    def tell(
        self,
        kind: ChangeKind,
        sample: Sample,
        cell: int,
        level: int,
        named: int,
        now_us: int,
        found: list[Found],
    ) -> None:
        """A change of a cell; priority and limit are those of the level `named`."""
        place, series, value, event_us, flags = sample
        rule = self._rule[cell]
        backlog = flags & BACKLOG != 0
        change = Change(
            kind,
            self._ids[rule],
            self._names[series],
            level,
            self._priority[rule][named - 1],
            value,
            self._limit[cell * self._width + named - 1] * self._sign[rule],
            event_us,
            now_us,
            backlog,
            self._max_gap_us[series] if backlog and kind in _RISES else 0,
        )
        found.append((place, self._order[rule], series, change))


def _kind_of(old: int, new: int) -> ChangeKind:
    if old == 0:
        return ChangeKind.ONSET
    if new == 0:
        return ChangeKind.CLEAR
    return ChangeKind.LEVEL_UP if new > old else ChangeKind.LEVEL_DOWN
