"""`Alarm` and `Transition`: who knows what, and each step by which it came to be known."""

from __future__ import annotations

import hashlib
from enum import StrEnum

import msgspec


class State(StrEnum):
    """Acknowledgement state (ISA-18.2 letters in the docs). NORMAL alarms are closed and leave the book."""

    NORMAL = "NORMAL"
    UNACKED = "UNACKED"
    ACKED = "ACKED"
    RETURNED = "RETURNED"


class Condition(StrEnum):
    """The process condition: silence and bad quality are `unknown`, never `normal`."""

    ACTIVE = "active"
    NORMAL = "normal"
    UNKNOWN = "unknown"


class Step(StrEnum):
    """What a transition was."""

    ONSET = "onset"
    CLEAR = "clear"
    WORSE = "worse"
    BETTER = "better"
    ACK = "ack"
    UNKNOWN = "unknown"
    KNOWN = "known"
    CONFIRMED = "confirmed"
    UNCONFIRMED = "unconfirmed"
    CORRECTION = "correction"
    RULE_REMOVED = "rule_removed"


def alarm_id(rule: str, asset: str, occurrence: int) -> str:
    """The id of one occurrence: the same on every machine and in every replay."""
    return hashlib.sha256(f"{rule}\n{asset}\n{occurrence}".encode()).hexdigest()[:16]


def transition_id(rule: str, asset: str, occurrence: int, step: int) -> str:
    """The id of one step of one occurrence; `step` is the version it led to."""
    return hashlib.sha256(f"{rule}\n{asset}\n{occurrence}\n{step}".encode()).hexdigest()[:24]


class Alarm(msgspec.Struct, frozen=True, gc=False):
    """One occurrence of one rule on one asset, as it stands.

    `version` counts its transitions. `sounding` is whether the room should hear it: false while only backlog has
    raised it (`confirmed` is false then). `onset_event_us` is the event time of the onset, `raised_us` the core's
    time then; `changed_us` of the last transition.
    """

    id: str
    rule: str
    asset: str
    occurrence: int
    version: int
    state: State
    condition: Condition
    level: int
    priority: int
    value: float
    limit: float
    onset_event_us: int
    raised_us: int
    changed_us: int
    backlog: bool
    confirmed: bool
    sounding: bool
    acked_by: str = ""
    acked_by_name: str = ""
    acked_us: int = 0
    note: str = ""
    detail: str = ""


class Transition(msgspec.Struct, frozen=True, gc=False):
    """One immutable step in one alarm's life; `step` is the version it led to, `input` the log number that caused it.

    `sounds` says that this very step is to be heard (and, later, paged).
    """

    id: str
    alarm: str
    rule: str
    asset: str
    occurrence: int
    step: int
    kind: Step
    before: State
    after: State
    condition: Condition
    level: int
    priority: int
    value: float
    limit: float
    event_us: int
    now_us: int
    input: int
    sounds: bool
    backlog: bool = False
    actor: str = ""
    actor_name: str = ""
    note: str = ""
    detail: str = ""
