"""Commands on a log that no instance is running on: opened, appended to and closed again."""

from __future__ import annotations

import time
from pathlib import Path

from ioc import control
from ioc.accounts import Accounts
from ioc.log.reader import LogReader
from ioc.log.sqlite import SqliteLog
from ioc.model import (
    AddToken,
    Answer,
    Command,
    Input,
    PackLoaded,
    RemoveUser,
    RevokeToken,
    SetUser,
    Verdict,
)
from ioc.recovery import recover, sound_states
from ioc.versions import Version, Versions


def accounts(data: Path) -> Accounts:
    """The accounts as of the log's last record; the log may belong to a running instance."""
    reader = LogReader(data / "log")
    out = Accounts()
    state = next(sound_states(data / "log"), None)
    start = 0
    if state is not None:
        out.restore(state["facts"]["accounts"])
        start = state["facts"]["number"]
    for record in reader.read(start):
        if isinstance(record.body, SetUser | RemoveUser | AddToken | RevokeToken):
            out.feed(record.body, record.now_us)
    return out


def in_force(data: Path) -> Version | None:
    """How the pack in force came about, as of the log's last record; None where nothing tells."""
    out = Versions()
    state = next(sound_states(data / "log"), None)
    start = 0
    if state is not None:
        out.restore(state["facts"]["versions"])
        start = state["facts"]["number"]
    for record in LogReader(data / "log").read(start):
        if isinstance(record.body, PackLoaded):
            out.feed(record.body, record.number, record.now_us)
    return out.in_force


def submit(data: Path, command: Command, *, source_clock: bool = False) -> Answer:
    """The running instance's answer, or that of the log itself when none runs. Raises LogError."""
    answer = control.ask(data, command)
    if answer is not None:
        return answer
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    store = SqliteLog.open(data / "log")
    try:
        recovered = recover(store)
        pipeline = recovered.pipeline
        # Where the samples move the clock, it has no value before the first of them.
        by_samples = pipeline.source_clock if pipeline.pack else source_clock
        now_us = pipeline.now_us if by_samples else max(time.time_ns() // 1_000, pipeline.now_us + 1)
        record = Input(store.last_number + 1, now_us, command)
        store.commit([record], recovered.pending)
        outcome = pipeline.feed(record)
        if outcome.transitions:
            store.commit([], outcome.transitions)
        return outcome.answer or Answer(verdict=Verdict.DONE)
    finally:
        store.close()
