from __future__ import annotations

import hashlib
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from support.log_items import batch, item, transition

from ioc.errors import LogDamaged
from ioc.log import segment
from ioc.log.sqlite import LogReader, SqliteLog
from ioc.log.verify import contents, unbroken
from ioc.model import PackLoaded

PACK = b"pack" * 100
PACK_HASH = hashlib.sha256(PACK).hexdigest()


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed log of 200 records and 100 journal entries in several segments, with a pack."""
    folder = tmp_path_factory.mktemp("whole") / "log"
    log = SqliteLog.open(folder, segment_bytes=64 << 10)
    log.commit([item(1, PackLoaded(PACK_HASH, "lao_cai"))], [], {PACK_HASH: PACK})
    for number in range(2, 201):
        log.commit([item(number, batch(100, number))], [transition(number)] if number % 2 else [])
    log.close()
    assert len(segment.listing(folder)) > 3
    return folder


@pytest.fixture
def whole(template: Path, folder: Path) -> Path:
    """A copy of it to be damaged."""
    shutil.copytree(template, folder)
    return folder


def edit(folder: Path, number: int, sql: str, *values: Any) -> None:
    """Changes the segment that holds record `number`, as no program of ours would."""
    path = [path for first, path in segment.listing(folder) if first <= number][-1]
    db = sqlite3.connect(path)
    with db:
        assert db.execute(sql, values).rowcount > 0
    db.close()


def opening(folder: Path) -> LogDamaged:
    with pytest.raises(LogDamaged) as caught:
        SqliteLog.open(folder)
    return caught.value


def verifying(folder: Path, after: int = 0) -> LogDamaged:
    with pytest.raises(LogDamaged) as caught:
        list(contents(LogReader(folder), after))
    return caught.value


def test_a_whole_log_passes(whole: Path) -> None:
    assert list(contents(LogReader(whole))) == list(range(1, 201))
    assert list(contents(LogReader(whole), 150)) == list(range(151, 201))
    SqliteLog.open(whole).close()


@pytest.mark.parametrize("number", [1, 2, 100, 199])
def test_a_missing_record_stops_the_start_and_is_named(whole: Path, number: int) -> None:
    edit(whole, number, "DELETE FROM input WHERE number = ?", number)
    assert opening(whole).number == number
    error = verifying(whole)
    assert error.number == number and "is missing" in str(error)


def test_a_missing_segment_stops_the_start_and_its_first_record_is_named(whole: Path) -> None:
    first, path = segment.listing(whole)[1]
    path.unlink()
    assert opening(whole).number == first
    assert verifying(whole).number == first


def test_a_renamed_segment_is_found_out(whole: Path) -> None:
    first, path = segment.listing(whole)[-1]
    path.rename(segment.path_of(whole, first + 1))
    assert opening(whole).number == first


def test_a_missing_journal_entry_stops_the_start(whole: Path) -> None:
    edit(whole, 101, "DELETE FROM output WHERE number = ?", 101)
    assert "journal entry 50 is missing" in str(opening(whole))
    assert "journal entry 50 is missing" in str(verifying(whole))


def test_missing_journal_entries_at_a_segments_end_are_found_out(whole: Path) -> None:
    (_, _), (second, _), *_ = segment.listing(whole)
    edit(whole, 1, "DELETE FROM output WHERE seq = (SELECT max(seq) FROM output)")
    assert opening(whole).number == second
    assert verifying(whole).number == second - 1


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE input SET body = CAST(substr(body, 1, 30) || x'00' || substr(body, 32) AS BLOB) WHERE number = 120",
        "UPDATE input SET body = substr(body, 1, length(body) - 1) WHERE number = 120",
        "UPDATE input SET body = 'text' WHERE number = 120",
        "UPDATE input SET now_us = now_us + 1 WHERE number = 120",
        "UPDATE input SET now_us = 'x' WHERE number = 120",
        "UPDATE input SET kind = 8 WHERE number = 120",
        "UPDATE input SET origin = '' WHERE number = 120",
        "UPDATE input SET origin = CAST(x'ff' AS TEXT) WHERE number = 120",
        "UPDATE input SET body = (SELECT body FROM input WHERE number = 121) WHERE number = 120",
    ],
)
def test_a_changed_record_is_named_when_it_is_read(whole: Path, sql: str) -> None:
    edit(whole, 120, sql)
    SqliteLog.open(whole).close()
    error = verifying(whole)
    assert error.number == 120
    assert verifying(whole, 110).number == 120
    reading = LogReader(whole).read(117)
    assert [next(reading).number, next(reading).number] == [118, 119]
    with pytest.raises(LogDamaged):
        next(reading)
    assert next(contents(LogReader(whole), 120)) == 121


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE output SET body = CAST(substr(body, 1, 30) || x'00' || substr(body, 32) AS BLOB) WHERE number = 121",
        "UPDATE output SET body = 'text' WHERE number = 121",
        "UPDATE output SET chain = zeroblob(32) WHERE number = 121",
        "UPDATE output SET chain = 'text' WHERE number = 121",
        "UPDATE output SET body = (SELECT body FROM output WHERE number = 123) WHERE number = 121",
    ],
)
def test_a_changed_journal_entry_breaks_the_chain_at_its_record(whole: Path, sql: str) -> None:
    edit(whole, 121, sql)
    assert verifying(whole).number == 121


def test_a_journal_rewritten_with_a_new_chain_is_caught_by_the_next_segment(whole: Path) -> None:
    (_, path), (second, _), *_ = segment.listing(whole)
    db = sqlite3.connect(path)
    rows = db.execute("SELECT seq, body FROM output ORDER BY seq").fetchall()
    chain = segment.GENESIS
    with db:
        for seq, body in rows:
            body = body.replace(b"river", b"rover")
            chain = hashlib.sha256(chain + body).digest()
            db.execute("UPDATE output SET body = ?, chain = ? WHERE seq = ?", (body, chain, seq))
    db.close()
    error = verifying(whole)
    assert error.number >= second and "chain breaks before" in str(error)


@pytest.mark.parametrize(
    "value",
    ["CAST(substr(body, 1, 20) || x'00' || substr(body, 22) AS BLOB)", "'text'", "x'00'"],
)
def test_a_damaged_blob_is_found_out(whole: Path, value: str) -> None:
    edit(whole, 200, f"UPDATE blob SET body = {value}")
    assert "blob" in str(verifying(whole))
    assert "blob" in str(opening(whole))


def test_a_blob_under_anothers_name_is_found_out(whole: Path) -> None:
    edit(whole, 200, "UPDATE blob SET hash = ?", "0" * 64)
    assert "not what its name says" in str(verifying(whole))


def test_a_segment_that_is_no_database_is_damage_not_a_crash(whole: Path) -> None:
    first, path = segment.listing(whole)[1]
    path.write_bytes(b"\0" * path.stat().st_size)
    assert opening(whole).number == first
    assert verifying(whole).number == first


def test_a_torn_page_is_damage_not_a_wrong_record(whole: Path) -> None:
    _, path = segment.listing(whole)[1]
    data = bytearray(path.read_bytes())
    for at in range(8 * 4096, 10 * 4096):
        data[at] ^= 0x5A
    path.write_bytes(data)
    with pytest.raises(LogDamaged):
        list(contents(LogReader(whole)))


def test_a_segment_that_retention_deletes_meanwhile_is_not_missed(
    whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segments = segment.listing(whole)
    gone, path = segments[0]
    reader = LogReader(whole)
    reading = contents(reader, segments[1][0] - 1)
    assert next(reading) == segments[1][0]
    path.unlink()
    monkeypatch.setattr(segment, "listing", lambda folder: segments)
    unbroken(LogReader(whole))
    monkeypatch.undo()
    assert list(reading)[-1] == 200
    with pytest.raises(LogDamaged, match="no longer kept"):
        next(reader.read(gone - 1))
