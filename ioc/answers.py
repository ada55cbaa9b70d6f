"""What was answered to whom: a command that is sent twice is done once and answered alike both times."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ioc.model import Answer, Verdict

KEPT_US = 24 * 3600 * 1_000_000
KEPT_MAX = 100_000


class Answers:
    """Answers by actor and idempotency key, for a day and within a bound; the oldest go first."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], tuple[int, Answer]] = {}

    def find(self, actor: str, key: str, now_us: int) -> Answer | None:
        """What this actor was told under this key, if it is still remembered."""
        kept = self._kept.get((actor, key))
        if kept is None or now_us - kept[0] >= KEPT_US:
            return None
        return kept[1]

    def keep(self, actor: str, key: str, now_us: int, answer: Answer) -> None:
        """Remember an answer. A command without a key cannot be recognised again."""
        if not key:
            return
        self._kept.pop((actor, key), None)
        self._kept[actor, key] = (now_us, answer)
        # `now` never falls, so the order of insertion is the order of age.
        while len(self._kept) > KEPT_MAX or now_us - next(iter(self._kept.values()))[0] >= KEPT_US:
            del self._kept[next(iter(self._kept))]

    def state(self) -> list[list[Any]]:
        """Every answer, oldest first."""
        return [
            [actor, key, now_us, answer.verdict.value, answer.reason, answer.alarm]
            for (actor, key), (now_us, answer) in self._kept.items()
        ]

    def restore(self, state: Sequence[Sequence[Any]]) -> None:
        """Back to what `state` gave."""
        self._kept = {
            (actor, key): (now_us, Answer(verdict=Verdict(verdict), reason=reason, alarm=alarm))
            for actor, key, now_us, verdict, reason, alarm in state
        }
