"""The `readings` table as a history, by binary COPY."""

from __future__ import annotations

import numpy as np
import pytest

from ioc.backtest.data import stored
from ioc.errors import StoreUnavailable
from ioc.model import Batch, Flag
from ioc.storage.connection import connect
from ioc.storage.migrate import migrate
from ioc.storage.readings import ReadingsTable
from ioc.storage.records import write_numbers

pytestmark = pytest.mark.services

T0 = 1_790_000_000_000_000


@pytest.fixture(params=["database", "plain_database"])
def dsn(request: pytest.FixtureRequest) -> str:
    """A fresh database, with TimescaleDB and without."""
    return str(request.getfixturevalue(request.param))


async def test_every_revision_of_the_span_comes_in_order_with_what_the_sensor_said_of_it(dsn: str) -> None:
    n = 40_000
    stamps = T0 + np.arange(n) * 60_000_000
    flags = np.zeros(n, np.uint16)
    flags[:3] = [Flag.BAD | Flag.BACKLOG, Flag.UNCERTAIN, Flag.FUTURE]
    batch = Batch.of("mqtt", np.arange(n) % 3 + 2, stamps, stamps, np.arange(n) / 4, flags)
    again = Batch.of("mqtt", [2], [T0], [T0 + 9], [-1.0], [Flag.REVISED])
    db = await connect(dsn)
    await migrate(db)
    async with db.transaction():
        await write_numbers(db, {"disaster/a/x": 2, "disaster/b/x": 3, "disaster/c/x": 4})
        table = await ReadingsTable.of(db)
        await table.write(batch)
        await table.write(again)
    await db.close()
    found = await stored(dsn, T0, int(stamps[-1]))
    assert [found.names[s] for s in found.series[:4].tolist()] == [
        "disaster/a/x", "disaster/a/x", "disaster/b/x", "disaster/a/x",
    ]  # fmt: skip
    assert found.event_us[:4].tolist() == [T0, T0, T0 + 60_000_000, T0 + 180_000_000]
    assert found.value[:4].tolist() == [0.0, -1.0, 0.25, 0.75]
    assert found.flags is not None
    assert found.flags[:4].tolist() == [int(Flag.BAD), 0, int(Flag.UNCERTAIN), 0]
    assert len(found) == n - 2 + 1
    assert not len(await stored(dsn, 0, 1))


async def test_a_database_that_is_away_is_told_as_such() -> None:
    with pytest.raises(StoreUnavailable):
        await stored("postgresql://nobody@127.0.0.1:9/none", 0, 1)
