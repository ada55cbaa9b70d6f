"""`Listener`: one connection of the web server, which waits for no client for ever.

uvicorn bounds only how long a connection may be idle between requests. Here a request's head has a time as well, what is
still sent after the answer has one, and of all connections that keep the server waiting only so many may be open: the
one that has waited longest goes first, so that whoever comes and speaks is served.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_S: Final = 10.0
"""From the first byte of a request, or the connection itself, to the end of its head."""
REST_S: Final = 5.0
"""For what a client still sends of a request that was answered already."""
WAITING_MAX: Final = 256
"""Connections without a whole request."""
_TIMEOUT: Final = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class Listener(H11Protocol):
    """For `uvicorn.Config(http=Listener)`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._since: float | None = None
        """Since when the server waits for a whole request; None while it has one."""
        self._heard = False
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Somebody came, who may cost the one that has waited longest its place."""
        super().connection_made(transport)
        # asyncio does so only where the listening socket names its protocol; without it, what follows a small write
        # waits for the client's delayed acknowledgement, 40 ms.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._since = self.loop.time()
        self._time(HEAD_S)
        waiting = [c for c in self.connections if isinstance(c, Listener) and c._since is not None]
        if len(waiting) > WAITING_MAX:
            min(waiting, key=lambda c: c._since or 0.0).transport.abort()

    def data_received(self, data: bytes) -> None:
        """Some bytes of a request."""
        if not self._heard and self.conn.their_state is h11.IDLE and self.cycle is not None:
            self._time(HEAD_S)
        self._heard = True
        super().data_received(data)
        self._look()

    def on_response_complete(self) -> None:
        """The next request begins; of this one there may still be something to come."""
        self._since = self.loop.time()
        self._heard = False
        super().on_response_complete()
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._time(None)
        super().connection_lost(exc)

    def _look(self) -> None:
        """What is waited for now, and how long."""
        state = self.conn.their_state
        if state is h11.IDLE:
            return
        if state is h11.SEND_BODY:
            answered = self.cycle is not None and self.cycle.response_complete
            if not answered:
                self._time(None)
            elif self._timer is None:
                self._time(REST_S)
            return
        self._time(None)
        self._since = None

    def _time(self, seconds: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if seconds is None else self.loop.call_later(seconds, self._give_up)

    def _give_up(self) -> None:
        # A browser that opened a connection in advance and never used it expects no answer.
        if self._heard and self.conn.their_state is h11.IDLE:
            self.transport.write(_TIMEOUT)
        self.transport.close()
