"""`Points`: the newest value and the state of every series, in columns by its number, and when each last changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from ioc.model.batch import I64, Batch, Bool, Flag
from ioc.wall.recent import NEVER_US, by_series
from ioc.wall.wire import PointItem, finite, text_of

NORMAL, STALE, NEVER, BAD = range(4)
STATES: Final = ("normal", "stale", "never", "bad")

_FEW_ROWS: Final = 24
"""Up to here a plain loop costs less than numpy's fixed share."""
_NOT_NEWEST: Final = int(
    Flag.REPEAT | Flag.CONFLICT | Flag.FUTURE | Flag.LATE | Flag.TOO_LATE | Flag.REVISED | Flag.LAST_KNOWN
)
_NO_NEWS: Final = int(Flag.REPEAT | Flag.CONFLICT | Flag.FUTURE)
_ODD: Final = int(Flag.REVISED | Flag.LAST_KNOWN)
_BAD_FLAG: Final = int(Flag.BAD)

_SEEN, _KNOWN, _STALE, _BAD = 1, 2, 4, 8
"""What is known of a series; `_KNOWN` says that the age of its value is."""
_HEARD: Final = _SEEN | _KNOWN

U8 = npt.NDArray[np.uint8]


def _state(known: int) -> int:
    if not known & _SEEN:
        return NEVER
    # A silent series is stale whatever its last quality was.
    if known & _STALE:
        return STALE
    return BAD if known & _BAD else NORMAL


_STATE_OF: Final[U8] = np.array([_state(known) for known in range(16)], np.uint8)


class Points:
    """Columns of shape (series,). `changed` is the view's seq of each series' last visible change."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.watched: Bool = np.zeros(0, np.bool_)
        self.changed: I64 = np.zeros(0, np.int64)
        self.priority: U8 = np.zeros(0, np.uint8)
        self.state_seq = 0
        """The view's seq when the state of any series last changed."""
        self._event = np.zeros(0, np.int64)
        self._value = np.zeros(0)
        self._flags = np.zeros(0, np.uint16)
        self._known = np.zeros(0, np.uint8)
        self._texts: dict[int, tuple[int, str]] = {}
        """Number → the text of it, and the `changed` for which it is true."""

    def load(self, names: Sequence[str], watched: Bool, seq: int) -> None:
        """The series by number; what is known of a number stays, since numbers are never reused."""
        more = len(names) - len(self.names)
        assert more >= 0, "a series number was withdrawn"
        self.names = list(names)
        self.watched = watched
        self.changed = np.full(len(names), seq, np.int64)
        self.priority = np.pad(self.priority, (0, more))
        self._event = np.pad(self._event, (0, more), constant_values=NEVER_US)
        self._value = np.pad(self._value, (0, more), constant_values=np.nan)
        self._flags = np.pad(self._flags, (0, more))
        self._known = np.pad(self._known, (0, more))
        self._texts.clear()
        self.state_seq = seq

    @property
    def state(self) -> U8:
        """NORMAL, STALE, NEVER or BAD of each series; a copy."""
        return _STATE_OF[self._known]

    def feed(self, batch: Batch, seq: int) -> bool:
        """Take one judged batch; whether anything to be seen has changed."""
        flags = batch.flags
        if len(batch) <= _FEW_ROWS:
            fresh = [row for row, flag in enumerate(flags.tolist()) if not flag & _NOT_NEWEST]
            changed = self._take_few(batch, fresh, seq)
            if len(fresh) == len(batch):
                return changed
        else:
            plain = not int(np.bitwise_or.reduce(flags)) & _NOT_NEWEST
            changed = self._take_newest(batch if plain else batch.take((flags & _NOT_NEWEST) == 0), seq)
            if plain:
                return changed
        for row in np.flatnonzero(flags & _ODD).tolist():
            changed |= self._take_odd(batch, row, seq)
        return changed

    def _take_few(self, batch: Batch, rows: list[int], seq: int) -> bool:
        changed = False
        for row in rows:
            number, event_us = batch.series.item(row), batch.event_us.item(row)
            # Rows of one series rise within a batch.
            if event_us > self._event.item(number):
                self._event[number] = event_us
                self._value[number] = batch.value.item(row)
                self._flags[number] = flags = batch.flags.item(row)
                self._know(number, _HEARD | _BAD if flags & _BAD_FLAG else _HEARD, seq)
                changed = True
        return changed

    def _take_newest(self, batch: Batch, seq: int) -> bool:
        if not len(batch):
            return False
        order = by_series(batch.series)
        series = batch.series[order]
        # Rows of one series rise within a batch, so its last row is its newest.
        last = np.flatnonzero(np.append(series[1:] != series[:-1], True))
        rows, numbers = order[last], series[last].astype(np.intp)
        event_us = batch.event_us[rows]
        newer = event_us > self._event[numbers]
        if not newer.all():
            rows, numbers, event_us = rows[newer], numbers[newer], event_us[newer]
            if not len(numbers):
                return False
        flags = batch.flags[rows]
        self._event[numbers] = event_us
        self._value[numbers] = batch.value[rows]
        self._flags[numbers] = flags
        known = np.where(flags & _BAD_FLAG, np.uint8(_HEARD | _BAD), np.uint8(_HEARD))
        if (self._known[numbers] != known).any():
            self._known[numbers] = known
            self.state_seq = seq
        self.changed[numbers] = seq
        return True

    def _take_odd(self, batch: Batch, row: int, seq: int) -> bool:
        """A revision of the newest reading, or a value whose age nobody knows."""
        number, flags, value = int(batch.series[row]), int(batch.flags[row]), float(batch.value[row])
        known = int(self._known[number])
        if flags & _NO_NEWS:
            return False
        if flags & Flag.REVISED:
            if batch.event_us[row] != self._event[number] or not known & _KNOWN:
                return False
            known = known & ~_BAD | (_BAD if flags & _BAD_FLAG else 0)
        else:
            if value == self._value[number]:
                return False  # the broker repeats what is shown; its known age stays true
            known &= ~_KNOWN
            if not known & _SEEN:
                self._event[number] = NEVER_US
        self._value[number] = value
        self._flags[number] = flags
        self._know(number, known, seq)
        return True

    def _know(self, number: int, known: int, seq: int) -> None:
        if self._known.item(number) != known:
            self._known[number] = known
            self.state_seq = seq
        self.changed[number] = seq

    def refresh(self, stale: Bool, bad: Bool, seq: int) -> bool:
        """The engine's word on silence and quality; whether it changed anything."""
        size = min(len(stale), len(self.names))
        before = self.state
        known = self._known[:size]
        known &= _HEARD
        known[stale[:size]] |= _STALE
        known[bad[:size]] |= _BAD
        differ = self.state != before
        if not differ.any():
            return False
        self.changed[differ] = self.state_seq = seq
        return True

    def silenced(self, number: int, stale: bool, seq: int) -> bool:
        """A rule's word on one series' silence, which comes before the engine is next asked."""
        known = int(self._known[number])
        if bool(known & _STALE) == stale:
            return False
        self._know(number, known ^ _STALE, seq)
        return True

    def alarmed(self, number: int, priority: int, seq: int) -> bool:
        """The worst open alarm of a series changed."""
        if self.priority.item(number) == priority:
            return False
        self.priority[number] = priority
        self.changed[number] = seq
        return True

    def item(self, number: int) -> PointItem:
        """One series as it stands."""
        known = int(self._known[number])
        event_us = int(self._event[number])
        return PointItem(
            series=self.names[number],
            t=None if event_us == NEVER_US else event_us // 1000,
            value=finite(float(self._value[number])),
            flags=int(self._flags[number]),
            age_known=bool(known & _KNOWN),
            state=STATES[_STATE_OF[known]],
            priority=int(self.priority[number]),
        )

    def text(self, number: int) -> str:
        """That item as JSON, encoded once for all screens."""
        changed = self.changed.item(number)
        made = self._texts.get(number)
        if made is None or made[0] != changed:
            made = self._texts[number] = changed, text_of(self.item(number))
        return made[1]
