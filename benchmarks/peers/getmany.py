"""aiokafka's `getmany` alone: what its consumer can fetch, nothing done with it. A process of its own.

getmany.py BROKERS TOPIC RECORDS    prints JSON once that many records have come: records, seconds, cpu_s
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

from aiokafka import AIOKafkaConsumer


async def main() -> None:
    """Fetch to the end."""
    brokers, topic, wanted = sys.argv[1], sys.argv[2], int(sys.argv[3])
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=brokers, group_id=f"getmany-{topic}", auto_offset_reset="earliest",
        enable_auto_commit=False,
    )  # fmt: skip
    await consumer.start()
    try:
        count, begun, cpu = 0, 0.0, 0.0
        while count < wanted:
            fetched = await consumer.getmany(timeout_ms=200)
            if fetched and not begun:
                begun, cpu = time.monotonic(), time.process_time()
            count += sum(map(len, fetched.values()))
        seconds, cpu_s = time.monotonic() - begun, time.process_time() - cpu
    finally:
        await consumer.stop()
    print(json.dumps({"records": count, "seconds": seconds, "cpu_s": cpu_s}), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
