"""What the rules over several stations are about, worked out when a pack is loaded: assets, groups, order, faults."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Final

from ioc.model.quality import Span
from ioc.registry import Domain, Registry, Series, Station
from ioc.rules.logic import OPEN_MAX, Logic
from ioc.rules.near import near
from ioc.rules.spec import (
    ClockSkewRule,
    ConditionRule,
    DisagreesRule,
    Fact,
    JointRule,
    LimitRule,
    NeighboursRule,
    NoDataRule,
    Rule,
    SequenceRule,
    TooLateRule,
    TravelRule,
)

Path = tuple[str | int, ...]
Fault = tuple[str, Path, str]
"""(rule id, path within the rule, a sentence that says how to mend it)."""
CENTRE: Final = "system/"
"""How the assets of the centre itself begin; they have no place."""


class InCircle(ValueError):
    """Rules that ask for each other's facts: the first stands at the end again."""

    def __init__(self, rules: list[str]) -> None:
        super().__init__(f"these rules ask for each other's facts: {' → '.join(rules)}")
        self.rules = rules


def facts_of(rule: JointRule) -> Iterator[tuple[Path, Fact]]:
    """The facts that a rule asks for, and where they stand in it."""
    match rule:
        case NeighboursRule():
            yield ("of",), rule.of
        case ConditionRule():
            for name, fact in rule.facts.items():
                yield ("facts", name), fact
        case SequenceRule():
            yield ("first",), rule.first
            yield ("then",), rule.then
        case TravelRule():
            yield ("upstream",), rule.upstream
            yield ("downstream",), rule.downstream
        case DisagreesRule():
            pass


def order_of(rules: Mapping[str, Rule]) -> list[str]:
    """The rules over several stations, each after those whose facts it asks for, else as in the pack.

    Raises InCircle where there is no such order.
    """
    waits = {
        rule.id: {fact.rule for _, fact in facts_of(rule) if isinstance(rules.get(fact.rule), JointRule)}
        for rule in rules.values()
        if isinstance(rule, JointRule)
    }
    order: list[str] = []
    while waits:
        ready = next((rule for rule, asked in waits.items() if not asked & waits.keys()), None)
        if ready is None:
            raise InCircle(_circle(waits))
        order.append(ready)
        del waits[ready]
    return order


def _circle(waits: Mapping[str, set[str]]) -> list[str]:
    path = [next(iter(waits))]
    while path[-1] not in path[:-1]:
        path.append(min(waits[path[-1]] & waits.keys()))
    return path[path.index(path[-1]) :]


def place_of(registry: Registry, asset: str) -> Station | None:
    """The station of a series id or `{domain}/{station}`; None for anything else."""
    series = registry.series.get(asset)
    if series is not None:
        return series.station
    domain, _, station = asset.partition("/")
    return registry.stations.get(station) if domain in set(Domain) else None


def assets_of(registry: Registry, rules: Mapping[str, Rule], rule: Rule, level: int = 1) -> tuple[str, ...]:
    """What a rule can speak of at a level or above, sorted; nothing for rules about the centre itself."""
    match rule:
        case LimitRule():
            found = [
                s.id for s in registry.series.values() if rule.series.matches(s) and _has(rule, s, level)
            ]
        case NoDataRule() | TooLateRule() | ClockSkewRule():
            found = [s.id for s in registry.series.values() if rule.series.matches(s)]
        case NeighboursRule():
            found = list(groups_of(registry, rules, rule))
        case ConditionRule() | SequenceRule():
            found = [rule.asset]
        case TravelRule():
            found = [rule.downstream.asset or ""]
        case DisagreesRule():
            found = list(beside(registry, rule))
        case _:
            found = []
    return tuple(sorted(found))


def _has(rule: LimitRule, series: Series, level: int) -> bool:
    return any(k >= level and rule.limit_of(series.station.id, k) is not None for k in rule.levels)


def groups_of(
    registry: Registry, rules: Mapping[str, Rule], rule: NeighboursRule
) -> dict[str, tuple[str, ...]]:
    """The groups that can reach k, by the asset of their alarm, with the assets that count in each.

    A group around a station is that station's `{domain}/{station}`; a commune `{domain}/commune_{code}`; a catchment
    `{domain}/{name}`; the domain is that of its first asset.
    """
    of = rules.get(rule.of.rule)
    if of is None:
        return {}
    by_station: dict[str, list[str]] = {}
    for asset in assets_of(registry, rules, of, rule.of.level):
        station = place_of(registry, asset)
        if station is not None:
            by_station.setdefault(station.id, []).append(asset)
    stations = [registry.stations[station] for station in by_station]
    named: dict[str, tuple[str, ...]] = {}
    if rule.within_km is not None:
        named = near(stations, rule.within_km)
    elif rule.same is not None:
        for station in stations:
            name = f"commune_{station.commune}"
            named[name] = (*named.get(name, ()), station.id)
    else:
        named = {name: tuple(dict.fromkeys(whose)) for name, whose in rule.catchments.items()}
    groups: dict[str, tuple[str, ...]] = {}
    for name, whose in named.items():
        members = sorted(asset for station in whose for asset in by_station.get(station, ()))
        if len(members) >= rule.k:
            domain = (by_station.get(name) or members)[0].partition("/")[0]
            groups[f"{domain}/{name}"] = tuple(members)
    return groups


def beside(registry: Registry, rule: DisagreesRule) -> dict[str, tuple[str, ...]]:
    """Each series selected that has enough neighbours of its quantity, and these."""
    chosen = [s for s in registry.series.values() if rule.series.matches(s)]
    found: dict[str, tuple[str, ...]] = {}
    for quantity in dict.fromkeys(s.quantity for s in chosen):
        alike = [s for s in registry.series.values() if s.quantity == quantity]
        around = near(list({s.station.id: s.station for s in alike}.values()), rule.within_km)
        at: dict[str, list[str]] = {}
        for series in alike:
            at.setdefault(series.station.id, []).append(series.id)
        for series in (s for s in chosen if s.quantity == quantity):
            others = [o for station in around[series.station.id] for o in at[station] if o != series.id]
            if len(others) >= rule.least:
                found[series.id] = tuple(sorted(others))
    return found


def witnesses(registry: Registry, asset: str) -> tuple[str, ...]:
    """The series whose samples tell how far time has come at an asset: itself, or all of the station's domain."""
    return tuple(s for s in registry.series if s == asset or s.startswith(f"{asset}/"))


def faults(rules: Mapping[str, Rule], registry: Registry) -> list[Fault]:
    """Everything that is wrong with the rules over several stations, in pack order."""
    try:
        order_of(rules)
    except InCircle as error:
        # Without an order nothing else can be worked out.
        return [(error.rules[0], (), f"{error}; one of them must do without")]
    found: list[Fault] = []
    for rule in rules.values():
        if isinstance(rule, JointRule):
            found += ((rule.id, *fault) for fault in _faults(registry, rules, rule))
    return found


def _faults(registry: Registry, rules: Mapping[str, Rule], rule: JointRule) -> Iterator[tuple[Path, str]]:
    wrong = [
        fault for path, fact in facts_of(rule) for fault in _fact_faults(registry, rules, rule, path, fact)
    ]
    yield from wrong
    if isinstance(rule, ConditionRule | SequenceRule) and place_of(registry, rule.asset) is None:
        yield ("asset",), f"{rule.asset!r} is neither a series nor {{domain}}/{{station}} of this pack"
    match rule:
        case ConditionRule():
            yield from _condition_faults(registry, rule)
        case NeighboursRule():
            yield from _group_faults(registry, rule)
            if not wrong and not groups_of(registry, rules, rule):
                yield ("k",), f"no group has {rule.k} that {rule.of.rule} speaks of: fewer, or wider groups"
        case TravelRule():
            asset = rule.downstream.asset or ""
            if not wrong and not witnesses(registry, asset):
                yield (
                    ("downstream", "asset"),
                    f"{asset!r} has no series, so nothing would tell when time is up",
                )
        case DisagreesRule():
            if not beside(registry, rule):
                yield (
                    ("within_km",),
                    f"no series selected has {rule.least} neighbours of its quantity within {rule.within_km:g} km",
                )
        case _:
            pass


def _fact_faults(
    registry: Registry, rules: Mapping[str, Rule], rule: JointRule, path: Path, fact: Fact
) -> Iterator[tuple[Path, str]]:
    of = rules.get(fact.rule)
    if of is None:
        yield (*path, "rule"), f"there is no rule {fact.rule!r}"
        return
    if rule.enabled and not of.enabled:
        yield (*path, "rule"), f"rule {of.id!r} is disabled, so that this one must be, too"
    levels = sorted(of.levels) if isinstance(of, LimitRule) else [1]
    if fact.level not in levels:
        yield (*path, "level"), f"rule {of.id!r} has the levels {levels}, not {fact.level}"
        return
    if fact.asset is None or fact.asset.startswith(CENTRE):
        return
    if isinstance(rule, NeighboursRule):
        yield (*path, "asset"), "a rule about neighbours counts all of them; leave the asset out"
    elif fact.asset not in assets_of(registry, rules, of, fact.level):
        yield (*path, "asset"), f"rule {of.id!r} never speaks of {fact.asset!r} at level {fact.level}"


def _group_faults(registry: Registry, rule: NeighboursRule) -> Iterator[tuple[Path, str]]:
    for name, stations in rule.catchments.items():
        if name in registry.stations:
            yield ("catchments", name), f"{name!r} is a station already; name the catchment otherwise"
        for i, station in enumerate(stations):
            if station not in registry.stations:
                yield ("catchments", name, i), f"there is no station {station!r}"


def _condition_faults(registry: Registry, rule: ConditionRule) -> Iterator[tuple[Path, str]]:
    missing = [name for name, series in rule.values.items() if series not in registry.series]
    for name in missing:
        yield ("values", name), f"there is no series {rule.values[name]!r}"
    for name in sorted(rule.values.keys() & rule.facts.keys()):
        yield ("facts", name), f"{name!r} is a value, too; every name stands for one thing"
    try:
        logic = Logic(rule.when)
    except ValueError as error:
        yield ("when",), " ".join(str(error).split())
        return
    known = rule.values.keys() | rule.facts.keys()
    for name in sorted(logic.names - known):
        yield ("when",), f"it names {name!r}, which is neither in values nor in facts"
    for name in sorted(known - logic.names):
        where = "values" if name in rule.values else "facts"
        yield (where, name), f"{name!r} is not used in when"
    for function in logic.strange:
        yield ("when",), f"there is no function {function!r}"
    if missing or logic.strange or logic.names - known:
        return
    spans = {name: registry.series[series].range for name, series in rule.values.items()}
    fault = next(filter(None, map(logic.fault, _samples(spans, tuple(rule.facts)))), "")
    if fault:
        yield ("when",), f"{fault} (numbers are written with a point here: 2.0, not 2)"


def _samples(spans: Mapping[str, Span], facts: tuple[str, ...]) -> Iterator[dict[str, float | bool]]:
    """Low, middling and high values with facts both ways."""
    for share in (0.0, 0.5, 1.0):
        values = {name: low + (high - low) * share for name, (low, high) in spans.items()}
        for tried in itertools.product((False, True), repeat=min(len(facts), OPEN_MAX)):
            yield {**values, **dict.fromkeys(facts, True), **dict(zip(facts, tried, strict=False))}
