"""The first two minutes, told to the wall in seconds."""

from __future__ import annotations

import pytest

from simulators import story as s
from simulators.catalog import Series
from simulators.story import Story

CALM_M = 79.0


@pytest.fixture
def story(province: tuple[Series, ...]) -> Story:
    return Story(1, {series.id for series in province})


def river(story: Story, second: float) -> float:
    value = story.value(s.RIVER, round(second * s.S), CALM_M)
    assert value is not None
    return value


def test_ten_seconds_are_calm(story: Story, province: tuple[Series, ...]) -> None:
    for second in range(11):
        for series in province:
            assert story.value(series.id, second * s.S, 1.5) == 1.5


def test_the_river_rises_through_all_three_levels_before_the_sensors_fall_silent(story: Story) -> None:
    levels = [river(story, t) for t in range(10, 41)]
    assert levels == sorted(levels)
    passed = [next(t for t in range(10, 41) if river(story, t) >= bd) for bd in (80.0, 82.0, 83.5)]
    assert passed == sorted(set(passed))
    assert passed[0] <= 16
    assert passed[2] <= 31
    assert all(river(story, t) >= 83.6 for t in range(32, 90))


def test_three_sensors_are_silent_from_forty_to_ninety_seconds(story: Story) -> None:
    assert len(s.SILENT) == 3
    for series_id in s.SILENT:
        for second, silent in [
            (39.9, False),
            (40, True),
            (65, True),
            (89.9, True),
            (90, False),
            (140, False),
        ]:
            assert (story.value(series_id, round(second * s.S), 3.0) is None) == silent


def test_silence_outlasts_what_the_registry_allows_long_before_recovery(by_id: dict[str, Series]) -> None:
    for series_id in s.SILENT:
        assert 3 * by_id[series_id].interval_us <= 15 * s.S
        assert s.SILENT_US + 15 * s.S < s.RECOVERY_US


def test_the_river_falls_below_level_one_after_ninety_seconds(story: Story) -> None:
    falling = [river(story, t) for t in range(90, 121)]
    assert falling == sorted(falling, reverse=True)
    assert river(story, 110) == CALM_M


def test_afterwards_one_small_thing_happens_every_three_minutes_and_passes(
    story: Story, province: tuple[Series, ...]
) -> None:
    for count in range(20):
        found = story.small(count)
        assert found is not None
        event, begin_us = found
        assert begin_us >= s.AFTER_US + count * s.PERIOD_US
        assert begin_us + event.length_us <= s.AFTER_US + (count + 1) * s.PERIOD_US
        middle = begin_us + event.length_us // 2
        assert story.value(event.series_id, middle, 1.0) == event.target
        touched = {x.id for x in province if story.value(x.id, middle, 1.0) != 1.0}
        assert touched == {event.series_id}
        assert story.value(event.series_id, begin_us + event.length_us, 1.0) == 1.0


def test_nothing_passes_in_a_minute_that_is_a_total_or_mean_of_hours() -> None:
    slow = ("rain_", "_24h", "water_level", "discharge")
    assert not [x for x in s.SMALL if x.target is not None and any(word in x.series_id for word in slow)]


def test_every_series_of_the_story_is_in_the_pack(by_id: dict[str, Series]) -> None:
    for series_id in (s.RIVER, s.DISCHARGE, *s.SILENT, *(event.series_id for event in s.SMALL)):
        assert series_id in by_id


def test_a_pack_without_those_series_has_a_story_without_small_events() -> None:
    story = Story(1, {s.RIVER})
    assert story.small(0) is None
    assert river(story, 60) == s.CREST_M
    assert story.value("disaster/luc_yen/temperature", 10_000 * s.S, 20.0) == 20.0


def test_seeds_differ_in_the_order_of_small_events(province: tuple[Series, ...]) -> None:
    ids = {series.id for series in province}
    runs = {tuple(Story(seed, ids).small(n) for n in range(6)) for seed in range(5)}
    assert len(runs) == 5
