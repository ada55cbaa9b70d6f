"""Which levels each cell has had at which event time: what a late sample is held against."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from typing import Final

from ioc.rules.spec import LEVELS_MAX

ENTRIES_MAX: Final = 64
"""How many changes of one cell are kept."""
SPAN_US: Final = 6 * 3_600_000_000
"""How far back they reach, in event time; well beyond any lateness bound."""

_BITS: Final = LEVELS_MAX
_ALL: Final = (1 << _BITS) - 1
_EVER: Final = -(1 << 57)
"""The event time of the first entry of a cell: no level was on before anything was seen."""


class Past:
    """Per cell the changes of its levels in event order, as `event_us << LEVELS_MAX | levels`."""

    def __init__(self) -> None:
        self.cells: dict[int, array[int]] = {}

    def note(self, cell: int, event_us: int, mask: int) -> None:
        """From this event time on these levels are on."""
        entries = self.cells.get(cell)
        if entries is None:
            entries = self.cells[cell] = array("q", (_EVER << _BITS,))
        # What a neighbour's sample brought about may be of an earlier event time.
        event_us = max(event_us, entries[-1] >> _BITS)
        entries.append(event_us << _BITS | mask)
        # The entry at the bound stays: it says what was on when the span begins.
        last, bound = len(entries) - 1, (event_us - SPAN_US + 1) << _BITS
        forgotten = last + 1 - ENTRIES_MAX if last >= ENTRIES_MAX else 0
        while forgotten < last and entries[forgotten + 1] < bound:
            forgotten += 1
        if forgotten:
            del entries[:forgotten]

    def around(self, cell: int, event_us: int) -> tuple[int, int] | None:
        """The levels just before an event time and at it; None where they are forgotten."""
        entries = self.cells.get(cell)
        if entries is None:
            return 0, 0
        before = bisect_left(entries, event_us << _BITS) - 1
        if before < 0:
            return None
        at = bisect_right(entries, event_us << _BITS | _ALL) - 1
        return entries[before] & _ALL, entries[at] & _ALL

    def restore(self, cell: int, entries: Iterable[int]) -> None:
        """Back to what `cells` held of one cell."""
        self.cells[cell] = array("q", entries)
