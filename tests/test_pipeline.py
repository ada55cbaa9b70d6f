"""Events through the pure pipeline: in the order of their revisions, and the same through a restart at any place."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from support.centre import T0, Centre, S
from support.packs import limit_rule, write_pack

from ioc.log.state import pack_state, unpack_state
from ioc.model import Batch, Change, ChangeKind, Event, Input, Step
from ioc.model.origin import of_offsets
from ioc.pack import Settings
from ioc.pipeline import Pipeline
from ioc.rules.engine import Engine

SERIES = "energy/sa_pa/power"
OUTAGE = Event("mqtt", "energy", "sa_pa", "outage", "A-1", 1, T0, 0, T0, {"customers": 312})


def onset(event: Event) -> Change:
    """One of an alarm of its own: a revision that is told twice breaks the book."""
    asset = f"energy/{event.id}/{event.revision}"
    return Change(ChangeKind.ONSET, "power_high", asset, 1, 3, 1.0, 1.0, event_us=T0, now_us=T0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pack(tmp_path_factory.mktemp("pack"), [SERIES], [limit_rule("power_high", {1: 1.0})])


@pytest.fixture
def centre(folder: Path) -> Centre:
    return Centre(folder)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Ids and revisions of which the rules are told; they say that something is the matter at once."""
    found: list[tuple[str, int]] = []
    judge = Engine.judge_event

    def spied(self: Engine, event: Event, now_us: int) -> tuple[list[Change], Batch | None]:
        found.append((event.id, event.revision))
        changes, derived = judge(self, event, now_us)
        return [*changes, onset(event)], derived

    monkeypatch.setattr(Engine, "judge_event", spied)
    return found


def test_the_rules_are_told_each_revision_once_and_no_older_one(
    centre: Centre, told: list[tuple[str, int]]
) -> None:
    for revision in (1, 1, 3, 2, 3, 4):
        centre.take(replace(OUTAGE, revision=revision))
    assert told == [("A-1", 1), ("A-1", 3), ("A-1", 4)]
    known = centre.pipeline.events.find("energy", "sa_pa", "outage", "A-1")
    assert known is not None
    assert known.revision == 4


def test_what_the_rules_say_of_an_event_becomes_an_alarm_of_its_record(
    centre: Centre, told: list[tuple[str, int]]
) -> None:
    outcome = centre.take(OUTAGE)
    assert outcome.changes == [onset(OUTAGE)]
    (step,) = outcome.transitions
    assert (step.kind, step.rule, step.input) == (Step.ONSET, "power_high", outcome.input.number)
    repeated = centre.take(OUTAGE)
    assert (repeated.changes, repeated.transitions) == ([], [])


def test_an_event_moves_kafkas_offsets_as_any_record_of_it_does(centre: Centre) -> None:
    pipeline = centre.pipeline
    event = replace(OUTAGE, source="kafka")
    origin = of_offsets("kafka", {("readings", 0): 8})
    pipeline.feed(Input(pipeline.last_number + 1, centre.now_us, event, origin))
    assert pipeline.offsets == {"kafka": {("readings", 0): 8}}


def test_an_event_that_comes_out_of_the_quarantine_is_no_longer_pending(centre: Centre) -> None:
    pipeline = centre.pipeline
    pipeline.feed(Input(pipeline.last_number + 1, centre.now_us, OUTAGE, "reinject#7"))
    assert pipeline.quarantine.asked_for(7)


def test_with_the_samples_own_clock_the_rules_know_what_happened_before_the_first(
    folder: Path, told: list[tuple[str, int]]
) -> None:
    """Time, and the engine, begin anew with that sample."""
    centre = Centre(folder, settings=Settings(clock="source"))
    for event in (OUTAGE, replace(OUTAGE, revision=2), replace(OUTAGE, id="A-2")):
        centre.take(event)
    assert told == [("A-1", 1), ("A-1", 2), ("A-2", 1)]
    centre.publish(SERIES, 0.5, T0)
    assert told[3:] == [("A-1", 2), ("A-2", 1)]
    centre.publish(SERIES, 0.6, T0 + S)
    assert len(told) == 5


EVENTS = st.builds(
    replace,
    st.just(OUTAGE),
    id=st.sampled_from(["A-1", "A-2"]),
    revision=st.integers(1, 3),
    end_us=st.sampled_from([0, T0 + 600 * S]),
    facts=st.dictionaries(
        st.sampled_from(["customers", "note"]),
        st.integers(-(2**63), 2**63 - 1) | st.text(max_size=3),
        max_size=2,
    ),
)


def restarted(centre: Centre) -> Pipeline:
    again = Pipeline(centre.packs.__getitem__)
    again.restore(unpack_state(pack_state(centre.pipeline.state())))
    return again


def restart_anywhere(centre: Centre, events: list[Event], cut: int) -> None:
    for event in events[:cut]:
        centre.take(event)
    again = restarted(centre)
    assert again.hash() == centre.pipeline.hash()
    for event in events[cut:]:
        outcome = centre.take(event)
        other = again.feed(outcome.input)
        assert (other.changes, other.transitions) == (outcome.changes, outcome.transitions)
    assert again.hash() == centre.pipeline.hash()


CASES = (st.lists(EVENTS, max_size=8), st.integers(0, 8))
QUICK = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None
)


@given(*CASES)
@QUICK
def test_a_restart_at_any_place_changes_nothing(
    folder: Path, told: list[tuple[str, int]], events: list[Event], cut: int
) -> None:
    told.clear()
    restart_anywhere(Centre(folder), events, cut)


def test_a_restart_that_forgot_events_would_be_found_out(
    centre: Centre, told: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ioc.ingest.events.Events.restore", lambda self, state: None)
    with pytest.raises(AssertionError):
        restart_anywhere(centre, [OUTAGE, OUTAGE], 1)
