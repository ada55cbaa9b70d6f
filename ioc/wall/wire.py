"""What goes over the wire, object by object: the forms of `docs/protocol.md`, and nothing that decides.

`*Item` structs go out, the tagged messages at the end come in from a websocket. Times are RFC 3339 texts already.
"""

from __future__ import annotations

import functools
import math
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import msgspec

from ioc.model import Event

Words = dict[str, str]
"""One phrase: `{"vi": …, "en": …}`."""


@functools.lru_cache(64)
def _second(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"


@functools.lru_cache(4_096)
def stamp(us: int) -> str:
    """Microseconds since 1970 as RFC 3339 UTC with microseconds."""
    seconds, rest = divmod(us, 1_000_000)
    return f"{_second(seconds)}.{rest:06d}Z"


def finite(value: float) -> float | None:
    """JSON has no NaN: what is no number is null."""
    return float(value) if math.isfinite(value) else None


_JSON: Final = msgspec.json.Encoder()


def text_of(item: Any) -> str:
    """One object as JSON text."""
    return _JSON.encode(item).decode()


class AlarmItem(msgspec.Struct, frozen=True):
    """An alarm as screens show it."""

    id: str
    rule: str
    asset: str
    occurrence: int
    version: int
    state: str
    condition: str
    level: int
    priority: int
    value: float | None
    unit: str
    limit: float | None
    resolution: float | None
    raised_at: str
    changed_at: str
    event_at: str
    acked_by: str | None
    acked_by_name: str | None
    acked_at: str | None
    note: str
    detail: str
    backlog: bool
    confirmed: bool
    sounding: bool
    title: Words
    level_name: Words | None
    station_name: Words
    series_name: Words | None
    station: str | None
    series: str | None
    domain: str
    lat: float | None
    lon: float | None
    commune: str | None
    simulated: bool
    computed: bool = False
    """Its value is not the series' own: a rate, a window, what several stations make together."""


class TransitionItem(msgspec.Struct, frozen=True):
    """One step of an alarm's life, for its timeline and the journal."""

    id: str
    alarm: str
    rule: str
    asset: str
    occurrence: int
    step: int
    kind: str
    before: str
    after: str
    condition: str
    level: int
    priority: int
    value: float | None
    limit: float | None
    event_at: str
    at: str
    input: int
    sounds: bool
    backlog: bool
    actor: str
    actor_name: str
    note: str
    detail: str
    title: Words
    station_name: Words
    unit: str
    simulated: bool


class EventItem(msgspec.Struct, frozen=True):
    """One revision of one event; `number` is that of its record, `end` null while it lasts."""

    number: int
    domain: str
    station: str
    kind: str
    id: str
    revision: int
    source: str
    start: str
    end: str | None
    received_at: str
    facts: dict[str, Any]

    @staticmethod
    def of(number: int, event: Event) -> EventItem:
        """As screens show it."""
        return EventItem(
            number=number,
            domain=event.domain,
            station=event.station,
            kind=event.kind,
            id=event.id,
            revision=event.revision,
            source=event.source,
            start=stamp(event.start_us),
            end=stamp(event.end_us) if event.end_us else None,
            received_at=stamp(event.received_us),
            facts=event.facts,
        )


class WouldItem(msgspec.Struct, frozen=True):
    """One change of a rule that is only tried; `duration_s` is null but for the end of something."""

    seq: int
    kind: str
    asset: str
    station_name: Words
    series_name: Words | None
    level: int
    level_name: Words | None
    priority: int
    value: float | None
    limit: float | None
    unit: str
    resolution: float | None
    event_at: str
    at: str
    number: int
    backlog: bool
    detail: str
    duration_s: float | None
    beside: bool


class TriedDayItem(msgspec.Struct, frozen=True):
    """One local day: alarms by priority 1 to 4, how many were beside a real one, and the time in alarm."""

    day: str
    alarms: list[int]
    beside: int
    active_s: float


class StandingItem(msgspec.Struct, frozen=True):
    """What would be an open alarm now."""

    asset: str
    station_name: Words
    series_name: Words | None
    level: int
    level_name: Words | None
    priority: int
    value: float | None
    limit: float | None
    unit: str
    resolution: float | None
    event_at: str
    unknown: bool


class ShadowItem(msgspec.Struct, frozen=True):
    """What a rule that is only tried would have done; `ended` is empty, `promoted` or `removed`.

    `days` are the last 35 at most; all figures but `since` are of the time from `counted_from` until `until`.
    """

    rule: str
    title: Words
    since: str
    counted_from: str
    until: str
    ended: str
    alarms: int
    per_day: float | None
    beside: int
    alone: int
    floods_made: int
    floods_joined: int
    active_share: float | None
    days: list[TriedDayItem]
    standing: list[StandingItem]
    would: list[WouldItem]


class TriedItem(msgspec.Struct, frozen=True):
    """A rule of which there is a record, in one line."""

    rule: str
    title: Words
    since: str
    ended: str


class WhyRule(msgspec.Struct, frozen=True):
    """The rule as it was in force at the step; `now` says whether it still reads the same.

    `number` is the record that the pack came in with, null where nobody remembers. Durations in `definition` are
    microseconds.
    """

    id: str
    title: Words
    kind: str
    pack: str
    number: int | None
    loaded_at: str | None
    now: bool
    source: dict[str, Any] | None
    guidance: Words | None
    rationalisation: dict[str, Any] | None
    definition: dict[str, Any]


class WhyTimer(msgspec.Struct, frozen=True):
    """Why at that moment: how long the samples shown had been beyond `edge`, and how long they had to be.

    `edge` is where the condition begins: the limit, or for a step down the reset. `at_least` says that it may have
    held for longer: what came before is not known. `times` in `within_s` stands for a rule that counts.
    """

    level: int
    limit: float | None
    edge: float
    beyond: str
    held_since: str | None
    held_s: float
    at_least: bool
    needed_s: float
    times: int
    within_s: float
    counted: int


class WhySeries(msgspec.Struct, frozen=True):
    """Samples of one series around the step, as `[t_ms, value, flags]`; `decided` is the place of the one that
    decided. `source` is the farthest they had to be fetched from: memory, history, log or none."""

    id: str
    name: Words
    station_name: Words
    unit: str
    resolution: float | None
    limits: list[LimitItem]
    points: list[Any]
    decided: int | None
    source: str


class WhyFact(msgspec.Struct, frozen=True):
    """What another rule said then, as a rule over several stations heard it: `active`, `inactive` or `unknown`."""

    name: str
    rule: str
    title: Words
    asset: str
    station_name: Words
    level: int
    state: str
    since: str | None
    alarm: str | None


class WhyNeighbour(msgspec.Struct, frozen=True):
    """A series of the same quantity nearby: its last value then, and its state and worst alarm now."""

    series: str
    station_name: Words
    km: float
    value: float | None
    at: str | None
    flags: int
    state: str
    priority: int


class WhyFiring(msgspec.Struct, frozen=True):
    """An earlier occurrence of the same rule on the same asset; `ended_at` is null where nobody remembers its end."""

    alarm: str
    occurrence: int
    raised_at: str
    ended_at: str | None
    duration_s: float | None
    level: int
    priority: int
    value: float | None
    acked_by_name: str


class WhyItem(msgspec.Struct, frozen=True):
    """Why one step of one alarm was taken. `steps` are the steps that can be asked for; `missing` says plainly what
    could not be found."""

    step: TransitionItem
    steps: list[int]
    rule: WhyRule | None
    timer: WhyTimer | None
    quality: str
    tests: list[str]
    series: WhySeries | None
    derived: dict[str, Any] | None
    inputs: list[WhySeries]
    facts: list[WhyFact]
    neighbours: list[WhyNeighbour]
    firings: list[WhyFiring]
    missing: list[Words]


class LimitItem(msgspec.Struct, frozen=True):
    """One limit of one series, with the rule it comes from."""

    level: int
    limit: float
    priority: int
    name: Words
    rule: str
    direction: str


class SeriesItem(msgspec.Struct, frozen=True):
    """One series with its limits."""

    id: str
    name: Words
    unit: str
    resolution: float | None
    datum: str | None
    group: str | None
    interval_s: float | None
    limits: list[LimitItem]


class StationItem(msgspec.Struct, frozen=True):
    """One station with its series."""

    id: str
    name: Words
    commune: str
    lat: float
    lon: float
    series: list[SeriesItem]


class GroupItem(msgspec.Struct, frozen=True):
    """One tile of the wall."""

    id: str
    name: Words


class InstanceItem(msgspec.Struct, frozen=True):
    """What this instance is, whose, and for which part of the world."""

    name: Words
    organisation: Words
    simulated: bool
    clock: str
    version: str
    timezone: str
    groups: list[GroupItem]
    trends: list[str]


class PointItem(msgspec.Struct, frozen=True):
    """The newest state of one series; `t` and `value` are null while nothing is known."""

    series: str
    t: int | None
    value: float | None
    flags: int
    age_known: bool
    state: str
    priority: int


class HistoryItem(msgspec.Struct, frozen=True):
    """How the projection into PostgreSQL fares: `ok`, `lagging`, `down` or `off`."""

    state: str = "off"
    lag_records: int = 0
    lag_s: float = 0.0
    detail: str = ""


class LogItem(msgspec.Struct, frozen=True):
    """How the log fares; `disk_days` is how long the disk lasts at the present rate, null if not known."""

    seq: int = 0
    writable: bool = True
    disk_days: float | None = None
    detail: str = ""


class FeedItem(msgspec.Struct, frozen=True):
    """One source: how it is, and what became of what it sent. `state` and `lag` as in `SourceStatus`."""

    source: str
    kind: str
    connected: bool
    state: str
    lag: int | None
    since: str | None
    detail: str
    rate: float
    accepted: int
    rejected: int
    late: int
    repeats: int
    shed: int
    last_error: str


class CountItem(msgspec.Struct, frozen=True):
    """Alarms of one priority."""

    open: int
    unacked: int


class GroupKpi(msgspec.Struct, frozen=True):
    """One tile's figures; `priority` is that of its worst open alarm, 0 for none."""

    id: str
    live: int
    total: int
    stale: int
    priority: int
    open: int
    unacked: int


class SourceKpi(msgspec.Struct, frozen=True):
    """A feed in one line."""

    source: str
    kind: str
    state: str
    lag: int | None


class KpiItem(msgspec.Struct, frozen=True):
    """The figures of header, tiles and footer."""

    counts: dict[str, CountItem]
    open: int
    unacked: int
    returned: int
    feeds_live: int
    feeds_total: int
    rate: float
    alarms_24h: int
    ack_mean_s: float | None
    groups: list[GroupKpi]
    log: LogItem
    history: HistoryItem
    mqtt: str
    sources: list[SourceKpi]
    screens: int
    officers: list[str]


class QuarantineItem(msgspec.Struct, frozen=True):
    """One payload that could not be taken; `length` is its full length, the payload here may be cut."""

    number: int
    source: str
    topic: str
    reason: str
    detail: str
    item: int
    received_at: str
    payload_text: str | None
    payload_base64: str
    length: int
    reinjected: bool


class Filter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which part of a topic a screen wants. `min_priority` 2 means priorities 1 and 2; it concerns alarms only."""

    domain: Annotated[str, msgspec.Meta(max_length=32)] | None = None
    station: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    min_priority: Annotated[int, msgspec.Meta(ge=1, le=4)] | None = None


class Since(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a screen stopped."""

    epoch: Annotated[str, msgspec.Meta(max_length=64)]
    seq: Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]


TOPICS: Final = ("alarms", "points", "feeds", "kpi")
HZ_LEAST, HZ_MOST = 0.01, 60
Id = Annotated[int, msgspec.Meta(ge=0, le=1 << 31)]


class Auth(msgspec.Struct, frozen=True, tag_field="type", tag="auth", forbid_unknown_fields=True):
    """The token of a screen without a session."""

    token: Annotated[str, msgspec.Meta(max_length=256)]


class Sub(msgspec.Struct, frozen=True, tag_field="type", tag="sub", forbid_unknown_fields=True):
    """A screen wants a topic."""

    id: Id
    topic: str
    filter: Filter | None = None
    since: Since | None = None
    max_hz: Annotated[float, msgspec.Meta(ge=0, le=HZ_MOST)] | None = None


class Unsub(msgspec.Struct, frozen=True, tag_field="type", tag="unsub", forbid_unknown_fields=True):
    """A screen no longer wants it."""

    id: Id


class Ack(msgspec.Struct, frozen=True, tag_field="type", tag="ack", forbid_unknown_fields=True):
    """A screen has drawn the frame with this seq."""

    seq: Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]


class Ping(msgspec.Struct, frozen=True, tag_field="type", tag="ping"):
    """A screen lives."""


ClientMessage = Auth | Sub | Unsub | Ack | Ping
_CLIENT: msgspec.json.Decoder[ClientMessage] = msgspec.json.Decoder(ClientMessage)


def client_message(text: str) -> ClientMessage:
    """One message of a screen. Raises ValueError with the reason if it is none of ours."""
    try:
        message = _CLIENT.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(str(error)) from error
    if isinstance(message, Sub) and message.topic not in TOPICS:
        raise ValueError(f"no topic {message.topic!r}; topics are {', '.join(TOPICS)}")
    # A pace of 5e-324 Hz has no interval in numbers.
    if isinstance(message, Sub) and message.max_hz and message.max_hz < HZ_LEAST:
        raise ValueError(f"max_hz must be 0 (no bound) or {HZ_LEAST} to {HZ_MOST}")
    return message
