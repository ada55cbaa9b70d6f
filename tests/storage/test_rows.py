"""Rows are what PostgreSQL's manual says they are."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioc.model import NOT_STORED, Batch, Flag, Reason, Rejected
from ioc.storage import rows

times = st.one_of(
    st.integers(1_600_000_000_000_000, 1_900_000_000_000_000),
    st.integers(-(2**63), 2**63 - 1),
    st.sampled_from([0, rows.FIRST_US, rows.LAST_US, rows.EPOCH_US]),
)


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    n = draw(st.integers(0, 20))

    def column(values: st.SearchStrategy[Any]) -> list[Any]:
        return draw(st.lists(values, min_size=n, max_size=n))

    return Batch.of(
        draw(st.sampled_from(["mqtt", "kafka"])),
        column(st.integers(0, 2**31 - 1)),
        column(times),
        column(times),
        column(st.floats(width=64)),
        column(st.integers(0, sum(Flag))),
        column(st.integers(0, 2**16 - 1)),
    )


def _unpacked(data: bytes) -> list[tuple[bytes, ...]]:
    """A plain reading of the binary COPY format."""
    assert data[:11] == b"PGCOPY\n\xff\r\n\0"
    flags, extension = struct.unpack_from(">ii", data, 11)
    assert (flags, extension) == (0, 0)
    at, table = 19, []
    while (fields := struct.unpack_from(">h", data, at)[0]) != -1:
        at += 2
        row = []
        for _ in range(fields):
            (width,) = struct.unpack_from(">i", data, at)
            row.append(data[at + 4 : at + 4 + width])
            at += 4 + width
        table.append(tuple(row))
    assert at + 2 == len(data)
    return table


def _pg(us: int) -> bytes:
    return struct.pack(">q", min(max(us, rows.FIRST_US), rows.LAST_US) - rows.EPOCH_US)


@given(batches())
def test_copy_bytes_equal_a_plain_row_loop(batch: Batch) -> None:
    expected = [
        (
            _pg(event_us),
            _pg(received_us),
            struct.pack(">d", value),
            struct.pack(">i", series),
            struct.pack(">h", flags),
            struct.pack(">h", min(revision, 32767)),
        )
        for series, event_us, received_us, value, flags, revision in zip(
            batch.series.tolist(),
            batch.event_us.tolist(),
            batch.received_us.tolist(),
            batch.value.tolist(),
            batch.flags.tolist(),
            batch.revision.tolist(),
            strict=True,
        )
    ]
    assert _unpacked(rows.copy_bytes(batch)) == expected
    assert _unpacked(rows.stage_copy_bytes(batch)) == [
        (*row, struct.pack(">i", place)) for place, row in enumerate(expected)
    ]


@given(st.lists(batches(), max_size=4))
def test_stored_rows_are_all_but_those_that_must_not_be_in_order(parts: list[Batch]) -> None:
    stored = rows.stored(parts)
    expected = [
        (series, event_us, flags)
        for b in parts
        for series, event_us, flags in zip(
            b.series.tolist(), b.event_us.tolist(), b.flags.tolist(), strict=True
        )
        if not flags & NOT_STORED
    ]
    found = zip(stored.series.tolist(), stored.event_us.tolist(), stored.flags.tolist(), strict=True)
    assert list(found) == expected


@given(st.lists(times, max_size=30))
def test_every_stamp_lies_in_a_week_that_is_made_or_in_an_outer_partition(stamps: list[int]) -> None:
    weeks = set(rows.weeks(np.array(stamps, np.int64)))
    first, last = rows.week_bounds_us(rows.FIRST_WEEK)[0], rows.week_bounds_us(rows.LAST_WEEK)[1]
    for us in stamps:
        if first <= us < last:
            assert any(start <= us < end for start, end in map(rows.week_bounds_us, weeks))
    assert len(weeks) <= len(stamps)


def test_every_flag_fits_a_smallint() -> None:
    assert sum(Flag) < 2**15


@pytest.mark.parametrize(
    ("given_text", "expected"),
    [("Sông Hồng", "Sông Hồng"), ("a\0b", "a\N{SYMBOL FOR NULL}b"), ("\ud800x", "?x"), ("", "")],
)
def test_text_is_what_postgresql_takes(given_text: str, expected: str) -> None:
    assert rows.text(given_text) == expected


def test_a_rejected_payload_becomes_a_row_that_postgresql_takes() -> None:
    body = Rejected("mqtt", "ioc/v1/\0", Reason.NOT_JSON, "\udcff", 7, b"\0\xff", 2, item=-1)
    assert rows.quarantine_row(9, body) == (9, 7, "mqtt", "ioc/v1/␀", "not_json", "?", -1, 2, b"\0\xff")
