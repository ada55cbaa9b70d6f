"""What the database holds, as the sets that tests compare."""

from __future__ import annotations

from typing import Any

import asyncpg
from services.common import run_apart


def query(dsn: str, sql: str, *args: Any) -> list[asyncpg.Record]:
    """Rows of one query; an empty list while the tables do not exist yet."""

    async def ask() -> list[asyncpg.Record]:
        link = await asyncpg.connect(dsn, timeout=10)
        try:
            return list(await link.fetch(sql, *args))
        except asyncpg.UndefinedTableError:
            return []
        finally:
            await link.close()

    return run_apart(ask())


def readings(dsn: str) -> list[tuple[str, int, float, int]]:
    """(series, event time, value, flags) of every stored reading."""
    rows = query(
        dsn,
        """select s.id, (extract(epoch from r.event_time) * 1000000)::bigint as us, r.value, r.flags
           from readings r join series s on s.number = r.series""",
    )
    return [(r["id"], r["us"], r["value"], r["flags"]) for r in rows]


def journal(dsn: str) -> list[tuple[Any, ...]]:
    """(rule, asset, occurrence, step, kind, actor, note) of every transition."""
    rows = query(dsn, "select rule, asset, occurrence, step, kind, actor, note from journal order by seq")
    return [tuple(r) for r in rows]


def applied(dsn: str) -> int:
    """The log number up to which the database has everything."""
    rows = query(dsn, "select applied_number from projection")
    return rows[0][0] if rows else 0
