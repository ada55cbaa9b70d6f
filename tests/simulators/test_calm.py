"""Without story and faults no limit of the province's pack is reached, whatever the seed."""

from __future__ import annotations

from pathlib import Path

import pytest

from ioc.pack import Pack, Settings
from ioc.rules.spec import LimitRule
from simulators.catalog import Series
from simulators.stations import value

FOLDER = Path(__file__).resolve().parents[2] / "packs" / "lao-cai"
START_US = 1_795_500_000_000_000
STEP_US = 601_000_000
"""A little over ten minutes, so that the samples fall on ever other places of every rhythm."""
HOURS = 48


def worst(levels: dict[int, float], direction: str) -> float:
    return min(levels.values()) if direction == "up" else max(levels.values())


@pytest.mark.parametrize("seed", [1, 2, 20_261_124])
def test_two_days_of_calm_raise_no_alarm(seed: int, by_id: dict[str, Series]) -> None:
    pack = Pack.read(FOLDER, Settings())
    rules = [r for r in pack.rules.values() if isinstance(r, LimitRule) and r.enabled and r.value is None]
    limits: dict[str, list[tuple[str, str, float]]] = {}
    for series in (s for s in pack.registry.series.values() if not s.derived):
        for rule in rules:
            if rule.series.matches(series):
                found = {n: rule.limit_of(series.station.id, n) for n in rule.levels}
                known = {n: limit for n, limit in found.items() if limit is not None}
                if known:
                    first = worst(known, rule.direction)
                    limits.setdefault(series.id, []).append((rule.id, rule.direction, first))
    assert len(limits) > 150
    raised = []
    for series_id, judged in limits.items():
        for t_us in range(START_US, START_US + HOURS * 3_600_000_000, STEP_US):
            v = value(seed, by_id[series_id], t_us)
            for rule_id, direction, limit in judged:
                if (v >= limit) if direction == "up" else (v <= limit):
                    raised.append((rule_id, series_id, v))
    assert raised == []
