"""Derived series of several inputs as tests want them: instances, rows in seconds, and any way of cutting them."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import numpy as np
from hypothesis import Phase, find, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample

from ioc.model.batch import Flag
from ioc.model.text import Text
from ioc.registry import Series, Station
from ioc.rules.derive.base import Deriver, Fed, Given, Instance
from ioc.rules.samples import RETRACTED

T = TypeVar("T")

S = 1_000_000
HOUR = 3600
HANOI_US = 7 * HOUR * S

Row = tuple[int, int, float, float, int]
"""(which instance, which input, seconds, value, flags)."""
Told = tuple[int, int, int, float | None, int]
"""(row, which instance, microseconds, value or None for NaN, flags)."""

FLAGS = st.sampled_from(
    [0] * 12
    + [
        int(f)
        for f in (
            Flag.UNCERTAIN,
            Flag.BACKLOG,
            Flag.BAD,
            Flag.BAD | Flag.OUT_OF_RANGE,
            Flag.LATE,
            Flag.REVISED,
            Flag.LATE | Flag.BAD | RETRACTED,
        )
    ]
)

_STATION = Station(id="a", name=Text(vi="A", en="A"), commune="1", lat=22.0, lon=104.0, series=())


def series(quantity: str, interval_s: float, resolution: float = 0.1) -> Series:
    """A series of the station a."""
    us = round(interval_s * S)
    return Series(
        f"environment/a/{quantity}", "environment", _STATION, quantity, Text(vi="-", en="-"), "1", "1",
        resolution, us, (-1e9, 1e9), None, 3 * us, 3 * us, 3 * us, "replace", None,
    )  # fmt: skip


def instance(intervals_s: Sequence[float | None], resolution: float = 0.1, each: float = 0.1) -> Instance:
    """One output of the resolution, of inputs that report so often with the resolution `each`."""
    inputs = tuple(None if s is None else series(f"q{k}", s, each) for k, s in enumerate(intervals_s))
    return Instance("a", inputs, resolution)


def fed(rows: Sequence[Row], first: int = 0) -> Fed:
    """Rows as a deriver is fed them, numbered from `first`."""
    at, role, seconds, value, flags = zip(*rows, strict=True) if rows else ((),) * 5
    return Fed(
        np.arange(first, first + len(rows)),
        np.array(at, np.int64),
        np.array(role, np.int64),
        np.array([round(s * S) for s in seconds], np.int64),
        np.array(value, np.float64),
        np.array(flags, np.uint16),
    )


def told(given: Given) -> list[Told]:
    """What was given, so that it can be compared."""
    columns = (given.row, given.at, given.event_us, given.value, given.flags)
    return [
        (row, at, us, None if value != value else value, flags)
        for row, at, us, value, flags in zip(*(c.tolist() for c in columns), strict=True)
    ]


def run(build: Callable[[], Deriver], rows: Sequence[Row], cuts: Iterable[int] = ()) -> list[Told]:
    """Feed rows cut at these places, into another deriver with a copy of the state after every cut."""
    deriver, result = build(), []
    places = sorted({0, *(c % (len(rows) + 1) for c in cuts), len(rows)})
    for first, end in itertools.pairwise(places):
        before, deriver = deriver, build()
        restore(deriver, before)
        result += told(deriver.feed(fed(rows[first:end], first)))
    return result


def restore(deriver: Deriver, before: Deriver) -> None:
    """The state of one as that of another."""
    assert deriver.columns.keys() == before.columns.keys()
    for name, column in deriver.columns.items():
        column[...] = copy.deepcopy(before.columns[name])


def of_instance(result: Sequence[Told], at: int) -> list[tuple[int, float | None, int]]:
    """(microseconds, value, flags) of one instance."""
    return [(us, value, flags) for _, a, us, value, flags in result if a == at]


def in_order(rows: Sequence[Row]) -> list[Row]:
    """The same rows, the stamps in order of each input raised so that they rise, as the order stage gives them."""
    last: dict[tuple[int, int], float] = {}
    result = []
    for at, role, seconds, value, flags in rows:
        if not flags & (Flag.LATE | Flag.REVISED):
            seconds = max(seconds, last.get((at, role), float("-inf")) + 1)
            last[at, role] = seconds
        result.append((at, role, seconds, value, flags))
    return result


def shows(rows: st.SearchStrategy[T], wrong: Callable[[T], bool]) -> bool:
    """Whether the net finds an input for which something is wrong; nothing is kept of it."""
    limits = settings(
        max_examples=500, database=None, derandomize=True, phases=[Phase.generate], deadline=None
    )
    try:
        find(rows, wrong, settings=limits)
    except NoSuchExample:
        return False
    return True
