"""The watchdog, one behaviour a test: intervals of 10 s, stale after 30 s."""

from __future__ import annotations

from typing import Any

import pytest
from support.rule_world import START, S, limit, numbers_of, registry, rules

from ioc.model import Flag
from ioc.registry import NO_DEADLINE_US

SILENT = {"id": "silent", "kind": "no_data", "priority": 3, "series": {"stations": ["a"]}}
OLD = {"id": "old", "kind": "too_late", "priority": 3, "series": {"stations": ["a"]}}
FLOOD = limit("flood", {1: {"limit": 4}}, series={"stations": ["a"]})


def stale(d: Any) -> list[bool]:
    return d.engine.series_state()[0].tolist()


def test_silence_is_raised_at_its_deadline_and_ends_with_the_next_sample(desk: Any) -> None:
    d = desk(SILENT)
    d.row(20, 1)
    d.row(20, 1, series=1)
    assert d.due_s == 50
    assert d.until(49.9) == []
    (onset,) = d.until(51)
    assert (onset.kind, onset.level, onset.priority, onset.value, onset.limit) == ("onset", 1, 3, 30.0, 30.0)
    assert (onset.asset, onset.event_us, onset.now_us) == ("disaster/a/level", START + 50 * S, START + 51 * S)
    assert d.until(500) == []
    (clear,) = d.row(510, 1)
    assert (clear.kind, clear.level, clear.value, clear.event_us) == ("clear", 0, 490.0, START + 510 * S)


def test_silence_counts_receipt_and_not_event_time(desk: Any) -> None:
    d = desk(SILENT)
    d.row(20, 1, event_s=-300)
    d.row(20, 1, series=1)
    assert d.due_s == 50


@pytest.mark.parametrize("feeds", [Flag(0), Flag.BACKLOG, Flag.BAD, Flag.UNCERTAIN, Flag.NO_STAMP])
def test_what_is_new_in_its_series_feeds_the_watchdog(desk: Any, feeds: Flag) -> None:
    d = desk(SILENT)
    d.row(20, 1)
    d.row(40, 1, feeds)
    d.row(60, 1, series=1)
    assert d.due_s == 70


@pytest.mark.parametrize(
    "flag",
    [Flag.REPEAT, Flag.LAST_KNOWN, Flag.CONFLICT, Flag.FUTURE, Flag.TOO_LATE, Flag.LATE, Flag.REVISED],
)
def test_what_is_not_new_never_feeds_the_watchdog(desk: Any, flag: Flag) -> None:
    d = desk(SILENT)
    d.row(20, 1)
    d.row(40, 1, flag)
    d.row(40, 1, series=1)
    assert d.due_s == 50


def test_a_series_never_heard_counts_from_its_connection_and_an_interval(desk: Any, brief: Any) -> None:
    d = desk(SILENT, connected=False)
    assert d.engine.next_deadline_us() == NO_DEADLINE_US
    d.source(100, True)
    assert d.until(139) == []
    assert stale(d) == [True, True]
    assert brief(d.until(140)) == [("onset", 1)]


def test_while_its_source_is_down_a_series_turns_stale_but_raises_no_silence(desk: Any, brief: Any) -> None:
    d = desk(SILENT, FLOOD)
    d.row(20, 5)
    d.source(25, False)
    (unknown,) = d.until(60)
    assert (unknown.kind, unknown.rule, unknown.event_us, unknown.value) == (
        "unknown",
        "flood",
        START + 50 * S,
        5.0,
    )
    assert stale(d)[0]
    assert d.until(500) == []
    d.source(500, True, 2)
    assert d.until(539) == []
    assert brief(d.until(540)) == [("onset", 1)]
    assert brief(d.row(545, 5)) == [("clear", 0), ("known", 1)]
    assert not stale(d)[0]


def test_a_reconnection_leaves_alarms_as_they_are(desk: Any) -> None:
    d = desk(SILENT, FLOOD)
    d.row(20, 5)
    d.source(25, False)
    assert d.source(30, True, 2) == []
    assert d.row(31, 5) == []


def test_each_source_answers_for_the_series_it_fed_last(desk: Any, brief: Any) -> None:
    d = desk(SILENT)
    d.row(20, 1)
    d.source(21, True, 1, "file")
    d.source(22, False, 1, "file")
    assert brief(d.until(60)) == [("onset", 1)]


def test_a_silent_alarm_cleared_while_unknown_says_only_clear(desk: Any, brief: Any) -> None:
    d = desk(FLOOD)
    d.row(20, 5)
    assert brief(d.until(50)) == [("unknown", 1)]
    assert brief(d.row(60, 1)) == [("clear", 0)]


def test_bad_quality_is_shown_until_a_good_sample(desk: Any) -> None:
    d = desk(SILENT)
    d.row(20, 1, Flag.BAD)
    assert d.engine.series_state()[1].tolist() == [True, False]
    d.row(30, 1, Flag.LATE)
    assert d.engine.series_state()[1].tolist() == [True, False]
    d.row(40, 1)
    assert d.engine.series_state()[1].tolist() == [False, False]


def test_backlog_alone_is_too_late_to_warn(desk: Any) -> None:
    d = desk(OLD)
    for t in (20, 30, 40):
        assert d.row(t, 1, Flag.BACKLOG) == []
    (onset,) = d.until(50)
    assert (onset.kind, onset.rule, onset.event_us, onset.value, onset.limit) == (
        "onset", "old", START + 50 * S, 30.0, 30.0,
    )  # fmt: skip
    assert d.row(55, 1, Flag.BACKLOG) == []
    assert [c.kind for c in d.row(60, 1)] == ["clear"]


def test_a_fresh_sample_begins_the_wait_for_lateness_anew(desk: Any) -> None:
    d = desk(OLD)
    d.row(20, 1, Flag.BACKLOG)
    d.row(30, 1)
    d.row(40, 1, Flag.BACKLOG)
    assert d.until(69) == []
    assert [c.event_us for c in d.until(70)] == [START + 70 * S]


def test_a_flapping_source_makes_no_series_late(desk: Any) -> None:
    d = desk(OLD)
    d.row(20, 1, Flag.BACKLOG)
    d.source(30, False)
    assert d.until(60) == []
    d.source(100, True, 2)
    assert d.until(139) == []
    assert [c.event_us for c in d.until(140)] == [START + 140 * S]


def test_deadlines_fire_in_their_order_then_by_rule_then_by_series(desk: Any) -> None:
    d = desk(
        {"id": "first", "kind": "no_data", "priority": 3},
        limit("flood", {1: {"limit": 4}}),
        {"id": "second", "kind": "no_data", "priority": 3},
    )
    d.row(21, 5)
    d.row(20, 5, series=1)
    assert [(c.rule, c.asset[9], c.event_us // S - START // S) for c in d.until(100)] == [
        ("first", "b", 50), ("flood", "b", 50), ("second", "b", 50),
        ("first", "a", 51), ("flood", "a", 51), ("second", "a", 51),
    ]  # fmt: skip


def test_a_silence_rule_that_goes_is_told(desk: Any) -> None:
    d = desk(SILENT)
    d.until(100)
    (removed,) = d.load(200)
    assert (removed.kind, removed.rule, removed.level) == ("rule_removed", "silent", 0)


def test_a_new_series_is_silent_only_after_its_own_time(desk: Any) -> None:
    d = desk({"id": "silent", "kind": "no_data", "priority": 3})
    d.row(95, 1)
    d.row(95, 1, series=1)
    world = registry({"a": ["level"], "b": ["level"], "c": ["level"]})
    only = rules({"id": "silent", "kind": "no_data", "priority": 3})
    d.engine.rebuild(world, only, numbers_of(world), START + 100 * S)
    d.row(120, 1)
    d.row(120, 1, series=1)
    assert d.until(129) == []
    assert [c.asset for c in d.until(130)] == ["disaster/c/level"]


def test_a_series_that_leaves_the_pack_is_watched_no_more(desk: Any) -> None:
    d = desk(SILENT, FLOOD)
    d.row(20, 5)
    d.until(100)
    world = registry({"b": ["level"]})
    said = d.engine.rebuild(world, rules({**SILENT, "series": {}}), d.numbers, START + 100 * S)
    assert [(c.kind, c.rule) for c in said] == [("rule_removed", "silent"), ("rule_removed", "flood")]
    assert stale(d)[0] is False


def test_a_series_that_comes_back_into_the_pack_has_its_grace_anew(desk: Any) -> None:
    d = desk({"id": "silent", "kind": "no_data", "priority": 3})
    d.row(20, 1, Flag.BAD)
    d.row(20, 1, series=1)
    only = rules({"id": "silent", "kind": "no_data", "priority": 3})
    d.engine.rebuild(registry({"b": ["level"]}), only, d.numbers, START + 25 * S)
    d.row(30, 1)
    d.row(990, 1, series=1)
    d.engine.rebuild(d.world, only, d.numbers, START + 1000 * S)
    assert d.engine.series_state()[1].tolist() == [False, False]
    assert d.until(1019) == []
    d.row(1019, 1, series=1)
    assert d.until(1029) == []
    assert not stale(d)[0]
    assert [(c.asset, c.event_us, c.value) for c in d.until(1030)] == [
        ("disaster/a/level", START + 1030 * S, 30.0)
    ]
