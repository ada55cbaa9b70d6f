"""What the view shows of what was fed."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from support.screens import LEVEL, NUMBERS, PM25, RAIN, T0, Centre, S

from ioc.model import ChangeKind, Flag, SourceState
from ioc.presentation import Presenter
from ioc.wall.given import SourceStatus, Status
from ioc.wall.view import View


def test_a_series_that_never_spoke_is_never_and_unknown(centre: Centre) -> None:
    point = centre.view.point(LEVEL)
    assert (point.state, point.t, point.value, point.age_known) == ("never", None, None, False)


def test_the_newest_reading_stands(centre: Centre) -> None:
    centre.readings(LEVEL, (0, 1.0), (60, 2.0))
    point = centre.view.point(LEVEL)
    assert (point.value, point.t, point.state) == (2.0, (T0 + 60 * S) // 1000, "normal")


@pytest.mark.parametrize("flag", [Flag.LATE, Flag.TOO_LATE, Flag.REVISED, Flag.REPEAT, Flag.CONFLICT])
def test_an_older_row_does_not_replace_the_newest(centre: Centre, flag: Flag) -> None:
    centre.readings(LEVEL, (60, 2.0))
    centre.readings(LEVEL, (30, 9.0, int(flag)))
    assert centre.view.point(LEVEL).value == 2.0


def test_a_revision_of_the_newest_reading_replaces_its_value(centre: Centre) -> None:
    centre.readings(LEVEL, (60, 2.0))
    centre.readings(LEVEL, (60, 3.0, int(Flag.REVISED)))
    assert centre.view.point(LEVEL).value == 3.0


def test_a_reading_from_the_future_is_not_shown(centre: Centre) -> None:
    centre.readings(LEVEL, (9_999_999, 9.0, int(Flag.FUTURE)))
    assert centre.view.point(LEVEL).state == "never"


def test_a_last_known_value_is_shown_without_an_age(centre: Centre) -> None:
    centre.readings(LEVEL, (0, 5.0, int(Flag.LAST_KNOWN | Flag.RETAINED)))
    point = centre.view.point(LEVEL)
    assert (point.value, point.age_known, point.t, point.state) == (5.0, False, None, "never")


def test_a_last_known_value_that_says_nothing_new_keeps_the_known_age(centre: Centre) -> None:
    centre.readings(LEVEL, (0, 5.0))
    centre.readings(LEVEL, (9, 5.0, int(Flag.LAST_KNOWN)))
    assert centre.view.point(LEVEL).age_known
    centre.readings(LEVEL, (9, 6.0, int(Flag.LAST_KNOWN)))
    assert not centre.view.point(LEVEL).age_known
    centre.readings(LEVEL, (10, 7.0))
    assert centre.view.point(LEVEL).age_known


def test_bad_quality_and_silence_show_at_the_series(centre: Centre) -> None:
    centre.readings(LEVEL, (0, 5.0, int(Flag.BAD)))
    assert centre.view.point(LEVEL).state == "bad"
    centre.second(stale=(LEVEL,), bad=(LEVEL,))
    assert centre.view.point(LEVEL).state == "stale"
    centre.readings(LEVEL, (60, 5.0))
    assert centre.view.point(LEVEL).state == "normal"


def test_a_series_looks_silent_from_the_moment_of_its_alarm(centre: Centre) -> None:
    centre.readings(LEVEL, (0, 5.0))
    centre.change(ChangeKind.ONSET, LEVEL, 3, rule="silent")
    point = centre.view.point(LEVEL)
    assert (point.state, point.priority) == ("stale", 3)
    assert centre.view.topic_seq["points"] == centre.view.seq
    centre.change(ChangeKind.CLEAR, LEVEL, 3, rule="silent")
    assert centre.view.point(LEVEL).state == "normal"
    centre.change(ChangeKind.ONSET, LEVEL)
    assert centre.view.point(LEVEL).state == "normal"


def test_a_series_bears_the_priority_of_its_worst_open_alarm(centre: Centre) -> None:
    centre.change(ChangeKind.ONSET, LEVEL, 3, level=1)
    assert centre.view.point(LEVEL).priority == 3
    centre.change(ChangeKind.ONSET, LEVEL, 2, rule="silent", level=1)
    assert centre.view.point(LEVEL).priority == 2
    centre.change(ChangeKind.LEVEL_UP, LEVEL, 1)
    assert centre.view.point(LEVEL).priority == 1
    for step in (ChangeKind.CLEAR,):
        for rule in ("river", "silent"):
            [transition] = centre.change(step, LEVEL, 1, rule=rule, level=0)
            centre.ack(transition.alarm)
    assert centre.view.point(LEVEL).priority == 0


def test_open_alarms_are_those_of_the_book(centre: Centre) -> None:
    [first] = centre.change(ChangeKind.ONSET, LEVEL, 1)
    [second] = centre.change(ChangeKind.ONSET, PM25, 3)
    centre.ack(first.alarm)
    assert [a.id for a in centre.view.alarms()] == [second.alarm, first.alarm], "unacknowledged ones first"
    centre.change(ChangeKind.CLEAR, LEVEL)
    assert [a.id for a in centre.view.alarms()] == [second.alarm]


def test_a_new_occurrence_takes_the_place_of_the_returned_one(centre: Centre) -> None:
    [first] = centre.change(ChangeKind.ONSET)
    centre.change(ChangeKind.CLEAR)
    seq = centre.view.seq
    [again] = centre.change(ChangeKind.ONSET)
    assert first.alarm != again.alarm
    assert {a.id for a in centre.view.alarms()} == set(centre.book.alarms) == {again.alarm}
    assert centre.view.board.removed_since(seq) == [(first.alarm, LEVEL)]


def test_kpi_counts_alarms_series_and_groups(centre: Centre) -> None:
    centre.readings(LEVEL, (0, 84.0))
    centre.readings(PM25, (0, 84.0))
    [first] = centre.change(ChangeKind.ONSET, LEVEL, 1)
    [second] = centre.change(ChangeKind.ONSET, RAIN, 2)
    centre.change(ChangeKind.CLEAR, RAIN, 2)
    centre.now_us += 100 * S
    centre.ack(first.alarm)
    centre.second(Status(mqtt="ok"), stale=(PM25,))
    kpi = centre.view.kpi(centre.now_us)
    assert (kpi.open, kpi.unacked, kpi.returned, kpi.alarms_24h) == (2, 1, 1, 2)
    assert msgspec.to_builtins(kpi.counts)["1"] == {"open": 1, "unacked": 0}
    assert (kpi.feeds_live, kpi.feeds_total, kpi.mqtt) == (1, 3, "ok")
    assert kpi.ack_mean_s == pytest.approx(100.0, abs=0.1)
    river, air = kpi.groups
    assert (river.live, river.total, river.stale, river.priority, river.open, river.unacked) == (
        1,
        2,
        0,
        1,
        2,
        1,
    )
    assert (air.live, air.total, air.stale, air.priority) == (0, 1, 1, 0)
    assert centre.view.kpi(centre.now_us + 25 * 3600 * S).alarms_24h == 0
    assert second.alarm in {a.id for a in centre.view.alarms()}


def test_feeds_count_what_came_of_each_source(centre: Centre) -> None:
    centre.feed(SourceState("mqtt", True, 1, "127.0.0.1"))
    centre.readings(LEVEL, (0, 1.0), (1, 2.0), (0, 1.0, int(Flag.REPEAT)), (0, 3.0, int(Flag.LATE)))
    centre.reject(b"{")
    centre.second(Status(sources={"mqtt": SourceStatus("mqtt", shed=7, last_error="")}))
    [feed] = centre.view.feeds()
    assert (feed.connected, feed.accepted, feed.rejected, feed.late, feed.repeats, feed.shed) == (
        True,
        3,
        1,
        1,
        1,
        7,
    )
    assert feed.rate == 0.4
    assert feed.last_error == "not_json"
    for _ in range(11):
        centre.second()
    assert centre.view.feeds()[0].rate == 0.0


def test_quarantine_shows_bytes_as_text_where_they_are_text(centre: Centre) -> None:
    centre.reject(b"\xff\x00", "not_utf8")
    centre.reject("Mực nước {".encode())
    centre.reject(("ư" * 9_000).encode())
    long, text, binary = centre.view.quarantined(10)
    assert binary.payload_text is None
    assert binary.payload_base64 == "/wA="
    assert text.payload_text == "Mực nước {"
    assert long.length == 18_000
    assert long.payload_text == "ư" * 4_096
    assert centre.view.rejected == 3


def test_quarantine_and_journal_are_bounded(centre: Centre) -> None:
    for _ in range(1_005):
        centre.reject(b"x")
    assert len(centre.view.quarantine) == 1_000
    assert centre.view.rejected == 1_005


def test_a_rebuilt_view_shows_what_the_old_one_showed(centre: Centre, words: Presenter) -> None:
    centre.feed(SourceState("mqtt", True, 1))
    centre.readings(LEVEL, (0, 84.0), (60, 84.2))
    [first] = centre.change(ChangeKind.ONSET)
    centre.ack(first.alarm)
    centre.change(ChangeKind.ONSET, PM25, 2)
    centre.reject(b"{")
    centre.second()
    old = centre.view
    new = View(words, "", {})
    journal = [(entry.place, entry.step) for entry in reversed(list(old.journal.newest(100)))]
    new.rebuild("epoch-2", words, centre.book.alarms, journal, [o.input for o in centre.outcomes])
    new.refresh(np.zeros(3, np.bool_), np.zeros(3, np.bool_), centre.now_us, Status())
    assert new.alarms() == old.alarms()
    assert [new.point(s) for s in NUMBERS] == [old.point(s) for s in NUMBERS]
    assert new.quarantined(9) == old.quarantined(9)
    assert new.feeds() == old.feeds()
    assert new.kpi(centre.now_us) == old.kpi(centre.now_us)
    assert [e.step for e in new.journal.newest(9)] == [e.step for e in old.journal.newest(9)]
    assert new.recent.read(0)[0].tolist() == old.recent.read(0)[0].tolist()
    assert new.journal.place == old.journal.place


def test_what_changes_nothing_to_be_seen_moves_no_seq(centre: Centre) -> None:
    seq = centre.view.seq
    centre.readings(LEVEL, (0, 1.0, int(Flag.CONFLICT)))
    assert centre.view.seq == seq
