"""The arithmetic of verdicts: plain functions on arrays, no state, nothing but comparisons, + and −.

Shapes: n cells, w level columns (level k in column k − 1). Limits and values are *signed*: what is judged downwards
is negated, so that worse is always more. A level that a cell lacks has the limit +inf and the reset −inf.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from ioc.model.batch import F64, I64, Bool

NO_TIME: Final = -(1 << 62)
"""No delay is running."""

Index = npt.NDArray[np.int64]


def outside(value: F64, low: F64, high: F64) -> Bool:
    """Which values leave their band; NaN always does. All of shape (n,)."""
    leaves: Bool = (value < low) | ~(value <= high)
    return leaves


def step(
    value: F64,
    event_us: I64,
    gap: Bool,
    on: Bool,
    since_us: I64,
    limit: F64,
    reset: F64,
    on_delay_us: I64,
    off_delay_us: I64,
) -> tuple[Bool, I64]:
    """One sample for each cell: which levels are on after it, and since when the others wait.

    `value`, `event_us`, `gap` (n,): signed value, event time, whether a gap lies before it; the rest (n, w).
    """
    against: Bool = np.where(on, value[:, None] < reset, value[:, None] >= limit)
    since_us = np.where(gap[:, None] | (since_us == NO_TIME), event_us[:, None], since_us)
    delay_us = np.where(on, off_delay_us, on_delay_us)
    flips = against & (event_us[:, None] - since_us >= delay_us)
    return on ^ flips, np.where(against & ~flips, since_us, NO_TIME)


def highest(on: Bool) -> Index:
    """The verdict level of each cell (n, w) → (n,): the highest level that is on, 0 if none."""
    levels: Index = (on * np.arange(1, on.shape[1] + 1)).max(axis=1, initial=0)
    return levels


def mask_of(on: Bool) -> Index:
    """Levels (n, w) as bits (n,): level k is bit k − 1."""
    bits: Index = (on << np.arange(on.shape[1])).sum(axis=1, dtype=np.int64)
    return bits


def levels_of(mask: Index, width: int) -> Bool:
    """Bits (n,) as levels (n, width)."""
    on: Bool = (mask[:, None] >> np.arange(width) & 1).astype(np.bool_)
    return on


def quiet_band(on: Bool, busy: Bool, limit: F64, reset: F64, sign: F64) -> tuple[F64, F64]:
    """The lowest and highest value, both included and unsigned, that leave a cell (n,) as it is.

    `busy` cells (a delay runs, unknown, unconfirmed) must see every sample: their band is empty.
    """
    low = np.where(on, reset, -np.inf).max(axis=1)
    high = np.where(on, np.inf, np.nextafter(limit, -np.inf)).min(axis=1)
    low[busy], high[busy] = np.inf, -np.inf
    down = sign < 0
    return np.where(down, -high, low), np.where(down, -low, high)


def spread(start: Index, count: Index) -> tuple[Index, Index]:
    """Ranges [start, start + count) one after the other, and which range each element is of."""
    owner = np.repeat(np.arange(len(count)), count)
    first = np.cumsum(count) - count
    return np.arange(len(owner)) + (start - first)[owner], owner


def rounds(series: npt.NDArray[np.int32]) -> tuple[Index, list[int]]:
    """Positions sorted by their occurrence within their series, and where each occurrence's run ends.

    Each run holds every series at most once; in the k-th run stands the k-th occurrence of each.
    """
    by_series = np.argsort(series, kind="stable")
    ordered = series[by_series]
    new = np.ones(len(series), np.bool_)
    new[1:] = ordered[1:] != ordered[:-1]
    first = np.flatnonzero(new)
    occurrence = np.arange(len(series)) - np.repeat(first, np.diff(np.append(first, len(series))))
    by_occurrence = np.argsort(occurrence, kind="stable")
    return by_series[by_occurrence], np.cumsum(np.bincount(occurrence)).tolist()


def first_of_each(series: npt.NDArray[np.int32]) -> Index:
    """The position of each series' first occurrence, in order of position."""
    return np.sort(np.unique(series, return_index=True)[1])


def last_of_each(series: npt.NDArray[np.int32]) -> Index:
    """The position of each series' last occurrence, in order of position."""
    return len(series) - 1 - np.sort(np.unique(series[::-1], return_index=True)[1])[::-1]
