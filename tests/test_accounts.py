"""Accounts and tokens: who is let in, what ends a session, and what is refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioc.accounts import AccountCommand, Accounts, Token
from ioc.model import COMMANDS, AddToken, Answer, RemoveUser, RevokeToken, Role, Scope, SetUser, Verdict

SECRET, OTHER = "$argon2id$one", "$argon2id$two"
DIGEST = "ab" * 32


def _set(
    user: str, role: Role = Role.OFFICER, *, secret: str = SECRET, name: str = "Ai đó", key: str = ""
) -> SetUser:
    return SetUser(actor="boss", user=user, name=name, role=role, secret=secret, key=key)


def _remove(user: str) -> RemoveUser:
    return RemoveUser(actor="boss", user=user)


def _feed(accounts: Accounts, *commands: AccountCommand) -> list[Verdict]:
    return [accounts.feed(command, 1_000).verdict for command in commands]


@pytest.fixture
def accounts() -> Accounts:
    accounts = Accounts()
    _feed(accounts, _set("boss", Role.ADMIN), _set("an"))
    return accounts


def test_an_account_that_was_set_can_be_looked_up(accounts: Accounts) -> None:
    account = accounts.account("an")
    assert account is not None
    assert (account.user, account.name, account.role, account.secret) == ("an", "Ai đó", Role.OFFICER, SECRET)
    assert set(accounts.users) == {"boss", "an"}
    assert accounts.account("nobody") is None


def test_a_removed_account_is_gone(accounts: Accounts) -> None:
    assert _feed(accounts, _remove("an"), _remove("an")) == [Verdict.DONE, Verdict.NOT_FOUND]
    assert accounts.account("an") is None


@pytest.mark.parametrize(
    "ending",
    [_set("an", Role.VIEWER), _set("an", secret=OTHER), _remove("an")],
    ids=["role", "password", "removal"],
)
def test_a_change_of_role_or_password_and_removal_end_the_sessions(
    accounts: Accounts, ending: AccountCommand
) -> None:
    before = accounts.revision("an")
    assert _feed(accounts, ending) == [Verdict.DONE]
    assert accounts.revision("an") > before


def test_a_new_name_ends_no_session(accounts: Accounts) -> None:
    before = accounts.account("an")
    _feed(accounts, _set("an", name="Nguyễn Văn An"))
    after = accounts.account("an")
    assert before is not None
    assert after is not None
    assert (after.name, after.revision) == ("Nguyễn Văn An", before.revision)


def test_an_account_made_anew_revives_no_old_session(accounts: Accounts) -> None:
    before = accounts.account("an")
    _feed(accounts, _remove("an"), _set("an"))
    after = accounts.account("an")
    assert before is not None
    assert after is not None
    assert after.revision > before.revision


@pytest.mark.parametrize("command", [_remove("boss"), _set("boss", Role.OFFICER)], ids=["remove", "demote"])
def test_the_last_admin_can_neither_be_removed_nor_demoted(
    accounts: Accounts, command: AccountCommand
) -> None:
    before = accounts.state()
    assert _feed(accounts, command) == [Verdict.REFUSED]
    assert accounts.state() == before


def test_one_of_two_admins_can_be_removed(accounts: Accounts) -> None:
    assert _feed(accounts, _set("an", Role.ADMIN), _remove("boss")) == [Verdict.DONE, Verdict.DONE]


def test_the_last_admin_may_change_name_and_password(accounts: Accounts) -> None:
    assert _feed(accounts, _set("boss", Role.ADMIN, secret=OTHER, name="Sếp")) == [Verdict.DONE]


@pytest.mark.parametrize("user", ["", "system", "Ông Ba", "a b", ".an", "x" * 65])
def test_what_cannot_be_a_login_name_is_refused(accounts: Accounts, user: str) -> None:
    assert _feed(accounts, _set(user)) == [Verdict.REFUSED]


def test_a_secret_in_clear_is_refused(accounts: Accounts) -> None:
    assert _feed(accounts, _set("binh", secret="mat-khau")) == [Verdict.REFUSED]


def _token(
    name: str = "wall-1", digest: str = DIGEST, scope: Scope = Scope.WALL, series: tuple[str, ...] = ()
) -> AddToken:
    return AddToken(actor="boss", token=name, digest=digest, scope=scope, series=series)


def test_a_token_is_found_by_its_digest_until_it_is_revoked(accounts: Accounts) -> None:
    revoke = RevokeToken(actor="boss", token="wall-1")
    assert _feed(accounts, _token()) == [Verdict.DONE]
    token = accounts.token_of(DIGEST)
    assert token is not None
    assert (token.token, token.scope, set(accounts.tokens)) == ("wall-1", "wall", {"wall-1"})
    assert _feed(accounts, revoke, revoke) == [Verdict.DONE, Verdict.NOT_FOUND]
    assert accounts.token_of(DIGEST) is None


@pytest.mark.parametrize(
    "command", [_token(), _token("wall-2"), _token("wall-2", "short"), _token("", "cd" * 32)]
)
def test_a_name_or_digest_in_use_and_a_malformed_one_are_refused(
    accounts: Accounts, command: AddToken
) -> None:
    _feed(accounts, _token())
    assert _feed(accounts, command) == [Verdict.REFUSED]


def test_a_sender_may_send_the_series_of_its_patterns_and_a_kiosk_none(accounts: Accounts) -> None:
    patterns = ("disaster/*", "energy/muong_hum/*", "environment/*/pm2_5")
    _feed(accounts, _token("some", "01" * 32, Scope.READINGS, patterns), _token("wall", "02" * 32))
    _feed(accounts, _token("all", "03" * 32, Scope.READINGS))
    some, wall, everything = (accounts.tokens[name] for name in ("some", "wall", "all"))
    for series, allowed in (
        ("disaster/lao_cai/water_level", True),
        ("energy/muong_hum/power", True),
        ("energy/muong_hum_2/power", False),
        ("environment/sa_pa/pm2_5", True),
        ("environment/sa_pa/pm2_5_1h", False),
        ("xdisaster/lao_cai/water_level", False),
        ("", False),
    ):
        assert some.may_send(series) is allowed, series
        assert everything.may_send(series)
        assert not wall.may_send(series)


@pytest.mark.parametrize(
    "command",
    [
        _token(scope=Scope.WALL, series=("disaster/*",)),
        *(
            _token(scope=Scope.READINGS, series=(p,))
            for p in ("", "/", "a/b/c/d", "Disaster/*", "a/", "a.b", "[a]")
        ),
    ],
)
def test_patterns_that_name_no_series_or_have_no_use_are_refused(
    accounts: Accounts, command: AddToken
) -> None:
    assert _feed(accounts, command) == [Verdict.REFUSED]


def test_records_and_checkpoints_of_before_there_were_senders_still_load(accounts: Accounts) -> None:
    old = {"actor": "boss", "kind": "add_token", "token": "wall-1", "digest": DIGEST, "scope": "wall"}
    command = COMMANDS.validate_json(json.dumps(old))
    assert command == _token()
    state = accounts.state() | {"tokens": {"wall-1": {"digest": DIGEST, "scope": "wall"}}}
    accounts.restore(state)
    assert accounts.token_of(DIGEST) == Token("wall-1", DIGEST, Scope.WALL)


def test_the_same_key_gets_the_same_answer_and_changes_nothing_again(accounts: Accounts) -> None:
    command = _set("binh", key="k1")
    first = accounts.feed(command, 1_000)
    _feed(accounts, _remove("binh"))
    assert accounts.feed(command, 2_000) == first == Answer(verdict=Verdict.DONE)
    assert accounts.account("binh") is None


def test_a_key_that_was_used_for_one_account_changes_no_other(accounts: Accounts) -> None:
    assert _feed(accounts, _set("binh", key="k1"), _set("chi", key="k1")) == [Verdict.DONE, Verdict.REFUSED]
    assert accounts.account("chi") is None


_USERS = st.sampled_from(["boss", "an", "binh", "system"])
_COMMANDS = st.one_of(
    st.builds(
        _set,
        _USERS,
        st.sampled_from(Role),
        secret=st.sampled_from([SECRET, OTHER]),
        key=st.sampled_from(["", "k"]),
    ),
    st.builds(_remove, _USERS),
    st.builds(
        _token,
        st.sampled_from(["wall-1", "wall-2"]),
        st.sampled_from([DIGEST, "cd" * 32]),
        st.sampled_from(Scope),
        st.sampled_from([(), ("disaster/*",)]),
    ),
    st.builds(RevokeToken, actor=st.just("boss"), token=st.sampled_from(["wall-1", "wall-2"])),
)


@given(st.lists(_COMMANDS, max_size=25), st.integers(0, 25))
def test_accounts_restored_at_any_cut_go_on_as_if_nothing_had_happened(
    commands: list[AccountCommand], cut: int
) -> None:
    through, resumed = Accounts(), Accounts()
    for number, command in enumerate(commands):
        if number == cut:
            resumed.restore(json.loads(json.dumps(through.state())))
        answer = through.feed(command, number)
        if number >= cut:
            assert resumed.feed(command, number) == answer
            assert json.dumps(resumed.state()) == json.dumps(through.state())


@given(st.lists(_COMMANDS, max_size=25))
def test_once_there_is_an_admin_there_always_is_one_and_revisions_never_fall(
    commands: list[AccountCommand],
) -> None:
    accounts = Accounts()
    had_admin, revisions = False, dict.fromkeys(["boss", "an", "binh"], 0)
    for number, command in enumerate(commands):
        accounts.feed(command, number)
        has_admin = any(account.role is Role.ADMIN for account in accounts.users.values())
        assert has_admin or not had_admin
        had_admin = has_admin
        assert all(accounts.revision(user) >= before for user, before in revisions.items())
        revisions = {user: accounts.revision(user) for user in revisions}
