"""What is sustained through mosquitto with everything on, flat out, beside a bare parser; five rounds, alternating.

The generator publishes as fast as the broker takes; a rate is all readings over the time from the first one received
to the last one in the log (the last one counted, for the parser). Everything shares the machine. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from child import Child
from load.generator import Load
from monitor import HERE, bench_folder, database
from rig import GRACE_S, median, our_rig
from services.mosquitto import Mosquitto
from services.timescale import Timescale

READINGS = {0: 900_000, 1: 450_000}
WARM_UP = 10_000


def monitor_takes(folder: Path, server: Timescale, qos: int, readings: int) -> dict[str, Any]:
    """A fresh monitor on a fresh broker."""
    with our_rig(folder, server, qos=qos) as (rig, monitor):
        before = monitor.reader().last_number
        run = rig.run(0, readings)
        logged = monitor.logged(before)
        feed = next(f for f in monitor.feeds()["items"] if f["source"] == "mqtt")
    return {
        "per_s": round(logged.rate), "logged": logged.rows, "lost": readings - logged.rows, "shed": feed["shed"],
        **{name: run.as_json()[name] for name in ("cpu_us", "p50_ms", "p99_ms", "alerts_lost", "behind_s", "generator")},
    }  # fmt: skip


def parser_takes(qos: int, readings: int) -> dict[str, Any]:
    """The bare parser on a fresh broker."""
    with closing(Mosquitto()) as broker, closing(
        Child([sys.executable, str(HERE / "peers" / "bare.py"), str(broker.port), str(qos)])
    ) as parser, closing(Load("publish", broker.port, qos=qos)) as load:  # fmt: skip
        assert parser.hear(20) == "ready"
        load.wait_ready()
        load.go(5_000, WARM_UP)
        wait_for(parser, WARM_UP)
        before = json.loads(parser.ask("report"))["cpu_s"]
        load.go(0, readings)
        wait_for(parser, readings)
        found = json.loads(parser.ask("report"))
    return {
        "per_s": round(found["count"] / (found["last_ns"] - found["first_ns"]) * 1e9),
        "lost": readings - found["count"], "cpu_us": round((found["cpu_s"] - before) / readings * 1e6, 2),
    }  # fmt: skip


def wait_for(parser: Child, count: int) -> None:
    """Until it has counted that many, or nothing more is to be expected."""
    end = time.monotonic() + GRACE_S
    while int(parser.ask("count")) < count and time.monotonic() < end:
        time.sleep(0.1)


def main() -> None:
    """Measure and print."""
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("--rounds", type=int, default=5)
    given.add_argument("--scale", type=float, default=1.0, help="of the number of readings")
    asked = given.parse_args()
    out: dict[str, Any] = {"rows": []}
    with bench_folder() as folder, database() as server:
        for qos, readings in READINGS.items():
            count = int(readings * asked.scale)
            rounds = []
            for number in range(asked.rounds):
                ours = monitor_takes(folder / f"{qos}-{number}", server, qos, count)
                rounds.append({"ours": ours, "bare": parser_takes(qos, count)})
            out[f"qos{qos}"] = rounds
            lost = sum(r["ours"]["lost"] for r in rounds)
            row = {
                "name": f"mqtt.sustained.qos{qos}", "peer_name": "bare parser",
                "ours": median(r["ours"]["per_s"] for r in rounds),
                "peer": median(r["bare"]["per_s"] for r in rounds),
            }  # fmt: skip
            out["rows"].append(row | ({"met": False, "note": f"{lost} readings lost"} if lost else {}))
    print(json.dumps(out))


if __name__ == "__main__":
    main()
