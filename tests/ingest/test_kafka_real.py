"""The Kafka source against a real Apache Kafka: what aiokafka and the brokers do that no dictionary does."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer  # type: ignore[import-untyped]
from aiokafka.helpers import create_ssl_context  # type: ignore[import-untyped]
from services.common import until
from services.kafka import Kafka
from support.shelf import Shelf

from ioc import doctor
from ioc.config import Config
from ioc.config import Kafka as KafkaSettings
from ioc.ingest import kafka
from ioc.ingest.decoder import Decoder
from ioc.ingest.kafka import KafkaSource
from ioc.ingest.kafka_records import columnar
from ioc.model import Batch, Reason
from ioc.model.origin import offsets

pytestmark = [pytest.mark.services, pytest.mark.timeout(120)]

LEVEL, RAIN = "disaster/lao_cai/water_level", "disaster/lao_cai/rain_1h"
T_US = 1_725_800_400_123_000
USER, PASSWORD = "ioc", "bi-mat-thu"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Kafka]:
    made = Kafka(users={USER: PASSWORD})
    yield made
    made.close()


@pytest.fixture
def topic(cluster: Kafka, request: pytest.FixtureRequest) -> str:
    """A topic of the test's own, of two partitions."""
    name = request.node.name.replace("[", "-").strip("]")
    cluster.create_topic(name, 2)
    return name


@contextlib.asynccontextmanager
async def running(cluster: Kafka, topic: str, sink: Shelf, **options: Any) -> AsyncIterator[KafkaSource]:
    given: dict[str, Any] = {
        "brokers": cluster.brokers, "topics": [topic], "pattern": "", "group": f"group-{topic}", "start": "earliest",
        "security": "plaintext", "mechanism": "SCRAM-SHA-512", "username": "", "password": "", "ca_file": None,
        "cert_file": None, "key_file": None, "payload_bytes_max": 4000, "decoder": Decoder({LEVEL: 0, RAIN: 1}, 4000),
        "sink": sink, "offsets": dict, **options,
    }  # fmt: skip
    subject = KafkaSource("kafka", **given)
    task = asyncio.create_task(subject.run())
    try:
        yield subject
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def send(
    cluster: Kafka,
    topic: str,
    *records: tuple[str | None, bytes | None, Sequence[tuple[str, bytes]]],
    **options: Any,
) -> None:
    async with AIOKafkaProducer(bootstrap_servers=cluster.brokers, **options) as producer:
        for number, (key, value, headers) in enumerate(records):
            name = None if key is None else key.encode()
            await producer.send(topic, value, key=name, headers=list(headers), partition=number % 2)


def readings(*values: float) -> list[tuple[str, bytes, list[tuple[str, bytes]]]]:
    return [(LEVEL, str(v).encode(), []) for v in values]


async def test_json_columns_and_poison_through_a_real_broker(cluster: Kafka, topic: str) -> None:
    batch = Batch.of("", [0, 1, 0], [T_US, T_US + 1, T_US + 2], [0] * 3, [7.0, 8.0, 9.0])
    headers, value = columnar(batch, [LEVEL, RAIN])
    sink = Shelf()
    await send(
        cluster, topic, *readings(1, 2), (None, value, headers), (LEVEL, b"poison", []), (LEVEL, None, []),
        (None, b"3", []), (LEVEL, b'{"v": 4}', [("ioc-series", RAIN.encode())]), *readings(5),
    )  # fmt: skip
    async with running(cluster, topic, sink) as subject:
        await until(lambda: len(sink.values) >= 7 and len(sink.rejected) >= 3, "all of it")
        await until(lambda: subject.lag() == 0, "no lag")
    assert Counter(sink.values) == Counter([1.0, 2.0, 7.0, 8.0, 9.0, 4.0, 5.0])
    assert Counter(r.reason for r in sink.rejected) == {Reason.NOT_JSON: 2, Reason.TOPIC: 1}
    assert {r.detail.split(":")[0] for r in sink.rejected} == {f"{topic}/1@1", f"{topic}/0@2", f"{topic}/1@2"}
    again = Shelf()
    async with running(cluster, topic, again) as subject:
        await until(lambda: subject.connected, "connection")
        await send(cluster, topic, *readings(6))
        await until(lambda: again.values == [6.0], "the new one and nothing else")


async def test_only_what_transactions_committed_is_taken(cluster: Kafka, topic: str) -> None:
    sink = Shelf()
    producer = AIOKafkaProducer(bootstrap_servers=cluster.brokers, transactional_id=topic)
    async with producer:
        async with producer.transaction():
            await producer.send(topic, b"1", key=LEVEL.encode(), partition=0)
        with contextlib.suppress(RuntimeError):
            async with producer.transaction():
                await producer.send(topic, b"2", key=LEVEL.encode(), partition=0)
                raise RuntimeError
        async with producer.transaction():
            await producer.send(topic, b"3", key=LEVEL.encode(), partition=0)
    async with running(cluster, topic, sink) as subject:
        await until(lambda: sink.values == [1.0, 3.0], "what was committed")
        await until(lambda: subject.lag() == 0, "no lag, though the marks of the transactions come last")


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-512", "SCRAM-SHA-256"])
async def test_sasl_and_tls(cluster: Kafka, topic: str, mechanism: str) -> None:
    sink = Shelf()
    secure = {
        "brokers": cluster.secure_brokers, "security": "sasl_tls", "mechanism": mechanism, "username": USER,
        "password": PASSWORD, "ca_file": str(cluster.ca_file),
    }  # fmt: skip
    async with running(cluster, topic, sink, **secure):
        async with AIOKafkaProducer(
            bootstrap_servers=cluster.secure_brokers, security_protocol="SASL_SSL", sasl_mechanism=mechanism,
            sasl_plain_username=USER, sasl_plain_password=PASSWORD,
            ssl_context=create_ssl_context(cafile=str(cluster.ca_file)),
        ) as producer:  # fmt: skip
            await producer.send_and_wait(topic, b"1", key=LEVEL.encode())
        await until(lambda: sink.values == [1.0], "a reading")


@pytest.mark.parametrize(
    ("wrong", "told"),
    [({"password": "falsch"}, "uthentication"), ({"ca_file": None}, "CERTIFICATE_VERIFY_FAILED")],
    ids=["password", "certificate"],
)
async def test_who_is_refused_is_told_why(
    cluster: Kafka, topic: str, wrong: dict[str, Any], told: str
) -> None:
    secure = {
        "brokers": cluster.secure_brokers, "security": "sasl_tls", "username": USER, "password": PASSWORD,
        "ca_file": str(cluster.ca_file), **wrong,
    }  # fmt: skip
    async with running(cluster, topic, Shelf(), **secure) as subject:
        await until(lambda: told in subject.last_error, f"the reason; it says {subject.last_error}")
        assert not subject.connected


async def test_a_topic_made_anew_is_read_from_its_beginning(cluster: Kafka, topic: str) -> None:
    sink = Shelf()
    async with running(cluster, topic, sink) as subject:
        await send(cluster, topic, *readings(*range(8)))
        await until(lambda: len(sink.values) == 8, "eight readings")
        await asyncio.to_thread(cluster.delete_topic, topic)
        await asyncio.to_thread(cluster.create_topic, topic, 2)
        await send(cluster, topic, *readings(100, 101))
        await until(lambda: len(sink.values) == 10, f"the new ones; {subject.last_error}")
    assert sink.values[8:] in ([100.0, 101.0], [101.0, 100.0])


async def test_what_retention_dropped_is_told(cluster: Kafka, topic: str) -> None:
    sink = Shelf()
    await send(cluster, topic, *readings(*range(20)))
    cluster.delete_records(topic, 0, 6)
    async with running(cluster, topic, sink, offsets=lambda: {(topic, 0): 2}) as subject:
        await until(lambda: len(sink.values) == 14, "what is left")
        assert subject.last_error == f"4 records of {topic}/0 were dropped by Kafka before they were taken"


async def test_members_share_the_partitions_and_each_reading_is_taken_once(
    cluster: Kafka, topic: str
) -> None:
    """The second begins where the first had come to, and the first goes on where the second left."""
    first, second = Shelf(), Shelf()
    done = asyncio.Event()

    async def produce() -> int:
        number = 0
        async with AIOKafkaProducer(bootstrap_servers=cluster.brokers) as producer:
            while not done.is_set():
                for _ in range(50):
                    await producer.send(topic, str(number).encode(), key=LEVEL.encode(), partition=number % 2)
                    number += 1
                await producer.flush()
        return number

    async with running(cluster, topic, first) as one:
        producing = asyncio.create_task(produce())
        await until(lambda: len(first.values) > 100, "some readings")
        async with running(cluster, topic, second) as two:
            await until(lambda: two.connected and len(second.values) > 100, "some for the second")
        before = len(first.values)
        await until(lambda: len(first.values) > before + 500, "the second's partition comes back")
        done.set()
        sent = await producing
        await until(lambda: len(first.values) + len(second.values) >= sent, "the rest")
        assert one.connected
    assert Counter(first.values + second.values) == Counter(float(i) for i in range(sent))
    assert len({partition for origin in second.origins for partition in offsets(origin)}) == 1


async def test_a_broker_that_goes_away_and_comes_back(
    cluster: Kafka, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka, "SESSION_S", 3.0)
    monkeypatch.setattr(kafka, "NOBODY_S", 1.0)
    monkeypatch.setattr(kafka, "PROBE_EVERY_S", 0.5)
    sink = Shelf()
    async with running(cluster, topic, sink) as subject:
        await send(cluster, topic, *readings(1))
        await until(lambda: sink.values == [1.0], "a reading")
        await asyncio.to_thread(cluster.nodes[0].kill)
        await until(lambda: not subject.connected, "loss")
        await asyncio.to_thread(cluster.start)
        await send(cluster, topic, *readings(2))
        await until(lambda: sink.values == [1.0, 2.0], "the next")
    assert sink.states[:3] == [(True, 1), (False, 1), (True, 2)]


def test_the_doctor_says_whether_the_brokers_let_us_in_and_the_topics_are_there(
    cluster: Kafka, topic: str
) -> None:
    def asked(**kafka: Any) -> doctor.Finding:
        given = {"brokers": ",".join(cluster.brokers), "topics": (topic,), **kafka}
        return doctor._kafka(Config(data=Path("nowhere"), kafka=KafkaSettings(**given)))

    assert asked().result is doctor.Result.GOOD
    missing = asked(topics=(topic, "nosuch"))
    assert missing.result is doctor.Result.DOUBT
    assert "nosuch" in missing.detail
    assert asked(topics=(), pattern="nosuch.*").result is doctor.Result.DOUBT
    assert asked(brokers="127.0.0.1:9").result is doctor.Result.BAD
