"""The fixtures. Each service starts with the first test that asks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from services.chromium import find_chromium
from services.mosquitto import Mosquitto
from services.timescale import PlainPostgres, Timescale, create_database, drop_database


@pytest.fixture(scope="session")
def timescale() -> Iterator[Timescale]:
    """The session's TimescaleDB server; a test that stops it must start it again."""
    server = Timescale()
    yield server
    server.close()


@pytest.fixture(scope="session")
def plain_postgres() -> Iterator[PlainPostgres]:
    """The session's PostgreSQL without TimescaleDB."""
    server = PlainPostgres()
    yield server
    server.close()


@pytest.fixture
def durable_timescale() -> Iterator[Timescale]:
    """A TimescaleDB server of one's own with fsync on, to be killed."""
    server = Timescale(durable=True)
    yield server
    server.close()


@pytest.fixture
def database(timescale: Timescale) -> Iterator[str]:
    """The DSN of a fresh database with TimescaleDB."""
    name = create_database(timescale)
    yield timescale.dsn(name)
    drop_database(timescale, name)


@pytest.fixture
def plain_database(plain_postgres: PlainPostgres) -> Iterator[str]:
    """The DSN of a fresh database without TimescaleDB."""
    name = create_database(plain_postgres)
    yield plain_postgres.dsn(name)
    drop_database(plain_postgres, name)


@pytest.fixture
def new_mosquitto() -> Iterator[Callable[..., Mosquitto]]:
    """Starts brokers with what is asked for: `new_mosquitto(users={"a": "b"}, tls=True, more=["…"])`."""
    brokers: list[Mosquitto] = []

    def new(**asked: Any) -> Mosquitto:
        broker = Mosquitto(**asked)
        brokers.append(broker)
        return broker

    yield new
    for broker in brokers:
        broker.close()


@pytest.fixture
def mosquitto(new_mosquitto: Callable[..., Mosquitto]) -> Mosquitto:
    """A broker that lets everybody in."""
    return new_mosquitto()


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of a Chromium for Playwright's `executable_path`."""
    return find_chromium()
