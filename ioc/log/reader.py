"""`LogReader`: the log read-only, from any process, while its owner writes, changes segment and deletes old ones.

Every query is a short transaction: one kept open would let the writer's WAL grow without bound.
"""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from bisect import bisect_right
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, TypeVar

from ioc.errors import LogDamaged, LogError
from ioc.log import frame, record, segment
from ioc.model import Input, Transition

CHUNK_ROWS: Final = 500
CHUNK_BYTES: Final = 4 << 20

_INPUTS: Final = (
    "SELECT number, now_us, kind, origin, body FROM input WHERE number >= ? ORDER BY number LIMIT ?"
)
_OUTPUTS: Final = "SELECT seq, number, body, chain FROM output WHERE seq >= ? ORDER BY seq LIMIT ?"

Row = tuple[Any, ...]
Segments = list[tuple[int, Path]]
T = TypeVar("T")


class SegmentGone(Exception):
    """The segment was deleted since the folder was listed; list it again."""


class LogReader:
    """A log folder that this process does not own. An absent folder is an empty log. Safe to use from threads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.RLock()
        self._open: dict[Path, sqlite3.Connection] = {}
        self._heads: dict[Path, segment.Head] = {}

    def close(self) -> None:
        """Closes its file; reading goes on if it is asked for."""
        with self._lock:
            for db in self._open.values():
                db.close()
            self._open.clear()

    @property
    def first_number(self) -> int:
        """The number of the oldest record still kept (of the first to come, in an empty log)."""
        segments = segment.listing(self.folder)
        return segments[0][0] if segments else segment.FIRST.first_number

    @property
    def last_number(self) -> int:
        """The number of the newest record; 0 if there has never been one."""
        return self._newest("SELECT max(number) FROM input", lambda head: head.first_number - 1)

    @property
    def last_now_us(self) -> int:
        """`now_us` of the newest record; 0 if there has never been one."""
        return self._newest(
            "SELECT now_us FROM input ORDER BY number DESC LIMIT 1", lambda head: head.last_now_us
        )

    @property
    def last_output_seq(self) -> int:
        """The number of the newest journal entry; 0 if there has never been one."""
        return self._newest("SELECT max(seq) FROM output", lambda head: head.first_seq - 1)

    def head(self, number: int, path: Path) -> segment.Head:
        """What the segment that begins with `number` says of itself."""
        if path not in self._heads:
            ((version,),) = self.query(number, path, "PRAGMA user_version")
            if version > segment.VERSION:
                raise LogError(
                    f"the log's file {path.name} has format {version}; this build reads format {segment.VERSION}"
                )
            rows = self.query(
                number, path, "SELECT first_number, last_now_us, first_seq, chain, pack FROM segment"
            )
            if not rows or rows[0][0] != number:
                raise LogDamaged(number, "its segment does not say where it begins, or bears another's name")
            self._heads[path] = segment.Head(*rows[0])
        return self._heads[path]

    def read(self, after: int, limit: int | None = None) -> Iterator[Input]:
        """The records after number `after`, in order, up to the newest. Raises LogDamaged at the first bad one."""
        number, end = after + 1, None if limit is None else after + 1 + limit
        while end is None or number < end:
            rows = self._records(number, CHUNK_ROWS if end is None else min(CHUNK_ROWS, end - number))
            if not rows:
                return
            for row in rows:
                if row[0] != number:
                    raise LogDamaged(number, f"is missing; the next is record {row[0]}")
                yield _decode(row)
                number += 1

    def outputs(self, after_seq: int, limit: int | None = None) -> Iterator[tuple[int, Transition]]:
        """The journal entries after `after_seq` with their numbers, the hash chain verified."""
        seq, end = after_seq + 1, None if limit is None else after_seq + 1 + limit
        chain: bytes | None = None
        while end is None or seq < end:
            rows, before = self._entries(seq, CHUNK_ROWS if end is None else min(CHUNK_ROWS, end - seq))
            for own_seq, number, body, own_chain in rows:
                if own_seq != seq:
                    raise LogDamaged(number, f"journal entry {seq} is missing; the next is {own_seq}")
                if (
                    not isinstance(body, bytes)
                    or not isinstance(before, bytes)
                    or chain not in (None, before)
                ):
                    raise LogDamaged(number, f"the journal's hash chain breaks before entry {seq}")
                chain = before = hashlib.sha256(before + body).digest()
                if chain != own_chain:
                    raise LogDamaged(number, f"the journal's hash chain breaks at entry {seq}")
                yield seq, record.decode_transition(seq, number, body)
                seq += 1
            if not rows:
                return

    def blob(self, name: str) -> bytes | None:
        """The bytes of this sha-256, or None if no segment holds them."""

        def look(segments: Segments) -> bytes | None:
            for number, path in reversed(segments):
                rows = self.query(number, path, "SELECT body FROM blob WHERE hash = ?", name)
                if rows:
                    return unpack_blob(number, name, rows[0][0])
            return None

        return self._stable(look)

    def query(self, number: int, path: Path, sql: str, *values: Any) -> list[Row]:
        """What the segment that begins with `number` answers, in one short transaction.

        The transaction ends when CHUNK_BYTES of bodies have come. Raises SegmentGone if the file was deleted.
        """
        rows: list[Row] = []
        with self._lock:
            try:
                with segment.damage(number):
                    cursor = self._connection(path).execute(sql, values)
                    size = 0
                    for row in cursor:
                        rows.append(row)
                        size += sum(len(cell) for cell in row if isinstance(cell, bytes))
                        if size >= CHUNK_BYTES:
                            break
                    cursor.close()
            except sqlite3.Error as error:
                if not path.exists():
                    raise SegmentGone from error
                raise LogError(f"the log's file {path} cannot be read: {error}") from error
        return rows

    def _records(self, number: int, limit: int) -> list[Row]:
        def look(segments: Segments) -> list[Row]:
            at = bisect_right([first for first, _ in segments], number) - 1
            if not segments:
                return []
            if at < 0:
                raise LogDamaged(number, f"is no longer kept; the log begins with record {segments[0][0]}")
            rows = self.query(*segments[at], _INPUTS, number, limit)
            # A segment gets no record once the next exists, and the listing is older than the query.
            if not rows and at + 1 < len(segments):
                raise LogDamaged(number, f"is missing; the next segment begins with {segments[at + 1][0]}")
            return rows

        return self._stable(look)

    def _entries(self, seq: int, limit: int) -> tuple[list[Row], bytes]:
        """Entries from `seq` on that one segment holds, and the chain before them."""

        def look(segments: Segments) -> tuple[list[Row], bytes]:
            after = 0
            for number, path in reversed(segments):
                head = self.head(number, path)
                if head.first_seq > seq:
                    after = number
                    continue
                rows = self.query(number, path, _OUTPUTS, seq, limit)
                if not rows and after:
                    raise LogDamaged(after - 1, f"journal entry {seq} is missing")
                if not rows or head.first_seq == seq:
                    return rows, head.chain
                before = self.query(number, path, "SELECT chain FROM output WHERE seq = ?", seq - 1)
                if not before:
                    raise LogDamaged(rows[0][1], f"journal entry {seq - 1} is missing")
                return rows, before[0][0]
            if segments:
                raise LogDamaged(segments[0][0], f"journal entry {seq} is no longer kept")
            return [], segment.GENESIS

        return self._stable(look)

    def _newest(self, sql: str, otherwise: Callable[[segment.Head], int]) -> int:
        def look(segments: Segments) -> int:
            if not segments:
                return 0
            rows = self.query(*segments[-1], sql)
            value: int | None = rows[0][0] if rows else None
            return otherwise(self.head(*segments[-1])) if value is None else value

        return self._stable(look)

    def _stable(self, look: Callable[[Segments], T]) -> T:
        """Looks into the segments there are, once more whenever one is deleted meanwhile."""
        while True:
            segments = segment.listing(self.folder)
            with self._lock:
                # A connection to a deleted file would keep its space from being freed.
                for path in self._open.keys() - {path for _, path in segments}:
                    self._open.pop(path).close()
            try:
                return look(segments)
            except SegmentGone:
                continue

    def _connection(self, path: Path) -> sqlite3.Connection:
        """To one segment at a time: one that is open cannot be sealed."""
        if path not in self._open:
            self.close()
            self._open[path] = segment.open_reader(path)
        return self._open[path]


def _decode(row: Row) -> Input:
    number, now_us, kind, origin, body = row
    if not (
        isinstance(now_us, int)
        and isinstance(kind, int)
        and isinstance(origin, str)
        and isinstance(body, bytes)
    ):
        raise LogDamaged(number, "is damaged: its columns are of wrong types")
    return record.decode(number, now_us, kind, body, origin)


def unpack_blob(number: int, name: str, body: Any) -> bytes:
    """A stored blob's bytes. Raises LogDamaged, naming its segment, unless they have the sha-256 `name`."""
    try:
        plain = frame.unpack(body if isinstance(body, bytes) else b"")
    except frame.BadFrame as error:
        raise LogDamaged(number, f"the blob {name} in its segment is damaged: {error}") from error
    if hashlib.sha256(plain).hexdigest() != name:
        raise LogDamaged(number, f"the blob {name} in its segment is not what its name says")
    return plain
