"""Where an MQTT broker is and how to speak to it (`Broker`), and the paho client that does so."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from ioc.errors import ConfigError
from ioc.ingest.fastsocket import READ_BYTES, FastClient, FastSocket
from ioc.ingest.frames import PROTOCOL_ERROR, TOO_LARGE, BadPacket, Cutter

CONNECT_TIMEOUT_S = 5.0
RECEIVE_MAX = 65_535
"""How many unacknowledged messages a broker may send under MQTT 5: as many as there are packet ids."""
TOPIC_ALIAS_MAX = 1024
HALF_DELIVERED_MAX = 100
"""How many QoS 2 messages, which we never ask for, paho may hold until the broker says that they count."""


@dataclass(frozen=True, slots=True)
class Broker:
    """One broker and our session there. The fields are those of `[mqtt]` in the settings."""

    host: str
    port: int
    transport: Literal["tcp", "websockets"] = "tcp"
    path: str = "/mqtt"
    """Of the websocket."""
    tls: bool = False
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    username: str = ""
    password: str = ""
    client_id: str = "ioc-monitor"
    topics: tuple[str, ...] = ("ioc/v1/#",)
    qos: int = 1
    keepalive_s: int = 20
    protocol: Literal["3.1.1", "5"] = "3.1.1"
    session_expiry_s: int = 0xFFFFFFFF
    packet_bytes_max: int = 4 << 20
    fast: bool = True

    @property
    def v5(self) -> bool:
        """Whether MQTT 5 is spoken."""
        return self.protocol == "5"

    @property
    def address(self) -> str:
        """For people."""
        return f"{self.host}:{self.port}"


def make_client(broker: Broker, *, fast: bool) -> paho.Client:
    """A client that has not connected yet; a FastClient if `fast`. Raises ConfigError naming the setting."""
    options: dict[str, Any] = {
        "callback_api_version": CallbackAPIVersion.VERSION2,
        "client_id": broker.client_id,
        "clean_session": None if broker.v5 else False,
        "protocol": MQTTProtocolVersion.MQTTv5 if broker.v5 else MQTTProtocolVersion.MQTTv311,
        "transport": broker.transport,
        "reconnect_on_failure": False,
        "manual_ack": True,
    }
    client = FastClient(_cutters(broker), **options) if fast else paho.Client(**options)
    client.connect_timeout = CONNECT_TIMEOUT_S
    if broker.transport == "websockets":
        client.ws_set_options(path=broker.path)
    if broker.username:
        client.username_pw_set(broker.username, broker.password)
    if broker.tls:
        client.tls_set_context(_tls(broker))
    return client


def connect(client: paho.Client, broker: Broker) -> None:
    """Connect and shake hands for TLS and websocket, in one blocking call. Raises OSError or ValueError."""
    if not broker.v5:
        client.connect(broker.host, broker.port, broker.keepalive_s)
        return
    wanted = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    wanted.SessionExpiryInterval = broker.session_expiry_s
    wanted.ReceiveMaximum = RECEIVE_MAX
    wanted.MaximumPacketSize = broker.packet_bytes_max
    if isinstance(client, FastClient):
        # paho by itself does not resolve aliases.
        wanted.TopicAliasMaximum = TOPIC_ALIAS_MAX
    client.connect(broker.host, broker.port, broker.keepalive_s, clean_start=False, properties=wanted)


def subscribe(client: paho.Client, broker: Broker) -> None:
    """Ask for the topics."""
    if broker.v5:
        client.subscribe([(topic, SubscribeOptions(qos=broker.qos)) for topic in broker.topics])
    else:
        client.subscribe([(topic, broker.qos) for topic in broker.topics])


def told(reason: ReasonCode, properties: Properties | None) -> str:
    """A reason code, and what the broker adds to it, for people."""
    text = getattr(properties, "ReasonString", "")
    return f"{reason}: {text}" if text else str(reason)


def overgrown(client: paho.Client, broker: Broker) -> BadPacket | None:
    """What paho by itself would let the broker do to our memory.

    It looks at what is private to paho, and finds nothing should that change.
    """
    announced = getattr(client, "_in_packet", {}).get("remaining_length", 0)
    if announced > broker.packet_bytes_max:
        return BadPacket(
            f"a packet of {announced} bytes, at most {broker.packet_bytes_max} are taken", TOO_LARGE
        )
    if len(getattr(client, "_in_messages", ())) > HALF_DELIVERED_MAX:
        return BadPacket("QoS 2, which was not asked for, and never completed", PROTOCOL_ERROR)
    given = client.socket()
    transport = given.transport if isinstance(given, FastSocket) else given
    if len(getattr(transport, "_readbuffer", b"")) > broker.packet_bytes_max + READ_BYTES:
        return BadPacket("a websocket frame that does not end", TOO_LARGE)
    return None


def _cutters(broker: Broker) -> Callable[[], Cutter]:
    def new() -> Cutter:
        return Cutter(broker.packet_bytes_max, v5=broker.v5, alias_max=TOPIC_ALIAS_MAX if broker.v5 else 0)

    return new


def _tls(broker: Broker) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=broker.ca_file)
    except OSError as error:
        raise ConfigError(f"mqtt.ca_file: {broker.ca_file}: {error}") from error
    if broker.cert_file:
        try:
            context.load_cert_chain(broker.cert_file, broker.key_file)
        except OSError as error:
            raise ConfigError(f"mqtt.cert_file, mqtt.key_file: {broker.cert_file}: {error}") from error
    return context
