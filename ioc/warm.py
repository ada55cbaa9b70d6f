"""Compiles, or loads, the loops that a pack's rules need, before a sample waits for them.

    python -m ioc.warm [PACK]        after an installation, so that not even the first start waits

Compiling takes a second for each kind, and the process that does it reads no source meanwhile: sensors would seem to
have fallen silent.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import numpy as np

from ioc.model.batch import Batch
from ioc.model.inputs import SourceState
from ioc.pack import Pack, Settings
from ioc.registry import Series
from ioc.rules.engine import Engine
from ioc.trial import as_enabled, numbers_of

START_US: Final = 1_700_000_000_000_000
SERIES_MIN: Final = 40
"""More rows than are judged one by one, and more that swing than that."""
ROUNDS: Final = 3


def warm(pack: Pack) -> None:
    """Feed an engine of its own, on a few series of each kind, samples that make its rules work."""
    inputs = _some(pack)
    if not inputs:
        return
    numbers = numbers_of(pack, dict.fromkeys(series.id for series in inputs))
    rules = {rule.id: as_enabled(rule) for rule in pack.rules.values()}
    engine = Engine(pack.registry, {}, numbers)
    engine.rebuild(pack.registry, rules, numbers, START_US, pack.planned, pack.utc_offset_us)
    engine.feed_source(SourceState("warm", True, 1, ""), START_US)
    for step in range(2 * ROUNDS):
        now_us = START_US + step * 60_000_000
        low, high = (np.array([series.range[side] for series in inputs]) for side in (0, 1))
        times = np.full(len(inputs), now_us)
        batch = Batch.of("warm", [numbers[s.id] for s in inputs], times, times, high if step % 2 else low)
        if step >= ROUNDS:
            # What comes out of a record cannot be written to, and is another type to the compiler.
            for column in (batch.series, batch.event_us, batch.received_us, batch.value, batch.flags):
                column.setflags(write=False)
        engine.feed_batch(batch, now_us)


def _some(pack: Pack) -> list[Series]:
    """The inputs of one instance of everything derived, a series of each set of quality tests, and some more."""
    found: dict[str, Series] = {}
    for planned in pack.planned:
        found.update((series.id, series) for series in planned.instances[0].inputs if series is not None)
    tested = set()
    for series in pack.registry.series.values():
        new = series.quality is not None and series.quality not in tested
        if not series.derived and (new or len(found) < SERIES_MIN):
            tested.add(series.quality)
            found[series.id] = series
    return [series for series in found.values() if not series.derived]


if __name__ == "__main__":
    warm(Pack.read(Path(sys.argv[1] if len(sys.argv) > 1 else "packs/lao-cai"), Settings()))
