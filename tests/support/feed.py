"""`POST /api/v1/readings` over a log that is a list: durable when the test says so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from ioc.credentials import token_digest
from ioc.ingest.decoder import Decoder
from ioc.ingest.http import PATH, Given, HttpSource
from ioc.ingest.receipts import Receipts
from ioc.model import AddToken, Batch, Body, Rejected, RevokeToken, Scope, Verdict
from ioc.wall.given import Status
from ioc.wall.server import create_app
from ioc.wall.services import Services
from support.screens import NUMBERS, Centre
from support.shelf import Offers

SECRET = "sender-token-for-tests"
URL = "http://ioc.test"


class Feed(Offers):
    """The source, the app that it is mounted in, and what its log has taken."""

    def __init__(self, centre: Centre, folder: Path, **settings: Any) -> None:
        self.centre = centre
        self.records: list[tuple[str, Body]] = []
        self.numbers = dict(NUMBERS)
        self.receipts = Receipts()
        self.held: list[tuple[list[Body], str, Callable[[], None] | None]] = []
        self.hold = False
        """What is offered waits for `commit`."""
        self.full = self.crowded = False
        self.writable = True
        self.allow("gateway", SECRET)
        settings = {"body_bytes_max": 1 << 20, "body_timeout_s": 30.0, "requests_max": 4} | settings
        self.decoder = Decoder(self.numbers, 256 * 1024)
        given = Given(
            sink=self,
            decoder=self.decoder,
            receipts=self.receipts,
            token_of=centre.accounts.token_of,
            writable=lambda: self.writable,
            crowded=lambda: self.crowded,
            now_us=lambda: self.centre.now_us,
        )
        self.source = HttpSource("http", given, **settings)
        self.app = self._app(folder)

    def _app(self, folder: Path) -> FastAPI:
        centre = self.centre

        async def submit(_: Any) -> Any:
            raise AssertionError("no command comes this way")

        services = Services(
            view=centre.view,
            hub=centre.hub,
            accounts=centre.accounts,
            alarm=centre.book.remembered,
            submit=submit,
            status=Status,
            now_us=lambda: centre.now_us,
            ready=lambda: True,
            version="0.1.0",
            session_key=b"k" * 32,
            metrics=CollectorRegistry(),
            static=folder / "static",
        )
        return create_app(services, [self.source.router])

    def allow(
        self, name: str, secret: str, scope: Scope = Scope.READINGS, series: tuple[str, ...] = ()
    ) -> None:
        command = AddToken(
            actor="system", token=name, digest=token_digest(secret), scope=scope, series=series
        )
        assert self.centre.accounts.feed(command, self.centre.now_us).verdict is Verdict.DONE

    def revoke(self, name: str) -> None:
        self.centre.accounts.feed(RevokeToken(actor="system", token=name), self.centre.now_us)

    # The log

    def received_us(self) -> int:
        return self.centre.now_us

    def offer_all(
        self,
        bodies: Sequence[Body],
        origin: str = "",
        release: Callable[[], None] | None = None,
        *,
        may_shed: bool = False,
    ) -> None:
        assert bodies, "nothing is offered"
        self.held.append((list(bodies), origin, release))
        if not self.hold:
            self.commit()

    def commit(self) -> None:
        """What was offered becomes durable, is fed, and released."""
        held, self.held = self.held, []
        for bodies, origin, release in held:
            for body in bodies:
                self.records.append((origin, body))
                self.receipts.feed(origin, body, self.centre.now_us)
            if release is not None:
                release()

    def crash(self) -> None:
        """A new process over the same log."""
        self.held.clear()
        self.source._under_way.clear()

    @property
    def rows(self) -> list[tuple[int, int, float]]:
        """Series, event time and value of every reading that was taken."""
        return [
            row
            for _, body in self.records
            if isinstance(body, Batch)
            for row in zip(body.series.tolist(), body.event_us.tolist(), body.value.tolist(), strict=True)
        ]

    @property
    def rejected(self) -> list[Rejected]:
        return [body for _, body in self.records if isinstance(body, Rejected)]

    # The sender

    def client(self, secret: str = SECRET) -> httpx.AsyncClient:
        headers = {"authorization": f"Bearer {secret}"} if secret else {}
        transport = httpx.ASGITransport(app=self.app)
        return httpx.AsyncClient(transport=transport, base_url=URL, headers=headers)

    async def post(self, body: bytes | str, secret: str = SECRET, **headers: str) -> httpx.Response:
        """One request; header names with `_` for `-`."""
        named = {name.replace("_", "-"): value.encode("latin-1") for name, value in headers.items()}
        async with self.client(secret) as client:
            return await client.post(PATH, content=body, headers=named)
