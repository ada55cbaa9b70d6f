"""`Samples`: what the rules are fed, rows of one batch and what was made of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from ioc.model.batch import F64, I64, U16, Batch, Flag
from ioc.rules.kernels import Index

BACKLOG: Final = int(Flag.BACKLOG)
BAD: Final = int(Flag.BAD | Flag.OUT_OF_RANGE)
LATE: Final = int(Flag.LATE | Flag.REVISED)
IGNORED: Final = int(Flag.REPEAT | Flag.CONFLICT | Flag.LAST_KNOWN | Flag.FUTURE | Flag.TOO_LATE)
"""Rows with any of these are nothing to any rule."""
ODD: Final = BAD | LATE | IGNORED
"""A row with none of these is good and in order."""
RETRACTED: Final = 8192
"""Found bad after it was taken (a spike shows when the next sample comes): the row bears its stamp and value again,
with LATE and BAD; with REPEAT instead it is only told (suspect, or bad before). No sensor, codec or log knows this
flag."""


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """n samples in the order in which they are judged; columns of shape (n,).

    `row` is the row of the batch that brought each about, never falling; `channel` the series number, or that of a
    value computed for one rule (from `len(numbers)` up); `event_us`, `value`, `flags` as in a batch; `tests` the
    quality tests that it did not pass (`ioc.model.quality.Test`, suspect ones times 256).
    """

    row: Index
    channel: Index
    event_us: I64
    value: F64
    flags: U16
    tests: U16

    def __len__(self) -> int:
        return len(self.row)

    @staticmethod
    def of(batch: Batch) -> Samples:
        """A batch as it is, nothing tested."""
        n = len(batch)
        return Samples(
            np.arange(n),
            batch.series.astype(np.int64),
            batch.event_us,
            batch.value,
            batch.flags,
            np.zeros(n, np.uint16),
        )

    def take(self, where: Any) -> Samples:
        """Those of a mask, index or slice."""
        return Samples(
            self.row[where],
            self.channel[where],
            self.event_us[where],
            self.value[where],
            self.flags[where],
            self.tests[where],
        )

    def with_flags(self, flags: U16, tests: U16) -> Samples:
        """The same with other flags."""
        return replace(self, flags=flags, tests=tests)

    @staticmethod
    def concat(parts: list[Samples]) -> Samples:
        """One after the other, then by row; those of one row stay in this order."""
        if len(parts) == 1:
            return parts[0]
        whole = Samples(
            np.concatenate([p.row for p in parts]),
            np.concatenate([p.channel for p in parts]),
            np.concatenate([p.event_us for p in parts]),
            np.concatenate([p.value for p in parts]),
            np.concatenate([p.flags for p in parts]),
            np.concatenate([p.tests for p in parts]),
        )
        return whole.take(np.argsort(whole.row, kind="stable"))
