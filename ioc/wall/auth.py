"""Who is asking: sessions in signed cookies, the bound on guesses, and whether a request comes from our own pages."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import msgspec

from ioc.accounts import Account, Accounts, Token
from ioc.credentials import token_digest
from ioc.model import Role, Scope

COOKIE: Final = "ioc_session"
USER_LIFE_US: Final = 12 * 3600 * 1_000_000
KIOSK_LIFE_US: Final = 30 * 24 * 3600 * 1_000_000
"""A wall is left alone for weeks; what ends its session is revoking its token."""
RENEW_AFTER_US: Final = 10 * 60 * 1_000_000
_REVOKED_MAX: Final = 10_000


@dataclass(frozen=True, slots=True)
class Identity:
    """Who is asking, by which session. `kiosk` is a screen that came with a token.

    `stands_for` is what the session depends on: the account's revision, or the start of the token's digest.
    """

    user: str
    name: str
    role: Role
    session: str
    stands_for: str
    kiosk: bool = False

    @property
    def may_act(self) -> bool:
        """Whether this one may acknowledge."""
        return self.role in (Role.OFFICER, Role.ADMIN)

    def public(self) -> dict[str, str]:
        """What its own screen may know of it."""
        return {"user": self.user, "name": self.name, "role": str(self.role)}


class _Session(msgspec.Struct, frozen=True, array_like=True):
    """What a cookie says."""

    id: str
    kiosk: bool
    name: str
    stands_for: str
    issued_us: int


class Sessions:
    """Sessions need no memory: a cookie bears who it is for, signed, so that a restart logs nobody out.

    It dies with the account's revision or the kiosk's token, and 12 h (a kiosk's: 30 days) after its last renewal.
    Only log-outs are remembered, until the process ends.
    """

    def __init__(self, accounts: Accounts, key: bytes) -> None:
        assert len(key) >= 32, "a session key must have 32 bytes"
        self._accounts = accounts
        self._key = hashlib.sha256(b"ioc session\n" + key).digest()
        self._revoked: dict[str, None] = {}

    def open_user(self, account: Account, now_us: int) -> str:
        """The cookie of a person who has just given their password."""
        return self._sign(_Session(secrets.token_hex(16), False, account.user, str(account.revision), now_us))

    def open_kiosk(self, token: str, now_us: int) -> str | None:
        """The cookie of a kiosk with this token; None if it is none of ours."""
        known = self._kiosk_token(token)
        if known is None:
            return None
        return self._sign(_Session(secrets.token_hex(16), True, known.token, known.digest[:16], now_us))

    def token(self, token: str) -> Identity | None:
        """Who comes with a token and no session."""
        known = self._kiosk_token(token)
        return _kiosk(known, secrets.token_hex(16)) if known else None

    def _kiosk_token(self, token: str) -> Token | None:
        """A token that opens the wall; one that sends readings does not."""
        known = self._accounts.token_of(token_digest(token))
        return known if known is not None and known.scope is Scope.WALL else None

    def read(self, cookie: str, now_us: int) -> Identity | None:
        """Who a cookie stands for, or None if it is forged, over, or its account has changed."""
        session = self._verified(cookie)
        if session is None or session.id in self._revoked:
            return None
        life_us = KIOSK_LIFE_US if session.kiosk else USER_LIFE_US
        if not session.issued_us <= now_us + RENEW_AFTER_US or now_us - session.issued_us > life_us:
            return None
        identity = self._identity(session.kiosk, session.name, session.id)
        return identity if identity and identity.stands_for == session.stands_for else None

    def _identity(self, kiosk: bool, name: str, session: str) -> Identity | None:
        """Who a name is today."""
        if kiosk:
            token = self._accounts.tokens.get(name)
            return _kiosk(token, session) if token and token.scope is Scope.WALL else None
        account = self._accounts.account(name)
        if account is None:
            return None
        return Identity(account.user, account.name, account.role, session, str(account.revision))

    def renewed(self, cookie: str, now_us: int) -> tuple[str, int] | None:
        """A good cookie's successor and its life in seconds, once it is ten minutes old."""
        session = self._verified(cookie)
        if session is None or now_us - session.issued_us < RENEW_AFTER_US:
            return None
        life_us = KIOSK_LIFE_US if session.kiosk else USER_LIFE_US
        return self._sign(msgspec.structs.replace(session, issued_us=now_us)), life_us // 1_000_000

    def still_good(self, identity: Identity) -> bool:
        """Whether an open connection may go on: neither logged out, changed nor revoked meanwhile."""
        if identity.session in self._revoked:
            return False
        name = identity.user.removeprefix("token:") if identity.kiosk else identity.user
        today = self._identity(identity.kiosk, name, identity.session)
        return today is not None and today.stands_for == identity.stands_for

    def revoke(self, identity: Identity) -> None:
        """Log out: every cookie of this session is void."""
        self._revoked[identity.session] = None
        while len(self._revoked) > _REVOKED_MAX:
            del self._revoked[next(iter(self._revoked))]

    def _sign(self, session: _Session) -> str:
        body = base64.urlsafe_b64encode(msgspec.json.encode(session))
        mac = base64.urlsafe_b64encode(hmac.digest(self._key, body, "sha256"))
        return f"{body.decode()}.{mac.decode()}"

    def _verified(self, cookie: str) -> _Session | None:
        body, _, mac = cookie.partition(".")
        if not body or len(cookie) > 2_048:
            return None
        try:
            right = base64.urlsafe_b64encode(hmac.digest(self._key, body.encode(), "sha256"))
            if not hmac.compare_digest(mac.encode(), right):
                return None
            return msgspec.json.decode(base64.urlsafe_b64decode(body), type=_Session)
        except (binascii.Error, ValueError, msgspec.DecodeError):
            return None


def _kiosk(token: Token, session: str) -> Identity:
    return Identity(f"token:{token.token}", token.token, Role.VIEWER, session, token.digest[:16], kiosk=True)


class Guesses:
    """How many wrong passwords there may be: 5 a minute for one name from one address, 30 from one address."""

    PER_NAME: Final = 5
    PER_ADDRESS: Final = 30
    WINDOW_US: Final = 60 * 1_000_000
    REMEMBERED_MAX: Final = 10_000

    def __init__(self) -> None:
        self._failures: dict[tuple[str, str], list[int]] = {}

    def admit(self, address: str, name: str, now_us: int) -> bool:
        """Whether a guess may be made; it counts as failed until `forget`, so that parallel ones count as well."""
        pairs = (((address, name), self.PER_NAME), ((address, ""), self.PER_ADDRESS))
        recent = {
            key: [t for t in self._failures.get(key, ()) if t > now_us - self.WINDOW_US] for key, _ in pairs
        }
        if any(len(recent[key]) >= most for key, most in pairs):
            return False
        for key, times in recent.items():
            self._failures.pop(key, None)
            self._failures[key] = [*times, now_us]
        while len(self._failures) > self.REMEMBERED_MAX:
            del self._failures[next(iter(self._failures))]
        return True

    def forget(self, address: str, name: str) -> None:
        """That guess was right."""
        self._failures.pop((address, name), None)
        of_address = self._failures.get((address, ""))
        if of_address:
            of_address.pop()


def own_origin(headers: Mapping[str, str], scheme: str, more: frozenset[str]) -> bool | None:
    """Whether a request's Origin is this server's; None if it names none."""
    origin = headers.get("origin")
    if origin is None:
        return None
    if any(origin == other.rstrip("/") for other in more):
        return True
    try:
        parts = urlsplit(origin)
        host = urlsplit(f"//{headers.get('host', '')}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            return False
        ours = (host.hostname, host.port or _port(scheme))
        theirs = (parts.hostname, parts.port or _port(parts.scheme))
    except ValueError:
        return False
    # A proxy that ends TLS leaves us on http behind an https origin; then its default port is not ours to compare.
    return ours == theirs or (ours[0] == theirs[0] and host.port is None and parts.port is None)


def _port(scheme: str) -> int:
    return 443 if scheme in ("https", "wss") else 80
