"""`ioc backtest` over a year of 1,000 series at 10 minutes, five limit rules and a 24 h window each, on one core.
Prints JSON.

    python benchmarks/bench_backtest.py [--days 365] [--kind-days 7]

52.6 million readings as Parquet: a seasonal swing with noise that a deadband matters to, and floods now and then in a
third of the series, which reach every limit. Timed from the file to the score and the JSON, after one day of the same as
a rehearsal, so that compiled loops are there. *shuffled* is the same with each series at a second of its own and the
file series by series, so that it has to be sorted. *kinds*: what a rule of each other kind on every series adds to
a reading, over a week of the same, in CPU time. Paper sketch: reading and order of a row 70 ns, limits 20, a window 60 with the
limit on it, all of it 200 to 400.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from ioc.backtest import data
from ioc.backtest.run import run
from ioc.backtest.score import Score, document
from ioc.pack import Pack, Settings

SEED = 20261124
SERIES = 1_000
STEP_US = 600_000_000
START_US = 1_700_000_000_000_000 // STEP_US * STEP_US
TEXT = {"vi": "v", "en": "e"}
NAMES = [f"disaster/s{i}/water_level" for i in range(SERIES)]


def readings(days: int, *, shuffled: bool = False) -> pa.Table:
    """The history as a table of series, time and value."""
    rng = np.random.default_rng(SEED)
    steps = np.arange(days * 144)
    phase = rng.uniform(0, 2 * np.pi, SERIES)
    value = 2 + 0.8 * np.sin(steps[:, None] * 0.01 + phase) + rng.normal(0, 0.05, (len(steps), SERIES))
    value += 1.5 * (np.abs(steps[:, None] % 2_000 - 1_000) < 40) * (phase > 4)
    stamps = np.repeat(START_US + steps * STEP_US, SERIES).reshape(len(steps), SERIES)
    numbers = np.tile(np.arange(SERIES, dtype=np.int32), len(steps)).reshape(len(steps), SERIES)
    value = np.round(value, 2)
    if shuffled:
        stamps = (stamps + np.arange(SERIES) * 599_000).T
        value, numbers = value.T, numbers.T
    return pa.table(
        {
            "series": pa.DictionaryArray.from_arrays(pa.array(numbers.ravel()), pa.array(NAMES)),
            "time": pa.array(stamps.ravel()).cast(pa.timestamp("us", "UTC")),
            "value": value.ravel(),
        }
    )


def limit(name: str, at: float, **more: Any) -> dict[str, Any]:
    """A limit rule on every series."""
    level = {"name": TEXT, "priority": 3, "limit": at, "deadband": 0.05, "on_delay": "10min"}
    return {
        "id": name, "kind": "limit", "title": TEXT, "series": {}, "source": {"text": "a benchmark", "mark": "F"},
        "levels": {1: level}, **more,
    }  # fmt: skip


FIVE = [limit(f"r{i}", 3.2 + i / 10) for i in range(5)]
WINDOW = limit("w", 3.0, value={"kind": "window", "function": "mean", "over": "24h"})
NO_DATA = {"id": "no_data", "kind": "no_data", "title": TEXT, "priority": 4}
FACT = {"rule": "r0"}
KINDS: dict[str, list[dict[str, Any]]] = {
    "limit": [limit("more", 3.7)],
    "no_data": [NO_DATA],
    "window mean 24 h": [WINDOW],
    "window max 24 h": [limit("k", 3.0, value={"kind": "window", "function": "max", "over": "24h"})],
    "window p90 24 h": [
        limit("k", 3.0, value={"kind": "window", "function": "percentile", "percentile": 90, "over": "24h"})
    ],
    "rate 2 h": [limit("k", 1.0, value={"kind": "rate", "over": "2h"})],
    "time_to": [limit("k", 1.0, direction="down", value={"kind": "time_to", "over": "2h", "limit": 4.0})],
    "counter": [limit("k", 3.0, value={"kind": "counter"})],
    "baseline": [limit("k", 9.0, value={"kind": "baseline"})],
    "zscore": [limit("k", 9.0, value={"kind": "zscore"})],
    "change_point": [limit("k", 15.0, value={"kind": "change_point"})],
    "anomaly": [limit("k", 9.0, value={"kind": "anomaly"})],
    "neighbours": [
        {
            "id": "k", "kind": "neighbours", "title": TEXT, "of": FACT, "k": 3, "over": "1h", "same": "commune",
            "priority": 3, "level_name": TEXT,
        }
    ],
}  # fmt: skip
QUALITY = {
    "gross_range": {"fail": [-5, 20]},
    "spike": {"suspect": 1, "fail": 2},
    "rate_of_change": {"suspect": 0.1},
    "flat_line": {"tolerance": 0.001, "suspect": "2h", "fail": "4h"},
}


def pack(folder: Path, rules: Sequence[Mapping[str, Any]], quality: Mapping[str, Any] | None = None) -> Pack:
    """A pack of the 1,000 series, ten stations to a commune."""
    stations = [
        {"id": f"s{i}", "name": TEXT, "commune": f"{i // 10:05}", "lat": 22.0, "lon": 104.0,
         "series": [{"quantity": "water_level", "domain": "disaster"}]} for i in range(SERIES)
    ]  # fmt: skip
    level = {
        "name": TEXT,
        "unit": "m",
        "unit_text": "m",
        "resolution": 0.01,
        "interval": "10min",
        "range": [-10, 99],
    }
    files = {
        "pack.yaml": {"id": "bench", "title": TEXT, "organisation": TEXT},
        "quantities.yaml": {
            "quantities": {"water_level": {**level, **({"quality": quality} if quality else {})}}
        },
        "stations/all.yaml": {"stations": stations},
        "rules/all.yaml": {"rules": list(rules)},
    }
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(content, allow_unicode=True), "utf-8")
    return Pack.read(folder, Settings())


def timed(one: Pack, file: Path) -> dict[str, Any]:
    """From the file to the JSON."""
    begun, cpu = time.perf_counter(), time.process_time()
    history = data.read(file)
    read = time.perf_counter()
    found = run(one, history)
    ran = time.perf_counter()
    score = Score(found)
    size = len(json.dumps(document(score, None, None)))
    done = time.perf_counter()
    return {
        "readings": len(history), "alarms": score.total.alarms, "read_s": round(read - begun, 2),
        "run_s": round(ran - read, 2), "score_s": round(done - ran, 2), "whole_s": round(done - begun, 2), "cpu_s": round(time.process_time() - cpu, 2),
        "ns_a_reading": round((done - begun) / len(history) * 1e9, 1), "json_bytes": size,
    }  # fmt: skip


def kinds(folder: Path, days: int) -> dict[str, float]:
    """Nanoseconds that each kind adds to a reading, the least of three runs."""
    file = folder / "kinds.parquet"
    pq.write_table(readings(days), file)
    history = data.read(file)

    def cost(rules: Sequence[Mapping[str, Any]], quality: Mapping[str, Any] | None = None) -> float:
        one = pack(folder / "kind", rules, quality)
        run(one, history.take(slice(0, SERIES * 144)))
        took = []
        for _ in range(3):
            begun = time.process_time()
            run(one, history)
            took.append(time.process_time() - begun)
        return min(took) / len(history) * 1e9

    bare = cost([FIVE[0]])
    out = {"order, watchdog and one limit": round(bare, 1)}
    out.update({name: round(cost([FIVE[0], *more]) - bare, 1) for name, more in KINDS.items()})
    out["quality, four tests"] = round(cost([FIVE[0]], QUALITY) - bare, 1)
    return out


def main() -> None:
    """The year, the year that must be sorted, and each kind."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--kind-days", type=int, default=7)
    given = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    pa.set_cpu_count(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        one = pack(folder / "pack", [*FIVE, WINDOW])
        results = {}
        for case, shuffled in (("year", False), ("shuffled", True)):
            pq.write_table(readings(1, shuffled=shuffled), folder / "day.parquet")
            pq.write_table(
                readings(given.days, shuffled=shuffled), folder / "year.parquet", compression="zstd"
            )
            timed(one, folder / "day.parquet")
            results[case] = timed(one, folder / "year.parquet")
        peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        added = kinds(folder, given.kind_days)
    print(
        json.dumps(
            {
                "bench": "backtest",
                "machine": f"{os.cpu_count()} × {platform.processor() or platform.machine()}",
                "python": platform.python_version(),
                "numpy": np.__version__,
                "days": given.days,
                "series": SERIES,
                "cases": results,
                "peak_mib_with_making": peak_mib,
                "ns_a_reading_by_kind": added,
                "rows": [
                    {"name": "backtest.year", "ours": results["year"]["whole_s"]},
                    {"name": "backtest.year.shuffled", "ours": results["shuffled"]["whole_s"]},
                ],
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
