"""The demo's PostgreSQL: quick, closed to strangers, patient after a crash, and never left behind."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from services.common import new_folder, wait_until

from ioc.demo.postgres import DemoPostgres
from ioc.errors import StoreUnavailable

pytestmark = pytest.mark.services


@pytest.fixture
def folder() -> Iterator[Path]:
    """A data folder that the server's user may enter."""
    made = new_folder(in_memory=False)
    made.chmod(0o711)
    yield made
    shutil.rmtree(made, ignore_errors=True)


async def _ask(dsn: str, sql: str) -> object:
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


async def test_it_keeps_its_data_and_password_over_a_restart(folder: Path) -> None:
    told: list[str] = []
    server = DemoPostgres.start(folder, told.append)
    try:
        dsn = server.dsn
        await _ask(dsn, "CREATE TABLE here AS SELECT 7 AS n")
    finally:
        server.stop()
    assert len(told) == 1
    again = DemoPostgres.start(folder, told.append, port=server.port)
    try:
        assert again.dsn == dsn
        assert await _ask(dsn, "SELECT n FROM here") == 7
    finally:
        again.stop()
    assert len(told) == 1


async def test_it_asks_for_a_password_that_only_its_owner_can_read(folder: Path) -> None:
    server = DemoPostgres.start(folder)
    try:
        assert stat.S_IMODE((folder / "password").stat().st_mode) == 0o600
        assert stat.S_IMODE((folder / "cluster").stat().st_mode) == 0o700
        with pytest.raises(asyncpg.InvalidPasswordError):
            await _ask(f"postgresql://ioc:wrong@127.0.0.1:{server.port}/postgres", "SELECT 1")
    finally:
        server.stop()


async def test_it_recovers_after_a_crash(folder: Path) -> None:
    server = DemoPostgres.start(folder)
    await _ask(server.dsn, "CREATE TABLE here AS SELECT 7 AS n")
    server.kill()
    assert (folder / "cluster" / "postmaster.pid").exists()
    server = DemoPostgres.start(folder)
    try:
        assert await _ask(server.dsn, "SELECT n FROM here") == 7
    finally:
        server.stop()


async def test_a_stale_pid_file_that_names_another_process_does_not_hinder_it(folder: Path) -> None:
    server = DemoPostgres.start(folder)
    server.kill()
    pid_file = folder / "cluster" / "postmaster.pid"
    lines = pid_file.read_text().split("\n")
    pid_file.write_text("\n".join([str(os.getpid()), *lines[1:]]))
    server = DemoPostgres.start(folder)
    try:
        assert await _ask(server.dsn, "SELECT 1") == 1
    finally:
        server.stop()


async def test_a_cluster_that_was_never_finished_is_begun_anew(folder: Path) -> None:
    (folder / "cluster.new").mkdir()
    (folder / "cluster.new" / "half").write_text("")
    (folder / "password").write_text("old")
    server = DemoPostgres.start(folder)
    try:
        assert await _ask(server.dsn, "SELECT 1") == 1
    finally:
        server.stop()


def test_it_stops_when_the_process_that_started_it_is_killed(folder: Path) -> None:
    script = (
        "import signal, sys; from pathlib import Path; from ioc.demo.postgres import DemoPostgres\n"
        "DemoPostgres.start(Path(sys.argv[1])); print('up', flush=True); signal.pause()"
    )
    owner = subprocess.Popen([sys.executable, "-c", script, folder], stdout=subprocess.PIPE)
    assert owner.stdout is not None
    try:
        assert owner.stdout.readline() == b"up\n"
        pid_file = folder / "cluster" / "postmaster.pid"
        assert pid_file.exists()
    finally:
        owner.kill()
        owner.wait()
        owner.stdout.close()
    wait_until(lambda: not pid_file.exists(), 15, "the server has stopped and removed its pid file")


def test_a_server_that_cannot_start_says_why(folder: Path) -> None:
    server = DemoPostgres.start(folder)
    server.stop()
    (folder / "cluster" / "postgresql.auto.conf").write_text("shared_buffers = 'much'\n")
    with pytest.raises(StoreUnavailable, match=r"shared_buffers|configuration"):
        DemoPostgres.start(folder)


@pytest.mark.root
def test_root_is_told_which_folder_its_server_cannot_enter(folder: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root's server runs as another user")
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(StoreUnavailable, match="may not enter"):
        DemoPostgres.start(closed / "data")
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


@pytest.mark.root
def test_roots_server_runs_from_a_copy_where_the_wheel_lies_in_a_home(folder: Path, monkeypatch) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root's server runs as another user")
    from ioc.demo import postgres

    monkeypatch.setattr(postgres, "_others_may_enter", lambda path: False)
    monkeypatch.setattr(postgres.tempfile, "gettempdir", lambda: str(folder))
    server = DemoPostgres.start(folder / "data")
    try:
        assert server.running
        assert list(folder.glob("ioc-postgres-*/*/*/bin/postgres"))
    finally:
        server.stop()
