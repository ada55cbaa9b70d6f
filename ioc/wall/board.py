"""`Board`: the open alarms as screens see them, by id and by asset, and when each last changed."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

from ioc.model.alarm import Alarm, State
from ioc.wall.given import Presenter
from ioc.wall.wire import CountItem, text_of

UNACKED = frozenset({State.UNACKED, State.RETURNED})
"""What still waits for somebody to acknowledge it."""

REMOVED_MAX: Final = 10_000
"""Closed alarms of which a screen that resumes is told."""

Order = tuple[bool, int, int, str]


def order_of(alarm: Alarm) -> Order:
    """Unacknowledged first, then by priority, then the longest waiting."""
    return alarm.state not in UNACKED, alarm.priority, alarm.raised_us, alarm.id


class Board:
    """Every open alarm once. `changed` runs from the longest unchanged to the last changed."""

    def __init__(self) -> None:
        self.alarms: dict[str, Alarm] = {}
        self.changed: dict[str, int] = {}
        self.floor_seq = 0
        """Nobody can resume from before this seq: closings after it have been forgotten."""
        self._removed: deque[tuple[int, str, str]] = deque()
        self._by_asset: dict[str, dict[str, Alarm]] = {}
        self._texts: dict[str, str] = {}

    def put(self, alarm: Alarm, seq: int) -> None:
        """An alarm as it now stands."""
        self.alarms[alarm.id] = alarm
        self.changed.pop(alarm.id, None)
        self.changed[alarm.id] = seq
        self._texts.pop(alarm.id, None)
        self._by_asset.setdefault(alarm.asset, {})[alarm.id] = alarm

    def drop(self, alarm_id: str, seq: int) -> None:
        """An alarm has closed."""
        alarm = self.alarms.pop(alarm_id, None)
        if alarm is None:
            return
        del self.changed[alarm_id]
        self._texts.pop(alarm_id, None)
        others = self._by_asset[alarm.asset]
        del others[alarm_id]
        if not others:
            del self._by_asset[alarm.asset]
        self._removed.append((seq, alarm_id, alarm.asset))
        if len(self._removed) > REMOVED_MAX:
            self.floor_seq = self._removed.popleft()[0]

    def of_asset(self, asset: str) -> list[str]:
        """Ids of the open alarms of one asset."""
        return list(self._by_asset.get(asset, ()))

    def removed_since(self, seq: int) -> list[tuple[str, str]]:
        """Id and asset of what closed after `seq`, oldest first."""
        out: list[tuple[str, str]] = []
        for at, alarm_id, asset in reversed(self._removed):
            if at <= seq:
                break
            out.append((alarm_id, asset))
        out.reverse()
        return out

    def touch_all(self, seq: int) -> None:
        """The words of all of them have changed."""
        self._texts.clear()
        self.changed = dict.fromkeys(self.changed, seq)

    def since(self, seq: int) -> list[Alarm]:
        """Open alarms that changed after `seq`, the earlier change first."""
        out: list[Alarm] = []
        for alarm_id in reversed(self.changed):
            if self.changed[alarm_id] <= seq:
                break
            out.append(self.alarms[alarm_id])
        out.reverse()
        return out

    def priority_of(self, asset: str) -> int:
        """Of the worst open alarm of an asset; 0 for none."""
        alarms = self._by_asset.get(asset)
        return min([alarm.priority for alarm in alarms.values()]) if alarms else 0

    def text(self, alarm: Alarm, presenter: Presenter) -> str:
        """An alarm as JSON, encoded once for all screens."""
        text = self._texts.get(alarm.id)
        if text is None:
            text = self._texts[alarm.id] = text_of(presenter.alarm(alarm))
        return text


def counts(alarms: Iterable[Alarm]) -> dict[str, CountItem]:
    """Open and unacknowledged ones of each priority, all four."""
    opened, unacked = [0] * 5, [0] * 5
    for alarm in alarms:
        opened[alarm.priority] += 1
        unacked[alarm.priority] += alarm.state in UNACKED
    return {str(p): CountItem(opened[p], unacked[p]) for p in range(1, 5)}
