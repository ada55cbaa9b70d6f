"""What the wall is given by whoever runs it: protocols of the pieces it may not import, and one bundle of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ioc.accounts import Accounts
from ioc.model import Acknowledge, Alarm, Outcome, Transition
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

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from ioc.wall.hub import Hub
    from ioc.wall.view import View


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
    def alarm(self, alarm: Alarm) -> AlarmItem: ...
    def transition(self, step: Transition) -> TransitionItem: ...
    def rules(self) -> list[dict[str, Any]]: ...


class History(Protocol):
    """Stored readings."""

    async def readings(
        self, number: int, since_us: int, until_us: int, limit: int
    ) -> Sequence[tuple[int, float, int]]:
        """The newest `limit` of since ≤ event time < until as (event_us, value, flags), oldest first.

        Raises StoreUnavailable.
        """


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """What only the source's shell knows of it."""

    kind: str = ""
    shed: int = 0
    last_error: str = ""


@dataclass(frozen=True, slots=True)
class Status:
    """What only the running process knows."""

    log: LogItem = field(default_factory=LogItem)
    history: HistoryItem = field(default_factory=HistoryItem)
    mqtt: str = "down"
    sources: Mapping[str, SourceStatus] = field(default_factory=dict)


@dataclass
class Services:
    """Everything the server needs of the process that runs it.

    `submit` writes a command to the log and feeds it; it raises LogWriteFailed. `alarm` also finds what has closed
    lately. `session_key` signs sessions: kept in a file, it lets them outlive a restart. `origins` are further
    origins of browsers, as `https://ioc.example`, for where a proxy changes the host.
    """

    view: View
    hub: Hub
    accounts: Accounts
    alarm: Callable[[str], Alarm | None]
    submit: Callable[[Acknowledge], Awaitable[Outcome]]
    status: Callable[[], Status]
    now_us: Callable[[], int]
    ready: Callable[[], bool]
    version: str
    session_key: bytes
    metrics: CollectorRegistry
    static: Path
    history: History | None = None
    pack_folder: Path | None = None
    origins: frozenset[str] = frozenset()
