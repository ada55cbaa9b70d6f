"""Rules over several stations: told facts (what the rules on single series said) and the values they name, in one order.

A step is a row of a batch or a deadline. First all of its values are taken, then its facts, then every *case* (one
rule on one asset) that one of them concerns is judged once, in an order in which no rule comes before one whose facts
it asks for; so what it says depends neither on how rows are cut into batches nor on cases that it has nothing to do
with.

Three-valued throughout: an unknown verdict never raises and never clears, it turns what is active unknown. There are
no deadlines here. Event time decides, and silence is told by the watchdog (`feed_deadlines`): a wave that never came
ends by the first sample of its station behind the latest time, and is unknown from when that station fell silent.

State: some 25 bytes of a checkpoint (200 in memory) for each series that a rule here names, 60 (500) for each case,
and 60 (300) for each fact that holds at present.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Mapping
from operator import itemgetter
from typing import Any, Final

import numpy as np

from ioc.model.batch import I64, Bool
from ioc.model.change import Change, ChangeKind
from ioc.registry import MAX_AGE_US, Registry
from ioc.rules.cases import SAMPLE_BAD, SILENT, Case, Cause, Heard, Told, World, cases_of
from ioc.rules.found import Found
from ioc.rules.joint import order_of
from ioc.rules.kernels import NO_TIME, Index
from ioc.rules.samples import BACKLOG, BAD, IGNORED, LATE, Samples
from ioc.rules.spec import (
    Rule,
)

_Sample = tuple[int, int, int, float, int]
"""(row of the batch, or deadline; series number; event time; value; flags)."""
DOUBTFUL: Final = "doubtful: "
"""What the detail of a doubtful exceedance begins with."""
_MISSED: Final = -1
"""In place of a sample's flags: none came until now."""


class Composite:
    """Every rule over several stations of one pack."""

    def __init__(self, registry: Registry, rules: Mapping[str, Rule], numbers: Mapping[str, int]) -> None:
        self.wanted: Bool = np.zeros(0, np.bool_)
        """(series,): whose values it asks for."""
        self._world = World()
        self.cases_of: list[Case] = []
        """In an order in which every fact is said before it is asked for."""
        self._of_series: dict[int, list[int]] = {}
        self._of_fact: dict[tuple[str, str | None], list[tuple[int, str, int]]] = {}
        """By rule and asset (None for any): the case, the fact's part in it, and its level."""
        self._wait_us: dict[str, int] = {}
        self._names: dict[int, str] = {}
        self._touched: dict[int, Cause] = {}
        """The cases that this step concerns and that are still to be judged."""
        self._waiting: list[int] = []
        """The same as a heap."""
        self.rebuild(registry, rules, numbers, 0)

    def __bool__(self) -> bool:
        return bool(self.cases_of)

    def rebuild(
        self, registry: Registry, rules: Mapping[str, Rule], numbers: Mapping[str, int], now_us: int
    ) -> list[Found]:
        """Another pack, or more series: state is kept by rule and asset, and an edited rule judges at its next input;
        what was active and is judged no more is told. Raises ValueError for rules in a circle."""
        before, order = self.cases_of, order_of(rules)
        places = {rule: i for i, rule in enumerate(rules)}
        self.cases_of = []
        for rule_id in order:
            rule = rules[rule_id]
            if rule.enabled:
                self.cases_of += cases_of(registry, rules, rule, places[rule_id], numbers)
        self._index(registry, numbers)
        mine = {(case.rule.id, case.asset): case for case in self.cases_of}
        found: list[Found] = []
        gone: list[Change] = []
        for case in before:
            here = mine.get((case.rule.id, case.asset))
            if here is not None and here.same(case):
                _carry(case, here)
            elif case.on:
                cause = Cause(now_us, False, 0, now_us)
                gone.append(case.change(ChangeKind.RULE_REMOVED, case.shown, cause))
                found.append((0, case.order, case.place, gone[-1]))
        for change in gone:
            self._tell(change)
        self._judge(0, found)
        return found

    def _index(self, registry: Registry, numbers: Mapping[str, int]) -> None:
        self._of_series, self._of_fact = {}, {}
        for at, case in enumerate(self.cases_of):
            for number in case.numbers:
                self._of_series.setdefault(number, []).append(at)
            for part, fact in case.facts():
                self._of_fact.setdefault((fact.rule, fact.asset), []).append((at, part, fact.level))
        self.wanted = np.zeros(max(numbers.values(), default=-1) + 1, np.bool_)
        self.wanted[[n for case in self.cases_of for n in (*case.numbers, *case.looks_at)]] = True
        self._wait_us = {s.id: s.max_gap_us for s in registry.series.values()}
        self._names = {number: name for name, number in numbers.items()}
        heard = self._world.heard
        self._world.heard = {n: heard[n] for n in np.flatnonzero(self.wanted).tolist() if n in heard}

    def feed(self, changes: list[Found], values: Samples | None, now_us: int) -> list[Found]:
        """Judge the rows of a batch: `values` are its samples (others than `wanted` are passed over), `changes` what
        the rules on single series said of them; what it says bears the row."""
        if values is None or not len(values):
            return self._steps([], changes, now_us)
        size = len(self.wanted)
        place = np.flatnonzero((values.channel < size) & (values.flags & (IGNORED | LATE) == 0))
        those = values.take(place[self.wanted[values.channel[place]]])
        columns = (those.row, those.channel, those.event_us, those.value, those.flags)
        return self._steps(list(zip(*(c.tolist() for c in columns), strict=True)), changes, now_us)

    def feed_deadlines(self, changes: list[Found], silent: Index, due_us: I64, now_us: int) -> list[Found]:
        """The same of deadlines: `silent` are the series (n,) that the watchdog found silent, `due_us` (n,) when."""
        dues = zip(silent.tolist(), due_us.tolist(), strict=True)
        return self._steps([(due, n, due, 0.0, _MISSED) for n, due in dues], changes, now_us)

    def _steps(self, samples: list[_Sample], changes: list[Found], now_us: int) -> list[Found]:
        """Step by step: its samples in their order, its changes in that of the rules, then the cases."""
        changes = sorted(changes, key=itemgetter(0, 1, 2))
        inputs = [(sample[0], 0, i) for i, sample in enumerate(samples)]
        inputs += [(change[0], 1, i) for i, change in enumerate(changes)]
        inputs.sort()
        found: list[Found] = []
        for row, step in itertools.groupby(inputs, key=itemgetter(0)):
            for _, is_change, i in step:
                if is_change:
                    self._tell(changes[i][3])
                else:
                    self._hear(samples[i], now_us)
            self._judge(row, found)
        return found

    def _hear(self, sample: _Sample, now_us: int) -> None:
        """A sample in its series' order, or that none came."""
        _, number, event_us, value, flags = sample
        heard = self._world.heard.get(number)
        if flags == _MISSED:
            cause = Cause(event_us, False, 0, now_us)
            if heard is not None:
                heard.doubt |= SILENT
        else:
            wait_us = self._wait_us.get(self._names[number], MAX_AGE_US)
            cause = Cause(event_us, flags & BACKLOG != 0, wait_us, now_us)
            doubt = SAMPLE_BAD if flags & BAD else 0
            if heard is None:
                heard = self._world.heard[number] = Heard(event_us, 0.0, doubt)
            heard.last_us, heard.doubt = event_us, doubt
            if not doubt:
                heard.value = value
        for at in self._of_series.get(number, ()):
            self._touch(at, cause)

    def _tell(self, change: Change) -> None:
        """A rule says something of an asset."""
        if change.kind is ChangeKind.CORRECTION:
            # The verdict stands, and so does what followed from it.
            return
        before, now = self._note(change)
        wait_us = change.confirm_within_us or self._wait_us.get(change.asset, MAX_AGE_US)
        cause = Cause(change.event_us, change.backlog, wait_us, change.now_us)
        for key in ((change.rule, change.asset), (change.rule, None)):
            for at, part, level in self._of_fact.get(key, ()):
                if before < level <= now:
                    self.cases_of[at].begins(part, change.event_us)
                self._touch(at, cause)

    def _touch(self, at: int, cause: Cause) -> None:
        if at not in self._touched:
            heapq.heappush(self._waiting, at)
        self._touched[at] = cause

    def _note(self, change: Change) -> tuple[int, int]:
        """Take what a change says; returns the level before and now."""
        told = self._world.told.setdefault(change.rule, {})
        before = told[change.asset].level if change.asset in told else 0
        if change.detail.startswith(DOUBTFUL) and change.kind in (ChangeKind.ONSET, ChangeKind.LEVEL_UP):
            # A gauge that may be broken warns the room; no other rule takes it for a fact.
            if not told:
                del self._world.told[change.rule]
            return before, before
        if change.kind in (ChangeKind.CLEAR, ChangeKind.RULE_REMOVED):
            told.pop(change.asset, None)
        elif change.kind is not ChangeKind.CONFIRMED:
            told[change.asset] = Told(change.level, change.kind is ChangeKind.UNKNOWN)
        now = told[change.asset].level if change.asset in told else 0
        if not told:
            del self._world.told[change.rule]
        return before, now

    def _judge(self, row: int, found: list[Found]) -> None:
        """Every case that this step concerns, and those that what they say concerns, which all come later."""
        while self._waiting:
            at = heapq.heappop(self._waiting)
            case = self.cases_of[at]
            for change in case.judge(self._world, self._touched.pop(at)):
                found.append((row, case.order, case.place, change))
                self._tell(change)

    def state(self) -> dict[str, Any]:
        """A copy of everything, canonical."""
        heard = sorted(self._world.heard.items())
        cases = sorted(
            (case for case in self.cases_of if not case.at_rest()), key=lambda c: (c.rule.id, c.asset)
        )
        return {
            "series": np.array([n for n, _ in heard], np.int32),
            "last_us": np.array([h.last_us for _, h in heard], np.int64),
            "value": np.array([h.value for _, h in heard], np.float64),
            "doubt": np.array([h.doubt for _, h in heard], np.uint8),
            "facts": [
                [rule, asset, one.level, one.unknown]
                for rule, told in sorted(self._world.told.items())
                for asset, one in sorted(told.items())
            ],
            "cases": [
                [
                    c.rule.id,
                    c.asset,
                    c.on,
                    c.unknown,
                    c.unconfirmed,
                    c.since_us,
                    c.last_us,
                    c.shown,
                    *c.parts(),
                ]
                for c in cases
            ],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Back to what `state` gave, in one of the same pack and numbers."""
        columns = (state["last_us"], state["value"], state["doubt"])
        rows = zip(*(column.tolist() for column in columns), strict=True)
        self._world = World()
        self._world.heard = {n: Heard(*row) for n, row in zip(state["series"].tolist(), rows, strict=True)}
        for rule, asset, level, unknown in state["facts"]:
            self._world.told.setdefault(rule, {})[asset] = Told(level, unknown)
        held = {(rule, asset): rest for rule, asset, *rest in state["cases"]}
        at_rest = [False, False, False, NO_TIME, 0, 0.0, NO_TIME, NO_TIME]
        for case in self.cases_of:
            _put(case, held.get((case.rule.id, case.asset), at_rest))


def _put(case: Case, held: list[Any]) -> None:
    case.on, case.unknown, case.unconfirmed, case.since_us, case.last_us, case.shown, *parts = held
    case.put_parts(*parts)


def _carry(before: Case, case: Case) -> None:
    """The same rule in another pack goes on; a delay only where nothing of the rule was edited."""
    delay = (before.since_us, before.last_us) if before.rule == case.rule else (NO_TIME, 0)
    _put(case, [before.on, before.unknown, before.unconfirmed, *delay, before.shown, *before.parts()])
