"""A segment: one SQLite file of the log, `{its first number}.sqlite`, that can be read and deleted by itself.

Its tables: `input` (the records), `output` (every Transition with the journal's hash chain), `blob` (the pack in
force at its start and those loaded in it) and one row `segment` that says where records and journal stood before it.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ioc.errors import LogDamaged

VERSION: Final = 1
SUFFIX: Final = ".sqlite"
NEW_SUFFIX: Final = ".new"
PAGE_BYTES: Final = 4096
GENESIS: Final = bytes(32)
"""The chain before the journal's first entry."""

_SCHEMA: Final = """
CREATE TABLE input (number INTEGER PRIMARY KEY, now_us INTEGER NOT NULL, kind INTEGER NOT NULL,
                    origin TEXT NOT NULL, body BLOB NOT NULL);
CREATE TABLE output (seq INTEGER PRIMARY KEY, number INTEGER NOT NULL, body BLOB NOT NULL, chain BLOB NOT NULL);
CREATE TABLE blob (hash TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE segment (one INTEGER PRIMARY KEY CHECK (one = 1), first_number INTEGER NOT NULL,
                      last_now_us INTEGER NOT NULL, first_seq INTEGER NOT NULL, chain BLOB NOT NULL,
                      pack TEXT NOT NULL);
"""
_BUSY_S: Final = 5.0
_DAMAGE: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_SCHEMA})


@dataclass(frozen=True, slots=True)
class Head:
    """Where a segment begins, and what stood before it.

    `last_now_us` is that of the record before `first_number`, `chain` that of the entry before `first_seq`; `pack`
    is the hash of the pack in force ("" before the first).
    """

    first_number: int
    last_now_us: int
    first_seq: int
    chain: bytes
    pack: str


FIRST: Final = Head(1, 0, 1, GENESIS, "")


def path_of(folder: Path, first_number: int) -> Path:
    """The file of the segment that begins with this number."""
    return folder / f"{first_number:020d}{SUFFIX}"


def listing(folder: Path) -> list[tuple[int, Path]]:
    """Every segment as (first number, file), oldest first; none where there is no folder."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.name.endswith(SUFFIX)]
    except FileNotFoundError:
        return []
    return sorted((int(stem), folder / name) for name in names if (stem := name[: -len(SUFFIX)]).isdigit())


def files(path: Path) -> tuple[Path, ...]:
    """A segment's file and those that SQLite keeps beside it, which may be absent."""
    return path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")


def create(folder: Path, head: Head, blobs: list[tuple[str, bytes]]) -> Path:
    """A new, empty segment; its file appears whole and durable, or not at all."""
    path = path_of(folder, head.first_number)
    new = path.with_suffix(NEW_SUFFIX)
    new.unlink(missing_ok=True)
    os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        db = sqlite3.connect(new, isolation_level=None)
        try:
            # Nobody sees the file before it is renamed, so it needs no journal of its own while it is made.
            db.executescript(
                f"PRAGMA page_size={PAGE_BYTES}; PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; {_SCHEMA}"
            )
            db.execute(f"PRAGMA user_version={VERSION}")
            db.execute(
                "INSERT INTO segment VALUES (1, ?, ?, ?, ?, ?)",
                (head.first_number, head.last_now_us, head.first_seq, head.chain, head.pack),
            )
            db.executemany("INSERT INTO blob VALUES (?, ?)", blobs)
            db.execute("PRAGMA journal_mode=WAL")
        finally:
            db.close()
        sync(new)
        new.rename(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    sync(folder)
    return path


def sync(path: Path) -> None:
    """Makes a file's content, or a folder's names, durable."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def open_keeper(path: Path) -> sqlite3.Connection:
    """A connection for checkpoints."""
    return _connect(path, "rw")


def open_writer(path: Path) -> sqlite3.Connection:
    """A connection that writes durably and leaves checkpoints to the keeper."""
    db = _connect(path, "rw")
    # fullfsync acts on macOS only, where a plain fsync leaves the data in the drive's cache.
    db.executescript(
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=0; PRAGMA fullfsync=ON;"
    )
    return db


def open_reader(path: Path) -> sqlite3.Connection:
    """A connection that cannot write."""
    db = _connect(path, "ro")
    # Damaged text must come through, so that the record's own checksum can name it.
    db.text_factory = lambda raw: raw.decode("utf-8", "replace")
    return db


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        timeout=_BUSY_S,
        isolation_level=None,
        check_same_thread=False,
        uri=True,
    )


def seal(db: sqlite3.Connection) -> bool:
    """Turns the WAL off for good, so that readers need no files beside the segment; False while any has it open.

    Nothing but two bytes of the header is written after that, so a journal on disk would protect nothing; and it
    could not be made on a full disk.
    """
    try:
        db.execute("PRAGMA busy_timeout=100")
        return bool(db.execute("PRAGMA journal_mode=MEMORY").fetchone() == ("memory",))
    except sqlite3.Error:
        return False


def is_sealed(path: Path) -> bool:
    """Whether the WAL is off, by the two bytes of SQLite's header that say so."""
    with path.open("rb") as file:
        return file.read(20)[18:] == b"\x01\x01"


@contextmanager
def damage(number: int) -> Iterator[None]:
    """What SQLite says of a damaged file, as LogDamaged at `number`."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        # A missing table or column is "SQL logic error": the file is whole for SQLite, but not for us.
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGE or "no such" in str(error):
            raise LogDamaged(number, f"its segment is damaged ({error})") from error
        raise
