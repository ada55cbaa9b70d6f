"""The rule engine alone: readings a second, beside a plain row loop in the same run. Prints JSON.

    python benchmarks/bench_rules.py [--seconds 1.0] [--quick]

Ten limit rules a series, one level each, Schmitt triggers with a 30 s on-delay. *quiet*: nothing comes near a limit.
*storm*: every series swings across all ten limits, so that the gate gains nothing; delays begin and end all the time
and few are completed. Paper sketch: a quiet row costs two gathers, two comparisons and six scatters of the watchdog;
in a storm every row costs some thirty array operations on ten cells.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from ioc.model import Batch, Change, ChangeKind, SourceState
from ioc.registry import Quantity, Registry, Station
from ioc.rules.engine import Engine
from ioc.rules.spec import LimitRule, Rule, RulesFile

S = 1_000_000
START = 1_700_000_000 * S
RULES_PER_SERIES = 10
TEXT = {"vi": "v", "en": "e"}


def world(series: int) -> tuple[Registry, dict[str, Rule], dict[str, int]]:
    """Stations of ten series and ten rules on all of them."""
    wide = {
        "name": TEXT,
        "unit": "m",
        "unit_text": "m",
        "resolution": 0.01,
        "interval": "10s",
        "range": [-1e6, 1e6],
    }
    quantities = {f"q{i}": Quantity.model_validate(wide) for i in range(10)}
    stations = tuple(
        Station.model_validate(
            {
                "id": f"s{i}",
                "name": TEXT,
                "commune": "1",
                "lat": 22,
                "lon": 104,
                "series": [{"quantity": q, "domain": "energy"} for q in quantities],
            }
        )
        for i in range(series // 10)
    )
    rules = [
        {
            "id": f"r{i}",
            "kind": "limit",
            "title": TEXT,
            "series": {},
            "source": {"text": "a benchmark", "mark": "F"},
            "levels": {
                1: {
                    "name": TEXT,
                    "priority": 3,
                    "limit": 100 + i,
                    "deadband": 1,
                    "on_delay": "30s",
                    "off_delay": "30s",
                }
            },
        }
        for i in range(RULES_PER_SERIES)
    ]
    registry = Registry(stations, quantities)
    return (
        registry,
        {rule.id: rule for rule in RulesFile.model_validate({"rules": rules}).rules},
        {name: number for number, name in enumerate(registry.series)},
    )


def batches(series: int, size: int, storm: bool, count: int, seed: int) -> list[Batch]:
    """Batches of distinct series where there are enough; the event time moves by 10 s from sample to sample."""
    random = np.random.default_rng(seed)
    seen = np.zeros(series, np.int64)
    out = []
    for _ in range(count):
        numbers = np.concatenate([random.permutation(series) for _ in range(-(-size // series))])[:size]
        event_us = np.empty(size, np.int64)
        for start in range(0, size, series):
            part = numbers[start : start + series]
            seen[part] += 1
            event_us[start : start + series] = START + seen[part] * 10 * S
        value = random.uniform(90, 120, size) if storm else random.uniform(0, 50, size)
        out.append(Batch.of("mqtt", numbers, event_us, event_us, value))
    return out


def row_loop(rules: dict[str, Rule], series: int, gap_us: int) -> Callable[[Batch, int], list[Change]]:
    """What a program without arrays does: for each row, for each of its rules, a small state machine.

    It knows no bad quality, backlog, corrections or silence beyond the time of the last sample.
    """
    limits = [
        (r.levels[1].limit or 0.0, (r.levels[1].limit or 0.0) - r.levels[1].deadband, 30 * S, 30 * S)
        for r in rules.values()
        if isinstance(r, LimitRule)
    ]
    on = [[False] * len(limits) for _ in range(series)]
    since = [[-1] * len(limits) for _ in range(series)]
    last, heard = [0] * series, [0] * series

    names = list(rules)

    def feed(batch: Batch, now_us: int) -> list[Change]:
        changes: list[Change] = []
        for number, event_us, value in zip(
            batch.series.tolist(), batch.event_us.tolist(), batch.value.tolist(), strict=True
        ):
            mine, waits = on[number], since[number]
            gap = event_us - last[number] > gap_us
            for i, (limit, reset, on_delay, off_delay) in enumerate(limits):
                if not (value < reset if mine[i] else value >= limit):
                    waits[i] = -1
                    continue
                if waits[i] < 0 or gap:
                    waits[i] = event_us
                if event_us - waits[i] >= (off_delay if mine[i] else on_delay):
                    mine[i] = not mine[i]
                    waits[i] = -1
                    kind = ChangeKind.ONSET if mine[i] else ChangeKind.CLEAR
                    asset = str(number)
                    changes.append(
                        Change(kind, names[i], asset, int(mine[i]), 3, value, limit, event_us, now_us)
                    )
            last[number], heard[number] = event_us, now_us
        return changes

    return feed


def timed(feed: Callable[[Batch, int], list[Change]], parts: list[Batch], seconds: float) -> dict[str, Any]:
    """Feed them round after round, event times moving on, for about so long."""
    times: list[float] = []
    changes, now_us, shift = 0, START, 0
    span = max(int(p.event_us.max()) for p in parts) - START
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or not times:
        for part in parts:
            moved = Batch(
                part.source,
                part.series,
                part.event_us + shift,
                part.received_us,
                part.value,
                part.flags,
                part.revision,
            )
            now_us += 100_000
            begin = time.perf_counter()
            said = feed(moved, now_us)
            times.append(time.perf_counter() - begin)
            changes += len(said)
        shift += span
    size = len(parts[0])
    cost = np.array(times)
    return {
        "readings_per_s": round(size / float(np.median(cost))),
        "batch_ms": {
            "p50": round(float(np.quantile(cost, 0.5)) * 1e3, 4),
            "p99": round(float(np.quantile(cost, 0.99)) * 1e3, 4),
            "worst": round(float(cost.max()) * 1e3, 4),
        },
        "batches": len(times),
        "changes_per_1000": round(1000 * changes / (size * len(times)), 2),
    }


def main() -> None:
    """Every case; the order of cases is fixed and each has an engine of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.0, help="how long each case runs")
    parser.add_argument("--quick", action="store_true", help="1k series only")
    options = parser.parse_args()
    results = []
    for series in (1_000,) if options.quick else (1_000, 100_000):
        registry, rules, numbers = world(series)
        for storm in (False, True):
            for size in (1_000, 10_000):
                parts = batches(series, size, storm, max(4, min(200, 200_000 // size)), seed=series + size)
                begin = time.perf_counter()
                engine = Engine(registry, rules, numbers)
                built_s = time.perf_counter() - begin
                engine.feed_source(SourceState("mqtt", True, 1), START)
                loop = row_loop(rules, series, 30 * S)
                case: dict[str, Any] = {
                    "series": series,
                    "batch": size,
                    "load": "storm" if storm else "quiet",
                    "build_s": round(built_s, 3),
                    "engine": timed(engine.feed_batch, parts, options.seconds),
                    "row_loop": timed(loop, parts, options.seconds),
                }
                due: list[float] = []
                for _ in range(20):
                    engine.feed_batch(parts[0], START)
                    begin = time.perf_counter()
                    engine.next_deadline_us(START)
                    due.append(time.perf_counter() - begin)
                case["next_deadline_us_p50"] = round(float(np.median(due)) * 1e6, 1)
                case["times_faster"] = round(
                    case["engine"]["readings_per_s"] / case["row_loop"]["readings_per_s"], 2
                )
                results.append(case)
    print(
        json.dumps(
            {
                "bench": "rules",
                "rules_per_series": RULES_PER_SERIES,
                "machine": f"{os.cpu_count()} × {platform.processor() or platform.machine()}",
                "python": platform.python_version(),
                "numpy": np.__version__,
                "cases": results,
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
