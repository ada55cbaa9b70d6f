"""`Tally`: what came of each source, and how fast: the feeds table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from ioc.model import Batch, Flag, SourceState
from ioc.model.batch import DERIVED
from ioc.wall.given import SourceStatus
from ioc.wall.wire import FeedItem, stamp

WINDOW_S: Final = 10
"""Rates are counted over this many whole seconds before now."""

_LATE: Final = int(Flag.LATE | Flag.TOO_LATE)
_REPEAT: Final = int(Flag.REPEAT)
_NOT_TAKEN: Final = int(Flag.REPEAT | Flag.CONFLICT | Flag.LAST_KNOWN)


@dataclass(slots=True)
class _Source:
    connected: bool = False
    since_us: int = 0
    detail: str = ""
    accepted: int = 0
    rejected: int = 0
    late: int = 0
    repeats: int = 0
    last_reason: str = ""
    seconds: dict[int, int] = field(default_factory=dict)
    """Readings received in each of the last seconds."""


class Tally:
    """Counts by source since this view began."""

    def __init__(self) -> None:
        self._sources: dict[str, _Source] = {}

    def _source(self, name: str) -> _Source:
        source = self._sources.get(name)
        if source is None:
            source = self._sources[name] = _Source()
        return source

    def batch(self, batch: Batch, now_us: int) -> None:
        """Judged readings; what the rules computed themselves came by no feed."""
        if batch.source == DERIVED:
            return
        source = self._source(batch.source)
        n = len(batch)
        source.accepted += n
        # Most batches have nothing of this kind, and one row is seen faster without numpy.
        union = batch.flags.item(0) if n == 1 else int(np.bitwise_or.reduce(batch.flags))
        if union & (_NOT_TAKEN | _LATE):
            flags = batch.flags
            source.accepted -= int(np.count_nonzero(flags & _NOT_TAKEN))
            source.late += int(np.count_nonzero(flags & _LATE))
            source.repeats += int(np.count_nonzero(flags & _REPEAT))
        second = now_us // 1_000_000
        source.seconds[second] = source.seconds.get(second, 0) + n
        if len(source.seconds) > 2 * WINDOW_S:
            source.seconds = {s: n for s, n in source.seconds.items() if s > second - 2 * WINDOW_S}

    def rejected(self, name: str, reason: str) -> None:
        """One payload, or one item of it, that could not be taken."""
        source = self._source(name)
        source.rejected += 1
        source.last_reason = reason

    def state(self, state: SourceState, now_us: int) -> None:
        """A source came or went."""
        if state.withdrawn:
            self._sources.pop(state.source, None)
            return
        source = self._source(state.source)
        source.connected = state.connected
        source.since_us = now_us
        source.detail = state.detail

    def rate(self, now_us: int) -> float:
        """Readings a second, of all sources."""
        return round(sum(_rate(source, now_us) for source in self._sources.values()), 1)

    def items(self, now_us: int, status: Mapping[str, SourceStatus]) -> list[FeedItem]:
        """The feeds table by name of the source."""
        out: list[FeedItem] = []
        for name in sorted({*self._sources, *status}):
            source = self._sources.get(name) or _Source()
            shell = status.get(name) or SourceStatus()
            out.append(
                FeedItem(
                    source=name,
                    kind=shell.kind or name.partition(":")[0],
                    connected=source.connected,
                    state=shell.state,
                    lag=shell.lag,
                    since=stamp(source.since_us) if source.since_us else None,
                    detail=source.detail,
                    rate=round(_rate(source, now_us), 1),
                    accepted=source.accepted,
                    rejected=source.rejected,
                    late=source.late,
                    repeats=source.repeats,
                    shed=shell.shed,
                    last_error=shell.last_error or source.last_reason,
                )
            )
        return out


def _rate(source: _Source, now_us: int) -> float:
    second = now_us // 1_000_000
    return sum(n for s, n in source.seconds.items() if second - WINDOW_S <= s < second) / WINDOW_S
