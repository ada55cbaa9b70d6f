"""`readings`: what is stored, what the database decides, weeks made, indexed and dropped."""

from __future__ import annotations

import math
import struct
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from services.common import run_apart
from services.timescale import create_database, drop_database

from ioc.model import Batch, Flag
from ioc.storage import rows
from ioc.storage.readings import CLOSED_AFTER_US, ReadingsTable

pytestmark = pytest.mark.services

T0 = 1_790_000_000_000_000
DAY = 24 * 3600 * 1_000_000


def _batch(*given_rows: tuple[int, int, float, int, int]) -> Batch:
    """From (series, event_us, value, flags, revision)."""
    series, event_us, value, flags, revision = zip(*given_rows, strict=True)
    return Batch.of("mqtt", series, event_us, event_us, value, flags, revision)


async def _write(table: ReadingsTable, db: Any, batch: Batch) -> None:
    async with db.transaction():
        await table.write(rows.stored([batch]))


async def _all(db: Any) -> list[tuple[Any, ...]]:
    found = await db.fetch("SELECT series, event_time, value, flags, revision FROM readings ORDER BY 1, 2, 5")
    return [tuple(row.values()) for row in found]


async def test_rows_come_back_as_they_were_bit_for_bit(db) -> None:
    values = [0.0, -0.0, 1e-310, math.inf, -math.inf, math.nan, 0.1 + 0.2]
    stamps = [T0, -1, rows.FIRST_US, rows.LAST_US, rows.EPOCH_US, 0, 4_102_444_800_000_000 + 40 * DAY]
    batch = Batch.of("mqtt", range(7), stamps, [s - 1 for s in stamps], values, [Flag.BAD] * 7)
    await _write(await ReadingsTable.of(db), db, batch)
    found = await db.fetch("SELECT * FROM readings ORDER BY series")
    assert [r["event_time"] for r in found] == stamps
    assert [r["received_time"] for r in found] == [max(s - 1, rows.FIRST_US) for s in stamps]
    assert [struct.pack("d", r["value"]) for r in found] == [struct.pack("d", v) for v in values]
    assert {r["flags"] for r in found} == {Flag.BAD}


async def test_a_repeat_in_a_batch_costs_no_other_row(db) -> None:
    table = await ReadingsTable.of(db)
    await _write(table, db, _batch((1, T0, 5.0, 0, 0)))
    await _write(table, db, _batch((1, T0 + 1, 6.0, 0, 0), (1, T0, 5.0, 0, 0), (2, T0, 5.0, 0, 0)))
    assert await _all(db) == [(1, T0, 5.0, 0, 0), (1, T0 + 1, 6.0, 0, 0), (2, T0, 5.0, 0, 0)]


async def test_what_came_too_late_is_a_repeat_if_any_revision_bears_its_value(db) -> None:
    table = await ReadingsTable.of(db)
    revised, late = int(Flag.REVISED), int(Flag.TOO_LATE)
    await _write(table, db, _batch((1, T0, 5.0, 0, 0), (1, T0, 6.0, revised, 1)))
    for value in (5.0, 6.0):
        await _write(table, db, _batch((1, T0, value, late, 0)))
    assert [row[2:] for row in await _all(db)] == [(5.0, 0, 0), (6.0, revised, 1)]


async def test_what_came_too_late_with_another_value_is_the_next_revision_in_order_of_receipt(db) -> None:
    table = await ReadingsTable.of(db)
    late = int(Flag.TOO_LATE)
    await _write(table, db, _batch((1, T0, 5.0, 0, 0)))
    batch = [(1, T0, 9.0, late, 0), (1, T0, math.nan, late, 0), (1, T0, 8.0, late, 0)]
    await _write(table, db, _batch(*batch, *batch, (2, T0, 9.0, late, 0)))
    found = await _all(db)
    assert [(row[0], str(row[2]), row[4]) for row in found] == [
        (1, "5.0", 0),
        (1, "9.0", 1),
        (1, "nan", 2),
        (1, "8.0", 3),
        (2, "9.0", 0),
    ]


async def test_a_reading_after_one_from_the_future_with_another_value_is_not_lost(db) -> None:
    table = await ReadingsTable.of(db)
    await _write(table, db, _batch((1, T0, 5.0, int(Flag.FUTURE), 0)))
    await _write(table, db, _batch((1, T0, 6.0, 0, 0)))
    assert [row[2:] for row in await _all(db)] == [(5.0, int(Flag.FUTURE), 0), (6.0, 0, 1)]


async def test_weeks_are_made_again_after_the_transaction_that_made_them_failed(db) -> None:
    table = await ReadingsTable.of(db)
    batch = _batch((1, T0, 5.0, 0, 0))
    transaction = db.transaction()
    await transaction.start()
    await table.write(batch)
    await transaction.rollback()
    table.forget()
    await _write(table, db, batch)
    assert len(await _all(db)) == 1


async def test_only_weeks_that_are_over_get_the_index_by_series(db) -> None:
    table = await ReadingsTable.of(db)
    await _write(table, db, _batch((1, T0, 5.0, 0, 0), (1, T0 + 14 * DAY, 5.0, 0, 0)))
    now_us = T0 + 14 * DAY
    (first,) = await table.index_closed(now_us)
    assert await table.index_closed(now_us) == []
    assert await (await ReadingsTable.of(db)).index_closed(now_us) == []
    (second,) = await table.index_closed(now_us + 7 * DAY + CLOSED_AFTER_US)
    assert first != second
    indexes = await db.fetch("SELECT indexdef FROM pg_indexes WHERE tablename = ANY($1)", [first, second])
    assert sum("(series, event_time)" in row["indexdef"] for row in indexes) == 2


async def test_retention_drops_whole_weeks_and_nothing_younger(db) -> None:
    table = await ReadingsTable.of(db)
    stamps = [T0, T0 + 7 * DAY, T0 + 14 * DAY]
    await _write(table, db, _batch(*((1, us, 5.0, 0, 0) for us in stamps)))
    assert await table.drop_before(T0 - 7 * DAY) == []
    assert len(await table.drop_before(stamps[2])) == 2
    assert [row[1] for row in await _all(db)] == [stamps[2]]
    await _write(table, db, _batch((1, T0, 5.0, 0, 0)))
    assert len(await _all(db)) == 2


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.lists(
            st.tuples(
                st.integers(1, 2),
                st.integers(T0, T0 + 2),
                st.sampled_from([1.0, 2.0, 3.0, math.nan]),
                st.sampled_from([0, int(Flag.TOO_LATE), int(Flag.REVISED), int(Flag.REPEAT)]),
                st.integers(0, 2),
            ),
            min_size=1,
            max_size=8,
        ),
        max_size=4,
    )
)
def test_no_value_is_lost_and_none_invented_whatever_comes(timescale, portions) -> None:
    name = create_database(timescale)
    try:
        run_apart(_check_portions(timescale.dsn(name), portions))
    finally:
        drop_database(timescale, name)


async def _check_portions(dsn: str, portions: list[list[tuple[int, int, float, int, int]]]) -> None:
    from ioc.storage.connection import connect
    from ioc.storage.migrate import migrate

    db = await connect(dsn)
    try:
        await migrate(db)
        table = await ReadingsTable.of(db)
        for portion in portions:
            await _write(table, db, _batch(*portion))
        found = await _all(db)
    finally:
        await db.close()
    stored = [(series, stamp, repr(value)) for series, stamp, value, _, _ in found]
    sent = {
        (series, stamp, repr(value))
        for portion in portions
        for series, stamp, value, flags, _ in portion
        if not flags & Flag.REPEAT
    }
    assert set(stored) == sent
