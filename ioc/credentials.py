"""Passwords and tokens: how they are made, hashed and checked. What is kept is a hash, never the thing itself."""

from __future__ import annotations

import hashlib
import secrets
import unicodedata
from functools import cache

from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"
"""Without i, l, o, 0 and 1, which people mistake for one another."""
_GROUPS, _GROUP_LENGTH = 4, 4

_hasher = PasswordHash((Argon2Hasher(),))


def hash_password(password: str) -> str:
    """The argon2 string of a password; another one at each call."""
    return _hasher.hash(_normal(password))


def verify_password(secret: str | None, password: str) -> bool:
    """Whether a password is the one. Without a secret (no such user) it takes as long and says no."""
    # Made the first time for whoever comes: if only an unknown user waited for it, that would tell who is unknown.
    nobody = _nobody()
    return _verify(nobody if secret is None else secret, password) and secret is not None


def new_password() -> str:
    """A random password that can be read out: four groups of four."""
    return "-".join("".join(secrets.choice(_LETTERS) for _ in range(_GROUP_LENGTH)) for _ in range(_GROUPS))


def new_token() -> str:
    """A random token, safe in a URL fragment."""
    return secrets.token_urlsafe(32)


def token_digest(token: str) -> str:
    """The sha-256 of a token in hex; tokens are random enough to need no salt."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _normal(password: str) -> bytes:
    # Vietnamese keyboards give the same letter in composed or decomposed form, by system. JSON can spell halves of a
    # surrogate pair, which are a wrong password and no fault of ours.
    return unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")


def _verify(secret: str, password: str) -> bool:
    return Argon2Hasher.identify(secret) and _hasher.verify(_normal(password), secret)


@cache
def _nobody() -> str:
    return hash_password(new_password())
