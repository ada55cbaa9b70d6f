"""Idempotency keys: a day, a bound, the oldest first."""

from __future__ import annotations

import pytest

from ioc import answers as module
from ioc.answers import KEPT_US, KEY_USED, Answers
from ioc.model import Acknowledge, Answer, Verdict

DONE = Answer(verdict=Verdict.DONE, alarm="a1")
REFUSED = Answer(verdict=Verdict.REFUSED, reason="no")


def _ack(actor: str, key: str, alarm: str = "a1", version: int = 1, note: str = "") -> Acknowledge:
    return Acknowledge(actor=actor, key=key, alarm=alarm, version=version, note=note)


def test_an_answer_is_found_by_the_same_actor_and_key() -> None:
    answers = Answers()
    answers.keep(_ack("an", "k"), 0, DONE)
    assert answers.find(_ack("an", "k"), 1) == DONE
    assert answers.find(_ack("binh", "k"), 1) is None
    assert answers.find(_ack("an", "other"), 1) is None


@pytest.mark.parametrize("other", [_ack("an", "k", alarm="a2"), _ack("an", "k", version=2)])
def test_a_used_key_is_refused_for_another_request_and_stands_for_the_first(other: Acknowledge) -> None:
    answers, restored = Answers(), Answers()
    answers.keep(_ack("an", "k"), 0, DONE)
    restored.restore(answers.state())
    for each in (answers, restored):
        assert each.find(other, 1) == Answer(verdict=Verdict.REFUSED, reason=KEY_USED)
        assert each.find(_ack("an", "k"), 1) == DONE
        assert each.find(other, KEPT_US) is None


def test_who_words_the_note_anew_asks_the_same() -> None:
    answers = Answers()
    answers.keep(_ack("an", "k", note="gọi xã"), 0, DONE)
    assert answers.find(_ack("an", "k", note="đã gọi xã"), 1) == DONE


def test_an_answer_is_kept_for_a_day() -> None:
    answers = Answers()
    answers.keep(_ack("an", "k"), 0, DONE)
    assert answers.find(_ack("an", "k"), KEPT_US - 1) == DONE
    assert answers.find(_ack("an", "k"), KEPT_US) is None
    answers.keep(_ack("an", "other"), KEPT_US, DONE)
    assert [row[1] for row in answers.state()] == ["other"]


def test_an_answer_given_anew_after_a_day_lasts_another_day() -> None:
    answers = Answers()
    answers.keep(_ack("an", "k"), 0, DONE)
    answers.keep(_ack("an", "k"), KEPT_US, REFUSED)
    assert answers.find(_ack("an", "k"), 2 * KEPT_US - 1) == REFUSED


def test_beyond_the_bound_the_oldest_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT_MAX", 2)
    answers = Answers()
    for now_us, key in enumerate("abc"):
        answers.keep(_ack("an", key), now_us, DONE)
    assert [answers.find(_ack("an", key), 3) for key in "abc"] == [None, DONE, DONE]


def test_a_command_without_a_key_is_not_recognised() -> None:
    answers = Answers()
    answers.keep(_ack("an", ""), 0, DONE)
    assert answers.find(_ack("an", ""), 1) is None
    assert answers.state() == []


def test_restored_answers_are_the_same() -> None:
    answers, restored = Answers(), Answers()
    answers.keep(_ack("binh", "k"), 0, DONE)
    answers.keep(_ack("an", "k"), 1, REFUSED)
    restored.restore(answers.state())
    assert restored.state() == answers.state()
    assert restored.find(_ack("an", "k"), 2) == REFUSED


def test_an_answer_given_anew_does_not_keep_older_ones_alive() -> None:
    answers = Answers()
    answers.keep(_ack("an", "a"), 0, DONE)
    answers.keep(_ack("an", "b"), 1, DONE)
    answers.keep(_ack("an", "a"), KEPT_US, DONE)
    answers.keep(_ack("an", "c"), KEPT_US + 1, DONE)
    assert [row[1] for row in answers.state()] == ["a", "c"]
