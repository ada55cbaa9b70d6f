"""`Hub`: what each connected screen is told next. Pure: time is an argument, a frame is a text, nothing is sent here.

Nothing is queued for a screen. A subscription holds the seq up to which its screen knows; a frame is made of what has
changed since, at the moment there is credit for it. So whatever a slow screen misses is joined by itself, and costs
the server nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from ioc.model.alarm import Alarm
from ioc.model.batch import Bool
from ioc.wall.board import order_of
from ioc.wall.journal import entry_text
from ioc.wall.view import View
from ioc.wall.wire import Filter, Sub, text_of

WINDOW: Final = 2
"""Frames a screen may have before it, not yet acknowledged."""
EVENTS_MAX: Final = 2_000
"""Transitions in one delta; beyond, the screen starts from a fresh snapshot."""
SUBSCRIPTIONS_MAX: Final = 16
INTERVAL_US: Final = {"alarms": 50_000, "points": 250_000, "feeds": 1_000_000, "kpi": 250_000}
"""The pace of a topic for which a screen names none."""


_EVERYTHING: Final = Filter()


class DuplicateId(Exception):
    """This connection has a subscription of that id."""


class TooMany(Exception):
    """This connection has as many subscriptions as it may."""


@dataclass(slots=True)
class Subscription:
    """One topic of one screen: it knows everything up to `cursor`; `prev` is the seq of its last frame."""

    id: int
    topic: str
    filter: Filter
    interval_us: int
    cursor: int = -1
    prev: int = 0
    snap: bool = True
    resumed: bool = False
    sent_us: int = -(1 << 60)
    due_us: int = -(1 << 60)
    """Its pace allows no frame before this."""


@dataclass(slots=True, eq=False)
class Client:
    """One connection. `screen` is a kiosk's; `officer` the shown name of who else looks on."""

    hub: Hub
    wake: Callable[[], None]
    screen: bool
    officer: str
    subscriptions: dict[int, Subscription] = field(default_factory=dict)
    _in_flight: deque[tuple[int, bool]] = field(default_factory=deque)
    _alarms: bool = False
    """Whether any subscription is to alarms."""
    _paced: list[Subscription] = field(default_factory=list)
    """What `take` last left to its pace."""

    def subscribe(self, sub: Sub) -> None:
        """A screen wants a topic. Raises DuplicateId or TooMany."""
        if sub.id in self.subscriptions:
            raise DuplicateId
        if len(self.subscriptions) >= SUBSCRIPTIONS_MAX:
            raise TooMany
        view = self.hub.view
        interval_us = INTERVAL_US[sub.topic]
        if sub.max_hz is not None:
            interval_us = round(1e6 / sub.max_hz) if sub.max_hz > 0 else 0
        subscription = Subscription(sub.id, sub.topic, sub.filter or Filter(), interval_us)
        since = sub.since
        if since and since.epoch == view.epoch and view.floor_seq <= since.seq <= view.seq:
            subscription.cursor = subscription.prev = since.seq
            subscription.snap = False
            subscription.resumed = True
        self.subscriptions[sub.id] = subscription
        self._alarms |= sub.topic == "alarms"

    def unsubscribe(self, subscription_id: int) -> None:
        """A screen no longer wants a topic."""
        self.subscriptions.pop(subscription_id, None)
        self._alarms = any(s.topic == "alarms" for s in self.subscriptions.values())

    def ack(self, seq: int) -> bool:
        """The screen has drawn the frame of this seq, and so all before it; whether any was waiting for that."""
        before = len(self._in_flight)
        while self._in_flight and self._in_flight[0][0] < seq:
            self._in_flight.popleft()
        if self._in_flight and self._in_flight[0][0] == seq:
            self._in_flight.popleft()
        return len(self._in_flight) < before

    def take(self, now_us: int) -> list[str]:
        """The frames to send now, as far as credit and pace allow; alarms come first."""
        frames: list[str] = []
        paced: list[Subscription] = []
        self._paced = paced
        if len(self._in_flight) >= WINDOW:
            return frames
        topic_seq = self.hub.view.topic_seq
        due: list[Subscription] = []
        for subscription in self.subscriptions.values():
            if (
                topic_seq[subscription.topic] > subscription.cursor
                or subscription.snap
                or subscription.resumed
            ):
                (due if subscription.due_us <= now_us else paced).append(subscription)
        if len(due) > 1:
            due.sort(key=lambda s: (s.topic != "alarms", s.sent_us))
        for subscription in due:
            if self._credit(subscription) and (made := self.hub.frames(subscription)):
                frames += made
                subscription.sent_us = now_us
                subscription.due_us = now_us + subscription.interval_us
                self._in_flight.append((subscription.prev, subscription.topic == "alarms"))
        return frames

    def next_us(self) -> int | None:
        """When there may be more that `take` left to its pace; None if nothing is."""
        if not self._paced:
            return None
        return min([s.due_us for s in self._paced if self._credit(s)], default=None)

    def _credit(self, subscription: Subscription) -> bool:
        if len(self._in_flight) >= WINDOW:
            return False
        if subscription.topic == "alarms" or not self._alarms:
            return True
        # One credit is kept for alarms: a screen that still draws its map must not learn of them later.
        return sum(not alarms for _, alarms in self._in_flight) < WINDOW - 1


class Hub:
    """Every connected screen, and the frames that several of them can share."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.clients: set[Client] = set()
        self._bodies: dict[tuple[str, Filter, int], str | None] = {}
        self._bodies_seq = -1
        self._masks: dict[Filter, Bool] = {}
        self._masks_of: object = None

    def connect(self, wake: Callable[[], None], screen: bool = False, officer: str = "") -> Client:
        """A screen has come; `wake` is called whenever there may be something for it."""
        client = Client(self, wake, screen, officer)
        self.clients.add(client)
        self._presence()
        return client

    def disconnect(self, client: Client) -> None:
        """It has gone."""
        self.clients.discard(client)
        self._presence()

    def _presence(self) -> None:
        self.view.presence(
            sum(client.screen for client in self.clients),
            {client.officer for client in self.clients if client.officer},
        )

    def publish(self) -> None:
        """Call after feeding the view: every screen with credit gets its frames before this returns."""
        for client in list(self.clients):
            client.wake()

    def frames(self, subscription: Subscription) -> list[str]:
        """What a subscription is told now; empty if nothing that it asked for has changed."""
        seq = self.view.seq
        if self._bodies_seq != seq:
            self._bodies.clear()
            self._bodies_seq = seq
        out: list[str] = []
        body: str | None = None
        if not subscription.snap:
            body = self._body(subscription, subscription.cursor)
            if body is None:
                subscription.snap = True
                out.append(f'{{"type":"resync","id":{subscription.id}}}')
        if subscription.snap:
            items = self._body(subscription, -1)
            out.append(f'{{"type":"snap","id":{subscription.id},"seq":{seq},"items":[{items}]}}')
        elif body or subscription.resumed:
            body = body or '"upsert":[],"remove":[],"events":[]'
            out.append(
                f'{{"type":"delta","id":{subscription.id},"seq":{seq},"prev":{subscription.prev},{body}}}'
            )
        subscription.cursor = seq
        subscription.snap = subscription.resumed = False
        if out:
            subscription.prev = seq
        return out

    def _body(self, subscription: Subscription, cursor: int) -> str | None:
        """The part of a frame that screens with the same filter and cursor share; None if it must be a snapshot."""
        key = (subscription.topic, subscription.filter, cursor)
        if key not in self._bodies:
            self._bodies[key] = self._make(subscription.topic, subscription.filter, cursor)
        return self._bodies[key]

    def _make(self, topic: str, wanted: Filter, cursor: int) -> str | None:
        view = self.view
        if topic == "alarms":
            return self._alarms(wanted, cursor)
        if topic == "points":
            numbers = np.flatnonzero((view.points.changed > cursor) & self._mask(wanted))
            items = ",".join([view.points.text(number) for number in numbers.tolist()])
        elif topic == "feeds":
            items = ",".join([text_of(item) for item in view.feeds(cursor)])
        else:
            items = view.kpi_text() if view.topic_seq["kpi"] > cursor else ""
        if cursor < 0:
            return items
        return f'"upsert":[{items}],"remove":[],"events":[]' if items else ""

    def _alarms(self, wanted: Filter, cursor: int) -> str | None:
        view = self.view
        if cursor < 0:
            alarms = sorted((a for a in view.board.alarms.values() if _wants(wanted, a)), key=order_of)
            return ",".join([view.alarm_text(alarm) for alarm in alarms])
        if cursor < view.floor_seq:
            return None
        events, upsert = view.journal.since(cursor), view.board.since(cursor)
        removed, moved = view.board.removed_since(cursor), []
        if wanted != _EVERYTHING:
            events = [e for e in events if _about(wanted, e.step.asset) and _urgent(wanted, e.step.priority)]
            removed = [(alarm, asset) for alarm, asset in removed if _about(wanted, asset)]
            # An alarm may have moved out of what this screen asked for.
            moved = [a.id for a in upsert if _about(wanted, a.asset) and not _urgent(wanted, a.priority)]
            upsert = [alarm for alarm in upsert if _wants(wanted, alarm)]
        if len(events) > EVENTS_MAX:
            return None
        remove = [alarm for alarm, _ in removed] + moved
        if not (upsert or remove or events):
            return ""
        return (
            f'"upsert":[{",".join([view.alarm_text(alarm) for alarm in upsert])}],'
            f'"remove":{text_of(remove)},'
            f'"events":[{",".join([entry_text(entry, view.presenter) for entry in events])}]'
        )

    def _mask(self, wanted: Filter) -> Bool:
        """Which series a filter means."""
        view = self.view
        if self._masks_of is not view.presenter:
            self._masks.clear()
            self._masks_of = view.presenter
        if wanted not in self._masks:
            if len(self._masks) > 256:
                self._masks.clear()
            self._masks[wanted] = np.array(
                [bool(name) and _about(wanted, name) for name in view.points.names], np.bool_
            )
        return self._masks[wanted]


def _about(wanted: Filter, asset: str) -> bool:
    if wanted.domain is None and wanted.station is None:
        return True
    domain, _, rest = asset.partition("/")
    if wanted.domain is not None and domain != wanted.domain:
        return False
    return wanted.station is None or rest.partition("/")[0] == wanted.station


def _urgent(wanted: Filter, priority: int) -> bool:
    return wanted.min_priority is None or priority <= wanted.min_priority


def _wants(wanted: Filter, alarm: Alarm) -> bool:
    return _about(wanted, alarm.asset) and _urgent(wanted, alarm.priority)
