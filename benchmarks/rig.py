"""One subject on a broker of its own, with its load and its screen: the monitor, or Node-RED, under the same runs."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from child import Child, cpu_s, family
from load.generator import Load
from monitor import HERE, Monitor, fresh_dsn
from peers.nodered import NodeRed
from services.mosquitto import Mosquitto
from services.timescale import Timescale

from ioc.health import read_projection

GRACE_S = 20.0
"""For what was sent to come out at the other end; what has not come by then is lost."""
BACKLOG_MS_MAX = 200.0
BEHIND_S_MAX = 3.0
LAG_MS_MAX = 100.0


@dataclass(frozen=True)
class Run:
    """One run at one rate: what was asked, what came, how fast, and what it cost."""

    asked: float
    achieved: float
    sent: int
    load_lag_ms: float
    """How far the generator fell behind its clock at worst."""
    lost: int
    """Readings that are not in the log; of a peer without a log nothing is known but its alerts."""
    alerts: int
    alerts_lost: int
    p50_ms: float | None
    p99_ms: float | None
    worst_ms: float | None
    backlog_ms: float
    """From the last reading sent to the last alert."""
    behind_s: float
    """From the last reading in the log to the last in the database."""
    cpu_us: float
    """CPU a message, all processes of the subject."""
    generator: str = "c"
    """"python" where there was no compiler: slower, and itself a burden on what is measured."""

    @property
    def sound(self) -> bool:
        """Everything came, and nothing was left waiting when the load ended."""
        return (
            self.lost == 0 and self.alerts_lost == 0 and self.achieved >= 0.99 * self.asked
            and self.load_lag_ms <= LAG_MS_MAX and self.backlog_ms <= BACKLOG_MS_MAX and self.behind_s <= BEHIND_S_MAX
        )  # fmt: skip

    def as_json(self) -> dict[str, Any]:
        """For the raw results."""
        return asdict(self) | {"sound": self.sound}


class Subject(Protocol):
    """What is measured."""

    def cpu(self) -> float: ...
    def settle(self, sent: int) -> tuple[int, float]:
        """Wait for all it has taken; readings lost in this run, and seconds that its database was behind."""
        ...


class Ours:
    """The monitor as a subject."""

    def __init__(self, monitor: Monitor) -> None:
        self.monitor = monitor
        self._before = monitor.readings()

    def cpu(self) -> float:
        """CPU seconds, projection included."""
        return self.monitor.cpu()

    def settle(self, sent: int) -> tuple[int, float]:
        """As the protocol says."""
        wanted = self._before + sent
        self.monitor.wait_readings(wanted, GRACE_S)
        self._before = now = self.monitor.readings()
        begun, number = time.monotonic(), self.monitor.reader().last_number
        status = self.monitor.data / "projection.json"
        while status.exists() and read_projection(status, time.time_ns() // 1_000).applied < number:
            if time.monotonic() - begun > GRACE_S:
                break
            time.sleep(0.05)
        return wanted - now, round(time.monotonic() - begun, 2)


class Theirs:
    """Node-RED as a subject."""

    def __init__(self, node_red: NodeRed) -> None:
        self._pids = family(node_red.pid)

    def cpu(self) -> float:
        """CPU seconds."""
        return cpu_s(self._pids)

    def settle(self, sent: int) -> tuple[int, float]:
        """Its alerts are all there is to wait for."""
        return 0, 0.0


class Rig:
    """A subject, its load and its probe."""

    def __init__(self, folder: Path, subject: Subject, load: Load, probe: Child) -> None:
        self.subject, self.load, self.probe = subject, load, probe
        self._sent, self._came = folder / "sent", folder / "came"

    def run(self, rate: float, count: int) -> Run:
        """Send `count` readings at a rate (0: flat out) and wait for what comes of them."""
        at = self._sent.stat().st_size
        self._came.unlink(missing_ok=True)
        cpu = self.subject.cpu()
        went = self.load.go(rate, count, timeout_s=60 + 4 * count / (rate or 10_000))
        end = time.monotonic() + GRACE_S
        while int(self.probe.ask("count")) < went["alerts"] and time.monotonic() < end:
            time.sleep(0.05)
        lost, behind_s = self.subject.settle(went["sent"])
        cpu = self.subject.cpu() - cpu
        self.probe.ask(f"dump {self._came}")
        sent = np.fromfile(self._sent, np.int64, offset=at).reshape(-1, 2)
        came = np.fromfile(self._came, np.int64).reshape(-1, 2)
        took = latencies_ms(sent, came)
        p50, p99, worst = np.percentile(took, [50, 99, 100]).round(3).tolist() if len(took) else [None] * 3
        last = int(came[:, 1].max()) if len(came) else went["ended_ns"]
        return Run(
            rate or went["rate"], went["rate"], went["sent"], went["worst_lag_ms"], lost, len(sent), len(sent) - len(took),
            p50, p99, worst, round(max(0.0, (last - went["ended_ns"]) / 1e6), 1), behind_s, round(cpu / went["sent"] * 1e6, 2), went["generator"],
        )  # fmt: skip


def latencies_ms(sent: np.ndarray[Any, Any], came: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """From each alert's publication to its frame, of those that came; both are rows of value and ns."""
    _, left, right = np.intersect1d(sent[:, 0], came[:, 0], return_indices=True)
    return (came[right, 1] - sent[left, 1]) / 1e6


@contextmanager
def our_rig(
    folder: Path, server: Timescale, *, qos: int = 0, **settings: str
) -> Iterator[tuple[Rig, Monitor]]:
    """The monitor with everything on: ten rules a series, projection, an alarms probe and a wall."""
    with ExitStack() as stack:
        folder.mkdir(parents=True)
        dsn = stack.enter_context(fresh_dsn(server))
        broker = Mosquitto()
        stack.callback(broker.close)
        monitor = Monitor(folder, broker.url, dsn=dsn, qos=qos, **settings)
        stack.callback(monitor.close)
        monitor.begin()
        monitor.wait_connected()
        screens = monitor.screens()
        for screen in screens:
            stack.callback(screen.close)
        load = Load("publish", broker.port, qos=qos, sent=folder / "sent")
        stack.callback(load.close)
        load.wait_ready()
        rig = Rig(folder, Ours(monitor), load, screens[0])
        warm_up(rig)
        yield rig, monitor


@contextmanager
def node_red_rig(folder: Path, *, qos: int = 0) -> Iterator[tuple[Rig, str]]:
    """Node-RED with the flow, and its version. Raises NoNodeRed."""
    with ExitStack() as stack:
        folder.mkdir(parents=True)
        broker = Mosquitto()
        stack.callback(broker.close)
        node_red = NodeRed(folder / "node-red", broker.port, qos)
        stack.callback(node_red.close)
        probe = Child([sys.executable, str(HERE / "probe.py"), "bare", node_red.url])
        stack.callback(probe.close)
        assert probe.hear(20) == "ready"
        load = Load("publish", broker.port, qos=qos, sent=folder / "sent")
        stack.callback(load.close)
        load.wait_ready()
        # It does not say when it has subscribed: its first alert does.
        end = time.monotonic() + 30
        while int(probe.ask("count")) == 0:
            if time.monotonic() > end:
                raise TimeoutError("no alert came from Node-RED within 30 s")
            load.go(1_000, 200)
        rig = Rig(folder, Theirs(node_red), load, probe)
        warm_up(rig)
        yield rig, node_red.version


def warm_up(rig: Rig) -> None:
    """Two seconds that do not count."""
    rig.run(5_000, 10_000)


def median(values: Iterable[float | None]) -> float | None:
    """The median of what there is."""
    there = [value for value in values if value is not None]
    return round(statistics.median(there), 3) if there else None
