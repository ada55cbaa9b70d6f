"""Checkpoints: the state of the stages at one number of the log, as files from which a start need not replay all.

A file: a header (schema, number, length, and the sha-256 of these and of all that follows), then the packed state,
compressed. It appears whole under its name or not at all; one that a crash or a disk damaged is refused by `load`,
and the caller goes on to the one before.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from ioc.errors import LogDamaged, LogError
from ioc.log import frame
from ioc.log.segment import sync
from ioc.log.state import pack_state, unpack_state

SCHEMA: Final = 3
"""Of the state. Raise it when a stage's `state()` changes its shape, and add the step to MIGRATIONS."""


def _to_2(state: dict[str, Any]) -> dict[str, Any]:
    """With what Kafka's offsets, the receipts of HTTP and re-injections out of the quarantine have come to."""
    quarantine: dict[str, Any] = {"pending": [], "done": [], "answers": []}
    state["facts"] |= {"offsets": {}, "receipts": [], "quarantine": quarantine}
    return state


def _to_3(state: dict[str, Any]) -> dict[str, Any]:
    """With events, the versions of the pack, and what rules that are only tried would have done."""
    state["facts"] |= {"events": [], "versions": [], "shadow": {}}
    return state


MIGRATIONS: Final[dict[int, Callable[[dict[str, Any]], dict[str, Any]]]] = {1: _to_2, 2: _to_3}
"""From the state of schema n to that of n + 1; the two schemas before SCHEMA are read."""
_READS_BACK: Final = 2

KEPT: Final = 2
SUFFIX: Final = ".checkpoint"
SLICE_BYTES: Final = 1 << 20
"""Synced one by one: 120 MB at once would hold up every commit on the same disk for 0.9 s."""

_MAGIC: Final = b"IOCCKPT\n"
_FACTS: Final = struct.Struct("<IQQ")
_SUM_BYTES: Final = 32
_HEADER_BYTES: Final = len(_MAGIC) + _FACTS.size + _SUM_BYTES


def write(folder: Path, number: int, state: Mapping[str, Any]) -> Path:
    """Keeps the state after record `number`, durably, and drops all but the last two. Meant for a thread.

    Raises OSError if the disk does not take it; the checkpoints before stand then.
    """
    body = frame.pack(pack_state(state))
    facts = _FACTS.pack(SCHEMA, number, len(body))
    data = b"".join((_MAGIC, facts, _sum(facts, body), body))
    path = folder / f"{number:020d}{SUFFIX}"
    new = path.with_suffix(".tmp")
    try:
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view[:SLICE_BYTES]) :]
                os.fsync(fd)
        finally:
            os.close(fd)
        new.rename(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    sync(folder)
    for _, old in list(latest(folder))[KEPT:]:
        old.unlink(missing_ok=True)
    for stray in folder.glob("*.tmp"):
        stray.unlink(missing_ok=True)
    return path


def latest(folder: Path) -> Iterator[tuple[int, Path]]:
    """The checkpoints there are, as (number, file), newest first; whether one is whole only `load` can tell."""
    found = [
        (int(path.stem), path)
        for path in folder.glob(f"*{SUFFIX}")
        if path.stem.isascii() and path.stem.isdigit()
    ]
    yield from sorted(found, reverse=True)


def load(path: Path) -> tuple[int, dict[str, Any]]:
    """The number and the state after that record.

    Raises LogDamaged if the file is not what was written, LogError if this build does not read its schema.
    """
    named = int(path.stem) if path.stem.isdigit() else 0
    data = path.read_bytes()
    facts = data[len(_MAGIC) : len(_MAGIC) + _FACTS.size]
    if len(data) < _HEADER_BYTES or not data.startswith(_MAGIC):
        raise LogDamaged(named, f"the checkpoint {path.name} is cut short, or is none")
    schema, number, length = _FACTS.unpack(facts)
    body = data[_HEADER_BYTES:]
    if length != len(body) or data[_HEADER_BYTES - _SUM_BYTES : _HEADER_BYTES] != _sum(facts, body):
        raise LogDamaged(named, f"the checkpoint {path.name} has a wrong checksum")
    if number != named:
        raise LogDamaged(named, f"the checkpoint {path.name} is really of record {number}")
    if not max(1, SCHEMA - _READS_BACK) <= schema <= SCHEMA:
        raise LogError(
            f"the checkpoint {path.name} has schema {schema}; "
            f"this build reads {max(1, SCHEMA - _READS_BACK)} to {SCHEMA}: use the build that wrote it"
        )
    try:
        state = unpack_state(frame.unpack(body))
    except ValueError as error:
        raise LogDamaged(named, f"the checkpoint {path.name} cannot be understood: {error}") from error
    for step in range(schema, SCHEMA):
        state = MIGRATIONS[step](state)
    return number, state


def _sum(facts: bytes, body: bytes) -> bytes:
    return hashlib.sha256(facts + body).digest()
