"""The memory of the order: what it costs, and that packing the pool loses nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioc.ingest.stamps import Groups, Stamps

S = 1_000_000


def filled(series: int, each: int, lateness_us: int = 10_000 * S, stamps_max: int = 8_192) -> Stamps:
    """Every series with so many stamps, a second apart."""
    stamps = Stamps()
    stamps.resize(series)
    stamps.bound(lateness_us, stamps_max)
    groups = Groups.of(np.arange(series, dtype=np.int32))
    for i in range(each):
        stamps.take(groups, np.full(series, (i + 1) * S), np.full(series, float(i)))
    return stamps


def owned_bytes(stamps: Stamps) -> int:
    """What the pool holds that has ever been written to."""
    return stamps.slots_used * (stamps.stamp.itemsize + stamps.value.itemsize)


@given(st.lists(st.integers(0, 200_000), min_size=1, max_size=50))
def test_groups_are_a_stable_sort_by_series(series: list[int]) -> None:
    column = np.array(series, np.int32)
    groups = Groups.of(column)
    assert groups.rows.tolist() == sorted(range(len(series)), key=series.__getitem__)
    assert groups.number.tolist() == sorted(set(series))
    assert groups.counts.tolist() == [series.count(n) for n in sorted(set(series))]
    assert groups.number[groups.place()].tolist() == sorted(series)
    assert groups.follows.tolist() == (np.diff(np.sort(column)) == 0).tolist()


@pytest.mark.parametrize(("series", "each"), [(10, 4_000), (1_000, 100), (10_000, 10)])
def test_a_stamp_costs_at_most_48_bytes_while_a_stretch_grows_and_32_when_packed(
    series: int, each: int
) -> None:
    stamps = filled(series, each)
    assert owned_bytes(stamps) / (series * each) < 48
    again = Stamps()
    again.restore(stamps.state())
    assert owned_bytes(again) / (series * each) < 32


def test_a_series_of_four_stamps_costs_less_than_200_bytes() -> None:
    stamps = filled(100_000, 4)
    columns = (
        stamps.mark,
        stamps.floor,
        stamps.half,
        stamps.taken,
        stamps.base,
        stamps.end,
        stamps.lo,
        stamps.hi,
    )
    assert sum(c.itemsize for c in columns) == 44
    assert 44 + owned_bytes(stamps) / 100_000 < 140


def test_memory_stands_still_where_stamps_come_and_go() -> None:
    stamps = filled(100, 500, lateness_us=100 * S)
    pool = len(stamps.stamp)
    groups = Groups.of(np.arange(100, dtype=np.int32))
    for i in range(500, 3_000):
        stamps.take(groups, np.full(100, (i + 1) * S), np.zeros(100))
    assert len(stamps.stamp) == pool
    assert stamps.state()["counts"].tolist() == [101] * 100


def test_packing_the_pool_gives_back_what_a_burst_took() -> None:
    stamps = filled(2, 4_000)
    stamps.bound(10 * S, 8_192)
    for i in range(3_000):
        stamps.resize(3 + i)
        stamps.take_each([(2 + i, S, 1.0), (2 + i, 2 * S, 2.0)])
    assert int(stamps.end[0] - stamps.base[0]) < 40
    assert stamps.state()["stamp"][:11].tolist() == [i * S for i in range(3_990, 4_001)]
