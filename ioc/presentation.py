"""How things read to people and screens: alarms, steps, stations and rules with their words in both languages.

Pure. The wall may know neither packs nor rules; it is handed a `Presenter` and shows what that says.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec

from ioc.alerts.shadow import Report, Standing, Would
from ioc.model.alarm import Alarm, Transition
from ioc.model.text import Text
from ioc.pack import Pack
from ioc.registry import Series, Station
from ioc.rules.composite import DOUBTFUL
from ioc.rules.derive.kinds import resolution_of, unit_of
from ioc.rules.spec import (
    ClockSkewRule,
    ConditionRule,
    JointRule,
    LimitRule,
    NeighboursRule,
    NoDataRule,
    Rule,
    SequenceRule,
    SourceDownRule,
    SystemRule,
    TooLateRule,
    TravelRule,
)
from ioc.wall.wire import (
    AlarmItem,
    GroupItem,
    InstanceItem,
    LimitItem,
    SeriesItem,
    ShadowItem,
    StandingItem,
    StationItem,
    TransitionItem,
    TriedDayItem,
    TriedItem,
    Words,
    WouldItem,
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

_EPOCH: Final = date(1970, 1, 1)
_HOUR_US: Final = 3_600_000_000
_DAY_US: Final = 24 * _HOUR_US
_EXPECTED: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\dZ)/(\d{4}-\d\d-\d\dT\d\d:\d\dZ|\d\d:\d\dZ)")
"""When a wave is due, as `Travel` has it."""
_ABOUT_MAX: Final = 8_192
"""Of how many rules, assets and levels the words are kept."""


class _About(msgspec.Struct, frozen=True):
    """What every alarm of one rule on one asset at one level says alike."""

    title: Words
    level_name: Words | None
    unit: str
    resolution: float | None
    station_name: Words
    series_name: Words | None
    station: str | None
    series: str | None
    domain: str
    lat: float | None
    lon: float | None
    commune: str | None
    computed: bool
    figures: bool
    """Whether value and limit mean anything: what several stations make together is often only so or not so."""


def words(text: Text) -> Words:
    """One phrase as screens get it."""
    return {"vi": text.vi, "en": text.en}


def system_name(asset: str) -> Words:
    """The name of an asset of the centre itself, `system/<what>`."""
    what = asset.removeprefix("system/")
    return _SYSTEM_NAMES.get(what) or {"vi": f"Nguồn dữ liệu {what}", "en": f"Data source {what}"}


class _Limits:
    """The limits in force on any series of a pack; what many series share is made once."""

    def __init__(self, rules: Mapping[str, Rule]) -> None:
        self._rules: list[tuple[LimitRule, list[LimitItem] | None]] = []
        for rule in rules.values():
            if not isinstance(rule, LimitRule) or not rule.enabled:
                continue
            if rule.mode == "shadow":
                # Nobody is to act on it.
                continue
            if rule.value is not None:
                # Its limits are about something else than what a trend of this series shows.
                continue
            self._rules.append((rule, None if rule.stations else _items(rule, "")))

    def of(self, series: Series) -> list[LimitItem]:
        """Rule by rule and level by level."""
        out: list[LimitItem] = []
        for rule, shared in self._rules:
            if rule.series.matches(series):
                out += _items(rule, series.station.id) if shared is None else shared
        return out


def _items(rule: LimitRule, station: str) -> list[LimitItem]:
    return [
        LimitItem(number, limit, level.priority, words(level.name), rule.id, rule.direction)
        for number, level in sorted(rule.levels.items())
        if (limit := rule.limit_of(station, number)) is not None
    ]


def limits_of(series: Series, rules: Mapping[str, Rule]) -> list[LimitItem]:
    """Every limit in force on one series, rule by rule and level by level."""
    return _Limits(rules).of(series)


class Presenter:
    """The loaded pack as screens see it; `numbers` are those of the series, given once and never reused."""

    def __init__(self, pack: Pack, numbers: Mapping[str, int]) -> None:
        self._pack = pack
        self._silences = {rule.id for rule in pack.rules.values() if isinstance(rule, NoDataRule)}
        self._about = functools.lru_cache(_ABOUT_MAX)(self._look_up)
        self.numbers: Mapping[str, int] = dict(numbers)
        self.simulated = pack.settings.simulated
        self.groups: list[GroupItem] = [GroupItem(g.id, words(g.name)) for g in pack.file.groups]
        self.map_files: tuple[str, str] = (pack.file.map, pack.file.river)
        """File names of communes and river, beside the pack's `pack.yaml`; empty for none."""
        by_quantity = {q: g.id for g in reversed(pack.file.groups) for q in g.quantities}
        limits = _Limits(pack.rules)
        self.series: dict[str, SeriesItem] = {
            series.id: SeriesItem(
                id=series.id,
                name=words(series.name),
                unit=series.unit_text,
                resolution=series.resolution,
                datum=series.datum,
                group=series.group or by_quantity.get(series.quantity),
                interval_s=series.interval_us / 1e6,
                limits=limits.of(series),
            )
            for series in pack.registry.series.values()
        }
        by_station: dict[str, list[str]] = {station: [] for station in pack.registry.stations}
        for series in pack.registry.series.values():
            by_station[series.station.id].append(series.id)
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
                series=[self.series[series_id] for series_id in by_station[station.id]],
            )
            for station in pack.registry.stations.values()
        ]

    def watched(self, series_id: str) -> bool:
        """Whether the pack expects somebody to send this series."""
        series = self._pack.registry.series.get(series_id)
        return series is not None and not series.derived

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

    def rationalisation(self, rule: str) -> dict[str, Any] | None:
        """Why there is such an alarm: cause, consequence, the action expected within `respond_within_s`, and who
        approved that (empty until somebody has)."""
        known = self._pack.rules.get(rule)
        if known is None or known.rationalisation is None:
            return None
        why = known.rationalisation
        return {
            "cause": words(why.cause),
            "consequence": words(why.consequence),
            "action": words(why.action),
            "respond_within_s": why.respond_within / 1e6,
            "approved_by": why.approved_by,
            "approved_on": why.approved_on.isoformat() if why.approved_on else None,
        }

    def tells_silence(self, rule: str) -> bool:
        """Whether a rule's alarm means that nothing comes from a series any more."""
        return rule in self._silences

    def level_name(self, rule: str, level: int) -> Words | None:
        """What a level of a limit rule is called."""
        known = self._pack.rules.get(rule)
        if isinstance(known, LimitRule) and level in known.levels:
            return words(known.levels[level].name)
        if isinstance(known, NeighboursRule | ConditionRule | SequenceRule | TravelRule):
            return words(known.level_name)
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
        if rest.startswith("commune_"):
            code = rest.removeprefix("commune_")
            return None, None, {"vi": f"Xã, phường {code}", "en": f"Commune {code}"}
        if rest and "/" not in rest:
            return None, None, {"vi": f"Lưu vực {rest}", "en": f"Catchment {rest}"}
        return None, None, {"vi": asset, "en": asset}

    def _measure(self, rule: str, series: Series | None) -> tuple[str, float | None]:
        """Unit and resolution of a rule's value and limit: silence is told in seconds, whatever the series measures."""
        match self._pack.rules.get(rule):
            case NoDataRule() | TooLateRule() | SourceDownRule() | ClockSkewRule():
                return "s", 1.0
            case LimitRule(value=value) if value is not None and series is not None:
                return unit_of(value, series), resolution_of(value, series)
            case NeighboursRule() | ConditionRule() | SequenceRule() | TravelRule():
                return "", 1.0
            case SystemRule() as system:
                return _FACT_UNITS.get(system.fact, ""), 1.0
            case _:
                return (series.unit_text, series.resolution) if series else ("", None)

    def _look_up(self, rule: str, asset: str, level: int) -> _About:
        series, station, place = self._place(asset)
        unit, resolution = self._measure(rule, series)
        known = self._pack.rules.get(rule)
        return _About(
            title=self.title(rule),
            level_name=self.level_name(rule, level),
            unit=unit,
            resolution=resolution,
            station_name=place,
            series_name=words(series.name) if series else None,
            station=station.id if station else None,
            series=series.id if series else None,
            domain=asset.partition("/")[0],
            lat=station.lat if station else None,
            lon=station.lon if station else None,
            commune=station.commune if station else None,
            figures=not isinstance(known, ConditionRule | SequenceRule | TravelRule),
            computed=isinstance(known, JointRule)
            or (isinstance(known, LimitRule) and known.value is not None),
        )

    def _level_shown(self, level: Words | None, detail: str) -> Words | None:
        """The name of a level, with what a screen must say beside it: that it is doubtful, or when a wave is due."""
        if detail.startswith(DOUBTFUL):
            return _doubted(level)
        if level is not None and (due := _EXPECTED.fullmatch(detail)):
            zone = ZoneInfo(self._pack.file.timezone)
            first = datetime.fromisoformat(due[1])
            last = datetime.fromisoformat(due[2] if "T" in due[2] else f"{due[1][:11]}{due[2]}")
            span = "–".join(f"{moment.astimezone(zone):%H:%M}" for moment in (first, last))
            return {"vi": f"{level['vi']}, dự kiến {span}", "en": f"{level['en']}, expected {span}"}
        return level

    def alarm(self, alarm: Alarm) -> AlarmItem:
        """An alarm with everything a screen needs to show it without asking again."""
        about = self._about(alarm.rule, alarm.asset, alarm.level)
        # By position, here and below: names cost a struct of this size ten times its making.
        return AlarmItem(
            alarm.id,
            alarm.rule,
            alarm.asset,
            alarm.occurrence,
            alarm.version,
            str(alarm.state),
            str(alarm.condition),
            alarm.level,
            alarm.priority,
            finite(alarm.value) if about.figures else None,
            about.unit,
            finite(alarm.limit) if about.figures else None,
            about.resolution,
            stamp(alarm.raised_us),
            stamp(alarm.changed_us),
            stamp(alarm.onset_event_us),
            alarm.acked_by or None,
            (alarm.acked_by_name or alarm.acked_by) or None,
            stamp(alarm.acked_us) if alarm.acked_us else None,
            alarm.note,
            alarm.detail,
            alarm.backlog,
            alarm.confirmed,
            alarm.sounding,
            about.title,
            self._level_shown(about.level_name, alarm.detail),
            about.station_name,
            about.series_name,
            about.station,
            about.series,
            about.domain,
            about.lat,
            about.lon,
            about.commune,
            self.simulated,
            about.computed,
        )

    def transition(self, step: Transition) -> TransitionItem:
        """One step of an alarm's life."""
        about = self._about(step.rule, step.asset, step.level)
        return TransitionItem(
            step.id,
            step.alarm,
            step.rule,
            step.asset,
            step.occurrence,
            step.step,
            str(step.kind),
            str(step.before),
            str(step.after),
            str(step.condition),
            step.level,
            step.priority,
            finite(step.value) if about.figures else None,
            finite(step.limit) if about.figures else None,
            stamp(step.event_us),
            stamp(step.now_us),
            step.input,
            step.sounds,
            step.backlog,
            step.actor,
            step.actor_name or step.actor,
            step.note,
            step.detail,
            about.title,
            about.station_name,
            about.unit,
            self.simulated,
        )

    def tried(self, rule: str, since_us: int, ended: str) -> TriedItem:
        """A rule of which there is a record of what it would have done."""
        return TriedItem(rule, self.title(rule), stamp(since_us), ended)

    def shadow(self, report: Report) -> ShadowItem:
        """What a rule would have done."""
        days = [
            TriedDayItem(
                f"{_EPOCH + timedelta(days=day):%Y-%m-%d}",
                figures.alarms,
                figures.beside,
                figures.active_us / 1e6,
            )
            for day, figures in report.days.items()
        ]
        alarms = sum(sum(day.alarms) for day in days)
        beside = sum(day.beside for day in days)
        span_us = report.until_us - report.counted_us
        return ShadowItem(
            rule=report.rule,
            title=self.title(report.rule),
            since=stamp(report.since_us),
            counted_from=stamp(report.counted_us),
            until=stamp(report.until_us),
            ended=report.ended,
            alarms=alarms,
            per_day=round(alarms * _DAY_US / span_us, 2) if span_us >= _DAY_US else None,
            beside=beside,
            alone=alarms - beside,
            floods_made=report.made,
            floods_joined=report.joined,
            active_share=finite(report.active_share) if span_us >= _HOUR_US else None,
            days=days,
            standing=[self._standing(report.rule, standing) for standing in report.standing],
            would=[self._would(report.rule, would) for would in report.would],
        )

    def _standing(self, rule: str, standing: Standing) -> StandingItem:
        about = self._about(rule, standing.asset, standing.level)
        return StandingItem(
            standing.asset,
            about.station_name,
            about.series_name,
            standing.level,
            about.level_name,
            standing.priority,
            finite(standing.value),
            finite(standing.limit),
            about.unit,
            about.resolution,
            stamp(standing.event_us),
            standing.unknown,
        )

    def _would(self, rule: str, would: Would) -> WouldItem:
        about = self._about(rule, would.asset, would.level)
        return WouldItem(
            would.seq,
            would.kind,
            would.asset,
            about.station_name,
            about.series_name,
            would.level,
            about.level_name,
            would.priority,
            finite(would.value),
            finite(would.limit),
            about.unit,
            about.resolution,
            stamp(would.event_us),
            stamp(would.now_us),
            would.number,
            would.backlog,
            would.detail,
            would.duration_us / 1e6 if would.duration_us >= 0 else None,
            would.beside,
        )

    def rules(self) -> list[dict[str, Any]]:
        """Every rule with its limits and where they come from."""
        return [_rule(rule) for rule in self._pack.rules.values()]


def _doubted(level: Words | None) -> Words:
    """The name of a level that only a bad sample has reached."""
    if level is None:
        return {"vi": "nghi ngờ", "en": "doubtful"}
    return {"vi": f"{level['vi']} (nghi ngờ)", "en": f"{level['en']} (doubtful)"}


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
        "mode": rule.mode,
        "rationalisation": rule.rationalisation.model_dump(mode="json") if rule.rationalisation else None,
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
        out["value"] = rule.value.model_dump(mode="json") if rule.value else None
        out["periods"] = [period.model_dump(mode="json") for period in rule.periods]
    elif isinstance(rule, NoDataRule | TooLateRule | ClockSkewRule):
        out["priority"] = rule.priority
        out["selector"] = rule.series.model_dump(mode="json")
    elif isinstance(rule, SourceDownRule):
        out["priority"] = rule.priority
        out["after_s"] = rule.after / 1e6
    elif isinstance(rule, SystemRule):
        out["priority"] = rule.priority
        out["fact"] = rule.fact
    else:
        out["priority"] = rule.priority
        out["joint"] = rule.model_dump(
            mode="json", exclude={"id", "kind", "title", "guidance", "rationalisation"}
        )
    return out
