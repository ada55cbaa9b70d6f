"""Clocks that are wrong: stations whose samples come from the future.

What is FUTURE is nothing to any other rule and moves no mark (`ioc/ingest/order.py`), so that a station whose clock
is ahead would simply fall silent. This says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ioc.model.batch import F64, I32, I64, NOT_JUDGED, Bool, Flag
from ioc.model.change import Change, ChangeKind
from ioc.registry import Registry
from ioc.rules.found import Found
from ioc.rules.samples import Samples
from ioc.rules.spec import ClockSkewRule, Rule
from ioc.rules.table import names

_FUTURE = int(Flag.FUTURE)


@dataclass(slots=True)
class _Watch:
    """One rule: its place in the pack, which series it is about and for which it is on; both of shape (series,)."""

    rule: ClockSkewRule
    order: int
    about: Bool
    on: Bool = field(init=False)

    def __post_init__(self) -> None:
        self.on = np.zeros(len(self.about), np.bool_)


class Skew:
    """How many samples of each series have come from the future one after the other: 13 bytes a series, and 2 for
    each rule."""

    def __init__(self, rules: Mapping[str, Rule], registry: Registry, numbers: Mapping[str, int]) -> None:
        self._watches: list[_Watch] = []
        self._names: list[str] = []
        self._count: I32 = np.zeros(0, np.int32)
        self._ahead_s: F64 = np.zeros(0)
        """How far the last of them was ahead of its receipt; 0 where none counts."""
        self._marked: Bool = np.zeros(0, np.bool_)
        """Whether an ordinary sample ends something."""
        self.rebuild(rules, registry, numbers, 0)

    def rebuild(
        self, rules: Mapping[str, Rule], registry: Registry, numbers: Mapping[str, int], now_us: int
    ) -> list[Found]:
        """Other rules or more series; tells those that were on and are gone."""
        found: list[Found] = []
        before, self._watches = self._watches, []
        self._names = names(numbers)
        size = len(self._names)
        for order, rule in enumerate(rules.values()):
            if isinstance(rule, ClockSkewRule) and rule.enabled:
                theirs = (s for s in registry.series.values() if s.id in numbers and rule.series.matches(s))
                about = np.zeros(size, np.bool_)
                about[[numbers[one.id] for one in theirs]] = True
                self._watches.append(_Watch(rule, order, about))
        by_id = {watch.rule.id: watch for watch in self._watches}
        for watch in before:
            now = by_id.get(watch.rule.id)
            for series in np.flatnonzero(watch.on).tolist():
                if now is not None and now.about[series]:
                    now.on[series] = True
                else:
                    value = float(self._ahead_s[series])
                    self._tell(ChangeKind.RULE_REMOVED, watch, series, 0, value, now_us, found)
        # What no rule looks at is not counted.
        kept = min(size, len(self._count)) if self._watches else 0
        self._count, self._ahead_s = (
            np.resize(self._count[:kept], size),
            np.resize(self._ahead_s[:kept], size),
        )
        self._count[kept:], self._ahead_s[kept:] = 0, 0
        self._mark()
        return found

    def _mark(self) -> None:
        self._marked = self._count > 0
        for watch in self._watches:
            self._marked |= watch.on

    def feed(self, samples: Samples, received_us: I64, now_us: int, found: list[Found]) -> None:
        """Samples of one batch; `received_us` by the row of the batch. Only what is in order, or FUTURE, counts."""
        if not self._watches or not self._names or not len(samples):
            return
        future = samples.flags & _FUTURE != 0
        numbered = samples.channel < len(self._names)
        marked = self._marked.take(samples.channel, mode="clip") & numbered
        if not future.any() and not marked.any():
            return
        # A series that is marked by this batch itself is looked at to its end.
        touched = np.zeros(len(self._names), np.bool_)
        touched[samples.channel[(future & numbered) | marked]] = True
        at = np.flatnonzero(touched.take(samples.channel, mode="clip") & numbered)
        row, series, flags = samples.row[at], samples.channel[at], samples.flags[at]
        ahead_s = (samples.event_us[at] - received_us[row]) / 1e6
        columns = (row, series, flags, ahead_s)
        for place, one, bits, ahead in zip(*(c.tolist() for c in columns), strict=True):
            if bits & _FUTURE:
                self._count[one] += 1
                self._ahead_s[one] = ahead
                self._marked[one] = True
                for watch in self._watches:
                    if watch.about[one] and not watch.on[one] and self._count[one] >= watch.rule.count:
                        watch.on[one] = True
                        self._tell(ChangeKind.ONSET, watch, one, place, ahead, now_us, found)
            elif not bits & NOT_JUDGED and self._marked[one]:
                self._count[one], self._ahead_s[one], self._marked[one] = 0, 0, False
                for watch in self._watches:
                    if watch.on[one]:
                        watch.on[one] = False
                        self._tell(ChangeKind.CLEAR, watch, one, place, ahead, now_us, found)

    def _tell(
        self,
        kind: ChangeKind,
        watch: _Watch,
        series: int,
        place: int,
        ahead_s: float,
        now_us: int,
        found: list[Found],
    ) -> None:
        change = Change(
            kind=kind,
            rule=watch.rule.id,
            asset=self._names[series],
            level=1 if kind is ChangeKind.ONSET else 0,
            priority=watch.rule.priority,
            value=ahead_s,
            limit=0.0,
            # Not the sample's own time, which is what is wrong.
            event_us=now_us,
            now_us=now_us,
        )
        found.append((place, watch.order, series, change))

    def state(self) -> dict[str, Any]:
        """What differs from rest, canonical."""
        series = np.flatnonzero(self._count > 0)
        return {
            "series": series,
            "count": self._count[series],
            "ahead_s": self._ahead_s[series],
            "on": {watch.rule.id: np.flatnonzero(watch.on) for watch in self._watches if watch.on.any()},
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Back to what `state` gave, with the same rules and numbers."""
        self._count[:], self._ahead_s[:] = 0, 0
        self._count[state["series"]], self._ahead_s[state["series"]] = state["count"], state["ahead_s"]
        for watch in self._watches:
            watch.on[:] = False
            watch.on[state["on"].get(watch.rule.id, np.zeros(0, np.int64))] = True
        self._mark()
