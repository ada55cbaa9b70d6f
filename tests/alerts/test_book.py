"""The book: who is open, what an acknowledgement reaches, what is waited for and what is remembered."""

from __future__ import annotations

import pytest
from support.alarms import ASSET, RULE, ack, change

from ioc.alerts import book as module
from ioc.alerts.book import Book
from ioc.answers import KEY_USED
from ioc.errors import InvalidTransition
from ioc.model import Alarm, ChangeKind, Condition, State, Step, Transition, Verdict, alarm_id
from ioc.registry import NO_DEADLINE_US

K = ChangeKind


@pytest.fixture
def book() -> Book:
    return Book()


def _only(book: Book) -> Alarm:
    (alarm,) = book.alarms.values()
    return alarm


def _raise_and_ack(book: Book) -> Alarm:
    book.feed_change(change(K.ONSET, 1_000), 1)
    book.feed_command(ack(_only(book).id, 1), 2_000, 2)
    return _only(book)


def _returned_and_raised_again(book: Book) -> tuple[Alarm, Alarm]:
    book.feed_change(change(K.ONSET, 1_000), 1)
    book.feed_change(change(K.CLEAR, 2_000), 2)
    old = _only(book)
    book.feed_change(change(K.ONSET, 3_000), 3)
    return old, _only(book)


def test_an_onset_opens_an_alarm(book: Book) -> None:
    (transition,) = book.feed_change(change(K.ONSET), 1)
    assert book.alarms == {transition.alarm: book.remembered(transition.alarm)}


def test_an_acknowledged_alarm_that_recovers_leaves_the_book_and_is_remembered(book: Book) -> None:
    alarm = _raise_and_ack(book)
    book.feed_change(change(K.CLEAR, 3_000), 3)
    assert book.alarms == {}
    closed = book.remembered(alarm.id)
    assert closed is not None
    assert (closed.state, closed.version) == (State.NORMAL, 3)


def test_a_returned_alarm_leaves_the_book_when_acknowledged(book: Book) -> None:
    book.feed_change(change(K.ONSET, 1_000), 1)
    book.feed_change(change(K.CLEAR, 2_000), 2)
    answer, (transition,) = book.feed_command(ack(_only(book).id, 2), 3_000, 3)
    assert answer.verdict is Verdict.DONE
    assert (transition.before, transition.after) == (State.RETURNED, State.NORMAL)
    assert book.alarms == {}


def test_returned_alarm_onsets_again_as_unacked_with_a_new_occurrence(book: Book) -> None:
    old, new = _returned_and_raised_again(book)
    assert (old.occurrence, new.occurrence, new.state) == (1, 2, State.UNACKED)
    assert book.remembered(old.id) == old
    assert list(book.alarms) == [new.id]


def test_occurrences_are_counted_for_ever(book: Book) -> None:
    for turn in range(5):
        _raise_and_ack(book)
        assert _only(book).occurrence == turn + 1
        book.feed_change(change(K.CLEAR, 3_000), 3)


def test_rules_and_assets_are_counted_apart(book: Book) -> None:
    for rule, asset in (("a", "x"), ("a", "y"), ("b", "x")):
        book.feed_change(change(K.ONSET, rule=rule, asset=asset), 1)
    assert {alarm.id for alarm in book.alarms.values()} == {
        alarm_id(rule, asset, 1) for rule, asset in (("a", "x"), ("a", "y"), ("b", "x"))
    }


def test_acknowledging_an_old_occurrence_never_touches_the_newer_one(book: Book) -> None:
    old, new = _returned_and_raised_again(book)
    answer, transitions = book.feed_command(ack(old.id, old.version), 4_000, 4)
    assert (answer.verdict, answer.alarm, transitions) == (Verdict.CONFLICT, new.id, [])
    assert _only(book) == new


def test_acknowledging_an_old_version_never_touches_a_newer_one(book: Book) -> None:
    book.feed_change(change(K.ONSET, 1_000), 1)
    book.feed_change(change(K.LEVEL_UP, 2_000, level=2), 2)
    worse = _only(book)
    answer, transitions = book.feed_command(ack(worse.id, 1), 3_000, 3)
    assert (answer.verdict, answer.alarm, transitions) == (Verdict.CONFLICT, worse.id, [])
    assert answer.reason == "the alarm has changed: version 1 was seen, 2 stands"
    assert _only(book) == worse


def test_the_slower_of_two_officers_is_told_who_was_first_and_when(book: Book) -> None:
    alarm = _raise_and_ack(book)
    answer, transitions = book.feed_command(ack(alarm.id, 1, actor="truong.ca"), 3_000, 3)
    assert (answer.verdict, answer.alarm, transitions) == (Verdict.CONFLICT, alarm.id, [])
    assert answer.reason == "already acknowledged by Trực ban at 1970-01-01T00:00:00Z"


def test_acknowledging_what_is_seen_to_be_acknowledged_is_refused(book: Book) -> None:
    alarm = _raise_and_ack(book)
    answer, transitions = book.feed_command(ack(alarm.id, alarm.version), 3_000, 3)
    assert (answer.verdict, answer.alarm, transitions) == (Verdict.REFUSED, alarm.id, [])
    assert answer.reason.startswith("already acknowledged by Trực ban")


def test_an_alarm_that_closed_and_did_not_come_back_is_not_found_and_says_who_closed_it(book: Book) -> None:
    alarm = _raise_and_ack(book)
    book.feed_change(change(K.CLEAR, 3_000), 3)
    answer, _ = book.feed_command(ack(alarm.id, 3, actor="truong.ca"), 4_000, 4)
    assert (answer.verdict, answer.alarm) == (Verdict.NOT_FOUND, "")
    assert answer.reason.startswith("already acknowledged by Trực ban")


def test_an_alarm_nobody_ever_heard_of_is_not_found(book: Book) -> None:
    answer, _ = book.feed_command(ack("0" * 16, 1), 1_000, 1)
    assert (answer.verdict, answer.reason) == (Verdict.NOT_FOUND, "no such alarm is open")


def test_an_alarm_in_unknown_condition_can_be_acknowledged(book: Book) -> None:
    book.feed_change(change(K.ONSET, 1_000), 1)
    book.feed_change(change(K.UNKNOWN, 2_000), 2)
    answer, _ = book.feed_command(ack(_only(book).id, 2), 3_000, 3)
    assert answer.verdict is Verdict.DONE
    assert (_only(book).state, _only(book).condition) == (State.ACKED, Condition.UNKNOWN)


def test_the_same_key_gets_the_same_answer_and_makes_no_second_step(book: Book) -> None:
    book.feed_change(change(K.ONSET, 1_000), 1)
    command = ack(_only(book).id, 1, key="k1")
    first, done = book.feed_command(command, 2_000, 2)
    second, again = book.feed_command(command, 3_000, 3)
    assert (first, len(done)) == (second, 1)
    assert again == []
    assert _only(book).version == 2


def test_a_key_that_was_used_on_one_alarm_acknowledges_no_other(book: Book) -> None:
    book.feed_change(change(K.ONSET, 1_000), 1)
    first = _only(book).id
    book.feed_change(change(K.ONSET, 1_000, asset="disaster/bao_ha/water_level"), 2)
    [second] = set(book.alarms) - {first}
    book.feed_command(ack(first, 1, key="k1"), 2_000, 3)
    answer, steps = book.feed_command(ack(second, 1, key="k1"), 3_000, 4)
    assert (answer.verdict, answer.reason, steps) == (Verdict.REFUSED, KEY_USED, [])
    assert book.alarms[second].state is State.UNACKED
    assert book.feed_command(ack(second, 1, key="k2"), 4_000, 5)[0].verdict is Verdict.DONE


def test_a_refusal_is_repeated_under_its_key_even_when_it_would_succeed_by_now(book: Book) -> None:
    wrong = ack(alarm_id(RULE, ASSET, 1), 1, key="k1")
    first, _ = book.feed_command(wrong, 500, 1)
    book.feed_change(change(K.ONSET, 1_000), 2)
    assert book.feed_command(wrong, 2_000, 3) == (first, [])
    assert _only(book).state is State.UNACKED


def test_an_impossible_change_raises_and_changes_nothing(book: Book) -> None:
    _raise_and_ack(book)
    before = book.state()
    with pytest.raises(InvalidTransition):
        book.feed_change(change(K.ONSET, 5_000), 3)
    assert book.state() == before


@pytest.mark.parametrize("kind", [K.UNKNOWN, K.KNOWN, K.RULE_REMOVED])
def test_what_is_said_of_an_asset_without_an_alarm_is_no_step(book: Book, kind: ChangeKind) -> None:
    assert book.feed_change(change(kind), 1) == []
    assert book.state() == Book().state()


@pytest.mark.parametrize("kind", [K.CLEAR, K.LEVEL_UP, K.LEVEL_DOWN, K.CONFIRMED])
def test_a_verdict_on_an_asset_without_an_alarm_is_a_fault_of_the_engine(
    book: Book, kind: ChangeKind
) -> None:
    with pytest.raises(InvalidTransition):
        book.feed_change(change(kind), 1)


@pytest.mark.parametrize("kind", [K.CLEAR, K.LEVEL_UP, K.LEVEL_DOWN, K.CONFIRMED])
def test_a_verdict_on_an_alarm_that_has_returned_is_a_fault_of_the_engine(
    book: Book, kind: ChangeKind
) -> None:
    book.feed_change(change(K.ONSET, 1_000), 1)
    book.feed_change(change(K.CLEAR, 2_000), 2)
    with pytest.raises(InvalidTransition):
        book.feed_change(change(kind, 3_000), 3)


def test_what_the_alarm_already_says_is_no_step(book: Book) -> None:
    book.feed_change(change(K.ONSET, 1_000), 1)
    assert book.feed_change(change(K.KNOWN, 2_000), 2) == []
    assert book.feed_change(change(K.CONFIRMED, 2_000), 2) == []
    assert len(book.feed_change(change(K.UNKNOWN, 3_000), 3)) == 1
    assert book.feed_change(change(K.UNKNOWN, 4_000), 4) == []


def _kinds(transitions: list[Transition]) -> list[tuple[Step, bool]]:
    return [(transition.kind, transition.sounds) for transition in transitions]


def _backlog(book: Book, kind: ChangeKind = K.ONSET, now_us: int = 1_000, **given: object) -> None:
    fields = {"backlog": True, "confirm_within_us": 500, **given}
    book.feed_change(change(kind, now_us, **fields), 1)


def test_a_silent_alarm_sounds_as_unconfirmed_at_its_deadline_and_not_before(book: Book) -> None:
    _backlog(book)
    assert book.next_deadline_us() == 1_500
    assert book.feed_deadlines(1_499, 2) == []
    assert _kinds(book.feed_deadlines(1_500, 2)) == [(Step.UNCONFIRMED, True)]
    assert (_only(book).sounding, _only(book).confirmed) == (True, False)
    assert (book.next_deadline_us(), book.feed_deadlines(9_999, 3)) == (NO_DEADLINE_US, [])


def test_deadlines_fall_in_their_order(book: Book) -> None:
    for asset, within_us in (("b", 700), ("a", 900), ("c", 500)):
        _backlog(book, asset=asset, confirm_within_us=within_us)
    assert [transition.asset for transition in book.feed_deadlines(5_000, 2)] == ["c", "b", "a"]


def test_a_fresh_sample_confirms_and_ends_the_wait(book: Book) -> None:
    _backlog(book)
    assert _kinds(book.feed_change(change(K.CONFIRMED, 1_200), 2)) == [(Step.CONFIRMED, True)]
    assert (_only(book).sounding, book.next_deadline_us()) == (True, NO_DEADLINE_US)


def test_a_fresh_worse_level_ends_the_wait(book: Book) -> None:
    _backlog(book)
    assert _kinds(book.feed_change(change(K.LEVEL_UP, 1_200, level=2), 2)) == [(Step.WORSE, True)]
    assert book.next_deadline_us() == NO_DEADLINE_US


def test_a_silent_alarm_that_recovers_stays_returned_and_silent_until_acknowledged(book: Book) -> None:
    _backlog(book)
    assert _kinds(book.feed_change(change(K.CLEAR, 1_200), 2)) == [(Step.CLEAR, False)]
    assert book.feed_deadlines(9_999, 3) == []
    assert (_only(book).state, _only(book).sounding) == (State.RETURNED, False)


def test_acknowledging_a_silent_alarm_ends_the_wait(book: Book) -> None:
    _backlog(book)
    book.feed_command(ack(_only(book).id, 1), 1_200, 2)
    assert book.feed_deadlines(9_999, 3) == []


def test_further_backlog_does_not_postpone_the_end_of_a_wait(book: Book) -> None:
    _backlog(book)
    _backlog(book, K.LEVEL_UP, 1_400, level=2)
    assert book.next_deadline_us() == 1_500


def test_a_level_raised_by_backlog_after_the_wait_is_heard_after_a_wait_of_its_own(book: Book) -> None:
    _backlog(book)
    book.feed_deadlines(1_500, 2)
    _backlog(book, K.LEVEL_UP, 2_000, level=2)
    assert _only(book).sounding is True
    assert _kinds(book.feed_deadlines(2_500, 3)) == [(Step.UNCONFIRMED, True)]


def test_a_better_level_does_not_end_the_wait(book: Book) -> None:
    _backlog(book, level=2)
    book.feed_change(change(K.LEVEL_DOWN, 1_200, level=1, backlog=True), 2)
    assert _kinds(book.feed_deadlines(1_500, 3)) == [(Step.UNCONFIRMED, True)]


def test_silence_does_not_end_the_wait(book: Book) -> None:
    _backlog(book)
    book.feed_change(change(K.UNKNOWN, 1_200), 2)
    assert _kinds(book.feed_deadlines(1_500, 3)) == [(Step.UNCONFIRMED, True)]
    assert _only(book).condition is Condition.UNKNOWN


def test_a_removed_rule_ends_the_wait(book: Book) -> None:
    _backlog(book)
    book.feed_change(change(K.RULE_REMOVED, 1_200), 2)
    assert (book.next_deadline_us(), dict(book.alarms)) == (NO_DEADLINE_US, {})


def test_corrections_of_an_open_alarm_count_its_versions_on(book: Book) -> None:
    book.feed_change(change(K.ONSET, 1_000), 1)
    (transition,) = book.feed_change(change(K.CORRECTION, 2_000), 2)
    assert (transition.step, _only(book).version) == (2, 2)


def test_corrections_after_closing_count_on_and_never_repeat_an_id(book: Book) -> None:
    alarm = _raise_and_ack(book)
    book.feed_change(change(K.CLEAR, 3_000), 3)
    steps = [book.feed_change(change(K.CORRECTION, 4_000 + n), 4 + n)[0] for n in range(3)]
    assert [step.step for step in steps] == [4, 5, 6]
    assert {step.alarm for step in steps} == {alarm.id}
    assert len({step.id for step in steps}) == 3
    closed = book.remembered(alarm.id)
    assert closed is not None
    assert (closed.version, closed.state) == (6, State.NORMAL)


def test_a_correction_where_no_alarm_ever_was_is_counted_under_occurrence_zero(book: Book) -> None:
    (first,) = book.feed_change(change(K.CORRECTION, 1_000), 1)
    (second,) = book.feed_change(change(K.CORRECTION, 2_000), 2)
    assert [(t.occurrence, t.step) for t in (first, second)] == [(0, 1), (0, 2)]
    (onset,) = book.feed_change(change(K.ONSET, 3_000), 3)
    assert (onset.occurrence, onset.step) == (1, 1)


def test_closed_alarms_are_remembered_within_bounds(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CLOSED_ALARMS_MAX", 2)
    monkeypatch.setattr(module, "CLOSED_IDS_MAX", 3)
    for _ in range(4):
        book.feed_change(change(K.ONSET), 1)
        book.feed_change(change(K.CLEAR), 2)
    book.feed_change(change(K.ONSET), 3)
    ids = [alarm_id(RULE, ASSET, n) for n in range(1, 6)]
    assert [book.remembered(alarm) is not None for alarm in ids] == [False, False, True, True, True]
    verdicts = [book.feed_command(ack(alarm, 1), 9_000, 4)[0].verdict for alarm in ids[:4]]
    assert verdicts == [Verdict.NOT_FOUND, Verdict.CONFLICT, Verdict.CONFLICT, Verdict.CONFLICT]
