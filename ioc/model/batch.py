"""`Batch`: aligned columns of readings, the unit that flows; a reading is a row of it and never an object."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntFlag
from typing import Any, Final

import numpy as np
import numpy.typing as npt

I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]
U16 = npt.NDArray[np.uint16]
Bool = npt.NDArray[np.bool_]


class Flag(IntFlag):
    """What is known of one reading. The lower bits come from the sensor, the upper from `order.py`."""

    UNCERTAIN = 1
    BAD = 2
    NO_STAMP = 4
    """The payload bore no time; `event_us` was given at receipt."""
    RETAINED = 8
    """The broker sent it as a retained message."""
    OUT_OF_RANGE = 16
    """Outside the registry's physical range; BAD is set with it."""
    BACKLOG = 32
    """New in its series' order, but older than `max_age` at receipt."""
    LATE = 64
    """Behind its series' mark, within the lateness bound."""
    TOO_LATE = 128
    """Behind its series' mark by more than the lateness bound."""
    REPEAT = 256
    """A stamp and value already known: counted, nothing else."""
    REVISED = 512
    """A known stamp with another value, taken as a new revision."""
    CONFLICT = 1024
    """A known stamp with another value, not taken by the source's policy."""
    FUTURE = 2048
    """Ahead of `now` by more than `max_ahead`."""
    LAST_KNOWN = 4096
    """Retained and without a time: shown as last known, age unknown; moves and stores nothing."""


DERIVED: Final = "derived"
"""The source of what the rules compute themselves."""
NOT_STORED: Final = int(Flag.REPEAT | Flag.CONFLICT | Flag.LAST_KNOWN)
"""Rows with any of these stay out of `readings`."""
NOT_JUDGED: Final = int(
    Flag.REPEAT | Flag.CONFLICT | Flag.LAST_KNOWN | Flag.FUTURE | Flag.TOO_LATE | Flag.LATE | Flag.REVISED
)
"""Rows with any of these do not move a rule's state in order (LATE and REVISED only touch window contents)."""


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """`n` readings of one source in the order of their receipt.

    Columns, each of shape (n,): `series` int32 (the registry's numbers), `event_us` and `received_us` int64
    (microseconds since 1970 UTC; receipt by the wall clock), `value` float64 in the series' unit, `flags`
    uint16 (`Flag`), `revision` uint16 (0 for the first value of a stamp).
    """

    source: str
    series: I32
    event_us: I64
    received_us: I64
    value: F64
    flags: U16
    revision: U16

    def __len__(self) -> int:
        return len(self.series)

    def take(self, where: Any) -> Batch:
        """The rows of an index array, mask or slice, in that order."""
        return Batch(
            self.source,
            self.series[where],
            self.event_us[where],
            self.received_us[where],
            self.value[where],
            self.flags[where],
            self.revision[where],
        )

    def equals(self, other: Batch) -> bool:
        """Same source and bit-equal columns (NaN equals NaN)."""
        return (
            self.source == other.source
            and len(self) == len(other)
            and np.array_equal(self.series, other.series)
            and np.array_equal(self.event_us, other.event_us)
            and np.array_equal(self.received_us, other.received_us)
            and np.array_equal(self.value.view(np.int64), other.value.view(np.int64))
            and np.array_equal(self.flags, other.flags)
            and np.array_equal(self.revision, other.revision)
        )

    @staticmethod
    def of(
        source: str,
        series: Sequence[int] | I32,
        event_us: Sequence[int] | I64,
        received_us: Sequence[int] | I64,
        value: Sequence[float] | F64,
        flags: Sequence[int] | U16 | None = None,
        revision: Sequence[int] | U16 | None = None,
    ) -> Batch:
        """Columns from anything array-like; flags and revision default to zeros."""
        n = len(series)
        return Batch(
            source,
            np.asarray(series, np.int32),
            np.asarray(event_us, np.int64),
            np.asarray(received_us, np.int64),
            np.asarray(value, np.float64),
            np.zeros(n, np.uint16) if flags is None else np.asarray(flags, np.uint16),
            np.zeros(n, np.uint16) if revision is None else np.asarray(revision, np.uint16),
        )

    @staticmethod
    def concat(parts: Iterable[Batch]) -> Batch:
        """Batches of the same source, one after the other."""
        parts = list(parts)
        assert parts and all(p.source == parts[0].source for p in parts)
        if len(parts) == 1:
            return parts[0]
        return Batch(
            parts[0].source,
            np.concatenate([p.series for p in parts]),
            np.concatenate([p.event_us for p in parts]),
            np.concatenate([p.received_us for p in parts]),
            np.concatenate([p.value for p in parts]),
            np.concatenate([p.flags for p in parts]),
            np.concatenate([p.revision for p in parts]),
        )
