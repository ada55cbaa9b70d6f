"""The socket under paho: what it keeps from paho, what it passes on, and that writers never meet inside a packet."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.mqtt_packets import PINGRESP, publish

from ioc.ingest import fastsocket
from ioc.ingest.fastsocket import PAHO_TRIED, READ_BYTES, FastSocket, hook_fits, pubacks
from ioc.ingest.frames import Cutter

ROOT = Path(__file__).resolve().parents[2]


class Scripted:
    """A transport that gives and takes as told: bytes to receive, exceptions to raise; how much each `send` takes."""

    def __init__(self, gives: list[bytes | bytearray | Exception], takes: list[int | Exception]) -> None:
        self.gives, self.takes = gives, takes
        self.sent = b""
        self.held = 0

    def recv(self, size: int) -> bytes:
        if not self.gives:
            raise BlockingIOError
        given = self.gives.pop(0)
        if isinstance(given, Exception):
            raise given
        assert len(given) <= size
        return given

    def send(self, data: Any) -> int:
        taken = self.takes.pop(0) if self.takes else 1 << 20
        if isinstance(taken, Exception):
            raise taken
        self.sent += bytes(data[:taken])
        return min(taken, len(data))

    def pending(self) -> int:
        return self.held

    def fileno(self) -> int:
        return -1

    def close(self) -> None:
        pass

    def setblocking(self, flag: bool) -> None:
        pass


def scripted(
    *gives: bytes | bytearray | Exception, takes: list[int | Exception] | None = None
) -> tuple[FastSocket, Scripted]:
    transport = Scripted(list(gives), takes or [])
    return FastSocket(transport, Cutter(1 << 20)), transport


@pytest.fixture
def pair() -> Iterator[tuple[FastSocket, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        yield FastSocket(ours, Cutter(1 << 20)), theirs


def test_messages_go_past_paho_and_all_else_through_it(pair: tuple[FastSocket, socket.socket]) -> None:
    subject, broker = pair
    suback = b"\x90\x03\x00\x01\x01"
    broker.sendall(
        suback + publish(b"a", b"1") + publish(b"b", b"2", qos=2) + PINGRESP + publish(b"a", b"3")[:4]
    )
    cut = subject.fill()
    assert (cut.topics, cut.payloads) == ([b"a"], [b"1"])
    expected = suback + publish(b"b", b"2", qos=2) + PINGRESP
    assert subject.pending() == len(expected)
    assert subject.recv(1) + subject.recv(3) + subject.recv(1000) == expected
    with pytest.raises(BlockingIOError):
        subject.recv(1)
    broker.sendall(publish(b"a", b"3")[4:])
    assert subject.fill().payloads == [b"3"]


def test_the_end_of_the_stream_comes_after_what_was_before_it(pair: tuple[FastSocket, socket.socket]) -> None:
    subject, broker = pair
    broker.sendall(publish(b"a", b"1") + PINGRESP)
    broker.shutdown(socket.SHUT_WR)
    assert subject.fill().topics == [b"a"]
    assert not subject.ended
    assert subject.fill().topics == []
    assert subject.ended == fastsocket.CLOSED
    assert subject.recv(10) == PINGRESP
    assert subject.recv(10) == b""
    with pytest.raises(ConnectionError):
        subject.send(b"x")


def test_a_connection_that_breaks_says_why() -> None:
    subject, _ = scripted(publish(b"a", b"1"), ConnectionResetError("reset by peer"))
    assert subject.fill().topics == [b"a"]
    assert subject.ended == "reset by peer"
    subject.push(b"\x40\x02\x00\x01")
    assert not subject.wants_write


def test_it_reads_no_more_than_its_share_and_says_that_there_is_more() -> None:
    piece = publish(b"a", b"x" * 16_000)
    subject, transport = scripted(*[piece] * 100)
    assert len(subject.fill().topics) == -(-READ_BYTES // len(piece))
    assert subject.more
    while transport.gives:
        subject.fill()
    assert not subject.more


def test_bytearrays_are_taken_as_the_websocket_of_paho_2_1_gives_them() -> None:
    subject, _ = scripted(bytearray(publish(b"a", b"1") * 2))
    assert subject.fill().topics == [b"a", b"a"]


def test_what_tls_holds_back_is_read_although_no_selector_sees_it() -> None:
    records = [publish(b"a", b"1") for _ in range(5)]
    subject, transport = scripted(*records, ssl.SSLWantReadError())
    assert len(subject.fill().topics) == 5
    transport.gives[:] = [BlockingIOError(), publish(b"a", b"2")]
    transport.held = 9
    subject.fill()
    assert subject.more, "a control frame of the websocket hid what is behind it"


@given(st.lists(st.tuples(st.booleans(), st.binary(min_size=1, max_size=9)), max_size=20), st.data())
def test_writers_never_meet_inside_a_packet(writes: list[tuple[bool, bytes]], data: st.DataObject) -> None:
    takes = data.draw(
        st.lists(
            st.one_of(
                st.integers(0, 5),
                st.sampled_from([BlockingIOError(), ssl.SSLWantReadError(), ssl.SSLWantWriteError()]),
            ),
            max_size=40,
        )
    )
    subject, transport = scripted(takes=[*takes])
    for ours, packet in writes:
        if ours:
            subject.push(packet)
        else:
            assert subject.send(packet) == len(packet)
    while subject.wants_write:
        subject.flush()
    assert transport.sent == b"".join(packet for _, packet in writes)


def test_a_broker_that_takes_nothing_costs_bounded_memory() -> None:
    subject, _ = scripted(takes=[BlockingIOError()] * 10_000)
    acks = pubacks([b"\0\1"] * 65_535)
    for _ in range(100):
        subject.push(acks)
    assert subject.ended
    assert not subject.wants_write
    assert subject.recv(1) == b""


def test_what_tls_could_not_write_goes_with_the_next_read() -> None:
    subject, transport = scripted(publish(b"a", b"1"), takes=[ssl.SSLWantReadError()])
    subject.push(b"\x40\x02\x00\x01")
    assert subject.wants_write
    subject.fill()
    assert transport.sent == b"\x40\x02\x00\x01"


def test_acknowledgements_are_joined() -> None:
    assert pubacks([b"\0\1", b"\x12\x34"]) == b"\x40\x02\0\1\x40\x02\x12\x34"


# The hook into paho


def test_the_hook_fits_the_paho_that_is_locked() -> None:
    """Should this fail after an update: try the hook against the new paho (`test_mqtt*.py`), then add it to PAHO_TRIED."""
    assert hook_fits() == ""
    locked = re.search(r"^paho-mqtt==(\d+\.\d+)", (ROOT / "requirements.lock").read_text("utf-8"), re.M)
    assert locked and locked[1] in PAHO_TRIED


def test_a_paho_that_creates_its_socket_elsewhere_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    def elsewhere(self: paho.Client) -> Any:
        return self._make_a_socket()  # type: ignore[attr-defined]

    monkeypatch.setattr(paho.Client, "reconnect", elsewhere)
    assert "does not use its socket as expected" in hook_fits()


def test_a_paho_that_reads_otherwise_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paho.Client, "_sock_recv", lambda self, size: b"")
    assert "does not read" in hook_fits()


def test_a_paho_that_writes_otherwise_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paho.Client, "_sock_send", lambda self, data: len(data))
    assert "does not write" in hook_fits()


def test_a_paho_that_was_never_tried_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fastsocket, "paho_version", "2.9.0")
    assert "2.9 was never tried" in hook_fits()
