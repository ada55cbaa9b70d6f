"""Who may come in: people with a role and a password, and the tokens of kiosks. Knows secrets only as hashes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from ioc.answers import Answers
from ioc.model import AddToken, Answer, RemoveUser, RevokeToken, Role, Scope, SetUser, Verdict

LOGIN = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
DIGEST = re.compile(r"[0-9a-f]{64}")
SERIES_PATTERN: Final = re.compile(r"[a-z0-9_*]+(?:/[a-z0-9_*]+){0,2}")
MACHINE = "system"
"""The actor of what the machine itself does; nobody may log in under this name."""

AccountCommand = SetUser | RemoveUser | AddToken | RevokeToken


@dataclass(frozen=True, slots=True)
class Account:
    """One person. A session that began under another `revision` is no longer good."""

    user: str
    name: str
    role: Role
    secret: str
    revision: int


@dataclass(frozen=True, slots=True)
class Token:
    """One token: its public name, the sha-256 of the token in hex, what it is good for, and for which series."""

    token: str
    digest: str
    scope: Scope
    series: tuple[str, ...] = ()

    def may_send(self, series_id: str) -> bool:
        """Whether it is good for readings of this series."""
        return self.scope is Scope.READINGS and _any_of(self.series).fullmatch(series_id) is not None


@cache
def _any_of(patterns: tuple[str, ...]) -> re.Pattern[str]:
    """What at least one of the patterns covers; without any, everything."""
    return re.compile("|".join(re.escape(p).replace(r"\*", ".*") for p in patterns or ("*",)), re.DOTALL)


class Accounts:
    """Every account and token. A stage: told commands and the time; gives answers."""

    def __init__(self) -> None:
        self._users: dict[str, Account] = {}
        self._revisions: dict[str, int] = {}
        """Kept after removal, so that a name given anew does not revive old sessions."""
        self._tokens: dict[str, Token] = {}
        self._by_digest: dict[str, Token] = {}
        self._answers = Answers()

    @property
    def users(self) -> Mapping[str, Account]:
        """Accounts by login name."""
        return self._users

    @property
    def tokens(self) -> Mapping[str, Token]:
        """Tokens by public name."""
        return self._tokens

    def account(self, user: str) -> Account | None:
        """The account of a login name."""
        return self._users.get(user)

    def revision(self, user: str) -> int:
        """Rises with each change of role or secret and each removal; 0 for a name never seen."""
        return self._revisions.get(user, 0)

    def token_of(self, digest: str) -> Token | None:
        """The token with this digest."""
        return self._by_digest.get(digest)

    def feed(self, command: AccountCommand, now_us: int) -> Answer:
        """Carry out a command, or say why not. The same key is answered alike."""
        told = self._answers.find(command, now_us)
        if told is not None:
            return told
        match command:
            case SetUser():
                answer = self._set_user(command)
            case RemoveUser():
                answer = self._remove_user(command)
            case AddToken():
                answer = self._add_token(command)
            case RevokeToken():
                answer = self._revoke_token(command)
        self._answers.keep(command, now_us, answer)
        return answer

    def _set_user(self, command: SetUser) -> Answer:
        before = self._users.get(command.user)
        if command.user == MACHINE or not LOGIN.fullmatch(command.user):
            return _refused(
                f"{command.user!r} cannot be a login name: a-z, 0-9, '.', '_', '-', and not {MACHINE!r}"
            )
        if not command.secret.startswith("$argon2"):
            return _refused("the secret must be an argon2 string")
        if command.role is not Role.ADMIN and self._is_last_admin(command.user):
            return _refused(f"{command.user} is the last admin")
        if before is None or (before.role, before.secret) != (command.role, command.secret):
            # A new password ends the sessions as well: it is often changed because the old one has leaked.
            self._revisions[command.user] = self.revision(command.user) + 1
        self._users[command.user] = Account(
            command.user, command.name, command.role, command.secret, self.revision(command.user)
        )
        return _DONE

    def _remove_user(self, command: RemoveUser) -> Answer:
        if command.user not in self._users:
            return _not_found(f"no user {command.user!r}")
        if self._is_last_admin(command.user):
            return _refused(f"{command.user} is the last admin")
        del self._users[command.user]
        self._revisions[command.user] += 1
        return _DONE

    def _add_token(self, command: AddToken) -> Answer:
        if not command.token:
            return _refused("a token needs a name")
        if not DIGEST.fullmatch(command.digest):
            return _refused("the digest must be a sha-256 in hex")
        if command.series and command.scope is not Scope.READINGS:
            return _refused("only a token of scope readings is for some series")
        for pattern in command.series:
            if not SERIES_PATTERN.fullmatch(pattern):
                return _refused(f"{pattern!r} names no series: write disaster/*, or energy/muong_hum/*")
        if command.token in self._tokens:
            return _refused(f"there is a token {command.token!r} already; revoke it first")
        if command.digest in self._by_digest:
            return _refused("this token has another name already")
        token = Token(command.token, command.digest, command.scope, command.series)
        self._tokens[token.token] = token
        self._by_digest[token.digest] = token
        return _DONE

    def _revoke_token(self, command: RevokeToken) -> Answer:
        token = self._tokens.pop(command.token, None)
        if token is None:
            return _not_found(f"no token {command.token!r}")
        del self._by_digest[token.digest]
        return _DONE

    def _is_last_admin(self, user: str) -> bool:
        return [a.user for a in self._users.values() if a.role is Role.ADMIN] == [user]

    def state(self) -> dict[str, Any]:
        """A copy of everything; equal accounts give equal states."""
        return {
            "users": {
                user: {"name": a.name, "role": a.role.value, "secret": a.secret}
                for user, a in sorted(self._users.items())
            },
            "revisions": dict(sorted(self._revisions.items())),
            "tokens": {
                name: {"digest": token.digest, "scope": token.scope.value, "series": list(token.series)}
                for name, token in sorted(self._tokens.items())
            },
            "answers": self._answers.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Back to what `state` gave."""
        self._revisions = dict(state["revisions"])
        self._users = {
            user: Account(user, a["name"], Role(a["role"]), a["secret"], self._revisions[user])
            for user, a in state["users"].items()
        }
        self._tokens = {
            # Checkpoints of older builds know tokens of kiosks only, without series.
            name: Token(name, t["digest"], Scope(t["scope"]), tuple(t.get("series", ())))
            for name, t in state["tokens"].items()
        }
        self._by_digest = {token.digest: token for token in self._tokens.values()}
        self._answers.restore(state["answers"])


_DONE = Answer(verdict=Verdict.DONE)


def _refused(reason: str) -> Answer:
    return Answer(verdict=Verdict.REFUSED, reason=reason)


def _not_found(reason: str) -> Answer:
    return Answer(verdict=Verdict.NOT_FOUND, reason=reason)
