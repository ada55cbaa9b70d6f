"""Waiting for a condition with a deadline, in asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


async def until(look: Callable[[], object], what: str, seconds: float = 15.0) -> None:
    """Poll until something is so. Raises AssertionError naming what was waited for."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not look():
        if loop.time() > deadline:
            raise AssertionError(f"after {seconds:g} s still no {what}")
        await asyncio.sleep(0.01)
