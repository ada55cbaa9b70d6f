"""The typhoon's replay: what its rows must bring about at the alarm levels of its own pack."""

from __future__ import annotations

import csv
from datetime import datetime
from pathlib import Path

from ioc.pack import Pack, Settings
from ioc.rules.spec import LimitRule

FOLDER = Path(__file__).resolve().parents[2] / "packs" / "yagi-2024"


def test_the_rows_reach_the_levels_when_the_bulletins_did_and_nothing_clears() -> None:
    pack = Pack.read(FOLDER, Settings(clock="source"))
    rule = pack.rules["river_alarm_level"]
    assert isinstance(rule, LimitRule)
    assert all(level.deadband == level.on_delay == level.off_delay == 0 for level in rule.levels.values())
    reached: dict[str, int] = {}
    steps = []
    with (FOLDER / "series.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        station = pack.registry.series[row["series"]].station.id
        limits = {level: rule.limit_of(station, level) for level in (1, 2, 3)}
        level = max(
            (n for n, limit in limits.items() if limit is not None and float(row["value"]) >= limit),
            default=0,
        )
        assert level >= reached.get(station, 0)
        if level > reached.get(station, 0):
            steps.append((station, level, row["time"]))
        reached[station] = level
    assert steps == [
        ("yen_bai", 2, "2024-09-08T15:30:00+07:00"),
        ("lao_cai", 1, "2024-09-08T20:00:00+07:00"),
        ("bao_ha", 3, "2024-09-08T20:00:00+07:00"),
        ("yen_bai", 3, "2024-09-09T07:00:00+07:00"),
        ("lao_cai", 3, "2024-09-09T19:00:00+07:00"),
    ]


def test_the_rows_are_in_order_of_time_and_leave_out_what_has_no_hour() -> None:
    with (FOLDER / "series.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    times = [datetime.fromisoformat(row["time"]) for row in rows]
    assert times == sorted(times)
    assert all(time.utcoffset() is not None for time in times)
    assert "35.73" not in {row["value"] for row in rows}
