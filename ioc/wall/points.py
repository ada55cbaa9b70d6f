"""`Points`: the newest value and the state of every series, in columns by its number, and when each last changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ioc.model.batch import I64, Batch, Bool, Flag
from ioc.wall.recent import NEVER_US
from ioc.wall.wire import PointItem, finite, text_of

NORMAL, STALE, NEVER, BAD = range(4)
STATES: Final = ("normal", "stale", "never", "bad")

_NOT_NEWEST: Final = int(
    Flag.REPEAT | Flag.CONFLICT | Flag.FUTURE | Flag.LATE | Flag.TOO_LATE | Flag.REVISED | Flag.LAST_KNOWN
)

U8 = npt.NDArray[np.uint8]


class Points:
    """Columns of shape (series,). `changed` is the view's seq of each series' last visible change."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.watched: Bool = np.zeros(0, np.bool_)
        self.changed: I64 = np.zeros(0, np.int64)
        self.priority: U8 = np.zeros(0, np.uint8)
        self.state: U8 = np.zeros(0, np.uint8)
        self._event = np.zeros(0, np.int64)
        self._value = np.zeros(0)
        self._flags = np.zeros(0, np.uint16)
        self._known = np.zeros(0, np.bool_)
        self._seen = np.zeros(0, np.bool_)
        self._stale = np.zeros(0, np.bool_)
        self._bad = np.zeros(0, np.bool_)
        self._texts: list[str | None] = []

    def load(self, names: Sequence[str], watched: Bool, seq: int) -> None:
        """The series by number; what is known of a number stays, since numbers are never reused."""
        more = len(names) - len(self.names)
        assert more >= 0, "a series number was withdrawn"
        self.names = list(names)
        self.watched = watched
        self.changed = np.full(len(names), seq, np.int64)
        self.priority = np.pad(self.priority, (0, more))
        self.state = np.pad(self.state, (0, more), constant_values=NEVER)
        self._event = np.pad(self._event, (0, more), constant_values=NEVER_US)
        self._value = np.pad(self._value, (0, more), constant_values=np.nan)
        self._flags = np.pad(self._flags, (0, more))
        self._known = np.pad(self._known, (0, more))
        self._seen = np.pad(self._seen, (0, more))
        self._stale = np.pad(self._stale, (0, more))
        self._bad = np.pad(self._bad, (0, more))
        self._texts = [None] * len(names)

    def feed(self, batch: Batch, seq: int) -> bool:
        """Take one judged batch; whether anything to be seen has changed."""
        fresh = (batch.flags & _NOT_NEWEST) == 0
        changed = self._take_newest(batch if fresh.all() else batch.take(fresh), seq)
        if not fresh.all():
            for row in np.flatnonzero((batch.flags & int(Flag.REVISED | Flag.LAST_KNOWN)) != 0):
                changed |= self._take_row(batch, int(row), seq)
        return changed

    def _take_newest(self, batch: Batch, seq: int) -> bool:
        if not len(batch):
            return False
        # Rows of one series rise within a batch, so its last row is its newest.
        numbers, back = np.unique(batch.series[::-1], return_index=True)
        rows = len(batch) - 1 - back
        newer = batch.event_us[rows] > self._event[numbers]
        numbers, rows = numbers[newer], rows[newer]
        if not len(numbers):
            return False
        self._event[numbers] = batch.event_us[rows]
        self._value[numbers] = batch.value[rows]
        self._flags[numbers] = batch.flags[rows]
        self._known[numbers] = True
        self._seen[numbers] = True
        self._stale[numbers] = False
        self._bad[numbers] = (batch.flags[rows] & int(Flag.BAD)) != 0
        self._settle(numbers)
        self._touch(numbers, seq)
        return True

    def _take_row(self, batch: Batch, row: int, seq: int) -> bool:
        """A revision of the newest reading, or a value whose age nobody knows."""
        number = int(batch.series[row])
        flags = int(batch.flags[row])
        if flags & (Flag.CONFLICT | Flag.REPEAT | Flag.FUTURE):
            return False
        if flags & Flag.REVISED:
            if int(batch.event_us[row]) != self._event[number] or not self._known[number]:
                return False
            self._bad[number] = bool(flags & Flag.BAD)
        else:
            if batch.value[row] == self._value[number]:
                return False  # the broker repeats what is shown; its known age stays true
            self._known[number] = False
            if not self._seen[number]:
                self._event[number] = NEVER_US
        self._value[number] = batch.value[row]
        self._flags[number] = flags
        self._settle(np.array([number]))
        self._touch(np.array([number]), seq)
        return True

    def refresh(self, stale: Bool, bad: Bool, seq: int) -> bool:
        """The engine's word on silence and quality; whether it changed anything."""
        size = min(len(stale), len(self.names))
        self._stale[:size] = stale[:size]
        self._bad[:size] = bad[:size]
        before = self.state.copy()
        self._settle(slice(None))
        numbers = np.flatnonzero(self.state != before)
        self._touch(numbers, seq)
        return bool(len(numbers))

    def silenced(self, number: int, stale: bool, seq: int) -> bool:
        """A rule's word on one series' silence, which comes before the engine is next asked."""
        if self._stale[number] == stale:
            return False
        self._stale[number] = stale
        self._settle(np.array([number]))
        self._touch(np.array([number]), seq)
        return True

    def alarmed(self, number: int, priority: int, seq: int) -> bool:
        """The worst open alarm of a series changed."""
        if self.priority[number] == priority:
            return False
        self.priority[number] = priority
        self._touch(np.array([number]), seq)
        return True

    def since(self, seq: int) -> npt.NDArray[np.intp]:
        """Numbers of what changed after `seq`."""
        return np.flatnonzero(self.changed > seq)

    def item(self, number: int) -> PointItem:
        """One series as it stands."""
        known = bool(self._known[number])
        event_us = int(self._event[number])
        return PointItem(
            series=self.names[number],
            t=None if event_us == NEVER_US else event_us // 1000,
            value=finite(float(self._value[number])),
            flags=int(self._flags[number]),
            age_known=known,
            state=STATES[self.state[number]],
            priority=int(self.priority[number]),
        )

    def text(self, number: int) -> str:
        """That item as JSON, encoded once for all screens."""
        text = self._texts[number]
        if text is None:
            text = self._texts[number] = text_of(self.item(number))
        return text

    def _settle(self, numbers: npt.NDArray[np.integer[Any]] | slice) -> None:
        # A silent series is stale whatever its last quality was.
        self.state[numbers] = np.where(
            ~self._seen[numbers],
            NEVER,
            np.where(self._stale[numbers], STALE, np.where(self._bad[numbers], BAD, NORMAL)),
        )

    def _touch(self, numbers: npt.NDArray[np.integer[Any]], seq: int) -> None:
        self.changed[numbers] = seq
        for number in numbers.tolist():
            self._texts[number] = None
