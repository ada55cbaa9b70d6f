"""The table of alarm states, and the page that is generated from it.

Why did it go quiet? The answer is a row here. The process condition (active, normal, unknown) is a field of its own
and no state: a silent sensor changes the condition and never the state.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ioc.errors import InvalidTransition
from ioc.model import State, Step

NORMAL, UNACKED, ACKED, RETURNED = State.NORMAL, State.UNACKED, State.ACKED, State.RETURNED

_ROWS: dict[tuple[State, Step], State] = {
    (NORMAL, Step.ONSET): UNACKED,
    (UNACKED, Step.CLEAR): RETURNED,
    (UNACKED, Step.ACK): ACKED,
    (ACKED, Step.CLEAR): NORMAL,
    (RETURNED, Step.ONSET): UNACKED,
    (RETURNED, Step.ACK): NORMAL,
    (UNACKED, Step.WORSE): UNACKED,
    (ACKED, Step.WORSE): UNACKED,
    # A lower level is no new danger and no all-clear: what was seen stays seen, what was not must still be seen.
    (UNACKED, Step.BETTER): UNACKED,
    (ACKED, Step.BETTER): ACKED,
    # Silence and bad quality say nothing about the danger. A returned alarm may fall silent too, and the screen shows it.
    (UNACKED, Step.UNKNOWN): UNACKED,
    (ACKED, Step.UNKNOWN): ACKED,
    (RETURNED, Step.UNKNOWN): RETURNED,
    (UNACKED, Step.KNOWN): UNACKED,
    (ACKED, Step.KNOWN): ACKED,
    (RETURNED, Step.KNOWN): RETURNED,
    # A fresh sample bears out what backlog had raised. Who acknowledged the backlog has seen the alarm: it stays seen.
    # No row from RETURNED: a sample that leaves it active cannot be about an alarm that is over.
    (UNACKED, Step.CONFIRMED): UNACKED,
    (ACKED, Step.CONFIRMED): ACKED,
    # The wait for a fresh sample is over. Acknowledgement and recovery end the wait, hence no other row.
    (UNACKED, Step.UNCONFIRMED): UNACKED,
    # Earlier verdicts stand; a late sample that would have changed one is noted, also after the alarm has closed.
    (NORMAL, Step.CORRECTION): NORMAL,
    (UNACKED, Step.CORRECTION): UNACKED,
    (ACKED, Step.CORRECTION): ACKED,
    (RETURNED, Step.CORRECTION): RETURNED,
    # Nobody will ever judge this asset by this rule again, so nothing could end the alarm.
    (UNACKED, Step.RULE_REMOVED): NORMAL,
    (ACKED, Step.RULE_REMOVED): NORMAL,
    (RETURNED, Step.RULE_REMOVED): NORMAL,
}

TRANSITIONS: Mapping[tuple[State, Step], State] = MappingProxyType(_ROWS)
"""Every pair that can happen; what is missing cannot."""

ISA_LETTERS: Mapping[State, str] = MappingProxyType({NORMAL: "A", UNACKED: "B", ACKED: "C", RETURNED: "D"})
"""The letters of ISA-18.2's state diagram."""


def next_state(state: State, step: Step) -> State:
    """Where a step leads. Raises InvalidTransition if the table has no such pair."""
    try:
        return TRANSITIONS[state, step]
    except KeyError:
        raise InvalidTransition(state, step) from None


def diagram() -> str:
    """The table as a mermaid state diagram; steps that join the same two states share an arrow."""
    arrows: dict[tuple[State, State], list[Step]] = {}
    for (before, step), after in TRANSITIONS.items():
        arrows.setdefault((before, after), []).append(step)
    lines = ["stateDiagram-v2", f"    [*] --> {NORMAL}"]
    lines += [f"    {state} : {state} ({letter})" for state, letter in ISA_LETTERS.items()]
    lines += [f"    {before} --> {after} : {', '.join(steps)}" for (before, after), steps in arrows.items()]
    return "\n".join(lines)


def table() -> str:
    """The table in Markdown, a row for each state and a column for each step; a dash where no pair exists."""
    lines = ["| from | " + " | ".join(Step) + " |", "|---|" + "---|" * len(Step)]
    lines += [
        f"| {state} | " + " | ".join(TRANSITIONS.get((state, step), "–") for step in Step) + " |"
        for state in State
    ]
    return "\n".join(lines)


def markdown() -> str:
    """The generated part of `docs/alarm-states.md`."""
    return f"```mermaid\n{diagram()}\n```\n\n{table()}\n"


if __name__ == "__main__":
    print(markdown(), end="")
