"""Limit rules, one behaviour a test."""

from __future__ import annotations

from typing import Any

import pytest
from support.rule_world import START, S, limit, rules

from ioc.model import Flag
from ioc.rules.samples import RETRACTED

THREE = limit(
    "flood", {1: {"limit": 4, "deadband": 1}, 2: {"limit": 6, "deadband": 1}, 3: {"limit": 8, "deadband": 1}}
)
DELAYED = limit("flood", {1: {"limit": 4, "deadband": 1, "on_delay": "20s", "off_delay": "20s"}})


def test_a_level_is_raised_at_its_limit_and_stays_through_its_deadband(desk: Any, brief: Any) -> None:
    d = desk(THREE)
    assert d.row(0, 3.99) == []
    (onset,) = d.row(10, 4.0)
    assert (onset.kind, onset.level, onset.priority, onset.value, onset.limit) == ("onset", 1, 4, 4.0, 4.0)
    assert (onset.asset, onset.event_us, onset.backlog) == ("disaster/a/level", START + 10 * S, False)
    assert d.row(20, 3.0) == []
    (clear,) = d.row(30, 2.99)
    assert (clear.kind, clear.level, clear.priority, clear.limit) == ("clear", 0, 4, 4.0)


def test_a_jump_over_levels_is_one_onset_and_its_fall_one_clear(desk: Any, brief: Any) -> None:
    d = desk(THREE)
    assert brief(d.row(0, 8)) == [("onset", 3)]
    assert brief(d.row(10, 0)) == [("clear", 0)]


def test_levels_move_up_and_down_one_change_a_sample(desk: Any, brief: Any) -> None:
    d = desk(THREE)
    said = [brief(d.row(i * 10, v)) for i, v in enumerate([4, 6, 7, 8, 6.9, 4.9])]
    assert said == [
        [("onset", 1)],
        [("level_up", 2)],
        [],
        [("level_up", 3)],
        [("level_down", 2)],
        [("level_down", 1)],
    ]


def test_a_level_clears_where_decimals_say_and_not_where_floats_do(desk: Any, brief: Any) -> None:
    d = desk(limit("flood", {1: {"limit": 12.38, "deadband": 1.85}}))
    d.row(0, 13)
    assert 12.38 - 1.85 > 10.53
    assert d.row(10, 10.53) == []
    assert brief(d.row(20, 10.529)) == [("clear", 0)]


def test_a_lower_limit_is_raised_at_or_below_it(desk: Any, brief: Any) -> None:
    d = desk(limit("cold", {1: {"limit": 0, "deadband": 1}}, direction="down"))
    assert d.row(0, 0.01) == []
    (onset,) = d.row(10, 0)
    assert str(onset.limit) == "0.0"
    assert d.row(20, 1) == []
    assert brief(d.row(30, 1.01)) == [("clear", 0)]


def test_a_station_has_only_the_limits_it_lists(desk: Any, brief: Any) -> None:
    d = desk(limit("flood", {1: {"limit": 4}, 2: {"limit": 6}}, stations={"a": {2: 5}}))
    assert d.row(0, 4.5) == []
    assert brief(d.row(10, 5)) == [("onset", 2)]
    assert brief(d.row(10, 4.5, series=1)) == [("onset", 1)]


def test_a_delay_is_completed_by_a_sample_and_never_by_the_clock(desk: Any, brief: Any) -> None:
    d = desk(DELAYED)
    assert d.row(0, 5) == []
    assert d.row(10, 5) == []
    assert d.until(25) == []
    (onset,) = d.row(26, 5)
    assert onset.event_us == START + 26 * S


def test_a_delay_counts_event_time_and_not_receipt(desk: Any, brief: Any) -> None:
    d = desk(DELAYED)
    assert d.row(100, 5, event_s=0) == []
    assert brief(d.row(100, 5, event_s=20)) == [("onset", 1)]


def test_a_sample_below_the_limit_ends_a_delay(desk: Any, brief: Any) -> None:
    d = desk(DELAYED)
    assert [d.row(t, v) for t, v in ((0, 5), (10, 3.9), (20, 5), (30, 5))] == [[], [], [], []]
    assert brief(d.row(40, 5)) == [("onset", 1)]


def test_a_gap_longer_than_three_intervals_begins_the_delay_anew(desk: Any, brief: Any) -> None:
    d = desk(DELAYED)
    d.row(0, 5)
    assert d.row(30.000001, 5) == []
    assert d.row(40, 5) == []
    assert brief(d.row(50.000001, 5)) == [("onset", 1)]


def test_a_gap_of_just_three_intervals_is_none(desk: Any, brief: Any) -> None:
    d = desk(DELAYED)
    d.row(0, 5)
    assert brief(d.row(30, 5)) == [("onset", 1)]


def test_clearing_waits_like_raising(desk: Any, brief: Any) -> None:
    d = desk(DELAYED)
    for t in (0, 20):
        d.row(t, 5)
    said = [brief(d.row(t, v)) for t, v in ((30, 2.9), (40, 3), (50, 2.9), (60, 2.9), (70, 2.9))]
    assert said == [[], [], [], [], [("clear", 0)]]


@pytest.mark.parametrize("bad", [Flag.BAD, Flag.BAD | Flag.OUT_OF_RANGE])
def test_bad_quality_makes_an_alarm_unknown_once_and_never_clears_it(
    desk: Any, brief: Any, bad: Flag
) -> None:
    d = desk(THREE)
    d.row(0, 6)
    assert brief(d.row(10, 0, bad)) == [("unknown", 2)]
    assert d.row(20, 0, bad) == []
    assert brief(d.row(30, 6)) == [("known", 2)]


def test_bad_quality_raises_nothing_and_begins_delays_anew(desk: Any, brief: Any) -> None:
    d = desk(DELAYED)
    assert [d.row(t, 5, f) for t, f in ((0, Flag(0)), (10, Flag.BAD), (20, Flag(0)), (30, Flag(0)))] == [
        []
    ] * 4
    assert brief(d.row(40, 5)) == [("onset", 1)]


def test_uncertain_quality_counts_as_good(desk: Any, brief: Any) -> None:
    assert brief(desk(THREE).row(0, 4, Flag.UNCERTAIN)) == [("onset", 1)]


def test_after_unknown_a_level_change_follows_known_and_a_clear_stands_alone(desk: Any, brief: Any) -> None:
    d = desk(THREE)
    d.row(0, 6)
    d.row(10, 0, Flag.BAD)
    assert brief(d.row(20, 8)) == [("known", 2), ("level_up", 3)]
    d.row(30, 0, Flag.BAD)
    assert brief(d.row(40, 0)) == [("clear", 0)]


def test_backlog_raises_unconfirmed_and_the_first_fresh_sample_confirms_once(desk: Any, brief: Any) -> None:
    d = desk(THREE)
    (onset,) = d.row(0, 4, Flag.BACKLOG)
    assert (onset.backlog, onset.confirm_within_us) == (True, 30 * S)
    assert d.row(10, 4, Flag.BACKLOG) == []
    (confirmed,) = d.row(20, 4)
    assert (confirmed.kind, confirmed.level, confirmed.backlog) == ("confirmed", 1, False)
    assert d.row(30, 4) == []


def test_a_fresh_sample_that_clears_backlog_says_only_so(desk: Any, brief: Any) -> None:
    d = desk(THREE)
    d.row(0, 4, Flag.BACKLOG)
    assert brief(d.row(10, 0)) == [("clear", 0)]
    assert brief(d.row(20, 4)) == [("onset", 1)]


def test_a_fresh_worsening_needs_no_confirmation(desk: Any, brief: Any) -> None:
    d = desk(THREE)
    d.row(0, 4, Flag.BACKLOG)
    (up,) = d.row(10, 6)
    assert (up.kind, up.backlog, up.confirm_within_us) == ("level_up", False, 0)
    assert d.row(20, 6) == []


def test_a_fresh_improvement_is_confirmed_at_its_new_level(desk: Any, brief: Any) -> None:
    d = desk(THREE)
    d.row(0, 6, Flag.BACKLOG)
    assert brief(d.row(10, 4)) == [("level_down", 1), ("confirmed", 1)]


def test_a_worsening_by_backlog_is_unconfirmed_again(desk: Any, brief: Any) -> None:
    d = desk(THREE)
    d.row(0, 4)
    (up,) = d.row(10, 6, Flag.BACKLOG)
    assert (up.kind, up.backlog, up.confirm_within_us) == ("level_up", True, 30 * S)
    assert brief(d.row(20, 6)) == [("confirmed", 2)]


def test_a_delay_that_backlog_began_and_a_fresh_sample_completes_is_fresh(desk: Any, brief: Any) -> None:
    d = desk(DELAYED)
    d.row(100, 5, Flag.BACKLOG, event_s=0)
    (onset,) = d.row(100, 5, event_s=20)
    assert (onset.kind, onset.backlog) == ("onset", False)


def test_a_single_old_spike_completes_no_delay(desk: Any, brief: Any) -> None:
    d = desk(DELAYED)
    assert d.row(1000, 50, Flag.BACKLOG, event_s=0) == []
    assert d.row(1000, 0, event_s=1000) == []


@pytest.mark.parametrize("flag", [Flag.TOO_LATE, Flag.REPEAT, Flag.FUTURE, Flag.CONFLICT, Flag.LAST_KNOWN])
def test_what_is_not_judged_says_nothing(desk: Any, brief: Any, flag: Flag) -> None:
    assert desk(THREE).row(0, 9, flag) == []


def test_a_late_sample_moves_nothing_and_tells_what_would_have_been(desk: Any, brief: Any) -> None:
    d = desk(THREE)
    d.row(0, 0)
    d.row(10, 0)
    (correction,) = d.row(11, 6.5, Flag.LATE, event_s=5)
    assert (correction.kind, correction.level, correction.priority) == ("correction", 2, 3)
    assert (correction.value, correction.event_us, correction.now_us) == (6.5, START + 5 * S, START + 11 * S)
    assert brief(d.row(20, 4)) == [("onset", 1)]


def test_a_late_sample_is_held_against_the_level_of_its_own_time(desk: Any, brief: Any) -> None:
    d = desk(THREE)
    for t, v in ((0, 0), (10, 6), (20, 0), (30, 0)):
        d.row(t, v)
    assert d.row(31, 6.2, Flag.LATE, event_s=15) == []
    assert d.row(31, 5.5, Flag.LATE, event_s=15) == []  # within the deadband of the level it had then
    assert brief(d.row(31, 5.5, Flag.LATE, event_s=25)) == [("correction", 1)]
    (clear,) = d.row(31, 0, Flag.LATE, event_s=15)
    assert (clear.kind, clear.level, clear.limit) == ("correction", 0, 6.0)


def test_a_revision_is_held_against_what_stood_before_its_stamp(desk: Any, brief: Any) -> None:
    d = desk(THREE)
    d.row(0, 0)
    d.row(10, 6)
    assert brief(d.row(11, 3.5, Flag.REVISED, event_s=10)) == [("correction", 0)]
    assert d.row(11, 7, Flag.REVISED, event_s=10) == []


def test_a_late_sample_alone_completes_no_delay(desk: Any, brief: Any) -> None:
    d = desk(DELAYED)
    for t in (0, 10, 20):
        d.row(t, 5)
    assert d.row(21, 5, Flag.LATE, event_s=5) == []
    assert d.row(21, 0, Flag.REVISED, event_s=20) == []


def test_a_late_sample_of_bad_quality_says_nothing(desk: Any, brief: Any) -> None:
    d = desk(THREE)
    d.row(10, 0)
    assert d.row(11, 9, Flag.LATE | Flag.BAD, event_s=5) == []


def test_a_new_limit_takes_effect_at_the_next_sample_and_keeps_the_alarm(desk: Any, brief: Any) -> None:
    d = desk(THREE)
    d.row(0, 6)
    assert d.load(5, limit("flood", {1: {"limit": 5}, 2: {"limit": 7}})) == []
    assert brief(d.row(10, 6)) == [("level_down", 1)]


@pytest.mark.parametrize("gone", [[], [limit("other", {1: {"limit": 3}})], [{**THREE, "enabled": False}]])
def test_an_active_rule_that_goes_is_told(desk: Any, brief: Any, gone: list[Any]) -> None:
    d = desk(THREE)
    d.row(0, 6)
    (removed,) = d.load(5, *gone)
    assert (removed.kind, removed.rule, removed.level, removed.priority, removed.limit, removed.value) == (
        "rule_removed", "flood", 0, 3, 6.0, 6.0,
    )  # fmt: skip
    assert removed.event_us == removed.now_us == START + 5 * S
    assert d.load(6, *gone) == []


def test_a_level_that_goes_leaves_the_one_below_it(desk: Any, brief: Any) -> None:
    d = desk(THREE)
    d.row(0, 6)
    assert brief(d.load(5, limit("flood", {1: {"limit": 4}, 3: {"limit": 8}}))) == [("level_down", 1)]


def test_an_unknown_alarm_stays_unknown_when_its_level_goes(desk: Any, brief: Any) -> None:
    d = desk(THREE)
    d.row(0, 6)
    d.row(10, 0, Flag.BAD)
    said = d.load(15, limit("flood", {1: {"limit": 4}}))
    assert brief(said) == [("level_down", 1), ("unknown", 1)]


def test_a_running_delay_outlives_another_pack(desk: Any, brief: Any) -> None:
    d = desk(DELAYED)
    d.row(0, 5)
    d.row(10, 5)
    d.load(15, limit("first", {1: {"limit": 50}}), DELAYED)
    assert brief(d.row(20, 5)) == [("onset", 1)]


COUNTED = limit("flood", {1: {"limit": 4, "deadband": 1, "times": 3, "within": "50s"}})


def test_a_reset_of_its_own_takes_the_place_of_the_deadband(desk: Any, brief: Any) -> None:
    d = desk(limit("flood", {1: {"limit": 4, "reset": 2.5}}))
    assert brief(d.row(0, 4)) == [("onset", 1)]
    assert d.row(10, 2.5) == []
    assert brief(d.row(20, 2.49)) == [("clear", 0)]


def test_levels_fall_one_by_one_each_after_its_own_delay(desk: Any, brief: Any) -> None:
    d = desk(limit("flood", {1: {"limit": 4, "off_delay": "40s"}, 2: {"limit": 6, "off_delay": "20s"}}))
    d.row(0, 6)
    said = [brief(d.row(t, 3)) for t in (10, 20, 30, 40, 50)]
    assert said == [[], [], [("level_down", 1)], [], [("clear", 0)]]


def test_the_nth_sample_beyond_raises_whatever_lies_between(desk: Any, brief: Any) -> None:
    d = desk(COUNTED)
    assert [d.row(t, v, f) for t, v, f in ((0, 5, 0), (10, 0, 0), (20, 4, 0), (30, 4, Flag.BAD))] == [[]] * 4
    assert brief(d.row(50, 4)) == [("onset", 1)]
    assert brief(d.row(60, 0)) == [("clear", 0)]
    assert d.row(70, 5) == []


def test_a_sample_longer_ago_than_the_window_counts_no_more(desk: Any, brief: Any) -> None:
    d = desk(COUNTED)
    assert [d.row(t, 5) for t in (0, 20)] == [[], []]
    assert d.row(50.000001, 5) == []
    assert brief(d.row(60, 5)) == [("onset", 1)]


def test_a_count_outlives_another_pack(desk: Any, brief: Any) -> None:
    d = desk(COUNTED)
    d.row(0, 5)
    d.row(10, 5)
    d.load(15, limit("first", {1: {"limit": 50}}), COUNTED)
    assert brief(d.row(20, 5)) == [("onset", 1)]


def test_a_retracted_sample_is_a_correction_also_where_the_next_one_clears(desk: Any, brief: Any) -> None:
    d = desk(THREE)
    d.row(0, 0)
    d.row(10, 9)
    (correction,) = d.row(20, 9, Flag.LATE | Flag.BAD | RETRACTED, event_s=10)
    assert (correction.kind, correction.level, correction.detail) == ("correction", 0, "spike")
    assert brief(d.row(20, 0)) == [("clear", 0)]
    assert d.row(30, 0, Flag.LATE | Flag.BAD | RETRACTED, event_s=20) != []


def test_a_retracted_sample_counts_for_nothing(desk: Any, brief: Any) -> None:
    d = desk(COUNTED)
    d.row(0, 5)
    d.row(10, 50)
    assert d.row(20, 50, Flag.LATE | Flag.BAD | RETRACTED, event_s=10) == []
    assert d.row(20, 5) == []
    assert brief(d.row(30, 5)) == [("onset", 1)]


def test_what_an_uncertain_sample_brings_about_says_so(desk: Any) -> None:
    (onset,) = desk(THREE).row(0, 4, Flag.UNCERTAIN)
    assert onset.detail == "uncertain: sensor"


PERIOD = {"name": {"vi": "v", "en": "e"}, "months": [6], "limits": {1: 3}}


@pytest.mark.parametrize(
    ("levels", "more", "sentence"),
    [
        ({1: {"limit": 4, "deadband": 1, "reset": 3}}, {}, "give one of them"),
        ({1: {"limit": 4, "reset": 5}}, {}, "lies above its limit"),
        ({1: {"limit": 4, "reset": 3}}, {"direction": "down"}, "lies below its limit"),
        ({1: {"limit": 4}, 2: {"limit": 6, "deadband": 2.5}}, {}, "deadband wider than the gap"),
        ({1: {"limit": 4}, 2: {"limit": 6, "reset": 3}}, {}, "reset wider than the gap"),
        ({1: {"limit": 4, "times": 3}}, {}, "go together"),
        ({1: {"limit": 4, "within": "1min"}}, {}, "go together"),
        ({1: {"limit": 4, "times": 3, "within": "1min", "on_delay": "1s"}}, {}, "two ways to wait"),
        ({1: {"limit": 4}}, {"periods": [{**PERIOD, "months": []}]}, "must say when it holds"),
        ({1: {"limit": 4}}, {"periods": [{**PERIOD, "hours": [5, 5]}]}, "the whole day is 0 to 24"),
        ({2: {"limit": 4}}, {"periods": [PERIOD]}, "which levels lacks"),
        ({1: {"limit": 4}}, {"periods": [PERIOD], "stations": {"a": {1: 5}}}, "write a rule of its own"),
        ({1: {"limit": 1}, 2: {"limit": 2}}, {"periods": [PERIOD]}, "worse from level to level"),
        ({1: {"limit": 1}, 2: {"limit": 4, "deadband": 2}}, {"periods": [PERIOD]}, "wider than the gap"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_a_sentence(
    levels: dict[int, Any], more: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        rules(limit("flood", levels, **more))
