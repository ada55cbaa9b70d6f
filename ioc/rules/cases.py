"""One rule over several stations on one asset: what it asks for, and what it makes of it.

A `Case` holds the state of its rule there; the kinds differ in `verdicts`, three-valued, and in when a fact begins
something of theirs. `composite` says which cases a sample or a fact concerns, and when each is judged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import numpy as np

from ioc.model.change import Change, ChangeKind
from ioc.registry import Registry
from ioc.rules.derive.base import from_ticks, ticks
from ioc.rules.joint import beside, groups_of, witnesses
from ioc.rules.kernels import NO_TIME
from ioc.rules.logic import Logic
from ioc.rules.spec import (
    ConditionRule,
    DisagreesRule,
    Fact,
    JointRule,
    LimitRule,
    NeighboursRule,
    Rule,
    SequenceRule,
    TravelRule,
)

Verdict = tuple[bool | None, float | None]
"""(true, false or unknown; the value shown, None for that of the last change)."""
SAMPLE_BAD: Final = 1
SILENT: Final = 2


@dataclass(slots=True)
class Heard:
    """The last sample in order of one series: its event time, the last good value, and what there is to doubt."""

    last_us: int
    value: float
    doubt: int


@dataclass(slots=True)
class Told:
    """What a rule last said of an asset, while it is active there."""

    level: int
    unknown: bool


class World:
    """What the rules here are told of."""

    def __init__(self) -> None:
        self.heard: dict[int, Heard] = {}
        """By series number."""
        self.told: dict[str, dict[str, Told]] = {}
        """By rule and asset."""

    def holds(self, fact: Fact) -> bool | None:
        """Whether a fact holds: of its asset, or of any. Of what is unknown, no level is known."""
        told = self.told.get(fact.rule)
        if not told:
            return False
        if fact.asset is not None:
            one = told.get(fact.asset)
            if one is None:
                return False
            return None if one.unknown else one.level >= fact.level
        if any(t.level >= fact.level and not t.unknown for t in told.values()):
            return True
        return None if any(t.unknown for t in told.values()) else False

    def stands(self, fact: Fact) -> bool:
        """Whether a fact began and has not ended, be it known at present or not."""
        told = self.told.get(fact.rule, {})
        where = told.values() if fact.asset is None else [t for a, t in told.items() if a == fact.asset]
        return any(t.level >= fact.level for t in where)

    def good(self, number: int, since_us: int) -> Heard | None:
        """The last sample of a series, if nothing is to be doubted and it is not older than this."""
        heard = self.heard.get(number)
        return heard if heard is not None and not heard.doubt and heard.last_us >= since_us else None

    def newest_us(self, numbers: tuple[int, ...]) -> int:
        """The highest event time among these series; NO_TIME if none has been heard."""
        return max((self.heard[n].last_us for n in numbers if n in self.heard), default=NO_TIME)


@dataclass(frozen=True, slots=True)
class Cause:
    """What decides: the last input of a step that concerns a case."""

    event_us: int
    backlog: bool
    wait_us: int
    """How long what backlog raised is to wait for a fresh sample."""
    now_us: int


@dataclass(slots=True)
class Case:
    """One rule on one asset. A subclass says what its inputs are and what it makes of them."""

    rule: JointRule
    order: int
    """The rule's place in the pack."""
    place: int
    """The asset's place in the rule."""
    asset: str
    limit: float
    on_delay_us: int = 0
    max_gap_us: int = 0
    """A delay begins anew after a gap longer than this, if it is not 0."""
    numbers: tuple[int, ...] = ()
    """The series by whose samples it judges."""
    looks_at: tuple[int, ...] = ()
    """Others whose last samples it needs."""
    on: bool = False
    unknown: bool = False
    unconfirmed: bool = False
    since_us: int = NO_TIME
    """When the on-delay began that runs; NO_TIME if none."""
    last_us: int = 0
    """The event time up to which that delay has run; 0 if none."""
    shown: float = 0.0
    """The value of the last change while on; 0 otherwise."""

    def facts(self) -> Iterator[tuple[str, Fact]]:
        """The facts it is told of, by their part in the rule."""
        return iter(())

    def begins(self, part: str, event_us: int) -> None:
        """One of its facts begins."""

    def verdicts(self, world: World, cause: Cause) -> Iterator[Verdict]:
        """What it says now; each is acted on before the next is asked for. None at all where nothing can change."""
        raise NotImplementedError

    def time_us(self, world: World, cause: Cause) -> int:
        """The event time by which its delay runs: what its series have reached, whichever was heard last."""
        newest_us = world.newest_us(self.numbers)
        return cause.event_us if newest_us == NO_TIME else newest_us

    def detail(self) -> str:
        """What its changes say besides."""
        return ""

    def parts(self) -> tuple[int, int]:
        """Two times of its own, for the state; NO_TIME at rest."""
        return NO_TIME, NO_TIME

    def put_parts(self, first_us: int, second_us: int) -> None:
        """Back to what `parts` gave."""

    def same(self, other: Case) -> bool:
        """Whether this is the same rule, maybe edited, so that what it is goes on: what would end the one ends the
        other."""
        return type(self) is type(other)

    def at_rest(self) -> bool:
        """Whether nothing is to be kept."""
        return not self.on and self.since_us == NO_TIME and self.parts() == (NO_TIME, NO_TIME)

    def judge(self, world: World, cause: Cause) -> Iterator[Change]:
        """Act on what it says now."""
        for truth, value in self.verdicts(world, cause):
            for kind in self._step(truth, self.time_us(world, cause), cause.backlog):
                shown = self.shown if value is None else value
                yield self.change(kind, shown, cause)
                self.shown = shown if self.on else 0.0

    def _step(self, truth: bool | None, time_us: int, backlog: bool) -> Iterator[ChangeKind]:
        waited_us, self.since_us = self.since_us, NO_TIME
        ran_us, self.last_us = self.last_us, 0
        if truth is None:
            if self.on and not self.unknown:
                self.unknown = True
                yield ChangeKind.UNKNOWN
        elif not truth:
            if self.on:
                self.on = self.unknown = self.unconfirmed = False
                yield ChangeKind.CLEAR
        elif self.on:
            if self.unknown:
                self.unknown = False
                yield ChangeKind.KNOWN
            if self.unconfirmed and not backlog:
                self.unconfirmed = False
                yield ChangeKind.CONFIRMED
        else:
            if waited_us == NO_TIME or (self.max_gap_us and time_us - ran_us > self.max_gap_us):
                waited_us = time_us
            if time_us - waited_us >= self.on_delay_us:
                self.on, self.unconfirmed = True, backlog
                yield ChangeKind.ONSET
            else:
                self.since_us, self.last_us = waited_us, time_us

    def change(self, kind: ChangeKind, value: float, cause: Cause) -> Change:
        """A change of this case."""
        return Change(
            kind,
            self.rule.id,
            self.asset,
            0 if kind in (ChangeKind.CLEAR, ChangeKind.RULE_REMOVED) else 1,
            self.rule.priority,
            value,
            self.limit,
            cause.event_us,
            cause.now_us,
            cause.backlog,
            cause.wait_us if cause.backlog and kind is ChangeKind.ONSET else 0,
            self.detail(),
        )


@dataclass(slots=True)
class Neighbours(Case):
    """k of n. Shows how many count, against k.

    A member counts while its fact holds by a sample within `over` of the newest of all members. One whose fact began
    and is unknown, or whose sample is older, may count or not. One that is silent and was not active does not hold
    the alarm open: of n gauges some are always broken.
    """

    of: Fact = field(kw_only=True)
    over_us: int = field(kw_only=True)
    k: int = field(kw_only=True)
    members: dict[str, int] = field(kw_only=True)
    """Series number by asset, −1 for what is no series."""

    def facts(self) -> Iterator[tuple[str, Fact]]:
        for asset in self.members:
            yield "of", Fact(rule=self.of.rule, asset=asset, level=self.of.level)

    def verdicts(self, world: World, cause: Cause) -> Iterator[Verdict]:
        told = world.told.get(self.of.rule)
        if not told and not self.on:
            return
        since_us = world.newest_us(self.numbers) - self.over_us
        count = doubtful = 0
        for asset, one in (told or {}).items():
            number = self.members.get(asset)
            if number is None or (one.level < self.of.level and not one.unknown):
                continue
            if one.unknown or (number >= 0 and world.good(number, since_us) is None):
                doubtful += 1
            else:
                count += 1
        truth = True if count >= self.k else None if count + doubtful >= self.k else False
        yield truth, float(count)


@dataclass(slots=True)
class Condition(Case):
    """CEL over values and facts. Shows the first value it names, without one how many of its facts hold."""

    logic: Logic = field(kw_only=True)
    values: dict[str, tuple[int, int]] = field(kw_only=True)
    """By name: the series number and how long a sample is good for."""
    asked: dict[str, tuple[Fact, int, int]] = field(kw_only=True)
    """By name: the fact, and the same of the series that a limit rule judges there; −1 for what is no series."""

    def facts(self) -> Iterator[tuple[str, Fact]]:
        for name, (fact, _, _) in self.asked.items():
            yield name, fact

    def verdicts(self, world: World, cause: Cause) -> Iterator[Verdict]:
        newest_us = world.newest_us(self.numbers)
        known: dict[str, float | bool] = {}
        unknown_facts: list[str] = []
        for name, (number, hold_us) in self.values.items():
            heard = world.good(number, newest_us - hold_us)
            if heard is not None:
                known[name] = heard.value
        for name, (fact, number, hold_us) in self.asked.items():
            holds = world.holds(fact)
            # A limit rule tells of silence only what is active; that nothing is over a limit needs a sample, too.
            if holds is None or (number >= 0 and world.good(number, newest_us - hold_us) is None):
                unknown_facts.append(name)
            else:
                known[name] = holds
        yield self.logic.truth(known, unknown_facts), self._value(world)

    def _value(self, world: World) -> float:
        for number, _ in self.values.values():
            heard = world.heard.get(number)
            return heard.value if heard is not None else 0.0
        return float(sum(world.holds(fact) is True for fact, _, _ in self.asked.values()))


@dataclass(slots=True)
class Sequence(Case):
    """A then B within T of event time, whichever is heard first. Shows the seconds between them, against T.

    Raised when B stands and began at most T after A last began; that A is used up then. Ends with B.
    """

    first: Fact = field(kw_only=True)
    then: Fact = field(kw_only=True)
    within_us: int = field(kw_only=True)
    first_us: int = NO_TIME
    """When A last began; NO_TIME once a B came of it."""
    then_us: int = NO_TIME
    """When B last began; NO_TIME where it does not stand."""

    def facts(self) -> Iterator[tuple[str, Fact]]:
        yield "first", self.first
        yield "then", self.then

    def begins(self, part: str, event_us: int) -> None:
        if part == "first":
            self.first_us = event_us
        else:
            self.then_us = event_us

    def verdicts(self, world: World, cause: Cause) -> Iterator[Verdict]:
        if not world.stands(self.then):
            self.then_us = NO_TIME
            if self.on:
                yield False, None
            return
        truth = world.holds(self.then)
        if self.on:
            yield truth, None
        elif truth and NO_TIME not in (self.first_us, self.then_us):
            between_us = self.then_us - self.first_us
            if 0 <= between_us <= self.within_us:
                self.first_us = NO_TIME
                yield True, between_us / 1e6

    def parts(self) -> tuple[int, int]:
        return self.first_us, self.then_us

    def put_parts(self, first_us: int, second_us: int) -> None:
        self.first_us, self.then_us = first_us, second_us

    def same(self, other: Case) -> bool:
        return isinstance(other, Sequence) and (self.first, self.then) == (other.first, other.then)


@dataclass(slots=True)
class Travel(Case):
    """A wave on its way. Shows the seconds since it was upstream, against the latest; `detail` says when it is due.

    The fact upstream raises it, whatever is known of the place downstream: a gauge that is silent there is no reason
    not to warn. It ends when the fact downstream stands, or by a good sample there behind the latest time; it is
    unknown while nothing good comes from there. Another wave before that is another occurrence with times of its own.
    """

    upstream: Fact = field(kw_only=True)
    downstream: Fact = field(kw_only=True)
    travel_us: tuple[int, int] = field(kw_only=True)
    wave_us: int = NO_TIME
    """When the wave was upstream for which it is on; NO_TIME if none."""
    next_us: int = NO_TIME
    """The same of one that this step began."""

    def facts(self) -> Iterator[tuple[str, Fact]]:
        yield "upstream", self.upstream
        yield "downstream", self.downstream

    def begins(self, part: str, event_us: int) -> None:
        if part == "upstream":
            self.next_us = event_us

    def verdicts(self, world: World, cause: Cause) -> Iterator[Verdict]:
        if self.next_us != NO_TIME:
            if self.on:
                yield False, self._since(cause)
            self.wave_us, self.next_us = self.next_us, NO_TIME
            if self._now(world) is not False:
                yield True, self._since(cause)
        if self.wave_us != NO_TIME:
            truth = self._now(world)
            yield truth, self._since(cause)
            if truth is False:
                self.wave_us = NO_TIME

    def _now(self, world: World) -> bool | None:
        if world.stands(self.downstream):
            return False
        good = [heard for n in self.numbers if (heard := world.good(n, NO_TIME)) is not None]
        if not good:
            return None
        return max(heard.last_us for heard in good) <= self.wave_us + self.travel_us[1]

    def _since(self, cause: Cause) -> float:
        return max(cause.event_us - self.wave_us, 0) / 1e6

    def detail(self) -> str:
        """When the wave is expected, as an ISO 8601 interval in UTC: 2026-11-24T10:00Z/12:00Z."""
        if self.wave_us == NO_TIME:
            return ""
        earliest, latest = (
            datetime.fromtimestamp((self.wave_us + us) // 1_000_000, UTC) for us in self.travel_us
        )
        end = f"{latest:%H:%MZ}" if earliest.date() == latest.date() else f"{latest:%Y-%m-%dT%H:%MZ}"
        return f"{earliest:%Y-%m-%dT%H:%MZ}/{end}"

    def parts(self) -> tuple[int, int]:
        return self.wave_us, NO_TIME

    def put_parts(self, first_us: int, second_us: int) -> None:
        self.wave_us = first_us

    def same(self, other: Case) -> bool:
        return isinstance(other, Travel) and (self.upstream, self.downstream) == (
            other.upstream,
            other.downstream,
        )


@dataclass(slots=True)
class Disagrees(Case):
    """A series against the median of its neighbours, by its own samples. Shows the difference in its unit.

    A neighbour counts by its last sample if that is good and at most `hold_us` away in event time, older or newer; with
    fewer than `least` it is unknown. Differences are exact: in halves of ticks, since the median may lie between two.
    """

    number: int = field(kw_only=True)
    others: dict[int, int] = field(kw_only=True)
    """By series number: `hold_us`."""
    least: int = field(kw_only=True)
    resolution: float = field(kw_only=True)

    def verdicts(self, world: World, cause: Cause) -> Iterator[Verdict]:
        mine = world.good(self.number, NO_TIME)
        if mine is None:
            yield None, None
            return
        beside = [
            heard.value
            for number, hold_us in self.others.items()
            if (heard := world.good(number, mine.last_us - hold_us)) is not None
            and heard.last_us <= mine.last_us + hold_us
        ]
        if len(beside) < self.least:
            yield None, None
            return
        own, *counts = ticks(np.array([mine.value, *beside]), self.resolution).tolist()
        counts.sort()
        halves = 2 * own - counts[(len(counts) - 1) // 2] - counts[len(counts) // 2]
        difference = float(from_ticks(np.array([halves]), self.resolution)[0]) / 2
        yield abs(difference) > self.limit, difference


def cases_of(
    registry: Registry, rules: Mapping[str, Rule], rule: Rule, order: int, numbers: Mapping[str, int]
) -> list[Case]:
    """One for each asset of a rule, of what is numbered."""
    match rule:
        case NeighboursRule():
            return [
                _neighbours(rules, rule, order, place, group, numbers)
                for place, group in enumerate(sorted(groups_of(registry, rules, rule).items()))
            ]
        case ConditionRule():
            return [_condition(registry, rules, rule, order, numbers)]
        case SequenceRule():
            within_s = rule.within / 1e6
            return [
                Sequence(
                    rule,
                    order,
                    0,
                    rule.asset,
                    within_s,
                    first=rule.first,
                    then=rule.then,
                    within_us=rule.within,
                )
            ]
        case TravelRule():
            asset = rule.downstream.asset or ""
            return [
                Travel(
                    rule,
                    order,
                    0,
                    asset,
                    rule.travel[1] / 1e6,
                    numbers=tuple(sorted(numbers[s] for s in witnesses(registry, asset) if s in numbers)),
                    upstream=rule.upstream,
                    downstream=rule.downstream,
                    travel_us=rule.travel,
                )
            ]
        case DisagreesRule():
            return [
                _disagrees(registry, rule, order, place, asset, others, numbers)
                for place, (asset, others) in enumerate(sorted(beside(registry, rule).items()))
                if asset in numbers
            ]
        case _:
            raise AssertionError(rule)


def _needs_samples(rules: Mapping[str, Rule], fact: Fact) -> bool:
    """Whether a fact is a verdict on samples of its asset, so that it is worth no more than the last of them."""
    return isinstance(rules.get(fact.rule), LimitRule | DisagreesRule)


def _neighbours(
    rules: Mapping[str, Rule],
    rule: NeighboursRule,
    order: int,
    place: int,
    group: tuple[str, tuple[str, ...]],
    numbers: Mapping[str, int],
) -> Case:
    asset, members = group
    needs = _needs_samples(rules, rule.of)
    by_asset = {member: numbers.get(member, -1) if needs else -1 for member in members}
    return Neighbours(
        rule,
        order,
        place,
        asset,
        float(rule.k),
        numbers=tuple(sorted(set(by_asset.values()) - {-1})),
        of=rule.of,
        over_us=rule.over,
        k=rule.k,
        members=by_asset,
    )


def _condition(
    registry: Registry, rules: Mapping[str, Rule], rule: ConditionRule, order: int, numbers: Mapping[str, int]
) -> Case:
    judged = {name: fact.asset for name, fact in rule.facts.items() if _needs_samples(rules, fact)}
    inputs = {
        name: registry.series[series_id]
        for name, series_id in {**judged, **rule.values}.items()
        if series_id in registry.series and series_id in numbers
    }
    source = {
        name: (numbers[s.id], 3 * s.interval_us if rule.hold is None else rule.hold)
        for name, s in inputs.items()
    }
    nothing = (-1, 0)
    return Condition(
        rule,
        order,
        0,
        rule.asset,
        0.0,
        on_delay_us=rule.on_delay,
        max_gap_us=max((s.max_gap_us for s in inputs.values()), default=0),
        numbers=tuple(sorted({number for number, _ in source.values()})),
        logic=Logic(rule.when),
        values={name: source.get(name, nothing) for name in rule.values},
        asked={name: (fact, *source.get(name, nothing)) for name, fact in rule.facts.items()},
    )


def _disagrees(
    registry: Registry,
    rule: DisagreesRule,
    order: int,
    place: int,
    asset: str,
    others: tuple[str, ...],
    numbers: Mapping[str, int],
) -> Case:
    series = registry.series[asset]
    return Disagrees(
        rule,
        order,
        place,
        asset,
        rule.limit,
        on_delay_us=rule.on_delay,
        max_gap_us=series.max_gap_us,
        numbers=(numbers[asset],),
        looks_at=tuple(numbers[o] for o in others if o in numbers),
        number=numbers[asset],
        others={numbers[o]: 3 * registry.series[o].interval_us for o in others if o in numbers},
        least=rule.least,
        resolution=series.resolution,
    )
