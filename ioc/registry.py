"""Stations and series: what is measured where, in which unit, how often and how finely.

A series id is `{domain}/{station}/{quantity}`. Its number is given once by `SeriesAdded` and never by its place
in a file; `Registry.columns` aligns what the stages need by that number.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Literal

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from ioc.model.batch import F64, I64, Bool
from ioc.model.quality import QualityTests
from ioc.model.text import Text
from ioc.yamlfile import Duration

ID = re.compile(r"[a-z0-9_]{1,64}")
RESERVED_QUANTITIES = frozenset({"t", "q", "v"})
"""Keys of the payload convention; no quantity may bear these names."""

MAX_AGE_US = 30 * 60 * 1_000_000
NO_DEADLINE_US = 1 << 61
"""Later than any deadline; a series without an expected interval is never silent."""


class Domain(StrEnum):
    """The first part of a series id and of its topic."""

    ENVIRONMENT = "environment"
    DISASTER = "disaster"
    ENERGY = "energy"
    SYSTEM = "system"


def _slug(value: str) -> str:
    if not ID.fullmatch(value):
        raise ValueError(f"{value!r} must be made of a-z, 0-9 and _")
    return value


Slug = Annotated[str, AfterValidator(_slug)]
"""A name in ids and topics."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Quantity(_Model):
    """What can be measured, and how it usually is. A series may say otherwise."""

    name: Text
    unit: str
    """UCUM code, e.g. `m`, `mm`, `ug/m3`, `Cel`, `Hz`."""
    unit_text: str
    """As people write it: `m`, `mm`, `µg/m³`, `°C`, `Hz`."""
    resolution: Annotated[float, Field(gt=0)]
    interval: Duration
    range: tuple[float, float]
    """What the instrument can physically measure; anything outside is bad quality."""
    quality: QualityTests | None = None

    @model_validator(mode="after")
    def _check(self) -> Quantity:
        if not (self.range[0] < self.range[1] and all(map(math.isfinite, self.range))):
            raise ValueError("range must be two finite numbers, low before high")
        if self.interval <= 0:
            raise ValueError("interval must be longer than 0")
        return self


class SeriesEntry(_Model):
    """One series of a station as a pack writes it; what is left out comes from the quantity."""

    quantity: str
    domain: Domain
    name: Text | None = None
    resolution: Annotated[float, Field(gt=0)] | None = None
    interval: Duration | None = None
    range: tuple[float, float] | None = None
    datum: str | None = None
    stale_after: Duration | None = None
    conflict: Literal["replace", "keep-first", "reject"] = "replace"
    group: str | None = None
    """The wall's tile; by default the quantity's in the pack."""
    quality: QualityTests | None = None
    """Instead of the quantity's."""

    @field_validator("quantity")
    @classmethod
    def _quantity(cls, value: str) -> str:
        if value in RESERVED_QUANTITIES:
            raise ValueError(f"no quantity may be named {value!r}: the payload convention uses it")
        return _slug(value)


class Station(_Model):
    """A place with instruments. `commune` is the official code (2025)."""

    id: Slug
    name: Text
    commune: str
    lat: Annotated[float, Field(ge=-90, le=90)]
    lon: Annotated[float, Field(ge=-180, le=180)]
    note: str = ""
    series: tuple[SeriesEntry, ...]


class StationsFile(_Model):
    """`stations/*.yaml`."""

    stations: tuple[Station, ...]


class QuantitiesFile(_Model):
    """`quantities.yaml`."""

    quantities: dict[str, Quantity]

    @field_validator("quantities")
    @classmethod
    def _names(cls, value: dict[str, Quantity]) -> dict[str, Quantity]:
        for name in value:
            if name in RESERVED_QUANTITIES:
                raise ValueError(f"no quantity may be named {name!r}: the payload convention uses it")
            _slug(name)
        return value


@dataclass(frozen=True, slots=True)
class Series:
    """One series, resolved. Times in microseconds; `unit` is UCUM."""

    id: str
    domain: Domain
    station: Station
    quantity: str
    name: Text
    unit: str
    unit_text: str
    resolution: float
    interval_us: int
    range: tuple[float, float]
    datum: str | None
    stale_after_us: int
    max_age_us: int
    max_gap_us: int
    conflict: str
    group: str | None
    quality: QualityTests | None = None
    derived: bool = False
    """Computed here from other series: nobody sends it, and it is silent when they are."""


@dataclass(frozen=True, slots=True)
class SeriesColumns:
    """What the stages ask of a series, aligned by number; each of shape (highest number + 1,).

    A number without an entry (registered automatically, or withdrawn) has `watched` false and wide bounds.
    """

    watched: Bool
    interval_us: I64
    stale_after_us: I64
    max_age_us: I64
    max_gap_us: I64
    low: F64
    high: F64
    replace: Bool
    """Conflict policy: take the other value as a revision (else keep the first)."""

    def __len__(self) -> int:
        return len(self.watched)


class Registry:
    """Every station and series of the loaded pack."""

    def __init__(self, stations: tuple[Station, ...], quantities: Mapping[str, Quantity]) -> None:
        self.stations = {s.id: s for s in stations}
        self.quantities = dict(quantities)
        self.series: dict[str, Series] = {}
        for station in stations:
            for entry in station.series:
                self.add(station, entry)

    def add(
        self, station: Station, entry: SeriesEntry, *, interval_us: int = 0, derived: bool = False
    ) -> Series:
        """One more series of a station; a derived one takes the interval of its inputs."""
        quantity = self.quantities[entry.quantity]
        interval = interval_us or entry.interval or quantity.interval
        series = Series(
            id=f"{entry.domain}/{station.id}/{entry.quantity}",
            domain=entry.domain,
            station=station,
            quantity=entry.quantity,
            name=entry.name or quantity.name,
            unit=quantity.unit,
            unit_text=quantity.unit_text,
            resolution=entry.resolution or quantity.resolution,
            interval_us=interval,
            range=entry.range or quantity.range,
            datum=entry.datum,
            stale_after_us=entry.stale_after or 3 * interval,
            max_age_us=max(MAX_AGE_US, 3 * interval),
            max_gap_us=3 * interval,
            conflict=entry.conflict,
            group=entry.group,
            quality=entry.quality or quantity.quality,
            derived=derived,
        )
        self.series[series.id] = series
        return series

    @cached_property
    def min_lead_us(self) -> int:
        """No deadline is ever set nearer than this after the sample or connection that sets it."""
        return min(
            (min(s.stale_after_us, s.max_gap_us) for s in self.series.values() if not s.derived),
            default=NO_DEADLINE_US,
        )

    def columns(self, numbers: Mapping[str, int]) -> SeriesColumns:
        """Aligned by the numbers given; every number below the highest has a row."""
        size = max(numbers.values(), default=-1) + 1
        columns = SeriesColumns(
            watched=np.zeros(size, np.bool_),
            interval_us=np.full(size, MAX_AGE_US // 3, np.int64),
            stale_after_us=np.full(size, NO_DEADLINE_US, np.int64),
            max_age_us=np.full(size, MAX_AGE_US, np.int64),
            max_gap_us=np.full(size, MAX_AGE_US, np.int64),
            low=np.full(size, -np.inf),
            high=np.full(size, np.inf),
            replace=np.ones(size, np.bool_),
        )
        for series_id, number in numbers.items():
            series = self.series.get(series_id)
            if series is None:
                continue
            columns.watched[number] = not series.derived
            columns.interval_us[number] = series.interval_us
            columns.stale_after_us[number] = series.stale_after_us
            columns.max_age_us[number] = series.max_age_us
            columns.max_gap_us[number] = series.max_gap_us
            columns.low[number], columns.high[number] = series.range
            columns.replace[number] = series.conflict == "replace"
        return columns
