from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.log_items import batch, item, items, same, transition

from ioc.errors import LogDamaged, LogError, LogWriteFailed
from ioc.log import keeper, segment
from ioc.log.sqlite import LogReader, SqliteLog, _bytes_on_disk
from ioc.model import Input, PackLoaded, SystemFact, Tick

Open = Callable[..., SqliteLog]
PACK = b'{"files": {}}' * 50
PACK_HASH = hashlib.sha256(PACK).hexdigest()


def fill(log: SqliteLog, last: int, rows: int = 100) -> None:
    """Commits one record at a time, with a journal entry every third."""
    for number in range(log.last_number + 1, last + 1):
        outputs = [transition(number)] if number % 3 == 0 else []
        log.commit([item(number, batch(rows, number))], outputs)


def numbers(log: SqliteLog | LogReader, after: int = 0) -> list[int]:
    return [record.number for record in log.read(after)]


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class Faulty:
    """A connection that fails at some statements: before they ran, or after they took effect."""

    def __init__(self, db: sqlite3.Connection, statements: tuple[str, ...], after: bool = False) -> None:
        self.db = db
        self.statements = statements
        self.after = after

    def __getattr__(self, name: str) -> Any:
        return getattr(self.db, name)

    def execute(self, sql: str, *values: Any) -> Any:
        if sql.startswith(self.statements):
            if self.after:
                self.db.execute(sql, *values)
            raise sqlite3.OperationalError("disk I/O error")
        return self.db.execute(sql, *values)


def test_what_was_committed_is_read_back_in_order_after_reopening(open_log: Open) -> None:
    log = open_log()
    assert (log.last_number, log.last_now_us, log.last_output_seq) == (0, 0, 0)
    log.commit(items(1, 5))
    log.commit([item(6, Tick()), item(7, batch(500))], [transition(3), transition(6)])
    log.close()
    log = open_log()
    assert (log.last_number, log.last_now_us, log.last_output_seq) == (7, item(7).now_us, 2)
    back = list(log.read(0))
    expected = [*items(1, 5), item(6, Tick()), item(7, batch(500))]
    assert len(back) == 7 and all(map(same, back, expected))
    assert list(log.outputs(0)) == [(1, transition(3)), (2, transition(6))]
    assert (
        numbers(log, 5) == [6, 7]
        and [r.number for r in log.read(2, 3)] == [3, 4, 5]
        and numbers(log, 7) == []
    )
    assert list(log.outputs(1)) == [(2, transition(6))] and list(log.outputs(0, 1)) == [(1, transition(3))]


def test_outputs_alone_may_be_committed_when_stopping(open_log: Open) -> None:
    log = open_log()
    log.commit(items(1, 2))
    log.commit([], [transition(2)])
    log.commit([])
    assert log.last_output_seq == 1 and log.last_number == 2


def test_folder_and_files_are_readable_by_their_owner_alone(open_log: Open, folder: Path) -> None:
    folder.mkdir(mode=0o755)
    log = open_log()
    fill(log, 120)
    assert len(segment.listing(folder)) > 1
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


def test_a_full_segment_is_followed_by_one_named_by_its_first_number(open_log: Open, folder: Path) -> None:
    log = open_log()
    fill(log, 200)
    firsts = [first for first, _ in segment.listing(folder)]
    assert len(firsts) > 2 and firsts[0] == 1
    assert numbers(log) == list(range(1, 201))
    assert [seq for seq, _ in log.outputs(0)] == list(range(1, 67))
    for first, path in segment.listing(folder):
        with sqlite3.connect(path) as db:
            (low,) = db.execute("SELECT min(number) FROM input").fetchone()
        assert low in (first, None)
    log.close()
    log = open_log()
    assert log.last_number == 200 and list(log.verify())[-1] == 200
    fill(log, 300)
    assert numbers(log, 199) == list(range(200, 301))
    assert [seq for seq, _ in log.outputs(60)] == list(range(61, 101))


def test_an_old_segment_is_closed_in_the_background(open_log: Open, folder: Path) -> None:
    log = open_log()
    fill(log, 200)
    old = [path for _, path in segment.listing(folder)][:-2]
    assert old
    wait_for(
        lambda: all(not wal.exists() or wal.stat().st_size == 0 for wal in (segment.files(p)[1] for p in old))
    )


def test_a_segment_that_a_reader_has_open_is_sealed_when_it_lets_go(open_log: Open, folder: Path) -> None:
    log, reader = open_log(), LogReader(folder)
    fill(log, 1)
    assert numbers(reader) == [1]
    fill(log, 200)
    others = [path for _, path in segment.listing(folder)][1:-2]
    wait_for(lambda: all(map(segment.is_sealed, others)))
    assert not segment.is_sealed(segment.path_of(folder, 1))
    reader.close()
    wait_for(lambda: segment.is_sealed(segment.path_of(folder, 1)))


def test_old_segments_that_a_crash_left_open_are_sealed_at_the_next_start(
    open_log: Open, folder: Path
) -> None:
    log, reader = open_log(), LogReader(folder)
    fill(log, 1)
    assert numbers(reader) == [1]
    fill(log, 50)
    log.close()
    assert not segment.is_sealed(segment.path_of(folder, 1))
    reader.close()
    log = open_log()
    wait_for(lambda: segment.is_sealed(segment.path_of(folder, 1)))
    assert numbers(log) == list(range(1, 51))


def test_what_is_committed_moves_from_the_wal_into_the_file_beside_the_commits(
    open_log: Open, folder: Path
) -> None:
    log = open_log(segment_bytes=64 << 20)
    before = segment.path_of(folder, 1).stat().st_size
    fill(log, 20)
    wait_for(lambda: segment.path_of(folder, 1).stat().st_size > before)


def test_the_wal_begins_anew_beside_a_writer_that_never_rests(
    open_log: Open, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "INTERVAL_S", 0.0)
    monkeypatch.setattr(keeper, "WAL_BYTES_MAX", 64 << 10)
    log = open_log(segment_bytes=64 << 20)
    path = segment.path_of(folder, 1)
    _, wal, _ = segment.files(path)
    deadline = time.monotonic() + 60
    # What moved into the file is many times what the WAL has ever held: it is written from its start again and again.
    while path.stat().st_size < 8 << 20 or path.stat().st_size < 4 * wal.stat().st_size:
        assert time.monotonic() < deadline, f"the WAL has grown to {wal.stat().st_size} bytes"
        fill(log, log.last_number + 50)
    assert list(log.verify())[-1] == log.last_number


def test_closing_leaves_one_file_a_segment_and_the_lock(open_log: Open, folder: Path) -> None:
    log = open_log()
    fill(log, 10)
    log.close()
    log.close()
    assert names(folder) == ["00000000000000000001.sqlite", "lock"]


def test_numbers_must_follow_and_time_must_not_fall(open_log: Open) -> None:
    log = open_log()
    log.commit(items(1, 2))
    for wrong in ([item(4)], [item(2)], [item(3), item(5)], [Input(3, 1, Tick())]):
        with pytest.raises(AssertionError):
            log.commit(wrong)
    with pytest.raises(AssertionError):
        log.commit([item(3)], [transition(4)])
    log.commit([item(3)], [transition(3)])
    assert numbers(log) == [1, 2, 3]


def test_each_segment_holds_the_pack_in_force_so_that_any_may_be_deleted(
    open_log: Open, folder: Path
) -> None:
    log = open_log()
    log.commit([item(1, PackLoaded(PACK_HASH, "lao_cai"))], [], {PACK_HASH: PACK})
    fill(log, 120)
    assert len(segment.listing(folder)) > 2
    for _, path in segment.listing(folder):
        with sqlite3.connect(path) as db:
            assert db.execute("SELECT count(*) FROM blob WHERE hash = ?", (PACK_HASH,)).fetchone() == (1,)
    log.close()
    log = open_log()
    fill(log, 240)
    log.retire(240, 240, None, 0)
    assert log.first_number > 1
    assert log.blob(PACK_HASH) == PACK and log.blob("0" * 64) is None


def test_a_pack_loaded_again_is_found_in_the_segment_that_names_it(open_log: Open, folder: Path) -> None:
    log = open_log()
    other = b"another"
    other_hash = hashlib.sha256(other).hexdigest()
    log.commit([item(1, PackLoaded(PACK_HASH, "a"))], [], {PACK_HASH: PACK})
    log.commit([item(2, PackLoaded(other_hash, "b"))], [], {other_hash: other})
    fill(log, 100)
    log.commit([item(101, PackLoaded(PACK_HASH, "a"))])
    fill(log, 240)
    log.retire(240, 240, None, 0)
    assert log.first_number > 101 and log.blob(PACK_HASH) == PACK


def test_retire_deletes_only_what_everybody_has_passed(open_log: Open, folder: Path) -> None:
    log = open_log()
    fill(log, 200)
    firsts = [first for first, _ in segment.listing(folder)]
    assert log.retire(200, 200, None, None) == []
    assert log.retire(firsts[1] - 1, 200, None, 0) == []
    assert log.retire(200, firsts[1] - 2, None, 0) == []
    assert log.retire(200, 200, None, 0, floor=firsts[1] - 2) == []
    assert log.retire(firsts[1], 200, None, 0) == [segment.path_of(folder, 1)]
    assert log.first_number == firsts[1]
    assert log.retire(10_000, 10_000, None, 0)
    assert len(segment.listing(folder)) in (1, 2) and log.last_number == 200
    log.close()
    log = open_log()
    fill(log, 210)
    assert numbers(log, 205) == list(range(206, 211))
    assert list(log.verify(0))[-1] == 210


def test_what_a_segments_last_record_caused_outlives_a_projection_that_has_only_the_record(
    open_log: Open, folder: Path
) -> None:
    log = open_log()
    log.commit([item(1)])
    # These fill the segment: the next begins behind them, with the next record.
    log.commit([], [transition(1)] * 2_000)
    log.commit([item(2)])
    log.commit([item(3)])
    assert [first for first, _ in segment.listing(folder)] == [1, 2]
    assert log.retire(1, 3, None, 0) == []
    assert log.retire(2, 3, None, 0) == [segment.path_of(folder, 1)]


def test_retire_goes_by_age_and_by_size(open_log: Open, folder: Path) -> None:
    log = open_log()
    fill(log, 200)
    segments = segment.listing(folder)
    wait_for(lambda: all(segment.is_sealed(path) for _, path in segments[:-2]))
    second, third = segments[1][0], segments[2][0]
    assert log.retire(200, 200, item(second - 1).now_us, None) == []
    assert log.retire(200, 200, item(second - 1).now_us + 1, None) == [segments[0][1]]
    first, *rest = [_bytes_on_disk(path) for _, path in segments[1:]]
    assert log.retire(200, 200, None, 64 << 20) == []
    assert log.retire(200, 200, None, sum(rest) + first // 2) == [segments[1][1]]
    assert log.first_number == third


def test_what_retention_deleted_is_said_to_be_gone_not_passed_over(open_log: Open) -> None:
    log = open_log()
    fill(log, 200)
    log.retire(200, 200, None, 0)
    with pytest.raises(LogDamaged, match="log record 1: is no longer kept; the log begins with"):
        next(log.read(0))
    with pytest.raises(LogDamaged, match="journal entry 1 is no longer kept"):
        next(log.outputs(0))


@pytest.mark.parametrize("statement", ["BEGIN", "COMMIT"])
@pytest.mark.parametrize("after", [False, True], ids=["before it", "after it"])
def test_a_failed_commit_leaves_everything_as_it_was(open_log: Open, statement: str, after: bool) -> None:
    log = open_log()
    log.commit(items(1, 3), [transition(2)])
    assert log._db is not None
    good = log._db
    log._db = Faulty(good, (statement,), after)  # type: ignore[assignment]
    with pytest.raises(LogWriteFailed, match="nothing was taken: disk I/O error"):
        log.commit([item(4, SystemFact("a", "b", True, 1.0)), item(5)], [transition(3), transition(4)])
    assert (log.last_number, log.last_output_seq) == (3, 1)
    log._db = good
    log.commit([item(4, Tick())], [transition(4)])
    assert numbers(log) == [1, 2, 3, 4] and same(next(log.read(3)), item(4, Tick()))
    assert list(log.outputs(0)) == [(1, transition(2)), (2, transition(4))]
    log.close()
    assert list(open_log().verify()) == [1, 2, 3, 4]


def test_a_connection_that_cannot_roll_back_is_opened_anew(open_log: Open) -> None:
    log = open_log()
    log.commit(items(1, 3))
    assert log._db is not None
    log._db = Faulty(log._db, ("COMMIT", "ROLLBACK"))  # type: ignore[assignment]
    with pytest.raises(LogWriteFailed):
        log.commit([item(4)])
    log.commit([item(4, Tick())])
    assert numbers(log) == [1, 2, 3, 4]


def test_a_next_segment_that_cannot_be_made_lets_the_old_one_go_on(
    open_log: Open, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = open_log()

    def fail(path: Path) -> sqlite3.Connection:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(segment, "open_writer", fail)
    fill(log, 100)
    assert segment.listing(folder)[0][0] == 1 and len(segment.listing(folder)) <= 2
    monkeypatch.undo()
    fill(log, 120)
    assert len(segment.listing(folder)) > 1
    assert numbers(log) == list(range(1, 121)) and list(log.verify())[-1] == 120


def test_an_empty_next_segment_that_a_power_cut_brought_back_is_dropped(open_log: Open, folder: Path) -> None:
    log = open_log(segment_bytes=64 << 20)
    fill(log, 10)
    log.close()
    segment.create(folder, segment.Head(6, 0, 1, segment.GENESIS, ""), [])
    log = open_log()
    assert log.last_number == 10 and [first for first, _ in segment.listing(folder)] == [1]


def test_what_a_crash_leaves_in_the_folder_is_tidied(open_log: Open, folder: Path) -> None:
    log = open_log()
    fill(log, 10)
    log.close()
    for name in ("00000000000000000011.new", "00000000000000000099.sqlite-wal"):
        (folder / name).write_bytes(b"half")
    open_log().close()
    assert names(folder) == ["00000000000000000001.sqlite", "lock"]


def test_a_closed_log_takes_nothing(open_log: Open) -> None:
    log = open_log()
    log.close()
    with pytest.raises(AssertionError):
        log.commit(items(1, 1))


def test_a_folder_that_cannot_be_used_is_a_log_error_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LogError, match="cannot be used: Not a directory"):
        SqliteLog.open(tmp_path / "file" / "log")


def test_a_blob_must_bear_its_own_name(open_log: Open) -> None:
    log = open_log()
    with pytest.raises(AssertionError):
        log.commit([item(1, PackLoaded(PACK_HASH, "a"))], [], {PACK_HASH: b"else"})
