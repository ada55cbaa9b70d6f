"""What the view is given besides outcomes: the pack in words, and what only the running process knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from ioc.model import Alarm, Transition
from ioc.wall.wire import (
    AlarmItem,
    GroupItem,
    HistoryItem,
    InstanceItem,
    LogItem,
    SeriesItem,
    StationItem,
    TransitionItem,
    Words,
)


class Presenter(Protocol):
    """The loaded pack in words; `ioc.presentation.Presenter` is the real one."""

    numbers: Mapping[str, int]
    series: dict[str, SeriesItem]
    stations: list[StationItem]
    groups: list[GroupItem]
    simulated: bool
    map_files: tuple[str, str]

    def watched(self, series_id: str) -> bool: ...
    def instance(self, version: str) -> InstanceItem: ...
    def title(self, rule: str) -> Words: ...
    def guidance(self, rule: str) -> Words | None: ...
    def rationalisation(self, rule: str) -> Mapping[str, Any] | None: ...
    def tells_silence(self, rule: str) -> bool: ...
    def alarm(self, alarm: Alarm) -> AlarmItem: ...
    def transition(self, step: Transition) -> TransitionItem: ...
    def rules(self) -> list[dict[str, Any]]: ...


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """What only the source's shell knows of it."""

    kind: str = ""
    shed: int = 0
    last_error: str = ""
    state: str = "down"
    """`up`, `waiting` (for room in our queue) or `down`."""
    lag: int | None = None
    """What waits for us at the broker, where it says so."""


@dataclass(frozen=True, slots=True)
class Status:
    """What only the running process knows."""

    log: LogItem = field(default_factory=LogItem)
    history: HistoryItem = field(default_factory=HistoryItem)
    mqtt: str = "down"
    sources: Mapping[str, SourceStatus] = field(default_factory=dict)
