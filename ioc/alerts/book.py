"""Every open alarm, what becomes of it, and what is remembered of those that have closed."""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec.structs import asdict, replace

from ioc.alerts import lifecycle
from ioc.alerts.lifecycle import Reached
from ioc.answers import Answers
from ioc.model import (
    Acknowledge,
    Alarm,
    Answer,
    Change,
    ChangeKind,
    Condition,
    State,
    Step,
    Transition,
    Verdict,
)
from ioc.registry import NO_DEADLINE_US

CLOSED_IDS_MAX = 10_000
"""Of how many closed alarms it is known which rule and asset they were about."""
CLOSED_ALARMS_MAX = 2_000
"""How many closed alarms are remembered whole."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NOTHING_YET = Reached()
_NEEDS_AN_ALARM = frozenset({ChangeKind.UNKNOWN, ChangeKind.KNOWN, ChangeKind.RULE_REMOVED})
"""The engine says these of an asset whether or not it has an alarm, which it cannot know."""
_MAY_SAY_NOTHING = _NEEDS_AN_ALARM | {ChangeKind.CONFIRMED}


class Book:
    """The alarms that are open, by id. A stage: told changes, commands and the time; gives transitions."""

    def __init__(self) -> None:
        self._alarms: dict[str, Alarm] = {}
        self._open: dict[tuple[str, str], Alarm] = {}
        """The same by rule and asset: of one rule on one asset at most one occurrence is open."""
        self._reached: dict[tuple[str, str], Reached] = {}
        self._confirm_by_us: dict[str, int] = {}
        """Alarm id → when the wait for a fresh sample ends."""
        self._due: list[tuple[int, str]] = []
        """Heap over `_confirm_by_us`; an entry that differs from it is void."""
        # A dict that loses its oldest entry at each step skips over ever more holes to find it.
        self._closed_ids: OrderedDict[str, tuple[str, str]] = OrderedDict()
        self._closed: OrderedDict[str, Alarm] = OrderedDict()
        self._answers = Answers()

    @property
    def alarms(self) -> Mapping[str, Alarm]:
        """The open alarms by id: every state but NORMAL."""
        return self._alarms

    def remembered(self, alarm: str) -> Alarm | None:
        """An alarm by id, open or among the last that closed. One that began anew stands as it stood then."""
        return self._alarms.get(alarm) or self._closed.get(alarm)

    def feed_change(self, change: Change, number: int) -> list[Transition]:
        """What the alarms make of a change; `number` is the log number that caused it.

        Raises InvalidTransition, and changes nothing, for what no engine can say.
        """
        about = (change.rule, change.asset)
        before = self._open.get(about)
        if change.kind in _MAY_SAY_NOTHING and _says_nothing_new(before, change):
            return []
        reached = self._reached.get(about, _NOTHING_YET)
        after, transition = lifecycle.apply_change(before, reached, change, number)
        self._reached[about] = Reached(transition.occurrence, transition.step)
        if after is None:
            self._note_on_closed(transition)
            return [transition]
        if before is not None and before.id != after.id:
            self._close(before)
        self._put(after)
        if not after.confirmed and transition.kind in (Step.ONSET, Step.WORSE):
            self._await_fresh(after.id, change.now_us + change.confirm_within_us)
        return [transition]

    def feed_command(self, command: Acknowledge, now_us: int, number: int) -> tuple[Answer, list[Transition]]:
        """Acknowledge the occurrence and version that were seen, and no other. The same key is answered alike."""
        told = self._answers.find(command, now_us)
        if told is not None:
            return told, []
        transitions: list[Transition] = []
        alarm = self._alarms.get(command.alarm)
        answer = self._objection(alarm, command)
        if answer is None:
            assert alarm is not None
            after, transition = lifecycle.acknowledge(alarm, command, now_us, number)
            self._reached[alarm.rule, alarm.asset] = Reached(after.occurrence, after.version)
            self._put(after)
            transitions.append(transition)
            answer = Answer(verdict=Verdict.DONE, alarm=after.id)
        self._answers.keep(command, now_us, answer)
        return answer, transitions

    def feed_deadlines(self, now_us: int, number: int) -> list[Transition]:
        """Every alarm whose wait for a fresh sample is over, in order of deadline."""
        transitions: list[Transition] = []
        while self.next_deadline_us() <= now_us:
            _, due = heapq.heappop(self._due)
            del self._confirm_by_us[due]
            alarm, transition = lifecycle.give_up_waiting(self._alarms[due], now_us, number)
            self._reached[alarm.rule, alarm.asset] = Reached(alarm.occurrence, alarm.version)
            self._put(alarm)
            transitions.append(transition)
        return transitions

    def next_deadline_us(self) -> int:
        """When `feed_deadlines` next has something to do."""
        while self._due and self._confirm_by_us.get(self._due[0][1]) != self._due[0][0]:
            heapq.heappop(self._due)
        return self._due[0][0] if self._due else NO_DEADLINE_US

    def _objection(self, alarm: Alarm | None, command: Acknowledge) -> Answer | None:
        """Why an acknowledgement cannot be, or None."""
        if alarm is None:
            about = self._closed_ids.get(command.alarm)
            newer = self._open.get(about) if about else None
            if newer is not None:
                reason = "this alarm is over; a newer occurrence is open"
                return Answer(verdict=Verdict.CONFLICT, reason=reason, alarm=newer.id)
            closed = self._closed.get(command.alarm)
            reason = _who(closed) if closed and closed.acked_by else "no such alarm is open"
            return Answer(verdict=Verdict.NOT_FOUND, reason=reason)
        if command.version != alarm.version:
            reason = (
                _who(alarm)
                if alarm.acked_by
                else f"the alarm has changed: version {command.version} was seen, {alarm.version} stands"
            )
            return Answer(verdict=Verdict.CONFLICT, reason=reason, alarm=alarm.id)
        if alarm.state is State.ACKED:
            return Answer(verdict=Verdict.REFUSED, reason=_who(alarm), alarm=alarm.id)
        return None

    def _put(self, alarm: Alarm) -> None:
        state = alarm.state
        if alarm.confirmed or state is not State.UNACKED:
            # Heard, seen or over: nothing to wait for.
            self._confirm_by_us.pop(alarm.id, None)
        if state is State.NORMAL:
            self._close(alarm)
        else:
            self._alarms[alarm.id] = self._open[alarm.rule, alarm.asset] = alarm

    def _close(self, alarm: Alarm) -> None:
        about = (alarm.rule, alarm.asset)
        self._alarms.pop(alarm.id, None)
        self._open.pop(about, None)
        self._closed_ids[alarm.id] = about
        self._closed[alarm.id] = alarm
        _drop_oldest(self._closed_ids, CLOSED_IDS_MAX)
        _drop_oldest(self._closed, CLOSED_ALARMS_MAX)

    def _note_on_closed(self, correction: Transition) -> None:
        closed = self._closed.get(correction.alarm)
        if closed is not None:
            self._closed[closed.id] = replace(closed, version=correction.step, changed_us=correction.now_us)

    def _await_fresh(self, alarm: str, by_us: int) -> None:
        # Further backlog never postpones the end of a wait: a station that is always late would never be heard.
        if by_us < self._confirm_by_us.get(alarm, NO_DEADLINE_US):
            self._confirm_by_us[alarm] = by_us
            heapq.heappush(self._due, (by_us, alarm))

    def state(self) -> dict[str, Any]:
        """A copy of everything; equal books give equal states."""
        return {
            "alarms": [_packed(self._alarms[alarm]) for alarm in sorted(self._alarms)],
            "reached": [
                [rule, asset, reached.occurrence, reached.version]
                for (rule, asset), reached in sorted(self._reached.items())
            ],
            "confirm_by_us": dict(sorted(self._confirm_by_us.items())),
            "closed_ids": [[alarm, rule, asset] for alarm, (rule, asset) in self._closed_ids.items()],
            "closed": [_packed(alarm) for alarm in self._closed.values()],
            "answers": self._answers.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Back to what `state` gave."""
        self._alarms = {alarm.id: alarm for alarm in map(_unpacked, state["alarms"])}
        self._open = {(alarm.rule, alarm.asset): alarm for alarm in self._alarms.values()}
        self._reached = {
            (rule, asset): Reached(occurrence, version)
            for rule, asset, occurrence, version in state["reached"]
        }
        self._confirm_by_us = dict(state["confirm_by_us"])
        self._due = [(by_us, alarm) for alarm, by_us in self._confirm_by_us.items()]
        heapq.heapify(self._due)
        self._closed_ids = OrderedDict((alarm, (rule, asset)) for alarm, rule, asset in state["closed_ids"])
        self._closed = OrderedDict((alarm.id, alarm) for alarm in map(_unpacked, state["closed"]))
        self._answers.restore(state["answers"])


def _says_nothing_new(before: Alarm | None, change: Change) -> bool:
    """Whether a change is no step: about no open alarm, or what the alarm already says."""
    if before is None:
        return change.kind in _NEEDS_AN_ALARM
    unknown = before.condition is Condition.UNKNOWN
    match change.kind:
        case ChangeKind.UNKNOWN:
            return unknown
        case ChangeKind.KNOWN:
            return not unknown
        case ChangeKind.CONFIRMED:
            # It sounds once: a fresh worsening in the same batch has confirmed it already.
            return before.confirmed and before.state is not State.RETURNED
        case _:
            return False


def _who(alarm: Alarm) -> str:
    at = _EPOCH + timedelta(microseconds=alarm.acked_us)
    return f"already acknowledged by {alarm.acked_by_name or alarm.acked_by} at {at:%Y-%m-%dT%H:%M:%SZ}"


def _drop_oldest(kept: OrderedDict[str, Any], size_max: int) -> None:
    while len(kept) > size_max:
        kept.popitem(last=False)


def _packed(alarm: Alarm) -> dict[str, Any]:
    packed = asdict(alarm)
    packed["state"], packed["condition"] = alarm.state.value, alarm.condition.value
    return packed


def _unpacked(packed: Mapping[str, Any]) -> Alarm:
    return Alarm(**{**packed, "state": State(packed["state"]), "condition": Condition(packed["condition"])})
