"""The table `readings`: rows by direct COPY, what may be a repeat by a stage, weeks made and dropped."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from typing import Final

import asyncpg

from ioc.model.batch import Batch
from ioc.storage import rows
from ioc.storage.connection import Connection

CLOSED_AFTER_US: Final = 24 * 3600 * 1_000_000
"""A week this long past gets the index that trends want; until then it would slow every batch."""

_STAGE: Final = """
CREATE TEMPORARY TABLE IF NOT EXISTS stage (
    event_time timestamptz, received_time timestamptz, value double precision,
    series int, flags smallint, revision smallint, ordinal int
) ON COMMIT DELETE ROWS
"""

# The database decides: a value that any revision of its stamp bears is a repeat, another one is the next revision.
# Equality is PostgreSQL's own for float8, in which NaN equals NaN. The bounds let it leave out all other weeks.
_PLACE: Final = """
WITH new AS (
    SELECT DISTINCT ON (s.event_time, s.series, s.value) s.*
    FROM stage s
    WHERE NOT EXISTS (
        SELECT FROM readings r
        WHERE r.event_time = s.event_time AND r.series = s.series AND r.value = s.value
          AND r.event_time BETWEEN $1 AND $2)
    ORDER BY s.event_time, s.series, s.value, s.ordinal
), topped AS (
    SELECT n.event_time, n.received_time, n.value, n.series, n.flags, n.ordinal, max(r.revision) AS top
    FROM new n LEFT JOIN readings r
        ON r.event_time = n.event_time AND r.series = n.series AND r.event_time BETWEEN $1 AND $2
    GROUP BY n.event_time, n.received_time, n.value, n.series, n.flags, n.ordinal
), placed AS (
    SELECT *, coalesce(top, -1)
              + row_number() OVER (PARTITION BY event_time, series ORDER BY ordinal) AS place
    FROM topped
)
INSERT INTO readings (event_time, received_time, value, series, flags, revision)
SELECT event_time, received_time, value, series, flags, place FROM placed WHERE place <= 32767
"""
# Nobody has analysed the stage: left to itself the planner may read every stored reading to look up a few.
_BY_INDEX: Final = (
    "SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off; SET LOCAL enable_seqscan = off"
)

_PARTS: Final = """
SELECT c.relname AS name, n.nspname AS schema
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE i.inhparent = 'readings'::regclass
"""

_CHUNKS: Final = """
SELECT chunk_schema AS schema, chunk_name AS name, range_end AS ends
FROM timescaledb_information.chunks WHERE hypertable_name = 'readings'
"""

_INDEXED: Final = "SELECT tablename FROM pg_indexes WHERE indexname LIKE '%\\_by\\_series'"


class ReadingsTable:
    """`readings` as one connection sees it; `hypertable` says whether TimescaleDB keeps it."""

    def __init__(self, connection: Connection, hypertable: bool) -> None:
        self._db = connection
        self.hypertable = hypertable
        self._weeks: set[int] = set()
        self._indexed: set[str] = set()

    @staticmethod
    async def of(connection: Connection) -> ReadingsTable:
        """The table of a migrated database."""
        kind = await connection.fetchval(
            "SELECT relkind = 'p' FROM pg_class WHERE oid = 'readings'::regclass"
        )
        return ReadingsTable(connection, hypertable=not kind)

    async def write(self, batch: Batch) -> None:
        """Store rows, inside the caller's transaction. A repeat that COPY meets sends them through the stage."""
        if not len(batch):
            return
        await self._make_weeks(batch)
        doubtful = rows.staged(batch)
        sure = batch if not doubtful.any() else batch.take(~doubtful)
        try:
            async with self._db.transaction():
                await self._copy(sure)
        except asyncpg.UniqueViolationError:
            await self._place(sure)
        # After the others: what came too late is later in the log than what it may repeat.
        await self._place(batch.take(doubtful))

    async def write_staged(self, batch: Batch) -> None:
        """Store rows by the stage alone."""
        await self._make_weeks(batch)
        await self._place(batch)

    async def _copy(self, batch: Batch) -> None:
        if len(batch):
            await self._db.copy_to_table(
                "readings", source=io.BytesIO(rows.copy_bytes(batch)), columns=rows.COLUMNS, format="binary"
            )

    async def _place(self, batch: Batch) -> None:
        if not len(batch):
            return
        await self._db.execute(_STAGE)
        await self._db.copy_to_table(
            "stage",
            source=io.BytesIO(rows.stage_copy_bytes(batch)),
            columns=rows.STAGE_COLUMNS,
            format="binary",
        )
        await self._db.execute(_BY_INDEX)
        await self._db.execute(_PLACE, int(batch.event_us.min()), int(batch.event_us.max()))
        await self._db.execute("DELETE FROM stage")

    async def _make_weeks(self, batch: Batch) -> None:
        if self.hypertable:
            return
        for week in rows.weeks(batch.event_us):
            if week not in self._weeks:
                start, end = (_literal(us) for us in rows.week_bounds_us(week))
                await self._db.execute(
                    f"CREATE TABLE IF NOT EXISTS {_week_name(week)} PARTITION OF readings"
                    f" FOR VALUES FROM ('{start}') TO ('{end}')"
                )
                self._weeks.add(week)

    def forget(self) -> None:
        """A transaction was rolled back, and with it perhaps the weeks it had made."""
        self._weeks.clear()

    async def index_closed(self, now_us: int) -> list[str]:
        """Give every week that is over the index by series and time; names those that got it."""
        done: list[str] = []
        closed = await self._parts_before(now_us - CLOSED_AFTER_US)
        if any(name not in self._indexed for _, name in closed):
            self._indexed |= {row["tablename"] for row in await self._db.fetch(_INDEXED)}
        for schema, name in closed:
            if name in self._indexed:
                continue
            await self._db.execute(
                f'CREATE INDEX IF NOT EXISTS "{name}_by_series" ON "{schema}"."{name}" (series, event_time)'
            )
            self._indexed.add(name)
            done.append(name)
        return done

    async def drop_before(self, us: int) -> list[str]:
        """Retention: drop every week that ended by then, whole; names them. What shares a week with `us` stays."""
        dropped = await self._parts_before(us)
        if self.hypertable:
            await self._db.execute("SELECT drop_chunks('readings', older_than => $1::timestamptz)", us)
        else:
            for schema, name in dropped:
                await self._db.execute(f'DROP TABLE "{schema}"."{name}"')
            await self._db.execute("DELETE FROM readings_before WHERE event_time < $1", us)
        self._weeks.clear()
        return [name for _, name in dropped]

    async def _parts_before(self, us: int) -> list[tuple[str, str]]:
        """Schema and name of each week that ended by then, oldest first."""
        if self.hypertable:
            chunks = await self._db.fetch(f"{_CHUNKS} AND range_end <= $1 ORDER BY range_end", us)
            return [(row["schema"], row["name"]) for row in chunks]
        names = {row["name"]: row["schema"] for row in await self._db.fetch(_PARTS)}
        return [
            (names[name], name)
            for name in sorted(names)
            if name.startswith("readings_week_") and _ends_us(name) <= us
        ]


def _week_name(week: int) -> str:
    return f"readings_week_{_literal(rows.week_bounds_us(week)[0])[:10].replace('-', '_')}"


def _ends_us(name: str) -> int:
    day = datetime.strptime(name.removeprefix("readings_week_"), "%Y_%m_%d").replace(tzinfo=UTC)
    return int(day.timestamp()) * 1_000_000 + rows.WEEK_US


def _literal(us: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)).isoformat()
