"""Faults on demand: what a broken sensor, gateway or line makes of a reading."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from simulators.catalog import Series
from simulators.noise import key, unit
from simulators.payload import Sample, encode

LATE_US = 40 * 60 * 1_000_000
"""How old a late reading is: beyond the half hour in which the monitor calls a reading fresh."""
CLOCK_US = 7 * 3600 * 1_000_000
"""A logger that sends the province's local time as UTC stamps its readings seven hours ahead."""
DRIFT_STEPS_H = 20
"""Steps of its resolution by which a drifting sensor shows more each hour: 0.2 m on a gauge of 1 cm."""
SPIKE_SHARE = 0.1
MALFORMED_SHARE = 0.2


class Kind(StrEnum):
    """What can go wrong."""

    SILENCE = "silence"
    SPIKE = "spike"
    STUCK = "stuck"
    DRIFT = "drift"
    CLOCK = "clock"
    LATE = "late"
    DUPLICATE = "duplicate"
    MALFORMED = "malformed"


@dataclass(frozen=True, slots=True)
class Broken:
    """Bytes that are no reading."""

    series: Series
    payload: bytes


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of fault at every series, one station's, or one series."""

    kind: Kind
    station: str = ""
    quantity: str = ""

    @staticmethod
    def parse(text: str) -> Fault:
        """`silence`, `spike:sa_pa` or `late:sa_pa/temperature`. Raises ValueError with the accepted forms."""
        name, _, place = text.partition(":")
        station, _, quantity = place.partition("/")
        if name not in set(Kind):
            raise ValueError(f"{name!r} is no fault; there are {', '.join(Kind)}")
        if (":" in text and not station) or ("/" in place and not quantity):
            raise ValueError(f"{text!r} must look like {name}, {name}:station or {name}:station/quantity")
        return Fault(Kind(name), station, quantity)

    def matches(self, series: Series) -> bool:
        """Whether this series suffers from it."""
        return self.station in ("", series.station) and self.quantity in ("", series.quantity)


def inject(
    faults: Sequence[Fault], given: Sample | Broken, stuck_at: float, seed: int, age_us: int = 0
) -> list[Sample | Broken]:
    """What leaves the gateway instead of what was given; `stuck_at` is what the sensor showed `age_us` ago, when it
    broke."""
    out: list[Sample | Broken] = [given]
    for fault in faults:
        if fault.matches(given.series):
            out = [made for part in out for made in _one(fault.kind, part, stuck_at, seed, age_us)]
    return out


def _one(kind: Kind, part: Sample | Broken, stuck_at: float, seed: int, age_us: int) -> list[Sample | Broken]:
    if kind is Kind.SILENCE:
        return []
    if kind is Kind.DUPLICATE:
        return [part, part]
    if isinstance(part, Broken):
        return [part]
    series = part.series
    if kind is Kind.STUCK:
        return [Sample(series, part.t_us, stuck_at, part.quality)]
    if kind is Kind.DRIFT:
        off = DRIFT_STEPS_H * series.resolution * age_us / 3_600_000_000
        return [Sample(series, part.t_us, series.quantised(part.value + off), part.quality)]
    if kind is Kind.CLOCK:
        return [Sample(series, part.t_us + CLOCK_US, part.value, part.quality)]
    if kind is Kind.LATE:
        return [Sample(series, part.t_us - LATE_US, part.value, part.quality)]
    chance = (unit(key(seed, series.id, kind), part.t_us) + 1.0) / 2.0
    if kind is Kind.SPIKE:
        if chance >= SPIKE_SHARE:
            return [part]
        top = series.quantised(series.low + 0.97 * (series.high - series.low))
        return [Sample(series, part.t_us, top, part.quality)]
    if chance >= MALFORMED_SHARE:
        return [part]
    return [Broken(series, _broken(part, int(chance / MALFORMED_SHARE * 5)))]


def _broken(sample: Sample, variant: int) -> bytes:
    whole = encode(sample)
    ms = sample.t_us // 1000
    return (
        whole[:-4],
        b"",
        b"ERR 07",
        f'{{"t":{ms},"v":NaN}}'.encode(),
        f'{{"t":{ms},"v":"{sample.value}"}}'.encode(),
    )[variant]
