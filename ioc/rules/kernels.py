"""The arithmetic of verdicts: plain functions on arrays, no state, nothing but comparisons, + and −.

Shapes: n cells, w level columns (level k in column k − 1). Limits and values are *signed*: what is judged downwards
is negated, so that worse is always more. A level that a cell lacks has the limit +inf and the reset −inf.
"""

from __future__ import annotations

import functools
from typing import Any, Final, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from ioc.model.batch import F64, Bool

NO_TIME: Final = -(1 << 62)
"""No delay is running."""
FEW: Final = 20
"""Up to so many rows plain Python is cheaper than numpy's fixed cost, by measurement: on 1,000 series 32 quiet rows or
100 of which one in a hundred crosses a limit, on 100,000 series 18 and 16, in a storm 16."""

Index = npt.NDArray[np.int64]
T = TypeVar("T")


class View(Protocol[T]):
    """The elements of an array as Python sees them, in half the time that the array itself takes for one."""

    def __getitem__(self, at: int, /) -> T: ...
    def __setitem__(self, at: int, value: T, /) -> None: ...


def view(array: npt.NDArray[Any]) -> Any:
    """A `View` of an array's elements in row order; whoever writes one changes the other."""
    assert array.flags.c_contiguous
    return array.reshape(-1).data


def outside(value: F64, low: F64, high: F64) -> Bool:
    """Which values leave their band; NaN always does. All of shape (n,)."""
    leaves: Bool = (value < low) | ~(value <= high)
    return leaves


def any_level(on: Bool) -> Bool:
    """Whether any level of each cell is on (n, w) → (n,)."""
    # By columns: numpy takes thirty times as long to reduce rows as short as these.
    result: Bool = functools.reduce(np.logical_or, on.T)
    return result


def mask_of(on: Bool) -> Index:
    """Levels (n, w) as bits (n,): level k is bit k − 1."""
    bits: Index = functools.reduce(np.bitwise_or, (on.astype(np.int64) << np.arange(on.shape[1])).T)
    return bits


def levels_of(mask: Index, width: int) -> Bool:
    """Bits (n,) as levels (n, width)."""
    on: Bool = (mask[:, None] >> np.arange(width) & 1).astype(np.bool_)
    return on


def quiet_band(on: Bool, busy: Bool, limit: F64, reset: F64, sign: F64) -> tuple[F64, F64]:
    """The lowest and highest value, both included and unsigned, that leave a cell (n,) as it is.

    `busy` cells (a delay runs, unknown, unconfirmed) must see every sample: their band is empty.
    """
    low: F64 = functools.reduce(np.maximum, np.where(on, reset, -np.inf).T)
    high: F64 = functools.reduce(np.minimum, np.where(on, np.inf, limit).T)
    low = np.where(busy, np.inf, low)
    high = np.where(busy, -np.inf, _below(high))
    down = sign < 0
    return np.where(down, -high, low), np.where(down, -low, high)


def _below(value: F64) -> F64:
    """The next smaller number, as nextafter has it in five times the time; none is −inf or NaN."""
    bits = value.view(np.int64)
    smaller = (bits + np.where(bits < 0, 1, -1)).view(np.float64)
    return np.where(value == 0, -5e-324, smaller)


def spread(start: Index, count: Index) -> tuple[Index, Index]:
    """Ranges [start, start + count) one after the other, and which range each element is of."""
    owner = np.repeat(np.arange(len(count)), count)
    first = np.cumsum(count) - count
    return np.arange(len(owner)) + (start - first)[owner], owner


def rounds(series: Index) -> tuple[Index, list[int]]:
    """Positions sorted by their occurrence within their series, and where each occurrence's run ends.

    Each run holds every series at most once; in the k-th run stands the k-th occurrence of each.
    """
    if len(series) <= FEW and len(set(series.tolist())) == len(series):
        return np.arange(len(series)), [len(series)]
    by_series = np.argsort(series, kind="stable")
    ordered = series[by_series]
    new = np.ones(len(series), np.bool_)
    new[1:] = ordered[1:] != ordered[:-1]
    first = np.flatnonzero(new)
    occurrence = np.arange(len(series)) - np.repeat(first, np.diff(np.append(first, len(series))))
    by_occurrence = np.argsort(occurrence, kind="stable")
    return by_series[by_occurrence], np.cumsum(np.bincount(occurrence)).tolist()


def first_of_each(series: Index) -> Index:
    """The position of each series' first occurrence, in order of position."""
    return np.sort(np.unique(series, return_index=True)[1])


def last_of_each(series: Index) -> Index:
    """The position of each series' last occurrence, in order of position."""
    return len(series) - 1 - np.sort(np.unique(series[::-1], return_index=True)[1])[::-1]
