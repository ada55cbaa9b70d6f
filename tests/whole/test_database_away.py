"""With the database away: rules, wall, log-in and acknowledgements go on; afterwards each row is there, once."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from services.mosquitto import Mosquitto
from services.timescale import Timescale, create_database
from support.floods import flood_pack, flood_rows
from support.instance import Instance, facts, until
from support.packs import limit_rule
from support.tables import applied, journal, readings
from websockets.sync.client import connect
from websockets.typing import Origin, Subprotocol

from ioc.publish import Publisher
from ioc.replay import Row, payload

pytestmark = [pytest.mark.whole, pytest.mark.services, pytest.mark.timeout(400)]

FLOOD = "usgs_llano_river_2018.csv.gz"
SETTINGS = {"IOC_VERDICT__CLOCK": "source"}
MINUTE_S = 60.0


def replay(url: str, rows: list[Row]) -> None:
    with Publisher(url) as publisher:
        for row in rows:
            publisher.publish(f"ioc/v1/{row.series}", payload(row))


class Wall:
    """A screen: the websocket of a wall, and when each transition came to it."""

    def __init__(self, instance: Instance, cookie: str) -> None:
        self.came: dict[str, float] = {}
        self._url = instance.url
        self._cookie = cookie
        self._stop = threading.Event()
        self._live = threading.Event()
        self._thread = threading.Thread(target=self._listen)

    def __enter__(self) -> Wall:
        self._thread.start()
        # What comes before the first snapshot is in it, and no event of its own.
        assert self._live.wait(10), "the wall got no snapshot"
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10)

    def _listen(self) -> None:
        with connect(
            self._url.replace("http", "ws") + "/ws/v1",
            subprotocols=[Subprotocol("ioc.v1")],
            origin=Origin(self._url),
            additional_headers={"Cookie": f"ioc_session={self._cookie}"},
        ) as socket:
            socket.send(json.dumps({"type": "sub", "id": 1, "topic": "alarms", "max_hz": 0}))
            while not self._stop.is_set():
                frame = json.loads(socket.recv(timeout=5))
                if frame["type"] in ("snap", "delta"):
                    self._live.set()
                    for event in frame.get("events", ()):
                        self.came.setdefault(event["id"], time.monotonic())
                    socket.send(json.dumps({"type": "ack", "seq": frame["seq"]}))


def acknowledge(client: httpx.Client, rule: str, note: str) -> dict[str, Any]:
    """Acknowledge the open alarm of a rule, as the console does."""
    items = client.get("/api/v1/alarms", params={"limit": 500}).json()["items"]
    alarm = next(a for a in items if a["rule"] == rule and a["state"] in ("UNACKED", "RETURNED"))
    reply = client.post(
        f"/api/v1/alarms/{alarm['id']}/ack",
        json={"version": alarm["version"], "note": note},
        headers={"Idempotency-Key": alarm["id"]},
    )
    assert reply.status_code == 200, reply.text
    return dict(reply.json())


def a_reading_over_the_limit_reaches(wall: Wall, subject: Instance, url: str) -> float:
    """Seconds from its publication to the wall's frame."""
    before = len(subject.transitions())
    begun = time.monotonic()
    with Publisher(url) as publisher:
        publisher.publish("ioc/v1/disaster/probe/water_level", b"99.5")
    (transition,) = until(
        lambda: [t for t in subject.transitions()[before:] if t.rule == "probe"],
        10,
        "a transition of the probe's",
    )
    until(lambda: transition.id in wall.came, 10, "the probe's alarm on the wall")
    return wall.came[transition.id] - begun


def publish_thirds(
    instance: Instance,
    url: str,
    rows: list[Row],
    at_two_thirds: Callable[[httpx.Client], None],
    at_one: Callable[[], None],
) -> None:
    """The replay in three parts, with something done between them."""
    third = len(rows) // 3
    sent = 0
    client = instance.login("an")
    for part, then in (
        (rows[:third], at_one),
        (rows[third : 2 * third], lambda: at_two_thirds(client)),
        (rows[2 * third :], None),
    ):
        replay(url, part)
        sent += len(part)
        until(lambda: instance.rows_logged() >= sent, 60, f"{sent} readings in the log")  # noqa: B023
        if then is not None:
            then()


def first_unacknowledged(client: httpx.Client) -> str:
    """The rule of an alarm to acknowledge: the first by name, so that two runs choose alike."""
    items = client.get("/api/v1/alarms", params={"limit": 500}).json()["items"]
    return min(a["rule"] for a in items if a["state"] == "UNACKED" and a["rule"] != "probe")


@pytest.mark.parametrize("how", ["stopped", "killed", "restarted_monitor"])
def test_database_away_for_a_while(
    tmp_path: Path,
    mosquitto: Mosquitto,
    durable_timescale: Timescale,
    new_instance: Callable[..., Instance],
    how: str,
) -> None:
    """Stopped for a minute, killed, and with a restart of the monitor before it returns."""
    probe = "disaster/probe/water_level"
    pack = flood_pack(
        tmp_path / "pack", FLOOD, [limit_rule("probe", {1: 99.0}, series={"ids": [probe]})], [probe]
    )
    rows = flood_rows(FLOOD)
    dsn = durable_timescale.dsn(create_database(durable_timescale))
    subject = new_instance(
        "away", pack, mosquitto.url, IOC_DATABASE__DSN=dsn, IOC_MQTT__CLIENT_ID=how, **SETTINGS
    )
    subject.add_user("an", "Nguyễn Văn An")
    subject.start()
    gone = 0.0

    def take_away() -> None:
        nonlocal gone
        (durable_timescale.kill if how == "killed" else durable_timescale.stop)()
        gone = time.monotonic()
        client = subject.login("an")
        until(
            lambda: client.get("/api/v1/feeds").json()["history"]["state"] == "down",
            30,
            "word that history is down",
        )

    def meanwhile(client: httpx.Client) -> None:
        with Wall(subject, client.cookies["ioc_session"]) as wall:
            assert a_reading_over_the_limit_reaches(wall, subject, mosquitto.url) < 1.0
        assert acknowledge(client, first_unacknowledged(client), "đang theo dõi")["acked_by"] == "an"
        if how == "restarted_monitor":
            assert subject.stop() == 0
            subject.start()
            assert client.get("/api/v1/me").json()["user"] == "an", "a restart logs nobody out"
            assert any(a["note"] == "đang theo dõi" for a in client.get("/api/v1/alarms").json()["items"])
        if how == "stopped":
            threading.Event().wait(max(0.0, MINUTE_S - (time.monotonic() - gone)))
        durable_timescale.start()

    publish_thirds(subject, mosquitto.url, rows, meanwhile, take_away)
    until(lambda: applied(dsn) >= subject.reader().last_number, 60, "the database's catching up")
    until(lambda: len(journal(dsn)) >= len(subject.transitions()), 30, "the journal's catching up")
    assert subject.stop() == 0

    stored = Counter(readings(dsn))
    assert max(stored.values()) == 1
    of_the_flood = {(s, us, v) for s, us, v, _ in stored if s != probe}
    assert of_the_flood == {(r.series, r.event_us, float(r.value)) for r in rows}
    kept = journal(dsn)
    assert len(kept) == len(set(kept)) == len(subject.transitions())
    assert ("ack", "an", "đang theo dõi") in {(kind, actor, note) for *_, kind, actor, note in kept}

    calm = new_instance("calm", pack, mosquitto.url, IOC_MQTT__CLIENT_ID=f"calm-{how}", **SETTINGS)
    calm.add_user("an", "Nguyễn Văn An")
    calm.start()

    def the_same(client: httpx.Client) -> None:
        with Publisher(mosquitto.url) as publisher:
            publisher.publish(f"ioc/v1/{probe}", b"99.5")
        until(lambda: any(t.rule == "probe" for t in calm.transitions()), 10, "the probe's alarm")
        acknowledge(client, first_unacknowledged(client), "đang theo dõi")

    publish_thirds(calm, mosquitto.url, rows, the_same, lambda: None)
    assert calm.stop() == 0
    assert facts(subject.transitions()) == facts(calm.transitions())
    assert [k for k in kept if k[4] == "ack"] == [
        (t.rule, t.asset, t.occurrence, t.step, str(t.kind), t.actor, t.note)
        for t in calm.transitions()
        if t.kind == "ack"
    ]
