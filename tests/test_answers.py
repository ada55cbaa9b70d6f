"""Idempotency keys: a day, a bound, the oldest first."""

from __future__ import annotations

import pytest

from ioc import answers as module
from ioc.answers import KEPT_US, Answers
from ioc.model import Answer, Verdict

DONE = Answer(verdict=Verdict.DONE, alarm="a1")
REFUSED = Answer(verdict=Verdict.REFUSED, reason="no")


def test_an_answer_is_found_by_the_same_actor_and_key() -> None:
    answers = Answers()
    answers.keep("an", "k", 0, DONE)
    assert answers.find("an", "k", 1) == DONE
    assert answers.find("binh", "k", 1) is None
    assert answers.find("an", "other", 1) is None


def test_an_answer_is_kept_for_a_day() -> None:
    answers = Answers()
    answers.keep("an", "k", 0, DONE)
    assert answers.find("an", "k", KEPT_US - 1) == DONE
    assert answers.find("an", "k", KEPT_US) is None
    answers.keep("an", "other", KEPT_US, DONE)
    assert [row[1] for row in answers.state()] == ["other"]


def test_an_answer_given_anew_after_a_day_lasts_another_day() -> None:
    answers = Answers()
    answers.keep("an", "k", 0, DONE)
    answers.keep("an", "k", KEPT_US, REFUSED)
    assert answers.find("an", "k", 2 * KEPT_US - 1) == REFUSED


def test_beyond_the_bound_the_oldest_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT_MAX", 2)
    answers = Answers()
    for now_us, key in enumerate("abc"):
        answers.keep("an", key, now_us, DONE)
    assert [answers.find("an", key, 3) for key in "abc"] == [None, DONE, DONE]


def test_a_command_without_a_key_is_not_recognised() -> None:
    answers = Answers()
    answers.keep("an", "", 0, DONE)
    assert answers.find("an", "", 1) is None
    assert answers.state() == []


def test_restored_answers_are_the_same() -> None:
    answers, restored = Answers(), Answers()
    answers.keep("binh", "k", 0, DONE)
    answers.keep("an", "k", 1, REFUSED)
    restored.restore(answers.state())
    assert restored.state() == answers.state()
    assert restored.find("an", "k", 2) == REFUSED


def test_an_answer_given_anew_does_not_keep_older_ones_alive() -> None:
    answers = Answers()
    answers.keep("an", "a", 0, DONE)
    answers.keep("an", "b", 1, DONE)
    answers.keep("an", "a", KEPT_US, DONE)
    answers.keep("an", "c", KEPT_US + 1, DONE)
    assert [row[1] for row in answers.state()] == ["a", "c"]
