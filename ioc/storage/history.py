"""`History`: what screens ask of the database. An absent database is told within two seconds and harms nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import asyncpg
import msgspec
import numpy as np

from ioc.errors import StoreUnavailable
from ioc.model.alarm import Condition, State, Step, Transition
from ioc.model.batch import F64, I64, U16
from ioc.model.event import Event
from ioc.storage.connection import reason, times_as_us, unavailable
from ioc.storage.rows import FIRST_US, LAST_US

TIMEOUT_S: Final = 2.0

# The newest rows first, each stamp's highest revision; ordered by the index on (series, event_time) where a week has it.
_NEWEST: Final = """
SELECT event_time, value, flags FROM (
    SELECT DISTINCT ON (event_time) event_time, value, flags FROM readings
    WHERE series = $1 AND event_time >= $2 AND event_time < $3
    ORDER BY event_time DESC, revision DESC
    LIMIT $4) newest
ORDER BY event_time
"""

# Buckets of equal length; of each the first row that bears the lowest and the first that bears the highest value.
_THINNED: Final = """
WITH latest AS (
    SELECT DISTINCT ON (event_time) event_time, value, flags FROM readings
    WHERE series = $1 AND event_time >= $2 AND event_time < $3
    ORDER BY event_time, revision DESC
), whole AS (
    SELECT *, count(*) OVER () AS n, min(event_time) OVER () AS first, max(event_time) OVER () AS last FROM latest
), cut AS (
    SELECT *, CASE WHEN n > $4::int THEN
        least($4::int / 2, width_bucket(extract(epoch FROM event_time - first)::float8, 0,
                                        extract(epoch FROM last - first)::float8, $4::int / 2)) END AS bucket
    FROM whole
), ranked AS (
    SELECT *, row_number() OVER (PARTITION BY bucket ORDER BY value, event_time) AS low,
              row_number() OVER (PARTITION BY bucket ORDER BY value DESC, event_time) AS high
    FROM cut
)
SELECT event_time, value, flags FROM ranked WHERE n <= $4::int OR low = 1 OR high = 1 ORDER BY event_time
"""

_JOURNAL: Final = """
SELECT * FROM journal WHERE $2::bigint IS NULL OR seq < $2 ORDER BY seq DESC LIMIT $1
"""

_STEPS: Final = """
SELECT * FROM journal WHERE alarm = ANY($1::text[]) ORDER BY seq
"""

# Those told last first. An event that lasts reaches into every time after its start.
_EVENTS: Final = """
SELECT * FROM events e
WHERE ($2::bigint IS NULL OR number < $2)
  AND ($3::text IS NULL OR domain = $3) AND ($4::text IS NULL OR station = $4)
  AND ($5::text IS NULL OR kind = $5) AND ($6::text IS NULL OR id = $6)
  AND start_time < $7 AND (end_time IS NULL OR end_time >= $8)
  AND ($9 OR NOT EXISTS (
      SELECT FROM events l
      WHERE (l.domain, l.station, l.kind, l.id) = (e.domain, e.station, e.kind, e.id) AND l.revision > e.revision))
ORDER BY number DESC LIMIT $1
"""


@dataclass(frozen=True, slots=True, eq=False)
class Trend:
    """Stored readings of one series in event order; columns of shape (n,), the highest revision of each stamp."""

    event_us: I64
    value: F64
    flags: U16

    def __len__(self) -> int:
        return len(self.event_us)


class History:
    """Queries by a small pool that opens with the first of them."""

    def __init__(self, dsn: str, *, connections_max: int = 4) -> None:
        self._dsn = dsn
        self._connections_max = connections_max
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._opening = asyncio.Lock()

    async def readings(
        self, number: int, since_us: int, until_us: int, limit: int
    ) -> Sequence[tuple[int, float, int]]:
        """The newest `limit` of since ≤ event time < until as (event_us, value, flags), oldest first.

        Of each stamp the highest revision. Raises StoreUnavailable.
        """
        found = await self._fetch(_NEWEST, number, since_us, until_us, limit)
        return [(row[0], row[1], row[2]) for row in found]

    async def trend(self, number: int, since_us: int, until_us: int, points: int) -> Trend:
        """The whole span in at most `points` rows: where there are more, the lowest and highest of equal stretches.

        Of each stamp the highest revision. Raises StoreUnavailable.
        """
        found = await self._fetch(_THINNED, number, since_us, until_us, max(2, points))
        return Trend(
            np.array([row[0] for row in found], np.int64),
            np.array([row[1] for row in found], np.float64),
            np.array([row[2] for row in found], np.uint16),
        )

    async def journal(self, limit: int, before: int | None = None) -> list[tuple[int, Transition]]:
        """The newest `limit` steps with a seq lower than `before`, newest first. Raises StoreUnavailable."""
        return [(row["seq"], _transition(row)) for row in await self._fetch(_JOURNAL, limit, before)]

    async def steps(self, alarms: Sequence[str]) -> list[Transition]:
        """All steps of these alarms, in order. Raises StoreUnavailable."""
        return [_transition(row) for row in await self._fetch(_STEPS, list(alarms))]

    async def events(
        self,
        limit: int,
        before: int | None = None,
        *,
        domain: str | None = None,
        station: str | None = None,
        kind: str | None = None,
        id_: str | None = None,
        since_us: int = FIRST_US,
        until_us: int = LAST_US,
        revisions: bool = False,
    ) -> list[tuple[int, Event]]:
        """The newest `limit` events with a record number lower than `before`, newest first, each with that number.

        Those of since ≤ end, start < until; each at its highest revision unless all `revisions` are asked for. Raises
        StoreUnavailable.
        """
        args = (limit, before, domain, station, kind, id_, until_us, since_us, revisions)
        return [(row["number"], _event(row)) for row in await self._fetch(_EVENTS, *args)]

    async def close(self) -> None:
        """Let the connections go."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.terminate()

    async def _fetch(self, query: str, *args: Any) -> list[asyncpg.Record]:
        try:
            with unavailable():
                async with asyncio.timeout(TIMEOUT_S):
                    pool = await self._opened()
                    async with pool.acquire() as connection:
                        return await connection.fetch(query, *args)
        except (asyncpg.UndefinedTableError, asyncpg.InsufficientPrivilegeError) as error:
            # The projection has not yet made the tables, or has made them for itself alone.
            raise StoreUnavailable(reason(error)) from error

    async def _opened(self) -> asyncpg.Pool[asyncpg.Record]:
        async with self._opening:
            if self._pool is None:
                self._pool = await asyncpg.create_pool(
                    self._dsn,
                    min_size=0,
                    max_size=self._connections_max,
                    timeout=TIMEOUT_S,
                    command_timeout=TIMEOUT_S,
                    max_inactive_connection_lifetime=60.0,
                    init=times_as_us,
                    server_settings={"application_name": "ioc-history"},
                )
            return self._pool


def _event(row: asyncpg.Record) -> Event:
    return Event(
        source=row["source"],
        domain=row["domain"],
        station=row["station"],
        kind=row["kind"],
        id=row["id"],
        revision=row["revision"],
        start_us=row["start_time"],
        end_us=row["end_time"] or 0,
        received_us=row["received_time"],
        facts=msgspec.json.decode(row["facts"]),
    )


def _transition(row: asyncpg.Record) -> Transition:
    return Transition(
        id=row["id"],
        alarm=row["alarm"],
        rule=row["rule"],
        asset=row["asset"],
        occurrence=row["occurrence"],
        step=row["step"],
        kind=Step(row["kind"]),
        before=State(row["before"]),
        after=State(row["after"]),
        condition=Condition(row["condition"]),
        level=row["level"],
        priority=row["priority"],
        value=row["value"],
        limit=row["limit"],
        event_us=row["event_time"],
        now_us=row["at"],
        input=row["number"],
        sounds=row["sounds"],
        backlog=row["backlog"],
        actor=row["actor"],
        actor_name=row["actor_name"],
        note=row["note"],
        detail=row["detail"],
    )
