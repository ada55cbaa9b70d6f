"""Another pack while the centre runs: taken as a whole or not at all, kept through restarts, alarms carried over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.centre import MIN, T0, Centre
from support.packs import limit_rule, text, write_pack

from ioc import doctor
from ioc.config import Config, LogSettings
from ioc.doctor import Result
from ioc.errors import LogWriteFailed, PackError
from ioc.log.sqlite import SqliteLog
from ioc.model import PackLoaded, State, Step
from ioc.pack import Pack, Settings
from ioc.recovery import recover
from ioc.rulebook import QUIET_S, Rulebook, Watch, merged, stamp_of
from ioc.spine import Spine

LEVEL, RAIN = "disaster/lao_cai/level", "disaster/lao_cai/rain"
POSTED = "rules/posted.yaml"


def rules(*rule: dict[str, Any]) -> str:
    return yaml.safe_dump({"rules": list(rule)}, allow_unicode=True, sort_keys=False)


def flood(limit: float) -> dict[str, Any]:
    return limit_rule("flood", {1: limit}, series={"quantities": ["level"]})


def limit_of(pack: Pack | None) -> float | None:
    assert pack is not None
    rule = pack.rules["flood"]
    return rule.levels[1].limit  # type: ignore[union-attr]


class Instance:
    """A real log and spine with their rulebook, and the folder that it reads."""

    def __init__(self, folder: Path) -> None:
        self.folder = write_pack(folder / "pack", [LEVEL, RAIN], [flood(80.0)])
        self.data = folder / "data"

    async def start(self, **more: Any) -> None:
        config = Config(data=self.data, pack=self.folder, **more)
        self.store = SqliteLog.open(self.data / "log")
        recovered = recover(self.store)
        self.spine = Spine(
            self.store, recovered.pipeline, recovered.pending, source_clock=False, queue_rows_max=1_000,
            checkpoint_records=10**9,
        )  # fmt: skip
        self.task = asyncio.create_task(self.spine.run())
        self.book = Rulebook(config, self.spine)
        await self.book.begin()
        await self.settle()

    async def settle(self) -> None:
        idle = asyncio.Event()
        self.spine.when_idle(idle.set)
        await asyncio.wait_for(idle.wait(), 10)

    async def stop(self) -> None:
        await self.spine.stop()
        await asyncio.wait_for(self.task, 10)
        await self.spine.close()

    async def restart(self, **more: Any) -> None:
        await self.stop()
        await self.start(**more)

    def edit(self, *rule: dict[str, Any]) -> None:
        (self.folder / "rules" / "all.yaml").write_text(rules(*rule), "utf-8")

    async def post(self, *rule: dict[str, Any], dry_run: bool = False) -> Any:
        return await self.book.post({POSTED: rules(*rule)}, "lan", "Lan", dry_run=dry_run)

    def loads(self) -> list[PackLoaded]:
        return [r.body for r in self.store.read(0) if isinstance(r.body, PackLoaded)]


@pytest.fixture
async def instance(tmp_path: Path) -> AsyncIterator[Instance]:
    subject = Instance(tmp_path)
    await subject.start()
    yield subject
    if not subject.task.done():
        await subject.stop()


class TestWatch:
    def test_waits_until_the_files_have_stood_still(self) -> None:
        old, half, new = (("a", 1, 1),), (("a", 2, 1),), (("a", 3, 1),)
        watch = Watch(old)
        assert not watch.look(old, 0.0)
        assert not watch.look(half, 10.0)
        assert not watch.look(new, 10.5)
        assert not watch.look(new, 10.5 + QUIET_S / 2)
        assert watch.look(new, 10.5 + QUIET_S)
        assert not watch.look(new, 20.0)

    def test_what_was_changed_back_in_time_is_no_change(self) -> None:
        watch = Watch((("a", 1, 1),))
        assert not watch.look((("a", 2, 1),), 0.0)
        assert not watch.look((("a", 1, 1),), 0.5)
        assert not watch.look((("a", 1, 1),), 99.0)

    def test_sees_files_that_come_go_and_change(self, tmp_path: Path) -> None:
        folder = write_pack(tmp_path / "pack", [LEVEL], [flood(80.0)])
        seen = {stamp_of(folder)}
        (folder / "rules" / "new.yaml").write_text(rules(), "utf-8")
        seen.add(stamp_of(folder))
        (folder / "rules" / "new.yaml").write_text(rules(flood(1.0)), "utf-8")
        seen.add(stamp_of(folder))
        assert len(seen) == 3
        (folder / "quantities.yaml").unlink()
        assert len(stamp_of(folder)) == 4


async def test_a_changed_folder_enters_by_the_log_and_a_faulty_one_changes_nothing(
    instance: Instance,
) -> None:
    instance.edit(flood(81.0))
    await instance.book.changed()
    await instance.settle()
    assert limit_of(instance.book.pack) == 81.0
    instance.edit(flood(82.0) | {"direction": "sideways"}, flood(83.0) | {"kind": "limits"})
    await instance.book.changed()
    await instance.settle()
    assert limit_of(instance.book.pack) == 81.0
    assert [fault.path for fault in instance.book.faults] == ["rules[0].direction", "rules[1]"]
    assert len(instance.book.about()["folder_faults"]) == 2
    instance.edit(flood(82.0))
    await instance.book.changed()
    assert instance.book.about()["folder_faults"] == []
    await instance.settle()
    assert [one.origin for one in instance.loads()] == ["folder"] * 3


async def test_the_folder_unchanged_writes_nothing(instance: Instance) -> None:
    await instance.book.changed()
    assert await instance.book.reload() == "the pack is the one in force"
    await instance.restart()
    assert len(instance.loads()) == 1


async def test_a_faulty_folder_at_the_start_lets_the_old_rules_go_on(instance: Instance) -> None:
    instance.edit(flood(80.0) | {"kind": "limits"})
    await instance.restart()
    assert limit_of(instance.book.pack) == 80.0
    assert [fault.file for fault in instance.book.faults] == ["rules/all.yaml"]


async def test_posted_rules_are_in_force_with_who_and_when(instance: Instance) -> None:
    posted = await instance.post(flood(85.0))
    assert limit_of(instance.book.pack) == 85.0
    assert (posted.changed, posted.diff.counts["rules_changed"]) == (True, 1)
    about = instance.book.about()
    assert (about["version"], about["number"]) == (posted.hash, posted.number)
    assert (about["origin"], about["actor"], about["actor_name"]) == ("posted", "lan", "Lan")
    assert [one["origin"] for one in instance.book.versions()] == ["posted", "folder"]
    assert "rules/all.yaml" not in instance.book.files()
    assert about["folder_differs"], "the folder still says what was in force before"


async def test_a_dry_run_says_what_would_change_and_writes_nothing(instance: Instance) -> None:
    posted = await instance.post(flood(85.0), dry_run=True)
    assert (posted.changed, posted.number) == (True, 0)
    assert [(one.series, one.before, one.after) for one in posted.diff.judged] == [
        (LEVEL, ((1, 80.0, 80.0, 3),), ((1, 85.0, 85.0, 3),))
    ]
    assert limit_of(instance.book.pack) == 80.0
    assert len(instance.loads()) == 1


async def test_faulty_rules_are_refused_with_every_fault(instance: Instance) -> None:
    with pytest.raises(PackError) as refused:
        await instance.post(flood(85.0) | {"kind": "limits"}, limit_rule("b", {1: 2.0, 2: 1.0}))
    assert [(f.file, f.path) for f in refused.value.faults] == [(POSTED, "rules[0]"), (POSTED, "rules[1]")]
    assert limit_of(instance.book.pack) == 80.0


async def test_a_window_longer_than_the_log_keeps_is_refused(instance: Instance) -> None:
    await instance.restart(log=LogSettings(retention_days=2.0))
    late = limit_rule("late", {1: 1.0}, on_delay="3d")
    with pytest.raises(PackError, match="reaches 3 d back, but the log keeps 2 d"):
        await instance.post(flood(80.0), late)


async def test_a_log_that_cannot_be_written_takes_no_rules(instance: Instance) -> None:
    instance.spine.writable = False
    with pytest.raises(LogWriteFailed):
        await instance.post(flood(85.0))
    instance.spine.writable = True
    await instance.settle()
    assert limit_of(instance.book.pack) == 80.0


class TestPostedAgainstFolder:
    """What was posted holds until somebody asks for the folder."""

    async def test_it_survives_a_restart(self, instance: Instance) -> None:
        posted = await instance.post(flood(85.0))
        await instance.restart()
        assert instance.book.about()["version"] == posted.hash
        assert instance.book.differs
        assert len(instance.loads()) == 2
        assert [one["actor"] for one in instance.book.versions()] == ["lan", ""]

    async def test_an_edit_of_the_folder_does_not_undo_it(self, instance: Instance) -> None:
        await instance.post(flood(85.0))
        instance.edit(flood(70.0))
        await instance.book.changed()
        await instance.restart()
        assert limit_of(instance.book.pack) == 85.0
        assert instance.book.about()["folder_differs"]

    async def test_sighup_takes_the_folder_again(self, instance: Instance) -> None:
        await instance.post(flood(85.0))
        assert await instance.book.reload() == "the pack was loaded"
        await instance.settle()
        assert limit_of(instance.book.pack) == 80.0
        assert instance.book.origin == "folder"
        assert not instance.book.differs

    async def test_so_does_a_post_that_says_so_and_its_dry_run_does_not(self, instance: Instance) -> None:
        await instance.post(flood(85.0))
        tried = await instance.book.post(None, "lan", "Lan", dry_run=True)
        assert tried.changed
        assert instance.book.origin == "posted"
        await instance.book.post(None, "lan", "Lan", dry_run=False)
        assert (limit_of(instance.book.pack), instance.book.origin) == (80.0, "folder")
        assert instance.book.about()["actor"] == "lan"

    async def test_a_folder_that_has_come_to_hold_the_same_counts_again(self, instance: Instance) -> None:
        posted = await instance.book.post({"rules/all.yaml": rules(flood(85.0))}, "lan", "Lan", dry_run=False)
        instance.edit(flood(85.0))
        await instance.book.changed()
        await instance.settle()
        assert (instance.book.origin, instance.book.about()["version"]) == ("folder", posted.hash)
        instance.edit(flood(86.0))
        await instance.book.changed()
        await instance.settle()
        assert limit_of(instance.book.pack) == 86.0

    async def test_settings_that_change_apply_to_it_too(self, instance: Instance) -> None:
        await instance.post(flood(85.0))
        await instance.restart(verdict=Settings(lateness="2h"))  # type: ignore[arg-type]
        pack = instance.book.pack
        assert pack is not None
        assert (limit_of(pack), pack.settings.lateness) == (85.0, 7_200_000_000)
        assert (instance.book.origin, instance.book.about()["actor"]) == ("posted", "lan")


def test_a_folder_of_which_one_file_is_posted_is_replaced_as_a_whole() -> None:
    before = {"pack.yaml": "p", "rules/a.yaml": "1", "rules/b.yaml": "2", "derived/c.yaml": "3"}
    after = merged(before, {"rules/x.yaml": "4"})
    assert {n: t for n, t in after.items() if not n.startswith("ioc:")} == {
        "pack.yaml": "p", "derived/c.yaml": "3", "rules/x.yaml": "4"
    }  # fmt: skip
    assert merged(before, {"quantities.yaml": "q"})["rules/a.yaml"] == "1"


DERIVED = [
    {"id": "rain_1h", "kind": "value", "of": {"quantities": ["rain"]},
     "value": {"kind": "window", "function": "sum", "over": "1h", "coverage": 0.0}}
]  # fmt: skip


class TestAlarms:
    """An edit keeps what the officers know; a rule that is gone takes its alarms with it."""

    def folder(self, path: Path, limit: float, *, also: bool = True) -> Path:
        wet = limit_rule("wet", {1: limit}, series={"quantities": ["rain_1h"]})
        both = {
            "id": "both", "kind": "condition", "asset": LEVEL, "title": text("t"), "level_name": text("l"),
            "priority": 2, "values": {"level": LEVEL}, "facts": {"wet": {"rule": "wet"}},
            "when": "level > 2.0 && wet",
        }  # fmt: skip
        write_pack(path, [LEVEL, RAIN], [flood(limit), wet, both] if also else [no_rule()])
        quantities = path / "quantities.yaml"
        known = yaml.safe_load(quantities.read_text("utf-8"))
        known["quantities"]["rain_1h"] = known["quantities"]["rain"]
        quantities.write_text(yaml.safe_dump(known), "utf-8")
        (path / "derived").mkdir(exist_ok=True)
        (path / "derived" / "a.yaml").write_text(yaml.safe_dump({"derived": DERIVED}), "utf-8")
        return path

    @pytest.fixture
    def centre(self, tmp_path: Path) -> Centre:
        centre = Centre(self.folder(tmp_path / "p", 10.0))
        centre.connect()
        for minute in range(0, 40, 10):
            centre.now_us = centre.wall_us = T0 + minute * MIN
            centre.publish(RAIN, 8.0, centre.now_us)
            centre.publish(LEVEL, 12.0, centre.now_us)
        assert {a.rule for a in centre.alarms} == {"flood", "wet", "both"}
        for alarm in centre.alarms:
            centre.ack(alarm)
        return centre

    def test_an_edit_keeps_acknowledgement(self, centre: Centre, tmp_path: Path) -> None:
        before = {(a.rule, a.asset, a.occurrence) for a in centre.alarms}
        centre.load(self.folder(tmp_path / "p", 11.0))
        centre.publish(LEVEL, 12.5, centre.now_us)
        assert {(a.rule, a.asset, a.occurrence) for a in centre.alarms} == before
        assert {a.state for a in centre.alarms} == {State.ACKED}
        assert {a.acked_by for a in centre.alarms} == {"an"}

    @pytest.mark.parametrize("rule", ["flood", "wet", "both"])
    def test_a_rule_that_is_gone_closes_its_alarms_with_that_reason(
        self, centre: Centre, tmp_path: Path, rule: str
    ) -> None:
        centre.load(self.folder(tmp_path / "p", 10.0, also=False))
        assert centre.alarms == []
        assert centre.steps(rule)[-1] is Step.RULE_REMOVED


def no_rule() -> dict[str, Any]:
    return limit_rule("none", {1: 1e6}, series={"quantities": ["level"]})


async def test_the_doctor_says_what_is_in_force_and_from_where(instance: Instance) -> None:
    def look() -> dict[str, tuple[Result, str]]:
        config = Config(data=instance.data, pack=instance.folder)
        return {found.en: (found.result, found.detail) for found in doctor._pack(config)}

    result, detail = look()["Rules in force"]
    assert (result, "from the folder" in detail) == (Result.GOOD, True)
    await instance.post(flood(85.0))
    result, detail = look()["Rules in force"]
    assert (result, "posted, by Lan; " in detail) == (Result.DOUBT, True)
    instance.edit(flood(85.0) | {"kind": "x"}, flood(85.0) | {"kind": "y"})
    result, detail = look()["Pack"]
    assert (result, "(and 1 more: ioc check)" in detail) == (Result.BAD, True)
