"""`Guard`: what holds for every response and request: headers, cache rules, a bound on bodies."""

from __future__ import annotations

import asyncio
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ioc.faults import Refusal, fault
from ioc.wall.auth import COOKIE

BODY_BYTES_MAX: Final = 64 * 1024
BODY_S: Final = 15.0
"""How long a body may take to arrive."""
RENEWAL: Final = "ioc.renewal"
"""Where a request's scope holds the successor of its session cookie, with its life in seconds."""

_CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "Content-Security-Policy": _CSP,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


def cookie_header(value: str, life_s: int, secure: bool) -> str:
    """A session cookie; a life of 0 removes it."""
    return (
        f"{COOKIE}={value}; HttpOnly; Max-Age={life_s}; Path=/; SameSite=Strict{'; Secure' if secure else ''}"
    )


class Guard:
    """ASGI middleware around everything. Routes under `unbounded` bound what they read themselves."""

    def __init__(self, app: ASGIApp, unbounded: frozenset[str] = frozenset()) -> None:
        self._app = app
        self._unbounded = unbounded

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, with headers added and bodies bounded."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        loop = asyncio.get_running_loop()
        end = loop.time() + BODY_S
        received = 0
        complete = scope["type"] != "http" or scope["path"] in self._unbounded
        started = False

        async def guarded_send(message: Message) -> None:
            nonlocal started
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                started = True
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                if "cache-control" not in headers:
                    headers["Cache-Control"] = "no-store"
                renewal = scope.get(RENEWAL)
                if renewal and "set-cookie" not in headers:
                    value, life_s = renewal
                    headers.append("Set-Cookie", cookie_header(value, life_s, scope["scheme"] == "https"))
            await send(message)

        async def guarded_receive() -> Message:
            nonlocal received, complete
            if complete:
                return await receive()
            try:
                async with asyncio.timeout_at(end):
                    message = await receive()
            except TimeoutError as error:
                raise Refusal(
                    408,
                    "timeout",
                    "Nội dung gửi lên quá chậm.",
                    "The body came too slowly.",
                    {"Connection": "close"},
                ) from error
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                complete = not message.get("more_body", False)
                if received > BODY_BYTES_MAX:
                    raise Refusal(413, "too_large", "Nội dung gửi lên quá lớn.", "The body is too large.")
            return message

        try:
            await self._app(scope, guarded_receive, guarded_send)
        except Exception:
            # Answered here, so that even this answer has its headers; raised on, so that the server logs it.
            if not started and scope["type"] == "http":
                await fault(500, "internal", "Lỗi bên trong hệ thống.", "A fault of the server.")(
                    scope, receive, guarded_send
                )
            raise
