"""Replays: the samples themselves move the time, and nothing that happens beside them changes a verdict."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from support.packs import limit_rule, no_data_rule, write_pack

from ioc.errors import LogWriteFailed
from ioc.ingest.decoder import Decoded, Decoder
from ioc.log.sqlite import SqliteLog
from ioc.model import (
    Batch,
    Input,
    Message,
    PackLoaded,
    Reason,
    Rejected,
    SourceState,
    Step,
    SystemFact,
    Transition,
)
from ioc.pack import Pack, Settings
from ioc.recovery import recover
from ioc.spine import Spine

LEVEL = "disaster/lao_cai/water_level"
OTHER = "disaster/bao_ha/water_level"
MIN_MS = 60_000
T0_MS = 1_725_760_800_000
DAY_MS = 24 * 60 * MIN_MS


class Flaky(SqliteLog):
    """A log that refuses as many commits as it is told."""

    refuse = 0

    def commit(
        self,
        inputs: Sequence[Input],
        outputs: Sequence[Transition] = (),
        blobs: Mapping[str, bytes] | None = None,
    ) -> None:
        if self.refuse:
            self.refuse -= 1
            raise LogWriteFailed("no space left on device")
        super().commit(inputs, outputs, blobs)


class Replay:
    """One instance with the samples' clock."""

    def __init__(self, folder: Path) -> None:
        rules = [limit_rule("river", {1: 80.0}), no_data_rule()]
        self.pack = Pack.read(write_pack(folder / "pack", [LEVEL, OTHER], rules), Settings(clock="source"))
        self.store = Flaky.open(folder / "log")
        assert isinstance(self.store, Flaky)
        self.pipeline = recover(self.store).pipeline
        self.spine = Spine(
            self.store, self.pipeline, source_clock=True, queue_rows_max=1000, checkpoint_records=10**9
        )
        self.transitions: list[Transition] = []
        self.spine.listeners.append(lambda outcome: self.transitions.extend(outcome.transitions))

    async def __aenter__(self) -> Replay:
        self.task = asyncio.create_task(self.spine.run())
        self.spine.announce(list(self.pack.registry.series))
        self.spine.offer(PackLoaded(self.pack.hash, "p"), blobs={self.pack.hash: self.pack.blob})
        self.spine.offer(SourceState("mqtt", True, 1))
        await self.settle()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.spine.stop()
        await asyncio.wait_for(self.task, 10)
        await self.spine.close()

    async def settle(self) -> None:
        idle = asyncio.Event()
        self.spine.when_idle(idle.set)
        waiting = asyncio.create_task(idle.wait())
        await asyncio.wait([waiting, self.task], timeout=20, return_when=asyncio.FIRST_COMPLETED)
        if self.task.done():
            self.task.result()

    async def publish(self, *payloads: str, series: str = LEVEL) -> None:
        decoded = Decoded()
        decoder = Decoder(self.pipeline.numbers, 10_000)
        for payload in payloads:
            decoder.feed(Message("mqtt", f"ioc/v1/{series}", payload.encode(), 1), decoded)
        batch = decoded.batch("mqtt")
        assert batch is not None
        self.spine.offer(batch)
        await self.settle()

    def told(self) -> list[tuple[str, Step, int, bool]]:
        return [(t.rule, t.kind, t.event_us, t.sounds) for t in self.transitions]


def at(minutes: float, value: float) -> str:
    return f'{{"t": {T0_MS + round(minutes * MIN_MS)}, "v": {value}}}'


async def test_a_first_sample_without_a_time_is_rejected_and_the_next_begins_the_time(tmp_path: Path) -> None:
    async with Replay(tmp_path) as replay:
        await replay.publish("90")
        await replay.publish("91")
        await replay.publish(at(0, 92.0))
        rejected = [r.body for r in replay.store.read(0) if isinstance(r.body, Rejected)]
        assert [r.reason for r in rejected] == [Reason.BAD_TIME, Reason.BAD_TIME]
        assert [t.rule for t in replay.transitions] == ["river"]


async def test_a_fact_from_before_the_first_sample_is_not_forgotten(tmp_path: Path) -> None:
    async with Replay(tmp_path) as replay:
        replay.spine.offer(SystemFact("disk_low", "disk", True, 1.0))
        await replay.publish(at(0, 10.0))
        replay.spine.offer(SystemFact("disk_low", "disk", False, 9.0))
        await replay.settle()
        replay.spine.offer(SystemFact("disk_low", "disk", True, 1.0))
        await replay.settle()
        assert [t.kind for t in replay.transitions] == [Step.ONSET, Step.CLEAR, Step.ONSET]


async def test_a_sample_too_far_ahead_in_the_first_batch_changes_nothing_else(tmp_path: Path) -> None:
    async with Replay(tmp_path) as replay:
        await replay.publish(at(0, 10.0), f'{{"t": {T0_MS + 9 * DAY_MS}, "v": 10}}', at(5, 11.0))
        assert replay.transitions == []
        assert [r.body.reason for r in replay.store.read(0) if isinstance(r.body, Rejected)] == [
            Reason.TOO_FAR_AHEAD
        ]


@pytest.mark.parametrize("refused", [0, 1, 2])
async def test_a_failed_write_changes_no_verdict(tmp_path: Path, refused: int) -> None:
    async with Replay(tmp_path) as replay:
        replay.store.refuse = refused
        await replay.publish(*(at(m, v) for m, v in [(0, 10), (20, 85), (45, 10), (65, 90), (200, 90)]))
        us = T0_MS * 1000
        river = [t for t in replay.told() if t[0] == "river"]
        assert river == [
            ("river", Step.ONSET, us + 20 * MIN_MS * 1000, True),
            ("river", Step.CLEAR, us + 45 * MIN_MS * 1000, False),
            ("river", Step.ONSET, us + 65 * MIN_MS * 1000, True),
            ("river", Step.UNKNOWN, us + 95 * MIN_MS * 1000, False),
            ("river", Step.KNOWN, us + 200 * MIN_MS * 1000, False),
        ]
        assert any(isinstance(r.body, Batch) for r in replay.store.read(0))
