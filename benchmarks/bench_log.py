"""The log's commits: per second and by latency, and bytes a reading on disk. Prints JSON.

    python benchmarks/bench_log.py [--seconds 3] [--folder data/bench]

For batches of 10, 1,000 and 10,000 readings of 1,000 series, seeded: `regular` (each series in its turn, values of
resolution 0.01 that drift) and `random` (series, times and every bit of the values at random).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sqlite3
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from ioc.log.record import encode
from ioc.log.sqlite import SqliteLog
from ioc.model import Batch, Input

SEED = 20261124
SERIES = 1_000
START_US = 1_764_000_000_000_000


def regular(rng: np.random.Generator, n: int, at: int) -> Batch:
    """Batch `at` of a quiet day: the series in order, all of one round with one stamp."""
    index = np.arange(at * n, (at + 1) * n)
    event_us = START_US + index // SERIES * 10_000_000
    value = np.round(20 + 5 * np.sin(index % SERIES) + rng.normal(0, 0.05, n), 2)
    return Batch.of("mqtt", index % SERIES, event_us, event_us + 20_000 + index % SERIES * 13, value)


def random(rng: np.random.Generator, n: int, at: int) -> Batch:
    """Batch `at` of the worst case for compression."""
    received_us = START_US + at * n * 20 + np.cumsum(rng.integers(1, 40, n))
    event_us = received_us - rng.integers(0, 500_000, n)
    return Batch.of("mqtt", rng.integers(0, SERIES, n), event_us, received_us, rng.normal(20, 5, n))


def measure(folder: Path, make: Any, n: int, seconds: float) -> dict[str, Any]:
    """Commits batches of `n` back to back for some seconds."""
    rng = np.random.default_rng(SEED)
    batches = [make(rng, n, at) for at in range(max(4, min(200, 200_000 // n)))]
    log = SqliteLog.open(folder)
    took, body_bytes, readings = [], 0, 0
    end = time.perf_counter() + seconds
    while (begun := time.perf_counter()) < end:
        number = log.last_number + 1
        item = Input(number, START_US + number, batches[number % len(batches)], "1")
        log.commit([item])
        took.append(time.perf_counter() - begun)
        readings += n
    for at, batch in enumerate(batches):
        body_bytes += len(encode(Input(at + 1, START_US + at, batch, "1"))[1])
    log.close()
    disk = sum(file.stat().st_size for file in folder.iterdir())
    milliseconds = np.sort(np.array(took)) * 1e3
    return {
        "case": make.__name__,
        "readings_per_batch": n,
        "commits": len(took),
        "commits_per_s": round(len(took) / sum(took), 1),
        "readings_per_s": round(readings / sum(took)),
        "p50_ms": round(float(np.percentile(milliseconds, 50)), 3),
        "p99_ms": round(float(np.percentile(milliseconds, 99)), 3),
        "worst_ms": round(float(milliseconds[-1]), 3),
        "record_bytes_per_reading": round(body_bytes / (n * len(batches)), 2),
        "disk_bytes_per_reading": round(disk / readings, 2),
    }


def main() -> None:
    """Runs every case and prints the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--folder", type=Path, default=None, help="on the disk to be measured")
    options = parser.parse_args()
    results = []
    for make in (regular, random):
        for n in (10, 1_000, 10_000):
            with tempfile.TemporaryDirectory(dir=options.folder) as name:
                results.append(measure(Path(name) / "log", make, n, options.seconds))
    machine = {
        "cpus": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "system": f"{platform.system()} {platform.release()}",
    }
    print(json.dumps({"benchmark": "log", "seed": SEED, "machine": machine, "results": results}, indent=1))


if __name__ == "__main__":
    main()
