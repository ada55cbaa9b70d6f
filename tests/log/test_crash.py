"""kill -9 of the writer, again and again, while a reader follows."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

from support.log_items import batch, item, same, transition

from ioc.log import record, segment
from ioc.log.sqlite import LogReader, SqliteLog

ROOT = Path(__file__).resolve().parents[2]
WRITER = """
import sys
from pathlib import Path
from support.log_items import batch, item, transition
from ioc.log.sqlite import SqliteLog

log = SqliteLog.open(Path(sys.argv[1]), segment_bytes=256 << 10)
pending = []
while True:
    first = log.last_number + 1
    log.commit([item(n, batch(n % 50, n)) for n in range(first, first + first % 5 + 1)], pending)
    print(log.last_number, log.last_output_seq, flush=True)
    pending = [transition(log.last_number)]
"""


def test_what_was_committed_outlives_every_kill(folder: Path) -> None:
    reader = LogReader(folder)
    read = 0
    for count in (1, 40, 150, 300, 77, 200):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(folder)],
            cwd=ROOT,
            env={"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert writer.stdout is not None
        said = [writer.stdout.readline() for _ in range(count)]
        for found in reader.read(read):
            read = found.number
        writer.kill()
        said += writer.communicate()[0].splitlines(keepends=True)
        whole = [line for line in said if line.endswith("\n")]
        promised, entries = map(int, whole[-1].split())
        for found in reader.read(read):
            read = found.number
        assert read >= promised, "the reader lacks what the writer had promised"

        log = SqliteLog.open(folder, segment_bytes=256 << 10)
        assert log.last_number >= promised and log.last_output_seq >= entries
        assert list(log.verify()) == list(range(1, log.last_number + 1))
        assert all(
            same(record, item(record.number, batch(record.number % 50, record.number)))
            for record in log.read(0)
        )
        assert [seq for seq, _ in log.outputs(0)] == list(range(1, log.last_output_seq + 1))
        assert all(same(entry, transition(entry.input)) for _, entry in log.outputs(0))
        log.close()
    assert len(segment.listing(folder)) > 2


def insert(db: sqlite3.Connection, number: int) -> None:
    kind, body = record.encode(item(number))
    db.execute(
        "INSERT INTO input VALUES (?, ?, ?, ?, ?)",
        (number, item(number).now_us, kind, item(number).origin, body),
    )
    db.commit()


def test_a_commit_killed_half_way_never_comes_back_once_the_log_has_gone_on(folder: Path) -> None:
    log = SqliteLog.open(folder)
    log.commit([item(number) for number in range(1, 11)])
    reader = LogReader(folder)
    assert reader.last_number == 10
    log.close()
    # What a kill between the WAL's sync and the update of its index leaves: record 12 stands in the WAL, and the
    # shared memory, which the reader keeps alive, does not know of it.
    path = segment.path_of(folder, 1)
    shared_memory = segment.files(path)[2]
    db = sqlite3.connect(path)
    insert(db, 11)
    before = shared_memory.read_bytes()
    insert(db, 12)
    with shared_memory.open("r+b") as file:
        file.write(before)
    db.close()

    log = SqliteLog.open(folder, segment_bytes=1)
    assert log.last_number == 11
    log.commit([item(12, batch(7))])
    log.commit([item(13, batch(7))])
    assert len(segment.listing(folder)) >= 2
    log.close()
    reader.close()
    log = SqliteLog.open(folder)
    assert list(log.verify()) == list(range(1, 14))
    assert same(next(log.read(11)), item(12, batch(7)))
    log.close()
