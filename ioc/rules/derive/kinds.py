"""Every kind of derived series by name: what builds it, and what its values are rounded to inside a rule."""

from __future__ import annotations

from ioc.registry import Series
from ioc.rules.derive.base import Build
from ioc.rules.spec.derived import Counter, TimeTo, Value, Window

TIME_TO_RESOLUTION = 0.1
"""Minutes."""


def builder(kind: str) -> Build:
    """What makes a deriver of this kind. Imported when first asked for: a pack that derives nothing never waits for
    the compiler."""
    from ioc.rules.derive import (
        air,
        anomaly,
        counter,
        expression,
        power,
        rate,
        reliability,
        weather,
        windows,
    )

    kinds: dict[str, Build] = {
        "window": windows.build,
        "rate": rate.build_rate,
        "time_to": rate.build_time_to,
        "counter": counter.build,
        "baseline": anomaly.build_baseline,
        "zscore": anomaly.build_zscore,
        "change_point": anomaly.build_change_point,
        "anomaly": anomaly.build_anomaly,
        "expression": expression.build,
        "vn_aqi": air.build_vn_aqi,
        "us_aqi": air.build_us_aqi,
        "dew_point": weather.build,
        "heat_index": weather.build,
        "wind_chill": weather.build,
        "unbalance": power.build_unbalance,
        "thd": power.build_thd,
        "saidi": reliability.build,
        "saifi": reliability.build,
    }
    return kinds[kind]


def resolution_of(value: Value, series: Series) -> float:
    """What a value of this series is rounded to inside a rule."""
    if isinstance(value, TimeTo):
        return TIME_TO_RESOLUTION
    if isinstance(value, Window):
        return 1.0 if value.function == "count" else series.resolution
    if isinstance(value, Counter):
        return series.resolution
    return value.resolution


def unit_of(value: Value, series: Series) -> str:
    """The unit of such a value of this series, as people write it."""
    match value.kind:
        case "window" if value.function == "count":
            return ""
        case "window" | "counter":
            return series.unit_text
        case "rate":
            hours = value.per / 3_600_000_000
            return f"{series.unit_text}/h" if hours == 1 else f"{series.unit_text}/{hours:g} h"
        case "time_to":
            return "phút"
        case _:
            return "σ"
