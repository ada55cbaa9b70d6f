"""The vectorised order beside the plain one: the same flags, times, revisions and state, however rows are cut."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from unittest import mock

import numpy as np
import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st
from support.order_oracle import OrderOracle

from ioc.ingest import order as order_module
from ioc.ingest.order import Judgement, Order
from ioc.ingest.stamps import Ahead, Stamps
from ioc.log.state import pack_state, unpack_state
from ioc.model import Batch, Flag
from ioc.registry import SeriesColumns

S = 1_000_000
MIN = 60 * S
H = 60 * MIN
NOW = 1_700_000_000 * S
SERIES = 4
HIGH = 70_000
"""One series has a number that does not fit 16 bits."""
NUMBERS = (0, 1, 2, HIGH)


def columns() -> SeriesColumns:
    n = HIGH + 1
    return SeriesColumns(
        watched=np.ones(n, np.bool_),
        interval_us=np.full(n, 10 * MIN, np.int64),
        stale_after_us=np.full(n, 30 * MIN, np.int64),
        max_age_us=np.where(np.arange(n) == 1, 2 * MIN, 30 * MIN).astype(np.int64),
        max_gap_us=np.full(n, 30 * MIN, np.int64),
        low=np.full(n, -2.0),
        high=np.full(n, 3.0),
        replace=np.arange(n) != 2,
    )


COLUMNS = columns()


@dataclass(frozen=True)
class Sample:
    """One row: `kind` says how its stamp follows from those that were given to the series before."""

    series: int
    kind: str
    step: int
    value: float
    delay_us: int


SAMPLE = st.builds(
    Sample,
    st.integers(0, SERIES - 1),
    st.sampled_from(
        ["next"] * 6 + ["again"] * 3 + ["other", "late", "future", "timeless", "timeless", "retained"]
    ),
    st.integers(0, 12),
    st.sampled_from([1.0, 2.0, 0.0, -0.0, -2.5, 4.0]),
    st.sampled_from([0, 0, 0, 1, 5 * MIN, H]),
)
BATCH = st.lists(SAMPLE, min_size=1, max_size=25)


@dataclass(frozen=True)
class Step:
    """Some batches in one commit, whether the log took them, and what comes after."""

    batches: tuple[tuple[Sample, ...], ...]
    taken: bool
    restored: bool
    bounds: tuple[int, int] | None


STEP = st.builds(
    Step,
    st.lists(BATCH.map(tuple), min_size=1, max_size=4).map(tuple),
    st.sampled_from([True, True, True, False]),
    st.booleans(),
    st.none() | st.tuples(st.sampled_from([0, 5 * S, 10 * MIN, H]), st.sampled_from([2, 4, 9, 4_096])),
)
PROGRAMME = st.tuples(
    st.lists(STEP, min_size=1, max_size=6),
    st.tuples(st.sampled_from([5 * S, H]), st.sampled_from([2, 4, 9, 4_096])),
    st.sampled_from([0, 3, 64]),
    st.booleans(),
)
Programme = tuple[list[Step], tuple[int, int], int, bool]


class Gateway:
    """Makes rows of samples."""

    def __init__(self) -> None:
        self.given: dict[int, list[tuple[int, float]]] = {}

    def batch(self, samples: tuple[Sample, ...]) -> Batch:
        rows = [self._row(sample) for sample in samples]
        return Batch.of(
            "mqtt", [NUMBERS[s.series] for s in samples], [r[0] for r in rows],
            [max(r[0], NOW) + s.delay_us for r, s in zip(rows, samples, strict=True)], [r[1] for r in rows],
            [r[2] for r in rows],
        )  # fmt: skip

    def _row(self, sample: Sample) -> tuple[int, float, int]:
        given = self.given.setdefault(sample.series, [(NOW - 2 * H, 1.0)])
        top = max(given)[0]
        flags = 0
        match sample.kind:
            case "next":
                row = (top + (1, S, 2 * S, S, 4 * MIN, 15 * MIN)[sample.step % 6], sample.value)
            case "again":
                row = given[-1 - sample.step % len(given)]
            case "other":
                row = (given[-1 - sample.step % len(given)][0], sample.value)
            case "late":
                row = (top - (1, S // 2, 3 * S, 9 * MIN, 50 * MIN, 61 * MIN)[sample.step % 6], sample.value)
            case "future":
                return NOW + (1 + sample.step) * H * 24, sample.value, 0
            case "timeless":
                return 0, sample.value, int(Flag.NO_STAMP)
            case _:
                flags = int(Flag.RETAINED) if sample.step % 2 else int(Flag.RETAINED | Flag.NO_STAMP)
                row = (top + 3, sample.value)
        given.append(row)
        return *row, flags


def compare(programme: Programme) -> None:
    """Runs it on both, comparing all that can be seen. Raises AssertionError where they differ."""
    steps, (lateness_us, stamps_max), few, source_clock = programme
    subject = Order(COLUMNS, lateness_us, 2 * MIN, stamps_max)
    oracle = OrderOracle(COLUMNS, lateness_us, 2 * MIN, stamps_max)
    gateway = Gateway()
    now_us = None if source_clock else NOW
    with mock.patch.object(order_module, "_FEW", few):
        for step in steps:
            raws = [gateway.batch(samples) for samples in step.batches]
            copies = [replace(raw, event_us=raw.event_us.copy(), flags=raw.flags.copy()) for raw in raws]
            judgement = Judgement(subject)
            judged = [judgement.judge(raw, now_us) for raw in raws]
            for ours, theirs in zip(judged, oracle.judge(raws, now_us), strict=True):
                assert ours.equals(theirs)
            for raw, copy in zip(raws, copies, strict=True):
                assert raw.equals(copy)
            assert pack_state(subject.state()) == pack_state(oracle.state())
            if step.taken:
                for batch in judged:
                    subject.feed(batch)
                    oracle.feed(batch)
                assert pack_state(subject.state()) == pack_state(oracle.state())
            if step.bounds is not None:
                lateness_us, stamps_max = step.bounds
                subject.rebuild(COLUMNS, lateness_us, 2 * MIN, stamps_max)
                oracle.rebuild(COLUMNS, lateness_us, 2 * MIN, stamps_max)
            if step.restored:
                state = unpack_state(pack_state(subject.state()))
                subject = Order(COLUMNS, lateness_us, 2 * MIN, stamps_max)
                subject.restore(state)
                assert pack_state(subject.state()) == pack_state(state)


@settings(max_examples=300, deadline=None)
@given(PROGRAMME)
def test_arrays_do_what_the_plain_loop_does(programme: Programme) -> None:
    compare(programme)


def _differs(programme: Programme) -> bool:
    try:
        compare(programme)
    except AssertionError:
        return True
    return False


UNSHRUNK = settings(max_examples=2_000, database=None, deadline=None, phases=[Phase.generate])
PLANTED: list[tuple[type, str, Callable[..., object]]] = [
    (Ahead, "knows", lambda self, *asked: self._known.knows(*asked)),
    (Ahead, "find", lambda self, *asked: self._known.find(*asked)),
    (Stamps, "_halve", lambda self, series: None),
    (Stamps, "_forget", lambda self, number: None),
    (Stamps, "rises", lambda self, groups, stamp: True),
]


@pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: f"{planted[0].__name__}.{planted[1]}")
def test_a_planted_bug_is_found(planted: tuple[type, str, Callable[..., object]]) -> None:
    owner, name, wrong = planted
    with mock.patch.object(owner, name, wrong):
        find(PROGRAMME, _differs, settings=UNSHRUNK)
