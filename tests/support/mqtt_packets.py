"""MQTT packets as a broker writes them, and a plain reader of them, byte by byte, to hold the fast one against."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

CONNACK = {"3.1.1": b"\x20\x02\x00\x00", "5": b"\x20\x03\x00\x00\x00"}
PINGRESP = b"\xd0\x00"


def number(value: int) -> bytes:
    """A variable byte integer."""
    out = bytearray()
    while True:
        value, low = divmod(value, 128)
        out.append(low | (0x80 if value else 0))
        if not value:
            return bytes(out)


def packet(head: int, body: bytes) -> bytes:
    return bytes([head]) + number(len(body)) + body


def publish(
    topic: bytes,
    payload: bytes,
    *,
    qos: int = 0,
    mid: int = 1,
    flags: int = 0,
    properties: bytes | None = None,
) -> bytes:
    """`properties` without their length; None where MQTT 3.1.1 is spoken. `flags`: 8 a repeat, 1 retained."""
    body = len(topic).to_bytes(2, "big") + topic
    if qos:
        body += mid.to_bytes(2, "big")
    if properties is not None:
        body += number(len(properties)) + properties
    return packet(0x30 | qos << 1 | flags, body + payload)


def suback(subscribe: bytes, protocol: str, code: int = 1) -> bytes:
    """The answer to one SUBSCRIBE, whose bytes are given, of one topic."""
    mid = subscribe[2:4]
    return packet(0x90, mid + (b"\x00" if protocol == "5" else b"") + bytes([code]))


class Malformed(Exception):
    """What the plain reader makes of a packet that MQTT forbids."""


@dataclass
class Read:
    """What a stream held, for comparison."""

    messages: list[tuple[bytes, bytes, int]] = field(default_factory=list)
    mids: list[bytes] = field(default_factory=list)
    others: bytes = b""
    faulty: bool = False


def read(stream: bytes, packet_bytes_max: int, v5: bool, alias_max: int) -> Read:
    """The plain reader: one packet after the other, one byte after the other, each rule as MQTT words it."""
    out = Read()
    aliases: dict[int, bytes] = {}
    position = 0
    while position < len(stream):
        try:
            taken = _packet(stream[position:], packet_bytes_max, v5, alias_max, aliases, out)
        except Malformed:
            out.faulty = True
            return out
        if not taken:
            return out
        position += taken
    return out


class _Bytes:
    """What is left of a packet."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def take(self, count: int) -> bytes:
        if count > len(self.data):
            raise Malformed
        taken, self.data = self.data[:count], self.data[count:]
        return taken

    def take_int(self, width: int) -> int:
        return int.from_bytes(self.take(width), "big")

    def take_number(self) -> int:
        value = 0
        for place in range(4):
            byte = self.take_int(1)
            value += (byte % 128) * 128**place
            if byte < 128:
                if place > 0 and byte == 0:
                    raise Malformed
                return value
        raise Malformed

    def take_text(self) -> str:
        try:
            text = self.take(self.take_int(2)).decode()
        except UnicodeDecodeError:
            raise Malformed from None
        if "\0" in text:
            raise Malformed
        return text


def _length(data: bytes) -> Iterator[int]:
    """The remaining length and where it ends, or nothing if it is not all there."""
    value = 0
    for place in range(4):
        if 1 + place >= len(data):
            return
        byte = data[1 + place]
        value += (byte % 128) * 128**place
        if byte < 128:
            if place > 0 and byte == 0:
                raise Malformed
            yield value
            yield 2 + place
            return
    raise Malformed


def _packet(
    data: bytes, packet_bytes_max: int, v5: bool, alias_max: int, aliases: dict[int, bytes], out: Read
) -> int:
    """How many bytes the first packet has, 0 if it is not all there."""
    head = data[0]
    kind, qos = head >> 4, (head >> 1) & 3
    if kind == 3:
        if qos == 3 or (head & 8 and qos == 0):
            raise Malformed
    elif head not in [0x20, 0x40, 0x50, 0x62, 0x70, 0x90, 0xB0, 0xD0] + [0xE0] * v5:
        raise Malformed
    length = list(_length(data))
    if not length:
        return 0
    remaining, start = length
    if start + remaining > packet_bytes_max:
        raise Malformed
    if start + remaining > len(data):
        return 0
    whole = data[: start + remaining]
    if kind != 3:
        out.others += whole
        return len(whole)
    body = _Bytes(whole[start:])
    topic = body.take(body.take_int(2))
    mid = body.take(2) if qos else b""
    if mid == b"\0\0":
        raise Malformed
    alias = _alias(_Bytes(body.take(body.take_number()))) if v5 else None
    if alias is not None and not 1 <= alias <= alias_max:
        raise Malformed
    if topic == b"" and alias is not None:
        if alias not in aliases or qos == 2:
            raise Malformed
        topic = aliases[alias]
    try:
        text = topic.decode()
    except UnicodeDecodeError:
        raise Malformed from None
    if not text or any(forbidden in text for forbidden in "+#\0"):
        raise Malformed
    if alias is not None:
        aliases[alias] = topic
    if qos == 2:
        out.others += whole
        return len(whole)
    out.messages.append((topic, body.data, head))
    if qos:
        out.mids.append(mid)
    return len(whole)


def _alias(properties: _Bytes) -> int | None:
    found: dict[int, int] = {}
    while properties.data:
        name = properties.take_int(1)
        if name in found and name not in (11, 38):
            raise Malformed
        found[name] = 0
        match name:
            case 1:
                if properties.take_int(1) > 1:
                    raise Malformed
            case 2:
                properties.take(4)
            case 3 | 8:
                properties.take_text()
            case 9:
                properties.take(properties.take_int(2))
            case 11:
                if properties.take_number() == 0:
                    raise Malformed
            case 35:
                found[name] = properties.take_int(2)
            case 38:
                properties.take_text()
                properties.take_text()
            case _:
                raise Malformed
    return found.get(35)
