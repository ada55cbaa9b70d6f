"""`loadgen.c` for machines without a compiler: the same options, the same lines, the same readings, far slower."""

from __future__ import annotations

import argparse
import json
import select
import socket
import struct
import sys
import time
from pathlib import Path
from typing import Any, BinaryIO

ALERT_FROM = 100_000_000
CHUNK = 64 * 1024


class Generator:
    """One link, to a broker or from a subscriber, and the readings that go over it."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given = given
        self.listener = socket.create_server((given.host, given.port)) if given.mode == "source" else None
        self.sent_file: BinaryIO | None = (
            Path(given.sent).open("ab") if given.sent else None  # noqa: SIM115
        )
        self.link: socket.socket | None = None
        self.subscribed = False
        self.rest = b""
        self.number = self.alerts = self.published = self.acked = 0
        width = max(3, len(str(given.series - 1)))
        self.heads = [self._head(f"ioc/v1/energy/s{i:0{width}d}/kw".encode()) for i in range(given.series)]
        self.last_ms = [0] * given.series

    def _head(self, topic: bytes) -> bytes:
        rest = 2 + len(topic) + 2 * self.given.qos + self.given.payload
        size = b""
        while True:
            rest, low = rest >> 7, rest & 127
            size += bytes([low | (128 if rest else 0)])
            if not rest:
                break
        return bytes([0x32 if self.given.qos else 0x30]) + size + struct.pack(">H", len(topic)) + topic

    def frame(self, now_ns: int) -> bytes:
        """The next reading."""
        turn, i = divmod(self.number, self.given.series)
        self.last_ms[i] = ms = max(time.time_ns() // 1_000_000, self.last_ms[i] + 1)
        every = self.given.cross_every
        if (i + 37 * turn) % every == every - 1:
            value = str(ALERT_FROM + self.alerts)
            if self.sent_file:
                self.sent_file.write(struct.pack("=qq", ALERT_FROM + self.alerts, now_ns))
            self.alerts += 1
        else:
            value = f"{20 + (i * 7 + turn * 3) % 1000 / 100:.2f}"
        identity = struct.pack(">H", self.published % 65535 + 1) if self.given.qos else b""
        body = f'{{"t": {ms}, "v": {value:9}, "q": "good"'.ljust(self.given.payload - 1) + "}"
        self.number += 1
        self.published += 1
        return self.heads[i] + identity + body.encode()

    def meet(self) -> None:
        """Connect, or take a subscriber; returns once readings may go."""
        if self.listener is not None:
            self.link, _ = self.listener.accept()
        else:
            self.link = socket.create_connection((self.given.host, self.given.port))
            self.link.sendall(b"\x10\x14\x00\x04MQTT\x04\x02\x00\x00\x00\x08ioc-load")
        self.link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while self.link and not self.subscribed:
            self.receive(1.0)

    def receive(self, wait_s: float) -> None:
        """Take what the other side says within that time."""
        assert self.link is not None
        if not select.select([self.link], [], [], wait_s)[0]:
            return
        got = self.link.recv(CHUNK)
        if not got:
            self.link, self.subscribed, self.rest, self.acked = None, False, b"", self.published
            return
        data, at = self.rest + got, 0
        while len(data) - at >= 2:
            size, shift, body = 0, 0, at + 1
            while body < len(data):
                size |= (data[body] & 127) << shift
                shift, body = shift + 7, body + 1
                if data[body - 1] < 128:
                    break
            else:
                break
            if body + size > len(data):
                break
            self.take(data[at], data[body : body + size])
            at = body + size
        self.rest = data[at:]

    def take(self, first: int, body: bytes) -> None:
        """One packet."""
        assert self.link is not None
        kind = first >> 4
        if kind == 1:
            self.link.sendall(b"\x20\x02\x00\x00" if body[6] == 4 else b"\x20\x02\x00\x01")
        elif kind == 2:
            self.subscribed = True
        elif kind == 3 and first & 2:
            at = 2 + int.from_bytes(body[:2], "big")
            self.link.sendall(b"\x40\x02" + body[at : at + 2])
        elif kind == 4:
            self.acked += 1
        elif kind == 8:
            filters, at = 0, 2
            while at + 2 < len(body):
                filters, at = filters + 1, at + 3 + int.from_bytes(body[at : at + 2], "big")
            self.link.sendall(bytes([0x90, 2 + filters]) + body[:2] + bytes([self.given.qos]) * filters)
            self.subscribed = True
        elif kind == 12:
            self.link.sendall(b"\xd0\x00")

    def go(self, rate: float, count: int) -> dict[str, Any]:
        """Send `count` readings; how it went."""
        begun, wall_us = time.monotonic_ns(), time.time_ns() // 1_000
        done, worst_lag, acked, alerts = 0, 0, self.acked, self.alerts
        while done < count and self.link is not None:
            now = time.monotonic_ns()
            due = min(count - done, 400)
            if rate:
                deadline = begun + int(done / rate * 1e9)
                if deadline > now:
                    time.sleep(max(deadline - now, self.given.burst_us * 1_000) / 1e9)
                    now = time.monotonic_ns()
                worst_lag = max(worst_lag, now - deadline)
                due = min(due, int((now - begun) / 1e9 * rate) + 1 - done)
            if self.given.qos:
                due = min(due, self.given.window - (self.published - self.acked))
                self.receive(0 if due > 0 else 1.0)
            if due > 0 and self.link is not None:
                try:
                    self.link.sendall(b"".join(self.frame(now) for _ in range(due)))
                except OSError:
                    self.link = None
                done += due
        seconds = (time.monotonic_ns() - begun) / 1e9
        while self.given.qos and self.link is not None and self.acked < self.published:
            self.receive(1.0)
        ended = time.monotonic_ns()
        if self.sent_file:
            self.sent_file.flush()
        return {
            "generator": "python", "sent": done, "seconds": seconds,
            "rate": done / seconds, "worst_lag_ms": worst_lag / 1e6, "acked": self.acked - acked,
            "alerts": self.alerts - alerts, "begun_ns": begun, "ended_ns": ended, "begun_wall_us": wall_us,
            "frame_bytes": len(self.heads[0]) + 2 * self.given.qos + self.given.payload,
            "broken": self.link is None,
        }  # fmt: skip


def main() -> None:
    """Obey the lines of stdin."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mode", choices=("publish", "source"))
    parser.add_argument("--host", default="127.0.0.1")
    for name, default in (
        ("port", 0), ("qos", 0), ("series", 1000), ("payload", 121), ("cross-every", 100), ("window", 2000), ("burst-us", 200),
    ):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--sent", default="")
    generator = Generator(parser.parse_args())
    while generator.link is None:
        generator.meet()
    print("ready", flush=True)
    while True:
        waiting = [sys.stdin, *filter(None, (generator.link,))]
        ready = select.select(waiting, [], [])[0]
        if generator.link in ready:
            generator.receive(0)
        if sys.stdin in ready:
            line = sys.stdin.readline()
            if not line:
                return
            _, rate, count = line.split()
            while generator.link is None:
                generator.meet()
            print(json.dumps(generator.go(float(rate), int(count))), flush=True)


if __name__ == "__main__":
    main()
