"""Where a record came from, as text in its `origin`: `mqtt#7`, `http#…`, `reinject#8123`, or a Kafka source's offsets.

A Kafka source writes `kafka@{topic}:{partition}={next offset},…` for each partition of a fetch, so that the log itself
says where to go on: after a crash nothing is lost and nothing doubled.
"""

from __future__ import annotations

from collections.abc import Mapping

OFFSETS_MARK = "@"
REINJECT = "reinject#"

Offsets = dict[tuple[str, int], int]
"""By topic and partition: the offset of the next record to take."""


def of_offsets(name: str, offsets: Mapping[tuple[str, int], int]) -> str:
    """The origin of what one fetch of a source brought."""
    places = ",".join(f"{topic}:{partition}={offset}" for (topic, partition), offset in offsets.items())
    return f"{name}{OFFSETS_MARK}{places}"


def offsets(origin: str) -> Offsets:
    """The offsets that an origin bears; none for other origins."""
    _, mark, places = origin.partition(OFFSETS_MARK)
    if not mark:
        return {}
    out: Offsets = {}
    for place in places.split(","):
        where, _, offset = place.rpartition("=")
        topic, _, partition = where.rpartition(":")
        out[topic, int(partition)] = int(offset)
    return out


def joined(first: str, second: str) -> str | None:
    """The origin of a record that holds both, the second after the first; None if one record cannot say so."""
    if first == second:
        return first
    name, mark, _ = first.partition(OFFSETS_MARK)
    if not mark or not second.startswith(name + mark):
        return None
    return of_offsets(name, offsets(first) | offsets(second))


def reinjected(origin: str) -> int | None:
    """The number of the quarantined record that this one takes up again, if it is such a one."""
    return int(origin.removeprefix(REINJECT)) if origin.startswith(REINJECT) else None
