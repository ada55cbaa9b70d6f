"""What a projection asks of a log, and the log that the monitor writes, read-only, in that shape."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from ioc.errors import LogError
from ioc.log import checkpoint, segment
from ioc.log.reader import LogReader, SegmentGone
from ioc.model.alarm import Transition
from ioc.model.inputs import Input


class LogSource(Protocol):
    """A log as a projection reads it: input and output by number, none of it missing from the first kept on."""

    @property
    def first_number(self) -> int:
        """The oldest record still kept."""

    @property
    def last_number(self) -> int:
        """The newest record; 0 if there has never been one."""

    @property
    def first_seq(self) -> int:
        """The oldest step still kept."""

    def read(self, after: int, limit: int | None = None) -> Iterator[Input]:
        """The records after number `after`, in order."""

    def outputs(self, after_seq: int, limit: int | None = None) -> Iterator[tuple[int, Transition]]:
        """The steps after `after_seq` with their numbers, in order."""

    def numbers(self) -> Mapping[str, int]:
        """The series known to its newest checkpoint, for those whose records are no longer kept."""

    def close(self) -> None:
        """Let go of its files."""


class FollowedLog(LogReader):
    """The log of a running monitor. An absent folder is an empty log."""

    @property
    def first_seq(self) -> int:
        """The oldest step still kept."""
        while True:
            segments = segment.listing(self.folder)
            if not segments:
                return 1
            try:
                return self.head(*segments[0]).first_seq
            except SegmentGone:
                # Retired while we looked: the next is the first now.
                continue

    def numbers(self) -> Mapping[str, int]:
        """The series known to its newest sound checkpoint; none if there is no such checkpoint."""
        for _, path in checkpoint.latest(self.folder):
            try:
                _, state = checkpoint.load(path)
            except (LogError, OSError):
                # Damaged, or replaced by a newer one while we looked: another serves as well.
                continue
            numbers: dict[str, int] = state["facts"]["numbers"]
            return numbers
        return {}
