"""Where `why` finds what it tells: the process' memory, the log behind it, and the pack."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from ioc.log import segment
from ioc.log.reader import LogReader, SegmentGone
from ioc.log.record import Kind
from ioc.model import (
    Batch,
    PackLoaded,
    Transition,
)
from ioc.model.batch import Flag
from ioc.pack import Pack
from ioc.registry import Series, Station
from ioc.rules.derive.plan import RULE_PREFIX, Planned
from ioc.rules.joint import groups_of
from ioc.rules.spec import (
    ConditionRule,
    Fact,
    NeighboursRule,
    Rule,
    SequenceRule,
    TravelRule,
)
from ioc.wall.view import View

_EARTH_KM: Final = 6_371.0088
"""Mean radius R1 of GRS 80."""
NEAR_KM: Final = 20.0
LOG_RECORDS: Final = 1_000
"""How many records before the step are searched where memory and database have too little."""
LOG_STEPS: Final = 50_000
"""How many of the last steps are searched in the log for an alarm that neither memory nor database knows."""
_NOT_SHOWN: Final = int(Flag.REPEAT | Flag.CONFLICT | Flag.LAST_KNOWN | Flag.FUTURE)
Point = tuple[int, float, int]
"""(event_us, value, flags)."""


def steps_in_log(log: LogReader, alarms: set[str]) -> dict[str, Transition]:
    """Their steps among the last of the journal, by id."""
    after = max(0, log.last_output_seq - LOG_STEPS)
    return {step.id: step for _, step in log.outputs(after) if step.alarm in alarms}


def pack_in_log(log: LogReader, number: int) -> tuple[int, str, int]:
    """The record, hash and time of the pack that a record was fed under; ("" for none) by the log itself."""
    listed = [entry for entry in segment.listing(log.folder) if entry[0] <= number]
    if not listed:
        return 0, "", 0
    first, path = listed[-1]
    sql = "SELECT number FROM input WHERE kind = ? AND number <= ? ORDER BY number DESC LIMIT 1"
    try:
        rows = log.query(first, path, sql, int(Kind.PACK_LOADED), number)
        if rows:
            for record in log.read(rows[0][0] - 1, 1):
                if isinstance(record.body, PackLoaded):
                    return record.number, record.body.hash, record.now_us
        return 0, log.head(first, path).pack, 0
    except SegmentGone:
        return 0, "", 0


def remembered(view: View, place: int, at_us: int, before: int, after: int) -> list[Point]:
    recent = view.recent
    rows = [recent.read(place, until_us=at_us + 1, limit=before)]
    if after:
        rows.append(tuple(column[:after] for column in recent.read(place, since_us=at_us + 1)))  # type: ignore[arg-type]
    return [
        (int(t), float(value), int(flags))
        for columns in rows
        for t, value, flags in zip(*columns, strict=True)
    ]


def logged(log: LogReader, places: Mapping[int, str], number: int) -> dict[str, list[Point]]:
    """Samples of these series (number → id) in the records up to a number and some after it."""
    after = max(log.first_number - 1, number - LOG_RECORDS)
    found: dict[str, list[Point]] = {}
    wanted = np.array(list(places), np.int32)
    for record in log.read(after, number - after + LOG_RECORDS // 4):
        if not isinstance(record.body, Batch):
            continue
        batch = record.body
        shown = np.isin(batch.series, wanted) & (batch.flags & _NOT_SHOWN == 0)
        for row in np.flatnonzero(shown).tolist():
            point = int(batch.event_us[row]), float(batch.value[row]), int(batch.flags[row])
            found.setdefault(places[int(batch.series[row])], []).append(point)
    return found


def joined(found: Sequence[Point], more: Sequence[Sequence[Any]]) -> list[Point]:
    """Both, by event time; what was found first stands."""
    by_time = {int(t): (int(t), float(value), int(flags)) for t, value, flags in more}
    by_time |= {point[0]: point for point in found}
    return [by_time[t] for t in sorted(by_time)]


def too_few(found: Sequence[Point], at_us: int, before: int) -> int:
    return max(0, before - sum(point[0] <= at_us for point in found))


def around(found: Sequence[Point], at_us: int, before: int, after: int) -> list[Point]:
    earlier = [point for point in found if point[0] <= at_us][-before:]
    return earlier + [point for point in found if point[0] > at_us][:after]


def km(one: Station, other: Station) -> float:
    """Great circle, by haversine; for people, no verdict depends on it."""
    lat1, lat2 = math.radians(one.lat), math.radians(other.lat)
    turn = math.radians(other.lon - one.lon)
    half = math.sin((lat2 - lat1) / 2) ** 2 + math.cos(lat1) * math.cos(lat2) * math.sin(turn / 2) ** 2
    return 2 * _EARTH_KM * math.asin(math.sqrt(half))


def planned_for(pack: Pack, rule: Rule, asset: str) -> tuple[Planned, list[Series]] | None:
    """The definition that the judged value comes from, and what it is computed from there."""
    for one in pack.planned:
        for instance in one.instances:
            inputs = [series for series in instance.inputs if series is not None]
            named = instance.output is not None and instance.output.id == asset
            if named or (one.name == f"{RULE_PREFIX}{rule.id}" and any(s.id == asset for s in inputs)):
                return one, inputs
    return None


def asked(pack: Pack, rule: Rule, about: str) -> Iterable[tuple[str, Fact, str]]:
    """Names of the facts that a rule asks for, and the asset of each."""
    match rule:
        case NeighboursRule():
            for asset in groups_of(pack.registry, pack.rules, rule).get(about, ()):
                yield asset, rule.of, asset
        case ConditionRule():
            for name, fact in rule.facts.items():
                yield name, fact, fact.asset or rule.asset
        case SequenceRule():
            yield "first", rule.first, rule.first.asset or rule.asset
            yield "then", rule.then, rule.then.asset or rule.asset
        case TravelRule():
            yield "upstream", rule.upstream, rule.upstream.asset or ""
            yield "downstream", rule.downstream, rule.downstream.asset or ""
        case _:
            return


def near(pack: Pack, own: Series) -> list[tuple[float, str]]:
    """Series of the same quantity at most NEAR_KM away, the nearest first."""
    like = [
        (km(own.station, other.station), other.id)
        for other in pack.registry.series.values()
        if other.quantity == own.quantity and other.domain == own.domain and other.id != own.id
    ]
    return sorted(one for one in like if one[0] <= NEAR_KM)
