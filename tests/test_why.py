"""Why a step was taken: the rule as it stood, the samples around it, the delays, and what was known then."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.centre import MIN, T0, Centre, H, S
from support.packs import limit_rule, no_data_rule, text, write_pack

from ioc.errors import StoreUnavailable
from ioc.log.sqlite import SqliteLog
from ioc.model import Body, Outcome, Step, Transition
from ioc.presentation import Presenter
from ioc.wall.view import View
from ioc.wall.wire import WhyItem
from ioc.why import Why

LEVEL, UP, RAIN = "disaster/lao_cai/water_level", "disaster/coc_leu/water_level", "disaster/lao_cai/rain_1h"
HIGH = limit_rule("high", {1: 10.0, 2: 12.0}, deadband=1.0, on_delay="10min", off_delay="5min",
                  series={"quantities": ["water_level"]}) | {"doubtful": False}  # fmt: skip
WET = limit_rule("wet", {1: 50.0}, series={"quantities": ["rain_1h"]})
BOTH = {
    "id": "both", "kind": "condition", "title": text("Cả hai", "Both"), "asset": "disaster/lao_cai",
    "values": {"rain": RAIN}, "facts": {"river": {"rule": "high", "asset": LEVEL}},
    "when": "river && rain > 20.0", "priority": 2, "level_name": text("Cả hai", "Both"),
}  # fmt: skip


class Stored:
    """A database with what it is given."""

    def __init__(self) -> None:
        self.rows: dict[int, list[tuple[int, float, int]]] = {}
        self.kept: list[Transition] = []
        self.away = False

    async def readings(
        self, number: int, since_us: int, until_us: int, limit: int
    ) -> list[tuple[int, float, int]]:
        if self.away:
            raise StoreUnavailable("gone")
        return [row for row in self.rows.get(number, []) if since_us <= row[0] < until_us][-limit:]

    async def steps(self, alarms: Sequence[str]) -> list[Transition]:
        if self.away:
            raise StoreUnavailable("gone")
        return [one for one in self.kept if one.alarm in alarms]

    async def events(self, *_: Any, **__: Any) -> list[Any]:
        return []


class World(Centre):
    """A centre with its screens' memory, which can be asked why."""

    def __init__(self, folder: Path, rules: Sequence[Mapping[str, Any]], *, derived: Any = None) -> None:
        self.view: View | None = None
        self.folder = folder
        self.stored = Stored()
        pack = write_pack(folder / "pack", [LEVEL, UP, RAIN], rules, interval="5min")
        if derived:
            (pack / "derived").mkdir()
            (pack / "derived" / "all.yaml").write_text(yaml.safe_dump({"derived": derived}), "utf-8")
        super().__init__(pack)
        assert self.pipeline.pack is not None
        self.presenter = Presenter(self.pipeline.pack, self.pipeline.numbers)
        self.view = View(self.presenter, "e", self.pipeline.book.alarms)
        self.connect()

    def take(self, body: Body) -> Outcome:
        outcome = super().take(body)
        for derived in outcome.derived:
            self.take(derived)
        if self.view is not None:
            self.view.feed(outcome)
        return outcome

    def forget(self) -> None:
        """As after a restart a year later."""
        self.view = View(self.presenter, "f", self.pipeline.book.alarms)

    def say(self, series: str, *values: float, every: int = 5 * MIN, **more: Any) -> None:
        for value in values:
            self.publish(series, value, self.now_us, **more)
            self.wait(every)

    def why(self, alarm: str | None = None, step: int | None = None, *, database: bool = True) -> WhyItem:
        found = self.asked(alarm or self.transitions[-1].alarm, step, database=database)
        assert found is not None
        return found

    def asked(self, alarm: str, step: int | None = None, *, database: bool = True) -> WhyItem | None:
        assert self.view is not None
        log = self.folder / "log"
        asked = Why(self.pipeline, self.view, lambda: self.presenter, log, self.stored if database else None)
        try:
            return asyncio.run(asked.explain(alarm, step))
        finally:
            asked.close()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, [HIGH, WET])


def test_an_onset_names_its_rule_version_samples_and_how_long_they_had_held(world: World) -> None:
    world.say(LEVEL, 8.0, 9.0, 10.5, 11.0, 11.5, 11.6)
    told = world.why()
    assert told.step.kind == "onset"
    assert told.rule is not None
    assert world.pipeline.pack is not None
    assert (told.rule.id, told.rule.pack, told.rule.number, told.rule.now) == (
        "high", world.pipeline.pack.hash, 2, True,
    )  # fmt: skip
    assert told.rule.source == {
        "text": "a test", "article": "", "mark": "F", "status": "", "verified_by": "",
    }  # fmt: skip
    assert told.timer is not None
    assert (told.timer.edge, told.timer.beyond, told.timer.held_s, told.timer.needed_s) == (
        10.0, "above", 600.0, 600.0,
    )  # fmt: skip
    assert not told.timer.at_least
    assert told.series is not None
    assert [point[1] for point in told.series.points] == [8.0, 9.0, 10.5, 11.0, 11.5, 11.6]
    assert (told.series.decided, told.series.source) == (4, "memory")
    assert [limit.limit for limit in told.series.limits] == [10.0, 12.0]
    assert told.missing == []


def test_a_clear_is_explained_by_the_reset_of_the_last_level_that_fell(world: World) -> None:
    world.say(LEVEL, 13.0, 13.0, 13.0, 8.5, 8.4)
    told = world.why(step=2)
    assert (told.step.kind, told.steps) == ("clear", [1, 2])
    assert told.timer is not None
    assert (told.timer.level, told.timer.edge, told.timer.beyond) == (1, 9.0, "below")
    assert (told.timer.held_s, told.timer.needed_s) == (300.0, 300.0)


def test_by_default_the_last_step_that_raised_it_is_explained(world: World) -> None:
    world.say(LEVEL, 11.0, 11.0, 11.0, 13.0, 13.0, 13.0)
    assert world.transitions[-1].kind is Step.WORSE
    assert world.why().step.kind == "worse"
    assert world.why(step=1).step.kind == "onset"


def test_samples_from_before_memory_come_from_the_database_and_it_says_so(world: World) -> None:
    world.say(LEVEL, 11.0, 11.0, 11.0)
    number = world.pipeline.numbers[LEVEL]
    world.stored.rows[number] = [(T0 - n * 5 * MIN, 10.0 + n / 100, 0) for n in range(40, 0, -1)]
    told = world.why()
    assert told.series is not None
    assert (len(told.series.points), told.series.source, told.series.decided) == (30, "history", 29)
    assert told.timer is not None
    assert told.timer.at_least


def test_without_a_database_the_log_is_searched(world: World, tmp_path: Path) -> None:
    world.say(LEVEL, 11.0, 11.0, 11.0, 11.5)
    log = SqliteLog.open(tmp_path / "log")
    blobs = {digest: pack.blob for digest, pack in world.packs.items()}
    log.commit(world.records, [], blobs)
    try:
        assert world.view is not None
        steps = world.transitions
        world.forget()
        for place, step in enumerate(steps, 1):
            world.view.journal.feed(step, 0, place)
        told = world.why(database=False)
        assert told.series is not None
        assert ([p[1] for p in told.series.points], told.series.source) == ([11.0, 11.0, 11.0, 11.5], "log")
        assert told.missing == []
        world.pipeline.versions.restore([])
        world.pipeline.pack = None
        told = world.why(database=False)
        assert told.rule is not None
        assert (told.rule.id, told.rule.number, told.rule.now) == ("high", 2, False)
    finally:
        log.close()


def test_what_is_no_longer_kept_is_said_plainly(world: World) -> None:
    world.say(LEVEL, 11.0, 11.0, 11.0, 8.0, 8.0)
    world.stored.kept = list(world.transitions)
    world.forget()
    world.pipeline.versions.restore([])
    alarm = world.transitions[-1].alarm
    told = world.why(alarm)
    assert (told.rule, told.timer, told.series) == (None, None, None)
    assert any("which pack was in force" in one["en"] for one in told.missing)
    world.stored.away = True
    assert world.asked(alarm) is None


def test_steps_that_only_the_log_knows_are_found_while_the_alarm_is_remembered(
    world: World, tmp_path: Path
) -> None:
    world.say(LEVEL, 11.0, 11.0, 11.0, 13.0, 13.0, 13.0)
    log = SqliteLog.open(tmp_path / "log")
    log.commit(world.records, world.transitions, {digest: pack.blob for digest, pack in world.packs.items()})
    log.close()
    alarm = world.transitions[0].alarm
    world.forget()
    world.stored.away = True
    told = world.why(alarm)
    assert (told.step.kind, told.steps) == ("worse", [1, 2])
    world.pipeline.book.restore(World(tmp_path / "new", [HIGH]).pipeline.book.state())
    assert world.asked(alarm) is None


def test_no_samples_is_said_plainly(world: World) -> None:
    world.say(LEVEL, 11.0, 11.0, 11.0)
    steps = world.transitions
    world.forget()
    assert world.view is not None
    for place, step in enumerate(steps, 1):
        world.view.journal.feed(step, 0, place)
    world.stored.away = True
    told = world.why()
    assert told.series is not None
    assert (told.series.points, told.series.source, told.series.decided) == ([], "none", None)
    words = " ".join(one["en"] for one in told.missing)
    assert "No samples of disaster/lao_cai/water_level" in words
    assert "database does not answer" in words


def test_another_pack_since_then_is_told(world: World, tmp_path: Path) -> None:
    world.say(LEVEL, 11.0, 11.0, 11.0)
    before = world.pipeline.pack
    assert before is not None
    changed = HIGH | {"levels": limit_rule("high", {1: 9.0})["levels"]}
    world.load(write_pack(tmp_path / "other", [LEVEL, UP, RAIN], [changed], interval="5min"))
    log = SqliteLog.open(tmp_path / "log")
    log.commit(world.records, [], {digest: pack.blob for digest, pack in world.packs.items()})
    try:
        told = world.why(world.transitions[0].alarm, 1)
    finally:
        log.close()
    assert told.rule is not None
    assert (told.rule.pack, told.rule.now) == (before.hash, False)
    assert told.rule.definition["levels"]["1"]["limit"] == 10.0


def test_earlier_firings_are_listed_newest_first_with_their_duration(world: World) -> None:
    for _ in range(12):
        world.say(LEVEL, 11.0, 11.0, 11.0, 8.0, 8.0)
        for alarm in world.alarms:
            world.ack(alarm, actor="an")
    firings = world.why(world.transitions[-1].alarm, 1).firings
    assert [firing.occurrence for firing in firings] == list(range(11, 1, -1))
    assert (firings[0].duration_s, firings[0].acked_by_name) == (600.0, "An")


def test_neighbours_of_the_same_quantity_tell_what_they_said_then(world: World) -> None:
    world.say(UP, 7.5)
    world.say(LEVEL, 11.0, 11.0, 11.0)
    world.say(UP, 12.5)
    (near,) = world.why().neighbours
    assert (near.series, near.value, near.km) == (UP, 7.5, 0.0)


def test_a_doubtful_alarm_names_the_tests_that_the_sample_failed(tmp_path: Path) -> None:
    world = World(tmp_path, [limit_rule("high", {1: 5.0, 2: 10.0}, series={"quantities": ["water_level"]})])
    world.say(LEVEL, 11.0, q="bad")
    told = world.why()
    assert (told.quality, told.tests) == ("doubtful", ["physical_range"])


def test_a_rule_over_several_tells_each_fact_and_value(tmp_path: Path) -> None:
    world = World(tmp_path, [HIGH, WET, BOTH])
    world.say(RAIN, 30.0, every=S)
    world.say(LEVEL, 11.0, 11.0, 11.0)
    (alarm,) = [alarm for alarm in world.alarms if alarm.rule == "both"]
    world.say(LEVEL, 8.0, 8.0)
    told = world.why(alarm.id, 1)
    (fact,) = told.facts
    assert (fact.name, fact.rule, fact.asset, fact.state) == ("river", "high", LEVEL, "active")
    assert [series.id for series in told.inputs] == [RAIN]
    assert told.inputs[0].points[-1][1] == 30.0
    assert told.rule is not None
    assert told.rule.definition["when"] == "river && rain > 20.0"


def test_a_value_that_a_rule_computes_is_explained_by_its_inputs(tmp_path: Path) -> None:
    rise = limit_rule("rise", {1: 0.5}, series={"quantities": ["water_level"]}) | {
        "value": {"kind": "rate", "over": "30min"}
    }
    world = World(tmp_path, [rise])
    world.say(LEVEL, 8.0, 8.5, 9.0, 9.5, 10.0)
    told = world.why()
    assert told.derived is not None
    assert (told.derived["kind"], told.derived["over"]) == ("rate", 1_800_000_000)
    assert told.timer is None
    assert told.series is not None
    assert len(told.series.points) == 5
    assert any("is not kept" in one["en"] for one in told.missing)


def test_an_alarm_that_nobody_knows_is_not_explained(world: World) -> None:
    assert world.asked("0" * 16) is None
    world.say(LEVEL, 11.0, 11.0, 11.0)
    assert world.asked(world.transitions[0].alarm, 9) is None


def test_a_step_by_silence_has_no_deciding_sample(world: World) -> None:
    world.say(LEVEL, 11.0, 11.0, 11.0, every=5 * MIN)
    world.wait(2 * H)
    assert world.transitions[-1].kind is Step.UNKNOWN
    told = world.why(step=2)
    assert told.series is not None
    assert (told.series.decided, told.timer) == (None, None)


def test_alarms_about_silence_and_about_the_centre_itself_are_explained_too(tmp_path: Path) -> None:
    world = World(tmp_path, [HIGH, no_data_rule()])
    world.say(LEVEL, 8.0, 8.1)
    world.wait(2 * H)
    world.disconnect()
    world.wait(2 * H)
    about = {alarm.rule: world.why(alarm.id) for alarm in world.alarms}
    silent = about["no_data"]
    assert silent.rule is not None
    assert (silent.rule.kind, silent.timer, silent.rule.source) == ("no_data", None, None)
    (centre,) = [told for told in about.values() if told.step.asset.startswith("system/")]
    assert (centre.series, centre.neighbours, centre.facts) == (None, [], [])
