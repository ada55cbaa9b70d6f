"""Real series as MQTT messages: rows with their own timestamps, in the order of their event times.

Two forms of CSV (gzip by its ending): *long*, with the columns `time, series, value`; and *wide*, with one time
column, perhaps a station column, and a column for each quantity.
"""

from __future__ import annotations

import csv
import gzip
import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ioc.errors import IocError
from ioc.ingest.codecs.native import rfc3339_us

TIME_COLUMNS = ("time", "timestamp", "datetime_utc", "datetime", "date")
STATION_COLUMNS = ("station", "station_id", "site_no")


class ReplayError(IocError):
    """The file cannot be replayed; the text names file, line and column."""


@dataclass(frozen=True, slots=True)
class Row:
    """One reading: its time, its series id and its value as the file writes it."""

    event_us: int
    series: str
    value: str


def read(
    path: Path, *, domain: str = "disaster", station: str = "", columns: Mapping[str, str] | None = None
) -> list[Row]:
    """Every reading of a file, sorted by event time (ties in file order); empty cells are left out.

    `columns` maps a column to its quantity; by default every numeric column under its own name. `station` names the
    one station of a file without a station column. Raises ReplayError.
    """
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8-sig", newline="") as lines:
            rows = list(_rows(path, csv.DictReader(lines), domain, station, columns))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ReplayError(f"{path}: cannot be read: {error}") from error
    if not rows:
        raise ReplayError(f"{path}: holds no reading")
    rows.sort(key=lambda row: row.event_us)
    return rows


def _rows(
    path: Path, table: csv.DictReader[str], domain: str, station: str, columns: Mapping[str, str] | None
) -> Iterator[Row]:
    names = list(table.fieldnames or ())
    when = next((name for name in TIME_COLUMNS if name in names), None)
    if when is None:
        raise ReplayError(f"{path}: no time column; one of {', '.join(TIME_COLUMNS)}")
    if {"series", "value"} <= set(names):
        for record in table:
            if record["value"]:
                yield Row(_time(path, table.line_num, record[when]), record["series"], record["value"])
        return
    where = next((name for name in STATION_COLUMNS if name in names), None)
    if where is None and not station:
        raise ReplayError(
            f"{path}: no station column ({', '.join(STATION_COLUMNS)}); name the station with --station"
        )
    for missing in [name for name in columns or () if name not in names]:
        raise ReplayError(f"{path}: no column {missing!r}; there are {', '.join(names)}")
    quantities = dict(columns) if columns else {n: slug(n) for n in names if n not in (when, where)}
    for record in table:
        event_us = _time(path, table.line_num, record[when])
        place = slug(record[where]) if where else station
        for column, quantity in quantities.items():
            cell = (record[column] or "").strip()
            if not cell:
                continue
            if _is_number(cell):
                yield Row(event_us, f"{domain}/{place}/{quantity}", cell)
            elif columns:
                raise ReplayError(f"{path}:{table.line_num}: {column} is not a number: {cell!r}")


def _time(path: Path, line: int, cell: str) -> int:
    try:
        return time_us(cell)
    except ValueError as error:
        raise ReplayError(f"{path}:{line}: not a time: {cell!r}") from error


def time_us(cell: str) -> int:
    """Microseconds since 1970 UTC of a time as files write it; without an offset it is UTC. Raises ValueError."""
    text = cell.strip()
    event_us = rfc3339_us(text)
    if event_us is not None:
        return event_us
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp()) * 1_000_000 + moment.microsecond


def _is_number(cell: str) -> bool:
    try:
        json.loads(cell)
    except ValueError:
        return False
    return cell[0] in "-0123456789"


def slug(name: str) -> str:
    """A column's or station's name as an id."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def payload(row: Row) -> bytes:
    """The reading in the native convention; the value as the file writes it."""
    return f'{{"t": {row.event_us // 1_000}, "v": {row.value}}}'.encode()


def paced(
    rows: Iterable[Row],
    speed: float,
    clock: Callable[[], float] = time.monotonic,
    wait: Callable[[float], None] = time.sleep,
) -> Iterator[Row]:
    """The rows, each when its time has come at `speed` times real time; 0 is as fast as they are taken."""
    begun = clock()
    first: int | None = None
    for row in rows:
        if speed > 0:
            first = row.event_us if first is None else first
            ahead = (row.event_us - first) / 1e6 / speed - (clock() - begun)
            if ahead > 0:
                wait(ahead)
        yield row
