"""A pack: the stations, series, rules and texts of one province, as a folder of YAML.

`Pack.read` takes a folder, `Pack.from_blob` the bytes that the log kept of one; both give the same pack, and
`hash` names it together with every setting that a verdict depends on.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from ioc.errors import PackError
from ioc.model.text import Text
from ioc.registry import QuantitiesFile, Quantity, Registry, Slug, Station, StationsFile
from ioc.rules.spec import LimitRule, NoDataRule, Rule, RulesFile, Selector, TooLateRule
from ioc.yamlfile import Duration, dotted, line_of, load
from ioc.yamlfile import Path as Where

SYSTEM_RULES = "ioc:system.yaml"
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
    settings: Settings
    blob: bytes
    hash: str

    @staticmethod
    def read(folder: Path, settings: Settings) -> Pack:
        """A folder as it stands. Raises PackError with file, line and path of the first fault."""
        if not (folder / "pack.yaml").is_file():
            raise PackError(str(folder), 0, "", "not a pack: it has no pack.yaml")
        files: dict[str, str] = {SYSTEM_RULES: _SYSTEM_FILE.read_text("utf-8")}
        names = [folder / "pack.yaml", folder / "quantities.yaml"]
        names += sorted((folder / "stations").glob("*.yaml")) + sorted((folder / "rules").glob("*.yaml"))
        for name in names:
            try:
                files[name.relative_to(folder).as_posix()] = name.read_text("utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise PackError(
                    name.relative_to(folder).as_posix(), 0, "", f"cannot be read: {error}"
                ) from error
        return Pack._build(files, settings, folder)

    @staticmethod
    def from_blob(blob: bytes) -> Pack:
        """What the log kept. Raises PackError if this build no longer understands it."""
        data: dict[str, Any] = json.loads(blob)
        return Pack._build(data["files"], Settings.model_validate(data["settings"]))

    @staticmethod
    def _build(files: dict[str, str], settings: Settings, folder: Path | None = None) -> Pack:
        blob = json.dumps(
            {"files": files, "settings": _plain(settings)}, ensure_ascii=False, sort_keys=True
        ).encode()
        pack_file, _ = load(PackFile, files["pack.yaml"], "pack.yaml")
        quantities = _quantities(files)
        stations = _stations(files, quantities, _communes(folder, pack_file.map) if folder else None)
        registry = Registry(stations, quantities)
        rules = _rules(files, registry)
        for series_id in pack_file.trends:
            if series_id not in registry.series:
                raise PackError("pack.yaml", 0, "trends", f"no series {series_id!r}")
        return Pack(pack_file, registry, rules, settings, blob, hashlib.sha256(blob).hexdigest())


def _plain(settings: Settings) -> dict[str, Any]:
    out = settings.model_dump(mode="json")
    for name in ("lateness", "max_ahead"):
        out[name] = f"{out[name]}us"
    return out


def _quantities(files: dict[str, str]) -> dict[str, Quantity]:
    file, _ = load(QuantitiesFile, files["quantities.yaml"], "quantities.yaml")
    return file.quantities


def _communes(folder: Path, name: str) -> frozenset[str] | None:
    """The codes on the pack's map, or None where it has none."""
    if not name:
        return None
    try:
        features = json.loads((folder / name).read_text("utf-8"))["features"]
        return frozenset(str(feature["properties"]["code"]) for feature in features)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PackError(
            "pack.yaml", 0, "map", f"{name} cannot be read as GeoJSON with codes: {error!r}"
        ) from error


def _stations(
    files: dict[str, str], quantities: dict[str, Quantity], communes: frozenset[str] | None
) -> tuple[Station, ...]:
    stations: list[Station] = []
    seen: dict[str, str] = {}
    for name in sorted(n for n in files if n.startswith("stations/")):
        file, lines = load(StationsFile, files[name], name)
        for i, station in enumerate(file.stations):
            here: Where = ("stations", i)
            if station.id in seen:
                _fault(
                    name, lines, (*here, "id"), f"station {station.id!r} stands already in {seen[station.id]}"
                )
            seen[station.id] = name
            if communes is not None and station.commune not in communes:
                _fault(name, lines, (*here, "commune"), f"no commune {station.commune!r} on the pack's map")
            ids: set[tuple[str, str]] = set()
            for j, entry in enumerate(station.series):
                if entry.quantity not in quantities:
                    _fault(
                        name,
                        lines,
                        (*here, "series", j, "quantity"),
                        f"no quantity {entry.quantity!r} in quantities.yaml",
                    )
                if (entry.domain, entry.quantity) in ids:
                    _fault(
                        name,
                        lines,
                        (*here, "series", j),
                        f"series {entry.domain}/{station.id}/{entry.quantity} stands twice",
                    )
                ids.add((entry.domain, entry.quantity))
            stations.append(station)
    return tuple(stations)


def _rules(files: dict[str, str], registry: Registry) -> dict[str, Rule]:
    rules: dict[str, Rule] = {}
    for name in sorted(n for n in files if n.startswith("rules/") or n == SYSTEM_RULES):
        file, lines = load(RulesFile, files[name], name)
        for i, rule in enumerate(file.rules):
            here: Where = ("rules", i)
            if rule.id in rules:
                _fault(name, lines, (*here, "id"), f"rule {rule.id!r} stands twice")
            if isinstance(rule, LimitRule):
                for station in rule.stations:
                    if station not in registry.stations:
                        _fault(
                            name, lines, (*here, "stations", station), f"no station {station!r} in the pack"
                        )
            if isinstance(rule, LimitRule | NoDataRule | TooLateRule):
                _selector(rule.series, registry, name, lines, (*here, "series"))
            rules[rule.id] = rule
    return rules


def _selector(
    selector: Selector, registry: Registry, name: str, lines: dict[Where, int], here: Where
) -> None:
    for station in selector.stations:
        if station not in registry.stations:
            _fault(name, lines, (*here, "stations"), f"no station {station!r} in the pack")
    for quantity in selector.quantities:
        if quantity not in registry.quantities:
            _fault(name, lines, (*here, "quantities"), f"no quantity {quantity!r} in quantities.yaml")
    for series_id in selector.ids:
        if series_id not in registry.series:
            _fault(name, lines, (*here, "ids"), f"no series {series_id!r} in the pack")
    if not any(selector.matches(series) for series in registry.series.values()):
        _fault(name, lines, here, "selects no series of the pack")


def _fault(file: str, lines: dict[Where, int], path: Where, reason: str) -> None:
    raise PackError(file, line_of(lines, path), dotted(path), reason)
