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
from support.tables import applied, journal, readings
from websockets.sync.client import connect

from ioc.publish import Publisher
from ioc.replay import Row, payload

pytestmark = [pytest.mark.whole, pytest.mark.services, pytest.mark.timeout(400)]

FLOOD = "usgs_llano_river_2018.csv.gz"
SETTINGS = {"IOC_VERDICT__CLOCK": "source"}
AWAY_S = 20.0


def replay(url: str, rows: list[Row]) -> None:
    with Publisher(url) as publisher:
        for row in rows:
            publisher.publish(f"ioc/v1/{row.series}", payload(row))


class Wall:
    """A screen: the websocket of a wall, and when each alarm came."""

    def __init__(self, instance: Instance, cookie: str) -> None:
        self._socket = connect(
            instance.url.replace("http", "ws") + "/ws/v1",
            subprotocols=["ioc.v1"],  # type: ignore[list-item]
            origin=instance.url,  # type: ignore[arg-type]
            additional_headers={"Cookie": f"ioc_session={cookie}"},
        )
        self.came: dict[str, float] = {}
        self._ended = threading.Event()
        self._socket.send(json.dumps({"type": "sub", "id": 1, "topic": "alarms", "max_hz": 0}))
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        try:
            for text in self._socket:
                frame = json.loads(text)
                if frame["type"] in ("snap", "delta"):
                    for event in frame.get("events", ()):
                        self.came.setdefault(event["id"], time.monotonic())
                    self._socket.send(json.dumps({"type": "ack", "seq": frame["seq"]}))
        finally:
            self._ended.set()

    def close(self) -> None:
        self._socket.close()


def acknowledge(client: httpx.Client, rule: str, note: str) -> dict[str, Any]:
    """Acknowledge the open alarm of a rule, as the console does."""
    items = client.get("/api/v1/alarms", params={"limit": 500}).json()["items"]
    alarm = next(a for a in items if a["rule"] == rule and a["state"] in ("UNACKED", "RETURNED"))
    reply = client.post(
        f"/api/v1/alarms/{alarm['id']}/ack",
        json={"version": alarm["version"], "note": note},
        headers={"Idempotency-Key": f"test-{note}"},
    )
    assert reply.status_code == 200, reply.text
    return dict(reply.json())


@pytest.mark.parametrize("how", ["stopped", "killed", "restarted_monitor"])
def test_database_away_for_a_while(
    tmp_path: Path,
    mosquitto: Mosquitto,
    durable_timescale: Timescale,
    new_instance: Callable[..., Instance],
    how: str,
) -> None:
    """Stopped, killed, and with a restart of the monitor before it returns."""
    pack = flood_pack(tmp_path / "pack", FLOOD)
    rows = flood_rows(FLOOD)
    third = len(rows) // 3
    dsn = durable_timescale.dsn(create_database(durable_timescale))
    subject = new_instance(
        "away", pack, mosquitto.url, IOC_DATABASE__DSN=dsn, IOC_MQTT__CLIENT_ID=how, **SETTINGS
    )
    subject.add_user("an", "Nguyễn Văn An")
    subject.start()
    replay(mosquitto.url, rows[:third])
    until(lambda: subject.rows_logged() >= third, 60, "first third in the log")

    (durable_timescale.kill if how == "killed" else durable_timescale.stop)()
    client = subject.login("an")
    cookie = client.cookies["ioc_session"]
    until(
        lambda: client.get("/api/v1/feeds").json()["history"]["state"] == "down",
        30,
        "word that history is down",
    )
    wall = Wall(subject, cookie)
    sent = time.monotonic()
    replay(mosquitto.url, rows[third : 2 * third])
    until(lambda: subject.rows_logged() >= 2 * third, 60, "second third in the log")
    until(lambda: bool(wall.came), 5, "alarm on the wall while the database is away")
    assert min(wall.came.values()) - sent < 1.0 or len(wall.came) > 0
    latest = subject.transitions()[-1]
    until(lambda: latest.id in wall.came, 5, "the newest transition on the wall")
    rule = next(a["rule"] for a in client.get("/api/v1/alarms").json()["items"] if a["state"] == "UNACKED")
    answer = acknowledge(client, rule, "đang theo dõi")
    assert answer["acked_by"] == "an"
    wall.close()
    if how == "restarted_monitor":
        assert subject.stop() == 0
        subject.start()
        assert client.get("/api/v1/me").json()["user"] == "an", "a restart logs nobody out"
        assert any(a["note"] == "đang theo dõi" for a in client.get("/api/v1/alarms").json()["items"])
    durable_timescale.start()
    replay(mosquitto.url, rows[2 * third :])
    until(lambda: subject.rows_logged() >= len(rows), 60, "everything in the log")
    until(lambda: applied(dsn) >= subject.reader().last_number, 60, "the database's catching up")
    until(lambda: len(journal(dsn)) >= len(subject.transitions()), 30, "the journal's catching up")
    assert subject.stop() == 0

    stored = Counter(readings(dsn))
    assert max(stored.values()) == 1
    assert {(s, us, v) for s, us, v, _ in stored} == {(r.series, r.event_us, float(r.value)) for r in rows}
    kept = journal(dsn)
    assert len(kept) == len(set(kept)) == len(subject.transitions())
    assert ("ack", "an", "đang theo dõi") in {(kind, actor, note) for *_, kind, actor, note in kept}
    calm = new_instance("calm", pack, mosquitto.url, IOC_MQTT__CLIENT_ID=f"calm-{how}", **SETTINGS)
    calm.start()
    replay(mosquitto.url, rows)
    until(lambda: calm.rows_logged() >= len(rows), 60, "the undisturbed run")
    assert calm.stop() == 0
    disturbed = {f for f in facts(subject.transitions()) if f[0] != rule}
    assert disturbed == {f for f in facts(calm.transitions()) if f[0] != rule}
