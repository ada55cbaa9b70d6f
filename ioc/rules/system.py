"""What the centre watches about itself: sources that are down, and facts such as a disk that fills."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ioc.model.batch import I64, Bool
from ioc.model.change import Change, ChangeKind
from ioc.model.inputs import SourceState, SystemFact
from ioc.registry import NO_DEADLINE_US
from ioc.rules.found import Found
from ioc.rules.spec import Rule, SourceDownRule, SystemRule

NEVER: Final = -1
DEFAULT_SOURCE: Final = "mqtt"
"""Whose a series is that has never been heard, if there is such a source."""


@dataclass(slots=True)
class Source:
    """One source as it stands; times are the core's."""

    connected: bool = False
    generation: int = 0
    since_us: int = NEVER
    """Since when it is, or last was, connected."""
    down_us: int = NEVER
    """When it was lost; NEVER while connected or before its state was first told."""
    detail: str = ""


@dataclass(slots=True)
class Raised:
    """A system rule that is on: what its alarm shows."""

    value: float
    limit: float
    priority: int
    detail: str = ""


def asset_of(name: str) -> str:
    """What an alarm about the centre itself is about."""
    return f"system/{name}"


class System:
    """Sources by name and which system rules are on."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.sources: dict[str, Source] = {}
        self.raised: dict[tuple[str, str], Raised] = {}
        """By rule id and asset."""
        self._down: list[tuple[int, SourceDownRule]] = []
        self._facts: list[tuple[int, SystemRule]] = []

    def rebuild(self, rules: Mapping[str, Rule], now_us: int) -> list[Found]:
        """Other rules; tells those that were on and are gone."""
        before = {r.id: (i, _about(r)) for i, r in [*self._down, *self._facts]}
        enabled = [(i, r) for i, r in enumerate(rules.values()) if r.enabled]
        self._down = [(i, r) for i, r in enabled if isinstance(r, SourceDownRule)]
        self._facts = [(i, r) for i, r in enabled if isinstance(r, SystemRule)]
        now = {r.id: _about(r) for _, r in [*self._down, *self._facts]}
        found: list[Found] = []
        for rule_id, asset in sorted(self.raised):
            order, about = before[rule_id]
            # The id alone does not make it the same rule: what would end the one never ends the other.
            if now.get(rule_id) != about:
                gone = self.raised.pop((rule_id, asset))
                change = _change(ChangeKind.RULE_REMOVED, rule_id, asset, gone, now_us, now_us)
                found.append((0, order, 0, change))
        return found

    def index(self, name: str) -> int:
        """The number by which the columns know a source; it is given at first sight."""
        if name not in self.sources:
            self.sources[name] = Source()
            self.names.append(name)
        return self.names.index(name)

    def columns(self) -> tuple[Bool, I64]:
        """Whether each source is connected, and since when it is or last was; one more row for no source at all."""
        known = [self.sources[name] for name in self.names]
        return (
            np.array([*(s.connected for s in known), False], np.bool_),
            np.array([*(s.since_us for s in known), NEVER], np.int64),
        )

    def default(self) -> int:
        """The source of what has never been heard; −1 if there is none."""
        if not self.names:
            return -1
        return self.names.index(DEFAULT_SOURCE if DEFAULT_SOURCE in self.sources else min(self.names))

    def feed_source(self, state: SourceState, now_us: int) -> list[Change]:
        """A source came or went."""
        self.index(state.source)
        source = self.sources[state.source]
        source.detail = state.detail
        if state.withdrawn:
            source.connected, source.down_us = False, NEVER
            abouts = [(rule.id, asset_of(state.source)) for _, rule in self._down]
            return [
                _change(ChangeKind.RULE_REMOVED, *about, self.raised.pop(about), now_us, now_us, state.detail)
                for about in abouts
                if about in self.raised
            ]
        if not state.connected:
            if source.connected or source.down_us == NEVER:
                source.connected, source.down_us = False, now_us
            return []
        lost_us, source.down_us = source.down_us, NEVER
        if not source.connected or source.generation != state.generation:
            source.connected, source.generation, source.since_us = True, state.generation, now_us
        changes = []
        for _, rule in self._down:
            about = (rule.id, asset_of(state.source))
            if about in self.raised:
                raised = self.raised.pop(about)
                raised.value = (now_us - lost_us) / 1e6
                changes.append(_change(ChangeKind.CLEAR, *about, raised, now_us, now_us, state.detail))
        return changes

    def feed_fact(self, fact: SystemFact, now_us: int) -> list[Change]:
        """Something about the centre began or ended, or it began once more before it had ended."""
        changes = []
        for _, rule in self._facts:
            about = (rule.id, asset_of(fact.asset))
            before = self.raised.get(about)
            if rule.fact != fact.name or (before is None and not fact.active):
                continue
            raised = Raised(fact.value, 0.0, rule.priority, fact.detail)
            if before is not None:
                if fact.active and (before.value, before.detail) == (raised.value, raised.detail):
                    continue
                del self.raised[about]
                # Ended by what is told of its end, or, by another of its kind, as it was.
                ended = before if fact.active else Raised(fact.value, 0.0, before.priority, fact.detail)
                changes.append(_change(ChangeKind.CLEAR, *about, ended, now_us, now_us, ended.detail))
            if fact.active:
                self.raised[about] = raised
                changes.append(_change(ChangeKind.ONSET, *about, raised, now_us, now_us, raised.detail))
        return changes

    def _due(self) -> list[tuple[int, int, SourceDownRule, str]]:
        return [
            (source.down_us + rule.after, order, rule, name)
            for name, source in sorted(self.sources.items())
            if source.down_us != NEVER
            for order, rule in self._down
            if (rule.id, asset_of(name)) not in self.raised
        ]

    def next_deadline_us(self) -> int:
        """When the next source has been down for too long."""
        return min((due_us for due_us, *_ in self._due()), default=NO_DEADLINE_US)

    def fire(self, now_us: int) -> list[Found]:
        """Every source that has been down for too long."""
        found: list[Found] = []
        for due_us, order, rule, name in self._due():
            if due_us <= now_us:
                raised = Raised(rule.after / 1e6, rule.after / 1e6, rule.priority)
                self.raised[rule.id, asset_of(name)] = raised
                detail = self.sources[name].detail
                change = _change(ChangeKind.ONSET, rule.id, asset_of(name), raised, due_us, now_us, detail)
                found.append((due_us, order, 0, change))
        return found

    def state(self) -> dict[str, Any]:
        """Canonical: by name."""
        return {
            "sources": {
                name: [s.connected, s.generation, s.since_us, s.down_us, s.detail]
                for name, s in sorted(self.sources.items())
            },
            "raised": [
                [rule, asset, r.value, r.limit, r.priority, r.detail]
                for (rule, asset), r in sorted(self.raised.items())
            ],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Back to what `state` gave."""
        self.sources = {name: Source(*fields) for name, fields in sorted(state["sources"].items())}
        self.names = list(self.sources)
        self.raised = {(rule, asset): Raised(*shown) for rule, asset, *shown in state["raised"]}


def _about(rule: object) -> str:
    """What a rule watches: the fact's name, or nothing for sources."""
    return rule.fact if isinstance(rule, SystemRule) else ""


def _change(
    kind: ChangeKind, rule: str, asset: str, raised: Raised, event_us: int, now_us: int, detail: str = ""
) -> Change:
    level = 1 if kind is ChangeKind.ONSET else 0
    return Change(
        kind,
        rule,
        asset,
        level,
        raised.priority,
        raised.value,
        raised.limit,
        event_us,
        now_us,
        detail=detail,
    )
