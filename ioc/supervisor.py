"""`Supervisor`: runs the parts of one instance side by side. One that fails is started again and stops no other."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import structlog

PAUSE_MIN_S = 0.5
PAUSE_MAX_S = 30.0
STEADY_S = 30.0
"""A part that ran for this long had recovered: its next failure is a first one."""

Run = Callable[[], Awaitable[None]]
Failed = Callable[[BaseException | None], None]

log = structlog.get_logger()


class Supervisor:
    """Parts by name, each a task that goes on for ever."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, name: str, run: Run, failed: Failed | None = None) -> None:
        """Run a part until `stop`. `failed` is told whenever it has ended: with what it raised, or None."""
        self._tasks.append(asyncio.create_task(_for_ever(name, run, failed), name=name))

    async def stop(self) -> None:
        """End every part and wait for it."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()


async def _for_ever(name: str, run: Run, failed: Failed | None) -> None:
    loop = asyncio.get_running_loop()
    ceiling = PAUSE_MIN_S
    while True:
        begun = loop.time()
        error: BaseException | None = None
        try:
            await run()
        except asyncio.CancelledError as raised:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # Nobody asked for its end: it came from within.
            error = raised
            log.exception("a part failed and is started again", part=name)
        except Exception as raised:
            error = raised
            log.exception("a part failed and is started again", part=name)
        if failed is not None:
            try:
                failed(error)
            except Exception:
                log.exception("the failure of a part could not be told", part=name)
        if loop.time() - begun > STEADY_S:
            ceiling = PAUSE_MIN_S
        # Jitter: what fails together must not come back together.
        await asyncio.sleep(random.uniform(PAUSE_MIN_S / 2, ceiling))
        ceiling = min(ceiling * 2, PAUSE_MAX_S)
