"""What the rules that are only tried would have done: recorded, bounded, and heard by nobody.

A rule in shadow is judged like any other, but its changes come here and not to the book. Whether somebody then lets
it count is theirs to decide; what stands at that moment becomes an alarm, since the engine will not say it again.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any, Final

import msgspec
from msgspec.structs import astuple

from ioc.model import Alarm, Change, ChangeKind, Condition, State, Step, Transition

WOULD_MAX: Final = 1_000
"""Entries kept of one rule."""
DAYS_MAX: Final = 35
ENDED_MAX: Final = 50
"""Records kept of rules that are tried no more."""
PERIOD_US: Final = 600_000_000
FLOOD: Final = 10
"""More alarms than this in ten minutes are a flood (ISA-18.2-2016, 16.5)."""
BESIDE_US: Final = 600_000_000
"""How far from an alarm of the same station one counts as beside it."""

_DAY_US: Final = 86_400_000_000
_PERIODS_MAX: Final = DAYS_MAX * _DAY_US // PERIOD_US
_PRIORITIES: Final = 4


class Would(msgspec.Struct, gc=False):
    """One change that was only recorded; `number` is that of the record that caused it. `duration_us` is event time
    from the onset, of the last change of one; `beside` says that a real alarm of the station was near, of an onset."""

    seq: int
    kind: str
    asset: str
    level: int
    priority: int
    value: float
    limit: float
    event_us: int
    now_us: int
    number: int
    backlog: bool = False
    detail: str = ""
    duration_us: int = -1
    beside: bool = False


class Standing(msgspec.Struct, gc=False):
    """What would be an open alarm now."""

    asset: str
    level: int
    priority: int
    value: float
    limit: float
    event_us: int
    """Of its onset."""
    now_us: int
    unknown: bool = False
    detail: str = ""


class Day(msgspec.Struct, gc=False):
    """Onsets of one local day by priority, how many of them were beside a real alarm, and the time in alarm."""

    alarms: list[int]
    beside: int = 0
    active_us: int = 0


class Report(msgspec.Struct, frozen=True):
    """What one rule would have done. `days` are local days since 1970; the newest of `would` comes first.

    `made` are the periods of ten minutes that it alone would have turned into floods, `joined` those that were
    floods without it, too. `active_share` is of the time from `counted_us` until `until_us`; NaN for none.
    """

    rule: str
    since_us: int
    counted_us: int
    until_us: int
    ended: str
    days: dict[int, Day]
    made: int
    joined: int
    active_share: float
    would: list[Would]
    standing: list[Standing]


class Record:
    """One rule's. Some 200 bytes an entry, so 200 kB at most, and 160 bytes for each asset in alarm."""

    def __init__(self, judged: str, since_us: int) -> None:
        self.judged = judged
        """What is judged, as a digest: another rule under the same name is tried anew."""
        self.since_us = since_us
        self.ended_us = 0
        self.ended = ""
        self.flooded = (0, 0)
        """`made` and `joined` of a report, once it has ended."""
        self.last = 0
        self.would: deque[Would] = deque(maxlen=WOULD_MAX)
        self.days: dict[int, Day] = {}
        self.periods: dict[int, int] = {}
        self.standing: dict[str, Standing] = {}
        self.active_from_us = 0
        """Since when some asset has been in alarm, as far as it is not yet in `days`."""

    def day(self, day: int) -> Day:
        """That day's figures."""
        found = self.days.get(day)
        if found is None:
            found = self.days[day] = Day([0] * _PRIORITIES)
            for old in [known for known in self.days if known <= day - DAYS_MAX]:
                del self.days[old]
        return found

    def spend(self, now_us: int, offset_us: int) -> None:
        """Put the time in alarm up to now into its days."""
        if self.standing:
            at = max(self.active_from_us, now_us - DAYS_MAX * _DAY_US)
            while at < now_us:
                day = (at + offset_us) // _DAY_US
                end = min(now_us, (day + 1) * _DAY_US - offset_us)
                self.day(day).active_us += end - at
                at = end
        self.active_from_us = now_us

    def state(self) -> dict[str, Any]:
        """A copy of everything."""
        return {
            "judged": self.judged,
            "since_us": self.since_us,
            "ended": [self.ended_us, self.ended, *self.flooded],
            "last": self.last,
            "would": [list(astuple(entry)) for entry in self.would],
            "days": [[day, [*f.alarms], f.beside, f.active_us] for day, f in sorted(self.days.items())],
            "periods": [list(item) for item in sorted(self.periods.items())],
            "standing": [list(astuple(self.standing[asset])) for asset in sorted(self.standing)],
            "active_from_us": self.active_from_us,
        }

    @staticmethod
    def of(state: Mapping[str, Any]) -> Record:
        """What `state` gave."""
        record = Record(state["judged"], state["since_us"])
        record.ended_us, record.ended, *flooded = state["ended"]
        record.flooded = (flooded[0], flooded[1])
        record.last = state["last"]
        record.would.extend(Would(*entry) for entry in state["would"])
        record.days = {day: Day([*alarms], *rest) for day, alarms, *rest in state["days"]}
        record.periods = dict(state["periods"])
        record.standing = {entry[0]: Standing(*entry) for entry in state["standing"]}
        record.active_from_us = state["active_from_us"]
        return record


class Shadow:
    """The rules that are tried, and what is remembered of those that were. A stage, told what the book is told."""

    def __init__(self) -> None:
        self._records: dict[str, Record] = {}
        self._tried: set[str] = set()
        self._offset_us = 0
        self._floods: dict[int, int] = {}
        """Onsets of real alarms by ten minutes, while anything is tried."""
        self._heard: OrderedDict[str, int] = OrderedDict()
        """Station → when it last had a real alarm, of the last ten minutes."""
        self._alone: dict[str, deque[tuple[int, str, int]]] = {}
        """Station → onsets of the last ten minutes with no real alarm beside them yet: when, rule, seq."""
        self._alone_since: deque[tuple[int, str]] = deque()
        """When to look again at which station."""

    def __bool__(self) -> bool:
        return bool(self._tried)

    def tries(self, rule: str) -> bool:
        """Whether a rule's changes come here."""
        return rule in self._tried

    def rebuild(
        self,
        tried: Mapping[str, str],
        counting: Iterable[str],
        alarms: Mapping[str, Alarm],
        gone: set[tuple[str, str]],
        now_us: int,
        utc_offset_us: int,
    ) -> list[Change]:
        """Another pack: `tried` are its rules in shadow with a digest of what each judges, `counting` its other ones.

        What it gives is for the book: a rule that is only tried now loses its alarms, and one that counts now brings
        what stands. `gone` are the rules and assets of which the engine says itself that nobody judges them.
        """
        self._offset_us = utc_offset_us
        out = [_removed(alarm, now_us) for alarm in alarms.values() if alarm.rule in tried]
        live = set(counting)
        for rule in sorted(self._tried - tried.keys()):
            record = self._records[rule]
            record.spend(now_us, utc_offset_us)
            record.ended_us, record.ended = now_us, "promoted" if rule in live else "removed"
            record.flooded = self._flooded(record)
            if rule in live:
                for standing in [record.standing[asset] for asset in sorted(record.standing)]:
                    if (rule, standing.asset) not in gone:
                        out += _promoted(rule, standing, now_us)
            record.standing.clear()
        anew: set[str] = set()
        for rule, judged in tried.items():
            before = self._records.get(rule)
            if before is not None and rule in self._tried and before.judged == judged:
                continue
            record = Record(judged, now_us)
            record.active_from_us = now_us
            if before is not None and rule in self._tried:
                record.standing = before.standing
            else:
                record.standing = _adopted(rule, alarms.values(), gone)
            # The last to begin stand last, so that the oldest of those that ended is the first to be forgotten.
            self._records.pop(rule, None)
            self._records[rule] = record
            anew.add(rule)
        self._tried = set(tried)
        ended = [rule for rule in self._records if rule not in self._tried]
        for rule in sorted(ended, key=lambda rule: self._records[rule].ended_us)[
            : max(0, len(ended) - ENDED_MAX)
        ]:
            del self._records[rule]
        self._wait([one for one in self._waiting() if one[2] in self._tried - anew])
        if not self._tried:
            self._floods.clear()
            self._heard.clear()
        return out

    def begin(self, now_us: int) -> None:
        """Time begins now: nothing has been judged before."""
        for rule in self._tried:
            self._records[rule].since_us = self._records[rule].active_from_us = now_us

    def feed(self, change: Change, number: int) -> None:
        """Record a change of a rule that is tried."""
        record = self._records[change.rule]
        standing = record.standing.get(change.asset)
        if standing is None and change.kind not in (ChangeKind.ONSET, ChangeKind.CORRECTION):
            # The engine says these of an asset whether or not anything stands, which it cannot know.
            return
        if change.kind is ChangeKind.CONFIRMED:
            return
        record.spend(change.now_us, self._offset_us)
        record.last += 1
        entry = Would(
            record.last, str(change.kind), change.asset, change.level, change.priority, change.value,
            change.limit, change.event_us, change.now_us, number, change.backlog, change.detail,
        )  # fmt: skip
        record.would.append(entry)
        match change.kind:
            case ChangeKind.ONSET:
                self._onset(record, entry, change)
            case ChangeKind.CLEAR | ChangeKind.RULE_REMOVED:
                assert standing is not None
                entry.duration_us = max(0, change.event_us - standing.event_us)
                del record.standing[change.asset]
            case ChangeKind.LEVEL_UP | ChangeKind.LEVEL_DOWN:
                assert standing is not None
                standing.level, standing.priority = change.level, change.priority
                standing.value, standing.limit, standing.detail = change.value, change.limit, change.detail
                standing.unknown = False
            case ChangeKind.UNKNOWN | ChangeKind.KNOWN:
                assert standing is not None
                standing.unknown = change.kind is ChangeKind.UNKNOWN

    def _onset(self, record: Record, entry: Would, change: Change) -> None:
        record.standing[change.asset] = Standing(
            change.asset, change.level, change.priority, change.value, change.limit, change.event_us,
            change.now_us, detail=change.detail,
        )  # fmt: skip
        day = record.day((change.now_us + self._offset_us) // _DAY_US)
        day.alarms[change.priority - 1] += 1
        _count(record.periods, change.now_us // PERIOD_US)
        station = _station(change.asset)
        self._forget(change.now_us)
        if station in self._heard:
            entry.beside = True
            day.beside += 1
        else:
            self._alone.setdefault(station, deque()).append((change.now_us, change.rule, entry.seq))
            self._alone_since.append((change.now_us, station))

    def hear(self, step: Transition) -> None:
        """A step of a real alarm, while something is tried."""
        if step.kind not in (Step.ONSET, Step.WORSE):
            return
        if step.kind is Step.ONSET:
            _count(self._floods, step.now_us // PERIOD_US)
        self._forget(step.now_us)
        station = _station(step.asset)
        self._heard[station] = step.now_us
        self._heard.move_to_end(station)
        for at_us, rule, seq in self._alone.pop(station, ()):
            record = self._records[rule]
            record.day((at_us + self._offset_us) // _DAY_US).beside += 1
            place = seq - record.last + len(record.would) - 1
            if place >= 0:
                record.would[place].beside = True

    def _forget(self, now_us: int) -> None:
        since_us = now_us - BESIDE_US
        while self._heard and next(iter(self._heard.values())) < since_us:
            self._heard.popitem(last=False)
        while self._alone_since and self._alone_since[0][0] < since_us:
            _, station = self._alone_since.popleft()
            waiting = self._alone.get(station)
            while waiting and waiting[0][0] < since_us:
                waiting.popleft()
            if waiting is not None and not waiting:
                del self._alone[station]

    def _waiting(self) -> list[tuple[int, str, str, int]]:
        return sorted(
            (at, station, rule, seq) for station, each in self._alone.items() for at, rule, seq in each
        )

    def _wait(self, waiting: Iterable[tuple[int, str, str, int]]) -> None:
        self._alone, self._alone_since = {}, deque()
        for at_us, station, rule, seq in waiting:
            self._alone.setdefault(station, deque()).append((at_us, rule, seq))
            self._alone_since.append((at_us, station))

    def _flooded(self, record: Record) -> tuple[int, int]:
        """In how many periods of ten minutes it would have made a flood, and joined one."""
        made = joined = 0
        for period, count in record.periods.items():
            real = self._floods.get(period, 0)
            made += real <= FLOOD < real + count
            joined += real > FLOOD
        return made, joined

    def rules(self) -> list[tuple[str, int, str]]:
        """The rules there is a record of, with since when, and how it ended; those that are tried first."""
        found = [(rule, record.since_us, record.ended) for rule, record in self._records.items()]
        return sorted(found, key=lambda one: (one[2] != "", one[0]))

    def report(self, rule: str, now_us: int, limit: int = WOULD_MAX) -> Report | None:
        """What a rule would have done so far, with the last `limit` entries; None if it was never tried."""
        known = self._records.get(rule)
        if known is None:
            return None
        record = Record.of(known.state())
        until_us = record.ended_us or max(now_us, record.since_us)
        if not record.ended:
            record.spend(until_us, self._offset_us)
        first_day_us = min(record.days, default=0) * _DAY_US - self._offset_us
        counted_us = max(record.since_us, until_us - DAYS_MAX * _DAY_US, 0)
        if len(record.days) >= DAYS_MAX:
            counted_us = max(counted_us, first_day_us)
        span_us = until_us - counted_us
        active_us = sum(day.active_us for day in record.days.values())
        made, joined = record.flooded if record.ended else self._flooded(record)
        return Report(
            rule=rule,
            since_us=record.since_us,
            counted_us=counted_us,
            until_us=until_us,
            ended=record.ended,
            days=dict(sorted(record.days.items())),
            made=made,
            joined=joined,
            active_share=min(1.0, active_us / span_us) if span_us > 0 else float("nan"),
            would=list(islice(reversed(record.would), limit)),
            standing=[record.standing[asset] for asset in sorted(record.standing)],
        )

    def state(self) -> dict[str, Any]:
        """A copy of everything, canonical."""
        return {
            "records": [[rule, record.state()] for rule, record in self._records.items()],
            "tried": sorted(self._tried),
            "floods": [list(item) for item in sorted(self._floods.items())],
            "heard": [list(item) for item in self._heard.items()],
            "alone": [list(item) for item in self._waiting()],
            "offset_us": self._offset_us,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Back to what `state` gave; an empty one is that of a log from before rules could be tried."""
        self._records = {rule: Record.of(record) for rule, record in state.get("records", ())}
        self._tried = set(state.get("tried", ()))
        self._floods = dict(state.get("floods", ()))
        self._heard = OrderedDict((station, at_us) for station, at_us in state.get("heard", ()))
        self._wait((at, station, rule, seq) for at, station, rule, seq in state.get("alone", ()))
        self._offset_us = state.get("offset_us", 0)


def _station(asset: str) -> str:
    """The station of a series or station; anything else stands for itself."""
    return asset.partition("/")[2].partition("/")[0] or asset


def _count(periods: dict[int, int], period: int) -> None:
    periods[period] = periods.get(period, 0) + 1
    # The core's time never falls, so the oldest stand first.
    while next(iter(periods)) <= period - _PERIODS_MAX:
        del periods[next(iter(periods))]


def _removed(alarm: Alarm, now_us: int) -> Change:
    return Change(
        ChangeKind.RULE_REMOVED, alarm.rule, alarm.asset, 0, alarm.priority, alarm.value, alarm.limit,
        now_us, now_us, detail="only tried from now on",
    )  # fmt: skip


def _promoted(rule: str, standing: Standing, now_us: int) -> list[Change]:
    onset = Change(
        ChangeKind.ONSET, rule, standing.asset, standing.level, standing.priority, standing.value,
        standing.limit, standing.event_us, now_us, detail=standing.detail or "stood when the rule was promoted",
    )  # fmt: skip
    if not standing.unknown:
        return [onset]
    return [onset, msgspec.structs.replace(onset, kind=ChangeKind.UNKNOWN)]


def _adopted(rule: str, alarms: Iterable[Alarm], gone: set[tuple[str, str]]) -> dict[str, Standing]:
    return {
        a.asset: Standing(
            a.asset, a.level, a.priority, a.value, a.limit, a.onset_event_us, a.raised_us,
            a.condition is Condition.UNKNOWN, a.detail,
        )
        for a in alarms
        if a.rule == rule and a.state is not State.RETURNED and (rule, a.asset) not in gone
    }  # fmt: skip
