"""Connections that are slow, silent or many, against a real server: they end, and whoever speaks is served meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
import uvicorn
from services.common import until

from ioc.wall import guard, listener
from ioc.wall.listener import Listener
from ioc.wall.server import create_app

LOGIN = b"POST /api/v1/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"

Connect = Callable[[], Any]


class _Server(uvicorn.Server):
    def capture_signals(self) -> Any:  # type: ignore[override]
        import contextlib

        return contextlib.nullcontext()


class Door:
    """A server on a port of its own, and clients that speak bytes."""

    def __init__(self, server: _Server, port: int) -> None:
        self.server, self.port = server, port
        self.writers: list[asyncio.StreamWriter] = []

    async def connect(self, data: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.writers.append(writer)
        writer.write(data)
        return reader, writer

    async def healthy(self) -> float:
        """How long a whole request takes, in seconds."""
        begun = time.monotonic()
        async with httpx.AsyncClient(timeout=5) as client:
            answer = await client.get(f"http://127.0.0.1:{self.port}/healthz")
        assert answer.status_code == 200
        return time.monotonic() - begun

    @property
    def open(self) -> int:
        return len(self.server.server_state.connections)


@pytest.fixture
async def door(desk: Any, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Door]:
    config = uvicorn.Config(
        create_app(desk.services),
        http=Listener,
        port=0,
        lifespan="off",
        log_level="error",
        timeout_keep_alive=2,
    )
    server = _Server(config)
    serving = asyncio.ensure_future(server.serve())
    await until(lambda: server.started, "the server")
    port = server.servers[0].sockets[0].getsockname()[1]
    door = Door(server, port)
    yield door
    for writer in door.writers:
        writer.close()
    server.should_exit = True
    await serving


async def rest(reader: asyncio.StreamReader) -> bytes:
    """What the server says until it closes."""
    async with asyncio.timeout(5):
        try:
            return await reader.read()
        except ConnectionResetError:
            return b""


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "HEAD_S", 0.15)
    monkeypatch.setattr(listener, "REST_S", 0.15)
    monkeypatch.setattr(guard, "BODY_S", 0.3)


@pytest.mark.usefixtures("quick")
async def test_a_head_that_does_not_end_is_answered_and_closed(door: Door) -> None:
    reader, _ = await door.connect(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
    assert (await rest(reader)).startswith(b"HTTP/1.1 408 ")


@pytest.mark.usefixtures("quick")
async def test_a_trickling_head_ends_as_well_also_after_a_whole_request(door: Door) -> None:
    for before in (b"", HEALTH):
        reader, writer = await door.connect(before)
        if before:
            await reader.readuntil(b'"0.1.0"}')
        begun = time.monotonic()
        ended = asyncio.ensure_future(rest(reader))
        while not ended.done():
            writer.write(b"X")
            await asyncio.wait([ended], timeout=0.02)
        assert b" 408 " in await ended
        assert time.monotonic() - begun < 2


@pytest.mark.usefixtures("quick")
async def test_who_says_nothing_is_told_nothing(door: Door) -> None:
    reader, _ = await door.connect()
    assert await rest(reader) == b""


@pytest.mark.usefixtures("quick")
async def test_a_body_that_does_not_end_is_answered_and_closed(door: Door) -> None:
    reader, _ = await door.connect(LOGIN.replace(b"Host: x", b"Host: x\r\nOrigin: http://x"))
    said = await rest(reader)
    assert said.startswith(b"HTTP/1.1 408 ")
    assert b'"error":"timeout"' in said


@pytest.mark.usefixtures("quick")
async def test_what_still_trickles_after_the_answer_is_not_waited_for(door: Door) -> None:
    reader, writer = await door.connect(LOGIN.replace(b"/login", b"/nowhere"))
    assert b" 404 " in await reader.readuntil(b"\r\n\r\n")
    begun = time.monotonic()
    ended = asyncio.ensure_future(rest(reader))
    while not ended.done():
        writer.write(b" ")
        await asyncio.wait([ended], timeout=0.02)
    assert time.monotonic() - begun < 2


async def test_a_body_that_comes_late_but_whole_is_answered_and_the_connection_goes_on(door: Door) -> None:
    reader, writer = await door.connect(LOGIN.replace(b"/login", b"/nowhere"))
    await reader.readuntil(b"}}")
    writer.write(b" " * 99 + HEALTH)
    assert b" 200 " in await reader.readuntil(b"\r\n\r\n")


@pytest.mark.usefixtures("quick")
async def test_a_request_that_is_only_slow_to_be_answered_has_its_time(door: Door) -> None:
    reader, writer = await door.connect()
    for _ in range(3):
        writer.write(HEALTH)
        assert b" 200 " in await reader.readuntil(b'"0.1.0"}')


async def test_five_hundred_slow_connections_keep_nobody_out(door: Door) -> None:
    alone = min([await door.healthy() for _ in range(3)])
    for number in range(500):
        await door.connect((b"", b"GET /wall HTT", LOGIN, b"GET / HTTP/1.1\r\nA: ")[number % 4])
    beside = min([await door.healthy() for _ in range(3)])
    assert beside < max(20 * alone, 1.0)
    assert door.open <= listener.WAITING_MAX + 5


async def test_the_one_that_has_waited_longest_gives_its_place(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "WAITING_MAX", 3)
    readers = []
    for number in range(4):
        readers.append((await door.connect(b"GET"))[0])
        await until(lambda number=number: door.open >= min(number + 1, 3), "the connection")  # type: ignore[misc]
    assert await rest(readers[0]) == b""
    assert door.open == 3
    await door.healthy()
