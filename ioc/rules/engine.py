"""The rules' stage: told batches, events, the state of sources, facts and the time, it says which verdicts changed.

    batch → quality tests → derived series ─→ limits ─→ joint rules → changes
                 └──────────────────────────────┘
What it says of rows is the same however they are cut into batches, and the same after a restart at any place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import structs

from ioc.model.batch import DERIVED, I64, Batch, Bool, Flag
from ioc.model.change import Change
from ioc.model.event import Event
from ioc.model.inputs import SourceState, SystemFact
from ioc.registry import NO_DEADLINE_US, Registry
from ioc.rules import kernels
from ioc.rules.composite import Composite
from ioc.rules.derive.plan import Planned
from ioc.rules.derive.stage import Derivations
from ioc.rules.found import Found, in_order
from ioc.rules.limits import Limits
from ioc.rules.near import Neighbours
from ioc.rules.samples import BAD, LATE, RETRACTED, Samples
from ioc.rules.silence import Watchdog
from ioc.rules.skew import Skew
from ioc.rules.spec import Rule
from ioc.rules.system import System
from ioc.rules.table import LimitTable, limit_table, names, watches

if TYPE_CHECKING:
    from ioc.rules.quality import Quality

WATCH_BYTES = 96
"""Of one series: what the watchdog and `order.py`'s mark hold, known stamps apart (16 bytes each)."""
AGREES_WITHIN_KM = 20.0
"""A doubtful exceedance is one after all where a neighbour so near is beyond the same level."""


class Engine:
    """Every rule of one pack on every numbered series. Knows nothing of alarms."""

    def __init__(self, registry: Registry, rules: Mapping[str, Rule], numbers: Mapping[str, int]) -> None:
        self._system = System()
        self._watchdog = Watchdog(self._system)
        self._derivations = Derivations((), (), {}, 0)
        self._limits = _limits(Registry((), {}), {}, {}, self._derivations, 0)
        self._composite = Composite(Registry((), {}), {}, {})
        self._skew = Skew({}, Registry((), {}), {})
        self._quality: Quality | None = None
        """None where no series has tests: what they need is a compiler."""
        self._stale_derived = np.zeros(0, np.bool_)
        """(series,) Derived series one of whose inputs is silent."""
        self._bad_derived = np.zeros(0, np.bool_)
        """(series,) Derived series of which nothing can be said at the moment."""
        self._system_us = NO_DEADLINE_US
        """When the next source has been down for too long."""
        self.rebuild(registry, rules, numbers, 0)

    def rebuild(
        self,
        registry: Registry,
        rules: Mapping[str, Rule],
        numbers: Mapping[str, int],
        now_us: int,
        planned: Sequence[Planned] = (),
        utc_offset_us: int = 0,
    ) -> list[Change]:
        """Another pack, or more series: state is kept by rule, series and level, and by derived series; a new limit
        takes effect at the next sample; what was active and is judged no more is told."""
        found = self._system.rebuild(rules, now_us)
        columns, labels = registry.columns(numbers), names(numbers)
        found += self._watchdog.rebuild(columns, watches(registry, rules, numbers), labels, now_us)
        derivations, self._derivations = (
            self._derivations,
            Derivations(planned, labels, numbers, utc_offset_us),
        )
        self._derivations.take_over(derivations)
        before, self._limits = (
            self._limits,
            _limits(registry, rules, numbers, self._derivations, utc_offset_us),
        )
        self._limits.take_over(before, now_us, found)
        bad, self._bad_derived = self._bad_derived, np.zeros(len(labels), np.bool_)
        self._bad_derived[: len(bad)] = bad[: len(labels)]
        self._mark_derived()
        self._rebuild_quality(registry, numbers, utc_offset_us)
        found += self._skew.rebuild(rules, registry, numbers, now_us)
        own = self._composite.rebuild(registry, rules, numbers, now_us)
        found += own + self._composite.feed(found, None, now_us)
        self._system_us = self._system.next_deadline_us()
        return in_order(found)

    def _rebuild_quality(self, registry: Registry, numbers: Mapping[str, int], utc_offset_us: int) -> None:
        before, self._quality = self._quality, None
        if any(series.quality is not None for series in registry.series.values()):
            from ioc.rules.quality import Quality

            self._quality = Quality(registry, numbers, utc_offset_us)
            if before is not None:
                self._quality.take_over(before)

    def feed_batch(self, batch: Batch, now_us: int) -> list[Change]:
        """Judge rows that bear their final flags, in their order."""
        changes, _ = self.judge_batch(batch, now_us)
        return changes

    def judge_batch(self, batch: Batch, now_us: int) -> tuple[list[Change], Batch | None]:
        """The same, and the samples of derived series that these rows made, if any."""
        if not len(batch):
            return [], None
        found, derived = self._found(batch, now_us, now_us)
        return in_order(found), self._as_batch(derived, batch.received_us[-1])

    def judge_stretch(self, batch: Batch) -> list[Change]:
        """Rows each of which is fed at its own receive time: what one batch for each such time would say.

        They are in that order, no deadline falls between them, and none is BACKLOG or FUTURE.
        What screens ask of derived series is not kept.
        """
        if not len(batch):
            return []
        found, _ = self._found(batch, int(batch.received_us[-1]), batch.received_us)
        return in_order(
            [
                (row, rule, one, structs.replace(change, now_us=int(batch.received_us[row])))
                for row, rule, one, change in found
            ]
        )

    def _found(self, batch: Batch, now_us: int, heard_us: int | I64) -> tuple[list[Found], list[Samples]]:
        """What rows make, and the samples of what is derived; `heard_us` is when they were, all or each."""
        source = self._source(batch.source)
        found: list[Found] = []
        samples = Samples.of(batch)
        if self._quality is not None:
            samples = self._quality.feed(samples)
            batch = replace(batch, flags=samples.flags[samples.flags & RETRACTED == 0])
        self._watchdog.feed(batch, source, heard_us, found)
        self._skew.feed(samples, batch.received_us, now_us, found)
        self._limits.feed(samples, now_us, found)
        derived = self._derivations.feed(samples)
        for part in derived:
            self._limits.feed(part, now_us, found)
        if self._composite:
            found += self._composite.feed(found, Samples.concat([samples, *derived]), now_us)
        if self._stale_derived.any():
            self._mark_derived()
        return found, derived

    def feed_event(self, event: Event, now_us: int) -> list[Change]:
        """What is not a number and some derived series count."""
        changes, _ = self.judge_event(event, now_us)
        return changes

    def judge_event(self, event: Event, now_us: int) -> tuple[list[Change], Batch | None]:
        """The same, and the samples of derived series that it made, if any."""
        found: list[Found] = []
        derived = self._derivations.feed_event(event)
        for part in derived:
            self._limits.feed(part, now_us, found)
        if self._composite:
            found += self._composite.feed(found, Samples.concat(derived) if derived else None, now_us)
        return in_order(found), self._as_batch(derived, event.received_us)

    def feed_source(self, state: SourceState, now_us: int) -> list[Change]:
        """A source came or went."""
        changes = self._system.feed_source(state, now_us)
        self._watchdog.refresh_all()
        self._system_us = self._system.next_deadline_us()
        return self._with_joint(changes, now_us)

    def feed_system(self, fact: SystemFact, now_us: int) -> list[Change]:
        """Something about the centre itself."""
        return self._with_joint(self._system.feed_fact(fact, now_us), now_us)

    def _with_joint(self, changes: list[Change], now_us: int) -> list[Change]:
        """Changes, and what the rules over several stations make of them."""
        found: list[Found] = [(0, place, 0, change) for place, change in enumerate(changes)]
        return changes + in_order(self._composite.feed(found, None, now_us)) if self._composite else changes

    def feed_deadlines(self, now_us: int) -> list[Change]:
        """Every deadline up to now, in order; afterwards the next one lies ahead."""
        found = self._system.fire(now_us)
        self._system_us = self._system.next_deadline_us()
        stale, due_us = self._watchdog.fire(now_us, found)
        if self._derivations and len(stale):
            below = [self._derivations.dependents(stale[i : i + 1]) for i in range(len(stale))]
            due_us = np.concatenate([due_us, np.repeat(due_us, [len(each) for each in below])])
            stale = np.concatenate([stale, *below])
            # Once each, when the first of its inputs fell silent.
            first = kernels.first_of_each(stale)
            stale, due_us = stale[first], due_us[first]
            self._mark_derived()
        self._limits.silence(stale, due_us, now_us, found)
        if self._composite:
            numbered = stale < len(self._derivations.names)
            found += self._composite.feed_deadlines(found, stale[numbered], due_us[numbered], now_us)
        return in_order(found)

    def next_deadline_us(self, until_us: int = NO_DEADLINE_US) -> int:
        """When `feed_deadlines` next has something to do; NO_DEADLINE_US if nothing waits.

        Exact if it is up to `until_us`; otherwise what is returned lies after `until_us`, and no deadline before it:
        that costs nothing, while what is exact may cost a look at every series.
        """
        return min(self._watchdog.next_deadline_us(until_us), self._system_us)

    def series_state(self) -> tuple[Bool, Bool]:
        """By series number: whether it is silent past its deadline, and whether its last sample was of bad quality."""
        return self._watchdog.stale | self._stale_derived, self._watchdog.bad | self._bad_derived

    def memory(self) -> dict[str, tuple[int, int]]:
        """What the rules hold: by derived series (`rule:` and its id for the value of a rule), and for the series and
        cells themselves, how many there are and the bytes of each."""
        out = {
            **self._derivations.memory(),
            "series": (len(self._watchdog.stale), WATCH_BYTES),
            "cells": (len(self._limits.table), _bytes(self._limits, self._limits.table)),
        }
        if self._quality is not None:
            each = self._quality.bytes_each
            tested = int((each > 0).sum())
            out["quality"] = (tested, int(each.sum()) // max(tested, 1))
        return out

    def state(self) -> dict[str, Any]:
        """A copy of everything, canonical."""
        return {
            "system": self._system.state(),
            "series": self._watchdog.state(),
            "cells": self._limits.state(),
            "derived": self._derivations.state(),
            "derived_bad": np.flatnonzero(self._bad_derived),
            "quality": self._quality.state() if self._quality is not None else {},
            "skew": self._skew.state(),
            "joint": self._composite.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Back to what `state` gave, in an engine of the same pack and numbers."""
        self._system.restore(state["system"])
        self._watchdog.restore(state["series"])
        limits = self._limits
        self._limits = Limits(limits.table, limits.max_gap_us, limits.near)
        self._limits.restore(state["cells"])
        self._derivations.restore(state.get("derived", {}))
        self._bad_derived[state.get("derived_bad", [])] = True
        if self._quality is not None and state.get("quality"):
            self._quality.restore(state["quality"])
        if "joint" in state:
            self._skew.restore(state["skew"])
            self._composite.restore(state["joint"])
        self._mark_derived()
        self._system_us = self._system.next_deadline_us()

    def _as_batch(self, derived: Sequence[Samples], received_us: int) -> Batch | None:
        """The samples of named derived series as a batch of its own; values inside rules are nobody else's."""
        series = len(self._derivations.names)
        parts = [part for given in derived if len(part := given.take(given.channel < series))]
        if not parts:
            return None
        whole = Samples.concat(parts)
        in_order = whole.flags & LATE == 0
        self._bad_derived[whole.channel[in_order]] = whole.flags[in_order] & BAD != 0
        said = whole.take(~np.isnan(whole.value))
        if not len(said):
            return None
        # What order.py decides of them, it decides when they enter the log.
        flags = said.flags & np.uint16(Flag.UNCERTAIN | Flag.BAD)
        return Batch.of(
            DERIVED,
            said.channel.astype(np.int32),
            said.event_us,
            np.full(len(said), received_us),
            said.value,
            flags,
        )

    def _mark_derived(self) -> None:
        """Which derived series are silent, because one of their inputs is."""
        self._stale_derived = np.zeros(len(self._watchdog.stale), np.bool_)
        if self._derivations:
            below = self._derivations.dependents(np.flatnonzero(self._watchdog.stale))
            self._stale_derived[below[below < len(self._stale_derived)]] = True

    def _source(self, name: str) -> int:
        known = len(self._system.names)
        source = self._system.index(name)
        if len(self._system.names) != known:
            # It may have become the source of what has never been heard.
            self._watchdog.refresh_all()
        return source


def _limits(
    registry: Registry,
    rules: Mapping[str, Rule],
    numbers: Mapping[str, int],
    derivations: Derivations,
    utc_offset_us: int,
) -> Limits:
    channels = derivations.channels
    max_gap_us = registry.columns(numbers).max_gap_us[channels.owner]
    table = limit_table(registry, rules, numbers, channels, utc_offset_us)
    return Limits(table, max_gap_us, Neighbours(registry, numbers, AGREES_WITHIN_KM))


def _bytes(limits: Limits, table: LimitTable) -> int:
    """Bytes of one cell, with its share of what is held for each channel."""
    columns = [*vars(limits).values(), *(getattr(table, f.name) for f in fields(table))]
    whole = sum(column.nbytes for column in columns if isinstance(column, np.ndarray))
    return whole // max(len(table), 1)
