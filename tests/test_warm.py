from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numba.core.registry import CPUDispatcher

import ioc.rules
from ioc.model.batch import Batch
from ioc.model.inputs import SourceState
from ioc.pack import Pack, Settings
from ioc.rules import jit
from ioc.rules.engine import Engine
from ioc.warm import START_US, warm

LAO_CAI = Path(__file__).resolve().parent.parent / "packs" / "lao-cai"


def compiled() -> dict[str, int]:
    """For how many types of arguments each loop of the rules is compiled."""
    found: dict[str, int] = {}
    for module in pkgutil.walk_packages(ioc.rules.__path__, "ioc.rules."):
        for name, value in vars(importlib.import_module(module.name)).items():
            if isinstance(value, CPUDispatcher):
                found[f"{module.name}.{name}"] = len(value.signatures)
    return found


@pytest.mark.parametrize("writable", [True, False])
def test_once_warm_no_sample_of_the_pack_waits_for_the_compiler(writable: bool) -> None:
    pack = Pack.read(LAO_CAI, Settings())
    warm(pack)
    before = compiled()
    assert sum(before.values()) >= 10
    numbers = {series: number for number, series in enumerate(pack.registry.series)}
    engine = Engine(pack.registry, {}, numbers)
    engine.rebuild(pack.registry, pack.rules, numbers, START_US, pack.planned, pack.utc_offset_us)
    engine.feed_source(SourceState("s", True, 1, ""), START_US)
    sent = [series for series in pack.registry.series.values() if not series.derived]
    for step in range(6):
        times = np.full(len(sent), START_US + step * 60_000_000)
        values = [series.range[step % 2] for series in sent]
        batch = Batch.of("s", [numbers[series.id] for series in sent], times, times, values)
        for column in (batch.series, batch.event_us, batch.received_us, batch.value, batch.flags):
            column.setflags(write=writable)
        engine.feed_batch(batch, int(times[0]))
    assert compiled() == before


def test_where_no_machine_code_can_be_kept_it_is_made_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    def njit(function: Any, **options: Any) -> Any:
        asked.append(options)
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return function

    monkeypatch.setattr(jit, "njit", njit)
    assert jit.compiled(len)([1, 2]) == 2
    assert [options.get("cache", False) for options in asked] == [True, False]
