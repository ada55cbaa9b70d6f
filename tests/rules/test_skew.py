"""Clocks that are wrong: three samples from the future are no accident."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.rule_world import START, S, numbers_of, registry, rules

from ioc.model import Change, Flag
from ioc.model.batch import NOT_JUDGED
from ioc.rules import skew
from ioc.rules.found import Found, in_order
from ioc.rules.samples import Samples
from ioc.rules.skew import Skew

WORLD = registry({"a": ["level", "rain"], "b": ["level"]})
NUMBERS = numbers_of(WORLD)
NAMES = list(NUMBERS)
THREE = {"id": "three", "kind": "clock_skew", "priority": 3}
TWO = {"id": "two", "kind": "clock_skew", "priority": 4, "count": 2, "series": {"stations": ["a"]}}
FUTURE, LATE = int(Flag.FUTURE), int(Flag.LATE)

Row = tuple[int, int, int]
"""Series, flags, seconds ahead of its receipt."""


def made(*items: dict[str, Any]) -> Skew:
    return Skew(rules(*items), WORLD, NUMBERS)


def fed(to: Skew, rows: Sequence[Row], cuts: Sequence[int] = (), now_s: int = 0) -> list[Change]:
    """Rows in these parts."""
    out = []
    for begin, end in itertools.pairwise([0, *sorted(min(c, len(rows)) for c in cuts), len(rows)]):
        part = rows[begin:end]
        received_us = np.full(len(part), START + S, np.int64)
        samples = Samples(
            np.arange(len(part)),
            np.array([series for series, *_ in part], np.int64),
            received_us + np.array([ahead * S for *_, ahead in part], np.int64),
            np.zeros(len(part)),
            np.array([flags for _, flags, _ in part], np.uint16),
            np.zeros(len(part), np.uint16),
        )
        found: list[Found] = []
        to.feed(samples, received_us, START + now_s * S, found)
        out += in_order(found)
    return out


def brief(changes: Sequence[Change]) -> list[tuple[str, str, str, float]]:
    return [(str(c.kind), c.rule, c.asset, c.value) for c in changes]


def oracle(rows: Sequence[Row]) -> list[tuple[str, str, str, float]]:
    """Row by row: lists of what came, counted anew each time."""
    told: list[tuple[str, str, str, float]] = []
    past: dict[int, list[bool]] = {}
    on: set[tuple[str, int]] = set()
    for series, flags, ahead in rows:
        if series >= len(NAMES) or (flags & NOT_JUDGED and not flags & FUTURE):
            continue
        past.setdefault(series, []).append(bool(flags & FUTURE))
        run = len(list(itertools.takewhile(bool, reversed(past[series]))))
        for rule, count, about in (("three", 3, {0, 1, 2}), ("two", 2, {0, 1})):
            if series in about and run >= count and (rule, series) not in on:
                on.add((rule, series))
                told.append(("onset", rule, NAMES[series], float(ahead)))
            elif run == 0 and (rule, series) in on:
                on.remove((rule, series))
                told.append(("clear", rule, NAMES[series], float(ahead)))
    return told


FLAGS = st.sampled_from([FUTURE] * 4 + [0, 0, LATE, int(Flag.REPEAT), int(Flag.TOO_LATE), int(Flag.BACKLOG)])
ROWS = st.lists(st.tuples(st.sampled_from([0, 0, 0, 1, 2, 99]), FLAGS, st.integers(-9, 999)), max_size=60)
CUTS = st.lists(st.integers(0, 60), max_size=6)


@settings(max_examples=300, deadline=None)
@given(ROWS, CUTS)
def test_any_split_gives_what_the_oracle_says(rows: list[Row], cuts: list[int]) -> None:
    assert brief(fed(made(THREE, TWO), rows, cuts)) == oracle(rows)


@settings(max_examples=150, deadline=None)
@given(ROWS, st.integers(0, 60), st.booleans())
def test_a_restart_or_the_same_pack_again_changes_nothing(rows: list[Row], cut: int, again: bool) -> None:
    first = made(THREE, TWO)
    changes = fed(first, rows[:cut])
    second = made(THREE, TWO)
    if again:
        second = first
        assert second.rebuild(rules(THREE, TWO), WORLD, NUMBERS, START) == []
    else:
        second.restore(first.state())
    assert brief([*changes, *fed(second, rows[cut:])]) == oracle(rows)


@settings(max_examples=100, deadline=None)
@given(ROWS)
def test_series_do_not_know_of_each_other(rows: list[Row]) -> None:
    apart = sorted(rows, key=lambda row: row[0])
    together = sorted(brief(fed(made(THREE, TWO), rows)), key=lambda change: change[2])
    assert sorted(brief(fed(made(THREE, TWO), apart)), key=lambda change: change[2]) == together


def test_the_net_catches_late_samples_that_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(skew, "NOT_JUDGED", NOT_JUDGED & ~LATE)
    rng, flags = Random(5), (FUTURE, FUTURE, FUTURE, 0, LATE)
    runs = [[(0, rng.choice(flags), rng.randrange(99)) for _ in range(30)] for _ in range(20)]
    assert any(brief(fed(made(THREE, TWO), rows)) != oracle(rows) for rows in runs)


def test_the_third_sample_from_the_future_raises_and_the_first_in_order_ends_it() -> None:
    to = made(THREE)
    (onset,) = fed(to, [(0, FUTURE, 600), (0, FUTURE, 601), (0, FUTURE, 602), (0, FUTURE, 603)], now_s=5)
    assert (onset.kind, onset.level, onset.priority, onset.value) == ("onset", 1, 3, 602.0)
    assert (onset.asset, onset.event_us, onset.now_us) == (NAMES[0], START + 5 * S, START + 5 * S)
    assert fed(to, [(0, LATE, -50), (0, int(Flag.REPEAT), 0), (1, 0, 0)]) == []
    (clear,) = fed(to, [(0, 0, -1), (0, 0, -1)], now_s=9)
    assert (clear.kind, clear.level, clear.value, clear.event_us) == ("clear", 0, -1.0, START + 9 * S)


def test_a_rule_that_is_gone_or_is_about_others_now_is_told() -> None:
    to = made(THREE, TWO)
    fed(to, [(0, FUTURE, 60)] * 3)
    fewer = rules({**THREE, "series": {"stations": ["b"]}}, TWO)
    found = to.rebuild(fewer, WORLD, NUMBERS, START)
    assert brief(in_order(found)) == [("rule_removed", "three", NAMES[0], 60.0)]
    found = to.rebuild({}, WORLD, NUMBERS, START)
    assert brief(in_order(found)) == [("rule_removed", "two", NAMES[0], 60.0)]
    assert not len(to.state()["series"]) and not to.state()["on"]


def test_more_series_keep_what_was_counted() -> None:
    to = Skew(rules(THREE), WORLD, {NAMES[0]: 0})
    fed(to, [(0, FUTURE, 60)] * 2)
    to.rebuild(rules(THREE), WORLD, NUMBERS, START)
    assert brief(fed(to, [(0, FUTURE, 61)])) == [("onset", "three", NAMES[0], 61.0)]
