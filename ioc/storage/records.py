"""The rare rows: series, packs, quarantine, the journal and the alarms as they stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from ioc.model.alarm import State, Step, Transition
from ioc.model.inputs import Input, PackLoaded, Rejected, SeriesAdded
from ioc.storage import rows
from ioc.storage.connection import Connection

_JOURNAL: Final = f"""
INSERT INTO journal (seq, id, number, at, event_time, alarm, rule, asset, occurrence, step, kind, before, after,
                     condition, level, priority, value, "limit", sounds, backlog, actor, actor_name, note, detail)
VALUES ({", ".join(f"${i}" for i in range(1, 25))}) ON CONFLICT DO NOTHING
"""

# What a step does to its alarm is told by its kind; ioc/alerts/lifecycle.py is where it was decided. An onset on an
# alarm that is known can only be that onset again.
_ALARM: Final = """
INSERT INTO alarms AS a (id, rule, asset, occurrence, version, open, state, condition, level, priority, value,
                         "limit", raised_at, onset_event_time, changed_at, backlog, confirmed,
                         acked_by, acked_by_name, acked_at, note, detail)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22)
ON CONFLICT (id) DO UPDATE SET
    version = excluded.version, open = excluded.open, state = excluded.state, condition = excluded.condition,
    level = excluded.level, priority = excluded.priority, value = excluded.value, "limit" = excluded."limit",
    changed_at = excluded.changed_at,
    backlog = CASE WHEN $23 = 'worse' THEN excluded.backlog ELSE a.backlog END,
    confirmed = CASE $23 WHEN 'worse' THEN excluded.confirmed WHEN 'confirmed' THEN true ELSE a.confirmed END,
    acked_by = CASE WHEN $23 IN ('ack', 'worse') THEN excluded.acked_by ELSE a.acked_by END,
    acked_by_name = CASE WHEN $23 IN ('ack', 'worse') THEN excluded.acked_by_name ELSE a.acked_by_name END,
    acked_at = CASE WHEN $23 IN ('ack', 'worse') THEN excluded.acked_at ELSE a.acked_at END,
    note = CASE WHEN $23 IN ('ack', 'worse') THEN excluded.note ELSE a.note END,
    detail = CASE WHEN $23 IN ('worse', 'better', 'confirmed') AND excluded.detail <> ''
                  THEN excluded.detail ELSE a.detail END
WHERE a.version < excluded.version
"""

_SUPERSEDE: Final = (
    "UPDATE alarms SET open = false WHERE rule = $1 AND asset = $2 AND occurrence < $3 AND open"
)

# A late sample's figures are its own; the alarm only notes that there was a step.
_CORRECT: Final = "UPDATE alarms SET version = $2, changed_at = $3 WHERE id = $1 AND version < $2"


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
    await db.executemany(_JOURNAL, [rows.journal_row(seq, t) for seq, t in outputs])
    for _, transition in outputs:
        if transition.kind is Step.CORRECTION:
            await db.execute(_CORRECT, transition.alarm, transition.step, transition.now_us)
            continue
        if transition.kind is Step.ONSET:
            await db.execute(_SUPERSEDE, transition.rule, transition.asset, transition.occurrence)
        await db.execute(_ALARM, *_alarm(transition))


def _alarm(t: Transition) -> tuple[Any, ...]:
    onset = t.kind is Step.ONSET
    ack = t.kind is Step.ACK
    return (
        t.alarm,
        rows.text(t.rule),
        rows.text(t.asset),
        t.occurrence,
        t.step,
        t.after is not State.NORMAL,
        t.after.value,
        t.condition.value,
        t.level,
        t.priority,
        t.value,
        t.limit,
        t.now_us if onset else None,
        t.event_us if onset else None,
        t.now_us,
        t.backlog,
        not t.backlog,
        rows.text(t.actor) if ack else "",
        rows.text(t.actor_name) if ack else "",
        t.now_us if ack else None,
        rows.text(t.note) if ack else "",
        rows.text(t.detail),
        t.kind.value,
    )
