"""The series of a pack, read as plain data: what to publish, how often and how finely."""

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


def read(folder: Path) -> tuple[Series, ...]:
    """Every series of a pack's folder, in the order of its files. Raises CatalogError."""
    try:
        quantities = _load(folder / "quantities.yaml")["quantities"]
        stations = [
            s for file in sorted((folder / "stations").glob("*.yaml")) for s in _load(file)["stations"]
        ]
        found = tuple(
            _series(station["id"], entry, quantities[entry["quantity"]])
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


def _load(file: Path) -> Any:
    return yaml.load(file.read_text("utf-8"), Loader=_LOADER)


def _series(station: str, entry: dict[str, Any], quantity: dict[str, Any]) -> Series:
    low, high = entry.get("range") or quantity["range"]
    return Series(
        domain=entry["domain"],
        station=station,
        quantity=entry["quantity"],
        resolution=float(entry.get("resolution") or quantity["resolution"]),
        interval_us=_duration_us(entry.get("interval") or quantity["interval"]),
        low=float(low),
        high=float(high),
    )


def _duration_us(text: str) -> int:
    parts = _DURATION.findall(text)
    total = sum(round(float(number) * _UNITS_US[unit]) for number, unit in parts)
    if total <= 0:
        raise ValueError(f"{text!r} is no interval")
    return total
