"""The schema's numbered SQL files, applied in order, each once, by one process at a time."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

from ioc.errors import IocError
from ioc.storage.connection import Connection

LOCK: Final = 0x10C_5C4E3A
"""The advisory lock that whoever migrates holds."""

_NAME: Final = re.compile(r"(\d{3})_[a-z0-9_]+\.sql")


class SchemaMismatch(IocError):
    """The database's schema is not one that this build may work with."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: its number, name, text and what the text hashes to."""

    number: int
    name: str
    sql: str
    sha256: str


def migrations(folder: Traversable | None = None) -> list[Migration]:
    """Every file of the schema folder, by number; the numbers are unbroken from 1."""
    found: list[Migration] = []
    for entry in (folder or files("ioc.storage") / "schema").iterdir():
        match = _NAME.fullmatch(entry.name)
        if match:
            data = entry.read_bytes()
            sha256 = hashlib.sha256(data).hexdigest()
            found.append(Migration(int(match[1]), entry.name, data.decode("utf-8"), sha256))
    found.sort(key=lambda m: m.name)
    assert [m.number for m in found] == list(range(1, len(found) + 1)), "migrations must count from 1"
    return found


async def migrate(connection: Connection, wanted: Sequence[Migration] | None = None) -> list[str]:
    """Bring the database up to date and name what was applied; waits for another process that is at it.

    Raises SchemaMismatch, having changed nothing, if an applied file has changed or a newer build was here.
    """
    wanted = migrations() if wanted is None else wanted
    if not await _pending(connection, wanted):
        return []
    await connection.execute("SELECT pg_advisory_lock($1)", LOCK)
    try:
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS schema_migrations (number int PRIMARY KEY, name text NOT NULL,"
            " sha256 text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
        )
        pending = await _pending(connection, wanted)
        for migration in pending:
            async with connection.transaction():
                await connection.execute(migration.sql)
                await connection.execute(
                    "INSERT INTO schema_migrations (number, name, sha256) VALUES ($1, $2, $3)",
                    migration.number,
                    migration.name,
                    migration.sha256,
                )
        return [m.name for m in pending]
    finally:
        if not connection.is_closed():
            await connection.execute("SELECT pg_advisory_unlock($1)", LOCK)


async def _pending(connection: Connection, wanted: Sequence[Migration]) -> list[Migration]:
    """What is still to be applied; raises SchemaMismatch where what was applied is not ours."""
    if await connection.fetchval("SELECT to_regclass('schema_migrations')") is None:
        return list(wanted)
    applied = {
        row["number"]: row
        for row in await connection.fetch(
            "SELECT number, name, sha256 FROM schema_migrations ORDER BY number"
        )
    }
    for migration in wanted:
        row = applied.pop(migration.number, None)
        if row is not None and row["sha256"] != migration.sha256:
            raise SchemaMismatch(f"{migration.name} has changed since it was applied to this database")
    if applied:
        newer = next(iter(applied.values()))
        raise SchemaMismatch(f"a newer version has used this database: it knows {newer['name']}")
    known = await connection.fetch("SELECT number FROM schema_migrations")
    done = {row["number"] for row in known}
    return [m for m in wanted if m.number not in done]
