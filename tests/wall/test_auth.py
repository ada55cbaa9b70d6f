"""Sessions, guesses and origins."""

from __future__ import annotations

import pytest
from support.screens import Centre

from ioc.credentials import token_digest
from ioc.model import AddToken, RemoveUser, RevokeToken, Role, Scope, SetUser
from ioc.wall.auth import KIOSK_LIFE_US, USER_LIFE_US, Guesses, Identity, Sessions, own_origin

KEY = b"k" * 32
ARGON = "$argon2id$one"


@pytest.fixture
def sessions(centre: Centre) -> Sessions:
    centre.person("a", ARGON, Role.ADMIN)
    centre.person("lan", ARGON, Role.OFFICER, "Lan")
    centre.kiosk("wall-1", "token")
    return Sessions(centre.accounts, KEY)


def _open(sessions: Sessions, centre: Centre, now_us: int = 0) -> str:
    account = centre.accounts.account("lan")
    assert account
    return sessions.open_user(account, now_us)


def test_a_session_outlives_a_restart_with_the_same_key(sessions: Sessions, centre: Centre) -> None:
    cookie = _open(sessions, centre)
    identity = Sessions(centre.accounts, KEY).read(cookie, 1)
    assert identity
    assert (identity.user, identity.name, identity.role, identity.may_act) == (
        "lan",
        "Lan",
        Role.OFFICER,
        True,
    )
    assert Sessions(centre.accounts, b"x" * 32).read(cookie, 1) is None


def test_a_session_ends_twelve_hours_after_its_last_renewal(sessions: Sessions, centre: Centre) -> None:
    cookie = _open(sessions, centre)
    assert sessions.read(cookie, USER_LIFE_US)
    assert sessions.read(cookie, USER_LIFE_US + 1) is None
    assert sessions.renewed(cookie, 60_000_000) is None
    renewed = sessions.renewed(cookie, USER_LIFE_US)
    assert renewed
    assert sessions.read(renewed[0], 2 * USER_LIFE_US)


@pytest.mark.parametrize("at", range(0, 120, 7))
def test_a_changed_cookie_is_worth_nothing(sessions: Sessions, centre: Centre, at: int) -> None:
    cookie = _open(sessions, centre)
    at %= len(cookie)
    other = "A" if cookie[at] != "A" else "B"
    assert sessions.read(cookie[:at] + other + cookie[at + 1 :], 0) is None


@pytest.mark.parametrize("cookie", ["", ".", "a.b", "é.é", "a" * 5_000, "W10=." + "A" * 44])
def test_any_text_is_read_as_no_session(sessions: Sessions, cookie: str) -> None:
    assert sessions.read(cookie, 0) is None


def test_a_new_password_or_removal_ends_sessions(sessions: Sessions, centre: Centre) -> None:
    cookie = _open(sessions, centre)
    identity = sessions.read(cookie, 0)
    assert identity and sessions.still_good(identity)
    centre.accounts.feed(
        SetUser(actor="system", user="lan", name="Lan", role=Role.OFFICER, secret="$argon2id$two"), 1
    )
    assert sessions.read(cookie, 0) is None
    assert not sessions.still_good(identity)
    cookie = _open(sessions, centre)
    centre.accounts.feed(RemoveUser(actor="system", user="lan"), 2)
    assert sessions.read(cookie, 0) is None


def test_logging_out_ends_renewed_cookies_as_well(sessions: Sessions, centre: Centre) -> None:
    cookie = _open(sessions, centre)
    renewed = sessions.renewed(cookie, USER_LIFE_US // 2)
    identity = sessions.read(cookie, 0)
    assert identity and renewed
    sessions.revoke(identity)
    assert sessions.read(cookie, 0) is None
    assert sessions.read(renewed[0], USER_LIFE_US // 2) is None


def test_a_kiosk_stays_until_its_token_is_revoked(sessions: Sessions, centre: Centre) -> None:
    assert sessions.open_kiosk("wrong", 0) is None
    cookie = sessions.open_kiosk("token", 0)
    assert cookie
    identity = sessions.read(cookie, KIOSK_LIFE_US)
    assert identity
    assert (identity.user, identity.role, identity.may_act) == ("token:wall-1", Role.VIEWER, False)
    direct = sessions.token("token")
    assert direct and sessions.still_good(direct)
    centre.accounts.feed(RevokeToken(actor="system", token="wall-1"), 1)
    assert sessions.read(cookie, 0) is None
    assert not sessions.still_good(direct)
    centre.kiosk("wall-1", "another")
    assert sessions.read(cookie, 0) is None, "a new token of that name is another one"


def test_a_senders_token_is_no_kiosks(sessions: Sessions, centre: Centre) -> None:
    digest = token_digest("sender")
    add = AddToken(actor="system", token="gateway", digest=digest, scope=Scope.READINGS)
    assert centre.accounts.feed(add, 0).verdict == "done"
    assert sessions.open_kiosk("sender", 0) is None
    assert sessions.token("sender") is None
    # Not even where its name was a kiosk's before.
    cookie = sessions.open_kiosk("token", 0)
    assert cookie is not None
    centre.accounts.feed(RevokeToken(actor="system", token="wall-1"), 1)
    digest = token_digest("token")
    again = AddToken(actor="system", token="wall-1", digest=digest, scope=Scope.READINGS)
    assert centre.accounts.feed(again, 2).verdict == "done"
    assert sessions.read(cookie, 3) is None


def test_a_cookie_holds_no_secret(sessions: Sessions, centre: Centre) -> None:
    import base64

    for cookie in (_open(sessions, centre), sessions.open_kiosk("token", 0) or ""):
        body = base64.urlsafe_b64decode(cookie.partition(".")[0])
        assert b"argon" not in body
        assert b'"token"' not in body


def test_a_sixth_guess_within_a_minute_is_not_made() -> None:
    guesses = Guesses()
    assert all(guesses.admit("1.2.3.4", "lan", i) for i in range(5))
    assert not guesses.admit("1.2.3.4", "lan", 6)
    assert guesses.admit("1.2.3.4", "truc.ban", 6)
    assert guesses.admit("5.6.7.8", "lan", 6)
    assert guesses.admit("1.2.3.4", "lan", 60_000_005)


def test_many_names_from_one_address_are_bounded() -> None:
    guesses = Guesses()
    admitted = sum(guesses.admit("1.2.3.4", f"user{i}", i) for i in range(100))
    assert admitted == 30


def test_a_right_password_forgets_the_wrong_ones() -> None:
    guesses = Guesses()
    for i in range(100):
        assert guesses.admit("1.2.3.4", "lan", i)
        guesses.forget("1.2.3.4", "lan")


@pytest.mark.parametrize(
    ("origin", "host", "scheme", "expected"),
    [
        (None, "ioc.local", "http", None),
        ("http://ioc.local", "ioc.local", "http", True),
        ("http://ioc.local:80", "ioc.local", "http", True),
        ("http://ioc.local:8080", "ioc.local:8080", "http", True),
        ("http://IOC.local:8080", "ioc.local:8080", "http", True),
        ("https://ioc.local", "ioc.local", "http", True),
        ("http://ioc.local:8081", "ioc.local:8080", "http", False),
        ("http://evil.example", "ioc.local", "http", False),
        ("http://ioc.local.evil.example", "ioc.local", "http", False),
        ("null", "ioc.local", "http", False),
        ("", "ioc.local", "http", False),
        ("http://ioc.local:x", "ioc.local", "http", False),
        ("http://[", "ioc.local", "http", False),
        ("http://ioc.local", "[", "http", False),
        ("http://ioc.local", "ioc.local:x", "http", False),
        ("https://public.example", "127.0.0.1:8080", "http", True),
        ("http://[::1]:8080", "[::1]:8080", "http", True),
    ],
)
def test_an_origin_is_ours_or_not(origin: str | None, host: str, scheme: str, expected: bool | None) -> None:
    headers = {"host": host} | ({} if origin is None else {"origin": origin})
    assert own_origin(headers, scheme, frozenset({"https://public.example/"})) is expected


def test_an_identity_shows_no_session() -> None:
    identity = Identity("lan", "Lan", Role.OFFICER, "session-id", "1")
    assert identity.public() == {"user": "lan", "name": "Lan", "role": "officer"}
