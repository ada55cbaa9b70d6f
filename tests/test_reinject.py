"""Quarantined payloads taken up again: once, as records that name them, through a crash between the two."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.packs import limit_rule, write_pack

from ioc.ingest.decoder import Decoded, Decoder
from ioc.ingest.quarantine import DONE_ALREADY
from ioc.log.sqlite import SqliteLog
from ioc.model import (
    PAYLOAD_KEPT_BYTES,
    Batch,
    Event,
    Flag,
    Input,
    Message,
    PackLoaded,
    Reason,
    Reinject,
    Rejected,
    SourceState,
    Verdict,
)
from ioc.pack import Pack, Settings
from ioc.recovery import recover
from ioc.reinject import Reinjector
from ioc.spine import Spine

KNOWN, NEW = "disaster/lao_cai/water_level", "disaster/bao_ha/water_level"
T0 = 1_725_760_800_000_000


class Bench:
    """A spine on a real log, with a re-injector."""

    def __init__(self, folder: Path, pack: Pack) -> None:
        self.pack = pack
        self.store = SqliteLog.open(folder)
        self.wall_us = T0
        recovered = recover(self.store)
        self.pipeline = recovered.pipeline
        self.spine = Spine(
            self.store, self.pipeline, recovered.pending, source_clock=False, queue_rows_max=1_000,
            checkpoint_records=10**9, wall_us=lambda: self.wall_us, mono_us=lambda: self.wall_us,
        )  # fmt: skip
        self.decoder = Decoder(self.pipeline.numbers, 1_000_000)
        self.subject = Reinjector(self.store, self.spine, self.decoder)

    async def begin(self) -> None:
        self.task = asyncio.create_task(self.spine.run())
        if self.pipeline.pack is None:
            self.spine.announce([KNOWN])
            self.spine.offer(PackLoaded(self.pack.hash, "p"), blobs={self.pack.hash: self.pack.blob})
        self.spine.offer(SourceState("mqtt", True, 1))
        await self.settle()

    async def settle(self) -> None:
        idle = asyncio.Event()
        self.spine.when_idle(idle.set)
        await asyncio.wait_for(idle.wait(), 10)

    async def end(self) -> None:
        await self.spine.stop()
        await asyncio.wait_for(self.task, 10)
        await self.spine.close()

    async def quarantine(self, topic: str, payload: bytes, *, retained: bool = False) -> int:
        """A message that is rejected; the number of its record."""
        decoded = Decoded()
        self.decoder.feed(Message("mqtt", topic, payload, T0, retained), decoded)
        (rejected,) = decoded.rejected
        self.spine.offer(rejected, "mqtt#1")
        await self.settle()
        return self.store.last_number

    async def reinject(self, number: int, key: str = "") -> tuple[Verdict, int, int]:
        done = await self.subject.reinject(Reinject(actor="an", key=key, number=number))
        await self.settle()
        return done.answer.verdict, done.accepted, done.rejected

    def brought(self, number: int) -> list[Input]:
        return [r for r in self.store.read(0) if r.origin == f"reinject#{number}"]


@pytest.fixture
def pack(tmp_path: Path) -> Pack:
    return Pack.read(write_pack(tmp_path / "pack", [KNOWN], [limit_rule("river", {1: 80.0})]), Settings())


@pytest.fixture
async def bench(tmp_path: Path, pack: Pack) -> AsyncIterator[Bench]:
    subject = Bench(tmp_path / "log", pack)
    await subject.begin()
    yield subject
    if not subject.task.done():
        await subject.end()


async def test_a_payload_of_a_series_that_was_unknown_comes_in_once_it_is_known(bench: Bench) -> None:
    number = await bench.quarantine(f"ioc/v1/{NEW}", b'{"t": 1725760800000, "v": 81.5}')
    assert await bench.reinject(number) == (Verdict.DONE, 0, 1)
    (again,) = bench.brought(number)
    assert isinstance(again.body, Rejected)
    assert again.body.reason is Reason.UNKNOWN_SERIES

    second = await bench.quarantine(f"ioc/v1/{NEW}", b'{"t": 1725760800000, "v": 82.5}')
    bench.spine.announce([NEW])
    await bench.settle()
    assert await bench.reinject(second) == (Verdict.DONE, 1, 0)
    (record,) = bench.brought(second)
    assert isinstance(record.body, Batch)
    assert record.body.value.tolist() == [82.5]
    assert record.body.source == "mqtt"


async def test_an_event_that_was_refused_comes_in_once_it_may(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as narrower:
        narrower.setattr("ioc.ingest.codecs.event.BYTES_MAX", 10)
        number = await bench.quarantine(
            "ioc/v1/energy/sa_pa/event/outage", b'{"id": "A-1", "start": 1725760800000}'
        )
    assert await bench.reinject(number) == (Verdict.DONE, 1, 0)
    (record,) = bench.brought(number)
    assert record.body == Event("mqtt", "energy", "sa_pa", "outage", "A-1", 1, T0, 0, T0)
    assert len(bench.pipeline.events) == 1


async def test_only_the_item_that_was_rejected_comes_again(bench: Bench) -> None:
    decoded = Decoded()
    payload = b'[{"v": 1}, {"v": "x"}, {"v": 3}]'
    bench.decoder.feed(Message("mqtt", f"ioc/v1/{KNOWN}", payload, T0), decoded)
    (rejected,) = decoded.rejected
    bench.spine.offer(rejected)
    await bench.settle()
    number = bench.store.last_number
    assert await bench.reinject(number) == (Verdict.DONE, 0, 1)
    (again,) = bench.brought(number)
    assert isinstance(again.body, Rejected)
    assert again.body.item == 1


async def test_a_second_request_is_refused_and_one_under_the_same_key_is_answered_alike(bench: Bench) -> None:
    number = await bench.quarantine(f"ioc/v1/{NEW}", b"5")
    bench.spine.announce([NEW])
    await bench.settle()
    assert await bench.reinject(number, "k") == (Verdict.DONE, 1, 0)
    assert await bench.reinject(number, "k") == (Verdict.DONE, 1, 0)
    done = await bench.subject.reinject(Reinject(actor="an", number=number))
    assert (done.answer.verdict, done.answer.reason) == (Verdict.CONFLICT, DONE_ALREADY)
    assert len(bench.brought(number)) == 1


async def test_many_at_once_under_one_key_take_it_once(bench: Bench) -> None:
    number = await bench.quarantine(f"ioc/v1/{NEW}", b"5")
    bench.spine.announce([NEW])
    await bench.settle()
    ask = Reinject(actor="an", key="k", number=number)
    answers = await asyncio.gather(*(bench.subject.reinject(ask) for _ in range(10)))
    await bench.settle()
    assert {(a.answer.verdict, a.accepted) for a in answers} == {(Verdict.DONE, 1)}
    assert sum(len(r.body) for r in bench.brought(number) if isinstance(r.body, Batch)) == 1


async def test_an_old_payload_without_a_time_is_one_of_when_it_came(bench: Bench) -> None:
    number = await bench.quarantine(f"ioc/v1/{NEW}", b"99")
    bench.spine.announce([NEW])
    bench.wall_us += 3_600_000_000
    newer = Decoded()
    bench.decoder.feed(Message("mqtt", f"ioc/v1/{KNOWN}", b"70", bench.wall_us), newer)
    batch = newer.batch("mqtt")
    assert batch is not None
    bench.spine.offer(batch)
    await bench.settle()
    assert await bench.reinject(number) == (Verdict.DONE, 1, 0)
    (record,) = bench.brought(number)
    assert isinstance(record.body, Batch)
    assert record.body.event_us.tolist() == [T0]
    assert record.body.flags.tolist() == [int(Flag.BACKLOG)]


async def test_a_retained_payload_without_a_time_still_moves_nothing(bench: Bench) -> None:
    number = await bench.quarantine(f"ioc/v1/{NEW}", b"97", retained=True)
    bench.spine.announce([NEW])
    await bench.settle()
    assert await bench.reinject(number) == (Verdict.DONE, 1, 0)
    (record,) = bench.brought(number)
    assert isinstance(record.body, Batch)
    assert record.body.flags[0] & Flag.LAST_KNOWN


async def test_each_item_of_an_unknown_series_comes_back_by_itself(bench: Bench) -> None:
    decoded = Decoded()
    payload = b'[{"v": 1}, {"v": 2, "q": "bad"}, {"t": 1725760800123, "v": 3}]'
    bench.decoder.feed(Message("mqtt", f"ioc/v1/{NEW}", payload, T0), decoded)
    for rejected in decoded.rejected:
        bench.spine.offer(rejected)
    bench.spine.announce([NEW])
    await bench.settle()
    numbers = [r.number for r in bench.store.read(0) if isinstance(r.body, Rejected)]
    for number in numbers:
        assert await bench.reinject(number) == (Verdict.DONE, 1, 0)
    rows = [r.body for number in numbers for r in bench.brought(number) if isinstance(r.body, Batch)]
    assert [float(b.value[0]) for b in rows] == [1.0, 2.0, 3.0]
    assert rows[1].flags[0] & Flag.BAD
    assert rows[2].event_us.tolist() == [1725760800123000]


async def test_the_good_part_of_a_stations_payload_is_not_taken_again(bench: Bench) -> None:
    decoded = Decoded()
    station = KNOWN.rpartition("/")[0]
    bench.decoder.feed(Message("mqtt", f"ioc/v1/{station}", b'{"water_level": 70, "nosuch": 1}', T0), decoded)
    (rejected,) = decoded.rejected
    bench.spine.offer(rejected)
    await bench.settle()
    assert await bench.reinject(bench.store.last_number) == (Verdict.DONE, 0, 1)


async def test_an_entry_that_stands_for_several_items_is_refused(bench: Bench) -> None:
    decoded = Decoded()
    payload = b"[" + b",".join([b'{"v": "x"}'] * 30) + b"]"
    bench.decoder.feed(Message("mqtt", f"ioc/v1/{KNOWN}", payload, T0), decoded)
    bench.spine.offer(decoded.rejected[-1])
    await bench.settle()
    assert (await bench.reinject(bench.store.last_number))[0] is Verdict.REFUSED


async def test_a_number_that_is_no_quarantined_record_or_of_which_part_is_gone(bench: Bench) -> None:
    for number in (0, -1, 1, 10_000):
        assert (await bench.reinject(number))[0] is Verdict.NOT_FOUND
    long = await bench.quarantine(f"ioc/v1/{KNOWN}", b"[" + b" " * PAYLOAD_KEPT_BYTES)
    assert (await bench.reinject(long))[0] is Verdict.REFUSED


async def test_a_crash_between_the_request_and_its_records_is_made_good_at_the_next_start(
    bench: Bench, tmp_path: Path, pack: Pack
) -> None:
    number = await bench.quarantine(f"ioc/v1/{NEW}", b"5")
    bench.spine.announce([NEW])
    # The command alone: what it asks for was never offered.
    await bench.spine.submit(Reinject(actor="an", number=number))
    await bench.end()
    again = Bench(tmp_path / "log", pack)
    await again.begin()
    try:
        assert again.pipeline.quarantine.pending == (number,)
        again.subject.begin()
        await again.settle()
        assert again.pipeline.quarantine.pending == ()
        (record,) = again.brought(number)
        assert isinstance(record.body, Batch)
    finally:
        await again.end()
