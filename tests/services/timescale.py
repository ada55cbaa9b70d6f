"""PostgreSQL 17 with TimescaleDB (Apache edition), and plain PostgreSQL from the wheel, under the same control."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Protocol

import asyncpg

from ioc.demo.postgres import DemoPostgres
from ioc.errors import StoreUnavailable
from services.common import (
    ENVIRONMENT,
    Daemon,
    Process,
    cannot_be_had,
    free_port,
    new_folder,
    run_apart,
    service_user,
    tree,
    wait_until,
)

_names = itertools.count(1)
_FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "shared_preload_libraries": "timescaledb",
    "timescaledb.telemetry_level": "off",
    "timescaledb.max_background_workers": "2",
    "jit": "off",
    "max_wal_size": "1GB",
    "log_min_messages": "warning",
}


class DatabaseServer(Protocol):
    """A database server that a test may take away and bring back on the same port."""

    port: int

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def kill(self) -> None: ...
    def dsn(self, database: str = "postgres") -> str: ...


def create_database(server: DatabaseServer) -> str:
    """A fresh database; returns its name."""
    name = f"t{os.getpid()}_{next(_names)}"
    run_apart(_execute(server.dsn(), f"CREATE DATABASE {name}"))
    return name


def drop_database(server: DatabaseServer, name: str) -> None:
    """Away with it, whoever is still connected."""
    run_apart(_execute(server.dsn(), f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))


async def _execute(dsn: str, sql: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()


class Timescale(Daemon):
    """One server of the unpacked tree, ended by SIGINT: SIGQUIT would leave files in /dev/shm. `durable` keeps fsync on and the data on disk, for tests that kill it."""

    def __init__(self, *, durable: bool = False) -> None:
        self._durable = durable
        self._tree = tree("TimescaleDB")
        self._programs = next(self._tree.glob("usr/lib/postgresql/*/bin"))
        self._folder = new_folder(in_memory=not durable)
        self.port = free_port()
        try:
            copy_cluster(self._template(), self._folder / "data")
            self.start()
        except BaseException:
            self.close()
            raise

    def dsn(self, database: str = "postgres") -> str:
        """How to reach one of its databases."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start it and wait until it is ready, a recovery included."""
        settings = _SETTINGS | ({} if self._durable else _FAST)
        command: list[str | Path] = [self._programs / "postgres", "-D", self._folder / "data"]
        command += ["-p", str(self.port), "-k", self._folder]
        command += [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        self._process = Process(command, self._folder / "log", signal.SIGINT)
        pid_file = self._folder / "data" / "postmaster.pid"

        def ready() -> bool:
            assert self._process is not None
            if not self._process.running:
                # The children of a server that was killed need a moment to see that they are orphans.
                assert "shared memory block" in self._process.said(), self._process.said()
                self._process.stop()
                self._process = Process(command, self._folder / "log", signal.SIGINT)
            lines = pid_file.read_text().split("\n") if pid_file.exists() else []
            return len(lines) > 7 and lines[0] == str(self._process.pid) and lines[7].strip() == "ready"

        wait_until(ready, 60.0, "TimescaleDB is ready")

    def _template(self) -> Path:
        """A cluster with the extension in template1, made once and kept beside the tree."""
        template = self._tree.with_name(f"{self._tree.name}.cluster")
        if (template / "PG_VERSION").exists():
            return template
        making = Path(tempfile.mkdtemp(prefix=f"{template.name}.", dir=template.parent))
        data = making / "data"
        who = service_user()
        try:
            if who:
                os.chown(making, who["user"], who["group"])
            options = ["-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8"]
            options += ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
            self._run([self._programs / "initdb", "-D", data, *options], who)
            preload = ["-c", "shared_preload_libraries=timescaledb"]
            self._run(
                [self._programs / "postgres", "--single", "-j", *preload, "-D", data, "template1"],
                who,
                b"CREATE EXTENSION timescaledb;\n\n",
            )
            try:
                data.rename(template)
            except OSError:
                # Another run was first.
                assert (template / "PG_VERSION").exists()
        finally:
            shutil.rmtree(making, ignore_errors=True)
        return template

    def _run(self, command: list[Any], who: dict[str, Any], given: bytes = b"") -> None:
        done = subprocess.run(
            command, input=given, capture_output=True, check=False, env=ENVIRONMENT, timeout=120, **who
        )
        assert done.returncode == 0, done.stderr.decode(errors="replace")


class PlainPostgres:
    """The demo's PostgreSQL: no TimescaleDB. `durable` as above."""

    def __init__(self, *, durable: bool = False) -> None:
        self._durable = durable
        self._folder = new_folder(in_memory=not durable)
        # The server's user has to pass through; the data folder inside stays closed.
        self._folder.chmod(0o711)
        self.port = 0
        self._server: DemoPostgres | None = None
        try:
            self.start()
        except StoreUnavailable as error:
            self.close()
            cannot_be_had("plain PostgreSQL", str(error))
        except BaseException:
            self.close()
            raise

    def dsn(self, database: str = "postgres") -> str:
        """How to reach one of its databases."""
        assert self._server is not None
        return f"{self._server.dsn.rsplit('/', 1)[0]}/{database}"

    def start(self) -> None:
        """Start it on the port it had."""
        self._server = DemoPostgres.start(self._folder, port=self.port, durable=self._durable)
        self.port = self._server.port

    def stop(self) -> None:
        """Fast shutdown."""
        if self._server is not None:
            self._server.stop()

    def kill(self) -> None:
        """End it as a crash would."""
        assert self._server is not None
        self._server.kill()

    def close(self) -> None:
        """Stop it and remove its data."""
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)


def copy_cluster(template: Path, data: Path) -> None:
    """A cluster, its owner and modes included."""
    subprocess.run(["cp", "-a", template, data], check=True)
