"""A body of items that each name their series: one JSON object, an array of them, or NDJSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

import msgspec

from ioc.ingest.codecs.native import ITEMS_MAX
from ioc.ingest.codecs.plain import UNFIT

COMMAS_MAX = 4 * ITEMS_MAX
"""Three in an item and one behind it; looked at first, since the items of `[0,0,0,…` need far more room than it."""

_T = TypeVar("_T")
_whole: Final = msgspec.json.Decoder(msgspec.Raw).decode
_array: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode


class Unreadable(Exception):
    """A body in which no items can be told apart."""

    def __init__(self, detail: str) -> None:
        self.detail = detail
        super().__init__(detail)


def split(body: bytes, *, ndjson: bool) -> list[bytes]:
    """The bytes of each item, which nobody has judged yet; at least one.

    Raises Unreadable for an empty body, for more than ITEMS_MAX items and, unless it is NDJSON, for what is no JSON in
    UTF-8. In NDJSON each line that is not blank is an item, whatever it holds.
    """
    if not body or body.isspace():
        raise Unreadable("the body is empty")
    if body.count(b"\n" if ndjson else b",") >= (ITEMS_MAX if ndjson else COMMAS_MAX):
        raise Unreadable(f"more than {ITEMS_MAX} items")
    if ndjson:
        return [line for line in body.split(b"\n") if line and not line.isspace()]
    try:
        if not body.isascii():
            body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Unreadable(f"byte {error.start} is not UTF-8") from error
    if not body.lstrip(b" \t\r\n").startswith(b"["):
        return [bytes(_json(_whole, body))]
    items = list(map(bytes, _json(_array, body)))
    if not items:
        raise Unreadable("the array is empty")
    if len(items) > ITEMS_MAX:
        raise Unreadable(f"more than {ITEMS_MAX} items")
    return items


def _json(decode: Callable[[bytes], _T], body: bytes) -> _T:
    try:
        return decode(body)
    except RecursionError as error:
        raise Unreadable("nested too deeply") from error
    except UNFIT as error:
        raise Unreadable(str(error)) from error
