"""The province's pack: complete, in both languages, on the right ground, and honest about its limits."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from support.data import shared

from ioc import trial
from ioc.model.text import Text
from ioc.pack import Pack, Settings
from ioc.rules.engine import Engine
from ioc.rules.spec import ClockSkewRule, JointRule, LimitRule, Mark, NoDataRule, StationLimit, TooLateRule

FOLDER = Path(__file__).resolve().parents[2] / "packs" / "lao-cai"
Ring = list[list[float]]


@pytest.fixture(scope="module")
def pack() -> Pack:
    return Pack.read(FOLDER, Settings())


@pytest.fixture(scope="module")
def communes() -> dict[str, list[list[Ring]]]:
    out: dict[str, list[list[Ring]]] = {}
    for feature in json.loads((FOLDER / "communes.geojson").read_text("utf-8"))["features"]:
        shape = feature["geometry"]
        parts = [shape["coordinates"]] if shape["type"] == "Polygon" else shape["coordinates"]
        out[feature["properties"]["code"]] = parts
    return out


def inside(lat: float, lon: float, parts: list[list[Ring]]) -> bool:
    return any(within(lat, lon, part[0]) and not any(within(lat, lon, h) for h in part[1:]) for part in parts)


def within(lat: float, lon: float, ring: Ring) -> bool:
    odd = False
    for (x0, y0), (x1, y1) in zip(ring, ring[1:] + ring[:1], strict=True):
        if (y0 > lat) != (y1 > lat) and lon < (x1 - x0) * (lat - y0) / (y1 - y0) + x0:
            odd = not odd
    return odd


def texts(part: Any) -> Iterator[Text]:
    if isinstance(part, Text):
        yield part
    elif isinstance(part, BaseModel):
        for name in type(part).model_fields:
            yield from texts(getattr(part, name))
    elif isinstance(part, dict):
        for value in part.values():
            yield from texts(value)
    elif isinstance(part, tuple | list):
        for value in part:
            yield from texts(value)


def limit_rules(pack: Pack) -> list[LimitRule]:
    return [rule for rule in pack.rules.values() if isinstance(rule, LimitRule)]


def test_fills_the_wall_with_at_least_240_series_of_three_domains(pack: Pack) -> None:
    assert len(pack.registry.series) >= 240
    domains = Counter(str(s.domain) for s in pack.registry.series.values())
    assert set(domains) == {"disaster", "environment", "energy"}
    assert min(domains.values()) >= 50


def test_holds_every_site_of_the_domain_notes_at_its_place(pack: Pack) -> None:
    notes = shared("design", "domain.md").read_text("utf-8")
    block = re.search(r"```csv\n(id,name.*?)```", notes, re.DOTALL)
    assert block is not None
    sites = list(csv.DictReader(io.StringIO(block[1])))
    assert len(sites) == 24
    for site in sites:
        station = pack.registry.stations[site["id"]]
        assert (station.lat, station.lon) == (float(site["lat"]), float(site["lon"])), site["id"]


def test_every_station_stands_in_the_commune_it_names(
    pack: Pack, communes: dict[str, list[list[Ring]]]
) -> None:
    for station in pack.registry.stations.values():
        assert inside(station.lat, station.lon, communes[station.commune]), station.id


def test_commune_codes_and_names_are_the_official_ones() -> None:
    units = json.loads(shared("data", "geo", "lao_cai_units_2026.json").read_text("utf-8"))
    official = {ward["Code"]: ward["FullName"] for ward in units[0]["Wards"]}
    features = json.loads((FOLDER / "communes.geojson").read_text("utf-8"))["features"]
    assert {f["properties"]["code"]: f["properties"]["fullName"] for f in features} == official
    assert all(set(f["properties"]) == {"code", "name", "fullName"} for f in features)


def test_shipped_shapes_agree_with_the_unsimplified_ones_away_from_borders(
    communes: dict[str, list[list[Ring]]],
) -> None:
    vectors = json.loads(
        shared("data", "geo", "lao_cai_point_in_commune_vectors_sample.json").read_text("utf-8")
    )
    for vector in vectors:
        found = {code for code, parts in communes.items() if inside(vector["lat"], vector["lon"], parts)}
        assert found == ({vector["expected"]["code"]} if vector["expected"] else set())


def test_river_lines_lie_in_or_beside_the_province() -> None:
    features = json.loads((FOLDER / "river.geojson").read_text("utf-8"))["features"]
    assert features
    for feature in features:
        assert feature["geometry"]["type"] == "LineString"
        assert all(102.5 < x < 106 and 20.5 < y < 23.5 for x, y in feature["geometry"]["coordinates"])


def test_eight_tiles_count_every_series(pack: Pack) -> None:
    groups = {group.id: set(group.quantities) for group in pack.file.groups}
    assert len(groups) == 8
    counted = Counter(q for quantities in groups.values() for q in quantities)
    assert set(counted) == set(pack.registry.quantities)
    assert set(counted.values()) == {1}
    assert {s.group for s in pack.registry.series.values() if s.group} <= set(groups)
    assert len(pack.file.trends) == 4


def test_every_text_has_both_languages_and_none_claims_an_official_risk_level(pack: Pack) -> None:
    parts: list[Any] = [pack.file, *pack.rules.values(), *pack.registry.stations.values()]
    found = [text for part in [*parts, pack.registry.quantities] for text in texts(part)]
    assert len(found) > 200
    for text in found:
        assert text.vi.strip()
        assert text.en.strip()
        assert "rủi ro thiên tai" not in text.vi.lower()
        assert "risk level" not in text.en.lower()


def test_every_limit_says_that_it_is_a_technical_warning_and_where_it_comes_from(pack: Pack) -> None:
    for rule in limit_rules(pack):
        assert rule.guidance is not None, rule.id
        assert "cảnh báo kỹ thuật" in rule.guidance.vi.lower(), rule.id
        assert "technical warning" in rule.guidance.en.lower(), rule.id
        assert rule.source.text, rule.id
        assert rule.source.status, rule.id


def test_rules_over_several_stations_say_that_they_are_technical_warnings(pack: Pack) -> None:
    joint = [rule for rule in pack.rules.values() if isinstance(rule, JointRule)]
    assert {rule.kind for rule in joint} == {"neighbours", "condition", "sequence", "travel", "disagrees"}
    for rule in joint:
        assert rule.guidance is not None, rule.id
        assert "cảnh báo kỹ thuật" in rule.guidance.vi.lower(), rule.id
        assert "technical warning" in rule.guidance.en.lower(), rule.id


def test_urgent_alarms_have_their_reasons_and_nobody_has_approved_them(pack: Pack) -> None:
    assert pack.file.rationalised == "proposed"
    urgent = [rule for rule in pack.rules.values() if min(rule.priorities) <= 2 and rule.kind != "system"]
    assert len(urgent) > 30
    for rule in urgent:
        if rule.kind == "source_down":
            continue
        assert rule.rationalisation is not None, rule.id
        assert rule.rationalisation.approved_by == "", rule.id
        assert rule.rationalisation.approved_on is None, rule.id


def test_what_is_only_proposed_speaks_in_the_shadow_or_not_at_all(pack: Pack) -> None:
    assert {rule.id for rule in pack.rules.values() if rule.mode == "shadow"} == {
        "antecedent_rain_lang_nu", "antecedent_rain_tram_tau", "load_unusual", "oil_temp_unusual",
    }  # fmt: skip
    off = {rule.id for rule in pack.rules.values() if not rule.enabled}
    assert off >= {"river_rise", "rain_1h_area", "noise_ordinary", "noise_special", "voltage_thd_110kv"}
    assert {f"flash_flood_{window}" for window in ("1h", "3h", "6h", "24h", "72h")} <= off


def test_every_quantity_with_a_deriving_kind_stands_somewhere(pack: Pack) -> None:
    derived = Counter(s.quantity for s in pack.registry.series.values() if s.derived)
    assert derived.keys() == {*pack.derived}
    assert derived["level_rise"] == 9
    assert derived["rain_12h"] == 7
    assert derived["vn_aqi_1h"] == 5


@pytest.mark.parametrize("name", ["lao-cai", "yagi-2024"])
def test_every_rule_has_a_test_that_fires_and_one_that_must_not_and_all_pass(name: str) -> None:
    folder = FOLDER.parent / name
    report = trial.run(Pack.read(folder, Settings()), trial.read(folder))
    assert report.failures == ()
    assert (report.never_fired, report.never_quiet) == ((), ())


def test_the_test_of_a_rule_that_is_changed_fails(pack: Pack) -> None:
    rule = pack.rules["reservoir_high"]
    assert isinstance(rule, LimitRule)
    level = rule.levels[1].model_copy(update={"limit": 58.5})
    other = {**pack.rules, rule.id: rule.model_copy(update={"levels": {1: level}})}
    tests = [test for test in trial.read(FOLDER) if rule.id in test[2].rules]
    assert [f.name for f in trial.run(replace(pack, rules=other), tests).failures] == ["58 m"]


def test_the_rules_need_less_memory_than_150_mib(pack: Pack) -> None:
    numbers = {series: number for number, series in enumerate(pack.registry.series)}
    engine = Engine(pack.registry, {}, numbers)
    engine.rebuild(pack.registry, pack.rules, numbers, 0, pack.planned, pack.utc_offset_us)
    assert sum(count * each for count, each in engine.memory().values()) < 150 * 2**20


def test_what_is_uncertain_is_off(pack: Pack) -> None:
    uncertain = [rule for rule in limit_rules(pack) if rule.source.mark is Mark.UNCERTAIN]
    assert uncertain
    assert not any(rule.enabled for rule in uncertain)
    marked = [
        limit
        for rule in limit_rules(pack)
        for limits in rule.stations.values()
        for limit in limits.values()
        if isinstance(limit, StationLimit) and limit.mark is Mark.UNCERTAIN
    ]
    assert marked
    assert not any(limit.enabled for limit in marked)


def test_river_levels_are_those_of_the_domain_notes(pack: Pack) -> None:
    rule = pack.rules["river_alarm_level"]
    assert isinstance(rule, LimitRule)
    expected = {
        "lao_cai": (80.0, 82.0, 83.5),
        "bao_ha": (None, None, 57.0),
        "yen_bai": (30.0, 31.0, 32.0),
        "pho_rang": (None, None, None),
        "nghia_lo": (44.5, None, None),
        "van_ban": (None, 89.5, 90.5),
        "vinh_yen": (None, None, 131.5),
        "mau_a": (None, None, None),
    }
    for station, limits in expected.items():
        assert tuple(rule.limit_of(station, level) for level in (1, 2, 3)) == limits, station
    assert [rule.levels[level].priority for level in (1, 2, 3)] == [3, 2, 1]
    assert all(level.on_delay == 0 for level in rule.levels.values())


def test_rules_that_list_stations_list_all_their_stations(pack: Pack) -> None:
    for name in ("rain_24h", "frequency_high", "frequency_low"):
        rule = pack.rules[name]
        assert isinstance(rule, LimitRule)
        judged = {s.station.id for s in pack.registry.series.values() if rule.series.matches(s)}
        assert set(rule.stations) == judged
        for station in judged:
            for number, level in rule.levels.items():
                assert rule.limit_of(station, number) == level.limit


@pytest.mark.parametrize("kind", [NoDataRule, TooLateRule, ClockSkewRule])
def test_every_series_is_watched_by_exactly_one_rule_of_each_kind(
    pack: Pack, kind: type[NoDataRule | TooLateRule | ClockSkewRule]
) -> None:
    rules = [rule for rule in pack.rules.values() if isinstance(rule, kind)]
    for series in (s for s in pack.registry.series.values() if not s.derived):
        watching = [rule for rule in rules if rule.series.matches(series)]
        assert len(watching) == 1, series.id
        river = series.quantity in ("water_level", "discharge")
        assert watching[0].priority == (3 if river else 4), series.id


def test_every_water_level_names_its_datum(pack: Pack) -> None:
    for series in pack.registry.series.values():
        assert (series.datum is not None) == (series.quantity == "water_level"), series.id


def test_sources_name_repositories_commits_and_licences() -> None:
    text = (FOLDER / "SOURCES.md").read_text("utf-8")
    for word in ("cd5806329958", "0b9a6ceb0a70", "MIT License", "Thang Le Quoc", "Natural Earth"):
        assert word in text
