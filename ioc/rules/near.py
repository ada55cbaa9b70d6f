"""Which places lie near which, without a function whose last bit depends on the machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Final

import numpy as np

from ioc.model.batch import F64
from ioc.registry import Registry, Station

_KM_PER_DEGREE: Final = 111.195
"""One degree of a great circle on a sphere of 6,371.0088 km, the mean radius R1 of GRS 80."""
_RADIANS: Final = 0.017453292519943295
NEIGHBOURS_MAX: Final = 32


def near(stations: Sequence[Station], km: float) -> dict[str, tuple[str, ...]]:
    """For each station, by id, those within so many kilometres (itself too), in the order given.

    Equirectangular: Δlon × cos(mean latitude) and Δlat as a plane. Beside haversine it errs by less than 0.1 % up to
    200 km and 60° of latitude, far below the ±3 km of the stations' coordinates (domain.md §6).
    """
    lat = np.array([s.lat for s in stations])
    lon = np.array([s.lon for s in stations])
    ids = np.array([s.id for s in stations])
    found: dict[str, tuple[str, ...]] = {}
    for place, station in enumerate(stations):
        within = _square_km(lat[place], lon[place], lat, lon) <= km * km
        within[place] = True
        found[station.id] = tuple(ids[within].tolist())
    return found


class Neighbours(Mapping[int, tuple[int, ...]]):
    """By series number: the series of the same quantity at other stations within `km`, worked out when asked for.

    Symmetric. Where more than `NEIGHBOURS_MAX` lie within the radius there are none: a crowd is no neighbourhood.
    """

    def __init__(self, registry: Registry, numbers: Mapping[str, int], km: float) -> None:
        self._registry, self._numbers, self._km = registry, numbers, km
        self._within: dict[int, tuple[int, ...]] = {}

    @cached_property
    def _quantity(self) -> dict[int, tuple[str, int]]:
        """By number: what is measured, and the place among its like. Made when first needed: a million series have
        no doubtful one among them on most days."""
        return {
            int(number): (quantity, place)
            for quantity, places in self._places.items()
            for place, number in enumerate(places[:, 0].tolist())
        }

    @cached_property
    def _places(self) -> dict[str, F64]:
        """By what is measured: number, latitude and longitude (n, 3)."""
        found: dict[str, list[tuple[float, float, float]]] = {}
        for series_id, number in self._numbers.items():
            series = self._registry.series.get(series_id)
            if series is not None:
                place = (float(number), series.station.lat, series.station.lon)
                found.setdefault(f"{series.domain}/{series.quantity}", []).append(place)
        return {quantity: np.array(places) for quantity, places in found.items()}

    def __getitem__(self, number: int) -> tuple[int, ...]:
        around = self._around(number)
        if len(around) > NEIGHBOURS_MAX:
            return ()
        return tuple(other for other in around if len(self._around(other)) <= NEIGHBOURS_MAX)

    def __iter__(self) -> Iterator[int]:
        return iter(self._quantity)

    def __len__(self) -> int:
        return len(self._quantity)

    def _around(self, number: int) -> tuple[int, ...]:
        known = self._within.get(number)
        if known is None:
            quantity, place = self._quantity[number]
            numbers, lat, lon = self._places[quantity].T
            near = np.flatnonzero(_square_km(lat[place], lon[place], lat, lon) <= self._km * self._km)
            found = numbers[near[near != place]].astype(np.int64).tolist()
            known = self._within[number] = tuple(found)
        return known


def _square_km(lat: float, lon: float, lats: F64, lons: F64) -> F64:
    turn = np.abs(lons - lon)
    east = np.minimum(turn, 360.0 - turn) * _cosine((lats + lat) / 2)
    north = lats - lat
    square: F64 = (east * east + north * north) * (_KM_PER_DEGREE * _KM_PER_DEGREE)
    return square


def _cosine(degrees: F64) -> F64:
    """By its series up to x^20 in + − × ÷: exact to 1e-15 between −90° and 90°, and the same on every machine."""
    square = (degrees * _RADIANS) * (degrees * _RADIANS)
    term = total = np.ones_like(degrees)
    for n in range(1, 11):
        term = term * -square / ((2 * n - 1) * (2 * n))
        total = total + term
    return total
