"""The projection beside the monitor: it outlasts an absent database, tells how it fares, and ends when it should."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from services.common import free_port, until
from support.listlog import ListLog
from support.log_items import transition

from ioc.log.sqlite import SqliteLog
from ioc.model import Batch, Input, SeriesAdded
from ioc.storage.connection import connect
from ioc.storage.postgres import project

pytestmark = pytest.mark.services

T0 = 1_790_000_000_000_000


def _batch(n: int, rows: int = 3) -> Batch:
    stamps = [T0 + n * 1_000_000 + i for i in range(rows)]
    return Batch.of("mqtt", [0] * rows, stamps, stamps, [float(n)] * rows)


def _told(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text("utf-8")) if path.exists() else {}


async def _until_told(status: Path, state: str = "", applied: int = 0) -> dict[str, Any]:
    """Wait until the status says this state (any, if empty) and at least that number; returns it."""
    await until(
        lambda: (
            bool(told := _told(status))
            and told["state"] == (state or told["state"])
            and told["applied"] >= applied
        ),
        f"{state or 'any state'} at {applied}",
    )
    return _told(status)


async def _count(dsn: str) -> int:
    connection = await connect(dsn)
    try:
        return await connection.fetchval("SELECT count(*) FROM readings")
    finally:
        await connection.close()


async def test_it_catches_up_after_the_database_was_away(store, tmp_path: Path) -> None:
    log, status, stop = ListLog(), tmp_path / "status.json", asyncio.Event()
    log.add(SeriesAdded(((0, "energy/a/power"),)), *map(_batch, range(10)))
    running = asyncio.create_task(project(store.dsn, tmp_path, status, stop, open_log=log.opener))
    try:
        await _until_told(status, "ok", 11)
        await asyncio.to_thread(store.server.stop)
        log.add(*map(_batch, range(10, 20)))
        told = await _until_told(status, "down")
        assert told["detail"]
        await until(lambda: _told(status)["at_us"] > told["at_us"], "the status is written anew")
        await asyncio.to_thread(store.server.start)
        await _until_told(status, "ok", 21)
    finally:
        stop.set()
        await running
    assert await _count(store.dsn) == 60


async def test_it_notices_the_databases_absence_though_it_has_nothing_to_write(store, tmp_path: Path) -> None:
    status, stop = tmp_path / "status.json", asyncio.Event()
    running = asyncio.create_task(project(store.dsn, tmp_path, status, stop, open_log=ListLog().opener))
    try:
        await _until_told(status, "ok")
        await asyncio.to_thread(store.server.stop)
        try:
            await _until_told(status, "down")
        finally:
            await asyncio.to_thread(store.server.start)
    finally:
        stop.set()
        await running


async def test_a_killed_server_loses_no_row_and_doubles_none(durable_timescale, tmp_path: Path) -> None:
    server, log, status, stop = durable_timescale, ListLog(), tmp_path / "status.json", asyncio.Event()
    running = asyncio.create_task(project(server.dsn(), tmp_path, status, stop, open_log=log.opener))
    try:
        await _until_told(status, "ok")
        for round_ in range(3):
            log.add(*(_batch(round_ * 400 + n, 50) for n in range(400)))
            await _until_told(status, applied=round_ * 400 + 1)
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
        await _until_told(status, applied=1200)
    finally:
        stop.set()
        await running
    assert await _count(server.dsn()) == 60_000


async def test_another_logs_database_is_left_alone_and_said_so(store, tmp_path: Path) -> None:
    log, status = ListLog(), tmp_path / "status.json"
    log.add(*map(_batch, range(10)))
    for source, word in ((log, "ok"), (ListLog(), "down")):
        stop = asyncio.Event()
        status.unlink(missing_ok=True)
        running = asyncio.create_task(project(store.dsn, tmp_path, status, stop, open_log=source.opener))
        try:
            await _until_told(status, word, 10)
        finally:
            stop.set()
            await running
    assert "this database belongs to another log" in _told(status)["detail"]


async def test_it_goes_on_after_a_loss_of_journal_entries_and_keeps_telling_it(store, tmp_path: Path) -> None:
    log, status = ListLog(), tmp_path / "status.json"
    log.add(*map(_batch, range(3)))
    log.steps = [transition(number) for number in (1, 2, 3)]
    log.first_seq = 3
    for end in (3, 4):
        stop = asyncio.Event()
        status.unlink(missing_ok=True)
        running = asyncio.create_task(project(store.dsn, tmp_path, status, stop, open_log=log.opener))
        try:
            told = await _until_told(status, "ok", end)
        finally:
            stop.set()
            await running
        assert told["detail"].startswith("2 journal entries are missing")
        log.add(_batch(4))


def _real_log(folder: Path, count: int) -> None:
    log = SqliteLog.open(folder)
    try:
        records: list[Input] = [Input(1, T0, SeriesAdded(((0, "energy/a/power"),)))]
        records += [Input(n + 2, T0 + n + 1, _batch(n)) for n in range(count)]
        log.commit(records, [])
    finally:
        log.close()


async def _start(dsn: str, log: Path, status: Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "ioc.storage", "--log", str(log), "--status", str(status),
        env={**os.environ, "IOC_DATABASE__DSN": dsn},
    )  # fmt: skip


async def test_the_process_follows_a_real_log_and_ends_cleanly_on_a_signal(store, tmp_path: Path) -> None:
    status = tmp_path / "status.json"
    _real_log(tmp_path / "log", 200)
    process = await _start(store.dsn, tmp_path / "log", status)
    try:
        await _until_told(status, applied=201)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 10) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert await _count(store.dsn) == 600


async def test_the_process_ends_on_a_signal_while_the_database_is_away(tmp_path: Path) -> None:
    status = tmp_path / "status.json"
    process = await _start(f"postgresql://nobody@127.0.0.1:{free_port()}/none", tmp_path / "log", status)
    try:
        await until(lambda: _told(status).get("detail", "starting") != "starting", "it has tried to connect")
        assert _told(status)["state"] == "down"
        process.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(process.wait(), 10) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_the_process_ends_when_its_parent_dies(database: str, tmp_path: Path) -> None:
    status = tmp_path / "status.json"
    # The shell starts it and stays; killing the shell leaves an orphan.
    shell = await asyncio.create_subprocess_exec(
        "/bin/sh", "-c", f'"{sys.executable}" -m ioc.storage --log "{tmp_path}/log" --status "{status}" & echo $!; wait',
        env={**os.environ, "IOC_DATABASE__DSN": database},
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert shell.stdout is not None
    pid = int(await shell.stdout.readline())
    await _until_told(status, "ok")
    shell.kill()
    await shell.wait()
    await until(lambda: not _alive(pid), "the orphan has ended")


def _alive(pid: int) -> bool:
    try:
        # A zombie that nobody has buried yet is dead.
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_the_process_refuses_to_run_without_a_dsn(tmp_path: Path) -> None:
    process = await _start("", tmp_path, tmp_path / "status.json")
    assert await process.wait() == 2
