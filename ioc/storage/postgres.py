"""Runs the projection beside the monitor: follows the log, waits out an absent database, and tells how it fares."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeVar

import asyncpg
import structlog

from ioc.errors import IocError, StoreUnavailable
from ioc.storage.connection import AWAY, Connection, connect, reason
from ioc.storage.history import History, Trend
from ioc.storage.projection import Applied, Moved, Portion, Projection, check, take
from ioc.storage.source import FollowedLog, LogSource
from ioc.storage.status import ProjectionStatus, State, write_status

__all__ = ["History", "Projection", "ProjectionStatus", "Trend", "project"]

OpenLog = Callable[[Path], LogSource]
T = TypeVar("T")

POLL_S: Final = 0.1
"""Between two looks at the log: a transaction for each few readings would cost more than the readings."""
BACKOFF_FIRST_S: Final = 0.1
BACKOFF_MAX_S: Final = 5.0
STATUS_S: Final = 0.5
PING_S: Final = 1.0
PING_TIMEOUT_S: Final = 5.0
TRANSACTION_S: Final = 120.0
"""A transaction that takes longer is cut off: its connection is dead, or the server is."""
STOP_S: Final = 3.0
"""How long a stop lets the running transaction end."""
HOUSEKEEPING_S: Final = 60.0

_log = structlog.get_logger("ioc.storage")


async def project(
    dsn: str,
    log_folder: Path,
    status_path: Path,
    stop: asyncio.Event,
    *,
    keep_us: int | None = None,
    open_log: OpenLog = FollowedLog,
) -> None:
    """Keep the database up with the log until `stop`; readings older than `keep_us` are dropped by whole weeks."""
    runner = _Runner(dsn, log_folder, status_path, keep_us, open_log)
    running = asyncio.create_task(runner.run(stop))
    telling = asyncio.create_task(runner.tell())
    stopping = asyncio.create_task(stop.wait())
    tasks: set[asyncio.Task[Any]] = {running, telling, stopping}
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if not stop.is_set():
            # Only a bug ends either of them; it must not pass for a quiet projection.
            for task in (running, telling):
                if task.done():
                    task.result()
        await asyncio.wait({running}, timeout=STOP_S)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        runner.close()


class _Runner:
    """The state of one run: where it is, and what is to be told of it."""

    def __init__(
        self, dsn: str, log_folder: Path, status_path: Path, keep_us: int | None, open_log: OpenLog
    ) -> None:
        self._dsn = dsn
        self._folder = log_folder
        self._status_path = status_path
        self._keep_us = keep_us
        self._open_log = open_log
        self._log: LogSource | None = None
        # SQLite wants each connection used by the thread that opened it, and reading must not hold up the loop.
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="ioc-log")
        self._applied = Applied()
        self._wait_s = BACKOFF_FIRST_S
        self._state: State = "down"
        self._detail = "starting"
        self._lost = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Connect, follow, and begin again after every failure, for ever."""
        while not stop.is_set():
            connection: Connection | None = None
            try:
                connection = await connect(self._dsn)
                async with asyncio.timeout(TRANSACTION_S):
                    projection = await Projection.of(connection)
                await self._follow(connection, projection, stop)
            except Moved as error:
                _log.warning("projection_moved", detail=str(error))
            except (*AWAY, IocError, asyncpg.PostgresError) as error:
                self._down(error)
            finally:
                if connection is not None:
                    await _hang_up(connection)
            # Many projections must not all come back in the same instant.
            await _rest(stop, self._wait_s * random.uniform(0.5, 1.0))
            self._wait_s = min(BACKOFF_MAX_S, self._wait_s * 2)

    async def _follow(self, connection: Connection, projection: Projection, stop: asyncio.Event) -> None:
        house_due = ping_due = 0.0
        self._applied, self._lost = projection.applied, projection.lost
        await self._read(lambda log: check(log, projection.applied))
        ahead: asyncio.Future[Portion] | None = None
        try:
            while not stop.is_set():
                portion = await (ahead or self._take(projection.applied))
                # While the database works on one portion, the next is read, if it is sure to be there.
                ahead = self._take(portion.after(projection.applied)) if portion.full else None
                if portion.full:
                    self._state, self._detail = "lagging", "catching up"
                async with asyncio.timeout(TRANSACTION_S):
                    await projection.apply(portion)
                self._applied, self._lost = projection.applied, projection.lost
                if portion.lost:
                    _log.error("journal_entries_lost", lost=portion.lost, lost_in_all=self._lost)
                self._wait_s = BACKOFF_FIRST_S
                if portion.full:
                    continue
                now_s = time.monotonic()
                if portion:
                    ping_due = now_s + PING_S
                elif now_s >= ping_due:
                    # With nothing to write, the database's absence would otherwise go unseen.
                    async with asyncio.timeout(PING_TIMEOUT_S):
                        await connection.execute("SELECT 1")
                    ping_due = now_s + PING_S
                self._state, self._detail = "ok", ""
                if now_s >= house_due:
                    await self._keep_house(projection)
                    house_due = now_s + HOUSEKEEPING_S
                await _rest(stop, POLL_S)
        finally:
            if ahead is not None:
                ahead.cancel()

    def _take(self, applied: Applied) -> asyncio.Future[Portion]:
        return asyncio.ensure_future(self._read(lambda log: take(log, applied)))

    async def _read(self, look: Callable[[LogSource], T]) -> T:
        """Ask the log in its own thread; after a failure it is opened anew."""

        def ask() -> T:
            if self._log is None:
                self._log = self._open_log(self._folder)
            try:
                return look(self._log)
            except BaseException:
                self._close_log()
                raise

        return await asyncio.get_running_loop().run_in_executor(self._reader, ask)

    async def _keep_house(self, projection: Projection) -> None:
        """Index what is over and drop what is too old, by the log's own time."""
        now_us = projection.applied.now_us
        try:
            if self._keep_us is not None:
                await projection.readings.drop_before(now_us - self._keep_us)
            await projection.readings.index_closed(now_us)
        except asyncpg.InsufficientPrivilegeError as error:
            _log.warning("storage_housekeeping_refused", detail=reason(error))

    def _down(self, error: BaseException) -> None:
        detail = reason(error)
        if (self._state, self._detail) != ("down", detail):
            _log.warning("storage_down", detail=detail, kind=type(error).__name__)
        self._state, self._detail = "down", detail

    async def tell(self) -> None:
        """Write the status at least each second, whatever else hangs."""
        while True:
            status = ProjectionStatus(
                self._state, self._applied.number, self._applied.seq, self._told(), time.time_ns() // 1000
            )
            try:
                write_status(self._status_path, status)
            except OSError as error:
                # A full disk must not end the projection; the monitor sees that the status has grown old.
                _log.warning("status_not_written", detail=str(error))
            await asyncio.sleep(STATUS_S)

    def _told(self) -> str:
        # History goes on after a loss, but whoever reads it must go on being told.
        lost = f"{self._lost} journal entries are missing: the log had dropped them before they came here"
        return "; ".join(filter(None, (self._detail, lost if self._lost else "")))

    def _close_log(self) -> None:
        log, self._log = self._log, None
        if log is not None:
            log.close()

    def close(self) -> None:
        """Let go of the log."""
        self._reader.submit(self._close_log)
        self._reader.shutdown(wait=True)


async def _rest(stop: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)


async def _hang_up(connection: Connection) -> None:
    """Close politely where the server still listens, else at once."""
    closing: Awaitable[None] = connection.close(timeout=1.0)
    try:
        await closing
    except (*AWAY, asyncpg.PostgresError, StoreUnavailable):
        connection.terminate()
