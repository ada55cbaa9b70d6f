"""Real floods through the real spine and log, at any batch size: the crossings do not depend on how rows arrive."""

from __future__ import annotations

import asyncio
import csv
import gzip
from pathlib import Path

import pytest
from support.data import shared
from support.floods import compare, flood_pack, flood_rows
from support.packs import limit_rule, write_pack

from ioc.ingest.codecs.native import rfc3339_us
from ioc.ingest.decoder import Decoded, Decoder
from ioc.log.sqlite import SqliteLog
from ioc.model import Message, PackLoaded, SourceState, Step, Transition
from ioc.pack import Pack, Settings
from ioc.recovery import recover
from ioc.replay import Row, payload, read, time_us
from ioc.spine import Spine

pytestmark = [pytest.mark.whole]

FLOODS = ["usgs_llano_river_2018.csv.gz", "usgs_halloween_2013.csv.gz"]
YAGI = Path(__file__).resolve().parents[2] / "packs" / "yagi-2024"


async def through_the_spine(folder: Path, pack_folder: Path, rows: list[Row], size: int) -> list[Transition]:
    """Rows as messages, `size` to a batch, into an instance of its own; every transition that came of it."""
    pack = Pack.read(pack_folder, Settings(clock="source"))
    store = SqliteLog.open(folder / "log")
    pipeline = recover(store).pipeline
    spine = Spine(store, pipeline, source_clock=True, queue_rows_max=10**6, checkpoint_records=10**9)
    out: list[Transition] = []
    spine.listeners.append(lambda outcome: out.extend(outcome.transitions))
    running = asyncio.create_task(spine.run())
    spine.announce(list(pack.registry.series))
    spine.offer(PackLoaded(pack.hash, pack.file.id), blobs={pack.hash: pack.blob})
    spine.offer(SourceState("mqtt", True, 1))

    async def settled() -> None:
        idle = asyncio.Event()
        spine.when_idle(idle.set)
        waiting = asyncio.create_task(idle.wait())
        await asyncio.wait([waiting, running], return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()

    await settled()
    decoder = Decoder(pipeline.numbers, 1 << 20)
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        decoded = Decoded()
        for row in part:
            decoder.feed(Message("mqtt", f"ioc/v1/{row.series}", payload(row), 1), decoded)
        batch = decoded.batch("mqtt")
        assert batch is not None
        assert not decoded.rejected
        spine.offer(batch)
        await settled()
    await spine.stop()
    await running
    await spine.close()
    return out


@pytest.mark.parametrize("size", [7, 1_000, 10**6])
@pytest.mark.parametrize("file", FLOODS)
async def test_a_real_flood_gives_exactly_the_crossings_at_any_batch_size(
    tmp_path: Path, file: str, size: int
) -> None:
    pack = flood_pack(tmp_path / "pack", file)
    compare(file, await through_the_spine(tmp_path, pack, flood_rows(file), size))


async def test_dead_run_gives_what_a_plain_row_loop_gives(tmp_path: Path) -> None:
    """At a quarter, half and three quarters of each column's range."""
    path = shared("data", "series", "hydrology", "dead_run_usgs01589330_5min_2018-06.csv.gz")
    columns = {"USGS:01589330:00060:00000": "discharge", "USGS:01589330:00065:00000": "gage_height"}
    values: dict[str, list[tuple[str, float]]] = {q: [] for q in columns.values()}
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for record in csv.DictReader(lines):
            for column, quantity in columns.items():
                if record[column]:
                    values[quantity].append((record["datetime_utc"], float(record[column])))
    want: dict[str, list[tuple[str, str]]] = {}
    rules = []
    for quantity, series in values.items():
        low, high = min(v for _, v in series), max(v for _, v in series)
        for quarter in (1, 2, 3):
            limit = round(low + (high - low) * quarter / 4, 4)
            rule = f"{quantity}_{quarter}"
            rules.append(limit_rule(rule, {1: limit}, series={"quantities": [quantity]}))
            active = False
            want[rule] = []
            for when, value in series:
                if active != (value >= limit):
                    active = not active
                    want[rule].append(("onset" if active else "clear", when))
    pack = write_pack(tmp_path / "pack", [f"disaster/dead_run/{q}" for q in values], rules, interval="5min")
    rows = read(path, station="dead_run", columns=columns)
    transitions = await through_the_spine(tmp_path, pack, rows, 500)
    for rule, expected in want.items():
        got = [
            (str(t.kind), t.event_us)
            for t in transitions
            if t.rule == rule and t.kind in (Step.ONSET, Step.CLEAR)
        ]
        assert got == [(kind, time_us(when)) for kind, when in expected], rule
        assert expected


async def test_yagi_reaches_the_levels_that_the_bulletins_tell(tmp_path: Path) -> None:
    """Lào Cai I on 8/9 20:00 and III on 9/9 19:00; Bảo Hà III on 8/9 20:00; Yên Bái II at once, III 9/9 07:00."""
    transitions = await through_the_spine(tmp_path, YAGI, read(YAGI / "series.csv"), 1)

    def at(text: str) -> int:
        us = rfc3339_us(f"2024-09-{text}:00+07:00")
        assert us is not None
        return us

    levels = [
        (t.asset.split("/")[1], t.level, t.event_us)
        for t in transitions
        if t.kind in (Step.ONSET, Step.WORSE) and not t.rule.startswith(("system_", "no_data"))
    ]
    assert sorted(levels) == sorted(
        [
            ("lao_cai", 1, at("08T20:00")),
            ("lao_cai", 3, at("09T19:00")),
            ("bao_ha", 3, at("08T20:00")),
            ("yen_bai", 2, at("08T15:30")),
            ("yen_bai", 3, at("09T07:00")),
        ]
    )
    assert not [t for t in transitions if t.kind is Step.CLEAR]
