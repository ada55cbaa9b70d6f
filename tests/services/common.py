"""What the services share: where programs come from, whom they run as, and what happens when they cannot be had."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import pytest

T = TypeVar("T")

SUITE = "trixie"
PACKAGES = ("postgresql-17-timescaledb", "mosquitto", "mosquitto-clients")
ENVIRONMENT: Mapping[str, str] = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "LANG": "C", "TZ": "UTC"}


def cannot_be_had(what: str, why: str) -> NoReturn:
    """Skip the test with the reason, or fail it where REQUIRE_SERVICES=1 says that services must be there."""
    reason = f"{what} cannot be had: {' '.join(why.split())[-300:]}"
    if os.environ.get("REQUIRE_SERVICES") == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def install(packages: Sequence[str]) -> str:
    """Debian packages onto this machine, where we may; why not, else nothing."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return "it is not installed, and only root on a Debian may install it"
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
        done = subprocess.run(
            ["apt-get", "-qq", *command],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        if done.returncode:
            return f"apt-get {command[0]} failed: {done.stderr}"
    return ""


@cache
def _unpacked() -> Path | str:
    """The tree of Debian programs, or why there is none."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        return "this is no Debian (no apt-get, no dpkg-deb)"
    owner = "" if os.geteuid() == 0 else f"-{os.getuid()}"
    dest = Path("/var/tmp") / f"ioc-services-{SUITE}{owner}"
    script = Path(__file__).with_name("tree.sh")
    try:
        subprocess.run(
            ["bash", script, SUITE, dest, *PACKAGES], check=True, capture_output=True, text=True, timeout=300
        )
    except subprocess.CalledProcessError as error:
        return f"tree.sh failed: {error.stderr.strip() or error}"
    except subprocess.TimeoutExpired:
        return "tree.sh took more than 300 s"
    return dest


def tree(what: str) -> Path:
    """Where the Debian programs lie unpacked; without them the test is skipped or fails."""
    found = _unpacked()
    return found if isinstance(found, Path) else cannot_be_had(what, found)


def service_user() -> dict[str, Any]:
    """Arguments for subprocess: root's services run as nobody."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def new_folder(*, in_memory: bool) -> Path:
    """A folder for one service, outside any home and owned by the user it runs as."""
    shm = Path("/dev/shm")
    parent = shm if in_memory and os.access(shm, os.W_OK) else Path("/var/tmp")
    folder = Path(tempfile.mkdtemp(prefix="ioc-test-", dir=parent))
    folder.chmod(0o700)
    give(folder)
    return folder


def give(path: Path) -> None:
    """Let the service's user own a file or folder."""
    who = service_user()
    if who:
        os.chown(path, who["user"], who["group"])


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(true: Callable[[], bool], deadline_s: float, what: str) -> None:
    """Poll a condition; raises TimeoutError naming what did not come about."""
    end = time.monotonic() + deadline_s
    while not true():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {deadline_s:.0f} s: {what}")
        time.sleep(0.01)


async def until(true: Callable[[], bool], what: str, deadline_s: float = 30.0) -> None:
    """The same where a loop runs."""
    end = time.monotonic() + deadline_s
    while not true():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {deadline_s:.0f} s: {what}")
        await asyncio.sleep(0.02)


def run_apart(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in a loop and thread of its own: fixtures may be called where a loop already runs."""
    got: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            got.append(asyncio.run(work))
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return got[0]


class Process:
    """One server process that ends with the test run, even if that is killed: its end of a pipe closes then."""

    def __init__(self, command: Sequence[str | Path], log: Path, end_signal: signal.Signals) -> None:
        self.log = log
        self._end_signal = end_signal
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=ENVIRONMENT,
                start_new_session=True,
                **service_user(),
            )
        pid = self._process.pid
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", f"cat >/dev/null; kill -{end_signal.value} {pid}"],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            **service_user(),
        )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it is alive."""
        return self._process.poll() is None

    def said(self) -> str:
        """The end of its log."""
        return self.log.read_text("utf-8", "replace")[-600:]

    def stop(self) -> None:
        """End it cleanly."""
        if self.running:
            self._process.send_signal(self._end_signal)
        try:
            self._process.wait(20)
        finally:
            self._dismiss_guard()

    def kill(self) -> None:
        """End it as a crash would."""
        self._process.kill()
        self._process.wait(20)
        self._dismiss_guard()

    def _dismiss_guard(self) -> None:
        self._guard.kill()
        self._guard.wait()
        if self._guard.stdin is not None:
            self._guard.stdin.close()


class Daemon:
    """A service of one process and one folder, that a test may end in either way and that leaves nothing behind."""

    _folder: Path
    _process: Process | None = None

    def stop(self) -> None:
        """Clean shutdown: what is queued is saved."""
        if self._process is not None:
            self._process.stop()
            self._process = None

    def kill(self) -> None:
        """End it as a crash would."""
        assert self._process is not None
        self._process.kill()
        self._process = None

    def close(self) -> None:
        """Stop it and remove its data."""
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)
