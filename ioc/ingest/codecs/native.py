"""The native convention: a number, an object of one quantity, an object of several, or an array of them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

from ioc.model.batch import Flag
from ioc.model.inputs import Reason

TIME_MIN_US = int(datetime(1990, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
"""Stamps before this are rejected; epoch seconds sent as milliseconds fall here (January 1970)."""
TIME_MAX_US = int(datetime(2100, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
ITEMS_MAX = 100_000
"""How many items one array may hold."""

QUALITY = {"good": 0, "uncertain": int(Flag.UNCERTAIN), "bad": int(Flag.BAD)}
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_US = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Item:
    """One reading as sent: `event_us` is None where it bore no time; `quality` holds `Flag` bits."""

    quantity: str
    event_us: int | None
    value: float
    quality: int


@dataclass(frozen=True, slots=True)
class Fault:
    """Why one item, or the whole payload (`index` −1), cannot be taken."""

    reason: Reason
    detail: str
    index: int = -1


class Refused(Exception):
    """A payload, or one item of it, cannot be taken."""

    def __init__(self, reason: Reason, detail: str) -> None:
        self.reason = reason
        self.detail = detail


def decode(payload: bytes, quantity: str | None, only_item: int | None = None) -> Iterator[Item | Fault]:
    """Everything in a payload, or one item of an array alone; `quantity` is the topic's, None under a station's topic.

    Never raises.
    """
    try:
        document = parse(payload)
    except Refused as refused:
        yield Fault(refused.reason, refused.detail)
        return
    if not isinstance(document, list):
        yield from _one(document, quantity, -1)
        return
    if not document:
        yield Fault(Reason.WRONG_TYPE, "the array is empty")
        return
    if len(document) > ITEMS_MAX:
        yield Fault(Reason.TOO_LARGE, f"{len(document)} items, at most {ITEMS_MAX}")
        return
    items = list(enumerate(document))
    if only_item is not None:
        items = items[max(only_item, 0) : only_item + 1]
    if not items:
        yield Fault(Reason.WRONG_TYPE, f"the array has no item {only_item}", only_item or 0)
    for index, part in items:
        if isinstance(part, dict):
            yield from _one(part, quantity, index)
        else:
            yield Fault(Reason.WRONG_TYPE, f"an array holds objects, not {kind_of(part)}", index)


def named(payload: bytes) -> tuple[str, Item | Fault]:
    """An item that names its `series` beside `t`, `v` and `q`: the name, "" if it has none. Never raises."""
    name = ""
    try:
        part = parse(payload)
        if not isinstance(part, dict):
            raise Refused(Reason.WRONG_TYPE, f"an item is an object, not {kind_of(part)}")
        series = part.pop("series", None)
        if not isinstance(series, str):
            raise Refused(Reason.WRONG_TYPE, "the item names no series")
        name = series
        return name, _single(part, name.rpartition("/")[2])
    except Refused as refused:
        return name, Fault(refused.reason, refused.detail)


def parse(payload: bytes) -> Any:
    """The JSON document of a payload. Raises Refused, also for keys that stand twice and NaN."""
    try:
        text = payload.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refused(Reason.NOT_UTF8, f"byte {error.start} is not UTF-8") from error
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_constant)
    except RecursionError as error:
        raise Refused(Reason.NOT_JSON, "nested too deeply") from error
    except ValueError as error:
        raise Refused(Reason.NOT_JSON, str(error) if text.strip() else "the payload is empty") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise Refused(Reason.DUPLICATE_KEY, f"the key {twice!r} stands twice")
    return out


def _constant(name: str) -> NoReturn:
    raise Refused(Reason.NOT_FINITE, f"{name} is not a number that can be measured")


def _one(part: Any, quantity: str | None, index: int) -> Iterator[Item | Fault]:
    try:
        if quantity is not None:
            yield _single(part, quantity)
        else:
            yield from _several(part)
    except Refused as refused:
        yield Fault(refused.reason, refused.detail, index)


def _single(part: Any, quantity: str) -> Item:
    if not isinstance(part, dict):
        return Item(quantity, None, _number(part, "the payload"), 0)
    if "v" not in part:
        raise Refused(Reason.WRONG_TYPE, "the object has no v")
    for key in part:
        if key not in ("t", "v", "q"):
            raise Refused(Reason.WRONG_TYPE, f"the key {key!r} is none of t, v, q")
    return Item(quantity, _time(part), _number(part["v"], "v"), _quality(part))


def _several(part: Any) -> list[Item]:
    if not isinstance(part, dict):
        raise Refused(Reason.WRONG_TYPE, f"under a station's topic stands an object, not {kind_of(part)}")
    event_us, quality = _time(part), _quality(part)
    items = [
        Item(key, event_us, _number(value, key), quality)
        for key, value in part.items()
        if key not in ("t", "q")
    ]
    if not items:
        raise Refused(Reason.WRONG_TYPE, "the object has no quantity")
    return items


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Refused(Reason.WRONG_TYPE, f"{name} must be a number, not {kind_of(value)}")
    try:
        number = float(value)
    except OverflowError as error:
        raise Refused(Reason.NOT_FINITE, f"{name} is too large for a double") from error
    if not math.isfinite(number):
        raise Refused(Reason.NOT_FINITE, f"{name} is too large for a double")
    return number


def _quality(part: dict[str, Any]) -> int:
    word = part.get("q", "good")
    if not isinstance(word, str) or word not in QUALITY:
        raise Refused(Reason.BAD_QUALITY_WORD, f"q must be good, uncertain or bad, not {word!r:.40}")
    return QUALITY[word]


def _time(part: dict[str, Any]) -> int | None:
    if "t" not in part:
        return None
    return time_us(part["t"], "t")


def time_us(stamp: Any, name: str) -> int:
    """Microseconds since 1970 of the time under a key. Raises Refused unless it is one of 1990 to 2099."""
    if isinstance(stamp, bool) or not isinstance(stamp, str | int | float):
        raise Refused(
            Reason.WRONG_TYPE, f"{name} must be RFC 3339 or epoch milliseconds, not {kind_of(stamp)}"
        )
    us = stamp_us(stamp)
    if us is None and isinstance(stamp, str):
        raise Refused(Reason.BAD_TIME, f"{name} is not an RFC 3339 time with an offset: {stamp!r:.60}")
    if us is None:
        raise Refused(Reason.BAD_TIME, f"{name} is out of range")
    if not TIME_MIN_US <= us < TIME_MAX_US:
        raise Refused(Reason.BAD_TIME, f"{name} is outside 1990 to 2099: {stamp!r:.60}")
    return us


def stamp_us(stamp: str | int | float) -> int | None:
    """Microseconds since 1970 of an RFC 3339 time or of epoch milliseconds, of whatever year; None if it is neither."""
    if isinstance(stamp, str):
        return rfc3339_us(stamp)
    if isinstance(stamp, int):
        return stamp * 1_000
    return round(stamp * 1_000) if math.isfinite(stamp) and abs(stamp) < 1e15 else None


def rfc3339_us(text: str) -> int | None:
    """Microseconds since 1970 UTC of an RFC 3339 time, or None; finer fractions are cut, a leap second kept."""
    if not _RFC3339.fullmatch(text):
        return None
    leap = text[17:19] == "60"
    try:
        moment = datetime.fromisoformat((f"{text[:17]}59{text[19:]}" if leap else text).upper())
    except ValueError:
        return None
    us = (moment - _EPOCH) // _US
    return us + 1_000_000 if leap else us


def kind_of(value: Any) -> str:
    """What a JSON value is, in words."""
    if value is None:
        return "null"
    return {bool: "a boolean", str: "a string", list: "an array", dict: "an object"}.get(
        type(value), "a number"
    )
