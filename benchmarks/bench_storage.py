"""Rows a second into `readings`: direct COPY beside the stage, alternating in one run on a real server. Prints JSON.

usage: python benchmarks/bench_storage.py [--server timescale|plain] [--rows 1000000] [--batch 10000] [--series 1000]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np

from ioc.model import Batch, Flag
from ioc.storage.connection import connect
from ioc.storage.migrate import migrate
from ioc.storage.readings import ReadingsTable

T0_US = 1_790_000_000_000_000


def _batches(seed: int, start_us: int, rows: int, size: int, series: int) -> list[Batch]:
    """Every series once a second, values in tenths."""
    rng = np.random.default_rng(seed)
    number = np.arange(rows)
    event_us = start_us + number // series * 1_000_000
    value = rng.integers(0, 1000, rows) / 10
    whole = Batch.of("bench", (number % series).astype(np.int32), event_us, event_us + 40_000, value)
    return [whole.take(slice(at, at + size)) for at in range(0, rows, size)]


async def _timed(db: Any, batches: list[Batch], write: Callable[[Batch], Awaitable[None]]) -> dict[str, Any]:
    took: list[float] = []
    cpu = time.process_time()
    for batch in batches:
        begun = time.perf_counter()
        async with db.transaction():
            await write(batch)
        took.append(time.perf_counter() - begun)
    cpu = time.process_time() - cpu
    rows = sum(map(len, batches))
    p50, p99, worst = np.percentile(took, [50, 99, 100]) * 1000
    return {
        "rows": rows,
        "rows_per_s": round(rows / sum(took)),
        "client_us_per_row": round(cpu / rows * 1e6, 3),
        "commit_ms": {"p50": round(p50, 2), "p99": round(p99, 2), "worst": round(worst, 2)},
    }


async def _measure(dsn: str, given: argparse.Namespace) -> dict[str, Any]:
    db = await connect(dsn)
    try:
        await migrate(db)
        table = await ReadingsTable.of(db)
        out: dict[str, Any] = {
            "server": str(await db.fetchval("SELECT version()")).split(" on ")[0],
            "hypertable": table.hypertable,
            "fsync": await db.fetchval("SHOW fsync"),
            "runs": [],
        }
        span_us = (given.rows // given.series + 1) * 1_000_000
        for round_ in range(given.rounds):
            # Each path gets stamps of its own; alternating, they meet the same table size and disk.
            start_us = T0_US + 3 * round_ * span_us
            plain = _batches(round_, start_us, given.rows, given.batch, given.series)
            staged = _batches(round_, start_us + span_us, given.rows, given.batch, given.series)
            late = [
                Batch(b.source, b.series, b.event_us, b.received_us, b.value, b.flags | np.uint16(Flag.TOO_LATE), b.revision)
                for b in plain[: max(1, len(plain) // 5)]
            ]  # fmt: skip
            out["runs"].append(
                {
                    "copy": await _timed(db, plain, table.write),
                    "stage_new_rows": await _timed(db, staged, table.write_staged),
                    "stage_all_repeats": await _timed(db, late, table.write),
                }
            )
        for path in ("copy", "stage_new_rows", "stage_all_repeats"):
            out[f"{path}_rows_per_s"] = sorted(run[path]["rows_per_s"] for run in out["runs"])[
                given.rounds // 2
            ]
        out["stored"] = await db.fetchval("SELECT count(*) FROM readings")
        return out
    finally:
        await db.close()


def main() -> None:
    """Start the server, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", choices=("timescale", "plain"), default="timescale")
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--batch", type=int, default=10_000)
    parser.add_argument("--series", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    # The servers are the tests' own.
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from services.timescale import PlainPostgres, Timescale

    server = Timescale(durable=True) if given.server == "timescale" else PlainPostgres(durable=True)
    try:
        measured = asyncio.run(_measure(server.dsn(), given))
    finally:
        server.close()
    machine = {"cpus": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()}
    print(json.dumps({"machine": machine, "given": vars(given), **measured}, indent=2))


if __name__ == "__main__":
    main()
