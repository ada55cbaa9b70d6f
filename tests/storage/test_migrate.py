"""Migrations run once, whoever comes first, and never over a schema that is not ours."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import pytest

from ioc.storage.connection import connect
from ioc.storage.migrate import SchemaMismatch, migrate, migrations

pytestmark = pytest.mark.services


async def test_migrations_are_applied_once(store) -> None:
    connection = await connect(store.dsn)
    try:
        assert await migrate(connection) == [m.name for m in migrations()]
        assert await migrate(connection) == []
    finally:
        await connection.close()


async def test_processes_that_start_together_wait_for_one_another(store) -> None:
    connections = [await connect(store.dsn) for _ in range(4)]
    try:
        applied = await asyncio.gather(*(migrate(c) for c in connections))
        assert sorted(applied, key=len) == [[], [], [], [m.name for m in migrations()]]
    finally:
        for connection in connections:
            await connection.close()


async def test_a_changed_file_is_refused(db, tmp_path: Path) -> None:
    for m in migrations():
        (tmp_path / m.name).write_text(m.sql)
    (tmp_path / "001_projection.sql").write_text("SELECT 1")
    with pytest.raises(SchemaMismatch, match=r"001_projection\.sql has changed"):
        await migrate(db, migrations(tmp_path))


async def test_a_schema_of_a_newer_build_is_refused(db, tmp_path: Path) -> None:
    known = migrations()
    (tmp_path / known[0].name).write_text(known[0].sql)
    with pytest.raises(SchemaMismatch, match="newer version"):
        await migrate(db, migrations(tmp_path))


async def test_a_migration_that_fails_leaves_those_before_it_and_nothing_of_its_own(
    db, tmp_path: Path
) -> None:
    for m in migrations():
        (tmp_path / m.name).write_text(m.sql)
    number = len(migrations()) + 1
    (tmp_path / f"{number:03}_bad.sql").write_text("CREATE TABLE half (n int); SELECT 1 / 0;")
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(db, migrations(tmp_path))
    assert await db.fetchval("SELECT to_regclass('half')") is None
    assert await migrate(db) == []
