"""`kill -9` at random instants of a replay: nothing is lost, nothing counts twice, and a restart is exact."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from services.mosquitto import Mosquitto
from services.timescale import Timescale, create_database
from support.floods import flood_pack, flood_rows
from support.instance import Instance, facts, stored_rows, until
from support.packs import no_data_rule
from support.tables import applied, readings

from ioc.log import checkpoint
from ioc.log.sqlite import SqliteLog
from ioc.log.state import state_hash
from ioc.model import Batch, Input
from ioc.pipeline import Pipeline
from ioc.publish import Publisher
from ioc.recovery import load_packs, recover
from ioc.replay import payload

pytestmark = [pytest.mark.whole, pytest.mark.services, pytest.mark.timeout(400)]

FLOOD = "usgs_llano_river_2018.csv.gz"
SETTINGS = {"IOC_VERDICT__CLOCK": "source", "IOC_LOG__CHECKPOINT_RECORDS": "40"}
"""So many checkpoints that some of the kills fall into one."""


@dataclass(frozen=True)
class Found:
    """What a run left behind: the stored readings, the event-time rules' steps, the watchdog's."""

    rows: list[tuple[str, int, float, int]]
    facts: set[tuple[Any, ...]]
    watchdog: Counter[tuple[Any, ...]]


# The rate is such that every outage falls into the flow.
@pytest.mark.parametrize(
    ("kills", "rate"),
    [
        pytest.param(20, 600, id="20 times"),
        pytest.param(300, 40, id="300 times", marks=[pytest.mark.long, pytest.mark.timeout(3600)]),
    ],
)
def test_killed_in_a_replay(
    tmp_path: Path,
    mosquitto: Mosquitto,
    timescale: Timescale,
    new_instance: Callable[..., Instance],
    kills: int,
    rate: int,
) -> None:
    """As sets, readings and transitions equal an undisturbed run's; numbers unbroken; every state the same."""
    pack = flood_pack(tmp_path / "pack", FLOOD, more=[no_data_rule()])
    rows = flood_rows(FLOOD)
    calm = undisturbed(mosquitto, create_database(timescale), timescale, new_instance, pack)
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    dice = random.Random(seed)
    dsn = timescale.dsn(create_database(timescale))
    subject = new_instance(
        "killed", pack, mosquitto.url, IOC_MQTT__CLIENT_ID="killed", IOC_DATABASE__DSN=dsn, **SETTINGS
    )
    subject.start()
    sent = threading.Event()

    def publish() -> None:
        pause = threading.Event()
        with Publisher(mosquitto.url) as publisher:
            for i, row in enumerate(rows):
                publisher.publish(f"ioc/v1/{row.series}", payload(row))
                if i % 20 == 0:
                    pause.wait(20 / rate)
        sent.set()

    publishing = threading.Thread(target=publish)
    publishing.start()
    instant = threading.Event()
    for _ in range(kills):
        instant.wait(dice.uniform(0.3, 3.0))
        subject.kill()
        subject.start(wait=False)
    publishing.join(1200)
    assert sent.is_set()
    until(subject.ready, 60, "answer after the last kill")
    last = until(lambda: quiet(subject), 120, "end of the flow")
    until(lambda: applied(dsn) >= last, 60, "the database's catching up")
    assert subject.stop() == 0

    found = Found(readings(dsn), facts(subject.transitions()), watchdog_of(subject))
    assert Counter(found.rows) == Counter(calm.rows)
    assert found.facts == calm.facts
    assert len(calm.rows) == len(rows)
    transitions, inputs = subject.transitions(), subject.inputs()
    assert len({t.id for t in transitions}) == len(transitions)
    assert [i.number for i in inputs] == list(range(1, len(inputs) + 1))
    assert all(a.now_us <= b.now_us for a, b in pairwise(inputs))
    assert all(found.watchdog[key] - calm.watchdog[key] <= kills for key in found.watchdog)
    every_state_is_the_same(subject)
    a_double_feed_is_found_out(subject)


def undisturbed(
    mosquitto: Mosquitto,
    database: str,
    timescale: Timescale,
    new_instance: Callable[..., Instance],
    pack: Path,
) -> Found:
    """What a run without any harm gives."""
    dsn = timescale.dsn(database)
    rows = flood_rows(FLOOD)
    calm = new_instance(
        "calm", pack, mosquitto.url, IOC_MQTT__CLIENT_ID="calm", IOC_DATABASE__DSN=dsn, **SETTINGS
    )
    calm.start()
    with Publisher(mosquitto.url) as publisher:
        for row in rows:
            publisher.publish(f"ioc/v1/{row.series}", payload(row))
    until(lambda: calm.rows_logged() >= len(rows), 60, f"{len(rows)} readings in the log")
    until(lambda: applied(dsn) >= calm.reader().last_number, 60, "the database's catching up")
    assert calm.stop() == 0
    return Found(readings(dsn), facts(calm.transitions()), watchdog_of(calm))


def watchdog_of(instance: Instance) -> Counter[tuple[Any, ...]]:
    return Counter((t.asset, t.kind) for t in instance.transitions() if t.rule == "no_data")


def quiet(subject: Instance) -> int:
    """The log's last number, once every message has been acknowledged: nothing more came for two seconds."""
    reader = subject.reader()
    before = reader.last_number
    threading.Event().wait(2.0)
    return before if reader.last_number == before else 0


def every_state_is_the_same(subject: Instance) -> None:
    """The live state (its last checkpoint), the replay from the first record and from each checkpoint."""
    folder = subject.data / "log"
    checkpoints = [checkpoint.load(path) for _, path in checkpoint.latest(folder)]
    assert len(checkpoints) == 2
    live = state_hash(checkpoints[0][1])
    store = SqliteLog.open(folder)
    try:
        assert store.last_number == checkpoints[0][0]
        assert state_hash(recover(store, whole=True).pipeline.state()) == live
        for _, state in checkpoints:
            pipeline = Pipeline(load_packs(store))
            pipeline.restore(state)
            for record in store.read(pipeline.last_number):
                pipeline.feed(record)
            assert pipeline.hash() == live
    finally:
        store.close()


def a_double_feed_is_found_out(subject: Instance) -> None:
    """The net catches: one record fed twice, under a number of its own, ends in another state and other rows."""
    inputs = subject.inputs()
    victim = max(i for i, r in enumerate(inputs) if isinstance(r.body, Batch) and not r.body.flags.any())
    doubled = [
        Input(n, r.now_us, r.body, r.origin)
        for n, r in enumerate([*inputs[: victim + 1], inputs[victim], *inputs[victim + 1 :]], 1)
    ]
    store = SqliteLog.open(subject.data / "log")
    try:
        packs = load_packs(store)
        honest, planted = Pipeline(packs), Pipeline(packs)
        for record in inputs:
            honest.feed(record)
        for record in doubled:
            planted.feed(record)
    finally:
        store.close()
    assert state_hash(planted.state()["windows"]) != state_hash(honest.state()["windows"])
    assert Counter(stored_rows(doubled)) != Counter(stored_rows(inputs))
