"""A real `ioc run` as a process of its own: started, killed, stopped and looked at from outside."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx

from ioc.credentials import hash_password
from ioc.log.reader import LogReader
from ioc.model import Batch, Input, Role, SetUser, Transition
from ioc.offline import submit

T = TypeVar("T")
PASSWORD = "mat-khau-thu"


def until(look: Callable[[], T], seconds: float, what: str) -> T:
    """Poll until something is there. Raises AssertionError naming what was waited for."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"after {seconds:g} s still no {what}")
        time.sleep(0.02)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Instance:
    """One data folder, and the process that may be running on it."""

    def __init__(self, folder: Path, pack: Path, mqtt_url: str, **settings: str) -> None:
        self.data = folder / "data"
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.output = folder / "output.log"
        self.command = [sys.executable, "-m", "ioc", "run"]
        self.env = {
            **os.environ,
            "IOC_DATA": str(self.data),
            "IOC_PACK": str(pack),
            "IOC_MQTT__URL": mqtt_url,
            "IOC_WEB__PORT": str(self.port),
            **settings,
        }

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, *, wait: bool = True, prefix: tuple[str, ...] = (), **settings: str) -> None:
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                [*prefix, *self.command], env={**self.env, **settings}, stdout=output, stderr=output,
                cwd=self.output.parent,
            )  # fmt: skip
        if wait:
            until(self.ready, 30, f"answer from {self.url}; it says: {self.said()}")

    def ready(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"the instance ended with {self.process.returncode}: {self.said()}")
        try:
            return httpx.get(f"{self.url}/readyz", timeout=2).status_code == 200
        except httpx.TransportError:
            return False

    def said(self) -> str:
        return self.output.read_text("utf-8", "replace")[-3000:] if self.output.exists() else ""

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Ctrl-C, and the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(30)

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def add_user(self, user: str, name: str, role: Role = Role.OFFICER) -> None:
        """Before or while it runs."""
        command = SetUser(actor="system", user=user, name=name, role=role, secret=hash_password(PASSWORD))
        submit(self.data, command, source_clock=self.env.get("IOC_VERDICT__CLOCK") == "source")

    def login(self, user: str) -> httpx.Client:
        client = httpx.Client(base_url=self.url, headers={"Origin": self.url}, timeout=10)
        reply = client.post("/api/v1/login", json={"user": user, "password": PASSWORD})
        assert reply.status_code == 204, reply.text
        return client

    def reader(self) -> LogReader:
        return LogReader(self.data / "log")

    def inputs(self) -> list[Input]:
        return list(self.reader().read(0))

    def transitions(self) -> list[Transition]:
        return [t for _, t in self.reader().outputs(0)]

    def rows_logged(self) -> int:
        """Readings in the log so far."""
        return sum(len(i.body) for i in self.inputs() if isinstance(i.body, Batch))


def names_of(inputs: list[Input]) -> dict[int, str]:
    """Series ids by number."""
    from ioc.model import SeriesAdded

    return {n: s for i in inputs if isinstance(i.body, SeriesAdded) for n, s in i.body.items}


def stored_rows(inputs: list[Input]) -> list[tuple[str, int, float, int]]:
    """(series, event time, value, flags) of every reading that the log holds to be stored."""
    from ioc.model import NOT_STORED

    names = names_of(inputs)
    out: list[tuple[str, int, float, int]] = []
    for record in inputs:
        if isinstance(record.body, Batch):
            batch = record.body
            for row in range(len(batch)):
                flags = int(batch.flags[row])
                if not flags & NOT_STORED:
                    out.append(
                        (
                            names[int(batch.series[row])],
                            int(batch.event_us[row]),
                            float(batch.value[row]),
                            flags,
                        )
                    )
    return out


def facts(transitions: list[Transition]) -> set[tuple[Any, ...]]:
    """(rule, asset, occurrence, step, event time) of event-time rules."""
    return {
        (t.rule, t.asset, t.occurrence, t.step, t.kind, t.event_us)
        for t in transitions
        if not t.rule.startswith(("system_", "no_data", "too_late"))
    }
