"""The exception tree. Each name is a decision left to the caller; bad input is a value (`Rejected`), never one of these.

IocError
├── ConfigError            exit 2: the settings cannot be used
├── PackError              exit 2 or "the old rules go on": file, line and path of the fault
│   └── PackFaults         several of them
├── LogError               exit 2: the log cannot be trusted or is not ours
│   ├── LogOwned           another process owns it
│   ├── LogDamaged         a gap or a wrong sum
│   └── LogUnsuitable      a network mount or FUSE
├── LogWriteFailed         503: nothing was taken; try again
├── BrokerUnavailable      try again with backoff
├── StoreUnavailable       try again with backoff
└── InvalidTransition      a bug: the table has no such pair
"""

from __future__ import annotations

from collections.abc import Iterable


class IocError(Exception):
    """Base of everything this package raises on purpose."""


class ConfigError(IocError):
    """The settings cannot be used; the text names the key."""


class PackError(IocError):
    """A pack file cannot be used: `file`, `line` (1-based, 0 if unknown) and `path` of the fault."""

    def __init__(self, file: str, line: int, path: str, reason: str) -> None:
        self.file = file
        self.line = line
        self.path = path
        self.reason = reason
        where = f"{file}:{line}" if line else file
        super().__init__(f"{where}: {path}: {reason}" if path else f"{where}: {reason}")

    @property
    def faults(self) -> tuple[PackError, ...]:
        """Every fault that was found, in the order of files and lines."""
        return (self,)


class PackFaults(PackError):
    """Everything that is wrong with a pack; speaks as the first of the faults."""

    def __init__(self, faults: Iterable[PackError]) -> None:
        self._faults = tuple(sorted(faults, key=lambda fault: (fault.file, fault.line)))
        first = self._faults[0]
        super().__init__(first.file, first.line, first.path, first.reason)

    @property
    def faults(self) -> tuple[PackError, ...]:
        """Every one, in the order of files and lines."""
        return self._faults


class LogError(IocError):
    """The log cannot be opened."""


class LogOwned(LogError):
    """Another process owns the log; `pid` is that process."""

    def __init__(self, folder: str, pid: int) -> None:
        self.folder = folder
        self.pid = pid
        super().__init__(f"the log {folder} belongs to the running process {pid}; stop it first")


class LogDamaged(LogError):
    """A record is missing or its sum is wrong; `number` is that record's."""

    def __init__(self, number: int, reason: str) -> None:
        self.number = number
        super().__init__(f"log record {number}: {reason}")


class LogUnsuitable(LogError):
    """The folder lies where a log must not lie."""


class LogWriteFailed(IocError):
    """A commit failed; nothing of it was taken."""


class BrokerUnavailable(IocError):
    """The broker cannot be reached or refuses us."""


class StoreUnavailable(IocError):
    """The database cannot be reached."""


class InvalidTransition(IocError):
    """The state table has no row for this pair; nothing was changed."""

    def __init__(self, state: str, event: str) -> None:
        self.state = state
        self.event = event
        super().__init__(f"no transition from {state} on {event}")
