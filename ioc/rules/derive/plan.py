"""What a pack derives: every definition with its instances, those that others need first.

Named ones become series of the registry; a value inside a rule stays between the engine and that rule.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ioc.errors import PackError
from ioc.registry import Domain, Registry, Series, SeriesEntry, Station
from ioc.rules.derive.base import Instance
from ioc.rules.derive.kinds import builder, resolution_of
from ioc.rules.spec import Derived, LimitRule, OfOne, Rule, Selector
from ioc.rules.spec.derived import Reliability, Thd, TimeTo, UsAqi, VnAqi, Weather, Window

RULE_PREFIX = "rule:"


@dataclass(frozen=True, slots=True)
class Planned:
    """One definition and its instances. `name` is the definition's id, or `rule:` and the rule's for its value."""

    name: str
    kind: str
    spec: Any
    instances: tuple[Instance, ...]

    @property
    def rule(self) -> str | None:
        """The rule whose value this is, if it is one."""
        return self.name.removeprefix(RULE_PREFIX) if self.name.startswith(RULE_PREFIX) else None


class Unplannable(PackError):
    """A definition that cannot be: `path` below its own place in its file."""

    def __init__(self, name: str, path: tuple[Any, ...], reason: str) -> None:
        super().__init__("", 0, "", reason)
        self.name = name
        self.where = path


def plan(registry: Registry, derived: Sequence[Derived], rules: Mapping[str, Rule]) -> tuple[Planned, ...]:
    """Every definition in the order in which they are computed; adds the named ones to the registry.

    Raises Unplannable for a quantity or series that there is not, inputs whose units do not fit, two definitions
    that need each other, and a definition that finds nothing to be computed from.
    """
    planned = [_named(registry, definition, rules) for definition in _in_order(registry, derived)]
    planned += [
        _value(registry, rule, rules)
        for rule in rules.values()
        if isinstance(rule, LimitRule) and rule.enabled and rule.value is not None
    ]
    for one in planned:
        _buildable(one)
    return tuple(planned)


_SEVERAL = frozenset(
    ("expression", "vn_aqi", "us_aqi", "dew_point", "heat_index", "wind_chill", "unbalance", "thd")
)


def _buildable(planned: Planned) -> None:
    """What only the kind itself knows to be wrong: an expression that is none, an input it cannot do without."""
    if planned.kind not in _SEVERAL:
        return
    try:
        builder(planned.kind)(planned.spec, planned.instances[:1], 0)
    except ValueError as error:
        where = ("cel",) if planned.kind == "expression" else ()
        raise Unplannable(planned.name, where, str(error)) from error


def needs(definition: Derived) -> Iterator[str]:
    """The quantities that a definition is computed from."""
    if isinstance(definition, OfOne):
        yield from definition.of.quantities
        yield from (series_id.rpartition("/")[2] for series_id in definition.of.ids)
    elif not isinstance(definition, Reliability):
        yield from (name.rpartition("/")[2] for name in _inputs(definition).values())


def _inputs(definition: Derived) -> dict[str, str]:
    """Role → quantity or series id, in the order of the roles."""
    if isinstance(definition, Thd):
        return {name: name for name in (definition.fundamental, *definition.harmonics)}
    assert not isinstance(definition, OfOne | Reliability)
    return {role: name for role, name in definition.inputs.items()}  # noqa: C416


def _in_order(registry: Registry, derived: Sequence[Derived]) -> list[Derived]:
    by_id: dict[str, Derived] = {}
    for definition in derived:
        if definition.id in by_id:
            raise Unplannable(definition.id, ("id",), f"derived series {definition.id!r} stands twice")
        by_id[definition.id] = definition
    done: dict[str, Derived] = {}

    def visit(definition: Derived, above: tuple[str, ...]) -> None:
        if definition.id in above:
            circle = " → ".join((*above[above.index(definition.id) :], definition.id))
            raise Unplannable(definition.id, (), f"derived series need each other in a circle: {circle}")
        if definition.id in done:
            return
        for need in needs(definition):
            if need in by_id:
                visit(by_id[need], (*above, definition.id))
        done[definition.id] = definition

    for definition in derived:
        visit(definition, ())
    return list(done.values())


def _named(registry: Registry, definition: Derived, rules: Mapping[str, Rule]) -> Planned:
    if definition.id not in registry.quantities:
        reason = f"no quantity {definition.id!r} in quantities.yaml: a derived series needs its unit and resolution"
        raise Unplannable(definition.id, ("id",), reason)
    for station in definition.stations:
        if station not in registry.stations:
            raise Unplannable(definition.id, ("stations",), f"no station {station!r} in the pack")
    if isinstance(definition, OfOne):
        found = _of_one(registry, definition, rules)
    elif isinstance(definition, Reliability):
        found = [_Found(station, (), definition.domain or Domain.ENERGY) for station in definition.stations]
    else:
        found = list(_of_several(registry, definition))
    if not found:
        raise Unplannable(definition.id, (), "finds no station with what it is computed from")
    instances = tuple(_instance(registry, definition, one) for one in found)
    kind = definition.value.kind if isinstance(definition, OfOne) else definition.kind
    return Planned(
        definition.id, kind, definition.value if isinstance(definition, OfOne) else definition, instances
    )


@dataclass(frozen=True, slots=True)
class _Found:
    station: str
    inputs: tuple[Series | None, ...]
    domain: Domain
    limit: float | None = None


def _instance(registry: Registry, definition: Derived, found: _Found) -> Instance:
    station: Station = registry.stations[found.station]
    series_id = f"{found.domain}/{station.id}/{definition.id}"
    if series_id in registry.series:
        raise Unplannable(definition.id, ("id",), f"series {series_id} stands already in the pack")
    interval_us = min((s.interval_us for s in found.inputs if s is not None), default=0)
    series = registry.add(
        station,
        SeriesEntry(quantity=definition.id, domain=found.domain),
        interval_us=interval_us,
        derived=True,
    )
    return Instance(station.id, found.inputs, series.resolution, series, found.limit)


def _of_one(registry: Registry, definition: OfOne, rules: Mapping[str, Rule]) -> list[_Found]:
    _known(registry, definition.id, definition.of, ("of",))
    found: dict[tuple[str, Domain], list[Series]] = {}
    for series in _selected(registry, definition.of, definition.stations):
        found.setdefault((series.station.id, definition.domain or series.domain), []).append(series)
    unit = registry.quantities[definition.id].unit
    out = []
    for (station, domain), inputs in found.items():
        value = definition.value
        if len(inputs) > 1 and not (isinstance(value, Window) and value.function == "sum"):
            reason = (
                f"station {station} has {len(inputs)} series that it could be of; only a sum takes several"
            )
            raise Unplannable(definition.id, ("of",), reason)
        same_unit = isinstance(value, Window) and value.function != "count"
        for series in inputs:
            if (same_unit or value.kind == "counter") and series.unit != unit:
                reason = f"{series.id} is in {series.unit}, but {definition.id} is in {unit}"
                raise Unplannable(definition.id, ("of",), reason)
        # Finest first: what it counts, a coarser total does not count again.
        ordered = tuple(sorted(inputs, key=lambda series: (series.interval_us, series.id)))
        limit = (
            _limit(definition.id, value, ordered[0], rules, ("value",)) if isinstance(value, TimeTo) else None
        )
        out.append(_Found(station, ordered, domain, limit))
    return out


def _of_several(registry: Registry, definition: Derived) -> Iterator[_Found]:
    inputs = _inputs(definition)
    wanted = _units(definition)
    if not inputs:
        reason = f"names nothing that {definition.kind} could be computed from"
        raise Unplannable(definition.id, ("inputs",), reason)
    for role, name in inputs.items():
        if "/" in name and name not in registry.series:
            raise Unplannable(definition.id, ("inputs", role), f"no series {name!r} in the pack")
        if "/" not in name and name not in registry.quantities:
            raise Unplannable(definition.id, ("inputs", role), f"no quantity {name!r} in quantities.yaml")
    if all("/" in name for name in inputs.values()) and len(definition.stations) != 1:
        reason = "all inputs are single series: name the one station that the result belongs to"
        raise Unplannable(definition.id, ("stations",), reason)
    for station in registry.stations.values():
        if definition.stations and station.id not in definition.stations:
            continue
        at_station = {s.quantity: s for s in registry.series.values() if s.station.id == station.id}
        series = {
            role: registry.series[name] if "/" in name else at_station.get(name)
            for role, name in inputs.items()
        }
        if not _enough(definition, series):
            continue
        for role, one in series.items():
            if one is not None and (unit := wanted.get(role)) and one.unit != unit:
                reason = f"{one.id} is in {one.unit}, but {definition.kind} takes {unit}"
                raise Unplannable(definition.id, ("inputs", role), reason)
        domain = definition.domain or next(one.domain for one in series.values() if one is not None)
        yield _Found(station.id, tuple(series.values()), domain)


def _enough(definition: Derived, series: Mapping[str, Series | None]) -> bool:
    """Whether a station has what a definition cannot do without."""
    if isinstance(definition, VnAqi):
        return series.get("pm25") is not None or series.get("pm10") is not None
    return all(one is not None for one in series.values())


def _units(definition: Derived) -> dict[str, str]:
    """Role → the UCUM unit that the formula takes."""
    if isinstance(definition, VnAqi | UsAqi):
        return dict.fromkeys(definition.inputs, "ug/m3")
    if isinstance(definition, Weather):
        return {"temperature": "Cel", "humidity": "%", "wind": "m/s"}
    return {}


def _value(registry: Registry, rule: LimitRule, rules: Mapping[str, Rule]) -> Planned:
    assert rule.value is not None
    instances = []
    for series in registry.series.values():
        if rule.series.matches(series):
            limit = None
            if isinstance(rule.value, TimeTo):
                limit = _limit(RULE_PREFIX + rule.id, rule.value, series, rules, ("value",))
            instances.append(
                Instance(series.station.id, (series,), resolution_of(rule.value, series), None, limit)
            )
    return Planned(RULE_PREFIX + rule.id, rule.value.kind, rule.value, tuple(instances))


def _limit(
    name: str, value: TimeTo, series: Series, rules: Mapping[str, Rule], path: tuple[Any, ...]
) -> float | None:
    """The limit that a time is told to, at one station; None where none is in force."""
    if value.limit is not None:
        return value.limit
    rule = rules.get(value.rule or "")
    if not isinstance(rule, LimitRule) or rule.value is not None:
        raise Unplannable(name, (*path, "rule"), f"no limit rule {value.rule!r} that judges a series itself")
    assert value.level is not None
    if value.level not in rule.levels:
        raise Unplannable(name, (*path, "level"), f"rule {rule.id!r} has no level {value.level}")
    if rule.direction != value.direction:
        raise Unplannable(name, (*path, "direction"), f"rule {rule.id!r} judges {rule.direction}wards")
    return rule.limit_of(series.station.id, value.level) if rule.series.matches(series) else None


def _selected(registry: Registry, selector: Selector, stations: Sequence[str]) -> Iterator[Series]:
    for series in list(registry.series.values()):
        if selector.matches(series) and (not stations or series.station.id in stations):
            yield series


def _known(registry: Registry, name: str, selector: Selector, path: tuple[Any, ...]) -> None:
    for quantity in selector.quantities:
        if quantity not in registry.quantities:
            raise Unplannable(name, (*path, "quantities"), f"no quantity {quantity!r} in quantities.yaml")
    for series_id in selector.ids:
        if series_id not in registry.series:
            raise Unplannable(name, (*path, "ids"), f"no series {series_id!r} in the pack")
    for station in selector.stations:
        if station not in registry.stations:
            raise Unplannable(name, (*path, "stations"), f"no station {station!r} in the pack")
