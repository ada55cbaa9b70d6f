"""What screens ask, and how soon they are told that nobody answers."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import pytest
from services.common import free_port

from ioc.errors import StoreUnavailable
from ioc.model import Batch, Flag
from ioc.storage.history import History
from ioc.storage.readings import ReadingsTable

pytestmark = pytest.mark.services

T0 = 1_790_000_000_000_000


@pytest.fixture
async def history(store):
    it = History(store.dsn)
    yield it
    await it.close()


async def _store(db, batch: Batch) -> None:
    async with db.transaction():
        await (await ReadingsTable.of(db)).write(batch)


def _walk(n: int) -> Batch:
    """A series with one sharp peak and one sharp trough."""
    stamps = T0 + np.arange(n) * 60_000_000
    value = np.sin(np.arange(n) / 50)
    value[n // 3], value[n // 2] = 99.0, -99.0
    return Batch.of("mqtt", np.full(n, 4), stamps, stamps, value)


async def test_readings_are_the_newest_oldest_first_with_the_highest_revision(db, history) -> None:
    stamps = [T0, T0 + 1, T0 + 1, T0 + 2]
    await _store(db, Batch.of("", [4] * 4, stamps, stamps, [1.0, 2.0, 3.0, 4.0], [0, 0, Flag.REVISED, 0]))
    await _store(db, Batch.of("", [5], [T0], [T0], [9.0]))
    assert await history.readings(4, T0, T0 + 3, 10) == [
        (T0, 1.0, 0),
        (T0 + 1, 3.0, int(Flag.REVISED)),
        (T0 + 2, 4.0, 0),
    ]
    assert [row[0] for row in await history.readings(4, T0, T0 + 2, 1)] == [T0 + 1]
    assert await history.readings(6, T0, T0 + 3, 10) == []


async def test_a_trend_that_fits_is_whole_and_one_that_does_not_keeps_every_extreme(db, history) -> None:
    batch = _walk(2_000)
    await _store(db, batch)
    whole = await history.trend(4, T0, T0 + 2**45, 2_000)
    assert np.array_equal(whole.event_us, batch.event_us)
    assert np.array_equal(whole.value, batch.value)
    thin = await history.trend(4, T0, T0 + 2**45, 100)
    assert 50 <= len(thin) <= 100
    assert thin.value.max() == 99.0
    assert thin.value.min() == -99.0
    assert (np.diff(thin.event_us) > 0).all()
    # Spread over the whole span: no stretch without a point.
    assert np.diff(thin.event_us).max() < 2 * 2_000 * 60_000_000 / 50
    assert len(await history.trend(7, T0, T0 + 2**45, 100)) == 0


async def test_a_database_without_tables_is_unavailable(store, history) -> None:
    with pytest.raises(StoreUnavailable):
        await history.readings(4, T0, T0 + 1, 10)


async def test_an_absent_database_is_told_at_once() -> None:
    history = History(f"postgresql://nobody@127.0.0.1:{free_port()}/none")
    with pytest.raises(StoreUnavailable):
        await history.journal(10)
    await history.close()


async def test_a_database_that_does_not_answer_is_told_within_two_seconds() -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    history = History(f"postgresql://nobody@127.0.0.1:{server.sockets[0].getsockname()[1]}/none")
    begun = time.monotonic()
    with pytest.raises(StoreUnavailable):
        await history.readings(4, T0, T0 + 1, 10)
    assert time.monotonic() - begun < 3.0
    await history.close()
    server.close()


async def test_history_answers_again_after_the_database_was_away(store, db, history) -> None:
    await _store(db, _walk(5))
    assert len(await history.readings(4, T0, T0 + 2**45, 10)) == 5
    await asyncio.to_thread(store.server.stop)
    try:
        with pytest.raises(StoreUnavailable):
            await history.readings(4, T0, T0 + 2**45, 10)
    finally:
        await asyncio.to_thread(store.server.start)
    assert len(await history.readings(4, T0, T0 + 2**45, 10)) == 5
