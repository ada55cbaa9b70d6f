"""Everything the server needs of the process that runs it, in one bundle."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from prometheus_client import CollectorRegistry

from ioc.accounts import Accounts
from ioc.model import Acknowledge, Alarm, Outcome, Reinject, Reinjected
from ioc.wall.given import Status
from ioc.wall.hub import Hub
from ioc.wall.view import View


class History(Protocol):
    """Stored readings."""

    async def readings(
        self, number: int, since_us: int, until_us: int, limit: int
    ) -> Sequence[tuple[int, float, int]]:
        """The newest `limit` of since ≤ event time < until as (event_us, value, flags), oldest first.

        Raises StoreUnavailable.
        """


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
    history: History | None = None
    pack_folder: Path | None = None
    origins: frozenset[str] = frozenset()
