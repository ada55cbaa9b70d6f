"""A re-injection is asked for once, pending until it is carried out, and answered alike under its key."""

from __future__ import annotations

from ioc.ingest import quarantine
from ioc.ingest.quarantine import DONE_ALREADY, Quarantine
from ioc.model import Reinject, Verdict

T0 = 1_725_760_800_000_000


def ask(number: int, key: str = "") -> Reinject:
    return Reinject(actor="an", key=key, number=number)


def test_what_was_asked_for_is_pending_until_its_records_came() -> None:
    subject = Quarantine()
    assert subject.feed_command(ask(7), T0).verdict is Verdict.DONE
    assert subject.pending == (7,)
    subject.taken(7)
    assert subject.pending == ()
    assert subject.asked_for(7)


def test_a_second_request_is_refused_and_one_under_the_same_key_answered_alike() -> None:
    subject = Quarantine()
    subject.feed_command(ask(7, "k"), T0)
    assert subject.feed_command(ask(7), T0).reason == DONE_ALREADY
    assert subject.feed_command(ask(7, "k"), T0).verdict is Verdict.DONE
    assert subject.feed_command(ask(8, "k"), T0).verdict is Verdict.REFUSED
    assert subject.pending == (7,)


def test_the_state_comes_back() -> None:
    subject = Quarantine()
    for number in (3, 1, 2):
        subject.feed_command(ask(number, f"k{number}"), T0)
    subject.taken(1)
    other = Quarantine()
    other.restore(subject.state())
    assert other.state() == subject.state()
    assert other.pending == (3, 2)
    assert other.feed_command(ask(1), T0).reason == DONE_ALREADY


def test_what_is_remembered_is_bounded() -> None:
    subject = Quarantine()
    for number in range(quarantine.DONE_MAX + 5):
        subject.taken(number)
    assert not subject.asked_for(0)
    assert subject.asked_for(quarantine.DONE_MAX)
