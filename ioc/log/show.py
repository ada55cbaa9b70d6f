"""The log as people read it: one line a record, for `ioc log show`. Secrets never appear."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

import msgspec
import numpy as np

from ioc.log.record import kind_of
from ioc.model import (
    Batch,
    Body,
    Event,
    Flag,
    Input,
    PackLoaded,
    Rejected,
    SeriesAdded,
    SourceState,
    SystemFact,
    Tick,
)

MASK: Final = "***"
SERIES_SHOWN: Final = 4
"""How many of the series of one record stand in its line; `rows` lists them all."""
FACTS_SHOWN: Final = 200
"""How many letters of an event's facts stand in its line."""
_SECRETS: Final = frozenset({"secret", "digest"})
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Records(Protocol):
    """Anything that reads a log."""

    def read(self, after: int, limit: int | None = None) -> Iterator[Input]:
        """The records after a number, in order."""
        ...


def lines(
    reader: Records,
    first: int,
    last: int | None = None,
    *,
    rows: bool = False,
    names: Mapping[int, str] | None = None,
) -> Iterator[str]:
    """Records `first` to `last` (the newest, if None); with `rows` every reading, by `names` of its series' number."""
    limit = None if last is None else max(0, last - first + 1)
    for item in reader.read(first - 1, limit):
        yield line(item)
        if rows and isinstance(item.body, Batch):
            yield from _rows(item.body, names or {})
        elif rows and isinstance(item.body, SeriesAdded):
            yield from (f"{'':>12}{number}={_printable(name)}" for number, name in item.body.items)


def line(item: Input) -> str:
    """One record: number, time, kind, what it says, and its origin."""
    kind = kind_of(item.body).name.lower()
    origin = f"  [{item.origin}]" if item.origin else ""
    text = f"{item.number:>10}  {time_text(item.now_us)}  {kind:<12}  {_summary(item.body)}{origin}"
    return _printable(text).rstrip()


def time_text(time_us: int) -> str:
    """RFC 3339 UTC with microseconds; the bare number where the calendar ends."""
    try:
        return (_EPOCH + timedelta(microseconds=time_us)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    except OverflowError:
        return f"{time_us} us"


def _summary(body: Body) -> str:
    match body:
        case Batch():
            return _batch(body)
        case Rejected():
            item = f" item {body.item}" if body.item >= 0 else ""
            return f"{body.source} {body.topic}{item}: {body.reason} ({body.length} bytes) {body.detail}"
        case PackLoaded():
            return f"{body.name} {body.hash}"
        case SeriesAdded():
            how = " by themselves" if body.auto else ""
            listed = ", ".join(f"{n}={name}" for n, name in body.items[:SERIES_SHOWN])
            more = ", …" if len(body.items) > SERIES_SHOWN else ""
            return f"{len(body.items)} series{how}: {listed}{more}"
        case SourceState():
            state = "connected" if body.connected else "disconnected"
            return f"{body.source} {state}, connection {body.generation} {body.detail}"
        case SystemFact():
            state = "begins" if body.active else "ends"
            return f"{body.name} of {body.asset} {state}, value {body.value:g} {body.detail}"
        case Tick():
            return ""
        case Event():
            until = time_text(body.end_us) if body.end_us else "…"
            facts = msgspec.json.encode(body.facts).decode() if body.facts else ""
            cut = f"{facts[:FACTS_SHOWN]}…" if len(facts) > FACTS_SHOWN else facts
            return (
                f"{body.source} {body.kind} {body.id} of {body.domain}/{body.station}, revision {body.revision}, "
                f"{time_text(body.start_us)} to {until} {cut}"
            )
        case command:
            fields = command.model_dump(mode="json", exclude={"kind", "actor", "actor_name"})
            said = (
                f"{name}={_masked(name, value)}"
                for name, value in fields.items()
                if value not in ("", [], ())
            )
            return f"{command.kind} by {command.actor}: " + " ".join(said)


def _batch(batch: Batch) -> str:
    if len(batch) == 0:
        return f"{batch.source} 0 readings"
    first, last = int(batch.event_us.min()), int(batch.event_us.max())
    counts = ((flag.name, int(np.count_nonzero(batch.flags & flag.value))) for flag in Flag)
    flags = "".join(f" {name}={count}" for name, count in counts if count)
    return (
        f"{batch.source} {len(batch)} readings of {len(np.unique(batch.series))} series, "
        f"{time_text(first)} to {time_text(last)}{flags}"
    )


def _rows(batch: Batch, names: Mapping[int, str]) -> Iterator[str]:
    columns = zip(
        batch.series.tolist(),
        batch.event_us.tolist(),
        batch.received_us.tolist(),
        batch.value.tolist(),
        batch.flags.tolist(),
        batch.revision.tolist(),
        strict=True,
    )
    for series, event_us, received_us, value, flags, revision in columns:
        known = "|".join(flag.name or "" for flag in Flag if flags & flag)
        text = (
            f"{'':>12}{time_text(event_us)}  {names.get(series, f'series {series}')}  {value!r}"
            f"  received {time_text(received_us)}"
        )
        text += f"  {known}" if known else ""
        text += f"  revision {revision}" if revision else ""
        yield _printable(text)


def _masked(name: str, value: Any) -> str:
    return MASK if name in _SECRETS else str(value)


def _printable(text: str) -> str:
    """Topics and notes come from outside; nothing in them may steer the reader's terminal."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
