"""The websocket as the `websockets` client meets it, through a real uvicorn."""

from __future__ import annotations

import asyncio
import contextlib
import json
import select
import socket as sockets
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import uvicorn
import websockets
from services.common import until
from support.screens import LEVEL, RAIN, Centre
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from ioc.model import ChangeKind, RevokeToken
from ioc.wall import socket as wall_socket
from ioc.wall.server import create_app

PASSWORD = "mật-khẩu-thử"
TOKEN = "kiosk-token-for-tests"


class Server:
    """A server on a free port, and connections to it."""

    def __init__(self, port: int, centre: Centre) -> None:
        self.port = port
        self.centre = centre
        self.origin = f"http://127.0.0.1:{port}"

    def raw(self, origin: str | None = None, cookie: str = "", sock: sockets.socket | None = None) -> connect:
        headers = {"cookie": f"ioc_session={cookie}"} if cookie else {}
        return connect(
            f"ws://127.0.0.1:{self.port}/ws/v1",
            origin=websockets.Origin(origin) if origin else None,
            additional_headers=headers,
            subprotocols=[websockets.Subprotocol("ioc.v1")],
            sock=sock,
        )

    async def cookie(self, user: str = "truc.ban") -> str:
        async with httpx.AsyncClient(base_url=self.origin, headers={"origin": self.origin}) as client:
            answer = await client.post("/api/v1/login", json={"user": user, "password": PASSWORD})
            assert answer.status_code == 204
            return client.cookies["ioc_session"]


@pytest.fixture
async def server(desk: Any) -> AsyncIterator[Server]:
    listener = sockets.socket()
    listener.setsockopt(sockets.SOL_SOCKET, sockets.SO_SNDBUF, 16_384)
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(
        create_app(desk.services),
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        log_level="error",
        timeout_graceful_shutdown=1,
    )
    running = uvicorn.Server(config)
    running.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    task = asyncio.create_task(running.serve(sockets=[listener]))
    await until(lambda: running.started, "the server")
    yield Server(listener.getsockname()[1], desk.centre)
    running.should_exit = True
    await task


async def say(line: ClientConnection, **message: Any) -> None:
    await line.send(json.dumps(message))


async def hear(line: ClientConnection, *kinds: str, within_s: float = 3.0) -> dict[str, Any]:
    """The next message of these types."""
    async with asyncio.timeout(within_s):
        while True:
            message: dict[str, Any] = json.loads(await line.recv())
            if message["type"] in kinds:
                return message


async def quiet(line: ClientConnection, *kinds: str) -> None:
    """Two heartbeats pass without any of these."""
    for _ in range(2):
        assert (await hear(line, "hb", *kinds))["type"] == "hb"


async def enter(line: ClientConnection) -> dict[str, Any]:
    await say(line, type="auth", token=TOKEN)
    return await hear(line, "welcome")


async def code_of(line: ClientConnection) -> int | None:
    with contextlib.suppress(ConnectionClosed):
        async with asyncio.timeout(5):
            while True:
                await line.recv()
    return line.close_code


async def test_a_session_of_our_own_page_is_welcome(server: Server) -> None:
    async with server.raw(server.origin, await server.cookie()) as line:
        welcome = await hear(line, "welcome")
        assert line.subprotocol == "ioc.v1"
        assert welcome["user"] == {"user": "truc.ban", "name": "Trực ban", "role": "officer"}
        assert (welcome["epoch"], welcome["window"], welcome["heartbeat_s"]) == ("epoch-1", 2, 1)
        assert welcome["simulated"] is True
        assert server.centre.view.officers == ("Trực ban",)
    await until(lambda: server.centre.view.officers == (), "the officer gone")


async def test_a_token_in_the_first_message_is_welcome(server: Server) -> None:
    async with server.raw() as line:
        assert (await enter(line))["user"]["role"] == "viewer"
        assert server.centre.view.screens == 1


@pytest.mark.parametrize("origin", ["http://evil.example", "http://["])
async def test_another_sites_page_gets_no_connection(server: Server, origin: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with server.raw(origin, await server.cookie()):
            pass
    assert refused.value.response.status_code == 403
    assert "content-security-policy" in refused.value.response.headers


async def test_a_cookie_without_an_origin_is_not_enough(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wall_socket, "AUTH_WITHIN_S", 0.05)
    async with server.raw(None, await server.cookie()) as line:
        assert await code_of(line) == 4408


async def test_no_authentication_in_time(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wall_socket, "AUTH_WITHIN_S", 0.05)
    async with server.raw() as line:
        assert await code_of(line) == 4408


@pytest.mark.parametrize(
    "first", ['{"type":"auth","token":"wrong"}', '{"type":"sub","id":1,"topic":"alarms"}']
)
async def test_unauthenticated(server: Server, first: str) -> None:
    async with server.raw() as line:
        await line.send(first)
        assert await code_of(line) == 4401


async def test_a_void_cookie_is_unauthenticated(server: Server) -> None:
    async with server.raw(server.origin, "forged.cookie") as line:
        assert await code_of(line) == 4401


@pytest.mark.parametrize(
    "text", ["{", '{"type":"x"}', '{"type":"auth","token":"again"}', "x" * 20_000, b"bytes"]
)
async def test_bad_messages_end_the_connection(server: Server, text: str | bytes) -> None:
    async with server.raw() as line:
        await enter(line)
        await line.send(text)
        assert await code_of(line) == 4400


async def test_a_duplicate_id_ends_the_connection(server: Server) -> None:
    async with server.raw() as line:
        await enter(line)
        for _ in range(2):
            await say(line, type="sub", id=1, topic="kpi")
        assert await code_of(line) == 4409


async def test_too_many_subscriptions_or_messages_end_the_connection(server: Server) -> None:
    async with server.raw() as line:
        await enter(line)
        for i in range(17):
            await say(line, type="sub", id=i, topic="kpi")
        assert await code_of(line) == 4429
    async with server.raw() as line:
        await enter(line)
        with contextlib.suppress(ConnectionClosed):
            for _ in range(600):
                await say(line, type="ping")
        assert await code_of(line) == 4429


async def test_too_many_connections_are_refused(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wall_socket, "CONNECTIONS_MAX", 1)
    async with server.raw() as first:
        await enter(first)
        async with server.raw() as second:
            assert await code_of(second) == 4429


async def test_heartbeats_come_each_second(server: Server) -> None:
    async with server.raw() as line:
        await enter(line)
        first, second = await hear(line, "hb"), await hear(line, "hb")
        assert {"seq", "server_time_ms"} <= set(first) & set(second)


async def test_snapshot_then_deltas(server: Server) -> None:
    centre = server.centre
    [onset] = centre.change(ChangeKind.ONSET)
    async with server.raw() as line:
        await enter(line)
        await say(line, type="sub", id=1, topic="alarms", filter={"domain": "disaster"})
        snap = await hear(line, "snap")
        assert [item["id"] for item in snap["items"]] == [onset.alarm]
        await say(line, type="ack", seq=snap["seq"])
        centre.ack(onset.alarm)
        delta = await hear(line, "delta")
        assert (delta["prev"], delta["upsert"][0]["state"]) == (snap["seq"], "ACKED")
        assert [event["kind"] for event in delta["events"]] == ["ack"]
        await say(line, type="ack", seq=delta["seq"])
        centre.change(ChangeKind.CLEAR)
        delta = await hear(line, "delta")
        assert delta["remove"] == [onset.alarm]
        await say(line, type="unsub", id=1)
        await say(line, type="sub", id=1, topic="points")
        assert (await hear(line, "snap"))["items"][0]["series"] == LEVEL


async def test_without_acknowledgements_only_two_frames_come(server: Server) -> None:
    async with server.raw() as line:
        await enter(line)
        await say(line, type="sub", id=1, topic="alarms", max_hz=0)
        snap = await hear(line, "snap")
        server.centre.change(ChangeKind.ONSET, LEVEL)
        first = await hear(line, "delta")
        server.centre.change(ChangeKind.ONSET, RAIN)
        server.centre.change(ChangeKind.CLEAR, RAIN)
        await quiet(line, "snap", "delta")
        await say(line, type="ack", seq=snap["seq"])
        joined = await hear(line, "delta")
        assert joined["prev"] == first["seq"]
        assert [item["state"] for item in joined["upsert"]] == ["RETURNED"]
        assert [event["kind"] for event in joined["events"]] == ["onset", "clear"]


async def test_a_screen_resumes_by_epoch_and_seq(server: Server) -> None:
    centre = server.centre
    async with server.raw() as line:
        welcome = await enter(line)
        await say(line, type="sub", id=1, topic="alarms")
        snap = await hear(line, "snap")
    [onset] = centre.change(ChangeKind.ONSET)
    since = {"epoch": welcome["epoch"], "seq": snap["seq"]}
    async with server.raw() as line:
        await enter(line)
        await say(line, type="sub", id=1, topic="alarms", since=since)
        delta = await hear(line, "snap", "delta")
        assert (delta["type"], delta["prev"]) == ("delta", snap["seq"])
        assert [item["id"] for item in delta["upsert"]] == [onset.alarm]
        await say(line, type="sub", id=2, topic="alarms", since=since | {"epoch": "another"})
        assert (await hear(line, "snap"))["id"] == 2


async def test_alarms_leave_before_publish_returns(server: Server) -> None:
    async with server.raw() as line:
        await enter(line)
        await say(line, type="sub", id=1, topic="alarms", max_hz=0)
        await hear(line, "snap")
        socket = line.transport.get_extra_info("socket").fileno()
        assert not select.select([socket], [], [], 0)[0]
        server.centre.change(ChangeKind.ONSET)
        # The loop has had no turn since; what lies in the socket was written by `publish` itself.
        assert select.select([socket], [], [], 1)[0]
        assert (await hear(line, "delta"))["upsert"][0]["state"] == "UNACKED"


async def test_a_revoked_token_ends_its_screen(server: Server) -> None:
    async with server.raw() as line:
        await enter(line)
        server.centre.accounts.feed(RevokeToken(actor="system", token="wall-1"), 1)
        assert await code_of(line) == 4401


async def test_a_silent_screen_is_dropped(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wall_socket, "SILENT_S", 0.5)
    async with server.raw() as line:
        await enter(line)
        assert await code_of(line) == 4408
    await until(lambda: not server.centre.hub.clients, "no clients")


async def test_a_screen_that_reads_nothing_harms_nobody(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its socket fills up; the other one goes on, and the slow one catches up with what is true then."""
    centre = server.centre
    monkeypatch.setattr(wall_socket, "MESSAGES_BURST", 10_000)
    narrow = sockets.socket()
    narrow.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4_096)
    narrow.connect(("127.0.0.1", server.port))
    changes = 600
    async with server.raw(sock=narrow) as slow, server.raw() as fast:
        for line in (slow, fast):
            await enter(line)
            await say(line, type="sub", id=1, topic="alarms", max_hz=0)
            await hear(line, "snap")
        slow.transport.pause_reading()
        for i in range(changes):
            # The slow one promises to have drawn what it has not even read: only its socket can hold it back.
            await say(slow, type="ack", seq=1 << 50)
            await say(fast, type="ack", seq=centre.view.seq)
            centre.change(ChangeKind.CLEAR if i % 2 else ChangeKind.ONSET, LEVEL)
            assert (await hear(fast, "delta"))["seq"] == centre.view.seq
        slow.transport.resume_reading()
        await say(slow, type="ack", seq=1 << 50)
        frames, events = 0, 0
        while (delta := await hear(slow, "delta"))["seq"] != centre.view.seq:
            frames, events = frames + 1, events + len(delta["events"])
            await say(slow, type="ack", seq=delta["seq"])
        assert events + len(delta["events"]) == changes, "no event is lost"
        assert frames < changes / 2, "what it could not take was joined"
        assert [item["state"] for item in delta["upsert"]] == ["RETURNED"]
