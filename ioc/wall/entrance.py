"""Coming in and leaving: passwords, kiosk tokens, and the cookie that stands for them."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, StringConstraints

from ioc.credentials import verify_password
from ioc.faults import Refusal, json_response
from ioc.wall.auth import COOKIE, KIOSK_LIFE_US, USER_LIFE_US
from ioc.wall.desk import Desk, Known, TheDesk, from_here, wall_us
from ioc.wall.guard import cookie_header

router = APIRouter(prefix="/api/v1", dependencies=[Depends(from_here)])


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Login(_Body):
    """Name and password."""

    user: Annotated[str, StringConstraints(max_length=64, strip_whitespace=True, to_lower=True)]
    password: Annotated[str, StringConstraints(max_length=1_024)]


class TokenLogin(_Body):
    """A kiosk's token."""

    token: Annotated[str, StringConstraints(max_length=256)]


def _entered(request: Request, cookie: str, life_us: int) -> Response:
    secure = request.scope["scheme"] == "https"
    return Response(
        status_code=204, headers={"Set-Cookie": cookie_header(cookie, life_us // 1_000_000, secure)}
    )


def _admit(desk: Desk, request: Request, name: str) -> str:
    address = request.client.host if request.client else ""
    if not desk.guesses.admit(address, name, time.monotonic_ns() // 1_000):
        raise Refusal(
            429,
            "too_many",
            "Quá nhiều lần đăng nhập sai. Hãy đợi một phút.",
            "Too many failed attempts. Wait a minute.",
        )
    return address


@router.post("/login", status_code=204)
async def login(body: Login, request: Request, desk: TheDesk) -> Response:
    """Enter with name and password."""
    address = _admit(desk, request, body.user)
    account = desk.services.accounts.account(body.user)
    async with desk.hashing:
        right = await asyncio.to_thread(verify_password, account.secret if account else None, body.password)
    if not right or account is None:
        raise Refusal(401, "credentials", "Sai tên đăng nhập hoặc mật khẩu.", "Wrong user name or password.")
    desk.guesses.forget(address, body.user)
    return _entered(request, desk.sessions.open_user(account, wall_us()), USER_LIFE_US)


@router.post("/login/token", status_code=204)
async def login_token(body: TokenLogin, request: Request, desk: TheDesk) -> Response:
    """Enter as a kiosk."""
    address = _admit(desk, request, "token")
    cookie = desk.sessions.open_kiosk(body.token, wall_us())
    if cookie is None:
        raise Refusal(
            401,
            "credentials",
            "Mã màn hình không đúng hoặc đã bị thu hồi.",
            "The token is wrong or was revoked.",
        )
    desk.guesses.forget(address, "token")
    return _entered(request, cookie, KIOSK_LIFE_US)


@router.post("/logout", status_code=204)
async def logout(request: Request, desk: TheDesk) -> Response:
    """Leave; the session is void wherever else its cookie may lie."""
    identity = desk.sessions.read(request.cookies.get(COOKIE, ""), wall_us())
    if identity is not None:
        desk.sessions.revoke(identity)
    return _entered(request, "", 0)


@router.get("/me")
async def me(identity: Known) -> Response:
    """Who I am."""
    return json_response(identity.public())
