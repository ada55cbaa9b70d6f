"""The services themselves: what every other test builds on."""

from __future__ import annotations

import ssl
from collections.abc import Callable

import asyncpg
import paho.mqtt.client as mqtt
import pytest

from services.common import wait_until
from services.mosquitto import Mosquitto
from services.timescale import PlainPostgres, Timescale

pytestmark = pytest.mark.services


async def test_each_database_is_fresh_and_has_timescaledb(database: str) -> None:
    connection = await asyncpg.connect(database)
    try:
        await connection.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
        await connection.execute("CREATE TABLE here (at timestamptz NOT NULL)")
        assert await connection.fetchval("SELECT create_hypertable('here', 'at')::text")
    finally:
        await connection.close()


@pytest.mark.timeout(60)
async def test_a_killed_database_server_comes_back_with_what_it_had_committed(
    durable_timescale: Timescale,
) -> None:
    connection = await asyncpg.connect(durable_timescale.dsn())
    await connection.execute("CREATE TABLE here (n int); INSERT INTO here VALUES (7)")
    durable_timescale.kill()
    connection.terminate()
    durable_timescale.start()
    connection = await asyncpg.connect(durable_timescale.dsn())
    try:
        assert await connection.fetchval("SELECT n FROM here") == 7
    finally:
        await connection.close()


async def test_plain_postgres_knows_no_timescaledb(
    plain_postgres: PlainPostgres, plain_database: str
) -> None:
    connection = await asyncpg.connect(plain_database)
    try:
        assert not await connection.fetchval(
            "SELECT count(*) FROM pg_available_extensions WHERE name = 'timescaledb'"
        )
    finally:
        await connection.close()


def _received(broker: Mosquitto, prepare: Callable[[mqtt.Client], None] = lambda client: None) -> list[bytes]:
    """Publish one message and take it back, as one client."""
    got: list[bytes] = []
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
    prepare(client)
    client.on_message = lambda _client, _data, message: got.append(message.payload)
    client.on_connect = lambda *_: client.subscribe("a/b", 1)
    client.on_subscribe = lambda *_: client.publish("a/b", b"xin ch\xc3\xa0o", 1)
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    try:
        wait_until(lambda: bool(got), 5.0, f"the message comes back\n{broker.log()}")
    finally:
        client.disconnect()
        client.loop_stop()
    return got


def test_the_broker_passes_messages_and_comes_back_on_its_port(mosquitto: Mosquitto) -> None:
    assert "version 2.0.21" in mosquitto.log()
    assert _received(mosquitto) == ["xin chào".encode()]
    port = mosquitto.port
    mosquitto.kill()
    mosquitto.start()
    assert mosquitto.port == port
    assert _received(mosquitto) == ["xin chào".encode()]


def test_the_broker_asks_for_passwords_and_speaks_tls(new_mosquitto: Callable[..., Mosquitto]) -> None:
    broker = new_mosquitto(users={"ioc": "mật khẩu"}, tls=True)

    def prepare(client: mqtt.Client) -> None:
        client.tls_set(str(broker.ca_file), tls_version=ssl.PROTOCOL_TLS_CLIENT)
        client.username_pw_set("ioc", "mật khẩu")

    assert broker.url == f"mqtts://127.0.0.1:{broker.port}"
    assert _received(broker, prepare) == ["xin chào".encode()]


@pytest.mark.browser
def test_chromium_is_there(chromium: str) -> None:
    assert chromium.startswith("/")
