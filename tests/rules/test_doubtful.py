"""A record flood looks like a broken gauge: what a bad sample beyond a limit makes of the alarm, through the pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.centre import MIN, Centre, H
from support.packs import limit_rule, no_data_rule, write_pack

from ioc.model import Alarm, Condition, State, Step

LEVEL = "disaster/lao_cai/water_level"


@pytest.fixture
def centre(tmp_path: Path) -> Centre:
    """A gauge each ten minutes whose range ends at 90 m; alarm at 80 m (priority 3) and 82 m (priority 2)."""
    rules: list[dict[str, Any]] = [limit_rule("river", {1: 80.0, 2: 82.0}, deadband=0.5), no_data_rule()]
    centre = Centre(write_pack(tmp_path / "pack", [LEVEL], rules, value_range=(0, 90)))
    centre.connect()
    centre.publish(LEVEL, 78.0, centre.now_us)
    centre.wait(10 * MIN)
    return centre


def river(centre: Centre) -> Alarm:
    (alarm,) = [a for a in centre.alarms if a.rule == "river"]
    return alarm


def test_an_out_of_range_flood_raises_a_doubtful_alarm_and_the_second_makes_it_the_alarm_itself(
    centre: Centre,
) -> None:
    centre.publish(LEVEL, 91.0, centre.now_us)
    first = river(centre)
    assert (first.level, first.priority, first.detail) == (2, 3, "doubtful: physical_range")
    assert (first.state, first.condition, first.sounding) == (State.UNACKED, Condition.ACTIVE, True)
    centre.ack(first)
    centre.wait(10 * MIN)
    centre.publish(LEVEL, 91.5, centre.now_us)
    second = river(centre)
    assert (second.level, second.priority, second.detail) == (2, 2, "again: physical_range")
    assert (second.state, second.condition, second.sounding) == (State.UNACKED, Condition.ACTIVE, True)
    assert centre.steps("river") == [Step.ONSET, Step.ACK, Step.WORSE]
    centre.wait(10 * MIN)
    centre.publish(LEVEL, 91.6, centre.now_us)
    assert river(centre).condition is Condition.UNKNOWN


def test_a_good_sample_beyond_makes_it_certain_and_one_below_clears_it(centre: Centre) -> None:
    centre.publish(LEVEL, 91.0, centre.now_us)
    centre.wait(10 * MIN)
    centre.publish(LEVEL, 83.0, centre.now_us)
    assert (river(centre).level, river(centre).priority, river(centre).detail) == (2, 2, "certain")
    centre.wait(10 * MIN)
    centre.publish(LEVEL, 70.0, centre.now_us)
    assert centre.steps("river") == [Step.ONSET, Step.WORSE, Step.CLEAR]


def test_a_broken_gauge_that_speaks_again_clears_its_doubt(centre: Centre) -> None:
    centre.publish(LEVEL, 99.0, centre.now_us)
    centre.wait(10 * MIN)
    centre.publish(LEVEL, 78.0, centre.now_us)
    assert centre.steps("river") == [Step.ONSET, Step.CLEAR]
    assert river(centre).state is State.RETURNED


def test_over_a_certain_level_the_doubt_is_no_less_urgent_and_falls_back_to_it(centre: Centre) -> None:
    centre.publish(LEVEL, 81.0, centre.now_us)
    centre.wait(10 * MIN)
    centre.publish(LEVEL, 91.0, centre.now_us)
    assert (river(centre).level, river(centre).priority, river(centre).condition) == (2, 3, Condition.ACTIVE)
    centre.wait(10 * MIN)
    centre.publish(LEVEL, 81.0, centre.now_us)
    assert (river(centre).level, river(centre).priority) == (1, 3)
    assert centre.steps("river") == [Step.ONSET, Step.WORSE, Step.BETTER]


def test_two_that_are_farther_apart_than_the_gap_stay_a_doubt(centre: Centre) -> None:
    centre.publish(LEVEL, 91.0, centre.now_us)
    centre.wait(2 * H)
    assert river(centre).condition is Condition.UNKNOWN
    centre.publish(LEVEL, 91.0, centre.now_us)
    assert (river(centre).priority, river(centre).condition) == (3, Condition.ACTIVE)
    assert centre.steps("river") == [Step.ONSET, Step.UNKNOWN, Step.KNOWN]


def test_a_bad_sample_below_neither_clears_nor_raises(centre: Centre) -> None:
    centre.publish(LEVEL, 91.0, centre.now_us)
    centre.wait(10 * MIN)
    centre.publish(LEVEL, -5.0, centre.now_us)
    assert (river(centre).priority, river(centre).condition) == (3, Condition.ACTIVE)
    assert centre.steps("river") == [Step.ONSET]
