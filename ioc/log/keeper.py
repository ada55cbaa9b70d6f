"""`Keeper`: the thread that moves what was committed from the WAL into a segment's file, beside the commits.

Left to SQLite, a commit would do it now and then and stall by tens of milliseconds; so would closing a segment.
"""

from __future__ import annotations

import sqlite3
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

from ioc.log import segment

INTERVAL_S: Final = 1.0
WAL_BYTES_MAX: Final = 16 << 20
"""Above this the WAL is to begin anew."""
_PAUSE_WAIT_S: Final = 0.1


class Keeper:
    """Checkpoints the segment it watches each second, and seals and closes those that are handed over.

    Beside a writer that never rests a checkpoint never reaches the WAL's end, and the WAL would grow until the segment
    ends. So above `WAL_BYTES_MAX` a second checkpoint, of the few pages that came during the first, is made while
    `commits` is held; the next commit then begins the WAL anew.

    One that cannot be sealed yet (a reader has it open, or the disk is full) stays open until it can: only thus can
    it be read on a full disk, where the files that SQLite needs beside an unsealed segment cannot be made.
    """

    def __init__(self, commits: threading.Lock) -> None:
        self._commits = commits
        self._wake = threading.Condition()
        self._path: Path | None = None
        self._old: dict[Path, sqlite3.Connection] = {}
        self._new_work = False
        self._stopping = False
        self._sealing = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="log-keeper", daemon=True)
        self._thread.start()

    def watch(self, path: Path) -> None:
        """From now on this is the segment that is written."""
        with self._wake:
            self._path = path

    def hand_over(self, path: Path, db: sqlite3.Connection) -> None:
        """Nothing more is written here: empty its WAL, seal it and close it."""
        with self._wake:
            self._old[path] = db
            self._new_work = True
            self._wake.notify()

    def forget(self, path: Path) -> None:
        """This segment is about to be deleted: close it as it is."""
        with self._sealing:
            with self._wake:
                db = self._old.pop(path, None)
            _close(db)

    def stop(self) -> None:
        """Closes everything and ends the thread."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self._thread.join()

    def _run(self) -> None:
        watched: Path | None = None
        db: sqlite3.Connection | None = None
        while True:
            with self._wake:
                if not self._stopping and not self._new_work:
                    self._wake.wait(INTERVAL_S)
                path, stopping, self._new_work = self._path, self._stopping, False
                old = list(self._old)
            if path != watched or stopping:
                _close(db)
                watched, db = path, None
            for done in old:
                self._finish(done, last_chance=stopping)
            if stopping:
                return
            if path is not None:
                db = db or _connect(path)
                _checkpoint(db)
                if _wal_bytes(path) > WAL_BYTES_MAX:
                    self._reach_the_end(db)

    def _reach_the_end(self, db: sqlite3.Connection | None) -> None:
        # Whoever closes the log holds the lock and waits for this thread.
        if self._commits.acquire(timeout=_PAUSE_WAIT_S):
            try:
                _checkpoint(db)
            finally:
                self._commits.release()

    def _finish(self, path: Path, last_chance: bool) -> None:
        with self._sealing:
            db = self._old.get(path)
            if db is None:
                return
            _checkpoint(db)
            # The segment that is written when the log is closed goes on at the next start.
            sealed = path != self._path and segment.seal(db)
            if sealed or last_chance:
                with self._wake:
                    del self._old[path]
                _close(db)


def _connect(path: Path) -> sqlite3.Connection | None:
    try:
        return segment.open_keeper(path)
    except sqlite3.Error:
        return None


def _wal_bytes(path: Path) -> int:
    try:
        return segment.files(path)[1].stat().st_size
    except OSError:
        return 0


def _checkpoint(db: sqlite3.Connection | None) -> None:
    """What the disk does not take now stays in the WAL, and the next round tries again."""
    if db is not None:
        with suppress(sqlite3.Error):
            db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()


def _close(db: sqlite3.Connection | None) -> None:
    if db is not None:
        with suppress(sqlite3.Error):
            db.close()
