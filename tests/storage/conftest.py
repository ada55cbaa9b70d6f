"""Every storage test runs on PostgreSQL with TimescaleDB and without."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from services.timescale import DatabaseServer

from ioc.storage.connection import Connection, connect
from ioc.storage.migrate import migrate


@dataclass(frozen=True)
class Store:
    """A fresh database and the server that a test may take away."""

    kind: str
    server: DatabaseServer
    dsn: str


@pytest.fixture(params=["timescale", "plain"])
def store(request: pytest.FixtureRequest) -> Store:
    """A fresh database of each kind in turn."""
    server, database = {
        "timescale": ("timescale", "database"),
        "plain": ("plain_postgres", "plain_database"),
    }[request.param]
    return Store(request.param, request.getfixturevalue(server), request.getfixturevalue(database))


@pytest.fixture
async def db(store: Store) -> AsyncIterator[Connection]:
    """A connection to a fresh and migrated database."""
    connection = await connect(store.dsn)
    await migrate(connection)
    yield connection
    await connection.close()
