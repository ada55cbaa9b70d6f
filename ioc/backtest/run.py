"""The rules of a pack over stored readings, as fast as arrays go: what a live instance would have said whose clock is the
samples' own, fed in the order of their times.

Readings go into the engine by tens of thousands at once. What depends on the clock alone, the deadlines of silence,
falls between: before a block is fed it is worked out at which times one can fall at all, and the block is cut there, as
`Pipeline` cuts where the next deadline lies.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import yaml

from ioc.backtest.data import DataError, Readings, Tell
from ioc.errors import ConfigError
from ioc.ingest.events import Events
from ioc.ingest.order import Judgement, Order
from ioc.ingest.stamps import Groups
from ioc.model.batch import I64, Batch
from ioc.model.change import Change
from ioc.model.event import Event
from ioc.model.inputs import SourceState
from ioc.pack import Pack
from ioc.registry import SeriesColumns
from ioc.rules.engine import Engine
from ioc.rules.spec import Rule
from ioc.trial import as_enabled, numbers_of, with_needed

SOURCE: Final = "backtest"
BLOCK_ROWS: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Run:
    """What a pack's rules said. `rules` are those that were asked about, and `changes` theirs, in order.

    `strangers`: series of the data that the pack lacks, with their readings; `silent`: those of the pack of which
    there is nothing; `sparse`: those whose readings lie further apart on average than the pack waits for one, so that
    they are silent time and again.
    """

    pack: Pack
    rules: Mapping[str, Rule]
    changes: Sequence[Change]
    begin_us: int
    end_us: int
    readings: int
    series: int
    strangers: Mapping[str, int]
    silent: tuple[str, ...]
    sparse: tuple[str, ...]


def chosen(
    pack: Pack, only: Iterable[str] = (), *, everything: bool = False
) -> tuple[dict[str, Rule], set[str]]:
    """The rules to feed and, of them, those asked about: `only` and what they need, or all that are enabled.

    What is named and what that needs, and with `everything` all, is as if enabled. Raises ConfigError for a rule that the pack lacks.
    """
    wanted = list(dict.fromkeys(only))
    for name in wanted:
        if name not in pack.rules:
            raise ConfigError(
                f"--rules: no rule {name!r} in the pack; it has {', '.join(sorted(pack.rules))}"
            )
    needed = set(with_needed(pack.rules, wanted))
    asked = set(wanted or pack.rules)
    fed = {
        name: as_enabled(rule) if everything or name in needed else rule
        for name, rule in pack.rules.items()
        if not wanted or name in needed
    }
    return fed, {name for name in asked if fed[name].enabled}


def run(
    pack: Pack,
    readings: Readings,
    *,
    events: Sequence[Event] = (),
    only: Iterable[str] = (),
    everything: bool = False,
    until_us: int | None = None,
    block_rows: int = BLOCK_ROWS,
    tell: Tell = lambda done, total: None,
) -> Run:
    """Feed all readings, and the events in between; the deadlines after the last are waited for up to `until_us`.

    Time begins with the first reading. Raises DataError where there is nothing to feed.
    """
    rules, asked = chosen(pack, only, everything=everything)
    readings, number, strangers = _known(pack, readings)
    if not len(readings):
        raise DataError(_nothing(strangers))
    feed = Feed(pack, rules, number, int(readings.event_us[0]))
    changes: list[Change] = []
    told = 0
    at = [int(np.searchsorted(readings.event_us, event.received_us)) for event in events]
    edges = sorted({0, len(readings), *(place for place in at if place < len(readings))})
    waiting = list(zip(at, events, strict=True))
    codes = np.array([number[name] for name in readings.names], np.int32)
    for begin, end in itertools.pairwise(edges):
        while waiting and waiting[0][0] <= begin:
            changes += feed.event(waiting.pop(0)[1])
        for start in range(begin, end, block_rows):
            part = readings.take(slice(start, min(start + block_rows, end)))
            flags = part.flags
            changes += feed.rows(
                Batch.of(SOURCE, codes[part.series], part.event_us, part.event_us, part.value, flags)
            )
            told += len(part)
            tell(told, len(readings))
    last_us = int(readings.event_us[-1])
    for _, event in waiting:
        if until_us is not None and event.received_us < until_us:
            changes += feed.event(event)
    end_us = last_us if until_us is None else max(until_us, last_us)
    if until_us is not None:
        changes += feed.deadlines(end_us)
    return Run(
        pack,
        {name: rule for name, rule in rules.items() if name in asked},
        [change for change in changes if change.rule in asked],
        int(readings.event_us[0]),
        end_us,
        len(readings),
        len(readings.names),
        strangers,
        tuple(s.id for s in pack.registry.series.values() if s.id not in number),
        tuple(_sparse(pack, readings)),
    )


def _known(pack: Pack, readings: Readings) -> tuple[Readings, dict[str, int], dict[str, int]]:
    """The readings of the pack's own series, their numbers with those of all that is computed from them, and how many
    readings each series has that the pack lacks. What is derived is computed anew."""
    counts = np.bincount(readings.series, minlength=len(readings.names)).tolist()
    series = pack.registry.series
    strangers = {
        name: count
        for name, count in zip(readings.names, counts, strict=True)
        if count and name not in series
    }
    mine = {
        name: count for name, count in zip(readings.names, counts, strict=True) if count and name in series
    }
    ours = [name for name in mine if not series[name].derived]
    number = numbers_of(pack, dict.fromkeys(ours))
    if ours != list(readings.names):
        place = {name: i for i, name in enumerate(ours)}
        codes = np.array([place.get(name, -1) for name in readings.names], np.int32)
        new = codes[readings.series]
        kept = new >= 0
        taken = readings.take(kept)
        readings = Readings(tuple(ours), new[kept], taken.event_us, taken.value, taken.flags)
    return readings, number, strangers


def _sparse(pack: Pack, readings: Readings) -> Iterator[str]:
    span_us = int(readings.event_us[-1] - readings.event_us[0]) if len(readings) else 0
    counts = np.bincount(readings.series, minlength=len(readings.names)).tolist()
    for name, count in zip(readings.names, counts, strict=True):
        series = pack.registry.series.get(name)
        if series is not None and count > 1 and span_us // count > series.stale_after_us:
            yield name


def paced(pack: Pack, readings: Readings) -> Pack:
    """The pack as it would be were each series that is sparser than the pack waits for sent as the readings lie: its
    interval is the median time between two, and after three it is silent. For histories that were thinned."""
    sparse = set(_sparse(pack, readings))
    if not sparse:
        return pack
    groups = Groups.of(readings.series)
    steps: dict[str, int] = {}
    for number, start, count in zip(groups.number, groups.starts, groups.counts, strict=True):
        name = readings.names[number]
        if name in sparse:
            apart = np.diff(readings.event_us[groups.rows[start : start + count]])
            step_us = int(np.median(apart[apart > 0])) if apart.any() else 0
            if step_us > pack.registry.series[name].stale_after_us:
                steps[name] = step_us
    blob = json.loads(pack.blob)
    for name in [name for name in blob["files"] if name.startswith("stations/")]:
        content = yaml.safe_load(blob["files"][name])
        for station in content["stations"]:
            for entry in station["series"]:
                series_id = f"{entry['domain']}/{station['id']}/{entry['quantity']}"
                if series_id in steps:
                    entry["interval"] = f"{steps[series_id]}us"
                    entry.pop("stale_after", None)
        blob["files"][name] = yaml.safe_dump(content, allow_unicode=True)
    return replace(Pack.from_blob(json.dumps(blob, ensure_ascii=False).encode()), hash=pack.hash)


def _nothing(strangers: Mapping[str, int]) -> str:
    if not strangers:
        return "there are no readings in the span: look at --from and --to, and at what the data holds"
    some = ", ".join(list(strangers)[:5])
    return f"the pack has none of the {len(strangers)} series of the data ({some}, …): is it the pack of these data?"


class Feed:
    """One pack's order and engine, from the first reading on; told readings and events in the order of their times."""

    def __init__(
        self, pack: Pack, rules: Mapping[str, Rule], number: Mapping[str, int], begin_us: int
    ) -> None:
        columns = pack.registry.columns(number)
        settings = pack.settings
        self._order = Order(columns, settings.lateness, settings.max_ahead, settings.stamps_max)
        self._engine = Engine(pack.registry, {}, number)
        planned = tuple(one for one in pack.planned if one.rule is None or one.rule in rules)
        self._engine.rebuild(pack.registry, rules, number, begin_us, planned, pack.utc_offset_us)
        self._engine.feed_source(SourceState(SOURCE, True, 1), begin_us)
        self._events = Events()
        self._silence = _Silence(columns, begin_us)
        self._now_us = begin_us

    def rows(self, batch: Batch) -> list[Change]:
        """Readings in the order of their times, none before those fed already."""
        judged = Judgement(self._order).judge(batch, None)
        self._order.feed(judged)
        out: list[Change] = []
        for part in self._stretches(judged):
            out += self.deadlines(int(part.received_us[0]) - 1)
            out += self._engine.judge_stretch(part)
        self._now_us = int(judged.received_us[-1])
        return out

    def _stretches(self, batch: Batch) -> Iterator[Batch]:
        """The batch cut wherever a deadline can fall. What is told at the very time of a deadline comes before it."""
        groups = self._order.groups(batch.series)
        due_us = self._silence.between(groups.rows, groups.starts, groups.number, batch.received_us)
        cuts = np.unique(np.searchsorted(batch.received_us, due_us, side="right"))
        cuts = cuts[(cuts > 0) & (cuts < len(batch))]
        if not len(cuts):
            yield batch
            return
        for begin, end in zip([0, *cuts.tolist()], [*cuts.tolist(), len(batch)], strict=True):
            yield batch.take(slice(begin, end))

    def event(self, event: Event) -> list[Change]:
        """What is not a number, at the time when it was told."""
        now_us = max(event.received_us, self._now_us)
        out = self.deadlines(now_us - 1)
        self._now_us = now_us
        return out + self._engine.feed_event(event, now_us) if self._events.feed(event) else out

    def deadlines(self, until_us: int) -> list[Change]:
        """Every deadline up to then, each at its own time and in order."""
        out: list[Change] = []
        while (due_us := self._engine.next_deadline_us(until_us)) <= until_us:
            out += self._engine.feed_deadlines(due_us)
        return out


class _Silence:
    """When each series was heard last, to know at which times one of them can turn silent. A time too many costs a cut
    and changes nothing; one too few would be a deadline that fires late."""

    def __init__(self, columns: SeriesColumns, begin_us: int) -> None:
        self._heard_us = np.full(len(columns), begin_us, np.int64)
        self._after_us = columns.stale_after_us
        self._watched = np.flatnonzero(columns.watched)
        self._grace_us = begin_us + columns.interval_us
        """Until when nothing is silent: the source has just been connected."""

    def between(self, rows: I64, starts: I64, number: I64, received_us: I64) -> I64:
        """Every deadline that may fall before the last of these rows; they are heard now.

        `rows` (n,) series by series, each beginning at `starts` (k,), of `number` (k,).
        """
        last_us = int(received_us[-1])
        heard_us = received_us[rows]
        before_us = np.empty_like(heard_us)
        before_us[1:] = heard_us[:-1]
        before_us[starts] = self._heard_us[number]
        counts = np.diff(np.append(starts, len(rows)))
        after_us = np.repeat(self._after_us[number], counts)
        late = np.flatnonzero(heard_us - before_us > after_us)
        series = np.repeat(number, counts)[late] if len(late) else np.zeros(0, np.int64)
        ends = np.append(starts[1:], len(rows)) - 1
        self._heard_us[number] = heard_us[ends]
        rest = self._due(self._watched, self._heard_us[self._watched])
        due_us = np.concatenate([self._due(series, before_us[late]), rest])
        return due_us[due_us < last_us]

    def _due(self, series: I64, heard_us: I64) -> I64:
        after_us = self._after_us[series]
        return np.concatenate([heard_us + after_us, np.maximum(heard_us, self._grace_us[series]) + after_us])
