"""The limit rules one sample at a time, in plain Python: for few rows numpy's fixed cost is dearer than a loop.

It works on views of the arrays that `limits` judges in rounds, so both ways take turns as rows are few or many. What
a sample says of a cell, how a late, bad or retracted one is taken, and what counts samples, knows periods or is
doubtful, is written only here.
"""

from __future__ import annotations

from array import array
from math import inf, nextafter
from typing import TYPE_CHECKING, Final

from ioc.model.batch import Flag
from ioc.model.change import Change, ChangeKind
from ioc.model.quality import FAILED, SUSPECT, Test
from ioc.rules.found import Found
from ioc.rules.kernels import NO_TIME, View, view
from ioc.rules.samples import BACKLOG, BAD, IGNORED, LATE, ODD, RETRACTED
from ioc.rules.spec.limit import DOUBTED_MAX

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ioc.rules.limits import Limits

_RISES: Final = frozenset((ChangeKind.ONSET, ChangeKind.LEVEL_UP))
"""What is to be heard, and so waits for a fresh sample where backlog brought it about."""

_UNCERTAIN: Final = int(Flag.UNCERTAIN)
_PRIORITY_MAX: Final = 4
_NOWHERE: Final = (0, 0)

Sample = tuple[int, int, float, int, int, int]
"""(row of the batch, or deadline; channel; value; event time; flags; tests)."""


class Single:
    """Views of one `Limits`. Levels lie flat: level k of a cell at cell × width + k − 1; as bits, it is bit k − 1."""

    def __init__(self, limits: Limits) -> None:
        table = limits.table
        self._names, self._past, self._width = limits.names, limits.past, table.width
        self._ids = [rule.id for rule in table.rules]
        self._owner: View[int] = view(table.channels.owner)
        self._order: list[int] = table.order.tolist()
        self._priority: list[list[int]] = table.priority.tolist()
        self._delay_us: list[tuple[list[int], list[int]]] = [
            (on, off) for on, off in zip(table.on_delay_us.tolist(), table.off_delay_us.tolist(), strict=True)
        ]
        self._rule: View[int] = view(table.rule)
        self._sign: list[float] = table.sign.tolist()
        self._limit: View[float] = view(table.limit)
        self._reset: View[float] = view(table.reset)
        self._channel: View[int] = view(table.channel)
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
        self._alone: View[bool] = view(limits.alone)
        self._always_alone: View[bool] = view(table.alone)
        self._dated, self._stamps, self._doubts = table.dated, limits.stamps, limits.doubts
        self._counted = {
            i: [
                (r.levels[k].times, r.levels[k].within) if k in r.levels else (1, 0)
                for k in range(1, self._width + 1)
            ]
            for i, r in enumerate(table.rules)
            if any(level.times > 1 for level in r.levels.values())
        }
        """By rule, where one counts: (times, within) of each level."""
        self._doubted = [
            [k for k in sorted(r.levels, reverse=True) if r.doubtful and r.levels[k].priority <= DOUBTED_MAX]
            for r in table.rules
        ]
        """By rule: the levels that a bad sample raises as doubtful, the highest first."""

    def feed(
        self, samples: Iterable[Sample], now_us: int, found: list[Found], swings_max: int = 1 << 60
    ) -> int:
        """Judge rows; those of one series come in their order. Stops before the one that would be more than
        `swings_max` to leave their bands, and returns how many have been judged."""
        low, high = self._low, self._high
        done = 0
        for done, sample in enumerate(samples):
            _, series, value, _, flags, _ = sample
            if not flags & ODD:
                if not low[series] <= value <= high[series]:
                    if not swings_max:
                        return done
                    swings_max -= 1
                    self._good(sample, now_us, found)
            elif flags & IGNORED:
                continue
            elif flags & LATE:
                if flags & RETRACTED:
                    self._retract(sample, now_us, found)
                elif not flags & BAD:
                    self._late(sample, now_us, found)
            elif self._live[series] or value < self._rest_low[series] or value > self._rest_high[series]:
                self._bad(sample, now_us, found)
        return done + 1

    def _good(self, sample: Sample, now_us: int, found: list[Found]) -> None:
        """A sample that leaves its series' band, and so the band of at least one cell."""
        _, series, value, event_us, _, _ = sample
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
        """What `swings.swing` does, for one cell; returns its band."""
        _, series, value, event_us, flags, _ = sample
        rule = self._rule[cell]
        signed = value * self._sign[rule]
        limits, resets, shift = self._limit, self._reset, 0
        if self._dated:
            limits, resets, base = self._bounds(cell, event_us)
            shift = cell * self._width - base
        counted = self._counted.get(rule) if self._counted else None
        before = after = 0
        waits = False
        for column in range(self._width):
            at = cell * self._width + column
            is_on, since_us = self._on[at], self._since_us[at]
            before |= is_on << column
            if signed < resets[at - shift] if is_on else signed >= limits[at - shift]:
                if counted and not is_on and counted[column][0] > 1:
                    is_on = self._on[at] = self._is_nth(at, event_us, *counted[column])
                else:
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
        was = doubt = 0
        if cell in self._doubts:
            was = doubt = self._doubts[cell][0]
            if after.bit_length() >= was or signed < limits[cell * self._width + was - 1 - shift]:
                doubt = 0
                del self._doubts[cell]
                self._refresh_alone(series)
        # A cell that is unknown or unconfirmed is active, so every good sample of it says something.
        if (
            before != after
            or was != doubt
            or self._unknown[cell]
            or (self._unconfirmed[cell] and not flags & BACKLOG)
        ):
            self.say(sample, cell, before, after, now_us, found, was, doubt)
        if after or waits or doubt:
            self._live[series] = True
        return self._band(cell, after, waits or doubt > 0 or self._unconfirmed[cell])

    def _bounds(self, cell: int, event_us: int) -> tuple[View[float], View[float], int]:
        """Limits and resets of a cell at an event time, and where its levels begin in them."""
        dated = self._dated.get(cell)
        return (self._limit, self._reset, cell * self._width) if dated is None else (*dated.at(event_us), 0)

    def _limit_of(self, cell: int, level: int, event_us: int) -> float:
        """Signed; +inf if the cell lacks the level."""
        limits, _, base = self._bounds(cell, event_us)
        return limits[base + level - 1]

    def _is_nth(self, at: int, event_us: int, times: int, within_us: int) -> bool:
        """Count one more sample beyond the limit of a level that is off; whether it is the one that raises it."""
        stamps = self._stamps.setdefault(at, array("q"))
        gone = 0
        while gone < len(stamps) and stamps[gone] < event_us - within_us:
            gone += 1
        del stamps[:gone]
        if len(stamps) >= times - 1:
            del self._stamps[at]
            return True
        stamps.append(event_us)
        return False

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
        self,
        sample: Sample,
        cell: int,
        before: int,
        after: int,
        now_us: int,
        found: list[Found],
        was: int = 0,
        doubt: int = 0,
        detail: str = "",
    ) -> None:
        """Note and tell what a sample did to a cell, whose levels have been written.

        `was`, `doubt`: the level that was and is doubtful, 0 if none; it lies above those that are on.
        """
        _, series, value, event_us, flags, _ = sample
        backlog = flags & BACKLOG != 0
        old, new = max(before.bit_length(), was), max(after.bit_length(), doubt)
        if before != after:
            self._past.note(cell, event_us, after)
            self._has_past[series] = True
        urgency = urgent = 0  # that of the level told
        if was or doubt:
            urgency, urgent = self._urgency(cell, before, was), self._urgency(cell, after, doubt)
        # The same level without the doubt, or with a certain level below it that is as urgent, is worse.
        surer = 0 < old == new and (was > doubt or urgent < urgency)
        told = old != new or surer
        # In the order in which one cell says several things at once; what is left lends a clear its figures.
        if self._unknown[cell]:
            self._unknown[cell] = False
            told = True
            if new:
                self.tell(ChangeKind.KNOWN, sample, cell, old, old, now_us, found, urgency, detail)
        if old != new or surer:
            kind = ChangeKind.LEVEL_UP if surer else _kind_of(old, new)
            # An alarm keeps what it was told last, so the end of a doubt must be told too.
            over = "certain" if was > doubt and new and not flags & _UNCERTAIN else ""
            self.tell(kind, sample, cell, new, new or old, now_us, found, urgent or urgency, detail or over)
        if self._unconfirmed[cell]:
            self._unconfirmed[cell] = backlog and new > 0
            if not backlog and 0 < new <= old and not surer:
                told = True
                self.tell(ChangeKind.CONFIRMED, sample, cell, new, new, now_us, found, urgent, detail)
        elif backlog and (new > old or surer):
            self._unconfirmed[cell] = True
        if told:
            self._shown[cell] = value if new else 0.0

    def _urgency(self, cell: int, levels: int, doubt: int) -> int:
        """The priority shown; that of a doubtful level is one lower, but no less urgent than what is on for certain."""
        priorities = self._priority[self._rule[cell]]
        certain = priorities[levels.bit_length() - 1] if levels else 0
        if not doubt:
            return certain
        return min(priorities[doubt - 1] + 1, certain or _PRIORITY_MAX)

    def shown(self, cell: int) -> tuple[int, int]:
        """The level and priority that a cell shows, doubtful or not; (0, 0) if it is not active."""
        levels, (doubt, _) = self.levels(cell), self._doubts.get(cell, _NOWHERE)
        return max(levels.bit_length(), doubt), self._urgency(cell, levels, doubt)

    def _bad(self, sample: Sample, now_us: int, found: list[Found]) -> None:
        """Bad quality never clears nor raises for certain: delays begin anew, and what is on becomes unknown.

        Beyond a limit of priority 1 or 2 that is not on it raises the alarm as doubtful, and the second time as such.
        """
        series = sample[1]
        lowest, highest = -inf, inf
        live = False
        first = self._start[series]
        for cell in range(first, first + self._count[series]):
            for at in range(cell * self._width, (cell + 1) * self._width):
                self._since_us[at] = NO_TIME
            levels, (doubt, _) = self.levels(cell), self._doubts.get(cell, _NOWHERE)
            beyond = self._beyond(sample, cell)
            if beyond >= max(doubt, levels.bit_length() + 1):
                self._doubt(sample, cell, beyond, now_us, found)
                levels, (doubt, _) = self.levels(cell), self._doubts.get(cell, _NOWHERE)
            elif levels and not doubt and not self._unknown[cell]:
                self._unknown[cell] = True
                level, priority = self.shown(cell)
                self.tell(ChangeKind.UNKNOWN, sample, cell, level, level, now_us, found, priority)
            active = levels > 0 or doubt > 0
            live |= active and not self._unknown[cell]
            low, high = self._band(cell, levels, doubt > 0 or self._unknown[cell] or self._unconfirmed[cell])
            lowest, highest = max(lowest, low), min(highest, high)
        self._low[series], self._high[series] = lowest, highest
        self._live[series] = live

    def _beyond(self, sample: Sample, cell: int) -> int:
        """The highest level of priority 1 or 2 whose limit a sample reaches, 0 if none; NaN reaches nothing."""
        _, _, value, event_us, _, _ = sample
        rule = self._rule[cell]
        if not self._doubted[rule] or not -inf < value < inf:
            return 0
        signed = value * self._sign[rule]
        limits, _, base = self._bounds(cell, event_us)
        return next((k for k in self._doubted[rule] if signed >= limits[base + k - 1]), 0)

    def _doubt(self, sample: Sample, cell: int, beyond: int, now_us: int, found: list[Found]) -> None:
        """A bad sample beyond a level that is not on and above which none is doubtful."""
        _, series, _, event_us, _, _ = sample
        was, seen_us = self._doubts.get(cell, _NOWHERE)
        before = after = self.levels(cell)
        doubt = beyond
        if was and event_us - seen_us <= self._max_gap_us[series]:
            after = self._raise(cell, was, event_us)
            doubt = beyond if beyond > was else 0
        if doubt:
            self._doubts[cell] = doubt, event_us
        else:
            del self._doubts[cell]
        self._refresh_alone(series)
        detail = f"{'doubtful' if doubt else 'again'}: {_failed(sample)}"
        self.say(sample, cell, before, after, now_us, found, was, doubt, detail)

    def _raise(self, cell: int, level: int, event_us: int) -> int:
        """Set on, for certain, every level of a cell up to this one; returns which are on."""
        limits, _, base = self._bounds(cell, event_us)
        for column in range(level):
            at = cell * self._width + column
            if limits[base + column] != inf and not self._on[at]:
                self._on[at], self._since_us[at] = True, NO_TIME
                self._stamps.pop(at, None)
        return self.levels(cell)

    def _refresh_alone(self, series: int) -> None:
        first = self._start[series]
        doubtful = any(cell in self._doubts for cell in range(first, first + self._count[series]))
        self._alone[series] = doubtful or self._always_alone[series]

    def agree(self, sample: Sample, cell: int, other: int, now_us: int, found: list[Found]) -> None:
        """The cell `other` is on at the level that is doubtful here: it is the alarm itself, by this sample."""
        row, _, _, event_us, flags, _ = sample
        series = self._channel[cell]
        was, _ = self._doubts.pop(cell)
        before, after = self.levels(cell), self._raise(cell, was, event_us)
        self._refresh_alone(series)
        of_here = (row, series, self._shown[cell], event_us, flags & BACKLOG, 0)
        waits = any(self._since_us[cell * self._width + column] != NO_TIME for column in range(self._width))
        self.say(
            of_here,
            cell,
            before,
            after,
            now_us,
            found,
            was,
            0,
            f"neighbour: {self._names[self._channel[other]]}",
        )
        self._band(cell, after, waits or self._unconfirmed[cell])
        bands = range(self._start[series], self._start[series] + self._count[series])
        self._low[series] = max(self._cell_low[one] for one in bands)
        self._high[series] = min(self._cell_high[one] for one in bands)
        self._live[series] = True

    def _retract(self, sample: Sample, now_us: int, found: list[Found]) -> None:
        """A sample was bad after all: what it counted for and the delays that it began are taken back; where it had
        moved a level, say so. Earlier verdicts stand."""
        _, series, _, event_us, _, _ = sample
        first = self._start[series]
        for cell in range(first, first + self._count[series]):
            for at in range(cell * self._width, (cell + 1) * self._width):
                if self._since_us[at] == event_us:
                    self._since_us[at] = NO_TIME
                if at in self._stamps and event_us in self._stamps[at]:
                    self._stamps[at].remove(event_us)
                    if not self._stamps[at]:
                        del self._stamps[at]
            around = self._past.around(cell, event_us)
            if around is not None:
                without, had = around[0].bit_length(), around[1].bit_length()
                if without != had:
                    self.tell(
                        ChangeKind.CORRECTION,
                        sample,
                        cell,
                        without,
                        without or had,
                        now_us,
                        found,
                        0,
                        "spike",
                    )

    def _late(self, sample: Sample, now_us: int, found: list[Found]) -> None:
        """Earlier verdicts stand; where this sample alone would have given another one, say so."""
        _, series, value, event_us, _, _ = sample
        if not self._has_past[series] and self._rest_low[series] <= value <= self._rest_high[series]:
            return
        first = self._start[series]
        for cell in range(first, first + self._count[series]):
            around = self._past.around(cell, event_us)
            if around is not None:
                had, would = self._verdicts(cell, value, event_us, *around)
                if had != would:
                    self.tell(ChangeKind.CORRECTION, sample, cell, would, would or had, now_us, found)

    def _verdicts(self, cell: int, value: float, event_us: int, before: int, at: int) -> tuple[int, int]:
        """The level a cell had, and the one it would have had with this value instead."""
        rule = self._rule[cell]
        on_delay_us, off_delay_us = self._delay_us[rule]
        limits, resets, base = self._bounds(cell, event_us)
        counted = self._counted.get(rule)
        had = would = 0
        signed = value * self._sign[rule]
        for column in range(self._width):
            limit, reset = limits[base + column], resets[base + column]
            if limit == inf:
                continue
            was, is_on = before >> column & 1, at >> column & 1
            on = is_on
            # One sample alone completes no delay and no count.
            if on_delay_us[column] == 0 and (counted is None or counted[column][0] == 1):
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
        priority: int = 0,
        detail: str = "",
    ) -> None:
        """A change of a cell; limit, and priority if 0, are those of the level `named`."""
        place, series, value, event_us, flags, tests = sample
        rule = self._rule[cell]
        backlog = flags & BACKLOG != 0
        if not detail and flags & _UNCERTAIN and not flags & BAD:
            detail = f"uncertain: {_named(tests // SUSPECT) or 'sensor'}"
        change = Change(
            kind,
            self._ids[rule],
            self._names[series],
            level,
            priority or self._priority[rule][named - 1],
            value,
            (
                self._limit_of(cell, named, event_us)
                if self._dated
                else self._limit[cell * self._width + named - 1]
            )
            * self._sign[rule],
            event_us,
            now_us,
            backlog,
            self._max_gap_us[series] if backlog and kind in _RISES else 0,
            detail,
        )
        found.append((place, self._order[rule], self._owner[series], change))


def _kind_of(old: int, new: int) -> ChangeKind:
    if old == 0:
        return ChangeKind.ONSET
    if new == 0:
        return ChangeKind.CLEAR
    return ChangeKind.LEVEL_UP if new > old else ChangeKind.LEVEL_DOWN


def _named(tests: int) -> str:
    """Quality tests in words."""
    return ", ".join(str(test.name).lower() for test in Test(tests & FAILED))


def _failed(sample: Sample) -> str:
    """Which tests a bad sample failed; what no test found bad was so when it came."""
    return _named(sample[5]) or _named(Test.PHYSICAL_RANGE)
