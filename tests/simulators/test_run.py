"""The simulators as a process before a real broker: start, a hand at the topic, refusals, an end."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from services.mosquitto import Mosquitto

from simulators.catalog import Series
from simulators.publisher import Broker

pytestmark = pytest.mark.services

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 20.0
RIVER = "ioc/v1/disaster/lao_cai/water_level"


class Listener:
    """Everything that a broker hands out, with the payloads of every topic in order."""

    def __init__(self, broker: Mosquitto, user: str = "", password: str = "") -> None:
        self.heard: dict[str, list[bytes]] = {}
        self._news = threading.Condition()
        self._listening = False
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2)
        if user:
            self.client.username_pw_set(user, password)
        self.client.on_message = self._on_message
        self.client.on_subscribe = self._on_subscribe
        self.client.on_connect = lambda client, *_: client.subscribe("ioc/v1/#", 1)
        self.client.connect("127.0.0.1", broker.port)
        self.client.loop_start()
        self.wait(lambda: self._listening, "the subscription")

    def _on_message(self, _client: Any, _data: Any, message: mqtt.MQTTMessage) -> None:
        with self._news:
            self.heard.setdefault(message.topic, []).append(bytes(message.payload))
            self._news.notify_all()

    def _on_subscribe(self, *_: Any) -> None:
        with self._news:
            self._listening = True
            self._news.notify_all()

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        with self._news:
            assert self._news.wait_for(condition, DEADLINE_S), f"waited in vain for {what}"

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@contextmanager
def listening(broker: Mosquitto, user: str = "", password: str = "") -> Iterator[Listener]:
    listener = Listener(broker, user, password)
    try:
        yield listener
    finally:
        listener.close()


@contextmanager
def simulating(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "simulators", "--lang", "en", *arguments],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_all_series_speak_a_hand_holds_and_sigterm_ends_it(
    mosquitto: Mosquitto, province: tuple[Series, ...]
) -> None:
    with listening(mosquitto) as listener, simulating("--mqtt-url", mosquitto.url) as process:
        topics = {series.topic for series in province}
        listener.wait(lambda: topics <= listener.heard.keys(), "a reading of every series")
        assert all(set(json.loads(payloads[0])) == {"t", "v", "q"} for payloads in listener.heard.values())
        listener.client.publish(RIVER, b"78.11", qos=1)

        def repeated() -> bool:
            after = listener.heard[RIVER][::-1]
            return b"78.11" in after and sum(b'"v":78.11' in payload for payload in after) >= 2

        listener.wait(repeated, "the hand's value to be repeated")
        process.terminate()
        assert process.wait(DEADLINE_S) == 0


def test_it_ends_with_the_process_that_started_it_if_told_so(mosquitto: Mosquitto) -> None:
    with (
        listening(mosquitto) as listener,
        simulating("--mqtt-url", mosquitto.url, "--until-stdin-closes") as process,
    ):
        listener.wait(lambda: len(listener.heard) > 100, "readings")
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(DEADLINE_S) == 0
        process.stdin = None


def test_a_broker_that_comes_back_is_published_to_again(mosquitto: Mosquitto) -> None:
    with simulating("--mqtt-url", mosquitto.url) as process:
        with listening(mosquitto) as listener:
            listener.wait(lambda: RIVER in listener.heard, "the river")
        mosquitto.stop()
        mosquitto.start()
        with listening(mosquitto) as listener:
            listener.wait(lambda: len(listener.heard.get(RIVER, [])) >= 2, "the river again")
        assert process.poll() is None


def test_user_and_password_come_from_the_url_and_a_wrong_one_exits_2(
    new_mosquitto: Callable[..., Mosquitto],
) -> None:
    broker = new_mosquitto(users={"gateway": "pass@word"})
    url = f"mqtt://gateway:pass%40word@127.0.0.1:{broker.port}"
    with listening(broker, "gateway", "pass@word") as listener, simulating("--mqtt-url", url):
        listener.wait(lambda: RIVER in listener.heard, "the river")
    with simulating("--mqtt-url", url.replace("word@", "wort@")) as process:
        _, told = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 2
        assert "refuses" in told
        assert "wort" not in told


def test_twenty_thousand_readings_a_second_leave_as_arrays(mosquitto: Mosquitto) -> None:
    began = time.monotonic()
    with (
        listening(mosquitto) as listener,
        simulating("--mqtt-url", mosquitto.url, "--rate", "20000", "--duration", "3") as process,
    ):
        told, _ = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 0
        readings = int(told.split("Sent ")[1].split()[0])
        assert readings > 20_000
        listener.wait(
            lambda: sum(p.count(b'"v"') for ps in listener.heard.values() for p in ps) == readings,
            f"{readings} readings",
        )
    assert time.monotonic() - began < DEADLINE_S


def test_a_storm_is_written_as_files_without_a_broker(tmp_path: Path) -> None:
    stretch = (
        "--from",
        "2026-09-01T00:00:00+07:00",
        "--to",
        "+40h",
        "--interval",
        "2h",
        "--storm-at",
        "-10h",
    )
    with simulating("--storm", "--seed", "4", "--write", str(tmp_path / "out"), *stretch) as process:
        told, _ = process.communicate(timeout=60)
        assert process.returncode == 0
    truth = json.loads((tmp_path / "out" / "truth.json").read_text("utf-8"))
    assert (truth["seed"], truth["from"], truth["to"]) == (4, "2026-08-31T17:00:00Z", "2026-09-02T09:00:00Z")
    assert {e["kind"] for e in truth["events"]} >= {"flood", "heavy_rain", "outage", "sensor_fault"}
    with gzip.open(tmp_path / "out" / "series.csv.gz", "rt", encoding="utf-8") as file:
        lines = file.readlines()
    assert lines[0] == "series,time,value,quality\n"
    assert f"Wrote {len(lines) - 1} readings and {len(truth['events'])} true events" in told
    assert lines[1].startswith("disaster/lao_cai/water_level,2026-08-31T17:00:00Z,")
    assert "/event/outage" in (tmp_path / "out" / "events.jsonl").read_text("utf-8")


def test_a_storm_at_speed_raises_the_river_and_tells_of_outages(mosquitto: Mosquitto) -> None:
    with (
        listening(mosquitto) as listener,
        simulating(
            *("--mqtt-url", mosquitto.url, "--rate", "500"),
            *("--storm", "--storm-at", "-30h", "--speed", "3600"),
        ),
    ):

        def high() -> bool:
            return any(json.loads(payload)["v"] > 83.5 for payload in listener.heard.get(RIVER, []))

        listener.wait(high, "the third alarm level")
        outages = [topic for topic in listener.heard if topic.endswith("/event/outage")]
        assert outages
        assert set(json.loads(listener.heard[outages[0]][0])) == {
            "id",
            "revision",
            "start",
            "end",
            "customers",
        }


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--fault", "quiet"], "no fault"),
        (["--fault", "silence:nowhere"], "nowhere"),
        (["--pack", "tests"], "pack"),
        (["--mqtt-url", "http://127.0.0.1"], "mqtt://"),
        (["--storm", "--storm-at", "soon"], "no moment"),
        (["--storm", "--storm-at", "2024-09-07T00:00:00"], "no moment"),
        (["--storm", "--write", "{folder}", "--interval", "often"], "no interval"),
        (["--storm", "--write", "{folder}", "--from", "2024-09-06"], "no moment"),
        (["--storm", "--write", "{folder}", "--to", "-1h"], "--to"),
        (["--story", "--write", "{folder}"], "--story"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_sentence(
    arguments: list[str], word: str, tmp_path: Path
) -> None:
    with simulating(*(argument.format(folder=tmp_path / "out") for argument in arguments)) as process:
        _, told = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 2
        assert word in told
        assert "Traceback" not in told


@pytest.mark.parametrize(
    ("url", "broker"),
    [
        ("mqtt://127.0.0.1", Broker("127.0.0.1", 1883, False, "", "")),
        ("mqtts://host", Broker("host", 8883, True, "", "")),
        ("mqtt://a%3Ab:c%40d@host:99", Broker("host", 99, False, "a:b", "c@d")),
    ],
)
def test_a_url_says_where_and_as_whom(url: str, broker: Broker) -> None:
    assert Broker.parse(url) == broker
