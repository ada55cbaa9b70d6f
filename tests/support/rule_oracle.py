"""The rules, one row after the other, in plain Python: slow, obvious, and sharing nothing with the engine's arrays."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ioc.model import NOT_JUDGED, Batch, Change, ChangeKind, Flag, SourceState, SystemFact
from ioc.registry import Registry, Series
from ioc.rules.spec import LimitRule, NoDataRule, Rule, SourceDownRule, SystemRule, TooLateRule

HOUR_US = 3_600_000_000
RETRACTED = 8192
TESTS = {1: "gross_range", 2: "spike", 4: "rate_of_change", 8: "flat_line", 16: "attenuated", 32: "climatology",
         64: "physical_range", 128: "neighbours"}  # fmt: skip
NONE: Mapping[int, Sequence[int]] = {}


def named(tests: int) -> str:
    return ", ".join(name for bit, name in TESTS.items() if tests & bit)


@dataclass
class Cell:
    """One limit rule on one series."""

    on: set[int] = field(default_factory=set)
    waiting: dict[int, int] = field(default_factory=dict)
    unknown: bool = False
    unconfirmed: bool = False
    shown: float = 0.0
    doubt: int = 0
    """The level that is doubtful, above those that are on."""
    doubted: int = 0
    """The event time of the last sample for it."""
    counted: dict[int, list[int]] = field(default_factory=dict)
    past: list[tuple[float, frozenset[int]]] = field(default_factory=lambda: [(float("-inf"), frozenset())])

    @property
    def level(self) -> int:
        return max([*self.on, self.doubt], default=0)

    def note(self, event: int) -> None:
        event = max(event, self.past[-1][0])  # type: ignore[assignment]
        self.past.append((event, frozenset(self.on)))
        while len(self.past) > 64 or (len(self.past) > 1 and self.past[1][0] <= event - 6 * HOUR_US):
            del self.past[0]


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
        self,
        registry: Registry,
        rules: Mapping[str, Rule],
        numbers: Mapping[str, int],
        now: int,
        utc_offset: int = 0,
        near: Mapping[int, Sequence[int]] = NONE,
    ) -> None:
        self.utc_offset, self.near = utc_offset, near
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
        Oracle.__init__(self, registry, rules, numbers, now, self.utc_offset, self.near)
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

    def limits(self, rule: LimitRule, series: Series, event: int) -> dict[int, tuple[float, float]]:
        """Level → (limit, where it clears)."""
        local = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(
            microseconds=event + self.utc_offset
        )
        replaced: Mapping[int, float] = {}
        for period in reversed(rule.periods):
            hours = [*range(24), *range(24)]
            begin, end = period.hours or (0, 24)
            during = hours[begin : end if end > begin else end + 24]
            if (
                local.month in (period.months or range(1, 13))
                and local.isoweekday() in (period.weekdays or range(1, 8))
                and local.hour in during
            ):
                replaced = period.limits
        out = {}
        for level in sorted(rule.levels):
            limit = rule.limit_of(series.station.id, level)
            if limit is not None:
                limit = replaced.get(level, limit)
                out[level] = (limit, rule.reset_of(limit, level))
        return out

    def priority(self, rule: LimitRule, cell: Cell) -> int:
        """What a cell shows: a doubtful level is one lower, but not less urgent than what is certain."""
        certain = [rule.levels[max(cell.on)].priority] if cell.on else []
        if not cell.doubt:
            return certain[0] if certain else 0
        return min([rule.levels[cell.doubt].priority + 1, *certain])

    def about(self, kinds: type | tuple[type, ...], number: int) -> list[tuple[int, Rule]]:
        return [
            (order, rule)
            for order, rule in self.rules
            if isinstance(rule, kinds) and rule.series.matches(self.series[number])  # type: ignore[union-attr]
        ]

    # Rows

    def feed_batch(self, batch: Batch, now: int, tests: Sequence[int] = ()) -> list[Change]:
        out: list[Change] = []
        self.links.setdefault(batch.source, Link())
        for number, event, value, flags, failed in zip(
            batch.series.tolist(),
            batch.event_us.tolist(),
            batch.value.tolist(),
            batch.flags.tolist(),
            tests or [0] * len(batch),
            strict=True,
        ):
            found: list[tuple[int, Change]] = []
            agreed: list[tuple[int, int, Change]] = []
            if number not in self.series:
                continue
            if not flags & NOT_JUDGED:
                self.watch_row(batch.source, number, flags, now, found)
                for order, rule in self.about(LimitRule, number):
                    assert isinstance(rule, LimitRule)
                    found += [(order, c) for c in self.judge(rule, number, event, value, flags, now, failed)]
                for order, rule in self.about(LimitRule, number):
                    assert isinstance(rule, LimitRule)
                    agreed += self.agree(order, rule, number, event, flags, now)
                self.health[number].event = event
            elif flags & RETRACTED:
                for order, rule in self.about(LimitRule, number):
                    assert isinstance(rule, LimitRule)
                    found += [(order, c) for c in self.retract(rule, number, event, value, now)]
            elif flags & (Flag.LATE | Flag.REVISED) and not flags & (
                Flag.REPEAT | Flag.CONFLICT | Flag.LAST_KNOWN | Flag.FUTURE | Flag.TOO_LATE | Flag.BAD
            ):
                for order, rule in self.about(LimitRule, number):
                    assert isinstance(rule, LimitRule)
                    found += [
                        (order, c) for c in self.correct(rule, number, event, value, flags, failed, now)
                    ]
            all_found = [(order, number, change) for order, change in found] + agreed
            out += [change for *_, change in sorted(all_found, key=lambda item: item[:2])]
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
            # A source that was heard of only now may have been this series' all along: then nobody knows since when.
            value = 0.0 if begin is None else (now - begin) / 1e6
            limit = series.stale_after_us / 1e6
            found.append(
                (
                    order,
                    Change(ChangeKind.CLEAR, rule.id, series.id, 0, rule.priority, value, limit, now, now),  # type: ignore[union-attr]
                )
            )
        told = any((r.id, series.id) in self.alarms for _, r in self.about((NoDataRule, TooLateRule), number))
        if health.source != source and not told:
            health.old = None
        health.heard, health.source, health.stale = now, source, False
        health.bad = bool(flags & Flag.BAD)
        health.old = None if fresh else (now if health.old is None else health.old)

    def judge(
        self, rule: LimitRule, number: int, event: int, value: float, flags: int, now: int, tests: int = 0
    ) -> list[Change]:
        series = self.series[number]
        limits = self.limits(rule, series, event)
        if not limits:
            return []
        cell = self.cells.setdefault((rule.id, number), Cell())
        up = rule.direction == "up"
        old, before, was, old_priority = cell.level, frozenset(cell.on), cell.doubt, self.priority(rule, cell)
        detail = ""
        if flags & Flag.BAD:
            cell.waiting.clear()
            reached = [
                level
                for level, (limit, _) in limits.items()
                if rule.levels[level].priority <= 2 and (value >= limit if up else value <= limit)
            ]
            beyond = max(reached, default=0) if rule.doubtful else 0
            if beyond <= max(cell.on, default=0) or beyond < cell.doubt:
                if cell.on and not cell.doubt and not cell.unknown:
                    cell.unknown = True
                    return [
                        self.change(
                            ChangeKind.UNKNOWN, rule, number, old, old, old_priority, value, event, flags, now
                        )
                    ]
                return []
            if cell.doubt and event - cell.doubted <= series.max_gap_us:
                self.make_certain(cell, limits)
            cell.doubt = beyond if beyond not in cell.on else 0
            cell.doubted = event
            detail = ("doubtful: " if cell.doubt else "again: ") + (named(tests & 255) or "physical_range")
        else:
            if event - self.health[number].event > series.max_gap_us:
                cell.waiting.clear()
            self.step(rule, cell, limits, event, value)
            if flags & Flag.UNCERTAIN:
                detail = "uncertain: " + (named(tests >> 8) or "sensor")
            if cell.doubt and (
                max(cell.on, default=0) >= cell.doubt
                or (value < limits[cell.doubt][0] if up else value > limits[cell.doubt][0])
            ):
                cell.doubt = 0
        return self.outcome(
            rule, number, cell, old, before, was, old_priority, value, event, flags, now, detail
        )

    def make_certain(self, cell: Cell, limits: Mapping[int, tuple[float, float]]) -> None:
        for level in limits:
            if level <= cell.doubt and level not in cell.on:
                cell.on.add(level)
                cell.waiting.pop(level, None)
                cell.counted.pop(level, None)

    def step(
        self, rule: LimitRule, cell: Cell, limits: Mapping[int, tuple[float, float]], event: int, value: float
    ) -> None:
        up = rule.direction == "up"
        for level, (limit, reset) in limits.items():
            given = rule.levels[level]
            if level in cell.on:
                against, delay = (value < reset if up else value > reset), given.off_delay
            else:
                against, delay = (value >= limit if up else value <= limit), given.on_delay
                if given.times > 1:
                    if against:
                        counted = [*cell.counted.get(level, []), event]
                        cell.counted[level] = [at for at in counted if event - at <= given.within]
                        if len(cell.counted[level]) >= given.times:
                            del cell.counted[level]
                            cell.on.add(level)
                    continue
            if not against:
                cell.waiting.pop(level, None)
                continue
            began = cell.waiting.setdefault(level, event)
            if event - began >= delay:
                del cell.waiting[level]
                cell.on ^= {level}

    def change(
        self, kind: ChangeKind, rule: LimitRule, number: int, level: int, of: int, priority: int, value: float,
        event: int, flags: int, now: int, detail: str = "",
    ) -> Change:  # fmt: skip
        series, backlog = self.series[number], bool(flags & Flag.BACKLOG)
        waits = backlog and kind in (ChangeKind.ONSET, ChangeKind.LEVEL_UP)
        return Change(
            kind, rule.id, series.id, level, priority, value, self.limits(rule, series, event)[of][0], event, now,
            backlog, series.max_gap_us if waits else 0, detail,
        )  # fmt: skip

    def outcome(
        self, rule: LimitRule, number: int, cell: Cell, old: int, before: frozenset[int], was: int,
        old_priority: int, value: float, event: int, flags: int, now: int, reason: str,
    ) -> list[Change]:  # fmt: skip
        """What is said of a cell that was like this and now is as it is."""
        backlog = bool(flags & Flag.BACKLOG)
        new, priority = cell.level, self.priority(rule, cell)

        def say(kind: ChangeKind, level: int, of: int, urgency: int) -> Change:
            settles = was and not cell.doubt and kind in (ChangeKind.LEVEL_UP, ChangeKind.LEVEL_DOWN)
            detail = reason or ("certain" if settles else "")
            return self.change(kind, rule, number, level, of, urgency, value, event, flags, now, detail)

        if before != cell.on:
            cell.note(event)
        out = []
        if cell.unknown and new:
            out.append(say(ChangeKind.KNOWN, old, old, old_priority))
        cell.unknown = False
        worse = new > old or (new == old > 0 and (was > cell.doubt or priority < old_priority))
        if old == 0 and new:
            out.append(say(ChangeKind.ONSET, new, new, priority))
        elif old and new == 0:
            out.append(say(ChangeKind.CLEAR, 0, old, old_priority))
        elif worse:
            out.append(say(ChangeKind.LEVEL_UP, new, new, priority))
        elif new < old:
            out.append(say(ChangeKind.LEVEL_DOWN, new, new, priority))
        if new == 0:
            cell.unconfirmed = False
        elif backlog:
            cell.unconfirmed = cell.unconfirmed or worse
        elif cell.unconfirmed:
            cell.unconfirmed = False
            if not worse:
                out.append(say(ChangeKind.CONFIRMED, new, new, priority))
        if out:
            cell.shown = value
        return out

    def agree(
        self, order: int, rule: LimitRule, number: int, event: int, flags: int, now: int
    ) -> list[tuple[int, int, Change]]:
        """Neighbours on at the level that is doubtful, seen after a sample of this series."""
        out = []
        for here, there in [(number, n) for n in self.near.get(number, ())] + [
            (n, number) for n in self.near.get(number, ())
        ]:
            cell, other = self.cells.get((rule.id, here)), self.cells.get((rule.id, there))
            if cell is None or other is None or not cell.doubt or cell.unknown or other.unknown:
                continue
            if max(other.on, default=0) < cell.doubt:
                continue
            old, before, was, priority = cell.level, frozenset(cell.on), cell.doubt, self.priority(rule, cell)
            self.make_certain(cell, self.limits(rule, self.series[here], event))
            cell.doubt = 0
            changes = self.outcome(
                rule, here, cell, old, before, was, priority, cell.shown, event,
                flags & Flag.BACKLOG, now, f"neighbour: {self.series[there].id}",
            )  # fmt: skip
            out += [(order, here, change) for change in changes]
        return out

    def retract(self, rule: LimitRule, number: int, event: int, value: float, now: int) -> list[Change]:
        cell = self.cells.get((rule.id, number))
        if cell is None:
            return []
        cell.waiting = {level: began for level, began in cell.waiting.items() if began != event}
        for stamps in cell.counted.values():
            if event in stamps:
                stamps.remove(event)
        earlier = [levels for at, levels in cell.past if at < event]
        if not earlier:
            return []
        without = max(earlier[-1], default=0)
        had = max([levels for at, levels in cell.past if at <= event][-1], default=0)
        if without == had:
            return []
        of = without or had
        priority = rule.levels[of].priority
        return [
            self.change(
                ChangeKind.CORRECTION, rule, number, without, of, priority, value, event, 0, now, "spike"
            )
        ]

    def correct(
        self, rule: LimitRule, number: int, event: int, value: float, flags: int, tests: int, now: int
    ) -> list[Change]:
        limits = self.limits(rule, self.series[number], event)
        cell = self.cells.get((rule.id, number), Cell())
        earlier = [levels for at, levels in cell.past if at < event]
        if not limits or not earlier:
            return []
        was, had = earlier[-1], [levels for at, levels in cell.past if at <= event][-1]
        up = rule.direction == "up"
        would = set(had)
        for level, (limit, reset) in limits.items():
            if rule.levels[level].on_delay or rule.levels[level].times > 1:
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
        detail = "uncertain: " + (named(tests >> 8) or "sensor") if flags & Flag.UNCERTAIN else ""
        priority = rule.levels[of].priority
        return [
            self.change(
                ChangeKind.CORRECTION, rule, number, level, of, priority, value, event, 0, now, detail
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
                    if cell is None or not cell.level or cell.unknown:
                        continue
                    cell.unknown = True
                    level, priority = cell.level, self.priority(limit_rule, cell)
                    change = self.change(
                        ChangeKind.UNKNOWN, limit_rule, what, level, level, priority, cell.shown, due, 0, now
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
