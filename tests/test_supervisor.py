"""One part fails, again and again; the others go on, and it is started each time."""

from __future__ import annotations

import asyncio

import pytest

from ioc import supervisor
from ioc.supervisor import Supervisor


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "PAUSE_MIN_S", 0.0)


async def test_a_part_that_fails_is_started_again_and_stops_no_other() -> None:
    starts: list[str] = []
    told: list[BaseException | None] = []
    enough = asyncio.Event()

    async def fails() -> None:
        starts.append("fails")
        if len(starts) >= 3:
            enough.set()
        raise ValueError("broken")

    async def steady() -> None:
        starts.append("steady")
        await asyncio.Event().wait()

    parts = Supervisor()
    parts.start("steady", steady)
    parts.start("fails", fails, told.append)
    await asyncio.wait_for(enough.wait(), 5)
    await parts.stop()
    assert starts.count("steady") == 1
    assert starts.count("fails") >= 2
    assert all(isinstance(error, ValueError) for error in told)


async def test_a_part_that_ends_is_told_with_no_error_and_started_again() -> None:
    told: list[BaseException | None] = []
    enough = asyncio.Event()

    async def ends() -> None:
        if len(told) >= 2:
            enough.set()

    parts = Supervisor()
    parts.start("ends", ends, told.append)
    await asyncio.wait_for(enough.wait(), 5)
    await parts.stop()
    assert told[:2] == [None, None]


async def test_stop_ends_what_hangs() -> None:
    ended: list[str] = []

    async def hangs() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("hangs")

    parts = Supervisor()
    parts.start("hangs", hangs)
    await asyncio.sleep(0)
    await parts.stop()
    assert ended == ["hangs"]


async def test_a_cancellation_from_within_and_a_teller_that_fails_end_nothing() -> None:
    starts: list[int] = []
    enough = asyncio.Event()

    async def cancels_itself() -> None:
        starts.append(1)
        if len(starts) >= 3:
            enough.set()
        raise asyncio.CancelledError

    def tell(error: BaseException | None) -> None:
        raise RuntimeError("the teller is broken")

    parts = Supervisor()
    parts.start("cancels", cancels_itself, tell)
    await asyncio.wait_for(enough.wait(), 5)
    await asyncio.wait_for(parts.stop(), 5)
    assert len(starts) >= 3
