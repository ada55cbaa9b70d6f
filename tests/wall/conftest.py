"""A small centre for the wall's tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from support.screens import Centre, presenter, write_pack

from ioc.credentials import hash_password
from ioc.errors import LogWriteFailed, StoreUnavailable
from ioc.model import Acknowledge, Event, Outcome, Role, Transition
from ioc.presentation import Presenter
from ioc.wall.given import Status
from ioc.wall.services import Services


@pytest.fixture(scope="session")
def words(tmp_path_factory: pytest.TempPathFactory) -> Presenter:
    return presenter(tmp_path_factory.mktemp("pack"))


@pytest.fixture
def pack_folder(tmp_path: Path) -> Path:
    return write_pack(tmp_path / "pack")


@pytest.fixture
def centre(words: Presenter) -> Centre:
    return Centre(words)


PASSWORD = "mật-khẩu-thử"
TOKEN = "kiosk-token-for-tests"


@pytest.fixture(scope="session")
def secret() -> str:
    return hash_password(PASSWORD)


class Desk:
    """A server's services over a small centre, and what tests turn about them."""

    def __init__(self, centre: Centre, secret: str, folder: Path) -> None:
        self.centre = centre
        self.commands: list[Acknowledge] = []
        self.disk_full = False
        self.ready = True
        self.stored: list[tuple[int, float, int]] | None = []
        self.events_stored: list[tuple[int, Event]] | None = []
        self.events_asked: dict[str, Any] = {}
        centre.person("truc.ban", secret, Role.OFFICER, "Trực ban")
        centre.person("lan", secret, Role.OFFICER, "Lan")
        centre.person("khach", secret, Role.VIEWER, "Khách")
        centre.kiosk("wall-1", TOKEN)
        self.services = Services(
            view=centre.view,
            hub=centre.hub,
            accounts=centre.accounts,
            alarm=centre.book.remembered,
            submit=self.submit,
            status=lambda: Status(mqtt="ok"),
            now_us=lambda: centre.now_us,
            ready=lambda: self.ready,
            version="0.1.0",
            session_key=b"k" * 32,
            metrics=CollectorRegistry(),
            static=folder / "static",
            history=self,
            pack_folder=folder,
        )

    async def submit(self, command: Acknowledge) -> Outcome:
        if self.disk_full:
            raise LogWriteFailed("no space left")
        self.commands.append(command)
        return self.centre.command(command)

    async def readings(
        self, number: int, since_us: int, until_us: int, limit: int
    ) -> list[tuple[int, float, int]]:
        if self.stored is None:
            raise StoreUnavailable("no database")
        return [row for row in self.stored if since_us <= row[0] < until_us][-limit:]

    async def steps(self, alarms: Sequence[str]) -> list[Transition]:
        return []

    async def events(self, limit: int, before: int | None = None, **asked: Any) -> list[tuple[int, Event]]:
        if self.events_stored is None:
            raise StoreUnavailable("no database")
        self.events_asked = asked
        return [row for row in self.events_stored if before is None or row[0] < before][:limit]


@pytest.fixture
def desk(centre: Centre, secret: str, pack_folder: Path) -> Desk:
    return Desk(centre, secret, pack_folder)
