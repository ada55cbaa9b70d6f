"""What a screen sees: a websocket client that notes when the alert with each value came. A process of its own.

    probe.py alarms URL COOKIE   the monitor's alarms with max_hz 0, every frame acknowledged
    probe.py wall URL COOKIE     the wall's own subscriptions, acknowledged; notes nothing
    probe.py bare URL            any socket that sends {"v": …} for each alert

Says "ready" once subscribed, then answers lines: "count" with the alerts so far, "dump FILE" by appending value and
CLOCK_MONOTONIC ns of each (two int64) and forgetting them. Times are taken when the bytes come, before anything is
made of them.
"""

from __future__ import annotations

import array
import json
import select
import socket
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.typing import Origin, Subprotocol
from websockets.uri import parse_uri

ALERT_FROM = 100_000_000
WALL = ({"topic": "alarms"}, {"topic": "kpi", "max_hz": 4}, {"topic": "points", "max_hz": 4})
ALARMS = ({"topic": "alarms", "max_hz": 0},)
PING_EVERY = 20


class Event(msgspec.Struct):
    """One transition, as far as it matters here."""

    value: float | None = None


class Shown(msgspec.Struct):
    """A frame of the monitor."""

    type: str = ""
    seq: int = 0
    events: list[Event] = []


class Passed(msgspec.Struct):
    """The same for who only acknowledges."""

    type: str = ""
    seq: int = 0


class Alert(msgspec.Struct):
    """A message of a peer."""

    v: float


class Probe:
    """One websocket and what has come over it."""

    def __init__(self, mode: str, url: str, cookie: str = "") -> None:
        self.came: dict[int, int] = {}
        self.resyncs = 0
        self._mode = mode
        self._decode: Any = msgspec.json.Decoder(
            {"alarms": Shown, "wall": Passed, "bare": Alert}[mode]
        ).decode
        self._text = b""
        self._beats = 0
        self._snaps = 0
        own = mode != "bare"
        self._protocol = ClientProtocol(
            parse_uri(url), max_size=None,
            origin=Origin(url.replace("ws", "http", 1).rsplit("/ws/", 1)[0]) if own else None,
            subprotocols=[Subprotocol("ioc.v1")] if own else None,
        )  # fmt: skip
        where = parse_uri(url)
        self.socket = socket.create_connection((where.host, where.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        request = self._protocol.connect()
        if cookie:
            request.headers["Cookie"] = f"ioc_session={cookie}"
        self._protocol.send_request(request)
        self._flush()
        self._wanted = {"alarms": ALARMS, "wall": WALL, "bare": ()}[mode]

    @property
    def ready(self) -> bool:
        """Whether everything that was asked for has begun."""
        return self._snaps == len(self._wanted) if self._wanted else self._protocol.state.name == "OPEN"

    def receive(self) -> None:
        """Take what has come."""
        data = self.socket.recv(1 << 20)
        now = time.monotonic_ns()
        if not data:
            raise SystemExit(f"the websocket of {self._mode} was closed")
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, Response):
                if self._protocol.handshake_exc is not None:
                    raise SystemExit(f"no websocket: {self._protocol.handshake_exc}")
                for number, wanted in enumerate(self._wanted, 1):
                    self._say({"type": "sub", "id": number, **wanted})
            elif isinstance(event, Frame):
                self._frame(event, now)
        self._flush()

    def _frame(self, frame: Frame, now: int) -> None:
        if frame.opcode is Opcode.CLOSE:
            raise SystemExit(f"the websocket of {self._mode} was closed: {bytes(frame.data)!r}")
        if frame.opcode not in (Opcode.TEXT, Opcode.CONT):
            return
        self._text += frame.data
        if not frame.fin:
            return
        shown, self._text = self._decode(self._text), b""
        if isinstance(shown, Alert):
            self.came.setdefault(int(shown.v), now)
            return
        if shown.type in ("snap", "delta"):
            self._say({"type": "ack", "seq": shown.seq})
            self._snaps += shown.type == "snap" and not self.ready
            if isinstance(shown, Shown):
                for event in shown.events:
                    if event.value is not None and event.value >= ALERT_FROM:
                        self.came.setdefault(int(event.value), now)
        elif shown.type == "resync":
            self.resyncs += 1
        elif shown.type == "hb":
            self._beats += 1
            if self._beats % PING_EVERY == 0:
                self._say({"type": "ping"})

    def _say(self, message: dict[str, Any]) -> None:
        self._protocol.send_text(json.dumps(message).encode())

    def _flush(self) -> None:
        for part in self._protocol.data_to_send():
            if part:
                self.socket.sendall(part)

    def dump(self, path: Path) -> str:
        """Append what came and forget it; how many, and how often the server gave up joining."""
        pairs = array.array("q", [number for pair in self.came.items() for number in pair])
        with path.open("ab") as file:
            pairs.tofile(file)
        said = f"{len(self.came)} {self.resyncs}"
        self.came.clear()
        self.resyncs = 0
        return said


def main() -> None:
    """Serve the socket and stdin."""
    probe = Probe(*sys.argv[1:])
    while not probe.ready:
        probe.receive()
    print("ready", flush=True)
    while True:
        readable = select.select([probe.socket, sys.stdin], [], [])[0]
        if probe.socket in readable:
            probe.receive()
        if sys.stdin in readable:
            line = sys.stdin.readline()
            if not line:
                return
            word, _, path = line.strip().partition(" ")
            print(len(probe.came) if word == "count" else probe.dump(Path(path)), flush=True)


if __name__ == "__main__":
    main()
