"""Each event at its highest revision, of too many those that ended first forgotten, and the same after a restart."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from ioc.ingest import events as module
from ioc.ingest.events import Events
from ioc.log.state import pack_state, state_hash, unpack_state
from ioc.model import Event

T0 = 1_790_000_000_000_000
OUTAGE = Event("mqtt", "energy", "sa_pa", "outage", "A-1", 1, T0, 0, T0, {"customers": 3})


def restarted(subject: Events) -> Events:
    again = Events()
    again.restore(unpack_state(pack_state({"events": subject.state()}))["events"])
    return again


def test_a_later_revision_replaces_and_no_other_says_anything() -> None:
    subject = Events()
    second = replace(OUTAGE, revision=2, end_us=T0 + 5, facts={})
    told = [
        subject.feed(one) for one in (OUTAGE, OUTAGE, replace(OUTAGE, facts={"x": 1}), second, OUTAGE, second)
    ]
    assert told == [True, False, False, True, False, False]
    assert subject.find("energy", "sa_pa", "outage", "A-1") == second
    assert len(subject) == 1


@pytest.mark.parametrize("field", ["domain", "station", "kind", "id"])
def test_another_domain_station_kind_or_id_is_another_event(field: str) -> None:
    subject = Events()
    other = replace(OUTAGE, **{field: "other"})
    assert subject.feed(OUTAGE)
    assert subject.feed(other)
    assert len(subject) == 2


def test_another_source_tells_of_the_same_event() -> None:
    subject = Events()
    assert subject.feed(OUTAGE)
    assert not subject.feed(replace(OUTAGE, source="kafka"))
    assert subject.feed(replace(OUTAGE, source="kafka", revision=2))


def test_of_too_many_those_go_that_ended_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT_MAX", 4)
    monkeypatch.setattr(module, "_KEPT_LESS", 3)
    subject = Events()
    for name, end_us in (("a", T0 + 9), ("b", T0 + 2), ("c", 0), ("d", T0 + 3), ("e", T0 + 4)):
        assert subject.feed(replace(OUTAGE, id=name, end_us=end_us))
    assert [row[4] for row in subject.state()] == ["a", "c", "e"]


EVENTS = st.builds(
    Event,
    source=st.just("mqtt"),
    domain=st.just("energy"),
    station=st.sampled_from(["a", "b"]),
    kind=st.just("outage"),
    id=st.sampled_from("123456"),
    revision=st.integers(1, 4),
    start_us=st.integers(T0, T0 + 3),
    end_us=st.sampled_from([0, 0, T0 + 3, T0 + 4, T0 + 5]),
    received_us=st.just(T0),
    facts=st.dictionaries(st.sampled_from("xy"), st.integers(-9, 9), max_size=1),
)


class Plain:
    """The same, row by row over a list."""

    def __init__(self, kept_max: int, kept_less: int) -> None:
        self.rows: list[Event] = []
        self.kept_max, self.kept_less = kept_max, kept_less

    def feed(self, event: Event) -> bool:
        for at, row in enumerate(self.rows):
            if (row.domain, row.station, row.kind, row.id) == (
                event.domain,
                event.station,
                event.kind,
                event.id,
            ):
                if event.revision <= row.revision:
                    return False
                del self.rows[at]
                break
        self.rows.append(event)
        if len(self.rows) > self.kept_max:
            while len(self.rows) > self.kept_less:
                ended = [row for row in self.rows if row.end_us]
                first = min(row.end_us for row in ended) if ended else 0
                worst = [row for row in ended if row.end_us == first] or self.rows
                start = min(row.start_us for row in worst)
                last = max(row.station + row.id for row in worst if row.start_us == start)
                self.rows = [
                    row
                    for row in self.rows
                    if row not in worst or row.start_us > start or row.station + row.id != last
                ]
        return True


def compare(fed: list[Event], restarts: set[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "KEPT_MAX", 5)
        patch.setattr(module, "_KEPT_LESS", 3)
        subject, plain = Events(), Plain(5, 3)
        for at, event in enumerate(fed):
            if at in restarts:
                again = restarted(subject)
                assert state_hash({"events": again.state()}) == state_hash({"events": subject.state()})
                subject = again
            assert subject.feed(event) == plain.feed(event)
            assert subject.state() == state_of(plain.rows)


def state_of(rows: list[Event]) -> list[list[Any]]:
    names = Event.__struct_fields__
    return [[getattr(row, name) for name in names] for row in sorted(rows, key=lambda r: (r.station, r.id))]


CASES = (st.lists(EVENTS, max_size=25), st.sets(st.integers(0, 24), max_size=3))


@given(*CASES)
@settings(max_examples=300, deadline=None)
def test_it_keeps_what_a_plain_list_keeps_through_restarts(fed: list[Event], restarts: set[int]) -> None:
    compare(fed, restarts)


@pytest.mark.parametrize(
    "bug",
    [
        ("feed", lambda self, event: not self._kept.update({event.key: event})),
        ("restore", lambda self, state: None),
    ],
    ids=["every revision counts", "a restart forgets"],
)
def test_the_plain_list_finds_a_planted_bug(monkeypatch: pytest.MonkeyPatch, bug: tuple[str, Any]) -> None:
    monkeypatch.setattr(Events, *bug)

    @given(*CASES)
    @settings(max_examples=300, deadline=None, phases=[Phase.generate], database=None)
    def search(fed: list[Event], restarts: set[int]) -> None:
        compare(fed, restarts)

    with pytest.raises(AssertionError):
        search()
