"""Some steps of many alarms, folded: what each alarm is after them, and what they leave as it was. Pure.

What a step does to its alarm is told by its kind; `ioc/alerts/lifecycle.py` is where it was decided.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from ioc.model.alarm import State, Step, Transition
from ioc.storage.rows import text

_ACKS: Final = frozenset({Step.ACK, Step.WORSE})
"""These say who has acknowledged, if anybody."""
_TELLS: Final = frozenset({Step.WORSE, Step.BETTER, Step.CONFIRMED})
"""These may tell a new detail."""


@dataclass(slots=True)
class Standing:
    """One alarm after some steps; `last` is the last of them. None stands for what they leave as it was."""

    first: Transition
    last: Transition
    open: bool
    version: int
    changed_us: int
    backlog: bool | None = None
    confirmed: bool | None = None
    ack: tuple[str, str, int | None, str] | None = None
    """Who acknowledged it, their name, when, and their note; empty where a worsening took that back."""
    detail: str | None = None

    @property
    def begun(self) -> bool:
        """Whether its whole life is in these steps."""
        return self.first.kind is Step.ONSET

    def step(self, t: Transition) -> None:
        """One more step."""
        self.last = t
        self.open = t.after is not State.NORMAL
        self.version, self.changed_us = t.step, t.now_us
        if t.kind is Step.WORSE:
            self.backlog, self.confirmed = t.backlog, not t.backlog
        elif t.kind is Step.CONFIRMED:
            self.confirmed = True
        if t.kind in _ACKS:
            self.ack = _ack(t)
        if t.kind in _TELLS and t.detail:
            self.detail = text(t.detail)

    def row(self) -> tuple[Any, ...]:
        """For a new row of `alarms`, in the order of its columns."""
        first = self.first
        ack = self.ack or _NOBODY
        return (
            *self._figures(),
            text(first.rule),
            text(first.asset),
            first.occurrence,
            first.now_us if self.begun else None,
            first.event_us if self.begun else None,
            first.backlog if self.backlog is None else self.backlog,
            not first.backlog if self.confirmed is None else self.confirmed,
            *ack,
            text(first.detail) if self.detail is None else self.detail,
        )

    def change(self) -> tuple[Any, ...]:
        """For a row that is there: NULL where it keeps what it has."""
        acked_by, acked_by_name, acked_us, note = self.ack or (None, None, None, None)
        return (
            *self._figures(),
            self.backlog,
            self.confirmed,
            acked_by,
            acked_by_name,
            acked_us,
            note,
            self.detail,
        )

    def _figures(self) -> tuple[Any, ...]:
        last = self.last
        return (
            last.alarm,
            self.version,
            self.open,
            last.after.value,
            last.condition.value,
            last.level,
            last.priority,
            last.value,
            last.limit,
            self.changed_us,
        )


_NOBODY: Final = ("", "", None, "")


def _ack(t: Transition) -> tuple[str, str, int | None, str]:
    if t.kind is not Step.ACK:
        return _NOBODY
    return text(t.actor), text(t.actor_name), t.now_us, text(t.note)


@dataclass(slots=True)
class Folded:
    """What some steps come to."""

    standing: dict[str, Standing] = field(default_factory=dict)
    """By alarm."""
    corrected: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Alarms of which only a late sample told something: version and time. Its figures are its own."""
    onsets: dict[tuple[str, str], int] = field(default_factory=dict)
    """By rule and asset: the newest occurrence, which ends all before it."""


def fold(steps: Iterable[Transition]) -> Folded:
    """Steps in the order of the journal."""
    out = Folded()
    newest: dict[tuple[str, str], str] = {}
    for t in steps:
        known = out.standing.get(t.alarm)
        if t.kind is Step.CORRECTION:
            if known is not None:
                known.version, known.changed_us = t.step, t.now_us
            else:
                out.corrected[t.alarm] = (t.step, t.now_us)
            continue
        if t.kind is Step.ONSET:
            about = (t.rule, t.asset)
            if (before := out.standing.get(newest.get(about, ""))) is not None:
                before.open = False
            out.onsets[about] = t.occurrence
        newest[t.rule, t.asset] = t.alarm
        if known is None:
            out.corrected.pop(t.alarm, None)
            known = out.standing[t.alarm] = Standing(t, t, True, 0, 0)
        known.step(t)
    return out
