"""Kafka in: a topic that is full already → decoded, judged, evaluated, in the log, one core; beside `getmany` alone.

JSON records of 121 bytes, the series as key, and columnar records of 1,000 readings (100 series at ten moments). Each
round fills a fresh topic of three partitions and lets a fresh monitor (no projection, no screen) and then a fresh
consumer read it, each on one processor; the broker has no processor to itself. A rate is the readings in the log over
the time from the first one received to the last record. Prints JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from aiokafka import AIOKafkaProducer
from bench_source import settle
from child import Child
from monitor import HERE, Monitor, bench_folder
from probe import ALERT_FROM
from rig import median
from services.kafka import Kafka
from services.mosquitto import Mosquitto

from ioc.ingest.kafka_records import columnar
from ioc.model import Batch

SERIES = 1_000
PARTITIONS = 3
SUBJECT_CPU = 0
PAYLOAD = 121
CROSS_EVERY = 100
COLUMNAR_SERIES, COLUMNAR_MOMENTS = 100, 10
READINGS = {"json": 1_000_000, "columnar": 5_000_000}
BATCH_BYTES = 512 * 1024
NAMES = [f"energy/s{i:03d}/kw" for i in range(SERIES)]

Record = tuple[int, bytes | None, bytes, list[tuple[str, bytes]]]
"""Partition, key, value, headers."""


def values_of(turn: int, start: int, count: int) -> np.ndarray[Any, Any]:
    """What that many series from `start` on read in one turn; one in a hundred above the limit, never twice running."""
    index = np.arange(start, start + count)
    value = 20 + (index * 7 + turn * 3) % 1000 / 100
    above = (index + 37 * turn) % CROSS_EVERY == CROSS_EVERY - 1
    return np.where(above, ALERT_FROM + turn * SERIES + index, value)


def json_records(readings: int, start_ms: int) -> Iterator[Record]:
    """One reading each."""
    for turn in range(readings // SERIES):
        for index, value in enumerate(values_of(turn, 0, SERIES).tolist()):
            body = f'{{"t": {start_ms + turn}, "v": {value:.2f}, "q": "good"'.ljust(PAYLOAD - 1) + "}"
            yield index % PARTITIONS, NAMES[index].encode(), body.encode(), []


def columnar_records(readings: int, start_ms: int) -> Iterator[Record]:
    """A thousand readings each."""
    groups = SERIES // COLUMNAR_SERIES
    series = np.tile(np.arange(COLUMNAR_SERIES, dtype=np.int32), COLUMNAR_MOMENTS)
    for number in range(readings // (COLUMNAR_SERIES * COLUMNAR_MOMENTS)):
        turn, group = number // groups * COLUMNAR_MOMENTS, number % groups
        first = group * COLUMNAR_SERIES
        turns = range(turn, turn + COLUMNAR_MOMENTS)
        event_us = np.repeat([(start_ms + t) * 1_000 for t in turns], COLUMNAR_SERIES)
        value = np.concatenate([values_of(t, first, COLUMNAR_SERIES) for t in turns])
        headers, body = columnar(
            Batch.of("bench", series, event_us, event_us, value), NAMES[first : first + COLUMNAR_SERIES]
        )
        yield group % PARTITIONS, None, body, headers


RECORDS: dict[str, Callable[[int, int], Iterator[Record]]] = {
    "json": json_records,
    "columnar": columnar_records,
}


async def fill(brokers: str, topic: str, records: Iterator[Record]) -> int:
    """Put them into the topic in whole batches; how many they were."""
    producer = AIOKafkaProducer(
        bootstrap_servers=brokers, max_batch_size=BATCH_BYTES, max_request_size=2 * BATCH_BYTES
    )
    await producer.start()
    count = 0
    try:
        batches = {p: producer.create_batch() for p in range(PARTITIONS)}
        for partition, key, value, headers in records:
            count += 1
            if batches[partition].append(key=key, value=value, timestamp=None, headers=headers) is None:
                await producer.send_batch(batches[partition], topic, partition=partition)
                batches[partition] = producer.create_batch()
                batches[partition].append(key=key, value=value, timestamp=None, headers=headers)
        for partition, batch in batches.items():
            await producer.send_batch(batch, topic, partition=partition)
        await producer.flush()
    finally:
        await producer.stop()
    return count


def monitor_takes(folder: Path, mqtt_url: str, brokers: str, topic: str, readings: int) -> dict[str, Any]:
    """A fresh monitor that joins as a new group."""
    with closing(
        Monitor(
            folder, mqtt_url, series=SERIES, cpu=SUBJECT_CPU, IOC_KAFKA__BROKERS=brokers,
            IOC_KAFKA__TOPICS=json.dumps([topic]), IOC_KAFKA__GROUP=f"ioc-{topic}",
        )
    ) as monitor:  # fmt: skip
        monitor.begin()
        end = time.monotonic() + 60
        while monitor.readings() == 0 and time.monotonic() < end:
            time.sleep(0.1)
        settle(monitor, readings)
        cpu = monitor.cpu()
        logged = monitor.logged()
    return {
        "per_s": round(logged.rate), "logged": logged.rows, "lost": readings - logged.rows,
        "cpu_us_with_start": round(cpu / max(1, logged.rows) * 1e6, 3),
    }  # fmt: skip


def getmany_takes(brokers: str, topic: str, records: int, readings: int) -> dict[str, Any]:
    """The bare consumer."""
    command = [sys.executable, str(HERE / "peers" / "getmany.py"), brokers, topic, str(records)]
    with closing(Child(command, cpu=SUBJECT_CPU)) as consumer:
        found = json.loads(consumer.hear(180))
    return {"per_s": round(readings / found["seconds"]), **found}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(RECORDS), help="of " + ", ".join(RECORDS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of readings")
    given = parser.parse_args()
    out: dict[str, Any] = {"rows": []}
    with bench_folder() as folder, closing(Kafka()) as kafka, closing(Mosquitto()) as broker:
        brokers = ",".join(kafka.brokers)
        for name in given.names:
            readings = int(READINGS[name] * given.scale) // 10_000 * 10_000
            rounds = []
            for number in range(given.rounds):
                topic = f"{name}-{number}"
                kafka.create_topic(topic, partitions=PARTITIONS)
                records = asyncio.run(
                    fill(brokers, topic, RECORDS[name](readings, time.time_ns() // 1_000_000))
                )
                ours = monitor_takes(folder / topic, broker.url, brokers, topic, readings)
                rounds.append({"ours": ours, "getmany": getmany_takes(brokers, topic, records, readings)})
                kafka.delete_topic(topic)
            out[name] = rounds
            lost = sum(r["ours"]["lost"] for r in rounds)
            row = {
                "name": f"kafka.{name}", "peer_name": "aiokafka getmany",
                "ours": median(r["ours"]["per_s"] for r in rounds),
                "peer": median(r["getmany"]["per_s"] for r in rounds),
            }  # fmt: skip
            out["rows"].append(row | ({"met": False, "note": f"{lost} readings lost"} if lost else {}))
    print(json.dumps(out))


if __name__ == "__main__":
    main()
