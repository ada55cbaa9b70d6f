"""A bare coalesced frame parser: as little as a subscriber in Python can do. A process of its own.

    bare.py PORT QOS

Subscribes to ioc/v1/#, cuts PUBLISH frames out of reads of 256 KiB, counts them and answers a read's QoS 1 frames with
one write; reads again after a millisecond when a read brought eight and more. Looks into no topic and no payload.
Says "ready"; answers "count" with the number so far, and "report" with JSON and counts anew: count, first_ns and last_ns (CLOCK_MONOTONIC), cpu_s.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

READ = 256 * 1024
MANY = 8
PAUSE_S = 0.001


class Parser(asyncio.BufferedProtocol):
    """One connection to a broker."""

    def __init__(self, qos: int) -> None:
        self.qos = qos
        self.count = self.first_ns = self.last_ns = 0
        self.subscribed = asyncio.Event()
        self.gone = asyncio.get_running_loop().create_future()
        self._data = bytearray(READ)
        self._view = memoryview(self._data)
        self._kept = 0
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        """Say who we are and what we want, at once."""
        self._transport = transport
        transport.write(b"\x10\x14\x00\x04MQTT\x04\x02\x00\x00\x00\x08ioc-bare")
        transport.write(b"\x82\x0d\x00\x01\x00\x08ioc/v1/#" + bytes([self.qos]))

    def connection_lost(self, error: Exception | None) -> None:
        """The broker has gone."""
        self.gone.set_result(None)

    def get_buffer(self, size_hint: int) -> memoryview:
        """The room behind what is not yet a whole frame."""
        return self._view[self._kept :]

    def buffer_updated(self, size: int) -> None:
        """Cut and count."""
        end = self._kept + size
        before = self.count
        at = self._cut(end)
        self._kept = end - at
        self._data[: self._kept] = self._data[at:end]
        if self.count == before:
            return
        self.last_ns = time.monotonic_ns()
        self.first_ns = self.first_ns or self.last_ns
        if self.count - before >= MANY and end < READ:
            self._transport.pause_reading()
            asyncio.get_running_loop().call_later(PAUSE_S, self._transport.resume_reading)

    def _cut(self, end: int) -> int:
        data, at, count, acks = self._data, 0, self.count, []
        while end - at >= 4:
            low = data[at + 1]
            if low < 128:
                body, size = at + 2, low
            elif (middle := data[at + 2]) < 128:
                body, size = at + 3, (low & 127) | middle << 7
            else:
                body, size = at + 4, (low & 127) | (middle & 127) << 7 | data[at + 3] << 14
            after = body + size
            if after > end:
                break
            first = data[at]
            at = after
            if first == 0x30:
                count += 1
            elif first == 0x32:
                count += 1
                identity = body + 2 + (data[body] << 8 | data[body + 1])
                acks.append(data[identity : identity + 2])
            elif first == 0x90:
                self.subscribed.set()
        self.count = count
        if acks:
            self._transport.write(b"\x40\x02" + b"\x40\x02".join(acks))
        return at

    def report(self) -> dict[str, Any]:
        """The figures so far; counts anew."""
        out = {
            "count": self.count, "first_ns": self.first_ns, "last_ns": self.last_ns, "cpu_s": time.process_time()
        }  # fmt: skip
        self.count = self.first_ns = self.last_ns = 0
        return out


async def main() -> None:
    """Serve stdin."""
    loop = asyncio.get_running_loop()
    _, parser = await loop.create_connection(lambda: Parser(int(sys.argv[2])), "127.0.0.1", int(sys.argv[1]))
    await parser.subscribed.wait()
    print("ready", flush=True)
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while (line := await lines.readline()).strip():
        if line.strip() == b"count":
            print(parser.count, flush=True)
        else:
            print(json.dumps(parser.report()), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
