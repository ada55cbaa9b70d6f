"""A disk that is really full: a file system of 8 MB."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.log_items import batch, item, same, transition

from ioc.errors import LogWriteFailed
from ioc.log import checkpoint
from ioc.log.sqlite import LogReader, SqliteLog

pytestmark = pytest.mark.root


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    point = tmp_path / "disk"
    point.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(point)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"tmpfs cannot be mounted here: {done.stderr.strip()}")
    try:
        yield point
    finally:
        subprocess.run(["umount", "-l", str(point)], check=True)


def fill(log: SqliteLog) -> int:
    """Commits until the disk takes no more, and says which record was refused."""
    while True:
        number = log.last_number + 1
        try:
            log.commit([item(number, batch(500, number)), item(number + 1)], [transition(number)])
        except LogWriteFailed:
            return number


def check(log: SqliteLog | LogReader, last: int) -> None:
    """Everything up to `last` is there as it was committed."""
    numbers = []
    for record in log.read(0):
        assert same(record, item(record.number, batch(500, record.number) if record.number % 2 else None))
        numbers.append(record.number)
    assert numbers == list(range(1, last + 1))
    assert [seq for seq, _ in log.outputs(0)] == list(range(1, last // 2 + 1))


@pytest.mark.parametrize("segment_bytes", [64 << 20, 512 << 10], ids=["one segment", "many segments"])
def test_a_full_disk_loses_nothing_and_the_log_goes_on_when_there_is_space(
    small_disk: Path, segment_bytes: int
) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(4 << 20))
    log = SqliteLog.open(small_disk / "log", segment_bytes=segment_bytes)
    refused = fill(log)
    assert refused > 20
    for _ in range(5):
        assert fill(log) >= refused
    with pytest.raises(LogWriteFailed, match="nothing was taken"):
        log.commit([item(log.last_number + 1, batch(5_000))])
    held = log.last_number
    check(log, held)
    check(LogReader(small_disk / "log"), held)

    ballast.unlink()
    log.commit([item(held + 1, batch(500, held + 1)), item(held + 2)], [transition(held + 1)])
    again = fill(log)
    assert again > held + 20
    check(log, log.last_number)
    last = log.last_number
    log.close()

    log = SqliteLog.open(small_disk / "log", segment_bytes=segment_bytes)
    assert log.last_number == last
    assert list(log.verify()) == list(range(1, last + 1))
    check(log, last)
    log.close()


def test_retention_makes_room_on_a_full_disk(small_disk: Path) -> None:
    log = SqliteLog.open(small_disk / "log", segment_bytes=512 << 10)
    held = fill(log) - 1
    assert log.retire(held, held, None, 2 << 20)
    first = log.first_number
    for number in range(held + 1, held + 11, 2):
        log.commit([item(number, batch(500, number)), item(number + 1)], [transition(number)])
    assert [record.number for record in log.read(first - 1)] == list(range(first, held + 11))
    log.close()


def test_a_checkpoint_that_does_not_fit_leaves_those_before(small_disk: Path) -> None:
    folder = small_disk
    checkpoint.write(folder, 1, {"a": 1})
    with pytest.raises(OSError):
        checkpoint.write(folder, 2, {"a": os.urandom(9 << 20)})
    assert [number for number, _ in checkpoint.latest(folder)] == [1]
    assert sorted(path.suffix for path in folder.iterdir()) == [".checkpoint"]
    checkpoint.write(folder, 3, {"a": 3})
