"""What really happened, and which alarms fit it: `truth.json` in the form of docs/simulators.md.

A rule that some event names is held to those events alone: it hits an event when one of its alarms on an asset there
stands at some time within it, misses it otherwise, and every other alarm of it is false. A rule that no event names (its
limit is no plain number, or nobody labelled it) cannot miss; its alarms fit any event at their place and time. Events of
the kind `sensor_fault` are there for the rules on data, and for no others.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ioc.backtest.data import DataError, TimeError, moment_us
from ioc.backtest.spells import Spell
from ioc.model.text import Text
from ioc.pack import Pack
from ioc.rules.joint import groups_of, place_of
from ioc.rules.spec import ClockSkewRule, DisagreesRule, NeighboursRule, NoDataRule, Rule, TooLateRule

TOLERANCE_US: Final = 6 * 3_600_000_000
"""The simulators take what comes again within six hours for the same event."""
SENSOR_FAULT: Final = "sensor_fault"
KINDS: Final = ("flood", "heavy_rain", "landslide_risk", "outage", SENSOR_FAULT)


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


class Pass(_Model):
    """When the true values first reached a level."""

    rule: str
    level: int
    series: str
    at: str


class Label(_Model):
    """One event. Further keys are left alone."""

    id: str
    kind: str
    what: Text
    stations: tuple[str, ...] = ()
    series: tuple[str, ...] = ()
    from_: Annotated[str, Field(alias="from")]
    at: str = ""
    to: str
    rules: tuple[str, ...] = ()
    passes: tuple[Pass, ...] = ()


class LabelsFile(_Model):
    """`truth.json`."""

    events: tuple[Label, ...]


@dataclass(frozen=True, slots=True)
class Happened:
    """An event with its times in microseconds; `at_us` is what lead times are measured to."""

    label: Label
    from_us: int
    at_us: int
    to_us: int
    passed_us: Mapping[str, int]
    """Rule → when its first level was reached, where that is known."""

    def begins_us(self, rule: str) -> int:
        """From when on an alarm of a rule is about it: a lower level is reached before the event begins."""
        return min(self.from_us, self.passed_us.get(rule, self.from_us))


def read(path: Path) -> list[Happened]:
    """The events of a file. Raises DataError."""
    try:
        file = LabelsFile.model_validate_json(path.read_bytes())
        return [_happened(path, label) for label in file.events]
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}; --labels names a truth.json") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DataError(f"{path}: {where}: {first['msg']}; its form stands in docs/simulators.md") from error


def check(path: Path, events: Sequence[Happened], packs: Sequence[Pack]) -> None:
    """Whether the events fit the packs that are tried: what any of these has may be named. Raises DataError."""
    rules = {rule for pack in packs for rule in pack.rules}
    stations = {station for pack in packs for station in pack.registry.stations}
    series = {one for pack in packs for one in pack.registry.series}
    seen: set[str] = set()
    for event in events:
        label = event.label
        if label.id in seen:
            raise DataError(f"{path}: event {label.id}: this id stands twice; give each event its own")
        seen.add(label.id)
        if event.to_us < event.from_us:
            raise DataError(
                f"{path}: event {label.id}: its `to` {label.to} lies before its `from` {label.from_}"
            )
        for what, names, known in (
            ("kind", (label.kind,), KINDS),
            ("rule", (*label.rules, *(one.rule for one in label.passes)), rules),
            ("station", label.stations, stations),
            ("series", (*label.series, *(one.series for one in label.passes)), series),
        ):
            _known(f"{path}: event {label.id}", what, names, known)


def _known(where: str, what: str, names: Sequence[str], known: Collection[str]) -> None:
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"; perhaps {near[0]}" if near else ""
            place = "kinds are " + ", ".join(known) if what == "kind" else "the pack has none"
            raise DataError(f"{where}: unknown {what} {name!r}: {place}{hint}")


def _happened(path: Path, label: Label) -> Happened:
    try:
        return _timed(label)
    except TimeError as error:
        raise DataError(f"{path}: event {label.id}: {error}") from error
    except ValueError as error:
        raise DataError(f"{path}: event {label.id}: not a time: {error}; write RFC 3339") from error


def _timed(label: Label) -> Happened:
    from_us, to_us = moment_us(label.from_), moment_us(label.to)
    passed: dict[str, int] = {}
    for one in label.passes:
        at_us = moment_us(one.at)
        passed[one.rule] = min(at_us, passed.get(one.rule, at_us))
    return Happened(label, from_us, moment_us(label.at) if label.at else from_us, to_us, passed)


@dataclass(frozen=True, slots=True)
class Hit:
    """An event that a rule found. `lead_us` is from its first alarm to the event's `at`: below 0 it came after that."""

    event: str
    lead_us: int


@dataclass(frozen=True, slots=True)
class Fit:
    """How one rule fits the events. `named`: whether any event names it, so that it can miss."""

    named: bool
    hits: tuple[Hit, ...]
    misses: tuple[str, ...]
    true: int
    false: tuple[Spell, ...]

    @property
    def precision(self) -> float | None:
        """The share of its alarms that are about an event; None without alarms."""
        alarms = self.true + len(self.false)
        return self.true / alarms if alarms else None

    @property
    def recall(self) -> float | None:
        """The share of the events that it found; None where none is its own."""
        events = len(self.hits) + len(self.misses)
        return len(self.hits) / events if self.named and events else None


class Places:
    """Which stations an asset is about."""

    def __init__(self, pack: Pack) -> None:
        self._pack = pack
        self._groups: dict[str, tuple[str, ...]] = {}
        for rule in pack.rules.values():
            if isinstance(rule, NeighboursRule):
                for name, members in groups_of(pack.registry, pack.rules, rule).items():
                    stations = [place_of(pack.registry, member) for member in members]
                    self._groups[name] = tuple(station.id for station in stations if station)

    def of(self, asset: str) -> tuple[str, ...]:
        """Its station, or those of the group."""
        if asset in self._groups:
            return self._groups[asset]
        station = place_of(self._pack.registry, asset)
        return (station.id,) if station else ()


def fit(
    rule: Rule,
    alarms: Sequence[Spell],
    events: Sequence[Happened],
    named: bool,
    places: Places,
    end_us: int,
    tolerance_us: int = TOLERANCE_US,
) -> Fit:
    """One rule's alarms against the events of the span; `named` says whether any event names the rule."""
    mine = [event for event in events if _may_fit(rule, event, named)]
    first: dict[str, Spell] = {}
    false = []
    for spell in alarms:
        stations = places.of(spell.asset)
        about = [
            event
            for event in mine
            if spell.begin_us <= event.to_us + tolerance_us
            and spell.until(end_us) >= event.begins_us(rule.id) - tolerance_us
            and (spell.asset in event.label.series or not set(stations).isdisjoint(event.label.stations))
        ]
        if not about:
            false.append(spell)
        for event in about:
            first.setdefault(event.label.id, spell)
    hits = tuple(
        Hit(event.label.id, event.at_us - first[event.label.id].begin_us)
        for event in mine
        if event.label.id in first
    )
    misses = tuple(event.label.id for event in mine if named and event.label.id not in first)
    return Fit(named, hits, misses, len(alarms) - len(false), tuple(false))


def _may_fit(rule: Rule, event: Happened, named: bool) -> bool:
    if named:
        return rule.id in event.label.rules
    about_data = isinstance(rule, NoDataRule | TooLateRule | ClockSkewRule | DisagreesRule)
    return about_data == (event.label.kind == SENSOR_FAULT)


def within(events: Sequence[Happened], begin_us: int, end_us: int) -> list[Happened]:
    """Those of which the run saw anything."""
    return [event for event in events if event.from_us <= end_us and event.to_us >= begin_us]


def document(fit_: Fit) -> dict[str, Any]:
    """As JSON: lead times in seconds."""
    leads = sorted(hit.lead_us for hit in fit_.hits)
    return {
        "named": fit_.named,
        "hits": [{"event": hit.event, "lead_s": hit.lead_us / 1e6} for hit in fit_.hits],
        "misses": list(fit_.misses),
        "true_alarms": fit_.true,
        "false_alarms": len(fit_.false),
        "precision": _rounded(fit_.precision),
        "recall": _rounded(fit_.recall),
        "lead_s": {"median": median(leads) / 1e6, "min": leads[0] / 1e6, "max": leads[-1] / 1e6}
        if leads
        else None,
    }


def median(ordered: Sequence[int]) -> float:
    """Of whole numbers in order, at least one."""
    middle = len(ordered) // 2
    return float(ordered[middle]) if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def _rounded(share: float | None) -> float | None:
    return None if share is None else round(share, 4)
