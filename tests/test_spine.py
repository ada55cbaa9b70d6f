"""Gather → write → feed → release, always in that order, whatever the log does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import pytest
from services.common import until
from support.packs import limit_rule, no_data_rule, write_pack

from ioc.errors import LogDamaged, LogWriteFailed
from ioc.ingest.decoder import Decoded, Decoder
from ioc.ingest.order import Order
from ioc.log.sqlite import SqliteLog
from ioc.model import (
    Acknowledge,
    Batch,
    Event,
    Flag,
    Input,
    Message,
    PackLoaded,
    Reason,
    Rejected,
    SeriesAdded,
    SourceState,
    Tick,
    Transition,
    Verdict,
)
from ioc.pack import Pack, Settings
from ioc.recovery import recover
from ioc.spine import EVENT_ROWS, Spine

LEVEL = "disaster/lao_cai/water_level"
S = 1_000_000
T0 = 1_725_760_800 * S


class Disk(SqliteLog):
    """A log whose disk may be full, and which tells what is written when."""

    full = False
    told: list[str]

    def commit(
        self,
        inputs: Sequence[Input],
        outputs: Sequence[Transition] = (),
        blobs: Mapping[str, bytes] | None = None,
    ) -> None:
        if self.full:
            self.told.append("failed")
            raise LogWriteFailed("no space left on device")
        super().commit(inputs, outputs, blobs)
        self.told.append("written")


class Bench:
    """A spine with its log, a clock moved by hand, and a record of the order of things."""

    def __init__(self, folder: Path, pack: Pack, rows_max: int = 1_000) -> None:
        self.pack = pack
        self.told: list[str] = []
        self.store = Disk.open(folder)
        assert isinstance(self.store, Disk)
        self.store.told = self.told
        self.wall_us = T0
        recovered = recover(self.store)
        self.pipeline = recovered.pipeline
        self.spine = Spine(
            self.store, self.pipeline, recovered.pending, source_clock=False, queue_rows_max=rows_max,
            checkpoint_records=10**9, wall_us=lambda: self.wall_us, mono_us=lambda: self.wall_us,
        )  # fmt: skip
        self.spine.listeners.append(lambda outcome: self.told.append(f"fed {outcome.input.number}"))

    async def begin(self) -> None:
        self.task = asyncio.create_task(self.spine.run())
        if self.pipeline.pack is None:
            self.spine.announce(list(self.pack.registry.series))
            self.spine.offer(PackLoaded(self.pack.hash, "p"), blobs={self.pack.hash: self.pack.blob})
        self.spine.offer(SourceState("mqtt", True, 1))
        await self.settle()
        self.told.clear()

    async def settle(self) -> None:
        idle = asyncio.Event()
        self.spine.when_idle(idle.set)
        await asyncio.wait_for(idle.wait(), 10)

    async def end(self) -> None:
        await self.spine.stop()
        await asyncio.wait_for(self.task, 10)
        await self.spine.close()

    def reading(self, value: float, series: str = LEVEL, decoder: Decoder | None = None) -> Batch:
        decoded = Decoded()
        (decoder or Decoder(self.pipeline.numbers, 1000)).feed(
            Message("mqtt", f"ioc/v1/{series}", str(value).encode(), self.wall_us), decoded
        )
        batch = decoded.batch("mqtt")
        assert batch is not None
        return batch


@pytest.fixture
def pack(tmp_path: Path) -> Pack:
    return Pack.read(write_pack(tmp_path / "pack", [LEVEL], [limit_rule("river", {1: 80.0})]), Settings())


@pytest.fixture
async def bench(tmp_path: Path, pack: Pack) -> AsyncIterator[Bench]:
    subject = Bench(tmp_path / "log", pack)
    await subject.begin()
    yield subject
    if not subject.task.done():
        await subject.end()


async def test_nothing_is_fed_before_it_is_written_nor_released_before_it_is_fed(bench: Bench) -> None:
    bench.spine.offer(bench.reading(1.0), release=lambda: bench.told.append("released"))
    await bench.settle()
    assert bench.told == ["written", "fed 4", "released"]


async def test_what_gathers_during_a_commit_goes_into_the_next_as_one_batch(bench: Bench) -> None:
    released: list[int] = []
    for i in range(100):
        bench.spine.offer(bench.reading(float(i)), release=lambda i=i: released.append(i))
    await bench.settle()
    batches = [r.body for r in bench.store.read(3) if isinstance(r.body, Batch)]
    assert [len(b) for b in batches] == [100]
    assert released == list(range(100))


async def test_transitions_are_durable_before_the_spine_rests(bench: Bench) -> None:
    bench.spine.offer(bench.reading(81.0))
    await bench.settle()
    assert [t.rule for _, t in bench.store.outputs(0)] == ["river"]


async def test_while_the_disk_is_full_nothing_is_released_and_the_state_stays(bench: Bench) -> None:
    before = bench.pipeline.hash()
    bench.store.full = True
    released: list[int] = []
    bench.spine.offer(bench.reading(81.0), release=lambda: released.append(1))
    await until(lambda: not bench.spine.writable, "word of the full disk")
    assert bench.spine.full
    assert released == []
    assert bench.pipeline.hash() == before
    bench.store.full = False
    await until(lambda: released == [1], "the release once there is room")
    assert bench.spine.writable
    assert bench.pipeline.book.alarms


async def test_a_command_that_cannot_be_logged_has_not_happened_and_never_will(bench: Bench) -> None:
    bench.spine.offer(bench.reading(81.0))
    await bench.settle()
    (alarm,) = bench.pipeline.book.alarms.values()
    command = Acknowledge(actor="an", alarm=alarm.id, version=alarm.version)
    bench.store.full = True
    with pytest.raises(LogWriteFailed, match="no space"):
        await bench.spine.submit(command)
    with pytest.raises(LogWriteFailed):
        await bench.spine.submit(command)
    bench.store.full = False
    bench.spine.offer(bench.reading(82.0))
    await until(lambda: bench.spine.writable, "room")
    await bench.settle()
    (alarm,) = bench.pipeline.book.alarms.values()
    assert alarm.acked_by == ""
    outcome = await bench.spine.submit(command)
    assert outcome.answer is not None
    assert outcome.answer.verdict is Verdict.DONE


async def test_a_refused_command_alone_does_not_leave_the_log_given_up(bench: Bench) -> None:
    """Nothing else waits for the log; still it is found out that it can be written again."""
    bench.store.full = True
    with pytest.raises(LogWriteFailed):
        await bench.spine.submit(Acknowledge(actor="an", alarm="x", version=1))
    bench.store.full = False
    await until(lambda: bench.spine.writable, "the log's recovery")


async def test_a_log_outage_is_no_silence_of_the_sensors(tmp_path: Path) -> None:
    """They were not read: their watchdog begins anew, with its grace."""
    pack = Pack.read(write_pack(tmp_path / "watched", [LEVEL], [no_data_rule()]), Settings())
    bench = Bench(tmp_path / "outage", pack)
    await bench.begin()
    bench.spine.offer(bench.reading(1.0))
    await bench.settle()
    bench.store.full = True
    bench.spine.offer(bench.reading(2.0))
    await until(lambda: not bench.spine.writable, "word of the full disk")
    bench.wall_us += 7200 * S
    bench.store.full = False
    await until(lambda: bench.spine.writable, "room")
    bench.wall_us += 60 * S
    bench.spine.tick()
    await bench.settle()
    assert [t for _, t in bench.store.outputs(0)] == []
    bench.wall_us += 3600 * S
    bench.spine.tick()
    await bench.settle()
    assert [t.rule for _, t in bench.store.outputs(0)] == ["no_data"]
    await bench.end()


async def test_what_a_failed_stage_left_in_memory_never_becomes_a_checkpoint(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(record: Input) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(bench.pipeline, "feed", fail)
    bench.spine.offer(bench.reading(81.0))
    with pytest.raises(ZeroDivisionError):
        await bench.task
    await bench.spine.close()
    again = SqliteLog.open(bench.store.folder)
    recovered = recover(again)
    assert (recovered.from_checkpoint, recovered.replayed) == (0, again.last_number)
    assert [a.rule for a in recovered.pipeline.book.alarms.values()] == ["river"]
    again.close()


async def test_a_checkpoint_ahead_of_the_log_proves_that_records_are_missing(
    tmp_path: Path, pack: Pack
) -> None:
    bench = Bench(tmp_path / "cut", pack)
    await bench.begin()
    bench.spine.offer(bench.reading(81.0))
    await bench.settle()
    await bench.end()
    for segment in bench.store.folder.glob("*.sqlite*"):
        segment.unlink()
    empty = SqliteLog.open(bench.store.folder)
    with pytest.raises(LogDamaged, match="is missing: there is a checkpoint"):
        recover(empty)
    empty.close()


async def test_a_checkpoint_that_cannot_be_restored_is_passed_over(
    tmp_path: Path, pack: Pack, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path / "odd", pack)
    await bench.begin()
    bench.spine.offer(bench.reading(81.0))
    await bench.settle()
    live = bench.pipeline.hash()
    await bench.end()
    monkeypatch.setattr(Order, "restore", lambda self, state: {}["odd"])
    again = SqliteLog.open(bench.store.folder)
    recovered = recover(again)
    assert (recovered.from_checkpoint, recovered.pipeline.hash()) == (0, live)
    again.close()


async def test_readings_of_qos_0_are_shed_and_counted_at_the_bound_and_others_never(
    tmp_path: Path, pack: Pack
) -> None:
    bench = Bench(tmp_path / "small", pack, rows_max=10)
    await bench.begin()
    bench.store.full = True
    for i in range(30):
        bench.spine.offer(bench.reading(float(i)), may_shed=True)
    assert bench.spine.shed == {"mqtt": 20}
    bench.spine.offer(bench.reading(99.0))
    assert bench.spine.full
    bench.store.full = False
    await bench.settle()
    assert sum(len(r.body) for r in bench.store.read(3) if isinstance(r.body, Batch)) == 11
    await bench.end()


async def test_a_flood_of_events_is_bounded_by_what_they_weigh(tmp_path: Path, pack: Pack) -> None:
    bench = Bench(tmp_path / "small", pack, rows_max=3 * EVENT_ROWS)
    await bench.begin()
    bench.store.full = True
    for i in range(5):
        event = Event("mqtt", "energy", "sa_pa", "outage", str(i), 1, T0, 0, T0)
        bench.spine.offer(event, may_shed=True)
    assert bench.spine.shed == {"mqtt": 2 * EVENT_ROWS}
    bench.store.full = False
    await bench.settle()
    assert [r.body.id for r in bench.store.read(3) if isinstance(r.body, Event)] == ["0", "1", "2"]
    await bench.end()


async def test_an_unknown_series_that_may_register_is_announced_before_its_first_reading(
    bench: Bench,
) -> None:
    decoder = Decoder(bench.pipeline.numbers, 1000, bench.spine.register)
    bench.spine.offer(bench.reading(1.0, "energy/new/active_power", decoder))
    bench.spine.offer(bench.reading(2.0, "energy/new/active_power", decoder))
    await bench.settle()
    bodies = [r.body for r in bench.store.read(3)]
    assert bodies[0] == SeriesAdded(((1, "energy/new/active_power"),), auto=True)
    assert [b.value.tolist() for b in bodies[1:] if isinstance(b, Batch)] == [[1.0, 2.0]]
    assert bench.pipeline.numbers["energy/new/active_power"] == 1


async def test_a_tick_is_logged_only_when_a_deadline_is_due(bench: Bench) -> None:
    bench.spine.offer(bench.reading(81.0))
    await bench.settle()
    records = bench.store.last_number
    for _ in range(60):
        bench.wall_us += S
        bench.spine.tick()
    await bench.settle()
    assert bench.store.last_number == records
    bench.wall_us += 1800 * S
    bench.spine.tick()
    await bench.settle()
    assert isinstance(next(iter(bench.store.read(records))).body, Tick)
    (alarm,) = bench.pipeline.book.alarms.values()
    assert alarm.condition == "unknown"


async def test_a_restart_from_checkpoint_or_from_the_first_record_is_exact(
    tmp_path: Path, pack: Pack
) -> None:
    bench = Bench(tmp_path / "log2", pack)
    await bench.begin()
    for value in (60.0, 81.0, 79.0, 85.0):
        bench.wall_us += S
        bench.spine.offer(bench.reading(value))
        await bench.settle()
    live = bench.pipeline.hash()
    await bench.end()
    again = SqliteLog.open(tmp_path / "log2")
    from_checkpoint = recover(again)
    assert (from_checkpoint.replayed, from_checkpoint.pipeline.hash()) == (0, live)
    whole = recover(again, whole=True)
    assert whole.pipeline.hash() == live
    assert whole.replayed == again.last_number
    assert (whole.pending, whole.differing) == ([], [])
    again.close()


async def test_transitions_that_a_crash_kept_out_of_the_log_are_derived_again(
    tmp_path: Path, pack: Pack
) -> None:
    bench = Bench(tmp_path / "log3", pack)
    await bench.begin()
    number = bench.store.last_number + 1
    judged = bench.pipeline.judgement().judge(bench.reading(81.0), T0)
    bench.store.commit([Input(number, bench.pipeline.now_us + 1, judged)])
    bench.task.cancel()
    bench.store.close()
    again = SqliteLog.open(tmp_path / "log3")
    recovered = recover(again)
    assert [t.rule for t in recovered.pending] == ["river"]
    again.commit([], recovered.pending)
    assert recover(again).pending == []
    again.close()


async def test_a_sample_of_another_source_keeps_its_source(bench: Bench) -> None:
    first, second = bench.reading(1.0), bench.reading(2.0)
    other = Batch(
        "kafka",
        *(getattr(second, c) for c in ("series", "event_us", "received_us", "value", "flags", "revision")),
    )
    bench.spine.offer(first)
    bench.spine.offer(other)
    await bench.settle()
    assert [b.source for r in bench.store.read(3) if isinstance(b := r.body, Batch)] == ["mqtt", "kafka"]
    assert all(
        not f & int(Flag.REPEAT)
        for r in bench.store.read(3)
        if isinstance(r.body, Batch)
        for f in r.body.flags
    )


async def test_a_release_that_fails_ends_nothing(bench: Bench) -> None:
    def fails() -> None:
        raise RuntimeError("a feed is broken")

    released: list[int] = []
    bench.spine.offer(bench.reading(1.0), release=fails)
    bench.spine.offer(bench.reading(2.0), release=lambda: released.append(2))
    await bench.settle()
    assert released == [2]
    assert not bench.task.done()


async def test_what_is_quarantined_counts_for_its_memory(bench: Bench) -> None:
    bench.store.full = True
    large = Rejected("mqtt", "t", Reason.NOT_JSON, "", T0, bytes(64_000), 64_000)
    bench.spine.offer(large)
    assert bench.spine.queued_rows == 1 + 64_000 // 64
    assert bench.spine.full
    bench.store.full = False
