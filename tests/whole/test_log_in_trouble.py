"""A log that cannot be trusted is refused with a sentence; a full disk loses nothing; time never falls."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from services.mosquitto import Mosquitto
from support.instance import Instance, until
from support.packs import limit_rule, no_data_rule, write_pack

from ioc.ingest.decoder import Decoded, Decoder
from ioc.log.sqlite import SqliteLog
from ioc.model import Batch, Flag, Message, PackLoaded, SourceState, Step, Transition
from ioc.pack import Pack, Settings
from ioc.publish import Publisher
from ioc.recovery import recover
from ioc.spine import Spine

LEVEL = "disaster/lao_cai/water_level"
S = 1_000_000
MIN = 60 * S
H = 60 * MIN
T0 = 1_725_760_800 * S

process = [pytest.mark.whole, pytest.mark.services, pytest.mark.timeout(120)]


def pack_of(folder: Path) -> Path:
    return write_pack(folder / "pack", [LEVEL], [limit_rule("river", {1: 80.0}), no_data_rule()])


@pytest.fixture
def ended(tmp_path: Path, mosquitto: Mosquitto, new_instance: Callable[..., Instance]) -> Instance:
    """An instance that has taken some readings and was stopped."""
    instance = new_instance("subject", pack_of(tmp_path), mosquitto.url)
    instance.start()
    with Publisher(mosquitto.url) as publisher:
        for i in range(50):
            publisher.publish(f"ioc/v1/{LEVEL}", str(50 + i).encode())
    until(lambda: instance.rows_logged() >= 50, 20, "50 readings in the log")
    assert instance.stop() == 0
    return instance


def refused(instance: Instance) -> str:
    """Start it; it must end with 2. What it said."""
    instance.output.unlink()
    instance.start(wait=False)
    assert instance.process is not None
    assert instance.process.wait(30) == 2, instance.said()
    assert "Traceback" not in instance.said()
    return " ".join(instance.said().split())


def change(instance: Instance, sql: str) -> int:
    """Do something to the newest segment behind everybody's back; a number that the statement concerned."""
    segment = max((instance.data / "log").glob("*.sqlite"))
    link = sqlite3.connect(segment)
    with link:
        number = link.execute("select max(number) - 3 from input").fetchone()[0]
        link.execute(sql, (number,))
    link.close()
    return int(number)


class TestRefused:
    pytestmark = process

    def test_a_wrong_sum_names_the_record(self, ended: Instance) -> None:
        number = change(
            ended, "update input set body = substr(body, 1, length(body) - 1) || x'ff' where number = ?"
        )
        assert f"log record {number}:" in refused(ended)

    def test_a_missing_record_names_the_record(self, ended: Instance) -> None:
        number = change(ended, "delete from input where number = ?")
        assert f"log record {number}:" in refused(ended)

    def test_a_second_run_names_the_process_that_owns_the_log(self, ended: Instance, tmp_path: Path) -> None:
        ended.start()
        assert ended.process is not None
        owner = ended.process.pid
        second = subprocess.run(
            ended.command,
            env={**ended.env, "IOC_WEB__PORT": "0"},
            capture_output=True,
            timeout=30,
            cwd=tmp_path,
        )
        assert second.returncode == 2
        assert str(owner) in second.stderr.decode()

    def test_a_faulty_pack_is_refused_with_file_and_line_and_the_old_rules_go_on(
        self, ended: Instance
    ) -> None:
        rules = Path(ended.env["IOC_PACK"]) / "rules" / "all.yaml"
        rules.write_text(rules.read_text("utf-8").replace("limit: 80.0", "limit: eighty"), "utf-8")
        ended.start()
        assert "rules/all.yaml:" in ended.said()
        assert "levels" in ended.said()
        with Publisher(ended.env["IOC_MQTT__URL"]) as publisher:
            publisher.publish(f"ioc/v1/{LEVEL}", b"10")
            publisher.publish(f"ioc/v1/{LEVEL}", b"99")
        until(
            lambda: [t.kind for t in ended.transitions()][-1:] == [Step.ONSET],
            10,
            "an onset by the old rules",
        )

    def test_a_changed_pack_comes_into_force_on_sighup_and_a_faulty_one_does_not(
        self, ended: Instance
    ) -> None:
        rules = Path(ended.env["IOC_PACK"]) / "rules" / "all.yaml"
        good = rules.read_text("utf-8")
        ended.start()
        assert ended.process is not None
        packs = sum(isinstance(r.body, PackLoaded) for r in ended.inputs())
        rules.write_text(good.replace("limit: 80.0", "limit: eighty"), "utf-8")
        ended.process.send_signal(signal.SIGHUP)
        until(lambda: "rules/all.yaml:" in ended.said(), 10, "word of the fault")
        rules.write_text(good.replace("limit: 80.0", "limit: 500.0"), "utf-8")
        ended.process.send_signal(signal.SIGHUP)
        until(
            lambda: sum(isinstance(r.body, PackLoaded) for r in ended.inputs()) == packs + 1,
            10,
            "the new pack",
        )
        with Publisher(ended.env["IOC_MQTT__URL"]) as publisher:
            publisher.publish(f"ioc/v1/{LEVEL}", b"10")
            publisher.publish(f"ioc/v1/{LEVEL}", b"501")
        until(
            lambda: ended.transitions() and ended.transitions()[-1].limit == 500.0,
            10,
            "an onset by the new limit",
        )


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MB."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small disk")
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m,mode=755", "tmpfs", folder], check=False
    ).returncode:
        pytest.skip("may not mount a tmpfs here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.whole
@pytest.mark.services
@pytest.mark.root
def test_disk_full_then_freed_nothing_acknowledged_is_missing(
    tmp_path: Path, small_disk: Path, mosquitto: Mosquitto, new_instance: Callable[..., Instance]
) -> None:
    """While full: no reading is acknowledged, commands are told so; afterwards everything is there, once."""
    pack = pack_of(tmp_path)
    instance = new_instance(
        "full", pack, mosquitto.url, IOC_LOG__SEGMENT_BYTES=str(256 * 1024), IOC_LOG__DISK_LOW_BYTES="0"
    )
    instance.data = small_disk / "data"
    instance.env["IOC_DATA"] = str(instance.data)
    instance.add_user("an", "An")
    instance.start()
    client = instance.login("an")
    with Publisher(mosquitto.url) as publisher:
        publisher.publish(f"ioc/v1/{LEVEL}", b"81.5")
    until(lambda: client.get("/api/v1/alarms").json()["items"], 10, "an alarm")
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    sent = 400
    with Publisher(mosquitto.url) as publisher:
        for i in range(sent):
            publisher.publish(f"ioc/v1/{LEVEL}", f'{{"t": {(T0 // 1000) + i * 1000}, "v": {i}}}'.encode())
    until(
        lambda: httpx.get(f"{instance.url}/readyz").status_code == 503,
        20,
        "word that the log cannot be written",
    )
    (alarm,) = client.get("/api/v1/alarms").json()["items"]
    told = client.post(f"/api/v1/alarms/{alarm['id']}/ack", json={"version": alarm["version"], "note": "x"})
    assert told.status_code == 503
    assert told.json()["message"]["vi"]
    filler.unlink()
    until(lambda: httpx.get(f"{instance.url}/readyz").status_code == 200, 20, "the log's recovery")
    stamped = until(lambda: found if len(found := stamps(instance)) >= sent else None, 30, f"{sent} readings")
    assert sorted(stamped) == [T0 + i * S for i in range(sent)]
    (alarm,) = [a for a in client.get("/api/v1/alarms").json()["items"] if a["rule"] == "river"]
    assert alarm["acked_by"] is None, "a command that was refused has not happened"
    assert instance.stop() == 0


def stamps(instance: Instance) -> list[int]:
    """Event times of the stamped readings in the log, repeats apart."""
    repeat = int(Flag.REPEAT | Flag.NO_STAMP)
    return [
        int(us)
        for record in instance.inputs()
        if isinstance(record.body, Batch)
        for us, flags in zip(record.body.event_us, record.body.flags, strict=True)
        if not int(flags) & repeat
    ]


class Hands:
    """The two clocks of a machine, moved by hand."""

    def __init__(self, wall_us: int) -> None:
        self.wall_us = wall_us
        self.mono_us = 0

    def wait(self, us: int) -> None:
        self.wall_us += us
        self.mono_us += us


class Run:
    """One run of the spine on a log, under clocks that are moved by hand."""

    def __init__(self, folder: Path, pack: Pack, hands: Hands) -> None:
        self.hands = hands
        self.pack = pack
        self.store = SqliteLog.open(folder)
        self.pipeline = recover(self.store).pipeline
        self.spine = Spine(
            self.store, self.pipeline, source_clock=False, queue_rows_max=1000, checkpoint_records=10**9,
            wall_us=lambda: hands.wall_us, mono_us=lambda: hands.mono_us,
        )  # fmt: skip
        self.transitions: list[Transition] = []
        self.spine.listeners.append(lambda outcome: self.transitions.extend(outcome.transitions))

    async def __aenter__(self) -> Run:
        self.task = asyncio.create_task(self.spine.run())
        if self.pipeline.pack is None:
            self.spine.announce(list(self.pack.registry.series))
            self.spine.offer(PackLoaded(self.pack.hash, "p"), blobs={self.pack.hash: self.pack.blob})
        self.spine.offer(SourceState("mqtt", True, 1))
        await self.settle()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.spine.stop()
        await self.task
        await self.spine.close()

    async def settle(self) -> None:
        idle = asyncio.Event()
        self.spine.when_idle(idle.set)
        waiting = asyncio.create_task(idle.wait())
        await asyncio.wait([waiting, self.task], return_when=asyncio.FIRST_COMPLETED)
        if self.task.done():
            self.task.result()

    async def publish(self, payload: str) -> Batch:
        """What became of one reading."""
        decoded = Decoded()
        message = Message("mqtt", f"ioc/v1/{LEVEL}", payload.encode(), self.spine.received_us())
        Decoder(self.pipeline.numbers, 1000).feed(message, decoded)
        batch = decoded.batch("mqtt")
        assert batch is not None
        self.spine.offer(batch)
        await self.settle()
        last = [r for r in self.store.read(self.store.last_number - 3) if isinstance(r.body, Batch)][-1]
        assert isinstance(last.body, Batch)
        return last.body

    async def pass_time(self, us: int) -> None:
        for _ in range(us // S):
            self.hands.wait(S)
            self.spine.tick()
        await self.settle()


async def test_wall_clock_one_hour_back_between_two_runs(tmp_path: Path) -> None:
    """`now` never falls, timers run on, stamps still increase, live samples are no backlog, the step is journalled."""
    pack = Pack.read(pack_of(tmp_path), Settings())
    async with Run(tmp_path / "log", pack, Hands(T0)) as first:
        stamp_before = int((await first.publish("60.0")).event_us[0])
        await first.pass_time(20 * MIN)
        # An hour-old spike: silent, and unconfirmed after max_gap (30 min) unless a fresh sample says more.
        await first.publish(f'{{"t": {(T0 - 2 * H) // 1000}, "v": 60}}')
        now_before = first.pipeline.now_us
    hands = Hands(first.hands.wall_us - H)
    async with Run(tmp_path / "log", pack, hands) as second:
        assert second.pipeline.now_us > now_before
        await second.pass_time(2 * S)
        assert [t.rule for t in second.transitions if t.kind is Step.ONSET] == ["system_clock_step"]
        unstamped = await second.publish("60.1")
        assert int(unstamped.event_us[0]) > stamp_before
        assert Flag(int(unstamped.flags[0])) == Flag.NO_STAMP
        true_ms = (hands.wall_us + H) // 1000
        live = await second.publish(f'{{"t": {true_ms}, "v": 60.2}}')
        assert not int(live.flags[0]) & int(Flag.BACKLOG)
        # The watchdog's half hour runs on the centre's time, slowed by a tenth at most, whatever the wall clock says.
        await second.pass_time(34 * MIN)
        assert "no_data" in {t.rule for t in second.transitions if t.kind is Step.ONSET}
        nows = [r.now_us for r in second.store.read(0)]
        assert nows == sorted(nows)
