"""The MQTT source against a real mosquitto: what is acknowledged when, and what a cut connection costs (nothing)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from services.common import free_port, until
from services.mosquitto import Mosquitto
from support.shelf import Shelf

from ioc.errors import ConfigError
from ioc.ingest import fastsocket
from ioc.ingest.broker import Broker
from ioc.ingest.decoder import Decoder
from ioc.ingest.mqtt import STATE_TOPIC, MqttSource
from ioc.model import Batch, Event, Flag, Reason, Rejected
from ioc.publish import Publisher

pytestmark = [pytest.mark.services]

LEVEL = "disaster/lao_cai/water_level"
TOPIC = f"ioc/v1/{LEVEL}"


Way = tuple[bool, str]
"""Whether the fast way is taken, and the version of MQTT."""


@pytest.fixture(
    params=[(fast, protocol) for protocol in ("3.1.1", "5") for fast in (True, False)],
    ids=["fast", "plain", "fast-v5", "plain-v5"],
)
def way(request: pytest.FixtureRequest) -> Way:
    """Every test passes on each."""
    given: Way = request.param
    return given


@contextlib.asynccontextmanager
async def source(broker: Mosquitto, sink: Shelf, way: Way, **options: Any) -> AsyncIterator[MqttSource]:
    given: dict[str, Any] = {
        "host": "127.0.0.1", "port": broker.port, "tls": broker.tls, "client_id": "subject", "fast": way[0],
        "protocol": way[1], "transport": "websockets" if broker.websockets else "tcp", **options,
    }  # fmt: skip
    subject = MqttSource("mqtt", Broker(**given), decoder=Decoder({LEVEL: 0}, 1000), sink=sink)
    assert subject.fast == way[0]
    running = asyncio.create_task(subject.run())
    try:
        yield subject
    finally:
        assert not running.done(), "it ends only when it is told to"
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def heard(subject: MqttSource) -> None:
    """Until the broker has read everything that we wrote so far: it answers in order."""
    word = subject._client.publish("test/heard", b"?", qos=1)
    await until(word.is_published, "the broker's answer")


def cut_off(subject: MqttSource) -> None:
    """Break the connection beneath everything."""
    used = subject._client.socket()
    assert used is not None
    with socket.socket(fileno=os.dup(used.fileno())) as same:
        same.shutdown(socket.SHUT_RDWR)


async def publish(url: str, *payloads: str, retain: bool = False, qos: int = 1, **login: Any) -> None:
    def send() -> None:
        with Publisher(url, qos=qos, **login) as publisher:
            for payload in payloads:
                publisher.publish(TOPIC, payload.encode(), retain=retain)

    await asyncio.to_thread(send)


@pytest.mark.parametrize("qos", [0, 1])
async def test_readings_come_in_the_order_in_which_they_were_published(
    mosquitto: Mosquitto, way: Way, qos: int
) -> None:
    sink = Shelf()
    async with source(mosquitto, sink, way, qos=qos) as subject:
        await until(lambda: subject.connected, "connection")
        await publish(mosquitto.url, *map(str, range(1000)), qos=qos)
        await until(lambda: len(sink.values) >= 1000, "thousand readings")
    assert sink.values == [float(i) for i in range(1000)]
    assert sink.states == [(True, 1), (False, 1)]


async def test_what_was_not_released_is_sent_again_after_a_reconnection(
    mosquitto: Mosquitto, way: Way
) -> None:
    """The record was not durable: no acknowledgement, so the broker still has the message."""
    sink = Shelf(at_once=False)
    async with source(mosquitto, sink, way) as subject:
        await until(lambda: subject.connected, "connection")
        await publish(mosquitto.url, "1", "2", "3")
        await until(lambda: len(sink.values) == 3, "three readings")
    again = Shelf()
    async with source(mosquitto, again, way) as subject:
        await until(lambda: len(again.values) == 3, "the three readings again")
        await heard(subject)
    third = Shelf()
    async with source(mosquitto, third, way) as subject:
        await publish(mosquitto.url, "4")
        await until(lambda: third.values, "a reading")
    assert third.values == [4.0]


async def test_a_handle_of_an_older_connection_is_dropped(mosquitto: Mosquitto, way: Way) -> None:
    sink = Shelf(at_once=False)
    async with source(mosquitto, sink, way) as subject:
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
        await heard(subject)
        assert sink.states == [(True, 1), (False, 1), (True, 2)]
    fresh = Shelf()
    async with source(mosquitto, fresh, way) as subject:
        await publish(mosquitto.url, "2")
        await until(lambda: fresh.values, "a reading")
    assert fresh.values == [2.0], "the second release was the one that counted"


async def test_messages_of_an_outage_wait_in_the_persistent_session(mosquitto: Mosquitto, way: Way) -> None:
    sink = Shelf()
    async with source(mosquitto, sink, way) as subject:
        await until(lambda: subject.connected, "connection")
    await publish(mosquitto.url, "7", "8")
    async with source(mosquitto, sink, way):
        await until(lambda: sink.values == [7.0, 8.0], "what was published meanwhile")


async def test_a_full_sink_makes_the_source_wait_and_nothing_is_lost(mosquitto: Mosquitto, way: Way) -> None:
    sink = Shelf()
    async with source(mosquitto, sink, way) as subject:
        await until(lambda: subject.connected, "connection")
        sink.full = True
        await publish(mosquitto.url, *map(str, range(300)))
        assert sink.values == []
        sink.full = False
        subject.resume()
        await until(lambda: len(sink.values) == 300, "everything")


async def test_what_cannot_be_decoded_is_rejected_and_acknowledged(mosquitto: Mosquitto, way: Way) -> None:
    sink = Shelf()
    async with source(mosquitto, sink, way) as subject:
        await until(lambda: subject.connected, "connection")
        await publish(mosquitto.url, "nonsense", "1")
        await until(lambda: sink.values, "the good reading")
        await heard(subject)
    assert [b.reason for b in sink.bodies if isinstance(b, Rejected)] == [Reason.NOT_JSON]
    fresh = Shelf()
    async with source(mosquitto, fresh, way) as subject:
        await publish(mosquitto.url, "2")
        await until(lambda: fresh.values, "a reading")
    assert not [b for b in fresh.bodies if isinstance(b, Rejected)]


@pytest.mark.parametrize("qos", [0, 1])
async def test_events_come_and_are_acknowledged_as_readings_are(
    mosquitto: Mosquitto, way: Way, qos: int
) -> None:
    """With the filter that is the default; the ones that cannot be taken are in quarantine."""
    topic = "ioc/v1/energy/sa_pa/event/outage"
    said = [b'{"id": "A-1", "revision": %d, "start": 1790000000000}' % n for n in (1, 0, 2)]

    def send() -> None:
        with Publisher(mosquitto.url, qos=qos) as publisher:
            for payload in said:
                publisher.publish(topic, payload)
            publisher.publish(TOPIC, b"1")

    sink = Shelf()
    async with source(mosquitto, sink, way) as subject:
        await until(lambda: subject.connected, "connection")
        await asyncio.to_thread(send)
        await until(lambda: sink.values, "the reading behind them")
        await heard(subject)
    events = [b for b in sink.bodies if isinstance(b, Event)]
    assert [(e.source, e.domain, e.station, e.kind, e.id, e.revision) for e in events] == [
        ("mqtt", "energy", "sa_pa", "outage", "A-1", 1),
        ("mqtt", "energy", "sa_pa", "outage", "A-1", 2),
    ]
    assert [r.topic for r in sink.rejected] == [topic]
    fresh = Shelf()
    async with source(mosquitto, fresh, way) as subject:
        await publish(mosquitto.url, "2")
        await until(lambda: fresh.values, "a reading")
    assert not [b for b in fresh.bodies if isinstance(b, Event)], "they were acknowledged"


async def test_a_retained_value_bears_its_mark(mosquitto: Mosquitto, way: Way) -> None:
    await publish(mosquitto.url, "5", retain=True)
    sink = Shelf()
    async with source(mosquitto, sink, way):
        await until(lambda: sink.values, "the retained reading")
    (batch,) = [b for b in sink.bodies if isinstance(b, Batch)]
    assert batch.flags.tolist() == [int(Flag.RETAINED | Flag.NO_STAMP)]


async def test_password_and_tls(new_mosquitto: Callable[..., Mosquitto], way: Way) -> None:
    broker = new_mosquitto(users={"ioc": "bí mật"}, tls=True)
    ca = str(broker.ca_file)
    sink = Shelf()
    async with source(broker, sink, way, username="ioc", password="bí mật", ca_file=ca) as subject:
        await until(lambda: subject.connected, "connection")
        await publish(broker.url, *map(str, range(500)), username="ioc", password="bí mật", ca_file=ca)
        await until(lambda: len(sink.values) == 500, "readings over TLS")
    wrong = Shelf()
    async with source(
        broker, wrong, way, username="ioc", password="wrong", ca_file=ca, client_id="other"
    ) as subject:
        await until(lambda: "uthor" in subject.last_error, "word of the refusal")
        assert not subject.connected
    async with source(broker, wrong, way, username="ioc", password="bí mật", client_id="other") as subject:
        await until(lambda: "certificate" in subject.last_error.lower(), "word of the unknown CA")


async def test_the_last_will_speaks_for_a_monitor_that_died_and_a_clean_end_for_itself(
    mosquitto: Mosquitto,
    way: Way,
) -> None:
    said: list[bytes] = []
    watcher = paho.Client(CallbackAPIVersion.VERSION2, client_id="watcher")
    watcher.on_message = lambda client, data, message: said.append(bytes(message.payload))
    watcher.connect("127.0.0.1", mosquitto.port)
    watcher.subscribe(STATE_TOPIC, 1)
    watcher.loop_start()
    try:
        async with source(mosquitto, Shelf(), way):
            await until(lambda: said[-1:] == [b"online"], "online")
        await until(lambda: said[-1:] == [b"offline"], "offline of a clean end")
        async with source(mosquitto, Shelf(), way) as subject:
            await until(lambda: said[-1:] == [b"online"], "online again")
            cut_off(subject)
            await until(lambda: b"offline" in said[-2:] and len(said) >= 4, "the last will")
    finally:
        watcher.disconnect()
        watcher.loop_stop()


async def test_a_client_certificate_opens_the_door(new_mosquitto: Callable[..., Mosquitto], way: Way) -> None:
    plain = free_port()
    broker = new_mosquitto(tls=True, ask_certificate=True, more=[f"listener {plain} 127.0.0.1"])
    ca, cert, key = str(broker.ca_file), str(broker.cert_file), str(broker.key_file)
    sink = Shelf()
    async with source(broker, sink, way, ca_file=ca, cert_file=cert, key_file=key) as subject:
        await until(lambda: subject.connected, "connection")
        await publish(f"mqtt://127.0.0.1:{plain}", *map(str, range(2000)))
        await until(lambda: len(sink.values) == 2000, "readings over TLS")
    assert sink.values == [float(i) for i in range(2000)]
    async with source(broker, Shelf(), way, ca_file=ca) as subject:
        await until(lambda: subject.last_error, "word of the refusal")
        assert not subject.connected


@pytest.mark.parametrize("tls", [False, True], ids=["ws", "wss"])
async def test_mqtt_through_a_websocket(new_mosquitto: Callable[..., Mosquitto], way: Way, tls: bool) -> None:
    plain = free_port()
    broker = new_mosquitto(websockets=True, tls=tls, more=[f"listener {plain} 127.0.0.1"])
    sink = Shelf()
    async with source(broker, sink, way, ca_file=str(broker.ca_file) if tls else None) as subject:
        await until(lambda: subject.connected, "connection")
        await publish(f"mqtt://127.0.0.1:{plain}", *map(str, range(500)))
        await until(lambda: len(sink.values) == 500, "readings")
        await heard(subject)
    assert sink.values == [float(i) for i in range(500)]
    fresh = Shelf()
    async with source(broker, fresh, way, ca_file=str(broker.ca_file) if tls else None):
        await publish(f"mqtt://127.0.0.1:{plain}", "7")
        await until(lambda: fresh.values, "a reading")
    assert fresh.values == [7.0], "all the others were acknowledged"


async def test_a_connection_outlives_idle_time(mosquitto: Mosquitto, way: Way) -> None:
    """The broker cuts off who is silent for one and a half keepalives."""
    sink = Shelf()
    async with source(mosquitto, sink, way, keepalive_s=1) as subject:
        await until(lambda: subject.connected, "connection")
        begun = time.monotonic()
        await until(lambda: time.monotonic() > begun + 4, "idle time")
        await publish(mosquitto.url, "1")
        await until(lambda: sink.values, "a reading")
        assert sink.states == [(True, 1)]


async def test_a_repeat_says_so_and_counts_once_more(mosquitto: Mosquitto, way: Way) -> None:
    """What was under way when the connection broke comes again; the order behind us recognises it."""
    sink = Shelf(at_once=False)
    async with source(mosquitto, sink, way) as subject:
        await until(lambda: subject.connected, "connection")
        await publish(mosquitto.url, *map(str, range(100)))
        await until(lambda: len(sink.values) == 100, "readings")
        cut_off(subject)
        await until(lambda: subject.generation == 2, "second connection")
        await until(lambda: len(sink.values) == 200, "the readings again")
        assert sink.values == [float(i) for i in range(100)] * 2
        sink.release()
        sink.at_once = True
        await publish(mosquitto.url, "100")
        await until(lambda: len(sink.values) == 201, "the next reading")
    assert sink.values[-1] == 100.0


@pytest.mark.parametrize("fast", [True, False], ids=["fast", "plain"])
async def test_acknowledgements_are_withheld_until_the_release(
    new_mosquitto: Callable[..., Mosquitto], fast: bool
) -> None:
    """Under MQTT 5 our own receive maximum counts instead of the broker's, and 50 messages would tell nothing."""
    broker = new_mosquitto(more=["max_inflight_messages 20"])
    sink = Shelf(at_once=False)
    async with source(broker, sink, (fast, "3.1.1")) as subject:
        await until(lambda: subject.connected, "connection")
        await publish(broker.url, *map(str, range(50)))
        await until(lambda: len(sink.values) == 20, "as many as may be unacknowledged")
        for expected in (40, 50):
            sink.release()
            await until(lambda expected=expected: len(sink.values) == expected, "the next ones")  # type: ignore[misc]
    assert sink.values == [float(i) for i in range(50)]
    assert not any(sink.may_shed)


async def test_qos_0_may_be_shed(mosquitto: Mosquitto, way: Way) -> None:
    sink = Shelf()
    async with source(mosquitto, sink, way, qos=0) as subject:
        await until(lambda: subject.connected, "connection")
        await publish(mosquitto.url, "1", "nonsense", qos=0)
        await until(lambda: sink.values and sink.rejected, "both")
    assert {
        m for m, b in zip(sink.may_shed, sink.bodies, strict=True) if isinstance(b, Batch | Rejected)
    } == {True}


async def test_our_own_word_about_ourselves_is_no_reading(mosquitto: Mosquitto, way: Way) -> None:
    sink = Shelf()
    async with source(mosquitto, sink, way, topics=("ioc/v1/system/#", "ioc/v1/#")) as subject:
        await until(lambda: subject.connected, "connection")
        await publish(mosquitto.url, "1")
        await until(lambda: sink.values, "a reading")
    assert not sink.rejected


async def test_load_is_read_in_few_gulps_and_a_single_reading_at_once(mosquitto: Mosquitto, way: Way) -> None:
    sink = Shelf()
    async with source(mosquitto, sink, way) as subject:
        await until(lambda: subject.connected, "connection")
        before = sink.groups
        await publish(mosquitto.url, *map(str, range(5000)))
        await until(lambda: len(sink.values) == 5000, "readings")
        assert sink.groups - before < 2500
        await until(lambda: subject._listening, "quiet")


def test_a_certificate_that_cannot_be_read_names_its_setting() -> None:
    for setting in ("ca_file", "cert_file"):
        broker = Broker("127.0.0.1", 1, tls=True, **{setting: "/nowhere.pem"})  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match=f"mqtt.{setting}"):
            MqttSource("mqtt", broker, decoder=Decoder({}, 1000), sink=Shelf())


def test_a_paho_that_was_never_tried_takes_the_slow_way_and_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fastsocket, "paho_version", "2.9.1")
    subject = MqttSource("mqtt", Broker("127.0.0.1", 1), decoder=Decoder({}, 1000), sink=Shelf())
    assert not subject.fast
    told = capsys.readouterr().out
    assert told.count("warning") == 1
    assert "2.9" in told
