"""Sources that are down, and facts about the centre."""

from __future__ import annotations

from typing import Any

from support.rule_world import START, S

from ioc.model import SystemFact

DOWN = {"id": "down", "kind": "source_down", "after": "30s", "priority": 2}
DISK = {"id": "disk", "kind": "system", "fact": "disk_low", "priority": 2}


def fact(d: Any, at_s: int, active: bool, name: str = "disk_low") -> list[Any]:
    return d.engine.feed_system(SystemFact(name, "log", active, 3.5, "why"), START + at_s * S)


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
