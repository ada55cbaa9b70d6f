"""What a source needs of the centre (`Sink`) and what the centre needs of a source (`Source`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from ioc.model import Body


class Sink(Protocol):
    """Where decoded bodies go (the spine)."""

    @property
    def full(self) -> bool:
        """Whether sources should wait."""

    def offer(
        self,
        body: Body,
        origin: str = "",
        release: Callable[[], None] | None = None,
        *,
        may_shed: bool = False,
    ) -> None:
        """Queue a body; `release` once it is durable and fed. One that may be shed is dropped at the bound."""

    def offer_all(
        self,
        bodies: Sequence[Body],
        origin: str = "",
        release: Callable[[], None] | None = None,
        *,
        may_shed: bool = False,
    ) -> None:
        """Queue bodies that become durable in one commit, or none of them; at least one."""

    def received_us(self) -> int:
        """The wall clock."""


class Source(Protocol):
    """One feed. The supervisor runs it; the feeds table shows it."""

    @property
    def name(self) -> str:
        """As it stands in every record of this source."""

    @property
    def kind(self) -> str:
        """`mqtt`, `kafka` or `http`."""

    @property
    def connected(self) -> bool:
        """Whether readings can come."""

    @property
    def last_error(self) -> str:
        """Why it is, or last was, not connected; empty if never."""

    def lag(self) -> int | None:
        """What waits for us where it comes from; None where that cannot be known."""

    async def run(self) -> None:
        """Serve until cancelled, through every loss of the connection. Raises only what is a bug."""

    def resume(self) -> None:
        """The sink may have room again."""
