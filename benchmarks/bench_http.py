"""HTTP in: `POST /api/v1/readings` in batches of 1,000 over four connections that stay open. Prints JSON.

Each connection is a gateway with 250 series of its own: a request bears four moments of each, one reading in a hundred
above its limit, and the next request leaves when the last one was answered with 202, that is, durable. The bodies are
made beforehand. The monitor has no projection and no screen; the sender shares the machine with it. A rate is the
readings in the log over the time from the first one received to the last record.
"""

from __future__ import annotations

import argparse
import http.client
import json
import secrets
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from itertools import chain
from typing import Any

from bench_kafka import CROSS_EVERY, NAMES
from monitor import Monitor, bench_folder
from probe import ALERT_FROM
from rig import median
from services.mosquitto import Mosquitto

from ioc.credentials import token_digest
from ioc.model import AddToken, Scope
from ioc.offline import submit

GATEWAYS = 4
MOMENTS = 4
REQUESTS = 150
"""Of each gateway, in a round."""


def bodies(gateway: int, first_turn: int, requests: int, start_ms: int) -> list[bytes]:
    """The requests of one gateway: JSON arrays of 1,000 readings."""
    count = len(NAMES) // GATEWAYS
    names = NAMES[gateway * count : (gateway + 1) * count]
    out = []
    for request in range(requests):
        items = []
        for turn in range(first_turn + request * MOMENTS, first_turn + (request + 1) * MOMENTS):
            for index, name in enumerate(names):
                above = (index + 37 * turn) % CROSS_EVERY == CROSS_EVERY - 1
                value = ALERT_FROM + turn if above else 20 + (index * 7 + turn * 3) % 1000 / 100
                items.append(f'{{"series":"{name}","t":{start_ms + turn},"v":{value:.2f},"q":"good"}}')
        out.append(f"[{','.join(items)}]".encode())
    return out


def post(port: int, token: str, requests: Sequence[bytes]) -> list[int]:
    """Send them one after another; the statuses."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    statuses = []
    for body in requests:
        connection.request("POST", "/api/v1/readings", body, headers)
        reply = connection.getresponse()
        reply.read()
        statuses.append(reply.status)
    connection.close()
    return statuses


def one_round(monitor: Monitor, token: str, first_turn: int, requests: int, start_ms: int) -> dict[str, Any]:
    """All gateways at once."""
    made = [bodies(gateway, first_turn, requests, start_ms) for gateway in range(GATEWAYS)]
    before, cpu = monitor.reader().last_number, monitor.cpu()
    with ThreadPoolExecutor(GATEWAYS) as pool:
        answers = Counter(chain.from_iterable(pool.map(partial(post, monitor.port, token), made)))
    cpu = monitor.cpu() - cpu
    logged = monitor.logged(before)
    sent = requests * GATEWAYS * len(NAMES) // GATEWAYS * MOMENTS
    return {
        "per_s": round(logged.rate), "sent": sent, "logged": logged.rows, "answers": answers,
        "cpu_us": round(cpu / max(1, logged.rows) * 1e6, 3),
    }  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=REQUESTS, help="of each connection in a round")
    given = parser.parse_args()
    token = secrets.token_urlsafe(32)
    with (
        bench_folder() as folder,
        closing(Mosquitto()) as broker,
        closing(Monitor(folder, broker.url)) as monitor,
    ):
        command = AddToken(actor="system", token="bench", digest=token_digest(token), scope=Scope.READINGS)
        submit(monitor.data, command, source_clock=False)
        monitor.begin()
        start_ms = time.time_ns() // 1_000_000
        one_round(monitor, token, 0, 5, start_ms)
        rounds = []
        for number in range(given.rounds):
            first = MOMENTS * (5 + number * given.requests)
            rounds.append(one_round(monitor, token, first, given.requests, start_ms))
    row: dict[str, Any] = {"name": "http.batches", "ours": median(r["per_s"] for r in rounds)}
    if any(r["logged"] != r["sent"] for r in rounds):
        row |= {"met": False, "note": "not everything was taken"}
    print(json.dumps({"rows": [row], "rounds": rounds}))


if __name__ == "__main__":
    main()
