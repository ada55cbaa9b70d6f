"""Publishing over MQTT from the command line: connect, keep a bounded number in flight, wait for every PUBACK."""

from __future__ import annotations

import threading
from types import TracebackType
from urllib.parse import unquote, urlsplit

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from ioc.errors import BrokerUnavailable

IN_FLIGHT_MAX = 500
_PORTS = {"mqtt": 1883, "mqtts": 8883, "ws": 80, "wss": 443}


class Publisher:
    """`with Publisher(url) as p: p.publish(topic, payload)`; leaving waits until all is acknowledged."""

    def __init__(
        self,
        url: str,
        *,
        username: str = "",
        password: str = "",
        ca_file: str | None = None,
        cert_file: str | None = None,
        key_file: str | None = None,
        client_id: str = "",
        qos: int = 1,
    ) -> None:
        parts = urlsplit(url if "//" in url else f"mqtt://{url}")
        if parts.scheme not in _PORTS or not parts.hostname:
            raise BrokerUnavailable(f"{url!r} is not like mqtt://[user:password@]host:port")
        self.address = f"{parts.hostname}:{parts.port or _PORTS[parts.scheme]}"
        self._host = parts.hostname
        self._port = int(self.address.rsplit(":", 1)[1])
        self._qos = qos
        self._room = threading.Semaphore(IN_FLIGHT_MAX)
        self._connected = threading.Event()
        self._refused = ""
        self._login = (unquote(parts.username or "") or username, unquote(parts.password or "") or password)
        self._tls = parts.scheme in ("mqtts", "wss")
        self._files = (ca_file, cert_file, key_file)
        self._websocket_path = (parts.path or "/mqtt") if parts.scheme.startswith("ws") else ""
        self._client = self._new_client(client_id)
        self._client.max_inflight_messages_set(IN_FLIGHT_MAX)
        self._client.on_publish = lambda *_: self._room.release()
        self._client.on_connect = self._on_connect

    def _new_client(self, client_id: str, *, manual_ack: bool = False) -> paho.Client:
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            manual_ack=manual_ack,
            transport="websockets" if self._websocket_path else "tcp",
        )
        if self._websocket_path:
            client.ws_set_options(path=self._websocket_path)
        client.connect_timeout = 5.0
        if any(self._login):
            client.username_pw_set(*self._login)
        if self._tls:
            client.tls_set(*self._files)
        return client

    def sibling(self, client_id: str, *, manual_ack: bool) -> paho.Client:
        """Another client of the same broker and login, connected, its loop not yet started."""
        client = self._new_client(client_id, manual_ack=manual_ack)
        self._connect(client)
        return client

    def _connect(self, client: paho.Client) -> None:
        try:
            client.connect(self._host, self._port, keepalive=30)
        except (OSError, ValueError) as error:
            raise BrokerUnavailable(f"no MQTT broker answers at {self.address}: {error}") from error

    def _on_connect(
        self, client: paho.Client, userdata: object, flags: object, reason: object, props: object
    ) -> None:
        if getattr(reason, "is_failure", False):
            self._refused = str(reason)
        self._connected.set()

    def __enter__(self) -> Publisher:
        self._connect(self._client)
        self._client.loop_start()
        if not self._connected.wait(5.0) or self._refused:
            self._client.loop_stop()
            raise BrokerUnavailable(f"{self.address}: {self._refused or 'no answer to CONNECT'}")
        return self

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Queue one message; blocks while too many are unacknowledged. Raises BrokerUnavailable after 30 s."""
        if not self._room.acquire(timeout=30.0):
            raise BrokerUnavailable(f"{self.address} acknowledges nothing any more")
        self._client.publish(topic, payload, self._qos, retain)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            for _ in range(IN_FLIGHT_MAX):
                if not self._room.acquire(timeout=30.0):
                    raise BrokerUnavailable(f"{self.address} has not acknowledged everything")
        self._client.disconnect()
        self._client.loop_stop()
