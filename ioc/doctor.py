"""`ioc doctor`: looks at everything an instance needs, and says what to do where something is wrong."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
import sqlite3
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path

import asyncpg
from aiokafka import AIOKafkaConsumer  # type: ignore[import-untyped]
from aiokafka.errors import KafkaError  # type: ignore[import-untyped]

from ioc.broker_probe import probe
from ioc.config import Config
from ioc.errors import BrokerUnavailable, ConfigError, IocError, LogError, PackError
from ioc.health import DAY_US
from ioc.ingest.kafka_client import ClientLog, security_settings
from ioc.log.mounts import refuse_unsuitable
from ioc.offline import accounts, in_force
from ioc.pack import Pack, beyond
from ioc.publish import Publisher

SYNCS = 20
SLOW_SYNC_MS = 10.0


class Result(Enum):
    """How a look ended."""

    GOOD = "good"
    DOUBT = "doubt"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    """One look: what, how it ended, and what was seen or what to do."""

    vi: str
    en: str
    result: Result
    detail: str


def examine(config: Config) -> Iterator[Finding]:
    """Every look, one after the other."""
    yield _python()
    yield _folder(config.data)
    yield _sync(config.data)
    yield _disk(config)
    yield from _pack(config)
    yield from _broker(config)
    if config.kafka.addresses:
        yield _kafka(config)
    yield _database(config)
    yield _port(config)
    yield _people(config)


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    good = sqlite3.sqlite_version_info >= (3, 37)
    detail = f"Python {version}, SQLite {sqlite3.sqlite_version}"
    return Finding("Phiên bản", "Versions", Result.GOOD if good else Result.BAD, detail)


def _folder(data: Path) -> Finding:
    vi, en = "Thư mục dữ liệu", "Data folder"
    place = _existing(data)
    try:
        refuse_unsuitable(place)
    except LogError as error:
        return Finding(vi, en, Result.BAD, str(error))
    if not place.is_dir():
        return Finding(vi, en, Result.BAD, f"{place} is not a folder")
    if not os.access(place, os.W_OK):
        return Finding(vi, en, Result.BAD, f"{place} cannot be written by this user")
    return Finding(vi, en, Result.GOOD, str(data) if place == data else f"{data} will be made in {place}")


def _existing(path: Path) -> Path:
    """The path, or the nearest folder above it that is there: the doctor changes nothing."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path


def _sync(data: Path) -> Finding:
    """How long the disk takes to make a page durable: every latency adds it."""
    path = _existing(data) / ".ioc-doctor"
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
        try:
            took = []
            for _ in range(SYNCS):
                os.write(descriptor, b"\0" * 4096)
                begun = time.perf_counter()
                (os.fdatasync if hasattr(os, "fdatasync") else os.fsync)(descriptor)
                took.append(time.perf_counter() - begun)
        finally:
            os.close(descriptor)
            path.unlink()
    except OSError as error:
        return Finding("Ghi đĩa", "Disk sync", Result.BAD, str(error))
    median_ms = sorted(took)[SYNCS // 2] * 1e3
    detail = f"fdatasync median {median_ms:.2f} ms, worst {max(took) * 1e3:.2f} ms"
    return Finding("Ghi đĩa", "Disk sync", Result.GOOD if median_ms < SLOW_SYNC_MS else Result.DOUBT, detail)


def _disk(config: Config) -> Finding:
    free = shutil.disk_usage(_existing(config.data)).free
    good = free > config.log.disk_low_bytes
    detail = f"{free / 1e9:.1f} GB free" + ("" if good else ", less than log.disk_low_bytes: free some")
    return Finding("Dung lượng đĩa", "Disk space", Result.GOOD if good else Result.BAD, detail)


def _pack(config: Config) -> Iterator[Finding]:
    """The folder, and what is in force of it."""
    vi, en = "Bộ quy tắc", "Pack"
    try:
        pack = Pack.read(config.pack, config.verdict)
    except PackError as error:
        more = f" (and {len(error.faults) - 1} more: ioc check)" if len(error.faults) > 1 else ""
        yield Finding(vi, en, Result.BAD, f"{error}{more}")
        return
    if faults := beyond(pack, int(config.log.retention_days * DAY_US)):
        yield Finding(vi, en, Result.BAD, str(faults[0]))
        return
    enabled = sum(rule.enabled for rule in pack.rules.values())
    detail = (
        f"{pack.file.id}: {len(pack.registry.stations)} stations, {len(pack.registry.series)} series, "
        f"{enabled} of {len(pack.rules)} rules enabled"
    )
    yield Finding(vi, en, Result.GOOD, detail)
    keep_days = config.database.keep_days
    if keep_days and (faults := beyond(pack, int(keep_days * DAY_US))):
        place = f"{faults[0].file}:{faults[0].line}: {faults[0].path}"
        detail = (
            f"{place} looks farther back than the database keeps ({keep_days:g} d): no backtest can show it"
        )
        yield Finding("Cửa sổ thời gian", "Windows", Result.DOUBT, detail)
    yield _in_force(config, pack)


def _in_force(config: Config, folder: Pack) -> Finding:
    vi, en = "Quy tắc đang dùng", "Rules in force"
    if not any((config.data / "log").glob("*.sqlite")):
        return Finding(vi, en, Result.GOOD, "none yet; the folder's come into force at the first start")
    try:
        version = in_force(config.data)
    except LogError as error:
        return Finding(vi, en, Result.BAD, str(error))
    if version is None:
        return Finding(vi, en, Result.GOOD, "the log does not tell; an older build loaded them")
    loaded = version.loaded
    at = datetime.fromtimestamp(version.at_us / 1e6, UTC)
    by = f", by {loaded.actor_name or loaded.actor}" if loaded.actor else ""
    detail = f"{loaded.hash[:12]} since {at:%Y-%m-%d %H:%M} UTC, {_ORIGINS[loaded.origin]}{by}"
    if loaded.hash == folder.hash:
        return Finding(vi, en, Result.GOOD, detail)
    if loaded.origin == "posted":
        detail += f"; {config.pack} holds others, which SIGHUP or POST /api/v1/rules?source=folder would take"
    else:
        detail += f"; {config.pack} has changed since, and comes into force with the next look or start"
    return Finding(vi, en, Result.DOUBT, detail)


_ORIGINS = {"folder": "from the folder", "posted": "posted"}


def _broker(config: Config) -> Iterator[Finding]:
    """Whether it lets us in, and whether it would lose what waits for us."""
    vi, en = "Máy chủ MQTT", "MQTT broker"
    mqtt = config.mqtt
    if not mqtt.url:
        yield Finding(vi, en, Result.GOOD, "none is set (mqtt.url)")
        return
    try:
        with Publisher(
            mqtt.url,
            username=mqtt.username,
            password=mqtt.password.get_secret_value(),
            ca_file=str(mqtt.ca_file) if mqtt.ca_file else None,
            cert_file=str(mqtt.cert_file) if mqtt.cert_file else None,
            key_file=str(mqtt.key_file) if mqtt.key_file else None,
        ) as publisher:
            yield Finding(vi, en, Result.GOOD, f"{mqtt.host}:{mqtt.port} accepts the login")
            yield _keeping(publisher)
    except IocError as error:
        yield Finding(vi, en, Result.BAD, str(error))
    if mqtt.qos == 0:
        detail = "mqtt.qos is 0: what is published while the monitor is away or busy is lost; set it to 1"
        yield Finding("QoS", "QoS", Result.DOUBT, detail)


def _keeping(publisher: Publisher) -> Finding:
    """What the broker does while nothing is acknowledged."""
    vi, en = "Máy chủ MQTT giữ bản tin", "Broker keeps messages"
    try:
        found = probe(publisher)
    except BrokerUnavailable as error:
        return Finding(vi, en, Result.DOUBT, f"cannot be probed: {error}")
    if found.arrived < found.sent:
        detail = (
            f"of {found.sent:,} messages that waited for a slow subscriber {found.sent - found.arrived:,} were LOST, "
            "though acknowledged to their sender: raise max_queued_messages (mosquitto: 10000000)"
        )
        return Finding(vi, en, Result.BAD, detail)
    if found.in_flight < found.sent:
        detail = (
            f"all {found.sent:,} kept, but only {found.in_flight:,} may be in flight: each write to disk then brings no "
            "more; raise max_inflight_messages (mosquitto: 0)"
        )
        return Finding(vi, en, Result.DOUBT, detail)
    return Finding(vi, en, Result.GOOD, f"all {found.sent:,} messages that waited for a slow subscriber came")


def _kafka(config: Config) -> Finding:
    """Whether the brokers let us in, and whether the topics are there."""
    vi, en = "Kafka", "Kafka"
    kafka = config.kafka

    async def ask() -> set[str]:
        client = AIOKafkaConsumer(
            bootstrap_servers=kafka.addresses,
            request_timeout_ms=5_000,
            **security_settings(
                kafka.security,
                kafka.mechanism,
                kafka.username,
                kafka.password.get_secret_value(),
                str(kafka.ca_file) if kafka.ca_file else None,
                str(kafka.cert_file) if kafka.cert_file else None,
                str(kafka.key_file) if kafka.key_file else None,
            ),
        )
        try:
            await client.start()
            found: set[str] = await client.topics()
            return found
        finally:
            await client.stop()

    try:
        with ClientLog("kafka").attached():
            topics = asyncio.run(asyncio.wait_for(ask(), 10))
    except (KafkaError, OSError, TimeoutError, ConfigError) as error:
        return Finding(vi, en, Result.BAD, f"{kafka.brokers}: {error or 'no answer'}")
    missing = [topic for topic in kafka.topics if topic not in topics]
    matched = [topic for topic in topics if kafka.pattern and re.fullmatch(kafka.pattern, topic)]
    if missing or not (kafka.topics or matched):
        what = f"no topic {', '.join(missing)}" if missing else f"no topic matches {kafka.pattern!r}"
        return Finding(vi, en, Result.DOUBT, f"{kafka.brokers} lets us in, but there is {what} (yet)")
    return Finding(
        vi, en, Result.GOOD, f"{kafka.brokers}: {len(kafka.topics) + len(matched)} topics are there"
    )


def _database(config: Config) -> Finding:
    dsn = config.database.dsn.get_secret_value()
    vi, en = "Cơ sở dữ liệu", "Database"
    if not dsn:
        return Finding(vi, en, Result.DOUBT, "none is set (database.dsn): no history beyond the log")

    async def ask() -> tuple[str, str | None]:
        link = await asyncpg.connect(dsn, timeout=5)
        try:
            version = await link.fetchval("show server_version")
            licence = await link.fetchval("select current_setting('timescaledb.license', true)")
            return str(version), licence
        finally:
            await link.close()

    try:
        version, licence = asyncio.run(ask())
    except (OSError, asyncpg.PostgresError, TimeoutError, ValueError) as error:
        return Finding(vi, en, Result.BAD, f"{type(error).__name__}: {error}; alarms go on without it")
    kind = {"timescale": "TimescaleDB with its full licence", "apache": "TimescaleDB, Apache edition"}.get(
        licence or "", "without TimescaleDB: range partitions"
    )
    return Finding(vi, en, Result.GOOD, f"PostgreSQL {version}, {kind}")


def _port(config: Config) -> Finding:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((config.web.host, config.web.port))
        except OSError as error:
            detail = f"{config.web.host}:{config.web.port}: {error.strerror} (an instance may be running)"
            return Finding("Cổng web", "Web port", Result.DOUBT, detail)
    return Finding("Cổng web", "Web port", Result.GOOD, f"{config.web.host}:{config.web.port} is free")


def _people(config: Config) -> Finding:
    vi, en = "Tài khoản", "Accounts"
    if not any((config.data / "log").glob("*.sqlite")):
        return Finding(
            vi, en, Result.DOUBT, "no log yet; make the first account with: ioc user add NAME --role admin"
        )
    try:
        users = accounts(config.data).users
    except LogError as error:
        return Finding(vi, en, Result.BAD, str(error))
    if not users:
        return Finding(vi, en, Result.DOUBT, "nobody can log in yet: ioc user add NAME --role admin")
    return Finding(vi, en, Result.GOOD, f"{len(users)} can log in")
