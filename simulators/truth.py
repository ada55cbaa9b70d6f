"""What really happened in a stretch of simulated time, read from the same functions as the values.

Times of floods, rain and soil are exact to `SCAN_US`; those of faults and outages to the microsecond. Rules are named
as if all of them and all their levels were enabled, where a clean value passes one of their limits; only limits that
are plain numbers can be judged here, so a rule of another kind is named by nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from simulators.catalog import Rule, Series
from simulators.faults import Fault, Kind
from simulators.scene import FAULTS_FROM_US, Scene
from simulators.storm import Storm

SCAN_US = 300_000_000
JOIN_US = 6 * 3_600_000_000
"""What comes again within this time is one event."""
BEFORE_US = 36 * 3_600_000_000
"""How long before its event a limit may be passed and still be this event's, not reaching into the one before."""
RAIN_FROM_MM, RAIN_AT_MM = 50.0, 100.0
"""24 hours' rain from which it counts, and at which it is heavy (VNDMS; rain classes of `rất to`)."""
SOIL_PCT = 85.0
"""Near saturation, as NCHMF's bulletins say."""
GATE_PCT = 1.0

_FAULTS = {
    Kind.SILENCE: ("im lặng", "silence"),
    Kind.SPIKE: ("giá trị vọt", "spike"),
    Kind.STUCK: ("giá trị không đổi", "stuck"),
    Kind.DRIFT: ("trôi dần", "drift"),
    Kind.CLOCK: ("đồng hồ nhanh 7 giờ", "clock 7 h ahead"),
    Kind.LATE: ("đến muộn", "late"),
    Kind.DUPLICATE: ("gửi lặp", "duplicate"),
    Kind.MALFORMED: ("sai định dạng", "malformed"),
}
_RULES_OF = {Kind.SILENCE: "no_data", Kind.LATE: "too_late"}


@dataclass(frozen=True, slots=True)
class Pass:
    """A clean value that first reached a rule's level."""

    rule: str
    level: int
    series_id: str
    at_us: int


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened; lead times are measured to `at_us`."""

    kind: str
    vi: str
    en: str
    series: tuple[Series, ...]
    from_us: int
    at_us: int
    to_us: int
    rules: tuple[str, ...] = ()
    passes: tuple[Pass, ...] = ()

    def document(self) -> dict[str, Any]:
        """As it stands in `truth.json`; its id is made of what it is, where and when."""
        stations = sorted({s.station for s in self.series})
        alone = self.kind == "sensor_fault" and len(self.series) == 1
        where = self.series[0].id.replace("/", "-") if alone else "+".join(stations[:3])
        return {
            "id": f"{self.kind}-{where}-{rfc3339(self.from_us)}",
            "kind": self.kind,
            "what": {"vi": self.vi, "en": self.en},
            "stations": stations,
            "series": [s.id for s in self.series],
            "from": rfc3339(self.from_us),
            "at": rfc3339(self.at_us),
            "to": rfc3339(self.to_us),
            "rules": list(self.rules),
            "passes": [
                {"rule": p.rule, "level": p.level, "series": p.series_id, "at": rfc3339(p.at_us)}
                for p in self.passes
            ],
        }


def rfc3339(t_us: int) -> str:
    """UTC, whole seconds where it has no fraction."""
    text = datetime.fromtimestamp(t_us // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    rest = t_us % 1_000_000
    return f"{text}.{rest:06d}Z" if rest else f"{text}Z"


class Truth:
    """The events of one scene between two times, both of the model."""

    def __init__(
        self,
        scene: Scene,
        storm: Storm | None,
        series: Sequence[Series],
        rules: Sequence[Rule],
        from_us: int,
        to_us: int,
    ) -> None:
        self._scene, self._storm, self._series, self._rules = scene, storm, series, rules
        self.from_us, self.to_us = from_us, to_us
        self._seen: dict[str, list[tuple[int, float]]] = {}

    def document(self, seed: int) -> dict[str, Any]:
        """The whole of `truth.json`."""
        return {
            "seed": seed,
            "from": rfc3339(self.from_us),
            "to": rfc3339(self.to_us),
            "events": [event.document() for event in self.events()],
        }

    def events(self) -> list[Event]:
        """In the order in which they begin."""
        out = list(self._faults())
        if self._storm is not None:
            for one in self._series:
                if one.quantity == "water_level":
                    out += self._floods(one)
                elif one.quantity == "rain_24h":
                    out += self._rains(one)
                elif one.quantity == "soil_moisture":
                    out += self._slopes(one, self._storm)
                elif one.quantity == "spill_gate":
                    out += self._spills(one)
            out += self._outages(self._storm)
        return sorted(out, key=lambda e: (e.from_us, e.kind, e.series[0].id))

    def _floods(self, gauge: Series) -> Iterator[Event]:
        limits = [v for rule in self._rules if rule.up for v in rule.limits_of(gauge).values()]
        if not limits:
            return
        top = max(limits)
        of = self._at(gauge.station, "water_level", "discharge")
        for run, since_us in self._runs(gauge, top):
            at_us, peak = max(run, key=lambda p: p[1])
            yield self._made(
                "flood",
                f"Lũ tại {gauge.station}: đỉnh {peak:.2f} m, mức báo động cao nhất {top:g} m",
                f"Flood at {gauge.station}: peak {peak:.2f} m, highest alarm level {top:g} m",
                of, since_us, run[0][0], at_us, run[-1][0],
            )  # fmt: skip

    def _rains(self, gauge: Series) -> Iterator[Event]:
        of = tuple(s for s in self._at(gauge.station) if s.quantity.startswith("rain_"))
        for run, since_us in self._runs(gauge, RAIN_FROM_MM):
            heavy = [t_us for t_us, v in run if v >= RAIN_AT_MM]
            if heavy:
                most = max(v for _, v in run)
                yield self._made(
                    "heavy_rain",
                    f"Mưa rất to tại {gauge.station}: {most:.0f} mm/24 giờ",
                    f"Very heavy rain at {gauge.station}: {most:.0f} mm/24 h",
                    of, since_us, run[0][0], heavy[0], run[-1][0],
                )  # fmt: skip

    def _slopes(self, sensor: Series, storm: Storm) -> Iterator[Event]:
        slides = any(s.quantity == "tilt" for s in self._at(sensor.station))
        slide_us = storm.slide_us(sensor) if slides else None
        of = self._at(sensor.station, "soil_moisture", "tilt")
        for run, since_us in self._runs(sensor, SOIL_PCT):
            from_us, to_us = run[0][0], run[-1][0]
            gone = slide_us is not None and since_us <= slide_us <= to_us
            at_us = slide_us if slide_us is not None and gone else max(run, key=lambda p: p[1])[0]
            yield self._made(
                "landslide_risk",
                f"Đất gần bão hòa tại {sensor.station}" + (", sườn dốc đã trượt" if gone else ", không trượt"),
                f"Soil near saturation at {sensor.station}"
                + (", the slope gave way" if gone else ", no slide"),
                of, since_us, min(from_us, at_us), at_us, to_us,
            )  # fmt: skip

    def _spills(self, gate: Series) -> Iterator[Event]:
        of = self._at(gate.station, "reservoir_level", "inflow", "outflow", "spill_gate")
        for run, since_us in self._runs(gate, GATE_PCT):
            at_us, most = max(run, key=lambda p: p[1])
            yield self._made(
                "flood",
                f"Hồ {gate.station} xả lũ, cửa mở đến {most:.0f} %",
                f"Reservoir {gate.station} spills, gates up to {most:.0f} %",
                of, since_us, run[0][0], at_us, run[-1][0],
            )  # fmt: skip

    def _outages(self, storm: Storm) -> Iterator[Event]:
        for outage in storm.outages:
            of = self._at(outage.station, "active_power", "current")
            if of and outage.to_us > self.from_us and outage.from_us < self.to_us:
                yield self._made(
                    "outage",
                    f"Mất điện {outage.station} ({outage.id}), {outage.customers} khách hàng",
                    f"Outage of {outage.station} ({outage.id}), {outage.customers} customers",
                    of, outage.from_us, outage.from_us, outage.from_us, outage.to_us,
                )  # fmt: skip

    def _faults(self) -> Iterator[Event]:
        begin_us = self._scene.start_us + FAULTS_FROM_US
        for fault in self._scene.faults:
            found = tuple(s for s in self._series if fault.matches(s))
            if found and begin_us < self.to_us:
                yield self._fault(fault, found, begin_us, self.to_us)
        for spell in self._storm.spells if self._storm else ():
            if spell.series in self._series and spell.to_us > self.from_us and spell.from_us < self.to_us:
                yield self._fault(spell.fault, (spell.series,), spell.from_us, spell.to_us)

    def _fault(self, fault: Fault, of: tuple[Series, ...], from_us: int, to_us: int) -> Event:
        vi, en = _FAULTS[fault.kind]
        kind = _RULES_OF.get(fault.kind)
        rules = tuple(r.id for r in self._rules if r.kind == kind and any(r.matches(s) for s in of))
        where = of[0].id if len(of) == 1 else fault.station or "*"
        return Event(
            "sensor_fault", f"Lỗi cảm biến {where}: {vi}", f"Sensor fault {where}: {en}", of,
            from_us, from_us, to_us, rules,
        )  # fmt: skip

    def _made(
        self,
        kind: str,
        vi: str,
        en: str,
        of: tuple[Series, ...],
        since_us: int,
        from_us: int,
        at_us: int,
        to_us: int,
    ) -> Event:
        passes = sorted(self._passes(of, since_us, to_us), key=lambda p: p.at_us)
        rules = tuple(dict.fromkeys(p.rule for p in passes))
        return Event(kind, vi, en, of, from_us, at_us, to_us, rules, tuple(passes))

    def _runs(self, series: Series, least: float) -> Iterator[tuple[list[tuple[int, float]], int]]:
        """Each stretch at or above a value, with the time since when what is passed belongs to it."""
        ended_us = self.from_us
        for run in _runs(self._clean(series), lambda v: v >= least):
            yield run, max(run[0][0] - BEFORE_US, ended_us)
            ended_us = run[-1][0] + SCAN_US

    def _passes(self, of: Sequence[Series], from_us: int, to_us: int) -> Iterator[Pass]:
        for one in of:
            for rule in self._rules:
                for level, limit in rule.limits_of(one).items():
                    beyond = (
                        t for t, v in self._clean(one) if from_us <= t <= to_us and rule.passed(limit, v)
                    )
                    at_us = next(beyond, None)
                    if at_us is not None:
                        yield Pass(rule.id, level, one.id, at_us)

    def _at(self, station: str, *quantities: str) -> tuple[Series, ...]:
        return tuple(
            s for s in self._series if s.station == station and (not quantities or s.quantity in quantities)
        )

    def _clean(self, series: Series) -> list[tuple[int, float]]:
        found = self._seen.get(series.id)
        if found is None:
            stamps = range(self.from_us, self.to_us + 1, SCAN_US)
            found = self._seen[series.id] = [(t_us, self._scene.clean(series, t_us)) for t_us in stamps]
        return found


def _runs(
    points: Sequence[tuple[int, float]], holds: Callable[[float], bool]
) -> list[list[tuple[int, float]]]:
    """The points at which it holds, in groups no further apart than `JOIN_US`."""
    found = [p for p in points if holds(p[1])]
    cuts = [i for i, (a, b) in enumerate(pairwise(found), start=1) if b[0] - a[0] > JOIN_US]
    return [found[a:b] for a, b in pairwise([0, *cuts, len(found)])] if found else []
