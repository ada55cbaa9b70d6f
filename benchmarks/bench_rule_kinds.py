"""Every kind of rule alone: ns a reading, beside a plain Python loop in the same run. Prints JSON; a table on stderr.

    python benchmarks/bench_rule_kinds.py [--quick] [--only KIND …]

What is timed: derived values from samples to samples, through the stage that hands them on (`Derivations.feed`); the
quality tests (`Quality.feed`); rules over several stations (`Composite.feed`). The limit rule, with all of the engine
about it, is `bench_rules.py`. The loops (`loops.py`) keep dicts and deques of floats and whole ticks, row after row,
and know no bad or late samples, no corrections, no restart: they do less. Both are fed the same columns, in turn, in
a steady state; each figure is the least of four rounds, since whatever
else runs only adds. At most 6,000 series of the 100,000 or 1,000,000 report,
spread evenly, so that the loops have their windows filled in reasonable time; the state has room for all.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
from loops import LOOPS

from ioc.model import Change, ChangeKind
from ioc.model.quality import QualityTests
from ioc.registry import Quantity, Registry, Series, Station
from ioc.rules.composite import Composite
from ioc.rules.derive.base import Instance
from ioc.rules.derive.kinds import resolution_of
from ioc.rules.derive.plan import Planned
from ioc.rules.derive.stage import Derivations
from ioc.rules.found import Found
from ioc.rules.quality import Quality
from ioc.rules.samples import Samples
from ioc.rules.spec import Rule, RulesFile
from ioc.rules.spec.derived import (
    Anomaly,
    Baseline,
    ChangePoint,
    Counter,
    Expression,
    Rate,
    TimeTo,
    VnAqi,
    Window,
    ZScore,
)

S = 1_000_000
MINUTE = 60 * S
HOUR = 60 * MINUTE
START = 1_700_000_000 * S // HOUR * HOUR
SIZES = (1_000, 100_000, 1_000_000)
BATCHES = {10: 200, 100: 40, 1_000: 8, 10_000: 2}
"""Rows a batch → batches a round."""
ROUNDS = 4
REPORTING = 6_000
TEXT = {"vi": "v", "en": "e"}
FACT_EVERY = 50
"""One reading in so many begins or ends the fact that rules over several stations ask for."""


@dataclass(frozen=True)
class Kind:
    """`spec` as the loop is told it; `inputs` series make one instance; `step_us` from sample to sample."""

    spec: Any
    inputs: int = 1
    step_us: int = 10 * MINUTE
    warm: int = 26
    """Samples of each series before anything is timed."""
    counts: bool = False
    """Whether values only rise."""
    sizes: tuple[int, ...] = SIZES
    skipped: str = ""
    """Why the other sizes are left out."""


QUALITY = QualityTests.model_validate(
    {
        "gross_range": {"fail": [-50, 60], "suspect": [-20, 45]},
        "spike": {"suspect": 8, "fail": 15},
        "rate_of_change": {"suspect": 0.02, "fail": 0.05},
        "flat_line": {"tolerance": 0.05, "suspect": "1h", "fail": "2h"},
        "attenuated": {"over": "2h", "suspect": 0.5, "fail": 0.1, "min_obs": 6},
        "climatology": [{"months": list(range(1, 13)), "suspect": [-10, 45], "fail": [-40, 55]}],
    }
)
GASES = ("pm25", "pm10", "so2", "no2", "co", "o3")


def window(function: str, **more: Any) -> Kind:
    """A window of 4 h, 24 samples."""
    spec = Window.model_validate({"kind": "window", "function": function, "over": "4h", **more})
    if function == "mean":
        return Kind(spec)
    return Kind(spec, sizes=SIZES[:2], skipped="1 M series: as window_mean")


KINDS: dict[str, Kind] = {
    "rate": Kind(Rate.model_validate({"kind": "rate", "over": "1h"}), warm=7),
    "window_sum": window("sum"),
    "window_mean": window("mean"),
    "window_max": window("max"),
    "window_percentile": window("percentile", percentile=90),
    "time_to": Kind(
        TimeTo.model_validate({"kind": "time_to", "over": "2h", "limit": 40.0}),
        warm=13,
        sizes=SIZES[:2],
        skipped="1 M series: as rate",
    ),
    "counter": Kind(
        Counter.model_validate({"kind": "counter"}),
        counts=True,
        warm=2,
        sizes=SIZES[:2],
        skipped="1 M series: as zscore",
    ),
    "baseline": Kind(
        Baseline.model_validate({"kind": "baseline", "weeks": 1}),
        step_us=7 * 24 * HOUR,
        warm=4,
        sizes=SIZES[:2],
        skipped="1 M series: 168 buckets each are 4.9 GB",
    ),
    "zscore": Kind(ZScore.model_validate({"kind": "zscore", "memory": 80})),
    "change_point": Kind(
        ChangePoint.model_validate({"kind": "change_point", "memory": 80}),
        sizes=SIZES[:2],
        skipped="1 M series: as zscore",
    ),
    "anomaly": Kind(
        Anomaly.model_validate({"kind": "anomaly", "memory": 80}),
        sizes=SIZES[:2],
        skipped="1 M series: 1.2 KB each are 1.2 GB",
    ),
    "quality": Kind(QUALITY),
    "expression": Kind(
        Expression.model_validate(
            {
                "id": "x",
                "kind": "expression",
                "inputs": {"a": "qa", "b": "qb"},
                "cel": "a > 20.0 ? a * 1.5 + b : max(a, b)",
            }
        ),
        inputs=2,
        warm=2,
        sizes=SIZES[:2],
        skipped="1 M series: as 100 k, the time is CEL's",
    ),
    "vn_aqi": Kind(
        VnAqi.model_validate({"id": "x", "kind": "vn_aqi", "inputs": {g: g for g in GASES}}),
        inputs=6,
        step_us=HOUR,
        warm=13,
        sizes=SIZES[:2],
        skipped="1 M series: 170,000 stations for air are none that there are",
    ),
}
JOINT = ("neighbours", "condition", "sequence", "travel", "disagrees")
JOINT_SIZES = {"neighbours": SIZES[:2], "condition": SIZES[:2], "sequence": SIZES[:2]}
JOINT_SKIPPED = {
    **dict.fromkeys(JOINT, "1 M series: a rule of its own for every two of them is none that there is"),
    "travel": "100 k series and more: each rule looks through all series when a pack is loaded",
    "disagrees": "100 k series and more: the distance of each to each is worked out when a pack is loaded",
}


class Feeder:
    """Samples of the series that report, each series' stamps a step apart; every batch goes on where the last ended."""

    def __init__(self, kind: Kind, series: int, seed: int) -> None:
        self._kind = kind
        self._random = np.random.default_rng(seed)
        groups = series // kind.inputs
        chosen = np.unique(np.linspace(0, groups - 1, min(groups, REPORTING // kind.inputs)).astype(np.int64))
        self._random.shuffle(chosen)
        self.reporting = (chosen[:, None] * kind.inputs + np.arange(kind.inputs)).ravel()
        self._seen = np.zeros(series, np.int64)
        self._place = 0

    def batch(self, size: int) -> Samples:
        """The next rows, series after series, round and round."""
        n = len(self.reporting)
        at = (self._place + np.arange(size)) % n
        lap = (self._place + np.arange(size)) // n
        self._place += size
        channel = self.reporting[at]
        event_us = START + (lap + 1) * self._kind.step_us
        if self._kind.counts:
            value = np.round(lap * 0.4 + channel % 7, 2)
        else:
            value = np.round(20 + 5 * np.sin(lap / 4 + channel) + self._random.normal(0, 1, size), 2)
        none = np.zeros(size, np.uint16)
        return Samples(np.arange(size), channel, event_us, value.astype(np.float64), none, none)


def series_of(count: int, step_us: int, quality: QualityTests | None = None) -> list[Series]:
    """So many alike, but for their ids."""
    entry = {"quantity": "level", "domain": "energy"}
    station = Station.model_validate(
        {"id": "s", "name": TEXT, "commune": "1", "lat": 22, "lon": 104, "series": [entry]}
    )
    quantity = Quantity.model_validate(
        {"name": TEXT, "unit": "m", "unit_text": "m", "resolution": 0.01, "interval": "10min", "range": [-1e3, 1e3]}
    )  # fmt: skip
    one = Registry((station,), {"level": quantity}).series["energy/s/level"]
    one = dataclasses.replace(one, interval_us=step_us, quality=quality)
    return [dataclasses.replace(one, id=f"energy/s{i}/level") for i in range(count)]


Feed = Callable[[Any], Any]


def derived(kind: Kind, series: list[Series]) -> Feed:
    """The stage with one definition."""
    one = series[0]
    resolution = 1.0 if isinstance(kind.spec, VnAqi) else 0.01
    if kind.inputs == 1:
        resolution = resolution_of(kind.spec, one)
    groups = [
        tuple(series[i : i + kind.inputs]) for i in range(0, len(series) - kind.inputs + 1, kind.inputs)
    ]
    limit = getattr(kind.spec, "limit", None)
    instances = tuple(Instance("s", inputs, resolution, None, limit) for inputs in groups)
    numbers = {each.id: i for i, each in enumerate(series)}
    stage = Derivations((Planned("rule:r", kind.spec.kind, kind.spec, instances),), list(numbers), numbers, 0)
    return stage.feed


def quality(series: list[Series]) -> Feed:
    """The tests of every series."""
    registry: Any = SimpleNamespace(series={each.id: each for each in series})
    return Quality(registry, {each.id: i for i, each in enumerate(series)}, 0).feed


def timed(feed: Callable[..., Any], parts: Sequence[Any]) -> float:
    """Seconds that all of them take."""
    begin = time.perf_counter()
    for part in parts:
        feed(part)
    return time.perf_counter() - begin


def compared(
    name: str, series: int, ours: Feed, loop: Feed, batch: Callable[[int], Any], most: int
) -> list[dict[str, Any]]:
    """One case for each size of batch."""
    found = []
    for size, count in BATCHES.items():
        costs: list[tuple[float, float]] = []
        for turn in range(ROUNDS):
            parts = [batch(size) for _ in range(max(1, min(count, most // size)))]
            pair = (ours, loop) if turn % 2 == 0 else (loop, ours)
            took = {id(feed): timed(feed, parts) for feed in pair}
            rows = size * len(parts)
            costs.append((took[id(ours)] / rows * 1e9, took[id(loop)] / rows * 1e9))
        mine, theirs = (min(each) for each in zip(*costs, strict=True))
        found.append(
            {
                "kind": name,
                "series": series,
                "batch": size,
                "ours_ns": round(mine, 1),
                "loop_ns": round(theirs, 1),
                "times_faster": round(theirs / mine, 2),
            }
        )
    return found


def single_cases(name: str, kind: Kind, series: int, all_series: list[Series]) -> list[dict[str, Any]]:
    """A kind that judges each series, or each station, by itself."""
    begin = time.perf_counter()
    ours = quality(all_series) if name == "quality" else derived(kind, all_series)
    built_s = time.perf_counter() - begin
    loop = LOOPS[name](kind.spec, all_series[0])
    feeder = Feeder(kind, series, seed=series)
    feeder.batch(0)
    same = 0.0
    for _ in range(kind.warm):
        part = feeder.batch(len(feeder.reporting))
        same = alike_share(name, ours(part), loop(part))
    cases = compared(name, series, ours, loop, feeder.batch, 30_000)
    return [{**case, "build_s": round(built_s, 2), "same_share": round(same, 4)} for case in cases]


def alike_share(name: str, ours: Any, theirs: list[Any]) -> float:
    """How many of the last results before the timing are the same on both sides, of all; failed tests for quality."""
    if name == "quality":
        kept = [row for row in theirs if row[2] >= ours.event_us.max()]
        mine = dict(zip(ours.row.tolist(), (ours.tests & 255).tolist(), strict=True))
        return float(np.mean([mine[row[0]] == row[3] for row in kept]))
    if not ours:
        return float(not theirs)
    given = Samples.concat(ours)
    values = dict(zip(given.row.tolist(), given.value.tolist(), strict=True))
    same = [
        values.get(row) == value or (value != value and values[row] != values[row])
        for row, _, _, value in theirs
    ]
    return float(np.sum(same)) / max(len(theirs), len(given))


Told = tuple[Samples, list[Found]]


def joint_world(name: str, count: int) -> tuple[Registry, dict[str, Rule], dict[str, int]]:
    """Stations of one series in a row, 1 km apart, ten in a commune, and rules about all of them."""
    quantity = Quantity.model_validate(
        {"name": TEXT, "unit": "m", "unit_text": "m", "resolution": 0.01, "interval": "10min", "range": [-1e3, 1e3]}
    )  # fmt: skip
    stations = tuple(
        Station.model_validate(
            {
                "id": f"s{i}", "name": TEXT, "commune": str(i // 10), "lat": 10 + i * 0.009 % 12, "lon": 104,
                "series": [{"quantity": "level", "domain": "energy"}],
            }
        )
        for i in range(count)
    )  # fmt: skip
    said = {"title": TEXT, "priority": 3}
    named = {**said, "level_name": TEXT}
    high = {
        "id": "high", "kind": "limit", "title": TEXT, "series": {}, "source": {"text": "a benchmark", "mark": "F"},
        "levels": {1: {"name": TEXT, "priority": 3, "limit": 100}},
    }  # fmt: skip
    rules: list[dict[str, Any]] = [high]
    ids = [f"energy/s{i}/level" for i in range(count)]
    pairs = list(zip(ids[::2], ids[1::2], strict=True))
    if name == "neighbours":
        rules.append(
            {
                "id": "n",
                "kind": name,
                **named,
                "of": {"rule": "high"},
                "k": 3,
                "over": "1h",
                "same": "commune",
            }
        )
    elif name == "disagrees":
        rules.append(
            {"id": "d", "kind": name, **said, "series": {"quantities": ["level"]}, "within_km": 5, "least": 2, "limit": 20}
        )  # fmt: skip
    for i, (a, b) in enumerate(pairs):
        first, then = {"rule": "high", "asset": a}, {"rule": "high", "asset": b}
        if name == "condition":
            rules.append(
                {
                    "id": f"c{i}", "kind": name, **named, "asset": a, "values": {"x": a, "y": b},
                    "facts": {"high": first}, "when": "high && x + y > 30.0",
                }
            )  # fmt: skip
        elif name == "sequence":
            rules.append(
                {
                    "id": f"c{i}",
                    "kind": name,
                    **named,
                    "asset": b,
                    "first": first,
                    "then": then,
                    "within": "6h",
                }
            )
        elif name == "travel":
            rules.append(
                {"id": f"c{i}", "kind": name, **named, "upstream": first, "downstream": then, "travel": ["1h", "6h"]}
            )  # fmt: skip
    registry = Registry(stations, {"level": quantity})
    checked = {rule.id: rule for rule in RulesFile.model_validate({"rules": rules}).rules}
    return registry, checked, {each: i for i, each in enumerate(registry.series)}


class Facts:
    """Batches with what a limit rule said of some of their rows: every 50th row its fact begins or ends."""

    def __init__(self, series: int) -> None:
        self._feeder = Feeder(Kind(None, inputs=2), series, seed=series)
        self._on: set[int] = set()
        self._rows = 0

    def batch(self, size: int) -> Told:
        """The next rows."""
        samples = self._feeder.batch(size)
        found: list[Found] = []
        for row in range((-self._rows) % FACT_EVERY, size, FACT_EVERY):
            number = int(samples.channel[row])
            kind = ChangeKind.CLEAR if number in self._on else ChangeKind.ONSET
            self._on ^= {number}
            level, us = int(kind is ChangeKind.ONSET), int(samples.event_us[row])
            asset, value = f"energy/s{number}/level", float(samples.value[row])
            change = Change(kind, "high", asset, level, 3, value, 100.0, us, us)
            found.append((row, 0, number, change))
        self._rows += size
        return samples, found


def joint_cases(name: str, series: int) -> list[dict[str, Any]]:
    """A kind that judges several stations."""
    registry, rules, numbers = joint_world(name, series)
    begin = time.perf_counter()
    composite = Composite(registry, rules, numbers)
    built_s = time.perf_counter() - begin
    loop = LOOPS[name](registry, numbers)
    facts = Facts(series)

    def ours(told: Told) -> None:
        samples, found = told
        composite.feed(found, samples, int(samples.event_us[-1]))

    for _ in range(2):
        part = facts.batch(min(series, REPORTING))
        ours(part)
        loop(part)
    cases = compared(name, series, ours, loop, facts.batch, 10_000)
    return [{**case, "build_s": round(built_s, 2)} for case in cases]


def rows_of(cases: list[dict[str, Any]], names: Sequence[str]) -> list[dict[str, Any]]:
    """A row of the table for each kind: batches of 1,000 at the most series up to 100,000 that were measured; not met
    if it is slower than the loop at another number of series. One row more: the worst of all in batches of 10."""
    rows = []
    for name in names:
        mine = [case for case in cases if case["kind"] == name and case["batch"] == 1_000]
        shown = [case for case in mine if case["series"] <= 100_000][-1]
        note = ", ".join(f"{case['series']:,} series: {case['times_faster']:g}× as fast" for case in mine)
        row = _row(f"rules.{name}", shown, note)
        rows.append({**row, "met": False} if any(case["times_faster"] < 1 for case in mine) else row)
    few = sorted(
        (case for case in cases if case["batch"] == 10), key=lambda case: float(case["times_faster"])
    )
    slower = ", ".join(dict.fromkeys(case["kind"] for case in few if case["times_faster"] < 1))
    note = f"worst: {few[0]['kind']}, {few[0]['series']:,} series; slower than the loop: {slower or 'none'}"
    return [*rows, _row("rules.kinds.few", few[0], note)]


def _row(name: str, case: dict[str, Any], note: str) -> dict[str, Any]:
    peer = {"peer": case["loop_ns"], "peer_name": "Python loop"}
    return {"name": name, "ours": case["ours_ns"], **peer, "note": note}


def table(cases: list[dict[str, Any]]) -> str:
    """For people: by kind and number of series, ours / the loop's ns a reading for each size of batch."""
    lines = [f"{'ns a reading: ours / loop (times as fast)':40}" + "".join(f"{b:>24,}" for b in BATCHES)]
    for kind, series in dict.fromkeys((c["kind"], c["series"]) for c in cases):
        mine = {c["batch"]: c for c in cases if (c["kind"], c["series"]) == (kind, series)}
        cells = (f"{c['ours_ns']:,.0f} / {c['loop_ns']:,.0f} ({c['times_faster']:g}×)" for c in mine.values())
        lines.append(f"{kind:20}{series:>12,}        " + "".join(f"{cell:>24}" for cell in cells))
    return "\n".join(lines)


def main() -> None:
    """Every kind, each with state of its own; compiled before anything is timed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="1k series only")
    parser.add_argument("--only", nargs="*", default=[*KINDS, *JOINT], help="some kinds")
    options = parser.parse_args()
    cases: list[dict[str, Any]] = []
    for series in SIZES[:1] if options.quick else SIZES:
        alike: list[Series] = []
        for name in (n for n in options.only if n in KINDS and series in KINDS[n].sizes):
            kind = KINDS[name]
            tests = QUALITY if name == "quality" else None
            if not alike or (alike[0].interval_us, alike[0].quality) != (kind.step_us, tests):
                alike = series_of(series, kind.step_us, tests)
            cases += single_cases(name, kind, series, alike)
            print(table(cases[-len(BATCHES) :]).splitlines()[-1], file=sys.stderr, flush=True)
        for name in (n for n in options.only if n in JOINT and series in JOINT_SIZES.get(n, SIZES[:1])):
            cases += joint_cases(name, series)
            print(table(cases[-len(BATCHES) :]).splitlines()[-1], file=sys.stderr, flush=True)
    order = {name: place for place, name in enumerate([*KINDS, *JOINT])}
    cases.sort(key=lambda case: (order[case["kind"]], case["series"]))
    print("\n" + table(cases), file=sys.stderr)
    skipped = {name: kind.skipped for name, kind in KINDS.items() if kind.skipped} | JOINT_SKIPPED
    result = {"bench": "rule_kinds", "rows": rows_of(cases, options.only), "cases": cases, "skipped": skipped}
    print(json.dumps(result, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
