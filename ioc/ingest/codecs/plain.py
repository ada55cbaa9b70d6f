"""The native convention where it is plain, at full speed: one msgspec decode a payload.

Plain is a number, or an object of `v` and perhaps `t` and `q`, or of quantities under a station's topic. What is taken
here is taken as `native` takes it, to the bit; whatever is not plain is left to `native`, which judges it and has words
for it. Twice the same key: msgspec takes the last of them in silence, but a flat object has one comma fewer than pairs,
and what a plain string may hold bears no comma.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from ioc.ingest.codecs.native import ITEMS_MAX, QUALITY, TIME_MAX_US, TIME_MIN_US, stamp_us
from ioc.model.batch import F64, I64, U16, Bool

UNFIT: Final = (msgspec.MsgspecError, ValueError)
"""What msgspec raises; for bytes that are not UTF-8 it is the latter."""

_QUALITY: Final[dict[Any, int]] = {UNSET: 0, **QUALITY}
_NOT_PLAIN: Final = -1
"""Stands for a stamp that `native` must look at."""


class _Reading(msgspec.Struct, forbid_unknown_fields=True, gc=False, kw_only=True):
    v: float
    t: int | float | str | UnsetType = UNSET
    q: Literal["good", "uncertain", "bad"] | UnsetType = UNSET


class _Named(_Reading, forbid_unknown_fields=True, gc=False, kw_only=True):
    series: str


_decode: Final = msgspec.json.Decoder(_Reading | list[_Reading] | float).decode
_decode_named: Final = msgspec.json.Decoder(_Named).decode
_decode_several: Final = msgspec.json.Decoder(dict[str, float | str]).decode
_UNREAD: Final = _Reading(v=0.0)

Row = tuple[int, float, int]
"""`event_us` (0 where there is no time), value and `Flag` bits of the quality."""


@dataclass(frozen=True, slots=True)
class Columns:
    """What `n` payloads hold, each column of shape (n,); rows where `odd` are `native`'s and mean nothing here.

    `event_us` is 0 where a payload bore no time; `quality` holds `Flag` bits.
    """

    event_us: I64
    value: F64
    quality: U16
    odd: Bool


def columns(payloads: Sequence[bytes], bytes_max: int) -> Columns:
    """Payloads of one quantity each; those longer than `bytes_max` are odd."""
    n = len(payloads)
    readings, unread = _read(payloads)
    stamps = [reading.t for reading in readings]
    words = [reading.q for reading in readings]
    value = np.fromiter([reading.v for reading in readings], np.float64, n)
    event_us = _events(stamps)
    timed = event_us != 0
    if words.count("good") == n:
        quality, said = np.zeros(n, np.uint16), np.ones(n, np.bool_)
    else:
        quality = np.fromiter(map(_QUALITY.__getitem__, words), np.uint16, n)
        said = np.fromiter([word is not UNSET for word in words], np.bool_, n)
    odd = event_us == _NOT_PLAIN
    odd[unread] = True
    joined = b"".join(payloads)
    # No payload has fewer commas than its keys need, so that equal sums mean equal counts.
    commas = np.count_nonzero(np.frombuffer(joined, np.uint8) == ord(","))
    if unread or commas != np.count_nonzero(timed) + np.count_nonzero(said):
        each = np.fromiter([payload.count(b",") for payload in payloads], np.int64, n)
        odd |= each != timed.astype(np.int64) + said
    if len(joined) > bytes_max:
        odd |= np.fromiter(map(len, payloads), np.int64, n) > bytes_max
    return Columns(event_us, value, quality, odd)


def rows(payload: bytes) -> list[Row] | None:
    """What a payload of one quantity holds; None if it is not plain."""
    try:
        found = _decode(payload)
    except UNFIT:
        return None
    if type(found) is _Reading:
        row = _row(found, payload.count(b","))
        return None if row is None else [row]
    return [(0, found, 0)] if isinstance(found, float) else _array(found, payload)


def named(item: bytes) -> tuple[str, Row] | None:
    """The series that an item names, and what it says of it; None if it is not plain."""
    try:
        reading = _decode_named(item)
    except UNFIT:
        return None
    # A name with a comma in it is none that could be known.
    row = _row(reading, item.count(b",") - 1)
    return None if row is None else (reading.series, row)


def several(payload: bytes) -> tuple[int, dict[str, float], int] | None:
    """`event_us`, values by quantity and `Flag` bits of a payload under a station's topic; None if it is not plain."""
    try:
        pairs = _decode_several(payload)
    except UNFIT:
        return None
    if payload.count(b",") != len(pairs) - 1:
        return None
    event_us, quality = _event(pairs.pop("t", UNSET)), _QUALITY.get(pairs.pop("q", UNSET))
    values = {key: value for key, value in pairs.items() if isinstance(value, float)}
    if event_us == _NOT_PLAIN or quality is None or not values or len(values) != len(pairs):
        return None
    return event_us, values, quality


def _read(payloads: Sequence[bytes]) -> tuple[list[_Reading], list[int]]:
    """All readings, and where an empty one stands for a payload that is an array or could not be read."""
    found: list[Any] = []
    unread: list[int] = []
    rest = map(_decode, payloads)
    while True:
        try:
            found.extend(rest)
            break
        except UNFIT:
            # The list keeps what came before the fault, and the map goes on behind it.
            unread.append(len(found))
            found.append(_UNREAD)
    if list(map(type, found)).count(_Reading) < len(found):
        unread += [at for at, part in enumerate(found) if isinstance(part, list)]
        found = [_reading(part) for part in found]
    return found, unread


def _reading(part: _Reading | list[_Reading] | float) -> _Reading:
    if isinstance(part, float):
        return _Reading(v=part)
    return _UNREAD if isinstance(part, list) else part


def _array(readings: list[_Reading], payload: bytes) -> list[Row] | None:
    commas = len(readings) - 1 + sum((part.t is not UNSET) + (part.q is not UNSET) for part in readings)
    if payload.count(b",") != commas or not 0 < len(readings) <= ITEMS_MAX:
        return None
    found = [(_event(part.t), part.v, _QUALITY[part.q]) for part in readings]
    return None if any(event_us == _NOT_PLAIN for event_us, _, _ in found) else found


def _row(reading: _Reading, commas: int) -> Row | None:
    event_us = _event(reading.t)
    if event_us == _NOT_PLAIN or commas != (event_us != 0) + (reading.q is not UNSET):
        return None
    return event_us, reading.v, _QUALITY[reading.q]


def _event(stamp: int | float | str | UnsetType) -> int:
    if stamp is UNSET:
        return 0
    us = stamp * 1_000 if type(stamp) is int else stamp_us(stamp)
    return us if us is not None and TIME_MIN_US <= us < TIME_MAX_US else _NOT_PLAIN


def _events(stamps: list[int | float | str | UnsetType]) -> I64:
    if list(map(type, stamps)).count(int) == len(stamps):
        try:
            ms = np.fromiter(stamps, np.int64, len(stamps))
        except OverflowError:
            pass
        else:
            within = (ms >= TIME_MIN_US // 1_000) & (ms < TIME_MAX_US // 1_000)
            return np.where(within, ms * 1_000, _NOT_PLAIN)
    return np.fromiter(map(_event, stamps), np.int64, len(stamps))
