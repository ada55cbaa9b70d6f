"""A frame: bytes compressed by zstd, in which any change is found out.

Everything that the log puts on disk (records, packs, checkpoints) is in such frames. zstd's own checksum covers the
content but not its header: a flipped bit there can make an empty frame of a full one. So a CRC-32 over the whole
stands behind it, which finds every change of up to four adjacent bytes for certain.
"""

from __future__ import annotations

import threading
import zlib
from typing import Final

import zstandard

PLAIN_MAX_BYTES: Final = 1 << 30
"""No frame holds more; a damaged header could otherwise make the reader allocate anything."""

_CRC_BYTES: Final = 4


class BadFrame(ValueError):
    """These bytes are not what was written; the text says what is wrong with them."""


class _Codec(threading.local):
    """A zstd context must not be shared by threads."""

    def __init__(self) -> None:
        self.compressor = zstandard.ZstdCompressor(level=1, write_checksum=True, write_content_size=True)
        self.decompressor = zstandard.ZstdDecompressor()


_codec = _Codec()


def pack(plain: bytes) -> bytes:
    """One frame that holds `plain`."""
    assert len(plain) <= PLAIN_MAX_BYTES
    compressed = _codec.compressor.compress(plain)
    return compressed + zlib.crc32(compressed).to_bytes(_CRC_BYTES, "little")


def unpack(frame: bytes) -> bytes:
    """What the frame holds. Raises BadFrame unless every byte of it is as it was written."""
    compressed = frame[:-_CRC_BYTES]
    if zlib.crc32(compressed) != int.from_bytes(frame[-_CRC_BYTES:], "little"):
        raise BadFrame("its checksum is wrong")
    try:
        header = zstandard.get_frame_parameters(compressed)
        if not header.has_checksum or header.content_size > PLAIN_MAX_BYTES:
            raise BadFrame("its header is not one of ours")
        plain: bytes = _codec.decompressor.decompress(compressed, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise BadFrame(f"it cannot be decompressed ({error})") from error
    return plain
