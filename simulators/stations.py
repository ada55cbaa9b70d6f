"""What each sensor shows on an ordinary day: a function of (seed, series, time), always well inside the limits.

A value is base + daily rhythm + wander + jitter, all of them bounded, so that calm is calm for every seed.
Quantities that hang together (gust and wind, discharge and level, oil and load, the rain windows) are computed
from one another.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from simulators.catalog import Series
from simulators.noise import key, unit, wander

HOUR_US = 3_600_000_000
LOCAL_US = 7 * HOUR_US
"""Daily rhythms follow the province's clock (UTC+7)."""
SLOT_US = HOUR_US // 6
"""Rain falls in slots of ten minutes."""
_WET_FROM = 0.35
_SLOT_MM_MAX = 0.25
"""Wettest slot of calm weather: 24 h of it stay below every rain limit."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How one quantity moves; `spread` differs from station to station, the rest in time."""

    base: float
    spread: float = 0.0
    daily: float = 0.0
    peak_h: float = 14.0
    wander: float = 0.0
    step_s: int = 600
    jitter: float = 0.0


SHAPES: dict[str, Shape] = {
    "water_level": Shape(50.0, wander=0.25, step_s=1800, jitter=0.012),
    "soil_moisture": Shape(58.0, 8.0, wander=5.0, step_s=3600, jitter=0.15),
    "tilt": Shape(0.0, 0.4, daily=0.02, wander=0.03, step_s=3600, jitter=0.008),
    "temperature": Shape(24.0, 0.8, daily=3.5, wander=1.5, step_s=1800, jitter=0.1),
    "temperature_24h": Shape(24.0, 0.8, wander=0.7, step_s=4 * 3600),
    "humidity": Shape(78.0, 3.0, daily=9.0, peak_h=4.0, wander=5.0, step_s=1800, jitter=0.6),
    "pressure": Shape(1002.0, 2.0, daily=1.5, peak_h=9.5, wander=3.0, step_s=2 * 3600, jitter=0.1),
    "wind_speed": Shape(3.6, 0.8, daily=0.9, wander=1.6, step_s=60, jitter=0.25),
    "visibility": Shape(8200.0, 600.0, daily=1400.0, wander=2800.0, step_s=1200, jitter=60.0),
    "pm25": Shape(20.0, 4.0, daily=4.0, peak_h=8.0, wander=7.0, step_s=900, jitter=0.4),
    "pm25_24h": Shape(20.0, 4.0, wander=3.0, step_s=4 * 3600),
    "pm10": Shape(38.0, 6.0, daily=7.0, peak_h=8.0, wander=11.0, step_s=900, jitter=0.7),
    "pm10_24h": Shape(38.0, 6.0, wander=5.0, step_s=4 * 3600),
    "so2": Shape(38.0, 8.0, daily=5.0, peak_h=10.0, wander=14.0, step_s=900, jitter=0.5),
    "no2": Shape(30.0, 6.0, daily=9.0, peak_h=18.0, wander=9.0, step_s=900, jitter=0.5),
    "co": Shape(900.0, 150.0, daily=180.0, peak_h=18.0, wander=220.0, step_s=900, jitter=12.0),
    "o3": Shape(48.0, 5.0, daily=26.0, wander=10.0, step_s=1200, jitter=0.6),
    "noise": Shape(54.0, 2.5, daily=5.0, peak_h=15.0, wander=3.0, step_s=60, jitter=0.8),
    "ph": Shape(7.2, 0.15, daily=0.08, wander=0.2, step_s=3600, jitter=0.01),
    "dissolved_oxygen": Shape(6.9, 0.3, daily=0.35, wander=0.4, step_s=3600, jitter=0.02),
    "cod": Shape(8.8, 1.0, wander=1.6, step_s=2 * 3600, jitter=0.1),
    "tss": Shape(46.0, 8.0, wander=12.0, step_s=3600, jitter=1.2),
    "nh4": Shape(0.12, 0.03, wander=0.04, step_s=2 * 3600, jitter=0.004),
    "water_temperature": Shape(23.0, 1.0, daily=0.9, peak_h=16.0, wander=0.6, step_s=3600, jitter=0.03),
    "conductivity": Shape(210.0, 30.0, wander=15.0, step_s=3600, jitter=1.5),
    "reservoir_level": Shape(100.0, daily=-0.15, peak_h=19.0, wander=0.25, step_s=2 * 3600, jitter=0.006),
    "inflow": Shape(60.0, daily=4.0, peak_h=6.0, wander=7.0, step_s=1800, jitter=0.4),
    "spill_gate": Shape(0.0),
    "frequency": Shape(50.0, wander=0.07, step_s=8, jitter=0.006),
    "voltage_500kv": Shape(505.0, 2.0, daily=-3.0, peak_h=19.0, wander=4.0, step_s=120, jitter=0.3),
    "voltage_220kv": Shape(227.0, 1.5, daily=-2.0, peak_h=19.0, wander=2.5, step_s=120, jitter=0.15),
    "voltage_110kv": Shape(114.5, 0.8, daily=-1.0, peak_h=19.0, wander=1.3, step_s=120, jitter=0.1),
    "voltage_ab": Shape(114.6, 0.2, daily=-1.0, peak_h=19.0, wander=0.4, step_s=120, jitter=0.1),
    "voltage_bc": Shape(114.4, 0.2, daily=-1.0, peak_h=19.0, wander=0.4, step_s=120, jitter=0.1),
    "voltage_ca": Shape(114.5, 0.2, daily=-1.0, peak_h=19.0, wander=0.4, step_s=120, jitter=0.1),
    "load_pct": Shape(54.0, 6.0, daily=12.0, peak_h=19.0, wander=5.0, step_s=300, jitter=0.4),
    "voltage_thd": Shape(1.5, 0.2, daily=0.2, peak_h=20.0, wander=0.25, step_s=900, jitter=0.02),
}

BASES: dict[tuple[str, str], float] = {
    ("lao_cai", "water_level"): 79.0,
    ("pho_lu", "water_level"): 66.4,
    ("bao_ha", "water_level"): 53.1,
    ("pho_rang", "water_level"): 69.3,
    ("vinh_yen", "water_level"): 129.4,
    ("van_ban", "water_level"): 87.6,
    ("mau_a", "water_level"): 38.2,
    ("yen_bai", "water_level"): 28.4,
    ("nghia_lo", "water_level"): 42.6,
    ("sa_pa", "temperature"): 19.5,
    ("sa_pa", "temperature_24h"): 19.5,
    ("sa_pa", "pressure"): 846.0,
    ("y_ty", "temperature"): 19.0,
    ("y_ty", "temperature_24h"): 19.0,
    ("y_ty", "pressure"): 858.0,
    ("o_quy_ho", "temperature"): 18.5,
    ("bac_ha", "temperature"): 21.5,
    ("bac_ha", "temperature_24h"): 21.5,
    ("mu_cang_chai", "temperature"): 21.5,
    ("mu_cang_chai", "temperature_24h"): 21.5,
    ("tang_loong", "pm25"): 27.0,
    ("tang_loong", "pm25_24h"): 27.0,
    ("tang_loong", "so2"): 80.0,
    ("ngoi_phat", "reservoir_level"): 412.0,
    ("muong_hum", "reservoir_level"): 590.0,
    ("bac_ha_hpp", "reservoir_level"): 176.0,
    ("thac_ba", "reservoir_level"): 55.2,
    ("su_pan_2", "reservoir_level"): 702.0,
    ("ta_thang", "reservoir_level"): 331.0,
    ("thac_ba", "inflow"): 190.0,
    ("bac_ha_hpp", "inflow"): 150.0,
}
"""What one station has of its own; a series named here has no further spread."""

MEAN_M3S = {"lao_cai": 620.0, "bao_ha": 780.0, "yen_bai": 930.0}
"""What a river carries at its calm level; elsewhere `OTHER_M3S`."""
OTHER_M3S = 140.0
PLANT_MW = {
    "ngoi_phat": 84.0, "muong_hum": 32.0, "bac_ha_hpp": 90.0, "thac_ba": 120.0, "su_pan_2": 34.5, "ta_thang": 60.0,
}  # fmt: skip
SHARED = frozenset({"frequency"})
"""One grid, one frequency: only the jitter differs between meters."""

_PM25 = (
    (0.0, 0.0),
    (25.0, 50.0),
    (50.0, 100.0),
    (80.0, 150.0),
    (150.0, 200.0),
    (250.0, 300.0),
    (500.0, 500.0),
)
_PM10 = (
    (0.0, 0.0),
    (50.0, 50.0),
    (150.0, 100.0),
    (250.0, 150.0),
    (350.0, 200.0),
    (420.0, 300.0),
    (600.0, 500.0),
)


def value(seed: int, series: Series, t_us: int) -> float:
    """What the sensor shows at a time, within its range and in whole steps of its resolution."""
    return series.quantised(_raw(seed, series, t_us))


def _raw(seed: int, series: Series, t_us: int) -> float:
    derived = DERIVED.get(series.quantity)
    if derived is not None:
        return derived(seed, series.station, t_us)
    shape = SHAPES.get(series.quantity)
    if (
        shape is None
        or not series.low <= BASES.get((series.station, series.quantity), shape.base) <= series.high
    ):
        return _of_range(seed, series, t_us)
    return _plain(seed, series.station, series.quantity, t_us)


def _of_range(seed: int, series: Series, t_us: int) -> float:
    """A quantity nobody described, or a place where its usual values cannot be: the middle of the range."""
    span = series.high - series.low
    noise = wander(key(seed, series.station, series.quantity, "wander"), t_us, 600_000_000)
    return (series.low + series.high) / 2 + 0.01 * span * noise


@lru_cache(maxsize=1 << 12)
def _model(seed: int, station: str, quantity: str) -> tuple[Shape, float, int, int]:
    shape = SHAPES[quantity]
    base = BASES.get((station, quantity))
    if base is None:
        base = shape.base + shape.spread * unit(key(seed, station, quantity, "spread"), 0)
    place = "" if quantity in SHARED else station
    return shape, base, key(seed, place, quantity, "wander"), key(seed, station, quantity, "jitter")


def _plain(seed: int, station: str, quantity: str, t_us: int) -> float:
    shape, base, slow, fast = _model(seed, station, quantity)
    out = base
    if shape.daily:
        hour = (t_us + LOCAL_US) / HOUR_US
        out += shape.daily * math.cos((hour - shape.peak_h) * (math.pi / 12))
    if shape.wander:
        out += shape.wander * wander(slow, t_us, shape.step_s * 1_000_000)
    if shape.jitter:
        out += shape.jitter * unit(fast, t_us)
    return out


def _gust(seed: int, station: str, t_us: int) -> float:
    speed = max(_plain(seed, station, "wind_speed", t_us), 0.0)
    return speed * 1.35 + 0.8 * (1.0 + unit(key(seed, station, "gust"), t_us))


def _discharge(seed: int, station: str, t_us: int) -> float:
    above = _plain(seed, station, "water_level", t_us) - BASES.get((station, "water_level"), 50.0)
    return MEAN_M3S.get(station, OTHER_M3S) * (1.0 + 0.5 * above)


def _outflow(seed: int, station: str, t_us: int) -> float:
    return _plain(seed, station, "inflow", t_us) + 5.0 * wander(
        key(seed, station, "outflow"), t_us, 900_000_000
    )


def _power(seed: int, station: str, t_us: int) -> float:
    plant = PLANT_MW.get(station)
    if plant is not None:
        hour = (t_us + LOCAL_US) / HOUR_US
        rhythm = 0.12 * math.cos((hour - 19.0) * (math.pi / 12))
        return plant * (0.62 + rhythm + 0.06 * wander(key(seed, station, "power"), t_us, 300_000_000))
    rated = 450.0 if "500" in station else 125.0 if "220" in station else 40.0 if "110" in station else 6.0
    return rated * _plain(seed, station, "load_pct", t_us) / 100.0


def _current(seed: int, station: str, t_us: int) -> float:
    return _power(seed, station, t_us) * 1000.0 / (math.sqrt(3.0) * 22.0)


def _oil(seed: int, station: str, t_us: int) -> float:
    slow = wander(key(seed, station, "oil"), t_us, 1_800_000_000)
    return 38.0 + 0.3 * _plain(seed, station, "load_pct", t_us) + 3.0 * slow


def _winding(seed: int, station: str, t_us: int) -> float:
    return _oil(seed, station, t_us) + 4.0 + 0.12 * _plain(seed, station, "load_pct", t_us)


def _index(seed: int, station: str, t_us: int) -> float:
    """VN_AQI's sub-indices of dust (QĐ 1459/QĐ-TCMT, table 2) for the hour's means."""
    pm25 = _interpolated(_PM25, _plain(seed, station, "pm25", t_us))
    return max(pm25, _interpolated(_PM10, _plain(seed, station, "pm10", t_us)))


def _interpolated(table: tuple[tuple[float, float], ...], x: float) -> float:
    for (x0, y0), (x1, y1) in pairwise(table):
        if x <= x1:
            return y0 + (y1 - y0) * (max(x, x0) - x0) / (x1 - x0)
    return table[-1][1]


def _rain(slots: int) -> Callable[[int, str, int], float]:
    def rain(seed: int, station: str, t_us: int) -> float:
        source = key(seed, station, "rain")
        slot, rest = divmod(t_us, SLOT_US)
        part = rest / SLOT_US
        whole = _slots_mm(source, slot, slots - 1)
        return whole + part * _slot_mm(source, slot) + (1.0 - part) * _slot_mm(source, slot - slots)

    return rain


@lru_cache(maxsize=1 << 16)
def _slot_mm(source: int, slot: int) -> float:
    wet = wander(source, slot * SLOT_US, 3 * HOUR_US) - _WET_FROM
    if wet <= 0.0:
        return 0.0
    return _SLOT_MM_MAX * wet / (1.0 - _WET_FROM) * (0.5 + 0.5 * unit(source, slot) ** 2)


@lru_cache(maxsize=1 << 12)
def _slots_mm(source: int, slot: int, count: int) -> float:
    return math.fsum(_slot_mm(source, slot - i) for i in range(1, count + 1))


DERIVED: dict[str, Callable[[int, str, int], float]] = {
    "wind_gust": _gust,
    "discharge": _discharge,
    "outflow": _outflow,
    "active_power": _power,
    "current": _current,
    "oil_temp": _oil,
    "winding_temp": _winding,
    "aqi": _index,
    "rain_10min": _rain(1),
    "rain_1h": _rain(6),
    "rain_3h": _rain(18),
    "rain_6h": _rain(36),
    "rain_12h": _rain(72),
    "rain_24h": _rain(144),
    "rain_72h": _rain(432),
}
