"""Dew point, heat index and wind chill in °C, from temperature (°C), humidity (%) and wind (m/s at 10 m).

Logarithms and powers are `decimal`'s, to 25 digits, and so the same on every machine; + − × ÷ and the square root are
IEEE's.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from decimal import Context, Decimal, localcontext
from typing import Final

import numpy as np

from ioc.model.batch import F64
from ioc.rules.derive.base import Deriver, Instance
from ioc.rules.derive.join import Calculate, OfRounds, roles
from ioc.rules.spec.derived import Weather

_EXACT: Final = Context(prec=25)
_MAGNUS_A: Final = Decimal("17.62")
_MAGNUS_B: Final = Decimal("243.12")
"""°C; Magnus over water, good from −45 to 60 °C: WMO-No. 8 (CIMO Guide, 2014 edition), annex 4.B, after Sonntag (1990)."""
_MAGNUS_RANGE: Final = (-45.0, 60.0)
_KMH: Final = Decimal("3.6")
_CHILL_MAX_C: Final = 10.0
_CHILL_MIN_KMH: Final = Decimal("4.8")
"""Where the wind chill of 2001 is defined: at most 50 °F and more than 3 mph (NWS), 4.8 km/h."""
_NEEDED: Final = {
    "dew_point": ("temperature", "humidity"),
    "heat_index": ("temperature", "humidity"),
    "wind_chill": ("temperature", "wind"),
}


def build(spec: Weather, instances: Sequence[Instance], utc_offset_us: int) -> Deriver:
    """One of the three at rest; ValueError where its inputs are not those that it needs."""
    first, second = roles(spec.kind, list(spec.inputs), _NEEDED[spec.kind])
    of = _CALCULATE[spec.kind]
    return OfRounds(instances, lambda values: of(values[:, [first, second]]))


@functools.lru_cache(maxsize=65_536)
def dew_point_c(temperature_c: float, humidity: float) -> float:
    """Magnus: T_d = b γ / (a − γ), γ = ln(humidity / 100) + a T / (b + T).

    NaN (bad) outside −45 … 60 °C, for which the constants are not meant, and for humidity not in (0, 100]: dry air has
    no dew point, and above 100 % it would lie above the temperature.
    """
    if not (_MAGNUS_RANGE[0] <= temperature_c <= _MAGNUS_RANGE[1] and 0.0 < humidity <= 100.0):
        return float("nan")
    with localcontext(_EXACT):
        t, part = Decimal(str(temperature_c)), Decimal(str(humidity)) / 100
        gamma = part.ln() + _MAGNUS_A * t / (_MAGNUS_B + t)
        return float(_MAGNUS_B * gamma / (_MAGNUS_A - gamma))


@functools.lru_cache(maxsize=65_536)
def wind_chill_c(temperature_c: float, wind_ms: float) -> float:
    """13.12 + 0.6215 T − 11.37 V^0.16 + 0.3965 T V^0.16 (°C, km/h): Environment Canada and NWS, 2001.

    The temperature itself above 10 °C and at 4.8 km/h or less, where it is not defined: there no wind chills. NaN (bad)
    for a negative wind.
    """
    if wind_ms < 0:
        return float("nan")
    with localcontext(_EXACT):
        t, v = Decimal(str(temperature_c)), Decimal(str(wind_ms)) * _KMH
        if temperature_c > _CHILL_MAX_C or v <= _CHILL_MIN_KMH:
            return temperature_c
        power = v ** Decimal("0.16")
        return float(
            Decimal("13.12") + Decimal("0.6215") * t + (Decimal("0.3965") * t - Decimal("11.37")) * power
        )


def heat_index_c(values: F64) -> F64:
    """Temperature °C and humidity % (m, 2) → heat index °C (m,), as the US National Weather Service computes it.

    Steadman's simple form where that gives less than 80 °F, else the regression of Rothfusz (1990, NWS SR 90-23) with
    its two adjustments (wpc.ncep.noaa.gov/html/heatindex_equation.shtml). The temperature itself at 40 °F and less,
    where the service uses neither; NaN (bad) for humidity not in [0, 100].
    """
    celsius, r = values[:, 0], values[:, 1]
    t = celsius * 1.8 + 32.0
    simple = 0.5 * (t + 61.0 + (t - 68.0) * 1.2 + r * 0.094)
    full = (
        -42.379 + 2.04901523 * t + 10.14333127 * r - 0.22475541 * t * r - 0.00683783 * t * t
        - 0.05481717 * r * r + 0.00122874 * t * t * r + 0.00085282 * t * r * r - 0.00000199 * t * t * r * r
    )  # fmt: skip
    dry = (r < 13.0) & (t >= 80.0) & (t <= 112.0)
    full -= np.where(dry, (13.0 - r) / 4.0 * np.sqrt(np.maximum(17.0 - np.abs(t - 95.0), 0.0) / 17.0), 0.0)
    damp = (r > 85.0) & (t >= 80.0) & (t <= 87.0)
    full += np.where(damp, (r - 85.0) / 10.0 * ((87.0 - t) / 5.0), 0.0)
    index = (np.where(simple < 80.0, simple, full) - 32.0) / 1.8
    index = np.where(t <= 40.0, celsius, index)
    return np.where((r >= 0.0) & (r <= 100.0), index, np.nan)


def _dew_point(values: F64) -> F64:
    return np.array([dew_point_c(t, r) for t, r in values.tolist()], np.float64)


def _wind_chill(values: F64) -> F64:
    return np.array([wind_chill_c(t, v) for t, v in values.tolist()], np.float64)


_CALCULATE: Final[dict[str, Calculate]] = {
    "dew_point": _dew_point,
    "heat_index": heat_index_c,
    "wind_chill": _wind_chill,
}
