"""What people read of alarms, steps and rules."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from msgspec.structs import replace
from support.screens import LEVEL, NUMBERS, T0, write_pack

from ioc.model import Alarm, Condition, State, Step, Transition
from ioc.pack import Pack, Settings
from ioc.presentation import Presenter
from ioc.wall.wire import stamp

ALARM = Alarm(
    id="0123456789abcdef",
    rule="river",
    asset=LEVEL,
    occurrence=1,
    version=1,
    state=State.UNACKED,
    condition=Condition.ACTIVE,
    level=3,
    priority=1,
    value=84.2,
    limit=83.5,
    onset_event_us=T0,
    raised_us=T0 + 1,
    changed_us=T0 + 2,
    backlog=False,
    confirmed=True,
    sounding=True,
)


@pytest.fixture
def presenter(tmp_path: Path) -> Presenter:
    numbers = NUMBERS | {"energy/new/voltage": 3}
    return Presenter(Pack.read(write_pack(tmp_path), Settings()), numbers)


def test_an_alarm_of_a_series_bears_its_place_unit_and_level(presenter: Presenter) -> None:
    item = presenter.alarm(ALARM)
    assert (item.station, item.series, item.domain, item.unit, item.resolution) == (
        "lao_cai",
        LEVEL,
        "disaster",
        "m",
        0.01,
    )
    assert item.level_name == {"vi": "Báo động 3", "en": "Alarm 3"}
    assert item.event_at.endswith(".000000Z")
    assert (item.acked_by, item.acked_at) == (None, None)


def test_a_level_that_only_a_bad_sample_reached_says_so(presenter: Presenter) -> None:
    item = presenter.alarm(replace(ALARM, detail="doubtful: spike"))
    assert item.level_name == {"vi": "Báo động 3 (nghi ngờ)", "en": "Alarm 3 (doubtful)"}


def test_a_wave_on_its_way_says_when_it_is_due_and_no_figure(tmp_path: Path) -> None:
    folder = write_pack(tmp_path)
    fact = "{rule: river, asset: " + LEVEL + "}"
    (folder / "rules" / "wave.yaml").write_text(
        f"""rules:
  - id: wave
    kind: travel
    title: {{vi: Lũ đang về, en: Flood wave}}
    upstream: {fact}
    downstream: {fact}
    travel: [1h, 2h]
    priority: 2
    level_name: {{vi: Đang về, en: On its way}}
""",
        "utf-8",
    )
    presenter = Presenter(Pack.read(folder, Settings()), NUMBERS)
    item = presenter.alarm(replace(ALARM, rule="wave", level=1, detail="2026-11-24T20:42Z/23:06Z"))
    assert item.level_name == {"vi": "Đang về, dự kiến 03:42–06:06", "en": "On its way, expected 03:42–06:06"}
    assert (item.value, item.limit) == (None, None)
    item = presenter.alarm(replace(ALARM, rule="wave", level=1, detail="2026-11-24T20:42Z/2026-11-25T01:00Z"))
    assert item.level_name == {"vi": "Đang về, dự kiến 03:42–08:00", "en": "On its way, expected 03:42–08:00"}


def test_a_value_computed_from_a_series_is_not_shown_as_its_own(tmp_path: Path) -> None:
    folder = write_pack(tmp_path)
    rules = folder / "rules" / "computed.yaml"
    rules.write_text(
        """rules:
  - id: rises
    kind: limit
    title: {vi: Dâng nhanh, en: Rises fast}
    series: {quantities: [water_level]}
    value: {kind: rate, over: 1h}
    source: {text: a test, mark: F}
    levels: {1: {name: {vi: Nhanh, en: Fast}, priority: 2, limit: 0.5}}
    rationalisation:
      cause: {vi: Mưa, en: Rain}
      consequence: {vi: Lũ, en: Flood}
      action: {vi: Gọi xã, en: Call the commune}
      respond_within: 15min
""",
        "utf-8",
    )
    presenter = Presenter(Pack.read(folder, Settings()), NUMBERS)
    item = presenter.alarm(replace(ALARM, rule="rises", level=1))
    assert (item.computed, item.unit) == (True, "m/h")
    assert not presenter.alarm(ALARM).computed
    why = presenter.rationalisation("rises")
    assert why is not None
    assert (why["cause"], why["respond_within_s"], why["approved_by"], why["approved_on"]) == (
        {"vi": "Mưa", "en": "Rain"},
        900.0,
        "",
        None,
    )
    assert presenter.rationalisation("river") is None


@pytest.mark.parametrize(
    ("asset", "vi"),
    [
        ("system/mqtt", "Nguồn dữ liệu MQTT"),
        ("system/disk", "Ổ đĩa nhật ký"),
        ("system/gateway_7", "Nguồn dữ liệu gateway_7"),
        ("disaster/lao_cai", "Lào Cai"),
        ("disaster/gone/water_level", "disaster/gone/water_level"),
    ],
)
def test_every_asset_has_a_name(presenter: Presenter, asset: str, vi: str) -> None:
    item = presenter.alarm(replace(ALARM, asset=asset, rule="no_longer_there", level=0))
    assert item.station_name["vi"] == vi
    assert item.title == {"vi": "no_longer_there", "en": "no_longer_there"}
    assert item.series is None


def test_what_is_no_number_is_null(presenter: Presenter) -> None:
    item = presenter.alarm(replace(ALARM, value=math.nan, limit=math.inf))
    assert (item.value, item.limit) == (None, None)


def test_a_step_says_who_did_it(presenter: Presenter) -> None:
    step = Transition(
        "id", ALARM.id, "river", LEVEL, 1, 2, Step.ACK, State.UNACKED, State.ACKED, Condition.ACTIVE,
        3, 1, 84.2, 83.5, T0, T0, 9, False, actor="lan", note="đã gọi",
    )  # fmt: skip
    item = presenter.transition(step)
    assert (item.kind, item.actor, item.actor_name, item.note, item.input) == (
        "ack",
        "lan",
        "lan",
        "đã gọi",
        9,
    )


def test_every_field_of_an_item_is_that_of_its_alarm_or_step(presenter: Presenter) -> None:
    alarm = Alarm(
        "id", "river", LEVEL, 2, 3, State.RETURNED, Condition.UNKNOWN, 1, 4, 5.5, 6.5, T0 + 7, T0 + 8, T0 + 9,
        True, False, True, "lan", "Lan", T0 + 10, "ghi chú", "chi tiết",
    )  # fmt: skip
    step = Transition(
        "id", "alarm", "river", LEVEL, 2, 3, Step.WORSE, State.ACKED, State.UNACKED, Condition.ACTIVE,
        1, 4, 5.5, 6.5, T0 + 7, T0 + 8, 9, True, False, "lan", "Lan", "ghi chú", "chi tiết",
    )  # fmt: skip
    for thing, item in ((alarm, presenter.alarm(alarm)), (step, presenter.transition(step))):
        shared = {name for name in thing.__struct_fields__ if name in item.__struct_fields__}
        assert len(shared) >= 17
        assert {name: getattr(item, name) for name in shared} == {
            name: getattr(thing, name) for name in shared
        }
    item = presenter.alarm(alarm)
    assert [item.event_at[-4:], item.raised_at[-4:], item.changed_at[-4:]] == ["007Z", "008Z", "009Z"]
    assert item.acked_at == stamp(T0 + 10)
    assert (item.lat, item.lon, item.commune, item.simulated) == (22.49, 103.97, "02647", False)
    assert (item.station_name["vi"], item.series_name) == ("Lào Cai", {"vi": "Mực nước", "en": "Water level"})
    told = presenter.transition(step)
    assert (told.event_at, told.at, told.unit) == (stamp(T0 + 7), stamp(T0 + 8), "m")
    assert told.title == {"vi": "Mực nước vượt báo động", "en": "Water level above alarm"}


def test_limits_are_those_in_force_at_the_station(presenter: Presenter) -> None:
    assert [(limit.level, limit.limit) for limit in presenter.series[LEVEL].limits] == [(1, 80.0), (3, 83.5)]


def test_a_series_the_pack_does_not_list_is_shown_by_its_id(presenter: Presenter) -> None:
    assert presenter.series["energy/new/voltage"].name["vi"] == "energy/new/voltage"
    assert not presenter.watched("energy/new/voltage")


def test_every_kind_of_rule_can_be_shown(presenter: Presenter) -> None:
    kinds = {rule["kind"]: rule for rule in presenter.rules()}
    assert set(kinds) == {"limit", "no_data", "source_down", "system"}
    assert kinds["source_down"]["after_s"] == 30.0
