"""`Command`: what a person did. Enters by the log like everything else; never holds a secret in clear."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter


class Role(StrEnum):
    """What an account may do: look, acknowledge, manage accounts."""

    VIEWER = "viewer"
    OFFICER = "officer"
    ADMIN = "admin"


class Scope(StrEnum):
    """What a token is good for: opening the wall of a kiosk, or sending readings."""

    WALL = "wall"
    READINGS = "readings"


class _Command(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    actor: str
    """Login name of who did it; `system` for the machine itself."""
    actor_name: str = ""
    """That person's name as it is shown."""
    key: str = ""
    """Idempotency key; the same request under it by the same actor gets the same answer for 24 h, any other none."""


class Acknowledge(_Command):
    """Somebody has seen an alarm. Names the occurrence (`alarm`) and the version they saw."""

    kind: Literal["acknowledge"] = "acknowledge"
    alarm: str
    version: int
    note: str = ""


class SetUser(_Command):
    """Create or change an account. `secret` is an argon2 string."""

    kind: Literal["set_user"] = "set_user"
    user: str
    name: str
    role: Role
    secret: str


class RemoveUser(_Command):
    """Remove an account and its sessions."""

    kind: Literal["remove_user"] = "remove_user"
    user: str


class AddToken(_Command):
    """Create a token; `digest` is sha-256 of it in hex."""

    kind: Literal["add_token"] = "add_token"
    token: str
    """Its public name."""
    digest: str
    scope: Scope = Scope.WALL
    series: tuple[str, ...] = ()
    """What it may send, as `disaster/*`; `*` stands for anything. Empty: every series."""


class RevokeToken(_Command):
    """Withdraw a token."""

    kind: Literal["revoke_token"] = "revoke_token"
    token: str


class Reinject(_Command):
    """Take a quarantined payload up again: what it brings follows in records whose origin names `number`."""

    kind: Literal["reinject"] = "reinject"
    number: int
    """The log number of the `Rejected`."""


COMMAND_TYPES = (Acknowledge, SetUser, RemoveUser, AddToken, RevokeToken, Reinject)
Command = Acknowledge | SetUser | RemoveUser | AddToken | RevokeToken | Reinject

COMMANDS: TypeAdapter[Command] = TypeAdapter(Annotated[Command, Field(discriminator="kind")])


class Verdict(StrEnum):
    """How a command ended."""

    DONE = "done"
    CONFLICT = "conflict"
    NOT_FOUND = "not_found"
    REFUSED = "refused"


class Answer(BaseModel):
    """What a command's sender is told. `alarm` is the alarm it concerned, as it stands after the command."""

    model_config = ConfigDict(frozen=True)

    verdict: Verdict
    reason: str = ""
    alarm: str = ""
    """Id of the alarm that now stands (the newer occurrence on a conflict), if any."""


SEVERAL = "this entry stands for several items of a payload, of which others were taken"
"""Why a payload cannot be re-injected: the whole would double those. What it holds can be published anew."""


@dataclass(frozen=True, slots=True)
class Reinjected:
    """What came of a `Reinject`: the answer, how many readings it brought, how many items were rejected once more."""

    answer: Answer
    accepted: int = 0
    rejected: int = 0
