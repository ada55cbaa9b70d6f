"""What the log holds, as rows of PostgreSQL: readings as binary COPY built by numpy, everything else as tuples. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from ioc.model.alarm import Transition
from ioc.model.batch import I64, NOT_STORED, Batch, Bool, Flag
from ioc.model.event import Event
from ioc.model.inputs import Rejected

EPOCH_US: Final = 946_684_800_000_000
"""PostgreSQL counts from 2000-01-01."""
FIRST_US: Final = -210_866_803_200_000_000
LAST_US: Final = 9_223_371_331_200_000_000 - 1
"""The earliest and latest time that both PostgreSQL and TimescaleDB hold; what lies outside is stored as these."""

WEEK_US: Final = 7 * 24 * 3600 * 1_000_000
_MONDAY_US: Final = 4 * 24 * 3600 * 1_000_000
"""1970 began on a Thursday."""
FIRST_WEEK: Final = 1_565
LAST_WEEK: Final = 6_782
"""Weeks with a partition of their own: from Monday 2000-01-03 to the one before Monday 2100-01-04."""

STAGED: Final = int(Flag.REVISED | Flag.TOO_LATE)
"""Rows with any of these may meet a stamp that the table knows."""

COLUMNS: Final = ("event_time", "received_time", "value", "series", "flags", "revision")
STAGE_COLUMNS: Final = (*COLUMNS, "ordinal")

_HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER: Final = b"\xff\xff"
_WIDTHS: Final = (("event", 8), ("received", 8), ("value", 8), ("series", 4), ("flags", 2), ("revision", 2))


def _layout(*more: tuple[str, int]) -> np.dtype[Any]:
    parts: list[tuple[str, str]] = [("fields", ">i2")]
    for name, width in (*_WIDTHS, *more):
        parts += [(f"{name}_width", ">i4"), (name, ">f8" if name == "value" else f">i{width}")]
    return np.dtype(parts)


_ROW: Final = _layout()
_STAGE_ROW: Final = _layout(("ordinal", 4))


def stored(batches: Iterable[Batch]) -> Batch:
    """The rows that belong into `readings`, of all batches, in their order; the sources' names are gone."""
    kept = [b if not (b.flags & NOT_STORED).any() else b.take((b.flags & NOT_STORED) == 0) for b in batches]
    if not kept:
        return Batch.of("", [], [], [], [])
    return Batch.concat(
        Batch("", b.series, b.event_us, b.received_us, b.value, b.flags, b.revision) for b in kept
    )


def staged(batch: Batch) -> Bool:
    """Which rows the database has to decide on."""
    found: Bool = (batch.flags & STAGED) != 0
    return found


def copy_bytes(batch: Batch) -> bytes:
    """The rows in PostgreSQL's binary COPY format, for COLUMNS."""
    return _packed(batch, _ROW)


def stage_copy_bytes(batch: Batch) -> bytes:
    """The same for STAGE_COLUMNS: `ordinal` is the row's place, so that the database keeps the order of receipt."""
    return _packed(batch, _STAGE_ROW)


def _packed(batch: Batch, layout: np.dtype[Any]) -> bytes:
    assert layout.names is not None
    table = np.empty(len(batch), layout)
    table["fields"] = len(layout.names) // 2
    for name in layout.names[1::2]:
        table[name] = layout[name.removesuffix("_width")].itemsize
    table["event"] = _pg_us(batch.event_us)
    table["received"] = _pg_us(batch.received_us)
    table["value"] = batch.value
    table["series"] = batch.series
    table["flags"] = batch.flags
    table["revision"] = np.minimum(batch.revision, np.iinfo(np.int16).max)
    if "ordinal" in layout.names:
        table["ordinal"] = np.arange(len(batch))
    return b"".join((_HEADER, table.tobytes(), _TRAILER))


def _pg_us(times_us: I64) -> I64:
    return np.clip(times_us, FIRST_US, LAST_US) - EPOCH_US


def weeks(event_us: npt.NDArray[np.int64]) -> list[int]:
    """The weeks, counted from 1970-01-05, that need a partition of their own for these stamps."""
    found = np.unique((np.clip(event_us, FIRST_US, LAST_US) - _MONDAY_US) // WEEK_US)
    return [int(week) for week in found if FIRST_WEEK <= week <= LAST_WEEK]


def week_bounds_us(week: int) -> tuple[int, int]:
    """When a week begins, and when the next one does."""
    start = _MONDAY_US + week * WEEK_US
    return start, start + WEEK_US


def text(value: str) -> str:
    """What PostgreSQL takes as text: it knows no NUL and no half of a surrogate pair."""
    if "\0" in value:
        value = value.replace("\0", "\N{SYMBOL FOR NULL}")
    return value if value.isascii() else value.encode("utf-8", "replace").decode("utf-8")


def quarantine_row(number: int, body: Rejected) -> tuple[Any, ...]:
    """For `quarantine`, in the order of its columns."""
    return (
        number,
        body.received_us,
        text(body.source),
        text(body.topic),
        body.reason.value,
        text(body.detail),
        body.item,
        body.length,
        body.payload,
    )


def event_row(number: int, event: Event) -> tuple[Any, ...]:
    """For `events`, in the order of its columns; facts as JSON."""
    return (
        event.domain,
        event.station,
        event.kind,
        text(event.id),
        event.revision,
        number,
        text(event.source),
        event.start_us,
        event.end_us or None,
        event.received_us,
        msgspec.json.encode(_plain(event.facts)).decode(),
    )


def _plain(value: Any) -> Any:
    """A fact, its texts as PostgreSQL takes them."""
    match value:
        case str():
            return text(value)
        case dict():
            return {text(key): _plain(part) for key, part in value.items()}
        case list():
            return [_plain(part) for part in value]
        case _:
            return value


def journal_row(seq: int, t: Transition) -> tuple[Any, ...]:
    """For `journal`, in the order of its columns."""
    return (
        seq,
        t.id,
        t.input,
        t.now_us,
        t.event_us,
        t.alarm,
        text(t.rule),
        text(t.asset),
        t.occurrence,
        t.step,
        t.kind.value,
        t.before.value,
        t.after.value,
        t.condition.value,
        t.level,
        t.priority,
        t.value,
        t.limit,
        t.sounds,
        t.backlog,
        text(t.actor),
        text(t.actor_name),
        text(t.note),
        text(t.detail),
    )
