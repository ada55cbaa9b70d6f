"""What was answered to whom: a command that is sent twice is done once and answered alike both times."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Final

from ioc.model import Answer, Command, Verdict

KEPT_US = 24 * 3600 * 1_000_000
KEPT_MAX = 100_000
KEY_USED: Final = "this Idempotency-Key was used for another request"
"""The reason under which a key is refused that stands for something else already."""


class Answers:
    """Answers by actor and idempotency key, for a day and within a bound; the oldest go first."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], tuple[int, str, Answer]] = {}
        """When it was given, the digest of what was asked, and the answer."""

    def find(self, command: Command, now_us: int) -> Answer | None:
        """What this actor was told under this key, while it is remembered; a refusal if they asked something else."""
        kept = self._kept.get((command.actor, command.key))
        if kept is None or now_us - kept[0] >= KEPT_US:
            return None
        if kept[1] != _asked(command):
            return Answer(verdict=Verdict.REFUSED, reason=KEY_USED)
        return kept[2]

    def keep(self, command: Command, now_us: int, answer: Answer) -> None:
        """Remember an answer. A command without a key cannot be recognised again."""
        if not command.key:
            return
        about = (command.actor, command.key)
        self._kept.pop(about, None)
        self._kept[about] = (now_us, _asked(command), answer)
        # `now` never falls, so the order of insertion is the order of age.
        while len(self._kept) > KEPT_MAX or now_us - next(iter(self._kept.values()))[0] >= KEPT_US:
            del self._kept[next(iter(self._kept))]

    def state(self) -> list[list[Any]]:
        """Every answer, oldest first."""
        return [
            [actor, key, now_us, asked, answer.verdict.value, answer.reason, answer.alarm]
            for (actor, key), (now_us, asked, answer) in self._kept.items()
        ]

    def restore(self, state: Sequence[Sequence[Any]]) -> None:
        """Back to what `state` gave."""
        self._kept = {
            (actor, key): (now_us, asked, Answer(verdict=Verdict(verdict), reason=reason, alarm=alarm))
            for actor, key, now_us, asked, verdict, reason, alarm in state
        }


def _asked(command: Command) -> str:
    """A digest of what a command asks for, whoever asks."""
    # Who tries again may word the note anew. A digest, because an id out of a URL may be of any length.
    asked = command.model_dump_json(exclude={"actor", "actor_name", "key", "note"})
    return hashlib.sha256(asked.encode()).hexdigest()[:32]
