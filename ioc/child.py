"""Ending the processes that this one started."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import Process

PATIENCE_S = 5.0


async def end(process: Process) -> None:
    """Gently first: SIGTERM, and SIGKILL for one that does not hear it."""
    if process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), PATIENCE_S)
    except TimeoutError:
        process.kill()
        await process.wait()
