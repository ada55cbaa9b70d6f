"""A broker that sends what it must not, whole or in pieces, to both ways of receiving.

A message is delivered, a packet is ignored, or the connection ends with a reason; nothing crashes, hangs or grows.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from services.common import until
from support.data import shared
from support.mqtt_packets import PINGRESP, packet, publish
from support.scripted_broker import ScriptedBroker
from support.shelf import Shelf

from ioc.ingest.broker import Broker
from ioc.ingest.decoder import Decoder
from ioc.ingest.fastsocket import CLOSED
from ioc.ingest.mqtt import MqttSource
from ioc.model import Reason

LEVEL = "disaster/lao_cai/water_level"
TOPIC = f"ioc/v1/{LEVEL}".encode()
PACKET_MAX = 64 * 1024
HANG_S = 20.0
AT_ONCE = 16


@pytest.fixture(params=[True, False], ids=["fast", "plain"])
def fast(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(params=["3.1.1", "5"])
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@dataclass
class Met:
    """What one connection came to."""

    sink: Shelf
    reason: str
    heard: bytes

    @property
    def survived(self) -> bool:
        """Whether what was sent last arrived."""
        return 4711.0 in self.sink.values


@contextlib.asynccontextmanager
async def source(port: int, sink: Shelf, fast: bool, **options: Any) -> AsyncIterator[MqttSource]:
    given = {"packet_bytes_max": PACKET_MAX, **options}
    broker = Broker("127.0.0.1", port, client_id="subject", fast=fast, **given)
    subject = MqttSource("mqtt", broker, decoder=Decoder({LEVEL: 0}, 1000), sink=sink)
    assert subject.fast == fast
    running = asyncio.create_task(subject.run())
    try:
        yield subject
    finally:
        assert not running.done(), "it ends only when it is told to"
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def meet(fast: bool, protocol: str, script: Sequence[bytes], hangs_up_after: bytes = b"") -> Met:
    """One connection through the script, a last good reading and the end of the stream."""
    last = publish(TOPIC, b"4711", properties=b"" if protocol == "5" else None)
    sink = Shelf()
    async with ScriptedBroker(protocol, [*script, last], hangs_up_after=hangs_up_after) as broker:
        async with source(broker.port, sink, fast, protocol=protocol) as subject:
            await asyncio.wait_for(subject._lost.wait(), HANG_S)
        return Met(sink, subject.last_error, bytes(broker.heard[0]))


def bytewise(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


def vectors(protocol: str) -> Iterator[tuple[str, bytes, Any]]:
    """Name, bytes and verdict of every sequence in mosquitto's own tests that a peer of this version may see."""
    for file in sorted(shared("data", "malformed", "mqtt", "packets").glob("*.json")):
        for group in json.loads(file.read_text("utf-8")):
            for test in group["tests"]:
                if (test.get("ver", 4) == 5) != (protocol == "5"):
                    continue
                sent = [m["payload"] for m in test["msgs"] if m["type"] == "send"]
                data = bytes.fromhex("".join(sent).replace(" ", ""))
                yield (
                    f"{file.stem} {group['group']}: {test['name']}",
                    data,
                    test.get("expect_disconnect", True),
                )


async def meet_all(fast: bool, protocol: str, scripts: Sequence[Sequence[bytes]]) -> list[Met]:
    room = asyncio.Semaphore(AT_ONCE)

    async def one(script: Sequence[bytes]) -> Met:
        async with room:
            return await meet(fast, protocol, script)

    return await asyncio.gather(*map(one, scripts))


@pytest.mark.parametrize("cut", ["whole", "in pieces"])
async def test_packets_that_mosquitto_is_tested_with(fast: bool, protocol: str, cut: str) -> None:
    chance = random.Random(4)
    names, streams, verdicts = zip(*vectors(protocol), strict=True)
    assert len(names) > 90

    def pieces(data: bytes) -> list[bytes]:
        if cut == "whole":
            return [data]
        edges = sorted(chance.choices(range(len(data) + 1), k=3))
        return [data[a:b] for a, b in zip([0, *edges], [*edges, len(data)], strict=True) if a < b]

    met = await meet_all(fast, protocol, [pieces(data) for data in streams])
    for name, data, wrong, one in zip(names, streams, verdicts, met, strict=True):
        assert one.sink.states[0] == (True, 1), name
        assert one.reason, name
        sound = not wrong and data[:1] in (b"\x30", b"\x31", b"\x32") and "PUBLISH" in name
        if sound:
            assert one.survived, f"{name}: {one.reason}"
            assert "topic" in [r.topic for r in one.sink.rejected], name


async def test_both_ways_agree_about_topics(protocol: str) -> None:
    """mosquitto's vectors; control characters and non-characters, which MQTT leaves to us, go into quarantine."""
    checked: list[tuple[bytes, bool | None]] = []
    told = json.loads(shared("data", "malformed", "mqtt", "topic_vectors.json").read_text("utf-8"))
    checked += [(v["topic"].encode(), v["valid"]) for v in told["validity"] if v["kind"] == "pub"]
    checked += [(v["topic"].encode(), None) for v in told["matching"]]
    texts = json.loads(shared("data", "malformed", "mqtt", "utf8_vectors.json").read_text("utf-8"))
    checked += [(bytes.fromhex(v["hex"]), v["valid"] or None) for v in texts]
    properties = b"" if protocol == "5" else None
    scripts = [[publish(topic, b"1", properties=properties)] for topic, _ in checked]
    quick, plain = [await meet_all(way, protocol, scripts) for way in (True, False)]
    for (topic, valid), one, other in zip(checked, quick, plain, strict=True):
        assert one.survived == other.survived, topic
        assert [r.topic for r in one.sink.rejected] == [r.topic for r in other.sink.rejected], topic
        if valid is not None and topic and b"+" not in topic and b"#" not in topic:
            assert one.survived == valid, topic
        if one.survived:
            assert [r.reason for r in one.sink.rejected] == [Reason.TOPIC], topic


async def test_a_broker_that_trickles(fast: bool, protocol: str) -> None:
    properties = b"" if protocol == "5" else None
    stream = b"".join(
        publish(TOPIC, b"%d" % one, qos=one % 2, mid=one + 1, properties=properties) + PINGRESP
        for one in range(20)
    )
    met = await meet(fast, protocol, bytewise(stream), hangs_up_after=b"\x40\x02\x00\x14")
    assert met.sink.values == [*map(float, range(20)), 4711.0]
    acks = b"".join(b"\x40\x02" + (one + 1).to_bytes(2, "big") for one in range(20) if one % 2)
    found = [met.heard.find(acks[at : at + 4]) for at in range(0, len(acks), 4)]
    assert min(found) > 0 and found == sorted(found), "acknowledged in the order of receipt"


NEVER = b"never said"


@pytest.mark.parametrize("start", [b"\x30\xff\xff\xff\x7f" + b"x" * 100, b"\xd0\xff\xff\xff\x7f"])
async def test_a_remaining_length_that_is_too_large_ends_the_connection_before_the_packet_comes(
    fast: bool, protocol: str, start: bytes
) -> None:
    met = await meet(fast, protocol, [start], hangs_up_after=NEVER)
    assert re.fullmatch("a packet of 2684354.. bytes, at most 65536 are taken", met.reason)
    assert (b"\xe0\x01\x95" in met.heard or b"\xe0\x02\x95\x00" in met.heard) == (protocol == "5")


async def test_a_packet_that_is_larger_than_may_be_is_not_taken(fast: bool, protocol: str) -> None:
    properties = b"" if protocol == "5" else None
    met = await meet(fast, protocol, [publish(TOPIC, b"1" * PACKET_MAX, properties=properties)])
    assert not met.sink.values and not met.sink.rejected
    assert met.reason


@pytest.mark.parametrize(
    "properties", [b"\x23\0\0", b"\x23\xff\xff", b"\x23\0\7"], ids=["zero", "too high", "unknown"]
)
async def test_a_topic_alias_that_stands_for_nothing(fast: bool, properties: bytes) -> None:
    met = await meet(fast, "5", [publish(b"", b"1", properties=properties)])
    assert not met.survived
    assert met.reason not in ("", CLOSED)
    assert not met.sink.values and not met.sink.rejected
    assert met.heard.find(b"\xe0", -4) > 0 or not fast, "DISCONNECT with the reason"


async def test_topic_aliases_are_resolved() -> None:
    alias = b"\x23\0\1"
    first = publish(TOPIC, b"1", properties=alias)
    met = await meet(
        True, "5", [first, publish(b"", b"2", properties=alias), publish(b"", b"3", properties=alias)]
    )
    assert met.sink.values == [1.0, 2.0, 3.0, 4711.0]


async def test_what_came_before_nonsense_counts(fast: bool, protocol: str) -> None:
    properties = b"" if protocol == "5" else None
    good = publish(TOPIC, b"1", qos=1, mid=5, properties=properties)
    met = await meet(fast, protocol, [good + publish(b"#", b"1", properties=properties)])
    assert met.sink.values == [1.0]
    assert "wildcard" in met.reason
    assert met.sink.reasons == [met.reason]


async def test_nonsense(fast: bool, protocol: str) -> None:
    chance = random.Random(11)
    properties = b"" if protocol == "5" else None
    scripts = [
        [b"HTTP/1.1 400 Bad Request\r\n\r\n"],
        [b"\x00" * 50],
        [b"\xff" * 50],
        [b"220 mail.example ESMTP\r\n"],
    ]
    scripts += [[chance.randbytes(chance.randrange(1, 300))] for _ in range(60)]
    for head in (0x20, 0x40, 0x50, 0x62, 0x70, 0x90, 0xB0, 0xD0, 0xE0, 0xF0):
        scripts += [[packet(head, chance.randbytes(size))] for size in range(6)]
    for _ in range(60):
        spoilt = bytearray(publish(TOPIC, b"1", qos=1, properties=properties) * 3)
        spoilt[chance.randrange(len(spoilt))] = chance.randrange(256)
        scripts.append([bytes(spoilt)])
    for met in await meet_all(fast, protocol, scripts):
        assert met.reason
        assert met.sink.reasons


async def test_a_message_before_the_connection_is_accepted(fast: bool) -> None:
    async with ScriptedBroker() as broker:
        broker.connack = publish(TOPIC, b"1")
        sink = Shelf()
        async with source(broker.port, sink, fast) as subject:
            await until(lambda: "before CONNACK" in subject.last_error, "word of it")
    assert sink.bodies == []


async def test_qos_2_is_taken_although_it_was_not_asked_for(fast: bool, protocol: str) -> None:
    properties = b"" if protocol == "5" else None
    sent = publish(TOPIC, b"1", qos=2, mid=9, properties=properties)
    met = await meet(
        fast, protocol, [sent, b"\x62\x02\x00\x09", PINGRESP], hangs_up_after=b"\x70\x02\x00\x09"
    )
    assert met.sink.values == [1.0, 4711.0]
    assert b"\x50\x02\x00\x09" in met.heard
    assert b"\x70\x02\x00\x09" in met.heard


async def test_qos_2_that_is_never_completed_ends_the_connection(fast: bool) -> None:
    script = [publish(TOPIC, b"1", qos=2, mid=mid) for mid in range(1, 200)]
    met = await meet(fast, "3.1.1", script)
    assert "never completed" in met.reason


async def test_a_subscription_that_is_refused_is_no_connection(fast: bool, protocol: str) -> None:
    sink = Shelf()
    code = 0x87 if protocol == "5" else 0x80
    async with ScriptedBroker(protocol, code=code, hangs_up_after=NEVER) as broker:
        async with source(broker.port, sink, fast, protocol=protocol) as subject, asyncio.timeout(HANG_S):
            await subject._lost.wait()
        assert "subscription refused: ioc/v1/#" in subject.last_error
        assert sink.reasons == [subject.last_error]


async def test_a_reason_string_of_the_broker_is_told(fast: bool) -> None:
    why = b"\x1f\x00\x05later"
    bye = packet(0xE0, b"\x89" + bytes([len(why)]) + why)
    met = await meet(fast, "5", [bye])
    assert met.reason == "Server busy: later"
    async with ScriptedBroker("5") as broker:
        broker.connack = packet(0x20, b"\x00\x89" + bytes([len(why)]) + why)
        async with source(broker.port, Shelf(), fast, protocol="5") as subject:
            await until(lambda: "refused: Server busy: later" in subject.last_error, "word of it")


async def test_a_reconnection_begins_with_an_empty_cutter(fast: bool) -> None:
    """Cut off within a frame; what the next connection brings is not its rest."""
    sink = Shelf()
    half = publish(TOPIC, b"1" * 300)[:100]
    async with ScriptedBroker("3.1.1", [half]) as broker, source(broker.port, sink, fast) as subject:
        await asyncio.wait_for(subject._lost.wait(), HANG_S)
        broker.script = [publish(TOPIC, b"7")]
        await until(lambda: bool(sink.values), "the next reading")
        assert sink.values == [7.0]
        assert subject.generation == 2


async def test_qos_0_and_1_of_one_read_are_one_group(fast: bool) -> None:
    """Shedding the one would acknowledge nothing of the other."""
    script = [publish(TOPIC, b"1") + publish(TOPIC, b"2", qos=1, mid=3) + publish(b"ioc/v1/nonsense", b"")]
    met = await meet(fast, "3.1.1", script, hangs_up_after=b"\x40\x02\x00\x03")
    assert met.sink.values == [1.0, 2.0, 4711.0]
    assert b"\x40\x02\x00\x03" in met.heard
    if fast:
        assert met.sink.may_shed[1:3] == [False, False]
