"""The whole path on one machine: mosquitto → paho → log → rules → websocket, beside a bare paho subscriber.

Latency is from the publication to the websocket frame that bears the alarm's transition, one reading in a hundred
crossing a limit, up or down; the ups are timed. Throughput is readings a second from the first publication to the last record, alternating in one run
with a subscriber of the same paho that only counts. Everything shares the machine's cores. Prints JSON.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

import paho.mqtt.client as paho  # noqa: E402
from paho.mqtt.enums import CallbackAPIVersion  # noqa: E402
from services.mosquitto import Mosquitto  # noqa: E402
from support.instance import Instance, until  # noqa: E402
from support.packs import limit_rule, write_pack  # noqa: E402
from websockets.exceptions import ConnectionClosed  # noqa: E402
from websockets.sync.client import connect  # noqa: E402
from websockets.typing import Origin, Subprotocol  # noqa: E402

from ioc.publish import Publisher  # noqa: E402

SERIES = 200
ROUNDS = 3
READINGS = 20_000
LATENCY_S = 10
RATES = (200, 1_000)


def series(index: int) -> str:
    return f"disaster/s{index:03d}/water_level"


class Screen(threading.Thread):
    """A wall's websocket; notes when the transition for each crossing came, by the value that crossed."""

    def __init__(self, instance: Instance, cookie: str) -> None:
        super().__init__(daemon=True)
        self.came: dict[float, float] = {}
        self.live = threading.Event()
        self._url, self._cookie = instance.url, cookie

    def run(self) -> None:
        with connect(
            self._url.replace("http", "ws") + "/ws/v1",
            subprotocols=[Subprotocol("ioc.v1")],
            origin=Origin(self._url),
            additional_headers={"Cookie": f"ioc_session={self._cookie}"},
            max_size=None,
        ) as socket:
            socket.send(json.dumps({"type": "sub", "id": 1, "topic": "alarms", "max_hz": 0}))
            while True:
                try:
                    text = socket.recv()
                except ConnectionClosed:
                    return
                now = time.perf_counter()
                frame = json.loads(text)
                if frame["type"] in ("snap", "delta"):
                    self.live.set()
                    for event in frame.get("events", ()):
                        self.came.setdefault(event["value"], now)
                    socket.send(json.dumps({"type": "ack", "seq": frame["seq"]}))


def latency(instance: Instance, broker: Mosquitto, screen: Screen, rate: int, qos: int) -> dict[str, Any]:
    """Milliseconds from publication to the frame, at a rate that is held."""
    sent: dict[float, float] = {}
    before = cpu_s(instance)
    with Publisher(broker.url, qos=qos) as publisher:
        begun = time.perf_counter()
        for i in range(rate * LATENCY_S):
            ahead = begun + i / rate - time.perf_counter()
            if ahead > 0:
                time.sleep(ahead)
            value = round(20.0 + (i % 50) / 10, 2)
            if i % 100 == 99 and i // SERIES % 2 == 0:
                # Up, and at that series' next turn down again; each time with a value of its own.
                value = round(100 + time.perf_counter() % 1000 + i / 1e6, 6)
                sent[value] = time.perf_counter()
            publisher.publish(f"ioc/v1/{series(i % SERIES)}", str(value).encode())
    until(lambda: len(sent.keys() - screen.came.keys()) == 0, 20, "every crossing on the screen")
    took = sorted((screen.came[v] - at) * 1e3 for v, at in sent.items())
    return {
        "rate": rate, "qos": qos, "crossings": len(took), "p50_ms": round(statistics.median(took), 2),
        "p99_ms": round(took[int(len(took) * 0.99)], 2), "worst_ms": round(took[-1], 2),
        "monitor_cpu_us_per_message": round((cpu_s(instance) - before) / (rate * LATENCY_S) * 1e6, 1),
    }  # fmt: skip


def cpu_s(instance: Instance) -> float:
    """CPU seconds the monitor's process has used."""
    assert instance.process is not None
    fields = Path(f"/proc/{instance.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def flood(broker: Mosquitto, qos: int) -> None:
    with Publisher(broker.url, qos=qos) as publisher:
        for i in range(READINGS):
            publisher.publish(f"ioc/v1/{series(i % SERIES)}", f'{{"v": {20 + i % 500 / 100}}}'.encode())


def started(folder: Path, broker: Mosquitto) -> Instance:
    """A monitor of its own on a broker of its own."""
    folder.mkdir()
    pack = write_pack(
        folder / "pack", [series(i) for i in range(SERIES)], [limit_rule("over", {1: 99.0})], resolution=1e-6
    )
    instance = Instance(folder, pack, broker.url)
    instance.add_user("an", "An")
    instance.start()
    client = instance.login("an")
    until(
        lambda: any(f["connected"] for f in client.get("/api/v1/feeds").json()["items"]), 10, "its connection"
    )
    time.sleep(0.2)  # for the broker's answer to SUBSCRIBE: a reading of QoS 0 sent before it is for nobody
    return instance


def monitor_takes(folder: Path, qos: int) -> float:
    broker = Mosquitto()
    instance = started(folder, broker)
    try:
        reader = instance.reader()
        begun = time.perf_counter()
        flood(broker, qos)
        # Record numbers are cheap to ask; counting rows is left for when they stand still.
        last = -1
        while (number := reader.last_number) != last or instance.rows_logged() < READINGS:
            last = number
            time.sleep(0.05)
            if time.perf_counter() - begun > 120:
                raise SystemExit(f"only {instance.rows_logged()} of {READINGS} readings came")
        return READINGS / (time.perf_counter() - begun - 0.05)
    finally:
        instance.close()
        broker.close()


def bare_takes(qos: int) -> float:
    """The same flood into a process that only counts."""
    broker = Mosquitto()
    counter = subprocess.Popen(
        [sys.executable, __file__, "--count", str(broker.port), str(qos)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert counter.stdout is not None
        counter.stdout.readline()
        begun = time.perf_counter()
        flood(broker, qos)
        counter.stdout.readline()
        return READINGS / (time.perf_counter() - begun)
    finally:
        counter.kill()
        broker.close()


def count(port: int, qos: int) -> None:
    """A subscriber that only counts; says when it is ready and when everything has come."""
    seen = 0

    def on_message(client: paho.Client, data: Any, message: paho.MQTTMessage) -> None:
        nonlocal seen
        seen += 1
        if seen == READINGS:
            print("done", flush=True)

    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.on_message = on_message
    client.on_subscribe = lambda *_: print("ready", flush=True)
    client.connect("127.0.0.1", port)
    client.subscribe("ioc/v1/#", qos)
    client.loop_forever()


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="ioc-bench-") as name:
        folder = Path(name)
        broker = Mosquitto()
        instance = started(folder / "latency", broker)
        try:
            screen = Screen(instance, instance.login("an").cookies["ioc_session"])
            screen.start()
            screen.live.wait(10)
            result: dict[str, Any] = {"latency": [latency(instance, broker, screen, r, 1) for r in RATES]}
        finally:
            instance.close()
            broker.close()
        result["throughput"] = []
        for qos in (0, 1):
            rounds = []
            for number in range(ROUNDS):
                ours, bare = monitor_takes(folder / f"q{qos}-{number}", qos), bare_takes(qos)
                ratio = round(ours / bare, 3)
                rounds.append({"monitor_per_s": round(ours), "bare_paho_per_s": round(bare), "ratio": ratio})
            median = statistics.median(r["ratio"] for r in rounds)
            result["throughput"].append({"qos": qos, "rounds": rounds, "median_ratio": median})
        print(json.dumps(result))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--count"]:
        count(int(sys.argv[2]), int(sys.argv[3]))
    else:
        main()
