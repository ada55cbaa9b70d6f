"""A pack: the stations, series, rules and texts of one province, as a folder of YAML.

`Pack.read` takes a folder, `Pack.from_blob` the bytes that the log kept of one; both give the same pack, and
`hash` names it together with every setting that a verdict depends on. A pack with faults is refused as a whole, with
every fault that can be told: what depends on a broken part is told once that part is mended.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal
from weakref import WeakValueDictionary
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, field_validator

from ioc.errors import PackError, PackFaults
from ioc.model.text import Text
from ioc.registry import QuantitiesFile, Quantity, Registry, Series, Slug, Station, StationsFile
from ioc.rules import joint, quality
from ioc.rules.derive.kinds import builder, unit_of
from ioc.rules.derive.plan import RULE_PREFIX, Planned, Unplannable, needs, plan
from ioc.rules.spec import Derived, DerivedFile, LimitRule, Rule, RulesFile, Selector, TravelRule
from ioc.rules.spec.derived import Expression
from ioc.yamlfile import Duration, Lines, Listed, dotted, listed, load, uncollected
from ioc.yamlfile import Path as Where

Files = Mapping[str, str]
"""Names as `rules/river.yaml` → text."""

SYSTEM_RULES = "ioc:system.yaml"
DERIVED_PREFIX = "derived:"
_DAY_US = 86_400_000_000
_SYSTEM_FILE = Path(__file__).parent / "rules" / "system.yaml"


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Group(_Model):
    """A tile of the wall: the series it counts."""

    id: Slug
    name: Text
    quantities: tuple[str, ...] = ()


class PackFile(_Model):
    """`pack.yaml`."""

    id: str
    title: Text
    organisation: Text
    timezone: str = "Asia/Ho_Chi_Minh"
    groups: tuple[Group, ...] = ()
    trends: tuple[str, ...] = ()
    """Series ids of the wall's four trend cards."""
    map: str = ""
    """GeoJSON of the communes (properties `code`, `name`), beside this file."""
    river: str = ""
    """GeoJSON of the river lines, beside this file."""
    rationalised: Literal["no", "proposed", "true"] = "no"
    """Whether every alarm of priority 1 and 2 has its reasons written down (`proposed`) and approved (`true`)."""

    @field_validator("rationalised", mode="before")
    @classmethod
    def _word(cls, value: object) -> object:
        # YAML reads true and no as truth values.
        return {True: "true", False: "no"}.get(value, value) if isinstance(value, bool) else value

    @field_validator("timezone")
    @classmethod
    def _zone(cls, value: str) -> str:
        try:
            zone = ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError(f"no timezone {value!r}") from error
        if len({datetime(2024, month, 1, tzinfo=zone).utcoffset() for month in range(1, 13)}) > 1:
            raise ValueError(
                f"{value} has summer time; hours of the day could not be told from event time alone"
            )
        return value


class Settings(_Model):
    """Every setting that a verdict depends on; part of the pack's hash."""

    clock: Literal["system", "source"] = "system"
    simulated: bool = False
    """Every screen and message then says MÔ PHỎNG."""
    auto_register: bool = False
    lateness: Duration = 3_600_000_000
    max_ahead: Duration = 120_000_000
    stamps_max: int = 4_096
    """How many (stamp, values) of a series are kept within the lateness bound."""


@dataclass(frozen=True)
class Pack:
    """One loaded pack with its settings."""

    file: PackFile
    registry: Registry
    rules: dict[str, Rule]
    derived: dict[str, Derived]
    planned: tuple[Planned, ...]
    """What is derived, those that others need first."""
    settings: Settings
    blob: bytes
    hash: str
    places: Mapping[str, tuple[str, Where]]
    """File and path of every rule, and of every derived series under `derived:` and its id."""

    @staticmethod
    def read(folder: Path, settings: Settings, cache: Path | None = None) -> Pack:
        """A folder as it stands; `cache` may keep what was parsed. Raises PackFaults with every fault that it has."""
        files = files_of(folder)
        return Pack.of(files, settings, cache, _communes(folder, files))

    @staticmethod
    def from_blob(blob: bytes, cache: Path | None = None) -> Pack:
        """What the log kept. Raises PackError if this build no longer understands it."""
        known = _LIVING.get(hashlib.sha256(blob).hexdigest())
        if known is not None:
            return known
        data: dict[str, Any] = json.loads(blob)
        return Pack.of(data["files"], Settings.model_validate(data["settings"]), cache)

    @staticmethod
    def of(
        files: Files, settings: Settings, cache: Path | None = None, communes: frozenset[str] | None = None
    ) -> Pack:
        """The pack of these files; one that this process holds already is not built again."""
        blob = blob_of(files, settings)
        digest = hashlib.sha256(blob).hexdigest()
        pack = _LIVING.get(digest)
        if pack is None:
            with uncollected():
                parts = _Parts(files, cache, communes)
            if parts.faults:
                raise PackFaults(parts.faults)
            assert parts.file is not None
            pack = Pack(
                parts.file, parts.registry, parts.rules, parts.derived, parts.planned, settings, blob, digest,
                {name: (place.file, place.path) for name, place in parts.places.items()},
            )  # fmt: skip
            _LIVING[digest] = pack
        return pack

    @property
    def files(self) -> dict[str, str]:
        """The texts that it was built of, by name."""
        files: dict[str, str] = json.loads(self.blob)["files"]
        return files

    def fault(self, name: str, path: Where, reason: str) -> PackError:
        """Something wrong with a rule, or with a derived series (`derived:` and its id), at its place."""
        file, here = self.places[name]
        return PackError(file, Lines(self.files[file]).of((*here, *path)), dotted((*here, *path)), reason)

    @property
    def utc_offset_us(self) -> int:
        """How far the pack's local time is ahead of UTC: at 2024, and so for ever, since a verdict depends on it."""
        moment = datetime(2024, 1, 1, tzinfo=ZoneInfo(self.file.timezone))
        offset = moment.utcoffset() or timedelta()
        return int(offset.total_seconds()) * 1_000_000


_LIVING: WeakValueDictionary[str, Pack] = WeakValueDictionary()
"""Packs that this process holds, by hash: the one in force is neither parsed nor built twice."""


def files_of(folder: Path) -> dict[str, str]:
    """The texts of a folder and the centre's own rules. Raises PackError."""
    if not (folder / "pack.yaml").is_file():
        raise PackError(str(folder), 0, "", "not a pack: it has no pack.yaml")
    files = system_files()
    faults = []
    for path in paths_of(folder):
        name = path.relative_to(folder).as_posix()
        try:
            files[name] = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            faults.append(PackError(name, 0, "", f"cannot be read: {error}"))
    if faults:
        raise PackFaults(faults)
    return files


def system_files() -> dict[str, str]:
    """The centre's own rules, by name."""
    return {SYSTEM_RULES: _SYSTEM_FILE.read_text("utf-8")}


def paths_of(folder: Path) -> list[Path]:
    """The files that a pack's verdicts depend on, in order."""
    parts = [sorted((folder / part).glob("*.yaml")) for part in ("stations", "derived", "rules")]
    return [folder / "pack.yaml", folder / "quantities.yaml", *(path for part in parts for path in part)]


def cache_of(data: Path) -> Path:
    """Where a data folder keeps what was parsed of packs; it may be deleted at any time."""
    return data / "cache"


def blob_of(files: Files, settings: Settings) -> bytes:
    """What the log keeps of a pack, canonical: equal packs are equal bytes."""
    plain = settings.model_dump(mode="json")
    for name in ("lateness", "max_ahead"):
        plain[name] = f"{plain[name]}us"
    return json.dumps({"files": files, "settings": plain}, ensure_ascii=False, sort_keys=True).encode()


def _communes(folder: Path, files: Files) -> frozenset[str] | None:
    """The codes on the pack's map, or None where it has none, or nobody can tell yet which it is."""
    try:
        file, lines = load(PackFile, files["pack.yaml"], "pack.yaml")
    except PackError:
        return None
    if not file.map:
        return None
    try:
        features = json.loads((folder / file.map).read_text("utf-8"))["features"]
        return frozenset(str(feature["properties"]["code"]) for feature in features)
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f"{file.map} cannot be read as GeoJSON with codes: {error!r}"
        raise PackError("pack.yaml", lines.of(("map",)), "map", reason) from error


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands: file, the file's lines, path."""

    file: str
    lines: Lines
    path: Where

    def at(self, *more: Any) -> Place:
        """A place below this one."""
        return Place(self.file, self.lines, (*self.path, *more))

    def fault(self, reason: str) -> PackError:
        """Something wrong here."""
        return PackError(self.file, self.lines.of(self.path), dotted(self.path), reason)


class _Parts:
    """A pack while it is put together: its parts as far as they are sound, and all that is wrong with the others.

    A check that would only repeat that something else is broken is left out: whether a rule's station exists is
    asked once every file of stations can be read.
    """

    def __init__(self, files: Files, cache: Path | None, communes: frozenset[str] | None) -> None:
        self.faults: list[PackError] = []
        self.file: PackFile | None = None
        self.places: dict[str, Place] = {}
        self.rules: dict[str, Rule] = {}
        self.derived: dict[str, Derived] = {}
        self.planned: tuple[Planned, ...] = ()
        self._quantities: dict[str, Quantity] | None = None
        self._lines: dict[str, Lines] = {}
        try:
            self.file, self._lines["pack.yaml"] = load(PackFile, files["pack.yaml"], "pack.yaml")
        except PackError as error:
            self.faults += error.faults
        self._load_quantities(files)
        lists = [
            listed(StationsFile, "stations", files[name], name, cache)
            for name in sorted(n for n in files if n.startswith("stations/"))
        ]
        stations = tuple(self._stations(lists, communes))
        whole = not self.faults
        self.registry = Registry(stations, self._quantities or {}) if whole else Registry((), {})
        known = self._load_derived(files)
        broken = self._load_rules(files)
        self._rationalised()
        if whole:
            self._cross_checked(known, broken, lists)

    def _load_quantities(self, files: Files) -> None:
        name = "quantities.yaml"
        try:
            file, self._lines[name] = load(QuantitiesFile, files[name], name)
            self._quantities = file.quantities
        except PackError as error:
            self.faults += error.faults
        except KeyError:
            self.faults.append(PackError(name, 0, "", "is missing: it says what can be measured"))

    def _stations(self, lists: list[Listed[Station]], communes: frozenset[str] | None) -> Iterator[Station]:
        seen: dict[str, str] = {}
        for one in lists:
            self.faults += one.faults
            for i, station in one.items:
                here = Place(one.file, one.lines, ("stations", i))
                if station.id in seen:
                    reason = (
                        f"station {station.id!r} stands already in {seen[station.id]}: name one otherwise"
                    )
                    self.faults.append(here.at("id").fault(reason))
                    continue
                seen[station.id] = one.file
                if communes is not None and station.commune not in communes:
                    reason = f"no commune {station.commune!r} on the pack's map: give one of its codes"
                    self.faults.append(here.at("commune").fault(reason))
                self._entries(station, here)
                yield station

    def _entries(self, station: Station, here: Place) -> None:
        ids: set[tuple[str, str]] = set()
        for j, entry in enumerate(station.series):
            if self._quantities is not None and entry.quantity not in self._quantities:
                reason = f"no quantity {entry.quantity!r} in quantities.yaml: add it, or name one of those"
                self.faults.append(here.at("series", j, "quantity").fault(reason))
            if (entry.domain, entry.quantity) in ids:
                reason = f"series {entry.domain}/{station.id}/{entry.quantity} stands twice: keep one of them"
                self.faults.append(here.at("series", j).fault(reason))
            ids.add((entry.domain, entry.quantity))

    def _load_derived(self, files: Files) -> bool:
        """Whether all derived series are sound so far."""
        sound = True
        for name in sorted(n for n in files if n.startswith("derived/")):
            one: Listed[Any] = listed(DerivedFile, "derived", files[name], name)
            self.faults += one.faults
            sound = sound and not one.faults
            for i, definition in one.items:
                place = Place(name, one.lines, ("derived", i))
                if definition.id in self.derived:
                    reason = f"derived series {definition.id!r} stands twice: name one otherwise"
                    self.faults.append(place.at("id").fault(reason))
                    continue
                self.places[f"{DERIVED_PREFIX}{definition.id}"] = place
                self.derived[definition.id] = definition
        return sound

    def _load_rules(self, files: Files) -> bool:
        """Whether a rule is missing because something is wrong with it."""
        broken = False
        for name in sorted(n for n in files if n.startswith("rules/") or n == SYSTEM_RULES):
            one: Listed[Any] = listed(RulesFile, "rules", files[name], name)
            self.faults += one.faults
            broken = broken or bool(one.faults)
            for i, rule in one.items:
                place = Place(name, one.lines, ("rules", i))
                if rule.id in self.rules:
                    self.faults.append(
                        place.at("id").fault(f"rule {rule.id!r} stands twice: name one otherwise")
                    )
                    continue
                self.rules[rule.id] = rule
                self.places[rule.id] = place
        return broken

    def _rationalised(self) -> None:
        """What ISA-18.2 wants written down of every alarm that is to be answered at once. The centre's own rules are
        ours to explain, and nobody's to approve."""
        stage = self.file.rationalised if self.file else "no"
        for rule in self.rules.values():
            place = self.places[rule.id]
            why = rule.rationalisation
            if place.file == SYSTEM_RULES or stage == "no":
                continue
            if stage == "proposed" and why is not None and (why.approved_by or why.approved_on):
                reason = "the pack says rationalised: proposed, so approved_by and approved_on must be empty"
                self.faults.append(place.at("rationalisation").fault(reason))
            if min(rule.priorities) > 2:
                continue
            if why is None:
                reason = (
                    "has alarms of priority 1 or 2: add its rationalisation "
                    "(cause, consequence, action, respond_within)"
                )
                self.faults.append(place.fault(reason))
            elif stage == "true" and not (why.approved_by and why.approved_on):
                reason = "the pack says rationalised: true: add who approved it and when (approved_by, approved_on)"
                self.faults.append(place.at("rationalisation").fault(reason))

    def _cross_checked(self, known: bool, broken: bool, lists: list[Listed[Station]]) -> None:
        """What needs the stations; what needs the derived series or the other rules only where these are sound."""
        self._quality(lists)
        for rule in self.rules.values():
            if isinstance(rule, LimitRule):
                for station in rule.stations:
                    if station not in self.registry.stations:
                        reason = (
                            f"no station {station!r} in the pack: name one that is there, or leave it out"
                        )
                        self.faults.append(self.places[rule.id].at("stations", station).fault(reason))
        before = len(self.faults)
        self._plan(broken)
        if not known or len(self.faults) > before:
            return
        for series_id in self.file.trends if self.file else ():
            if series_id not in self.registry.series:
                lines = self._lines["pack.yaml"]
                self.faults.append(Place("pack.yaml", lines, ("trends",)).fault(_no_series(series_id)))
        for rule in self.rules.values():
            selector = getattr(rule, "series", None)
            if isinstance(selector, Selector):
                place = self.places[rule.id]
                self.faults += self._selector(selector, place.at("series"))
                if isinstance(rule, LimitRule) and rule.unit is not None:
                    self._unit(rule, rule.unit, place.at("unit"))
                if isinstance(rule, LimitRule) and rule.value is None:
                    self._out_of_reach(rule, place)
        if not broken:
            for name, path, reason in joint.faults(self.rules, self.registry):
                self.faults.append(self.places[name].at(*path).fault(reason))

    def _quality(self, lists: list[Listed[Station]]) -> None:
        told: dict[tuple[int, int], list[str]] = {}
        seen: set[tuple[str, str]] = set()
        for series in self.registry.series.values():
            if series.quality is None:
                continue
            key = (id(series.quality), series.interval_us)
            if key not in told:
                told[key] = quality.faults(series)
            for reason in told[key]:
                place = self._tests_of(series, lists)
                if (dotted(place.path), reason) not in seen:
                    seen.add((dotted(place.path), reason))
                    self.faults.append(place.fault(f"{series.id}: {reason}"))

    def _tests_of(self, series: Series, lists: list[Listed[Station]]) -> Place:
        """Where the quality tests of a series are written: with itself, or with its quantity."""
        for one in lists:
            for i, station in one.items:
                if station.id != series.station.id:
                    continue
                for j, entry in enumerate(station.series):
                    if entry.quality is not None and entry.quality is series.quality:
                        return Place(one.file, one.lines, ("stations", i, "series", j, "quality"))
        return Place(
            "quantities.yaml",
            self._lines["quantities.yaml"],
            ("quantities", series.quantity, "quality"),
        )

    def _plan(self, broken: bool) -> None:
        """What is derived, and everything that is wrong with it: what fails is left out, with all that needs it."""
        rules = dict(self.rules)
        left = list(self.derived.values())
        while True:
            try:
                self.planned = plan(self.registry, left, rules)
                break
            except Unplannable as error:
                rule = error.name.removeprefix(RULE_PREFIX) if error.name.startswith(RULE_PREFIX) else None
                # A rule that is missing because it is broken has been told already.
                if not (broken and error.where[-1:] == ("rule",)):
                    place = self.places[rule or DERIVED_PREFIX + error.name]
                    self.faults.append(place.at(*error.where).fault(error.reason))
                if rule:
                    rules[rule] = rules[rule].model_copy(update={"enabled": False})
                else:
                    left = _without(left, error.name)
                # Without what the plan has added so far.
                self.registry = Registry(tuple(self.registry.stations.values()), self.registry.quantities)
        for planned in self.planned:
            name = planned.rule
            place = self.places[name].at("value") if name else self.places[DERIVED_PREFIX + planned.name]
            try:
                builder(planned.kind)(planned.spec, planned.instances[:1], 0)
            except ValueError as error:
                if isinstance(planned.spec, Expression):
                    place = place.at("cel")
                self.faults.append(place.fault(" ".join(str(error).split())))

    def _selector(self, selector: Selector, here: Place) -> Iterator[PackError]:
        registry = self.registry
        found = False
        for station in selector.stations:
            if station not in registry.stations:
                found = True
                yield here.at("stations").fault(f"no station {station!r} in the pack")
        for quantity in selector.quantities:
            if quantity not in registry.quantities:
                found = True
                yield here.at("quantities").fault(f"no quantity {quantity!r} in quantities.yaml")
        for series_id in selector.ids:
            if series_id not in registry.series:
                found = True
                yield here.at("ids").fault(_no_series(series_id))
        if not found and not any(map(selector.matches, registry.series.values())):
            yield here.fault("selects no series of the pack: every list given must match")

    def _out_of_reach(self, rule: LimitRule, here: Place) -> None:
        """Levels that no sample can ever raise: a rule that looks as if it watched is worse than none."""
        up = rule.direction == "up"
        for series in self.registry.series.values():
            if not rule.series.matches(series):
                continue
            for number, level in rule.levels.items():
                limit = rule.limit_of(series.station.id, number)
                bound = series.range[1] if up else series.range[0]
                if limit is not None and (limit > bound if up else limit < bound):
                    reason = (
                        f"{series.id} is bad quality beyond {bound:g}: no sample of it can raise {limit:g}"
                    )
                    self.faults.append(here.at("levels", number).fault(reason))
                    return
                if (level.times - 1) * series.interval_us > level.within:
                    minutes = (level.times - 1) * series.interval_us / 60_000_000
                    reason = f"{series.id}: {level.times} samples take {minutes:g} min, within is shorter"
                    self.faults.append(here.at("levels", number, "within").fault(reason))
                    return

    def _unit(self, rule: LimitRule, unit: str, here: Place) -> None:
        """Limits in another unit than the values they are compared with would be a quiet disaster."""
        for series in self.registry.series.values():
            if not rule.series.matches(series):
                continue
            has = {unit_of(rule.value, series)} if rule.value else {series.unit, series.unit_text}
            if unit not in has:
                what = "a value of this rule" if rule.value else "it"
                reason = (
                    f"the limits are in {unit}, but {what} at {series.id} is in {' or '.join(sorted(has))}"
                )
                self.faults.append(here.fault(f"{reason}: convert the limits, or select other series"))
                return


def beyond(pack: Pack, kept_us: int) -> list[PackError]:
    """The windows that reach farther back than what is kept: after a restart that must read the log again, they
    would be wrong until that time has passed once more. `kept_us` is how far the log goes back."""
    found = []
    for name, path, length_us in _reaches(pack):
        if length_us > kept_us:
            reason = (
                f"reaches {length_us / _DAY_US:g} d back, but the log keeps {kept_us / _DAY_US:g} d: shorten it, or "
                "raise log.retention_days"
            )
            found.append(pack.fault(name, path, reason))
    return found


def _reaches(pack: Pack) -> Iterator[tuple[str, Where, int]]:
    """Name, path and length (µs) of everything that looks back over event time."""
    for planned in pack.planned:
        name = planned.rule or DERIVED_PREFIX + planned.name
        below: Where = () if planned.spec is pack.derived.get(planned.name) else ("value",)
        if (over := getattr(planned.spec, "over", None)) is not None:
            yield name, (*below, "over"), over
        if (weeks := getattr(planned.spec, "weeks", None)) is not None:
            yield name, (*below, "weeks"), weeks * 7 * _DAY_US
    for rule in pack.rules.values():
        if isinstance(rule, LimitRule):
            for level, one in rule.levels.items():
                yield rule.id, ("levels", level, "within"), one.within
                yield rule.id, ("levels", level, "on_delay"), one.on_delay
        for field in ("over", "within", "hold", "on_delay"):
            yield rule.id, (field,), getattr(rule, field, None) or 0
        if isinstance(rule, TravelRule):
            yield rule.id, ("travel",), rule.travel[1]


def _no_series(series_id: str) -> str:
    return f"no series {series_id!r} in the pack: it is {{domain}}/{{station}}/{{quantity}} of a station here"


def _without(definitions: list[Derived], name: str) -> list[Derived]:
    """All but this one and those that need it, by whatever way."""
    gone = {name}
    while more := {d.id for d in definitions if d.id not in gone and gone & set(needs(d))}:
        gone |= more
    return [d for d in definitions if d.id not in gone]
