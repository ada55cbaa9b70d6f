"""Calm, storm, story and faults, one over the other."""

from __future__ import annotations

from simulators import stations
from simulators.catalog import Series
from simulators.faults import Fault
from simulators.payload import Sample
from simulators.scene import FAULTS_FROM_US, Scene
from simulators.storm import Storm
from simulators.story import CREST_M, RIVER, Story

S = 1_000_000
HOUR_US = 3600 * S
START_US = 1_725_555_600_000_000


def values(scene: Scene, series: Series, t_us: int) -> list[float]:
    return [part.value for part in scene.parts(series, t_us) if isinstance(part, Sample)]


def test_without_anything_it_is_the_calm(province: tuple[Series, ...]) -> None:
    scene = Scene(3, START_US)
    for series in province:
        (shown,) = scene.parts(series, START_US + HOUR_US)
        assert shown == Sample(series, START_US + HOUR_US, stations.value(3, series, START_US + HOUR_US))


def test_the_storm_passes_at_its_speed_while_stamps_stay_the_clocks(by_id: dict[str, Series]) -> None:
    river = by_id[RIVER]
    storm = Storm(1, START_US, [river])
    fast, plain = Scene(1, START_US, storm=storm, speed=3600.0), Scene(1, START_US, storm=storm)
    for hour in (5, 40, 80):
        assert fast.clean(river, fast.model_us(START_US + hour * S)) == plain.clean(
            river, START_US + hour * HOUR_US
        )
        (shown,) = fast.parts(river, START_US + hour * S)
        assert isinstance(shown, Sample)
        assert shown.t_us == START_US + hour * S


def test_the_story_is_told_over_the_storm(by_id: dict[str, Series]) -> None:
    river = by_id[RIVER]
    scene = Scene(1, START_US, storm=Storm(1, START_US, [river]), story=Story(1, {RIVER}))
    assert values(scene, river, START_US + 60 * S) == [CREST_M]


def test_a_fault_that_was_asked_for_comes_over_a_spell_and_clean_knows_neither(
    province: tuple[Series, ...],
) -> None:
    storm = Storm(1, START_US + 24 * HOUR_US, province)
    stuck = next(s for s in storm.spells if s.kind == "stuck" and s.series.quantity == "soil_moisture")
    series, inside = stuck.series, (stuck.from_us + stuck.to_us) // 2
    alone = Scene(1, START_US, storm=storm)
    both = Scene(1, START_US, storm=storm, faults=[Fault.parse(f"duplicate:{series.station}")])
    assert values(alone, series, inside) == [alone.clean(series, stuck.from_us)]
    assert values(alone, series, inside) != [alone.clean(series, inside)]
    assert values(both, series, inside) == 2 * values(alone, series, inside)
    assert both.clean(series, inside) == alone.clean(series, inside)
    assert values(alone, series, stuck.to_us) == [alone.clean(series, stuck.to_us)]


def test_a_fault_that_was_asked_for_begins_after_ten_seconds(by_id: dict[str, Series]) -> None:
    scene = Scene(1, START_US, faults=[Fault.parse("silence")])
    assert len(scene.parts(by_id[RIVER], START_US + FAULTS_FROM_US - 1)) == 1
    assert scene.parts(by_id[RIVER], START_US + FAULTS_FROM_US) == []
