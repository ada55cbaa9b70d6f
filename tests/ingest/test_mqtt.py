"""The MQTT source against a real mosquitto: what is acknowledged when, and what a cut connection costs (nothing)."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from services.common import until
from services.mosquitto import Mosquitto

from ioc.ingest.decoder import Decoder
from ioc.ingest.mqtt import STATE_TOPIC, MqttSource
from ioc.model import Batch, Body, Flag, Reason, Rejected, SourceState
from ioc.publish import Publisher

pytestmark = [pytest.mark.services]

LEVEL = "disaster/lao_cai/water_level"
TOPIC = f"ioc/v1/{LEVEL}"


class Shelf:
    """A sink that keeps what is offered and releases it when told."""

    def __init__(self, *, at_once: bool = True) -> None:
        self.bodies: list[Body] = []
        self.waiting: list[Callable[[], None]] = []
        self.at_once = at_once
        self.full = False

    def offer(
        self,
        body: Body,
        origin: str = "",
        release: Callable[[], None] | None = None,
        *,
        may_shed: bool = False,
    ) -> None:
        self.bodies.append(body)
        if release is not None:
            if self.at_once:
                asyncio.get_running_loop().call_soon(release)
            else:
                self.waiting.append(release)

    def received_us(self) -> int:
        return time.time_ns() // 1000

    def release(self) -> None:
        waiting, self.waiting = self.waiting, []
        for call in waiting:
            call()

    @property
    def values(self) -> list[float]:
        return [float(v) for b in self.bodies if isinstance(b, Batch) for v in b.value]

    @property
    def states(self) -> list[tuple[bool, int]]:
        return [(b.connected, b.generation) for b in self.bodies if isinstance(b, SourceState)]


@contextlib.asynccontextmanager
async def source(broker: Mosquitto, sink: Shelf, **options: Any) -> AsyncIterator[MqttSource]:
    given: dict[str, Any] = {
        "host": "127.0.0.1", "port": broker.port, "tls": broker.tls, "ca_file": None, "username": "", "password": "",
        "client_id": "subject", "topics": ("ioc/v1/#",), "qos": 1, "keepalive_s": 20,
        "decoder": Decoder({LEVEL: 0}, 1000), "sink": sink, **options,
    }  # fmt: skip
    subject = MqttSource("mqtt", **given)
    running = asyncio.create_task(subject.run())
    try:
        yield subject
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def publish(url: str, *payloads: str, retain: bool = False, qos: int = 1, **login: Any) -> None:
    def send() -> None:
        with Publisher(url, qos=qos, **login) as publisher:
            for payload in payloads:
                publisher.publish(TOPIC, payload.encode(), retain=retain)

    await asyncio.to_thread(send)


@pytest.mark.parametrize("qos", [0, 1])
async def test_readings_come_in_the_order_in_which_they_were_published(
    mosquitto: Mosquitto, qos: int
) -> None:
    sink = Shelf()
    async with source(mosquitto, sink, qos=qos) as subject:
        await until(lambda: subject.connected, "connection")
        await publish(mosquitto.url, *map(str, range(1000)), qos=qos)
        await until(lambda: len(sink.values) >= 1000, "thousand readings")
    assert sink.values == [float(i) for i in range(1000)]
    assert sink.states == [(True, 1), (False, 1)]


async def test_what_was_not_released_is_sent_again_after_a_reconnection(mosquitto: Mosquitto) -> None:
    """The record was not durable: no acknowledgement, so the broker still has the message."""
    sink = Shelf(at_once=False)
    async with source(mosquitto, sink) as subject:
        await until(lambda: subject.connected, "connection")
        await publish(mosquitto.url, "1", "2", "3")
        await until(lambda: len(sink.values) == 3, "three readings")
    again = Shelf()
    async with source(mosquitto, again):
        await until(lambda: len(again.values) == 3, "the three readings again")
    third = Shelf()
    async with source(mosquitto, third) as subject:
        await publish(mosquitto.url, "4")
        await until(lambda: third.values, "a reading")
    assert third.values == [4.0]


async def test_a_handle_of_an_older_connection_is_dropped(mosquitto: Mosquitto) -> None:
    sink = Shelf(at_once=False)
    async with source(mosquitto, sink) as subject:
        await until(lambda: subject.connected, "connection")
        await publish(mosquitto.url, "1")
        await until(lambda: sink.values, "a reading")
        old, sink.waiting = sink.waiting, []
        mosquitto.stop()
        await until(lambda: not subject.connected, "loss of the connection")
        mosquitto.start()
        await until(lambda: subject.generation == 2 and subject.connected, "second connection")
        await until(lambda: sink.values == [1.0, 1.0], "the reading again")
        for release in old:
            release()
        sink.release()
        assert sink.states == [(True, 1), (False, 1), (True, 2)]
    fresh = Shelf()
    async with source(mosquitto, fresh) as subject:
        await publish(mosquitto.url, "2")
        await until(lambda: fresh.values, "a reading")
    assert fresh.values == [2.0], "the second release was the one that counted"


async def test_messages_of_an_outage_wait_in_the_persistent_session(mosquitto: Mosquitto) -> None:
    sink = Shelf()
    async with source(mosquitto, sink) as subject:
        await until(lambda: subject.connected, "connection")
    await publish(mosquitto.url, "7", "8")
    async with source(mosquitto, sink):
        await until(lambda: sink.values == [7.0, 8.0], "what was published meanwhile")


async def test_a_full_sink_makes_the_source_wait_and_nothing_is_lost(mosquitto: Mosquitto) -> None:
    sink = Shelf()
    async with source(mosquitto, sink) as subject:
        await until(lambda: subject.connected, "connection")
        sink.full = True
        await publish(mosquitto.url, *map(str, range(300)))
        assert sink.values == []
        sink.full = False
        subject.resume()
        await until(lambda: len(sink.values) == 300, "everything")


async def test_what_cannot_be_decoded_is_rejected_and_acknowledged(mosquitto: Mosquitto) -> None:
    sink = Shelf()
    async with source(mosquitto, sink) as subject:
        await until(lambda: subject.connected, "connection")
        await publish(mosquitto.url, "nonsense", "1")
        await until(lambda: sink.values, "the good reading")
    assert [b.reason for b in sink.bodies if isinstance(b, Rejected)] == [Reason.NOT_JSON]
    fresh = Shelf()
    async with source(mosquitto, fresh) as subject:
        await publish(mosquitto.url, "2")
        await until(lambda: fresh.values, "a reading")
    assert not [b for b in fresh.bodies if isinstance(b, Rejected)]


async def test_a_retained_value_bears_its_mark(mosquitto: Mosquitto) -> None:
    await publish(mosquitto.url, "5", retain=True)
    sink = Shelf()
    async with source(mosquitto, sink):
        await until(lambda: sink.values, "the retained reading")
    (batch,) = [b for b in sink.bodies if isinstance(b, Batch)]
    assert batch.flags.tolist() == [int(Flag.RETAINED | Flag.NO_STAMP)]


async def test_password_and_tls(new_mosquitto: Callable[..., Mosquitto]) -> None:
    broker = new_mosquitto(users={"ioc": "bí mật"}, tls=True)
    ca = str(broker.ca_file)
    sink = Shelf()
    async with source(broker, sink, username="ioc", password="bí mật", ca_file=ca) as subject:
        await until(lambda: subject.connected, "connection")
        await publish(broker.url, *map(str, range(500)), username="ioc", password="bí mật", ca_file=ca)
        await until(lambda: len(sink.values) == 500, "readings over TLS")
    wrong = Shelf()
    async with source(
        broker, wrong, username="ioc", password="wrong", ca_file=ca, client_id="other"
    ) as subject:
        await until(lambda: "uthor" in subject.last_error, "word of the refusal")
        assert not subject.connected
    async with source(broker, wrong, username="ioc", password="bí mật", client_id="other") as subject:
        await until(lambda: "certificate" in subject.last_error.lower(), "word of the unknown CA")


async def test_the_last_will_speaks_for_a_monitor_that_died_and_a_clean_end_for_itself(
    mosquitto: Mosquitto,
) -> None:
    said: list[bytes] = []
    watcher = paho.Client(CallbackAPIVersion.VERSION2, client_id="watcher")
    watcher.on_message = lambda client, data, message: said.append(bytes(message.payload))
    watcher.connect("127.0.0.1", mosquitto.port)
    watcher.subscribe(STATE_TOPIC, 1)
    watcher.loop_start()
    try:
        async with source(mosquitto, Shelf()):
            await until(lambda: said[-1:] == [b"online"], "online")
        await until(lambda: said[-1:] == [b"offline"], "offline of a clean end")
        async with source(mosquitto, Shelf()) as subject:
            await until(lambda: said[-1:] == [b"online"], "online again")
            socket = subject._client.socket()
            assert socket is not None
            socket.shutdown(2)
            await until(lambda: b"offline" in said[-2:] and len(said) >= 4, "the last will")
    finally:
        watcher.disconnect()
        watcher.loop_stop()
