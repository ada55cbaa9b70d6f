from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioc.log import frame

RANDOM = random.Random(20261124)
PLAINS = {
    "empty": b"",
    "one byte": b"a",
    "repetitive": b"hello world " * 30,
    "incompressible": RANDOM.randbytes(40),
    "long run": bytes(70_000),
    "mixed": b"".join(RANDOM.randbytes(3) + bytes(5) for _ in range(60)),
}


@given(st.binary(max_size=3_000))
def test_what_was_packed_comes_back(plain: bytes) -> None:
    assert frame.unpack(frame.pack(plain)) == plain


@pytest.mark.parametrize("plain", PLAINS.values(), ids=PLAINS.keys())
def test_every_other_value_of_every_byte_is_found_out(plain: bytes) -> None:
    packed = frame.pack(plain)
    for at in range(len(packed)):
        damaged = bytearray(packed)
        for change in range(1, 256):
            damaged[at] = packed[at] ^ change
            with pytest.raises(frame.BadFrame):
                frame.unpack(bytes(damaged))


@pytest.mark.parametrize("plain", PLAINS.values(), ids=PLAINS.keys())
def test_a_frame_cut_short_or_drawn_out_is_found_out(plain: bytes) -> None:
    packed = frame.pack(plain)
    for length in range(len(packed)):
        with pytest.raises(frame.BadFrame):
            frame.unpack(packed[:length])
    with pytest.raises(frame.BadFrame):
        frame.unpack(packed + b"\0")
    with pytest.raises(frame.BadFrame):
        frame.unpack(packed + packed)
