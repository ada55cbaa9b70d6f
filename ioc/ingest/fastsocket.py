"""The socket under paho: PUBLISH frames go past it in bulk, every other packet through it, and all writing into one buffer.

paho creates its socket in `Client._create_socket`, which is private to it; `hook_fits` says whether this paho still
does so in the way that is relied upon here.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import paho.mqtt.client as paho
from paho.mqtt import __version__ as paho_version
from paho.mqtt.enums import CallbackAPIVersion

from ioc.ingest.frames import Cut, Cutter

PAHO_TRIED = ("2.1", "2.2")
"""The versions whose hook the tests have tried."""
READ_BYTES = 1 << 20
PIECE_BYTES = 64 * 1024
"""What one `recv` asks for: larger buffers cost a mapping each."""
OUTBOUND_BYTES_MAX = 8 << 20
"""Two million acknowledgements that the broker has not taken: it never will."""
PUBACK = b"\x40\x02"
CLOSED = "the broker closed the connection"
_QUICKACK: int = getattr(socket, "TCP_QUICKACK", 0)
"""Linux only; 0 elsewhere."""
_NOT_YET = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Transport(Protocol):
    """A socket, a TLS socket, or paho's websocket over one of them."""

    def recv(self, size: int, /) -> bytes:
        """Some bytes, none at the end; raises BlockingIOError or SSLWant… where there are none yet."""

    def send(self, data: Any, /) -> int:
        """How many bytes were taken."""

    def fileno(self) -> int:
        """What a selector waits for."""

    def close(self) -> None:
        """Close it."""

    def setblocking(self, flag: bool, /) -> None:
        """Whether to wait in `recv` and `send`."""


class FastSocket:
    """What paho takes for its socket.

    The source calls `fill` when bytes may have come, lets paho read while there is something `pending`, and sends its
    acknowledgements with `push`. Nothing here blocks and nothing but `send` raises; a connection that broke shows in
    `ended`, and as the end of the stream to paho.
    """

    def __init__(self, transport: Transport, cutter: Cutter) -> None:
        self.transport = transport
        self._cutter = cutter
        # TLS gives a record at a time and a websocket a frame, and what they hold back no selector sees.
        self._short_is_all = type(transport) is socket.socket
        self._held: Callable[[], int] = getattr(transport, "pending", lambda: 0)
        self._set_option: Callable[[int, int, int], None] | None = (
            getattr(transport, "setsockopt", None) if _QUICKACK else None
        )
        self._inbound = bytearray()
        self._outbound = bytearray()
        self.more = False
        """Whether the last `fill` stopped because it had enough."""
        self.ended = ""
        """Why nothing more will come; empty while the connection stands."""

    # For the source

    def fill(self) -> Cut:
        """Take what has come, READ_BYTES at most. paho may find its share at `recv` afterwards."""
        data = self._read()
        self._ask_for_more()
        cut = self._cutter.feed(data)
        self._inbound += cut.others
        if self._outbound:
            # TLS may have waited to read before it could write.
            self.flush()
        return cut

    def _ask_for_more(self) -> None:
        """Acknowledge to the broker's TCP at once what was read. Left alone it waits up to 40 ms with small segments."""
        if self._set_option is not None and not self.ended:
            with contextlib.suppress(OSError):
                self._set_option(socket.IPPROTO_TCP, _QUICKACK, 1)

    def push(self, packets: bytes | bytearray) -> None:
        """Send whole packets, after those that are still on their way."""
        self._outbound += packets
        self.flush()

    def flush(self) -> None:
        """Send what the transport takes now; `wants_write` tells whether something is left."""
        while self._outbound and not self.ended:
            try:
                del self._outbound[: self.transport.send(self._outbound)]
            except _NOT_YET:
                break
            except OSError as error:
                self._end(str(error))
        if len(self._outbound) > OUTBOUND_BYTES_MAX:
            self._end("the broker takes nothing any more")

    @property
    def wants_write(self) -> bool:
        """Whether `flush` should be called when the transport takes bytes again."""
        return bool(self._outbound) and not self.ended

    # For paho

    def recv(self, size: int) -> bytes:
        """Of the packets that are paho's business."""
        if not self._inbound:
            if self.ended:
                return b""
            raise BlockingIOError
        taken = bytes(self._inbound[:size])
        del self._inbound[:size]
        return taken

    def send(self, data: bytes | bytearray) -> int:
        """Take all of it. Raises ConnectionError if the connection is gone."""
        if self.ended:
            raise ConnectionError(self.ended)
        self.push(data)
        return len(data)

    def pending(self) -> int:
        """How much `recv` has at hand."""
        return len(self._inbound)

    def fileno(self) -> int:
        """Of the transport; -1 once it is closed."""
        return self.transport.fileno()

    def setblocking(self, flag: bool) -> None:
        """Of the transport; this object never blocks."""
        self.transport.setblocking(flag)

    def close(self) -> None:
        """Close the transport."""
        self._outbound.clear()
        self.transport.close()

    def _end(self, reason: str) -> None:
        self.ended = self.ended or reason or "the connection broke"
        self._outbound.clear()

    def _read(self) -> bytes:
        pieces: list[bytes] = []
        size = 0
        try:
            while size < READ_BYTES:
                piece = self.transport.recv(PIECE_BYTES)
                if not piece:
                    self._end(CLOSED)
                    break
                pieces.append(piece)
                size += len(piece)
                if len(piece) < PIECE_BYTES and self._short_is_all:
                    break
        except _NOT_YET:
            # A websocket's control frame looks like this too, with more behind it that no selector sees.
            self.more = self._held() > 0
        except OSError as error:
            self._end(str(error))
        else:
            self.more = size >= READ_BYTES
        # The websocket of paho 2.1 gives bytearrays.
        return bytes(pieces[0]) if len(pieces) == 1 else b"".join(pieces)


class FastClient(paho.Client):
    """paho over a FastSocket, each connection with a cutter of its own."""

    def __init__(self, new_cutter: Callable[[], Cutter], **options: Any) -> None:
        super().__init__(**options)
        self._new_cutter = new_cutter

    def _create_socket(self) -> Any:
        return FastSocket(super()._create_socket(), self._new_cutter())


def pubacks(mids: Sequence[bytes]) -> bytes:
    """The acknowledgements of QoS 1 messages by their packet ids; at least one."""
    return PUBACK + PUBACK.join(mids)


def hook_fits() -> str:
    """Why this paho cannot be given a socket of ours; empty if it can."""
    version = ".".join(paho_version.split(".")[:2])
    if version not in PAHO_TRIED:
        return f"paho-mqtt {version} was never tried, only {', '.join(PAHO_TRIED)}"
    try:
        return _rehearse()
    except Exception as error:
        return f"paho-mqtt {version} does not use its socket as expected: {error!r}"


class _Answers:
    """A transport that says one thing and keeps what it hears."""

    def __init__(self, says: bytes) -> None:
        self._says = says
        self.heard = bytearray()
        self.closed = False

    def recv(self, size: int) -> bytes:
        said, self._says = self._says[:size], self._says[size:]
        if not said:
            raise BlockingIOError
        return said

    def send(self, data: Any) -> int:
        self.heard += data
        return len(data)

    def fileno(self) -> int:
        return -1

    def close(self) -> None:
        self.closed = True

    def setblocking(self, flag: bool) -> None:
        pass


class _Rehearsal(paho.Client):
    given: FastSocket

    def _create_socket(self) -> Any:
        return self.given


def _rehearse() -> str:
    """One connection of this paho in memory: CONNECT, CONNACK with a PUBLISH behind it, DISCONNECT."""
    answers = _Answers(b"\x20\x02\x00\x00\x30\x04\x00\x01tp")
    client = _Rehearsal(CallbackAPIVersion.VERSION2, client_id="rehearsal")
    client.given = FastSocket(answers, Cutter(1024))
    told: list[str] = []
    client.on_connect = lambda *_: told.append("connected")
    client.on_message = lambda *_: told.append("message")
    client.on_socket_register_write = lambda *_: told.append("wants to write")
    client.connect("rehearsal")
    if client.socket() is not client.given or told != ["wants to write"]:
        return "paho does not take the socket that it is given"
    client.loop_write()
    if answers.heard[:1] != b"\x10":
        return "paho does not write to the socket that it is given"
    cut = client.given.fill()
    client.loop_read()
    if cut.topics != [b"t"] or told[1:] != ["connected"]:
        return "paho does not read from the socket that it is given"
    client.disconnect()
    client.loop_write()
    if answers.heard[-2:] != b"\xe0\x00" or not answers.closed:
        return "paho does not close the socket that it is given"
    return ""
