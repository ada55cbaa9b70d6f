"""Compressed bodies, unpacked within a bound: a bomb costs no more memory than the largest honest body. Pure."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Final

import zstandard

ZSTD_WINDOW_MAX: Final = 8 << 20
"""What RFC 9659 lets a zstd content coding ask for."""
_ZSTD_STEP: Final = 256
"""A block of zstd takes at least 4 bytes and holds at most 128 KiB, so that no step brings more than 8 MiB."""

FRAMES_MAX: Final = 256
"""Members or frames of one body: each costs something, however little it holds."""


class Corrupt(ValueError):
    """Not what its encoding says, or cut off."""


class TooLarge(ValueError):
    """More than the bound, once unpacked."""


def gunzip(data: bytes, bytes_max: int) -> bytes:
    """The content of gzip members, one after the other. Raises Corrupt or TooLarge."""
    parts: list[bytes] = []
    room = bytes_max
    try:
        while data:
            if len(parts) == FRAMES_MAX:
                raise Corrupt(f"more than {FRAMES_MAX} gzip members")
            member = zlib.decompressobj(wbits=31)
            part = member.decompress(data, room + 1)
            room -= len(part)
            if room < 0:
                raise TooLarge
            if not member.eof:
                raise Corrupt("the gzip data is cut off")
            parts.append(part)
            data = member.unused_data
    except zlib.error as error:
        raise Corrupt(str(error)) from error
    return b"".join(parts)


def unzstd(data: bytes, bytes_max: int) -> bytes:
    """The content of zstd frames, one after the other. Raises Corrupt or TooLarge."""
    parts: list[bytes] = []
    room = bytes_max
    decompressor = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_MAX)
    at = frames = 0
    try:
        while at < len(data):
            if frames == FRAMES_MAX:
                raise Corrupt(f"more than {FRAMES_MAX} zstd frames")
            frames += 1
            frame = decompressor.decompressobj()
            while not frame.eof:
                if at >= len(data):
                    raise Corrupt("the zstd data is cut off")
                part = frame.decompress(data[at : at + _ZSTD_STEP])
                at += _ZSTD_STEP
                room -= len(part)
                if room < 0:
                    raise TooLarge
                parts.append(part)
            at = min(at, len(data)) - len(frame.unused_data)
    except zstandard.ZstdError as error:
        raise Corrupt(str(error)) from error
    return b"".join(parts)


UNPACK: Final[dict[str, Callable[[bytes, int], bytes]]] = {"gzip": gunzip, "x-gzip": gunzip, "zstd": unzstd}
"""By the word of `Content-Encoding`."""
