"""Readings that flow through a real Kafka: who sends them, and a monitor's spine and log that take them."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

from aiokafka import AIOKafkaProducer  # type: ignore[import-untyped]
from services.kafka import Kafka

from ioc.ingest.decoder import Decoder
from ioc.ingest.kafka import KafkaSource
from ioc.ingest.kafka_records import columnar
from ioc.log.sqlite import SqliteLog
from ioc.model import Batch, Input, PackLoaded
from ioc.pack import Pack
from ioc.recovery import recover
from ioc.spine import Spine

PARTITIONS = 6
SERIES = [f"disaster/station_{n}/water_level" for n in range(30)]
POISON_EVERY = 97
COLUMNS_EVERY = 13

Row = tuple[str, int, float]


class Flow:
    """A producer with `acks=all` in a thread of its own, until told to stop: JSON, columns and poison."""

    def __init__(self, cluster: Kafka, topic: str, rate: int) -> None:
        self.rows: list[Row] = []
        self.poison: list[bytes] = []
        self._cluster, self._topic, self._rate = cluster, topic, rate
        self._stop = threading.Event()
        self._failed: list[BaseException] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def finish(self) -> None:
        """Stop, once everything is acknowledged."""
        self._stop.set()
        self._thread.join(60)
        assert not self._thread.is_alive()
        assert not self._failed, self._failed

    def _run(self) -> None:
        try:
            asyncio.run(self._produce())
        except BaseException as error:
            self._failed.append(error)

    async def _produce(self) -> None:
        start_us = time.time_ns() // 1_000_000 * 1_000
        number = 0
        async with AIOKafkaProducer(
            bootstrap_servers=self._cluster.brokers, acks="all", enable_idempotence=True, linger_ms=5
        ) as producer:
            while not self._stop.is_set():
                sent = []
                for _ in range(self._rate // 50):
                    sent.append(await self._send(producer, number, start_us + number * 1_000))
                    number += 1
                # As long as a node is missing and not yet missed, this waits.
                await asyncio.gather(*sent)
                await asyncio.sleep(0.02)

    async def _send(self, producer: AIOKafkaProducer, number: int, t_us: int) -> asyncio.Future[object]:
        series = SERIES[number % len(SERIES)]
        place = number % len(SERIES) % PARTITIONS
        key, value = series.encode(), number / 100
        body = b'{"t": %d, "v": %.2f}' % (t_us // 1_000, value)
        headers: list[tuple[str, bytes]] = []
        if number % POISON_EVERY == 0:
            body = b"poison %d" % number
            self.poison.append(body)
        elif number % COLUMNS_EVERY == 0:
            # This reading, and two of its neighbours on the partition, at the microseconds after it.
            ids = [SERIES[(number + i * PARTITIONS) % len(SERIES)] for i in range(3)]
            values = [value + i for i in range(3)]
            headers, body = columnar(Batch.of("", [0, 1, 2], [t_us + 7] * 3, [0] * 3, values), ids)
            self.rows += [(name, t_us + 7, v) for name, v in zip(ids, values, strict=True)]
        else:
            self.rows.append((series, t_us, value))
        future: asyncio.Future[object] = await producer.send(
            self._topic, body, key=key, partition=place, headers=headers
        )
        return future


class Monitor:
    """A real spine over a real log, with the source and nothing else."""

    def __init__(self, folder: Path, pack: Pack, cluster: Kafka, topic: str) -> None:
        self._folder = folder
        store = SqliteLog.open(folder)
        self._pipeline = recover(store).pipeline
        self.spine = Spine(
            store, self._pipeline, source_clock=False, queue_rows_max=100_000, checkpoint_records=10**9
        )
        self.spine.announce(list(pack.registry.series))
        self.spine.offer(PackLoaded(pack.hash, "p"), blobs={pack.hash: pack.blob})
        self.source = KafkaSource(
            "kafka", brokers=cluster.brokers, topics=[topic], pattern="", group=f"{topic}-group", start="earliest",
            security="plaintext", mechanism="PLAIN", username="", password="", ca_file=None, cert_file=None,
            key_file=None, payload_bytes_max=1 << 20, decoder=Decoder(self._pipeline.numbers, 1 << 20), sink=self.spine,
            offsets=lambda: self._pipeline.offsets.get("kafka", {}),
        )  # fmt: skip
        self.spine.published.append(self.source.resume)
        self._spine_task = asyncio.create_task(self.spine.run())
        self._task = asyncio.create_task(self.source.run())

    @property
    def rows(self) -> int:
        return self.spine.taken

    async def end(self) -> list[Input]:
        """Leave the group, close the log, and read it."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self.spine.stop()
        await self._spine_task
        await self.spine.close()
        store = SqliteLog.open(self._folder)
        try:
            return list(store.read(0))
        finally:
            store.close()
