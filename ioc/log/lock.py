"""The lock by which one process owns a log folder. Two SQLite writers would interleave without an error."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from ioc.errors import LogOwned


class Lock:
    """Holds `folder/lock`, with our process id in it, until `release`."""

    def __init__(self, folder: Path) -> None:
        self._fd = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.pread(self._fd, 32, 0).strip()
            os.close(self._fd)
            raise LogOwned(str(folder), int(owner) if owner.isdigit() else 0) from error
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, str(os.getpid()).encode(), 0)

    def release(self) -> None:
        """Gives the folder up; the file stays, since removing it would let two owners lock different files."""
        os.close(self._fd)
