"""One history in every form gives the same readings, and what cannot be read is refused with a sentence that helps."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ioc.backtest.data import DataError, Readings, moment_us, read, read_events
from ioc.model.batch import Flag

A, B = "disaster/a/water_level", "disaster/b/rain"
T0 = 1_725_760_800_000_000
CSV = f"""series,time,value,quality
{A},2024-09-08T02:00:00Z,1.5,good
{B},2024-09-08T02:10:00Z,2,uncertain
{A},2024-09-08T02:10:00Z,,good
{A},2024-09-08T02:05:00Z,1.75,bad
"""


def plain(readings: Readings) -> list[tuple[str, int, float, int]]:
    flags = np.zeros(len(readings), np.uint16) if readings.flags is None else readings.flags
    columns = (readings.series, readings.event_us, readings.value, flags)
    return [(readings.names[s], t, v, f) for s, t, v, f in zip(*(c.tolist() for c in columns), strict=True)]


MIN = 60_000_000
WANTED = [
    (A, T0, 1.5, 0),
    (A, T0 + 5 * MIN, 1.75, int(Flag.BAD)),
    (B, T0 + 10 * MIN, 2.0, int(Flag.UNCERTAIN)),
]


def test_csv_is_sorted_by_time_and_empty_cells_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text(CSV, "utf-8")
    assert plain(read(path)) == WANTED


@pytest.mark.parametrize("unit", [1, 1_000, 1_000_000])
def test_csv_with_times_since_1970_in_any_column_order_and_packed_is_the_same(
    tmp_path: Path, unit: int
) -> None:
    path = tmp_path / "x.csv.gz"
    lines = [
        f"{v},{q},{t // 1_000_000 * unit},{s}" for s, t, v, q in [(A, T0, 1.5, "good"), (B, T0, 2.0, "")]
    ]
    path.write_bytes(gzip.compress("\n".join(["value,quality,time,series", *lines]).encode("utf-8-sig")))
    assert plain(read(path)) == [(A, T0, 1.5, 0), (B, T0, 2.0, 0)]


@pytest.mark.parametrize("coded", [False, True])
@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns", "int"])
@pytest.mark.parametrize("quality", ["quality", "flags"])
def test_parquet_in_every_form_is_the_same(tmp_path: Path, coded: bool, unit: str, quality: str) -> None:
    series = pa.array([A, B, A, A])
    stamps = pa.array([T0, T0 + 10 * MIN, T0 + 10 * MIN, T0 + 5 * MIN])
    words = ["good", "uncertain", None, "bad"]
    bits = [0, int(Flag.UNCERTAIN | Flag.LATE), 0, int(Flag.BAD)]
    when = stamps if unit == "int" else stamps.cast(pa.timestamp("us", "UTC")).cast(pa.timestamp(unit, "UTC"))
    table = pa.table(
        {
            "time": when,
            "series": series.dictionary_encode() if coded else series,
            "value": pa.array([1.5, 2.0, None, 1.75]),
            quality: words if quality == "quality" else pa.array(bits, pa.int16()),
        }
    )
    path = tmp_path / "x.parquet"
    pq.write_table(table, path, row_group_size=2)
    assert plain(read(path)) == WANTED


def test_a_folder_is_all_its_files_in_order_of_time_and_of_one_time_in_order_of_files(tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text(f"series,time,value\n{B},{T0},3\n{A},{T0},2\n", "utf-8")
    (tmp_path / "a.csv").write_text(f"series,time,value\n{A},{T0 + 1},4\n{A},{T0},1\n", "utf-8")
    (tmp_path / "truth.json").write_text("{}", "utf-8")
    assert plain(read(tmp_path)) == [(A, T0, 1, 0), (B, T0, 3, 0), (A, T0, 2, 0), (A, T0 + 1, 4, 0)]


def test_between_takes_the_first_moment_and_leaves_the_last(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text(CSV, "utf-8")
    assert plain(read(path).between(T0 + 1, T0 + 10 * MIN)) == WANTED[1:2]
    assert plain(read(path).between(None, None)) == WANTED


def test_moments_are_read_to_the_microsecond() -> None:
    assert moment_us("1725760800000001") == T0 + 1
    assert moment_us("1725760800.5") == T0 + 500_000
    assert moment_us("2024-09-08T09:00:00.000001+07:00") == T0 + 1
    assert moment_us("0") == 0


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("x.csv", "", "no column series, time, value; there are none"),
        ("x.csv", "series,when,value\n", "no column time; there are series, when, value"),
        (
            "x.csv",
            f"series,time,value\n{A},yesterday,1\n",
            r"x.csv:2: not a time and a number: 'yesterday', '1'",
        ),
        ("x.csv", f"series,time,value\n{A},1,one\n", r"x.csv:2: not a time and a number: '1', 'one'"),
        ("x.csv", f"series,time,value\n{A},1,1\n{A},1\n", r"x.csv:3: 2 columns where 3 are named"),
        (
            "x.csv",
            f"series,time,value,quality\n{A},1,1,fine\n",
            "quality is good, uncertain or bad, not 'fine'",
        ),
        (
            "x.csv",
            f"series,time,value\n{A},1,83,5\n",
            "x.csv:2: 4 fields where 3 columns are named; a decimal comma",
        ),
        ("x.csv", "series,time,value,time\n", "column time is named twice"),
        ("x.csv", f"series,time,value\n{A},{T0}000,1\n", "x.csv:2: .* not within .* looks like nanoseconds"),
        ("x.csv", f"series,time,value\n{A},{2**63 - 1},1\n", "x.csv:2: .* not within 1970 to 2099"),
        ("x.csv", f"series,time,value\n{A},1e300,1\n", "x.csv:2: .* not within 1970 to 2099"),
        ("x.csv", f"series,time,value\n{A},9999-12-31T23:59:59Z,1\n", "x.csv:2: .* not within 1970 to 2099"),
        ("x.csv", f"series,time,value\n{A},2024-09-08T02:00:00,1\n", "x.csv:2: .* has no offset"),
        ("x.csv.gz", "not packed", "cannot be read"),
        ("x.parquet", "not parquet", "cannot be read as Parquet"),
        ("x.txt.d", None, "there is no such file or folder"),
    ],
)
def test_what_cannot_be_read_is_refused_with_a_sentence(
    tmp_path: Path, name: str, text: str | None, told: str
) -> None:
    path = tmp_path / name
    if text is not None:
        path.write_text(text, "utf-8")
    with pytest.raises(DataError, match=told):
        read(path)


def test_a_folder_without_readings_and_a_parquet_without_its_columns_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no file that ends in \.csv"):
        read(tmp_path)
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"series": [A], "value": [1.0]}), path)
    with pytest.raises(DataError, match="no column time; there are series, value"):
        read(path)
    pq.write_table(pa.table({"series": [A], "time": ["now"], "value": [1.0]}), path)
    with pytest.raises(DataError, match="column time is string"):
        read(path)


@pytest.mark.parametrize(
    ("when", "kind", "told"),
    [
        (T0 // 10**6, pa.int64(), "row 2: .* looks like seconds"),
        (T0 // 10**3, pa.int64(), "row 2: .* looks like milliseconds: write microseconds or RFC 3339"),
        (T0 * 10**3, pa.int64(), "row 2: .* looks like nanoseconds"),
        (2**63 - 1, pa.int64(), "row 2: the time 9223372036854775807"),
        (2**63 - 1, pa.timestamp("ms", "UTC"), "row 2: the time 9223372036854775807 ms"),
        (2**63 - 1, pa.timestamp("ns", "UTC"), "row 2: the time 9223372036854775807 ns"),
        (-1, pa.timestamp("ms", "UTC"), "row 2: the time -1 ms"),
        (T0, pa.timestamp("us"), r"timestamp\[us\] without a zone"),
    ],
)
def test_a_parquet_time_that_cannot_be_meant_is_refused_with_its_row(
    tmp_path: Path, when: int, kind: pa.DataType, told: str
) -> None:
    good = {"s": T0 // 10**6, "ms": T0 // 10**3, "ns": T0 * 10**3}.get(getattr(kind, "unit", "us"), T0)
    path = tmp_path / "x.parquet"
    times = pa.array([good, when], pa.int64()).cast(kind)
    pq.write_table(pa.table({"series": [A, A], "time": times, "value": [1.0, 2.0]}), path)
    with pytest.raises(DataError, match=told):
        read(path)


def test_events_beside_the_readings_come_in_the_order_in_which_they_were_told(tmp_path: Path) -> None:
    lines = [
        '{"topic":"ioc/v1/energy/f/event/outage","time":"2024-09-08T02:30:00Z",'
        '"payload":{"id":"o","revision":2,"start":1725760800000,"end":1725762600000,"customers":7}}',
        '{"topic":"ioc/v1/energy/f/event/outage","time":"2024-09-08T02:01:00Z",'
        '"payload":{"id":"o","revision":1,"start":1725760800000}}',
    ]
    (tmp_path / "events.jsonl").write_text("\n".join(lines), "utf-8")
    first, second = read_events(tmp_path)
    assert (first.revision, first.received_us, first.end_us) == (1, T0 + MIN, 0)
    assert (second.revision, second.facts, second.end_us) == (2, {"customers": 7}, T0 + 30 * MIN)
    assert (second.domain, second.station, second.kind) == ("energy", "f", "outage")
    (tmp_path / "events.jsonl").write_text('{"topic":"x"}', "utf-8")
    with pytest.raises(DataError, match=r"events.jsonl:1: not a message of an event"):
        read_events(tmp_path)
