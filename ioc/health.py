"""What the process knows of itself: the log's disk, the projection's lag, the metrics of both."""

from __future__ import annotations

import json
import shutil
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from ioc.storage.status import ProjectionStatus

DAY_US = 86_400_000_000
PROJECTION_SILENT_US = 10_000_000
"""A projection that has not written its status for this long is taken for down."""


def read_projection(path: Path, wall_us: int) -> ProjectionStatus:
    """What the projection's own process last said; `down` if it says nothing or has fallen silent."""
    try:
        said = ProjectionStatus(**json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return ProjectionStatus("down", 0, 0, "no word from the projection yet", 0)
    if wall_us - said.at_us > PROJECTION_SILENT_US:
        return replace(said, state="down", detail="the projection has fallen silent")
    return said


class Disk:
    """The log's disk: room, and for how long at the rate of the last hours."""

    def __init__(self, folder: Path, low_bytes: int) -> None:
        self._folder = folder
        self._low_bytes = low_bytes
        self._history: deque[tuple[int, int]] = deque(maxlen=360)
        """(wall clock, bytes of the log), one each ten seconds."""
        self.free_bytes = 0
        self.low = False

    def look(self, wall_us: int) -> bool:
        """Measure; whether it has just become low or ceased to be."""
        self.free_bytes = shutil.disk_usage(self._folder).free
        used = 0
        for file in self._folder.iterdir():
            try:
                used += file.stat().st_size
            except FileNotFoundError:
                continue
        self._history.append((wall_us, used))
        # A little more must come free than was missing, so that it does not flap.
        low = self.free_bytes < self._low_bytes * (1.2 if self.low else 1.0)
        changed = low != self.low
        self.low = low
        return changed

    def days(self) -> float | None:
        """For how long the disk lasts, or None while that cannot be told."""
        if len(self._history) < 6:
            return None
        (first_us, first), (last_us, last) = self._history[0], self._history[-1]
        if last <= first or last_us <= first_us:
            return None
        return round(self.free_bytes / ((last - first) / (last_us - first_us) * DAY_US), 1)


@dataclass(frozen=True, slots=True)
class Figures:
    """What `/metrics` shows, read at the moment of asking."""

    log_number: int
    log_writable: bool
    queued_rows: int
    readings: int
    shed: int
    rejected: int
    transitions: int
    open_alarms: int
    projection_applied: int
    disk_free_bytes: int
    sources: dict[str, tuple[bool, int | None]]
    """By name: whether it is connected, and what waits for us there, where that is known."""


class Metrics:
    """A collector for the Prometheus client; costs nothing between two looks."""

    def __init__(self, figures: Callable[[], Figures]) -> None:
        self._figures = figures
        self.registry = CollectorRegistry()
        self.registry.register(self)

    def describe(self) -> Iterable[Metric]:
        """Nothing beforehand: the figures exist only while the centre runs."""
        return []

    def collect(self) -> Iterable[Metric]:
        """One look at the figures."""
        now = self._figures()
        yield CounterMetricFamily("ioc_log_records", "Records in the log", value=now.log_number)
        yield GaugeMetricFamily(
            "ioc_log_writable", "1 while the log can be written", value=int(now.log_writable)
        )
        yield GaugeMetricFamily("ioc_queue_rows", "Readings waiting for the log", value=now.queued_rows)
        yield CounterMetricFamily("ioc_readings", "Readings taken since the start", value=now.readings)
        yield CounterMetricFamily("ioc_readings_shed", "QoS 0 readings shed at the bound", value=now.shed)
        yield CounterMetricFamily("ioc_payloads_rejected", "Payloads in quarantine", value=now.rejected)
        yield CounterMetricFamily("ioc_transitions", "Alarm transitions", value=now.transitions)
        yield GaugeMetricFamily("ioc_alarms_open", "Open alarms", value=now.open_alarms)
        yield GaugeMetricFamily(
            "ioc_history_lag_records",
            "Records the database lacks",
            value=now.log_number - now.projection_applied,
        )
        yield GaugeMetricFamily("ioc_disk_free_bytes", "Room on the log's disk", value=now.disk_free_bytes)
        up = GaugeMetricFamily("ioc_source_connected", "1 while the source is connected", labels=["source"])
        lag = GaugeMetricFamily("ioc_source_lag", "What waits for us at the source", labels=["source"])
        for source, (connected, waiting) in now.sources.items():
            up.add_metric([source], int(connected))
            if waiting is not None:
                lag.add_metric([source], waiting)
        yield up
        yield lag
