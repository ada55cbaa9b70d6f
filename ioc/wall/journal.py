"""`Journal`: the last transitions, in order, with the seq by which screens resume and the figures of the last day."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final

import msgspec

from ioc.model.alarm import State, Step, Transition
from ioc.wall.given import Presenter
from ioc.wall.wire import TransitionItem, text_of

REMEMBERED: Final = 10_000
"""Transitions in memory, for the journal page and for screens that resume."""
DAY_US: Final = 24 * 3600 * 1_000_000
_DAY_MAX: Final = 100_000
_WAITING: Final = frozenset({State.UNACKED, State.RETURNED})


class Entry(msgspec.Struct, gc=False):
    """One transition: `place` is its number in the log's output, `seq` the view's when it was fed (0: before)."""

    place: int
    seq: int
    step: Transition
    text: str | None = None


class Journal:
    """Bounded; what is older stands in the log and its projections."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._entries: deque[Entry] = deque()
        self._remembered = remembered
        self.floor_seq = 0
        """Nobody can resume from before this seq: transitions after it have been forgotten."""
        self.place = 0
        self._onsets: deque[int] = deque(maxlen=_DAY_MAX)
        self._acks: deque[tuple[int, int]] = deque(maxlen=_DAY_MAX)
        self._waiting: dict[str, int] = {}

    def feed(self, step: Transition, seq: int, place: int | None = None) -> None:
        """Take the next transition; `place` only where some were left out before it."""
        self.place = self.place + 1 if place is None else place
        self._entries.append(Entry(self.place, seq, step))
        if len(self._entries) > self._remembered:
            self.floor_seq = max(self.floor_seq, self._entries.popleft().seq)
        if step.kind is Step.ONSET:
            self._onsets.append(step.now_us)
        elif step.kind is Step.ACK and step.alarm in self._waiting:
            self._acks.append((step.now_us, step.now_us - self._waiting[step.alarm]))
        if step.after not in _WAITING:
            self._waiting.pop(step.alarm, None)
        elif step.before not in _WAITING:
            self._waiting[step.alarm] = step.now_us

    def since(self, seq: int) -> list[Entry]:
        """What was fed after `seq`, oldest first."""
        out: list[Entry] = []
        for entry in reversed(self._entries):
            if entry.seq <= seq:
                break
            out.append(entry)
        out.reverse()
        return out

    def of_alarm(self, alarm: str) -> list[Transition]:
        """One occurrence's remembered steps, oldest first."""
        return [entry.step for entry in self._entries if entry.step.alarm == alarm]

    def newest(self, limit: int, before: int | None = None) -> Iterator[Entry]:
        """Newest first, those placed before `before`."""
        for entry in reversed(self._entries):
            if limit <= 0:
                return
            if before is None or entry.place < before:
                limit -= 1
                yield entry

    def alarms_24h(self, now_us: int) -> int:
        """Onsets within the day before now."""
        while self._onsets and self._onsets[0] <= now_us - DAY_US:
            self._onsets.popleft()
        return len(self._onsets)

    def ack_mean_s(self, now_us: int) -> float | None:
        """How long alarms acknowledged within the day before now had waited, on average."""
        while self._acks and self._acks[0][0] <= now_us - DAY_US:
            self._acks.popleft()
        if not self._acks:
            return None
        return round(sum(waited for _, waited in self._acks) / len(self._acks) / 1e6, 1)

    def forget_texts(self) -> None:
        """The words have changed."""
        for entry in self._entries:
            entry.text = None


def entry_text(entry: Entry, presenter: Presenter) -> str:
    """An entry as JSON, encoded once for all screens."""
    if entry.text is None:
        item: TransitionItem = presenter.transition(entry.step)
        entry.text = text_of(item)
    return entry.text
