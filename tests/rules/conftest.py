"""One engine with few series, spoken to in seconds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from support.rule_world import START, S, numbers_of, registry, rules

from ioc.model import Batch, Change, SourceState
from ioc.registry import Registry
from ioc.rules.engine import Engine

WORLD = registry({"a": ["level"], "b": ["level"]})


class Desk:
    """Feeds an engine and tells changes in short; times in seconds after the start."""

    def __init__(self, *items: Mapping[str, Any], world: Registry = WORLD, connected: bool = True) -> None:
        self.world = world
        self.numbers = numbers_of(world)
        self.engine = Engine(Registry((), {}), {}, {})
        self.engine.rebuild(world, rules(*items), self.numbers, START)
        if connected:
            self.source(0, True)

    def row(
        self,
        at_s: float,
        value: float,
        flags: int = 0,
        *,
        event_s: float | None = None,
        series: int = 0,
    ) -> list[Change]:
        """One sample; its event time is the time of receipt unless said otherwise."""
        now_us = START + round(at_s * S)
        event_us = now_us if event_s is None else START + round(event_s * S)
        return self.engine.feed_batch(
            Batch.of("mqtt", [series], [event_us], [now_us], [value], [flags]), now_us
        )

    def source(self, at_s: float, connected: bool, generation: int = 1, name: str = "mqtt") -> list[Change]:
        """A source comes or goes."""
        return self.engine.feed_source(SourceState(name, connected, generation), START + round(at_s * S))

    def until(self, at_s: float) -> list[Change]:
        """Time passes."""
        return self.engine.feed_deadlines(START + round(at_s * S))

    def load(self, at_s: float, *items: Mapping[str, Any]) -> list[Change]:
        """Another set of rules."""
        return self.engine.rebuild(self.world, rules(*items), self.numbers, START + round(at_s * S))

    @property
    def due_s(self) -> float:
        """The next deadline."""
        return (self.engine.next_deadline_us() - START) / S


@pytest.fixture
def desk() -> Callable[..., Desk]:
    """Makes a desk of rules."""
    return Desk


@pytest.fixture
def brief() -> Callable[[list[Change]], list[tuple[str, int]]]:
    """Changes as (kind, level)."""
    return lambda changes: [(str(change.kind), change.level) for change in changes]
