"""`View`: all that screens show, fed with what the pipeline did. Pure: no clock, no asyncio, no database.

`seq` counts what was fed and could be seen. Everything keeps the seq of its last change, so a screen that stopped at
some seq is told what it missed without anything being kept for it.
"""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np

from ioc.model import Alarm, Batch, Input, Outcome, Rejected, SourceState, State, Step, Transition
from ioc.model.batch import Bool
from ioc.model.origin import reinjected
from ioc.wall.board import UNACKED, Board, counts, order_of
from ioc.wall.given import Presenter, Status
from ioc.wall.journal import Journal
from ioc.wall.points import NORMAL, STALE, Points
from ioc.wall.recent import Recent
from ioc.wall.tally import Tally
from ioc.wall.wire import (
    FeedItem,
    GroupKpi,
    KpiItem,
    PointItem,
    QuarantineItem,
    SourceKpi,
    stamp,
    text_of,
)

QUARANTINE_MAX: Final = 1_000
PAYLOAD_SHOWN_BYTES: Final = 8 * 1024
"""How much of a rejected payload screens are shown; the log has more of it."""


class _Live(NamedTuple):
    """How many series speak, in all and by group: counted again only once the state of one has changed."""

    seq: int = -1
    series: int = 0
    live: Sequence[int] = ()
    total: Sequence[int] = ()
    stale: Sequence[int] = ()


class View:
    """The wall's own memory; `alarms` are the book's open alarms, looked up after each transition."""

    def __init__(self, presenter: Presenter, epoch: str, alarms: Mapping[str, Alarm]) -> None:
        self.presenter = presenter
        self.recent = Recent()
        self.points = Points()
        self._begin(epoch, alarms)
        self.load(presenter)

    def _begin(self, epoch: str, alarms: Mapping[str, Alarm]) -> None:
        self.epoch = epoch
        self.seq = 1
        self.topic_seq = {"alarms": 1, "points": 1, "feeds": 1, "kpi": 1}
        """The seq at which each topic last changed."""
        self.board = Board()
        self.journal = Journal()
        self.quarantine: deque[tuple[int, Rejected]] = deque(maxlen=QUARANTINE_MAX)
        self._reinjected: dict[int, None] = {}
        self.rejected = 0
        self.tally = Tally()
        self.points = Points()
        self.recent = Recent()
        self.now_us = 0
        self.status = Status()
        self.screens = 0
        self.officers: tuple[str, ...] = ()
        self._alarms = alarms
        self._feeds: dict[str, tuple[FeedItem, int]] = {}
        self._kpi_text: tuple[int, str] = (0, "")
        self._live = _Live()

    def load(self, presenter: Presenter) -> None:
        """A pack was loaded or series were added; every word on the screens may be another now."""
        self.presenter = presenter
        size = max(presenter.numbers.values(), default=-1) + 1
        names = [""] * size
        watched = np.zeros(size, np.bool_)
        for series_id, number in presenter.numbers.items():
            names[number] = series_id
            watched[number] = presenter.watched(series_id)
        groups = {group.id: i for i, group in enumerate(presenter.groups)}
        self._group = np.full(size, -1, np.int64)
        self._group_of: dict[str, int] = {}
        for series_id, item in presenter.series.items():
            group = groups.get(item.group or "", -1)
            self._group_of[series_id] = group
            if series_id in presenter.numbers:
                self._group[presenter.numbers[series_id]] = group
        self.seq += 1
        self.points.load(names, watched, self.seq)
        self.recent.resize(size)
        self.board.touch_all(self.seq)
        self.journal.forget_texts()
        for topic in self.topic_seq:
            self.topic_seq[topic] = self.seq
        for alarm in self.board.alarms.values():
            self._priority(alarm.asset)

    def rebuild(
        self,
        epoch: str,
        presenter: Presenter,
        alarms: Mapping[str, Alarm],
        journal: Iterable[tuple[int, Transition]] = (),
        inputs: Iterable[Input] = (),
    ) -> None:
        """Begin anew after a restart: open alarms as they stand, the last transitions with their place in the log's
        output, and the last records, from which recent readings, quarantine and feeds are refilled."""
        self._begin(epoch, alarms)
        self.load(presenter)
        for place, step in journal:
            self.journal.feed(step, 0, place)
        for record in inputs:
            self._input(record)
        for alarm in alarms.values():
            self.board.put(alarm, self.seq)
            self._priority(alarm.asset)

    def feed(self, outcome: Outcome) -> None:
        """Take what one record brought about."""
        self.seq += 1
        changed = self._input(outcome.input)
        for step in outcome.transitions:
            self.journal.feed(step, self.seq)
            self._step(step)
        if outcome.transitions:
            self.topic_seq["alarms"] = self.topic_seq["kpi"] = self.seq
        elif not changed:
            self.seq -= 1

    def _input(self, record: Input) -> bool:
        """Readings and news of sources; whether a screen would see a difference at once."""
        self.now_us = max(self.now_us, record.now_us)
        if (number := reinjected(record.origin)) is not None:
            self._reinjected[number] = None
            if len(self._reinjected) > QUARANTINE_MAX:
                del self._reinjected[next(iter(self._reinjected))]
        match record.body:
            case Batch() as batch:
                self.tally.batch(batch, record.now_us)
                self.recent.feed(batch)
                if self.points.feed(batch, self.seq):
                    self.topic_seq["points"] = self.seq
                    return True
            case Rejected() as rejected:
                self.rejected += 1
                kept = replace(rejected, payload=rejected.payload[:PAYLOAD_SHOWN_BYTES])
                self.quarantine.append((record.number, kept))
                self.tally.rejected(rejected.source, str(rejected.reason))
            case SourceState() as state:
                self.tally.state(state, record.now_us)
                self._refresh_feeds()
                return True
            case _:
                pass
        return False

    def _step(self, step: Transition) -> None:
        alarms, board, kind = self._alarms, self.board, step.kind
        if kind is Step.ONSET:
            # It replaces an occurrence that had returned without a word about that one.
            for alarm_id in board.of_asset(step.asset):
                if alarm_id not in alarms:
                    board.drop(alarm_id, self.seq)
        alarm = alarms.get(step.alarm)
        if alarm is None:
            board.drop(step.alarm, self.seq)
        elif alarm is not board.alarms.get(step.alarm):
            board.put(alarm, self.seq)
        self._priority(step.asset)
        # With the alarm, not a second later: until then a value that no longer comes would look fresh.
        if (kind is Step.ONSET or kind is Step.CLEAR) and self.presenter.tells_silence(step.rule):
            number = self.presenter.numbers.get(step.asset)
            if number is not None and self.points.silenced(number, kind is Step.ONSET, self.seq):
                self.topic_seq["points"] = self.seq

    def _priority(self, asset: str) -> None:
        number = self.presenter.numbers.get(asset)
        if number is not None and self.points.alarmed(number, self.board.priority_of(asset), self.seq):
            self.topic_seq["points"] = self.seq

    def refresh(self, stale: Bool, bad: Bool, now_us: int, status: Status) -> None:
        """Once a second: the engine's word on silence and quality, and what only the process knows."""
        self.seq += 1
        self.now_us = max(self.now_us, now_us)
        self.status = status
        if self.points.refresh(stale, bad, self.seq):
            self.topic_seq["points"] = self.seq
        self._refresh_feeds()
        self.topic_seq["kpi"] = self.seq

    def presence(self, screens: int, officers: Iterable[str]) -> None:
        """Who looks on."""
        self.screens, self.officers = screens, tuple(sorted(set(officers)))

    def _refresh_feeds(self) -> None:
        for item in self.tally.items(self.now_us, self.status.sources):
            if item.source not in self._feeds or self._feeds[item.source][0] != item:
                self._feeds[item.source] = (item, self.seq)
                self.topic_seq["feeds"] = self.seq

    @property
    def floor_seq(self) -> int:
        """No screen can resume from before this seq."""
        return max(self.journal.floor_seq, self.board.floor_seq)

    def alarms(self) -> list[Alarm]:
        """The open ones: unacknowledged first, by priority, then the longest waiting."""
        return sorted(self.board.alarms.values(), key=order_of)

    def alarm_text(self, alarm: Alarm) -> str:
        """An alarm as JSON."""
        return self.board.text(alarm, self.presenter)

    def point(self, series_id: str) -> PointItem:
        """The newest state of one series."""
        return self.points.item(self.presenter.numbers[series_id])

    def feeds(self, since_seq: int = -1) -> list[FeedItem]:
        """The feeds table, or what of it changed after a seq."""
        return [item for item, seq in self._feeds.values() if seq > since_seq]

    def kpi_text(self) -> str:
        """`kpi` as JSON, computed once for a seq."""
        if self._kpi_text[0] != self.topic_seq["kpi"]:
            self._kpi_text = (self.topic_seq["kpi"], text_of(self.kpi(self.now_us)))
        return self._kpi_text[1]

    def kpi(self, now_us: int) -> KpiItem:
        """The figures of header, tiles and footer. `unacked` counts returned ones too: they wait as well."""
        alarms = self.board.alarms.values()
        live = self._count_live()
        return KpiItem(
            counts=counts(alarms),
            open=len(alarms),
            unacked=sum(alarm.state in UNACKED for alarm in alarms),
            returned=sum(alarm.state is State.RETURNED for alarm in alarms),
            feeds_live=live.series,
            feeds_total=int(np.count_nonzero(self.points.watched)),
            rate=self.tally.rate(now_us),
            alarms_24h=self.journal.alarms_24h(now_us),
            ack_mean_s=self.journal.ack_mean_s(now_us),
            groups=self._groups(live),
            log=self.status.log,
            history=self.status.history,
            mqtt=self.status.mqtt,
            sources=[
                SourceKpi(name, source.kind, source.state, source.lag)
                for name, source in sorted(self.status.sources.items())
            ],
            screens=self.screens,
            officers=list(self.officers),
        )

    def _count_live(self) -> _Live:
        points, size = self.points, len(self.presenter.groups)
        if self._live.seq != points.state_seq:
            state, watched = points.state, points.watched
            normal = watched & (state == NORMAL)
            by_group = [
                np.bincount(self._group[where & (self._group >= 0)], minlength=size).tolist()
                for where in (normal, watched, watched & (state == STALE))
            ]
            self._live = _Live(points.state_seq, int(np.count_nonzero(normal)), *by_group)
        return self._live

    def _groups(self, live: _Live) -> list[GroupKpi]:
        size = len(self.presenter.groups)
        worst, opened, unacked = [0] * size, [0] * size, [0] * size
        for alarm in self.board.alarms.values():
            i = self._group_of.get(alarm.asset, -1)
            if i >= 0:
                opened[i] += 1
                unacked[i] += alarm.state in UNACKED
                worst[i] = min(worst[i] or alarm.priority, alarm.priority)
        return [
            GroupKpi(g.id, live.live[i], live.total[i], live.stale[i], worst[i], opened[i], unacked[i])
            for i, g in enumerate(self.presenter.groups)
        ]

    def quarantined(self, limit: int) -> list[QuarantineItem]:
        """What could not be taken, newest first."""
        out: list[QuarantineItem] = []
        for number, rejected in reversed(self.quarantine):
            if len(out) >= limit:
                break
            out.append(_quarantine(number, rejected, number in self._reinjected))
        return out


def _quarantine(number: int, rejected: Rejected, again: bool) -> QuarantineItem:
    payload = rejected.payload
    text: str | None
    try:
        text = payload.decode()
    except UnicodeDecodeError as error:
        # A payload that we cut within a letter is still text.
        cut = len(payload) < rejected.length and error.start >= len(payload) - 3
        text = payload[: error.start].decode() if cut else None
    return QuarantineItem(
        number=number,
        source=rejected.source,
        topic=rejected.topic,
        reason=str(rejected.reason),
        detail=rejected.detail,
        item=rejected.item,
        received_at=stamp(rejected.received_us),
        payload_text=text,
        payload_base64=base64.b64encode(payload).decode(),
        length=rejected.length,
        reinjected=again,
    )
