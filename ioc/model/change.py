"""`Change`: a rule's verdict changed for one asset. What the rules say and the alerts hear."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class ChangeKind(StrEnum):
    """What changed. CORRECTION is a late sample that would have changed an earlier verdict; it stands."""

    ONSET = "onset"
    CLEAR = "clear"
    LEVEL_UP = "level_up"
    LEVEL_DOWN = "level_down"
    UNKNOWN = "unknown"
    KNOWN = "known"
    CONFIRMED = "confirmed"
    CORRECTION = "correction"
    RULE_REMOVED = "rule_removed"


class Change(msgspec.Struct, frozen=True, gc=False):
    """One change of one rule on one asset.

    `event_us` is the event time of the sample that decided, or the deadline for silence; `now_us` the core's time.
    `level` counts from 1 (0 after a clear). `backlog` says that the deciding sample was backlog, so that nothing
    sounds yet; then `confirm_within_us` is how long to wait for a fresh one.
    """

    kind: ChangeKind
    rule: str
    asset: str
    level: int
    priority: int
    value: float
    limit: float
    event_us: int
    now_us: int
    backlog: bool = False
    confirm_within_us: int = 0
    detail: str = ""
