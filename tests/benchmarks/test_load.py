"""The load generator, in C and in Python: the same readings, to a broker's subscriber that is this test."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from load import generator
from load.generator import FALLBACK, Load
from support.instance import until

SERIES, COUNT, ALERT_FROM = 1_000, 3_000, 100_000_000


@pytest.fixture(params=["c", "python"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "python":
        monkeypatch.setattr(generator, "program", lambda: FALLBACK)
    elif generator.program() == FALLBACK:
        pytest.skip("there is no C compiler here")
    return str(request.param)


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def subscriber(port: int, load: Load, qos: int) -> socket.socket:
    def connected() -> socket.socket | None:
        assert load.process.poll() is None
        link = socket.socket()
        if link.connect_ex(("127.0.0.1", port)) == 0:
            return link
        link.close()
        return None

    link = until(connected, 10, "source that listens")
    assert link is not None
    link.settimeout(10)
    link.sendall(b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01t")
    link.sendall(b"\x82\x0d\x00\x01\x00\x08ioc/v1/#" + bytes([qos]))
    assert exactly(link, 4) == b"\x20\x02\x00\x00"
    assert exactly(link, 5) == b"\x90\x03\x00\x01" + bytes([qos])
    load.wait_ready()
    return link


def exactly(link: socket.socket, count: int) -> bytes:
    out = b""
    while len(out) < count:
        got = link.recv(count - len(out))
        assert got
        out += got
    return out


def frames(link: socket.socket, count: int, qos: int) -> Iterator[tuple[str, bytes]]:
    """Topic and payload of each; QoS 1 is acknowledged one by one."""
    for _ in range(count):
        head = exactly(link, 3)
        assert head[0] == (0x32 if qos else 0x30)
        body = exactly(link, (head[1] & 127) | head[2] << 7)
        (length,) = struct.unpack_from(">H", body)
        at = 2 + length
        if qos:
            link.sendall(b"\x40\x02" + body[at : at + 2])
        yield body[2 : 2 + length].decode(), body[at + 2 * qos :]


@pytest.mark.parametrize("qos", [0, 1])
def test_a_source_streams_readings_that_rise_and_cross_one_in_a_hundred(
    kind: str, port: int, qos: int, tmp_path: Path
) -> None:
    load = Load("source", port, qos=qos, series=SERIES, sent=tmp_path / "sent", window=50)
    try:
        link = subscriber(port, load, qos)
        load.begin(0, COUNT)
        last: dict[str, tuple[int, float]] = {}
        alerts: list[int] = []
        for topic, payload in frames(link, COUNT, qos):
            assert len(payload) == 121
            reading = json.loads(payload)
            assert reading["q"] == "good"
            before_ms, before = last.get(topic, (0, 0.0))
            assert reading["t"] > before_ms
            if reading["v"] >= ALERT_FROM:
                alerts.append(reading["v"])
                assert before < ALERT_FROM, "the next reading of a series is back below"
            else:
                assert 20 <= reading["v"] < 30
            last[topic] = (reading["t"], reading["v"])
        went = load.done(10)
    finally:
        load.close()
    assert (went["generator"], went["sent"], went["acked"]) == (kind, COUNT, COUNT * qos)
    assert went["frame_bytes"] == 147 + 2 * qos
    assert set(last) == {f"ioc/v1/energy/s{i:03d}/kw" for i in range(SERIES)}
    assert alerts == list(range(ALERT_FROM, ALERT_FROM + COUNT // 100))
    noted = struct.iter_unpack("=qq", (tmp_path / "sent").read_bytes())
    assert [value for value, _ in noted] == alerts


def test_a_pace_is_kept_by_the_clock(kind: str, port: int) -> None:
    load = Load("source", port, series=10)
    try:
        link = subscriber(port, load, 0)
        load.begin(2_000, 500)
        assert sum(1 for _ in frames(link, 500, 0)) == 500
        assert load.done(10)["seconds"] >= 0.2
    finally:
        load.close()
