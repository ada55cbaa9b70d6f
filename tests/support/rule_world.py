"""A small world for the rules: a few series, rules of every kind, and what may happen to them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from hypothesis import strategies as st

from ioc.model import Batch, Change, Flag, SourceState, SystemFact
from ioc.registry import Quantity, Registry, Station
from ioc.rules.samples import RETRACTED
from ioc.rules.spec import Rule, RulesFile

S = 1_000_000
START = 1_700_000_000 * S
TEXT = {"vi": "v", "en": "e"}
SOURCE = {"text": "a test", "mark": "F"}


def registry(stations: Mapping[str, Sequence[str]], intervals: Mapping[str, str] | None = None) -> Registry:
    """Stations with their quantities; every interval 10 s unless said otherwise."""
    intervals = intervals or {}
    quantities = {
        name: Quantity.model_validate(
            {
                "name": TEXT,
                "unit": "m",
                "unit_text": "m",
                "resolution": 0.01,
                "interval": intervals.get(name, "10s"),
                "range": [-1000, 1000],
            }
        )
        for name in sorted({q for have in stations.values() for q in have})
    }
    return Registry(
        tuple(
            Station.model_validate(
                {
                    "id": station,
                    "name": TEXT,
                    "commune": "1",
                    "lat": 22,
                    "lon": 104,
                    "series": [{"quantity": q, "domain": "disaster"} for q in have],
                }
            )
            for station, have in stations.items()
        ),
        quantities,
    )


def numbers_of(registry: Registry) -> dict[str, int]:
    """Numbers in the registry's order."""
    return {name: number for number, name in enumerate(registry.series)}


def rules(*items: Mapping[str, Any]) -> dict[str, Rule]:
    """Rules as a pack would give them, texts and source filled in."""
    full = []
    for item in items:
        rule = {"title": TEXT, **item}
        if rule["kind"] == "limit":
            rule = {"source": SOURCE, "series": {}, **rule}
            rule["levels"] = {
                k: {"name": TEXT, "priority": max(5 - k, 1), **v} for k, v in rule["levels"].items()
            }
        full.append(rule)
    return {rule.id: rule for rule in RulesFile.model_validate({"rules": full}).rules}


def limit(rule: str, levels: Mapping[int, Mapping[str, Any]], **more: Any) -> dict[str, Any]:
    """A limit rule on every series unless said otherwise."""
    return {"id": rule, "kind": "limit", "levels": levels, **more}


WORLD = registry({"a": ["level", "rain"], "b": ["level"], "c": ["wind"]}, {"rain": "30s"})
NUMBERS = numbers_of(WORLD)
RULES = rules(
    limit("at_once", {1: {"limit": 4, "deadband": 1}, 2: {"limit": 6, "deadband": 1}, 4: {"limit": 8}}),
    {"id": "silent", "kind": "no_data", "priority": 3},
    limit(
        "delayed",
        {
            1: {"limit": 3, "on_delay": "20s", "off_delay": "15s", "deadband": 0.5},
            2: {"limit": 5, "off_delay": "10s"},
            3: {"limit": 7, "on_delay": "5s"},
        },
        series={"quantities": ["level", "rain"]},
    ),
    limit(
        "low",
        {1: {"limit": 2, "deadband": 0.5, "on_delay": "10s"}, 2: {"limit": 0, "deadband": 1.5}},
        direction="down",
        stations={"a": {1: 1.5}, "b": {1: 2.5, 2: 1}},
    ),
    {"id": "down", "kind": "source_down", "after": "25s", "priority": 2},
    {"id": "disk", "kind": "system", "fact": "disk_low", "priority": 2},
    {"id": "rain_silent", "kind": "no_data", "priority": 2, "series": {"quantities": ["rain"]}},
    {"id": "old", "kind": "too_late", "priority": 3},
    limit("off", {1: {"limit": 1}}, enabled=False),
)


WIDER = registry({"a": ["level", "rain"], "b": ["level"], "c": ["level", "wind"]}, {"rain": "30s"})
"""A world for limits alone: three gauges near each other."""
OFFSET_US = 7 * 3_600 * S
NEAR = {0: (2, 3), 2: (0, 3), 3: (0, 2)}
WIDER_RULES = rules(
    limit("at_once", {1: {"limit": 4, "deadband": 1}, 2: {"limit": 6, "reset": 5}, 4: {"limit": 8}}),
    limit("counted", {1: {"limit": 3, "times": 3, "within": "30s"}, 2: {"limit": 6, "priority": 2, "deadband": 3},
                      3: {"limit": 7, "times": 2, "within": "10s", "off_delay": "10s", "priority": 1}},
          series={"quantities": ["level"]}),
    limit("dated", {1: {"limit": 5, "deadband": 1, "priority": 3}, 2: {"limit": 7, "priority": 2, "on_delay": "10s"}},
          periods=[{"name": TEXT, "hours": [5, 6], "limits": {1: 2}},
                   {"name": TEXT, "weekdays": [3, 4], "limits": {1: 4, 2: 6}},
                   {"name": TEXT, "months": [11, 12], "hours": [22, 5], "limits": {2: 9}}],
          series={"quantities": ["level"]}),
    limit("low", {1: {"limit": 3, "reset": 4, "priority": 2, "times": 2, "within": "60s"}, 2: {"limit": 1, "priority": 1}},
          direction="down", series={"stations": ["a", "b"]}, periods=[{"name": TEXT, "hours": [6, 22], "limits": {1: 2.5}}]),
    limit("trusting", {1: {"limit": 8, "priority": 1}}, doubtful=False),
)  # fmt: skip
assert START % (86_400 * S) == 80_000 * S, (
    "22:13 UTC on a Tuesday in November, 5:13 of Wednesday seven hours ahead"
)


@dataclass(frozen=True)
class Rows:
    """Rows of one source, received at one time."""

    source: str
    now_us: int
    series: tuple[int, ...]
    event_us: tuple[int, ...]
    value: tuple[float, ...]
    flags: tuple[int, ...]

    def batch(self, start: int = 0, end: int | None = None) -> Batch:
        """A stretch of them."""
        cut = slice(start, end)
        series = self.series[cut]
        return Batch.of(
            self.source,
            series,
            self.event_us[cut],
            [self.now_us] * len(series),
            self.value[cut],
            self.flags[cut],
        )


@dataclass(frozen=True)
class Other:
    """Anything that is no row: None is the passing of time."""

    now_us: int
    body: SourceState | SystemFact | None


Event = Rows | Other

_KINDS = st.sampled_from(
    [0] * 12
    + [int(Flag.UNCERTAIN)] * 2
    + [int(Flag.BAD), int(Flag.BAD), int(Flag.BAD | Flag.OUT_OF_RANGE)]
    + [int(Flag.BACKLOG)] * 4
    + [int(Flag.BACKLOG | Flag.BAD)]
    + [int(Flag.LATE)] * 2
    + [int(Flag.REVISED)] * 2
    + [int(Flag.LATE | Flag.BAD)]
    + [int(Flag.LATE | Flag.BAD) | RETRACTED] * 2
    + [int(Flag.LATE | Flag.UNCERTAIN)]
    + [int(f) for f in (Flag.REPEAT, Flag.TOO_LATE, Flag.FUTURE, Flag.CONFLICT, Flag.LAST_KNOWN)]
)
_VALUES = st.sampled_from([i / 2 for i in range(-2, 20)])
_STEPS_S = st.sampled_from([0, 1, 5, 9, 10, 10, 10, 15, 20, 30, 31, 95, 7 * 3600])
_BACK_S = st.sampled_from([0, 1, 5, 10, 15, 30, 60, 6 * 3600])


@st.composite
def events(draw: st.DrawFn, series: int = len(NUMBERS), rows_max: int = 12) -> list[Event]:
    """What may happen, in order: in-order rows never go back in their series, late ones do."""
    now_us = START
    marks = [START] * series
    out: list[Event] = []
    up = {"mqtt": 0, "file": 0}
    if draw(st.booleans()):
        out.append(Other(now_us, SourceState("mqtt", True, 1)))
        up["mqtt"] = 1
    for _ in range(draw(st.integers(1, 10))):
        now_us += draw(st.sampled_from([0, 1, S, 5 * S, 10 * S, 10 * S, 29 * S, 31 * S, 70 * S]))
        what = draw(st.sampled_from(["rows"] * 6 + ["tick"] * 3 + ["source"] * 2 + ["fact"]))
        if what == "tick":
            out.append(Other(now_us, None))
        elif what == "fact":
            name = draw(st.sampled_from(["disk_low", "clock_step"]))
            out.append(
                Other(
                    now_us,
                    SystemFact(
                        name, "centre", draw(st.booleans()), draw(st.sampled_from([1.5, 1.5, 2.5])), "why"
                    ),
                )
            )
        elif what == "source":
            source = draw(st.sampled_from(["mqtt", "mqtt", "file"]))
            up[source] += draw(st.integers(0, 1))
            out.append(Other(now_us, SourceState(source, draw(st.booleans()), up[source], "why")))
        else:
            columns: list[tuple[int, int, float, int]] = []
            for _ in range(draw(st.integers(1, rows_max))):
                number, flags = draw(st.integers(0, series - 1)), draw(_KINDS)
                if flags & (Flag.LATE | Flag.REVISED | Flag.TOO_LATE):
                    event_us = marks[number] - draw(_BACK_S) * S
                else:
                    event_us = marks[number] + draw(_STEPS_S) * S
                    marks[number] = event_us
                columns.append((number, event_us, draw(_VALUES), flags))
            source = draw(st.sampled_from(["mqtt"] * 5 + ["file"]))
            out.append(Rows(source, now_us, *zip(*columns, strict=True)))
    return out


class Stage(Protocol):
    """What engine and oracle have in common."""

    def feed_batch(self, batch: Batch, now_us: int, /) -> list[Change]: ...
    def feed_source(self, state: SourceState, now_us: int, /) -> list[Change]: ...
    def feed_system(self, fact: SystemFact, now_us: int, /) -> list[Change]: ...
    def feed_deadlines(self, now_us: int, /) -> list[Change]: ...


def feed(stage: Stage, event: Event, cuts: Sequence[int] = ()) -> list[Change]:
    """Feed one event; rows in pieces that end at the cuts (and at the end)."""
    if isinstance(event, Other):
        if event.body is None:
            return stage.feed_deadlines(event.now_us)
        if isinstance(event.body, SourceState):
            return stage.feed_source(event.body, event.now_us)
        return stage.feed_system(event.body, event.now_us)
    size = len(event.series)
    edges = [0, *sorted({cut % (size + 1) for cut in cuts}), size]
    out: list[Change] = []
    for start, end in itertools.pairwise(edges):
        out += stage.feed_batch(event.batch(start, end), event.now_us)
    return out
