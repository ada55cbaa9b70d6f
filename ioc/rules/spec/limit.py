"""The limit rule: one series, or a value computed from it, against up to five levels in one direction."""

from __future__ import annotations

import itertools
import math
from decimal import Decimal
from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from ioc.model.text import Text
from ioc.rules.spec.base import Level, Mark, Model, Priority, RuleBase, Selector, Source
from ioc.rules.spec.derived import Value
from ioc.yamlfile import Duration

DOUBTED_MAX: Final = 2
"""Levels of this priority or a more urgent one raise a doubtful alarm by a bad sample."""


class LimitLevel(Model):
    """One level: its own Schmitt trigger with its own delays over event time."""

    name: Text
    priority: Priority
    limit: float | None = None
    """In the series' unit; None where only stations give it."""
    deadband: Annotated[float, Field(ge=0)] = 0.0
    reset: float | None = None
    """Where it clears, instead of a deadband; the same at every station and in every period."""
    times: Annotated[int, Field(ge=1, le=64)] = 1
    """Raised by the n-th sample at or beyond the limit within `within` of event time, both ends included.

    Samples below in between, and bad ones, neither count nor begin anew; after a clear the count begins anew.
    """
    within: Annotated[Duration, Field(ge=0)] = 0
    on_delay: Duration = 0
    off_delay: Duration = 0

    @model_validator(mode="after")
    def _check(self) -> LimitLevel:
        if self.reset is not None:
            if "deadband" in self.model_fields_set:
                raise ValueError("reset and deadband both say where it clears: give one of them")
            if not math.isfinite(self.reset):
                raise ValueError("reset must be finite")
        if (self.times > 1) != (self.within > 0):
            raise ValueError("times (2 or more) and within go together: give both or neither")
        if self.times > 1 and self.on_delay:
            raise ValueError("times and on_delay are two ways to wait for an onset: give one of them")
        return self


class StationLimit(Model):
    """A limit of one station, with its own certainty."""

    value: float
    mark: Mark
    enabled: bool = True

    @model_validator(mode="after")
    def _certain(self) -> StationLimit:
        if self.mark is Mark.UNCERTAIN and self.enabled:
            raise ValueError("a limit marked U (uncertain) must say enabled: false")
        return self


class Period(Model):
    """Other limits in a season or at a time of day; local time. The first period that holds counts.

    It replaces the limits of the levels that it names, for every sample whose event time lies within it. Month and
    weekday are those of the moment itself: after midnight it is the next day.
    """

    name: Text
    months: tuple[Annotated[int, Field(ge=1, le=12)], ...] = ()
    hours: tuple[Annotated[int, Field(ge=0, le=23)], Annotated[int, Field(ge=1, le=24)]] | None = None
    """From the first up to the second; 21 to 6 goes over midnight."""
    weekdays: tuple[Annotated[int, Field(ge=1, le=7)], ...] = ()
    """1 is Monday."""
    limits: Annotated[dict[Level, float], Field(min_length=1)]

    @model_validator(mode="after")
    def _check(self) -> Period:
        if not (self.months or self.hours or self.weekdays):
            raise ValueError("a period must say when it holds: months, hours or weekdays")
        if self.hours and self.hours[0] == self.hours[1]:
            raise ValueError("hours must not begin and end at once; the whole day is 0 to 24")
        return self

    def holds(self, month: int, weekday: int, hour: int) -> bool:
        """Whether a moment of local time lies within it."""
        if (self.months and month not in self.months) or (self.weekdays and weekday not in self.weekdays):
            return False
        if not self.hours:
            return True
        begin, end = self.hours
        return begin <= hour < end if begin < end else hour >= begin or hour < end


class LimitRule(RuleBase):
    """Up to five levels in one direction; raised at value ≥ limit (up) or ≤ limit (down).

    A level clears at value < limit − deadband (up) or > limit + deadband (down), or beyond its reset. Levels fall one
    by one, each once its own reset has been passed for its own off_delay: a flood that recedes is downgraded in
    stages. No reset lies beyond the limit of the next lower level, so that the order of the levels is that of the
    falling too.
    """

    kind: Literal["limit"]
    series: Selector
    value: Value | None = None
    """What is judged instead of the series itself: computed from it."""
    unit: str | None = None
    """The unit that the limits are in, UCUM or as people write it: every series selected must have it."""
    direction: Literal["up", "down"] = "up"
    source: Source
    levels: dict[Level, LimitLevel]
    stations: dict[str, dict[Level, StationLimit | float]] = Field(default_factory=dict)
    periods: tuple[Period, ...] = ()
    doubtful: bool = True
    """Whether a bad sample at or beyond a limit of priority 1 or 2 raises a doubtful alarm, one priority lower.

    A record flood looks like a broken gauge. A second such sample within `max_gap`, an agreeing neighbour or a good
    sample makes it the alarm itself; a good one below the limit clears it.
    """

    @model_validator(mode="after")
    def _check(self) -> LimitRule:
        if not self.levels:
            raise ValueError("levels must not be empty")
        if self.source.mark is Mark.UNCERTAIN and self.enabled:
            raise ValueError("a rule whose source is marked U (uncertain) must say enabled: false")
        for station, limits in self.stations.items():
            for level in limits:
                if level not in self.levels:
                    raise ValueError(f"stations.{station} has level {level}, which levels lacks")
        own = {k: v.limit for k, v in self.levels.items()}
        self._in_order("levels", own)
        for station in self.stations:
            self._in_order(f"stations.{station}", {k: self.limit_of(station, k) for k in self.levels})
        for i, period in enumerate(self.periods):
            for level in period.limits:
                self._replaceable(f"periods[{i}]", level)
            self._in_order(f"periods[{i}]", {**own, **period.limits})
        if not self.stations and any(v.limit is None for v in self.levels.values()):
            raise ValueError("a level without a limit needs stations that give one")
        return self

    @property
    def priorities(self) -> tuple[int, ...]:
        """Those of its levels, and where an exceedance may be doubtful those one lower."""
        own = [level.priority for level in self.levels.values()]
        if not self.doubtful:
            return tuple(own)
        return tuple(dict.fromkeys([*own, *(p + 1 for p in own if p <= DOUBTED_MAX)]))

    def _replaceable(self, where: str, level: int) -> None:
        if level not in self.levels:
            raise ValueError(f"{where} has level {level}, which levels lacks")
        if self.levels[level].limit is None:
            raise ValueError(f"{where} replaces the limit of level {level}, which has none of its own")
        for station, limits in self.stations.items():
            if level in limits:
                raise ValueError(
                    f"{where} replaces the limit of level {level}, of which station {station} has one of its own: "
                    "write a rule of its own for that station"
                )

    def _in_order(self, where: str, limits: dict[int, float | None]) -> None:
        known = [(level, limit) for level, limit in sorted(limits.items()) if limit is not None]
        if not all(math.isfinite(limit) for _, limit in known):
            raise ValueError(f"{where}: limits must be finite")
        sign = 1 if self.direction == "up" else -1
        for (_, low), (_, high) in itertools.pairwise(known):
            if sign * low >= sign * high:
                raise ValueError(
                    f"{where}: the limits must get worse from level to level, not {low} then {high}"
                )
        for place, (level, limit) in enumerate(known):
            reset = self.reset_of(limit, level)
            if sign * reset > sign * limit:
                side = "above" if sign > 0 else "below"
                raise ValueError(
                    f"{where}: the reset {reset} of level {level} lies {side} its limit {limit}; it would clear at once"
                )
            if place and sign * reset < sign * known[place - 1][1]:
                what = "deadband" if self.levels[level].reset is None else "reset"
                raise ValueError(
                    f"{where}: level {level} has a {what} wider than the gap to level {known[place - 1][0]}: it would "
                    f"clear at {reset}, beyond that level's limit {known[place - 1][1]}"
                )

    def limit_of(self, station: str, level: int) -> float | None:
        """The limit in force at a station, or None. A station that is listed has only what it lists."""
        if station in self.stations:
            given = self.stations[station].get(level)
            if given is None:
                return None
            if isinstance(given, StationLimit):
                return given.value if given.enabled else None
            return given
        return self.levels[level].limit

    def reset_of(self, limit: float, level: int) -> float:
        """Where a level clears; exact in decimal, so that 12.38 − 1.85 is 10.53."""
        given = self.levels[level].reset
        if given is not None:
            return given
        deadband = Decimal(str(self.levels[level].deadband))
        exact = Decimal(str(limit))
        return float(exact - deadband if self.direction == "up" else exact + deadband)
