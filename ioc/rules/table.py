"""Rules as aligned columns: a *cell* is one limit rule on one series, a *watch* one silence rule on all of its series.

Cells lie sorted by series number, then in pack order, so that the cells of a series are one range.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ioc.model.batch import F64, I32, I64, Bool
from ioc.registry import Registry, Series
from ioc.rules.kernels import Index
from ioc.rules.spec import LimitRule, NoDataRule, Rule, Selector, TooLateRule


@dataclass(frozen=True, slots=True)
class LimitTable:
    """c cells of r enabled limit rules on s series numbers, w level columns; limits and resets are signed."""

    rules: tuple[LimitRule, ...]
    order: Index
    """(r,): the rule's place in the pack."""
    rule: I32
    """(c,): index into `rules`."""
    series: I32
    """(c,): series number."""
    sign: F64
    """(r,): 1 upwards, −1 downwards."""
    limit: F64
    """(c, w): +inf where the cell lacks the level."""
    reset: F64
    """(c, w): −inf where the cell lacks the level."""
    on_delay_us: I64
    """(r, w)."""
    off_delay_us: I64
    """(r, w)."""
    priority: Index
    """(r, w)."""
    start: Index
    """(s,): the first cell of a series."""
    count: Index
    """(s,): how many cells a series has."""

    def __len__(self) -> int:
        return len(self.rule)

    @property
    def width(self) -> int:
        """How many level columns there are."""
        return int(self.limit.shape[1])

    def find(self, rule: Index, series: Index) -> Index:
        """The cell of each (index into `rules`, series number), −1 where there is none."""
        if not len(self):
            return np.full(len(rule), -1, np.int64)
        keys = self.series.astype(np.int64) * len(self.rules) + self.rule
        wanted = series * len(self.rules) + rule
        place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        return np.where((rule >= 0) & (keys[place] == wanted), place, -1)


def limit_table(registry: Registry, rules: Mapping[str, Rule], numbers: Mapping[str, int]) -> LimitTable:
    """Every cell of every enabled limit rule."""
    size = max(numbers.values(), default=-1) + 1
    chosen = [(i, r) for i, r in enumerate(rules.values()) if isinstance(r, LimitRule) and r.enabled]
    width = max((max(r.levels) for _, r in chosen), default=1)
    parts = [_cells(registry, rule, numbers, width) for _, rule in chosen]
    rule = np.repeat(np.arange(len(chosen), dtype=np.int32), [len(p[0]) for p in parts])
    series = np.concatenate([p[0] for p in parts]) if parts else np.zeros(0, np.int32)
    limit = np.concatenate([p[1] for p in parts]) if parts else np.zeros((0, width))
    reset = np.concatenate([p[2] for p in parts]) if parts else np.zeros((0, width))
    sign = np.array([1.0 if r.direction == "up" else -1.0 for _, r in chosen])
    by_series = np.lexsort((rule, series))
    count = np.bincount(series, minlength=size).astype(np.int64)
    return LimitTable(
        rules=tuple(r for _, r in chosen),
        order=np.array([i for i, _ in chosen], np.int64),
        rule=rule[by_series],
        series=series[by_series],
        sign=sign,
        limit=limit[by_series],
        reset=reset[by_series],
        on_delay_us=_by_level([{k: v.on_delay for k, v in r.levels.items()} for _, r in chosen], width),
        off_delay_us=_by_level([{k: v.off_delay for k, v in r.levels.items()} for _, r in chosen], width),
        priority=_by_level([{k: v.priority for k, v in r.levels.items()} for _, r in chosen], width),
        start=np.cumsum(count) - count,
        count=count,
    )


def _by_level(figures: list[dict[int, int]], width: int) -> I64:
    out = np.zeros((len(figures), width), np.int64)
    for row, levels in enumerate(figures):
        for level, figure in levels.items():
            out[row, level - 1] = figure
    return out


def _cells(
    registry: Registry, rule: LimitRule, numbers: Mapping[str, int], width: int
) -> tuple[I32, F64, F64]:
    """Series numbers, limits and resets of one rule's cells; a series without any limit in force has none."""
    sign = 1.0 if rule.direction == "up" else -1.0
    by_station: dict[str, tuple[list[float], list[float]] | None] = {}
    series: list[int] = []
    limits: list[list[float]] = []
    resets: list[list[float]] = []
    for entry in _selected(registry, rule.series, numbers):
        # Stations that the rule does not name share one row: a rule may have 100,000 cells.
        station = entry.station.id if entry.station.id in rule.stations else ""
        if station not in by_station:
            by_station[station] = _levels(rule, station, sign, width)
        row = by_station[station]
        if row is not None:
            series.append(numbers[entry.id])
            limits.append(row[0])
            resets.append(row[1])
    shape = (len(series), width)
    return np.array(series, np.int32), np.array(limits).reshape(shape), np.array(resets).reshape(shape)


def _levels(rule: LimitRule, station: str, sign: float, width: int) -> tuple[list[float], list[float]] | None:
    limits, resets = [np.inf] * width, [-np.inf] * width
    for level in rule.levels:
        limit = rule.limit_of(station, level)
        if limit is not None:
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
    """Every enabled rule about silence, in pack order."""
    size = max(numbers.values(), default=-1) + 1
    found = []
    for order, rule in enumerate(rules.values()):
        if isinstance(rule, NoDataRule | TooLateRule) and rule.enabled:
            about = np.zeros(size, np.bool_)
            about[[numbers[s.id] for s in _selected(registry, rule.series, numbers)]] = True
            found.append(Watch(rule, order, about))
    return found


def names(numbers: Mapping[str, int]) -> list[str]:
    """Series ids by number; empty where a number bears none."""
    out = [""] * (max(numbers.values(), default=-1) + 1)
    for series_id, number in numbers.items():
        out[number] = series_id
    return out
