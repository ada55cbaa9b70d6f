"""Why did this fire? One step of one alarm, with the rule as it stood, the samples around it and what was known then.

Worked out when somebody asks, from what the process remembers, then the database, then the log; never on the way of a
sample. What cannot be found is said plainly.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

from ioc.errors import LogError, PackError, StoreUnavailable
from ioc.log.reader import LogReader
from ioc.model import (
    Condition,
    Step,
    Transition,
    alarm_id,
)
from ioc.model.batch import Flag
from ioc.pack import Pack
from ioc.pipeline import Pipeline
from ioc.presentation import Presenter, limits_of, system_name, words
from ioc.registry import Series
from ioc.rules.joint import beside, place_of
from ioc.rules.spec import (
    ConditionRule,
    DisagreesRule,
    Fact,
    LimitRule,
    Rule,
)
from ioc.wall.services import History
from ioc.wall.view import View
from ioc.wall.wire import (
    WhyFact,
    WhyFiring,
    WhyItem,
    WhyNeighbour,
    WhyRule,
    WhySeries,
    WhyTimer,
    Words,
    finite,
    stamp,
)
from ioc.why_sources import (
    Point,
    around,
    asked,
    joined,
    logged,
    near,
    pack_in_log,
    planned_for,
    remembered,
    steps_in_log,
    too_few,
)

BEFORE: Final = 30
"""Samples up to the deciding one."""
AFTER: Final = 10
NEAR_MAX: Final = 8
FIRINGS_MAX: Final = 10
INPUTS_MAX: Final = 6
FACTS_MAX: Final = 32
PACKS_KEPT: Final = 2

_BAD: Final = int(Flag.BAD | Flag.OUT_OF_RANGE)
_RISES: Final = frozenset({Step.ONSET, Step.WORSE})
_FALLS: Final = frozenset({Step.CLEAR, Step.BETTER})


class _Loaded(NamedTuple):
    """A pack, and the record it came in with (0: unknown)."""

    pack: Pack
    number: int
    at_us: int


class Why:
    """Explains steps. `folder` is that of the log, read beside its owner."""

    def __init__(
        self,
        pipeline: Pipeline,
        view: View,
        presenter: Callable[[], Presenter],
        folder: Path,
        history: History | None,
    ) -> None:
        self._pipeline = pipeline
        self._view = view
        self._presenter = presenter
        self._log = LogReader(folder)
        self._history = history
        self._packs: OrderedDict[str, Pack] = OrderedDict()
        self._searching = asyncio.Lock()

    def close(self) -> None:
        """Let the log's files go."""
        self._log.close()

    async def explain(self, alarm: str, step: int | None) -> WhyItem | None:
        """A step of an alarm, by default the last that raised it; None if it is not known any more."""
        missing: list[Words] = []
        known = await self._steps([alarm], missing)
        steps = {one.step: one for one in known}
        if not steps:
            return None
        if step is None:
            step = max((one.step for one in known if one.kind in _RISES), default=min(steps))
        told = steps.get(step)
        if told is None:
            return None
        loaded = await self._pack_at(told.input, missing)
        rule = loaded.pack.rules.get(told.rule) if loaded else None
        if loaded and rule is None:
            missing.append(
                _words(
                    "Bộ quy tắc khi đó không có quy tắc này.",
                    "The pack in force then did not have this rule.",
                )
            )
        gather = _Gather(self, told, loaded.pack if loaded else None, missing)
        quality, _, tests = told.detail.partition(": ")
        if not tests:
            quality = ""
        derived = await asyncio.to_thread(gather.look_up, rule)
        series = await gather.judged(rule)
        inputs = [await gather.series(each) for each in gather.wanted]
        presenter = self._presenter()
        return WhyItem(
            step=presenter.transition(told),
            steps=sorted(steps),
            rule=self._rule(rule, loaded) if rule and loaded else None,
            timer=_timer(rule, told, series, loaded.pack) if rule and loaded and series else None,
            quality=quality,
            tests=tests.split(", ") if tests else [],
            series=series,
            derived=derived,
            inputs=inputs,
            facts=gather.facts(),
            neighbours=await gather.neighbours(),
            firings=await self._firings(told, missing),
            missing=missing,
        )

    def _rule(self, rule: Rule, loaded: _Loaded) -> WhyRule:
        current = self._pipeline.pack
        source = getattr(rule, "source", None)
        return WhyRule(
            id=rule.id,
            title=words(rule.title),
            kind=rule.kind,
            pack=loaded.pack.hash,
            number=loaded.number or None,
            loaded_at=stamp(loaded.at_us) if loaded.number else None,
            now=current is not None and current.rules.get(rule.id) == rule,
            source=source.model_dump(mode="json") if source else None,
            guidance=words(rule.guidance) if rule.guidance else None,
            rationalisation=rule.rationalisation.model_dump(mode="json") if rule.rationalisation else None,
            definition=rule.model_dump(
                mode="json", exclude={"id", "title", "guidance", "rationalisation", "source", "stations"}
            ),
        )

    async def _steps(self, alarms: Sequence[str], missing: list[Words]) -> list[Transition]:
        """Every step of these alarms that somebody remembers."""
        wanted = set(alarms)
        entries = self._view.journal.newest(1 << 30)
        found = {entry.step.id: entry.step for entry in entries if entry.step.alarm in wanted}
        lacking = wanted - {one.alarm for one in found.values() if one.step == 1}
        if lacking and self._history is not None:
            try:
                stored = await self._history.steps(sorted(lacking))
                found |= {one.id: one for one in stored}
                lacking -= {one.alarm for one in stored}
            except StoreUnavailable:
                missing.append(_DATABASE)
        # Only for those that there are: the log knows no alarm by its id, and is gone through from its end.
        if known := {alarm for alarm in lacking if self._pipeline.book.remembered(alarm) is not None}:
            async with self._searching:
                try:
                    found |= await asyncio.to_thread(steps_in_log, self._log, known)
                except LogError:
                    missing.append(_words("Nhật ký không đọc được.", "The log cannot be read."))
        return sorted(found.values(), key=lambda one: (one.occurrence, one.step))

    async def _firings(self, told: Transition, missing: list[Words]) -> list[WhyFiring]:
        first = max(1, told.occurrence - FIRINGS_MAX)
        alarms = [alarm_id(told.rule, told.asset, n) for n in range(first, told.occurrence)]
        by_alarm: dict[str, list[Transition]] = {}
        for one in await self._steps(alarms, missing):
            by_alarm.setdefault(one.alarm, []).append(one)
        if len(by_alarm) < len(alarms):
            missing.append(
                _words(
                    f"Không còn nhớ {len(alarms) - len(by_alarm)} lần báo động trước đó.",
                    f"{len(alarms) - len(by_alarm)} earlier occurrence(s) are not remembered any more.",
                )
            )
        firings = [_firing(steps) for steps in by_alarm.values()]
        return sorted(firings, key=lambda one: -one.occurrence)

    async def _pack_at(self, number: int, missing: list[Words]) -> _Loaded | None:
        """The pack in force when a record was fed: a PackLoaded is in force from its own record on."""
        place, digest, at_us = 0, "", 0
        versions = self._pipeline.versions.newest_first
        known = next((one for one in versions if one.number <= number), None)
        if known is not None:
            place, digest, at_us = known.number, known.loaded.hash, known.at_us
        else:
            try:
                place, digest, at_us = await asyncio.to_thread(pack_in_log, self._log, number)
            except LogError:
                digest = ""
        if not digest:
            missing.append(
                _words(
                    "Nhật ký không còn cho biết bộ quy tắc nào có hiệu lực khi đó.",
                    "The log does not say any more which pack was in force then.",
                )
            )
            return None
        pack = await self._pack(digest)
        if pack is None:
            missing.append(
                _words(
                    f"Không còn đọc được bộ quy tắc {digest[:12]} khi đó.",
                    f"The pack {digest[:12]} that was in force then cannot be read any more.",
                )
            )
            return None
        return _Loaded(pack, place, at_us)

    async def _pack(self, digest: str) -> Pack | None:
        current = self._pipeline.pack
        if current is not None and current.hash == digest:
            return current
        kept = self._packs.get(digest)
        if kept is None:
            try:
                blob = await asyncio.to_thread(self._log.blob, digest)
                kept = await asyncio.to_thread(Pack.from_blob, blob) if blob is not None else None
            except (LogError, PackError, ValueError):
                kept = None
            if kept is None:
                return None
            self._packs[digest] = kept
            while len(self._packs) > PACKS_KEPT:
                self._packs.popitem(last=False)
        return kept

    async def logged(self, series: Iterable[Series], number: int) -> dict[str, list[Point]]:
        """Samples in the records around a number."""
        numbers = self._pipeline.numbers
        places = {numbers[one.id]: one.id for one in series if one.id in numbers}
        # One at a time: some thousand records are unpacked.
        async with self._searching:
            try:
                return await asyncio.to_thread(logged, self._log, places, number)
            except LogError:
                return {}

    async def points(
        self, series: Series, at_us: int, before: int, after: int, missing: list[Words]
    ) -> tuple[list[Point], str]:
        """Samples of a series up to `at_us` and after it, oldest first, by memory and database; and by which."""
        place = self._pipeline.numbers.get(series.id)
        if place is None:
            return [], "none"
        found, source = remembered(self._view, place, at_us, before, after), "memory"
        lacks = too_few(found, at_us, before)
        if lacks and self._history is not None:
            oldest_us = found[0][0] if found else at_us + 1
            try:
                stored = await self._history.readings(place, -(1 << 61), min(oldest_us, at_us + 1), lacks)
                later = [point for point in found if point[0] > at_us]
                if len(later) < after and oldest_us > at_us:
                    # Memory begins after the step: what followed it at once is in the database, too.
                    until_us = at_us + 1 + 4 * after * series.interval_us
                    more = await self._history.readings(place, at_us + 1, until_us, 2_000)
                    stored = [*stored, *more[:after]]
                if stored:
                    found, source = joined(found, stored), "history"
            except StoreUnavailable:
                missing.append(_DATABASE)
        found = around(found, at_us, before, after)
        return found, source if found else "none"


class _Gather:
    """What one step is explained with."""

    def __init__(self, why: Why, told: Transition, pack: Pack | None, missing: list[Words]) -> None:
        self._why = why
        self._told = told
        self._pack = pack
        self._missing = missing
        self._presenter = why._presenter()
        self.wanted: list[Series] = []
        """Inputs whose samples are shown."""
        self.asked: list[tuple[str, Fact, str]] = []
        self.near: list[tuple[float, str]] = []
        self.logged: dict[str, list[Point]] | None = None

    def look_up(self, rule: Rule | None) -> dict[str, Any] | None:
        """Everything that the pack says, which of a large one takes a while; gives how the judged value is computed."""
        if self._pack is None:
            return None
        own = self._pack.registry.series.get(self._told.asset)
        if own is not None:
            self.near = near(self._pack, own)
        if rule is None:
            return None
        self.asked = list(islice(asked(self._pack, rule, self._told.asset), FACTS_MAX + 1))
        return self._inputs(self._pack, rule)

    async def series(self, series: Series, *, judged: bool = False) -> WhySeries:
        """Samples of one series around the step."""
        told, pack = self._told, self._pack
        points, source = await self._why.points(series, told.event_us, BEFORE, AFTER, self._missing)
        if too_few(points, told.event_us, BEFORE):
            if self.logged is None:
                asset = pack.registry.series.get(told.asset) if pack else None
                all_of_them = [*self.wanted, *([asset] if asset else [])]
                self.logged = await self._why.logged(all_of_them, told.input)
            both = around(joined(points, self.logged.get(series.id, ())), told.event_us, BEFORE, AFTER)
            if len(both) > len(points):
                points, source = both, "log"
        if not points:
            self._missing.append(
                _words(
                    f"Không còn số liệu của {series.id} quanh thời điểm đó.",
                    f"No samples of {series.id} around that time are kept any more.",
                )
            )
        rules = pack.rules if pack else {}
        own = rules.get(told.rule)
        limits = limits_of(series, {own.id: own}) if own is not None and judged else []
        decided = next((i for i, point in enumerate(points) if point[0] == told.event_us), None)
        return WhySeries(
            id=series.id,
            name=words(series.name),
            station_name=words(series.station.name),
            unit=series.unit_text,
            resolution=series.resolution,
            limits=limits,
            points=[[t // 1_000, finite(value), flags] for t, value, flags in points],
            decided=decided,
            source=source,
        )

    async def judged(self, rule: Rule | None) -> WhySeries | None:
        """The series that the alarm is about, if it is about one."""
        series = self._pack.registry.series.get(self._told.asset) if self._pack else None
        if series is None:
            return None
        if isinstance(rule, LimitRule) and rule.value is not None:
            self._missing.append(
                _words(
                    "Giá trị mà quy tắc tính từ chuỗi này không được lưu; chỉ có số liệu gốc.",
                    "The value that the rule computes from this series is not kept; its samples are shown.",
                )
            )
            return await self.series(series)
        return await self.series(series, judged=True)

    def _inputs(self, pack: Pack, rule: Rule) -> dict[str, Any] | None:
        registry = pack.registry
        derived: dict[str, Any] | None = None
        wanted: list[Series] = []
        planned = planned_for(pack, rule, self._told.asset)
        if planned is not None:
            one, sources = planned
            derived = {"id": one.name, "kind": one.kind, **_plain(one.spec)}
            wanted = [series for series in sources if series.id != self._told.asset]
        if isinstance(rule, ConditionRule):
            wanted += [registry.series[name] for name in rule.values.values() if name in registry.series]
        elif isinstance(rule, DisagreesRule):
            near = beside(registry, rule).get(self._told.asset, ())
            wanted += [registry.series[name] for name in near if name in registry.series]
        if len(wanted) > INPUTS_MAX:
            self._missing.append(
                _words(
                    f"Chỉ hiện {INPUTS_MAX} trong {len(wanted)} chuỗi đầu vào.",
                    f"Only {INPUTS_MAX} of {len(wanted)} inputs are shown.",
                )
            )
        self.wanted = wanted[:INPUTS_MAX]
        return derived

    def facts(self) -> list[WhyFact]:
        """What other rules said then, for a rule that asks for it."""
        asked = self.asked
        if len(asked) > FACTS_MAX:
            self._missing.append(
                _words(f"Chỉ hiện {FACTS_MAX} điều kiện.", f"Only {FACTS_MAX} facts are shown.")
            )
        last = self._last_steps({(fact.rule, asset) for _, fact, asset in asked})
        return [self._fact(name, fact, asset, last) for name, fact, asset in asked[:FACTS_MAX]]

    def _last_steps(self, wanted: set[tuple[str, str]]) -> dict[tuple[str, str], Transition]:
        """Of these rules and assets the last step up to the record of ours."""
        last: dict[tuple[str, str], Transition] = {}
        for entry in self._why._view.journal.newest(1 << 30):
            about = (entry.step.rule, entry.step.asset)
            if about in wanted and about not in last and entry.step.input <= self._told.input:
                last[about] = entry.step
                if len(last) == len(wanted):
                    break
        return last

    def _fact(self, name: str, fact: Fact, asset: str, last: Mapping[tuple[str, str], Transition]) -> WhyFact:
        step = last.get((fact.rule, asset))
        state, since, alarm = "inactive", None, None
        if step is not None:
            since, alarm = stamp(step.event_us), step.alarm
            if step.condition is Condition.UNKNOWN and step.kind is not Step.RULE_REMOVED:
                state = "unknown"
            elif step.condition is Condition.ACTIVE and step.level >= fact.level:
                state = "active"
        elif (standing := self._tried(fact.rule, asset)) is not None:
            state, since = standing
        return WhyFact(
            name=name,
            rule=fact.rule,
            title=self._presenter.title(fact.rule),
            asset=asset,
            station_name=self._place(asset),
            level=fact.level,
            state=state,
            since=since,
            alarm=alarm,
        )

    def _tried(self, rule: str, asset: str) -> tuple[str, str] | None:
        """The same of a rule that is only tried."""
        report = self._why._pipeline.shadow.report(rule, self._told.now_us)
        for would in report.would if report else ():
            if would.asset == asset and would.number <= self._told.input:
                over = would.kind in ("clear", "rule_removed")
                state = "inactive" if over else "unknown" if would.kind == "unknown" else "active"
                return state, stamp(would.event_us)
        return None

    def _place(self, asset: str) -> Words:
        assert self._pack is not None
        if asset.startswith("system/"):
            return system_name(asset)
        station = place_of(self._pack.registry, asset)
        return words(station.name) if station else {"vi": asset, "en": asset}

    async def neighbours(self) -> list[WhyNeighbour]:
        """Series of the same quantity nearby, the nearest first."""
        if self._pack is None:
            return []
        registry, near = self._pack.registry, self.near
        if len(near) > NEAR_MAX:
            self._missing.append(
                _words(
                    f"Chỉ hiện {NEAR_MAX} trong {len(near)} trạm lân cận.",
                    f"Only {NEAR_MAX} of {len(near)} neighbours are shown.",
                )
            )
        return [await self._neighbour(registry.series[name], km) for km, name in near[:NEAR_MAX]]

    async def _neighbour(self, series: Series, km: float) -> WhyNeighbour:
        points, _ = await self._why.points(series, self._told.event_us, 1, 0, [])
        last = points[-1] if points else None
        point = self._why._view.point(series.id)
        return WhyNeighbour(
            series=series.id,
            station_name=words(series.station.name),
            km=round(km, 1),
            value=finite(last[1]) if last else None,
            at=stamp(last[0]) if last else None,
            flags=last[2] if last else 0,
            state=point.state,
            priority=point.priority,
        )


_DATABASE: Final[Words] = {
    "vi": "Cơ sở dữ liệu không trả lời, nên chỉ có những gì còn trong bộ nhớ và nhật ký.",
    "en": "The database does not answer, so there is only what memory and the log hold.",
}


def _words(vi: str, en: str) -> Words:
    return {"vi": vi, "en": en}


def _plain(spec: Any) -> dict[str, Any]:
    plain: dict[str, Any] = spec.model_dump(mode="json", exclude_none=True)
    return plain


def _timer(rule: Rule, told: Transition, series: WhySeries, pack: Pack) -> WhyTimer | None:
    """How long the samples shown had been beyond the edge when the step was taken."""
    if not isinstance(rule, LimitRule) or rule.value is not None or series.decided is None:
        return None
    if told.kind not in _RISES | _FALLS:
        return None
    rises = told.kind in _RISES
    level, limit = told.level, finite(told.limit)
    if not rises:
        # Levels fall one by one: the last one that was left decides, of which the step itself does not tell.
        station = told.asset.split("/")[1]
        known = {k: at for k in sorted(rule.levels) if (at := rule.limit_of(station, k)) is not None}
        level = next((k for k in known if told.kind is Step.CLEAR or k > told.level), 0)
        limit = None if rule.periods else known.get(level)
    spec = rule.levels.get(level)
    if spec is None or limit is None:
        return None
    edge = limit if rises else rule.reset_of(limit, level)
    up = (rule.direction == "up") == rises
    max_gap_us = pack.registry.series[told.asset].max_gap_us

    def beyond(value: float) -> bool:
        if rises:
            return value >= edge if up else value <= edge
        return value > edge if up else value < edge

    held: int | None = None
    counted = 0
    ended = False
    last_ms = told.event_us // 1_000
    for t, value, flags in reversed(series.points[: series.decided + 1]):
        if value is None or flags & _BAD:
            continue
        if (last_ms - t) * 1_000 > max_gap_us or not beyond(value):
            ended = True
            break
        held, last_ms = t, t
    if spec.times > 1 and rises:
        since = told.event_us // 1_000 - spec.within // 1_000
        counted = sum(
            1
            for t, value, flags in series.points[: series.decided + 1]
            if t >= since and value is not None and not flags & _BAD and beyond(value)
        )
    return WhyTimer(
        level=level,
        limit=limit,
        edge=edge,
        beyond="above" if up else "below",
        held_since=stamp(held * 1_000) if held is not None else None,
        held_s=(told.event_us // 1_000 - held) / 1e3 if held is not None else 0.0,
        at_least=held is not None and not ended,
        needed_s=(spec.on_delay if rises else spec.off_delay) / 1e6,
        times=spec.times if rises else 1,
        within_s=spec.within / 1e6 if rises else 0.0,
        counted=counted,
    )


def _firing(steps: Sequence[Transition]) -> WhyFiring:
    first = steps[0]
    worst = min(steps, key=lambda one: (one.priority, -one.level))
    over = next((one for one in steps if one.kind in (Step.CLEAR, Step.RULE_REMOVED)), None)
    acked = next((one.actor_name or one.actor for one in steps if one.kind is Step.ACK), "")
    return WhyFiring(
        alarm=first.alarm,
        occurrence=first.occurrence,
        raised_at=stamp(first.event_us),
        ended_at=stamp(over.event_us) if over else None,
        duration_s=max(0, over.event_us - first.event_us) / 1e6 if over else None,
        level=worst.level,
        priority=worst.priority,
        value=finite(worst.value),
        acked_by_name=acked,
    )
