"""Rules as people write them in YAML, checked.

A limit bears its source and a mark of certainty (`domain.md`'s): F found in the source text, D derived by
arithmetic, S secondary source, M memory, U uncertain. What is U cannot be enabled.
"""

from __future__ import annotations

import itertools
import math
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ioc.model.text import Text
from ioc.registry import Domain, Series, Slug
from ioc.yamlfile import Duration

LEVELS_MAX = 5


class Mark(StrEnum):
    """How certain a figure is."""

    FOUND = "F"
    DERIVED = "D"
    SECONDARY = "S"
    MEMORY = "M"
    UNCERTAIN = "U"


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Source(_Model):
    """Where a limit comes from."""

    text: str
    article: str = ""
    mark: Mark
    status: str = ""
    verified_by: str = ""


class Selector(_Model):
    """Which series a rule is about: all that match every list given; `ids` adds single ones."""

    domains: tuple[Domain, ...] = ()
    stations: tuple[str, ...] = ()
    quantities: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()

    def matches(self, series: Series) -> bool:
        """Whether the rule judges this series."""
        if series.id in self.ids:
            return True
        if self.ids and not (self.domains or self.stations or self.quantities):
            return False
        return (
            (not self.domains or series.domain in self.domains)
            and (not self.stations or series.station.id in self.stations)
            and (not self.quantities or series.quantity in self.quantities)
        )


class _Rule(_Model):
    id: Slug
    title: Text
    enabled: bool = True
    guidance: Text | None = None


Priority = Annotated[int, Field(ge=1, le=4)]
Level = Annotated[int, Field(ge=1, le=LEVELS_MAX)]


class LimitLevel(_Model):
    """One level: its own Schmitt trigger with its own delays over event time."""

    name: Text
    priority: Priority
    limit: float | None = None
    """In the series' unit; None where only stations give it."""
    deadband: Annotated[float, Field(ge=0)] = 0.0
    on_delay: Duration = 0
    off_delay: Duration = 0


class StationLimit(_Model):
    """A limit of one station, with its own certainty."""

    value: float
    mark: Mark
    enabled: bool = True

    @model_validator(mode="after")
    def _certain(self) -> StationLimit:
        if self.mark is Mark.UNCERTAIN and self.enabled:
            raise ValueError("a limit marked U (uncertain) must say enabled: false")
        return self


class LimitRule(_Rule):
    """Up to five levels in one direction; raised at value ≥ limit (up) or ≤ limit (down).

    A level clears at value < limit − deadband (up) or > limit + deadband (down).
    """

    kind: Literal["limit"]
    series: Selector
    direction: Literal["up", "down"] = "up"
    source: Source
    levels: dict[Level, LimitLevel]
    stations: dict[str, dict[Level, StationLimit | float]] = {}

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
        self._in_order("levels", {k: v.limit for k, v in self.levels.items()})
        for station in self.stations:
            self._in_order(f"stations.{station}", {k: self.limit_of(station, k) for k in self.levels})
        if not self.stations and any(v.limit is None for v in self.levels.values()):
            raise ValueError("a level without a limit needs stations that give one")
        return self

    def _in_order(self, where: str, limits: dict[int, float | None]) -> None:
        known = [limit for _, limit in sorted(limits.items()) if limit is not None]
        sign = 1 if self.direction == "up" else -1
        for low, high in itertools.pairwise(known):
            if sign * low >= sign * high:
                raise ValueError(
                    f"{where}: the limits must get worse from level to level, not {low} then {high}"
                )
        if not all(math.isfinite(v) for v in known):
            raise ValueError(f"{where}: limits must be finite")

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
        deadband = Decimal(str(self.levels[level].deadband))
        exact = Decimal(str(limit))
        return float(exact - deadband if self.direction == "up" else exact + deadband)


class NoDataRule(_Rule):
    """Silence: nothing new of a series for its deadline while its source is connected (receive time)."""

    kind: Literal["no_data"]
    series: Selector = Selector()
    priority: Priority


class TooLateRule(_Rule):
    """Data comes, but every sample is older than `max_age`: too late to warn."""

    kind: Literal["too_late"]
    series: Selector = Selector()
    priority: Priority


class SourceDownRule(_Rule):
    """A source has been disconnected for `after`: one alarm, and its series are blind spots."""

    kind: Literal["source_down"]
    after: Duration
    priority: Priority


class SystemRule(_Rule):
    """A fact about the centre itself (`disk_low`, `clock_step`)."""

    kind: Literal["system"]
    fact: str
    priority: Priority


Rule = Annotated[
    LimitRule | NoDataRule | TooLateRule | SourceDownRule | SystemRule, Field(discriminator="kind")
]


class RulesFile(_Model):
    """`rules/*.yaml`."""

    rules: tuple[Rule, ...]
