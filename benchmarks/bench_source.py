"""A pre-encoded source without a broker → decoded, judged, evaluated, in the log: one core; beside the bare parser.

The generator is the broker and has one processor to itself; the monitor (no projection, no screen) or the parser has
the other. Rounds alternate; the monitor stays, idle, while the parser runs. A rate is the readings in the log over
the time from the first one received to the last record; what the monitor sheds does not count. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from child import Child
from load.generator import Load
from monitor import HERE, Monitor, bench_folder
from rig import GRACE_S, median
from support.instance import free_port

SUBJECT_CPU, LOAD_CPU = 0, 1
SERIES = {"1k": 1_000, "100k": 100_000}
READINGS = 5_000_000
PARSER_READINGS = 8_000_000
WARM_UP = 200_000
START_S = 300.0
"""A pack of 100,000 series takes its time to be read."""


def source(series: int) -> tuple[Load, int]:
    """A generator that waits for its subscriber, and its port."""
    port = free_port()
    load = Load("source", port, series=series, cpu=LOAD_CPU)
    time.sleep(0.5)
    return load, port


def parser_takes(series: int, readings: int) -> dict[str, Any]:
    """The bare parser."""
    load, port = source(series)
    command = [sys.executable, str(HERE / "peers" / "bare.py"), str(port), "0"]
    with closing(load), closing(Child(command, cpu=SUBJECT_CPU)) as parser:
        assert parser.hear(20) == "ready"
        load.wait_ready()
        load.go(0, readings)
        end = time.monotonic() + GRACE_S
        while int(parser.ask("count")) < readings and time.monotonic() < end:
            time.sleep(0.05)
        found = json.loads(parser.ask("report"))
    return {
        "per_s": round(found["count"] / (found["last_ns"] - found["first_ns"]) * 1e9),
        "count": found["count"],
    }


def monitor_takes(monitor: Monitor, load: Load, readings: int) -> dict[str, Any]:
    """One run of the monitor that has subscribed."""
    before, taken, cpu = monitor.reader().last_number, monitor.readings(), monitor.cpu()
    went = load.go(0, readings, timeout_s=600)
    settle(monitor, taken + readings)
    cpu = monitor.cpu() - cpu
    logged = monitor.logged(before)
    return {
        "per_s": round(logged.rate), "logged": logged.rows, "shed": readings - logged.rows, "generator": went["generator"],
        "cpu_us": round(cpu / max(1, logged.rows) * 1e6, 3),
    }  # fmt: skip


def settle(monitor: Monitor, wanted: int) -> None:
    """Until all has been taken, or nothing more comes (what was shed never does)."""
    last, since = -1, time.monotonic()
    while (now := monitor.readings()) < wanted and time.monotonic() - since < 2.0:
        if now != last:
            last, since = now, time.monotonic()
        time.sleep(0.1)


def measure(folder: Path, series: int, rounds: int, scale: float) -> list[dict[str, Any]]:
    """All rounds with that many series."""
    load, port = source(series)
    with closing(load), closing(
        Monitor(folder, f"mqtt://127.0.0.1:{port}", series=series, cpu=SUBJECT_CPU, qos=0)
    ) as monitor:  # fmt: skip
        monitor.begin(START_S)
        load.wait_ready(60)
        monitor_takes(monitor, load, int(WARM_UP * scale))
        return [
            {
                "ours": monitor_takes(monitor, load, int(READINGS * scale)),
                "bare": parser_takes(series, int(PARSER_READINGS * scale)),
            }
            for _ in range(rounds)
        ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(SERIES), help="of " + ", ".join(SERIES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of readings")
    given = parser.parse_args()
    if len(os.sched_getaffinity(0)) < 2:
        raise SystemExit("this needs two processors: one for the source, one for what is measured")
    out: dict[str, Any] = {"rows": []}
    for name in given.names:
        with bench_folder() as folder:
            rounds = measure(folder, SERIES[name], given.rounds, given.scale)
        out[name] = rounds
        shed = sum(r["ours"]["shed"] for r in rounds)
        row = {
            "name": f"source.{name}", "peer_name": "bare parser",
            "ours": median(r["ours"]["per_s"] for r in rounds), "peer": median(r["bare"]["per_s"] for r in rounds),
        }  # fmt: skip
        out["rows"].append(row | ({"note": f"{shed} readings shed"} if shed else {}))
    print(json.dumps(out))


if __name__ == "__main__":
    main()
