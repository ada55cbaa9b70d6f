"""When which series speaks, and what a hand at the topic does to it."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from simulators.catalog import Series
from simulators.faults import Fault
from simulators.fleet import HOLD_US, Fleet, Outgoing
from simulators.storm import Storm
from simulators.story import RIVER, SILENT, Story

S = 1_000_000
START_US = 1_795_500_000_000_000
RIVER_TOPIC = f"ioc/v1/{RIVER}"


def fleet(series: tuple[Series, ...], **given: Any) -> Fleet:
    return Fleet(series, seed=1, start_us=START_US, **given)


def run(of: Fleet, seconds: int, since: int = 0, step_us: int = S // 4) -> list[Outgoing]:
    out: list[Outgoing] = []
    for now_us in range(START_US + since * S, START_US + (since + seconds) * S + 1, step_us):
        out += of.due(now_us)
    return out


def sent(messages: list[Outgoing], topic: str) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = []
    for message in messages:
        if message.topic == topic:
            part = json.loads(message.payload)
            out += part if isinstance(part, list) else [part]
    return out


def test_every_series_speaks_within_the_first_second(province: tuple[Series, ...]) -> None:
    messages = run(fleet(province), 1)
    assert {message.topic for message in messages} == {series.topic for series in province}


def test_every_series_keeps_its_interval(province: tuple[Series, ...], by_id: dict[str, Series]) -> None:
    messages = run(fleet(province), 61)
    for series in province:
        stamps = [point["t"] for point in sent(messages, series.topic)]
        gaps = {b - a for a, b in itertools.pairwise(stamps)}
        assert all(abs(gap - series.interval_us // 1000) <= 1 for gap in gaps), series.id
        assert len(stamps) >= 60 * S // series.interval_us, series.id


def test_a_payload_is_of_the_native_convention_with_a_stamp_not_ahead_of_now(
    province: tuple[Series, ...],
) -> None:
    of = fleet(province)
    for now_us in range(START_US, START_US + 5 * S, S // 2):
        for message in of.due(now_us):
            point = json.loads(message.payload)
            assert set(point) == {"t", "v", "q"}
            assert START_US <= point["t"] * 1000 <= now_us
            assert point["q"] == "good"


def test_what_is_sent_does_not_depend_on_when_it_was_asked(province: tuple[Series, ...]) -> None:
    often, seldom = run(fleet(province), 20, step_us=S // 10), run(fleet(province), 20, step_us=2 * S)
    assert sorted(m.payload for m in often) == sorted(m.payload for m in seldom)


def test_speed_shortens_intervals(province: tuple[Series, ...]) -> None:
    assert len(run(fleet(province, speed=4.0), 20)) > 3 * len(run(fleet(province), 20))


@pytest.mark.parametrize(("rate", "batch"), [(500.0, False), (20_000.0, True)])
def test_a_rate_is_shared_by_all_series(province: tuple[Series, ...], rate: float, batch: bool) -> None:
    messages = run(fleet(province, rate=rate, batch=batch), 4, step_us=S // 10)
    assert sum(m.readings for m in messages) == pytest.approx(4 * rate, rel=0.1)
    if batch:
        assert len(messages) <= 41 * len(province)
        stamps = [point["t"] for point in sent(messages, RIVER_TOPIC)]
        assert stamps == sorted(set(stamps))


def test_after_a_long_sleep_a_series_starts_over_from_now(province: tuple[Series, ...]) -> None:
    of = fleet(province)
    run(of, 10)
    awake = of.due(START_US + 3600 * S)
    assert len(awake) == len(province)
    assert {json.loads(m.payload)["t"] for m in awake} == {(START_US + 3600 * S) // 1000}


def test_a_clock_that_is_set_back_silences_nobody(province: tuple[Series, ...]) -> None:
    of = fleet(province)
    run(of, 10)
    of.due(START_US - 3600 * S)
    longest_s = max(series.interval_us for series in province) // S
    messages = run(of, longest_s + 1, since=-3600)
    assert {m.topic for m in messages} == {series.topic for series in province}


def test_the_story_runs_through_the_fleet(province: tuple[Series, ...], by_id: dict[str, Series]) -> None:
    messages = run(fleet(province, story=Story(1, by_id.keys())), 120)
    river = {(point["t"] * 1000 - START_US) / S: point["v"] for point in sent(messages, RIVER_TOPIC)}
    assert max(v for t, v in river.items() if t < 10) < 80.0
    assert min(v for t, v in river.items() if 34 < t < 90) > 83.5
    assert max(v for t, v in river.items() if t > 107) < 80.0
    for series_id in SILENT:
        quiet = [(p["t"] * 1000 - START_US) / S for p in sent(messages, f"ioc/v1/{series_id}")]
        assert not [t for t in quiet if 40 <= t < 90]
        assert [t for t in quiet if 90 <= t < 96]


def test_the_storm_runs_through_the_fleet_at_its_speed(province: tuple[Series, ...]) -> None:
    """At 7,200 an hour of the storm is half a second, its fortieth hour the twentieth second."""
    gauges = tuple(s for s in province if s.station == "lao_cai" and s.quantity == "water_level")
    storm = Storm(1, START_US, province)
    messages = run(fleet(gauges, storm=storm, speed=7_200.0, rate=4.0), 60, step_us=S // 2)
    river = {(p["t"] * 1000 - START_US) / S: p["v"] for p in sent(messages, RIVER_TOPIC)}
    assert max(v for t, v in river.items() if t < 4) < 80.0
    assert max(river.values()) > 86.0
    assert 18 < max(river, key=lambda t: river[t]) < 32
    assert max(v for t, v in river.items() if t > 55) < 81.0


def test_outages_are_told_when_they_happen_in_times_of_the_wire(province: tuple[Series, ...]) -> None:
    feeders = tuple(s for s in province if s.quantity == "current")
    storm = Storm(1, START_US, province)
    messages = run(fleet(feeders, storm=storm, speed=7_200.0, rate=5.0), 40, step_us=S // 10)
    told = [(m.topic, json.loads(m.payload)) for m in messages if "/event/" in m.topic]
    assert len(told) == len(storm.revisions)
    assert all(m.readings == 0 for m in messages if "/event/" in m.topic)
    for (topic, event), news in zip(told, storm.revisions, strict=True):
        outage = news.outage
        assert topic == f"ioc/v1/energy/{outage.station}/event/outage"
        assert event["start"] == (START_US + (outage.from_us - START_US) // 7_200) // 1000
        assert (event["end"] is None) == (not news.ended)
        assert event["revision"] == news.number
    begun = {(e["id"], e["revision"]) for _, e in told}
    assert len(begun) == len(told)


def test_a_revision_is_not_told_before_its_time(province: tuple[Series, ...]) -> None:
    storm = Storm(1, START_US, province)
    of = fleet(province[:1], storm=storm)
    first = storm.revisions[0]
    assert not [m for m in of.due(first.t_us - 1) if "/event/" in m.topic]
    assert [m.payload for m in of.due(first.t_us) if "/event/" in m.topic] == [
        first.payload(first.outage.from_us, first.outage.to_us)
    ]
    assert not [m for m in of.due(first.t_us + 1) if "/event/" in m.topic]


def test_a_sensor_that_the_storm_breaks_is_silent_for_its_spell_alone(province: tuple[Series, ...]) -> None:
    storm = Storm(1, START_US, province)
    spell = next(s for s in storm.spells if s.kind == "silence" and s.from_us > START_US)
    of = fleet((spell.series,), storm=storm, speed=3_600.0, rate=4.0)
    begin, end = ((t - START_US) / 3_600 / S for t in (spell.from_us, spell.to_us))
    stamps = [(p["t"] * 1000 - START_US) / S for p in sent(run(of, 120, step_us=S), spell.series.topic)]
    assert not [t for t in stamps if begin <= t < end]
    assert [t for t in stamps if begin - 1 < t < begin]
    assert [t for t in stamps if end <= t < end + 1]


def test_faults_begin_after_ten_seconds(province: tuple[Series, ...]) -> None:
    messages = run(fleet(province, faults=[Fault.parse("silence:lao_cai/water_level")]), 30)
    stamps = [(point["t"] * 1000 - START_US) / S for point in sent(messages, RIVER_TOPIC)]
    assert stamps
    assert max(stamps) < 10


def test_its_own_echo_is_no_hand(province: tuple[Series, ...]) -> None:
    of = fleet(province, faults=[Fault.parse("duplicate")])
    plain = fleet(province, faults=[Fault.parse("duplicate")])
    for now_us in range(START_US, START_US + 30 * S, S // 2):
        messages = of.due(now_us)
        assert messages == plain.due(now_us)
        for message in messages:
            of.heard(message.topic, message.payload, now_us)


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        (RIVER_TOPIC, b"84.2"),
        (RIVER_TOPIC, b'{"v": 84.2}'),
        (RIVER_TOPIC, b'[{"v": 84.1, "t": 1795500019000}, {"v": 84.2, "t": 1795500020000}]'),
        ("ioc/v1/disaster/lao_cai", b'{"water_level": 84.2}'),
    ],
)
def test_a_value_sent_by_hand_holds_for_sixty_seconds(
    province: tuple[Series, ...], topic: str, payload: bytes
) -> None:
    of = fleet(province)
    run(of, 20)
    of.heard(topic, payload, START_US + 20 * S)
    held = sent(run(of, 60, since=20), RIVER_TOPIC)
    assert len(held) >= 25
    assert {point["v"] for point in held} == {84.2}
    after = sent(run(of, 20, since=81), RIVER_TOPIC)
    assert after
    assert 84.2 not in {point["v"] for point in after}


def test_a_hand_holds_only_the_series_it_touched(province: tuple[Series, ...]) -> None:
    of, plain = fleet(province), fleet(province)
    of.heard(RIVER_TOPIC, b"84.2", START_US)
    touched = {m.topic for m in set(run(of, 30)) ^ set(run(plain, 30))}
    assert touched == {RIVER_TOPIC}


def test_a_hand_holds_against_the_story(province: tuple[Series, ...], by_id: dict[str, Series]) -> None:
    of = fleet(province, story=Story(1, by_id.keys()))
    run(of, 8)
    of.heard(RIVER_TOPIC, b"78.5", START_US + 8 * S)
    assert {point["v"] for point in sent(run(of, 50, since=8), RIVER_TOPIC)} == {78.5}


def test_a_hand_of_bad_quality_is_repeated_as_bad(province: tuple[Series, ...]) -> None:
    of = fleet(province)
    of.heard(RIVER_TOPIC, b'{"v": 84.2, "q": "bad"}', START_US)
    assert {point["q"] for point in sent(run(of, 10), RIVER_TOPIC)} == {"bad"}


@pytest.mark.parametrize("payload", [b"ERR", b'{"v": 84.2, "t": "2024-09-09T19:00:00+07:00"}', b"null", b""])
def test_what_cannot_be_repeated_only_pauses_its_series(province: tuple[Series, ...], payload: bytes) -> None:
    of = fleet(province)
    of.heard(RIVER_TOPIC, payload, START_US)
    assert sent(run(of, HOLD_US // S - 2), RIVER_TOPIC) == []
    assert sent(run(of, 5, since=HOLD_US // S), RIVER_TOPIC) != []


def test_foreign_topics_are_nothing_to_it(province: tuple[Series, ...]) -> None:
    of, plain = fleet(province), fleet(province)
    of.heard("ioc/v1/disaster/elsewhere/water_level", b"84.2", START_US)
    of.heard("ioc/v1/disaster/lao_cai", b'{"unheard_of": 1, "t": []}', START_US)
    assert run(of, 10) == run(plain, 10)


def test_it_listens_to_its_stations_and_their_series(province: tuple[Series, ...]) -> None:
    topics = fleet(province).topics
    assert "ioc/v1/disaster/lao_cai" in topics
    assert "ioc/v1/disaster/lao_cai/+" in topics
    assert len(topics) == len(set(topics))
