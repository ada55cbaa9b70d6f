"""What one step found, until it is put in order: the same for every way of cutting rows into batches."""

from __future__ import annotations

from operator import itemgetter
from typing import Final

from ioc.model.change import Change

Found = tuple[int, int, int, Change]
"""(row of the batch or deadline, the rule's place in the pack, series number, change)."""


_PLACE: Final = itemgetter(0, 1, 2)


def in_order(found: list[Found]) -> list[Change]:
    """By row or deadline, then rule, then series; what one cell says at once keeps its order."""
    return [change for *_, change in sorted(found, key=_PLACE)]
