"""The rules' stage: told batches, the state of sources, facts and the time, it says which verdicts changed.

What it says of rows is the same however they are cut into batches, and the same after a restart at any place.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ioc.model.batch import Batch, Bool
from ioc.model.change import Change
from ioc.model.inputs import SourceState, SystemFact
from ioc.registry import NO_DEADLINE_US, Registry
from ioc.rules.found import Found, in_order
from ioc.rules.limits import Limits
from ioc.rules.silence import Watchdog
from ioc.rules.spec import Rule
from ioc.rules.system import System
from ioc.rules.table import limit_table, names, watches


class Engine:
    """Every rule of one pack on every numbered series. Knows nothing of alarms."""

    def __init__(self, registry: Registry, rules: Mapping[str, Rule], numbers: Mapping[str, int]) -> None:
        self._system = System()
        self._watchdog = Watchdog(self._system)
        self._limits = _limits(Registry((), {}), {}, {})
        self._system_us = NO_DEADLINE_US
        """When the next source has been down for too long."""
        self.rebuild(registry, rules, numbers, 0)

    def rebuild(
        self, registry: Registry, rules: Mapping[str, Rule], numbers: Mapping[str, int], now_us: int
    ) -> list[Change]:
        """Another pack, or more series: state is kept by rule, series and level; a new limit takes effect at the next
        sample; what was active and is judged no more is told."""
        found = self._system.rebuild(rules, now_us)
        columns = registry.columns(numbers)
        found += self._watchdog.rebuild(columns, watches(registry, rules, numbers), names(numbers), now_us)
        before, self._limits = self._limits, _limits(registry, rules, numbers)
        self._limits.take_over(before, now_us, found)
        self._system_us = self._system.next_deadline_us()
        return in_order(found)

    def feed_batch(self, batch: Batch, now_us: int) -> list[Change]:
        """Judge rows that bear their final flags, in their order."""
        if not len(batch):
            return []
        source = self._source(batch.source)
        found: list[Found] = []
        self._watchdog.feed(batch, source, now_us, found)
        self._limits.feed(batch, now_us, found)
        return in_order(found)

    def feed_source(self, state: SourceState, now_us: int) -> list[Change]:
        """A source came or went."""
        changes = self._system.feed_source(state, now_us)
        self._watchdog.refresh_all()
        self._system_us = self._system.next_deadline_us()
        return changes

    def feed_system(self, fact: SystemFact, now_us: int) -> list[Change]:
        """Something about the centre itself."""
        return self._system.feed_fact(fact, now_us)

    def feed_deadlines(self, now_us: int) -> list[Change]:
        """Every deadline up to now, in order; afterwards the next one lies ahead."""
        found = self._system.fire(now_us)
        self._system_us = self._system.next_deadline_us()
        stale, due_us = self._watchdog.fire(now_us, found)
        self._limits.silence(stale, due_us, now_us, found)
        return in_order(found)

    def next_deadline_us(self, until_us: int = NO_DEADLINE_US) -> int:
        """When `feed_deadlines` next has something to do; NO_DEADLINE_US if nothing waits.

        Exact if it is up to `until_us`; otherwise what is returned lies after `until_us`, and no deadline before it:
        that costs nothing, while what is exact may cost a look at every series.
        """
        return min(self._watchdog.next_deadline_us(until_us), self._system_us)

    def series_state(self) -> tuple[Bool, Bool]:
        """By series number: whether it is silent past its deadline, and whether its last sample was of bad quality."""
        return self._watchdog.stale.copy(), self._watchdog.bad.copy()

    def state(self) -> dict[str, Any]:
        """A copy of everything, canonical."""
        return {
            "system": self._system.state(),
            "series": self._watchdog.state(),
            "cells": self._limits.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Back to what `state` gave, in an engine of the same pack and numbers."""
        self._system.restore(state["system"])
        self._watchdog.restore(state["series"])
        limits = self._limits
        self._limits = Limits(limits.table, limits.names, limits.max_gap_us)
        self._limits.restore(state["cells"])
        self._system_us = self._system.next_deadline_us()

    def _source(self, name: str) -> int:
        known = len(self._system.names)
        source = self._system.index(name)
        if len(self._system.names) != known:
            # It may have become the source of what has never been heard.
            self._watchdog.refresh_all()
        return source


def _limits(registry: Registry, rules: Mapping[str, Rule], numbers: Mapping[str, int]) -> Limits:
    return Limits(limit_table(registry, rules, numbers), names(numbers), registry.columns(numbers).max_gap_us)
