"""What a duty officer must be able to believe of a sample, told through the whole pure pipeline."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.centre import MIN, Centre, H, S
from support.packs import limit_rule, no_data_rule, too_late_rule, write_pack

from ioc.model import Condition, State, Step, Verdict

LEVEL = "disaster/lao_cai/water_level"
OTHER = "disaster/bao_ha/water_level"


@pytest.fixture
def centre(tmp_path: Path) -> Centre:
    """Two gauges each ten minutes; alarm at 80 and 82 m at once, and at 70 m after 30 minutes; a watchdog."""
    rules = [
        limit_rule("river", {1: 80.0, 2: 82.0}, deadband=0.5),
        limit_rule("lasting", {1: 70.0}, on_delay="30min"),
        no_data_rule(),
        too_late_rule(),
    ]
    centre = Centre(write_pack(tmp_path / "pack", [LEVEL, OTHER], rules))
    centre.connect()
    return centre


def test_a_retained_stale_value_resent_at_each_reconnect_never_keeps_a_dead_gauge_alive(
    centre: Centre,
) -> None:
    centre.publish(LEVEL, 60.0, centre.now_us)
    stamp = centre.now_us
    centre.publish(OTHER, 60.0, centre.now_us)
    for _ in range(12):
        centre.wait(9 * MIN)
        centre.disconnect()
        centre.wait(S)
        centre.connect()
        centre.publish(LEVEL, 60.0, stamp, retained=True)
        centre.publish(LEVEL, 60.0, retained=True)
        centre.publish(OTHER, 60.0, centre.now_us)
    # Each reconnection grants a grace; with the source steady the deadline comes, retained values or not.
    for _ in range(5):
        centre.wait(10 * MIN)
        centre.publish(LEVEL, 60.0, stamp, retained=True)
        centre.publish(OTHER, 60.0, centre.now_us)
    silent = [a.asset for a in centre.alarms if a.rule == "no_data"]
    assert silent == [LEVEL]


def test_a_redelivered_sample_never_counts_twice(centre: Centre) -> None:
    centre.publish(LEVEL, 81.0, centre.now_us)
    before = centre.pipeline.hash()
    numbers = len(centre.transitions)
    centre.publish(LEVEL, 81.0, centre.now_us)
    assert len(centre.transitions) == numbers
    state = centre.pipeline.state()
    state["facts"]["number"] -= 1
    from ioc.log.state import state_hash

    assert state_hash(state) == before


def test_one_backlogged_spike_never_completes_a_delay(centre: Centre) -> None:
    centre.publish(LEVEL, 75.0, centre.now_us - H)
    centre.wait(2 * MIN)
    centre.publish(LEVEL, 60.0, centre.now_us)
    centre.wait(3 * H)
    assert Step.ONSET not in centre.steps("lasting")


def test_an_hour_of_backlog_that_truly_lasted_completes_it_silently_and_sounds_once_at_the_first_fresh_sample(
    centre: Centre,
) -> None:
    start = centre.now_us - 2 * H
    for i in range(7):
        centre.publish(LEVEL, 75.0, start + i * 10 * MIN)
    (alarm,) = [a for a in centre.alarms if a.rule == "lasting"]
    assert (alarm.backlog, alarm.confirmed, alarm.sounding) == (True, False, False)
    assert alarm.onset_event_us == start + 30 * MIN
    assert centre.sounded() == []
    centre.publish(LEVEL, 75.5, centre.now_us)
    assert centre.sounded() == [Step.CONFIRMED]
    centre.wait(10 * MIN)
    centre.publish(LEVEL, 75.6, centre.now_us)
    assert centre.sounded() == [Step.CONFIRMED]


def test_backlog_that_the_first_fresh_sample_clears_never_sounds(centre: Centre) -> None:
    centre.publish(LEVEL, 83.0, centre.now_us - H)
    centre.publish(LEVEL, 60.0, centre.now_us)
    assert centre.steps("river") == [Step.ONSET, Step.CLEAR]
    assert centre.sounded() == []


def test_backlog_that_nothing_confirms_sounds_as_unconfirmed_after_max_gap(centre: Centre) -> None:
    """Doubt may delay a warning, never swallow it."""
    centre.publish(LEVEL, 83.0, centre.now_us - H)
    centre.wait(29 * MIN)
    assert centre.sounded() == []
    centre.wait(2 * MIN)
    assert Step.UNCONFIRMED in centre.sounded()
    (alarm,) = [a for a in centre.alarms if a.rule == "river"]
    assert (alarm.sounding, alarm.confirmed) == (True, False)


def test_silence_makes_open_alarms_unknown_and_never_clears_them(centre: Centre) -> None:
    centre.publish(LEVEL, 81.0, centre.now_us)
    centre.wait(31 * MIN)
    (alarm,) = [a for a in centre.alarms if a.rule == "river"]
    assert (alarm.state, alarm.condition) == (State.UNACKED, Condition.UNKNOWN)
    centre.publish(LEVEL, 81.2, centre.now_us)
    (alarm,) = [a for a in centre.alarms if a.rule == "river"]
    assert alarm.condition is Condition.ACTIVE
    assert centre.steps("river") == [Step.ONSET, Step.UNKNOWN, Step.KNOWN]


def test_bad_quality_makes_an_open_alarm_unknown_at_once_and_never_raises(centre: Centre) -> None:
    """Beyond a limit of priority 1 or 2 it raises what says that it is doubtful: tests/rules/test_doubtful.py."""
    centre.publish(LEVEL, 81.9, centre.now_us, q="bad")
    assert centre.alarms == []
    centre.publish(LEVEL, 81.0, centre.now_us + S)
    centre.publish(LEVEL, 10.0, centre.now_us + 2 * S, q="bad")
    (alarm,) = centre.alarms
    assert (alarm.state, alarm.condition) == (State.UNACKED, Condition.UNKNOWN)


def test_a_source_that_is_down_is_one_alarm_not_one_for_each_series(centre: Centre) -> None:
    centre.publish(LEVEL, 60.0, centre.now_us)
    centre.publish(OTHER, 60.0, centre.now_us)
    centre.wait(5 * MIN)
    centre.disconnect()
    centre.wait(2 * H)
    assert [a.rule for a in centre.alarms] == ["system_source_down"]
    stale, _ = centre.pipeline.engine.series_state()
    assert stale.all()
    centre.connect()
    centre.wait(9 * MIN)
    assert [a.rule for a in centre.alarms if a.rule == "no_data"] == []


def test_data_that_always_comes_too_late_raises_its_own_alarm(centre: Centre) -> None:
    for _ in range(6):
        centre.publish(LEVEL, 60.0, centre.now_us - H)
        centre.publish(OTHER, 60.0, centre.now_us)
        centre.wait(10 * MIN)
    assert [(a.rule, a.asset) for a in centre.alarms] == [("too_late", LEVEL)]


def test_a_late_sample_that_would_have_raised_is_a_correction_and_earlier_verdicts_stand(
    centre: Centre,
) -> None:
    centre.publish(LEVEL, 60.0, centre.now_us - 20 * MIN)
    centre.publish(LEVEL, 60.0, centre.now_us)
    centre.publish(LEVEL, 81.0, centre.now_us - 10 * MIN)
    assert centre.steps("river") == [Step.CORRECTION]
    assert centre.alarms == []
    assert centre.sounded() == []


def test_two_officers_at_once_get_one_yes_and_one_conflict(centre: Centre) -> None:
    centre.publish(LEVEL, 81.0, centre.now_us)
    (alarm,) = centre.alarms
    assert centre.ack(alarm, "đã gọi xã", actor="an").verdict is Verdict.DONE
    answer = centre.ack(alarm, actor="binh", version=alarm.version)
    assert answer.verdict is Verdict.CONFLICT
    assert answer.alarm == alarm.id
    (alarm,) = centre.alarms
    assert (alarm.state, alarm.acked_by, alarm.note) == (State.ACKED, "an", "đã gọi xã")


def test_acking_what_was_seen_never_acks_what_came_since(centre: Centre) -> None:
    centre.publish(LEVEL, 81.0, centre.now_us)
    (seen,) = centre.alarms
    centre.publish(LEVEL, 83.0, centre.now_us + S)
    assert centre.ack(seen).verdict is Verdict.CONFLICT
    (worse,) = centre.alarms
    assert (worse.level, worse.state) == (2, State.UNACKED)
    centre.publish(LEVEL, 60.0, centre.now_us + 2 * S)
    centre.publish(LEVEL, 81.0, centre.now_us + 3 * S)
    (newer,) = centre.alarms
    assert newer.occurrence == seen.occurrence + 1
    assert centre.ack(seen).verdict is Verdict.CONFLICT
    assert centre.alarms[0].state is State.UNACKED


def test_worsening_rings_again_after_an_acknowledgement(centre: Centre) -> None:
    centre.publish(LEVEL, 81.0, centre.now_us)
    centre.ack(centre.alarms[0])
    centre.publish(LEVEL, 82.0, centre.now_us + S)
    assert centre.sounded() == [Step.ONSET, Step.WORSE]
    assert centre.alarms[0].state is State.UNACKED


def test_editing_a_rule_keeps_the_acknowledgement_of_its_open_alarm(centre: Centre, tmp_path: Path) -> None:
    centre.publish(LEVEL, 81.0, centre.now_us)
    centre.ack(centre.alarms[0], "đã gọi xã")
    centre.load(
        write_pack(
            tmp_path / "edited", [LEVEL, OTHER], [limit_rule("river", {1: 79.5, 2: 82.5}), no_data_rule()]
        )
    )
    (alarm,) = centre.alarms
    assert (alarm.state, alarm.acked_by, alarm.note) == (State.ACKED, "an", "đã gọi xã")
    centre.publish(LEVEL, 81.5, centre.now_us + S)
    assert centre.alarms[0].state is State.ACKED
    centre.publish(LEVEL, 82.5, centre.now_us + 2 * S)
    assert (centre.alarms[0].state, centre.alarms[0].level) == (State.UNACKED, 2)


def test_a_rule_taken_away_closes_its_alarm_as_no_all_clear(centre: Centre, tmp_path: Path) -> None:
    centre.publish(LEVEL, 81.0, centre.now_us)
    centre.load(write_pack(tmp_path / "without", [LEVEL, OTHER], [no_data_rule()]))
    assert centre.alarms == []
    assert centre.steps("river") == [Step.ONSET, Step.RULE_REMOVED]
    assert centre.transitions[-1].condition is Condition.UNKNOWN


def test_replaying_the_records_gives_the_same_state(centre: Centre) -> None:
    """A restart is exact: delays, doubts and silence included."""
    centre.publish(LEVEL, 75.0, centre.now_us - H)
    centre.publish(OTHER, 83.0, centre.now_us)
    centre.wait(45 * MIN)
    centre.ack(next(a for a in centre.alarms if a.rule == "river"))
    from ioc.pipeline import Pipeline

    again = Pipeline(centre.packs.__getitem__)
    transitions = [t for record in centre.records for t in again.feed(record).transitions]
    assert transitions == centre.transitions
    assert again.hash() == centre.pipeline.hash()
    restored = Pipeline(centre.packs.__getitem__)
    half = len(centre.records) // 2
    for record in centre.records[:half]:
        restored.feed(record)
    copy = Pipeline(centre.packs.__getitem__)
    copy.restore(restored.state())
    for record in centre.records[half:]:
        copy.feed(record)
    assert copy.hash() == centre.pipeline.hash()
