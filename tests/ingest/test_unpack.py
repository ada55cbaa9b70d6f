"""What is packed comes out whole or not at all, and never beyond the bound."""

from __future__ import annotations

import contextlib
import gzip
import tracemalloc
import zlib
from collections.abc import Callable

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from ioc.ingest.unpack import FRAMES_MAX, UNPACK, Corrupt, TooLarge, gunzip, unzstd

MAX = 1 << 20
MIB = 1 << 20

Pack = Callable[[bytes], bytes]
Unpack = Callable[[bytes, int], bytes]


def zstd_streamed(data: bytes) -> bytes:
    """A frame that does not say how much it holds."""
    return zstandard.ZstdCompressor(write_content_size=False).compress(data)


BOTH = pytest.mark.parametrize(
    ("pack", "unpack"),
    [(gzip.compress, gunzip), (zstandard.compress, unzstd), (zstd_streamed, unzstd)],
    ids=["gzip", "zstd", "zstd-streamed"],
)


@BOTH
@given(data=st.binary(max_size=5_000), times=st.integers(1, 60))
@settings(max_examples=30, deadline=None)
def test_what_was_packed_comes_out(pack: Pack, unpack: Unpack, data: bytes, times: int) -> None:
    assert unpack(pack(data * times), MAX) == data * times


@BOTH
def test_several_frames_are_one_body(pack: Pack, unpack: Unpack) -> None:
    assert unpack(pack(b"abc") + pack(b"") + pack(b"def"), MAX) == b"abcdef"


@BOTH
def test_exactly_the_bound_passes_and_one_byte_more_does_not(pack: Pack, unpack: Unpack) -> None:
    assert len(unpack(pack(bytes(MAX)), MAX)) == MAX
    with pytest.raises(TooLarge):
        unpack(pack(bytes(MAX + 1)), MAX)
    with pytest.raises(TooLarge):
        unpack(pack(bytes(MAX)) + pack(b"x"), MAX)


@BOTH
def test_a_bomb_costs_no_more_than_the_bound(pack: Pack, unpack: Unpack) -> None:
    bomb = pack(bytes(512 * MIB))
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge):
            unpack(bomb, 8 * MIB)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 40 * MIB


@BOTH
@given(data=st.binary(min_size=1, max_size=400), cut=st.floats(0, 1, exclude_max=True))
@settings(max_examples=50, deadline=None)
def test_what_is_cut_off_is_never_taken_for_the_whole(
    pack: Pack, unpack: Unpack, data: bytes, cut: float
) -> None:
    packed = pack(data)
    short = packed[: int(len(packed) * cut)]
    if short:
        with pytest.raises(Corrupt):
            unpack(short, MAX)


@pytest.mark.parametrize("unpack", [gunzip, unzstd])
@given(data=st.binary(min_size=1, max_size=300))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_unpacked_or_refused(unpack: Unpack, data: bytes) -> None:
    with contextlib.suppress(Corrupt, TooLarge):
        assert len(unpack(data, 1_000)) <= 1_000


@BOTH
@given(position=st.integers(0, 1_000), flip=st.integers(1, 255))
@settings(max_examples=50, deadline=None)
def test_a_damaged_body_is_unpacked_or_refused(pack: Pack, unpack: Unpack, position: int, flip: int) -> None:
    packed = bytearray(pack(b'{"series": "disaster/lao_cai/water_level", "v": 1}' * 30))
    packed[position % len(packed)] ^= flip
    with contextlib.suppress(Corrupt, TooLarge):
        unpack(bytes(packed), MAX)


@BOTH
def test_a_body_of_very_many_empty_frames_is_refused(pack: Pack, unpack: Unpack) -> None:
    assert unpack(pack(b"") * FRAMES_MAX, MAX) == b""
    with pytest.raises(Corrupt):
        unpack(pack(b"") * (FRAMES_MAX + 1), MAX)


def test_a_window_larger_than_a_coding_may_ask_for_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=27, write_content_size=False)
    wide = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    packed = wide.compress(b"x" * 100) + wide.flush()
    with pytest.raises(Corrupt):
        unzstd(packed, MAX)


def test_the_words_of_content_encoding() -> None:
    assert set(UNPACK) == {"gzip", "x-gzip", "zstd"}
    with pytest.raises(Corrupt):
        UNPACK["gzip"](zlib.compress(b"deflate is another"), MAX)
