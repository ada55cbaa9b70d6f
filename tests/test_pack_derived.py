"""Derived series through a whole pack: read, judged, logged and restarted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from support.packs import limit_rule, text, write_pack

from ioc import trial
from ioc.errors import PackError
from ioc.pack import Pack, Settings

RAIN, LEVEL, SOIL = (f"disaster/lao_cai/{q}" for q in ("rain_10min", "water_level", "soil"))


def pack_of(
    folder: Path, derived: list[dict[str, Any]], rules: list[dict[str, Any]], *quantities: str
) -> Pack:
    write_pack(folder, [RAIN, LEVEL, SOIL], rules)
    file = folder / "quantities.yaml"
    known = yaml.safe_load(file.read_text("utf-8"))
    like = known["quantities"]["soil"]
    for name in quantities:
        known["quantities"][name] = like | {"name": text(name)}
    file.write_text(yaml.safe_dump(known), "utf-8")
    (folder / "derived").mkdir()
    (folder / "derived" / "all.yaml").write_text(yaml.safe_dump({"derived": derived}), "utf-8")
    return Pack.read(folder, Settings())


def window(name: str, of: str, over: str, function: str = "sum", **more: Any) -> dict[str, Any]:
    value = {"kind": "window", "function": function, "over": over, "coverage": 0.0}
    return {"id": name, "kind": "value", "of": {"quantities": [of]}, "value": value} | more


def said(pack: Pack, rule: str, **series: str) -> list[tuple[int, str, int, float]]:
    ids = {"rain": RAIN, "level": LEVEL, "soil": SOIL}
    case = trial.Case.model_validate(
        {"name": "t", "rules": [rule], "interval": "10min", "input": {ids[k]: v for k, v in series.items()}}
    )
    start = round(case.start.timestamp() * 1e6)
    return [
        ((c.event_us - start) // 60_000_000, str(c.kind), c.level, c.value) for c in trial.said_of(pack, case)
    ]


def test_a_derived_series_is_a_series_that_rules_judge(tmp_path: Path) -> None:
    rule = limit_rule("much_rain", {1: 20.0}, series={"quantities": ["rain_1h"]})
    pack = pack_of(tmp_path / "p", [window("rain_1h", "rain_10min", "1h")], [rule], "rain_1h")
    assert pack.registry.series["disaster/lao_cai/rain_1h"].derived
    assert said(pack, "much_rain", rain="5x3 0x4") == [(30, "onset", 1, 20.0), (60, "clear", 0, 15.0)]


def test_one_that_needs_another_is_computed_after_it_wherever_it_stands(tmp_path: Path) -> None:
    derived = [window("most", "rain_1h", "2h", "max"), window("rain_1h", "rain_10min", "1h")]
    rule = limit_rule("much_rain", {1: 20.0}, series={"quantities": ["most"]})
    pack = pack_of(tmp_path / "p", derived, [rule], "rain_1h", "most")
    assert said(pack, "much_rain", rain="5x3 0x20")[0] == (30, "onset", 1, 20.0)


def test_a_value_inside_a_rule_is_about_the_series_it_is_computed_from(tmp_path: Path) -> None:
    value = {"kind": "rate", "over": "1h"}
    rule = limit_rule("rises", {1: 0.5}, series={"quantities": ["water_level"]}) | {"value": value}
    pack = pack_of(tmp_path / "p", [], [rule])
    case = trial.Case.model_validate(
        {"name": "t", "rules": ["rises"], "interval": "10min", "input": {LEVEL: "80x3 80.2+0.1x5 80.7x9"}}
    )
    changes = trial.said_of(pack, case)
    assert [(str(c.kind), c.asset) for c in changes] == [("onset", LEVEL), ("clear", LEVEL)]
    assert changes[0].value >= 0.5


def test_silence_of_an_input_makes_the_alarm_on_what_is_derived_unknown(tmp_path: Path) -> None:
    rule = limit_rule("much_rain", {1: 20.0}, series={"quantities": ["rain_1h"]})
    pack = pack_of(tmp_path / "p", [window("rain_1h", "rain_10min", "1h")], [rule], "rain_1h")
    case = trial.Case.model_validate(
        {"name": "t", "rules": ["much_rain"], "interval": "10min", "until": "2h", "input": {RAIN: "5x3"}}
    )
    assert [str(c.kind) for c in trial.said_of(pack, case)] == ["onset", "unknown"]


@pytest.mark.parametrize(
    ("derived", "fault"),
    [
        (
            [window("rain_1h", "snow", "1h")],
            r"derived/all.yaml:\d+: derived\[0\].of.quantities: no quantity 'snow'",
        ),
        (
            [window("nothing", "rain_10min", "1h")],
            r"derived\[0\].id: no quantity 'nothing' in quantities.yaml",
        ),
        ([window("rain_1h", "rain_10min", "1h")] * 2, r"derived series 'rain_1h' stands twice"),
        ([window("soil", "rain_10min", "1h")], r"series disaster/lao_cai/soil stands already in the pack"),
        (
            [window("rain_1h", "most", "1h"), window("most", "rain_1h", "1h")],
            r"need each other in a circle: rain_1h → most → rain_1h",
        ),
        (
            [{"id": "most", "kind": "expression", "inputs": {"a": "soil"}, "cel": "a +"}],
            r"derived/all.yaml:\d+: derived\[0\].cel: ",
        ),
        (
            [{"id": "most", "kind": "expression", "inputs": {"a": "soil"}, "cel": "b + 1.0"}],
            r"derived\[0\].cel: .*b",
        ),
        (
            [
                {
                    "id": "most",
                    "kind": "dew_point",
                    "inputs": {"temperature": "soil", "humidity": "water_level"},
                }
            ],
            r"derived\[0\].inputs.humidity: disaster/lao_cai/water_level is in m, but dew_point takes %",
        ),
    ],
)
def test_what_cannot_be_derived_is_refused_with_its_place(
    tmp_path: Path, derived: list[dict[str, Any]], fault: str
) -> None:
    with pytest.raises(PackError, match=fault):
        pack_of(tmp_path / "p", derived, [], "rain_1h", "most")


def test_time_to_a_level_of_another_rule_must_find_that_rule(tmp_path: Path) -> None:
    value = {"kind": "time_to", "over": "1h", "rule": "flood", "level": 3}
    rule = limit_rule("soon", {1: 60.0}, series={"quantities": ["water_level"]}, direction="down")
    with pytest.raises(PackError, match=r"rules/\S+:\d+: .*value.rule: no limit rule 'flood'"):
        pack_of(tmp_path / "p", [], [rule | {"value": value}])
