"""Publish → websocket frame at held rates, durable before shown, and the CPU a message in the same run; beside Node-RED.

A round is a fresh broker and subject, then every rate in turn; rounds alternate. Figures are medians over the rounds;
CPU is that of all the subject's processes, the projection's until it has stored the last reading. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from monitor import bench_folder, database
from peers.nodered import NoNodeRed
from rig import Rig, Run, median, node_red_rig, our_rig

RATES = {"2k": 2_000, "20k": 20_000}
QOS = 0


def runs(rig: Rig, seconds: float) -> dict[str, Run]:
    """One run at each rate."""
    return {name: rig.run(rate, int(rate * seconds)) for name, rate in RATES.items()}


def their_runs(folder: Path, seconds: float) -> tuple[dict[str, Run], str]:
    """Node-RED's, and its name; nothing, and why, where it cannot be had."""
    try:
        with node_red_rig(folder, qos=QOS) as (rig, version):
            return runs(rig, seconds), f"Node-RED {version}"
    except NoNodeRed as error:
        return {}, str(error)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0, help="at each rate")
    given = parser.parse_args()
    ours: list[dict[str, Run]] = []
    theirs: list[dict[str, Run]] = []
    peer = ""
    with bench_folder() as folder, database() as server:
        for number in range(given.rounds):
            with our_rig(folder / f"ours-{number}", server, qos=QOS) as (rig, _):
                ours.append(runs(rig, given.seconds))
            found, peer = their_runs(folder / f"theirs-{number}", given.seconds)
            theirs += [found] if found else []
    rows: list[dict[str, Any]] = []
    for name in RATES:
        whole = all(run[name].lost == 0 and run[name].alerts_lost == 0 for run in ours)
        for row, figure in (
            (f"latency.{name}.p50", "p50_ms"), (f"latency.{name}.p99", "p99_ms"), (f"cpu.{name}", "cpu_us"),
        ):  # fmt: skip
            made = {
                "name": row,
                "ours": median(getattr(run[name], figure) for run in ours),
                "peer": median(getattr(run[name], figure) for run in theirs),
            }
            made |= {"peer_name": peer} if theirs else {"note": peer}
            rows.append(made | ({} if whole else {"met": False, "note": "something was lost"}))
    raw = {"ours": ours, "node_red": theirs}
    print(
        json.dumps(
            {
                "rows": rows,
                "peer": peer,
                "qos": QOS,
                **{
                    who: [{name: run.as_json() for name, run in one.items()} for one in all_]
                    for who, all_ in raw.items()
                },
            }
        )
    )


if __name__ == "__main__":
    main()
