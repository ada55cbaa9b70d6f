"""The engine against a plain row loop, and what it promises of batches, restarts and edited packs."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from types import MappingProxyType, ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.rule_oracle import Oracle
from support.rule_world import (
    NUMBERS,
    RULES,
    START,
    WORLD,
    Event,
    Other,
    Rows,
    S,
    events,
    feed,
    limit,
    registry,
    rules,
)

from ioc.log.state import pack_state, unpack_state
from ioc.model import Change, ChangeKind, Flag, SourceState, SystemFact
from ioc.registry import NO_DEADLINE_US, Registry
from ioc.rules import kernels, single, swings
from ioc.rules import limits as limits_module
from ioc.rules.engine import Engine
from ioc.rules.silence import Watchdog
from ioc.rules.single import Single

PARTS = [0.72, 0.12, 0.06, 0.05, 0.05]
CUTS = st.lists(st.integers(0, 40), max_size=4)
IN_ROUNDS, ONE_BY_ONE = 0, 1_000
"""Values of `kernels.FEW` with which all rows take one way; one between them mixes the two within a batch."""
WAYS = st.lists(st.sampled_from([IN_ROUNDS, 2, ONE_BY_ONE]), min_size=1, max_size=4)
"""Taken in turn from event to event."""


NEAR = {
    number: [
        other
        for name, other in NUMBERS.items()
        if other != number
        and name.split("/")[::2] == series.split("/")[::2]
        and WORLD.series[name].station.lat == WORLD.series[series].station.lat
    ]
    for series, number in NUMBERS.items()
}
"""Gauges of one quantity: all stations of this world stand in one place."""


def new_engine() -> Engine:
    engine = Engine(Registry((), {}), {}, {})
    engine.rebuild(WORLD, RULES, NUMBERS, START)
    return engine


def new_oracle() -> Oracle:
    return Oracle(WORLD, RULES, NUMBERS, START, near=NEAR)


def feed_by(way: int, engine: Engine, event: Event, cuts: Sequence[int] = ()) -> list[Change]:
    """Feed one event with rows judged one by one or in rounds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "FEW", way)
        patch.setattr(limits_module, "SWINGS_FEW", way)
        return feed(engine, event, cuts)


def compare(
    happens: list[Event],
    cuts: list[int],
    ways: Sequence[int],
    packs: Mapping[int, Registry] = MappingProxyType({}),
) -> list[Change]:
    """Engine and oracle say the same after every event; returns what they said. `packs` are loaded before an event."""
    engine, oracle = new_engine(), new_oracle()
    said: list[Change] = []
    for place, event in enumerate(happens):
        if place in packs:
            engine.rebuild(packs[place], RULES, NUMBERS, event.now_us)
            oracle.reload(packs[place], RULES, NUMBERS, event.now_us)
        expected = feed(oracle, event)
        assert feed_by(ways[place % len(ways)], engine, event, cuts) == expected
        said += expected
        stale, bad = engine.series_state()
        watched = sorted(oracle.health)
        assert stale[watched].tolist() == [oracle.health[n].stale for n in watched]
        assert bad[watched].tolist() == [oracle.health[n].bad for n in watched]
        due_us = oracle.next_deadline_us()
        due_us = NO_DEADLINE_US if due_us is None else due_us
        told_us = engine.next_deadline_us(event.now_us)
        assert told_us == due_us if due_us <= event.now_us else event.now_us < told_us <= due_us
        if place % 3 == 0:
            assert engine.next_deadline_us() == due_us
    return said


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(events(), CUTS, WAYS)
def test_engine_equals_the_row_loop_however_rows_are_cut(
    happens: list[Event], cuts: list[int], ways: list[int]
) -> None:
    compare(happens, cuts, ways)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(events(series=2, rows_max=40), CUTS, WAYS)
def test_engine_equals_the_row_loop_where_a_series_stands_many_times_in_a_batch(
    happens: list[Event], cuts: list[int], ways: list[int]
) -> None:
    compare(happens, cuts, ways)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(events(), CUTS, WAYS, st.integers(0, 8), st.integers(1, 4))
def test_engine_equals_the_row_loop_where_series_are_withdrawn_and_come_back(
    happens: list[Event], cuts: list[int], ways: list[int], at: int, for_events: int
) -> None:
    compare(happens, cuts, ways, {at: registry({"b": ["level"], "c": ["wind"]}), at + for_events: WORLD})


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(events(), CUTS, WAYS)
def test_neither_batch_boundaries_nor_ways_ever_change_the_state(
    happens: list[Event], cuts: list[int], ways: list[int]
) -> None:
    whole, cut = new_engine(), new_engine()
    for place, event in enumerate(happens):
        feed_by(IN_ROUNDS, whole, event)
        feed_by(ways[place % len(ways)], cut, event, cuts)
        assert pack_state(whole.state()) == pack_state(cut.state())
        # Nor what is worked out ahead of the next row.
        for name in ("low", "high", "cell_low", "cell_high", "has_past"):
            assert np.array_equal(getattr(whole._limits, name), getattr(cut._limits, name)), name
        assert np.array_equal(whole._watchdog.due_us, cut._watchdog.due_us)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(events(), st.integers(0, 10))
def test_a_restart_at_any_place_is_exact(happens: list[Event], at: int) -> None:
    through, restarted = new_engine(), new_engine()
    for i, event in enumerate(happens):
        if i == at:
            state = unpack_state(pack_state(restarted.state()))
            restarted = Engine(WORLD, RULES, NUMBERS)
            feed(restarted, happens[0])  # whatever it held before is gone
            restarted.restore(state)
        assert feed(restarted, event) == feed(through, event)
        assert restarted.next_deadline_us() == through.next_deadline_us()
        assert pack_state(restarted.state()) == pack_state(through.state())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(events(), st.integers(0, 10))
def test_loading_the_same_pack_again_changes_nothing(happens: list[Event], at: int) -> None:
    through, reloaded = new_engine(), new_engine()
    for i, event in enumerate(happens):
        if i == at:
            assert reloaded.rebuild(WORLD, RULES, NUMBERS, event.now_us) == []
        assert feed(reloaded, event) == feed(through, event)
        assert pack_state(reloaded.state()) == pack_state(through.state())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(events(), st.integers(0, 10))
def test_rules_that_come_beside_others_leave_them_alone(happens: list[Event], at: int) -> None:
    more = {**rules(limit("never", {5: {"limit": 500, "on_delay": "1s"}})), **RULES}
    plain, edited = new_engine(), new_engine()
    for i, event in enumerate(happens):
        if i == at:
            assert edited.rebuild(WORLD, more, NUMBERS, event.now_us) == []
        if i == at + 3:
            assert edited.rebuild(WORLD, RULES, NUMBERS, event.now_us) == []
        assert feed(edited, event) == feed(plain, event)
        assert pack_state(edited.state()) == pack_state(plain.state())


def test_an_engine_that_knew_more_series_restores_one_that_knew_fewer() -> None:
    few = {name: number for name, number in NUMBERS.items() if number < 2}
    small = Engine(WORLD, RULES, few)
    feed(small, Rows("mqtt", START, (0, 1), (START, START), (9.0, 9.0), (0, 0)))
    big = new_engine()
    for event in seeded(1):
        feed(big, event)
    big.rebuild(WORLD, RULES, few, START)
    big.restore(small.state())
    assert pack_state(big.state()) == pack_state(small.state())
    assert big.next_deadline_us() == small.next_deadline_us()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(events())
def test_deadlines_fire_once_and_the_next_one_lies_ahead(happens: list[Event]) -> None:
    engine = new_engine()
    for event in happens:
        while (due_us := engine.next_deadline_us()) <= event.now_us:
            engine.feed_deadlines(due_us)
            assert engine.next_deadline_us() > due_us
        before = engine.next_deadline_us()
        feed(engine, event)
        # A row never sets a deadline nearer than the registry's lead; but one may be over that is old since another
        # source fed its series.
        if isinstance(event, Rows) and not any(flags & Flag.BACKLOG for flags in event.flags):
            assert engine.next_deadline_us() >= min(before, event.now_us + WORLD.min_lead_us)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(events())
def test_deadlines_fired_one_by_one_or_all_at_once_say_the_same(happens: list[Event]) -> None:
    once, each = new_engine(), new_engine()
    for event in happens:
        feed(once, event)
        feed(each, event)
        until = event.now_us + 20_000_000
        together = once.feed_deadlines(until)
        apart = []
        while (due_us := each.next_deadline_us()) <= until:
            apart += each.feed_deadlines(due_us)
        assert [(c.kind, c.rule, c.asset, c.event_us, c.value) for c in together] == [
            (c.kind, c.rule, c.asset, c.event_us, c.value) for c in apart
        ]
        assert all(c.now_us == c.event_us for c in apart)
        assert pack_state(once.state()) == pack_state(each.state())


def seeded(seed: int) -> list[Event]:
    """A storm without Hypothesis: many rows close to the limits, gaps, bad, old and late samples, a flapping source."""
    random = np.random.default_rng(seed)
    out: list[Event] = []
    mark_us = np.full(len(NUMBERS), START)
    now_us = START
    for i in range(60):
        now_us += int(random.choice([1, 10, 31])) * S
        if i % 12 == 0:
            out.append(Other(now_us, SourceState("mqtt", i % 24 == 0, i)))
            out.append(Other(now_us, SystemFact("disk_low", "log", i % 24 == 0, 1.0)))
        columns = []
        for _ in range(int(random.integers(1, 30))):
            number = int(random.integers(0, len(NUMBERS)))
            flags = int(random.choice([0, Flag.BACKLOG, Flag.BAD, Flag.LATE, Flag.REVISED], p=PARTS))
            stamp_us = int(mark_us[number])
            if flags & (Flag.LATE | Flag.REVISED):
                stamp_us -= int(random.choice([0, 5, 20])) * S
            else:
                stamp_us += int(random.choice([1, 5, 10, 20, 45])) * S
                mark_us[number] = stamp_us
            columns.append((number, stamp_us, float(random.integers(-2, 20)) / 2, flags))
        out.append(Rows("mqtt", now_us, *zip(*columns, strict=True)))
        if random.random() < 0.7:
            out.append(Other(now_us + int(random.choice([0, 40, 150])) * S, None))
            now_us = out[-1].now_us
    return out


SWING = swings.swing
LIMIT, GAP = (
    list(inspect.signature(SWING.py_func).parameters).index(name) for name in ("limit", "max_gap_us")
)  # type: ignore[attr-defined]
WAYS_OF_SEEDS = ([IN_ROUNDS], [ONE_BY_ONE], [2, ONE_BY_ONE, 20, IN_ROUNDS])


def test_seeded_storms_say_everything_and_the_same_as_the_row_loop() -> None:
    said = [change for seed in range(3) for change in compare(seeded(seed), [3, 17], WAYS_OF_SEEDS[seed])]
    assert len(said) > 600
    assert {change.kind for change in said} == set(ChangeKind) - {ChangeKind.RULE_REMOVED}
    assert {change.rule for change in said} == set(RULES) - {"off"}


def _strict(*given):  # type: ignore[no-untyped-def]
    columns = list(given)
    columns[LIMIT] = np.nextafter(columns[LIMIT], np.inf)
    return SWING(*columns)


def _gapless(*given):  # type: ignore[no-untyped-def]
    columns = list(given)
    columns[GAP] = np.full_like(columns[GAP], 1 << 60)
    return SWING(*columns)


def _counted(*given):  # type: ignore[no-untyped-def]
    told = SWING(*given)
    levels = given[-1][:told, 2:]
    levels[:] = sum(levels >> bit & 1 for bit in range(5))
    return told


def _wide(band):  # type: ignore[no-untyped-def]
    def mutant(on, busy, limit, reset, sign):  # type: ignore[no-untyped-def]
        return band(on, np.zeros_like(busy), limit, reset, sign)

    return mutant


@pytest.mark.parametrize(
    ("module", "kernel", "bug"),
    [
        (swings, "swing", _strict),
        (swings, "swing", _gapless),
        (kernels, "quiet_band", _wide(kernels.quiet_band)),
        (kernels, "outside", lambda value, low, high: (value <= low) & (value >= high)),
        (swings, "swing", _counted),
    ],
    ids=["above instead of at the limit", "gaps ignored", "busy cells gated", "gate shut", "levels counted"],
)
def test_a_planted_bug_does_not_pass_the_net(
    monkeypatch: pytest.MonkeyPatch, module: ModuleType, kernel: str, bug: object
) -> None:
    monkeypatch.setattr(module, kernel, bug)
    with pytest.raises(AssertionError):
        compare(seeded(1), [], [IN_ROUNDS])


def _single_gapless(self: Single, sample: Any, cell: int, gap: bool, *rest: Any) -> Any:
    return STEP(self, sample, cell, False, *rest)


def _single_wide(self: Single, cell: int, levels: int, busy: bool) -> tuple[float, float]:
    return BAND(self, cell, levels, False)


STEP, BAND = Single._step, Single._band


@pytest.mark.parametrize(
    ("owner", "name", "bug"),
    [
        (single, "nextafter", lambda value, _: value),
        (Single, "_step", _single_gapless),
        (Single, "_band", _single_wide),
        (single, "ODD", single.LATE | single.IGNORED),
        (Watchdog, "_feed_few", lambda self, batch, source, now_us: len(batch)),
    ],
    ids=["above instead of at the limit", "gaps ignored", "busy cells gated", "bad is good", "nobody is fed"],
)
def test_a_bug_planted_where_rows_are_few_does_not_pass_the_net(
    monkeypatch: pytest.MonkeyPatch, owner: object, name: str, bug: object
) -> None:
    monkeypatch.setattr(owner, name, bug)
    with pytest.raises(AssertionError):
        compare(seeded(1), [], [ONE_BY_ONE])


def test_a_lower_bound_of_deadlines_that_never_falls_does_not_pass_the_net(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    never = property(lambda self: NO_DEADLINE_US, lambda self, lead_us: None)
    monkeypatch.setattr(Watchdog, "_lead_us", never, raising=False)
    with pytest.raises(AssertionError):
        compare(seeded(1), [], [ONE_BY_ONE])


def test_until_a_deadline_is_near_no_record_looks_at_every_series() -> None:
    looks = []

    class Watched(np.ndarray):
        def min(self, **bounds: Any) -> Any:
            looks.append(bounds)
            return super().min(**bounds)

    engine = new_engine()
    feed(engine, Other(START, SourceState("mqtt", True, 1)))
    engine._watchdog.due_us = engine._watchdog.due_us.view(Watched)
    for i in range(400):
        now_us = START + i * S // 10
        feed(engine, Rows("mqtt", now_us, (i % len(NUMBERS),), (now_us,), (0.0,), (0,)))
        assert engine.next_deadline_us(now_us) > now_us
    assert len(looks) == 1
