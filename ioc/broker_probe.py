"""What a broker does with messages that wait for a slow subscriber: found out by being one, on a session of its own.

Acknowledgements are withheld while more is published than a broker's defaults hold. What arrives meanwhile shows how
many it lets be in flight; what never arrives, how many it keeps. Nothing here touches the monitor's own session.
"""

from __future__ import annotations

import secrets
import threading
import time
from dataclasses import dataclass
from typing import Any

import paho.mqtt.client as paho

from ioc.errors import BrokerUnavailable
from ioc.publish import Publisher

TOPIC = "ioc/doctor/"
MESSAGES = 3_000
"""More than any default holds: mosquitto queues 1,000 and lets 20 be in flight."""
QUIET_S = 2.0
"""When nothing has arrived for this long, nothing more will."""
PATIENCE_S = 20.0


@dataclass(frozen=True, slots=True)
class Probed:
    """Of `sent` messages: how many arrived with every acknowledgement withheld, and how many in the end."""

    sent: int
    in_flight: int
    arrived: int


class _Subscriber:
    """A session that does not acknowledge until it is told to."""

    def __init__(self, publisher: Publisher, topic: str) -> None:
        self._held: list[int] = []
        self._holding = True
        self._ready = threading.Event()
        self._lock = threading.Lock()
        self.seen: set[bytes] = set()
        self._last_s = time.monotonic()
        self._client = publisher.sibling(f"ioc-doctor-{secrets.token_hex(4)}", manual_ack=True)
        self._client.on_connect = lambda client, *_: client.subscribe(topic, 1)
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message
        self._refused = ""

    def __enter__(self) -> _Subscriber:
        self._client.loop_start()
        if not self._ready.wait(5.0) or self._refused:
            self.__exit__()
            raise BrokerUnavailable(self._refused or "it does not answer to SUBSCRIBE")
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_subscribe(self, client: paho.Client, data: Any, mid: int, reasons: Any, properties: Any) -> None:
        if any(reason.is_failure for reason in reasons):
            self._refused = f"this login may not subscribe to {TOPIC}#"
        self._ready.set()

    def _on_message(self, client: paho.Client, data: Any, message: paho.MQTTMessage) -> None:
        with self._lock:
            self.seen.add(bytes(message.payload))
            self._last_s = time.monotonic()
            if self._holding:
                self._held.append(message.mid)
                return
        client.ack(message.mid, 1)

    def until_quiet(self) -> int:
        """How many have come when nothing comes any more."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < min(self._last_s + QUIET_S, deadline) and len(self.seen) < MESSAGES:
            time.sleep(0.02)
        return len(self.seen)

    def acknowledge(self) -> None:
        """Everything so far, and from now on at once."""
        with self._lock:
            held, self._held, self._holding = self._held, [], False
            self._last_s = time.monotonic()
        for mid in held:
            self._client.ack(mid, 1)


def probe(publisher: Publisher) -> Probed:
    """Ask the broker of an open publisher. Raises BrokerUnavailable where the login's rights or the line forbid it."""
    topic = TOPIC + secrets.token_hex(8)
    with _Subscriber(publisher, topic) as subscriber:
        for number in range(MESSAGES):
            publisher.publish(topic, b"%d" % number)
        in_flight = subscriber.until_quiet()
        subscriber.acknowledge()
        arrived = subscriber.until_quiet()
    if not arrived:
        raise BrokerUnavailable(f"nothing arrives under {TOPIC}#: this login may not publish there")
    return Probed(MESSAGES, in_flight, arrived)
