"""Sources that are down, and facts about the centre."""

from __future__ import annotations

from typing import Any

import pytest
from support.rule_world import START, S, rules

from ioc.alerts.book import Book
from ioc.model import Acknowledge, SourceState, SystemFact
from ioc.rules.engine import Engine

DOWN = {"id": "down", "kind": "source_down", "after": "30s", "priority": 2}
DISK = {"id": "disk", "kind": "system", "fact": "disk_low", "priority": 2}


def fact(
    d: Any, at_s: int, active: bool, name: str = "disk_low", value: float = 3.5, detail: str = "why"
) -> list[Any]:
    return d.engine.feed_system(SystemFact(name, "log", active, value, detail), START + at_s * S)


def test_a_source_is_down_after_its_time_and_up_at_once(desk: Any) -> None:
    d = desk(DOWN)
    d.source(10, False)
    assert d.until(39) == []
    assert d.due_s == 40
    (onset,) = d.until(45)
    assert (onset.kind, onset.asset, onset.level, onset.priority, onset.event_us) == (
        "onset", "system/mqtt", 1, 2, START + 40 * S,
    )  # fmt: skip
    assert d.until(500) == []
    (clear,) = d.source(510, True, 2)
    assert (clear.kind, clear.asset, clear.level, clear.value) == ("clear", "system/mqtt", 0, 500.0)


def test_a_source_that_never_came_is_down_since_it_was_first_missed(desk: Any) -> None:
    d = desk(DOWN, connected=False)
    d.source(10, False, 0)
    d.source(30, False, 0)
    assert [c.event_us for c in d.until(100)] == [START + 40 * S]


def test_a_short_interruption_is_no_alarm(desk: Any) -> None:
    d = desk(DOWN)
    d.source(10, False)
    d.source(39, True, 2)
    assert d.until(100) == []


def test_a_fact_raises_once_and_clears_once(desk: Any) -> None:
    d = desk(DISK)
    (onset,) = fact(d, 1, True)
    assert (onset.kind, onset.asset, onset.level, onset.value, onset.detail) == (
        "onset",
        "system/log",
        1,
        3.5,
        "why",
    )
    assert fact(d, 2, True) == []
    (clear,) = fact(d, 3, False)
    assert (clear.kind, clear.level, clear.priority) == ("clear", 0, 2)
    assert fact(d, 4, False) == []


def test_a_fact_without_a_rule_says_nothing(desk: Any) -> None:
    assert fact(desk(DISK), 1, True, "clock_step") == []


def test_system_rules_that_go_are_told(desk: Any) -> None:
    d = desk(DOWN, DISK)
    d.source(0, False)
    d.until(100)
    fact(d, 101, True)
    assert [(c.kind, c.rule, c.asset) for c in d.load(102)] == [
        ("rule_removed", "down", "system/mqtt"),
        ("rule_removed", "disk", "system/log"),
    ]


STEP = {"id": "step", "kind": "system", "fact": "clock_step", "priority": 3}


@pytest.mark.parametrize("other", [{"value": -7.0}, {"detail": "once more"}])
def test_the_same_fact_again_with_other_figures_rings_again(desk: Any, other: dict[str, Any]) -> None:
    d = desk(STEP)
    fact(d, 1, True, "clock_step")
    assert fact(d, 2, True, "clock_step") == []
    said = fact(d, 3, True, "clock_step", **other)
    shown = {"value": 3.5, "detail": "why"}
    assert [(c.kind, c.level, c.value, c.detail) for c in said] == [
        ("clear", 0, *shown.values()),
        ("onset", 1, *{**shown, **other}.values()),
    ]
    again = Engine(d.world, rules(STEP), d.numbers)
    again.restore(d.engine.state())
    for engine in (d.engine, again):
        d.engine = engine
        assert fact(d, 4, True, "clock_step", **other) == []
        assert [c.kind for c in fact(d, 5, False, "clock_step")] == ["clear"]


def test_a_second_step_of_the_clock_is_a_new_alarm_that_sounds_though_the_first_was_acknowledged(
    desk: Any,
) -> None:
    d, book = desk(STEP), Book()
    for change in fact(d, 1, True, "clock_step"):
        book.feed_change(change, 1)
    (first,) = book.alarms.values()
    book.feed_command(
        Acknowledge(actor="lan", actor_name="Lan", alarm=first.id, version=first.version), START + 2 * S, 2
    )
    for change in fact(d, 3, True, "clock_step", value=-7.0):
        book.feed_change(change, 3)
    (second,) = book.alarms.values()
    assert (second.occurrence, second.state, second.sounding) == (first.occurrence + 1, "UNACKED", True)


@pytest.mark.parametrize(
    "other",
    [
        {"id": "one", "kind": "source_down", "after": "30s", "priority": 2},
        {"id": "one", "kind": "system", "fact": "clock_step", "priority": 2},
        {"id": "one", "kind": "no_data", "priority": 2},
    ],
    ids=["of sources", "of another fact", "of series"],
)
def test_a_system_rule_whose_id_comes_to_mean_something_else_is_told(
    desk: Any, other: dict[str, Any]
) -> None:
    d = desk({"id": "one", "kind": "system", "fact": "disk_low", "priority": 2})
    fact(d, 1, True)
    assert [(c.kind, c.rule, c.asset) for c in d.load(2, other)] == [("rule_removed", "one", "system/log")]
    assert fact(d, 3, False) == []


def test_a_source_rule_whose_id_comes_to_mean_a_fact_is_told(desk: Any) -> None:
    d = desk({**DOWN, "id": "one"})
    d.source(0, False)
    d.until(100)
    said = d.load(101, {**DISK, "id": "one"})
    assert [(c.kind, c.rule, c.asset) for c in said] == [("rule_removed", "one", "system/mqtt")]
    assert d.source(102, True, 2) == []
    assert d.load(103, {**DOWN, "id": "one"}) == []


def test_a_source_that_is_taken_out_of_the_settings_ends_its_alarm_and_is_missed_no_more(desk: Any) -> None:
    d = desk(DOWN)
    d.source(10, False)
    assert len(d.until(45)) == 1
    gone = SourceState("mqtt", False, 1, "no longer in the settings", withdrawn=True)
    (removed,) = d.engine.feed_source(gone, START + 50 * S)
    assert (removed.kind, removed.asset) == ("rule_removed", "system/mqtt")
    assert d.until(500) == []
    d.source(510, False)
    assert [c.kind for c in d.until(600)] == ["onset"]
