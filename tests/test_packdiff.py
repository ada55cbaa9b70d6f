"""What an edit of a pack changes: rules, derived series, limits, series."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.packs import limit_rule, no_data_rule, write_pack

from ioc.pack import Pack, Settings
from ioc.packdiff import LISTED_MAX, Field, Judged, diff

LEVEL, RAIN = "disaster/lao_cai/level", "disaster/lao_cai/rain"
OTHER = "disaster/bao_ha/level"
Make = Callable[..., Pack]


@pytest.fixture
def made(tmp_path: Path) -> Make:
    def make(
        rules: Sequence[dict[str, Any]], *series: str, settings: Settings | None = None, **more: Any
    ) -> Pack:
        folder = tmp_path / "pack"
        folder.mkdir(exist_ok=True)
        return Pack.read(write_pack(folder, series or [LEVEL, RAIN], rules, **more), settings or Settings())

    return make


def flood(limit: float, **more: Any) -> dict[str, Any]:
    return limit_rule("flood", {1: limit}, series={"quantities": ["level"]}, **more)


def test_the_same_pack_differs_in_nothing(made: Make) -> None:
    same = diff(made([flood(80.0)]), made([flood(80.0)]))
    assert not same
    assert same.text() == "Không có gì khác / Nothing differs"


def test_a_limit_is_told_as_field_and_as_what_each_series_is_judged_by(made: Make) -> None:
    found = diff(made([flood(80.0)], LEVEL, OTHER), made([flood(81.5, deadband=0.5)], LEVEL, OTHER))
    assert found.rules.changed == {
        "flood": (Field("levels.1.limit", 80.0, 81.5), Field("levels.1.deadband", 0.0, 0.5))
    }
    assert found.judged == (
        Judged(LEVEL, "flood", ((1, 80.0, 80.0, 3),), ((1, 81.5, 81.0, 3),)),
        Judged(OTHER, "flood", ((1, 80.0, 80.0, 3),), ((1, 81.5, 81.0, 3),)),
    )
    assert f"~ {LEVEL} · flood: 1: 80 → 1: 81.5" in found.text()


def test_series_gain_and_lose_rules(made: Make) -> None:
    found = diff(made([flood(80.0)]), made([no_data_rule()]))
    assert (found.rules.added, found.rules.removed) == (("no_data",), ("flood",))
    assert set(found.judged) == {
        Judged(LEVEL, "flood", ((1, 80.0, 80.0, 3),), None),
        Judged(LEVEL, "no_data", None, ()),
        Judged(RAIN, "no_data", None, ()),
    }
    assert "− quy tắc / rule flood" in found.text()
    assert f"− {LEVEL} · flood: 1: 80 → không xét / not judged" in found.text()


def test_a_rule_that_is_switched_off_is_lost_by_its_series(made: Make) -> None:
    found = diff(made([flood(80.0)]), made([flood(80.0) | {"enabled": False}]))
    assert found.rules.changed == {"flood": (Field("enabled", True, False),)}
    assert found.judged == (Judged(LEVEL, "flood", ((1, 80.0, 80.0, 3),), None),)


def test_a_new_station_is_judged_by_the_rules_that_there_are(made: Make) -> None:
    found = diff(made([flood(80.0)], LEVEL), made([flood(80.0)], LEVEL, OTHER))
    assert not found.rules
    assert found.series.added == (OTHER,)
    assert Judged(OTHER, "flood", None, ((1, 80.0, 80.0, 3),)) in found.judged
    assert {one.series for one in found.judged} == {OTHER}


def test_what_a_series_is_and_what_the_settings_say_is_told(made: Make) -> None:
    found = diff(
        made([flood(80.0)], interval="10min"),
        made([flood(80.0)], interval="5min", settings=Settings(lateness="2h")),  # type: ignore[arg-type]
    )
    assert Field("interval_us", 600_000_000, 300_000_000) in found.series.changed[LEVEL]
    assert [one.path for one in found.settings] == ["settings.lateness"]


def test_a_long_list_is_cut_in_words_and_in_the_api_but_counted_whole(made: Make) -> None:
    names = [f"disaster/s{i:04d}/level" for i in range(LISTED_MAX + 5)]
    found = diff(made([flood(80.0)], *names), made([flood(81.0)], *names))
    assert "… 5 nữa / more" in found.text()
    plain = found.plain(10)
    assert len(plain["judged"]) == 10
    assert plain["counts"]["series_judged_otherwise"] == LISTED_MAX + 5
    assert plain["judged"][0]["after"] == [{"level": 1, "limit": 81.0, "reset": 81.0, "priority": 3}]
