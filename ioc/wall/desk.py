"""`Desk`: what the routes share, and the two questions each request is asked: from where, and by whom."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Annotated, Final

from fastapi import Depends, Request

from ioc.faults import Refusal
from ioc.wall.auth import COOKIE, Guesses, Identity, Sessions, own_origin
from ioc.wall.guard import RENEWAL
from ioc.wall.maps import Maps
from ioc.wall.services import Services

HASHING_MAX: Final = 2
"""Passwords checked at the same time: argon2 takes 64 MB each."""


def wall_us() -> int:
    """The real clock, by which sessions live; the core's may be that of a replay."""
    return time.time_ns() // 1_000


@dataclass
class Desk:
    """What the routes share: the services, and who has come in."""

    services: Services
    sessions: Sessions
    guesses: Guesses = field(default_factory=Guesses)
    hashing: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(HASHING_MAX))
    maps: Maps = field(default_factory=Maps)


def desk_of(request: Request) -> Desk:
    """The desk of the app that serves this request."""
    desk: Desk = request.app.state.desk
    return desk


def from_here(request: Request, desk: Annotated[Desk, Depends(desk_of)]) -> None:
    """What changes something must come from a page of ours."""
    if request.method in ("GET", "HEAD", "OPTIONS"):
        return
    own = own_origin(request.headers, request.scope["scheme"], desk.services.origins)
    if own is None:
        own = request.headers.get("sec-fetch-site") == "same-origin"
    if not own:
        raise Refusal(
            403,
            "origin",
            "Yêu cầu không đến từ trang của hệ thống này.",
            "The request does not come from a page of this server.",
        )


def known(request: Request, desk: Annotated[Desk, Depends(desk_of)]) -> Identity:
    """Who is asking; nobody unknown is told anything."""
    cookie = request.cookies.get(COOKIE, "")
    now_us = wall_us()
    identity = desk.sessions.read(cookie, now_us)
    if identity is None:
        raise Refusal(401, "unauthenticated", "Hãy đăng nhập.", "Please log in.")
    request.scope[RENEWAL] = desk.sessions.renewed(cookie, now_us)
    return identity


TheDesk = Annotated[Desk, Depends(desk_of)]
Known = Annotated[Identity, Depends(known)]
