"""A storm of several days, scaled after typhoon Yagi 2024, laid over the calm of `stations.py`.

Rain falls in cells that move from the south-east to the north-west over a broad rain that fills up to each place's
total. Soil takes it up; streams answer within the hour; the Thao rises at Lào Cai from the rain of its headwaters and
comes down to the other gauges after `THAO`'s travel times; reservoirs fill and spill.

Everything is a function of (seed, begin, series, time). The water is computed once for a place, in steps of ten
minutes from the storm's begin, and read between them by straight lines. Peaks: Lào Cai 87.12 and Bảo Hà 61.09 on
2024-09-09, Yên Bái 35.73 on 2024-09-10 (bulletins). The travel times and all that no bulletin told are ours.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

from simulators import troubles
from simulators.catalog import Series
from simulators.noise import key, unit, wander
from simulators.stations import BASES, HOUR_US, MEAN_M3S, OTHER_M3S, SLOT_US

HOUR = 6
"""Slots of ten minutes."""
SLOTS = 8 * 24 * HOUR
"""After eight days nothing of it is left but the slopes that moved."""
LENGTH_US = SLOTS * SLOT_US
_FADE = 24 * HOUR
_UM = 1000
REACH_KM = 160.0
"""Stations further from the middle of the province stay calm."""
RAIN_MM_H_MAX = 88.0
TOTAL_MM = (210.0, 490.0)
"""What falls on a place in all."""

THAO = {"lao_cai": 0.0, "pho_lu": 1.5, "bao_ha": 3.0, "mau_a": 7.0, "yen_bai": 10.0}
"""Hours after Lào Cai."""
PEAK_M = {
    "lao_cai": 87.12, "pho_lu": 74.60, "bao_ha": 61.09, "mau_a": 46.10, "yen_bai": 35.73,
    "vinh_yen": 132.30, "van_ban": 91.20, "nghia_lo": 45.90, "pho_rang": 76.20,
}  # fmt: skip
PEAK_SPREAD_M = 0.3
"""By how much a seed's peak may differ."""
STREAM_H = {"vinh_yen": (0.4, 2), "van_ban": (0.4, 2), "nghia_lo": (0.45, 2), "pho_rang": (1.5, 3)}
"""How a stream holds the rain back: hours, and how often one after another."""
SATURATED_PCT = 97.0
SOIL_MM = 150.0
SLIDE_WET = 0.75
SLIDE_AT = 1.4
"""A slope that is wet (0 to 1) gives way when wetness and a two hundredth of six hours' rain in mm reach this, more
or less."""


@dataclass(frozen=True, slots=True)
class Plant:
    """How a reservoir takes a flood: peak inflow, hours of delay, km² of water, metres up to its gates, turbines."""

    peak_m3s: float
    delay_h: float
    area_km2: float
    crest_m: float
    turbines_m3s: float


PLANTS = {
    "ngoi_phat": Plant(620.0, 1.0, 1.0, 1.5, 25.0),
    "muong_hum": Plant(420.0, 1.0, 1.0, 1.5, 15.0),
    "bac_ha_hpp": Plant(3900.0, 3.0, 9.0, 3.0, 120.0),
    "thac_ba": Plant(5200.0, 6.0, 75.0, 2.8, 230.0),
    "su_pan_2": Plant(480.0, 1.0, 1.0, 1.5, 20.0),
    "ta_thang": Plant(900.0, 1.5, 2.0, 2.0, 40.0),
}

_MIDDLE = (22.1, 104.3)
_KM_LAT, _KM_LON = 111.0, 103.0
_ANCHORS = (
    (22.53, 103.89), (22.34, 103.84), (22.65, 103.61), (22.54, 104.29), (22.35, 104.48), (22.20, 104.57),
    (22.09, 104.25), (21.85, 104.09), (21.47, 104.38), (21.60, 104.50), (22.10, 104.72), (21.71, 104.87),
    (21.88, 104.70), (22.76, 104.12), (22.85, 103.40), (22.32, 104.19), (22.95, 103.20), (22.24, 103.95),
)  # fmt: skip
_HEADWATERS = ((22.53, 103.85), (22.65, 103.61), (22.85, 103.40), (22.95, 103.20))
_ALONG = ((22.34, 103.90), (22.32, 104.19), (22.09, 104.25), (21.88, 104.60))
_RAIN = re.compile(r"rain_(\d+)(min|h)")


@dataclass(frozen=True, slots=True)
class Cell:
    """A shower that passes over a point (km east and north of the middle) at an hour of the storm."""

    east: float
    north: float
    hour: float
    half_h: float
    radius_km: float
    mm_h: float
    west_km_h: float
    north_km_h: float

    def rain(self, east: float, north: float, hour: float) -> float:
        """mm/h at a point."""
        since = hour - self.hour
        alive = _bump(since / self.half_h)
        if not alive:
            return 0.0
        dx = (east - self.east + self.west_km_h * since) / self.radius_km
        dy = (north - self.north - self.north_km_h * since) / self.radius_km
        return self.mm_h * alive * _bump(math.sqrt(dx * dx + dy * dy))


class Storm:
    """One storm over one pack's stations; what it computes of a place is kept."""

    def __init__(self, seed: int, begin_us: int, series: Collection[Series]) -> None:
        self.seed, self.begin_us = seed, begin_us
        self.end_us = begin_us + LENGTH_US
        self.outages = troubles.outages(seed, begin_us, series)
        self.revisions = sorted(
            (r for outage in self.outages for r in outage.revisions()), key=lambda r: (r.t_us, r.outage.id)
        )
        self.spells = troubles.spells(seed, begin_us, series)
        self._tables: dict[tuple[str, str], Sequence[float]] = {}
        self._touch: dict[str, Callable[[Series, int, float], float]] = {
            "soil_moisture": self._soil,
            "tilt": self._tilt,
            "reservoir_level": self._reservoir("rise"),
            "inflow": self._reservoir("inflow"),
            "outflow": self._reservoir("outflow"),
            "spill_gate": self._reservoir("gate"),
            "wind_speed": self._weather(6.0),
            "wind_gust": self._weather(9.0),
            "pressure": self._weather(-9.0),
            "temperature": self._weather(-3.0),
            "temperature_24h": self._weather(-1.5),
            "humidity": self._humidity,
            "visibility": self._visibility,
        }

    def value(self, series: Series, t_us: int, calm: float) -> float:
        """What a sound sensor shows instead of its calm value, in whole steps of its resolution."""
        if t_us < self.begin_us:
            return calm
        if series.quantity in ("active_power", "current"):
            return 0.0 if any(outage.holds(series, t_us) for outage in self.outages) else calm
        return series.quantised(self._shown(series, t_us, calm))

    def _shown(self, series: Series, t_us: int, calm: float) -> float:
        if series.quantity in ("water_level", "discharge"):
            return self._river(series, t_us, calm) if series.station in PEAK_M else calm
        if not _near(series):
            return calm
        rain = _RAIN.fullmatch(series.quantity)
        if rain:
            window_us = int(rain[1]) * (HOUR_US if rain[2] == "h" else HOUR_US // 60)
            return calm + self._fallen(series, t_us) - self._fallen(series, t_us - window_us)
        touch = self._touch.get(series.quantity)
        return touch(series, t_us, calm) if touch else calm

    # Rain

    @cached_property
    def _cells(self) -> list[Cell]:
        out = []
        for number, (lat, lon) in enumerate(_ANCHORS):
            east, north = _km(lat, lon)
            draw = [(unit(key(self.seed, "cell"), number * 8 + i) + 1.0) / 2.0 for i in range(6)]
            # Those in the west come later: the storm moves on.
            hour = 12.0 + 26.0 * draw[0] + 8.0 * (60.0 - east) / 160.0
            out.append(
                Cell(
                    east, north, hour, 2.5 + 2.0 * draw[1], 14.0 + 9.0 * draw[2], 52.0 + 38.0 * draw[3],
                    5.0 + 7.0 * draw[4], 2.0 + 4.0 * draw[5],
                )
            )  # fmt: skip
        return out

    def _intensity(self, name: str, lat: float, lon: float) -> list[float]:
        """mm/h in each slot at a place."""
        east, north = _km(lat, lon)
        cells = [0.0] * SLOTS
        for cell in self._cells:
            first = max(0, int((cell.hour - cell.half_h) * HOUR))
            for i in range(first, min(SLOTS, int((cell.hour + cell.half_h) * HOUR) + 1)):
                cells[i] += cell.rain(east, north, (i + 0.5) / HOUR)
        source = key(self.seed, name, "broad rain")
        broad = [_spell_of(i, 2, 14, 52, 66) for i in range(SLOTS)]
        broad = [
            v * (1.15 + wander(source, i * SLOT_US, 2 * HOUR_US)) if v else 0.0 for i, v in enumerate(broad)
        ]
        share = (unit(key(self.seed, name, "total"), 0) + 1.0) / 2.0
        total = TOTAL_MM[0] + (TOTAL_MM[1] - TOTAL_MM[0]) * share
        of_cells, of_broad = math.fsum(cells) / HOUR, math.fsum(broad) / HOUR
        fewer = min(1.0, (TOTAL_MM[1] - 60.0) / of_cells) if of_cells else 1.0
        filled = max(total - fewer * of_cells, 60.0) / of_broad
        return [min(fewer * c + filled * b, RAIN_MM_H_MAX) for c, b in zip(cells, broad, strict=True)]

    def _rain_at(self, series: Series) -> Sequence[float]:
        assert series.lat is not None and series.lon is not None
        lat, lon = series.lat, series.lon
        return self._table("rain", series.station, lambda: self._intensity(series.station, lat, lon))

    def _fallen(self, series: Series, t_us: int) -> float:
        """mm since the begin; in whole micrometres, so that windows of one rain are sums of each other."""

        def sums() -> list[float]:
            slots = (round(v * _UM / HOUR) for v in self._rain_at(series))
            return list(itertools.accumulate(slots, initial=0))

        table = self._table("fallen", series.station, sums)
        return self._read(table, t_us, after=table[-1]) / _UM

    def _mean_rain(self, name: str, places: Sequence[tuple[float, float]]) -> list[float]:
        rains = [self._intensity(f"{name} {i}", *place) for i, place in enumerate(places)]
        return [math.fsum(at) / len(at) for at in zip(*rains, strict=True)]

    # Soil and slopes

    def _wet(self, series: Series) -> Sequence[float]:
        """0 is the calm soil, 1 full of water."""

        def soak() -> list[float]:
            out, wet = [0.0], 0.0
            for mm_h in self._rain_at(series)[:-1]:
                wet += mm_h / HOUR / SOIL_MM * (1.0 - wet) - wet / (90.0 * HOUR)
                out.append(wet)
            return _faded(out)

        return self._table("wet", series.station, soak)

    def _soil(self, series: Series, t_us: int, calm: float) -> float:
        return calm + (SATURATED_PCT - calm) * self._read(self._wet(series), t_us)

    def slide_us(self, series: Series) -> int | None:
        """When the slope at a station gives way, if it does."""
        if not _near(series):
            return None
        need = SLIDE_AT + 0.1 * unit(key(self.seed, series.station, "slope"), 0)
        for i, wet in enumerate(self._wet(series)):
            t_us = self.begin_us + i * SLOT_US
            rain_6h = self._fallen(series, t_us) - self._fallen(series, t_us - 6 * HOUR_US)
            if wet >= SLIDE_WET and wet + rain_6h / 200.0 >= need:
                return t_us
        return None

    def _tilt(self, series: Series, t_us: int, calm: float) -> float:
        """Six hours of creeping, then the slide, after which the slope stays where it is."""

        def moved() -> list[float]:
            at_us = self.slide_us(series)
            if at_us is None:
                return [0.0] * SLOTS
            far = 9.0 + 3.0 * unit(key(self.seed, series.station, "slope"), 1)
            at = (at_us - self.begin_us) // SLOT_US
            creep = [0.8 * max(0.0, 1.0 - (at - i) / (6.0 * HOUR)) ** 2 for i in range(at)]
            return creep + [min(far, 0.8 + (far - 0.8) * (i - at) / 3.0) for i in range(at, SLOTS)]

        table = self._table("tilt", series.station, moved)
        return calm + self._read(table, t_us, after=table[-1])

    # Rivers

    def peak_m(self, station: str) -> float:
        """The highest level of a gauge in this storm, but for a few centimetres of waves."""
        return PEAK_M[station] + PEAK_SPREAD_M * unit(key(self.seed, station, "peak"), 0)

    def _river(self, series: Series, t_us: int, calm: float) -> float:
        high = self._read(self._high_water(series), t_us)
        station = series.station
        if series.quantity == "discharge":
            rise = (self.peak_m(station) - BASES[station, "water_level"]) * high
            return calm + MEAN_M3S.get(station, OTHER_M3S) * (0.5 * rise + 0.06 * rise * rise)
        waves = 0.02 * unit(key(self.seed, station, "waves"), t_us)
        return calm + (self.peak_m(station) - calm + waves) * high

    def _high_water(self, series: Series) -> Sequence[float]:
        """0 is the calm level, 1 the peak."""
        station = series.station
        if station not in THAO:
            return self._table("high", station, lambda: self._stream(series))
        return self._table("high", station, lambda: self._thao(THAO[station]))

    def _stream(self, series: Series) -> list[float]:
        if not _near(series):
            return [0.0] * SLOTS
        delay_h, times = STREAM_H[series.station]
        return _scaled(_held_back(self._rain_at(series), delay_h, times))

    def _thao(self, travel_h: float) -> list[float]:
        head = self._table(
            "head", "", lambda: _scaled(_held_back(_later(self._mean_rain("head", _HEADWATERS), 2.0), 4.0, 3))
        )
        if not travel_h:
            return list(head)
        # A wave flattens as it goes: one of its hours is spent in being held back.
        wave = _held_back(_later(head, travel_h - 1.0), 0.5, 2)
        side = self._table(
            "side", "", lambda: _scaled(_held_back(_later(self._mean_rain("side", _ALONG), 2.0), 4.0, 3))
        )
        return _scaled([0.93 * w + 0.07 * s for w, s in zip(wave, _later(side, travel_h), strict=True)])

    # Reservoirs

    def _reservoir(self, part: str) -> Callable[[Series, int, float], float]:
        def shown(series: Series, t_us: int, calm: float) -> float:
            plant = PLANTS.get(series.station)
            if plant is None:
                return calm
            table = self._tables.get((part, series.station))
            if table is None:
                self._fill(series, plant)
                table = self._tables[part, series.station]
            return calm + self._read(table, t_us)

        return shown

    def _fill(self, series: Series, plant: Plant) -> None:
        """Water balance in steps of ten minutes: turbines take what they can, gates open above the crest."""
        inflow = [plant.peak_m3s * v for v in _scaled(_held_back(self._rain_at(series), plant.delay_h, 3))]
        area_m2, most, rise, step_s = plant.area_km2 * 1e6, 1.3 * plant.peak_m3s, 0.0, 600.0
        parts: dict[str, list[float]] = {"rise": [], "inflow": inflow, "outflow": [], "gate": []}
        for flow in inflow:
            gate = min(max((rise - plant.crest_m) / 2.0, 0.0), 1.0)
            out = min(plant.turbines_m3s, flow + rise * area_m2 / step_s) + gate * most
            parts["rise"].append(rise)
            parts["outflow"].append(out)
            parts["gate"].append(100.0 * gate)
            rise = max(rise + (flow - out) * step_s / area_m2, 0.0)
        for name, table in parts.items():
            self._tables[name, series.station] = _faded(table)

    # Weather

    def _weather(self, most: float) -> Callable[[Series, int, float], float]:
        def shown(_series: Series, t_us: int, calm: float) -> float:
            return calm + most * self._grey(t_us)

        return shown

    def _humidity(self, _series: Series, t_us: int, calm: float) -> float:
        return calm + (98.0 - calm) * self._grey(t_us)

    def _visibility(self, _series: Series, t_us: int, calm: float) -> float:
        return calm + (min(calm, 2200.0) - calm) * self._grey(t_us)

    def _grey(self, t_us: int) -> float:
        """How much of the storm is over the province, 0 to 1."""
        return self._read(
            self._table("grey", "", lambda: [_spell_of(i, 0, 16, 50, 74) for i in range(SLOTS)]), t_us
        )

    def _table(self, what: str, place: str, make: Callable[[], Sequence[float]]) -> Sequence[float]:
        found = self._tables.get((what, place))
        if found is None:
            found = self._tables[what, place] = make()
        return found

    def _read(self, table: Sequence[float], t_us: int, after: float = 0.0) -> float:
        slot, rest = divmod(t_us - self.begin_us, SLOT_US)
        if slot < 0:
            return 0.0
        if slot >= len(table) - 1:
            return after
        return table[slot] + (table[slot + 1] - table[slot]) * (rest / SLOT_US)


def _near(series: Series) -> bool:
    if series.lat is None or series.lon is None:
        return False
    east, north = _km(series.lat, series.lon)
    return east * east + north * north <= REACH_KM * REACH_KM


def _km(lat: float, lon: float) -> tuple[float, float]:
    return (lon - _MIDDLE[1]) * _KM_LON, (lat - _MIDDLE[0]) * _KM_LAT


def _bump(x: float) -> float:
    return (1.0 - x * x) ** 2 if -1.0 < x < 1.0 else 0.0


def _spell_of(slot: int, begin_h: float, full_h: float, less_h: float, end_h: float) -> float:
    """0 before and after, 1 in the middle, smooth between."""
    hour = slot / HOUR
    x = min(max(min((hour - begin_h) / (full_h - begin_h), (end_h - hour) / (end_h - less_h)), 0.0), 1.0)
    return x * x * (3.0 - 2.0 * x)


def _later(table: Sequence[float], hours: float) -> list[float]:
    slots = round(hours * HOUR)
    return [0.0] * slots + list(table[: len(table) - slots])


def _held_back(table: Sequence[float], hours: float, times: int) -> list[float]:
    """Linear reservoirs one after another."""
    out = list(table)
    for _ in range(times):
        level = 0.0
        for i, v in enumerate(out):
            level += (v - level) / (hours * HOUR + 1.0)
            out[i] = level
    return out


def _scaled(table: Sequence[float]) -> list[float]:
    """Its highest is 1."""
    return _faded([v / max(table) for v in table])


def _faded(table: Sequence[float]) -> list[float]:
    """Nothing is left at the end."""
    return [v * min(1.0, (SLOTS - 1 - i) / _FADE) for i, v in enumerate(table)]
