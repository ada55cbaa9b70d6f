"""The rule engine alone: readings a second, beside a plain row loop in the same run. Prints JSON; a table on stderr.

    python benchmarks/bench_rules.py [--seconds 0.5] [--quick]

Ten limit rules a series, one level each, Schmitt triggers with a 30 s on-delay. A reading is one row of a batch, judged
by all ten rules of its series, with all that the engine does besides (silence, sources, skew). *quiet*: nothing comes
near a limit. *storm*: every series swings across all ten limits at once (uniform from 90 to 120, limits from 100 to
109), so that the gate gains nothing; delays begin and end all the time and few are completed. Paper sketch: a quiet row
costs two gathers, two comparisons and six scatters of the watchdog; in a storm every row costs some thirty array
operations on ten cells.

Memory: 1,000,000 series with 5 limit rules each, a reading every 10 minutes, two of each fed through `order.py` and the
engine in a process of their own; its highest resident size (VmHWM).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ioc.ingest.order import Judgement, Order
from ioc.model import Batch, Change, ChangeKind, SourceState
from ioc.registry import Quantity, Registry, Station
from ioc.rules.engine import Engine
from ioc.rules.spec import LimitRule, Rule, RulesFile

S = 1_000_000
START = 1_700_000_000 * S
RULES_PER_SERIES = 10
TEXT = {"vi": "v", "en": "e"}


BATCHES = (10, 100, 1_000, 10_000)
MANY = 1_000_000
HOUR = 3_600 * S
PEERS = """Measured there, not here (performance.md §9 of the design notes; another machine, the same work: 10 M
readings, 10 limit rules a series, Schmitt triggers with a 30 s on-delay), M readings/s on one core:

                                    1k series   100k    1M   storm, 100k
  numba loop, limits per series            74     13   7.2   29 (shared limits)
  Java array loop, shared limits           67     45   8.4
  numpy 10k batches, gated                 25     18  10.8   1.7
  numpy 1k batches, gated                  11    8.9   7.4
  numpy 10k, every rule on every one      2.2    2.3   1.7   1.8
  Flink chained                           8.5    7.2   4.5
  Flink keyBy                             3.8    3.1   2.6   1.7
  Esper (table / context)             1.2/2.5 0.8/0.7 0.4/0.35 0.24/0.06
  Python dict loop                       0.83   0.57
  bytewax                                0.48   0.25  0.18
  Drools, Siddhi, quixstreams         0.2–0.4   0.15–0.17"""


def world(
    series: int, rules_each: int = RULES_PER_SERIES, shared: bool = False
) -> tuple[Registry, dict[str, Rule], dict[str, int]]:
    """Stations of ten series and rules on all of them; with `shared` all are at one station, so that a million of them
    are soon made and take no more than what the stages hold of them."""
    wide = {
        "name": TEXT,
        "unit": "m",
        "unit_text": "m",
        "resolution": 0.01,
        "interval": "10s" if rules_each == RULES_PER_SERIES else "10min",
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
        for i in range(1 if shared else series // 10)
    )
    registry = Registry(stations, quantities)
    if shared:
        one = registry.series["energy/s0/q0"]
        ids = (f"energy/s{i}/q0" for i in range(series))
        registry.series = {each: dataclasses.replace(one, id=each) for each in ids}
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
        for i in range(rules_each)
    ]
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


def cases_of(series: int, seconds: float) -> list[dict[str, Any]]:
    """Every load and size of batch; a million series share one engine, which takes long to build."""
    many = series >= MANY
    registry, rules, numbers = world(series, shared=many)
    results, engine, loop = [], None, None
    for storm in (False, True):
        for size in BATCHES:
            parts = batches(series, size, storm, max(4, min(200, 200_000 // size)), seed=series + size)
            begin = time.perf_counter()
            if engine is None or not many:
                engine = Engine(registry, rules, numbers)
                engine.feed_source(SourceState("mqtt", True, 1), START)
                loop = row_loop(rules, series, 30 * S)
            built_s = time.perf_counter() - begin
            assert loop is not None
            case: dict[str, Any] = {
                "series": series,
                "batch": size,
                "load": "storm" if storm else "quiet",
                "build_s": round(built_s, 3),
                "engine": timed(engine.feed_batch, parts, seconds),
                "row_loop": timed(loop, parts, seconds),
            }
            due: list[float] = []
            for _ in range(20):
                engine.feed_batch(parts[0], START)
                begin = time.perf_counter()
                engine.next_deadline_us(START)
                due.append(time.perf_counter() - begin)
            case["next_deadline_us_p50"] = round(float(np.median(due)) * 1e6, 1)
            mine, theirs = (case[who]["readings_per_s"] for who in ("engine", "row_loop"))
            case["times_faster"] = round(mine / theirs, 2)
            for who, rate in (("engine", mine), ("row_loop", theirs)):
                case[who]["ns_per_reading_and_rule"] = round(1e9 / rate / RULES_PER_SERIES, 2)
            results.append(case)
            print(line(case), file=sys.stderr, flush=True)
    return results


def line(case: dict[str, Any]) -> str:
    """One case for people."""
    mine, theirs = (case[who] for who in ("engine", "row_loop"))
    return (
        f"{case['series']:>9,} series {case['batch']:>7,} a batch  {case['load']}  "
        f"{mine['readings_per_s'] / 1e6:>7.2f} M/s, loop {theirs['readings_per_s'] / 1e6:5.2f} M/s "
        f"({case['times_faster']:g}×); ns a reading and rule {mine['ns_per_reading_and_rule']:g}, "
        f"loop {theirs['ns_per_reading_and_rule']:g}; {mine['changes_per_1000']:g} changes in 1,000"
    )


def resident() -> dict[str, int]:
    """MiB of this process, now and at most."""
    status = Path("/proc/self/status").read_text("utf-8")
    found = {name: re.search(rf"{name}:\s+(\d+)", status) for name in ("VmRSS", "VmHWM")}
    return {name: int(value[1]) // 1024 for name, value in found.items() if value}


def memory(shared: bool) -> dict[str, Any]:
    """A million series with 5 rules each, two readings of each fed; resident MiB after each step."""
    steps = {"imported": resident()}
    registry, rules, numbers = world(MANY, 5, shared)
    steps["registry"] = resident()
    order = Order(registry.columns(numbers), lateness_us=HOUR, max_ahead_us=60 * S, stamps_max=64)
    engine = Engine(registry, rules, numbers)
    engine.feed_source(SourceState("mqtt", True, 1), START)
    steps["built"] = resident()
    if shared:
        # Only what the stages themselves hold: `columns` of the registry, not its entries.
        registry.series = {}
    for lap in range(1, 3):
        now_us = START + lap * 600 * S
        for first in range(0, MANY, 10_000):
            n = 10_000
            stamps = np.full(n, now_us, np.int64)
            value = np.linspace(0, 50, n)
            raw = Batch.of("mqtt", np.arange(first, first + n, dtype=np.int32), stamps, stamps, value)
            judged = Judgement(order).judge(raw, now_us)
            order.feed(judged)
            engine.feed_batch(judged, now_us)
    steps["fed"] = resident()
    return {"shared_station": shared, "mib": steps, "highest_mib": steps["fed"]["VmHWM"]}


def memory_in_child(shared: bool) -> dict[str, Any]:
    """The same in a process of its own."""
    command = [sys.executable, __file__, "--memory", "shared" if shared else "own"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True, timeout=300)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def rows_of(
    cases: list[dict[str, Any]], lean: dict[str, Any] | None, own: dict[str, Any] | None
) -> list[dict[str, Any]]:
    """What the table of all benchmarks is told."""

    def worst(among: list[dict[str, Any]]) -> dict[str, Any]:
        least = min(among, key=lambda case: float(case["times_faster"]))
        return {
            "ours": least["engine"]["readings_per_s"], "peer": least["row_loop"]["readings_per_s"],
            "peer_name": "Python loop", "note": f"{least['series']:,} series, {least['load']}",
        }  # fmt: skip

    rows = [
        {"name": "rules.limit", **worst([c for c in cases if c["batch"] == 1_000])},
        {"name": "rules.limit.few", **worst([c for c in cases if c["batch"] == 10])},
    ]
    for load in ("quiet", "storm"):
        mine = [c for c in cases if (c["series"], c["batch"], c["load"]) == (100_000, 10_000, load)]
        rows += [{"name": f"rules.{load}", "ours": case["engine"]["readings_per_s"]} for case in mine]
    if lean and own:
        note = f"all at one station; with stations and entries of their own {own['highest_mib']:,} MiB"
        rows.append({"name": "rules.memory", "ours": lean["highest_mib"], "note": note})
    return rows


def main() -> None:
    """Every case; the order of cases is fixed and each but the largest has an engine of its own."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=0.5, help="how long each case runs")
    parser.add_argument("--quick", action="store_true", help="1k series only")
    parser.add_argument(
        "--memory", choices=("shared", "own"), help="only the memory of a million series, in this process"
    )
    options = parser.parse_args()
    if options.memory:
        print(json.dumps(memory(options.memory == "shared")))
        return
    lean = None if options.quick else memory_in_child(True)
    own = None if options.quick else memory_in_child(False)
    registry, rules, numbers = world(1_000)
    engine = Engine(registry, rules, numbers)
    for part in batches(1_000, 10_000, True, 4, seed=0):
        # Whatever is compiled is compiled here.
        engine.feed_batch(part, START)
    results = []
    for series in (1_000,) if options.quick else (1_000, 100_000, MANY):
        results += cases_of(series, options.seconds)
    print("\n" + PEERS, file=sys.stderr)
    print(
        json.dumps(
            {
                "bench": "rules",
                "rules_per_series": RULES_PER_SERIES,
                "machine": f"{os.cpu_count()} × {platform.processor() or platform.machine()}",
                "python": platform.python_version(),
                "numpy": np.__version__,
                "rows": rows_of(results, lean, own),
                "memory": [lean, own],
                "cases": results,
                "peers_measured_elsewhere": PEERS,
            },
            indent=2,
            ensure_ascii=False,
        )
    )


if __name__ == "__main__":
    main()
