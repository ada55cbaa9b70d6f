"""A pack read as data gives the series that the monitor's own registry gives."""

from __future__ import annotations

from pathlib import Path

import pytest

from ioc.pack import Pack, Settings
from ioc.rules.spec import LimitRule
from simulators.catalog import CatalogError, Series, duration_us, read, read_rules

PACKS = Path(__file__).resolve().parents[2] / "packs"


@pytest.mark.parametrize("name", ["lao-cai", "yagi-2024"])
def test_both_readers_agree_on_every_series(name: str) -> None:
    registry = Pack.read(PACKS / name, Settings()).registry
    sent = {series_id: series for series_id, series in registry.series.items() if not series.derived}
    found = {series.id: series for series in read(PACKS / name)}
    assert found.keys() == sent.keys()
    for series_id, series in sent.items():
        own = found[series_id]
        assert (own.interval_us, own.resolution) == (series.interval_us, series.resolution)
        assert (own.low, own.high) == series.range


@pytest.mark.parametrize("name", ["lao-cai", "yagi-2024"])
def test_both_readers_agree_on_every_limit_that_is_a_number(name: str) -> None:
    pack = Pack.read(PACKS / name, Settings())
    own = {rule.id: rule for rule in read_rules(PACKS / name)}
    compared = 0
    for rule in pack.rules.values():
        if not isinstance(rule, LimitRule) or rule.value is not None:
            continue
        for series in read(PACKS / name):
            judged = rule.series.matches(pack.registry.series[series.id])
            assert own[rule.id].matches(series) == judged, (rule.id, series.id)
            for level in rule.levels if judged else ():
                limit = rule.limit_of(series.station, level)
                found = own[rule.id].limits_of(series).get(level)
                # A level that is switched off counts here as if it were on.
                assert found == limit or (limit is None and series.station in rule.stations)
                compared += limit is not None
    assert compared >= 7


def test_a_rule_of_another_kind_has_a_name_and_no_limits(tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "a.yaml").write_text(
        """rules:
  - {id: rise, kind: rate, series: {quantities: [water_level]}, levels: {1: {per: 1h}}}
  - {id: mean, kind: limit, value: {mean: 1h}, series: {quantities: [water_level]}, levels: {1: {limit: 3}}}
  - {id: curve, kind: limit, series: {ids: [disaster/x/y]}, levels: {1: {limit: disaster/z/y}, 2: {limit: 4}}}
  - {id: joint, kind: condition, asset: disaster/x, when: a > 1}
"""
    )
    series = Series("disaster", "x", "y", 0.1, 1, 0.0, 9.0)
    rise, mean, curve = read_rules(tmp_path)
    assert (rise.kind, rise.limits, mean.limits) == ("rate", {}, {})
    assert rise.matches(Series("disaster", "x", "water_level", 0.1, 1, 0.0, 9.0))
    assert not rise.matches(series)
    assert curve.limits_of(series) == {2: 4.0}


def test_rules_that_cannot_be_read_are_refused_with_the_folder(tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "a.yaml").write_text("rules: [{series: {}}]\n")
    with pytest.raises(CatalogError, match=tmp_path.name):
        read_rules(tmp_path)


@pytest.mark.parametrize(
    ("text", "us"), [("10min", 600_000_000), ("1h 30min", 5_400_000_000), ("2s", 2_000_000)]
)
def test_an_interval_is_a_number_with_its_unit(text: str, us: int) -> None:
    assert duration_us(text) == us


def test_a_folder_that_is_no_pack_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=tmp_path.name):
        read(tmp_path)
    (tmp_path / "quantities.yaml").write_text("quantities: {}\n")
    with pytest.raises(CatalogError, match="no series"):
        read(tmp_path)
    (tmp_path / "quantities.yaml").write_text("quantities: [\n")
    with pytest.raises(CatalogError, match="cannot be read"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("resolution", "value", "shown"),
    [(0.01, 84.2049, 84.2), (10, 8234.0, 8230.0), (0.2, 1.29, 1.2), (1, -5.0, 0.0), (0.1, 1e9, 9000.0)],
)
def test_values_are_shown_in_steps_of_the_resolution_within_the_range(
    resolution: float, value: float, shown: float
) -> None:
    series = Series("disaster", "x", "y", resolution, 1, 0.0, 9000.0)
    assert series.quantised(value) == shown
