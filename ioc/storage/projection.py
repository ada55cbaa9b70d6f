"""`Projection`: applies the log's input and output to one database, each record exactly once.

Each transaction begins by moving the numbers applied from where they stood to where they will stand, and does nothing
else if somebody else has moved them meanwhile. So a crash, a second projection or a lost answer to a COMMIT can neither
double nor drop a row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from ioc.errors import IocError
from ioc.model.alarm import Transition
from ioc.model.batch import Batch
from ioc.model.inputs import Input
from ioc.storage import records, rows
from ioc.storage.connection import Connection
from ioc.storage.migrate import migrate
from ioc.storage.readings import ReadingsTable
from ioc.storage.source import LogSource

RECORDS_MAX: Final = 2_000
ROWS_MAX: Final = 20_000
"""How much one transaction takes: large enough for COPY to pay, small enough to commit within a tenth of a second."""
STEPS_MAX: Final = 2_000

_NAME: Final = "postgres"


class ForeignLog(IocError):
    """The database holds what another log brought; writing to it would mix the two."""

    def __init__(self, why: str) -> None:
        super().__init__(f"this database belongs to another log: {why}")


class Moved(IocError):
    """Another projection has moved the numbers applied; start again from where they stand."""


@dataclass(frozen=True, slots=True)
class Applied:
    """How far the database has input and output; `now_us` is the core's time of the last record."""

    number: int = 0
    seq: int = 0
    now_us: int = 0


@dataclass(frozen=True, slots=True)
class Portion:
    """What goes into one transaction."""

    inputs: Sequence[Input]
    outputs: Sequence[tuple[int, Transition]]
    lost: int = 0
    """How many steps before these the log no longer keeps."""
    numbers: Mapping[str, int] = field(default_factory=dict)
    """Series that records before these have named, if the log no longer keeps such records."""

    def __bool__(self) -> bool:
        return bool(self.inputs or self.outputs or self.lost)

    def after(self, before: Applied) -> Applied:
        """How far the database is once it has this."""
        return Applied(
            self.inputs[-1].number if self.inputs else before.number,
            self.outputs[-1][0] if self.outputs else before.seq + self.lost,
            self.inputs[-1].now_us if self.inputs else before.now_us,
        )

    @property
    def full(self) -> bool:
        """Whether more is sure to wait behind it."""
        return (
            len(self.inputs) >= RECORDS_MAX
            or len(self.outputs) >= STEPS_MAX
            or _rows(self.inputs) >= ROWS_MAX
        )


def check(log: LogSource, applied: Applied) -> None:
    """Raises ForeignLog unless what is applied came from this log, as far as it is still kept."""
    if applied.number > log.last_number:
        raise ForeignLog(f"it has record {applied.number}, and this log ends with {log.last_number}")
    if applied.number >= max(1, log.first_number):
        last = next(iter(log.read(applied.number - 1, 1)))
        if last.now_us != applied.now_us:
            raise ForeignLog(f"its record {applied.number} is not the one of this log")


def take(log: LogSource, applied: Applied) -> Portion:
    """The next portion after what is applied. A database that begins late begins with what the log still keeps.

    Input never goes further than the output that it caused: retention deletes what lies before the number applied.
    """
    # Asked before the output is read: what an input caused may else be written between the two.
    end = log.last_number
    lost = max(0, log.first_seq - 1 - applied.seq)
    outputs = list(log.outputs(applied.seq + lost, STEPS_MAX))
    if len(outputs) >= STEPS_MAX:
        end = min(end, outputs[-1][1].input - 1)
    after = max(applied.number, log.first_number - 1)
    inputs: list[Input] = []
    taken = 0
    for record in log.read(after, max(0, min(RECORDS_MAX, end - after))):
        inputs.append(record)
        taken += len(record.body) if isinstance(record.body, Batch) else 0
        if taken >= ROWS_MAX:
            break
    return Portion(inputs, outputs, lost, log.numbers() if inputs and after > applied.number else {})


class Projection:
    """One database, reached by one connection that nobody else uses."""

    def __init__(
        self, connection: Connection, readings: ReadingsTable, applied: Applied, lost: int = 0
    ) -> None:
        self._db = connection
        self.readings = readings
        self.applied = applied
        self.lost = lost
        """How many steps up to the one applied the database lacks for ever."""

    @staticmethod
    async def of(connection: Connection) -> Projection:
        """Bring the schema up to date and find out how far the database is. Raises SchemaMismatch."""
        await migrate(connection)
        await connection.execute(
            "INSERT INTO projection (name, applied_number, applied_seq, applied_now_us) VALUES ($1, 0, 0, 0)"
            " ON CONFLICT DO NOTHING",
            _NAME,
        )
        row = await connection.fetchrow(
            "SELECT applied_number, applied_seq, applied_now_us FROM projection WHERE name = $1", _NAME
        )
        assert row is not None
        applied = Applied(*row.values())
        # The journal is append-only, so it lacks just what never came. Counted, lest a restart forget the loss.
        held = await connection.fetchval("SELECT count(*) FROM journal WHERE seq <= $1", applied.seq)
        return Projection(connection, await ReadingsTable.of(connection), applied, applied.seq - held)

    async def apply(self, portion: Portion) -> None:
        """One transaction: the numbers and everything they bring. Raises Moved, and then has changed nothing."""
        if not portion:
            return
        before, after = self.applied, portion.after(self.applied)
        try:
            async with self._db.transaction():
                await self._move(before, after)
                await self._write(portion)
        except BaseException:
            self.readings.forget()
            raise
        self.applied = after
        self.lost += portion.lost

    async def _move(self, before: Applied, after: Applied) -> None:
        moved = await self._db.fetchval(
            "UPDATE projection SET applied_number = $4, applied_seq = $5, applied_now_us = $6"
            " WHERE name = $1 AND applied_number = $2 AND applied_seq = $3 RETURNING true",
            _NAME,
            before.number,
            before.seq,
            after.number,
            after.seq,
            after.now_us,
        )
        if not moved:
            raise Moved("another projection writes to this database")

    async def _write(self, portion: Portion) -> None:
        await records.write_numbers(self._db, portion.numbers)
        await records.write_inputs(self._db, portion.inputs)
        batches = [r.body for r in portion.inputs if isinstance(r.body, Batch)]
        await self.readings.write(rows.stored(batches))
        await records.write_outputs(self._db, portion.outputs)


def _rows(inputs: Sequence[Input]) -> int:
    return sum(len(r.body) for r in inputs if isinstance(r.body, Batch))
