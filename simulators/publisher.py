"""The simulators' MQTT client and their only clock: connects, publishes what the fleet has due, listens, stops."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any
from urllib.parse import unquote, urlsplit

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from simulators.fleet import Fleet

OUTSTANDING_MAX = 4_000
"""Messages without PUBACK beyond which the simulators wait for the broker."""
GATHER_S = 0.1
FLUSH_S = 2.0
CONNECT_S = 5.0
"""A run of a short duration waits at least this long for its broker."""
_REFUSALS = frozenset({"Bad user name or password", "Not authorized", "Client identifier not valid"})


class Refused(Exception):
    """The broker will not have us; trying again would not help."""


class Unreachable(Exception):
    """No broker answered within the time given to the whole run."""


@dataclass(frozen=True)
class Broker:
    """Where to publish, from `mqtt://user:password@host:port` or `mqtts://…`."""

    host: str
    port: int
    tls: bool
    user: str
    password: str

    @staticmethod
    def parse(url: str) -> Broker:
        """Raises ValueError with the accepted form."""
        parts = urlsplit(url)
        if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname:
            raise ValueError("the URL must look like mqtt://user:password@host:1883")
        tls = parts.scheme == "mqtts"
        port = parts.port or (8883 if tls else 1883)
        return Broker(parts.hostname, port, tls, unquote(parts.username or ""), unquote(parts.password or ""))


@dataclass
class Sent:
    """What one run published."""

    messages: int = 0
    readings: int = 0


class Publisher:
    """One run over one broker."""

    def __init__(
        self, broker: Broker, notice: Callable[[str, str], None], ca_file: str | None = None
    ) -> None:
        """`notice(kind, detail)` is told `connected`, `lost` and `unreachable`."""
        self._broker, self._notice = broker, notice
        self._connected = threading.Event()
        self._refusal = ""
        self._acked = 0
        self._heard: SimpleQueue[tuple[str, bytes]] = SimpleQueue()
        self._topics: list[str] = []
        client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv311)
        if broker.user:
            client.username_pw_set(broker.user, broker.password)
        if broker.tls:
            client.tls_set_context(ssl.create_default_context(cafile=ca_file))
        client.max_inflight_messages_set(OUTSTANDING_MAX)
        client.reconnect_delay_set(1, 8)
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        self._client = client

    def run(self, make: Callable[[int], Fleet], stop: threading.Event, duration_s: float = 0.0) -> Sent:
        """Publish until stopped or for a duration; `make` is given the start once connected.

        Raises Refused, or Unreachable if there is a duration and no broker answers meanwhile.
        """
        sent = Sent()
        self._topics = make(_now_us()).topics
        self._client.connect_async(self._broker.host, self._broker.port, keepalive=20)
        self._client.loop_start()
        try:
            patience_s = max(duration_s, CONNECT_S) if duration_s > 0 else float("inf")
            if self._wait_connected(stop, time.monotonic() + patience_s):
                self._publish(make(_now_us()), stop, duration_s, sent)
            elif not stop.is_set():
                raise Unreachable(f"{self._broker.host}:{self._broker.port}")
        finally:
            self._flush(sent)
            self._client.disconnect()
            self._client.loop_stop()
        return sent

    def _publish(self, fleet: Fleet, stop: threading.Event, duration_s: float, sent: Sent) -> None:
        end = time.monotonic() + duration_s if duration_s > 0 else float("inf")
        while not stop.is_set() and self._wait_connected(stop, end):
            self._listen(fleet)
            for message in fleet.due(_now_us()):
                self._client.publish(message.topic, message.payload, qos=1)
                sent.messages += 1
                sent.readings += message.readings
                while sent.messages - self._acked > OUTSTANDING_MAX and not stop.is_set():
                    if not self._connected.is_set():
                        break
                    stop.wait(0.002)
            wait_s = (fleet.next_us() - _now_us()) / 1e6
            stop.wait(
                min(max(wait_s, GATHER_S if fleet.gathers else 0.0), 0.5, max(end - time.monotonic(), 0.0))
            )

    def _listen(self, fleet: Fleet) -> None:
        while True:
            try:
                topic, payload = self._heard.get_nowait()
            except Empty:
                return
            fleet.heard(topic, payload, _now_us())

    def _wait_connected(self, stop: threading.Event, end: float) -> bool:
        while not stop.is_set() and time.monotonic() < end:
            if self._refusal:
                raise Refused(self._refusal)
            if self._connected.wait(0.1):
                return True
        return False

    def _flush(self, sent: Sent) -> None:
        end = time.monotonic() + FLUSH_S
        while self._connected.is_set() and self._acked < sent.messages and time.monotonic() < end:
            time.sleep(0.01)

    def _on_connect(self, client: mqtt.Client, _data: Any, _flags: Any, code: Any, _properties: Any) -> None:
        if code.is_failure:
            if str(code) in _REFUSALS:
                self._refusal = str(code)
            else:
                self._notice("unreachable", str(code))
            return
        client.subscribe([(topic, 0) for topic in self._topics])
        self._connected.set()
        self._notice("connected", f"{self._broker.host}:{self._broker.port}")

    def _on_connect_fail(self, _client: mqtt.Client, _data: Any) -> None:
        self._notice("unreachable", f"{self._broker.host}:{self._broker.port}")

    def _on_disconnect(
        self, _client: mqtt.Client, _data: Any, _flags: Any, code: Any, _properties: Any
    ) -> None:
        if self._connected.is_set() and code.is_failure:
            self._notice("lost", str(code))
        self._connected.clear()

    def _on_message(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        # A retained message is old news, not somebody's hand.
        if not message.retain:
            self._heard.put((message.topic, bytes(message.payload)))

    def _on_publish(self, _client: mqtt.Client, _data: Any, _mid: int, _code: Any, _properties: Any) -> None:
        self._acked += 1


def _now_us() -> int:
    return time.time_ns() // 1000
