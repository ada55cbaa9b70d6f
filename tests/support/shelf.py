"""A sink for tests of sources: it keeps what is offered and releases it when told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from ioc.model import Batch, Body, Rejected, SourceState


class Offers:
    """One body is a group of one."""

    def offer(
        self,
        body: Body,
        origin: str = "",
        release: Callable[[], None] | None = None,
        *,
        may_shed: bool = False,
    ) -> None:
        self.offer_all([body], origin, release, may_shed=may_shed)

    def offer_all(
        self,
        bodies: Sequence[Body],
        origin: str = "",
        release: Callable[[], None] | None = None,
        *,
        may_shed: bool = False,
    ) -> None:
        raise NotImplementedError


class Shelf(Offers):
    """`at_once` releases by itself, as a log does that is quick."""

    def __init__(self, *, at_once: bool = True) -> None:
        self.bodies: list[Body] = []
        self.origins: list[str] = []
        self.waiting: list[Callable[[], None]] = []
        self.may_shed: list[bool] = []
        self.groups = 0
        self.at_once = at_once
        self.full = False

    def offer_all(
        self,
        bodies: Sequence[Body],
        origin: str = "",
        release: Callable[[], None] | None = None,
        *,
        may_shed: bool = False,
    ) -> None:
        assert bodies
        self.groups += 1
        self.bodies += bodies
        self.origins += [origin] * len(bodies)
        self.may_shed += [may_shed] * len(bodies)
        if release is not None:
            if self.at_once:
                asyncio.get_running_loop().call_soon(release)
            else:
                self.waiting.append(release)

    def received_us(self) -> int:
        return time.time_ns() // 1000

    def release(self) -> None:
        waiting, self.waiting = self.waiting, []
        for call in waiting:
            call()

    @property
    def values(self) -> list[float]:
        return [float(v) for b in self.bodies if isinstance(b, Batch) for v in b.value]

    @property
    def rejected(self) -> list[Rejected]:
        return [b for b in self.bodies if isinstance(b, Rejected)]

    @property
    def states(self) -> list[tuple[bool, int]]:
        return [(b.connected, b.generation) for b in self.bodies if isinstance(b, SourceState)]

    @property
    def reasons(self) -> list[str]:
        """Why connections ended."""
        return [b.detail for b in self.bodies if isinstance(b, SourceState) and not b.connected]
