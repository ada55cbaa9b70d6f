"""Rules as aligned columns: a *cell* is one limit rule on one channel, a *watch* one silence rule on all of its series.

A channel is a series by its number, or a value computed from one for a rule. Cells lie sorted by channel, then in
pack order, so that the cells of a channel are one range.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from ioc.model.batch import F64, I32, I64, Bool
from ioc.registry import Registry, Series
from ioc.rules.channels import Channels
from ioc.rules.kernels import Index
from ioc.rules.spec import LimitRule, NoDataRule, Period, Rule, Selector, TooLateRule

_DAY_US: Final = 86_400_000_000
_HOUR_US: Final = 3_600_000_000


@dataclass(frozen=True, slots=True)
class Dated:
    """The limits of cells whose rule has periods, shared by all of one station's; signed, w levels each.

    `rows`: (limits, resets) while no period holds, then of each period in its order.
    """

    periods: tuple[Period, ...]
    utc_offset_us: int
    rows: tuple[tuple[list[float], list[float]], ...]

    def at(self, event_us: int) -> tuple[list[float], list[float]]:
        """Limits and resets at an event time."""
        days, us = divmod(event_us + self.utc_offset_us, _DAY_US)
        month, weekday, hour = _month(days), (days + 3) % 7 + 1, us // _HOUR_US
        for i, period in enumerate(self.periods):
            if period.holds(month, weekday, hour):
                return self.rows[i + 1]
        return self.rows[0]

    @property
    def tightest(self) -> tuple[list[float], list[float]]:
        """The least limit and the greatest reset of each level: what stays between them is quiet in every period."""
        limits, resets = zip(*self.rows, strict=True)
        return [min(c) for c in zip(*limits, strict=True)], [max(c) for c in zip(*resets, strict=True)]


def _month(days: int) -> int:
    """Of a day counted from 1970-01-01: `civil_from_days` of Howard Hinnant's chrono-compatible date algorithms."""
    of_era = (days + 719_468) % 146_097
    year = (of_era - of_era // 1_460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    from_march = (5 * of_year + 2) // 153
    return from_march + 3 if from_march < 10 else from_march - 9


@dataclass(frozen=True, slots=True)
class LimitTable:
    """c cells of r enabled limit rules on s channels, w level columns; limits and resets are signed."""

    channels: Channels
    rules: tuple[LimitRule, ...]
    order: Index
    """(r,): the rule's place in the pack."""
    rule: I32
    """(c,): index into `rules`."""
    channel: I32
    """(c,)."""
    sign: F64
    """(r,): 1 upwards, −1 downwards."""
    limit: F64
    """(c, w): +inf where the cell lacks the level; the tightest of all periods where there are any."""
    reset: F64
    """(c, w): −inf where the cell lacks the level; the same."""
    on_delay_us: I64
    """(r, w)."""
    off_delay_us: I64
    """(r, w)."""
    priority: Index
    """(r, w)."""
    start: Index
    """(s,): the first cell of a channel."""
    count: Index
    """(s,): how many cells a channel has."""
    dated: Mapping[int, Dated]
    """By cell, where its rule has periods; some 100 bytes each."""
    alone: Bool
    """(s,): whether a cell of the channel counts samples or knows periods, so that its rows are judged one by one."""

    def __len__(self) -> int:
        return len(self.rule)

    @property
    def width(self) -> int:
        """How many level columns there are."""
        return int(self.limit.shape[1])

    def find(self, rule: Index, series: Index) -> Index:
        """The cell of each (index into `rules`, number of the series it is about), −1 where there is none."""
        if not len(self):
            return np.full(len(rule), -1, np.int64)
        channel = series.copy()
        for at, one in enumerate(self.rules):
            if one.value is not None:
                computed = self.channels.of_rule.get(one.id, {})
                mine = np.flatnonzero(rule == at)
                channel[mine] = [computed.get(number, -1) for number in series[mine].tolist()]
        keys = self.channel.astype(np.int64) * len(self.rules) + self.rule
        wanted = channel * len(self.rules) + rule
        place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        return np.where((rule >= 0) & (channel >= 0) & (keys[place] == wanted), place, -1)


def limit_table(
    registry: Registry,
    rules: Mapping[str, Rule],
    numbers: Mapping[str, int],
    channels: Channels | None = None,
    utc_offset_us: int = 0,
) -> LimitTable:
    """Every cell of every enabled limit rule; without `channels` there are only the series themselves.

    `utc_offset_us`: the pack's local time, by which periods go.
    """
    channels = channels or Channels.plain(names(numbers))
    size = len(channels)
    chosen = [(i, r) for i, r in enumerate(rules.values()) if isinstance(r, LimitRule) and r.enabled]
    width = max((max(r.levels) for _, r in chosen), default=1)
    parts = [_cells(registry, rule, numbers, width, channels, utc_offset_us) for _, rule in chosen]
    rule = np.repeat(np.arange(len(chosen), dtype=np.int32), [len(p[0]) for p in parts])
    channel = np.concatenate([p[0] for p in parts]) if parts else np.zeros(0, np.int32)
    limit = np.concatenate([p[1] for p in parts]) if parts else np.zeros((0, width))
    reset = np.concatenate([p[2] for p in parts]) if parts else np.zeros((0, width))
    sign = np.array([1.0 if r.direction == "up" else -1.0 for _, r in chosen])
    by_channel = np.lexsort((rule, channel))
    count = np.bincount(channel, minlength=size).astype(np.int64)
    alone = np.zeros(size, np.bool_)
    for (_, one), part in zip(chosen, parts, strict=True):
        alone[part[0]] |= bool(one.periods) or any(level.times > 1 for level in one.levels.values())
    return LimitTable(
        channels=channels,
        rules=tuple(r for _, r in chosen),
        order=np.array([i for i, _ in chosen], np.int64),
        rule=rule[by_channel],
        channel=channel[by_channel],
        sign=sign,
        limit=limit[by_channel],
        reset=reset[by_channel],
        on_delay_us=_by_level([{k: v.on_delay for k, v in r.levels.items()} for _, r in chosen], width),
        off_delay_us=_by_level([{k: v.off_delay for k, v in r.levels.items()} for _, r in chosen], width),
        priority=_by_level([{k: v.priority for k, v in r.levels.items()} for _, r in chosen], width),
        start=np.cumsum(count) - count,
        count=count,
        dated=_by_cell([p[3] for p in parts], [len(p[0]) for p in parts], by_channel),
        alone=alone,
    )


def _by_cell(parts: list[list[Dated]], sizes: list[int], order: Index) -> dict[int, Dated]:
    """What each rule's cells have, one after the other or none, by their place in this order."""
    if not any(parts):
        return {}
    place = np.argsort(order)
    starts = np.cumsum(sizes) - np.array(sizes)
    return {
        int(place[start + i]): dated
        for start, part in zip(starts, parts, strict=True)
        for i, dated in enumerate(part)
    }


def _by_level(figures: list[dict[int, int]], width: int) -> I64:
    out = np.zeros((len(figures), width), np.int64)
    for row, levels in enumerate(figures):
        for level, figure in levels.items():
            out[row, level - 1] = figure
    return out


def _cells(
    registry: Registry,
    rule: LimitRule,
    numbers: Mapping[str, int],
    width: int,
    channels: Channels,
    utc_offset_us: int,
) -> tuple[I32, F64, F64, list[Dated]]:
    """Channels, limits, resets and, with periods, what they change of one rule's cells; a series without any limit in
    force has none."""
    computed = channels.of_rule.get(rule.id, {})
    by_station: dict[str, tuple[list[float], list[float]] | None] = {}
    of_station: dict[str, Dated] = {}
    cells: list[int] = []
    limits: list[list[float]] = []
    resets: list[list[float]] = []
    dated: list[Dated] = []
    for entry in _selected(registry, rule.series, numbers):
        # Stations that the rule does not name share one row: a rule may have 100,000 cells.
        station = entry.station.id if entry.station.id in rule.stations else ""
        if station not in by_station:
            by_station[station] = _levels(rule, station, {}, width)
            if rule.periods and by_station[station] is not None:
                rows = [
                    _levels(rule, station, given, width) for given in ({}, *(p.limits for p in rule.periods))
                ]
                of_station[station] = Dated(
                    rule.periods, utc_offset_us, tuple(r for r in rows if r is not None)
                )
                by_station[station] = of_station[station].tightest
        row = by_station[station]
        channel = numbers[entry.id] if rule.value is None else computed.get(numbers[entry.id])
        if row is not None and channel is not None:
            cells.append(channel)
            limits.append(row[0])
            resets.append(row[1])
            if rule.periods:
                dated.append(of_station[station])
    shape = (len(cells), width)
    return np.array(cells, np.int32), np.array(limits).reshape(shape), np.array(resets).reshape(shape), dated


def _levels(
    rule: LimitRule, station: str, replaced: Mapping[int, float], width: int
) -> tuple[list[float], list[float]] | None:
    """Signed limits and resets at a station, some of them replaced by a period's; None if none is in force."""
    sign = 1.0 if rule.direction == "up" else -1.0
    limits, resets = [np.inf] * width, [-np.inf] * width
    for level in rule.levels:
        limit = rule.limit_of(station, level)
        if limit is not None:
            limit = replaced.get(level, limit)
            limits[level - 1] = sign * limit
            resets[level - 1] = sign * rule.reset_of(limit, level)
    return (limits, resets) if np.isfinite(limits).any() else None


def _selected(registry: Registry, selector: Selector, numbers: Mapping[str, int]) -> list[Series]:
    return [s for s in registry.series.values() if s.id in numbers and selector.matches(s)]


@dataclass(slots=True)
class Watch:
    """One no_data or too_late rule: which series it is about and for which it is on; both of shape (series,)."""

    rule: NoDataRule | TooLateRule
    order: int
    about: Bool
    on: Bool = field(init=False)

    def __post_init__(self) -> None:
        self.on = np.zeros(len(self.about), np.bool_)


def watches(registry: Registry, rules: Mapping[str, Rule], numbers: Mapping[str, int]) -> list[Watch]:
    """Every enabled rule about silence, in pack order. What is derived is silent when its inputs are, which says it."""
    size = max(numbers.values(), default=-1) + 1
    found = []
    for order, rule in enumerate(rules.values()):
        if isinstance(rule, NoDataRule | TooLateRule) and rule.enabled:
            about = np.zeros(size, np.bool_)
            about[[numbers[s.id] for s in _selected(registry, rule.series, numbers) if not s.derived]] = True
            found.append(Watch(rule, order, about))
    return found


def names(numbers: Mapping[str, int]) -> list[str]:
    """Series ids by number; empty where a number bears none."""
    out = [""] * (max(numbers.values(), default=-1) + 1)
    for series_id, number in numbers.items():
        out[number] = series_id
    return out
