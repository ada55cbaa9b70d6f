"""Which events there are, each at its highest revision. A stage: told events in the order of the log."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from ioc.model import Event

KEPT_MAX: Final = 10_000
"""At most `codecs.event.BYTES_MAX` each, usually some 300 bytes."""
_KEPT_LESS: Final = KEPT_MAX * 9 // 10
"""How many are left when there were too many: sorting them for every new one would let a flood of them take the loop."""


class Events:
    """Events by domain, station, kind and id; of too many, those go first that ended first, and lasting ones last."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str, str, str], Event] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def __iter__(self) -> Iterator[Event]:
        """By what they are."""
        return (event for _, event in sorted(self._kept.items()))

    def find(self, domain: str, station: str, kind: str, id_: str) -> Event | None:
        """The highest revision there has been, while it is remembered."""
        return self._kept.get((domain, station, kind, id_))

    def feed(self, event: Event) -> bool:
        """Whether it says anything new; a revision that is known or older than the one known does not."""
        known = self._kept.get(event.key)
        if known is not None and event.revision <= known.revision:
            return False
        self._kept[event.key] = event
        if len(self._kept) > KEPT_MAX:
            self._kept = {one.key: one for one in sorted(self._kept.values(), key=_staying)[:_KEPT_LESS]}
        return True

    def state(self) -> list[list[Any]]:
        """Every event."""
        return [list(msgspec.structs.astuple(event)) for event in self]

    def restore(self, state: Sequence[Sequence[Any]]) -> None:
        """Back to what `state` gave."""
        events = (Event(*fields) for fields in state)
        self._kept = {event.key: event for event in events}


def _staying(event: Event) -> tuple[bool, int, int, tuple[str, str, str, str]]:
    """Lasting ones first, then the latest to end; of equals the latest to begin."""
    return bool(event.end_us), -event.end_us, -event.start_us, event.key
