"""The highest paced rate at which nothing is lost and nothing is left waiting, QoS 0, everything on; beside Node-RED.

Both climb (or, from too high a start, descend) a ladder of rates, a fresh process and broker for every step, one step
of the one and one of the other. A step that fails is tried once more. The p99 at 95,000/s is the median of three
runs, and the CPU a message is that of the highest step. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from monitor import bench_folder, database
from peers.nodered import NoNodeRed, installed
from rig import Run, median, node_red_rig, our_rig
from services.timescale import Timescale

AT = 95_000
STEP = 5_000
OURS_FROM, THEIRS_FROM = 100_000, 60_000
Try = Callable[[int], Run]


def climb(attempt: Try, start: int, step: int) -> Iterator[Run]:
    """Runs up the ladder from `start` until one fails, or down until one is sound; the last sound one is the highest."""
    rate, gone_up = start, False
    while rate > 0:
        run = attempt(rate)
        if not run.sound:
            yield run
            run = attempt(rate)
        yield run
        if run.sound:
            gone_up = True
            rate += step
        elif gone_up:
            return
        else:
            rate -= step
            # Below the start the first sound one is the highest: the one above has failed.
            while rate > 0:
                run = attempt(rate)
                yield run
                if run.sound:
                    return
                rate -= step


def highest(runs: list[Run]) -> Run | None:
    """The fastest sound run."""
    return max((run for run in runs if run.sound), key=lambda run: run.asked, default=None)


class Bench:
    """Fresh subjects in numbered folders."""

    def __init__(self, folder: Path, server: Timescale, seconds: float) -> None:
        self._folder, self._server, self._seconds = folder, server, seconds
        self._number = 0

    def ours(self, rate: int) -> Run:
        """One run of the monitor."""
        with our_rig(self._fresh(), self._server, qos=0) as (rig, _):
            return rig.run(rate, int(rate * self._seconds))

    def theirs(self, rate: int) -> Run:
        """One run of Node-RED."""
        with node_red_rig(self._fresh()) as (rig, _):
            return rig.run(rate, int(rate * self._seconds))

    def _fresh(self) -> Path:
        self._number += 1
        return self._folder / str(self._number)


def alternately(ours: Iterator[Run], theirs: Iterator[Run]) -> tuple[list[Run], list[Run]]:
    """Both to their ends, a step of each in turn."""
    out: tuple[list[Run], list[Run]] = ([], [])
    waiting = [(0, ours), (1, theirs)]
    while waiting:
        for entry in list(waiting):
            run = next(entry[1], None)
            if run is None:
                waiting.remove(entry)
            else:
                out[entry[0]].append(run)
    return out


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=8.0, help="a step")
    parser.add_argument("--start", type=int, default=OURS_FROM)
    parser.add_argument("--peer-start", type=int, default=THEIRS_FROM)
    parser.add_argument("--step", type=int, default=STEP)
    parser.add_argument("--at", type=int, default=AT)
    given = parser.parse_args()
    peer_name, why = "", ""
    try:
        peer_name = f"Node-RED {installed()[2]}"
    except NoNodeRed as error:
        why = str(error)
    with bench_folder() as folder, database() as server:
        bench = Bench(folder, server, given.seconds)
        at = [bench.ours(given.at) for _ in range(3)]
        ours, theirs = alternately(
            climb(bench.ours, given.start, given.step),
            climb(bench.theirs, given.peer_start, given.step) if peer_name else iter(()),
        )
    best, peer = highest(ours + at), highest(theirs)
    p99: dict[str, Any] = {"name": "mqtt.p99.at_95k", "ours": median(run.p99_ms for run in at)}
    if not all(run.sound for run in at):
        p99 |= {"met": False, "note": "not all that was sent came through, or not in time"}
    rows = [
        {"name": "mqtt.highest.rate", "ours": best and best.asked, "peer": peer and peer.asked},
        p99,
        {"name": "cpu.highest", "ours": best and best.cpu_us, "peer": peer and peer.cpu_us},
    ]
    for row in rows:
        row |= {"peer_name": peer_name} if row.get("peer") else {"note": row.get("note", why)}
    print(
        json.dumps(
            {
                "rows": rows,
                "why_no_peer": why,
                "at": [run.as_json() for run in at],
                "ours": [run.as_json() for run in ours],
                "node_red": [run.as_json() for run in theirs],
            }
        )
    )


if __name__ == "__main__":
    main()
