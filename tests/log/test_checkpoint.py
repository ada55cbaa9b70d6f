from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ioc.errors import LogDamaged, LogError
from ioc.log import checkpoint
from ioc.log.state import state_hash


def state(number: int) -> dict[str, Any]:
    return {"number": number, "marks": np.arange(number, number + 1_000), "open": [{"id": "a"}]}


def test_a_checkpoint_comes_back_with_its_number(tmp_path: Path) -> None:
    path = checkpoint.write(tmp_path, 7, state(7))
    number, back = checkpoint.load(path)
    assert number == 7 and state_hash(back) == state_hash(state(7))
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_last_two_are_kept_newest_first(tmp_path: Path) -> None:
    for number in (5, 9, 10, 100):
        checkpoint.write(tmp_path, number, state(number))
    assert [number for number, _ in checkpoint.latest(tmp_path)] == [100, 10]
    assert [checkpoint.load(path)[0] for _, path in checkpoint.latest(tmp_path)] == [100, 10]


def test_there_may_be_none(tmp_path: Path) -> None:
    assert list(checkpoint.latest(tmp_path)) == []
    assert list(checkpoint.latest(tmp_path / "absent")) == []


def test_one_written_again_at_the_same_number_takes_its_place(tmp_path: Path) -> None:
    checkpoint.write(tmp_path, 5, {"a": 1})
    path = checkpoint.write(tmp_path, 5, {"a": 2})
    assert [checkpoint.load(p) for _, p in checkpoint.latest(tmp_path)] == [(5, {"a": 2})]
    assert path.exists()


def test_every_changed_byte_is_found_out(tmp_path: Path) -> None:
    path = checkpoint.write(tmp_path, 7, {"a": [1, "b"]})
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes((whole[at] ^ 0x10,)) + whole[at + 1 :])
        with pytest.raises(LogDamaged, match="log record 7: the checkpoint"):
            checkpoint.load(path)
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(LogDamaged):
            checkpoint.load(path)


def test_one_under_anothers_name_is_found_out(tmp_path: Path) -> None:
    path = checkpoint.write(tmp_path, 7, state(7))
    moved = path.rename(tmp_path / path.name.replace("7", "8"))
    with pytest.raises(LogDamaged, match="really of record 7"):
        checkpoint.load(moved)


def test_it_is_written_and_synced_in_slices_and_appears_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    syncs: list[list[str]] = []
    write, fsync = os.write, os.fsync

    def spied_write(fd: int, data: memoryview) -> int:
        sizes.append(len(data))
        return write(fd, data)

    def spied_fsync(fd: int) -> None:
        syncs.append(sorted(path.suffix for path in tmp_path.iterdir()))
        fsync(fd)

    monkeypatch.setattr(os, "write", spied_write)
    monkeypatch.setattr(os, "fsync", spied_fsync)
    checkpoint.write(tmp_path, 1, {"a": os.urandom(3 << 20)})
    assert len(sizes) == 4 and max(sizes) == checkpoint.SLICE_BYTES
    assert syncs == [[".tmp"]] * 4 + [[".checkpoint"]]


def test_a_crash_while_writing_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint.write(tmp_path, 1, state(1))
    (tmp_path / "00000000000000000002.tmp").write_bytes(b"half")
    assert [number for number, _ in checkpoint.latest(tmp_path)] == [1]
    checkpoint.write(tmp_path, 3, state(3))
    assert not list(tmp_path.glob("*.tmp"))


@pytest.mark.parametrize("schema", [0, checkpoint.SCHEMA + 1, 99])
def test_an_unknown_schema_is_refused_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, schema: int
) -> None:
    monkeypatch.setattr(checkpoint, "SCHEMA", schema)
    path = checkpoint.write(tmp_path, 1, state(1))
    monkeypatch.undo()
    with pytest.raises(
        LogError, match=f"has schema {schema}; this build reads 1 to {checkpoint.SCHEMA}"
    ) as caught:
        checkpoint.load(path)
    assert not isinstance(caught.value, LogDamaged)


def test_the_two_schemas_before_are_migrated_and_no_older(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "SCHEMA", 1)
    path = checkpoint.write(tmp_path, 1, {"old": 1})
    monkeypatch.setattr(checkpoint, "MIGRATIONS", {n: lambda s, n=n: s | {f"from {n}": True} for n in (1, 2)})
    monkeypatch.setattr(checkpoint, "SCHEMA", 3)
    assert checkpoint.load(path) == (1, {"old": 1, "from 1": True, "from 2": True})
    monkeypatch.setattr(checkpoint, "SCHEMA", 4)
    with pytest.raises(LogError, match="this build reads 2 to 4"):
        checkpoint.load(path)


def test_a_checkpoint_from_before_events_and_trials_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "SCHEMA", 2)
    path = checkpoint.write(tmp_path, 1, {"facts": {"number": 1}})
    monkeypatch.undo()
    _, state = checkpoint.load(path)
    assert state["facts"] == {"number": 1, "events": [], "versions": [], "shadow": {}}


def test_every_schema_that_is_read_has_its_migration() -> None:
    assert set(checkpoint.MIGRATIONS) >= set(range(max(1, checkpoint.SCHEMA - 2), checkpoint.SCHEMA))
