"""One step at a time: what an alarm and its transition say afterwards."""

from __future__ import annotations

import math

import pytest
from msgspec.structs import replace
from support.alarms import ack, change

from ioc.alerts.lifecycle import STEP_OF, Reached, acknowledge, apply_change, give_up_waiting
from ioc.errors import InvalidTransition
from ioc.model import (
    Alarm,
    Change,
    ChangeKind,
    Condition,
    State,
    Step,
    Transition,
    alarm_id,
    transition_id,
)

K = ChangeKind


def _after(before: Alarm | None, change: Change, reached: Reached | None = None) -> tuple[Alarm, Transition]:
    alarm, transition = apply_change(
        before,
        reached or (Reached(before.occurrence, before.version) if before else Reached()),
        change,
        number=9,
    )
    assert alarm is not None
    return alarm, transition


@pytest.fixture
def raised() -> Alarm:
    return _after(None, change(K.ONSET))[0]


@pytest.fixture
def acked(raised: Alarm) -> Alarm:
    return acknowledge(raised, ack(raised.id, 1, note="đã gọi xã"), 2_000, 10)[0]


@pytest.fixture
def silent() -> Alarm:
    return _after(None, change(K.ONSET, backlog=True, confirm_within_us=500))[0]


def test_every_kind_of_change_is_a_step() -> None:
    assert set(STEP_OF) == set(ChangeKind)


def test_a_fresh_onset_begins_an_alarm_that_sounds() -> None:
    alarm, transition = _after(None, change(K.ONSET, detail="by gauge"), Reached(4, 7))
    assert (alarm.id, alarm.occurrence, alarm.version) == (alarm_id(alarm.rule, alarm.asset, 5), 5, 1)
    assert (alarm.state, alarm.condition) == (State.UNACKED, Condition.ACTIVE)
    assert (alarm.backlog, alarm.confirmed, alarm.sounding) == (False, True, True)
    assert (alarm.onset_event_us, alarm.raised_us, alarm.changed_us) == (990, 1_000, 1_000)
    assert transition == Transition(
        id=transition_id(alarm.rule, alarm.asset, 5, 1),
        alarm=alarm.id,
        rule=alarm.rule,
        asset=alarm.asset,
        occurrence=5,
        step=1,
        kind=Step.ONSET,
        before=State.NORMAL,
        after=State.UNACKED,
        condition=Condition.ACTIVE,
        level=1,
        priority=3,
        value=80.5,
        limit=80.0,
        event_us=990,
        now_us=1_000,
        input=9,
        sounds=True,
        detail="by gauge",
    )


def test_an_onset_by_backlog_is_silent_and_unconfirmed() -> None:
    alarm, transition = _after(None, change(K.ONSET, backlog=True, confirm_within_us=500))
    assert (alarm.backlog, alarm.confirmed, alarm.sounding) == (True, False, False)
    assert (transition.backlog, transition.sounds) == (True, False)


def test_returned_alarm_onsets_again_as_unacked_with_a_new_occurrence(raised: Alarm) -> None:
    returned, _ = _after(raised, change(K.CLEAR, 2_000))
    again, transition = _after(returned, change(K.ONSET, 3_000))
    assert (again.occurrence, again.version, again.state) == (2, 1, State.UNACKED)
    assert again.id != returned.id
    assert (transition.before, transition.after, transition.sounds) == (State.RETURNED, State.UNACKED, True)


def test_clear_of_an_unacknowledged_alarm_leaves_it_returned_and_quiet(raised: Alarm) -> None:
    alarm, transition = _after(raised, change(K.CLEAR, 2_000, value=79.0, priority=4, limit=79.5))
    assert (alarm.state, alarm.condition, alarm.sounding) == (State.RETURNED, Condition.NORMAL, False)
    assert (alarm.level, alarm.priority, alarm.limit, alarm.value) == (1, 3, 80.0, 79.0)
    assert transition.sounds is False


def test_clear_of_an_acknowledged_alarm_closes_it(acked: Alarm) -> None:
    alarm, transition = _after(acked, change(K.CLEAR, 3_000))
    assert (alarm.state, alarm.condition, alarm.acked_by) == (State.NORMAL, Condition.NORMAL, "truc.ban")
    assert (transition.before, transition.after) == (State.ACKED, State.NORMAL)


def test_acknowledgement_silences_and_names_who_and_why(raised: Alarm) -> None:
    alarm, transition = acknowledge(raised, ack(raised.id, 1, note="đã gọi xã"), 2_000, 10)
    assert (alarm.state, alarm.sounding, alarm.version) == (State.ACKED, False, 2)
    assert (alarm.acked_by, alarm.acked_by_name, alarm.acked_us) == ("truc.ban", "Trực ban", 2_000)
    assert alarm.note == "đã gọi xã"
    assert (transition.kind, transition.step, transition.input) == (Step.ACK, 2, 10)
    assert (transition.actor, transition.actor_name, transition.note) == ("truc.ban", "Trực ban", "đã gọi xã")


def test_an_acknowledged_alarm_cannot_be_acknowledged(acked: Alarm) -> None:
    with pytest.raises(InvalidTransition):
        acknowledge(acked, ack(acked.id, acked.version), 3_000, 11)


@pytest.mark.parametrize("before", ["raised", "acked"])
def test_a_worse_level_sounds_anew_and_takes_the_acknowledgement_off(
    before: str, request: pytest.FixtureRequest
) -> None:
    alarm, transition = _after(
        request.getfixturevalue(before), change(K.LEVEL_UP, 4_000, level=3, priority=1, limit=83.5)
    )
    assert (alarm.state, alarm.sounding, transition.sounds) == (State.UNACKED, True, True)
    assert (alarm.level, alarm.priority, alarm.limit) == (3, 1, 83.5)
    assert (alarm.acked_by, alarm.acked_by_name, alarm.acked_us, alarm.note) == ("", "", 0, "")


def test_a_better_level_keeps_state_and_sound_and_makes_no_sound(raised: Alarm, acked: Alarm) -> None:
    for before in (raised, acked):
        alarm, transition = _after(before, change(K.LEVEL_DOWN, 4_000, level=1, priority=4))
        assert (alarm.state, alarm.sounding, alarm.acked_by) == (
            before.state,
            before.sounding,
            before.acked_by,
        )
        assert (alarm.priority, transition.sounds) == (4, False)


def test_confirmation_of_a_silent_alarm_sounds(silent: Alarm) -> None:
    alarm, transition = _after(silent, change(K.CONFIRMED, 1_400, value=81.0))
    assert (alarm.confirmed, alarm.sounding, alarm.backlog, alarm.value) == (True, True, True, 81.0)
    assert (transition.kind, transition.sounds, alarm.state) == (Step.CONFIRMED, True, State.UNACKED)


def test_confirmation_after_acknowledgement_is_heard_once_and_stays_acknowledged(silent: Alarm) -> None:
    acked, _ = acknowledge(silent, ack(silent.id, 1), 1_200, 10)
    alarm, transition = _after(acked, change(K.CONFIRMED, 1_400))
    assert (alarm.state, alarm.sounding, alarm.confirmed) == (State.ACKED, False, True)
    assert transition.sounds is True


def test_a_wait_in_vain_ends_with_a_sound_and_without_confirmation(silent: Alarm) -> None:
    alarm, transition = give_up_waiting(silent, 1_500, 12)
    assert (alarm.confirmed, alarm.sounding, alarm.state) == (False, True, State.UNACKED)
    assert (transition.kind, transition.sounds, transition.event_us) == (Step.UNCONFIRMED, True, 1_500)


def test_a_fresh_worse_level_confirms(silent: Alarm) -> None:
    alarm, transition = _after(silent, change(K.LEVEL_UP, 1_400, level=2))
    assert (alarm.confirmed, alarm.backlog, alarm.sounding, transition.sounds) == (True, False, True, True)


def test_a_worse_level_by_backlog_takes_the_acknowledgement_off_in_silence(acked: Alarm) -> None:
    alarm, transition = _after(acked, change(K.LEVEL_UP, 4_000, level=2, backlog=True, confirm_within_us=9))
    assert (alarm.state, alarm.confirmed, alarm.sounding) == (State.UNACKED, False, False)
    assert (alarm.backlog, alarm.acked_by, transition.sounds) == (True, "", False)


def test_backlog_does_not_silence_what_the_room_already_hears(raised: Alarm) -> None:
    alarm, transition = _after(raised, change(K.LEVEL_UP, 4_000, level=2, backlog=True, confirm_within_us=9))
    assert (alarm.sounding, alarm.confirmed, transition.sounds) == (True, False, False)


def test_silence_makes_the_condition_unknown_and_keeps_the_rest(acked: Alarm) -> None:
    alarm, transition = _after(acked, change(K.UNKNOWN, 5_000, value=math.nan, limit=math.nan))
    assert (alarm.state, alarm.condition, transition.condition) == (
        State.ACKED,
        Condition.UNKNOWN,
        Condition.UNKNOWN,
    )
    assert (alarm.value, alarm.limit) == (80.5, 80.0)


def test_known_again_is_active_while_the_alarm_stands_and_normal_once_it_has_returned(raised: Alarm) -> None:
    unknown, _ = _after(raised, change(K.UNKNOWN, 2_000))
    assert _after(unknown, change(K.KNOWN, 3_000))[0].condition is Condition.ACTIVE
    returned, _ = _after(raised, change(K.CLEAR, 2_000))
    unknown, _ = _after(returned, change(K.UNKNOWN, 3_000))
    assert (unknown.state, unknown.condition) == (State.RETURNED, Condition.UNKNOWN)
    assert _after(unknown, change(K.KNOWN, 4_000))[0].condition is Condition.NORMAL


def test_clear_from_unknown_is_normal(raised: Alarm) -> None:
    unknown, _ = _after(raised, change(K.UNKNOWN, 2_000))
    assert _after(unknown, change(K.CLEAR, 3_000))[0].condition is Condition.NORMAL


def test_a_removed_rule_closes_its_alarm_without_an_all_clear(raised: Alarm) -> None:
    alarm, transition = _after(raised, change(K.RULE_REMOVED, 2_000))
    assert (alarm.state, alarm.condition) == (State.NORMAL, Condition.UNKNOWN)
    assert (alarm.sounding, transition.sounds) == (False, False)


def test_a_correction_tells_its_own_figures_and_leaves_the_alarms_alone(raised: Alarm) -> None:
    alarm, transition = _after(raised, change(K.CORRECTION, 2_000, level=2, value=82.0, limit=81.5))
    assert alarm == replace(raised, version=2, changed_us=2_000)
    assert (transition.kind, transition.level, transition.value, transition.limit) == (
        Step.CORRECTION,
        2,
        82.0,
        81.5,
    )
    assert (transition.before, transition.after, transition.sounds) == (State.UNACKED, State.UNACKED, False)


def test_a_correction_without_an_open_alarm_is_the_next_step_of_the_last_occurrence() -> None:
    alarm, transition = apply_change(None, Reached(3, 5), change(K.CORRECTION), 9)
    assert alarm is None
    assert (transition.occurrence, transition.step) == (3, 6)
    assert transition.id == transition_id(transition.rule, transition.asset, 3, 6)
    assert transition.alarm == alarm_id(transition.rule, transition.asset, 3)
    assert (transition.before, transition.after) == (State.NORMAL, State.NORMAL)


@pytest.mark.parametrize("kind", [kind for kind in K if kind not in (K.ONSET, K.CORRECTION)])
def test_nothing_but_an_onset_or_a_correction_happens_without_an_alarm(kind: ChangeKind) -> None:
    with pytest.raises(InvalidTransition):
        apply_change(None, Reached(), change(kind), 9)
