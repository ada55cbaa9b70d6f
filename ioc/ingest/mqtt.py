"""MQTT through paho-mqtt, driven by asyncio without a thread of its own.

Owns the connection and the ack handles. A message is acknowledged after its record is durable, in the order of
receipt; a handle of an older connection is dropped, since the broker sends that message again.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import paho.mqtt.client as paho
import structlog
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from ioc.errors import BrokerUnavailable
from ioc.ingest.decoder import Decoded, Decoder, rejection
from ioc.model import Body, Message, Reason, SourceState

STATE_TOPIC = "ioc/v1/system/monitor/state"
BACKOFF_MIN_S = 0.5
BACKOFF_MAX_S = 30.0
CONNECT_TIMEOUT_S = 5.0
STEADY_S = 30.0
"""A connection that ends sooner does not reset the backoff: two clients of one id would throw each other out for ever."""
MESSAGES_PER_READ = 500
"""How many messages one turn of the loop takes, so that a flood leaves room for the screens."""

log = structlog.get_logger()


class Sink(Protocol):
    """Where decoded bodies go (the spine)."""

    @property
    def full(self) -> bool:
        """Whether to wait."""

    def offer(
        self,
        body: Body,
        origin: str = "",
        release: Callable[[], None] | None = None,
        *,
        may_shed: bool = False,
    ) -> None:
        """Queue a body; `release` once it is durable and fed."""

    def received_us(self) -> int:
        """The wall clock."""


class MqttSource:
    """One broker, one persistent session. `run` keeps it connected until cancelled."""

    def __init__(
        self,
        name: str,
        *,
        host: str,
        port: int,
        tls: bool,
        ca_file: str | None,
        username: str,
        password: str,
        client_id: str,
        topics: tuple[str, ...],
        qos: int,
        keepalive_s: int,
        decoder: Decoder,
        sink: Sink,
        generation: int = 0,
    ) -> None:
        self.name = name
        self.generation = generation
        self.connected = False
        self.last_error = ""
        self._host, self._port, self._keepalive_s = host, port, keepalive_s
        self._topics, self._qos = topics, qos
        self._decoder, self._sink = decoder, sink
        self._gathered: list[tuple[Message, int]] = []
        """Messages of this turn with their packet ids, 0 for QoS 0."""
        self._outstanding: deque[list[int]] = deque()
        """Packet ids of each group that the log has not released yet, in the order of receipt."""
        self._paused = False
        self._lost = asyncio.Event()
        self._accepted = asyncio.Event()
        self._client = self._make_client(client_id, username, password, tls, ca_file)

    def _make_client(
        self, client_id: str, username: str, password: str, tls: bool, ca_file: str | None
    ) -> paho.Client:
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            clean_session=False,
            protocol=MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        client.connect_timeout = CONNECT_TIMEOUT_S
        if username:
            client.username_pw_set(username, password)
        if tls:
            client.tls_set_context(ssl.create_default_context(cafile=ca_file))
        client.will_set(STATE_TOPIC, b"offline", qos=1, retain=True)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_socket_register_write = self._on_register_write
        client.on_socket_unregister_write = self._on_unregister_write
        client.on_socket_close = self._on_socket_close
        return client

    async def run(self) -> None:
        """Connect, serve, and connect again with backoff and full jitter, until cancelled."""
        self._loop = asyncio.get_running_loop()
        ceiling = BACKOFF_MIN_S
        try:
            while True:
                try:
                    await self._connect()
                    begun = self._loop.time()
                    await self._serve()
                    if self._loop.time() - begun > STEADY_S:
                        ceiling = BACKOFF_MIN_S
                except BrokerUnavailable as error:
                    if str(error) != self.last_error:
                        log.warning("broker unavailable", source=self.name, reason=str(error))
                    self.last_error = str(error)
                # Jitter keeps a hundred monitors from knocking at a recovering broker in step.
                await asyncio.sleep(random.uniform(BACKOFF_MIN_S / 5, ceiling))
                ceiling = min(ceiling * 2, BACKOFF_MAX_S)
        finally:
            self._farewell()

    async def _connect(self) -> None:
        self._lost.clear()
        self._accepted.clear()
        try:
            # paho connects and shakes hands for TLS in one blocking call.
            await asyncio.to_thread(self._client.connect, self._host, self._port, self._keepalive_s)
        except (OSError, ValueError) as error:
            raise BrokerUnavailable(f"{self._host}:{self._port}: {error}") from error
        socket = self._client.socket()
        if socket is None:
            raise BrokerUnavailable(f"{self._host}:{self._port}: closed while connecting")
        self._paused = False
        self._loop.add_reader(socket, self._on_readable)
        self._client.loop_write()
        waits = [asyncio.ensure_future(self._accepted.wait()), asyncio.ensure_future(self._lost.wait())]
        try:
            await asyncio.wait(waits, timeout=CONNECT_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if not self._accepted.is_set() or self._lost.is_set():
            self._client.disconnect()
            self._drop_socket()
            raise BrokerUnavailable(f"{self._host}:{self._port}: {self.last_error or 'no answer to CONNECT'}")

    async def _serve(self) -> None:
        """Until the connection is lost."""
        while not self._lost.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._lost.wait(), 1.0)
            if not self._lost.is_set() and not self._paused:
                self._client.loop_misc()

    def resume(self) -> None:
        """The sink may have room again."""
        if not self._paused or self._sink.full:
            return
        self._paused = False
        socket = self._client.socket()
        if socket is not None:
            self._loop.add_reader(socket, self._on_readable)

    # What paho calls, always from the loop's thread except `_on_register_write` while connecting.

    def _on_connect(
        self,
        client: paho.Client,
        userdata: Any,
        flags: Any,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if reason.is_failure:
            self.last_error = f"refused: {reason}"
            self._lost.set()
            return
        self.connected = True
        self.last_error = ""
        self.generation += 1
        self._outstanding.clear()
        self._accepted.set()
        client.subscribe([(topic, self._qos) for topic in self._topics])
        client.publish(STATE_TOPIC, b"online", qos=1, retain=True)
        log.info("connected", source=self.name, generation=self.generation)
        self._sink.offer(SourceState(self.name, True, self.generation), self._origin())

    def _on_disconnect(
        self,
        client: paho.Client,
        userdata: Any,
        flags: Any,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        self._lost.set()
        if self.connected:
            self.connected = False
            self.last_error = str(reason)
            log.warning("disconnected", source=self.name, reason=str(reason))
            self._flush()
            self._sink.offer(SourceState(self.name, False, self.generation, str(reason)), self._origin())

    def _on_message(self, client: paho.Client, userdata: Any, message: paho.MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = "<topic is not UTF-8>"
        taken = Message(self.name, topic, bytes(message.payload), self._sink.received_us(), message.retain)
        self._gathered.append((taken, message.mid if message.qos else 0))

    def _on_register_write(self, client: paho.Client, userdata: Any, socket: Any) -> None:
        self._loop.call_soon_threadsafe(self._want_write)

    def _want_write(self) -> None:
        socket = self._client.socket()
        if socket is not None and self._client.want_write():
            self._loop.add_writer(socket, self._client.loop_write)

    def _on_unregister_write(self, client: paho.Client, userdata: Any, socket: Any) -> None:
        with contextlib.suppress(ValueError, OSError):
            self._loop.remove_writer(socket)

    def _on_socket_close(self, client: paho.Client, userdata: Any, socket: Any) -> None:
        with contextlib.suppress(ValueError, OSError):
            self._loop.remove_reader(socket)
            self._loop.remove_writer(socket)

    def _on_readable(self) -> None:
        if self._sink.full and self.connected:
            self._pause()
            return
        socket = self._client.socket()
        while socket is not None and len(self._gathered) < MESSAGES_PER_READ:
            before = len(self._gathered)
            if self._client.loop_read() != MQTTErrorCode.MQTT_ERR_SUCCESS:
                break
            # TLS may hold decrypted bytes that no selector sees.
            if len(self._gathered) == before and not (isinstance(socket, ssl.SSLSocket) and socket.pending()):
                break
        self._flush()

    def _pause(self) -> None:
        self._paused = True
        socket = self._client.socket()
        if socket is not None:
            self._loop.remove_reader(socket)

    # From messages to the sink, and back.

    def _flush(self) -> None:
        gathered, self._gathered = self._gathered, []
        if not gathered:
            return
        decoded = Decoded()
        for message, _ in gathered:
            if message.topic != STATE_TOPIC:
                self._decode(message, decoded)
        mids = [mid for _, mid in gathered if mid]
        bodies: list[Body] = list(decoded.rejected)
        batch = decoded.batch(self.name)
        if batch is not None:
            bodies.append(batch)
        if not bodies:
            self._ack_in_order(mids)
            return
        origin = self._origin()
        for body in bodies[:-1]:
            self._sink.offer(body, origin)
        if mids:
            self._outstanding.append(mids)
            self._sink.offer(bodies[-1], origin, self._releaser(mids))
        else:
            self._sink.offer(bodies[-1], origin, may_shed=True)

    def _decode(self, message: Message, decoded: Decoded) -> None:
        """A fault of ours in one message must not cost the others that came with it."""
        try:
            self._decoder.feed(message, decoded)
        except Exception as error:
            log.exception("the decoder failed", source=self.name, topic=message.topic)
            decoded.rejected.append(rejection(message, Reason.DECODER_FAILED, repr(error)))

    def _ack_in_order(self, mids: list[int]) -> None:
        """Of messages that leave no record: at once, unless earlier ones are still on their way."""
        if self._outstanding:
            self._outstanding[-1].extend(mids)
        else:
            for mid in mids:
                self._client.ack(mid, 1)

    def _releaser(self, mids: list[int]) -> Callable[[], None]:
        generation = self.generation

        def release() -> None:
            if generation != self.generation or not self.connected:
                return
            assert self._outstanding
            assert self._outstanding[0] is mids
            self._outstanding.popleft()
            for mid in mids:
                self._client.ack(mid, 1)

        return release

    def _origin(self) -> str:
        return f"{self.name}#{self.generation}"

    def _drop_socket(self) -> None:
        socket = self._client.socket()
        if socket is not None:
            self._on_socket_close(self._client, None, socket)

    def _farewell(self) -> None:
        """A clean end says so itself: the last will speaks only for a crash."""
        if self.connected:
            self._client.publish(STATE_TOPIC, b"offline", qos=1, retain=True)
            self._client.disconnect()
            self._client.loop_write()
        self._drop_socket()
