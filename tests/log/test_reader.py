from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from support.log_items import batch, item, items, same, transition

from ioc.errors import LogError
from ioc.log import segment
from ioc.log.reader import CHUNK_BYTES, LogReader
from ioc.log.sqlite import SqliteLog
from ioc.model import Reason, Rejected

Open = Callable[..., SqliteLog]


@pytest.fixture
def reader(folder: Path) -> LogReader:
    return LogReader(folder)


def fill(log: SqliteLog, last: int) -> None:
    for number in range(log.last_number + 1, last + 1):
        log.commit([item(number, batch(100, number))], [transition(number)])


def test_an_absent_folder_is_an_empty_log(reader: LogReader) -> None:
    assert (reader.first_number, reader.last_number, reader.last_now_us, reader.last_output_seq) == (
        1,
        0,
        0,
        0,
    )
    assert list(reader.read(0)) == [] and list(reader.outputs(0)) == [] and reader.blob("a") is None


def test_a_reader_follows_the_writer_into_new_segments(
    open_log: Open, folder: Path, reader: LogReader
) -> None:
    log = open_log()
    seen, entries = 0, 0
    for last in range(7, 200, 7):
        fill(log, last)
        for record in reader.read(seen):
            assert same(record, item(record.number, batch(100, record.number))) and record.number == seen + 1
            seen = record.number
        for seq, _ in reader.outputs(entries):
            assert seq == entries + 1
            entries = seq
        assert seen == entries == last
        assert (reader.last_number, reader.last_output_seq, reader.last_now_us) == (
            last,
            last,
            item(last).now_us,
        )
    assert len(segment.listing(folder)) > 2


def test_a_reader_stands_a_segment_being_deleted_behind_it(
    open_log: Open, folder: Path, reader: LogReader
) -> None:
    log = open_log()
    fill(log, 200)
    reading = reader.read(150)
    journal = reader.outputs(150)
    assert next(reading).number == 151 and next(journal)[0] == 151
    assert log.retire(150, 150, None, 0)
    assert [record.number for record in reading] == list(range(152, 201))
    assert [seq for seq, _ in journal] == list(range(152, 201))
    assert reader.first_number == log.first_number > 1


def test_a_segment_deleted_between_listing_and_opening_is_looked_for_again(
    open_log: Open, folder: Path, reader: LogReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = open_log()
    fill(log, 200)
    honest = segment.listing
    stale = [*honest(folder), (201, segment.path_of(folder, 201))]
    answers = [stale]
    monkeypatch.setattr(segment, "listing", lambda path: answers.pop() if answers else honest(path))
    assert list(reader.read(200)) == []
    answers.append(stale)
    assert reader.last_number == 200
    answers.append(stale)
    assert list(reader.outputs(200)) == []


def test_reading_keeps_no_transaction_open(open_log: Open, folder: Path, reader: LogReader) -> None:
    log = open_log(segment_bytes=64 << 20)
    for first in range(1, 1_201, 100):
        log.commit(items(first, first + 99), [transition(first)])
    reading, journal = reader.read(0), reader.outputs(0)
    assert next(reading).number == 1 and next(journal)[0] == 1
    with sqlite3.connect(segment.path_of(folder, 1), timeout=0) as db:
        (busy, _, _) = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    assert busy == 0
    assert [record.number for record in reading] == list(range(2, 1_201))


def test_large_records_come_in_chunks_that_fit_in_memory(open_log: Open, reader: LogReader) -> None:
    log = open_log(segment_bytes=64 << 20)
    payload = bytes(range(256)) * 16
    for number in range(1, 6):
        log.commit([item(number, batch(60_000, number))])
    log.commit([item(6, Rejected("m", "t", Reason.TOPIC, "", 1, payload, len(payload)))])
    rows = reader._records(1, 500)
    assert 1 < len(rows) < 6 and sum(len(row[4]) for row in rows) < 2 * CHUNK_BYTES
    assert [record.number for record in reader.read(0)] == [1, 2, 3, 4, 5, 6]


def test_a_reader_cannot_write(open_log: Open, folder: Path, reader: LogReader) -> None:
    open_log().commit(items(1, 2))
    with pytest.raises(LogError, match="readonly"):
        reader.query(1, segment.path_of(folder, 1), "DELETE FROM input")


def test_a_log_of_a_later_format_is_refused_not_called_damaged(open_log: Open, folder: Path) -> None:
    log = open_log()
    fill(log, 2)
    log.close()
    with sqlite3.connect(segment.path_of(folder, 1)) as db:
        db.execute("PRAGMA user_version=2")
    with pytest.raises(LogError, match="has format 2; this build reads format 1"):
        open_log()
