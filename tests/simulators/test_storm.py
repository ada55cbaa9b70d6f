"""The storm: what falls, what rises after it and when, and what it leaves alone."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest

from simulators import stations
from simulators.catalog import Series, read, read_rules
from simulators.storm import PEAK_M, PLANTS, SLOTS, STREAM_H, THAO, Storm

LAO_CAI = Path(__file__).resolve().parents[2] / "packs" / "lao-cai"
HOUR_US = 3_600_000_000
SLOT_US = HOUR_US // 6
BEGIN_US = 1_725_642_000_000_000
TIMES = range(BEGIN_US, BEGIN_US + SLOTS * SLOT_US, SLOT_US)
SEEDS = (1, 20_260_906)


@pytest.fixture(scope="module", params=SEEDS)
def storm(request: pytest.FixtureRequest, province: tuple[Series, ...]) -> Storm:
    return Storm(request.param, BEGIN_US, province)


def shown(storm: Storm, series: Series, t_us: int) -> float:
    return storm.value(series, t_us, stations.value(storm.seed, series, t_us))


@cache
def course(storm: Storm, series: Series) -> list[float]:
    return [shown(storm, series, t_us) for t_us in TIMES]


def lag_h(first: Sequence[float], second: Sequence[float], up_to_h: int = 18) -> float:
    """By how many hours `second` must be moved forward to look most like `first` (Pearson)."""
    count = len(first) - up_to_h * 6

    def likeness(lag: int) -> float:
        a, b = first[:count], second[lag : lag + count]
        mean_a, mean_b = sum(a) / count, sum(b) / count
        product = sum((x - mean_a) * (y - mean_b) for x, y in zip(a, b, strict=True))
        size = sum((x - mean_a) ** 2 for x in a) * sum((y - mean_b) ** 2 for y in b)
        return product / float(size**0.5)

    return max(range(up_to_h * 6), key=likeness) / 6


def test_the_same_seed_gives_the_same_storm_in_whatever_order_it_is_asked(
    province: tuple[Series, ...],
) -> None:
    one, other, third = (Storm(seed, BEGIN_US, province) for seed in (7, 7, 8))
    asked = [(series, BEGIN_US + i * 15 * HOUR_US) for i in range(4) for series in province]
    first = [shown(one, *at) for at in asked]
    assert [shown(other, *at) for at in reversed(asked)] == first[::-1]
    assert [shown(third, *at) for at in asked] != first
    assert (other.outages, other.spells) == (one.outages, one.spells)
    assert third.spells != one.spells


def test_before_it_begins_and_after_eight_days_only_slopes_have_moved(
    province: tuple[Series, ...], storm: Storm
) -> None:
    for series in province:
        for t_us in (BEGIN_US - 1, storm.end_us + 73 * HOUR_US):
            calm = stations.value(storm.seed, series, t_us)
            if series.quantity != "tilt" or t_us < BEGIN_US:
                assert shown(storm, series, t_us) == calm, series.id


def test_values_lie_within_the_range_in_whole_steps(province: tuple[Series, ...], storm: Storm) -> None:
    for series in province:
        for t_us in TIMES[::60]:
            v = shown(storm, series, t_us)
            assert series.low <= v <= series.high
            assert v == series.quantised(v)


def test_hourly_rain_reaches_sixty_to_ninety_millimetres_at_places(
    province: tuple[Series, ...], storm: Storm
) -> None:
    most = [max(course(storm, s)) for s in province if s.quantity == "rain_1h"]
    assert 60.0 <= max(most) <= 90.5
    assert sum(v >= 50.0 for v in most) >= 3
    assert min(most) < 45.0


def test_two_to_five_hundred_millimetres_fall_within_72_hours(
    province: tuple[Series, ...], storm: Storm
) -> None:
    totals = [max(course(storm, s)) for s in province if s.quantity == "rain_72h"]
    assert len(totals) >= 5
    assert all(195.0 <= total <= 505.0 for total in totals)


def test_the_rain_moves_from_the_east_to_the_west(by_id: dict[str, Series], storm: Storm) -> None:
    def middle_h(station: str) -> float:
        rain = course(storm, by_id[f"disaster/{station}/rain_1h"])
        return sum(i * v for i, v in enumerate(rain)) / sum(rain) / 6

    east = [middle_h(s) for s in ("luc_yen", "phuc_khanh", "lam_thuong", "yen_bai")]
    west = [middle_h(s) for s in ("y_ty", "bat_xat", "sa_pa", "mu_cang_chai")]
    assert sum(west) / 4 > sum(east) / 4


def test_longer_rain_windows_hold_the_shorter(by_id: dict[str, Series], storm: Storm) -> None:
    names = ("rain_1h", "rain_3h", "rain_6h", "rain_24h", "rain_72h")
    for t_us in TIMES[::7]:
        sums = [shown(storm, by_id[f"disaster/phuc_khanh/{name}"], t_us + 12_345) for name in names]
        assert sums == sorted(sums)


def test_six_one_hour_rains_are_the_rain_of_six_hours(by_id: dict[str, Series], storm: Storm) -> None:
    for t_us in TIMES[60::31]:
        hours = [shown(storm, by_id["disaster/bac_ha/rain_1h"], t_us - i * HOUR_US) for i in range(6)]
        six = shown(storm, by_id["disaster/bac_ha/rain_6h"], t_us)
        assert six == pytest.approx(sum(hours), abs=0.36), "each is rounded to a tenth"


@pytest.mark.parametrize("station", PEAK_M)
def test_gauges_crest_where_yagi_crested(by_id: dict[str, Series], storm: Storm, station: str) -> None:
    levels = course(storm, by_id[f"disaster/{station}/water_level"])
    assert max(levels) == pytest.approx(PEAK_M[station], abs=0.35)
    assert levels[0] < min(levels) + 1.0


@pytest.mark.parametrize("station", [s for s in THAO if THAO[s]])
def test_the_wave_of_the_thao_comes_down_after_its_travel_time(
    by_id: dict[str, Series], storm: Storm, station: str
) -> None:
    upstream = course(storm, by_id["disaster/lao_cai/water_level"])
    here = course(storm, by_id[f"disaster/{station}/water_level"])
    assert lag_h(upstream, here) == pytest.approx(THAO[station], abs=1.0)
    assert here.index(max(here)) > upstream.index(max(upstream))


def test_a_wrong_travel_time_would_be_noticed(
    by_id: dict[str, Series], province: tuple[Series, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(THAO, "bao_ha", 5.0)
    wrong = Storm(1, BEGIN_US, province)
    levels = [course(wrong, by_id[f"disaster/{s}/water_level"]) for s in ("lao_cai", "bao_ha")]
    assert lag_h(*levels) > 3.0 + 1.0


@pytest.mark.parametrize("station", [s for s in STREAM_H if s != "pho_rang"])
def test_streams_answer_their_rain_within_an_hour(
    by_id: dict[str, Series], storm: Storm, station: str
) -> None:
    rain = course(storm, by_id[f"disaster/{station}/rain_1h"])
    assert lag_h(rain, course(storm, by_id[f"disaster/{station}/water_level"])) <= 1.0


def test_the_thao_rises_as_fast_as_warnings_are_meant_for(by_id: dict[str, Series], storm: Storm) -> None:
    levels = course(storm, by_id["disaster/lao_cai/water_level"])
    rise = max(b - a for a, b in zip(levels, levels[6:], strict=False))
    assert 0.4 <= rise <= 1.2


def test_soil_fills_with_the_rain_and_only_some_slopes_slide(
    province: tuple[Series, ...], storm: Storm
) -> None:
    slopes = [s for s in province if s.quantity == "tilt"]
    slid = [s for s in slopes if storm.slide_us(s) is not None]
    assert len(slid) < len(slopes)
    for series in province:
        if series.quantity == "soil_moisture":
            wet = course(storm, series)
            assert 75.0 < max(wet) < 97.0
            assert wet.index(max(wet)) > 12 * 6
    for series in slopes:
        moved = shown(storm, series, storm.end_us) - shown(storm, series, BEGIN_US)
        assert (moved > 5.0) == (series in slid)


def test_some_seed_has_a_slide(province: tuple[Series, ...]) -> None:
    slopes = [s for s in province if s.quantity == "tilt"]
    assert any(Storm(seed, BEGIN_US, province).slide_us(s) for seed in SEEDS for s in slopes)


@pytest.mark.parametrize("plant", PLANTS)
def test_reservoirs_fill_spill_and_hold_the_crest_back(
    by_id: dict[str, Series], storm: Storm, plant: str
) -> None:
    level, inflow, outflow, gate = (
        course(storm, by_id[f"energy/{plant}/{name}"])
        for name in ("reservoir_level", "inflow", "outflow", "spill_gate")
    )
    assert max(gate) >= 20.0
    assert gate[0] == gate[-1] == 0.0
    assert max(outflow) <= max(inflow)
    assert max(level) - level[0] == pytest.approx(PLANTS[plant].crest_m + 0.02 * max(gate), abs=1.0)


def test_thac_ba_passes_its_normal_level(by_id: dict[str, Series], storm: Storm) -> None:
    assert 58.0 < max(course(storm, by_id["energy/thac_ba/reservoir_level"])) < 60.5


def test_discharge_follows_the_level(by_id: dict[str, Series], storm: Storm) -> None:
    level, flow = (course(storm, by_id[f"disaster/yen_bai/{name}"]) for name in ("water_level", "discharge"))
    assert abs(level.index(max(level)) - flow.index(max(flow))) <= 6
    assert 6000.0 < max(flow) < 9000.0


def test_nothing_else_of_the_province_reaches_a_limit(province: tuple[Series, ...], storm: Storm) -> None:
    """Wind, fog, cold and the grid stay below theirs: a storm must not make alarms that its truth does not hold."""
    meant = {
        "river_alarm_level", "rain_24h", "soil_near_saturation", "reservoir_high", "spill_gate_open",
        "flash_flood_1h", "flash_flood_3h", "flash_flood_6h", "flash_flood_24h", "flash_flood_72h", "feeder_out",
    }  # fmt: skip
    elsewhere = {"noise_special", "drinking_cod_high", "drinking_tss_high"}
    """Off until the pack has such a place: a calm day is above their limits."""
    fired = {
        rule.id
        for rule in read_rules(LAO_CAI)
        for series in province
        for limit in rule.limits_of(series).values()
        if any(rule.passed(limit, shown(storm, series, t_us)) for t_us in TIMES[::24])
    }
    assert fired <= meant | elsewhere
    assert {"river_alarm_level", "rain_24h", "soil_near_saturation", "spill_gate_open"} <= fired


def test_no_current_flows_in_a_feeder_that_is_out(by_id: dict[str, Series], storm: Storm) -> None:
    for outage in storm.outages:
        for name in ("active_power", "current"):
            series = by_id[f"energy/{outage.station}/{name}"]
            assert shown(storm, series, outage.from_us) == shown(storm, series, outage.to_us - 1) == 0.0
            assert shown(storm, series, outage.from_us - 1) > 0.0
            assert shown(storm, series, outage.to_us) > 0.0


def test_a_station_far_away_stays_calm() -> None:
    far = Series("disaster", "ha_noi", "rain_24h", 0.1, 1_000_000, 0.0, 2000.0, 21.03, 105.85)
    nowhere = Series("disaster", "somewhere", "rain_24h", 0.1, 1_000_000, 0.0, 2000.0)
    near = Series("disaster", "cam_duong", "rain_24h", 0.1, 1_000_000, 0.0, 2000.0, 22.4, 104.0)
    storm = Storm(1, BEGIN_US, [far, nowhere, near])
    most = [max(storm.value(s, t_us, 1.0) for t_us in TIMES) for s in (far, nowhere, near)]
    assert most[:2] == [1.0, 1.0]
    assert most[2] > 100.0


def test_a_pack_of_gauges_alone_has_the_same_river(by_id: dict[str, Series], storm: Storm) -> None:
    gauges = read(LAO_CAI.parent / "yagi-2024")
    alone = Storm(storm.seed, BEGIN_US, gauges)
    for series in gauges:
        for t_us in TIMES[::97]:
            assert shown(alone, series, t_us) == shown(storm, by_id[series.id], t_us)
