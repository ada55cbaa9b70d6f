"""What somebody wants taken up again out of the quarantine, and what has been. A stage: told commands and records.

A `Reinject` is a record of its own; what it brings follows as ordinary records whose origin names it. Between the two
it is *pending*: a crash there leaves it so, and the next start carries it out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ioc.answers import Answers
from ioc.model import Answer, Reinject, Verdict

DONE_MAX: Final = 10_000
"""How many re-injected records are remembered; readings that bear a time are recognised as repeats for ever after."""
DONE_ALREADY: Final = "this record was re-injected before"


class Quarantine:
    """The numbers of quarantined records that were asked for again."""

    def __init__(self) -> None:
        self._pending: dict[int, None] = {}
        self._done: dict[int, None] = {}
        self._answers = Answers()

    @property
    def pending(self) -> tuple[int, ...]:
        """Asked for, and not yet carried out; in the order of asking."""
        return tuple(self._pending)

    def asked_for(self, number: int) -> bool:
        """Whether this record was ever re-injected, or is about to be."""
        return number in self._pending or number in self._done

    def feed_command(self, command: Reinject, now_us: int) -> Answer:
        """Somebody asks for a record; once is enough. The same key is answered alike."""
        told = self._answers.find(command, now_us)
        if told is not None:
            return told
        if self.asked_for(command.number):
            answer = Answer(verdict=Verdict.CONFLICT, reason=DONE_ALREADY)
        else:
            self._pending[command.number] = None
            answer = Answer(verdict=Verdict.DONE)
        self._answers.keep(command, now_us, answer)
        return answer

    def taken(self, number: int) -> None:
        """What it brought is in the log."""
        self._pending.pop(number, None)
        self._done[number] = None
        if len(self._done) > DONE_MAX:
            del self._done[next(iter(self._done))]

    def state(self) -> dict[str, Any]:
        """A copy of everything."""
        return {"pending": list(self._pending), "done": list(self._done), "answers": self._answers.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Back to what `state` gave."""
        self._pending = dict.fromkeys(state["pending"])
        self._done = dict.fromkeys(state["done"])
        self._answers.restore(state["answers"])
