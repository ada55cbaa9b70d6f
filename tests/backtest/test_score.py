"""Figures of alarms made by hand, and what differs between two runs."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
from support.packs import limit_rule, write_pack

from ioc.backtest.run import Run
from ioc.backtest.score import Score, chatters, compare
from ioc.backtest.spells import spells
from ioc.model import Change, ChangeKind
from ioc.pack import Pack, Settings

S = 1_000_000
MIN = 60 * S
DAY = 1440 * MIN
T0 = 19_974 * DAY - 7 * 60 * MIN
"""Midnight in Việt Nam."""
A, B = "disaster/a/water_level", "disaster/b/water_level"
ON, UP, DOWN, OFF = ChangeKind.ONSET, ChangeKind.LEVEL_UP, ChangeKind.LEVEL_DOWN, ChangeKind.CLEAR


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    rules = [limit_rule("river", {1: 5.0, 2: 6.0}), limit_rule("quiet", {1: 50.0})]
    return Pack.read(write_pack(tmp_path_factory.mktemp("p") / "pack", [A, B], rules), Settings())


def change(minute: float, kind: ChangeKind, level: int = 1, asset: str = A, priority: int = 0) -> Change:
    us = T0 + round(minute * MIN)
    return Change(kind, "river", asset, level, priority or 4 - level, 5.0, 5.0, us - 1, us)


def score(pack: Pack, changes: list[Change], days: float = 2) -> Score:
    rules = {name: pack.rules[name] for name in ("river", "quiet")}
    return Score(Run(pack, rules, changes, T0, T0 + round(days * DAY), 10, 2, {}, (), ()))


def test_an_alarm_goes_from_its_onset_to_its_end_with_the_worst_that_it_was() -> None:
    changes = [
        change(0, ON), change(5, ON, asset=B, level=2), change(10, UP, 2), change(20, DOWN, 1), change(30, OFF, 0),
        change(40, ChangeKind.UNKNOWN, 2, B), change(50, ChangeKind.CORRECTION, 1), change(60, ON),
        change(61, ChangeKind.RULE_REMOVED, 0),
    ]  # fmt: skip
    found = spells(changes)
    assert [(s.asset, (s.begin_us - T0) // MIN, s.end_us and (s.end_us - T0) // MIN) for s in found] == [
        (A, 0, 30),
        (B, 5, None),
        (A, 60, 61),
    ]
    assert [(s.level, s.priority, len(s.said)) for s in found] == [(2, 2, 2), (2, 2, 1), (1, 3, 1)]
    assert found[0].event_us == T0 - 1


def test_figures_of_a_rule_and_of_all(pack: Pack) -> None:
    changes = [
        change(0, ON), change(1, UP, 2), change(6, OFF, 0), change(10, ON), change(20, OFF, 0),
        change(20.1, ON, asset=B), change(1440, ON), change(1450, OFF, 0),
    ]  # fmt: skip
    figures = score(pack, changes).figures
    river = figures["river"]
    assert (river.alarms, river.said, river.by_priority) == (4, 5, (0, 1, 3, 0))
    assert river.per_day == 2.5
    assert (river.repeats, river.chattering, river.open) == (1, 0, 1)
    assert river.in_alarm_us == 6 * MIN + 10 * MIN + (2880 * MIN - round(20.1 * MIN)) + 10 * MIN
    assert figures["quiet"].alarms == 0
    assert score(pack, changes).total == river


def test_days_are_those_of_the_place_and_are_counted_by_the_priority_that_was_said(pack: Pack) -> None:
    changes = [change(-1, ON), change(0, UP, 2), change(1439, OFF, 0), change(1440, ON, 2)]
    early = score(pack, changes)
    early = replace(early, run=replace(early.run, begin_us=T0 - MIN))
    assert early.daily == {
        "2024-09-07": (0, 0, 1, 0),
        "2024-09-08": (0, 1, 0, 0),
        "2024-09-09": (0, 1, 0, 0),
        "2024-09-10": (0, 0, 0, 0),
    }


def test_ten_minutes_with_more_than_ten_are_counted(pack: Pack) -> None:
    eleven = [change(9 + i / 11, ON, asset=f"{A}{i}") for i in range(11)]
    ten = [change(20 + i, ON, asset=f"{B}{i}") for i in range(10)]
    document = score(pack, [*eleven, *ten]).document()
    assert document["periods_10min"] == {
        "all": 289,
        "over_10": 1,
        "share": round(1 / 289, 6),
        "worst": {"at": "2024-09-07T17:00:00Z", "said": 11},
    }


@pytest.mark.parametrize(
    ("seconds", "so"),
    [([0, 30], False), ([0, 30, 60], True), ([0, 30, 61], False), ([0, 61, 62, 63], True), ([], False)],
)
def test_three_onsets_within_a_minute_chatter(seconds: list[int], so: bool) -> None:
    assert chatters([s * S for s in seconds]) is so


def test_a_value_that_is_no_number_is_null_in_the_document(pack: Pack) -> None:
    endless = msgspec.structs.replace(change(0, ON), value=float("inf"))
    (alarm,) = score(pack, [endless]).document()["alarms"]
    assert alarm["value"] is None
    assert alarm["said"] == [{"at": "2024-09-07T17:00:00Z", "level": 1, "priority": 3}]


def test_what_would_change_is_told_alarm_by_alarm(pack: Pack) -> None:
    same = [change(0, ON), change(5, OFF, 0)]
    old = score(
        pack, [*same, change(10, ON), change(20, OFF, 0), change(30, ON, asset=B), change(40, OFF, 0, B)]
    )
    new = score(pack, [*same, change(12, ON), change(20, OFF, 0), change(50, ON), change(51, UP, 2)])
    found = compare(new, old)
    assert [(s.begin_us - T0) // MIN for s in found.added] == [50]
    assert [(s.asset, (s.begin_us - T0) // MIN) for s in found.gone] == [(B, 30)]
    assert [(s.begin_us - T0) // MIN for s in found.same] == [0]
    assert [((d.new.begin_us - T0) // MIN, (d.old.begin_us - T0) // MIN) for d in found.differing] == [
        (12, 10)
    ]
    assert found.counts("river") == (1, 1, 1, 1)
    assert found.document()["rules"] == {"river": {"only_new": 1, "only_old": 1, "same": 1, "differing": 1}}


def test_an_alarm_that_comes_in_pieces_has_one_counterpart_and_another_level_is_a_difference(
    pack: Pack,
) -> None:
    old = score(pack, [change(0, ON), change(60, OFF, 0), change(100, ON), change(110, OFF, 0)])
    new = score(
        pack,
        [
            change(0, ON),
            change(10, OFF, 0),
            change(20, ON),
            change(60, OFF, 0),
            change(100, ON, 2),
            change(110, OFF, 0),
        ],
    )
    found = compare(new, old)
    assert [(s.begin_us - T0) // MIN for s in found.added] == [20]
    assert not found.gone
    assert [d.new.level for d in found.differing] == [1, 2]
    alike = compare(new, new)
    assert (len(alike.same), alike.added, alike.gone, alike.differing) == (3, (), (), ())
