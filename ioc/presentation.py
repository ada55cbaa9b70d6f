"""How things read to people and screens: alarms, steps, stations and rules with their words in both languages.

Pure. The wall may know neither packs nor rules; it is handed a `Presenter` and shows what that says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ioc.model.alarm import Alarm, Transition
from ioc.model.text import Text
from ioc.pack import Pack
from ioc.registry import Series, Station
from ioc.rules.spec import LimitRule, NoDataRule, Rule, SourceDownRule, SystemRule, TooLateRule
from ioc.wall.wire import (
    AlarmItem,
    GroupItem,
    InstanceItem,
    LimitItem,
    SeriesItem,
    StationItem,
    TransitionItem,
    Words,
    finite,
    stamp,
)

_SYSTEM_NAMES: dict[str, Words] = {
    "monitor": {"vi": "Hệ thống giám sát", "en": "The monitor itself"},
    "disk": {"vi": "Ổ đĩa nhật ký", "en": "Log disk"},
    "log": {"vi": "Nhật ký dữ liệu", "en": "Data log"},
    "clock": {"vi": "Đồng hồ máy chủ", "en": "Server clock"},
    "database": {"vi": "Cơ sở dữ liệu", "en": "Database"},
    "mqtt": {"vi": "Nguồn dữ liệu MQTT", "en": "MQTT data source"},
    "kafka": {"vi": "Nguồn dữ liệu Kafka", "en": "Kafka data source"},
    "http": {"vi": "Nguồn dữ liệu HTTP", "en": "HTTP data source"},
    "files": {"vi": "Nguồn dữ liệu từ tệp", "en": "File data source"},
}


_FACT_UNITS = {"disk_low": "MB", "clock_step": "s"}


def words(text: Text) -> Words:
    """One phrase as screens get it."""
    return {"vi": text.vi, "en": text.en}


def system_name(asset: str) -> Words:
    """The name of an asset of the centre itself, `system/<what>`."""
    what = asset.removeprefix("system/")
    return _SYSTEM_NAMES.get(what) or {"vi": f"Nguồn dữ liệu {what}", "en": f"Data source {what}"}


def limits_of(series: Series, rules: Mapping[str, Rule]) -> list[LimitItem]:
    """Every limit in force on one series, rule by rule and level by level."""
    out: list[LimitItem] = []
    for rule in rules.values():
        if not (isinstance(rule, LimitRule) and rule.enabled and rule.series.matches(series)):
            continue
        for number, level in sorted(rule.levels.items()):
            limit = rule.limit_of(series.station.id, number)
            if limit is not None:
                out.append(
                    LimitItem(number, limit, level.priority, words(level.name), rule.id, rule.direction)
                )
    return out


class Presenter:
    """The loaded pack as screens see it; `numbers` are those of the series, given once and never reused."""

    def __init__(self, pack: Pack, numbers: Mapping[str, int]) -> None:
        self._pack = pack
        self.numbers: Mapping[str, int] = dict(numbers)
        self.simulated = pack.settings.simulated
        self.groups: list[GroupItem] = [GroupItem(g.id, words(g.name)) for g in pack.file.groups]
        self.map_files: tuple[str, str] = (pack.file.map, pack.file.river)
        """File names of communes and river, beside the pack's `pack.yaml`; empty for none."""
        by_quantity = {q: g.id for g in reversed(pack.file.groups) for q in g.quantities}
        self.series: dict[str, SeriesItem] = {
            series.id: SeriesItem(
                id=series.id,
                name=words(series.name),
                unit=series.unit_text,
                resolution=series.resolution,
                datum=series.datum,
                group=series.group or by_quantity.get(series.quantity),
                interval_s=series.interval_us / 1e6,
                limits=limits_of(series, pack.rules),
            )
            for series in pack.registry.series.values()
        }
        for series_id in numbers:
            if series_id not in self.series:
                self.series[series_id] = _unlisted(series_id)
        self.stations: list[StationItem] = [
            StationItem(
                id=station.id,
                name=words(station.name),
                commune=station.commune,
                lat=station.lat,
                lon=station.lon,
                series=[self.series[f"{e.domain}/{station.id}/{e.quantity}"] for e in station.series],
            )
            for station in pack.registry.stations.values()
        ]

    def watched(self, series_id: str) -> bool:
        """Whether the pack expects data of this series."""
        return series_id in self._pack.registry.series

    def instance(self, version: str) -> InstanceItem:
        """What this instance is."""
        file = self._pack.file
        return InstanceItem(
            name=words(file.title),
            organisation=words(file.organisation),
            simulated=self.simulated,
            clock=self._pack.settings.clock,
            version=version,
            timezone=file.timezone,
            groups=self.groups,
            trends=list(file.trends),
        )

    def title(self, rule: str) -> Words:
        """A rule's title; its id if the pack no longer has it."""
        known = self._pack.rules.get(rule)
        return words(known.title) if known else {"vi": rule, "en": rule}

    def guidance(self, rule: str) -> Words | None:
        """What the pack advises to do when this rule raises an alarm."""
        known = self._pack.rules.get(rule)
        return words(known.guidance) if known and known.guidance else None

    def tells_silence(self, rule: str) -> bool:
        """Whether a rule's alarm means that nothing comes from a series any more."""
        return isinstance(self._pack.rules.get(rule), NoDataRule)

    def level_name(self, rule: str, level: int) -> Words | None:
        """What a level of a limit rule is called."""
        known = self._pack.rules.get(rule)
        if isinstance(known, LimitRule) and level in known.levels:
            return words(known.levels[level].name)
        return None

    def _place(self, asset: str) -> tuple[Series | None, Station | None, Words]:
        """The series and station an asset stands for, and the name of its place."""
        series = self._pack.registry.series.get(asset)
        if series is not None:
            return series, series.station, words(series.station.name)
        domain, _, rest = asset.partition("/")
        if domain == "system":
            return None, None, system_name(asset)
        station = self._pack.registry.stations.get(rest.partition("/")[0])
        if station is not None:
            return None, station, words(station.name)
        return None, None, {"vi": asset, "en": asset}

    def _measure(self, rule: str, series: Series | None) -> tuple[str, float | None]:
        """Unit and resolution of a rule's value and limit: silence is told in seconds, whatever the series measures."""
        match self._pack.rules.get(rule):
            case NoDataRule() | TooLateRule() | SourceDownRule():
                return "s", 1.0
            case SystemRule() as system:
                return _FACT_UNITS.get(system.fact, ""), 1.0
            case _:
                return (series.unit_text, series.resolution) if series else ("", None)

    def alarm(self, alarm: Alarm) -> AlarmItem:
        """An alarm with everything a screen needs to show it without asking again."""
        series, station, place = self._place(alarm.asset)
        unit, resolution = self._measure(alarm.rule, series)
        return AlarmItem(
            id=alarm.id,
            rule=alarm.rule,
            asset=alarm.asset,
            occurrence=alarm.occurrence,
            version=alarm.version,
            state=str(alarm.state),
            condition=str(alarm.condition),
            level=alarm.level,
            priority=alarm.priority,
            value=finite(alarm.value),
            unit=unit,
            limit=finite(alarm.limit),
            resolution=resolution,
            raised_at=stamp(alarm.raised_us),
            changed_at=stamp(alarm.changed_us),
            event_at=stamp(alarm.onset_event_us),
            acked_by=alarm.acked_by or None,
            acked_by_name=(alarm.acked_by_name or alarm.acked_by) or None,
            acked_at=stamp(alarm.acked_us) if alarm.acked_us else None,
            note=alarm.note,
            detail=alarm.detail,
            backlog=alarm.backlog,
            confirmed=alarm.confirmed,
            sounding=alarm.sounding,
            title=self.title(alarm.rule),
            level_name=self.level_name(alarm.rule, alarm.level),
            station_name=place,
            series_name=words(series.name) if series else None,
            station=station.id if station else None,
            series=series.id if series else None,
            domain=alarm.asset.partition("/")[0],
            lat=station.lat if station else None,
            lon=station.lon if station else None,
            commune=station.commune if station else None,
            simulated=self.simulated,
        )

    def transition(self, step: Transition) -> TransitionItem:
        """One step of an alarm's life."""
        series, _, place = self._place(step.asset)
        return TransitionItem(
            id=step.id,
            alarm=step.alarm,
            rule=step.rule,
            asset=step.asset,
            occurrence=step.occurrence,
            step=step.step,
            kind=str(step.kind),
            before=str(step.before),
            after=str(step.after),
            condition=str(step.condition),
            level=step.level,
            priority=step.priority,
            value=finite(step.value),
            limit=finite(step.limit),
            event_at=stamp(step.event_us),
            at=stamp(step.now_us),
            input=step.input,
            sounds=step.sounds,
            backlog=step.backlog,
            actor=step.actor,
            actor_name=step.actor_name or step.actor,
            note=step.note,
            detail=step.detail,
            title=self.title(step.rule),
            station_name=place,
            unit=self._measure(step.rule, series)[0],
            simulated=self.simulated,
        )

    def rules(self) -> list[dict[str, Any]]:
        """Every rule with its limits and where they come from."""
        return [_rule(rule) for rule in self._pack.rules.values()]


def _unlisted(series_id: str) -> SeriesItem:
    """A series registered by itself: its id is all that is known."""
    name = {"vi": series_id, "en": series_id}
    return SeriesItem(series_id, name, "", None, None, None, None, [])


def _rule(rule: Rule) -> dict[str, Any]:
    out: dict[str, Any] = {
        "id": rule.id,
        "kind": rule.kind,
        "title": words(rule.title),
        "enabled": rule.enabled,
        "guidance": words(rule.guidance) if rule.guidance else None,
        "source": None,
    }
    if isinstance(rule, LimitRule):
        out["source"] = rule.source.model_dump(mode="json")
        out["direction"] = rule.direction
        out["selector"] = rule.series.model_dump(mode="json")
        out["levels"] = [
            {
                "level": number,
                "name": words(level.name),
                "priority": level.priority,
                "limit": level.limit,
                "deadband": level.deadband,
                "on_delay_s": level.on_delay / 1e6,
                "off_delay_s": level.off_delay / 1e6,
            }
            for number, level in sorted(rule.levels.items())
        ]
        out["stations"] = {
            station: {str(n): rule.limit_of(station, n) for n in sorted(rule.levels)}
            for station in rule.stations
        }
    elif isinstance(rule, NoDataRule | TooLateRule):
        out["priority"] = rule.priority
        out["selector"] = rule.series.model_dump(mode="json")
    elif isinstance(rule, SourceDownRule):
        out["priority"] = rule.priority
        out["after_s"] = rule.after / 1e6
    else:
        out["priority"] = rule.priority
        out["fact"] = rule.fact
    return out
