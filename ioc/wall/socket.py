"""The websocket `/ws/v1`: who may come in, what they ask for, and frames out of the hub to each of them."""

from __future__ import annotations

import asyncio
import time
import types
from collections import deque
from collections.abc import Coroutine, Generator
from typing import Any, Final

import structlog
from starlette.websockets import WebSocket, WebSocketDisconnect

from ioc.faults import fault
from ioc.wall.auth import COOKIE, Identity, own_origin
from ioc.wall.desk import Desk
from ioc.wall.hub import WINDOW, DuplicateId, TooMany
from ioc.wall.wire import Ack, Auth, ClientMessage, Ping, Sub, Unsub, client_message, text_of

log = structlog.get_logger()

PROTOCOL: Final = "ioc.v1"
CONNECTIONS_MAX: Final = 500
MESSAGE_CHARS_MAX: Final = 16 * 1024
MESSAGES_PER_S: Final = 100
MESSAGES_BURST: Final = 400
AUTH_WITHIN_S: Final = 5.0
SILENT_S: Final = 60.0
HEARTBEAT_S: Final = 1
CLOSING_S: Final = 5.0
"""A screen that does not even take the close within this is let go of."""

BAD_MESSAGE, UNAUTHENTICATED, NO_AUTH = 4400, 4401, 4408
DUPLICATE_ID, TOO_MANY = 4409, 4429
INTERNAL: Final = 1011

_WORDS: Final = {
    BAD_MESSAGE: ("bad_message", "Thông điệp không hợp lệ.", "Not a message of this protocol."),
    UNAUTHENTICATED: ("unauthenticated", "Hãy đăng nhập.", "Please log in."),
    NO_AUTH: ("no_auth", "Không đăng nhập kịp thời.", "No authentication in time."),
    DUPLICATE_ID: ("duplicate_id", "Mã đăng ký đã được dùng.", "This subscription id is in use."),
    INTERNAL: ("internal", "Lỗi bên trong hệ thống.", "A fault of the server."),
    TOO_MANY: ("too_many", "Quá nhiều kết nối, đăng ký hoặc thông điệp.", "Too many of them."),
}


class Refused(Exception):
    """The connection ends with this close code."""

    def __init__(self, code: int, detail: str = "") -> None:
        self.code = code
        self.detail = detail
        super().__init__(f"{code} {detail}")


async def endpoint(websocket: WebSocket) -> None:
    """One connection from handshake to end."""
    desk: Desk = websocket.app.state.desk
    own = own_origin(websocket.headers, websocket.scope["scheme"], desk.services.origins)
    if own is False:
        # Another site's page rides on our cookie: it gets no connection at all.
        await websocket.send_denial_response(
            fault(
                403,
                "origin",
                "Kết nối không đến từ trang của hệ thống này.",
                "The connection does not come from a page of this server.",
            )
        )
        return
    offered = websocket.scope.get("subprotocols", [])
    await websocket.accept(PROTOCOL if PROTOCOL in offered else None)
    try:
        if len(desk.services.hub.clients) >= CONNECTIONS_MAX:
            raise Refused(TOO_MANY)
        identity = await _identity(websocket, desk, with_cookie=own is True)
        await Screen(websocket, desk, identity).run()
    except Refused as refused:
        await _refuse(websocket, refused)
    except WebSocketDisconnect:
        pass


async def _refuse(websocket: WebSocket, refused: Refused) -> None:
    word, vi, en = _WORDS[refused.code]
    message = {"vi": vi, "en": f"{en} {refused.detail}".strip()}
    try:
        async with asyncio.timeout(CLOSING_S):
            await websocket.send_text(text_of({"type": "error", "code": word, "message": message}))
            await websocket.close(refused.code, en)
    except (TimeoutError, WebSocketDisconnect, RuntimeError):
        pass


async def _identity(websocket: WebSocket, desk: Desk, *, with_cookie: bool) -> Identity:
    """By the session cookie if it is there, else by a token in the first message, which must come in time."""
    cookie = websocket.cookies.get(COOKIE, "") if with_cookie else ""
    if cookie:
        identity = desk.sessions.read(cookie, time.time_ns() // 1_000)
        if identity is None:
            raise Refused(UNAUTHENTICATED)
        return identity
    try:
        async with asyncio.timeout(AUTH_WITHIN_S):
            message = _message(await websocket.receive())
    except TimeoutError:
        raise Refused(NO_AUTH) from None
    identity = desk.sessions.token(message.token) if isinstance(message, Auth) else None
    if identity is None:
        raise Refused(UNAUTHENTICATED)
    return identity


def _message(event: Any) -> ClientMessage:
    """One incoming event as a message. Raises Refused or WebSocketDisconnect."""
    if event["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(event.get("code", 1005))
    text = event.get("text")
    if text is None:
        raise Refused(BAD_MESSAGE, "Frames must be text.")
    if len(text) > MESSAGE_CHARS_MAX:
        raise Refused(BAD_MESSAGE, "It is too long.")
    try:
        return client_message(text)
    except ValueError as error:
        raise Refused(BAD_MESSAGE, str(error)) from error


class Screen:
    """One connection that has come in.

    Frames are made at the moment they can be written. While the socket takes no more, nothing is made and nothing is
    kept but what is already on its way; afterwards the hub joins all that was missed.
    """

    def __init__(self, websocket: WebSocket, desk: Desk, identity: Identity) -> None:
        self._websocket = websocket
        self._desk = desk
        self._identity = identity
        self._loop = asyncio.get_running_loop()
        self._hub = desk.services.hub
        self._outbox: deque[str] = deque()
        self._stuck: asyncio.Task[None] | None = None
        """The write that waits for the socket to take more."""
        self._pace: asyncio.TimerHandle | None = None
        self._pace_us = 0
        """When that timer wakes this screen, by the loop's clock."""
        self._beat: asyncio.TimerHandle | None = None
        self._refused: Refused | None = None
        self._gone = False
        self._heard_s = self._loop.time()
        self._tokens = float(MESSAGES_BURST)

    async def run(self) -> None:
        """Serve until it leaves. Raises Refused or WebSocketDisconnect."""
        kiosk = self._identity.kiosk
        self._client = self._hub.connect(
            self.wake, screen=kiosk, officer="" if kiosk else self._identity.name
        )
        try:
            self._send(self._welcome())
            async with asyncio.timeout(None) as self._patience:
                self._heartbeat()
                while True:
                    self._take(_message(await self._websocket.receive()))
        except TimeoutError:
            assert self._refused is not None
            raise self._refused from None
        finally:
            self._gone = True
            self._hub.disconnect(self._client)
            for timer in (self._pace, self._beat):
                if timer is not None:
                    timer.cancel()
            if self._stuck is not None:
                self._stuck.cancel()

    def _welcome(self) -> str:
        services = self._desk.services
        view = services.view
        return text_of(
            {
                "type": "welcome",
                "epoch": view.epoch,
                "seq": view.seq,
                "server_time_ms": services.now_us() // 1_000,
                "version": services.version,
                "heartbeat_s": HEARTBEAT_S,
                "window": WINDOW,
                "simulated": view.presenter.simulated,
                "user": self._identity.public(),
            }
        )

    def _take(self, message: ClientMessage) -> None:
        now_s = self._loop.time()
        self._tokens = min(MESSAGES_BURST, self._tokens + (now_s - self._heard_s) * MESSAGES_PER_S)
        self._heard_s = now_s
        # What answers a frame of ours is bounded by our frames.
        answers = isinstance(message, Ack) and self._client.ack(message.seq)
        self._tokens -= not answers
        if self._tokens < 0:
            raise Refused(TOO_MANY)
        match message:
            case Ack():
                pass
            case Sub():
                try:
                    self._client.subscribe(message)
                except DuplicateId:
                    raise Refused(DUPLICATE_ID) from None
                except TooMany:
                    raise Refused(TOO_MANY) from None
            case Unsub(id=subscription_id):
                self._client.unsubscribe(subscription_id)
            case Ping():
                return
            case Auth():
                raise Refused(BAD_MESSAGE, "This connection has come in already.")
        self.wake()

    def wake(self) -> None:
        """Write what the hub has for this screen, now, as far as credit, pace and socket allow."""
        if self._gone or self._stuck is not None:
            return
        now_us = self._now_us()
        try:
            frames = self._client.take(now_us)
        except Exception:
            # Whoever feeds the view must not suffer for what one screen asked for.
            log.exception("a frame could not be made")
            self._end(Refused(INTERNAL))
            return
        for frame in frames:
            self._send(frame)
        due_us = self._client.next_us() if self._stuck is None else None
        if self._pace is not None and self._pace_us != due_us:
            self._pace.cancel()
            self._pace = None
        if self._pace is None and due_us is not None:
            self._pace_us = due_us
            # A microsecond late, lest rounding wake it too early.
            self._pace = self._loop.call_at((due_us + 1) / 1e6, self._paced)

    def _paced(self) -> None:
        self._pace = None
        self.wake()

    def _now_us(self) -> int:
        return int(self._loop.time() * 1e6)

    def _heartbeat(self) -> None:
        """Each second: a sign of life out, and a look at whether this screen still lives and may stay."""
        if self._gone:
            return
        self._beat = self._loop.call_later(HEARTBEAT_S, self._heartbeat)
        if not self._desk.sessions.still_good(self._identity):
            self._end(Refused(UNAUTHENTICATED))
        elif self._loop.time() - self._heard_s > SILENT_S:
            self._end(Refused(NO_AUTH, "Nothing was heard for a minute."))
        elif self._stuck is None:
            services = self._desk.services
            self._send(
                f'{{"type":"hb","seq":{services.view.seq},"server_time_ms":{services.now_us() // 1_000}}}'
            )

    def _end(self, refused: Refused) -> None:
        self._refused = refused
        self._gone = True
        self._patience.reschedule(self._loop.time())

    def _send(self, text: str) -> None:
        """Write at once if the socket takes it, without waiting for another turn of the loop."""
        self._outbox.append(text)
        if self._stuck is not None:
            return
        while self._outbox and not self._gone:
            write = self._websocket.send_text(self._outbox.popleft())
            try:
                waits_for = write.send(None)
            except StopIteration:
                continue
            except (WebSocketDisconnect, RuntimeError):
                self._gone = True
                return
            self._stuck = self._loop.create_task(self._unstick(write, waits_for))
            return

    async def _unstick(self, write: Coroutine[Any, Any, None], waits_for: Any) -> None:
        try:
            await _rest_of(write, waits_for)
            while self._outbox:
                await self._websocket.send_text(self._outbox.popleft())
        except (WebSocketDisconnect, RuntimeError):
            self._gone = True
        finally:
            self._stuck = None
        self.wake()


@types.coroutine
def _rest_of(write: Coroutine[Any, Any, None], waits_for: Any) -> Generator[Any, Any, None]:
    """Go on, within a task, with a coroutine that was begun outside of one and now waits for something."""
    try:
        while True:
            try:
                sent = yield waits_for
            except BaseException as error:
                waits_for = write.throw(error)
            else:
                waits_for = write.send(sent)
    except StopIteration:
        return
