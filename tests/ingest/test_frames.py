"""The frame cutter: whatever bytes come and however they are cut, it finds what a plain reader finds."""

from __future__ import annotations

import itertools
import json
import os
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.mqtt_packets import PINGRESP, Read, number, packet, publish, read

from ioc.ingest import frames
from ioc.ingest.frames import BadPacket, Cut, Cutter

MAX = 40_000
ALIASES = 3
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "300"))
"""A few seconds; CI may ask for more."""


def cut_all(stream: bytes, cuts: list[int], v5: bool) -> Read:
    cutter = Cutter(MAX, v5=v5, alias_max=ALIASES)
    out = Read()
    edges = [0, *sorted({cut % (len(stream) + 1) for cut in cuts}), len(stream)]
    for begin, end in itertools.pairwise(edges):
        cut = cutter.feed(stream[begin:end])
        out.messages += zip(cut.topics, cut.payloads, cut.heads, strict=True)
        out.mids += cut.mids
        out.others += cut.others
        if cut.fault:
            out.faulty = True
            break
    return out


topics = st.one_of(
    st.sampled_from([b"a", b"ioc/v1/disaster/lao_cai/water_level", b"ioc/v1/x", "sông/Hồng".encode()]),
    st.text(max_size=5).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.sampled_from([b"", b"a/+", b"#", b"a\0b", b"\xff", b"\xed\xa0\x80", b"t" * 300, b"t" * 16_500]),
)
payloads = st.one_of(
    st.binary(max_size=8),
    st.integers(0, 200).map(lambda size: b"x" * size),
    st.sampled_from([b"y" * 127, b"y" * 16_360, b"y" * 16_390, b"y" * 39_000]),
)
texts = st.sampled_from([b"", b"text", "Việt".encode(), b"\0", b"\xff"]).map(
    lambda text: len(text).to_bytes(2, "big") + text
)
properties = st.lists(
    st.one_of(
        st.integers(0, 4).map(lambda alias: b"\x23" + alias.to_bytes(2, "big")),
        st.integers(0, 2).map(lambda value: bytes([1, value])),
        st.just(b"\x02\0\0\0\x09"),
        st.tuples(st.sampled_from([b"\x03", b"\x08", b"\x09"]), texts).map(b"".join),
        st.sampled_from([0, 1, 127, 128, 268_435_455]).map(lambda value: b"\x0b" + number(value)),
        st.tuples(st.just(b"\x26"), texts, texts).map(b"".join),
        st.sampled_from([b"\x00", b"\x7f\x01", b"\x0b\x80\x00", b"\x0b\xff\xff\xff\xff\x7f", b"\x23\x00"]),
        st.just(b"\x26\x00\x01k\x00\x96" + b"v" * 150),
    ),
    max_size=3,
).map(b"".join)


@st.composite
def packets(draw: st.DrawFn, v5: bool) -> bytes:
    what = draw(st.integers(0, 9))
    if what == 0:
        return draw(
            st.sampled_from([PINGRESP, b"\x20\x02\0\0", b"\x90\x03\0\1\1", b"\x40\x02\0\1", b"\xe0\x00"])
        )
    if what == 1:
        return draw(
            st.one_of(
                st.binary(min_size=1, max_size=6),
                st.builds(packet, st.integers(0, 255), st.binary(max_size=20)),
                st.sampled_from([b"\x30\xff\xff\xff\x7f", b"\x30\xff\xff\xff\xff\x01", b"\x30\x80\x00"]),
            )
        )
    qos = draw(st.sampled_from([0, 0, 0, 1, 1, 1, 2, 3]) if what == 2 else st.integers(0, 1))
    return publish(
        draw(
            topics if what < 5 else st.sampled_from([b"a", b"ioc/v1/x", b""] if v5 else [b"a", b"ioc/v1/x"])
        ),
        draw(payloads if what < 7 else st.sampled_from([b"1", b"22"])),
        qos=qos,
        mid=draw(st.sampled_from([1, 2, 255, 256, 65_535] + [0] * (what == 3))),
        flags=draw(st.sampled_from([0, 1] + [8, 9] * (qos > 0 or what == 3))),
        properties=draw(properties if what < 7 else st.sampled_from([b"", b"\x23\0\1", b"\x23\0\2"]))
        if v5
        else None,
    )


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, list[int], bool]:
    v5 = draw(st.booleans())
    stream = bytearray(b"".join(draw(st.lists(packets(v5), max_size=12))))
    for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
        if stream:
            stream[draw(st.integers(0, len(stream) - 1))] = draw(st.integers(0, 255))
    return bytes(stream), draw(st.lists(st.integers(0, 1 << 16), max_size=12)), v5


@settings(max_examples=EXAMPLES, deadline=None)
@given(streams())
@example((publish(b"", b"1", properties=b"\x23\0\1") * 2, [], True))
# A known property block in a frame too short for it.
@example(
    (publish(b"a", b"1" * 20, properties=b"\x23\0\1") + b"\x30\x05\x00\x01a\x03\x23" + b"\0\1", [], True)
)
def test_it_finds_what_the_plain_reader_finds(given_: tuple[bytes, list[int], bool]) -> None:
    stream, cuts, v5 = given_
    expected = read(stream, MAX, v5, ALIASES)
    assert cut_all(stream, cuts, v5) == expected
    if len(stream) < 300:
        assert cut_all(stream, list(range(len(stream))), v5) == expected


CORPUS = json.loads((Path(__file__).parent / "corpus" / "frames.json").read_text("utf-8"))
"""What fuzzers and testers have found worth keeping; add to it what they find."""


@pytest.mark.parametrize("case", CORPUS, ids=[case["why"] for case in CORPUS])
def test_what_was_found_once_stays_found(case: dict[str, Any]) -> None:
    stream, v5 = bytes.fromhex(case["stream"]), bool(case["v5"])
    expected = read(stream, MAX, v5, ALIASES)
    assert cut_all(stream, [], v5) == expected
    assert cut_all(stream, list(range(len(stream))), v5) == expected


def test_the_comparison_would_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look-up that forgets the packet id shifts payloads by two bytes."""
    whole = Cutter._publish

    def forgetful(self: Cutter, data: bytes, at: int, start: int, end: int, cut: Cut) -> None:
        whole(self, data, at, start, end, cut)
        for key, (*layout, _) in self._layouts.items():
            self._layouts[key] = (*layout, False)  # type: ignore[assignment]

    monkeypatch.setattr(Cutter, "_publish", forgetful)
    stream = publish(b"a", b"1", qos=1) * 2
    assert cut_all(stream, [], False) != read(stream, MAX, False, ALIASES)


def fault(stream: bytes, *, v5: bool = False, packet_bytes_max: int = MAX) -> BadPacket:
    found = Cutter(packet_bytes_max, v5=v5, alias_max=ALIASES).feed(stream).fault
    assert found is not None
    return found


def test_a_packet_that_is_too_large_is_refused_by_its_length_alone() -> None:
    found = fault(b"\x30\xff\xff\xff\x7f")
    assert found.code == frames.TOO_LARGE
    assert "268435460 bytes" in found.reason
    assert fault(b"\xd0\xff\xff\x7f").code == frames.TOO_LARGE
    assert not Cutter(10).feed(b"\x30\x08").fault
    assert fault(b"\x30\x09", packet_bytes_max=10)


@pytest.mark.parametrize(
    ("stream", "code", "word"),
    [
        (b"\x30\xff\xff\xff\xff", frames.MALFORMED, "four bytes"),
        (publish(b"a", b"", qos=3), frames.MALFORMED, "QoS 3"),
        (publish(b"a", b"", flags=8), frames.MALFORMED, "repeat"),
        (publish(b"a", b"", qos=1, mid=0), frames.PROTOCOL_ERROR, "packet id 0"),
        (publish(b"a/+", b""), frames.TOPIC_INVALID, "wildcard"),
        (publish(b"", b""), frames.PROTOCOL_ERROR, "without a topic"),
        (publish(b"a\0", b""), frames.MALFORMED, "NUL"),
        (publish(b"\xc3", b""), frames.MALFORMED, "UTF-8"),
        (packet(0x30, b"\x00\x05a"), frames.MALFORMED, "shorter"),
        (b"HTTP/1.1 400 Bad Request", frames.MALFORMED, "0x48"),
        (b"\xe0\x00", frames.MALFORMED, "0xe0"),
    ],
)
def test_what_mqtt_forbids_is_named(stream: bytes, code: int, word: str) -> None:
    found = fault(stream)
    assert (found.code, word in found.reason) == (code, True), found.reason


@pytest.mark.parametrize(
    ("topic", "properties", "code", "word"),
    [
        (b"a", b"\x23\0\0", frames.ALIAS_INVALID, "alias 0"),
        (b"a", b"\x23\0\4", frames.ALIAS_INVALID, "at most 3"),
        (b"", b"\x23\0\2", frames.PROTOCOL_ERROR, "never given"),
        (b"a", b"\x23\0\2\x23\0\2", frames.PROTOCOL_ERROR, "twice"),
        (b"a", b"\x11\0\0\0\1", frames.MALFORMED, "property 17"),
        (b"a", b"\x0b\x00", frames.PROTOCOL_ERROR, "identifier 0"),
    ],
)
def test_what_mqtt_5_forbids_is_named(topic: bytes, properties: bytes, code: int, word: str) -> None:
    found = fault(publish(topic, b"1", properties=properties), v5=True)
    assert (found.code, word in found.reason) == (code, True), found.reason


def test_an_alias_stands_for_its_topic_until_it_is_given_another() -> None:
    cutter = Cutter(MAX, v5=True, alias_max=ALIASES)
    alias, by_alias = b"\x23\0\1", publish(b"", b"x", properties=b"\x23\0\1")
    stream = publish(b"a", b"x", properties=alias) + by_alias * 2 + publish(b"b", b"x", properties=alias)
    assert cutter.feed(stream + by_alias).topics == [b"a", b"a", b"a", b"b", b"b"]
    assert cutter.feed(by_alias).topics == [b"b"]


def test_what_came_before_a_fault_counts() -> None:
    cut = Cutter(MAX).feed(publish(b"a", b"1", qos=1, mid=7) + PINGRESP + publish(b"#", b"2"))
    assert (cut.topics, cut.mids, bytes(cut.others)) == ([b"a"], [b"\0\7"], PINGRESP)
    assert cut.fault


def test_a_frame_that_trickles_in_costs_no_more_than_its_bytes() -> None:
    """Copying what there is at each byte would take minutes for a frame of 4 MiB."""
    size = 4 << 20
    stream = publish(b"a", b"x" * size)
    cutter = Cutter(size + 100)
    begun = time.process_time()
    pieces = [stream[at : at + 16] for at in range(0, len(stream), 16)]
    found = [cut for cut in map(cutter.feed, pieces) if cut.topics]
    assert len(found) == 1 and len(found[0].payloads[0]) == size
    assert time.process_time() - begun < 10


def test_what_is_remembered_has_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "KNOWN_MAX", 50)
    monkeypatch.setattr(frames, "LEARNT_MAX", 50)
    cutter = Cutter(MAX, v5=True, alias_max=ALIASES)
    for one in range(500):
        user = b"\x26\x00\x03%03d\x00\x00" % one
        assert len(cutter.feed(publish(b"t%d" % one, b"x" * one, properties=user)).topics) == 1
    assert len(cutter._known) <= 50
    assert len(cutter._layouts) <= 50
    assert len(cutter._blocks) <= 50


def test_an_announced_length_takes_no_memory() -> None:
    cutter = Cutter(0xFFFFFFF)
    tracemalloc.start()
    cutter.feed(b"\x30\xff\xff\xff\x7e")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10_000
