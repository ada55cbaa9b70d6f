"""`Event`: what happened and is not a number; a later revision replaces an earlier one."""

from __future__ import annotations

from typing import Any

import msgspec


class Event(msgspec.Struct, frozen=True):
    """One revision of one event, as a source told it.

    Domain, station, kind and id say which event it is. `kind` is the last part of its topic (`outage`, `spill`),
    `station` as in series ids. Times in microseconds; an event whose end is not known (`end_us` 0) still lasts.
    `facts` are the payload's other keys: JSON of finite numbers, integers within 64 bits.
    """

    source: str
    domain: str
    station: str
    kind: str
    id: str
    revision: int
    start_us: int
    end_us: int
    received_us: int
    facts: dict[str, Any] = {}

    @property
    def key(self) -> tuple[str, str, str, str]:
        """The same for every revision."""
        return self.domain, self.station, self.kind, self.id
