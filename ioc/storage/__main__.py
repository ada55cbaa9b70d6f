"""`python -m ioc.storage`: the projection as a process of its own. The DSN comes by the environment, not by `ps`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import Final

from ioc.storage.postgres import project

DSN_VARIABLE: Final = "IOC_DATABASE__DSN"
DAY_US: Final = 24 * 3600 * 1_000_000


def main() -> int:
    """Run until SIGTERM, SIGINT or the death of the process that started this one."""
    parser = argparse.ArgumentParser(prog="python -m ioc.storage", description=__doc__)
    parser.add_argument("--log", type=Path, required=True, help="folder of the log")
    parser.add_argument("--status", type=Path, required=True, help="file to tell the state in")
    parser.add_argument("--keep-days", type=float, default=None, help="drop readings older than this")
    parser.add_argument(
        "--parent", type=int, default=os.getppid(), help="end when this is no longer the parent"
    )
    given = parser.parse_args()
    dsn = os.environ.get(DSN_VARIABLE, "")
    if not dsn:
        print(f"ioc.storage: {DSN_VARIABLE} is not set", file=sys.stderr)
        return 2
    keep_us = None if given.keep_days is None else int(given.keep_days * DAY_US)
    asyncio.run(_run(dsn, given.log, given.status, keep_us, given.parent))
    return 0


async def _run(dsn: str, log: Path, status: Path, keep_us: int | None, parent: int) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    watching = asyncio.create_task(_watch(parent, stop))
    try:
        await project(dsn, log, status, stop, keep_us=keep_us)
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching


async def _watch(parent: int, stop: asyncio.Event) -> None:
    """An orphan must end, or the next monitor would find its database taken."""
    while os.getppid() == parent:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), 0.5)
            return
    stop.set()


if __name__ == "__main__":
    sys.exit(main())
