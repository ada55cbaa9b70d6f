"""What happens to a sample: the table of docs/architecture.md, row by row, and its properties.

`pytest tests/ingest/test_order.py -k table -v` prints as that table.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ioc.ingest.order import REVISION_MAX, Judgement, Order
from ioc.model import NOT_JUDGED, NOT_STORED, Batch, Flag
from ioc.registry import SeriesColumns

S = 1_000_000
MIN = 60 * S
H = 60 * MIN
NOW = 1_700_000_000 * S


def columns(n: int = 3, replace: bool = True, max_age_us: int = 30 * MIN) -> SeriesColumns:
    return SeriesColumns(
        watched=np.ones(n, np.bool_),
        interval_us=np.full(n, 10 * MIN, np.int64),
        stale_after_us=np.full(n, 30 * MIN, np.int64),
        max_age_us=np.full(n, max_age_us, np.int64),
        max_gap_us=np.full(n, 30 * MIN, np.int64),
        low=np.full(n, -100.0),
        high=np.full(n, 100.0),
        replace=np.full(n, replace, np.bool_),
    )


def order(replace: bool = True, stamps_max: int = 4_096) -> Order:
    return Order(columns(replace=replace), lateness_us=H, max_ahead_us=2 * MIN, stamps_max=stamps_max)


def take(
    order: Order, *rows: tuple[int, float, int], received_us: int = NOW, now_us: int | None = NOW
) -> list[Flag]:
    """Judge and feed rows (event_us, value, raw flags) of series 0; the flags given."""
    raw = Batch.of(
        "mqtt", [0] * len(rows), [r[0] for r in rows], [received_us] * len(rows), [r[1] for r in rows],
        [r[2] for r in rows],
    )  # fmt: skip
    judged = Judgement(order).judge(raw, now_us)
    order.feed(judged)
    return [Flag(int(f)) for f in judged.flags]


@dataclass(frozen=True)
class Row:
    """One row of the table: the sample, and the flag by which everybody else knows it."""

    sample: str
    before: tuple[tuple[int, float, int], ...]
    given: tuple[int, float, int]
    flag: Flag
    stored: bool
    moves_rules: bool
    policy_replace: bool = True


NO_STAMP = int(Flag.NO_STAMP)
RETAINED = int(Flag.RETAINED)
BEFORE = ((NOW - 20 * MIN, 1.0, 0), (NOW - 10 * MIN, 2.0, 0))

TABLE = [
    Row("new, age within max_age", BEFORE, (NOW - MIN, 3.0, 0), Flag(0), True, True),
    Row("new in its series' order, but older (backlog)", (), (NOW - 2 * H, 3.0, 0), Flag.BACKLOG, True, True),
    Row("late: behind its mark, within lateness", BEFORE, (NOW - 15 * MIN, 3.0, 0), Flag.LATE, True, False),
    Row("later than that", BEFORE, (NOW - 2 * H, 3.0, 0), Flag.TOO_LATE, True, False),
    Row("repeat: a stamp known, and its value", BEFORE, (NOW - 10 * MIN, 2.0, 0), Flag.REPEAT, False, False),
    Row(
        "repeat: a stamp known, and the value of an earlier revision",
        (*BEFORE, (NOW - 10 * MIN, 2.5, 0)), (NOW - 10 * MIN, 2.0, 0), Flag.REPEAT, False, False,
    ),
    Row("conflict, policy replace", BEFORE, (NOW - 10 * MIN, 9.0, 0), Flag.REVISED, True, False),
    Row(
        "conflict, policy keep-first or reject", BEFORE, (NOW - 10 * MIN, 9.0, 0), Flag.CONFLICT, False, False,
        policy_replace=False,
    ),
    Row("future: ahead of now by more than max_ahead", BEFORE, (NOW + 3 * MIN, 3.0, 0), Flag.FUTURE, True, False),
    Row(
        "retained, without a time", BEFORE, (0, 3.0, NO_STAMP | RETAINED), Flag.LAST_KNOWN | Flag(NO_STAMP | RETAINED),
        False, False,
    ),
    Row("fresh, without a time", BEFORE, (0, 3.0, NO_STAMP), Flag.NO_STAMP, True, True),
]  # fmt: skip


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.sample)
def test_table(row: Row) -> None:
    """What happens to a sample."""
    subject = order(replace=row.policy_replace)
    if row.before:
        take(subject, *row.before)
    (flags,) = take(subject, row.given)
    assert flags == row.flag
    assert (int(flags) & NOT_STORED == 0) is row.stored
    assert (int(flags) & NOT_JUDGED == 0) is row.moves_rules


def test_future_sample_leaves_the_mark_where_it_was() -> None:
    subject = order()
    take(subject, *BEFORE)
    take(subject, (NOW + H, 3.0, 0))
    assert subject.mark_us(0) == NOW - 10 * MIN
    assert take(subject, (NOW - MIN, 4.0, 0)) == [Flag(0)]


def test_sample_without_a_time_gets_receipt_or_the_next_microsecond_after_the_mark() -> None:
    subject = order()
    raw = Batch.of("mqtt", [0, 0, 0], [0, 0, 0], [NOW, NOW, NOW - H], [1.0, 2.0, 3.0], [NO_STAMP] * 3)
    judged = Judgement(subject).judge(raw, NOW)
    assert judged.event_us.tolist() == [NOW, NOW + 1, NOW + 2]


def test_a_gauge_read_every_six_hours_is_not_backlog() -> None:
    subject = Order(columns(max_age_us=18 * H), H, 2 * MIN, 4_096)
    assert take(subject, (NOW - 6 * H, 1.0, 0)) == [Flag(0)]


def test_value_out_of_physical_range_is_bad() -> None:
    assert take(order(), (NOW, 100.5, 0)) == [Flag.OUT_OF_RANGE | Flag.BAD]
    assert take(order(), (NOW, 100.0, 0)) == [Flag(0)]


def test_revisions_count_up() -> None:
    subject = order()
    raw = Batch.of("mqtt", [0] * 4, [NOW] * 4, [NOW] * 4, [1.0, 2.0, 3.0, 2.0])
    judged = Judgement(subject).judge(raw, NOW)
    assert judged.revision.tolist() == [0, 1, 2, 0]
    assert [Flag(int(f)) for f in judged.flags] == [Flag(0), Flag.REVISED, Flag.REVISED, Flag.REPEAT]


def test_judging_leaves_no_trace_until_fed() -> None:
    subject = order()
    take(subject, *BEFORE)
    before = repr(subject.state())
    raw = Batch.of("mqtt", [0, 1], [NOW, NOW], [NOW, NOW], [5.0, 6.0])
    judged = Judgement(subject).judge(raw, NOW)
    assert repr(subject.state()) == before
    subject.feed(judged)
    assert repr(subject.state()) != before


def test_beyond_the_stamps_kept_the_database_decides() -> None:
    subject = order(stamps_max=8)
    for i in range(20):
        take(subject, (NOW - 20 * S + i * S, float(i), 0))
    assert len(subject.state()["stamp"]) <= 8
    assert take(subject, (NOW - 20 * S, 0.0, 0)) == [Flag.TOO_LATE]
    assert take(subject, (NOW - S, 19.0, 0)) == [Flag.REPEAT]


def test_a_flood_of_late_stamps_that_forgets_everything_known_can_be_restored() -> None:
    subject = order(stamps_max=8)
    take(subject, (NOW, 1.0, 0))
    for i in range(10):
        take(subject, (NOW - (i + 1) * S, float(i), 0))
    state = subject.state()
    again = order(stamps_max=8)
    again.restore(state)
    assert repr(again.state()) == repr(state)


def test_a_clock_that_stands_still_makes_conflicts_when_the_revisions_are_used_up() -> None:
    subject = order()
    n = REVISION_MAX + 3
    values = np.linspace(0.0, 1.0, n)
    for part in (slice(0, 40_000), slice(40_000, n)):
        stamps = np.full(len(values[part]), NOW)
        raw = Batch.of("mqtt", np.zeros(len(stamps)), stamps, stamps, values[part])
        judged = Judgement(subject).judge(raw, NOW)
        subject.feed(judged)
    assert judged.revision.max() == REVISION_MAX
    assert [Flag(int(f)) for f in judged.flags[-3:]] == [Flag.REVISED, Flag.CONFLICT, Flag.CONFLICT]
    assert take(subject, (NOW, float(values[60_000]), 0)) == [Flag.REPEAT]


def test_a_wider_lateness_does_not_bring_back_what_was_forgotten() -> None:
    """Whether those stamps are still in memory depends on when it was swept; the database knows them all."""
    subject = order()
    take(subject, *[(NOW - i * MIN, 1.0, 0) for i in range(50, -1, -1)])
    subject.rebuild(columns(), lateness_us=5 * MIN, max_ahead_us=2 * MIN, stamps_max=4_096)
    subject.rebuild(columns(), lateness_us=H, max_ahead_us=2 * MIN, stamps_max=4_096)
    assert take(subject, (NOW - 5 * MIN, 1.0, 0), (NOW - 6 * MIN, 1.0, 0)) == [Flag.REPEAT, Flag.TOO_LATE]


def test_the_state_in_the_form_of_the_build_before_is_read() -> None:
    subject = order()
    take(subject, *BEFORE, (NOW - 10 * MIN, 2.5, 0))
    state = subject.state()
    stamps = {
        "stamp": np.unique(state["stamp"]),
        "count": np.array([1, 2], np.int32),
        "value": state["value"],
    }
    again = order()
    again.restore({"numbers": state["numbers"], "marks": state["marks"], "known": {"0": stamps}})
    assert repr(again.state()) == repr(state)


def test_nothing_is_copied_where_nothing_changes() -> None:
    for n in (1, 1_000):
        raw = Batch.of("mqtt", np.arange(n) % 3, NOW + np.arange(n), np.full(n, NOW), np.zeros(n))
        assert Judgement(order()).judge(raw, NOW) is raw


def test_a_wall_clock_that_was_put_right_does_not_make_live_samples_future() -> None:
    """`now` is slewed and lags; a sample that agrees with the wall clock at its receipt is no future."""
    hour_right = NOW + H
    assert take(order(), (hour_right, 1.0, 0), received_us=hour_right, now_us=NOW) == [Flag(0)]
    assert take(order(), (hour_right + 3 * MIN, 1.0, 0), received_us=hour_right, now_us=NOW) == [Flag.FUTURE]


SAMPLE = st.tuples(
    st.integers(0, 2),
    st.integers(-12, 3),
    st.sampled_from([1.0, 2.0, -0.0, 0.0]),
    st.sampled_from([0, NO_STAMP, RETAINED, NO_STAMP | RETAINED, int(Flag.BAD)]),
)


@settings(max_examples=300)
@given(st.lists(SAMPLE, max_size=40), st.lists(st.integers(1, 8), max_size=40), st.sampled_from([4, 8, 4096]))
def test_batch_boundaries_never_change_what_happens_to_a_sample(
    samples: list[tuple[int, int, float, int]], cuts: list[int], stamps_max: int
) -> None:
    """One by one, in any batches, and in batches of one commit: the same flags and the same state."""

    def run(sizes: list[int], shared: bool) -> tuple[list[int], list[int], str]:
        subject = order(stamps_max=stamps_max)
        flags: list[int] = []
        events: list[int] = []
        at = 0
        judgement = Judgement(subject)
        held: list[Batch] = []
        for size in [*sizes, len(samples)]:
            part = samples[at : at + size]
            at += size
            if not part:
                continue
            if not shared:
                judgement = Judgement(subject)
            raw = Batch.of(
                "mqtt", [p[0] for p in part], [NOW + p[1] * 7 * MIN for p in part], [NOW] * len(part),
                [p[2] for p in part], [p[3] for p in part],
            )  # fmt: skip
            judged = judgement.judge(raw, NOW)
            flags += judged.flags.tolist()
            events += judged.event_us.tolist()
            if shared:
                held.append(judged)
            else:
                subject.feed(judged)
        for judged in held:
            subject.feed(judged)
        return flags, events, repr(subject.state())

    alone = run([1] * len(samples), shared=False)
    assert run(cuts, shared=False) == alone
    assert run(cuts, shared=True) == alone


@given(st.lists(SAMPLE, max_size=30), st.integers(0, 30))
def test_state_and_restore_at_any_cut_go_on_as_if_nothing_had_been(
    samples: list[tuple[int, int, float, int]], cut: int
) -> None:
    straight, restored = order(stamps_max=8), order(stamps_max=8)
    for i, (_, offset, value, flags) in enumerate(samples):
        if i == cut:
            state = restored.state()
            restored = order(stamps_max=8)
            restored.restore(state)
        row = (NOW + offset * 7 * MIN, value, flags)
        assert take(straight, row) == take(restored, row)
    assert repr(straight.state()) == repr(restored.state())
