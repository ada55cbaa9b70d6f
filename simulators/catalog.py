"""The series of a pack, read as plain data: what to publish, how often and how finely; and its limits by name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

_UNITS_US = {"us": 1, "ms": 1_000, "s": 1_000_000, "min": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(us|ms|s|min|h|d)")
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class CatalogError(Exception):
    """This folder cannot be simulated; the text says why."""


@dataclass(frozen=True)
class Series:
    """One series as the simulators see it."""

    domain: str
    station: str
    quantity: str
    resolution: float
    interval_us: int
    low: float
    high: float
    lat: float | None = None
    lon: float | None = None

    @cached_property
    def id(self) -> str:
        """`{domain}/{station}/{quantity}`."""
        return f"{self.domain}/{self.station}/{self.quantity}"

    @cached_property
    def topic(self) -> str:
        """Where its readings are published."""
        return f"ioc/v1/{self.id}"

    @cached_property
    def decimals(self) -> int:
        """How many places a value of this resolution has."""
        exponent = Decimal(str(self.resolution)).normalize().as_tuple().exponent
        return max(0, -int(exponent))

    def quantised(self, value: float) -> float:
        """The value as the instrument would show it: within its range, in whole steps of its resolution."""
        bounded = min(max(value, self.low), self.high)
        return round(round(bounded / self.resolution) * self.resolution, self.decimals)


@dataclass(frozen=True)
class Rule:
    """One rule as the simulators see it: what it is about, and its limits as if all of them were enabled.

    `limits` is empty for every kind but `limit`, and for limits that are no plain numbers.
    """

    id: str
    kind: str
    up: bool
    selector: dict[str, tuple[str, ...]]
    limits: dict[int, float]
    stations: dict[str, dict[int, float]]

    def matches(self, series: Series) -> bool:
        """Whether it judges this series: all lists given must hold it, `ids` adds single ones."""
        lists = {"domains": series.domain, "stations": series.station, "quantities": series.quantity}
        given = [name for name in lists if self.selector.get(name)]
        if series.id in self.selector.get("ids", ()):
            return True
        return bool(given) and all(lists[name] in self.selector[name] for name in given)

    def limits_of(self, series: Series) -> dict[int, float]:
        """Level → limit; a station that is listed has only what it lists."""
        return self.stations.get(series.station, self.limits) if self.matches(series) else {}

    def passed(self, limit: float, value: float) -> bool:
        """Whether a value is at a limit or beyond."""
        return value >= limit if self.up else value <= limit


def read(folder: Path) -> tuple[Series, ...]:
    """Every series of a pack's folder, in the order of its files. Raises CatalogError."""
    try:
        quantities = _load(folder / "quantities.yaml")["quantities"]
        stations = [
            s for file in sorted((folder / "stations").glob("*.yaml")) for s in _load(file)["stations"]
        ]
        found = tuple(
            _series(station, entry, quantities[entry["quantity"]])
            for station in stations
            for entry in station["series"]
        )
    except (OSError, yaml.YAMLError) as error:
        raise CatalogError(f"{folder}: cannot be read as a pack: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CatalogError(f"{folder}: not a pack as expected ({type(error).__name__}: {error})") from error
    if not found:
        raise CatalogError(f"{folder}: the pack has no series")
    return found


def read_rules(folder: Path) -> tuple[Rule, ...]:
    """Every rule of a pack's folder that names its series. Raises CatalogError."""
    try:
        entries = [r for file in sorted((folder / "rules").glob("*.yaml")) for r in _load(file)["rules"]]
        return tuple(_rule(entry) for entry in entries if isinstance(entry.get("series"), dict))
    except (OSError, yaml.YAMLError) as error:
        raise CatalogError(f"{folder}: its rules cannot be read: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CatalogError(f"{folder}: rules not as expected ({type(error).__name__}: {error})") from error


def _rule(entry: dict[str, Any]) -> Rule:
    plain = entry["kind"] == "limit" and not entry.get("value")
    levels = {k: level.get("limit") for k, level in entry["levels"].items()} if plain else {}
    stations = (entry.get("stations") or {}) if plain else {}
    return Rule(
        id=entry["id"],
        kind=entry["kind"],
        up=entry.get("direction", "up") == "up",
        selector={name: tuple(names) for name, names in entry["series"].items()},
        limits=_numbers(levels),
        stations={
            name: _numbers({k: v.get("value") if isinstance(v, dict) else v for k, v in own.items()})
            for name, own in stations.items()
        },
    )


def _numbers(limits: dict[int, Any]) -> dict[int, float]:
    return {level: float(v) for level, v in sorted(limits.items()) if isinstance(v, int | float)}


def _load(file: Path) -> Any:
    return yaml.load(file.read_text("utf-8"), Loader=_LOADER)


def _series(station: dict[str, Any], entry: dict[str, Any], quantity: dict[str, Any]) -> Series:
    low, high = entry.get("range") or quantity["range"]
    return Series(
        domain=entry["domain"],
        station=station["id"],
        quantity=entry["quantity"],
        resolution=float(entry.get("resolution") or quantity["resolution"]),
        interval_us=duration_us(entry.get("interval") or quantity["interval"]),
        low=float(low),
        high=float(high),
        lat=station.get("lat"),
        lon=station.get("lon"),
    )


def duration_us(text: str) -> int:
    """`10min`, `1h 30min`: microseconds. Raises ValueError."""
    parts = _DURATION.findall(text)
    total = sum(round(float(number) * _UNITS_US[unit]) for number, unit in parts)
    if total <= 0:
        raise ValueError(f"{text!r} is no interval")
    return total
