"""Rules over several stations against the slow way, what they promise of steps and restarts, and what each kind means."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from support.composite_oracle import CompositeOracle, Truth, haversine_km
from support.rule_world import START, TEXT, S, limit, numbers_of, rules

from ioc.log.state import pack_state, unpack_state
from ioc.model import Change, ChangeKind, Flag
from ioc.registry import Quantity, Registry, Station
from ioc.rules import composite, joint
from ioc.rules.cases import Case, Disagrees, Neighbours, Sequence, Travel, World
from ioc.rules.composite import Composite
from ioc.rules.found import Found
from ioc.rules.joint import faults, order_of
from ioc.rules.kernels import NO_TIME
from ioc.rules.logic import Logic
from ioc.rules.near import near
from ioc.rules.samples import Samples
from ioc.rules.spec import TravelRule


def world(places: Mapping[str, tuple[float, float, str, tuple[str, ...]]]) -> Registry:
    """Stations by name: latitude, longitude, commune and quantities; every interval 10 s, every resolution 0.01."""
    names = sorted({q for *_, have in places.values() for q in have})
    one = {"name": TEXT, "unit": "m", "unit_text": "m", "resolution": 0.01, "interval": "10s"}
    return Registry(
        tuple(
            Station.model_validate(
                {
                    "id": station,
                    "name": TEXT,
                    "commune": commune,
                    "lat": lat,
                    "lon": lon,
                    "series": [{"quantity": q, "domain": "disaster"} for q in have],
                }
            )
            for station, (lat, lon, commune, have) in places.items()
        ),
        {name: Quantity.model_validate({**one, "range": [0, 10]}) for name in names},
    )


# a, b and c lie on a meridian, each 8 km from the next; d is far away.
WORLD = world(
    {
        "a": (22.000, 104.0, "1", ("rain", "level")),
        "b": (22.072, 104.0, "1", ("rain", "level")),
        "c": (22.144, 104.0, "2", ("rain",)),
        "d": (21.000, 104.0, "2", ("rain", "level")),
    }
)
NUMBERS = numbers_of(WORLD)
A_RAIN, A_LEVEL, B_RAIN, B_LEVEL, C_RAIN, D_RAIN, D_LEVEL = (
    f"disaster/{s}" for s in ("a/rain", "a/level", "b/rain", "b/level", "c/rain", "d/rain", "d/level")
)


RAIN = [NUMBERS[s] for s in (A_RAIN, B_RAIN, C_RAIN)]


def fact(rule: str, asset: str | None = None, level: int = 1) -> dict[str, Any]:
    return {"rule": rule, "asset": asset, "level": level}


def joint_rule(rule: str, kind: str, **more: Any) -> dict[str, Any]:
    named = {} if kind == "disagrees" else {"level_name": TEXT}
    return {"id": rule, "kind": kind, "priority": 2, **named, **more}


SINGLE = (
    limit("wet", {1: {"limit": 3}, 2: {"limit": 6}}, series={"quantities": ["rain"]}),
    limit("high", {1: {"limit": 3}, 2: {"limit": 5}, 3: {"limit": 7}}, series={"quantities": ["level"]}),
    {"id": "silent", "kind": "no_data", "priority": 4, "series": {"quantities": ["rain"]}},
)
JOINT = {
    item["id"]: item
    for item in (
        joint_rule(
            "chain",
            "condition",
            asset="disaster/b",
            facts={"near": fact("near", "disaster/b"), "flash": fact("flash", "disaster/a")},
            when="near || flash",
            on_delay="15s",
        ),
        joint_rule("near", "neighbours", of=fact("wet"), k=2, over="40s", within_km=10),
        joint_rule("commune", "neighbours", of=fact("wet", level=2), k=2, over="20s", same="commune"),
        joint_rule(
            "basin",
            "neighbours",
            of=fact("silent"),
            k=2,
            over="20s",
            catchments={"upper": ["a", "b", "c"], "alone": ["d"]},
        ),
        joint_rule(
            "flash",
            "condition",
            asset="disaster/a",
            values={"rain": A_RAIN, "level": A_LEVEL},
            facts={"wet_b": fact("wet", B_RAIN, 2)},
            when="rain > 5.0 && (wet_b || level > 3.0)",
            hold="60s",
            on_delay="10s",
        ),
        joint_rule(
            "either",
            "condition",
            asset="disaster/b",
            values={"level": B_LEVEL},
            facts={"wet": fact("wet", A_RAIN), "silent": fact("silent")},
            when="silent || (wet ? level > 3.0 : level > 6.0)",
        ),
        joint_rule(
            "slide",
            "sequence",
            asset="disaster/a",
            first=fact("wet", A_RAIN),
            then=fact("high", A_LEVEL, 2),
            within="60s",
        ),
        joint_rule(
            "anywhere", "sequence", asset="disaster/d", first=fact("wet"), then=fact("high"), within="30s"
        ),
        joint_rule(
            "wave",
            "travel",
            upstream=fact("high", A_LEVEL, 2),
            downstream=fact("high", D_LEVEL),
            travel=["20s", "60s"],
        ),
        joint_rule(
            "surge",
            "travel",
            upstream=fact("anywhere", "disaster/d"),
            downstream=fact("either", "disaster/b"),
            travel=["0", "40s"],
        ),
        joint_rule(
            "odd",
            "disagrees",
            series={"quantities": ["rain"]},
            within_km=20,
            least=2,
            limit=1.0,
            on_delay="5s",
        ),
    )
}
RULES = rules(*JOINT.values(), *SINGLE)
ORDER = ("near", "commune", "basin", "flash", "chain", "either", "slide", "anywhere", "wave", "surge", "odd")


def both(*parts: Truth) -> Truth:
    return False if False in parts else None if None in parts else True


def any_of(*parts: Truth) -> Truth:
    return True if True in parts else None if None in parts else False


def over(value: float | None, bound: float) -> Truth:
    return None if value is None else value > bound


def _either(env: Mapping[str, Any]) -> Truth:
    low, high = over(env["level"], 3.0), over(env["level"], 6.0)
    chosen = (low if env["wet"] else high) if env["wet"] is not None else low if low is high else None
    return any_of(env["silent"], chosen)


WHEN: dict[str, Callable[[Mapping[str, Any]], Truth]] = {
    "chain": lambda env: any_of(env["near"], env["flash"]),
    "flash": lambda env: both(over(env["rain"], 5.0), any_of(env["wet_b"], over(env["level"], 3.0))),
    "either": _either,
}


@dataclass
class Step:
    """A row, or a deadline, and what came of it; samples as (series number, event time, value, flags)."""

    samples: list[tuple[int, int, float, int]] = field(default_factory=list)
    missed: list[int] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    deadline_us: int | None = None


@dataclass
class Moment:
    """What is fed at once: the rows of one batch, or deadlines."""

    now_us: int
    steps: list[Step]

    @property
    def deadlines(self) -> bool:
        return self.steps[0].deadline_us is not None


def history(random: Random) -> list[Moment]:
    """What may happen: samples in their series' order, and facts as rules on single series might tell them."""
    stands: dict[tuple[str, str], tuple[int, bool]] = {}
    marks = dict.fromkeys(NUMBERS.values(), START)
    places = [("wet", s, 2) for s in (A_RAIN, B_RAIN, C_RAIN, D_RAIN)]
    places += [("high", s, 3) for s in (A_LEVEL, A_LEVEL, B_LEVEL, D_LEVEL)]
    places += [("silent", s, 1) for s in (A_RAIN, B_RAIN, C_RAIN)]
    now_us = clock_us = START

    def told(event_us: int, backlog: bool) -> Change:
        rule, asset, top = random.choice(places)
        level, unknown = stands.get((rule, asset), (0, False))
        new = level
        if level == 0:
            kind, new = ChangeKind.ONSET, random.randint(1, top)
        elif unknown:
            kind = random.choice([ChangeKind.KNOWN, ChangeKind.CLEAR])
        else:
            kinds = [ChangeKind.CLEAR, ChangeKind.CLEAR, ChangeKind.UNKNOWN, ChangeKind.CONFIRMED]
            kinds += [ChangeKind.CORRECTION, ChangeKind.RULE_REMOVED]
            kinds += [ChangeKind.LEVEL_UP] * 2 * (level < top) + [ChangeKind.LEVEL_DOWN] * (level > 1)
            kind = random.choice(kinds)
            new += {ChangeKind.LEVEL_UP: 1, ChangeKind.LEVEL_DOWN: -1}.get(kind, 0)
        if kind in (ChangeKind.CLEAR, ChangeKind.RULE_REMOVED):
            new = 0
        if kind is not ChangeKind.CORRECTION:
            stands[rule, asset] = new, kind is ChangeKind.UNKNOWN
        wait_us = 25 * S if backlog and kind in (ChangeKind.ONSET, ChangeKind.LEVEL_UP) else 0
        return Change(kind, rule, asset, new, 3, 1.0, 2.0, event_us, now_us, backlog, wait_us)

    out = []
    for _ in range(random.randint(1, 14)):
        now_us += random.choice([0, 1, 10, 10, 40]) * S
        steps = []
        if random.random() < 0.2:
            due_us = now_us - 5 * S
            for _ in range(random.randint(1, 3)):
                due_us += random.randint(0, 2) * S
                missed = random.sample(list(NUMBERS.values()), random.randint(0, 2))
                changes = [told(due_us, False) for _ in range(random.randint(0, 2))]
                if steps and steps[-1].deadline_us == due_us:
                    continue
                steps.append(Step(missed=missed, changes=changes, deadline_us=due_us))
        else:
            for _ in range(random.randint(1, 6)):
                number = random.choice([*NUMBERS.values(), *RAIN])
                flags = random.choice([0] * 9 + [Flag.BACKLOG] * 2 + [Flag.BAD, Flag.BAD | Flag.BACKLOG])
                clock_us += random.choice([0, 0, 1, 5, 5, 5, 10] + [70] * (random.random() < 0.1)) * S
                marks[number] = max(marks[number], clock_us - random.choice([0, 0, 0, 5, 45]) * S)
                event_us, value = marks[number], random.choice([2.0, 3.51, 4.0, 5.5, 6.01, 6.01, 7.5])
                if random.random() < 0.1:
                    flags |= random.choice([Flag.LATE, Flag.REVISED, Flag.REPEAT, Flag.FUTURE])
                    event_us -= 10 * S * bool(flags & Flag.LATE)
                samples = [(number, event_us, value, int(flags))]
                if random.random() < 0.1:
                    other = random.choice(list(NUMBERS.values()))
                    marks[other] = max(marks[other], event_us)
                    samples.append((other, marks[other], 4.2, int(flags)))
                changes = []
                if random.random() < 0.6:
                    backlog = bool(flags & Flag.BACKLOG)
                    changes = [told(event_us, backlog) for _ in range(random.randint(1, 2))]
                steps.append(Step(samples, changes=changes))
        out.append(Moment(now_us, steps))
    return out


def samples_of(steps: list[tuple[int, Step]]) -> Samples:
    rows = [(row, *sample) for row, step in steps for sample in step.samples]
    columns = list(zip(*rows, strict=True)) if rows else [()] * 5
    kinds = (np.int64, np.int64, np.int64, np.float64, np.uint16)
    whole = [np.array(c, kind) for c, kind in zip(columns, kinds, strict=True)]
    return Samples(*whole, np.zeros(len(rows), np.uint16))


def feed(stage: Composite, moment: Moment, cuts: tuple[int, ...] = ()) -> list[Change]:
    """Feed one moment in pieces that end at the cuts (and at the end)."""
    size = len(moment.steps)
    said = []
    for begin, end in itertools.pairwise([0, *sorted({cut % (size + 1) for cut in cuts}), size]):
        steps = list(enumerate(moment.steps[begin:end]))
        if moment.deadlines:
            steps = [(step.deadline_us or 0, step) for _, step in steps]
        # The order among the changes of one row is the engine's: by rule and series.
        changes: list[Found] = [
            (row, i, 0, change) for row, step in steps for i, change in enumerate(step.changes)
        ]
        if moment.deadlines:
            silent = [(n, row) for row, step in steps for n in step.missed]
            columns = [np.array([s[i] for s in silent], np.int64) for i in (0, 1)]
            found = stage.feed_deadlines(changes[::-1], columns[0], columns[1], moment.now_us)
        else:
            found = stage.feed(changes[::-1], samples_of(steps), moment.now_us)
        known = {row for row, _ in steps}
        assert all(row in known for row, *_ in found)
        said += [change for *_, change in found]
    return said


def new_composite() -> Composite:
    return Composite(WORLD, RULES, NUMBERS)


def compare(moments: list[Moment], cuts: tuple[int, ...] = ()) -> list[Change]:
    """Stage and oracle say the same of every moment; returns what they said."""
    stage = new_composite()
    oracle = CompositeOracle(WORLD, RULES, NUMBERS, ORDER, WHEN)
    said: list[Change] = []
    for moment in moments:
        expected = []
        for step in moment.steps:
            at = 0 if step.deadline_us is None else step.deadline_us
            told = oracle.step(at, step.samples, step.missed, step.changes, moment.now_us)
            expected += [change for _, change in told]
        assert feed(stage, moment, cuts) == expected
        said += expected
    return said


RANDOMS = st.randoms(use_true_random=False)
CUTS = st.lists(st.integers(0, 8), max_size=3).map(tuple)
MANY = settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))


@MANY
@given(RANDOMS, CUTS)
def test_it_says_what_the_slow_way_says_however_rows_are_cut(random: Random, cuts: tuple[int, ...]) -> None:
    compare(history(random), cuts)


def test_the_histories_bring_about_every_kind_of_change_of_every_rule() -> None:
    said = {(c.rule, c.kind) for seed in range(100) for c in compare(history(Random(seed)))}
    usual = {ChangeKind.ONSET, ChangeKind.CLEAR, ChangeKind.UNKNOWN, ChangeKind.KNOWN, ChangeKind.CONFIRMED}
    assert {(rule, kind) for rule in ORDER for kind in usual} <= said


@MANY
@given(RANDOMS, CUTS)
def test_cuts_never_change_the_state(random: Random, cuts: tuple[int, ...]) -> None:
    whole, cut = new_composite(), new_composite()
    for moment in history(random):
        feed(whole, moment)
        feed(cut, moment, cuts)
        assert pack_state(whole.state()) == pack_state(cut.state())


@MANY
@given(RANDOMS, st.integers(0, 12))
def test_a_restart_at_any_place_is_exact(random: Random, at: int) -> None:
    moments = history(random)
    through, restarted = new_composite(), new_composite()
    for i, moment in enumerate(moments):
        if i == at:
            state = unpack_state(pack_state(restarted.state()))
            restarted = new_composite()
            feed(restarted, moments[0])  # whatever it held before is gone
            restarted.restore(state)
            assert pack_state(restarted.state()) == pack_state(state)
        assert feed(through, moment) == feed(restarted, moment)
    assert pack_state(through.state()) == pack_state(restarted.state())


@MANY
@given(RANDOMS, st.integers(0, 12))
def test_the_same_pack_loaded_again_changes_nothing(random: Random, at: int) -> None:
    through, reloaded = new_composite(), new_composite()
    for i, moment in enumerate(history(random)):
        if i == at:
            assert reloaded.rebuild(WORLD, RULES, NUMBERS, moment.now_us) == []
        assert feed(through, moment) == feed(reloaded, moment)
        assert pack_state(through.state()) == pack_state(reloaded.state())


@MANY
@given(RANDOMS, st.sampled_from(ORDER))
def test_what_one_rule_says_does_not_depend_on_rules_it_has_nothing_to_do_with(
    random: Random, rule: str
) -> None:
    asked = {rule}
    for other in reversed(ORDER):
        if other in asked:
            asked |= {f.rule for _, f in joint.facts_of(RULES[other])}  # type: ignore[arg-type]
    alone = {name: r for name, r in RULES.items() if name in asked}
    whole, part = new_composite(), Composite(WORLD, alone, NUMBERS)
    for moment in history(random):
        said = [c for c in feed(whole, moment) if c.rule in asked]
        assert feed(part, moment) == said


def breaks(monkeypatch: pytest.MonkeyPatch, target: Any, name: str, bug: Any) -> None:
    """With this bug planted, the comparison with the slow way fails within a few hundred histories."""
    monkeypatch.setattr(target, name, bug)
    histories = (history(Random(seed)) for seed in range(400))
    with pytest.raises(AssertionError):
        any(compare(moments) is None for moments in histories)


def test_the_net_catches_neighbours_that_count_however_old_their_samples_are(monkeypatch: Any) -> None:
    good = World.good
    breaks(monkeypatch, World, "good", lambda self, number, since_us: good(self, number, NO_TIME))


def test_the_net_catches_neighbours_that_are_unknown_and_counted_out(monkeypatch: Any) -> None:
    def verdicts(self: Neighbours, world: Any, cause: Any) -> Any:
        for truth, value in sound(self, world, cause):
            yield truth is True, value

    sound = Neighbours.verdicts
    breaks(monkeypatch, Neighbours, "verdicts", verdicts)


def test_the_net_catches_a_condition_that_takes_unknown_for_false(monkeypatch: Any) -> None:
    sound = Logic.truth
    breaks(monkeypatch, Logic, "truth", lambda self, known, facts: sound(self, known, facts) is True)


def test_the_net_catches_a_condition_that_does_not_try_unknown_facts_both_ways(monkeypatch: Any) -> None:
    sound = Logic.truth
    breaks(monkeypatch, Logic, "truth", lambda self, known, facts: sound(self, known))


def test_the_net_catches_a_sequence_that_a_first_fact_does_not_start_anew(monkeypatch: Any) -> None:
    def begins(self: Sequence, part: str, event_us: int) -> None:
        if part == "then" or self.first_us == NO_TIME:
            sound(self, part, event_us)

    sound = Sequence.begins
    breaks(monkeypatch, Sequence, "begins", begins)


def test_the_net_catches_a_wave_that_ends_because_its_gauge_is_silent(monkeypatch: Any) -> None:
    sound = Travel._now
    breaks(monkeypatch, Travel, "_now", lambda self, world: sound(self, world) is True)


def test_the_net_catches_neighbours_that_are_compared_across_time(monkeypatch: Any) -> None:
    def verdicts(self: Disagrees, world: Any, cause: Any) -> Any:
        self.others = dict.fromkeys(self.others, 1 << 60)
        return sound(self, world, cause)

    sound = Disagrees.verdicts
    breaks(monkeypatch, Disagrees, "verdicts", verdicts)


def test_the_net_catches_rules_that_are_judged_before_those_they_ask(monkeypatch: Any) -> None:
    in_pack_order = [rule.id for rule in RULES.values() if rule.id in ORDER]
    breaks(monkeypatch, composite, "order_of", lambda rules: in_pack_order)


def test_the_net_catches_a_delay_that_goes_on_over_a_gap(monkeypatch: Any) -> None:
    def step(self: Case, truth: Any, time_us: int, backlog: bool) -> Any:
        self.max_gap_us = 0
        return sound(self, truth, time_us, backlog)

    sound = Case._step
    breaks(monkeypatch, Case, "_step", step)


class Desk:
    """One joint rule beside the single ones, spoken to in seconds."""

    def __init__(self, *items: dict[str, Any], registry: Registry = WORLD) -> None:
        self.registry = registry
        self.rules = rules(*items, *SINGLE)
        self.stage = Composite(registry, self.rules, numbers_of(registry))

    def row(self, at_s: float, series: str, value: float, flags: int = 0) -> list[str]:
        """One sample."""
        number = numbers_of(self.registry)[series]
        step = Step([(number, START + round(at_s * S), value, flags)])
        return self._brief(self.stage.feed([], samples_of([(0, step)]), START + round(at_s * S)))

    def say(self, at_s: float, kind: str, rule: str, asset: str, level: int = 1) -> list[str]:
        """One change of another rule."""
        at_us = START + round(at_s * S)
        change = Change(ChangeKind(kind), rule, asset, level, 3, 1.0, 2.0, at_us, at_us)
        return self._brief(self.stage.feed([(0, 0, 0, change)], None, at_us))

    def miss(self, at_s: float, series: str) -> list[str]:
        """A series falls silent."""
        at_us = START + round(at_s * S)
        number = np.array([numbers_of(self.registry)[series]])
        return self._brief(self.stage.feed_deadlines([], number, np.array([at_us]), at_us))

    def load(self, *items: dict[str, Any]) -> list[str]:
        """Another pack."""
        self.rules = rules(*items, *SINGLE)
        return self._brief(self.stage.rebuild(self.registry, self.rules, numbers_of(self.registry), START))

    def _brief(self, found: list[Found]) -> list[str]:
        self.last = found[-1][3] if found else None
        return [str(change.kind) for *_, change in found]


FLASH, NEAR, SLIDE, WAVE = (JOINT[name] for name in ("flash", "near", "slide", "wave"))
LONELY = joint_rule(
    "lonely", "condition", asset=A_RAIN, values={"rain": A_RAIN}, when="rain > 5.0", on_delay="30s"
)


def test_two_of_three_neighbours_raise_it_about_the_station_in_the_middle_and_show_how_many() -> None:
    d = Desk(NEAR)
    for series in (A_RAIN, B_RAIN, C_RAIN):
        d.row(0, series, 4)
    assert d.say(0, "onset", "wet", A_RAIN) == []
    assert d.say(1, "onset", "wet", C_RAIN) == ["onset"]
    assert d.last is not None
    assert (d.last.asset, d.last.value, d.last.limit, d.last.priority) == ("disaster/b", 2.0, 2.0, 2)


def test_a_gauge_that_never_spoke_does_not_keep_neighbours_from_clearing() -> None:
    d = Desk(NEAR)
    for series in (A_RAIN, B_RAIN):
        d.row(0, series, 4)
        d.say(0, "onset", "wet", series)
    # Around a, and around b, to which c belongs, too.
    assert d.say(10, "clear", "wet", B_RAIN, 0) == ["clear", "clear"]


def test_a_neighbour_that_falls_silent_turns_the_alarm_unknown() -> None:
    d = Desk({**NEAR, "within_km": 20})
    for series in (A_RAIN, B_RAIN):
        d.row(0, series, 4)
        d.say(0, "onset", "wet", series)
    assert d.say(30, "unknown", "wet", A_RAIN) == ["unknown"] * 3
    assert d.row(35, B_RAIN, 4) == []
    assert d.say(50, "known", "wet", A_RAIN) == ["known"] * 3
    # The sample of the one is now older than `over` beside that of the other.
    assert d.row(80, B_RAIN, 4) == ["unknown"] * 3


def test_a_condition_is_unknown_while_a_series_it_needs_is_silent_and_known_again_by_a_sample() -> None:
    d = Desk({**LONELY, "on_delay": "0"})
    assert d.row(0, A_RAIN, 6) == ["onset"]
    assert d.last is not None
    assert (d.last.value, d.last.asset, d.last.level) == (6.0, A_RAIN, 1)
    assert d.miss(30, A_RAIN) == ["unknown"]
    assert d.row(31, A_RAIN, 6) == ["known"]
    assert d.row(41, A_RAIN, 6, Flag.BAD) == ["unknown"]
    assert d.row(51, A_RAIN, 1) == ["clear"]


def test_an_old_spike_in_the_backlog_never_satisfies_a_delay() -> None:
    d = Desk(LONELY)
    assert d.row(0, A_RAIN, 6, Flag.BACKLOG) == []
    assert d.row(3600, A_RAIN, 6) == []
    assert d.row(3620, A_RAIN, 6) == []
    assert d.row(3630, A_RAIN, 6) == ["onset"]


def test_what_backlog_raised_is_confirmed_by_the_first_fresh_sample_that_leaves_it_active() -> None:
    d = Desk({**LONELY, "on_delay": "0"})
    assert d.row(0, A_RAIN, 6, Flag.BACKLOG) == ["onset"]
    assert d.last is not None
    assert (d.last.backlog, d.last.confirm_within_us) == (True, 30 * S)
    assert d.row(10, A_RAIN, 6, Flag.BACKLOG) == []
    assert d.row(20, A_RAIN, 6) == ["confirmed"]
    assert d.row(30, A_RAIN, 6) == []


@pytest.mark.parametrize(
    "flags",
    [Flag.LATE, Flag.REVISED, Flag.TOO_LATE, Flag.REPEAT, Flag.CONFLICT, Flag.FUTURE, Flag.LAST_KNOWN],
)
def test_what_is_not_in_its_series_order_moves_nothing(flags: int) -> None:
    d = Desk({**LONELY, "on_delay": "0"})
    d.row(0, A_RAIN, 1)
    before = pack_state(d.stage.state())
    assert d.row(0, A_RAIN, 6, int(flags)) == []
    assert pack_state(d.stage.state()) == before


def test_a_second_fact_alone_and_a_sequence_too_slow_leave_the_rule_ready_for_the_next() -> None:
    d = Desk(SLIDE)
    assert d.say(0, "onset", "high", A_LEVEL, 2) == []
    d.say(5, "clear", "high", A_LEVEL, 0)
    d.say(10, "onset", "wet", A_RAIN)
    assert d.say(71, "onset", "high", A_LEVEL, 2) == []
    d.say(80, "clear", "wet", A_RAIN, 0)
    d.say(90, "onset", "wet", A_RAIN)
    d.say(95, "clear", "high", A_LEVEL, 0)
    assert d.say(150, "onset", "high", A_LEVEL, 2) == ["onset"]
    assert d.last is not None
    assert (d.last.value, d.last.limit) == (60.0, 60.0)
    assert d.say(160, "level_down", "high", A_LEVEL, 1) == ["clear"]


def test_a_sequence_goes_by_event_time_whichever_fact_is_heard_first() -> None:
    d = Desk(SLIDE)
    assert d.say(30, "onset", "high", A_LEVEL, 2) == []
    assert d.say(10, "onset", "wet", A_RAIN) == ["onset"]


def test_one_first_fact_leads_to_one_alarm() -> None:
    d = Desk(SLIDE)
    d.say(0, "onset", "wet", A_RAIN)
    assert d.say(5, "onset", "high", A_LEVEL, 2) == ["onset"]
    assert d.say(6, "clear", "high", A_LEVEL, 0) == ["clear"]
    assert d.say(7, "onset", "high", A_LEVEL, 2) == []


def test_a_wave_is_announced_downstream_with_its_times_and_ends_when_it_comes() -> None:
    d = Desk({**WAVE, "travel": ["1h 10min", "2h"]})
    d.row(0, D_LEVEL, 1)
    assert d.say(0, "onset", "high", A_LEVEL, 2) == ["onset"]
    assert d.last is not None
    assert (d.last.asset, d.last.detail) == (D_LEVEL, "2023-11-14T23:23Z/2023-11-15T00:13Z")
    assert d.say(100, "clear", "high", A_LEVEL, 0) == []
    assert d.say(3600, "onset", "high", D_LEVEL) == ["clear"]
    assert (d.last.value, d.last.limit) == (3600.0, 7200.0)


def test_a_wave_that_never_came_ends_by_a_sample_behind_the_latest_time() -> None:
    d = Desk(WAVE)
    d.row(0, D_LEVEL, 1)
    assert d.say(0, "onset", "high", A_LEVEL, 2) == ["onset"]
    assert d.row(60, D_LEVEL, 1) == []
    assert d.row(61, D_LEVEL, 1) == ["clear"]


def test_a_wave_whose_station_fell_silent_is_unknown_and_ends_only_once_it_speaks() -> None:
    d = Desk(WAVE)
    d.row(0, D_LEVEL, 1)
    d.say(0, "onset", "high", A_LEVEL, 2)
    assert d.miss(30, D_LEVEL) == ["unknown"]
    assert d.miss(3000, D_LEVEL) == []
    assert d.row(3001, D_LEVEL, 1) == ["clear"]


def test_a_wave_is_announced_at_a_silent_gauge_too() -> None:
    assert Desk(WAVE).say(0, "onset", "high", A_LEVEL, 2) == ["onset", "unknown"]


def test_another_wave_is_another_occurrence_with_times_of_its_own() -> None:
    d = Desk(WAVE)
    d.row(0, D_LEVEL, 1)
    d.say(0, "onset", "high", A_LEVEL, 2)
    d.say(30, "clear", "high", A_LEVEL, 0)
    assert d.say(40, "onset", "high", A_LEVEL, 2) == ["clear", "onset"]
    assert d.row(61, D_LEVEL, 1) == []


def test_a_series_that_differs_from_the_median_shows_by_how_much_in_exact_decimals() -> None:
    d = Desk({**JOINT["odd"], "limit": 0.7, "on_delay": "0"})
    d.row(0, A_RAIN, 0.1)
    d.row(0, B_RAIN, 0.2)
    assert 0.85 - 0.15 > 0.7 - 1e-16
    assert d.row(1, C_RAIN, 0.85) == []
    assert d.row(2, C_RAIN, 0.86) == ["onset"]
    assert d.last is not None
    assert (d.last.asset, d.last.value, d.last.limit) == (C_RAIN, 0.71, 0.7)
    # Neighbours too old to compare with.
    assert d.row(32, C_RAIN, 0.86) == ["unknown"]


def test_an_edited_rule_stays_on_until_its_next_input_and_a_vanished_one_is_told() -> None:
    d = Desk({**LONELY, "on_delay": "0"})
    d.row(0, A_RAIN, 6)
    assert d.load({**LONELY, "when": "rain > 7.0"}) == []
    assert d.row(10, A_RAIN, 6) == ["clear"]
    d.load({**LONELY, "on_delay": "0"})
    d.row(20, A_RAIN, 6)
    assert d.load() == ["rule_removed"]
    assert d.last is not None
    assert (d.last.rule, d.last.asset, d.last.value, d.last.level) == ("lonely", A_RAIN, 6.0, 0)


def test_an_edited_rule_begins_its_delay_anew() -> None:
    d = Desk(LONELY)
    d.row(0, A_RAIN, 6)
    d.row(20, A_RAIN, 6)
    d.load({**LONELY, "when": "rain > 5.5"})
    assert d.row(35, A_RAIN, 6) == []


def test_a_sequence_of_other_facts_is_another_rule() -> None:
    d = Desk(SLIDE)
    d.say(0, "onset", "wet", A_RAIN)
    d.say(5, "onset", "high", A_LEVEL, 2)
    assert d.load({**SLIDE, "within": "30s"}) == []
    assert d.load({**SLIDE, "then": fact("high", B_LEVEL)}) == ["rule_removed"]


def test_a_disabled_rule_is_not_judged() -> None:
    d = Desk({**LONELY, "enabled": False})
    assert d.row(0, A_RAIN, 6) == []
    assert not d.stage.wanted.any()


def test_only_the_values_that_rules_name_are_wanted() -> None:
    d = Desk(WAVE, NEAR)
    wanted = [series for series, number in NUMBERS.items() if d.stage.wanted[number]]
    assert sorted(wanted) == sorted([D_LEVEL, A_RAIN, B_RAIN, C_RAIN])


@pytest.mark.parametrize(
    ("when", "known", "facts", "says"),
    [
        ("f && a > 1.0", {"a": 0.0}, ["f"], False),
        ("a > 1.0 && f", {"f": False}, [], False),
        ("f || a > 1.0", {"f": True}, [], True),
        ("f || a > 1.0", {"a": 0.0}, ["f"], None),
        ("!f", {}, ["f"], None),
        ("f || !f", {}, ["f"], True),
        ("f ? a > 4.0 : a > 6.0", {"a": 7.0}, ["f"], True),
        ("f ? a > 4.0 : a > 6.0", {"a": 5.0}, ["f"], None),
        ("f ? a > 4.0 : a > 6.0", {"a": 3.0}, ["f"], False),
        ("a / b > 1.0", {"a": 1.0, "b": 2.0}, [], False),
        ("int(a) / 0 > 1", {"a": 1.0}, [], None),
        ("f && g || h", {"h": False, "g": False}, ["f"], False),
    ],
)
def test_a_condition_is_true_false_or_unknown(
    when: str, known: dict[str, float | bool], facts: list[str], says: bool | None
) -> None:
    assert Logic(when).truth(known, facts) is says


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(-80, 80), st.floats(-180, 180)), min_size=2, max_size=8), st.floats(1, 200)
)
def test_near_is_what_the_great_circle_says(places: list[tuple[float, float]], km: float) -> None:
    stations = list(
        world({f"s{i}": (lat, lon, "1", ()) for i, (lat, lon) in enumerate(places)}).stations.values()
    )
    found = near(stations, km)
    for a, b in itertools.product(stations, stations):
        away = haversine_km(a, b)
        # Beyond 60° of latitude a plane is not what the docstring promises.
        if max(abs(a.lat), abs(b.lat)) < 60 and abs(away - km) > 0.001 * km:
            assert (b.id in found[a.id]) == (away <= km or a is b)


def test_near_goes_over_the_antimeridian() -> None:
    stations = list(world({"a": (0, 179.99, "1", ()), "b": (0, -179.99, "1", ())}).stations.values())
    assert near(stations, 3)["a"] == ("a", "b")
    assert near(stations, 2)["a"] == ("a",)


def test_rules_in_a_circle_are_refused() -> None:
    one = joint_rule("one", "condition", asset=A_RAIN, facts={"x": fact("two", A_RAIN)}, when="x")
    two = joint_rule("two", "condition", asset=A_RAIN, facts={"x": fact("one", A_RAIN)}, when="x")
    pack = rules(LONELY, one, two, *SINGLE)
    with pytest.raises(ValueError, match="one → two → one"):
        order_of(pack)
    with pytest.raises(ValueError, match="one → two → one"):
        Composite(WORLD, pack, NUMBERS)
    ((rule, path, sentence),) = faults(pack, WORLD)
    assert (rule, path) == ("one", ()) and "one → two → one" in sentence


def test_rules_come_after_those_they_ask_and_else_as_in_the_pack() -> None:
    assert order_of(RULES)[:3] == ["near", "commune", "basin"]
    assert order_of(RULES).index("chain") > order_of(RULES).index("flash")
    assert set(order_of(RULES)) == set(ORDER)


def test_sound_rules_have_no_faults() -> None:
    assert faults(RULES, WORLD) == []


def edited(rule: str, **more: Any) -> dict[str, Any]:
    return {**JOINT[rule], **more}


@pytest.mark.parametrize(
    ("rule", "path", "part"),
    [
        (
            edited("flash", values={"rain": "disaster/a/snow", "level": A_LEVEL}),
            ("values", "rain"),
            "no series",
        ),
        (edited("flash", asset="disaster/nowhere"), ("asset",), "neither a series"),
        (edited("flash", when="rain > && level"), ("when",), "Failed to parse"),
        (edited("flash", when="rain > 5.0 && wet_b && level > 3.0 && x > 1"), ("when",), "names 'x'"),
        (
            edited("flash", when="pow(rain, 2.0) > 5.0 && (wet_b || level > 3.0)"),
            ("when",),
            "no function 'pow'",
        ),
        (edited("flash", when="rain + 1 > level && wet_b"), ("when",), "2.0, not 2"),
        (edited("flash", when="wet_b ? rain : level"), ("when",), "not true or false"),
        (edited("flash", when="rain > 5.0 && wet_b"), ("values", "level"), "not used"),
        (edited("flash", facts={"wet_b": fact("dry", B_RAIN)}), ("facts", "wet_b", "rule"), "no rule 'dry'"),
        (edited("flash", facts={"wet_b": fact("wet", B_RAIN, 3)}), ("facts", "wet_b", "level"), "[1, 2]"),
        (edited("flash", facts={"wet_b": fact("wet", B_LEVEL)}), ("facts", "wet_b", "asset"), "never speaks"),
        (edited("near", k=4), ("k",), "no group"),
        (edited("near", of=fact("wet", A_RAIN)), ("of", "asset"), "leave the asset out"),
        (edited("basin", catchments={"up": ["a", "b", "x"]}), ("catchments", "up", 2), "no station 'x'"),
        (edited("basin", catchments={"a": ["a", "b"]}), ("catchments", "a"), "is a station already"),
        (edited("odd", within_km=1), ("within_km",), "no series selected"),
        (edited("slide", asset="a"), ("asset",), "neither a series"),
        (edited("wave", downstream=fact("high", C_RAIN)), ("downstream", "asset"), "never speaks"),
    ],
)
def test_each_fault_is_named_with_its_path(
    rule: dict[str, Any], path: tuple[str | int, ...], part: str
) -> None:
    found = faults(rules(rule, *SINGLE), WORLD)
    assert [where for _, where, _ in found] == [path]
    assert found[0][0] == rule["id"] and part in found[0][2]


def test_a_rule_that_asks_a_disabled_one_is_a_fault() -> None:
    off = {**SINGLE[0], "enabled": False}
    ((rule, path, _),) = faults(rules(NEAR, off), WORLD)
    assert (rule, path) == ("near", ("of", "rule"))
    assert faults(rules({**NEAR, "enabled": False}, off), WORLD) == []


def test_a_doubtful_exceedance_is_no_fact_until_it_is_certain() -> None:
    """A spike at one gauge must not announce a wave at the next."""

    composite = Composite(WORLD, RULES, NUMBERS)
    travel = next(rule for rule in RULES.values() if isinstance(rule, TravelRule))
    assert travel.upstream.asset is not None
    onset = Change(
        ChangeKind.ONSET, travel.upstream.rule, travel.upstream.asset, travel.upstream.level, 3, 9.0, 1.0, START, START,
        detail="doubtful: spike",
    )  # fmt: skip
    assert composite.feed([(0, 0, 0, onset)], None, START) == []
    certain = replace(onset, kind=ChangeKind.LEVEL_UP, detail="again: spike", priority=2)
    said = composite.feed([(0, 0, 0, certain)], None, START + 1)
    assert travel.id in {change.rule for *_, change in said}
