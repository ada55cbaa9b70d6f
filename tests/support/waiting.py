"""Waiting for a condition with a deadline, for tests of things that run beside them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


async def until(condition: Callable[[], bool], within_s: float = 5.0) -> None:
    """Poll it while others run; raises TimeoutError when it has not come true in time."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - conditions of other people's code have no event
            await asyncio.sleep(0.002)
