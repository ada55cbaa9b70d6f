"""What happens to a sample, for every kind of rule: the table of docs/architecture.md with a column for each kind.

`pytest tests/rules/test_sample_table.py -v` prints as that table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pytest
import yaml
from support.packs import limit_rule, text, write_pack

from ioc.ingest.order import Judgement, Order
from ioc.log.state import pack_state
from ioc.model import Batch, ChangeKind, Flag, SourceState
from ioc.pack import Pack, Settings
from ioc.rules.engine import Engine

MIN, H = 60_000_000, 3_600_000_000
START = 1_725_753_600_000_000
LEVEL, OTHER, THIRD = (f"disaster/{s}/level" for s in "abc")
QUANTITIES = {"level": "m", "wet": "m", "dew": "Cel", "air": "Cel", "damp": "%", "dust": "ug/m3", "aqi": "1",
              "uab": "V", "ubc": "V", "uca": "V", "skew": "%", "total": "mm", "gain": "mm"}  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """A kind of rule, and which part of the engine's state it moves. `late`: whether a late sample does."""

    name: str
    rules: tuple[dict[str, Any], ...] = ()
    derived: tuple[dict[str, Any], ...] = ()
    part: str = "derived"
    late: bool = False
    series: tuple[str, ...] = (LEVEL, OTHER, THIRD)


def value(kind: str, late: bool = False, **fields: Any) -> Kind:
    rule = limit_rule("r", {1: 50.0}, series={"quantities": ["level"]}) | {"value": {"kind": kind, **fields}}
    return Kind(
        kind if "function" not in fields else f"{kind} {fields['function']}", (rule,), (), "derived", late
    )


def joint(kind: str, **fields: Any) -> Kind:
    rule = {"id": "j", "kind": kind, "title": text("Kết hợp"), "priority": 2, **fields}
    if kind != "disagrees":
        rule["level_name"] = text("Kết hợp")
    return Kind(kind, (limit_rule("r", {1: 9.0}, series={"quantities": ["level"]}), rule), (), "joint")


def several(kind: str, series: tuple[str, ...], out: str, **fields: Any) -> Kind:
    return Kind(
        kind,
        (),
        ({"id": out, "kind": kind, **fields},),
        "derived",
        False,
        tuple(f"energy/a/{s}" for s in series),
    )


A, B = {"rule": "r", "asset": LEVEL}, {"rule": "r", "asset": OTHER}
KINDS = [
    Kind("limit", (limit_rule("r", {1: 9.0}, on_delay="30min"),), (), "cells"),
    Kind("limit n times", ({**(r := limit_rule("r", {1: 9.0})), "levels": {1: {**r["levels"][1], "times": 3, "within": "1h"}}},), (), "cells"),
    value("rate", late=True, over="1h"),
    value("time_to", late=True, over="1h", limit=50.0),
    *(value("window", late=True, function=f, over="1h") for f in ("sum", "mean", "min", "max", "count")),
    value("window", late=True, function="percentile", percentile=90, over="1h"),
    value("counter"),
    value("baseline"),
    value("zscore"),
    value("change_point"),
    value("anomaly"),
    several("expression", ("air", "damp"), "wet", inputs={"t": "air", "h": "damp"}, cel="t * h"),
    several("dew_point", ("air", "damp"), "dew", inputs={"temperature": "air", "humidity": "damp"}),
    several("vn_aqi", ("dust",), "aqi", inputs={"pm25": "dust"}),
    several("unbalance", ("uab", "ubc", "uca"), "skew", inputs={"ab": "uab", "bc": "ubc", "ca": "uca"}),
    joint("neighbours", of={"rule": "r"}, k=2, over="1h", within_km=50),
    joint("condition", asset="disaster/a", values={"x": LEVEL}, when="x > 5.0"),
    joint("sequence", asset="disaster/a", first=A, then=B, within="1h"),
    joint("travel", upstream=A, downstream=B, travel=["10min", "1h"]),
    joint("disagrees", series={"quantities": ["level"]}, within_km=50, limit=3.0),
    Kind("quality", (), (), "quality"),
]  # fmt: skip


@cache
def pack(kind: str) -> Pack:
    about = next(k for k in KINDS if k.name == kind)
    folder = write_pack(Path(mkdtemp()) / "p", about.series, list(about.rules))
    file = folder / "quantities.yaml"
    like = next(iter(yaml.safe_load(file.read_text("utf-8"))["quantities"].values()))
    known = {q: like | {"name": text(q), "unit": unit, "unit_text": unit} for q, unit in QUANTITIES.items()}
    if about.part == "quality":
        known["level"]["quality"] = {
            "spike": {"suspect": 5, "fail": 9},
            "rate_of_change": {"suspect": 0.01},
            "flat_line": {"tolerance": 0.01, "suspect": "30min", "fail": "1h"},
        }
    file.write_text(yaml.safe_dump({"quantities": known}, allow_unicode=True), "utf-8")
    if about.derived:
        (folder / "derived").mkdir()
        (folder / "derived" / "d.yaml").write_text(yaml.safe_dump({"derived": list(about.derived)}), "utf-8")
    return Pack.read(folder, Settings())


class World:
    """Order and engine, with two hours of samples each ten minutes behind them."""

    def __init__(self, kind: Kind) -> None:
        self.kind, loaded = kind, pack(kind.name)
        self.numbers = {name: number for number, name in enumerate(loaded.registry.series)}
        self.order = Order(
            loaded.registry.columns(self.numbers), lateness_us=H, max_ahead_us=2 * MIN, stamps_max=4096
        )
        self.engine = Engine(loaded.registry, {}, self.numbers)
        self.engine.rebuild(loaded.registry, loaded.rules, self.numbers, START, loaded.planned, 0)
        self.engine.feed_source(SourceState("s", True, 1, ""), START)
        self.now_us = START
        for step in range(13):
            self.now_us = START + step * 10 * MIN
            for place, series in enumerate(kind.series):
                self.take(
                    series, self.now_us, 8.0 + place + step % 3 + (10.0 if step > 10 and place < 2 else 0.0)
                )

    def take(self, series: str, event_us: int, value: float, flags: int = 0) -> list[Any]:
        number = self.numbers[series]
        raw = Batch.of("s", [number], [event_us], [self.now_us], [value], np.array([flags], np.uint16))
        batch = Judgement(self.order).judge(raw, self.now_us)
        self.order.feed(batch)
        return self.engine.feed_batch(batch, self.now_us)

    def part(self) -> bytes:
        return pack_state({"it": self.engine.state()[self.kind.part]})

    def everything(self) -> bytes:
        return pack_state({k: v for k, v in self.engine.state().items() if k not in ("series", "system")})


Feed = Callable[[World], list[Any]]


def later(world: World, minutes: int) -> None:
    world.now_us += minutes * MIN


def fresh(world: World) -> list[Any]:
    later(world, 10)
    said = [
        world.take(series, world.now_us, 3.0 + place / 2) for place, series in enumerate(world.kind.series)
    ]
    return [change for each in said for change in each]


def backlog(world: World) -> list[Any]:
    stamp = world.now_us + 10 * MIN
    later(world, 120)
    said = [world.take(series, stamp, 3.0 + place / 2) for place, series in enumerate(world.kind.series)]
    return [change for each in said for change in each]


def late(world: World) -> list[Any]:
    later(world, 1)
    return world.take(world.kind.series[0], world.now_us - 16 * MIN, 3.25)


def too_late(world: World) -> list[Any]:
    return world.take(world.kind.series[0], world.now_us - 95 * MIN, 3.25)


def repeat(world: World) -> list[Any]:
    return world.take(world.kind.series[0], world.now_us, 8.0 + 12 % 3 + 10.0)


def future(world: World) -> list[Any]:
    return world.take(world.kind.series[0], world.now_us + 10 * MIN, 30.0)


def last_known(world: World) -> list[Any]:
    return world.take(world.kind.series[0], 0, 30.0, int(Flag.RETAINED | Flag.NO_STAMP))


def no_stamp(world: World) -> list[Any]:
    later(world, 10)
    return [c for series in world.kind.series for c in world.take(series, 0, 3.0, int(Flag.NO_STAMP))]


@pytest.mark.parametrize("kind", KINDS, ids=[k.name for k in KINDS])
@pytest.mark.parametrize(
    ("feed", "moves"),
    [(fresh, True), (backlog, True), (no_stamp, True), (late, None), (too_late, False), (repeat, False),
     (future, False), (last_known, False)],
    ids=["fresh - moves", "backlog - moves", "fresh without a time - moves", "late - contents of windows only",
         "later than that - nothing", "repeat - nothing", "future - nothing", "retained without a time - nothing"],
)  # fmt: skip
def test_table(kind: Kind, feed: Feed, moves: bool | None) -> None:
    world = World(kind)
    before = world.part(), world.everything()
    said = feed(world)
    moved = world.part() != before[0]
    assert moved == (kind.late if moves is None else moves)
    if moves is False:
        assert world.everything() == before[1]
        assert said == []
    if moves is None:
        assert {change.kind for change in said} <= {ChangeKind.CORRECTION}


@pytest.mark.parametrize("kind", KINDS, ids=[k.name for k in KINDS])
def test_what_backlog_says_is_marked_as_backlog(kind: Kind) -> None:
    world = World(kind)
    for change in backlog(world):
        assert change.backlog, change


def test_a_backlogged_spike_an_hour_old_completes_no_delay_of_half_an_hour() -> None:
    world = World(KINDS[0])
    for minutes in (10, 20):
        later(world, 10)
        world.take(LEVEL, START + 2 * H + minutes * MIN, 5.0)
    stamp = world.now_us + 10 * MIN
    later(world, 70)
    assert world.take(LEVEL, stamp, 30.0) == []
    assert world.take(LEVEL, stamp + 10 * MIN, 5.0) == []


def test_one_slow_gateway_holds_nobody_back() -> None:
    """Watermarks are a series' own: what B says does not wait for A, who is hours behind."""
    about = next(k for k in KINDS if k.name == "window sum")
    alone, beside = World(about), World(about)
    for step in range(1, 7):
        alone.now_us = beside.now_us = START + 2 * H + step * 10 * MIN
        beside.take(LEVEL, START + 2 * H + step * MIN, 9.0)
        assert [c.value for c in beside.take(OTHER, beside.now_us, 20.0)] == [
            c.value for c in alone.take(OTHER, alone.now_us, 20.0)
        ]
