"""The memory of recent readings against a plain list."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioc.model import Batch, Flag
from ioc.wall import recent as recent_module
from ioc.wall.recent import Recent, as_points, by_series

Row = tuple[int, int, float, int]


def _judged(rows: list[tuple[int, int, float]]) -> list[Row]:
    """As order.py would flag them: LATE behind the mark, REVISED at a known stamp."""
    marks: dict[int, int] = {}
    seen: set[tuple[int, int]] = set()
    out: list[Row] = []
    for series, event_us, value in rows:
        if (series, event_us) in seen:
            flags = int(Flag.REVISED)
        elif event_us < marks.get(series, -1):
            flags = int(Flag.LATE)
        else:
            flags = 0
        marks[series] = max(marks.get(series, -1), event_us)
        seen.add((series, event_us))
        out.append((series, event_us, value, flags))
    return out


def _batch(rows: list[Row]) -> Batch:
    return Batch.of(
        "mqtt",
        [r[0] for r in rows],
        [r[1] for r in rows],
        [0] * len(rows),
        [r[2] for r in rows],
        [r[3] for r in rows],
    )


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 60), st.floats(-5, 5)), max_size=120),
    st.lists(st.integers(1, 20), min_size=1, max_size=10),
)
def test_any_batching_remembers_what_a_plain_list_would(
    rows: list[tuple[int, int, float]], cuts: list[int]
) -> None:
    judged = _judged(rows)
    recent = Recent(4, points_max=100)
    at, i = 0, 0
    while at < len(judged):
        size = cuts[i % len(cuts)]
        recent.feed(_batch(judged[at : at + size]))
        at, i = at + size, i + 1
    for series in range(4):
        plain = {event_us: value for s, event_us, value, _ in judged if s == series}
        event_us_, value_, _ = recent.read(series)
        assert event_us_.tolist() == sorted(plain)
        assert value_.tolist() == [plain[t] for t in sorted(plain)]


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(1, 9)), max_size=40))
def test_only_the_newest_points_are_kept_in_order(steps: list[tuple[int, int]]) -> None:
    recent = Recent(2, points_max=5)
    told: dict[int, list[int]] = {0: [], 1: []}
    clock = 0
    for series, count in steps:
        rows = []
        for _ in range(count):
            clock += 1
            rows.append((series, clock, float(clock), 0))
            told[series].append(clock)
        recent.feed(_batch(rows))
    for series in (0, 1):
        assert recent.read(series)[0].tolist() == told[series][-5:]


@given(
    st.lists(
        st.one_of(
            st.lists(
                st.tuples(st.integers(0, 2), st.integers(0, 18), st.floats(-5, 5)), min_size=1, max_size=15
            ),
            st.just("read"),
            st.just("more series"),
        ),
        max_size=30,
    )
)
def test_late_rows_and_revisions_keep_the_newest_of_all_that_is_known(
    steps: list[list[tuple[int, int, float]] | str],
) -> None:
    recent = Recent(3, points_max=12, points_total=48)
    judged = iter(_judged([row for step in steps if isinstance(step, list) for row in step]))
    told: list[dict[int, float]] = [{}, {}, {}]
    size = 3
    for step in steps:
        if step == "read":
            recent.read(0)
        elif step == "more series":
            size += 1
            recent.resize(size)
            told = [{t: known[t] for t in sorted(known)[-recent.bound :]} for known in told]
        else:
            rows = [next(judged) for _ in step]
            recent.feed(_batch(rows))
            for series, event_us, value, _ in rows:
                told[series][event_us] = value
                told[series] = {t: told[series][t] for t in sorted(told[series])[-recent.bound :]}
    for series, known in enumerate(told):
        event_us_, value_, _ = recent.read(series)
        assert event_us_.tolist() == sorted(known)
        assert value_.tolist() == [known[t] for t in sorted(known)]
        assert recent.oldest_us(series) == min(known, default=None)


def test_the_oldest_point_of_a_full_ring_can_still_be_revised() -> None:
    recent = Recent(1, points_max=3)
    recent.feed(_batch([(0, t, 1.0, 0) for t in range(3, 6)]))
    recent.read(0)
    recent.feed(_batch([(0, 2, 9.0, int(Flag.LATE)), (0, 3, 2.0, int(Flag.REVISED))]))
    assert [column.tolist() for column in recent.read(0)[:2]] == [[3, 4, 5], [2.0, 1.0, 1.0]]


def test_what_waits_for_the_rings_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent_module, "_WAITING_BATCHES_MAX", 4)
    recent = Recent(1)
    for t in range(50):
        recent.feed(_batch([(0, t, float(t), 0)]))
        assert len(recent._waiting) <= 4
    recent.feed(_batch([(0, t, float(t), 0) for t in range(50, 50 + recent_module._WAITING_ROWS_MAX + 1)]))
    assert not recent._waiting


@given(st.lists(st.integers(0, 1 << 20), max_size=200))
def test_rows_are_ordered_by_series_and_stay_in_order_within_one(series: list[int]) -> None:
    order = by_series(np.array(series, np.int32)).tolist()
    assert order == sorted(range(len(series)), key=lambda row: series[row])


def test_repeats_conflicts_future_and_last_known_values_are_not_remembered() -> None:
    recent = Recent(1)
    for flag in (Flag.REPEAT, Flag.CONFLICT, Flag.FUTURE, Flag.LAST_KNOWN):
        recent.feed(_batch([(0, 5, 1.0, int(flag))]))
    assert len(recent.read(0)[0]) == 0


def test_the_newest_of_a_stretch_are_read() -> None:
    recent = Recent(1)
    recent.feed(_batch([(0, t, float(t), 0) for t in range(10)]))
    assert recent.read(0, 2, 8, 3)[0].tolist() == [5, 6, 7]
    assert recent.oldest_us(0) == 0


def test_more_series_leave_what_is_known() -> None:
    recent = Recent(1)
    recent.feed(_batch([(0, 1, 1.0, 0)]))
    recent.resize(3)
    recent.feed(_batch([(0, 2, 2.0, 0), (2, 1, 3.0, 0)]))
    assert recent.read(0)[0].tolist() == [1, 2]
    assert recent.read(2)[1].tolist() == [3.0]
    assert recent.oldest_us(1) is None


def test_all_series_together_stay_within_the_bound() -> None:
    recent = Recent(100, points_max=2_048, points_total=1_000)
    assert recent.bound == 10
    recent.feed(_batch([(0, t, 0.0, 0) for t in range(50)]))
    assert recent.read(0)[0].tolist() == list(range(40, 50))


def test_what_is_no_number_is_null_to_screens() -> None:
    assert as_points(np.array([1_500]), np.array([np.nan]), np.array([2], np.uint16)) == [[1, None, 2]]
