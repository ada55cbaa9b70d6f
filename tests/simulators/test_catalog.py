"""A pack read as data gives the series that the monitor's own registry gives."""

from __future__ import annotations

from pathlib import Path

import pytest

from ioc.pack import Pack, Settings
from simulators.catalog import CatalogError, Series, read

PACKS = Path(__file__).resolve().parents[2] / "packs"


@pytest.mark.parametrize("name", ["lao-cai", "yagi-2024"])
def test_both_readers_agree_on_every_series(name: str) -> None:
    registry = Pack.read(PACKS / name, Settings()).registry
    found = {series.id: series for series in read(PACKS / name)}
    assert found.keys() == registry.series.keys()
    for series_id, series in registry.series.items():
        own = found[series_id]
        assert (own.interval_us, own.resolution) == (series.interval_us, series.resolution)
        assert (own.low, own.high) == series.range


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
