"""`feed_frames` gives what `feed` gives, message by message: rows, their order, what is rejected and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.hostile import PAYLOADS, PLAIN, T_MS, files

from ioc.ingest import decoder as module
from ioc.ingest.codecs import plain
from ioc.ingest.decoder import Decoded, Decoder
from ioc.model import Flag, Message, Reason

NUMBERS = {"environment/hue/pm25": 3, "environment/hue/rain": 0, "energy/x0/t1": 7}
LEVEL, RAIN, STATION = (
    b"ioc/v1/environment/hue/pm25",
    b"ioc/v1/environment/hue/rain",
    b"ioc/v1/environment/hue",
)
TOPICS = st.sampled_from(
    [LEVEL] * 8
    + [RAIN, STATION, STATION, b"ioc/v1/energy/x0/t1", b"ioc/v1/energy/x0", b"ioc/v1/environment/hue/none"]
    + [
        b"ioc/v1/environment/none/pm25",
        b"ioc/v1/environment/none",
        b"ioc/v1/system/monitor/state",
        b"ioc/v1/environment/hue/event/spill",
        b"",
        b"\xff",
    ]
    + [b"environment/hue/pm25", LEVEL + b"/", LEVEL + b"\xff", LEVEL + b"\n", b"ioc/v1/environment/hue/t"]
)
HEADS = st.sampled_from([0x30, 0x30, 0x30, 0x32, 0x3A, 0x31, 0x33])
SIZE_MAX = 400
# Arrays for everything, rows for everything, and what it does by itself; blocks that cut anywhere.
SETTINGS: list[dict[str, int]] = [{"ODD_PART": 1}, {"ODD_PART": 10**6}, {}, {"ODD_PART": 1, "BLOCK": 3}]

Frame = tuple[bytes, bytes, int]


def one_by_one(frames: Sequence[Frame], decoder: Decoder) -> Decoded:
    out = Decoded()
    for topic, payload, head in frames:
        name = topic.decode("utf-8", "backslashreplace")
        decoder.feed(Message("mqtt", name, payload, 77, bool(head & 1)), out)
    return out


def compare(frames: Sequence[Frame], register: Any = None) -> None:
    wanted = one_by_one(frames, Decoder(NUMBERS, SIZE_MAX, register))
    rows = wanted.batch("mqtt")
    for setting in SETTINGS:
        decoder = Decoder(NUMBERS, SIZE_MAX, register)
        with pytest.MonkeyPatch.context() as patch:
            for name, value in setting.items():
                patch.setattr(module, name, value)
            for _ in range(2):  # the second time every topic is known
                out = Decoded()
                decoder.feed_frames("mqtt", *map(list, zip(*frames, strict=True)), 77, out)  # type: ignore[arg-type]
                assert out.rejected == wanted.rejected
                assert out.events == wanted.events
                assert len(out) == len(wanted)
                found = out.batch("mqtt")
                assert (found is None) == (rows is None)
                assert found is None or rows is None or found.equals(rows)


@given(st.lists(st.tuples(TOPICS, PAYLOADS, HEADS), min_size=1, max_size=6))
@settings(max_examples=150, deadline=None)
def test_any_frames_decode_as_they_do_one_by_one(frames: list[Frame]) -> None:
    compare(frames)


def test_events_come_among_readings_by_either_way_through() -> None:
    said = b'{"id":"A-1","start":%d}' % T_MS
    for readings in (1, 200):
        frames: list[Frame] = [(LEVEL, b"%d" % n, 0x30) for n in range(readings)]
        for at in (0, readings // 2, readings):
            frames.insert(at, (b"ioc/v1/environment/hue/event/spill", said if at else b"{}", 0x30))
        compare(frames)
        wanted = one_by_one(frames, Decoder(NUMBERS, SIZE_MAX))
        assert (len(wanted.events), len(wanted.rejected), len(wanted)) in ((2, 1, readings), (1, 2, readings))


@given(PAYLOADS, st.sampled_from([LEVEL, STATION]))
@settings(max_examples=250, deadline=None)
def test_any_payload_decodes_as_it_does_by_itself(payload: bytes, topic: bytes) -> None:
    compare([(topic, payload, 0x30)])


@given(
    st.lists(PLAIN.map(str.encode), min_size=49, max_size=60),
    st.lists(st.tuples(st.integers(0, 48), TOPICS, PAYLOADS, HEADS), max_size=3),
)
@settings(max_examples=25, deadline=None)
def test_odd_messages_keep_their_place_among_plain_ones(
    payloads: list[bytes], odd: list[tuple[int, bytes, bytes, int]]
) -> None:
    frames: list[Frame] = [(LEVEL, payload, 0x30) for payload in payloads]
    for at, *frame in odd:
        frames[at] = tuple(frame)  # type: ignore[assignment]
    compare(frames)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=50), st.booleans())
@settings(deadline=None)
def test_values_keep_every_bit(values: list[float], bare: bool) -> None:
    frames = [(LEVEL, (b"%a" if bare else b'{"v":%a}') % value, 0x30) for value in values]
    compare(frames)
    out = Decoded()
    Decoder(NUMBERS, SIZE_MAX).feed_frames("mqtt", *map(list, zip(*frames, strict=True)), 77, out)  # type: ignore[arg-type]
    assert (batch := out.batch("mqtt")) is not None
    assert list(map(repr, batch.value.tolist())) == list(map(repr, values))


def test_files_that_others_gathered_decode_as_they_do_one_by_one() -> None:
    payloads = files()
    for topic in (LEVEL, STATION):
        compare([(topic, payload, 0x30) for payload in payloads])
    compare([(payload, b"1", 0x30) for payload in payloads])
    compare([(b"ioc/v1/environment/hue/" + payload, b"1", 0x30) for payload in payloads])


@pytest.mark.parametrize(
    "payload",
    [
        b'{"v":1,"v":2}', b'{"t":%d,"v":1,"t":%d}' % (T_MS, T_MS), b'{"v":1,"\\u0076":2}', b'{"t":"a,b","v":1}',
        b'{"v":1,"q":"good","q":"bad"}', b'[{"v":1,"v":2}]', b'{"pm25":1,"pm25":2}', b'{"pm25":1,"p\\u006d25":2}',
    ],
)  # fmt: skip
def test_a_key_that_stands_twice_is_refused_on_every_path(payload: bytes) -> None:
    for topic in (LEVEL, STATION):
        compare([(topic, payload, 0x30)])
        out = Decoded()
        Decoder(NUMBERS, SIZE_MAX).feed_frames("mqtt", [topic] * 50, [payload] * 50, [0x30] * 50, 77, out)
        assert len(out) == 0
        assert len(out.rejected) == 50


def test_a_payload_at_the_bound_is_taken_and_one_beyond_it_is_not() -> None:
    frames = [(LEVEL, b"1".ljust(SIZE_MAX + more), 0x30) for more in (0, 1)] * 30
    compare(frames)
    assert {r.reason for r in one_by_one(frames, Decoder(NUMBERS, SIZE_MAX)).rejected} == {Reason.TOO_LARGE}


def test_a_series_registered_later_is_found() -> None:
    numbers: dict[str, int] = {}
    decoder = Decoder(numbers, SIZE_MAX)
    for known in (False, True):
        for n in (1, 100):
            out = Decoded()
            decoder.feed_frames(
                "mqtt", [LEVEL, STATION] * n, [b"1", b'{"pm25":2}'] * n, [0x30] * 2 * n, 77, out
            )
            assert len(out) == (2 * n if known else 0)
            assert len(out.rejected) == (0 if known else 2 * n)
        numbers["environment/hue/pm25"] = 5


def test_series_register_themselves_as_they_do_one_by_one() -> None:
    given: dict[str, int] = {}
    frames = [(b"ioc/v1/energy/x%d/kw" % (i % 3), b"%d" % i, 0x30) for i in range(60)]
    compare(frames, lambda series_id: given.setdefault(series_id, 100 + len(given)))
    assert given == {f"energy/x{i}/kw": 100 + i for i in range(3)}


def test_endless_topics_are_not_remembered() -> None:
    decoder = Decoder(NUMBERS, SIZE_MAX)
    topics = [b"ioc/v1/energy/x%d/kw" % i for i in range(500)] + [
        b"ioc/v1/energy/x%d" % i for i in range(500)
    ]
    decoder.feed_frames("mqtt", topics, [b'{"kw":1}'] * 1000, [0x30] * 1000, 77, Decoded())
    decoder.feed_frames("mqtt", [LEVEL, STATION], [b"1", b'{"pm25":2}'], [0x30] * 2, 77, Decoded())
    assert dict(decoder._topics) == {LEVEL: 3}
    assert decoder._stations == {STATION: "environment/hue/"}


def test_rows_of_both_kinds_of_calls_keep_their_order() -> None:
    decoder, out = Decoder(NUMBERS, SIZE_MAX), Decoded()
    decoder.feed(Message("mqtt", LEVEL.decode(), b"1", 7), out)
    decoder.feed_frames("mqtt", [RAIN] * 100, [b"2"] * 100, [0x31] * 100, 8, out)
    decoder.feed(Message("mqtt", LEVEL.decode(), b'{"v":3,"q":"bad"}', 9), out)
    assert len(out) == 102
    batch = out.batch("mqtt")
    assert batch is not None
    assert batch.value.tolist() == [1.0] + [2.0] * 100 + [3.0]
    assert batch.received_us.tolist() == [7] + [8] * 100 + [9]
    none = int(Flag.NO_STAMP)
    assert batch.flags.tolist() == [none] + [none | Flag.RETAINED] * 100 + [none | Flag.BAD]


@pytest.mark.parametrize(
    ("name", "bug"),
    [("_row", lambda reading, commas: (0, reading.v, 0)), ("TIME_MAX_US", plain.TIME_MAX_US * 2)],
    ids=["keys that stand twice are taken", "stamps after 2099 are taken"],
)
def test_a_planted_bug_is_caught(name: str, bug: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = [(LEVEL, p, 0x30) for p in (b'{"v":1,"v":2}', b'{"v":1,"t":4200000000000}', b"1")]
    compare(frames)
    monkeypatch.setattr(plain, name, bug)
    with pytest.raises(AssertionError):
        compare(frames)
