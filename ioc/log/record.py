"""Records: an `Input` as bytes and back, and a `Transition` as bytes and back.

A record is one frame (`ioc.log.frame`). Its plaintext opens with the format's version, its kind, its own number,
its `now_us` and its origin, so that a record moved or renumbered in its file is found out. A batch follows as
columns, everything else as MessagePack. Pure: any package may use it.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ValidationError

from ioc.errors import LogDamaged
from ioc.log import frame
from ioc.model import (
    COMMANDS,
    Batch,
    Body,
    Event,
    Input,
    PackLoaded,
    Rejected,
    SeriesAdded,
    SourceState,
    SystemFact,
    Tick,
    Transition,
)

VERSION: Final = 2
"""Of the records' format; a build reads every version up to its own. 2 brought events."""


class Kind(IntEnum):
    """What a record holds; the column `kind` of the log."""

    BATCH = 1
    REJECTED = 2
    COMMAND = 3
    PACK_LOADED = 4
    SERIES_ADDED = 5
    SOURCE_STATE = 6
    SYSTEM_FACT = 7
    TICK = 8
    EVENT = 9


FORMATS: Final[dict[Kind, int]] = {Kind.EVENT: 2}
"""The lowest version that has this kind, if not 1: records bear it, so that an older build reads on until it meets
what it does not know, and then says so."""
_TRANSITION_FORMAT: Final = b"\x01"
_HEAD: Final = struct.Struct("<BBQqI")
_BATCH_HEAD: Final = struct.Struct("<BII")
_ROW: Final = struct.Struct("<iqqdHH")
"""The columns of a batch of one row."""
_RAW, _DELTA = 0, 1
_DELTA_FROM_ROWS: Final = 32
"""Below, numpy's overhead for the differences costs more than the bytes they save."""

_STRUCTS: Final[dict[type, Kind]] = {
    Rejected: Kind.REJECTED,
    PackLoaded: Kind.PACK_LOADED,
    SeriesAdded: Kind.SERIES_ADDED,
    SourceState: Kind.SOURCE_STATE,
    SystemFact: Kind.SYSTEM_FACT,
    Tick: Kind.TICK,
    Event: Kind.EVENT,
}
_DECODERS: Final[dict[Kind, msgspec.msgpack.Decoder[Any]]] = {
    kind: msgspec.msgpack.Decoder(cls) for cls, kind in _STRUCTS.items()
}
_ENCODER: Final = msgspec.msgpack.Encoder()
_TRANSITIONS: Final = msgspec.msgpack.Decoder(Transition)


def kind_of(body: Body) -> Kind:
    """The kind of a record with this body."""
    if isinstance(body, Batch):
        return Kind.BATCH
    return Kind.COMMAND if isinstance(body, BaseModel) else _STRUCTS[type(body)]


def encode(record: Input) -> tuple[int, bytes]:
    """The record's kind and its bytes."""
    body, kind = record.body, kind_of(record.body)
    if isinstance(body, Batch):
        payload = _encode_batch(body)
    elif isinstance(body, BaseModel):
        payload = body.model_dump_json().encode()
    else:
        payload = _ENCODER.encode(body)
    origin = record.origin.encode()
    head = _HEAD.pack(FORMATS.get(kind, 1), kind, record.number, record.now_us, len(origin))
    return int(kind), frame.pack(head + origin + payload)


def decode(number: int, now_us: int, kind: int, body: bytes, origin: str = "") -> Input:
    """The record that stands in the log under these columns. Raises LogDamaged unless every byte of it agrees."""
    try:
        plain = frame.unpack(body)
        version, own_kind, own_number, own_now_us, length = _HEAD.unpack_from(plain)
        if not 1 <= version <= VERSION:
            raise LogDamaged(number, f"has format {version}; this build reads formats 1 to {VERSION}")
        if own_number != number:
            raise LogDamaged(number, f"is really record {own_number}: records were moved")
        start = _HEAD.size + length
        if (own_kind, own_now_us, plain[_HEAD.size : start]) != (kind, now_us, origin.encode()):
            raise LogDamaged(number, "its columns say something else than its content")
        return Input(number, now_us, _decode_body(Kind(kind), plain, start), origin)
    except frame.BadFrame as error:
        raise LogDamaged(number, f"is damaged: {error}") from error
    except (struct.error, ValueError, msgspec.MsgspecError, ValidationError) as error:
        raise LogDamaged(number, f"cannot be understood: {error}") from error


def encode_transition(transition: Transition) -> bytes:
    """A journal entry's bytes; the journal's hash chain runs over these."""
    return _TRANSITION_FORMAT + _ENCODER.encode(transition)


def decode_transition(seq: int, number: int, body: bytes) -> Transition:
    """The journal entry `seq` of record `number`. That its bytes are what was written, the hash chain says."""
    if body[:1] != _TRANSITION_FORMAT:
        raise LogDamaged(number, f"its journal entry {seq} is of a format that this build does not read")
    try:
        transition = _TRANSITIONS.decode(memoryview(body)[1:])
    except (ValueError, msgspec.MsgspecError) as error:
        raise LogDamaged(number, f"its journal entry {seq} cannot be understood: {error}") from error
    if transition.input != number:
        raise LogDamaged(number, f"its journal entry {seq} is really one of record {transition.input}")
    return transition


def _decode_body(kind: Kind, plain: bytes, start: int) -> Body:
    if kind is Kind.BATCH:
        return _decode_batch(plain, start)
    if kind is Kind.COMMAND:
        return COMMANDS.validate_json(plain[start:])
    body: Body = _DECODERS[kind].decode(memoryview(plain)[start:])
    return body


def _encode_batch(batch: Batch) -> bytes:
    n = len(batch)
    source = batch.source.encode()
    if n == 1:
        # What comes alone should be in the log at once; the columns below take as long for one row as for twenty.
        row = _ROW.pack(
            batch.series.item(), batch.event_us.item(), batch.received_us.item(),
            batch.value.item(), batch.flags.item(), batch.revision.item(),
        )  # fmt: skip
        return _BATCH_HEAD.pack(_RAW, n, len(source)) + source + row
    series = np.ascontiguousarray(batch.series, "<i4")
    event_us = np.ascontiguousarray(batch.event_us, "<i8")
    received_us = np.ascontiguousarray(batch.received_us, "<i8")
    # Values stay as they are: those of one resolution repeat whole, which zstd finds and a byte transpose would hide.
    rest = (
        np.ascontiguousarray(batch.value, "<f8").tobytes(),
        np.ascontiguousarray(batch.flags, "<u2").tobytes(),
        np.ascontiguousarray(batch.revision, "<u2").tobytes(),
    )
    if n < _DELTA_FROM_ROWS:
        layout, columns = _RAW, (series.tobytes(), event_us.tobytes(), received_us.tobytes())
    else:
        layout, columns = _DELTA, (_deltas(series), _deltas(event_us), _deltas(received_us))
    return b"".join((_BATCH_HEAD.pack(layout, n, len(source)), source, *columns, *rest))


def _decode_batch(plain: bytes, start: int) -> Batch:
    layout, n, length = _BATCH_HEAD.unpack_from(plain, start)
    at = start + _BATCH_HEAD.size + length
    source = plain[at - length : at].decode()
    if layout not in (_RAW, _DELTA) or len(plain) != at + n * 32:
        raise ValueError("a batch of an unknown layout or a wrong length")

    def column(dtype: str, delta: bool = False) -> npt.NDArray[Any]:
        nonlocal at
        kind = np.dtype(dtype)
        size = n * kind.itemsize
        part = plain[at : at + size]
        at += size
        return _undelta(part, kind) if delta else np.frombuffer(part, kind).copy()

    delta = layout == _DELTA
    return Batch(
        source,
        series=column("<i4", delta),
        event_us=column("<i8", delta),
        received_us=column("<i8", delta),
        value=column("<f8"),
        flags=column("<u2"),
        revision=column("<u2"),
    )


def _deltas(column: npt.NDArray[Any]) -> bytes:
    """Differences of neighbours (wrapping), transposed to planes of equal bytes: mostly zeros, which zstd removes."""
    out = column.copy()
    out[1:] -= column[:-1]
    return out.view(np.uint8).reshape(len(out), out.itemsize).T.tobytes()


def _undelta(part: bytes, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    planes = np.frombuffer(part, np.uint8).reshape(dtype.itemsize, -1)
    return np.cumsum(np.ascontiguousarray(planes.T).view(dtype).ravel(), dtype=dtype)
