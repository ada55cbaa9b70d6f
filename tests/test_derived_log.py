"""Samples of derived series in the log: each once, through crashes at any record."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
import yaml
from support.packs import limit_rule, text, write_pack

from ioc.log.sqlite import SqliteLog
from ioc.model import Batch, Flag, PackLoaded, SourceState
from ioc.model.batch import DERIVED
from ioc.pack import Pack, Settings
from ioc.recovery import recover
from ioc.spine import Spine

RAIN, SUM = "disaster/lao_cai/rain", "disaster/lao_cai/rain_1h"
T0, STEP = 1_725_753_600_000_000, 600_000_000


@pytest.fixture
def pack(tmp_path: Path) -> Pack:
    rule = limit_rule("much_rain", {1: 20.0}, series={"quantities": ["rain_1h"]})
    folder = write_pack(tmp_path / "pack", [RAIN], [rule])
    file = folder / "quantities.yaml"
    known = yaml.safe_load(file.read_text("utf-8"))["quantities"]
    known["rain_1h"] = known["rain"] | {"name": text("Mưa 1 giờ")}
    file.write_text(yaml.safe_dump({"quantities": known}), "utf-8")
    (folder / "derived").mkdir()
    window = {"kind": "window", "function": "sum", "over": "1h", "coverage": 0.0}
    definition = {"id": "rain_1h", "kind": "value", "of": {"quantities": ["rain"]}, "value": window}
    (folder / "derived" / "rain.yaml").write_text(yaml.safe_dump({"derived": [definition]}), "utf-8")
    return Pack.read(folder, Settings())


class Run:
    """One life of a monitor on a log; the clock moves by hand."""

    def __init__(self, folder: Path, pack: Pack) -> None:
        self.pack, self.store = pack, SqliteLog.open(folder)
        recovered = recover(self.store)
        self.pipeline = recovered.pipeline
        self.now_us = max(T0, self.pipeline.now_us)
        self.spine = Spine(
            self.store, self.pipeline, recovered.pending, recovered.derived, source_clock=False,
            queue_rows_max=1_000, checkpoint_records=10**9, wall_us=lambda: self.now_us,
            mono_us=lambda: self.now_us,
        )  # fmt: skip
        self.task = asyncio.create_task(self.spine.run())

    async def begin(self) -> None:
        if self.pipeline.pack is None:
            self.spine.announce(list(self.pack.registry.series))
            self.spine.offer(PackLoaded(self.pack.hash, "p"), blobs={self.pack.hash: self.pack.blob})
        self.spine.offer(SourceState("mqtt", True, 1))
        await self.settle()

    async def settle(self) -> None:
        idle = asyncio.Event()
        self.spine.when_idle(idle.set)
        await asyncio.wait_for(idle.wait(), 10)

    async def rain(self, step: int, value: float) -> None:
        self.now_us = T0 + step * STEP
        number = self.pipeline.numbers[RAIN]
        self.spine.offer(Batch.of("mqtt", [number], [self.now_us], [self.now_us], [value]))
        await self.settle()

    async def end(self) -> None:
        await self.spine.stop()
        await asyncio.wait_for(self.task, 10)
        await self.spine.close()

    def stored(self, source: str = DERIVED) -> list[tuple[int, float]]:
        """(step, value) of what the log holds of a source, repeats left out as the database does."""
        out = []
        for record in self.store.read(0):
            if isinstance(record.body, Batch) and record.body.source == source:
                batch = record.body
                kept = batch.take(batch.flags & np.uint16(Flag.REPEAT) == 0)
                steps = ((kept.event_us - T0) // STEP).tolist()
                out += list(zip(steps, kept.value.tolist(), strict=True))
        return out


async def test_what_is_derived_enters_the_log_as_readings_of_its_own(tmp_path: Path, pack: Pack) -> None:
    run = Run(tmp_path / "log", pack)
    await run.begin()
    for step in range(4):
        await run.rain(step, 5.0)
    assert run.stored() == [(0, 5.0), (1, 10.0), (2, 15.0), (3, 20.0)]
    assert [alarm.asset for alarm in run.pipeline.book.alarms.values()] == [SUM]
    await run.end()


async def test_a_crash_at_any_record_neither_loses_nor_doubles_one(tmp_path: Path, pack: Pack) -> None:
    run = Run(tmp_path / "whole", pack)
    await run.begin()
    for step in range(5):
        await run.rain(step, 5.0)
    records = list(run.store.read(0))
    blobs = {pack.hash: pack.blob}
    await run.end()
    assert len(records) > 10
    for cut in range(4, len(records) + 1):
        folder = tmp_path / f"cut{cut}"
        store = SqliteLog.open(folder)
        for record in records[:cut]:
            store.commit([record], [], blobs if isinstance(record.body, PackLoaded) else None)
        store.close()
        after = Run(folder, pack)
        await after.begin()
        have = len(after.stored("mqtt"))
        for step in range(have, 5):
            await after.rain(step, 5.0)
        assert after.stored() == [(0, 5.0), (1, 10.0), (2, 15.0), (3, 20.0), (4, 25.0)], cut
        state = after.pipeline.hash()
        await after.end()
        store = SqliteLog.open(folder)
        assert recover(store, whole=True).pipeline.hash() == state
        store.close()


async def test_a_start_that_did_not_offer_them_again_would_be_found_out(tmp_path: Path, pack: Pack) -> None:
    """The planted bug: a crash between a reading and the commit of what follows from it."""
    run = Run(tmp_path / "log", pack)
    await run.begin()
    await run.rain(0, 5.0)
    records = list(run.store.read(0))
    await run.end()
    store = SqliteLog.open(tmp_path / "cut")
    for record in records[:-1]:
        store.commit([record], [], {pack.hash: pack.blob} if isinstance(record.body, PackLoaded) else None)
    assert isinstance(records[-1].body, Batch)
    assert records[-1].body.source == DERIVED
    recovered = recover(store)
    assert [len(batch) for batch in recovered.derived] == [1]
    store.close()
