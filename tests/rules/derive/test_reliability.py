"""SAIDI and SAIFI against a plain list of outages, and what a revision does."""

from __future__ import annotations

import calendar
import datetime
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.several import HANOI_US, S, Told, fed, restore, shows, told

from ioc.model.batch import Flag
from ioc.model.event import Event
from ioc.rules.derive import reliability
from ioc.rules.derive.base import Deriver, Instance
from ioc.rules.spec.derived import Reliability

MINUTE = 60
DAY = 86_400
SERVED = 1000
NEW_YEAR = calendar.timegm((2026, 1, 1, 0, 0, 0)) - HANOI_US // S

Outage = tuple[str, int, int, int, int, int]
"""(id, revision, start, end or 0, customers, received), seconds after the new year in Hà Nội; never the epoch."""


def event(outage: Outage, kind: str = "outage", **facts: Any) -> Event:
    name, revision, start, end, customers, received = outage
    return Event(
        "mqtt", "energy", "a", kind, name, revision,
        (NEW_YEAR + start) * S, (NEW_YEAR + end) * S if end else 0, (NEW_YEAR + received) * S,
        {"customers": customers, **facts},
    )  # fmt: skip


def of(kind: Literal["saidi", "saifi"] = "saidi", since: Literal["year", "month"] = "year") -> Deriver:
    spec = Reliability(id=kind, kind=kind, customers=SERVED, since=since)
    return reliability.build(spec, [Instance("a", (), 0.001), Instance("a", (), 0.001)], HANOI_US)


def run(deriver: Deriver, outages: Sequence[Outage], at: Sequence[int] = (0,)) -> list[list[Told]]:
    """What each event gives; stamps in microseconds after the new year."""
    return [
        [
            (row, a, us - NEW_YEAR * S, value, flags)
            for row, a, us, value, flags in told(deriver.feed_event(event(o), at))
        ]
        for o in outages
    ]


def values(result: Sequence[Sequence[Told]]) -> list[float | None]:
    return [one[0][3] if one else None for one in result]


TEN = ("x", 1, 100 * MINUTE, 110 * MINUTE, 500, 111 * MINUTE)


def test_an_outage_counts_at_its_end() -> None:
    assert run(of(), [TEN]) == [[(0, 0, 110 * MINUTE * S, 5.0, 0)]]
    assert run(of("saifi"), [TEN]) == [[(0, 0, 110 * MINUTE * S, 0.5, 0)]]


def test_it_counts_once_its_end_is_known() -> None:
    lasting = ("x", 0, 100 * MINUTE, 0, 500, 101 * MINUTE)
    assert values(run(of(), [lasting, TEN])) == [None, 5.0]


def test_only_more_than_five_minutes_count() -> None:
    for seconds, counts in ((300, False), (301, True)):
        outage = ("x", 1, 1000, 1000 + seconds, 500, 5000)
        assert bool(run(of(), [outage])[0]) == counts


def test_a_later_revision_replaces_and_an_older_or_equal_one_is_nothing() -> None:
    more = ("x", 3, 100 * MINUTE, 120 * MINUTE, 500, 130 * MINUTE)
    again = ("x", 3, 100 * MINUTE, 400 * MINUTE, 500, 500 * MINUTE)
    assert values(run(of(), [TEN, more, again, TEN])) == [5.0, 10.0, None, None]


def test_a_revision_may_take_the_end_back_and_is_told_after_what_was_told() -> None:
    back = ("x", 2, 100 * MINUTE, 0, 500, 130 * MINUTE)
    assert run(of(), [TEN, back])[1] == [(0, 0, 110 * MINUTE * S + 1, 0.0, 0)]


def test_stamps_rise_though_ends_are_told_out_of_order() -> None:
    earlier = ("y", 1, 10 * MINUTE, 20 * MINUTE, 100, 140 * MINUTE)
    assert run(of(), [TEN, earlier]) == [
        [(0, 0, 110 * MINUTE * S, 5.0, 0)],
        [(0, 0, 110 * MINUTE * S + 1, 6.0, 0)],
    ]


def test_an_announced_end_counts_when_something_is_heard_after_it() -> None:
    announced = ("x", 1, 100 * MINUTE, 600 * MINUTE, 500, 90 * MINUTE)
    short = ("y", 1, 601 * MINUTE, 602 * MINUTE, 1, 603 * MINUTE)
    assert values(run(of(), [announced, short])) == [None, 250.0]


def test_a_new_year_and_a_new_month_begin_at_local_midnight() -> None:
    december = ("x", 1, -3600, -1, 500, 0)
    over = ("y", 1, -3600, 0 + 1, 100, 10)
    assert values(run(of(), [december, over])) == [29.992, 6.002]
    january = ("z", 1, 30 * DAY, 30 * DAY + 600, 100, 31 * DAY)
    february = ("w", 1, 31 * DAY, 31 * DAY + 600, 100, 32 * DAY)
    assert values(run(of(since="month"), [january, february])) == [1.0, 1.0]
    assert values(run(of(since="year"), [january, february])) == [1.0, 2.0]


def test_what_changes_an_earlier_year_only_gives_nothing() -> None:
    january = ("y", 1, 1000, 2000, 100, 3000)
    december = ("x", 1, -7200, -3600, 500, 4000)
    assert values(run(of(), [january, december])) == [1.667, None]


@pytest.mark.parametrize(
    "wrong",
    [
        event(TEN, "spill"),
        event(TEN, customers="500"),
        event(TEN, customers=True),
        event(TEN, customers=-1),
        event(TEN, customers=1 << 40),
        event(("x", 1, 1000, 400, 5, 5000)),
        event(("x", 1, -NEW_YEAR, 400, 5, 5000)),
        event(("x", 1, 1000, 400 * DAY, 5, 500 * DAY)),
        Event("mqtt", "energy", "a", "outage", "x", 1, NEW_YEAR * S, (NEW_YEAR + 3600) * S, NEW_YEAR * S, {}),
    ],
)
def test_what_is_no_sound_outage_is_nothing(wrong: Event) -> None:
    deriver = of()
    before = {name: column.copy() for name, column in deriver.columns.items()}
    assert not len(deriver.feed_event(wrong, [0]))
    assert all(np.array_equal(before[name], column) for name, column in deriver.columns.items())


def test_samples_are_nothing_to_it() -> None:
    assert not len(of().feed(fed([])))


def test_beyond_the_bound_the_first_are_summed_and_no_revision_of_them_is_taken() -> None:
    many = reliability.OUTAGES_MAX + 10
    outages = [(f"o{k}", 1, 1000 * k + 1, 1000 * k + 601, 1000, 1000 * k + 700) for k in range(many)]
    deriver = of("saifi")
    result = run(deriver, outages)
    assert values(result) == [float(k + 1) for k in range(many)]
    name, _, start, end, _, received = outages[3]
    assert run(deriver, [(name, 2, start, end, 5, received)]) == [[]]
    name, _, start, end, _, received = outages[-1]
    assert values(run(deriver, [(name, 2, start, end, 0, received)])) == [many - 1.0]


def test_outages_that_last_are_kept_before_those_that_ended() -> None:
    deriver = of("saifi")
    run(deriver, [("long", 1, 1, 0, 1000, 2)])
    run(deriver, [(f"o{k}", 1, 10 + k, 1000 + k, 0, 2000) for k in range(reliability.OUTAGES_MAX + 5)])
    assert values(run(deriver, [("long", 2, 1, 5000, 1000, 6000)])) == [1.0]


# Against a plain list -------------------------------------------------------------------------------------------------


@st.composite
def many_outages(draw: st.DrawFn) -> list[Outage]:
    """Revisions of few outages about the new year and a change of month, now and then short, open or announced."""
    result = []
    received = -2 * DAY
    for _ in range(draw(st.integers(0, 20))):
        received += draw(st.sampled_from([60, 3600, 4 * DAY, 20 * DAY]))
        start = received - draw(st.integers(0, 20_000))
        end = draw(st.sampled_from([0, start + 300, start + 301, start + 3600, start + 9000, received + 290]))
        result.append(
            (draw(st.sampled_from("xyzvw")), draw(st.integers(0, 5)), start, end if end >= start else 0,
             draw(st.integers(0, 900)), received)
        )  # fmt: skip
    return result


def plain(outages: Sequence[Outage], kind: str, since: str) -> list[list[Told]]:
    """From all revisions, anew at every event."""
    hanoi = datetime.timezone(datetime.timedelta(hours=7))

    def period(seconds: int) -> tuple[int, int]:
        local = datetime.datetime.fromtimestamp(NEW_YEAR + seconds, hanoi)
        return local.year, local.month if since == "month" else 0

    known: dict[str, Outage] = {}
    said: tuple[Any, ...] = None, 0, 0
    given: int | None = None
    heard = -(10**9)
    result: list[list[Told]] = []
    for outage in outages:
        name, revision, *_, received = outage
        if name in known and revision <= known[name][1]:
            result.append([])
            continue
        known[name] = outage
        heard = max(heard, received)
        over = [o for o in known.values() if o[3] and o[3] <= heard + 300 and o[3] - o[2] > 300]
        newest = max((o[3] for o in over), default=None)
        now = said[0]
        if newest is not None and (now is None or period(newest) > now):
            now = period(newest)
        counted = [o for o in over if period(o[3]) >= now]
        sums = now, sum((o[3] - o[2]) * o[4] for o in counted), sum(o[4] for o in counted)
        if sums == said:
            result.append([])
            continue
        said = sums
        stamp = None if newest is None else newest * S
        given = stamp if given is None or (stamp is not None and stamp > given) else given + 1
        assert given is not None
        value = sums[1] / 60 / SERVED if kind == "saidi" else sums[2] / SERVED
        result.append([(0, 0, given, round(value, 3), 0)])
    return result


def close(one: Sequence[Sequence[Told]], two: Sequence[Sequence[Told]]) -> bool:
    """Equal, but for a last digit that a float may round the other way."""
    flat = [[(t[:3], t[4]) for t in told] for told in one] == [[(t[:3], t[4]) for t in told] for told in two]
    pairs = zip(values(one), values(two), strict=True)
    return flat and all(
        a is b is None or (a is not None and b is not None and abs(a - b) < 0.0011) for a, b in pairs
    )


KINDS = st.sampled_from(["saidi", "saifi"])
SINCE = st.sampled_from(["year", "month"])


@settings(max_examples=200, deadline=None)
@given(many_outages(), KINDS, SINCE)
def test_indices_are_those_of_a_plain_list(outages: list[Outage], kind: Any, since: Any) -> None:
    assert close(run(of(kind, since), outages), plain(outages, kind, since))


@settings(max_examples=60, deadline=None)
@given(many_outages(), KINDS, st.integers(0, 20))
def test_a_restart_changes_nothing(outages: list[Outage], kind: Any, cut: int) -> None:
    before, after = of(kind), of(kind)
    first = run(before, outages[:cut])
    restore(after, before)
    assert first + run(after, outages[cut:]) == run(of(kind), outages)


@settings(max_examples=60, deadline=None)
@given(many_outages())
def test_instances_know_nothing_of_each_other(outages: list[Outage]) -> None:
    deriver = of()
    for k, outage in enumerate(outages):
        deriver.feed_event(event(outage), [k % 2])
    for at in (0, 1):
        alone = of()
        run(alone, [o for k, o in enumerate(outages) if k % 2 == at], [at])
        for name, column in alone.columns.items():
            assert np.array_equal(column[at], deriver.columns[name][at])


def test_an_event_of_both_instances_is_told_by_both() -> None:
    assert [t[:2] for t in run(of(), [TEN], [0, 1])[0]] == [(0, 0), (0, 1)]
    assert all(t[4] & Flag.BAD == 0 for t in run(of(), [TEN], [0, 1])[0])


@pytest.mark.parametrize(
    ("name", "wrong"), [("_SHORT_US", 299_000_000), ("_AHEAD_US", 0), ("_key", lambda _: 1)]
)
def test_a_planted_bug_is_caught(name: str, wrong: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reliability, name, wrong)
    assert shows(many_outages(), lambda o: not close(run(of(), o), plain(o, "saidi", "year")))
