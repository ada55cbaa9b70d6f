"""What a backtest says is what a live instance says whose clock is the samples': every change, at the same time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.packs import limit_rule, no_data_rule, text, write_pack

from ioc.backtest import run as module
from ioc.backtest.data import DataError, Readings
from ioc.backtest.run import chosen, paced, run
from ioc.errors import ConfigError
from ioc.model import Batch, Change, ChangeKind, Event, Input, PackLoaded, SeriesAdded, SourceState
from ioc.pack import Pack, Settings
from ioc.pipeline import Pipeline
from ioc.trial import numbers_of

MIN = 60_000_000
T0 = 1_725_760_800_000_000
SERIES = ["disaster/a/water_level", "disaster/b/water_level", "disaster/b/rain", "energy/c/load"]


def _rules() -> list[dict[str, Any]]:
    window = limit_rule("rain_1h", {1: 8.0, 2: 12.0}, series={"quantities": ["rain"]})
    window["value"] = {"kind": "window", "function": "sum", "over": "1h", "coverage": 0.3}
    return [
        limit_rule("level", {1: 5.0, 2: 8.0}, deadband=1.0, series={"quantities": ["water_level"]}),
        limit_rule("slow", {1: 6.0}, on_delay="20min", off_delay="10min"),
        window,
        no_data_rule(),
        {
            "id": "both",
            "kind": "condition",
            "title": text("Cả hai", "Both"),
            "asset": "disaster/b",
            "values": {"rain": "disaster/b/rain"},
            "facts": {"high": {"rule": "level", "asset": "disaster/b/water_level"}},
            "when": "high && rain > 3.0",
            "priority": 2,
            "level_name": text("Nguy hiểm", "Danger"),
        },
        limit_rule("wet", {1: 20.0}, series={"quantities": ["rain_2h"]}),
        *(_joint(name, kind, **more) for name, kind, more in JOINT),
    ]


def _joint(name: str, kind: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "kind": kind, "title": text(name), "priority": 3, "level_name": text("Mức"), **more}


ABOVE_A, ABOVE_B = ({"rule": "level", "asset": series} for series in SERIES[:2])
JOINT: list[tuple[str, str, dict[str, Any]]] = [
    ("near", "neighbours", {"of": {"rule": "level"}, "k": 2, "over": "30min", "same": "commune"}),
    ("first", "sequence", {"asset": "disaster/b", "first": ABOVE_A, "then": ABOVE_B, "within": "40min"}),
    (
        "wave",
        "travel",
        {"upstream": ABOVE_A, "downstream": ABOVE_B, "travel": ["5min", "30min"]},
    ),
]


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    folder = write_pack(tmp_path_factory.mktemp("p") / "pack", SERIES, _rules(), value_range=(-5.0, 20.0))
    path = folder / "quantities.yaml"
    content = yaml.safe_load(path.read_text("utf-8"))
    content["quantities"]["water_level"]["quality"] = {"spike": {"suspect": 3.0, "fail": 6.0}}
    content["quantities"]["load"]["interval"] = "1min"
    content["quantities"]["rain_2h"] = content["quantities"]["rain"]
    path.write_text(yaml.safe_dump(content, allow_unicode=True), "utf-8")
    value = {"kind": "window", "function": "sum", "over": "2h", "coverage": 0.1}
    derived = [{"id": "rain_2h", "kind": "value", "of": {"quantities": ["rain"]}, "value": value}]
    (folder / "derived").mkdir()
    (folder / "derived" / "all.yaml").write_text(yaml.safe_dump({"derived": derived}), "utf-8")
    return Pack.read(folder, Settings(clock="source"))


def live(pack: Pack, readings: Readings, size: int) -> list[Change]:
    """The same through the pipeline, `size` readings to a record."""
    number = numbers_of(
        pack, dict.fromkeys(name for i, name in enumerate(readings.names) if i in readings.series)
    )
    pipeline = Pipeline(lambda _: pack)
    bodies: list[Any] = [
        PackLoaded(pack.hash, "p"),
        SeriesAdded(tuple((n, name) for name, n in number.items())),
        SourceState(module.SOURCE, True, 1),
    ]
    changes = []
    for n, body in enumerate(bodies, 1):
        pipeline.feed(Input(n, 0, body))
    codes = np.array([number.get(name, 0) for name in readings.names])
    for start in range(0, len(readings), size):
        part = readings.take(slice(start, start + size))
        raw = Batch.of(
            module.SOURCE, codes[part.series], part.event_us, part.event_us, part.value, part.flags
        )
        judged = pipeline.judgement().judge(raw, None)
        outcome = pipeline.feed(Input(pipeline.last_number + 1, int(part.event_us[-1]), judged))
        changes += outcome.changes
    return changes


def rows(parts: list[tuple[int, int, float, int]]) -> Readings:
    """(series, minutes after the one before, value, flags) each."""
    series, steps, value, flags = (list(column) for column in zip(*parts, strict=True))
    event_us = T0 + np.cumsum(np.array(steps) * MIN)
    return Readings(
        tuple(SERIES),
        np.array(series, np.int32),
        event_us,
        np.array(value, np.float64),
        np.array(flags, np.uint16) if any(flags) else None,
    )


READING = st.tuples(
    st.integers(0, len(SERIES) - 1),
    st.sampled_from([0, 0, 0, 1, 1, 2, 3, 5, 10, 31, 70]),
    st.sampled_from([0.0, 1.0, 2.0, 4.0, 4.5, 5.0, 6.0, 7.5, 8.0, 9.0, 12.0, 30.0]),
    st.sampled_from([0, 0, 0, 0, 0, 1, 2]),
)


@given(
    st.lists(READING, min_size=1, max_size=250),
    st.sampled_from([1, 7, 100, 1000]),
    st.sampled_from([1, 13, 1 << 16]),
)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_backtest_says_what_a_live_instance_says(
    pack: Pack, parts: list[tuple[int, int, float, int]], size: int, block: int
) -> None:
    readings = rows(parts)
    assert run(pack, readings, block_rows=block).changes == live(pack, readings, size)


EVENLY = [(i % 2, 1, 9.0 if 30 < i < 60 else 1.0, 0) for i in range(100)]
WITH_A_GAP = [*EVENLY, (2, 200, 9.0, 0), *EVENLY]


@pytest.mark.parametrize(
    ("what", "planted"),
    [
        ("_Silence.between", lambda self, rows, starts, number, received_us: np.zeros(0, np.int64)),
        ("Feed.deadlines", lambda self, until_us: []),
        ("_Silence._due", lambda self, series, heard_us: heard_us + self._after_us[series] + 3 * MIN),
    ],
)
def test_the_comparison_catches_a_deadline_that_is_missed(
    pack: Pack, monkeypatch: pytest.MonkeyPatch, what: str, planted: Any
) -> None:
    readings = rows(WITH_A_GAP)
    said = live(pack, readings, 17)
    assert any(change.rule == "no_data" for change in said)
    assert run(pack, readings).changes == said
    owner, name = what.split(".")
    monkeypatch.setattr(getattr(module, owner), name, planted)
    assert run(pack, readings).changes != said


def test_blocks_of_series_that_no_rule_joins_say_together_what_all_say_at_once(pack: Pack) -> None:
    readings = rows(WITH_A_GAP)
    whole = run(pack, readings, only=["level", "slow", "rain_1h"]).changes
    apart = []
    for series in range(3):
        part = readings.take(readings.series == series)
        apart += run(
            pack, part, only=["level", "slow", "rain_1h"], until_us=int(readings.event_us[-1])
        ).changes
    assert sorted(whole, key=repr) == sorted(apart, key=repr)


def test_what_the_pack_lacks_is_counted_and_named_and_what_has_no_data_is_told(pack: Pack) -> None:
    readings = rows([(0, 1, 1.0, 0), (1, 1, 1.0, 0), (0, 1, 1.0, 0)])
    strange = Readings(("disaster/x/level", SERIES[0]), readings.series, readings.event_us, readings.value)
    found = run(pack, strange)
    assert found.strangers == {"disaster/x/level": 2}
    assert (found.readings, found.series) == (1, 1)
    # The condition's own series are numbered only where something came of them or is computed with them.
    assert set(found.silent) >= {SERIES[1], SERIES[3]}
    with pytest.raises(DataError, match="none of the 1 series of the data"):
        run(pack, strange.take(strange.series == 0))


def test_a_series_that_comes_more_rarely_than_it_is_waited_for_is_named(pack: Pack) -> None:
    hourly = rows([(0, 60, 1.0, 0) for _ in range(10)])
    assert run(pack, hourly).sparse == (SERIES[0],)
    assert run(pack, rows([(0, 10, 1.0, 0) for _ in range(10)])).sparse == ()


def test_silence_after_the_last_reading_is_waited_for_up_to_the_end_that_was_named(pack: Pack) -> None:
    readings = rows([(0, 1, 1.0, 0)])
    assert not run(pack, readings).changes
    late = run(pack, readings, until_us=T0 + 61 * MIN)
    assert [(c.rule, c.now_us) for c in late.changes] == [("no_data", T0 + 41 * MIN)]
    assert late.end_us == T0 + 61 * MIN


def test_rules_that_are_named_run_as_if_enabled_with_those_whose_facts_they_ask_for(tmp_path: Path) -> None:
    off = [{**rule, "enabled": False} for rule in _rules() if rule["id"] != "wet"]
    pack = Pack.read(write_pack(tmp_path / "pack", SERIES, off), Settings())
    fed, asked = chosen(pack, ["both"])
    assert (set(fed), asked) == ({"both", "level"}, {"both"})
    assert all(rule.enabled for rule in fed.values())
    assert {"level", "slow", "rain_1h", "no_data", "both"} <= chosen(pack, everything=True)[1]
    assert not chosen(pack)[1] & {"level", "slow"}
    with pytest.raises(ConfigError, match="no rule 'x' in the pack"):
        chosen(pack, ["x"])


def test_events_come_between_the_readings_in_the_order_of_their_times(
    pack: Pack, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[Any] = []
    feed_rows, feed_event = module.Feed.rows, module.Feed.event
    monkeypatch.setattr(
        module.Feed,
        "rows",
        lambda self, batch: order.extend(batch.event_us.tolist()) or feed_rows(self, batch),
    )
    monkeypatch.setattr(
        module.Feed, "event", lambda self, event: order.append(event.received_us) or feed_event(self, event)
    )
    readings = rows([(0, 10, 1.0, 0) for _ in range(5)])
    at = [T0 - MIN, T0 + 15 * MIN, T0 + 15 * MIN, T0 + 30 * MIN, T0 + 90 * MIN, T0 + 200 * MIN]
    events = [Event("b", "energy", "c", "outage", str(i), 1, us, 0, us) for i, us in enumerate(at)]
    run(pack, readings, events=events, until_us=T0 + 100 * MIN)
    assert order == sorted(order)
    assert len(order) == 5 + 5


def test_a_thinned_history_can_be_waited_for_at_its_own_pace(pack: Pack) -> None:
    hourly = rows([*((0, 60, 1.0, 0) for _ in range(10)), (0, 300, 1.0, 0)])
    assert [c.kind for c in run(pack, hourly, only=["no_data"]).changes].count(ChangeKind.ONSET) == 10
    own = paced(pack, hourly)
    assert own.registry.series[SERIES[0]].interval_us == 60 * MIN
    assert own.registry.series[SERIES[0]].stale_after_us == 180 * MIN
    assert own.registry.series[SERIES[1]] == pack.registry.series[SERIES[1]]
    assert own.hash == pack.hash
    silences = [c for c in run(own, hourly, only=["no_data"]).changes if c.kind is ChangeKind.ONSET]
    assert [(c.asset, c.now_us) for c in silences] == [(SERIES[0], T0 + (600 + 180) * MIN)]
    assert paced(pack, rows([(0, 10, 1.0, 0) for _ in range(10)])) is pack
