"""`SqliteLog`: the log on one machine, a folder of SQLite segments that one process owns and writes.

A commit is one durable transaction. The next segment is made as soon as one is full, beside the commits, and the old
one is closed by the keeper, so that changing segment stalls nobody.
"""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Final

from ioc.errors import LogError, LogWriteFailed
from ioc.log import frame, mounts, record, segment, verify
from ioc.log.keeper import Keeper
from ioc.log.lock import Lock
from ioc.log.reader import LogReader
from ioc.model import Input, PackLoaded, Transition

__all__ = ["SEGMENT_BYTES", "LogReader", "SqliteLog"]

SEGMENT_BYTES: Final = 256 << 20
_ROW_BYTES: Final = 32
"""What a row costs beside its body."""


class SqliteLog:
    """The log, owned. Synchronous; `commit` may be called from any thread, one at a time."""

    def __init__(self, folder: Path, segment_bytes: int, lock: Lock) -> None:
        self.folder = folder
        self._segment_bytes = segment_bytes
        self._owner = lock
        self._mutex = threading.Lock()
        self._retiring = threading.Lock()
        self._reader = LogReader(folder)
        self._keeper = Keeper(self._mutex)
        self._maker = ThreadPoolExecutor(1, thread_name_prefix="log-segment")
        self._next: Future[tuple[Path, sqlite3.Connection]] | None = None
        self._db: sqlite3.Connection | None = None
        self._doubt = False
        """A commit failed: something of it may still lie in the file, and goes with the next commit."""
        self._closed = False

    @classmethod
    def open(
        cls, folder: Path, *, segment_bytes: int = SEGMENT_BYTES, mount_of: mounts.Lookup = mounts.mount_of
    ) -> SqliteLog:
        """Takes the folder, made if absent, and checks that its numbers are unbroken.

        Raises LogUnsuitable, LogOwned, LogDamaged, or LogError with the reason. Each record's checksum is verified
        when it is read; `verify` reads all.
        """
        folder = folder.absolute()
        mounts.refuse_unsuitable(folder, mount_of)
        try:
            if not folder.exists():
                folder.mkdir(parents=True, mode=0o700)
                segment.sync(folder.parent)
            folder.chmod(0o700)
            lock = Lock(folder)
        except OSError as error:
            raise LogError(f"the log folder {folder} cannot be used: {error.strerror}") from error
        log = cls(folder, segment_bytes, lock)
        try:
            log._begin()
        except BaseException as error:
            log.close()
            if isinstance(error, sqlite3.Error | OSError):
                raise LogError(f"the log in {folder} cannot be opened: {error}") from error
            raise
        return log

    def _begin(self) -> None:
        reader = self._reader
        _tidy(self.folder)
        self._drop_given_up()
        if not segment.listing(self.folder):
            segment.create(self.folder, segment.FIRST, [])
        *older, (number, path) = segment.listing(self.folder)
        # First of all: what the file holds cannot change any more once it is open for writing.
        with segment.damage(number):
            self._use(path, segment.open_writer(path))
        verify.unbroken(reader)
        self.last_number = reader.last_number
        self.last_now_us = reader.last_now_us
        self.last_output_seq = reader.last_output_seq
        rows = reader.query(number, path, "SELECT chain FROM output ORDER BY seq DESC LIMIT 1")
        self._chain: bytes = rows[0][0] if rows else reader.head(number, path).chain
        ((self._pack,),) = reader.query(number, path, "SELECT pack FROM segment")
        self._pack_body = self._stored(self._pack)
        for _, old in older:
            if not segment.is_sealed(old):
                self._keeper.hand_over(old, segment.open_writer(old))
        # The next segment is made after a commit at the earliest: a commit killed half-way can lie behind the WAL's
        # visible end while a reader keeps the shared memory alive. The first commit overwrites it; left there, it
        # would come back at a later recovery, when the log has long gone on in another file.

    def _drop_given_up(self) -> None:
        """A next segment that could not be finished was deleted, but a power cut can bring an empty file back."""
        segments = segment.listing(self.folder)
        if len(segments) < 2:
            return
        (number, path), (following, next_path) = segments[-2:]
        ((last,),) = self._reader.query(number, path, "SELECT max(number) FROM input")
        ((count,),) = self._reader.query(following, next_path, "SELECT count(*) FROM input")
        if count == 0 and last is not None and last >= following:
            _delete(next_path)

    def _stored(self, pack: str) -> bytes:
        """A pack's bytes as they are stored, for the next segment; nothing where the log does not hold them."""
        content = self._reader.blob(pack) if pack else None
        return b"" if content is None else frame.pack(content)

    def commit(
        self,
        inputs: Sequence[Input],
        outputs: Sequence[Transition] = (),
        blobs: Mapping[str, bytes] | None = None,
    ) -> None:
        """One durable transaction. Raises LogWriteFailed, and then everything is as it was before.

        `inputs` bear the numbers that follow `last_number`; `outputs` are what earlier or these inputs caused, in
        order; `blobs` are named by their sha-256 in hex.
        """
        with self._mutex:
            assert not self._closed, "a closed log takes nothing"
            blobs = blobs or {}
            number, now_us = self.last_number, self.last_now_us
            rows = []
            for item in inputs:
                assert item.number == number + 1, "numbers are unbroken"
                assert item.now_us >= now_us, "the core's time never falls"
                number, now_us = item.number, item.now_us
                rows.append((number, now_us, *_columns(item)))
            seq, chain = self.last_output_seq, self._chain
            entries = []
            for transition in outputs:
                assert transition.input <= number, "an effect does not precede its cause"
                body = record.encode_transition(transition)
                seq, chain = seq + 1, hashlib.sha256(chain + body).digest()
                entries.append((seq, transition.input, body, chain))
            for name, content in blobs.items():
                assert hashlib.sha256(content).hexdigest() == name, "a blob is named by its sha-256"
            packs = [item.body.hash for item in inputs if isinstance(item.body, PackLoaded)]
            try:
                self._turn()
                stored = {name: frame.pack(content) for name, content in blobs.items()}
                # Each segment holds the packs that its records name, to be replayed, and deleted, without the others.
                for name in packs:
                    if name not in stored and (body := self._stored(name)):
                        stored[name] = body
                pack = packs[-1] if packs else self._pack
                self._write(rows, entries, stored, pack)
            except BaseException as error:
                self._undo()
                if isinstance(error, sqlite3.Error | OSError):
                    raise LogWriteFailed(f"the log cannot be written, nothing was taken: {error}") from error
                raise
            self.last_number, self.last_now_us = number, now_us
            self.last_output_seq, self._chain = seq, chain
            if pack != self._pack:
                self._pack, self._pack_body = pack, stored.get(pack, b"")
            self._bytes += sum(len(row[4]) + _ROW_BYTES for row in rows)
            self._bytes += sum(len(entry[2]) + _ROW_BYTES for entry in entries)
            self._make_next_if_full()

    def read(self, after: int, limit: int | None = None) -> Iterator[Input]:
        """The records after number `after`, in order. Raises LogDamaged at the first bad one."""
        return self._reader.read(after, limit)

    def outputs(self, after_seq: int, limit: int | None = None) -> Iterator[tuple[int, Transition]]:
        """The journal entries after `after_seq` with their numbers, the hash chain verified."""
        return self._reader.outputs(after_seq, limit)

    def blob(self, name: str) -> bytes | None:
        """The bytes of this sha-256, or None if they are no longer kept."""
        return self._reader.blob(name)

    def verify(self, after: int = 0) -> Iterator[int]:
        """Decodes everything after `after`, yielding each number. Raises LogDamaged at the first fault."""
        return verify.contents(self._reader, after)

    @property
    def first_number(self) -> int:
        """The number of the oldest record still kept."""
        return self._reader.first_number

    def retire(
        self,
        projected: int,
        checkpoint: int,
        older_than_us: int | None,
        max_bytes: int | None,
        floor: int | None = None,
    ) -> list[Path]:
        """Deletes whole segments, oldest first, and returns their files.

        Only those that every projection has gone beyond (it has applied `projected`), that lie before the older
        checkpoint kept and before what any other reader still needs (after `floor`), and that are older than
        `older_than_us` or make the log larger than `max_bytes`. Never the newest.
        """
        # What a segment's last record caused may be written after it and before the next: to have that record is
        # not yet to have its journal entries.
        passed = min(projected - 1, checkpoint, checkpoint if floor is None else floor)
        # Not under the commits' mutex: deleting a large file takes long. What is written only ever moves on.
        with self._retiring:
            segments = segment.listing(self.folder)
            total = sum(_bytes_on_disk(path) for _, path in segments)
            gone: list[Path] = []
            for (_, path), (following, next_path) in pairwise(segments):
                old = older_than_us is not None and (
                    self._reader.head(following, next_path).last_now_us < older_than_us
                )
                large = max_bytes is not None and total > max_bytes
                if following - 1 > passed or path == self._path or not (old or large):
                    break
                self._keeper.forget(path)
                total -= _bytes_on_disk(path)
                _delete(path)
                gone.append(path)
            return gone

    def close(self) -> None:
        """Empties the WAL into the file and gives the folder up."""
        with self._mutex:
            if self._closed:
                return
            self._closed = True
            if self._next is not None and self._next.exception() is None:
                self._next.result()[1].close()
            self._next = None
            self._maker.shutdown()
            self._reader.close()
            if self._db is not None:
                self._keeper.hand_over(self._path, self._db)
                self._db = None
            self._keeper.stop()
            self._owner.release()

    def _write(
        self,
        rows: list[tuple[int, int, int, str, bytes]],
        entries: list[tuple[int, int, bytes, bytes]],
        stored: Mapping[str, bytes],
        pack: str,
    ) -> None:
        db = self._db = self._db or segment.open_writer(self._path)
        db.execute("BEGIN IMMEDIATE")
        if self._doubt:
            db.execute("DELETE FROM input WHERE number > ?", (self.last_number,))
            db.execute("DELETE FROM output WHERE seq > ?", (self.last_output_seq,))
        if rows:
            db.executemany("INSERT INTO input VALUES (?, ?, ?, ?, ?)", rows)
        if entries:
            db.executemany("INSERT INTO output VALUES (?, ?, ?, ?)", entries)
        if stored:
            db.executemany("INSERT OR IGNORE INTO blob VALUES (?, ?)", stored.items())
        if self._doubt or pack != self._pack:
            db.execute("UPDATE segment SET pack = ?", (pack,))
        db.execute("COMMIT")
        self._doubt = False

    def _undo(self) -> None:
        self._doubt = True
        if self._db is not None:
            try:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
            except sqlite3.Error:
                # The next commit opens the file anew.
                self._db.close()
                self._db = None

    def _make_next_if_full(self) -> None:
        if self._next is None and self._bytes >= self._segment_bytes and self.last_number >= self._first:
            head = segment.Head(
                self.last_number + 1, self.last_now_us, self.last_output_seq + 1, self._chain, self._pack
            )
            blobs = [(self._pack, self._pack_body)] if self._pack_body else []
            self._next = self._maker.submit(_make, self.folder, head, blobs)

    def _turn(self) -> None:
        """Goes over to the next segment, if it was asked for; where it could not be made, the old one goes on."""
        if self._next is None:
            return
        try:
            path, db = self._next.result()
        except (sqlite3.Error, OSError):
            _delete(segment.path_of(self.folder, self.last_number + 1))
            self._next = None
            return
        self._next = None
        old, old_db = self._path, self._db
        self._use(path, db)
        # Nobody may have the old one open when it is sealed.
        self._reader.close()
        if old_db is not None:
            self._keeper.hand_over(old, old_db)

    def _use(self, path: Path, db: sqlite3.Connection) -> None:
        self._path, self._db = path, db
        self._first = int(path.stem)
        ((pages,),) = db.execute("PRAGMA page_count").fetchall()
        self._bytes = pages * segment.PAGE_BYTES
        self._keeper.watch(path)


def _make(
    folder: Path, head: segment.Head, blobs: list[tuple[str, bytes]]
) -> tuple[Path, sqlite3.Connection]:
    path = segment.create(folder, head, blobs)
    db = segment.open_writer(path)
    # The first commit makes the WAL and the shared memory; better here than in somebody's way.
    db.execute(f"PRAGMA user_version={segment.VERSION}")
    return path, db


def _columns(item: Input) -> tuple[int, str, bytes]:
    kind, body = record.encode(item)
    return kind, item.origin, body


def _delete(path: Path) -> None:
    for file in segment.files(path):
        file.unlink(missing_ok=True)
    segment.sync(path.parent)


def _bytes_on_disk(path: Path) -> int:
    file, wal, _ = segment.files(path)
    return file.stat().st_size + (wal.stat().st_size if wal.exists() else 0)


def _tidy(folder: Path) -> None:
    """Removes what a crash can leave: half-made segments, companions of deleted ones, a next one given up."""
    for new in folder.glob(f"*{segment.NEW_SUFFIX}*"):
        new.unlink()
    for stray in folder.glob(f"*{segment.SUFFIX}-*"):
        if not stray.with_name(stray.name.rpartition("-")[0]).exists():
            stray.unlink()
