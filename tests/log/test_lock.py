from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ioc.errors import LogOwned
from ioc.log.sqlite import LogReader, SqliteLog

ROOT = Path(__file__).resolve().parents[2]
OWNER = """
import sys
from pathlib import Path
from ioc.log.sqlite import SqliteLog
log = SqliteLog.open(Path(sys.argv[1]))
print("open", flush=True)
sys.stdin.read()
"""


def test_a_second_owner_is_refused_and_told_the_first_ones_pid(folder: Path) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(folder)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert owner.stdout is not None and owner.stdout.readline() == "open\n"
        with pytest.raises(LogOwned, match=f"process {owner.pid}") as caught:
            SqliteLog.open(folder)
        assert caught.value.pid == owner.pid
        assert list(LogReader(folder).read(0)) == []
    finally:
        owner.kill()
        owner.communicate()
    SqliteLog.open(folder).close()


def test_a_second_owner_within_the_same_process_is_refused_too(open_log: Callable[..., SqliteLog]) -> None:
    open_log()
    with pytest.raises(LogOwned) as caught:
        open_log()
    assert caught.value.pid == os.getpid()


def test_a_closed_log_and_one_that_failed_to_open_are_free_again(
    open_log: Callable[..., SqliteLog], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_log().close()
    monkeypatch.setattr("ioc.log.verify.unbroken", lambda reader: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        open_log()
    monkeypatch.undo()
    open_log()
