"""The monitor under test: a real `ioc run` with ten limit rules a series, seen from outside."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml
from child import Child, cpu_s, family, pinned
from services.timescale import Timescale, create_database, drop_database
from support.instance import Instance, until
from support.packs import limit_rule, write_pack

from ioc.model import Batch

HERE = Path(__file__).resolve().parent
USER = "an"
UP = (99.0, 4e8, 5e8, 6e8, 7e8)
DOWN = (10.0, 5.0, 0.0, -5.0, -10.0)
"""Readings lie between 20 and 30 and alerts above 1e8: only the first of the ten is ever crossed."""


@contextmanager
def bench_folder() -> Iterator[Path]:
    """A folder on a real disk (the system's temporary one may be memory)."""
    folder = Path(tempfile.mkdtemp(prefix="ioc-bench-", dir=os.environ.get("IOC_BENCH_DISK", "/var/tmp")))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def ten_rule_pack(folder: Path, series: int) -> Path:
    """A pack of that many series of the load, ten limit rules on each, a deadband on all, no delay."""
    width = max(3, len(str(series - 1)))
    names = [f"energy/s{i:0{width}d}/kw" for i in range(series)]
    rules = [limit_rule(f"over_{i}", {1: at}, deadband=1.0) for i, at in enumerate(UP)]
    rules += [limit_rule(f"under_{i}", {1: at}, deadband=1.0, direction="down") for i, at in enumerate(DOWN)]
    write_pack(folder, names[:1], rules)
    # The other stations as JSON, which YAML contains: a hundred thousand of them are written in a moment.
    file = folder / "stations" / "all.yaml"
    (first,) = yaml.safe_load(file.read_text("utf-8"))["stations"]
    stations = [json.dumps(first | {"id": name.split("/")[1]}, ensure_ascii=False) for name in names]
    file.write_text('{"stations": [' + ",\n".join(stations) + "]}\n", "utf-8")
    return folder


@dataclass(frozen=True)
class Logged:
    """What the log holds since a record: readings, and the wall clock (µs) from the first receipt to the last record."""

    rows: int
    first_us: int
    last_us: int
    last_number: int

    @property
    def rate(self) -> float:
        """Readings a second; 0 if there were none."""
        if self.last_us <= self.first_us:
            return 0.0
        return self.rows / (self.last_us - self.first_us) * 1e6


class Monitor(Instance):
    """Started and connected; `dsn` turns the projection on, `cpu` keeps everything of it on one processor."""

    def __init__(
        self, folder: Path, mqtt_url: str, *, series: int = 1_000, pack: Path | None = None, dsn: str = "",
        cpu: int | None = None, qos: int | None = None, **settings: str,
    ) -> None:  # fmt: skip
        folder.mkdir(parents=True, exist_ok=True)
        if dsn:
            settings["IOC_DATABASE__DSN"] = dsn
        super().__init__(folder, pack or ten_rule_pack(folder / "pack", series), mqtt_url, **settings)
        if qos is not None:
            file = folder / "ioc.toml"
            file.write_text(f"[mqtt]\nqos = {qos}\n", "utf-8")
            self.command += ["--config", str(file)]
        self._cpu = cpu
        self._with_projection = bool(dsn)
        self.client: httpx.Client

    def begin(self, wait_s: float = 30.0) -> None:
        """Start it, log in, and wait for the projection where there is one."""
        self.add_user(USER, "An")
        self.start(wait=False, prefix=tuple(pinned(self._cpu)))
        until(self.ready, wait_s, f"answer from {self.url}; it says: {self.said()}")
        self.client = self.login(USER)
        if self._with_projection:
            until(lambda: self.feeds()["history"]["state"] == "ok", 30, "projection at work")

    def close(self) -> None:
        """End it and its projection at once, so that neither disturbs what is measured next."""
        if self.process is not None and self.process.poll() is None:
            for pid in family(self.process.pid)[1:]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        super().close()

    def wait_connected(self, source: str = "mqtt") -> None:
        """Until the feed is connected."""

        def connected() -> bool:
            return any(f["connected"] and f["source"] == source for f in self.feeds()["items"])

        until(connected, 20, f"connection of {source}")
        # For the broker's answer to SUBSCRIBE: a reading of QoS 0 sent before it is for nobody.
        time.sleep(0.3)

    def feeds(self) -> dict[str, Any]:
        """What the feeds' table shows."""
        answer: dict[str, Any] = self.client.get("/api/v1/feeds").json()
        return answer

    def screens(self) -> list[Child]:
        """The probe on alarms, and a wall beside it."""
        url = self.url.replace("http", "ws", 1) + "/ws/v1"
        script, cookie = str(HERE / "probe.py"), self.client.cookies["ioc_session"]
        screens = [Child([sys.executable, script, mode, url, cookie]) for mode in ("alarms", "wall")]
        for screen in screens:
            assert screen.hear(20) == "ready"
        return screens

    def readings(self) -> int:
        """Readings that are in the log, by the monitor's own counter."""
        text = httpx.get(f"{self.url}/metrics", timeout=10).text
        found = re.search(r"^ioc_readings_total (\S+)$", text, re.M)
        assert found, "no ioc_readings_total in /metrics"
        return int(float(found[1]))

    def wait_readings(self, count: int, timeout_s: float) -> bool:
        """Until that many are in the log in all; False if that does not come about."""
        end = time.monotonic() + timeout_s
        while self.readings() < count:
            if time.monotonic() > end:
                return False
            time.sleep(0.1)
        return True

    def cpu(self) -> float:
        """CPU seconds of the monitor and its projection so far."""
        assert self.process is not None
        return cpu_s(family(self.process.pid))

    def logged(self, after: int = 0) -> Logged:
        """The readings in the log after a record, counted one by one from outside."""
        reader = self.reader()
        rows, first, last, number = 0, 0, 0, after
        for record in reader.read(after):
            number = record.number
            if isinstance(record.body, Batch):
                first = first or int(record.body.received_us.min())
                last, rows = record.now_us, rows + len(record.body)
        reader.close()
        return Logged(rows, first, last, number)


@contextmanager
def database() -> Iterator[Timescale]:
    """A TimescaleDB with fsync on."""
    server = Timescale(durable=True)
    try:
        yield server
    finally:
        server.close()


@contextmanager
def fresh_dsn(server: Timescale) -> Iterator[str]:
    """A database of its own for one monitor."""
    name = create_database(server)
    try:
        yield server.dsn(name)
    finally:
        drop_database(server, name)
