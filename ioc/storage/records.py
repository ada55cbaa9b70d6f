"""The rare rows: series, packs, quarantine, events, the journal and the alarms as they stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import asyncpg

from ioc.model.alarm import Transition
from ioc.model.event import Event
from ioc.model.inputs import Input, PackLoaded, Rejected, SeriesAdded
from ioc.storage import rows
from ioc.storage.connection import Connection
from ioc.storage.standing import fold

_JOURNAL_COLUMNS: Final = (
    "seq", "id", "number", "at", "event_time", "alarm", "rule", "asset", "occurrence", "step", "kind", "before",
    "after", "condition", "level", "priority", "value", "limit", "sounds", "backlog", "actor", "actor_name", "note",
    "detail",
)  # fmt: skip
_JOURNAL: Final = f"""
INSERT INTO journal ({", ".join(f'"{name}"' for name in _JOURNAL_COLUMNS)})
VALUES ({", ".join(f"${i}" for i in range(1, 25))}) ON CONFLICT DO NOTHING
"""

_FIGURES: Final = (
    ("id", "text"), ("version", "int"), ("open", "boolean"), ("state", "text"), ("condition", "text"),
    ("level", "int"), ("priority", "int"), ("value", "float8"), ("limit", "float8"), ("changed_at", "timestamptz"),
)  # fmt: skip
_KEPT: Final = (
    ("backlog", "boolean"), ("confirmed", "boolean"), ("acked_by", "text"), ("acked_by_name", "text"),
    ("acked_at", "timestamptz"), ("note", "text"), ("detail", "text"),
)  # fmt: skip
_ROW: Final = (
    *_FIGURES, ("rule", "text"), ("asset", "text"), ("occurrence", "int"), ("raised_at", "timestamptz"),
    ("onset_event_time", "timestamptz"), *_KEPT,
)  # fmt: skip


def _arrays(columns: Sequence[tuple[str, str]]) -> str:
    """As many rows as one likes, as one parameter for each column."""
    return ", ".join(f"${i}::{kind}[]" for i, (_, kind) in enumerate(columns, 1))


def _names(columns: Sequence[tuple[str, str]]) -> str:
    return ", ".join(f'"{name}"' for name, _ in columns)


# An onset on an alarm that is known can only be that onset again.
_BEGIN: Final = f"""
INSERT INTO alarms AS a ({_names(_ROW)}) SELECT * FROM unnest({_arrays(_ROW)})
ON CONFLICT (id) DO UPDATE SET {", ".join(f'"{name}" = excluded."{name}"' for name, _ in _ROW[1:])}
WHERE a.version < excluded.version
"""
_GO_ON: Final = f"""
UPDATE alarms a SET {", ".join(f'"{name}" = u."{name}"' for name, _ in _FIGURES[1:])},
    backlog = coalesce(u.backlog, a.backlog), confirmed = coalesce(u.confirmed, a.confirmed),
    acked_by = coalesce(u.acked_by, a.acked_by), acked_by_name = coalesce(u.acked_by_name, a.acked_by_name),
    acked_at = CASE WHEN u.acked_by IS NULL THEN a.acked_at ELSE u.acked_at END,
    note = coalesce(u.note, a.note), detail = coalesce(u.detail, a.detail)
FROM unnest({_arrays((*_FIGURES, *_KEPT))}) AS u ({_names((*_FIGURES, *_KEPT))})
WHERE a.id = u.id AND a.version < u.version
"""
_KNOWN: Final = "SELECT id FROM alarms WHERE id = ANY($1::text[])"
_SUPERSEDE: Final = """
UPDATE alarms a SET open = false FROM unnest($1::text[], $2::text[], $3::int[]) AS u (rule, asset, occurrence)
WHERE a.rule = u.rule AND a.asset = u.asset AND a.occurrence < u.occurrence AND a.open
"""
_CORRECT: Final = "UPDATE alarms SET version = $2, changed_at = $3 WHERE id = $1 AND version < $2"

_EVENT: Final = """
INSERT INTO events (domain, station, kind, id, revision, number, source, start_time, end_time, received_time, facts)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT DO NOTHING
"""
_SERIES: Final = "INSERT INTO series (number, id, auto) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"


async def write_numbers(db: Connection, numbers: Mapping[str, int]) -> None:
    """Series whose own records are gone, inside the caller's transaction."""
    # Whether such a series registered itself is not known; if its record does come, that record says so.
    await db.executemany(_SERIES, [(number, series_id, False) for series_id, number in numbers.items()])


async def write_inputs(db: Connection, inputs: Sequence[Input]) -> None:
    """Everything but the readings, inside the caller's transaction."""
    rejected: list[tuple[Any, ...]] = []
    for record in inputs:
        match record.body:
            case Rejected():
                rejected.append(rows.quarantine_row(record.number, record.body))
            case SeriesAdded(items, auto):
                await db.executemany(_SERIES, [(number, series_id, auto) for number, series_id in items])
                if auto:
                    await db.executemany("UPDATE series SET auto = true WHERE number = $1 AND id = $2", items)
            case PackLoaded(hash_, name):
                await db.execute(
                    "INSERT INTO packs (number, hash, name, at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
                    record.number,
                    hash_,
                    rows.text(name),
                    record.now_us,
                )
            case Event() as event:
                # A revision that comes again says nothing new, here as in the pipeline.
                await db.execute(_EVENT, *rows.event_row(record.number, event))
            case _:
                pass
    if rejected:
        await db.executemany(
            "INSERT INTO quarantine (number, received_time, source, topic, reason, detail, item, length, payload)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING",
            rejected,
        )


async def write_outputs(db: Connection, outputs: Sequence[tuple[int, Transition]]) -> None:
    """The journal, and the alarms as these steps leave them, inside the caller's transaction."""
    if not outputs:
        return
    entries = [rows.journal_row(seq, t) for seq, t in outputs]
    try:
        async with db.transaction():
            await db.copy_records_to_table("journal", records=entries, columns=_JOURNAL_COLUMNS)
    except asyncpg.UniqueViolationError:
        await db.executemany(_JOURNAL, entries)
    folded = fold(t for _, t in outputs)
    if folded.onsets:
        abouts = [(rows.text(rule), rows.text(asset), n) for (rule, asset), n in folded.onsets.items()]
        await db.execute(_SUPERSEDE, *_columns(abouts))
    begun = [standing for standing in folded.standing.values() if standing.begun]
    going_on = {t: standing for t, standing in folded.standing.items() if not standing.begun}
    if going_on:
        await db.execute(_GO_ON, *_columns([standing.change() for standing in going_on.values()]))
        # Empty where the log began after the onset: then what can be told of it is told.
        known = {row["id"] for row in await db.fetch(_KNOWN, list(going_on))}
        begun += [standing for alarm, standing in going_on.items() if alarm not in known]
    if begun:
        await db.execute(_BEGIN, *_columns([standing.row() for standing in begun]))
    if folded.corrected:
        corrected = [(alarm, version, at_us) for alarm, (version, at_us) in folded.corrected.items()]
        await db.executemany(_CORRECT, corrected)


def _columns(table: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*table, strict=True)]
