"""Bad input: each fault of a pack with file, line, path and how to mend it, and all of them at once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.packs import limit_rule, no_data_rule, text, write_pack

from ioc.errors import PackError
from ioc.pack import Pack, Settings, beyond

LEVEL, RAIN, SOIL = (f"disaster/lao_cai/{q}" for q in ("level", "rain", "soil"))
DAY_US = 86_400_000_000


def faults_of(folder: Path) -> list[str]:
    with pytest.raises(PackError) as refused:
        Pack.read(folder, Settings())
    faults = [str(fault) for fault in refused.value.faults]
    assert str(refused.value) == faults[0]
    return faults


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_pack(tmp_path / "pack", [LEVEL, RAIN, SOIL], [limit_rule("flood", {1: 80.0, 2: 82.0})])


def put(folder: Path, name: str, **change: Any) -> None:
    """Change keys of the first thing listed in a file."""
    path = folder / name
    data = yaml.safe_load(path.read_text("utf-8"))
    (items,) = data.values()
    items[0] |= change
    path.write_text(yaml.safe_dump(data, allow_unicode=True, sort_keys=False), "utf-8")


def add_rules(folder: Path, *rules: Mapping[str, Any]) -> None:
    (folder / "rules" / "more.yaml").write_text(
        yaml.safe_dump({"rules": list(rules)}, allow_unicode=True, sort_keys=False), "utf-8"
    )


def derive(folder: Path, *derived: Mapping[str, Any], quantities: tuple[str, ...] = ()) -> None:
    path = folder / "quantities.yaml"
    known = yaml.safe_load(path.read_text("utf-8"))
    known["quantities"] |= {q: known["quantities"]["rain"] | {"name": text(q)} for q in quantities}
    path.write_text(yaml.safe_dump(known, allow_unicode=True), "utf-8")
    (folder / "derived").mkdir(exist_ok=True)
    (folder / "derived" / "a.yaml").write_text(yaml.safe_dump({"derived": list(derived)}), "utf-8")


def total(name: str, of: str, over: str = "1h") -> dict[str, Any]:
    value = {"kind": "window", "function": "sum", "over": over}
    return {"id": name, "kind": "value", "of": {"quantities": [of]}, "value": value}


def joint(kind: str, **more: Any) -> dict[str, Any]:
    words = {"title": text("t"), "level_name": text("l"), "priority": 2}
    return {"id": "together", "kind": kind} | words | more


def condition(when: str, **more: Any) -> dict[str, Any]:
    return joint("condition", **{"asset": LEVEL, "values": {"level": LEVEL}, "when": when} | more)


def level(**more: Any) -> dict[str, Any]:
    return {"name": text("l"), "priority": 2} | more


RULE = "rules/all.yaml"
WHAT_IS_WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown series": (
        {"series": {"ids": ["disaster/lao_cai/levle"]}},
        r"series.ids: no series 'disaster/lao_cai/levle' in the pack: it is {domain}/{station}/{quantity}",
    ),
    "an unknown station": ({"series": {"stations": ["bao_ha"]}}, "series.stations: no station 'bao_ha'"),
    "a limit for an unknown station": (
        {"stations": {"bao_ha": {1: 57.0}}},
        "stations.bao_ha: no station 'bao_ha' in the pack: name one that is there, or leave it out",
    ),
    "an unknown quantity": ({"series": {"quantities": ["levle"]}}, "series.quantities: no quantity 'levle'"),
    "a selector that meets nothing": (
        {"series": {"quantities": ["level"], "domains": ["energy"]}},
        "series: selects no series of the pack: every list given must match",
    ),
    "a unit that does not fit": (
        {"unit": "cm", "series": {"quantities": ["level"]}},
        "unit: the limits are in cm, but it at disaster/lao_cai/level is in m: convert the limits",
    ),
    "a unit that does not fit the value": (
        {"unit": "m", "value": {"kind": "rate", "over": "1h"}},
        "unit: the limits are in m, but a value of this rule at disaster/lao_cai/level is in m/h",
    ),
    "limits out of order": (
        {"levels": {1: level(limit=82.0), 2: level(limit=80.0)}},
        "levels: the limits must get worse from level to level, not 82.0 then 80.0",
    ),
    "a deadband wider than the gap": (
        {"levels": {1: level(limit=80.0), 2: level(limit=82.0, deadband=3.0)}},
        "levels: level 2 has a deadband wider than the gap to level 1: it would clear at 79.0",
    ),
    "a reset wider than the gap": (
        {"levels": {1: level(limit=80.0), 2: level(limit=82.0, reset=79.0)}},
        "levels: level 2 has a reset wider than the gap to level 1",
    ),
    "a reset beyond its own limit": (
        {"levels": {1: level(limit=80.0, reset=81.0)}},
        "the reset 81.0 of level 1 lies above its limit 80.0",
    ),
    "a rule that there is not": (
        {"value": {"kind": "time_to", "over": "1h", "rule": "fludd", "level": 2}},
        "value.rule: no limit rule 'fludd' that judges a series itself",
    ),
    "a level that there is not": (
        {"value": {"kind": "time_to", "over": "1h", "rule": "flood", "level": 2}},
        "value.rule: no limit rule 'flood' that judges a series itself",
    ),
    "a limit that no good sample can reach": (
        {"levels": {1: level(limit=2e9)}},
        "levels[1]: disaster/lao_cai/level is bad quality beyond 1e+09: no sample of it can raise 2e+09",
    ),
    "more samples than come in that time": (
        {"levels": {1: level(limit=80.0, times=9, within="30min")}},
        "levels[1].within: disaster/lao_cai/level: 9 samples take 80 min, within is shorter",
    ),
    "a word that is no duration": (
        {"levels": {1: level(limit=80.0, on_delay="10 minutes")}},
        "levels[1].on_delay: a duration is written like 30s, 10min, 6h or 2d, not '10 minutes'",
    ),
    "a key that nobody knows": (
        {"levels": {1: level(limt=80.0)}},
        "levels[1].limt: this key is unknown",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", WHAT_IS_WRONG)
def test_a_limit_rule_is_refused_with_its_place_and_what_to_do(folder: Path, what: str) -> None:
    change, said = WHAT_IS_WRONG[what]
    put(folder, RULE, **change)
    (fault,) = [one for one in faults_of(folder) if said in one]
    file, line, path = fault.split(":", 3)[:3]
    assert file == RULE
    assert int(line) > 1
    assert path.strip().startswith("rules[0]")


JOINT: dict[str, tuple[dict[str, Any], str]] = {
    "CEL that cannot be read": (condition("level >"), "rules[0].when: "),
    "a name that CEL does not know": (condition("levle > 2.0"), "rules[0].when: it names 'levle'"),
    "CEL that gives no truth": (condition("level + 1.0"), "rules[0].when: it gives "),
    "whole numbers in CEL": (condition("level > 80 && level * 2 > 3.0"), "rules[0].when: "),
    "a series that there is not": (
        condition("level > 2.0 && x > 1.0", values={"level": LEVEL, "x": "disaster/a/b"}),
        "rules[0].values.x: there is no series 'disaster/a/b'",
    ),
    "a fact of a rule that there is not": (
        joint("sequence", asset=LEVEL, first={"rule": "fludd"}, then={"rule": "flood"}, within="1h"),
        "rules[0].first.rule: there is no rule 'fludd'",
    ),
    "a level that the rule has not": (
        joint("sequence", asset=LEVEL, first={"rule": "flood", "level": 5}, then={"rule": "flood"}, within="1h"),
        "rules[0].first.level: rule 'flood' has the levels [1, 2], not 5",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", JOINT)
def test_a_rule_over_several_stations_is_refused_with_its_place(folder: Path, what: str) -> None:
    rule, said = JOINT[what]
    add_rules(folder, rule)
    assert any(one.startswith("rules/more.yaml:") and said in one for one in faults_of(folder))


def test_rules_that_ask_for_each_other_are_refused(folder: Path) -> None:
    one = condition("other", facts={"other": {"rule": "b"}}) | {"id": "a", "values": {}}
    two = condition("other", facts={"other": {"rule": "a"}}) | {"id": "b", "values": {}}
    add_rules(folder, one, two)
    (fault,) = faults_of(folder)
    assert "these rules ask for each other's facts: " in fault
    assert fault.startswith("rules/more.yaml:")


DERIVED: dict[str, tuple[list[dict[str, Any]], list[str]]] = {
    "a circle": (
        [total("rain_1h", "most"), total("most", "rain_1h")],
        ["derived[0]: derived series need each other in a circle: rain_1h → most → rain_1h"],
    ),
    "CEL": (
        [{"id": "most", "kind": "expression", "inputs": {"a": "rain"}, "cel": "a + b"}],
        ["derived[0].cel: the expression names b, which is none of its inputs (a)"],
    ),
    "an unknown quantity, and CEL beside it": (
        [total("rain_1h", "rane"), {"id": "most", "kind": "expression", "inputs": {"a": "rain"}, "cel": "a +"}],
        ["derived[0].of.quantities: no quantity 'rane'", "derived[1].cel: "],
    ),
    "what needs a broken one is not told": (
        [total("rain_1h", "rane"), total("most", "rain_1h")],
        ["derived[0].of.quantities: no quantity 'rane'"],
    ),
    "inputs that are missing": (
        [{"id": "most", "kind": "dew_point", "inputs": {}, "stations": ["lao_cai"]}],
        ["derived[0].inputs: names nothing that dew_point could be computed from"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", DERIVED)
def test_a_derived_series_is_refused_with_its_place(folder: Path, what: str) -> None:
    derived, said = DERIVED[what]
    derive(folder, *derived, quantities=("rain_1h", "most"))
    faults = faults_of(folder)
    assert len(faults) == len(said), faults
    for fault, part in zip(faults, said, strict=True):
        assert fault.startswith("derived/a.yaml:")
        assert part in fault


def test_a_quality_test_that_its_interval_forbids_is_told_where_it_is_written(folder: Path) -> None:
    path = folder / "quantities.yaml"
    known = yaml.safe_load(path.read_text("utf-8"))
    short = {"flat_line": {"tolerance": 0.01, "suspect": "5min", "fail": "1h"}}
    known["quantities"]["level"]["quality"] = short
    path.write_text(yaml.safe_dump(known), "utf-8")
    put(folder, "stations/all.yaml", series=[
        {"quantity": "level", "domain": "disaster"},
        {"quantity": "rain", "domain": "disaster", "quality": short},
        {"quantity": "soil", "domain": "disaster"},
    ])  # fmt: skip
    first, second = faults_of(folder)
    assert "quantities.yaml:" in first
    assert "quantities.level.quality: disaster/lao_cai/level: quality.flat_line.suspect is shorter" in first
    assert "stations[0].series[1].quality: disaster/lao_cai/rain: quality.flat_line.suspect" in second


def test_every_fault_of_every_file_is_told_at_once_in_the_order_of_files_and_lines(folder: Path) -> None:
    put(folder, RULE, kind="limits")
    add_rules(
        folder, limit_rule("a", {1: 2.0, 2: 1.0}), no_data_rule(9), limit_rule("b", {1: 1.0}) | {"x": 1}
    )
    put(folder, "stations/all.yaml", lat=100)
    faults = faults_of(folder)
    assert [(f.split(":")[0], f.split(": ")[1]) for f in faults] == [
        ("rules/all.yaml", "rules[0]"),
        ("rules/more.yaml", "rules[0]"),
        ("rules/more.yaml", "rules[1].priority"),
        ("rules/more.yaml", "rules[2].x"),
        ("stations/all.yaml", "stations[0].lat"),
    ]
    lines = [int(f.split(":")[1]) for f in faults if f.startswith("rules/more")]
    assert lines == sorted(lines)


def test_a_broken_rule_is_no_unknown_rule_for_those_that_name_it(folder: Path) -> None:
    put(folder, RULE, direction="upwards")
    add_rules(
        folder,
        joint("sequence", asset=LEVEL, first={"rule": "flood"}, then={"rule": "flood"}, within="1h"),
        limit_rule("soon", {1: 60.0}, direction="down")
        | {"value": {"kind": "time_to", "over": "1h", "rule": "flood", "level": 1}},
        limit_rule("other", {1: 1.0}, series={"stations": ["bao_ha"]}),
    )
    first, second = faults_of(folder)
    assert "rules[0].direction" in first
    assert "no station 'bao_ha'" in second


def test_stations_with_faults_do_not_make_their_rules_wrong(folder: Path) -> None:
    put(folder, "stations/all.yaml", commune=5)
    put(folder, RULE, series={"ids": [LEVEL]})
    (fault,) = faults_of(folder)
    assert "stations[0].commune" in fault


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("rules: [", "rules/more.yaml:2: not YAML"),
        ("rules: []\nrules: []\n", "rules/more.yaml:2: rules: this key stands twice"),
        ("rules:\n- {id: a, id: b, kind: c, kind: d}\n", "rules/more.yaml:2: rules[0].id: this key stands twice"),
        ("rules:\n- &a [*a]\n", "an alias (*) stands within what it stands for"),
        ("rules: !!python/name:os.system x\n", "rules/more.yaml:1: rules: not YAML: could not determine"),
        ("rules:\n- 2024-13-45\n", "rules/more.yaml:2: rules[0]: not YAML: "),
        ("? [a, b]\n: 1\n", "a key must be a word or a number"),
        ("[" * 2_000, "rules/more.yaml"),
        ("", "rules: this key is missing"),
        ("- a\n", "rules/more.yaml:1: "),
    ],
)  # fmt: skip
def test_what_is_not_a_file_of_rules_is_told_with_its_place(folder: Path, content: str, said: str) -> None:
    (folder / "rules" / "more.yaml").write_text(content, "utf-8")
    assert said in faults_of(folder)[0]


def test_aliases_that_stand_for_billions_are_refused_before_they_are_unfolded(folder: Path) -> None:
    lines = ["a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True)]
    (folder / "rules" / "more.yaml").write_text("\n".join(lines), "utf-8")
    assert "its aliases (*) stand for too much" in faults_of(folder)[0]


class TestBeyondRetention:
    def of(self, folder: Path, days: float) -> list[str]:
        return [str(fault) for fault in beyond(Pack.read(folder, Settings()), int(days * DAY_US))]

    def test_a_window_longer_than_the_log_keeps_is_told_with_its_place(self, folder: Path) -> None:
        derive(folder, total("rain_3d", "rain", "72h"), quantities=("rain_3d",))
        assert self.of(folder, 3) == []
        (fault,) = self.of(folder, 2.5)
        assert fault.startswith("derived/a.yaml:")
        assert fault.endswith(
            "derived[0].value.over: reaches 3 d back, but the log keeps 2.5 d: shorten it, or raise log.retention_days"
        )

    def test_so_is_one_inside_a_rule_and_one_between_rules(self, folder: Path) -> None:
        put(folder, RULE, value={"kind": "baseline", "weeks": 2})
        add_rules(
            folder,
            joint("sequence", asset=LEVEL, first={"rule": "flood"}, then={"rule": "flood"}, within="20d"),
        )
        week, within = self.of(folder, 13)
        assert "rules[0].value.weeks: reaches 14 d back" in week
        assert "rules[0].within: reaches 20 d back" in within


class TestCache:
    """What was parsed of a large file is kept; whatever else lies in its place counts for nothing."""

    @pytest.fixture
    def large(self, tmp_path: Path) -> Path:
        names = [f"disaster/s{i:04d}/level" for i in range(500)]
        return write_pack(tmp_path / "large", names, [limit_rule("flood", {1: 80.0})])

    def read(self, folder: Path, cache: Path) -> Pack:
        # Read anew: a pack that is still held would not be built again.
        blob = Pack.read(folder, Settings(), cache).blob
        return Pack.from_blob(blob, cache)

    def test_gives_the_same_pack(self, large: Path, tmp_path: Path) -> None:
        first = self.read(large, tmp_path / "cache").registry.series
        kept = list((tmp_path / "cache").iterdir())
        assert len(kept) == 1
        assert self.read(large, tmp_path / "cache").registry.series == first
        assert Pack.read(large, Settings()).registry.series == first

    @pytest.mark.parametrize("damage", [b"", b"not a cache", "cut", "flipped"])
    def test_a_damaged_one_is_made_anew(self, large: Path, tmp_path: Path, damage: bytes | str) -> None:
        self.read(large, tmp_path / "cache")
        (kept,) = (tmp_path / "cache").iterdir()
        whole = kept.read_bytes()
        bad = {"cut": whole[:-100], "flipped": whole[:-1] + bytes([whole[-1] ^ 1])}
        kept.write_bytes(damage if isinstance(damage, bytes) else bad[damage])
        assert len(self.read(large, tmp_path / "cache").registry.series) == 500
        assert kept.read_bytes() == whole

    def test_where_nothing_can_be_kept_it_is_parsed_each_time(self, large: Path, tmp_path: Path) -> None:
        (tmp_path / "cache").write_text("a file, not a folder")
        assert len(self.read(large, tmp_path / "cache").registry.series) == 500

    def test_a_fault_is_told_with_its_line_from_the_cache_too(self, large: Path, tmp_path: Path) -> None:
        path = large / "stations" / "all.yaml"
        path.write_text(path.read_text("utf-8").replace("lat: 22.49", "lat: 99.0", 1), "utf-8")
        told = []
        for _ in range(2):
            with pytest.raises(PackError) as refused:
                Pack.read(large, Settings(), tmp_path / "cache")
            told.append(str(refused.value))
        assert told[0] == told[1]
        assert told[0].startswith("stations/all.yaml:7: stations[0].lat: ")


def test_a_folder_and_what_the_log_kept_of_it_are_the_same_pack(folder: Path) -> None:
    pack = Pack.read(folder, Settings())
    again = Pack.from_blob(bytes(bytearray(pack.blob)))
    assert again is pack
    assert json.loads(pack.blob)["files"] == pack.files
    copied = shutil.copytree(folder, folder.parent / "copy")
    assert Pack.read(copied, Settings()).hash == pack.hash
