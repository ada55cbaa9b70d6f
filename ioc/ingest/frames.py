"""Cuts MQTT packets out of the bytes a broker sends: PUBLISH frames of QoS 0 and 1 in bulk, all else whole.

Pure: told what arrived, it says what that held. The speed lies in `_run`: the first five bytes of a frame (its head,
its length and, below 16 KiB, the length of its topic) look up where everything lies, and the rest is slicing. Whatever
the look-up does not know goes through `_one`, which checks a packet by the book and teaches the look-up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

DISCONNECT_WITH_WILL = 0x04
MALFORMED, PROTOCOL_ERROR = 0x81, 0x82
TOPIC_INVALID, ALIAS_INVALID, TOO_LARGE = 0x90, 0x94, 0x95
"""Reason codes of MQTT 5."""

PUBLISH = 0x30
DISCONNECT = 0xE0
FROM_SERVERS = frozenset((0x20, 0x40, 0x50, 0x62, 0x70, 0x90, 0xB0, 0xD0))
"""The first byte of every other packet that a server sends to a client which asks for no extended authentication."""

KNOWN_MAX = 1 << 17
"""How many topics are remembered as sound."""
KNOWN_TOPIC_BYTES_MAX = 256
LEARNT_MAX = 4096
"""How many header layouts and property blocks are remembered."""

_NO_MID = b"\0\0"


class BadPacket(ValueError):
    """The broker sent what MQTT forbids: nothing after it can be read. `code` is MQTT 5's reason code."""

    def __init__(self, reason: str, code: int = MALFORMED) -> None:
        self.reason = reason
        self.code = code
        super().__init__(reason)


@dataclass(slots=True)
class Cut:
    """What some bytes held. The first three lists are aligned, one entry for each PUBLISH of QoS 0 or 1."""

    topics: list[bytes] = field(default_factory=list)
    """Sound as MQTT has it: UTF-8, no NUL, no wildcard, not empty; aliases resolved."""
    payloads: list[bytes] = field(default_factory=list)
    heads: list[int] = field(default_factory=list)
    """First bytes: 0x30 with 8 for a repeat, 2 for QoS 1 and 1 for retained."""
    mids: list[bytes] = field(default_factory=list)
    """Packet ids of the QoS 1 ones in order, as the two bytes that a PUBACK repeats."""
    others: bytearray = field(default_factory=bytearray)
    """All other packets, whole and in order."""
    fault: BadPacket | None = None
    """What follows is unreadable; everything before it stands above."""


class Cutter:
    """One connection's stream. After a `fault` it is of no more use.

    `alias_max` is the highest topic alias that the broker was allowed, which needs `v5`.
    """

    def __init__(self, packet_bytes_max: int, *, v5: bool = False, alias_max: int = 0) -> None:
        self._max = packet_bytes_max
        self._v5 = v5
        self._run = self._run_v5 if v5 else self._run_v311
        self._alias_max = alias_max
        self._aliases: dict[int, bytes] = {}
        self._tail = bytearray()
        self._need = 0
        """With how many bytes the tail can be looked at again."""
        self._layouts: dict[bytes, tuple[int, int, int, int, bool]] = {}
        """First five bytes → head, and from the frame's start: its end, topic, topic's end; whether a packet id follows."""
        self._known: dict[bytes, bytes] = {}
        """Topics that were found sound, so that each stands in memory once."""
        self._blocks: dict[bytes, int] = {}
        """Properties of less than 128 bytes → topic alias, 0 for none."""

    def feed(self, data: bytes) -> Cut:
        """Take what arrived, cut anywhere; an incomplete packet waits for its rest."""
        cut = Cut()
        if self._tail:
            if len(self._tail) + len(data) < self._need:
                self._tail += data
                return cut
            data = b"".join((self._tail, data))
            self._tail = bytearray()
        at, end, size = 0, 0, len(data)
        try:
            while True:
                at = self._run(data, at, cut)
                end = self._one(data, at, cut)
                if end > size:
                    break
                at = end
        except BadPacket as fault:
            cut.fault = fault
            return cut
        if at < size:
            self._tail += data[at:]
            self._need = end - at
        return cut

    def _run_v311(self, data: bytes, at: int, cut: Cut) -> int:
        """Cut frames as long as nothing about them is new. Where it stopped."""
        topic_to, payload_to = cut.topics.append, cut.payloads.append
        head_to, mid_to = cut.heads.append, cut.mids.append
        layouts, known, size, no_mid = self._layouts, self._known, len(data), _NO_MID
        try:
            while True:
                head, end, topic_at, topic_end, acked = layouts[data[at : at + 5]]
                end += at
                if end > size:
                    return at
                topic_end += at
                topic = known[data[at + topic_at : topic_end]]
                if acked:
                    body = topic_end + 2
                    mid = data[topic_end:body]
                    if mid == no_mid:
                        return at
                    mid_to(mid)
                    payload_to(data[body:end])
                else:
                    payload_to(data[topic_end:end])
                topic_to(topic)
                head_to(head)
                at = end
        except KeyError:
            return at

    def _run_v5(self, data: bytes, at: int, cut: Cut) -> int:
        """The same with properties before the payload."""
        topic_to, payload_to = cut.topics.append, cut.payloads.append
        head_to, mid_to = cut.heads.append, cut.mids.append
        layouts, known, size, no_mid = self._layouts, self._known, len(data), _NO_MID
        blocks, aliases = self._blocks, self._aliases
        try:
            while True:
                head, end, topic_at, topic_end, acked = layouts[data[at : at + 5]]
                end += at
                if end > size:
                    return at
                topic_end += at
                body = topic_end + 2 if acked else topic_end
                start = body + 1 + data[body]
                # A block is known by its bytes, not by the room that it has in this frame.
                if start > end:
                    return at
                alias = blocks[data[body + 1 : start]]
                if alias and topic_end == at + topic_at:
                    topic = aliases[alias]
                else:
                    topic = known[data[at + topic_at : topic_end]]
                if acked:
                    mid = data[topic_end:body]
                    if mid == no_mid:
                        return at
                    mid_to(mid)
                if alias:
                    aliases[alias] = topic
                topic_to(topic)
                payload_to(data[start:end])
                head_to(head)
                at = end
        except KeyError:
            return at

    def _one(self, data: bytes, at: int, cut: Cut) -> int:
        """Check one packet by the book and take it. Its end, or more than there is if it is not all there."""
        size = len(data)
        if at == size:
            return size + 1
        head = data[at]
        self._check_head(head)
        remaining = 0
        for count in range(4):
            where = at + 1 + count
            if where == size:
                return size + 1
            byte = data[where]
            remaining |= (byte & 0x7F) << (7 * count)
            if byte < 0x80:
                break
        else:
            raise BadPacket("a remaining length of more than four bytes")
        if count and not byte:
            raise BadPacket("a remaining length with needless bytes")
        start = where + 1
        end = start + remaining
        if end - at > self._max:
            raise BadPacket(f"a packet of {end - at} bytes, at most {self._max} are taken", TOO_LARGE)
        if end > size:
            return end
        if head & 0xF0 == PUBLISH:
            self._publish(data, at, start, end, cut)
        else:
            cut.others += data[at:end]
        return end

    def _check_head(self, head: int) -> None:
        if head & 0xF0 == PUBLISH:
            qos = head >> 1 & 3
            if qos == 3:
                raise BadPacket("PUBLISH with QoS 3")
            if head & 8 and not qos:
                raise BadPacket("PUBLISH with QoS 0 that says it is a repeat")
        elif head not in FROM_SERVERS and not (self._v5 and head == DISCONNECT):
            raise BadPacket(f"a packet that begins with 0x{head:02x}, which no broker may send")

    def _publish(self, data: bytes, at: int, start: int, end: int, cut: Cut) -> None:
        head = data[at]
        qos = head >> 1 & 3
        topic_end = start + 2 + int.from_bytes(data[start : start + 2], "big")
        body = topic_end + (2 if qos else 0)
        if body + self._v5 > end:
            raise BadPacket("PUBLISH shorter than its own topic says")
        topic = data[start + 2 : topic_end]
        mid = data[topic_end:body]
        if mid == _NO_MID:
            raise BadPacket("PUBLISH with packet id 0", PROTOCOL_ERROR)
        payload_at, alias = self._properties(data, body, end) if self._v5 else (body, 0)
        if alias and not topic:
            if alias not in self._aliases:
                raise BadPacket(f"topic alias {alias} was never given a topic", PROTOCOL_ERROR)
            if qos == 2:
                raise BadPacket("QoS 2, which was not asked for, by a topic alias", PROTOCOL_ERROR)
            topic = self._aliases[alias]
        else:
            check_topic(topic)
            if len(topic) <= KNOWN_TOPIC_BYTES_MAX:
                if len(self._known) >= KNOWN_MAX:
                    self._known.clear()
                self._known[topic] = topic
            if alias:
                self._aliases[alias] = topic
        if qos == 2:
            cut.others += data[at:end]
            return
        cut.topics.append(topic)
        cut.payloads.append(data[payload_at:end])
        cut.heads.append(head)
        if qos:
            cut.mids.append(mid)
        # Above 16 KiB the first five bytes do not tell the length of the topic.
        if start - at <= 3:
            if len(self._layouts) >= LEARNT_MAX:
                self._layouts.clear()
            layout = (head, end - at, start + 2 - at, topic_end - at, qos > 0)
            self._layouts[data[at : at + 5]] = layout

    def _properties(self, data: bytes, at: int, end: int) -> tuple[int, int]:
        """Where the payload begins, and the topic alias or 0."""
        length, start = _number(data, at, end)
        payload_at = start + length
        if payload_at > end:
            raise BadPacket("properties longer than their packet")
        block = data[start:payload_at]
        alias = self._blocks.get(block)
        if alias is None:
            alias = _alias_of(block)
            if alias > self._alias_max:
                raise BadPacket(f"topic alias {alias}, at most {self._alias_max} were allowed", ALIAS_INVALID)
            if length < 0x80:
                if len(self._blocks) >= LEARNT_MAX:
                    self._blocks.clear()
                self._blocks[block] = alias
        return payload_at, alias


def check_topic(topic: bytes) -> None:
    """Raise BadPacket if no message may bear this topic."""
    if not topic:
        raise BadPacket("PUBLISH without a topic", PROTOCOL_ERROR)
    if b"+" in topic or b"#" in topic:
        raise BadPacket(f"PUBLISH with a wildcard in its topic: {topic[:80]!r}", TOPIC_INVALID)
    _check_text(topic, "the topic")


def _check_text(text: bytes, what: str) -> None:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        raise BadPacket(f"{what} is not UTF-8: {text[:80]!r}") from None
    if 0 in text:
        raise BadPacket(f"{what} holds a NUL: {text[:80]!r}")


# Properties of a PUBLISH


def _alias_of(block: bytes) -> int:
    """Check the properties of one PUBLISH. Its topic alias, 0 for none."""
    alias, at, end = 0, 0, len(block)
    seen: set[int] = set()
    while at < end:
        kind = block[at]
        if kind not in _READERS:
            raise BadPacket(f"PUBLISH with a property {kind}")
        if kind in seen and kind not in _REPEATABLE:
            raise BadPacket(f"PUBLISH with property {kind} twice", PROTOCOL_ERROR)
        seen.add(kind)
        value, at = _READERS[kind](block, at + 1, end)
        if kind == _PAYLOAD_FORMAT and value > 1:
            raise BadPacket(f"PUBLISH with payload format {value}", PROTOCOL_ERROR)
        if kind == _SUBSCRIPTION and not value:
            raise BadPacket("PUBLISH with subscription identifier 0", PROTOCOL_ERROR)
        if kind == _ALIAS:
            if not value:
                raise BadPacket("topic alias 0", ALIAS_INVALID)
            alias = value
    return alias


def _number(data: bytes, at: int, end: int) -> tuple[int, int]:
    """A variable byte integer: its value, and where it ends."""
    value = 0
    for count in range(4):
        if at + count >= end:
            raise BadPacket("PUBLISH that ends within a number")
        byte = data[at + count]
        value |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            if count and not byte:
                raise BadPacket("a number with needless bytes")
            return value, at + count + 1
    raise BadPacket("a number of more than four bytes")


def _fixed(width: int, data: bytes, at: int, end: int) -> tuple[int, int]:
    if at + width > end:
        raise BadPacket("PUBLISH that ends within a property")
    return int.from_bytes(data[at : at + width], "big"), at + width


def _binary(data: bytes, at: int, end: int) -> tuple[int, int]:
    length, start = _fixed(2, data, at, end)
    if start + length > end:
        raise BadPacket("PUBLISH that ends within a property")
    return 0, start + length


def _text(data: bytes, at: int, end: int) -> tuple[int, int]:
    _, after = _binary(data, at, end)
    _check_text(data[at + 2 : after], "a property")
    return 0, after


def _pair(data: bytes, at: int, end: int) -> tuple[int, int]:
    return _text(data, _text(data, at, end)[1], end)


_PAYLOAD_FORMAT, _SUBSCRIPTION, _ALIAS, _USER = 0x01, 0x0B, 0x23, 0x26
_REPEATABLE = frozenset((_SUBSCRIPTION, _USER))
_READERS: dict[int, Callable[[bytes, int, int], tuple[int, int]]] = {
    _PAYLOAD_FORMAT: partial(_fixed, 1),
    0x02: partial(_fixed, 4),  # message expiry
    0x03: _text,  # content type
    0x08: _text,  # response topic
    0x09: _binary,  # correlation data
    _SUBSCRIPTION: _number,
    _ALIAS: partial(_fixed, 2),
    _USER: _pair,
}
