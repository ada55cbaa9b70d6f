"""Which alarm is about which event, by cases made by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.packs import limit_rule, no_data_rule, text, write_pack

from ioc.backtest import labels
from ioc.backtest.data import DataError
from ioc.backtest.labels import Fit, Happened, Label, Places, fit
from ioc.backtest.spells import Spell
from ioc.pack import Pack, Settings

H = 3_600_000_000
A, B = "disaster/a/water_level", "disaster/b/water_level"


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    near = {
        "id": "both",
        "kind": "neighbours",
        "title": text("Cả hai", "Both"),
        "of": {"rule": "river"},
        "k": 2,
        "over": "1h",
        "catchments": {"thao": ["a", "b"]},
        "priority": 2,
        "level_name": text("Lũ", "Flood"),
    }
    rules = [limit_rule("river", {1: 5.0}), limit_rule("other", {1: 5.0}), no_data_rule(), near]
    return Pack.read(write_pack(tmp_path_factory.mktemp("p") / "pack", [A, B], rules), Settings())


def spell(begin: float, end: float | None, asset: str = A, rule: str = "river") -> Spell:
    begin_us = round(begin * H)
    return Spell(rule, asset, begin_us, begin_us, 1, 3, 5.0, None if end is None else round(end * H))


def event(name: str, begin: float, at: float, end: float, **more: Any) -> Happened:
    given = {"kind": "flood", "what": text("Lũ", "Flood"), "stations": ("a",), "rules": ("river",), **more}
    passed = {rule: round(us * H) for rule, us in given.pop("passed", {}).items()}
    label = Label.model_validate({"id": name, "from": "1970-01-01", "to": "1970-01-01", **given})
    return Happened(label, round(begin * H), round(at * H), round(end * H), passed)


def fitted(
    pack: Pack, alarms: list[Spell], events: list[Happened], rule: str = "river", *, named: bool = True
) -> Fit:
    return fit(pack.rules[rule], alarms, events, named, Places(pack), 1000 * H, H)


def test_an_alarm_during_the_event_hits_it_and_lead_is_from_the_first_alarm_to_its_height(pack: Pack) -> None:
    found = fitted(pack, [spell(10, 11), spell(12, 13)], [event("e", 9, 14, 20)])
    assert [(hit.event, hit.lead_us) for hit in found.hits] == [("e", 4 * H)]
    assert (found.true, found.false, found.misses) == (2, (), ())
    assert (found.precision, found.recall) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("begin", "end", "hits"),
    [(7, 7.9, 0), (7, 8, 1), (7, None, 1), (21, 22, 1), (21.1, 22, 0), (1, 30, 1), (22, None, 0)],
)
def test_an_alarm_is_about_an_event_when_both_stand_at_once_or_within_the_tolerance(
    pack: Pack, begin: float, end: float | None, hits: int
) -> None:
    found = fitted(pack, [spell(begin, end)], [event("e", 9, 14, 20)])
    assert (len(found.hits), found.true, len(found.false)) == (hits, hits, 1 - hits)
    assert found.misses == (() if hits else ("e",))


def test_a_lower_level_that_is_passed_before_the_event_begins_is_about_it(pack: Pack) -> None:
    early = [spell(3, 4)]
    assert not fitted(pack, early, [event("e", 9, 14, 20)]).hits
    found = fitted(pack, early, [event("e", 9, 14, 20, passed={"river": 4.5})])
    assert [hit.lead_us for hit in found.hits] == [11 * H]


def test_an_alarm_elsewhere_or_after_the_height_is_told_as_such(pack: Pack) -> None:
    found = fitted(pack, [spell(10, 11, B)], [event("e", 9, 14, 20)])
    assert (found.misses, len(found.false), found.precision, found.recall) == (("e",), 1, 0.0, 0.0)
    assert [hit.lead_us for hit in fitted(pack, [spell(15, 16)], [event("e", 9, 14, 20)]).hits] == [-H]


def test_a_rule_that_events_name_is_held_to_those_alone(pack: Pack) -> None:
    events = [event("mine", 9, 14, 20), event("theirs", 30, 31, 40, rules=("other",))]
    found = fitted(pack, [spell(10, 11), spell(32, 33)], events)
    assert ([hit.event for hit in found.hits], found.misses, len(found.false)) == (["mine"], (), 1)


def test_a_rule_that_nobody_labelled_fits_any_event_at_its_place_and_misses_none(pack: Pack) -> None:
    events = [event("e", 9, 14, 20), event("f", 50, 51, 52, stations=("b",))]
    found = fitted(pack, [spell(10, 11), spell(50, 51)], events, named=False)
    assert ([hit.event for hit in found.hits], found.misses, len(found.false)) == (["e"], (), 1)
    assert found.recall is None
    assert found.precision == 0.5


def test_sensor_faults_are_there_for_the_rules_on_data_and_for_no_others(pack: Pack) -> None:
    fault = event("fault", 9, 9, 20, kind="sensor_fault", rules=(), series=(A,), stations=())
    assert not fitted(pack, [spell(10, 11)], [fault], named=False).hits
    silent = [spell(10, 11, rule="no_data")]
    assert len(fitted(pack, silent, [fault], "no_data", named=False).hits) == 1
    assert not fitted(pack, silent, [event("e", 9, 14, 20)], "no_data", named=False).hits


def test_an_alarm_of_a_group_is_about_all_its_stations(pack: Pack) -> None:
    assert Places(pack).of("disaster/thao") == ("a", "b")
    found = fitted(
        pack, [spell(10, 11, "disaster/thao", "both")], [event("e", 9, 14, 20)], "both", named=False
    )
    assert len(found.hits) == 1


def test_no_alarms_have_no_precision_and_no_events_no_recall(pack: Pack) -> None:
    assert fitted(pack, [], [event("e", 9, 14, 20)]).precision is None
    assert fitted(pack, [], []).recall is None


TRUTH = """{"seed": 1, "from": "x", "events": [{"id": "e", "kind": "flood", "what": {"vi": "Lũ", "en": "Flood"},
 "stations": ["a"], "series": [], "from": "2024-09-08T02:00:00Z", "at": "2024-09-08T03:00:00Z",
 "to": "2024-09-08T04:00:00Z", "rules": ["river"],
 "passes": [{"rule": "river", "level": 2, "series": "s", "at": "2024-09-08T02:30:00Z"},
            {"rule": "river", "level": 1, "series": "s", "at": "2024-09-08T01:30:00Z"}]}]}"""


def test_a_truth_file_is_read_with_its_times(tmp_path: Path) -> None:
    path = tmp_path / "truth.json"
    path.write_text(TRUTH, "utf-8")
    (one,) = labels.read(path)
    t0 = 1_725_760_800_000_000
    assert (one.from_us, one.at_us, one.to_us) == (t0, t0 + H, t0 + 2 * H)
    assert one.begins_us("river") == t0 - H // 2
    assert one.begins_us("other") == t0


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('"kind": "flood",', "", "events.0.kind: Field required"),
        ("2024-09-08T04:00:00Z", "tomorrow", "not a time"),
        ("{", "(", "Invalid JSON"),
    ],
)
def test_a_faulty_truth_file_is_refused(tmp_path: Path, old: str, new: str, told: str) -> None:
    path = tmp_path / "truth.json"
    path.write_text(TRUTH.replace(old, new, 1), "utf-8")
    with pytest.raises(DataError, match=told):
        labels.read(path)
    with pytest.raises(DataError, match="cannot be read"):
        labels.read(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('"rules": ["river"]', '"rules": ["rivr"]', "event e: unknown rule 'rivr': .*perhaps river"),
        ('["a"]', '["z"]', "event e: unknown station 'z'"),
        ('"series": []', '"series": ["x/y/z"]', "event e: unknown series 'x/y/z'"),
        ('"kind": "flood"', '"kind": "floods"', "event e: unknown kind 'floods': .*perhaps flood"),
        ('"to": "2024-09-08T04', '"to": "2024-09-08T01', "event e: its `to` .* lies before"),
        ("T04:00:00Z", "T04:00:00", "event e: .* has no offset"),
    ],
)
def test_labels_that_do_not_fit_the_pack_are_refused_with_the_event(
    tmp_path: Path, pack: Pack, old: str, new: str, told: str
) -> None:
    path = tmp_path / "truth.json"
    good = TRUTH.replace('"s"', f'"{A}"')
    path.write_text(good, "utf-8")
    events = labels.read(path)
    labels.check(path, events, [pack])
    with pytest.raises(DataError, match="event e: this id stands twice"):
        labels.check(path, events * 2, [pack])
    path.write_text(good.replace(old, new, 1), "utf-8")
    with pytest.raises(DataError, match=told):
        labels.check(path, labels.read(path), [pack])
