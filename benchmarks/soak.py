"""The soak of `make long`: an hour at half the measured limit, everything on; memory, lag, WAL and the worst alert.

    python benchmarks/soak.py [--seconds 3600] [--rate 50000]

Log and database keep half an hour, so that segments and chunks are retired all the while and the disk need not hold
everything. Passed if memory is flat (the median of the last quarter against that of the second), nothing was lost or
shed, the projection was never seconds behind, and the worst alert came within 50 ms. Writes `results/DATE-soak.json`
and its row of `results/latest.json`; the exit code says whether it passed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
# The test support and the services, and the project itself where it is not installed.
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]

import numpy as np  # noqa: E402
from child import Child, family, resident_mib  # noqa: E402
from machine import describe  # noqa: E402
from monitor import Monitor, bench_folder, database  # noqa: E402
from rig import GRACE_S, Ours, Rig, latencies_ms, our_rig  # noqa: E402
from rows import finished, merge  # noqa: E402

from ioc.health import read_projection  # noqa: E402
from ioc.storage.connection import connect  # noqa: E402

RESULTS = Path(__file__).resolve().parent / "results"
RATE = 50_000
"""Where no limit has been measured."""
KEEP_DAYS = "0.02"
GROWTH_MAX, GROWTH_MIB = 1.05, 8.0
BEHIND_S_MAX = 5.0


@dataclass(frozen=True)
class Sample:
    """One look at it."""

    at_s: float
    monitor_mib: float
    projection_mib: float
    wal_mib: float
    log_mib: float
    behind_s: float
    """Age of the newest record in the database beside that of the newest in the log."""
    readings: int


def half_the_limit() -> int:
    """Half of the highest rate that `make bench` has found."""
    latest = RESULTS / "latest.json"
    rows = json.loads(latest.read_text("utf-8"))["rows"] if latest.exists() else []
    found = next(
        (row["ours"] for row in rows if row["name"] == "mqtt.highest.rate" and row["ours"]), 2 * RATE
    )
    return int(found) // 2


def look(monitor: Monitor, begun: float) -> Sample:
    """From outside; the monitor is asked for its counter only."""
    assert monitor.process is not None
    pid, *below = family(monitor.process.pid)
    files = [(file, file.stat().st_size) for file in (monitor.data / "log").iterdir() if file.exists()]
    reader = monitor.reader()
    status = read_projection(monitor.data / "projection.json", time.time_ns() // 1_000)
    applied = next(iter(reader.read(max(reader.first_number, status.applied) - 1, 1)), None)
    behind_us = reader.last_now_us - applied.now_us if applied else 0
    reader.close()
    return Sample(
        round(time.monotonic() - begun, 1), resident_mib(pid), sum(map(resident_mib, below)),
        round(sum(size for file, size in files if file.name.endswith("-wal")) / 2**20, 1),
        round(sum(size for _, size in files) / 2**20, 1), round(behind_us / 1e6, 2), monitor.readings(),
    )  # fmt: skip


async def short_chunks(dsn: str) -> None:
    """Chunks that retention can drop within the hour."""
    db = await connect(dsn)
    await db.execute("SELECT set_chunk_time_interval('readings', interval '10 minutes')")
    await db.close()


def flat(mebibytes: list[float]) -> bool:
    """Whether the last quarter is no larger than the second."""
    quarter = len(mebibytes) // 4
    second, last = mebibytes[quarter : 2 * quarter], mebibytes[-quarter:]
    return statistics.median(last) <= GROWTH_MAX * statistics.median(second) + GROWTH_MIB


def soak(rig: Rig, monitor: Monitor, folder: Path, rate: int, seconds: float) -> dict[str, Any]:
    """The run, sampled each minute (a short one eight times)."""
    every_s = min(60.0, seconds / 8)
    sent, came = folder / "sent", folder / "came-all"
    at = sent.stat().st_size
    taken = monitor.readings()
    begun = time.monotonic()
    rig.load.begin(rate, int(rate * seconds))
    samples, resyncs = [], 0
    for number in range(1, int(seconds / every_s) + 1):
        time.sleep(max(0.0, begun + number * every_s - time.monotonic()))
        resyncs += dump(rig.probe, came)
        samples.append(look(monitor, begun))
    went = rig.load.done(GRACE_S + seconds)
    monitor.wait_readings(taken + went["sent"], GRACE_S)
    lost, settled_s = Ours(monitor).settle(0)
    lost = taken + went["sent"] - monitor.readings()
    resyncs += dump(rig.probe, came)
    feed = next(f for f in monitor.feeds()["items"] if f["source"] == "mqtt")
    pairs = np.fromfile(sent, np.int64, offset=at).reshape(-1, 2)
    took = latencies_ms(pairs, np.fromfile(came, np.int64).reshape(-1, 2))
    p50, p99, worst = np.percentile(took, [50, 99, 100]).round(3).tolist()
    memory = {name: [getattr(s, name) for s in samples] for name in ("monitor_mib", "projection_mib")}
    return {
        "seconds": seconds, "load": went, "lost": lost, "shed": feed["shed"], "alerts": len(pairs),
        "alerts_lost": len(pairs) - len(took), "resyncs": resyncs, "settled_s": settled_s,
        "p50_ms": p50, "p99_ms": p99, "worst_ms": worst, "wal_mib_max": max(s.wal_mib for s in samples),
        "behind_s_max": max(s.behind_s for s in samples), "samples": [asdict(s) for s in samples],
        "faults": [
            fault for fault, there in {
                "memory of the monitor grows": not flat(memory["monitor_mib"]),
                "memory of the projection grows": not flat(memory["projection_mib"]),
                "readings lost": lost or feed["shed"], "alerts lost": len(pairs) - len(took),
                "the projection falls behind": max(s.behind_s for s in samples) > BEHIND_S_MAX,
                "the load fell behind its clock": went["rate"] < 0.99 * rate,
            }.items() if there
        ],
    }  # fmt: skip


def dump(probe: Child, came: Path) -> int:
    """Take what has come; how often joining was given up."""
    return int(probe.ask(f"dump {came}").split()[1])


def main() -> int:
    """Run, write, and say whether it passed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("--rate", type=int, default=half_the_limit(), help="readings a second (%(default)s)")
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args()
    machine = describe()
    with bench_folder() as folder, database() as server, our_rig(
        folder / "soak", server, IOC_LOG__RETENTION_DAYS=KEEP_DAYS, IOC_DATABASE__KEEP_DAYS=KEEP_DAYS
    ) as (rig, monitor):  # fmt: skip
        asyncio.run(short_chunks(monitor.env["IOC_DATABASE__DSN"]))
        result = soak(rig, monitor, folder / "soak", given.rate, given.seconds)
    date = f"{datetime.now(UTC):%Y-%m-%d}"
    note = f"{given.seconds:.0f} s at {given.rate}/s" + "".join(f"; {fault}" for fault in result["faults"])
    row = finished(
        {"name": "soak", "ours": result["worst_ms"], "note": note}
        | ({"met": False} if result["faults"] else {}), date,
    )  # fmt: skip
    given.results.mkdir(parents=True, exist_ok=True)
    whole = {"benchmark": "soak", "machine": machine, "result": result}
    (given.results / f"{date}-soak.json").write_text(json.dumps(whole, indent=2) + "\n", "utf-8")
    merge(given.results / "latest.json", [row], machine)
    print(json.dumps(row, ensure_ascii=False))
    return 0 if row["met"] else 1


if __name__ == "__main__":
    sys.exit(main())
