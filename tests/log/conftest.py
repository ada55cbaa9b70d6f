"""What the log's tests share: a folder, and a log in it that is closed at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from ioc.log.sqlite import SqliteLog


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def open_log(folder: Path) -> Iterator[Callable[..., SqliteLog]]:
    """Opens the log in `folder`; small segments unless told. Closes what a test leaves open."""
    opened: list[SqliteLog] = []

    def open_(**options: Any) -> SqliteLog:
        opened.append(SqliteLog.open(folder, **({"segment_bytes": 64 << 10} | options)))
        return opened[-1]

    yield open_
    for log in opened:
        with suppress(Exception):
            log.close()
