"""Passwords and tokens as they are made and checked."""

from __future__ import annotations

import re

import pytest

from ioc import credentials as module
from ioc.credentials import hash_password, new_password, new_token, token_digest, verify_password


@pytest.fixture(scope="module")
def secret() -> str:
    return hash_password("Lũ về 3 giờ")


def test_a_password_is_kept_as_argon2_and_known_again(secret: str) -> None:
    assert secret.startswith("$argon2id$")
    assert verify_password(secret, "Lũ về 3 giờ")
    assert not verify_password(secret, "lũ về 3 giờ")


def test_the_same_password_typed_on_another_keyboard_is_known_again(secret: str) -> None:
    decomposed = "Lu\u0303 ve\u0302\u0300 3 gio\u031b\u0300"
    assert verify_password(secret, decomposed)


def test_two_hashes_of_a_password_differ() -> None:
    assert hash_password("x") != hash_password("x")


@pytest.mark.parametrize("password", ["", "\x00", "\ud800", "x" * 10_000])
def test_any_text_is_merely_a_wrong_password(secret: str, password: str) -> None:
    assert verify_password(secret, password) is False


@pytest.mark.parametrize("broken", ["", "plain", "$argon2id$", "$2b$12$abc"])
def test_a_broken_secret_lets_nobody_in(broken: str) -> None:
    assert verify_password(broken, "x") is False


def test_without_an_account_every_password_is_wrong() -> None:
    assert verify_password(None, "x") is False


def test_the_first_login_of_an_unknown_user_costs_what_that_of_a_known_one_does(
    secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(of: str | None) -> list[str]:
        done: list[str] = []
        for name in ("hash", "verify"):
            real = getattr(module._hasher, name)
            monkeypatch.setattr(
                module._hasher, name, lambda *args, name=name, real=real: (done.append(name), real(*args))[1]
            )
        module._nobody.cache_clear()
        assert not verify_password(of, "x")
        monkeypatch.undo()
        return done

    assert work(None) == work(secret) == ["hash", "verify"]


def test_a_new_password_is_four_readable_groups_and_never_the_same() -> None:
    made = {new_password() for _ in range(50)}
    assert len(made) == 50
    assert all(re.fullmatch(r"([a-hjkmnp-z2-9]{4}-){3}[a-hjkmnp-z2-9]{4}", password) for password in made)


def test_a_token_is_kept_as_its_sha_256() -> None:
    assert token_digest("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    token = new_token()
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", token)
    assert token != new_token()
    assert len(token_digest("\ud800")) == 64
