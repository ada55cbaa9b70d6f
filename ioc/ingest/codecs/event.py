"""What a payload under a topic `…/event/{kind}` says: one object of id, revision, start, end, and facts of any names."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

from ioc.ingest.codecs.native import Fault, Refused, kind_of, parse, time_us
from ioc.model.inputs import Reason

BYTES_MAX: Final = 8 * 1024
"""Of a payload: ten thousand events are kept in memory and in every checkpoint."""
ID_MAX: Final = 120
REVISION_MAX: Final = 2**53
"""The last whole number that every JSON library reads; a stamp in milliseconds may serve as a revision."""
DEPTH_MAX: Final = 8
"""How deeply facts may be nested, so that whoever reads them need not fear for its stack."""
_INT_MIN, _INT_MAX = -(2**63), 2**63 - 1


@dataclass(frozen=True, slots=True)
class Said:
    """One revision of an event as sent; `end_us` is 0 where no end was."""

    id: str
    revision: int
    start_us: int
    end_us: int
    facts: dict[str, Any]


def decode(payload: bytes) -> Said | Fault:
    """The event in a payload, or why there is none. Never raises."""
    try:
        if len(payload) > BYTES_MAX:
            raise Refused(Reason.TOO_LARGE, f"{len(payload)} bytes, an event has at most {BYTES_MAX}")
        part = parse(payload)
        if not isinstance(part, dict):
            raise Refused(Reason.WRONG_TYPE, f"an event is an object, not {kind_of(part)}")
        if part.get("start") is None:
            raise Refused(Reason.WRONG_TYPE, "the event has no start")
        id_, revision = _id(part.pop("id", None)), _revision(part.pop("revision", 1))
        start_us, end = time_us(part.pop("start"), "start"), part.pop("end", None)
        end_us = 0 if end is None else time_us(end, "end")
        if end_us and end_us < start_us:
            raise Refused(Reason.BAD_TIME, "the end lies before the start")
        _check(part, DEPTH_MAX)
        return Said(id_, revision, start_us, end_us, part)
    except Refused as refused:
        return Fault(refused.reason, refused.detail)


def _id(value: Any) -> str:
    if not isinstance(value, str):
        raise Refused(Reason.WRONG_TYPE, f"id must be a string, not {kind_of(value)}")
    if not 0 < len(value) <= ID_MAX or not value.isprintable():
        raise Refused(Reason.WRONG_TYPE, f"id must be 1 to {ID_MAX} printable letters, not {value!r:.60}")
    return value


def _revision(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise Refused(Reason.WRONG_TYPE, f"revision must be a whole number, not {kind_of(value)}")
    if not 1 <= value <= REVISION_MAX:
        raise Refused(Reason.WRONG_TYPE, f"revision must be 1 to {REVISION_MAX}")
    return value


def _check(value: Any, depth: int) -> None:
    """Raises Refused unless the log, the database and the screens can all hold this."""
    if isinstance(value, dict | list):
        if not depth:
            raise Refused(Reason.WRONG_TYPE, f"facts are nested more than {DEPTH_MAX} deep")
        for part in value:
            _check(part, depth - 1)
        for part in value.values() if isinstance(value, dict) else ():
            _check(part, depth - 1)
    elif isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise Refused(Reason.NOT_UTF8, "a fact holds half of a surrogate pair") from error
    elif isinstance(value, float) and not math.isfinite(value):
        raise Refused(Reason.NOT_FINITE, "a fact is too large for a double")
    elif isinstance(value, int) and not _INT_MIN <= value <= _INT_MAX:
        raise Refused(Reason.NOT_FINITE, "a fact is too large for 64 bits")
