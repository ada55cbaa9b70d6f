"""All kinds of rules in one engine: whatever it says depends on the samples alone, not on how they came in."""

from __future__ import annotations

import itertools
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.packs import limit_rule, no_data_rule, text, write_pack

from ioc.log.state import pack_state, unpack_state
from ioc.model import Batch, Change, ChangeKind, Flag, SourceState
from ioc.pack import Pack, Settings
from ioc.registry import NO_DEADLINE_US
from ioc.rules.derive.stage import Derivations
from ioc.rules.engine import Engine

START, STEP = 1_725_753_600_000_000, 600_000_000
STATIONS = ("a", "b", "c")
IDS = [f"disaster/{s}/{q}" for s in STATIONS for q in ("rain", "level")]
Said = tuple[str, str, str]
"""Rule, kind, and the whole change."""
Row = tuple[int, int, float, int]
"""(series, step of event time, value, flags)."""


@cache
def pack() -> Pack:
    window = {"kind": "window", "function": "sum", "over": "1h", "coverage": 0.4}
    rules: list[dict[str, Any]] = [
        limit_rule("rain_sum", {1: 20.0, 2: 40.0}, deadband=1.0, series={"quantities": ["rain_1h"]}),
        limit_rule("river", {1: 10.0, 2: 12.0}, deadband=0.5, on_delay="10min", series={"quantities": ["level"]}),
        limit_rule("rises", {1: 3.0}, deadband=0.5, series={"quantities": ["level"]})
        | {"value": {"kind": "rate", "over": "1h"}},
        limit_rule("soon", {1: 60.0}, direction="down", series={"quantities": ["level"]})
        | {"value": {"kind": "time_to", "over": "1h", "rule": "river", "level": 2, "samples": 3}},
        {
            "id": "two_gauges", "kind": "neighbours", "title": text("Hai trạm"), "of": {"rule": "rain_sum"}, "k": 2,
            "over": "1h", "within_km": 50, "priority": 2, "level_name": text("Hai trạm"),
        },
        {
            "id": "flash_flood", "kind": "condition", "title": text("Lũ quét"), "asset": "disaster/a",
            "values": {"rain": "disaster/a/rain_1h"}, "facts": {"rising": {"rule": "rises", "asset": IDS[1]}},
            "when": "rain >= 15.0 && rising", "priority": 1, "level_name": text("Lũ quét"),
        },
        {
            "id": "then", "kind": "sequence", "title": text("Nối tiếp"), "asset": "disaster/b",
            "first": {"rule": "rain_sum", "asset": "disaster/a/rain_1h"}, "then": {"rule": "river", "asset": IDS[3]},
            "within": "6h", "priority": 2, "level_name": text("Nối tiếp"),
        },
        {
            "id": "wave", "kind": "travel", "title": text("Sóng lũ"),
            "upstream": {"rule": "river", "asset": IDS[1]}, "downstream": {"rule": "river", "asset": IDS[3]},
            "travel": ["20min", "1h"], "priority": 2, "level_name": text("Sóng lũ"),
        },
        no_data_rule(),
    ]  # fmt: skip
    folder = write_pack(Path(mkdtemp()) / "whole", IDS, rules)
    file = folder / "quantities.yaml"
    known = yaml.safe_load(file.read_text("utf-8"))["quantities"]
    known["level"]["quality"] = {
        "gross_range": {"fail": [-5, 60], "suspect": [0, 40]},
        "spike": {"suspect": 8, "fail": 15},
        "flat_line": {"tolerance": 0.001, "suspect": "40min", "fail": "1h 10min"},
    }
    known["rain_1h"] = known["rain"] | {"name": text("Mưa 1 giờ")}
    known["wet"] = known["rain"] | {"name": text("Ướt")}
    file.write_text(yaml.safe_dump({"quantities": known}, allow_unicode=True), "utf-8")
    (folder / "derived").mkdir()
    derived = [
        {"id": "rain_1h", "kind": "value", "of": {"quantities": ["rain"]}, "value": window},
        {"id": "wet", "kind": "expression", "inputs": {"r": "rain_1h", "l": "level"}, "cel": "r * 0.5 + l"},
    ]
    (folder / "derived" / "all.yaml").write_text(yaml.safe_dump({"derived": derived}), "utf-8")
    return Pack.read(folder, Settings())


NUMBERS = {name: number for number, name in enumerate([*IDS, *(f"disaster/{s}/{q}" for s in STATIONS for q in ("rain_1h", "wet"))])}  # fmt: skip


def new_engine() -> Engine:
    engine = Engine(pack().registry, {}, NUMBERS)
    engine.rebuild(pack().registry, pack().rules, NUMBERS, START, pack().planned, pack().utc_offset_us)
    engine.feed_source(SourceState("s", True, 1, ""), START)
    return engine


def restarted(engine: Engine) -> Engine:
    state = unpack_state(pack_state(engine.state()))
    after = new_engine()
    after.restore(state)
    return after


def run(
    batches: list[list[Row]], cuts: set[int], restarts: set[int]
) -> tuple[list[Change], list[Any], bytes]:
    """Feed batches, each at the time of its last row; `cuts` are rows of the whole before which a batch is cut,
    `restarts` batches before which everything starts anew from its state."""
    engine = new_engine()
    said: list[Change] = []
    derived: list[Any] = []
    place = 0
    for at, rows in enumerate(batches):
        if at in restarts:
            engine = restarted(engine)
        now_us = START + max(step for _, step, _, _ in rows) * STEP
        while (due_us := engine.next_deadline_us(now_us)) <= now_us:
            said += engine.feed_deadlines(due_us)
        bounds = [0, *sorted(c - place for c in cuts if place < c < place + len(rows)), len(rows)]
        for begin, end in itertools.pairwise(bounds):
            changes, made = engine.judge_batch(batch(rows[begin:end]), now_us)
            said += changes
            if made is not None:
                columns = (made.series, made.event_us, made.value, made.flags)
                derived += zip(*(c.tolist() for c in columns), strict=True)
        place += len(rows)
    assert engine.next_deadline_us() < NO_DEADLINE_US
    # As text: a change whose value cannot be said is NaN, which equals nothing.
    told = [(c.rule, str(c.kind), repr(c)) for c in said]
    return told, derived, pack_state(engine.state())


def batch(rows: list[Row]) -> Batch:
    times = [START + step * STEP for _, step, _, _ in rows]
    return Batch.of(
        "s",
        [r[0] for r in rows],
        times,
        times,
        [r[2] for r in rows],
        np.array([r[3] for r in rows], np.uint16),
    )


@st.composite
def histories(draw: st.DrawFn) -> list[list[Row]]:
    """Stations that report every ten minutes: rain, a river that rises and falls, spikes, bad and missing samples."""
    steps = draw(st.integers(6, 30))
    levels = {s: draw(st.sampled_from([5.0, 8.0, 11.0])) for s in STATIONS}
    out = []
    for step in range(steps):
        rows: list[Row] = []
        for s, station in enumerate(STATIONS):
            levels[station] += draw(st.sampled_from([0.0, 0.01, 0.6, 1.5, -0.8, -2.0]))
            rain = draw(st.sampled_from([0.0, 0.2, 4.0, 12.0]))
            odd = draw(st.sampled_from([0, 0, 0, 0, 0, 0, 1, 2, 3, 4]))
            level = round(levels[station] + (25.0 if odd == 1 else 70.0 if odd == 2 else 0.0), 2)
            if odd != 3:
                rows.append((2 * s, step, rain, int(Flag.BAD) if odd == 4 else 0))
            rows.append((2 * s + 1, step, level, 0))
        out.append(rows)
    return out


SLOW = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@SLOW
@given(histories(), st.sets(st.integers(1, 180), max_size=12), st.sets(st.integers(0, 30), max_size=5))
def test_neither_cuts_nor_restarts_change_a_thing(
    batches: list[list[Row]], cuts: set[int], restarts: set[int]
) -> None:
    expected = run(batches, set(), set())
    assert run(batches, cuts, restarts) == expected


@SLOW
@given(histories())
def test_row_by_row_is_what_whole_batches_say(batches: list[list[Row]]) -> None:
    assert run(batches, set(range(200)), set()) == run(batches, set(), set())


def test_the_histories_bring_about_what_the_rules_can_say() -> None:
    """The two tests above would prove little about rules that are never raised."""
    seen: set[tuple[str, str]] = set()

    @settings(max_examples=150, deadline=None, derandomize=True, database=None)
    @given(histories())
    def look(batches: list[list[Row]]) -> None:
        said, derived, _ = run(batches, set(), set())
        seen.update((rule, kind) for rule, kind, _ in said)
        seen.update(("derived", pack_name(series)) for series, *_ in derived)

    look()
    ids = {rule.id for rule in pack().rules.values() if rule.kind not in ("system", "source_down", "no_data")}
    onset, clear, unknown = ChangeKind.ONSET.value, ChangeKind.CLEAR.value, ChangeKind.UNKNOWN.value
    assert {rule for rule, kind in seen if kind == onset} >= ids
    assert {rule for rule, kind in seen if kind == clear} >= ids - {"then"}
    assert {"river", "rain_sum", "soon"} <= {rule for rule, kind in seen if kind == unknown}
    assert {name for rule, name in seen if rule == "derived"} == {"rain_1h", "wet"}


def pack_name(series: int) -> str:
    return next(name for name, number in NUMBERS.items() if number == series).rpartition("/")[2]


def test_a_stage_that_forgot_between_batches_would_be_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """One planted bug: derivers that lose their state at a restart."""
    rain = [[(0, step, 6.0, 0), (1, step, 5.0, 0)] for step in range(12)]
    expected = run(rain, set(), set())
    assert run(rain, set(), {6}) == expected
    monkeypatch.setattr(Derivations, "restore", lambda self, state: None)
    assert run(rain, set(), {6}) != expected
