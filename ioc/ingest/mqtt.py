"""MQTT through paho-mqtt, driven by asyncio without a thread of its own.

Owns the connection and the ack handles. A message is acknowledged after its record is durable, in the order of
receipt; a handle of an older connection is dropped, since the broker sends that message again.

Two ways to receive meet in a `Cut`: the fast one takes it from the socket under paho, the plain one gathers it from
paho's `on_message`. Everything after that is the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import paho.mqtt.client as paho
import structlog
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from ioc.errors import BrokerUnavailable
from ioc.ingest.broker import CONNECT_TIMEOUT_S, Broker, connect, make_client, overgrown, subscribe, told
from ioc.ingest.decoder import Decoded, Decoder, rejection
from ioc.ingest.fastsocket import FastSocket, hook_fits, pubacks
from ioc.ingest.frames import (
    DISCONNECT_WITH_WILL,
    PROTOCOL_ERROR,
    PUBLISH,
    TOO_LARGE,
    BadPacket,
    Cut,
    check_topic,
)
from ioc.ingest.source import Sink
from ioc.model import Body, Message, Reason, SourceState

STATE_TOPIC = "ioc/v1/system/monitor/state"
BACKOFF_MIN_S = 0.5
BACKOFF_MAX_S = 30.0
STEADY_S = 30.0
"""A connection that ends sooner does not reset the backoff: two clients of one id would throw each other out for ever."""
PACKETS_PER_READ = 500
"""How many packets paho handles in one turn of the loop, so that a flood leaves room for the screens."""
COALESCE_FROM = 8
"""So many messages in one read are load: the next read waits, since each one costs the broker and us a wake-up."""
COALESCE_S = 0.001
HEAVY_FROM = 100
"""So many in one read, none of which waits for an acknowledgement: fewer, larger records then cost the least."""
HEAVY_S = 0.002
"""How long it waits; the loop's clock makes 1–2 ms of it."""

log = structlog.get_logger()


@dataclass(slots=True)
class _Group:
    """The packet ids that one release acknowledges."""

    mids: list[bytes]
    mids_qos2: list[int]


class MqttSource:
    """One broker, one persistent session. `run` keeps it connected until cancelled.

    Raises ConfigError naming the setting if the certificates cannot be read.
    """

    kind = "mqtt"

    def __init__(
        self, name: str, broker: Broker, *, decoder: Decoder, sink: Sink, generation: int = 0
    ) -> None:
        self.name = name
        self.generation = generation
        self.connected = False
        self.last_error = ""
        self._broker, self._decoder, self._sink = broker, decoder, sink
        unfit = hook_fits() if broker.fast else ""
        if unfit:
            log.warning("the slow way is taken to receive MQTT", source=name, reason=unfit)
        self.fast = broker.fast and not unfit
        self._client = self._make_client()
        self._cut = Cut()
        """What this turn received."""
        self._mids_qos2: list[int] = []
        self._fault: BadPacket | None = None
        """Why the connection must end, found where paho cannot be told."""
        self._outstanding: deque[_Group] = deque()
        """What the log has not released yet, in the order of receipt."""
        self._listening = False
        self._paused = False
        self._timer: asyncio.TimerHandle | None = None
        self._lost = asyncio.Event()
        self._accepted = asyncio.Event()
        self._reason = ""
        """Why this connection ends, where we know better than paho."""

    def _make_client(self) -> paho.Client:
        client = make_client(self._broker, fast=self.fast)
        client.will_set(STATE_TOPIC, b"offline", qos=1, retain=True)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_socket_register_write = self._on_register_write
        client.on_socket_unregister_write = self._on_unregister_write
        client.on_socket_close = self._on_socket_close
        return client

    def lag(self) -> int | None:
        """A broker does not tell what waits in a session."""
        return None

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
        self._reason = ""
        self._fault = None
        self._cut, self._mids_qos2 = Cut(), []
        self._paused = False
        address = self._broker.address
        try:
            await asyncio.to_thread(connect, self._client, self._broker)
        except (OSError, ValueError) as error:
            raise BrokerUnavailable(f"{address}: {error}") from error
        if self._client.socket() is None:
            raise BrokerUnavailable(f"{address}: closed while connecting")
        self._listen()
        self._client.loop_write()
        waits = [asyncio.ensure_future(self._accepted.wait()), asyncio.ensure_future(self._lost.wait())]
        try:
            await asyncio.wait(waits, timeout=CONNECT_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if not self._accepted.is_set():
            self._drop_socket()
            raise BrokerUnavailable(f"{address}: {self._reason or 'no answer to CONNECT'}")

    async def _serve(self) -> None:
        """Until the connection is lost."""
        while not self._lost.is_set():
            # Not `wait_for`, which loses a cancellation that comes together with what it waits for.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await self._lost.wait()
            if not self._lost.is_set() and not self._paused:
                self._client.loop_misc()

    def resume(self) -> None:
        """The sink may have room again."""
        if self._paused and not self._sink.full and not self._lost.is_set():
            self._paused = False
            self._timer = self._loop.call_later(0, self._read)

    # What paho calls, always from the loop's thread except `_on_register_write` while connecting. None of it may end
    # the connection by itself: paho holds a lock.

    def _on_connect(
        self,
        client: paho.Client,
        userdata: Any,
        flags: Any,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if reason.is_failure:
            self._reason = f"refused: {told(reason, properties)}"
            self._lost.set()
            return
        if self.connected:
            # Taken for a new connection it would drop the acknowledgements that are under way on this one.
            self._fault = BadPacket("a second CONNACK", PROTOCOL_ERROR)
            return
        self.connected = True
        self.generation += 1
        self._outstanding.clear()
        self._accepted.set()
        subscribe(client, self._broker)
        client.publish(STATE_TOPIC, b"online", qos=1, retain=True)
        log.info("connected", source=self.name, generation=self.generation)
        self._sink.offer(SourceState(self.name, True, self.generation), self._origin())

    def _on_subscribe(
        self,
        client: paho.Client,
        userdata: Any,
        mid: int,
        reasons: list[ReasonCode],
        properties: Properties | None,
    ) -> None:
        refused = [
            f"{topic}: {told(reason, properties)}"
            for topic, reason in zip(self._broker.topics, reasons, strict=False)
            if reason.is_failure
        ]
        if not refused:
            return
        self.last_error = f"subscription refused: {'; '.join(refused)}"
        log.error("subscription refused", source=self.name, refused=refused)
        if len(refused) == len(self._broker.topics):
            self._fault = BadPacket(self.last_error, DISCONNECT_WITH_WILL)

    def _on_disconnect(
        self,
        client: paho.Client,
        userdata: Any,
        flags: paho.DisconnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        self._ended(told(reason, properties))

    def _on_message(self, client: paho.Client, userdata: Any, message: paho.MQTTMessage) -> None:
        """The plain way, and QoS 2 on both."""
        try:
            topic = message.topic.encode()
            check_topic(topic)
            if message.qos and not message.mid:
                raise BadPacket("PUBLISH with packet id 0", PROTOCOL_ERROR)
            if len(message.payload) + len(topic) > self._broker.packet_bytes_max:
                raise BadPacket("a packet larger than may be taken", TOO_LARGE)
        except UnicodeDecodeError:
            self._fault = BadPacket("the topic is not UTF-8")
            return
        except BadPacket as fault:
            self._fault = fault
            return
        self._cut.topics.append(topic)
        self._cut.payloads.append(bytes(message.payload))
        self._cut.heads.append(PUBLISH | message.dup << 3 | message.qos << 1 | message.retain)
        if message.qos == 1:
            self._cut.mids.append(message.mid.to_bytes(2, "big"))
        elif message.qos == 2:
            self._mids_qos2.append(message.mid)

    def _on_register_write(self, client: paho.Client, userdata: Any, socket: Any) -> None:
        self._loop.call_soon_threadsafe(self._look_to_writing)

    def _on_unregister_write(self, client: paho.Client, userdata: Any, socket: Any) -> None:
        self._look_to_writing()

    def _on_socket_close(self, client: paho.Client, userdata: Any, socket: Any) -> None:
        self._listening = False
        if self._timer is not None:
            self._timer.cancel()
        with contextlib.suppress(ValueError, OSError):
            self._loop.remove_reader(socket)
            self._loop.remove_writer(socket)

    # Writing

    def _look_to_writing(self) -> None:
        """Have the selector say when bytes can leave, if any wait to."""
        socket: Any = self._client.socket()
        if socket is None or self._lost.is_set():
            return
        if self._client.want_write() or (self.fast and socket.wants_write):
            self._loop.add_writer(socket, self._write)
        else:
            self._loop.remove_writer(socket)

    def _write(self) -> None:
        self._client.loop_write()
        socket = self._client.socket()
        if isinstance(socket, FastSocket):
            socket.flush()
        self._look_to_writing()

    # Reading

    def _listen(self) -> None:
        socket = self._client.socket()
        assert socket is not None
        self._listening = True
        self._loop.add_reader(socket, self._read)

    def _stop_listening(self) -> None:
        socket = self._client.socket()
        if self._listening and socket is not None:
            self._listening = False
            self._loop.remove_reader(socket)

    def _read(self) -> None:
        """Bytes may have come: take them, hand them on, and say how the next read comes about."""
        if self._sink.full and self.connected:
            self._stop_listening()
            self._paused = True
            return
        more = False
        try:
            more = self._receive_fast() if self.fast else self._receive_plain()
        except Exception as error:
            # paho's own parser may raise anything at nonsense.
            log.exception("reading failed", source=self.name)
            self._fault = BadPacket(f"unreadable: {error!r}")
        count = len(self._cut.topics)
        heavy = count >= HEAVY_FROM and not self._cut.mids
        fault = self._fault or self._cut.fault
        if self.connected:
            self._flush()
        elif count:
            fault = fault or BadPacket("PUBLISH before CONNACK", PROTOCOL_ERROR)
        if self._lost.is_set():
            return
        if fault is not None:
            self._lose(fault)
        elif more or count >= COALESCE_FROM:
            self._stop_listening()
            pause_s = HEAVY_S if heavy else COALESCE_S
            self._timer = self._loop.call_later(0 if more else pause_s, self._read)
        elif not self._listening:
            self._listen()

    def _receive_fast(self) -> bool:
        """From the socket under paho, which gets its share. Whether more is waiting."""
        socket = self._client.socket()
        assert isinstance(socket, FastSocket)
        if not socket.pending():
            self._cut = socket.fill()
        for _ in range(PACKETS_PER_READ):
            if not socket.pending():
                break
            self._client.loop_read()
            self._fault = self._fault or overgrown(self._client, self._broker)
            if self._fault or self._lost.is_set():
                return False
        if socket.ended and not socket.pending():
            self._reason = socket.ended
            self._client.loop_read()
            return False
        if self._broker.transport == "websockets":
            self._fault = overgrown(self._client, self._broker)
        return socket.more or socket.pending() > 0

    def _receive_plain(self) -> bool:
        """Packet by packet through paho. Whether more is waiting."""
        for _ in range(PACKETS_PER_READ):
            before = len(self._cut.topics)
            if self._client.loop_read() != MQTTErrorCode.MQTT_ERR_SUCCESS:
                return False
            self._fault = self._fault or overgrown(self._client, self._broker)
            socket = self._client.socket()
            if self._fault or socket is None:
                return False
            # TLS may hold decrypted bytes that no selector sees.
            held: Callable[[], int] = getattr(socket, "pending", lambda: 0)
            if len(self._cut.topics) == before and not held():
                return False
        return True

    # From messages to the sink, and back.

    def _flush(self) -> None:
        cut, self._cut = self._cut, Cut()
        group = _Group(cut.mids, self._mids_qos2)
        self._mids_qos2 = []
        if not cut.topics:
            return
        decoded = self._decode(cut)
        bodies: list[Body] = [one for one in decoded.rejected if one.topic != STATE_TOPIC]
        bodies += decoded.events
        batch = decoded.batch(self.name)
        if batch is not None:
            bodies.append(batch)
        if not (group.mids or group.mids_qos2):
            if bodies:
                self._sink.offer_all(bodies, self._origin(), may_shed=True)
        elif bodies:
            self._outstanding.append(group)
            self._sink.offer_all(bodies, self._origin(), self._releaser(group))
        elif self._outstanding:
            # What leaves no record is acknowledged with what came before it.
            self._outstanding[-1].mids.extend(group.mids)
            self._outstanding[-1].mids_qos2.extend(group.mids_qos2)
        else:
            self._acknowledge(group)

    def _decode(self, cut: Cut) -> Decoded:
        """A fault of ours in one message must not cost the others that came with it."""
        received_us = self._sink.received_us()
        decoded = Decoded()
        try:
            self._decoder.feed_frames(self.name, cut.topics, cut.payloads, cut.heads, received_us, decoded)
            return decoded
        except Exception:
            log.exception("the decoder failed, each message is tried by itself", source=self.name)
        decoded = Decoded()
        for topic, payload, head in zip(cut.topics, cut.payloads, cut.heads, strict=True):
            message = Message(self.name, topic.decode(), payload, received_us, bool(head & 1))
            try:
                self._decoder.feed(message, decoded)
            except Exception as error:
                decoded.rejected.append(rejection(message, Reason.DECODER_FAILED, repr(error)))
        return decoded

    def _releaser(self, group: _Group) -> Callable[[], None]:
        generation = self.generation

        def release() -> None:
            if generation != self.generation or not self.connected:
                return
            assert self._outstanding
            assert self._outstanding[0] is group
            self._outstanding.popleft()
            self._acknowledge(group)

        return release

    def _acknowledge(self, group: _Group) -> None:
        socket = self._client.socket()
        if isinstance(socket, FastSocket):
            if group.mids:
                socket.push(pubacks(group.mids))
                if socket.wants_write:
                    self._look_to_writing()
        else:
            for mid in group.mids:
                self._client.ack(int.from_bytes(mid, "big"), 1)
        for number in group.mids_qos2:
            self._client.ack(number, 2)

    def _origin(self) -> str:
        return f"{self.name}#{self.generation}"

    # The end of a connection

    def _lose(self, fault: BadPacket) -> None:
        """End the connection and say why; never from within paho."""
        self._reason = fault.reason
        if self._broker.v5 and self.connected:
            with contextlib.suppress(Exception):
                self._client.disconnect(ReasonCode(PacketTypes.DISCONNECT, identifier=fault.code))
                self._client.loop_write()
        self._drop_socket()
        self._ended(fault.reason)

    def _ended(self, reason: str) -> None:
        self._reason = self._reason or reason
        self._lost.set()
        if self.connected:
            self._flush()
            self.connected = False
            self.last_error = self._reason
            log.warning("disconnected", source=self.name, reason=self._reason)
            state = SourceState(self.name, False, self.generation, self._reason)
            self._sink.offer(state, self._origin())

    def _drop_socket(self) -> None:
        socket = self._client.socket()
        if socket is not None:
            self._on_socket_close(self._client, None, socket)
            # paho finds it closed when it connects again.
            socket.close()

    def _farewell(self) -> None:
        """A clean end says so itself: the last will speaks only for a crash."""
        if self.connected:
            self._client.publish(STATE_TOPIC, b"offline", qos=1, retain=True)
            self._client.disconnect()
            self._client.loop_write()
        self._drop_socket()
