"""One step in one alarm's life, as pure functions: the alarm before and what happened give the alarm after.

What sounds is decided here and nowhere else: a fresh onset or worsening, a confirmation, and a confirmation that
did not come. `Alarm.sounding` begins with a step that sounds and ends when the alarm leaves UNACKED; hence backlog
never starts a sound, nor does it end one that the room already hears.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec
from msgspec.structs import replace

from ioc.alerts.states import next_state
from ioc.model import (
    Acknowledge,
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

STEP_OF: Mapping[ChangeKind, Step] = MappingProxyType(
    {
        ChangeKind.ONSET: Step.ONSET,
        ChangeKind.CLEAR: Step.CLEAR,
        ChangeKind.LEVEL_UP: Step.WORSE,
        ChangeKind.LEVEL_DOWN: Step.BETTER,
        ChangeKind.UNKNOWN: Step.UNKNOWN,
        ChangeKind.KNOWN: Step.KNOWN,
        ChangeKind.CONFIRMED: Step.CONFIRMED,
        ChangeKind.CORRECTION: Step.CORRECTION,
        ChangeKind.RULE_REMOVED: Step.RULE_REMOVED,
    }
)

UNACKNOWLEDGED: Mapping[str, Any] = MappingProxyType(
    {"acked_by": "", "acked_by_name": "", "acked_us": 0, "note": ""}
)


class Reached(msgspec.Struct, frozen=True, gc=False):
    """How far one rule has come on one asset: its last occurrence and that one's version. Kept for ever."""

    occurrence: int = 0
    version: int = 0


def apply_change(
    before: Alarm | None, reached: Reached, change: Change, number: int
) -> tuple[Alarm | None, Transition]:
    """What a rule's change makes of the open alarm, if there is one.

    An onset gives the next occurrence. A correction with no alarm open gives no alarm, only its transition on the last
    occurrence (0 if there never was one). Raises InvalidTransition before anything is made.
    """
    step = STEP_OF[change.kind]
    state = before.state if before else State.NORMAL
    after = next_state(state, step)
    if step is Step.ONSET:
        alarm = _begun(reached.occurrence + 1, change)
        return alarm, _transition(alarm, step, state, change, number, sounds=alarm.sounding)
    if before is None:
        # Only a correction has a row from NORMAL besides the onset.
        return None, _afterthought(reached, change, number)
    sounds = step is Step.CONFIRMED or (step is Step.WORSE and not change.backlog)
    alarm = replace(
        before,
        version=before.version + 1,
        state=after,
        changed_us=change.now_us,
        sounding=after is State.UNACKED and (sounds or before.sounding),
        **_effect(before, step, change),
    )
    return alarm, _transition(alarm, step, state, change, number, sounds=sounds)


def acknowledge(before: Alarm, command: Acknowledge, now_us: int, number: int) -> tuple[Alarm, Transition]:
    """Somebody has seen it. Raises InvalidTransition where there is nothing to acknowledge."""
    alarm = replace(
        before,
        version=before.version + 1,
        state=next_state(before.state, Step.ACK),
        changed_us=now_us,
        sounding=False,
        acked_by=command.actor,
        acked_by_name=command.actor_name,
        acked_us=now_us,
        note=command.note,
    )
    transition = replace(
        _told(alarm, Step.ACK, before.state, now_us, number, False, now_us),
        actor=command.actor,
        actor_name=command.actor_name,
        note=command.note,
    )
    return alarm, transition


def give_up_waiting(before: Alarm, now_us: int, number: int) -> tuple[Alarm, Transition]:
    """No fresh sample came in time: the alarm is still unconfirmed and sounds all the same."""
    alarm = replace(
        before,
        version=before.version + 1,
        state=next_state(before.state, Step.UNCONFIRMED),
        changed_us=now_us,
        sounding=True,
    )
    return alarm, _told(alarm, Step.UNCONFIRMED, before.state, now_us, number, True, now_us)


def _begun(occurrence: int, change: Change) -> Alarm:
    fresh = not change.backlog
    # By position, here and below: names cost a struct of this size ten times its making.
    return Alarm(
        alarm_id(change.rule, change.asset, occurrence),
        change.rule,
        change.asset,
        occurrence,
        1,  # version
        State.UNACKED,
        Condition.ACTIVE,
        change.level,
        change.priority,
        change.value,
        change.limit,
        change.event_us,
        change.now_us,  # raised
        change.now_us,  # changed
        change.backlog,
        fresh,  # confirmed
        fresh,  # sounding
        detail=change.detail,
    )


def _effect(before: Alarm, step: Step, change: Change) -> dict[str, Any]:
    """The fields that a step sets besides version, state and sound."""
    # Silence has no value of its own: the last known one says more than none.
    value = before.value if math.isnan(change.value) else change.value
    detail = change.detail or before.detail
    match step:
        case Step.CLEAR:
            # Level, priority and limit stay: they are what has still to be acknowledged.
            return {"value": value, "condition": Condition.NORMAL}
        case Step.WORSE | Step.BETTER:
            verdict = {
                "level": change.level,
                "priority": change.priority,
                "value": change.value,
                "limit": change.limit,
                "detail": detail,
                "condition": Condition.ACTIVE,
            }
            if step is Step.BETTER:
                return verdict
            return {**verdict, **UNACKNOWLEDGED, "backlog": change.backlog, "confirmed": not change.backlog}
        case Step.CONFIRMED:
            return {"value": value, "detail": detail, "condition": Condition.ACTIVE, "confirmed": True}
        case Step.UNKNOWN:
            return {"condition": Condition.UNKNOWN}
        case Step.KNOWN:
            over = before.state is State.RETURNED
            return {"value": value, "condition": Condition.NORMAL if over else Condition.ACTIVE}
        case Step.RULE_REMOVED:
            # Nobody judges it any more; that is not an all-clear.
            return {"condition": Condition.UNKNOWN}
        case _:
            assert step is Step.CORRECTION, step
            return {}


def _transition(
    alarm: Alarm, step: Step, before: State, change: Change, number: int, *, sounds: bool
) -> Transition:
    event_us, backlog, detail = change.event_us, change.backlog, change.detail
    transition = _told(alarm, step, before, change.now_us, number, sounds, event_us, backlog, detail)
    return _as_it_would_have_been(transition, change) if step is Step.CORRECTION else transition


def _told(
    alarm: Alarm,
    step: Step,
    before: State,
    now_us: int,
    number: int,
    sounds: bool,
    event_us: int,
    backlog: bool = False,
    detail: str = "",
) -> Transition:
    """A transition that tells the alarm's own figures after the step."""
    rule, asset, occurrence, version = alarm.rule, alarm.asset, alarm.occurrence, alarm.version
    return Transition(
        transition_id(rule, asset, occurrence, version),
        alarm.id,
        rule,
        asset,
        occurrence,
        version,
        step,
        before,
        alarm.state,
        alarm.condition,
        alarm.level,
        alarm.priority,
        alarm.value,
        alarm.limit,
        event_us,
        now_us,
        number,
        sounds,
        backlog,
        detail=detail,
    )


def _as_it_would_have_been(transition: Transition, change: Change) -> Transition:
    """A correction tells the figures of the late sample, which the alarm itself does not take on."""
    return replace(
        transition, level=change.level, priority=change.priority, value=change.value, limit=change.limit
    )


def _afterthought(reached: Reached, change: Change, number: int) -> Transition:
    """A correction after the alarm has closed, or where none has ever been: the next step of the last occurrence."""
    return Transition(
        id=transition_id(change.rule, change.asset, reached.occurrence, reached.version + 1),
        alarm=alarm_id(change.rule, change.asset, reached.occurrence),
        rule=change.rule,
        asset=change.asset,
        occurrence=reached.occurrence,
        step=reached.version + 1,
        kind=Step.CORRECTION,
        before=State.NORMAL,
        after=State.NORMAL,
        condition=Condition.NORMAL,
        level=change.level,
        priority=change.priority,
        value=change.value,
        limit=change.limit,
        event_us=change.event_us,
        now_us=change.now_us,
        input=number,
        sounds=False,
        backlog=change.backlog,
        detail=change.detail,
    )
