"""The readings and events that a backtest is fed: CSV, Parquet or the `readings` table, in the order of their times.

All readings are held at once: 20 bytes each, 22 with quality, and while a file that is not in order is sorted twice
that. Rows of one stamp keep the order of their file.
"""

from __future__ import annotations

import csv
import gzip
import itertools
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np

from ioc.errors import ConfigError
from ioc.ingest.codecs import event as event_codec
from ioc.ingest.codecs.native import QUALITY, Fault
from ioc.model.batch import F64, I32, I64, U16, Flag
from ioc.model.event import Event
from ioc.replay import time_us
from ioc.storage.connection import connect, unavailable
from ioc.storage.rows import EPOCH_US

Tell = Callable[[int, int], None]
"""Progress: so many of so many."""

CHUNK_ROWS: Final = 1 << 16
FORMATS: Final = (".csv", ".csv.gz", ".parquet")
EVENTS_FILE: Final = "events.jsonl"
_SENSOR: Final = int(Flag.UNCERTAIN | Flag.BAD)
"""What a sensor says of its readings; all other flags are decided anew."""
_MS_FROM, _US_FROM = 10**11, 10**14
"""A time since 1970 is in seconds below the first, in milliseconds below the second: 1973 to 5138 in each unit."""


END_US: Final = 4_102_444_800_000_000
"""2100 began; times before 1970 and from here on are mistakes, and a run over them would never end."""
_UNITS: Final = (("seconds", 1_000_000.0), ("milliseconds", 1_000.0), ("nanoseconds", 0.001))


class TimeError(ValueError):
    """A time that cannot be meant; the text is a sentence."""


def looks_like(number: float) -> str:
    """Of a number that is no plausible time in microseconds: which unit it may be in, with how to write it; '' if none."""
    fits = [name for name, us in _UNITS if _US_FROM <= number * us < END_US]
    return f"; it looks like {fits[0]}: write microseconds or RFC 3339" if fits else ""


class DataError(ConfigError):
    """The data cannot be used; the text names the file and says how to mend it."""


@dataclass(frozen=True, slots=True, eq=False)
class Readings:
    """n readings sorted by time. `series` (n,) are places in `names`; `flags` None where all are good."""

    names: tuple[str, ...]
    series: I32
    event_us: I64
    value: F64
    flags: U16 | None = None

    def __len__(self) -> int:
        return len(self.series)

    @staticmethod
    def of(parts: Sequence[Readings]) -> Readings:
        """Several as one, in order of time; of one stamp those of an earlier part first."""
        if not parts:
            return Readings((), np.zeros(0, np.int32), np.zeros(0, np.int64), np.zeros(0))
        names = tuple(dict.fromkeys(itertools.chain.from_iterable(part.names for part in parts)))
        place = {name: i for i, name in enumerate(names)}
        codes = [np.array([place[name] for name in part.names], np.int32) for part in parts]
        series = [
            part.series if np.array_equal(code, np.arange(len(code))) else code[part.series]
            for part, code in zip(parts, codes, strict=True)
        ]
        flags = None
        if any(part.flags is not None for part in parts):
            flags = _joined([np.zeros(len(p), np.uint16) if p.flags is None else p.flags for p in parts])
        whole = Readings(
            names, _joined(series), _joined([p.event_us for p in parts]), _joined([p.value for p in parts]), flags
        )  # fmt: skip
        if bool((whole.event_us[1:] >= whole.event_us[:-1]).all()):
            return whole
        return whole.take(np.argsort(whole.event_us, kind="stable"))

    def take(self, where: Any) -> Readings:
        """Those of a mask, index or slice."""
        return Readings(
            self.names,
            self.series[where],
            self.event_us[where],
            self.value[where],
            None if self.flags is None else self.flags[where],
        )

    def between(self, from_us: int | None, to_us: int | None) -> Readings:
        """Those of from ≤ time < to; None is without end."""
        first = 0 if from_us is None else int(np.searchsorted(self.event_us, from_us))
        last = len(self) if to_us is None else int(np.searchsorted(self.event_us, to_us))
        return self if first == 0 and last == len(self) else self.take(slice(first, last))


def _joined(parts: Sequence[Any]) -> Any:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def files_of(path: Path) -> list[Path]:
    """The files of readings at a path, a file or a folder. Raises DataError."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise DataError(f"{path}: there is no such file or folder; --data names CSV or Parquet files")
    found = sorted(p for p in path.iterdir() if p.name.endswith(FORMATS))
    if not found:
        raise DataError(f"{path}: holds no file that ends in {', '.join(FORMATS)}")
    return found


def read(path: Path, tell: Tell = lambda done, total: None) -> Readings:
    """Every reading of a file, or of all files of a folder. Raises DataError."""
    parts = []
    files = files_of(path)
    for i, file in enumerate(files):
        tell(i, len(files))
        parts.append(_parquet(file) if file.name.endswith(".parquet") else _csv(file))
    tell(len(files), len(files))
    return Readings.of(parts)


def moment_us(text: str) -> int:
    """RFC 3339, or a number since 1970 in seconds, milliseconds or microseconds by its size, of 1970 to 2099.

    Raises ValueError; TimeError where the time has no offset or is of another century.
    """
    cell = text.strip()
    us = _moment_us(cell)
    if not 0 <= us < END_US:
        hint = "" if "-" in cell[1:] or ":" in cell else looks_like(float(cell))
        raise TimeError(f"the time {cell[:40]!r} is not within 1970 to 2099{hint}")
    return us


def _moment_us(cell: str) -> int:
    if "-" in cell[1:] or ":" in cell:
        if datetime.fromisoformat(cell).tzinfo is None:
            raise TimeError(
                f"the time {cell[:40]!r} has no offset; write RFC 3339 with it, as 2024-09-08T09:00:00+07:00"
            )
        return time_us(cell)
    number = float(cell)
    if not math.isfinite(number):
        raise ValueError(cell)
    size = abs(number)
    if size >= _US_FROM:
        return int(cell) if cell.lstrip("-").isdigit() else round(number)
    return round(number * (1_000 if size >= _MS_FROM else 1_000_000))


def _csv(path: Path) -> Readings:
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8-sig", newline="") as lines:
            return Readings.of(list(_csv_parts(path, csv.reader(lines))))
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read: {error}; write it anew as UTF-8") from error


def _csv_parts(path: Path, table: Iterator[list[str]]) -> Iterator[Readings]:
    head = next(table, [])
    missing = [name for name in ("series", "time", "value") if name not in head]
    if missing:
        raise DataError(
            f"{path}: no column {', '.join(missing)}; there are {', '.join(head) or 'none'}. The first line must name "
            "series,time,value and perhaps quality"
        )
    _once(path, head)
    at_series, at_time, at_value = (head.index(name) for name in ("series", "time", "value"))
    at_quality = head.index("quality") if "quality" in head else -1
    codes: dict[str, int] = {}
    stamp = lru_cache(maxsize=4096)(moment_us)
    line = 1
    while rows := list(itertools.islice(table, CHUNK_ROWS)):
        series, times, values = [], [], []
        flags: list[int] = []
        for row in rows:
            line += 1
            if len(row) > len(head):
                raise DataError(
                    f"{path}:{line}: {len(row)} fields where {len(head)} columns are named; a decimal comma?"
                )
            try:
                if not row or not row[at_value]:
                    continue
                value = float(row[at_value])
                quality = row[at_quality] if at_quality >= 0 else ""
                bits = QUALITY[quality] if quality else 0
                at_us = stamp(row[at_time])
            except IndexError as error:
                raise DataError(f"{path}:{line}: {len(row)} columns where {len(head)} are named") from error
            except KeyError as error:
                raise DataError(
                    f"{path}:{line}: quality is good, uncertain or bad, not {quality!r}"
                ) from error
            except TimeError as error:
                raise DataError(f"{path}:{line}: {error}") from error
            except ValueError as error:
                raise DataError(
                    f"{path}:{line}: not a time and a number: {row[at_time]!r}, {row[at_value]!r}; times are RFC 3339 "
                    "or seconds since 1970"
                ) from error
            if math.isnan(value):
                continue
            series.append(codes.setdefault(row[at_series], len(codes)))
            times.append(at_us)
            values.append(value)
            flags.append(bits)
        yield Readings(
            tuple(codes),
            np.array(series, np.int32),
            np.array(times, np.int64),
            np.array(values, np.float64),
            np.array(flags, np.uint16) if any(flags) else None,
        )
    if line == 1:
        yield Readings((), np.zeros(0, np.int32), np.zeros(0, np.int64), np.zeros(0))


def _once(path: Path, names: Sequence[str]) -> None:
    if twice := [name for name in names if name and names.count(name) > 1]:
        raise DataError(f"{path}: column {twice[0]} is named twice; keep one of them")


def _parquet(path: Path) -> Readings:
    try:
        import pyarrow as pa  # type: ignore[import-untyped]
        import pyarrow.compute as pc  # type: ignore[import-untyped]
        import pyarrow.parquet as pq  # type: ignore[import-untyped]
    except ImportError as error:
        raise DataError(
            f"{path}: Parquet needs pyarrow: pip install 'ioc-monitor[backtest]', or give CSV"
        ) from error
    try:
        columns = pq.read_schema(path).names
        _once(path, columns)
        names = set(columns)
        missing = [name for name in ("series", "time", "value") if name not in names]
        if missing:
            raise DataError(
                f"{path}: no column {', '.join(missing)}; there are {', '.join(sorted(names))}. Needed are series "
                "(string), time (timestamp or µs since 1970) and value"
            )
        optional = next((name for name in ("quality", "flags") if name in names), None)
        columns = ["series", "time", "value", *([optional] if optional else [])]
        table = pq.read_table(path, columns=columns, read_dictionary=["series"])
        _parquet_times(path, table)
        if table.column("value").null_count:
            table = table.filter(pc.is_valid(table.column("value")))
        for name in ("series", "time"):
            if table.column(name).null_count:
                raise DataError(f"{path}: column {name} has rows without one; leave them out")
        coded = table.column("series")
        if not pa.types.is_dictionary(coded.type):
            coded = coded.cast(pa.string()).dictionary_encode()
        coded = coded.unify_dictionaries().combine_chunks()
        if isinstance(coded, pa.ChunkedArray):
            coded = pa.concat_arrays(coded.chunks) if coded.num_chunks else pa.array([], coded.type)
        when = table.column("time")
        if pa.types.is_timestamp(when.type):
            when = when.cast(pa.timestamp("us", when.type.tz), safe=False)
        series = coded.indices.to_numpy(zero_copy_only=False).astype(np.int32, copy=False)
        event_us = when.cast(pa.int64()).to_numpy()
        value = table.column("value").cast(pa.float64()).to_numpy()
        flags = _parquet_flags(path, table.column(optional)) if optional else None
        whole = Readings(
            tuple(coded.dictionary.cast(pa.string()).to_pylist()), series, event_us, value, flags
        )
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: cannot be read as Parquet: {error}") from error
    nothing = np.isnan(whole.value)
    return whole.take(~nothing) if nothing.any() else whole


def _parquet_times(path: Path, table: Any) -> None:
    """Refuse times that no history has, in the unit of the file, before anything is multiplied."""
    import pyarrow as pa
    import pyarrow.compute as pc

    when = table.column("time")
    stamps = pa.types.is_timestamp(when.type)
    if not stamps and not pa.types.is_int64(when.type):
        raise DataError(
            f"{path}: column time is {when.type}; it must be a timestamp or int64 of µs since 1970"
        )
    if stamps and when.type.tz is None:
        raise DataError(f"{path}: column time is {when.type} without a zone; write it with one, as UTC")
    first, end = _US_FROM, END_US
    if stamps:
        first, end = (
            0,
            {"s": END_US // 10**6, "ms": END_US // 10**3, "us": END_US, "ns": END_US * 1000}[when.type.unit],
        )
    raw = pc.fill_null(when.cast(pa.int64()), first).to_numpy()
    wrong = ((raw < first) | (raw >= end)) & table.column("value").is_valid().to_numpy()
    if wrong.any():
        row = int(wrong.argmax())
        read_ = int(raw[row])
        hint = "" if stamps else looks_like(read_)
        unit = when.type.unit if stamps else "µs"
        years = "1970" if stamps else "1973"
        raise DataError(f"{path}: row {row + 1}: the time {read_} {unit} is not within {years} to 2099{hint}")


def _parquet_flags(path: Path, column: Any) -> U16 | None:
    import pyarrow as pa

    if pa.types.is_integer(column.type):
        bits = column.to_numpy().astype(np.uint16) & np.uint16(_SENSOR)
    else:
        coded = column.cast(pa.string()).dictionary_encode().unify_dictionaries().combine_chunks()
        if isinstance(coded, pa.ChunkedArray):
            coded = pa.concat_arrays(coded.chunks)
        words = coded.dictionary.to_pylist()
        if unknown := [word for word in words if word not in QUALITY]:
            raise DataError(f"{path}: quality is good, uncertain or bad, not {unknown[0]!r}")
        meaning = np.array([*(QUALITY[word] for word in words), 0], np.uint16)
        bits = meaning[coded.indices.fill_null(len(words)).to_numpy(zero_copy_only=False)]
    return bits if bits.any() else None


def read_events(path: Path) -> list[Event]:
    """The events that stand beside the readings of a folder, in the order in which they were told. Raises DataError.

    `events.jsonl`, one message a line: topic, time (when it was sent), payload.
    """
    file = path / EVENTS_FILE
    if not file.is_file():
        return []
    out = []
    for number, line in enumerate(file.read_text("utf-8").splitlines(), 1):
        try:
            message = json.loads(line)
            _, _, domain, station, word, kind = message["topic"].split("/")
            said = event_codec.decode(json.dumps(message["payload"]).encode())
            told_us = moment_us(str(message["time"]))
        except TimeError as error:
            raise DataError(f"{file}:{number}: {error}") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"{file}:{number}: not a message of an event: topic ioc/v1/{{domain}}/{{station}}/event/{{kind}}, time, "
                "payload"
            ) from error
        if word != "event" or isinstance(said, Fault):
            raise DataError(
                f"{file}:{number}: {said.detail if isinstance(said, Fault) else 'the topic is no event'}"
            )
        out.append(
            Event(
                "backtest", domain, station, kind, said.id, said.revision, said.start_us, said.end_us, told_us, said.facts
            )
        )  # fmt: skip
    return sorted(out, key=lambda event: event.received_us)


_STORED: Final = f"""
SELECT series, event_time, value, flags FROM readings
WHERE event_time >= $1 AND event_time < $2 AND flags & {int(Flag.FUTURE)} = 0
ORDER BY event_time, series, revision
"""
_COPY_ROW: Final = np.dtype(
    [
        ("fields", ">i2"), ("w0", ">i4"), ("series", ">i4"), ("w1", ">i4"), ("event", ">i8"), ("w2", ">i4"),
        ("value", ">f8"), ("w3", ">i4"), ("flags", ">i2"),
    ]
)  # fmt: skip
_COPY_HEAD: Final = 19
"""PGCOPY, 11 bytes, then flags and the length of an extension that there is not, 4 each."""


async def stored(dsn: str, from_us: int, to_us: int, tell: Tell = lambda done, total: None) -> Readings:
    """The readings of from ≤ time < to in the database, every revision, by binary COPY. Raises StoreUnavailable.

    Stamps from the future are left out: what their time was, nobody knows.
    """
    parts: list[Readings] = []
    rest = bytearray()
    header = True
    count = 0
    connection = await connect(dsn)

    async def take(data: bytes) -> None:
        nonlocal header, count
        rest.extend(data)
        if header:
            if len(rest) < _COPY_HEAD:
                return
            del rest[:_COPY_HEAD]
            header = False
        rows = len(rest) // _COPY_ROW.itemsize
        if rows:
            size = rows * _COPY_ROW.itemsize
            parts.append(_copied(bytes(rest[:size])))
            del rest[:size]
            count += rows
            tell(count, 0)

    try:
        with unavailable():
            names = {
                row["number"]: row["id"] for row in await connection.fetch("SELECT number, id FROM series")
            }
            await connection.copy_from_query(_STORED, from_us, to_us, output=take, format="binary")
    finally:
        connection.terminate()
    top = max(names, default=-1)
    known = tuple(names.get(number, f"#{number}") for number in range(top + 1))
    return Readings.of([Readings(known, p.series, p.event_us, p.value, p.flags) for p in parts])


def _copied(data: bytes) -> Readings:
    table = np.frombuffer(data, _COPY_ROW)
    flags = table["flags"].astype(np.uint16) & np.uint16(_SENSOR)
    return Readings(
        (),
        table["series"].astype(np.int32),
        table["event"].astype(np.int64) + EPOCH_US,
        table["value"].astype(np.float64),
        flags if flags.any() else None,
    )
