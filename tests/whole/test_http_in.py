"""HTTP into a real instance: durable before it is answered, once for each key through a kill, and slow senders harm nobody."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.instance import Instance, stored_rows, until

from ioc.credentials import new_token, token_digest
from ioc.model import AddToken, Rejected, Role, Scope, SourceState
from ioc.offline import submit

pytestmark = [pytest.mark.whole, pytest.mark.timeout(120)]

PACK = Path(__file__).resolve().parents[2] / "packs" / "lao-cai"
NOBODY = "mqtt://127.0.0.1:9"
LEVEL = "disaster/lao_cai/water_level"
PATH = "/api/v1/readings"
SLOW = 500


class Sender:
    """One instance and a token to send with."""

    def __init__(self, instance: Instance, name: str, *series: str) -> None:
        self.instance = instance
        self.token = new_token()
        command = AddToken(
            actor="system", token=name, digest=token_digest(self.token), scope=Scope.READINGS, series=series
        )
        submit(instance.data, command)

    def post(self, items: Any, **headers: str) -> httpx.Response:
        named = {"authorization": f"Bearer {self.token}"} | {
            k.replace("_", "-"): v for k, v in headers.items()
        }
        return httpx.post(self.instance.url + PATH, json=items, headers=named, timeout=15)

    def values(self) -> list[float]:
        """What the log holds, in its order."""
        return [value for _, _, value, _ in stored_rows(self.instance.inputs())]


@pytest.fixture
def sender(new_instance: Callable[..., Instance]) -> Sender:
    instance = new_instance("http", PACK, NOBODY)
    instance.add_user("an", "An", Role.ADMIN)
    sender = Sender(instance, "gateway", "disaster/*")
    instance.start()
    return sender


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def test_what_was_answered_is_in_the_log_after_a_kill_and_a_key_is_taken_once(sender: Sender) -> None:
    items = [{"series": LEVEL, "t": now_ms(), "v": 70.0}, {"series": "energy/nowhere/power", "v": 1}]
    first = sender.post(items, idempotency_key="k1")
    assert (first.status_code, first.json()["accepted"]) == (202, 1), first.text
    assert [r["reason"] for r in first.json()["rejected"]] == ["not_allowed"]
    unstamped = sender.post([{"series": LEVEL, "v": 71.0}], idempotency_key="k2")
    sender.instance.kill()
    assert sender.values() == [70.0, 71.0]
    sender.instance.start()
    assert sender.post(items, idempotency_key="k1").json() == first.json()
    again = sender.post([{"series": LEVEL, "v": 71.0}], idempotency_key="k2")
    assert again.json() == unstamped.json()
    assert sender.post([{"series": LEVEL, "v": 72.0}], idempotency_key="k2").status_code == 422
    # A stop writes a checkpoint, and the next start begins from it.
    assert sender.instance.stop() == 0
    sender.instance.start()
    assert sender.post(items, idempotency_key="k1").json() == first.json()
    assert sender.instance.stop() == 0
    assert sender.values() == [70.0, 71.0]
    assert len([i for i in sender.instance.inputs() if isinstance(i.body, Rejected)]) == 1


def test_the_feeds_table_and_the_quarantine_show_it(sender: Sender) -> None:
    assert (
        sender.post([{"series": LEVEL, "t": now_ms(), "v": 70.0}, {"series": LEVEL, "v": "x"}]).status_code
        == 202
    )
    assert sender.post(17).status_code == 422
    with closing(sender.instance.login("an")) as client:

        def shown() -> bool:
            (feed,) = [f for f in client.get("/api/v1/feeds").json()["items"] if f["source"] == "http"]
            return (feed["kind"], feed["connected"], feed["accepted"], feed["rejected"]) == (
                "http",
                True,
                1,
                2,
            )

        until(shown, 5, "one reading taken and two rejected in the feeds table, which is made each second")
        quarantined = client.get("/api/v1/quarantine").json()["items"]
        assert {q["source"] for q in quarantined} == {"http"}
        # Somebody who is logged in sends no readings by that.
        assert client.post(PATH, json={"series": LEVEL, "v": 1}).status_code == 401
    states = [i.body for i in sender.instance.inputs() if isinstance(i.body, SourceState)]
    assert SourceState("http", True, 1) in states


def test_five_hundred_slow_senders_keep_neither_screens_nor_others_waiting(sender: Sender) -> None:
    address = ("127.0.0.1", sender.instance.port)
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {sender.token}\r\nContent-Length: 9000\r\n"
    )
    slow: list[socket.socket] = []
    try:
        for number in range(SLOW):
            slow.append(socket.create_connection(address, timeout=5))
            slow[-1].sendall((head if number % 2 else head + "\r\n[").encode())
        begun = time.monotonic()
        assert sender.instance.ready()
        with closing(sender.instance.login("an")) as client:
            assert client.get("/api/v1/alarms").status_code == 200
        assert time.monotonic() - begun < 5
        # The slow ones may have this token's room; whoever has another is served.
        assert sender.post([{"series": LEVEL, "v": 70.0}]).status_code in (202, 429)
        other = Sender(sender.instance, "other")
        answer = other.post([{"series": LEVEL, "v": 70.0}])
        assert answer.status_code == 202, answer.text
    finally:
        for connection in slow:
            connection.close()


def test_garbage_on_the_port_closes_that_connection_only(sender: Sender) -> None:
    for garbage in (
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x10\x0c\x00\x04MQTT",
        b"\x00" * 70_000,
        b"GET\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", sender.instance.port), timeout=15) as connection:
            connection.sendall(garbage)
            try:
                said = connection.recv(4096)
            except ConnectionResetError:
                said = b""
            assert said == b"" or said.startswith(b"HTTP/1.1 40"), said
    assert sender.post(json.loads("[]")).status_code == 400
    assert sender.post([{"series": LEVEL, "v": 70.0}]).status_code == 202
