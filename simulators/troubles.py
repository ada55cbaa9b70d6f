"""What a storm breaks: feeders that lose their customers, and sensors that lie or fall silent for some hours.

All of it is drawn from (seed, begin, the pack's series) before the first reading, so that the ground truth can be
written without running anything.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from simulators.catalog import Series
from simulators.faults import Fault, Kind
from simulators.noise import key, unit

MINUTE_US = 60_000_000
HOUR_US = 60 * MINUTE_US
ESTIMATE_US = 25 * MINUTE_US
"""How long the first guess of the customers concerned stands before a revision replaces it."""
FEEDER = "current"
"""The quantity by which a feeder is known among energy stations."""
_THAO = frozenset({"lao_cai", "pho_lu", "bao_ha", "mau_a", "yen_bai"})
_PLAN: tuple[tuple[Kind, tuple[str, ...]], ...] = (
    (Kind.STUCK, ("water_level", "soil_moisture", "temperature")),
    (Kind.SPIKE, ("water_level", "soil_moisture", "rain_1h")),
    (Kind.SILENCE, ("water_level", "soil_moisture", "rain_24h")),
    (Kind.DRIFT, ("water_level", "soil_moisture", "reservoir_level")),
    (Kind.CLOCK, ("water_level", "rain_1h", "temperature")),
)


@dataclass(frozen=True, slots=True)
class Outage:
    """A feeder without voltage from one time to another; `guess` is what was first told of its customers."""

    id: str
    domain: str
    station: str
    from_us: int
    to_us: int
    guess: int
    customers: int

    @property
    def topic(self) -> str:
        """Where it is told of."""
        return f"ioc/v1/{self.domain}/{self.station}/event/outage"

    def holds(self, series: Series, t_us: int) -> bool:
        """Whether this series measures the feeder while nothing flows."""
        return series.station == self.station and self.from_us <= t_us < self.to_us

    def revisions(self) -> list[Revision]:
        """Begun with a guess, corrected where it lasts, ended."""
        out = [Revision(self, 1, self.from_us, False, self.guess)]
        if self.to_us - self.from_us > ESTIMATE_US:
            out.append(Revision(self, 2, self.from_us + ESTIMATE_US, False, self.customers))
        return [*out, Revision(self, len(out) + 1, self.to_us, True, self.customers)]


@dataclass(frozen=True, slots=True)
class Revision:
    """One message about an outage and when it is sent; a later one replaces it."""

    outage: Outage
    number: int
    t_us: int
    ended: bool
    customers: int

    def payload(self, start_us: int, end_us: int) -> bytes:
        """`{"id", "revision", "start", "end", "customers"}`, epoch ms; `end` is null while it lasts."""
        document = {
            "id": self.outage.id,
            "revision": self.number,
            "start": start_us // 1000,
            "end": end_us // 1000 if self.ended else None,
            "customers": self.customers,
        }
        return json.dumps(document, separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True)
class Spell:
    """One series that is broken in one way from one time to another."""

    kind: Kind
    series: Series
    from_us: int
    to_us: int

    @property
    def fault(self) -> Fault:
        """As it is injected."""
        return Fault(self.kind, self.series.station, self.series.quantity)


def outages(seed: int, begin_us: int, series: Iterable[Series]) -> list[Outage]:
    """Two a feeder, in the order in which they begin; every other second one ends within five minutes."""
    feeders = sorted({(s.domain, s.station) for s in series if s.quantity == FEEDER})
    out = []
    for place, (domain, station) in enumerate(feeders):
        draw = _Draw(key(seed, station, "outage"))
        at_us = begin_us + 10 * HOUR_US
        for number in (1, 2):
            at_us += MINUTE_US * draw.within(30, 1200)
            brief = number == 2 and place % 2 == 0
            length = draw.within(1, 4) if brief else draw.within(40, 540)
            customers = draw.within(900, 9000)
            guess = customers * draw.within(70, 140) // 10_000 * 100
            end_us = at_us + length * MINUTE_US
            # The time is in its id, so that the outages of another storm are no old revisions of these.
            name = f"{station}-{datetime.fromtimestamp(at_us // 1_000_000, UTC):%Y%m%dT%H%M%SZ}"
            out.append(Outage(name, domain, station, at_us, end_us, guess, customers))
            at_us = end_us
    return sorted(out, key=lambda o: (o.from_us, o.id))


def spells(seed: int, begin_us: int, series: Collection[Series]) -> list[Spell]:
    """Some of every kind of fault, each on a series of its own; the gauges of the Thao show spikes at most."""
    draw = _Draw(key(seed, "spells"))
    free = sorted(series, key=lambda s: s.id)
    out = []
    for kind, quantities in _PLAN:
        for quantity in quantities:
            fit = [
                s for s in free if s.quantity == quantity and (kind is Kind.SPIKE or s.station not in _THAO)
            ]
            if not fit:
                continue
            chosen = fit[draw.within(0, len(fit) - 1)]
            free.remove(chosen)
            from_us = begin_us + MINUTE_US * draw.within(-12 * 60, 90 * 60)
            out.append(Spell(kind, chosen, from_us, from_us + MINUTE_US * draw.within(3 * 60, 12 * 60)))
    return sorted(out, key=lambda spell: (spell.from_us, spell.series.id))


class _Draw:
    """Whole numbers one after another from one key."""

    def __init__(self, source: int) -> None:
        self._source, self._count = source, 0

    def within(self, low: int, high: int) -> int:
        self._count += 1
        return low + int((unit(self._source, self._count) + 1.0) / 2.0 * (high - low + 1))
