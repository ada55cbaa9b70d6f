from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from support.packs import write_pack

from ioc.pack import Pack, Settings
from ioc.registry import Registry
from ioc.rules import near

IDS = [f"disaster/s{i}/level" for i in range(5)] + ["disaster/s0/rain"]
NUMBERS = {series: 10 + i for i, series in enumerate(IDS)}


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """Stations on a line to the north, some 11 km apart."""
    folder = write_pack(tmp_path / "p", IDS, [])
    file = folder / "stations" / "all.yaml"
    content = yaml.safe_load(file.read_text("utf-8"))
    for i, station in enumerate(content["stations"]):
        station["lat"] = 22.0 + 0.1 * i
    file.write_text(yaml.safe_dump(content), "utf-8")
    return Pack.read(folder, Settings()).registry


def test_neighbours_are_other_stations_of_the_same_quantity_within_the_radius(registry: Registry) -> None:
    found = near.Neighbours(registry, NUMBERS, 20.0)
    assert found[10] == (11,)
    assert found[12] == (11, 13)
    assert found[15] == ()
    assert len(found) == len(IDS)


def test_being_neighbours_goes_both_ways(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    for most in (1, 2, 3, 4):
        monkeypatch.setattr(near, "NEIGHBOURS_MAX", most)
        found = near.Neighbours(registry, NUMBERS, 25.0)
        assert all(number in found[other] for number in found for other in found[number])


def test_a_crowd_is_no_neighbourhood(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near, "NEIGHBOURS_MAX", 3)
    assert near.Neighbours(registry, NUMBERS, 500.0)[10] == ()
    monkeypatch.setattr(near, "NEIGHBOURS_MAX", 4)
    assert near.Neighbours(registry, NUMBERS, 500.0)[10] == (11, 12, 13, 14)
