"""The signal models: repeatable, physical, and alive."""

from __future__ import annotations

import pytest

from simulators.catalog import Series
from simulators.stations import DERIVED, SHAPES, value

HOUR_US = 3_600_000_000
START_US = 1_795_500_000_000_000


def test_the_same_seed_series_and_time_give_the_same_value(province: tuple[Series, ...]) -> None:
    first = [value(7, series, START_US) for series in province]
    assert [value(7, series, START_US) for series in reversed(province)] == first[::-1]
    assert [value(8, series, START_US) for series in province] != first


def test_every_quantity_of_the_province_has_a_model(province: tuple[Series, ...]) -> None:
    assert {series.quantity for series in province} <= SHAPES.keys() | DERIVED.keys()


def test_values_lie_within_the_range_in_whole_steps(province: tuple[Series, ...]) -> None:
    for series in province:
        for t_us in range(START_US, START_US + 24 * HOUR_US, 3 * HOUR_US):
            v = value(1, series, t_us)
            assert series.low < v < series.high or v in (series.low, 0.0), series.id
            assert v == series.quantised(v), series.id


def test_sensors_move_within_a_day(province: tuple[Series, ...]) -> None:
    still = {
        series.quantity
        for series in province
        if len({value(1, series, START_US + i * HOUR_US) for i in range(24)}) == 1
    }
    assert still <= {"spill_gate", "rain_10min", "rain_1h", "rain_3h", "rain_6h", "rain_24h", "rain_72h"}


def test_longer_rain_windows_hold_the_shorter(by_id: dict[str, Series]) -> None:
    names = ("rain_1h", "rain_3h", "rain_6h", "rain_24h", "rain_72h")
    wettest = 0.0
    for i in range(300):
        t_us = START_US + i * 1_700_000_000
        sums = [value(1, by_id[f"disaster/phuc_khanh/{name}"], t_us) for name in names]
        assert sums == sorted(sums)
        wettest = max(wettest, sums[-1])
    assert wettest > 1.0


def test_all_meters_of_one_grid_see_one_frequency(by_id: dict[str, Series]) -> None:
    for i in range(50):
        t_us = START_US + i * 5_000_000
        one = value(1, by_id["energy/ss_500_lao_cai/frequency"], t_us)
        other = value(1, by_id["energy/ss_220_yen_bai/frequency"], t_us)
        assert abs(one - other) < 0.02


def test_gusts_exceed_the_wind_and_windings_their_oil(by_id: dict[str, Series]) -> None:
    for i in range(50):
        t_us = START_US + i * 1_000_000_000
        assert value(1, by_id["disaster/sa_pa/wind_gust"], t_us) >= value(
            1, by_id["disaster/sa_pa/wind_speed"], t_us
        )
        assert value(1, by_id["energy/ss_500_lao_cai/winding_temp"], t_us) > value(
            1, by_id["energy/ss_500_lao_cai/oil_temp"], t_us
        )


@pytest.mark.parametrize("quantity", ["something_new", "water_level"])
def test_what_nobody_described_moves_about_the_middle_of_its_range(quantity: str) -> None:
    series = Series("disaster", "elsewhere", quantity, 0.1, 1_000_000, 1000.0, 1200.0)
    values = [value(1, series, START_US + i * HOUR_US) for i in range(24)]
    assert all(1090 < v < 1110 for v in values)
    assert len(set(values)) > 5
