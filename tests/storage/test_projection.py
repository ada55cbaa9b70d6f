"""Every record reaches the database once, wherever it is interrupted, and alarms stand there as the book has them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import numpy as np
import pytest
from msgspec.structs import replace
from support.listlog import ListLog

from ioc.alerts.book import Book
from ioc.log import checkpoint
from ioc.log.sqlite import SqliteLog
from ioc.model import (
    Acknowledge,
    Alarm,
    Batch,
    Body,
    Change,
    ChangeKind,
    Event,
    Flag,
    Input,
    PackLoaded,
    Reason,
    Rejected,
    SeriesAdded,
    Tick,
    Transition,
)
from ioc.pipeline import Pipeline
from ioc.storage import records
from ioc.storage.connection import connect
from ioc.storage.history import History
from ioc.storage.projection import Applied, ForeignLog, Moved, Portion, Projection, check, take
from ioc.storage.source import FollowedLog, LogSource

pytestmark = pytest.mark.services

T0 = 1_790_000_000_000_000


def _sample_log(seed: int = 1) -> ListLog:
    """A log with something of every kind."""
    rng = random.Random(seed)
    log = ListLog(T0)
    log.add(PackLoaded("ab" * 32, "lao-cai"), SeriesAdded(((0, "energy/a/power"), (1, "energy/b/power"))))
    for n in range(12):
        count = rng.randrange(1, 6)
        stamps = [T0 + n * 60_000_000 + i for i in range(count)]
        log.add(Batch.of("mqtt", [n % 2] * count, stamps, stamps, [rng.random() for _ in stamps]))
        if n % 3 == 0:
            log.add(Batch.of("mqtt", [0], [T0], [T0 + n], [n / 2], [Flag.TOO_LATE]))
        if n % 3 == 1:
            # Revisions 1, 2, 2, 1 of one event, and one of another.
            log.add(_outage("A-1", (1, 2, 2, 1)[n // 3], {"n": n}), _outage(f"B-{n}", 1, {"n": n}))
        if n % 4 == 0:
            log.add(Rejected("mqtt", "a/b", Reason.NOT_JSON, "no\0", T0, b"\0{", 2), Tick())
    log.steps = _story(rng, log.last_number)[0]
    return log


def _outage(name: str, revision: int, facts: dict[str, Any], end_us: int = 0) -> Event:
    return Event("mqtt", "energy", "a", "outage", name, revision, T0, end_us, T0 + 1, facts)


def _story(rng: random.Random, last_number: int) -> tuple[list[Transition], Book, dict[str, Alarm]]:
    """A random life of a few alarms: the steps, the book after them, and every alarm as it last stood."""
    book, steps, last = Book(), [], {}
    now_us = T0
    for number in range(1, last_number + 1):
        now_us += 1_000_000
        asset, rule = rng.choice("ab"), rng.choice(["high", "low"])
        active = next((a for a in book.alarms.values() if (a.rule, a.asset) == (rule, asset)), None)
        told: list[Transition] = []
        if active is not None and rng.random() < 0.25:
            command = Acknowledge(
                actor="lan", actor_name="Lan", alarm=active.id, version=active.version, note="đã rõ"
            )
            told = book.feed_command(command, now_us, number)[1]
        else:
            kinds = [ChangeKind.ONSET] if active is None or active.condition == "normal" else [
                ChangeKind.CLEAR, ChangeKind.LEVEL_UP, ChangeKind.LEVEL_DOWN, ChangeKind.UNKNOWN,
                ChangeKind.KNOWN, ChangeKind.CORRECTION, ChangeKind.CONFIRMED,
            ]  # fmt: skip
            change = Change(
                rng.choice(kinds), rule, asset, rng.randrange(1, 4), rng.randrange(1, 5), rng.random(), 0.5,
                now_us - 5, now_us, rng.random() < 0.3, 60_000_000, rng.choice(["", "vượt ngưỡng"]),
            )  # fmt: skip
            told = book.feed_change(change, number)
        steps += told
        for step in told:
            alarm = book.remembered(step.alarm)
            if alarm is not None:
                last[step.alarm] = alarm
    return steps, book, last


async def _projection(dsn: str) -> tuple[Any, Projection]:
    connection = await connect(dsn)
    return connection, await Projection.of(connection)


async def _contents(dsn: str) -> dict[str, list[tuple[Any, ...]]]:
    connection = await connect(dsn)
    try:
        found = {}
        for table in (
            "series",
            "packs",
            "quarantine",
            "events",
            "journal",
            "alarms",
            "readings",
            "projection",
        ):
            found[table] = sorted(
                (tuple(row.values()) for row in await connection.fetch(f"SELECT * FROM {table}")), key=repr
            )
        return found
    finally:
        await connection.close()


async def _apply_all(dsn: str, log: LogSource) -> None:
    connection, projection = await _projection(dsn)
    try:
        while portion := take(log, projection.applied):
            await projection.apply(portion)
    finally:
        await connection.close()


async def test_everything_arrives(store) -> None:
    log = _sample_log()
    await _apply_all(store.dsn, log)
    found = await _contents(store.dsn)
    batches = [r.body for r in log.inputs if isinstance(r.body, Batch)]
    # The first TOO_LATE value, 0.0, and each later one differ from the stamp's first reading and from one another.
    assert len(found["readings"]) == sum(map(len, batches))
    assert found["series"] == [(0, "energy/a/power", False), (1, "energy/b/power", False)]
    assert [row[1:3] for row in found["packs"]] == [("ab" * 32, "lao-cai")]
    assert [row[5:] for row in found["quarantine"]] == [("no␀", -1, 2, b"\0{")] * 3
    events = [(*row[1:5], row[10]) for row in found["events"]]
    assert events == [
        ("a", "outage", "A-1", 1, '{"n":1}'),
        ("a", "outage", "A-1", 2, '{"n":4}'),
        *(("a", "outage", f"B-{n}", 1, f'{{"n":{n}}}') for n in (1, 10, 4, 7)),
    ]
    assert len(found["journal"]) == len(log.steps)
    last = log.inputs[-1]
    assert found["projection"] == [("postgres", last.number, len(log.steps), last.now_us)]


class _Killed(Exception):
    """What a crash looks like from inside."""


@pytest.mark.parametrize("seed", range(3))
async def test_every_row_is_there_once_however_often_the_projection_is_killed(
    store, monkeypatch, seed
) -> None:
    log = _sample_log(seed)
    rng = random.Random(seed)
    parts = {
        "write_inputs": records.write_inputs,
        "write_outputs": records.write_outputs,
    }
    armed = [False]

    def killing(work: Any) -> Any:
        async def killed(*args: Any) -> None:
            if armed[0] and rng.random() < 0.3:
                raise _Killed
            await work(*args)
            if armed[0] and rng.random() < 0.3:
                raise _Killed

        return killed

    for name, work in parts.items():
        monkeypatch.setattr(records, name, killing(work))

    deaths = 0
    armed[0] = True
    done = False
    while not done:
        connection, projection = await _projection(store.dsn)
        try:
            while True:
                whole = take(log, projection.applied)
                if not whole:
                    done = True
                    break
                cut = rng.randrange(1, 4)
                await projection.apply(Portion(whole.inputs[:cut], whole.outputs[:cut]))
        except _Killed:
            deaths += 1
        finally:
            connection.terminate()
    assert deaths > 0
    killed_often = await _contents(store.dsn)
    armed[0] = False

    other = await connect(store.dsn)
    try:
        await other.execute(
            "ALTER TABLE journal DISABLE TRIGGER journal_append_only;"
            "TRUNCATE series, packs, quarantine, events, journal, alarms, readings, projection"
        )
    finally:
        await other.close()
    await _apply_all(store.dsn, log)
    assert killed_often == await _contents(store.dsn)


@pytest.mark.parametrize("seed", range(4))
async def test_alarms_stand_in_the_database_as_in_the_book(store, seed: int) -> None:
    log = ListLog(T0)
    log.steps, book, last = _story(random.Random(seed), 300)
    await _apply_all(store.dsn, log)
    connection = await connect(store.dsn)
    try:
        rows = {row["id"]: row for row in await connection.fetch("SELECT * FROM alarms")}
    finally:
        await connection.close()
    assert rows.keys() == last.keys()
    assert {alarm for alarm, row in rows.items() if row["open"]} == book.alarms.keys()
    for alarm_id, alarm in last.items():
        row = rows[alarm_id]
        found = Alarm(
            row["id"], row["rule"], row["asset"], row["occurrence"], row["version"], row["state"],
            row["condition"], row["level"], row["priority"], row["value"], row["limit"],
            row["onset_event_time"], row["raised_at"], row["changed_at"], row["backlog"], row["confirmed"],
            alarm.sounding, row["acked_by"], row["acked_by_name"], row["acked_at"] or 0, row["note"],
            row["detail"],
        )  # fmt: skip
        assert found == alarm


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_the_alarms_stand_alike_however_the_steps_are_cut_into_portions(store, seed: int) -> None:
    rng = random.Random(seed)
    steps, _, _ = _story(rng, 120)
    tables: list[list[tuple[Any, ...]]] = []
    for size in (1, 7, 200):
        connection = await connect(store.dsn)
        try:
            await Projection.of(connection)
            await connection.execute("TRUNCATE alarms")
            # The journal refuses to be emptied: from the second cutting on it knows these entries already.
            held = await connection.fetchval("SELECT count(*) FROM journal")
            numbered = list(enumerate(steps, held + 1))
            for at in range(0, len(numbered), size):
                async with connection.transaction():
                    await records.write_outputs(connection, numbered[at : at + size])
            tables.append([tuple(row) for row in await connection.fetch("SELECT * FROM alarms ORDER BY id")])
        finally:
            await connection.close()
    assert tables[0]
    assert tables[0] == tables[1] == tables[2]


async def test_the_journal_reads_back_as_the_log_wrote_it(store) -> None:
    log = _sample_log()
    await _apply_all(store.dsn, log)
    history = History(store.dsn)
    try:
        newest_first = list(reversed(list(enumerate(log.steps, 1))))
        assert await history.journal(1000) == newest_first
        assert await history.journal(2, before=4) == newest_first[-3:-1]
        asked = {step.alarm for _, step in newest_first[:2]}
        oldest_first = [step for _, step in reversed(newest_first)]
        assert await history.steps(sorted(asked)) == [step for step in oldest_first if step.alarm in asked]
    finally:
        await history.close()


@pytest.mark.parametrize(
    "statement", ["UPDATE journal SET note = ''", "DELETE FROM journal", "TRUNCATE journal"]
)
async def test_the_journal_is_append_only(store, statement: str) -> None:
    await _apply_all(store.dsn, _sample_log())
    connection = await connect(store.dsn)
    try:
        for role in ("origin", "replica"):
            await connection.execute(f"SET session_replication_role = {role}")
            with pytest.raises(asyncpg.RestrictViolationError, match="append-only"):
                await connection.execute(statement)
    finally:
        await connection.close()


async def test_events_read_back_as_the_log_holds_them_and_pages_leave_none_out(store) -> None:
    log = ListLog(T0)
    odd = {
        "n": 2**63 - 1,
        "x": 1e-310,
        "y": 1e308,
        "b": [True, None, {"đ": "\U0001f30a", "a": []}],
        "s": "\\u0000",
    }
    log.add(
        _outage("A-1", 1, {}),
        _outage("A-1", 2, odd, end_us=T0 + 60),
        Event("kafka", "disaster", "b", "flood", "A-1", 2**53, T0 + 50, 0, T0 + 2, {}),
        _outage("A-1", 1, {"again": True}),
        _outage("C-1", 1, {"nul": "a\0b", "a\0": 1}, end_us=T0 + 10),
    )
    await _apply_all(store.dsn, log)
    history = History(store.dsn)
    bodies = {r.number: r.body for r in log.inputs}
    clean = _outage("C-1", 1, {"nul": "a␀b", "a␀": 1}, end_us=T0 + 10)
    standing = [(5, clean), (3, bodies[3]), (2, bodies[2])]
    try:
        assert await history.events(10) == standing
        assert repr((await history.events(10))[2][1].facts) == repr(odd)
        paged, before = [], None
        while page := await history.events(1, before):
            paged += page
            before = page[-1][0]
        assert paged == standing
        assert await history.events(10, revisions=True) == [*standing, (1, bodies[1])]
        assert await history.events(10, id_="A-1", domain="energy") == [(2, bodies[2])]
        assert await history.events(10, station="b", kind="flood") == [(3, bodies[3])]
        assert await history.events(10, kind="none") == []
        # What lasts reaches into every later time; what ended is of the time up to its end.
        assert [n for n, _ in await history.events(10, since_us=T0 + 11)] == [3, 2]
        assert [n for n, _ in await history.events(10, since_us=T0 + 10)] == [5, 3, 2]
        assert [n for n, _ in await history.events(10, since_us=T0 + 61)] == [3]
        assert [n for n, _ in await history.events(10, until_us=T0 + 50)] == [5, 2]
        assert await history.events(10, until_us=T0) == []
        assert [n for n, _ in await history.events(10, since_us=-(2**61), until_us=2**61)] == [5, 3, 2]
    finally:
        await history.close()


async def test_of_two_projections_one_steps_back_and_nothing_is_doubled(store) -> None:
    log = _sample_log()
    first, one = await _projection(store.dsn)
    second, other = await _projection(store.dsn)
    try:
        portion = take(log, one.applied)
        await one.apply(portion)
        with pytest.raises(Moved):
            await other.apply(portion)
    finally:
        await first.close()
        await second.close()
    assert len((await _contents(store.dsn))["journal"]) == len(log.steps)


async def test_a_database_attached_late_begins_with_what_the_log_still_keeps(store) -> None:
    log = _sample_log()
    log.first_number, log.first_seq = 6, 3
    await _apply_all(store.dsn, log)
    found = await _contents(store.dsn)
    assert found["series"] == []
    assert min(row[0] for row in found["journal"]) == 3
    assert found["projection"][0][1] == log.last_number


async def test_a_database_attached_late_knows_the_series_of_the_checkpoint(store, tmp_path: Path) -> None:
    first = Pipeline(lambda _: None)
    log = SqliteLog.open(tmp_path, segment_bytes=64 << 10)
    try:
        added = SeriesAdded(((0, "energy/a/power"), (1, "energy/b/power")))
        _commit(log, first, added, *(_rows(n, 500) for n in range(60)))
        checkpoint.write(tmp_path, first.last_number, first.state())
        log.retire(first.last_number, first.last_number, None, 0)
        assert log.first_number > 1
        _commit(log, first, SeriesAdded(((2, "energy/c/power"),), auto=True), _rows(61, 3))
        checkpoint.write(tmp_path, first.last_number, first.state())
        (_, newest), _ = checkpoint.latest(tmp_path)
        for damaged, known in ((False, {0, 1, 2}), (True, {0, 1})):
            if damaged:
                newest.write_bytes(newest.read_bytes()[:-1])
            followed = FollowedLog(tmp_path)
            assert set(take(followed, Applied()).numbers.values()) == known
            assert take(followed, Applied(log.first_number - 1)).numbers == {}
            followed.close()
        await _apply_all(store.dsn, FollowedLog(tmp_path))
    finally:
        log.close()
    assert (await _contents(store.dsn))["series"] == [
        (0, "energy/a/power", False),
        (1, "energy/b/power", False),
        (2, "energy/c/power", True),
    ]


async def test_a_series_that_the_checkpoint_knew_first_is_still_told_to_have_registered_itself(store) -> None:
    log = ListLog(T0)
    log.add(Tick(), SeriesAdded(((0, "energy/a/power"),), auto=True))
    log.first_number, log.checkpointed = 2, {"energy/a/power": 0}
    await _apply_all(store.dsn, log)
    assert (await _contents(store.dsn))["series"] == [(0, "energy/a/power", True)]


def _commit(log: SqliteLog, pipeline: Pipeline, *bodies: Body) -> None:
    for body in bodies:
        number = log.last_number + 1
        record = Input(number, T0 + number * 1_000_000, body)
        log.commit([record])
        pipeline.feed(record)


def _rows(n: int, count: int) -> Batch:
    stamps = [T0 + n * 1_000_000 + i for i in range(count)]
    return Batch.of("mqtt", [0] * count, stamps, stamps, np.random.default_rng(n).random(count).tolist())


@pytest.mark.parametrize("kept", [4, 0], ids=["some are left", "none is left"])
async def test_lost_journal_entries_are_counted_and_the_count_outlasts_a_restart(store, kept: int) -> None:
    log = _sample_log()
    connection, projection = await _projection(store.dsn)
    try:
        whole = take(log, projection.applied)
        await projection.apply(Portion(whole.inputs[:3], whole.outputs[:2]))
        assert projection.lost == 0
        log.first_seq = len(log.steps) + 1 - kept
        await projection.apply(portion := take(log, projection.applied))
        assert projection.lost == portion.lost == len(log.steps) - 2 - kept
        assert not take(log, projection.applied)
    finally:
        await connection.close()
    connection, projection = await _projection(store.dsn)
    await connection.close()
    assert projection.lost == portion.lost


def test_input_goes_no_further_than_the_output_it_caused() -> None:
    log = ListLog(T0)
    log.add(*[Tick()] * 9)
    (step, *_), *_ = _story(random.Random(1), 1)
    causes = [1, *[2] * 1_998, *[3] * 5_000, 4, *[8] * 10]
    log.steps = [replace(step, input=number) for number in causes]
    applied = Applied()
    ways = []
    while portion := take(log, applied):
        number = portion.inputs[-1].number if portion.inputs else applied.number
        applied = Applied(number, portion.outputs[-1][0] if portion.outputs else applied.seq)
        assert all(cause > number for cause in causes[applied.seq :])
        ways.append((applied.number, applied.seq, portion.full))
    assert ways == [(2, 2_000, True), (2, 4_000, True), (2, 6_000, True), (9, 7_010, False)]


def test_what_is_written_while_a_portion_is_taken_waits_for_the_next() -> None:
    class Busy(ListLog):
        def outputs(self, after_seq: int, limit: int | None = None) -> Iterator[tuple[int, Transition]]:
            found = super().outputs(after_seq, limit)
            self.add(Tick())
            return found

    log = Busy(T0)
    log.add(Tick())
    assert [record.number for record in take(log, Applied()).inputs] == [1]


def test_a_portion_is_bounded_by_rows() -> None:
    log = ListLog()
    big = Batch.of("mqtt", [0] * 15_000, range(15_000), range(15_000), [1.0] * 15_000)
    log.add(big, big, big)
    portion = take(log, Applied())
    assert [r.number for r in portion.inputs] == [1, 2]
    assert portion.full
    assert not take(log, Applied(2)).full


def test_a_log_that_never_was_so_far_is_another_log() -> None:
    log = _sample_log()
    check(log, Applied())
    last = log.inputs[-1]
    check(log, Applied(last.number, 0, last.now_us))
    with pytest.raises(ForeignLog, match="belongs to another log"):
        check(log, Applied(last.number + 1, 0, last.now_us))
    with pytest.raises(ForeignLog, match="belongs to another log"):
        check(log, Applied(last.number, 0, last.now_us + 1))
    log.first_number = last.number + 1
    check(log, Applied(last.number, 0, last.now_us + 1))
