from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from support.packs import limit_rule, no_data_rule, write_pack

from ioc import trial
from ioc.errors import PackError
from ioc.pack import Pack, Settings

LEVEL = "disaster/lao_cai/water_level"


@pytest.fixture
def pack(tmp_path: Path) -> Pack:
    rule = limit_rule("river", {1: 80.0, 2: 82.0}, deadband=0.1)
    return Pack.read(write_pack(tmp_path / "p", [LEVEL], [rule, no_data_rule()]), Settings())


def case(**fields: Any) -> trial.Case:
    about = {"name": "a test", "rules": ["river"], "interval": "10min", "input": {LEVEL: "79.5 80.1 79.0"}}
    return trial.Case.model_validate(about | fields)


def report(pack: Pack, *cases: trial.Case) -> trial.Report:
    return trial.run(pack, [("tests/t.yaml", 2, one) for one in cases])


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1 2.5", [1, 2.5]),
        ("1x2", [1, 1, 1]),
        ("79+0.1x3", [79, 79.1, 79.2, 79.3]),
        ("2-0.5x2", [2, 1.5, 1]),
        ("-1+1x1", [-1, 0]),
        ("_ 3 _x1", [None, 3, None, None]),
        ("", []),
    ],
)
def test_values_are_written_as_promtool_has_them(text: str, values: list[float | None]) -> None:
    assert [step if step is None else step[0] for step in trial.steps(text)] == values


def test_marks_say_what_the_sensor_thinks_of_a_value() -> None:
    assert [step and step[1] for step in trial.steps("1 2! 3?")] == [0, 2, 1]


def test_a_stamp_may_be_ahead_of_its_coming_or_behind() -> None:
    assert [step and step[2] for step in trial.steps("1 2@+7h 3x1!@-90min _")] == [
        0, 25_200_000_000, -5_400_000_000, -5_400_000_000, None,
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["1,5", "x3", "1x", "1+x2", "abc", "1x999999", "1@7h", "1@+h"])
def test_what_is_no_value_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"none of|more than"):
        trial.steps(text)


def test_a_test_that_says_all_and_nothing_else_passes(pack: Pack) -> None:
    expect = [{"at": "10min", "change": "onset", "level": 1}, {"at": "20min", "change": "clear"}]
    assert report(pack, case(expect=expect)).failures == ()


@pytest.mark.parametrize(
    "expect",
    [
        [],
        [{"at": "10min", "change": "onset"}],
        [{"at": "10min", "change": "onset"}, {"at": "30min", "change": "clear"}],
        [{"at": "10min", "change": "onset", "level": 2}, {"at": "20min", "change": "clear"}],
        [{"at": "10min", "change": "onset", "priority": 1}, {"at": "20min", "change": "clear"}],
        [
            {"at": "10min", "change": "onset"},
            {"at": "20min", "change": "clear"},
            {"at": "30min", "change": "onset"},
        ],
    ],
)
def test_what_is_missing_wrong_or_too_much_fails_and_shows_both(pack: Pack, expect: list[Any]) -> None:
    (failure,) = report(pack, case(expect=expect)).failures
    assert (failure.file, failure.line, failure.name) == ("tests/t.yaml", 2, "a test")
    assert failure.said == (
        f"at 10min  onset  river  {LEVEL}  level 1  priority 3",
        f"at 20min  clear  river  {LEVEL}  level 0  priority 3",
    )


def test_silence_comes_after_the_last_value(pack: Pack) -> None:
    silent = case(rules=["no_data"], until="1h", expect=[{"at": "50min", "change": "onset"}])
    assert report(pack, silent).failures == ()


def test_a_series_is_expected_no_more_often_than_the_test_sends_it(pack: Pack) -> None:
    hourly = case(
        rules=["river", "no_data"],
        interval="1h",
        expect=[
            {"at": "1h", "change": "onset", "rule": "river"},
            {"at": "2h", "change": "clear", "rule": "river"},
        ],
    )
    assert report(pack, hourly).failures == ()


def test_rules_without_a_test_that_fires_or_one_that_must_not_are_named(pack: Pack) -> None:
    fires = case(expect=[{"at": "10min", "change": "onset"}, {"at": "20min", "change": "clear"}])
    found = report(pack, fires)
    assert (found.never_fired, found.never_quiet) == (("no_data",), ("river", "no_data"))
    found = report(pack, fires, case(rules=["river", "no_data"], input={LEVEL: "79x3"}))
    assert (found.never_fired, found.never_quiet) == (("no_data",), ())


def test_a_rule_that_ships_disabled_is_tested_as_if_it_were_on(tmp_path: Path) -> None:
    off = limit_rule("river", {1: 80.0}) | {"enabled": False, "source": {"text": "?", "mark": "U"}}
    pack = Pack.read(write_pack(tmp_path / "p", [LEVEL], [off]), Settings())
    expect = [{"at": "10min", "change": "onset"}, {"at": "20min", "change": "clear"}]
    assert report(pack, case(expect=expect)).failures == ()


def test_what_the_pack_has_not_is_a_fault_of_the_test_with_its_place(pack: Pack) -> None:
    with pytest.raises(PackError, match=r"tests/t.yaml:2: rules: no rule 'rain'"):
        report(pack, case(rules=["rain"]))
    with pytest.raises(PackError, match=r"tests/t.yaml:2: .*no series"):
        report(pack, case(input={"disaster/nowhere/x": "1"}))


def test_tests_are_read_from_the_pack_with_file_and_line(tmp_path: Path) -> None:
    folder = write_pack(tmp_path / "p", [LEVEL], [limit_rule("river", {1: 80.0})])
    (folder / "tests").mkdir()
    one = {"name": "n", "rules": ["river"], "interval": "10min", "input": {LEVEL: "1"}}
    (folder / "tests" / "a.yaml").write_text(yaml.safe_dump({"tests": [one, one]}), "utf-8")
    assert [(file, name.name) for file, _, name in trial.read(folder)] == [("tests/a.yaml", "n")] * 2
    (folder / "tests" / "a.yaml").write_text(
        yaml.safe_dump({"tests": [one | {"input": {LEVEL: "1,5"}}]}), "utf-8"
    )
    with pytest.raises(PackError, match=r"tests/a.yaml:\d+: .*'1,5'"):
        trial.read(folder)


def test_a_rule_over_several_stations_is_tested_with_the_rules_it_hears(tmp_path: Path) -> None:
    """Alone its facts would never hold, and a test that it stays quiet would prove nothing."""
    other = "disaster/bao_ha/water_level"
    joint = {
        "id": "both", "kind": "sequence", "title": {"vi": "Cả hai", "en": "Both"}, "asset": "disaster/bao_ha",
        "first": {"rule": "river", "asset": LEVEL}, "then": {"rule": "river", "asset": other}, "within": "6h",
        "priority": 3, "level_name": {"vi": "Cả hai", "en": "Both"},
    }  # fmt: skip
    river = limit_rule("river", {1: 80.0}, deadband=0.1)
    pack = Pack.read(write_pack(tmp_path / "p", [LEVEL, other], [river, joint]), Settings())
    told = {LEVEL: "79 81 81 81", other: "79 79 81 81"}
    quiet = report(pack, case(rules=["both"], input=told))
    assert [failure.said for failure in quiet.failures] == [
        ("at 20min  onset  both  disaster/bao_ha  level 1  priority 3",)
    ]
    fires = case(rules=["both"], input=told, expect=[{"at": "20min", "change": "onset"}])
    assert report(pack, fires).failures == ()
