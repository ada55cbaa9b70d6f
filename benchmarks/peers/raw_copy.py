"""Raw binary COPY into `readings` of rows that are ready as bytes: the database's own limit, nothing before it."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from ioc.model import Batch
from ioc.storage import rows as table
from ioc.storage.connection import Connection

BATCH = 10_000
OFF_US = 137
"""Off the whole milliseconds that the load's stamps have: never a repeat of one."""


def batches(start_us: int, step_us: int, count: int, series: int, size: int = BATCH) -> Iterator[Batch]:
    """`count` rows in order: all series at one stamp, `step_us` later again."""
    rng = np.random.default_rng(1)
    for at in range(0, count, size):
        number = np.arange(at, min(at + size, count))
        event_us = start_us + OFF_US + number // series * step_us
        value = np.round(20 + rng.random(len(number)) * 10, 2)
        yield Batch.of("bench", (number % series).astype(np.int32), event_us, event_us + 1_000, value)


async def copy(
    connection: Connection, start_us: int, step_us: int, count: int, series: int
) -> dict[str, Any]:
    """Rows a second of COPY alone, a transaction a batch."""
    ready = [table.copy_bytes(batch) for batch in batches(start_us, step_us, count, series)]
    begun = time.perf_counter()
    for data in ready:
        await connection.copy_to_table(
            "readings", source=io.BytesIO(data), columns=table.COLUMNS, format="binary"
        )
    seconds = time.perf_counter() - begun
    return {"rows": count, "rows_per_s": round(count / seconds), "seconds": round(seconds, 2)}
