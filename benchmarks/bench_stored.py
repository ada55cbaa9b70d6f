"""A pre-encoded source → the log → stored in the indexed hypertable that holds 8 M rows; beside raw COPY into it.

One monitor and one table for all rounds; raw COPY and the monitor alternate, the monitor idle while COPY runs. Rows a
second are the readings sent over the time from the first one received until the database says that the last record
is applied. fsync is on; monitor, projection, server and source share the machine. Prints JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from contextlib import closing
from typing import Any

from bench_source import settle, source
from monitor import Monitor, bench_folder, database, fresh_dsn
from peers.raw_copy import batches, copy
from rig import median

from ioc.storage.connection import Connection, connect
from ioc.storage.migrate import migrate
from ioc.storage.readings import ReadingsTable

SERIES = 1_000
FILLED = 8_000_000
READINGS = 3_000_000
COPIED = 2_000_000
FILL_BATCH = 50_000
WARM_UP = 50_000
AGO_US = 3 * 3600 * 1_000_000
APPLIED = "SELECT applied_number FROM projection"


def _now_us() -> int:
    return time.time_ns() // 1_000


async def fill(db: Connection, count: int) -> None:
    """Rows of the last hours, in the same week as those that come."""
    await migrate(db)
    table = await ReadingsTable.of(db)
    start_us = _now_us() - AGO_US
    step_us = (AGO_US - 120_000_000) // (count // SERIES + 1)
    for batch in batches(start_us, step_us, count, SERIES, FILL_BATCH):
        async with db.transaction():
            await table.write(batch)
    await db.execute("CHECKPOINT")


async def stored(db: Connection, monitor: Monitor, load: Any, readings: int) -> dict[str, Any]:
    """One run of the monitor, until the database has it all."""
    before, taken = monitor.reader().last_number, monitor.readings()
    load.begin(0, readings)
    await asyncio.to_thread(load.done, 600)
    await asyncio.to_thread(settle, monitor, taken + readings)
    number = monitor.reader().last_number
    logged_us = _now_us()
    while True:
        if await db.fetchval(APPLIED) >= number:
            break
        await asyncio.sleep(0.02)
    applied_us = _now_us()
    logged = monitor.logged(before)
    return {
        "rows": logged.rows, "shed": readings - logged.rows, "logged_per_s": round(logged.rate),
        "rows_per_s": round(logged.rows / (applied_us - logged.first_us) * 1e6),
        "behind_s": round((applied_us - logged_us) / 1e6, 2),
    }  # fmt: skip


async def measure(dsn: str, monitor: Monitor, load: Any, given: argparse.Namespace) -> dict[str, Any]:
    """All rounds on the filled table."""
    db = await connect(dsn)
    try:
        await fill(db, int(FILLED * given.scale))
        monitor.begin()
        load.wait_ready(60)
        await stored(db, monitor, load, WARM_UP)
        rounds = []
        for _ in range(given.rounds):
            raw = await copy(db, _now_us(), 1_000, int(COPIED * given.scale), SERIES)
            rounds.append({"copy": raw, "ours": await stored(db, monitor, load, int(READINGS * given.scale))})
        expected = (
            int(FILLED * given.scale) + sum(r["copy"]["rows"] + r["ours"]["rows"] for r in rounds) + WARM_UP
        )
        return {
            "rounds": rounds,
            "in_table": await db.fetchval("SELECT count(*) FROM readings"),
            "expected": expected,
        }
    finally:
        await db.close()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="of all numbers of rows")
    given = parser.parse_args()
    with bench_folder() as folder, database() as server, fresh_dsn(server) as dsn:
        load, port = source(SERIES)
        with closing(load), closing(
            Monitor(folder, f"mqtt://127.0.0.1:{port}", series=SERIES, dsn=dsn, qos=0)
        ) as monitor:  # fmt: skip
            out = asyncio.run(measure(dsn, monitor, load, given))
    ours = median(r["ours"]["rows_per_s"] for r in out["rounds"])
    peer = median(r["copy"]["rows_per_s"] for r in out["rounds"])
    out["rows"] = [
        {"name": name, "ours": ours, "peer": peer, "peer_name": "raw COPY"}
        for name in ("stored.rate", "stored.ratio")
    ]
    if out["in_table"] != out["expected"]:
        wrong = {"met": False, "note": f"{out['in_table']} rows in the table, not {out['expected']}"}
        out["rows"] = [row | wrong for row in out["rows"]]
    print(json.dumps(out))


if __name__ == "__main__":
    main()
