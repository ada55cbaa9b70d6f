"""Derived series as people write them: what is computed from which series, and over which window of event time.

A *value* is computed from one series and may stand in a rule (`value:`); a named one stands in `derived/*.yaml`,
becomes a series of its own (`{domain}/{station}/{id}`, its unit and resolution from quantities.yaml), and can be
judged, shown and derived from again.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ioc.registry import Domain, Slug
from ioc.rules.spec.base import Level, Model, Selector
from ioc.yamlfile import Duration

Over = Annotated[Duration, Field(gt=0, le=72 * 3_600_000_000)]


class Window(Model):
    """An aggregate over (t − over, t] of event time, at each sample; bad quality below the coverage.

    `coverage` is the least part of the window's samples that must be there, counted by the input's interval. `sum`
    and the extremes of an accumulated quantity (rain) count what each sample stands for once.
    """

    kind: Literal["window"]
    function: Literal["sum", "mean", "min", "max", "count", "percentile"]
    percentile: Annotated[float, Field(ge=0, le=100)] | None = None
    over: Over
    coverage: Annotated[float, Field(ge=0, le=1)] = 0.75

    @model_validator(mode="after")
    def _check(self) -> Window:
        if (self.function == "percentile") != (self.percentile is not None):
            raise ValueError("percentile must be given with function: percentile, and only there")
        return self


class Rate(Model):
    """Rate of change per `per`, robust to one bad sample: Theil–Sen (the median of all pairs' slopes) or least
    squares over the samples in (t − over, t]; bad quality with fewer than `samples`."""

    kind: Literal["rate"]
    over: Over
    per: Annotated[Duration, Field(gt=0)] = 3_600_000_000
    method: Literal["theil_sen", "regression"] = "theil_sen"
    samples: Annotated[int, Field(ge=3, le=1000)] = 3
    resolution: Annotated[float, Field(gt=0)] = 0.001
    """What the rate is rounded to, in the input's unit per `per`."""


class TimeTo(Model):
    """Minutes until the series reaches a limit at its present rate: `limit`, or a limit rule's `level` at that station.

    0 once it is reached; `horizon` where it is farther away or moves the other way. Its uncertainty comes from the
    quartiles of the pairs' slopes (`lower`, `upper` on the wall).
    """

    kind: Literal["time_to"]
    over: Over
    samples: Annotated[int, Field(ge=3, le=1000)] = 4
    limit: float | None = None
    rule: Slug | None = None
    level: Level | None = None
    direction: Literal["up", "down"] = "up"
    horizon: Annotated[Duration, Field(gt=0)] = 12 * 3_600_000_000

    @model_validator(mode="after")
    def _check(self) -> TimeTo:
        if (self.limit is None) == (self.rule is None) or (self.rule is None) != (self.level is None):
            raise ValueError("give limit, or rule and level")
        return self


class Counter(Model):
    """What an accumulating counter (rain gauge, energy meter) gained since the sample before it.

    A fall is a reset (it counts anew from 0) unless `rollover` is given and the counter stood in its last tenth.
    """

    kind: Literal["counter"]
    rollover: Annotated[float, Field(gt=0)] | None = None


class Baseline(Model):
    """Deviation from the usual for this hour of the day and day of the week (168 buckets, local time), in robust sigmas.

    Signed: above the usual is positive. `half_life` is in weeks of samples of one bucket; bad quality until a bucket
    has had `weeks` whole ones of them.
    """

    kind: Literal["baseline"]
    half_life: Annotated[float, Field(gt=0)] = 4.0
    weeks: Annotated[int, Field(ge=1, le=200)] = 2
    resolution: Annotated[float, Field(gt=0)] = 0.01


class ZScore(Model):
    """Robust streaming z-score of the last value against a slowly forgetting location and scale; signed.

    Bad quality for the first quarter of `memory`.
    """

    kind: Literal["zscore"]
    memory: Annotated[int, Field(ge=8)] = 200
    """In samples."""
    resolution: Annotated[float, Field(gt=0)] = 0.01


class ChangePoint(Model):
    """Evidence that the level has shifted (two-sided CUSUM of robust residuals), in sigmas, −20 to 20; below 0 downwards.

    4 to 5 are usual limits at a drift of ½. Bad quality for the first quarter of `memory`.
    """

    kind: Literal["change_point"]
    drift: Annotated[float, Field(gt=0)] = 0.5
    memory: Annotated[int, Field(ge=8)] = 200
    resolution: Annotated[float, Field(gt=0)] = 0.01


class Anomaly(Model):
    """How many signs at once are unusual for the series (level, noise or flatness, time of day), in sigmas from 0.

    `limit` is where it counts as a detection: give the rule's level the same, and a deadband of more than half of it,
    so that the alarm holds while the signs last. For `rest` samples after a detection the result is half of the limit
    at most. Bad quality for the first quarter of `memory`.
    """

    kind: Literal["anomaly"]
    memory: Annotated[int, Field(ge=32)] = 400
    """In samples."""
    limit: Annotated[float, Field(gt=0, le=100)] = 3.0
    rest: Annotated[int, Field(ge=0, le=100_000)] = 120
    resolution: Annotated[float, Field(gt=0)] = 0.01


Value = Annotated[
    Window | Rate | TimeTo | Counter | Baseline | ZScore | ChangePoint | Anomaly, Field(discriminator="kind")
]
"""What can be computed from one series."""


class DerivedBase(Model):
    """A named derived series; `id` is its quantity."""

    id: Slug
    domain: Domain | None = None
    """By default that of its first input."""
    stations: tuple[str, ...] = ()
    """Only at these; by default wherever its inputs are."""


class OfOne(DerivedBase):
    """A named value of each series selected."""

    kind: Literal["value"]
    of: Selector
    value: Value


class Expression(DerivedBase):
    """CEL over series of one station: `cel` names the inputs. Computed once all of a round have come."""

    kind: Literal["expression"]
    inputs: dict[Slug, str]
    """Name → quantity at the same station, or a whole series id."""
    cel: str


class VnAqi(DerivedBase):
    """VN_AQI (Decision 1459/QĐ-TCMT, 2019): hourly (PM by NowCast) or daily; inputs in µg/m³.

    At least one of pm10, pm25 must be there. Inputs are hourly means, or anything denser, which is averaged by
    clock hour; the day and its hours are local.
    """

    kind: Literal["vn_aqi"]
    period: Literal["hourly", "daily"] = "hourly"
    inputs: dict[Literal["pm25", "pm10", "so2", "no2", "co", "o3"], str]


class UsAqi(DerivedBase):
    """US EPA's NowCast AQI of PM2.5 (breakpoints in force from 2024-05-06)."""

    kind: Literal["us_aqi"]
    inputs: dict[Literal["pm25"], str]


class Weather(DerivedBase):
    """Dew point (Magnus), heat index (Rothfusz, NWS adjustments) or wind chill (2001), all in °C."""

    kind: Literal["dew_point", "heat_index", "wind_chill"]
    inputs: dict[Literal["temperature", "humidity", "wind"], str]


class Unbalance(DerivedBase):
    """Negative-sequence unbalance in % from the magnitudes of the three line voltages (IEC 61000-4-30)."""

    kind: Literal["unbalance"]
    inputs: dict[Literal["ab", "bc", "ca"], str]


class Thd(DerivedBase):
    """Total harmonic distortion in % of the fundamental; `harmonics` are quantities in the fundamental's unit."""

    kind: Literal["thd"]
    fundamental: str
    harmonics: tuple[str, ...]


class Reliability(DerivedBase):
    """SAIDI (minutes) or SAIFI (interruptions) a customer from outage events since the local year or month began.

    Interruptions of more than 5 minutes count; `customers` are those served by the station.
    """

    kind: Literal["saidi", "saifi"]
    customers: Annotated[int, Field(gt=0)]
    since: Literal["year", "month"] = "year"


Derived = Annotated[
    OfOne | Expression | VnAqi | UsAqi | Weather | Unbalance | Thd | Reliability, Field(discriminator="kind")
]


class DerivedFile(Model):
    """`derived/*.yaml`."""

    derived: tuple[Derived, ...]
