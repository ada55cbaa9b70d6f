"""A screen that applies its frames in order ends with what a snapshot would show, however slowly it acknowledges."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from support.screens import LEVEL, NUMBERS, PM25, RAIN, Centre, S, presenter

from ioc.model import ChangeKind, Condition
from ioc.wall import hub as hub_module
from ioc.wall.hub import DuplicateId, TooMany
from ioc.wall.wire import Filter, Since, Sub, client_message, text_of

ALARMS, POINTS = 1, 2
DISASTER = Filter(domain="disaster")
URGENT = Filter(min_priority=2)


class Screen:
    """A plain client of the protocol, as `docs/protocol.md` describes it."""

    def __init__(self, centre: Centre) -> None:
        self.centre = centre
        self.items: dict[int, dict[str, dict[str, Any]]] = {}
        self.events: dict[int, list[str]] = {}
        self.seq: dict[int, int] = {}
        self.subs: dict[int, Sub] = {}
        self.unacked: list[int] = []
        self.resyncs = 0
        self.frames: list[dict[str, Any]] = []
        self.connect()

    def connect(self) -> None:
        self.client = self.centre.hub.connect(lambda: None)
        self.unacked = []
        self.last_seq = 0

    def sub(self, sub: Sub) -> None:
        self.subs[sub.id] = sub
        self.client.subscribe(sub)

    def reconnect(self) -> None:
        """The line broke; frames on their way are lost. It resumes where it stopped."""
        self.centre.hub.disconnect(self.client)
        self.connect()
        epoch = self.centre.view.epoch
        for sub in self.subs.values():
            since = Since(epoch, self.seq[sub.id]) if sub.id in self.seq else None
            self.client.subscribe(Sub(sub.id, sub.topic, sub.filter, since, sub.max_hz))

    def pull(self, now_us: int, lose: bool = False) -> list[dict[str, Any]]:
        frames = [json.loads(text) for text in self.client.take(now_us)]
        for frame in frames:
            if frame["type"] != "resync":
                self.unacked.append(frame["seq"])
                assert frame["seq"] >= self.last_seq, "frames of one connection bear rising seq"
                self.last_seq = frame["seq"]
            if not lose:
                self.apply(frame)
        assert len(self.unacked) <= 2
        self.frames += frames
        return frames

    def apply(self, frame: dict[str, Any]) -> None:
        key = frame["id"]
        if frame["type"] == "resync":
            self.resyncs += 1
            return
        name = "series" if self.subs[key].topic == "points" else "id"
        if frame["type"] == "snap":
            self.items[key] = {item[name]: item for item in frame["items"]}
        else:
            assert frame["prev"] == self.seq[key], "a gap"
            for item in frame["upsert"]:
                self.items[key][item[name]] = item
            for gone in frame["remove"]:
                self.items[key].pop(gone, None)
            self.events.setdefault(key, []).extend(event["id"] for event in frame["events"])
        self.seq[key] = frame["seq"]

    def ack(self) -> None:
        if self.unacked:
            self.client.ack(self.unacked.pop(0))

    def drain(self, now_us: int) -> None:
        for _ in range(20):
            now_us += S
            while self.unacked:
                self.ack()
            self.pull(now_us)


def shown(centre: Centre, sub: Sub) -> dict[str, Any]:
    """What a fresh snapshot holds."""
    fresh = Screen(centre)
    fresh.sub(Sub(99, sub.topic, sub.filter))
    fresh.drain(1 << 50)
    centre.hub.disconnect(fresh.client)
    return fresh.items[99]


@pytest.fixture
def screen(centre: Centre) -> Screen:
    return Screen(centre)


class AnyOrder(RuleBasedStateMachine):
    """Feeding, pulling, acknowledging, losing the line: in any order."""

    words: Any = None

    @initialize(filters=st.sampled_from([None, DISASTER, URGENT]), hz=st.sampled_from([None, 0.0, 4.0]))
    def begin(self, filters: Filter | None, hz: float | None) -> None:
        self.centre = Centre(AnyOrder.words)
        self.screen = Screen(self.centre)
        self.filter = filters
        self.now_us = 0
        self.time = 0
        self.screen.sub(Sub(ALARMS, "alarms", filters, None, hz))
        self.screen.sub(Sub(POINTS, "points", filters, None, hz))
        self.snapped = False

    @rule(series=st.sampled_from(sorted(NUMBERS)), value=st.floats(0, 90))
    def reading(self, series: str, value: float) -> None:
        self.time += 1
        self.centre.readings(series, (self.time, value))

    @rule(
        asset=st.sampled_from([LEVEL, RAIN, PM25]),
        ends=st.booleans(),
        priority=st.integers(1, 4),
    )
    def change(self, asset: str, ends: bool, priority: int) -> None:
        active = [
            a
            for a in self.centre.book.alarms.values()
            if a.asset == asset and a.condition is Condition.ACTIVE
        ]
        if not active:
            self.centre.change(ChangeKind.ONSET, asset, priority, level=5 - priority)
        elif ends:
            self.centre.change(ChangeKind.CLEAR, asset, priority, level=0)
        elif priority != active[0].priority:
            kind = ChangeKind.LEVEL_UP if priority < active[0].priority else ChangeKind.LEVEL_DOWN
            self.centre.change(kind, asset, priority, level=5 - priority)

    @precondition(lambda self: self.centre.book.alarms)
    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        self.centre.ack(data.draw(st.sampled_from(sorted(self.centre.book.alarms))))

    @rule(stale=st.sets(st.sampled_from(sorted(NUMBERS))))
    def second(self, stale: set[str]) -> None:
        self.centre.second(stale=tuple(stale))

    @rule(after_us=st.sampled_from([0, 20_000, 300_000]))
    def pull(self, after_us: int) -> None:
        self.now_us += after_us
        self.screen.pull(self.now_us)

    @rule()
    def keep_up(self) -> None:
        self.now_us += S
        self.screen.ack()
        self.screen.pull(self.now_us)

    @rule()
    def ack(self) -> None:
        self.screen.ack()

    @rule(lose=st.booleans())
    def break_line(self, lose: bool) -> None:
        self.now_us += S
        self.screen.pull(self.now_us, lose=lose)
        self.screen.reconnect()

    @rule()
    def reload_the_pack(self) -> None:
        self.centre.view.load(AnyOrder.words)

    @invariant()
    def events_come_once_and_in_order(self) -> None:
        got = self.screen.events.get(ALARMS, [])
        assert len(got) == len(set(got)), "an event came twice"

    def teardown(self) -> None:
        if not hasattr(self, "screen"):
            return
        self.screen.drain(self.now_us)
        for sub in self.screen.subs.values():
            assert self.screen.items[sub.id] == shown(self.centre, sub)
        if self.filter is None:
            assert set(self.screen.items[ALARMS]) == set(self.centre.book.alarms)
            journal = [e.step.id for e in reversed(list(self.centre.view.journal.newest(10_000)))]
            got = self.screen.events.get(ALARMS, [])
            assert got == journal[len(journal) - len(got) :], "events are missing after the first snapshot"


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=80, stateful_step_count=50, deadline=None)


@pytest.fixture(scope="session", autouse=True)
def _words(tmp_path_factory: pytest.TempPathFactory) -> None:
    AnyOrder.words = presenter(tmp_path_factory.mktemp("words"))


def test_without_acknowledgements_only_two_frames_come(centre: Centre, screen: Screen) -> None:
    screen.sub(Sub(1, "points", max_hz=0))
    for i in range(10):
        centre.readings(LEVEL, (i, float(i)))
        screen.pull(i)
    assert len(screen.frames) == 2
    screen.ack()
    [joined] = screen.pull(11)
    assert [item["value"] for item in joined["upsert"]] == [9.0]


def test_one_credit_is_kept_for_alarms(centre: Centre, screen: Screen) -> None:
    screen.sub(Sub(1, "alarms", max_hz=0))
    screen.sub(Sub(2, "points", max_hz=0))
    screen.drain(0)
    for i in range(5):
        centre.readings(LEVEL, (i, float(i)))
        screen.pull(1 << 40)
    assert [f["id"] for f in screen.frames[-1:]] == [2]
    centre.change(ChangeKind.ONSET)
    [frame] = screen.pull(1 << 40)
    assert frame["id"] == 1
    assert frame["upsert"][0]["state"] == "UNACKED"


def test_alarms_leave_before_what_was_wanted_earlier(centre: Centre, screen: Screen) -> None:
    screen.sub(Sub(1, "points", max_hz=0))
    screen.sub(Sub(2, "alarms", max_hz=0))
    assert [frame["id"] for frame in screen.pull(0)] == [2, 1]


def test_a_screen_whose_frames_wait_for_acknowledgement_waits_for_no_pace(
    centre: Centre, screen: Screen
) -> None:
    screen.sub(Sub(1, "points"))
    screen.pull(0)
    centre.readings(LEVEL, (0, 1.0))
    screen.pull(1)
    assert screen.client.next_us() == 250_000
    screen.pull(250_000)
    centre.readings(LEVEL, (1, 2.0))
    assert screen.pull(600_000) == []
    assert screen.client.next_us() is None
    screen.ack()
    assert len(screen.pull(600_000)) == 1


def test_the_first_alarm_leaves_at_once_and_its_followers_are_joined(centre: Centre, screen: Screen) -> None:
    screen.sub(Sub(1, "alarms"))
    screen.drain(0)
    now_us = 1 << 40
    centre.change(ChangeKind.ONSET, LEVEL)
    assert len(screen.pull(now_us)) == 1
    centre.change(ChangeKind.ONSET, RAIN)
    assert screen.pull(now_us + 10_000) == []
    assert screen.client.next_us() == now_us + 50_000
    centre.change(ChangeKind.ONSET, PM25)
    [joined] = screen.pull(now_us + 50_000)
    assert len(joined["upsert"]) == len(joined["events"]) == 2
    assert screen.client.next_us() is None


def test_a_closed_alarm_is_removed_and_its_steps_are_told(centre: Centre, screen: Screen) -> None:
    screen.sub(Sub(1, "alarms", max_hz=0))
    [onset] = centre.change(ChangeKind.ONSET)
    screen.drain(0)
    centre.ack(onset.alarm)
    centre.change(ChangeKind.CLEAR)
    [frame] = screen.pull(1 << 40)
    assert frame["remove"] == [onset.alarm]
    assert [event["kind"] for event in frame["events"]] == ["ack", "clear"]


def test_an_alarm_that_grows_milder_leaves_a_screen_for_urgent_ones(centre: Centre, screen: Screen) -> None:
    screen.sub(Sub(1, "alarms", URGENT, max_hz=0))
    [onset] = centre.change(ChangeKind.ONSET, LEVEL, 1)
    screen.drain(0)
    centre.change(ChangeKind.LEVEL_DOWN, LEVEL, 3, level=1)
    [frame] = screen.pull(1 << 40)
    assert (frame["upsert"], frame["remove"]) == ([], [onset.alarm])


def test_too_many_events_become_a_fresh_snapshot(
    centre: Centre, screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "EVENTS_MAX", 3)
    screen.sub(Sub(1, "alarms", max_hz=0))
    screen.drain(0)
    for _ in range(2):
        [onset] = centre.change(ChangeKind.ONSET)
        centre.ack(onset.alarm)
        centre.change(ChangeKind.CLEAR)
    resync, snap = screen.pull(1 << 40)
    assert resync == {"type": "resync", "id": 1}
    assert (snap["type"], snap["items"]) == ("snap", [])


def test_a_screen_within_the_ring_is_told_what_it_missed(centre: Centre, screen: Screen) -> None:
    screen.sub(Sub(1, "alarms", max_hz=0))
    screen.drain(0)
    [onset] = centre.change(ChangeKind.ONSET)
    screen.reconnect()
    [delta] = screen.pull(1 << 40)
    assert (delta["type"], [item["id"] for item in delta["upsert"]]) == ("delta", [onset.alarm])


def test_a_screen_that_missed_nothing_is_told_so(centre: Centre, screen: Screen) -> None:
    screen.sub(Sub(1, "alarms", max_hz=0))
    screen.drain(0)
    screen.reconnect()
    [delta] = screen.pull(1 << 40)
    assert (delta["upsert"], delta["remove"], delta["events"]) == ([], [], [])


@pytest.mark.parametrize("since", [Since("another", 1), Since("epoch-1", 1 << 40)])
def test_another_epoch_or_an_unknown_seq_gets_a_snapshot(
    centre: Centre, screen: Screen, since: Since
) -> None:
    screen.sub(Sub(1, "alarms", None, since))
    [frame] = screen.pull(0)
    assert frame["type"] == "snap"


def test_a_screen_that_stopped_before_the_ring_gets_a_snapshot(centre: Centre, screen: Screen) -> None:
    centre.view.journal._remembered = 2
    screen.sub(Sub(1, "alarms", max_hz=0))
    screen.drain(0)
    for asset in (LEVEL, RAIN, PM25):
        centre.change(ChangeKind.ONSET, asset)
    screen.reconnect()
    [frame] = screen.pull(1 << 40)
    assert (frame["type"], len(frame["items"])) == ("snap", 3)


def test_kpi_and_feeds_come_as_one_object_and_as_rows(centre: Centre, screen: Screen) -> None:
    centre.readings(LEVEL, (0, 1.0))
    centre.second()
    screen.subs = {}
    screen.client.subscribe(Sub(1, "kpi"))
    screen.client.subscribe(Sub(2, "feeds"))
    kpi, feeds = (json.loads(text) for text in screen.client.take(0))
    assert kpi["items"][0]["feeds_total"] == 3
    assert feeds["items"][0]["source"] == "mqtt"


def test_an_id_is_used_once_and_subscriptions_are_bounded(centre: Centre, screen: Screen) -> None:
    screen.sub(Sub(1, "kpi"))
    with pytest.raises(DuplicateId):
        screen.client.subscribe(Sub(1, "alarms"))
    screen.client.unsubscribe(1)
    screen.client.subscribe(Sub(1, "alarms"))
    for i in range(2, 17):
        screen.client.subscribe(Sub(i, "kpi"))
    with pytest.raises(TooMany):
        screen.client.subscribe(Sub(17, "kpi"))


def test_who_looks_on_is_counted(centre: Centre) -> None:
    kiosk = centre.hub.connect(lambda: None, screen=True)
    for _ in range(2):
        centre.hub.connect(lambda: None, officer="Trực ban")
    assert (centre.view.screens, centre.view.officers) == (1, ("Trực ban",))
    centre.hub.disconnect(kiosk)
    assert centre.view.screens == 0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"type":"nonsense"}',
        '{"type":"sub","id":1}',
        '{"type":"sub","id":1,"topic":"secrets"}',
        '{"type":"sub","id":-1,"topic":"kpi"}',
        '{"type":"sub","id":1,"topic":"alarms","filter":{"min_priority":9}}',
        '{"type":"sub","id":1,"topic":"alarms","max_hz":-1}',
        '{"type":"sub","id":1,"topic":"alarms","max_hz":5e-324}',
        '{"type":"sub","id":1,"topic":"alarms","max_hz":0.0099}',
        '{"type":"sub","id":1,"topic":"alarms","max_hz":60.1}',
        '{"type":"sub","id":1,"topic":"alarms","max_hz":1e999}',
        '{"type":"ack","seq":"1"}',
        "[" * 5_000,
        '{"type":"ping"',
    ],
)
def test_what_is_no_message_is_refused_with_a_reason(text: str) -> None:
    with pytest.raises(ValueError):
        client_message(text)


@pytest.mark.parametrize("max_hz", [0.0, 0.01, 60.0])
def test_the_slowest_and_the_fastest_pace_are_taken(screen: Screen, max_hz: float) -> None:
    message = client_message(text_of(Sub(1, "alarms", max_hz=max_hz)))
    assert isinstance(message, Sub)
    screen.sub(message)


def test_ping_and_a_full_subscription_are_understood() -> None:
    sub = Sub(1, "alarms", Filter("disaster", "lao_cai", 2), Since("e", 5), 4.0)
    assert client_message(text_of(sub)) == sub
    client_message('{"type":"ping"}')
