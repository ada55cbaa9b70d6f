"""Rules over several stations, judged the slow way: a diary of everything heard, read anew for every question."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from statistics import median
from typing import Any

from ioc.model import Change, ChangeKind, Flag
from ioc.registry import Registry, Station
from ioc.rules.spec import Fact, Rule

SKIPPED = (
    Flag.LATE | Flag.REVISED | Flag.REPEAT | Flag.CONFLICT | Flag.LAST_KNOWN | Flag.FUTURE | Flag.TOO_LATE
)
SAMPLE_RULES = ("limit", "disagrees")
MINUTES_30_US = 30 * 60 * 1_000_000


@dataclass(frozen=True)
class Sample:
    """A sample of a series in order; `value` None if it was bad."""

    series: str
    event_us: int
    value: float | None
    backlog: bool


@dataclass(frozen=True)
class Missed:
    """A series fell silent."""

    series: str
    event_us: int
    backlog: bool = False


@dataclass(frozen=True)
class Said:
    """A rule said something."""

    change: Change

    @property
    def event_us(self) -> int:
        return self.change.event_us

    @property
    def backlog(self) -> bool:
        return self.change.backlog


Entry = Sample | Missed | Said


@dataclass
class Stand:
    """Where one rule stands on one asset."""

    on: bool = False
    unknown: bool = False
    unconfirmed: bool = False
    since: int | None = None
    ran: int = 0
    shown: float = 0.0
    used: int = -1
    """Sequence: the diary's place of the first fact that led to an alarm."""
    wave: int | None = None
    """Travel: when the wave was upstream."""


@dataclass
class Diary:
    entries: list[Entry] = field(default_factory=list)

    def last(self, series: str) -> tuple[int, float, bool] | None:
        """Event time of the last sample, the last good value (0 if none), whether it is good and not missed."""
        samples = [e for e in self.entries if isinstance(e, Sample) and e.series == series]
        if not samples:
            return None
        values = [e.value for e in samples if e.value is not None]
        mine = [e for e in self.entries if isinstance(e, Sample | Missed) and e.series == series]
        good = isinstance(mine[-1], Sample) and mine[-1].value is not None
        return samples[-1].event_us, values[-1] if values else 0.0, good

    def levels(self, rule: str) -> dict[str, tuple[int, bool]]:
        """Level and unknown of each asset where a rule is active."""
        out: dict[str, tuple[int, bool]] = {}
        for e in self.entries:
            if isinstance(e, Said) and e.change.rule == rule:
                c = e.change
                if c.kind in ("clear", "rule_removed"):
                    out.pop(c.asset, None)
                elif c.kind not in ("confirmed", "correction"):
                    out[c.asset] = (c.level, c.kind == "unknown")
        return out

    def holds(self, fact: Fact) -> bool | None:
        levels = self.levels(fact.rule)
        if fact.asset is not None:
            levels = {fact.asset: levels[fact.asset]} if fact.asset in levels else {}
        if any(level >= fact.level and not unknown for level, unknown in levels.values()):
            return True
        return None if any(unknown for _, unknown in levels.values()) else False

    def stands(self, fact: Fact) -> bool:
        return any(
            level >= fact.level
            for asset, (level, _) in self.levels(fact.rule).items()
            if fact.asset in (None, asset)
        )

    def begun(self, fact: Fact) -> list[tuple[int, int]]:
        """(place in the diary, event time) of each time a fact began."""
        out = []
        had: dict[str, int] = {}
        for place, e in enumerate(self.entries):
            if not isinstance(e, Said) or e.change.rule != fact.rule or e.change.kind == "correction":
                continue
            c = e.change
            if fact.asset not in (None, c.asset):
                continue
            before = had.get(c.asset, 0)
            now = 0 if c.kind in ("clear", "rule_removed") else before if c.kind == "confirmed" else c.level
            had[c.asset] = now
            if before < fact.level <= now:
                out.append((place, c.event_us))
        return out


def haversine_km(a: Station, b: Station) -> float:
    p, q = math.radians(a.lat), math.radians(b.lat)
    h = (
        math.sin((q - p) / 2) ** 2
        + math.cos(p) * math.cos(q) * math.sin(math.radians(b.lon - a.lon) / 2) ** 2
    )
    return 2 * 6371.0088 * math.asin(math.sqrt(h))


Truth = bool | None
When = Callable[[Mapping[str, Any]], Truth]
"""A condition of the oracle's own: from values and facts (None: unknown) to its truth."""


class CompositeOracle:
    """`order` names the rules over several stations so that none stands before one it asks; `when` their conditions."""

    def __init__(
        self,
        registry: Registry,
        rules: Mapping[str, Rule],
        numbers: Mapping[str, int],
        order: Sequence[str],
        when: Mapping[str, When],
    ) -> None:
        self.registry, self.rules, self.order, self.when = registry, rules, order, when
        self.names = {n: s for s, n in numbers.items()}
        self.diary = Diary()
        self.stands: dict[tuple[str, str], Stand] = {}

    def step(
        self,
        at: int,
        samples: Sequence[tuple[int, int, float, int]],
        missed: Sequence[int],
        changes: Sequence[Change],
        now_us: int,
    ) -> list[tuple[int, Change]]:
        """One row or deadline: samples as (series number, event time, value, flags), what fell silent, what was said."""
        diary = self.diary.entries
        begin = len(diary)
        diary += (Missed(self.names[n], at) for n in missed)
        for n, event_us, value, flags in samples:
            if not flags & SKIPPED:
                bad = bool(flags & (Flag.BAD | Flag.OUT_OF_RANGE))
                diary.append(
                    Sample(self.names[n], event_us, None if bad else value, bool(flags & Flag.BACKLOG))
                )
        diary += (Said(c) for c in changes)
        out: list[tuple[int, Change]] = []
        for rule_id in self.order:
            rule = self.rules[rule_id]
            for asset in self.assets(rule):
                inputs = [
                    e for e in diary[begin:] if self.concerns(rule, asset, e) and not self.is_correction(e)
                ]
                if inputs:
                    for change in self.judge(rule, asset, inputs[-1], begin, now_us):
                        out.append((at, change))
                        diary.append(Said(change))
        return out

    def is_correction(self, e: Entry) -> bool:
        return isinstance(e, Said) and e.change.kind == "correction"

    def assets(self, rule: Any) -> list[str]:
        if rule.kind == "neighbours":
            return [a for a, members in self.groups(rule).items() if len(members) >= rule.k]
        if rule.kind == "disagrees":
            return sorted(
                s.id
                for s in self.registry.series.values()
                if rule.series.matches(s) and len(self.others(rule, s.id)) >= rule.least
            )
        return [rule.downstream.asset if rule.kind == "travel" else rule.asset]

    def groups(self, rule: Any) -> dict[str, list[str]]:
        of: Any = self.rules[rule.of.rule]
        if of.kind == "condition":
            assets = [of.asset]
        else:
            assets = [s.id for s in self.registry.series.values() if of.series.matches(s)]
        out: dict[str, list[str]] = {}
        for centre in self.registry.stations.values():
            for asset in sorted(assets):
                station = self.registry.stations[asset.split("/")[1]]
                has_own = any(a.split("/")[1] == centre.id for a in assets)
                if rule.within_km and has_own and haversine_km(centre, station) <= rule.within_km:
                    out.setdefault(f"disaster/{centre.id}", []).append(asset)
        for asset in sorted(assets):
            station = self.registry.stations[asset.split("/")[1]]
            if rule.same:
                out.setdefault(f"disaster/commune_{station.commune}", []).append(asset)
            for name, stations in rule.catchments.items():
                if station.id in stations:
                    out.setdefault(f"disaster/{name}", []).append(asset)
        return dict(sorted(out.items()))

    def others(self, rule: Any, series_id: str) -> list[str]:
        mine = self.registry.series[series_id]
        return [
            s.id
            for s in self.registry.series.values()
            if s.id != mine.id
            and s.quantity == mine.quantity
            and haversine_km(s.station, mine.station) <= rule.within_km
        ]

    def inputs(self, rule: Any, asset: str) -> tuple[set[str], list[Fact]]:
        """The series by whose samples, and the facts by which it judges."""
        series: set[str] = set()
        facts: list[Fact] = []
        if rule.kind == "neighbours":
            members = self.groups(rule)[asset]
            facts = [Fact(rule=rule.of.rule, asset=m, level=rule.of.level) for m in members]
            series = {m for m in members if self.rules[rule.of.rule].kind in SAMPLE_RULES}
        elif rule.kind == "condition":
            facts = list(rule.facts.values())
            series = set(rule.values.values())
            series |= {f.asset for f in facts if f.asset and self.rules[f.rule].kind in SAMPLE_RULES}
        elif rule.kind == "sequence":
            facts = [rule.first, rule.then]
        elif rule.kind == "travel":
            facts = [rule.upstream, rule.downstream]
            series = {s for s in self.registry.series if s == asset or s.startswith(asset + "/")}
        else:
            series = {asset}
        return series, facts

    def concerns(self, rule: Any, asset: str, e: Entry) -> bool:
        series, facts = self.inputs(rule, asset)
        if isinstance(e, Said):
            return any(f.rule == e.change.rule and f.asset in (None, e.change.asset) for f in facts)
        return e.series in series

    def newest(self, rule: Any, asset: str) -> int | None:
        times = [last[0] for s in self.inputs(rule, asset)[0] if (last := self.diary.last(s))]
        return max(times) if times else None

    def judge(self, rule: Any, asset: str, e: Entry, begin: int, now_us: int) -> list[Change]:
        stand = self.stands.setdefault((rule.id, asset), Stand())
        said: list[Change] = []

        def act(truth: Truth, value: float | None) -> None:
            self.act(rule, asset, stand, truth, value, e, now_us, said)

        getattr(self, rule.kind)(rule, asset, stand, e, begin, act)
        return said

    def neighbours(self, rule: Any, asset: str, stand: Stand, e: Entry, begin: int, act: Any) -> None:
        newest = self.newest(rule, asset)
        sure = maybe = 0
        for member in self.groups(rule)[asset]:
            level, unknown = self.diary.levels(rule.of.rule).get(member, (0, False))
            if level < rule.of.level and not unknown:
                continue
            last = self.diary.last(member)
            if self.rules[rule.of.rule].kind in SAMPLE_RULES and (
                last is None or newest is None or not last[2] or newest - last[0] > rule.over
            ):
                unknown = True
            sure += not unknown
            maybe += unknown
        act(True if sure >= rule.k else False if sure + maybe < rule.k else None, float(sure))

    def condition(self, rule: Any, asset: str, stand: Stand, e: Entry, begin: int, act: Any) -> None:
        newest = self.newest(rule, asset)

        def value(series_id: str) -> float | None:
            last = self.diary.last(series_id)
            hold = 3 * self.registry.series[series_id].interval_us if rule.hold is None else rule.hold
            if last is None or newest is None or not last[2] or newest - last[0] > hold:
                return None
            return last[1]

        env: dict[str, Any] = {name: value(series) for name, series in rule.values.items()}
        for name, fact in rule.facts.items():
            env[name] = self.diary.holds(fact)
            if fact.asset and self.rules[fact.rule].kind in SAMPLE_RULES and value(fact.asset) is None:
                env[name] = None
        if rule.values:
            last = self.diary.last(next(iter(rule.values.values())))
            shown = last[1] if last else 0.0
        else:
            shown = float(sum(self.diary.holds(f) is True for f in rule.facts.values()))
        act(self.when[rule.id](env), shown)

    def sequence(self, rule: Any, asset: str, stand: Stand, e: Entry, begin: int, act: Any) -> None:
        holds, stands = self.diary.holds(rule.then), self.diary.stands(rule.then)
        if stand.on:
            act(holds if stands else False, None)
            return
        first = self.diary.begun(rule.first)[-1:]
        then = self.diary.begun(rule.then)[-1:]
        if not (first and then and stands and holds) or first[0][0] <= stand.used:
            return
        between = then[0][1] - first[0][1]
        if 0 <= between <= rule.within:
            stand.used = first[0][0]
            act(True, between / 1e6)

    def travel(self, rule: Any, asset: str, stand: Stand, e: Entry, begin: int, act: Any) -> None:
        def now() -> Truth:
            assert stand.wave is not None
            if self.diary.stands(rule.downstream):
                return False
            series, _ = self.inputs(rule, asset)
            good = [last[0] for s in series if (last := self.diary.last(s)) and last[2]]
            return max(good) <= stand.wave + rule.travel[1] if good else None

        def age() -> float:
            assert stand.wave is not None
            return max(e.event_us - stand.wave, 0) / 1e6

        new = [event_us for place, event_us in self.diary.begun(rule.upstream) if place >= begin]
        if new:
            if stand.on:
                act(False, age())
            stand.wave = new[-1]
            if now() in (True, None):
                act(True, age())
        if stand.wave is not None:
            truth = now()
            act(truth, age())
            if truth is False:
                stand.wave = None

    def disagrees(self, rule: Any, asset: str, stand: Stand, e: Entry, begin: int, act: Any) -> None:
        mine = self.diary.last(asset)
        if mine is None or not mine[2]:
            act(None, None)
            return
        values = []
        for other in self.others(rule, asset):
            last = self.diary.last(other)
            hold = 3 * self.registry.series[other].interval_us
            if last is not None and last[2] and abs(last[0] - mine[0]) <= hold:
                values.append(last[1])
        if len(values) < rule.least:
            act(None, None)
            return
        # The worlds' resolution is 0.01.
        difference = (round(mine[1] * 100) - median(round(v * 100) for v in values)) / 100
        act(abs(difference) > rule.limit, difference)

    def act(
        self, rule: Any, asset: str, stand: Stand, truth: Truth, value: float | None, e: Entry, now_us: int,
        said: list[Change],
    ) -> None:  # fmt: skip
        newest = self.newest(rule, asset)
        time = e.event_us if newest is None else newest
        kinds: list[ChangeKind] = []
        if truth is None:
            stand.since = None
            if stand.on and not stand.unknown:
                stand.unknown = True
                kinds.append(ChangeKind.UNKNOWN)
        elif truth is False:
            stand.since = None
            if stand.on:
                stand.on = stand.unknown = stand.unconfirmed = False
                kinds.append(ChangeKind.CLEAR)
        elif stand.on:
            if stand.unknown:
                stand.unknown = False
                kinds.append(ChangeKind.KNOWN)
            if stand.unconfirmed and not e.backlog:
                stand.unconfirmed = False
                kinds.append(ChangeKind.CONFIRMED)
        else:
            gaps = [self.registry.series[s].max_gap_us for s in self.inputs(rule, asset)[0]]
            gap = max(gaps) if gaps and rule.kind in ("condition", "disagrees") else math.inf
            if stand.since is None or time - stand.ran > gap:
                stand.since = time
            stand.ran = time
            if time - stand.since >= getattr(rule, "on_delay", 0):
                stand.on, stand.since, stand.unconfirmed = True, None, e.backlog
                kinds.append(ChangeKind.ONSET)
        for kind in kinds:
            shown = stand.shown if value is None else value
            said.append(
                Change(
                    kind, rule.id, asset, 0 if kind is ChangeKind.CLEAR else 1, rule.priority, shown,
                    self.limit(rule), e.event_us, now_us, e.backlog,
                    self.wait(e) if e.backlog and kind is ChangeKind.ONSET else 0, self.detail(rule, stand),
                )
            )  # fmt: skip
            stand.shown = shown

    def limit(self, rule: Any) -> float:
        match rule.kind:
            case "neighbours":
                return float(rule.k)
            case "sequence":
                return rule.within / 1e6  # type: ignore[no-any-return]
            case "travel":
                return rule.travel[1] / 1e6  # type: ignore[no-any-return]
            case "disagrees":
                return rule.limit  # type: ignore[no-any-return]
        return 0.0

    def wait(self, e: Entry) -> int:
        asset = e.change.asset if isinstance(e, Said) else e.series
        told = e.change.confirm_within_us if isinstance(e, Said) else 0
        series = self.registry.series.get(asset)
        return told or (series.max_gap_us if series else MINUTES_30_US)

    def detail(self, rule: Any, stand: Stand) -> str:
        if rule.kind != "travel" or stand.wave is None:
            return ""
        first, last = (datetime.fromtimestamp((stand.wave + t) // 1_000_000, UTC) for t in rule.travel)
        end = last.strftime("%H:%MZ" if first.date() == last.date() else "%Y-%m-%dT%H:%MZ")
        return f"{first.strftime('%Y-%m-%dT%H:%MZ')}/{end}"
