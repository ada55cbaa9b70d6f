"""The limit rules alone against the plain row loop: counts, periods, doubt, neighbours, retraction, uncertainty."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.rule_oracle import Oracle
from support.rule_world import (
    NEAR,
    OFFSET_US,
    START,
    WIDER,
    WIDER_RULES,
    Other,
    Rows,
    S,
    numbers_of,
)

from ioc.log.state import pack_state, unpack_state
from ioc.model import Change, ChangeKind, Flag
from ioc.rules import kernels, table
from ioc.rules import limits as limits_module
from ioc.rules.channels import Channels
from ioc.rules.found import Found, in_order
from ioc.rules.limits import Limits, Near
from ioc.rules.samples import RETRACTED, Samples
from ioc.rules.single import Single
from ioc.rules.table import limit_table, names

WIDE = numbers_of(WIDER)
TABLE = limit_table(WIDER, WIDER_RULES, WIDE, Channels.plain(names(WIDE)), OFFSET_US)
GAP_US = WIDER.columns(WIDE).max_gap_us
Step = tuple[Rows, tuple[int, ...]] | Other


def at_rest() -> Limits:
    return Limits(TABLE, GAP_US, NEAR)


def judged(limits: Limits, step: Step, cuts: Sequence[int] = (), way: int = 20) -> list[Change]:
    """What the limits say of one step; rows cut, and judged one by one up to `way` of them."""
    found: list[Found] = []
    if isinstance(step, Other):
        due_us = np.full(len(WIDE), step.now_us)
        limits.silence(np.arange(len(WIDE)), due_us, step.now_us, found)
        return in_order(found)
    rows, tests = step
    samples = Samples.of(rows.batch())
    samples = samples.with_flags(samples.flags, np.array(tests, np.uint16))
    edges = [0, *sorted({cut % (len(samples) + 1) for cut in cuts}), len(samples)]
    out: list[Change] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "FEW", way)
        patch.setattr(limits_module, "SWINGS_FEW", way)
        for start, end in itertools.pairwise(edges):
            found = []
            limits.feed(samples.take(slice(start, end)), rows.now_us, found)
            out += in_order(found)
    return out


def expected(oracle: Oracle, step: Step) -> list[Change]:
    if not isinstance(step, Other):
        return oracle.feed_batch(step[0].batch(), step[0].now_us, step[1])
    out = []
    for number in range(len(WIDE)):
        for place, rule in oracle.about(table.LimitRule, number):
            cell = oracle.cells.get((rule.id, number))
            if cell is not None and cell.level and not cell.unknown:
                cell.unknown = True
                level, urgency = cell.level, oracle.priority(rule, cell)
                change = oracle.change(
                    ChangeKind.UNKNOWN,
                    rule,
                    number,
                    level,
                    level,
                    urgency,
                    cell.shown,
                    step.now_us,
                    0,
                    step.now_us,
                )
                out.append((place, number, change))
    return [change for *_, change in sorted(out, key=lambda one: one[:2])]


def steps_of(random: Any, count: int = 12, rows_max: int = 14) -> list[Step]:
    """Rows near the limits of every kind, silence between them; event times in order but for the late ones."""
    marks, now_us = [START] * len(WIDE), START
    out: list[Step] = []
    for _ in range(count):
        now_us += int(random.choice([1, 10, 31])) * S
        if random.random() < 0.15:
            out.append(Other(now_us, None))
            continue
        columns, tests = [], []
        for _ in range(int(random.integers(1, rows_max))):
            number = int(random.integers(0, len(WIDE)))
            flags = int(random.choice(FLAGS))
            if flags & Flag.LATE:
                event_us = marks[number] - int(random.choice([0, 0, 5, 10])) * S
            else:
                event_us = marks[number] + int(random.choice([1, 5, 10, 10, 20, 45, 2800])) * S
                marks[number] = event_us
            value = float(random.choice(VALUES))
            if flags & Flag.BAD and not flags & Flag.LATE and random.random() < 0.1:
                value = float("nan")
            columns.append((number, event_us, value, flags))
            tests.append(int(random.choice([0, 1, 4 + 8, 256, 512 * 4])))
        out.append((Rows("mqtt", now_us, *zip(*columns, strict=True)), tuple(tests)))
    return out


VALUES = [*(i / 2 for i in range(20)), 9.0, 12.0]
FLAGS = (
    [0] * 12
    + [int(Flag.BAD)] * 6
    + [int(Flag.UNCERTAIN), int(Flag.BACKLOG), int(Flag.BACKLOG | Flag.BAD), int(Flag.LATE)]
    + [
        int(Flag.LATE | Flag.BAD),
        int(Flag.LATE | Flag.BAD) | RETRACTED,
        int(Flag.LATE | Flag.BAD) | RETRACTED,
    ]
)


def compare(
    seed: int, cuts: Sequence[int] = (), ways: Sequence[int] = (0,), count: int = 12, near: Near = NEAR
) -> list[Change]:
    """Limits and row loop say the same, however rows are cut; returns what they said."""
    said: list[Change] = []
    limits, oracle = Limits(TABLE, GAP_US, near), Oracle(WIDER, WIDER_RULES, WIDE, START, OFFSET_US, near)
    for place, step in enumerate(steps_of(np.random.default_rng(seed), count)):
        wanted = expected(oracle, step)
        # By their text: an empty value differs from itself.
        assert list(map(repr, judged(limits, step, cuts, ways[place % len(ways)]))) == list(map(repr, wanted))
        said += wanted
    return said


@settings(max_examples=1500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.integers(0, 1 << 40),
    st.lists(st.integers(0, 20), max_size=3),
    st.lists(st.sampled_from([0, 2, 1000]), min_size=1, max_size=3),
)
def test_limits_equal_the_row_loop_however_rows_are_cut(seed: int, cuts: list[int], ways: list[int]) -> None:
    compare(seed, cuts, ways)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 1 << 40), st.integers(0, 12), st.sampled_from([0, 2, 1000]))
def test_a_restart_or_the_same_pack_again_changes_nothing(seed: int, at: int, way: int) -> None:
    through, again = at_rest(), at_rest()
    for place, step in enumerate(steps_of(np.random.default_rng(seed))):
        if place == at:
            state, again = unpack_state(pack_state(again.state())), at_rest()
            again.restore(state)
        if place == at + 2:
            before, again, found = again, at_rest(), []
            again.take_over(before, START, found)
            assert found == []
        assert repr(judged(again, step, (), way)) == repr(judged(through, step))
        assert pack_state(again.state()) == pack_state(through.state())


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 1 << 40), st.randoms(use_true_random=False))
def test_series_that_are_not_neighbours_may_come_in_any_order(seed: int, dice: Any) -> None:
    """Rows of series 1 and 4 among those of the three gauges: what each says is the same."""
    one, other = Limits(TABLE, GAP_US), Limits(TABLE, GAP_US)
    for step in steps_of(np.random.default_rng(seed)):
        if isinstance(step, Other):
            assert repr(judged(one, step)) == repr(judged(other, step))
            continue
        rows, tests = step
        keys = sorted(range(len(tests)), key=lambda i: dice.random())
        queues = {n: [i for i in range(len(tests)) if rows.series[i] == n] for n in set(rows.series)}
        order = [queues[rows.series[i]].pop(0) for i in keys]
        mixed = Rows("mqtt", rows.now_us, *(tuple(c[i] for i in order) for c in (
            rows.series, rows.event_us, rows.value, rows.flags)))  # fmt: skip
        said = judged(one, step), judged(other, (mixed, tuple(tests[i] for i in order)))
        for asset in WIDE:
            mine, theirs = ([repr(c) for c in each if c.asset == asset] for each in said)
            assert mine == theirs
    assert pack_state(one.state()) == pack_state(other.state())


def test_the_seeds_say_everything() -> None:
    said = [change for seed in range(12) for change in compare(seed, [3], [0, 1000], 40)]
    assert {c.kind for c in said} == set(ChangeKind) - {ChangeKind.RULE_REMOVED}
    details = {c.detail.split(":")[0] for c in said}
    assert details == {"", "doubtful", "again", "certain", "neighbour", "uncertain", "spike"}
    assert {c.rule for c in said} == set(WIDER_RULES)
    dated = {(c.level, c.limit) for c in said if c.rule == "dated"}
    assert len(dated) > 4


@pytest.mark.parametrize(
    ("owner", "name", "bug"),
    [
        (Single, "_is_nth", lambda self, at, event_us, times, within_us: False),
        (table.Dated, "at", lambda self, event_us: self.rows[0]),
        (Single, "_beyond", lambda self, sample, cell: 0),
        (Limits, "agree", lambda self, sample, now_us, found: None),
        (Single, "_retract", lambda self, sample, now_us, found: None),
        (Single, "_urgency", lambda self, cell, levels, doubt: self._priority[self._rule[cell]][max(levels.bit_length(), doubt, 1) - 1]),
        ("ioc.rules.single", "_UNCERTAIN", 0),
        (Single, "_refresh_alone", lambda self, series: None),
    ],
    ids=["nothing counted", "no period", "no doubt", "no neighbour", "nothing retracted", "doubt as urgent", "certain", "doubt in rounds"],
)  # fmt: skip
def test_a_planted_bug_does_not_pass_the_net(
    monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, bug: Any
) -> None:
    import ioc.rules.single

    monkeypatch.setattr(ioc.rules.single if isinstance(owner, str) else owner, name, bug)

    def run() -> None:
        for seed in range(6):
            compare(seed, (), [0], 40)
            compare(seed, (), [0], 40, {})

    with pytest.raises((AssertionError, KeyError)):
        run()
