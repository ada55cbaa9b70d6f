"""Any bytes are an event, field by field as a plain reading of them has it, or a fault with a reason."""

from __future__ import annotations

import json
import math
from datetime import datetime
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from support.hostile import PAYLOADS
from support.log_items import facts

from ioc.ingest.codecs import event
from ioc.ingest.codecs.event import BYTES_MAX, DEPTH_MAX, ID_MAX, REVISION_MAX, Said
from ioc.ingest.codecs.native import Fault
from ioc.model import Reason

T_MS = 1_790_000_000_123
NAMES = ("id", "revision", "start", "end")


def payload(**fields: Any) -> bytes:
    return json.dumps({"id": "A-1", "start": T_MS} | fields, ensure_ascii=False).encode()


def said(data: bytes) -> Said:
    found = event.decode(data)
    assert isinstance(found, Said), found
    return found


def nested(levels: int) -> Any:
    return [nested(levels - 1)] if levels else 1


def test_what_is_left_out_is_revision_1_and_no_end() -> None:
    assert said(payload()) == Said("A-1", 1, T_MS * 1_000, 0, {})
    assert said(payload(end=None)) == said(payload())


def test_other_keys_are_facts() -> None:
    given_facts = {"customers": 312, "feeder": "471", "communes": ["Tả Van", None], "t": 1, "v": {"q": True}}
    found = said(payload(revision=2, end="2026-09-21T21:13:20.123+07:00", **given_facts))
    assert found == Said("A-1", 2, T_MS * 1_000, T_MS * 1_000, given_facts)


def test_the_bounds_themselves_may_be_reached() -> None:
    assert said(payload(id="ữ" * ID_MAX, revision=REVISION_MAX)).revision == 2**53
    # The object of facts is the first level.
    assert said(payload(deep=nested(DEPTH_MAX - 1)))
    assert said(payload(low=-(2**63), high=2**63 - 1))
    assert said(payload() + b" " * (BYTES_MAX - len(payload())))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", Reason.NOT_JSON),
        (b"\xff", Reason.NOT_UTF8),
        (b"[" * BYTES_MAX, Reason.NOT_JSON),
        (b'{"id": "A", "start": ' + b"9" * 5_000 + b"}", Reason.NOT_JSON),
        (b"[]", Reason.WRONG_TYPE),
        (b"[" + payload() + b"]", Reason.WRONG_TYPE),
        (b"1", Reason.WRONG_TYPE),
        (b"null", Reason.WRONG_TYPE),
        (b"{}", Reason.WRONG_TYPE),
        (b'{"id": "A-1"}', Reason.WRONG_TYPE),
        (payload(start=None), Reason.WRONG_TYPE),
        (payload(start=True), Reason.WRONG_TYPE),
        (payload(start=[]), Reason.WRONG_TYPE),
        (payload(start="yesterday"), Reason.BAD_TIME),
        (payload(start=T_MS // 1_000), Reason.BAD_TIME),
        (payload(start=10**300), Reason.BAD_TIME),
        (payload(start="9999-12-31T23:59:59Z"), Reason.BAD_TIME),
        (payload(end=T_MS - 1), Reason.BAD_TIME),
        (payload(end=0), Reason.BAD_TIME),
        (payload(end=False), Reason.WRONG_TYPE),
        (b'{"start": %d}' % T_MS, Reason.WRONG_TYPE),
        (payload(id=7), Reason.WRONG_TYPE),
        (payload(id=None), Reason.WRONG_TYPE),
        (payload(id=""), Reason.WRONG_TYPE),
        (payload(id="x" * (ID_MAX + 1)), Reason.WRONG_TYPE),
        (payload(id="a\0b"), Reason.WRONG_TYPE),
        (payload(id="a\x1b[2J"), Reason.WRONG_TYPE),
        (b'{"id": "\\ud800", "start": %d}' % T_MS, Reason.WRONG_TYPE),
        (payload(revision=0), Reason.WRONG_TYPE),
        (payload(revision=-1), Reason.WRONG_TYPE),
        (payload(revision=REVISION_MAX + 1), Reason.WRONG_TYPE),
        (payload(revision=10**400), Reason.WRONG_TYPE),
        (payload(revision=1.0), Reason.WRONG_TYPE),
        (payload(revision="2"), Reason.WRONG_TYPE),
        (payload(revision=True), Reason.WRONG_TYPE),
        (payload(revision=None), Reason.WRONG_TYPE),
        (payload(deep=nested(DEPTH_MAX)), Reason.WRONG_TYPE),
        (payload(deep=nested(900)), Reason.WRONG_TYPE),
        (payload(customers=2**63), Reason.NOT_FINITE),
        (payload(customers=-(2**63) - 1), Reason.NOT_FINITE),
        (payload(x=math.nan), Reason.NOT_FINITE),
        (payload(x=-math.inf), Reason.NOT_FINITE),
        (payload()[:-1] + b', "x": [{"y": 1e999}]}', Reason.NOT_FINITE),
        (payload()[:-1] + b', "x": ["\\udfff"]}', Reason.NOT_UTF8),
        (payload()[:-1] + b', "x": {"\\udfff": 1}}', Reason.NOT_UTF8),
        (payload()[:-1] + b', "id": "B"}', Reason.DUPLICATE_KEY),
        (payload()[:-1] + b', "x": {"y": 1, "y": 1}}', Reason.DUPLICATE_KEY),
        (payload() + b" " * BYTES_MAX, Reason.TOO_LARGE),
    ],
)
def test_what_cannot_be_taken_has_its_reason(data: bytes, reason: Reason) -> None:
    found = event.decode(data)
    assert isinstance(found, Fault)
    assert found.reason is reason
    assert found.detail


STAMPS = st.one_of(
    st.none(),
    st.integers(T_MS - 3, T_MS + 3),
    st.sampled_from(["2026-09-21T14:13:20Z", "2026-09-21T21:13:20.124+07:00", "2026-09-21", ""]),
    st.booleans(),
)


def plainly(document: Any) -> tuple[str, int, int, int, dict[str, Any]] | None:
    """By the table of docs/protocol.md; for stamps that are of this century, and facts that are sound."""

    def us(stamp: Any) -> int | None:
        if type(stamp) is int:
            return stamp * 1_000
        try:
            return (
                round(datetime.fromisoformat(stamp).timestamp() * 1_000) * 1_000 if len(stamp) > 10 else None
            )
        except (TypeError, ValueError):
            return None

    if not isinstance(document, dict):
        return None
    name, revision = document.get("id"), document.get("revision", 1)
    start, end = us(document.get("start")), document.get("end")
    end_us = 0 if end is None else us(end)
    if (
        type(name) is not str
        or not 1 <= len(name) <= 120
        or not name.isprintable()
        or type(revision) is not int
    ):
        return None
    if not 1 <= revision <= 2**53 or start is None or end_us is None or 0 < end_us < start:
        return None
    return name, revision, start, end_us, {key: value for key, value in document.items() if key not in NAMES}


FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "id": st.one_of(st.text(min_size=1, max_size=3), st.sampled_from(["A-1", ""]), st.none()),
        "revision": st.one_of(
            st.integers(1, 9), st.integers(), st.booleans(), st.sampled_from([1.0, 2.5, "2", None])
        ),
        "start": STAMPS,
        "end": STAMPS,
    },
)


def compare(fields: dict[str, Any], more: dict[str, Any]) -> None:
    document = {name: value for name, value in more.items() if name not in NAMES} | fields
    found = event.decode(json.dumps(document).encode())
    wanted = plainly(document)
    if wanted is None:
        assert isinstance(found, Fault)
    else:
        assert isinstance(found, Said)
        assert repr((found.id, found.revision, found.start_us, found.end_us, found.facts)) == repr(wanted)


@given(FIELDS, facts)
@settings(max_examples=400, deadline=None)
def test_an_event_is_read_as_a_plain_reader_reads_it(fields: dict[str, Any], more: dict[str, Any]) -> None:
    compare(fields, more)


def test_the_plain_reader_finds_a_planted_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event, "_revision", lambda value: value)

    @given(FIELDS, facts)
    @settings(max_examples=400, deadline=None, phases=[Phase.generate], database=None)
    def search(fields: dict[str, Any], more: dict[str, Any]) -> None:
        compare(fields, more)

    with pytest.raises(AssertionError):
        search()


@given(st.one_of(PAYLOADS, st.binary(max_size=60)))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_an_event_or_a_fault(data: bytes) -> None:
    assert isinstance(event.decode(data), Said | Fault)
