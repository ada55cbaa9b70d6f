"""Messages → raw rows, events and `Rejected`. Pure; told the bytes, the receive time and which series there are."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ioc.ingest.codecs import event, native, plain, readings
from ioc.ingest.codecs.native import TIME_MAX_US, TIME_MIN_US
from ioc.ingest.codecs.readings import Unreadable
from ioc.model.batch import I32, Batch, Flag
from ioc.model.event import Event
from ioc.model.inputs import PAYLOAD_KEPT_BYTES, Message, Reason, Rejected
from ioc.registry import ID, RESERVED_QUANTITIES

__all__ = ["FAULTS_MAX", "Decoded", "Decoder", "Items", "Unreadable", "rejection"]

FAULTS_MAX = 20
"""How many items of one payload are told one by one; the rest is counted."""
DETAIL_MAX = 400
SERIES_ID_MAX = 120
BLOCK = 2048
"""So many messages at once: what they hold stays in the processor's cache."""
ODD_PART = 24
"""Where more than one message in so many is not plain, and for fewer messages than these, rows are cheaper than arrays."""

TOPIC_PREFIX = "ioc/v1/"
_PREFIX = TOPIC_PREFIX.encode()
_TOPIC = re.compile(r"ioc/v1/(environment|disaster|energy)/([a-z0-9_]+)(?:/([a-z0-9_]+))?", re.ASCII)
_EVENT = re.compile(
    r"ioc/v1/(environment|disaster|energy)/([a-z0-9_]{1,64})/event/([a-z0-9_]{1,64})", re.ASCII
)
_STATION = re.compile(rb"ioc/v1/((?:environment|disaster|energy)/[a-z0-9_]+)")
_SERIES = re.compile(r"(?:environment|disaster|energy)/[a-z0-9_]+/([a-z0-9_]+)", re.ASCII)
_RETAINED, _NO_STAMP = int(Flag.RETAINED), int(Flag.NO_STAMP)
_SENSOR = np.uint16(Flag.UNCERTAIN | Flag.BAD)


@dataclass(slots=True)
class Decoded:
    """What some messages held: raw rows (order has not judged them yet) as columns, events, and what was rejected.

    The lists hold the latest rows; those before them may have become a part of arrays already.
    """

    series: list[int] = field(default_factory=list)
    event_us: list[int] = field(default_factory=list)
    """0 where the sample bore no time; NO_STAMP is set then."""
    received_us: list[int] = field(default_factory=list)
    value: list[float] = field(default_factory=list)
    flags: list[int] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    parts: list[Batch] = field(default_factory=list)
    """Rows before those of the lists, in order."""

    def __len__(self) -> int:
        return sum(map(len, self.parts)) + len(self.series)

    def append(self, series: int, event_us: int, received_us: int, value: float, flags: int) -> None:
        """One row."""
        self.series.append(series)
        self.event_us.append(event_us)
        self.received_us.append(received_us)
        self.value.append(value)
        self.flags.append(flags)

    def extend(self, rows: Batch) -> None:
        """Rows as columns."""
        if len(rows):
            self._close(rows.source)
            self.parts.append(rows)

    def batch(self, source: str) -> Batch | None:
        """All rows as a raw batch, or None if there are none."""
        self._close(source)
        return Batch.concat(self.parts) if self.parts else None

    def _close(self, source: str) -> None:
        if self.series:
            columns = (self.series, self.event_us, self.received_us, self.value, self.flags)
            self.parts.append(Batch.of(source, *columns))
            self.series, self.event_us, self.received_us, self.value, self.flags = [], [], [], [], []


@dataclass(slots=True)
class Items:
    """What became of the items of one body: how many were taken; index, reason and detail of each that was not."""

    accepted: int = 0
    rejected: list[tuple[int, Reason, str]] = field(default_factory=list)


class _Topics(dict[bytes, int]):
    """Topics of known series → their numbers; −1 for any other, which is looked at anew each time.

    A series keeps its number for ever and has one topic, so that this never holds more than there are series.
    """

    def __init__(self, numbers: Mapping[str, int]) -> None:
        super().__init__()
        self._numbers = numbers

    def __missing__(self, topic: bytes) -> int:
        if topic.count(b"/") != 4:
            return -1
        series_id = topic.removeprefix(_PREFIX).decode("utf-8", "replace")
        number = self._numbers.get(series_id)
        if number is None or not topic.startswith(_PREFIX) or not _SERIES.fullmatch(series_id):
            return -1
        self[topic] = number
        return number


class Decoder:
    """Decodes messages of the native convention.

    `numbers` maps series ids to their numbers and may grow; `register` gives a number to an unknown id, or is None
    where series are not registered automatically.

    There are two ways through it: the careful one (`native`), which judges and has words for what it refuses, and the
    fast one (`plain`), which takes what is plain and hands everything else to the careful one. Both give the same rows.
    """

    def __init__(
        self,
        numbers: Mapping[str, int],
        payload_bytes_max: int,
        register: Callable[[str], int | None] | None = None,
    ) -> None:
        self._numbers = numbers
        self._payload_bytes_max = payload_bytes_max
        self._register = register
        self._topics = _Topics(numbers)
        self._stations: dict[bytes, str] = {}
        """Topics of stations with known series → what their series ids begin with."""

    def feed(self, message: Message, out: Decoded, only_item: int | None = None) -> None:
        """Decode one message into `out`, with care; of an array only one item, if told so. Never raises."""
        payload = message.payload
        match = _TOPIC.fullmatch(message.topic) or _EVENT.fullmatch(message.topic)
        if match is None:
            wrong = "the topic is not ioc/v1/{domain}/{station}[/{quantity}], nor …/{station}/event/{kind}"
            out.rejected.append(rejection(message, Reason.TOPIC, wrong))
            return
        if len(payload) > self._payload_bytes_max:
            out.rejected.append(rejection(message, Reason.TOO_LARGE, self._too_large(payload)))
            return
        domain, station, quantity = match.groups()
        if match.re is _EVENT:
            said = event.decode(payload)
            if isinstance(said, native.Fault):
                out.rejected.append(rejection(message, said.reason, said.detail))
                return
            what = (message.source, domain, station, quantity, said.id, said.revision)
            out.events.append(Event(*what, said.start_us, said.end_us, message.received_us, said.facts))
            return
        retained = _RETAINED if message.retained else 0
        faults = 0
        for part in native.decode(payload, quantity, only_item):
            series_id, number = "", None
            if isinstance(part, native.Item):
                series_id = f"{domain}/{station}/{part.quantity}"
                number = self._numbers.get(series_id)
                if number is None:
                    number = self._unknown(series_id, part.quantity)
                if number is None:
                    faults += 1
                    if faults <= FAULTS_MAX:
                        out.rejected.append(_unknown_series(message, series_id, part))
                    continue
            if isinstance(part, native.Fault):
                faults += 1
                if faults <= FAULTS_MAX:
                    out.rejected.append(rejection(message, part.reason, part.detail, part.index))
                continue
            assert number is not None
            flags = part.quality | retained | (_NO_STAMP if part.event_us is None else 0)
            out.append(number, part.event_us or 0, message.received_us, part.value, flags)
        _count_rest(message, faults, out)

    def feed_frames(
        self,
        source: str,
        topics: Sequence[bytes],
        payloads: Sequence[bytes],
        heads: Sequence[int],
        received_us: int,
        out: Decoded,
    ) -> None:
        """Decode messages of one receive time: what `feed` would make of them one by one, in their order.

        The sequences are aligned; of `heads`, the first bytes of PUBLISH packets, bit 0 (retained) counts. A topic that
        is not UTF-8 is rejected with its bytes spelled out. Never raises.
        """
        for at in range(0, len(topics), BLOCK):
            block = slice(at, at + BLOCK)
            self._block(source, topics[block], payloads[block], heads[block], received_us, out)

    def feed_readings(
        self,
        source: str,
        body: bytes,
        ndjson: bool,
        received_us: int,
        out: Decoded,
        allowed: Callable[[str], bool] | None = None,
    ) -> Items:
        """Decode items `{"series", "t", "v", "q"}`: one, an array or NDJSON of them. The good ones are kept.

        `allowed` says which series ids may be written. Every item that is refused is in `Items.rejected`; `out` tells
        the first FAULTS_MAX with the bytes of each, and counts the rest. Raises Unreadable, and then nothing was taken,
        for a body that is empty, too long or (unless NDJSON, where an unreadable line is one rejected item) not JSON.
        """
        items = Items()
        for index, part in enumerate(readings.split(body, ndjson=ndjson)):
            name, row = self._named(part, allowed)
            if isinstance(row, native.Fault):
                items.rejected.append((index, row.reason, row.detail[:DETAIL_MAX]))
                if len(items.rejected) <= FAULTS_MAX:
                    message = Message(source, name[:SERIES_ID_MAX], part, received_us)
                    out.rejected.append(rejection(message, row.reason, row.detail, index))
            else:
                number, event_us, value, quality = row
                items.accepted += 1
                out.append(number, event_us, received_us, value, quality | (0 if event_us else _NO_STAMP))
        _count_rest(Message(source, "", body, received_us), len(items.rejected), out)
        return items

    def feed_columnar(
        self, source: str, series_ids: Sequence[str], batch: Batch, received_us: int, out: Decoded
    ) -> None:
        """Take columns as they are: `batch.series` holds indices into `series_ids`, `event_us` 0 stands for no time.

        Of the flags only the sensor's count. Rows that cannot be taken are rejected with their index and themselves as
        an item of `feed_readings`, the first FAULTS_MAX one by one. Never raises.
        """
        index, event_us = batch.series, batch.event_us
        named = (index >= 0) & (index < len(series_ids))
        timed = event_us != 0
        sound = np.isfinite(batch.value) & (~timed | (event_us >= TIME_MIN_US) & (event_us < TIME_MAX_US))
        series = np.full(len(batch), -1, np.int32)
        series[named] = self._table(series_ids, index[named & sound])[index[named]]
        taken = sound & (series >= 0)
        flags = (batch.flags & _SENSOR) | np.where(timed, 0, _NO_STAMP).astype(np.uint16)
        received = np.full(len(batch), received_us, np.int64)
        rows = Batch.of(source, series, event_us, received, batch.value, flags)
        wrong = np.flatnonzero(~taken)
        out.extend(rows.take(taken) if len(wrong) else rows)
        for row in wrong[:FAULTS_MAX].tolist():
            name = series_ids[index[row]] if named[row] else ""
            if not named[row]:
                why = Reason.UNKNOWN_SERIES, f"series {index[row]} of {len(series_ids)}"
            elif not np.isfinite(batch.value[row]):
                why = Reason.NOT_FINITE, f"{batch.value[row]} is not a number that can be measured"
            elif not sound[row]:
                why = Reason.BAD_TIME, f"t is outside 1990 to 2099: {event_us[row] / 1_000}"
            else:
                why = Reason.UNKNOWN_SERIES, f"no series {name:.120}"
            message = Message(source, name[:SERIES_ID_MAX], _as_item(name, batch, row), received_us)
            out.rejected.append(rejection(message, *why, row))
        _count_rest(Message(source, "", b"", received_us), len(wrong), out)

    def _block(
        self,
        source: str,
        topics: Sequence[bytes],
        payloads: Sequence[bytes],
        heads: Sequence[int],
        received_us: int,
        out: Decoded,
    ) -> None:
        n = len(topics)
        few = n // ODD_PART
        if few:
            rows, odd = self._columns(source, topics, payloads, heads, received_us)
            if len(odd) <= few:
                at = 0
                for row in odd:
                    out.extend(rows.take(slice(at, row)))
                    self._frame(source, topics[row], payloads[row], heads[row], received_us, out)
                    at = row + 1
                out.extend(rows.take(slice(at, n)))
                return
        for frame in zip(topics, payloads, heads, strict=True):
            self._frame(source, *frame, received_us, out)

    def _columns(
        self,
        source: str,
        topics: Sequence[bytes],
        payloads: Sequence[bytes],
        heads: Sequence[int],
        received_us: int,
    ) -> tuple[Batch, list[int]]:
        """One row a message, and which of them mean nothing since `_frame` must look at the message."""
        n = len(topics)
        series = np.fromiter(map(self._topics.__getitem__, topics), np.int32, n)
        unknown = series < 0
        if np.count_nonzero(unknown) > n // ODD_PART:
            # So many for `_frame` that the payloads need not be read here too.
            return Batch.of(source, [], [], [], []), np.flatnonzero(unknown).tolist()
        held = plain.columns(payloads, self._payload_bytes_max)
        retained = np.frombuffer(bytes(heads), np.uint8) & 1
        flags = held.quality | retained * np.uint16(_RETAINED) | (held.event_us == 0) * np.uint16(_NO_STAMP)
        received = np.full(n, received_us, np.int64)
        rows = Batch.of(source, series, held.event_us, received, held.value, flags)
        return rows, np.flatnonzero(held.odd | unknown).tolist()

    def _frame(
        self, source: str, topic: bytes, payload: bytes, head: int, received_us: int, out: Decoded
    ) -> None:
        retained = _RETAINED if head & 1 else 0
        if len(payload) <= self._payload_bytes_max:
            number = self._topics[topic]
            if number < 0:
                if self._station(topic, payload, retained, received_us, out):
                    return
            elif (rows := plain.rows(payload)) is not None:
                for event_us, value, quality in rows:
                    flags = quality | retained | (0 if event_us else _NO_STAMP)
                    out.append(number, event_us, received_us, value, flags)
                return
        name = topic.decode("utf-8", "backslashreplace")
        self.feed(Message(source, name, payload, received_us, bool(retained)), out)

    def _station(self, topic: bytes, payload: bytes, retained: int, received_us: int, out: Decoded) -> bool:
        """Take a plain payload under a station's topic if all its series are known."""
        station = self._stations.get(topic)
        if station is None:
            match = _STATION.fullmatch(topic)
            if match is None:
                return False
            station = match[1].decode() + "/"
        found = plain.several(payload)
        if found is None:
            return False
        event_us, values, quality = found
        numbers = [self._numbers.get(station + quantity) for quantity in values]
        if None in numbers:
            return False
        self._stations[topic] = station
        flags = quality | retained | (0 if event_us else _NO_STAMP)
        for number, value in zip(numbers, values.values(), strict=True):
            assert number is not None
            out.append(number, event_us, received_us, value, flags)
        return True

    def _named(
        self, part: bytes, allowed: Callable[[str], bool] | None
    ) -> tuple[str, tuple[int, int, float, int] | native.Fault]:
        """The series of an item of `feed_readings`; its number, time, value and quality, or why not."""
        if len(part) > self._payload_bytes_max:
            return "", native.Fault(Reason.TOO_LARGE, self._too_large(part))
        found = plain.named(part)
        if found is not None:
            name, (event_us, value, quality) = found
        else:
            name, item = native.named(part)
            if isinstance(item, native.Fault):
                return name, item
            event_us, value, quality = item.event_us or 0, item.value, item.quality
        if allowed is not None and not allowed(name):
            return name, native.Fault(
                Reason.NOT_ALLOWED, f"{name:.120} is not among what this sender may write"
            )
        number = self._number(name)
        if number is None:
            return name, native.Fault(Reason.UNKNOWN_SERIES, f"no series {name:.120}")
        return name, (number, event_us, value, quality)

    def _table(self, series_ids: Sequence[str], used: I32) -> I32:
        """The numbers of those `series_ids` whose indices are used; −1 elsewhere."""
        table = np.full(len(series_ids), -1, np.int32)
        wanted = np.zeros(len(series_ids), np.bool_)
        wanted[used] = True
        for at in np.flatnonzero(wanted).tolist():
            number = self._number(series_ids[at])
            if number is not None:
                table[at] = number
        return table

    def _number(self, series_id: str) -> int | None:
        """The number of a series that may be measured, one that registers itself included."""
        number = self._topics[_PREFIX + series_id.encode("utf-8", "backslashreplace")]
        if number >= 0:
            return number
        match = _SERIES.fullmatch(series_id)
        if match is None:
            return None
        # One that is about to be registered, or may be.
        return self._unknown(series_id, match[1])

    def _unknown(self, series_id: str, quantity: str) -> int | None:
        """A number for a series that registers itself, if it may and bears names that a pack could bear."""
        if self._register is None or quantity in RESERVED_QUANTITIES or len(series_id) > SERIES_ID_MAX:
            return None
        if not ID.fullmatch(quantity):
            return None
        return self._register(series_id)

    def _too_large(self, payload: bytes) -> str:
        return f"{len(payload)} bytes, at most {self._payload_bytes_max}"


def _as_item(name: str, batch: Batch, row: int) -> bytes:
    """One row of columns as an item of `feed_readings`."""
    item: dict[str, object] = {"series": name, "v": float(batch.value[row])}
    if batch.event_us[row]:
        item["t"] = int(batch.event_us[row]) / 1_000
    if quality := batch.flags[row] & _SENSOR:
        item["q"] = "bad" if quality & Flag.BAD else "uncertain"
    return json.dumps(item).encode()


def _unknown_series(message: Message, series_id: str, item: native.Item) -> Rejected:
    """One reading of a message, by itself: what else the message holds was taken, or is rejected on its own."""
    if message.topic == f"{TOPIC_PREFIX}{series_id}" and not message.payload.lstrip().startswith(b"["):
        return rejection(message, Reason.UNKNOWN_SERIES, f"no series {series_id:.120}")
    alone: dict[str, object] = {"v": item.value}
    if item.event_us is not None:
        alone["t"] = item.event_us / 1_000
    if item.quality:
        alone["q"] = "bad" if item.quality & Flag.BAD else "uncertain"
    topic, payload = f"{TOPIC_PREFIX}{series_id:.{SERIES_ID_MAX}}", json.dumps(alone).encode()
    own = Message(message.source, topic, payload, message.received_us, message.retained)
    return rejection(own, Reason.UNKNOWN_SERIES, f"no series {series_id:.120}")


def _count_rest(message: Message, faults: int, out: Decoded) -> None:
    if faults > FAULTS_MAX:
        more = f"and {faults - FAULTS_MAX} more items of this payload"
        out.rejected.append(rejection(message, Reason.TOO_MANY_FAULTS, more))


def rejection(message: Message, reason: Reason, detail: str, item: int = -1) -> Rejected:
    """A message, or one item of it, as it goes into the quarantine."""
    kept = (
        message.payload
        if len(message.payload) <= PAYLOAD_KEPT_BYTES
        else message.payload[:PAYLOAD_KEPT_BYTES]
    )
    # JSON can spell halves of surrogate pairs, which no UTF-8 can hold.
    told = detail[:DETAIL_MAX].encode("utf-8", "backslashreplace").decode("utf-8")
    topic = message.topic.encode("utf-8", "backslashreplace").decode("utf-8")
    return Rejected(
        message.source,
        topic,
        reason,
        told,
        message.received_us,
        kept,
        len(message.payload),
        item,
        message.retained,
    )
