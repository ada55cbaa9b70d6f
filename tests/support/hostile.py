"""Payloads that somebody might send: plain ones, and those that are almost plain."""

from __future__ import annotations

import json

from hypothesis import strategies as st

from support.data import shared

T_MS = 1_790_000_000_123


def _words(text: str) -> list[str]:
    return text.split()


ODD_NUMBERS = _words("""
    -0 -0.0 0e9 1e400 -1e400 1e-400 5e-324 1.7976931348623159e308 NaN Infinity -Infinity nan 01 1. .5 +1 1e 0x1 1e12
    631151999999 631152000000 4102444799999 4102444800000 631151999999.9996 4102444799999.9996
    9007199254740993 9223372036854775 9223372036854775807 9223372036854775808 18446744073709551616 -9223372036854775809
""")
ODD_STRINGS = _words(r"""
    "good" "bad" "uncertain" "goo\u0064" "GOOD" "," "a,b" "\ud800" "\ud83d\ude00" "" "21.5" "１２" "\x" " "
    "2026-09-21T14:13:20.123456Z" "2026-09-21t21:13:20+07:00" "2016-12-31T23:59:60Z" "2026-09-21T14:13:20.1234567890z"
    "2026-09-21T14:13:20" "2026-02-30T14:13:20Z" "20260921T141320Z" "2026-09-21T14:13:20,5Z" "2026-09-21T14:13:20-00:00"
    "2026-09-21T24:00:00Z" "1989-12-31T23:59:60Z" "2026-W36-7T20:00:00Z" "2026-09-21T14:13:20\u005a"
    "2026-09-21T14:13:20+24:00"
""")
NUMBERS = st.one_of(
    st.floats().map(repr),
    st.integers().map(str),
    st.integers(0, 4_200_000_000_000).map(str),
    st.floats(6e11, 4.2e12).map(repr),
    st.from_regex(r"-?[0-9]{1,25}(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,3})?", fullmatch=True),
    st.sampled_from([*ODD_NUMBERS, "9" * 400, "9" * 5000, "1" * 4500 + "e-4400"]),
)
STRINGS = st.one_of(
    st.sampled_from([*ODD_STRINGS, '"2026-09-21 14:13:20Z"', '"\t"', '"\x00"', '"x\x7f"']),
    st.text(max_size=4).map(json.dumps),
)
KEYS = st.sampled_from(
    ['"t"', '"v"', '"q"'] * 6
    + _words(r'"\u0074" "\u0076" "q\u0000" "x" "V" "pm25" "rain" "p\u006d25" "series" "" "\ud800" "a,b" t 1')
)
SERIES = st.sampled_from(
    _words(r'"environment/hue/pm25" "environment/hue/x" "environment/hue/p\u006d25" "a,b" "\ud800" 1')
)
SPACE = st.sampled_from(["", "", "", " ", "\n", "\t\r\n ", "\x0b", "\u00a0", "\ufeff", "\x00"])
PLAIN = st.builds(
    lambda t, v, q: "{" + ",".join(part for part in (t, v, q) if part) + "}",
    st.sampled_from(["", f'"t":{T_MS}', f'"t": {T_MS}.5', '"t":"2026-09-21T14:13:20.5+07:00"']),
    st.floats(-1e6, 1e6).map(lambda value: f'"v": {value!r}'),
    st.sampled_from(["", '"q":"good"', '"q":"bad"']),
)
STATION_PLAIN = st.builds(
    lambda t, v, w: f'{{"t":{t}, "pm25":{v!r}, "rain":{w}}}',
    st.integers(T_MS, T_MS + 9),
    st.floats(-9, 9),
    st.integers(-9, 9),
)


def _objects(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    # A series more often than not, so that some items of HTTP bodies are good ones.
    pairs = st.lists(st.tuples(KEYS, inner).map(":".join), max_size=4)
    named = st.none() | SERIES
    return st.builds(
        lambda name, some: "{" + ",".join(([] if name is None else [f'"series":{name}']) + some) + "}",
        named,
        pairs,
    )


VALUES = st.recursive(
    NUMBERS | STRINGS | st.sampled_from(["true", "false", "null", "[]", "{}", ""]),
    lambda inner: (
        _objects(inner) | st.lists(inner, max_size=3).map(lambda parts: "[" + ",".join(parts) + "]")
    ),
    max_leaves=6,
)
NAMED = st.builds(
    lambda name, t, v: f'{{"series":{name},"t":{t},"v":{v}}}',
    SERIES,
    st.just(str(T_MS)) | NUMBERS | STRINGS,
    NUMBERS,
)
TEXTS = PLAIN | STATION_PLAIN | NAMED | NUMBERS | _objects(NUMBERS | STRINGS) | VALUES


def _bytes(before: str, text: str, after: str) -> bytes:
    return (before + text + after).encode("utf-8", "surrogatepass")


def _spoilt(payload: bytes, at: int, with_: bytes) -> bytes:
    at %= len(payload) + 1
    return payload[:at] + with_ + payload[at:]


PAYLOADS = st.one_of(
    st.builds(_bytes, SPACE, TEXTS, SPACE),
    st.builds(
        _spoilt,
        st.builds(_bytes, SPACE, TEXTS, SPACE),
        st.integers(0, 99),
        st.sampled_from(
            [b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b",", b'"', b"\\", b"\x00", b"}", b"{}", b"1"]
        ),
    ),
    st.binary(max_size=40),
)
"""Any payload, most of them almost plain."""


def files() -> list[bytes]:
    """What others have gathered: JSONTestSuite and the list of naughty strings, as payloads."""
    found = [
        path.read_bytes()
        for folder in ("test_parsing", "test_transform")
        for path in sorted(shared("data", "malformed", "JSONTestSuite", folder).iterdir())
    ]
    naughty = json.loads(shared("data", "malformed", "blns", "blns_half.json").read_text("utf-8"))
    return found + [text.encode("utf-8", "surrogatepass") for text in naughty]
