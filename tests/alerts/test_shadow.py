"""Rules that are only tried: what they would have done, through the real pipeline."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.centre import MIN, T0, Centre, H, S
from support.packs import limit_rule, no_data_rule, write_pack

from ioc.alerts import shadow
from ioc.alerts.shadow import DAYS_MAX, ENDED_MAX, WOULD_MAX, Report
from ioc.log import checkpoint
from ioc.log.state import pack_state, unpack_state
from ioc.model import Change, ChangeKind, Condition, State, Step
from ioc.pipeline import Pipeline

LEVEL, RAIN = "disaster/lao_cai/water_level", "disaster/lao_cai/rain_1h"
FAR = "disaster/sa_pa/rain_1h"
LIMITS = {1: 10.0, 2: 12.0}
WITH = ("onset", "level_up", "level_down", "clear")

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A pack with `high` on the river (in shadow unless told) and `rain`, which counts."""

    def written(mode: str = "shadow", *, rain: float = 50.0, without: bool = False, **more: Any) -> Path:
        high = limit_rule("high", LIMITS, series={"quantities": ["water_level"]}) | {"mode": mode} | more
        raining = limit_rule("rain", {1: rain}, series={"quantities": ["rain_1h"]})
        rules = [raining, no_data_rule()] + ([] if without else [high])
        return write_pack(tmp_path / "pack", [LEVEL, RAIN, FAR], rules)

    return written


@pytest.fixture
def centre(write: Write) -> Centre:
    started = Centre(write())
    started.connect()
    return started


def say(centre: Centre, series: str, *values: float, every: int = MIN) -> None:
    for value in values:
        centre.publish(series, value, centre.now_us)
        centre.wait(every)


def report(centre: Centre, rule: str = "high") -> Report:
    found = centre.pipeline.shadow.report(rule, centre.now_us)
    assert found is not None
    return found


def kinds(centre: Centre) -> list[str]:
    return [entry.kind for entry in reversed(report(centre).would)]


def test_a_rule_in_shadow_makes_no_alarm_and_no_sound_but_a_record_of_each_change(centre: Centre) -> None:
    say(centre, LEVEL, 9.0, 10.5, 12.5, 11.0, 8.0)
    assert (centre.transitions, centre.alarms) == ([], [])
    assert kinds(centre) == ["onset", "level_up", "level_down", "clear"]
    onset, clear = report(centre).would[-1], report(centre).would[0]
    assert (onset.asset, onset.level, onset.priority, onset.value, onset.limit) == (LEVEL, 1, 3, 10.5, 10.0)
    assert (onset.event_us, clear.duration_us, onset.duration_us) == (T0 + MIN, 3 * MIN, -1)
    assert report(centre).standing == []


def test_other_rules_go_on_beside_it(centre: Centre) -> None:
    say(centre, LEVEL, 12.5)
    say(centre, RAIN, 60.0)
    assert [alarm.rule for alarm in centre.alarms] == ["rain"]


def test_what_an_outcome_says_of_changes_are_those_that_alarms_are_made_of(centre: Centre) -> None:
    outcome = centre.publish(LEVEL, 11.0, centre.now_us)
    assert (outcome.changes, outcome.transitions) == ([], [])


def test_silence_is_recorded_while_something_stands(centre: Centre) -> None:
    say(centre, LEVEL, 11.0, every=2 * H)
    assert kinds(centre) == ["onset", "unknown"]
    assert report(centre).standing[0].unknown
    say(centre, LEVEL, 11.0)
    assert kinds(centre) == ["onset", "unknown", "known"]


def test_a_rule_that_is_only_tried_from_now_on_loses_its_alarms_and_goes_on_in_shadow(write: Write) -> None:
    centre = Centre(write("live"))
    say(centre, LEVEL, 11.0)
    centre.load(write("shadow"))
    assert centre.alarms == []
    assert centre.transitions[-1].kind is Step.RULE_REMOVED
    assert [(s.asset, s.level, s.event_us) for s in report(centre).standing] == [(LEVEL, 1, T0)]
    say(centre, LEVEL, 8.0)
    assert [(w.kind, w.duration_us) for w in report(centre).would] == [("clear", MIN)]


def test_a_returned_alarm_of_a_rule_that_goes_into_shadow_stands_no_more(write: Write) -> None:
    centre = Centre(write("live"))
    say(centre, LEVEL, 11.0, 8.0)
    assert centre.alarms[0].state is State.RETURNED
    centre.load(write("shadow"))
    assert (centre.alarms, report(centre).standing) == ([], [])


def test_what_stands_when_a_rule_is_promoted_becomes_an_alarm_that_sounds(
    centre: Centre, write: Write
) -> None:
    say(centre, LEVEL, 12.5)
    centre.load(write("live"))
    (alarm,) = centre.alarms
    assert (alarm.rule, alarm.level, alarm.priority, alarm.value, alarm.sounding) == (
        "high",
        2,
        2,
        12.5,
        True,
    )
    assert alarm.onset_event_us == T0
    assert (report(centre).ended, report(centre).standing) == ("promoted", [])
    say(centre, LEVEL, 11.0, 8.0)
    assert centre.steps("high") == [Step.ONSET, Step.BETTER, Step.CLEAR]


def test_what_was_unknown_is_promoted_as_unknown(centre: Centre, write: Write) -> None:
    say(centre, LEVEL, 12.5, every=2 * H)
    centre.load(write("live"))
    (alarm,) = [alarm for alarm in centre.alarms if alarm.rule == "high"]
    assert alarm.condition is Condition.UNKNOWN
    say(centre, LEVEL, 12.5)
    assert centre.steps("high")[-1] is Step.KNOWN


def test_nothing_is_promoted_of_what_nobody_judges_any_more(centre: Centre, write: Write) -> None:
    say(centre, LEVEL, 12.5)
    centre.load(write("live", series={"quantities": ["rain_1h"]}))
    assert centre.alarms == []


def test_a_limit_that_rose_at_the_promotion_lowers_the_alarm(centre: Centre, write: Write) -> None:
    say(centre, LEVEL, 12.5)
    levels = limit_rule("high", {1: 10.0})["levels"]
    centre.load(write("live", levels=levels))
    assert [alarm.level for alarm in centre.alarms] == [1]


def test_a_rule_that_is_removed_keeps_its_record_for_a_while(centre: Centre, write: Write) -> None:
    say(centre, LEVEL, 12.5)
    centre.load(write(without=True))
    assert (report(centre).ended, report(centre).standing, centre.alarms) == ("removed", [], [])
    assert centre.pipeline.shadow.rules() == [("high", T0, "removed")]
    assert not centre.pipeline.shadow


def test_another_limit_begins_the_trial_anew_and_keeps_what_stands(centre: Centre, write: Write) -> None:
    say(centre, LEVEL, 11.0)
    centre.load(write(title={"vi": "Khác", "en": "Another"}))
    assert kinds(centre) == ["onset"]
    centre.load(write(levels=limit_rule("high", {1: 9.0, 2: 12.0})["levels"]))
    assert (kinds(centre), report(centre).since_us) == ([], T0 + MIN)
    assert [s.asset for s in report(centre).standing] == [LEVEL]


def test_days_count_alarms_by_priority_and_the_time_in_alarm_in_local_time(centre: Centre) -> None:
    # T0 is 09:00 in Viet Nam.
    say(centre, LEVEL, 11.0, every=30 * MIN)
    say(centre, LEVEL, 8.0, every=13 * H + 30 * MIN)
    say(centre, LEVEL, 12.5, every=2 * H)
    first, second = report(centre).days.values()
    assert (first.alarms, first.active_us) == ([0, 1, 1, 0], 90 * MIN)
    assert (second.alarms, second.active_us) == ([0, 0, 0, 0], H)
    assert report(centre).active_share == pytest.approx(2.5 / 16)


def test_alarms_of_the_same_station_within_ten_minutes_before_and_after_stand_beside(centre: Centre) -> None:
    say(centre, LEVEL, 11.0, every=9 * MIN)
    say(centre, RAIN, 60.0, 0.0, every=9 * MIN)
    say(centre, LEVEL, 8.0, 11.0, every=9 * MIN)
    assert [entry.beside for entry in report(centre).would if entry.kind == "onset"] == [False, True]
    say(centre, FAR, 60.0)
    assert [day.beside for day in report(centre).days.values()] == [1]
    say(centre, LEVEL, 8.0)
    say(centre, RAIN, 70.0)
    say(centre, LEVEL, 11.0)
    assert [entry.beside for entry in report(centre).would if entry.kind == "onset"] == [True, False, True]


def test_floods_are_told_as_made_or_joined(centre: Centre) -> None:
    begin = T0 - T0 % (10 * MIN) + 10 * MIN
    centre.wait(begin - centre.now_us)
    for made in range(2):
        # 10 of its own and 1 real make a flood; 11 real are one already.
        say(centre, RAIN, *[60.0, 0.0] * (1 + 10 * made), every=S)
        say(centre, LEVEL, *[11.0, 8.0] * 10, every=S)
        for alarm in centre.alarms:
            centre.ack(alarm)
        centre.wait(begin + (made + 1) * 10 * MIN - centre.now_us)
    assert (report(centre).made, report(centre).joined) == (1, 1)


def test_a_record_is_bounded(centre: Centre, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(WOULD_MAX):
        at = T0 + n * H
        for kind in (ChangeKind.ONSET, ChangeKind.CLEAR):
            change = Change(kind, "high", LEVEL, 1, 3, 11.0, 10.0, event_us=at, now_us=at)
            centre.pipeline.shadow.feed(change, n)
    centre.now_us = at
    found = report(centre)
    assert (len(found.would), len(found.days), found.would[-1].kind) == (WOULD_MAX, DAYS_MAX, "onset")
    assert found.counted_us > T0
    size = len(pack_state(centre.pipeline.shadow.state()))
    assert size < 200 * WOULD_MAX


def test_records_of_trials_that_ended_are_bounded(centre: Centre) -> None:
    trial = centre.pipeline.shadow
    for n in range(2 * ENDED_MAX):
        trial.rebuild({f"rule_{n}": "x"}, (), {}, set(), T0 + n, 0)
    assert len(trial.rules()) == ENDED_MAX + 1
    assert {rule for rule, _, _ in trial.rules()} == {
        f"rule_{n}" for n in range(ENDED_MAX - 1, 2 * ENDED_MAX)
    }


def test_a_checkpoint_from_before_has_no_trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "SCHEMA", 2)
    path = checkpoint.write(tmp_path, 1, {"facts": {"number": 1}})
    monkeypatch.undo()
    _, state = checkpoint.load(path)
    trial = shadow.Shadow()
    trial.restore(state["facts"]["shadow"])
    assert not trial


STEPS = st.lists(
    st.tuples(
        st.sampled_from([LEVEL, LEVEL, RAIN]),
        st.sampled_from([8.0, 9.9, 10.0, 11.0, 12.0, 13.0, 60.0]),
        st.sampled_from([S, MIN, 11 * MIN, 2 * H]),
    ),
    max_size=24,
)


def run(folder: Path, steps: list[tuple[str, float, int]]) -> Centre:
    centre = Centre(folder)
    centre.connect()
    for series, value, wait_us in steps:
        centre.publish(series, value, centre.now_us)
        centre.wait(wait_us)
    return centre


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    def pack(mode: str) -> Path:
        high = limit_rule("high", LIMITS, deadband=1.0, series={"quantities": ["water_level"]})
        rain = limit_rule("rain", {1: 50.0}, series={"quantities": ["rain_1h"]})
        return write_pack(tmp_path_factory.mktemp(mode), [LEVEL, RAIN], [high | {"mode": mode}, rain])

    return pack("live"), pack("shadow")


CALM = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def same(both: tuple[Path, Path], steps: list[tuple[str, float, int]]) -> bool:
    """Whether a trial tells what the same rule did where it counted, and the other alarms are the same."""
    live, tried = run(both[0], steps), run(both[1], steps)
    did = [
        (t.kind, t.asset, t.priority, t.event_us, t.now_us, t.input)
        for t in live.transitions
        if t.rule == "high"
    ]
    word = {"level_up": "worse", "level_down": "better"}
    found = tried.pipeline.shadow.report("high", tried.now_us)
    assert found is not None
    would = [
        (word.get(w.kind, w.kind), w.asset, w.priority, w.event_us, w.now_us, w.number)
        for w in reversed(found.would)
    ]
    others = [[(t.id, t.kind) for t in c.transitions if t.rule != "high"] for c in (live, tried)]
    return did == would and others[0] == others[1]


@given(STEPS)
@settings(CALM, max_examples=60)
def test_a_trial_tells_what_the_rule_does_where_it_counts(
    both: tuple[Path, Path], steps: list[tuple[str, float, int]]
) -> None:
    assert same(both, steps)


def test_the_comparison_catches_a_change_that_is_forgotten(
    both: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = shadow.Shadow.feed

    def forgetful(self: shadow.Shadow, change: Change, number: int) -> None:
        if change.kind is not ChangeKind.LEVEL_DOWN:
            feed(self, change, number)

    steps = [(LEVEL, 13.0, MIN), (LEVEL, 10.5, MIN), (LEVEL, 8.0, MIN)]
    assert same(both, steps)
    monkeypatch.setattr(shadow.Shadow, "feed", forgetful)
    assert not same(both, steps)


@given(STEPS, st.data())
@settings(CALM, max_examples=40)
def test_a_restart_anywhere_changes_nothing(
    both: tuple[Path, Path], steps: list[tuple[str, float, int]], data: st.DataObject
) -> None:
    centre = run(both[1], steps)
    place = data.draw(st.integers(2, len(centre.records)))
    before = Pipeline(centre.packs.__getitem__)
    for record in centre.records[:place]:
        before.feed(record)
    after = Pipeline(centre.packs.__getitem__)
    after.restore(unpack_state(pack_state(before.state())))
    assert after.hash() == before.hash()
    for record in centre.records[place:]:
        after.feed(record)
    assert after.hash() == centre.pipeline.hash()
