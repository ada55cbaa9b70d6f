"""Everything the server needs of the process that runs it, in one bundle."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from prometheus_client import CollectorRegistry

from ioc.accounts import Accounts
from ioc.model import Acknowledge, Alarm, Event, Outcome, Reinject, Reinjected, Transition
from ioc.wall.given import Status
from ioc.wall.hub import Hub
from ioc.wall.view import View
from ioc.wall.wire import ShadowItem, TriedItem, WhyItem


class History(Protocol):
    """Stored readings and events."""

    async def readings(
        self, number: int, since_us: int, until_us: int, limit: int
    ) -> Sequence[tuple[int, float, int]]:
        """The newest `limit` of since ≤ event time < until as (event_us, value, flags), oldest first.

        Raises StoreUnavailable.
        """

    async def events(
        self,
        limit: int,
        before: int | None = None,
        *,
        domain: str | None = None,
        station: str | None = None,
        kind: str | None = None,
        id_: str | None = None,
        since_us: int = ...,
        until_us: int = ...,
        revisions: bool = False,
    ) -> Sequence[tuple[int, Event]]:
        """The newest `limit` events with a record number lower than `before`, newest first, each with that number.

        Those of since ≤ end, start < until; each at its highest revision unless all `revisions` are asked for. Raises
        StoreUnavailable.
        """

    async def steps(self, alarms: Sequence[str]) -> Sequence[Transition]:
        """All steps of these alarms, in order. Raises StoreUnavailable."""


class Posted(Protocol):
    """What came of rules that were posted."""

    def plain(self, most: int) -> dict[str, Any]:
        """As it is answered; of the series that change, at most so many of each kind."""


class Rulebook(Protocol):
    """Which rules are in force, and how others come into force."""

    def about(self) -> dict[str, Any]:
        """The version in force; `at_us` is when it was loaded."""

    def versions(self) -> list[dict[str, Any]]:
        """The last ones, newest first."""

    def files(self) -> Mapping[str, str]:
        """The texts in force by name."""

    async def post(
        self, files: Mapping[str, str] | None, actor: str, actor_name: str, *, dry_run: bool
    ) -> Posted:
        """Rules in place of the folder's, or with None the folder's. Raises PackError and LogWriteFailed."""


class Trials(Protocol):
    """What the rules that are only tried would have done."""

    def rules(self) -> Sequence[TriedItem]:
        """The rules there is a record of, those that are tried now first."""

    def record(self, rule: str, limit: int) -> ShadowItem | None:
        """One rule's, with its newest entries."""


@dataclass
class Services:
    """Everything the server needs of the process that runs it.

    `submit` writes a command to the log and feeds it; it raises LogWriteFailed. `alarm` also finds what has closed
    lately. `reinject` carries a re-injection out, with the same exception. `session_key` signs sessions: kept in a file, it lets them outlive a restart. `origins` are further
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
    reinject: Callable[[Reinject], Awaitable[Reinjected]] | None = None
    rulebook: Rulebook | None = None
    trials: Trials | None = None
    why: Callable[[str, int | None], Awaitable[WhyItem | None]] | None = None
    """Explains a step of an alarm, by default the one that raised it as it stands; None if neither is known."""
    history: History | None = None
    pack_folder: Path | None = None
    origins: frozenset[str] = frozenset()
