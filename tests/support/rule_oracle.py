"""The rules, one row after the other, in plain Python: slow, obvious, and sharing nothing with the engine's arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ioc.model import NOT_JUDGED, Batch, Change, ChangeKind, Flag, SourceState, SystemFact
from ioc.registry import Registry, Series
from ioc.rules.spec import LimitRule, NoDataRule, Rule, SourceDownRule, SystemRule, TooLateRule

HOUR_US = 3_600_000_000


@dataclass
class Cell:
    """One limit rule on one series."""

    on: set[int] = field(default_factory=set)
    waiting: dict[int, int] = field(default_factory=dict)
    unknown: bool = False
    unconfirmed: bool = False
    shown: float = 0.0
    past: list[tuple[float, frozenset[int]]] = field(default_factory=lambda: [(float("-inf"), frozenset())])

    @property
    def level(self) -> int:
        return max(self.on, default=0)


@dataclass
class Health:
    """One series by receive time."""

    known: int
    heard: int | None = None
    source: str | None = None
    old: int | None = None
    stale: bool = False
    bad: bool = False
    event: int = 0


@dataclass
class Link:
    """One source."""

    connected: bool = False
    generation: int = 0
    since: int | None = None
    down: int | None = None
    detail: str = ""


class Oracle:
    """The same methods as the engine's."""

    def __init__(
        self, registry: Registry, rules: Mapping[str, Rule], numbers: Mapping[str, int], now: int
    ) -> None:
        self.series: dict[int, Series] = {}
        for name, series in registry.series.items():
            if name in numbers:
                self.series[numbers[name]] = series
        self.rules = [(order, rule) for order, rule in enumerate(rules.values()) if rule.enabled]
        self.cells: dict[tuple[str, int], Cell] = {}
        self.health = {number: Health(now) for number in self.series}
        self.links: dict[str, Link] = {}
        self.alarms: dict[tuple[str, str], tuple[float, str]] = {}
        """What each shows, if it is about a fact."""

    def reload(
        self, registry: Registry, rules: Mapping[str, Rule], numbers: Mapping[str, int], now: int
    ) -> None:
        """Another pack; what is withdrawn is forgotten, what comes back is new. What a reload says is not told."""
        before = self.health
        links, cells, alarms = self.links, self.cells, self.alarms
        Oracle.__init__(self, registry, rules, numbers, now)
        self.health = {number: before.get(number, Health(now)) for number in self.series}
        self.links = links
        self.cells = {about: cell for about, cell in cells.items() if about[1] in self.series}
        watched = {series.id for series in self.series.values()}
        self.alarms = {
            about: shown
            for about, shown in alarms.items()
            if about[1] in watched or about[1].startswith("system/")
        }

    # What a rule says of a series

    def limits(self, rule: LimitRule, series: Series) -> dict[int, tuple[float, float]]:
        """Level → (limit, where it clears)."""
        out = {}
        for level in sorted(rule.levels):
            limit = rule.limit_of(series.station.id, level)
            if limit is not None:
                out[level] = (limit, rule.reset_of(limit, level))
        return out

    def about(self, kinds: type | tuple[type, ...], number: int) -> list[tuple[int, Rule]]:
        return [
            (order, rule)
            for order, rule in self.rules
            if isinstance(rule, kinds) and rule.series.matches(self.series[number])  # type: ignore[union-attr]
        ]

    # Rows

    def feed_batch(self, batch: Batch, now: int) -> list[Change]:
        out: list[Change] = []
        self.links.setdefault(batch.source, Link())
        for number, event, value, flags in zip(
            batch.series.tolist(),
            batch.event_us.tolist(),
            batch.value.tolist(),
            batch.flags.tolist(),
            strict=True,
        ):
            found: list[tuple[int, Change]] = []
            if number not in self.series:
                continue
            if not flags & NOT_JUDGED:
                self.watch_row(batch.source, number, flags, now, found)
                for order, rule in self.about(LimitRule, number):
                    assert isinstance(rule, LimitRule)
                    found += [(order, c) for c in self.judge(rule, number, event, value, flags, now)]
                self.health[number].event = event
            elif flags & (Flag.LATE | Flag.REVISED) and not flags & (
                Flag.REPEAT | Flag.CONFLICT | Flag.LAST_KNOWN | Flag.FUTURE | Flag.TOO_LATE | Flag.BAD
            ):
                for order, rule in self.about(LimitRule, number):
                    assert isinstance(rule, LimitRule)
                    found += [(order, c) for c in self.correct(rule, number, event, value, now)]
            out += [change for _, change in sorted(found, key=lambda item: item[0])]
        return out

    def watch_row(
        self, source: str, number: int, flags: int, now: int, found: list[tuple[int, Change]]
    ) -> None:
        health, series = self.health[number], self.series[number]
        fresh = not flags & Flag.BACKLOG
        for order, rule in self.about((NoDataRule, TooLateRule), number):
            if (rule.id, series.id) not in self.alarms:
                continue
            if isinstance(rule, NoDataRule):
                begin = self.begin(number)
            elif fresh:
                begin = health.old
            else:
                continue
            del self.alarms[rule.id, series.id]
            assert begin is not None
            value, limit = (now - begin) / 1e6, series.stale_after_us / 1e6
            found.append(
                (
                    order,
                    Change(ChangeKind.CLEAR, rule.id, series.id, 0, rule.priority, value, limit, now, now),  # type: ignore[union-attr]
                )
            )
        health.heard, health.source, health.stale = now, source, False
        health.bad = bool(flags & Flag.BAD)
        health.old = None if fresh else (now if health.old is None else health.old)

    def judge(
        self, rule: LimitRule, number: int, event: int, value: float, flags: int, now: int
    ) -> list[Change]:
        series = self.series[number]
        limits = self.limits(rule, series)
        if not limits:
            return []
        cell = self.cells.setdefault((rule.id, number), Cell())
        backlog = bool(flags & Flag.BACKLOG)

        def say(kind: ChangeKind, level: int, of: int) -> Change:
            waits = backlog and kind in (ChangeKind.ONSET, ChangeKind.LEVEL_UP)
            return Change(
                kind,
                rule.id,
                series.id,
                level,
                rule.levels[of].priority,
                value,
                limits[of][0],
                event,
                now,
                backlog,
                series.max_gap_us if waits else 0,
            )

        if flags & Flag.BAD:
            cell.waiting.clear()
            if cell.on and not cell.unknown:
                cell.unknown = True
                return [say(ChangeKind.UNKNOWN, cell.level, cell.level)]
            return []
        if event - self.health[number].event > series.max_gap_us:
            cell.waiting.clear()
        old = cell.level
        before = frozenset(cell.on)
        up = rule.direction == "up"
        for level, (limit, reset) in limits.items():
            if level in cell.on:
                against, delay = (value < reset if up else value > reset), rule.levels[level].off_delay
            else:
                against, delay = (value >= limit if up else value <= limit), rule.levels[level].on_delay
            if not against:
                cell.waiting.pop(level, None)
                continue
            began = cell.waiting.setdefault(level, event)
            if event - began >= delay:
                del cell.waiting[level]
                cell.on ^= {level}
        if before != cell.on:
            cell.past.append((event, frozenset(cell.on)))
            while len(cell.past) > 64 or (len(cell.past) > 1 and cell.past[1][0] <= event - 6 * HOUR_US):
                del cell.past[0]
        new = cell.level
        out = []
        if cell.unknown and new:
            out.append(say(ChangeKind.KNOWN, old, old))
        cell.unknown = False
        if old == 0 and new:
            out.append(say(ChangeKind.ONSET, new, new))
        elif old and new == 0:
            out.append(say(ChangeKind.CLEAR, 0, old))
        elif new > old:
            out.append(say(ChangeKind.LEVEL_UP, new, new))
        elif new < old:
            out.append(say(ChangeKind.LEVEL_DOWN, new, new))
        if new == 0:
            cell.unconfirmed = False
        elif backlog:
            cell.unconfirmed = cell.unconfirmed or new > old
        elif cell.unconfirmed:
            cell.unconfirmed = False
            if new <= old:
                out.append(say(ChangeKind.CONFIRMED, new, new))
        if out:
            cell.shown = value
        return out

    def correct(self, rule: LimitRule, number: int, event: int, value: float, now: int) -> list[Change]:
        series = self.series[number]
        limits = self.limits(rule, series)
        cell = self.cells.get((rule.id, number), Cell())
        earlier = [levels for at, levels in cell.past if at < event]
        if not limits or not earlier:
            return []
        was, had = earlier[-1], [levels for at, levels in cell.past if at <= event][-1]
        up = rule.direction == "up"
        would = set(had)
        for level, (limit, reset) in limits.items():
            if rule.levels[level].on_delay:
                continue
            clears = value < reset if up else value > reset
            if level in was and clears:
                if not rule.levels[level].off_delay:
                    would.discard(level)
            elif level in was or (value >= limit if up else value <= limit):
                would.add(level)
            else:
                would.discard(level)
        level, had_level = max(would, default=0), max(had, default=0)
        if level == had_level:
            return []
        of = level or had_level
        return [
            Change(
                ChangeKind.CORRECTION,
                rule.id,
                series.id,
                level,
                rule.levels[of].priority,
                value,
                limits[of][0],
                event,
                now,
            )
        ]

    # Time

    def link_of(self, number: int) -> Link:
        name = self.health[number].source
        if name is None:
            name = "mqtt" if "mqtt" in self.links else min(self.links, default="")
        return self.links.get(name, Link())

    def begin(self, number: int) -> int | None:
        """Since when nothing has come."""
        health, link = self.health[number], self.link_of(number)
        if health.heard is not None:
            return health.heard
        return None if link.since is None else max(health.known, link.since)

    def dues(self) -> list[tuple[int, int, int | str, str]]:
        """(deadline, the rule's place or −1 for staleness itself, series number or source, what) of all that waits."""
        out: list[tuple[int, int, int | str, str]] = []
        for number, series in self.series.items():
            health, link, begin = self.health[number], self.link_of(number), self.begin(number)
            after, grace = series.stale_after_us, (link.since or 0) + series.interval_us
            if begin is not None and not health.stale:
                out.append((begin + after, -1, number, "stale"))
            if not link.connected or begin is None or link.since is None:
                continue
            for order, rule in self.about((NoDataRule, TooLateRule), number):
                if (rule.id, series.id) in self.alarms:
                    continue
                if isinstance(rule, NoDataRule):
                    out.append((max(begin, grace) + after, order, number, rule.id))
                elif health.old is not None:
                    first = health.old if health.old >= link.since else grace
                    out.append((first + after, order, number, rule.id))
        for order, rule in self.rules:
            if isinstance(rule, SourceDownRule):
                for name, link in self.links.items():
                    if link.down is not None and (rule.id, f"system/{name}") not in self.alarms:
                        out.append((link.down + rule.after, order, name, rule.id))
        return out

    def next_deadline_us(self) -> int | None:
        return min((due for due, *_ in self.dues()), default=None)

    def feed_deadlines(self, now: int) -> list[Change]:
        found: list[tuple[int, int, int | str, Change]] = []
        by_id = {rule.id: rule for _, rule in self.rules}
        for due, order, what, name in self.dues():
            if due > now:
                continue
            if isinstance(what, str):
                rule = by_id[name]
                assert isinstance(rule, SourceDownRule)
                seconds = rule.after / 1e6
                self.alarms[rule.id, f"system/{what}"] = 0.0, ""
                change = Change(
                    ChangeKind.ONSET,
                    rule.id,
                    f"system/{what}",
                    1,
                    rule.priority,
                    seconds,
                    seconds,
                    due,
                    now,
                    detail=self.links[what].detail,
                )
                found.append((due, order, what, change))
                continue
            series, health = self.series[what], self.health[what]
            if name == "stale":
                health.stale = True
                for place, limit_rule in self.about(LimitRule, what):
                    assert isinstance(limit_rule, LimitRule)
                    cell = self.cells.get((limit_rule.id, what))
                    if cell is None or not cell.on or cell.unknown:
                        continue
                    cell.unknown = True
                    limit, _ = self.limits(limit_rule, series)[cell.level]
                    change = Change(
                        ChangeKind.UNKNOWN,
                        limit_rule.id,
                        series.id,
                        cell.level,
                        limit_rule.levels[cell.level].priority,
                        cell.shown,
                        limit,
                        due,
                        now,
                    )
                    found.append((due, place, what, change))
                continue
            rule = by_id[name]
            assert isinstance(rule, NoDataRule | TooLateRule)
            begin = self.begin(what) if isinstance(rule, NoDataRule) else health.old
            assert begin is not None
            self.alarms[rule.id, series.id] = 0.0, ""
            value, limit = (due - begin) / 1e6, series.stale_after_us / 1e6
            change = Change(ChangeKind.ONSET, rule.id, series.id, 1, rule.priority, value, limit, due, now)
            found.append((due, order, what, change))
        return [change for *_, change in sorted(found, key=lambda f: (f[0], f[1], f[2]))]

    # Sources and facts

    def feed_source(self, state: SourceState, now: int) -> list[Change]:
        link = self.links.setdefault(state.source, Link())
        link.detail = state.detail
        if not state.connected:
            if link.connected or link.down is None:
                link.down = now
            link.connected = False
            return []
        lost, link.down = link.down, None
        if not link.connected or link.generation != state.generation:
            link.since = now
        link.connected, link.generation = True, state.generation
        out = []
        for _, rule in self.rules:
            if not isinstance(rule, SourceDownRule):
                continue
            if self.alarms.pop((rule.id, f"system/{state.source}"), None) is not None:
                assert lost is not None
                asset, limit = f"system/{state.source}", rule.after / 1e6
                value = (now - lost) / 1e6
                change = Change(
                    ChangeKind.CLEAR,
                    rule.id,
                    asset,
                    0,
                    rule.priority,
                    value,
                    limit,
                    now,
                    now,
                    detail=state.detail,
                )
                out.append(change)
        return out

    def feed_system(self, fact: SystemFact, now: int) -> list[Change]:
        out = []
        for _, rule in self.rules:
            if not isinstance(rule, SystemRule) or rule.fact != fact.name:
                continue
            about = (rule.id, f"system/{fact.asset}")
            told = (fact.value, fact.detail)
            shown = self.alarms.pop(about, None)
            if fact.active:
                self.alarms[about] = told
            if shown is not None and not (fact.active and shown == told):
                value, detail = shown if fact.active else told
                out.append(
                    Change(ChangeKind.CLEAR, *about, 0, rule.priority, value, 0.0, now, now, detail=detail)
                )
            if fact.active and shown != told:
                value, detail = told
                out.append(
                    Change(ChangeKind.ONSET, *about, 1, rule.priority, value, 0.0, now, now, detail=detail)
                )
        return out
