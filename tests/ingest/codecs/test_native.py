"""RFC 3339 as the native convention has it."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioc.ingest.codecs.native import rfc3339_us

FORM = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(\.\d+)?([Zz]|([+-])(\d\d):(\d\d))", re.ASCII
)


def by_parts(text: str) -> int | None:
    """The same by plain arithmetic."""
    match = FORM.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second = map(int, match.groups()[:6])
    fraction, _, sign, ahead_h, ahead_m = match.groups()[6:]
    leap = second == 60
    try:
        moment = datetime(year, month, day, hour, minute, 59 if leap else second, tzinfo=UTC)
    except ValueError:
        return None
    ahead = timedelta(hours=int(ahead_h), minutes=int(ahead_m)) if sign else timedelta()
    if ahead >= timedelta(days=1):
        return None
    us = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    us += int(((fraction or ".")[1:] + "000000")[:6]) + (1_000_000 if leap else 0)
    return us - (ahead if sign == "+" else -ahead) // timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("text", "us"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T07:00:00.000001+07:00", 1),
        ("2016-12-31T23:59:60Z", 1_483_228_800_000_000),
        ("2024-09-08t20:00:00.1234567z", 1_725_825_600_123_456),
        ("2024-09-08T20:00:00+0700", None),
        ("2024-W36-7T20:00:00Z", None),
        ("２０２４-09-08T20:00:00Z", None),
    ],
)
def test_rfc3339(text: str, us: int | None) -> None:
    assert rfc3339_us(text) == us


TEXTS = st.builds(
    "{}{}{}{}{}".format,
    st.datetimes().filter(lambda moment: 1 < moment.year < 9999).map(lambda moment: moment.isoformat()[:17]),
    st.sampled_from(["00", "59", "60", "61", "7"]),
    st.sampled_from(["", ".", ".5", ".1234567890123456789", ",5"]) | st.integers(0, 10**9).map(".{}".format),
    st.sampled_from(["Z", "z", "+07:00", "-00:00", "+23:59", "+24:00", "-12:60", "+0700", "+07:00:30", ""]),
    st.sampled_from(["", "", "", " ", "\n", "Z"]),
)


@given(TEXTS, st.sampled_from("Tt _-"), st.integers(0, 30), st.sampled_from("0９-:T/W"))
def test_any_time_is_read_as_its_parts_say(text: str, separator: str, at: int, letter: str) -> None:
    text = text[:10] + separator + text[11:]
    for candidate in (text, text[:at] + letter + text[at + 1 :]):
        assert rfc3339_us(candidate) == by_parts(candidate), candidate
