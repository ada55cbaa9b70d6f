"""Bodies of items that name their series: the good items are kept, exactly the bad ones are refused."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.hostile import PAYLOADS, T_MS, VALUES, files

from ioc.ingest.codecs import native, plain, readings
from ioc.ingest.decoder import FAULTS_MAX, Decoded, Decoder, Items, Unreadable
from ioc.model import Flag, Reason

LEVEL = "environment/hue/pm25"
NUMBERS = {LEVEL: 3, "environment/hue/rain": 0, "system/monitor/disk": 9}
GOOD = f'{{"series":"{LEVEL}","t":{T_MS},"v":1.5,"q":"bad"}}'
SIZE_MAX = 1000


def feed(
    body: bytes | str,
    ndjson: bool = False,
    register: Callable[[str], int | None] | None = None,
    allowed: Callable[[str], bool] | None = None,
) -> tuple[Items, Decoded]:
    out = Decoded()
    data = body.encode() if isinstance(body, str) else body
    items = Decoder(NUMBERS, SIZE_MAX, register).feed_readings("http", data, ndjson, 77, out, allowed)
    assert items.accepted == len(out)
    assert len(out.rejected) == min(len(items.rejected), FAULTS_MAX + 1)
    return items, out


@pytest.mark.parametrize(
    ("body", "ndjson"),
    [
        (GOOD, False),
        (f"[{GOOD}]", False),
        (f" \n[ {GOOD} ]\n", False),
        (GOOD, True),
        (f"\r\n{GOOD}\r\n\n", True),
    ],
)
def test_one_an_array_or_ndjson(body: str, ndjson: bool) -> None:
    items, out = feed(body, ndjson)
    assert (items.accepted, items.rejected) == (1, [])
    assert (out.series, out.event_us, out.received_us, out.value) == ([3], [T_MS * 1000], [77], [1.5])
    assert out.flags == [int(Flag.BAD)]


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        ('{"series":"environment/hue/pm25"}', Reason.WRONG_TYPE),
        ('{"v":1}', Reason.WRONG_TYPE),
        ('{"series":1,"v":1}', Reason.WRONG_TYPE),
        ('{"series":null,"v":1}', Reason.WRONG_TYPE),
        ('{"series":"environment/hue/pm25","v":1,"unit":"x,y"}', Reason.WRONG_TYPE),
        ('{"series":"environment/hue/pm25","v":"1"}', Reason.WRONG_TYPE),
        ('{"series":"environment/hue/pm25","v":1,"q":"ok"}', Reason.BAD_QUALITY_WORD),
        ('{"series":"environment/hue/pm25","v":1,"t":1}', Reason.BAD_TIME),
        ('{"series":"environment/hue/pm25","v":1e999}', Reason.NOT_FINITE),
        ('{"series":"environment/hue/pm25","v":1,"v":1}', Reason.DUPLICATE_KEY),
        ('{"series":"environment/hue/pm25","series":"environment/hue/pm25","v":1}', Reason.DUPLICATE_KEY),
        ('{"series":"environment/hue/pm25","v":1,"\\u0076":1}', Reason.DUPLICATE_KEY),
        ('{"series":"environment/hue/none","v":1}', Reason.UNKNOWN_SERIES),
        ('{"series":"environment/hue","v":1}', Reason.UNKNOWN_SERIES),
        ('{"series":"system/monitor/disk","v":1}', Reason.UNKNOWN_SERIES),
        ('{"series":"","v":1}', Reason.UNKNOWN_SERIES),
        ('{"series":"a,b","v":1}', Reason.UNKNOWN_SERIES),
        ("[1]", Reason.WRONG_TYPE),
        ("84.2", Reason.WRONG_TYPE),
        ("null", Reason.WRONG_TYPE),
        (GOOD[:-1] + ", ".ljust(SIZE_MAX) + '"x":1}', Reason.TOO_LARGE),
    ],
)
def test_a_bad_item_is_refused_alone_and_names_its_place(item: str, reason: Reason) -> None:
    for body, ndjson in ((f"[{GOOD},{item},{GOOD}]", False), (f"{GOOD}\n{item}\n\n{GOOD}", True)):
        items, out = feed(body, ndjson)
        assert items.accepted == 2
        assert [(index, why) for index, why, _ in items.rejected] == [(1, reason)]
        assert [(r.item, r.reason, r.payload) for r in out.rejected] == [(1, reason, item.encode())]


@pytest.mark.parametrize(
    "body",
    [
        b"", b" \n", b"[]", b"[", b"{", b"[1,]", b"[1]]", b"\xff", b'{"a":"\xff"}', b"\xef\xbb\xbf[]", b'{"v":NaN}',
        b'["\\ud800"]', b"[" * 100_000, b"[" + b"0," * 500_000 + b"0]",
        b"[" + b"0," * native.ITEMS_MAX + b"0]",
    ],
    ids=lambda body: body[:12],
)  # fmt: skip
def test_what_holds_no_items_is_unreadable(body: bytes) -> None:
    with pytest.raises(Unreadable) as told:
        feed(body)
    assert told.value.detail


@pytest.mark.parametrize(
    "body", [b"", b"\n\n", b"1\n" * (native.ITEMS_MAX + 1)], ids=["empty", "blank", "long"]
)
def test_ndjson_is_unreadable_only_if_it_holds_nothing_or_too_much(body: bytes) -> None:
    with pytest.raises(Unreadable):
        feed(body, ndjson=True)


def test_an_unreadable_line_is_one_rejected_item() -> None:
    items, _ = feed(b'{"series"\n' + GOOD.encode() + b"\n\xff\n" + GOOD.encode(), ndjson=True)
    assert items.accepted == 2
    assert [(index, reason) for index, reason, _ in items.rejected] == [
        (0, Reason.NOT_JSON),
        (2, Reason.NOT_UTF8),
    ]


def test_every_refused_item_is_told_to_the_sender_and_the_first_ones_to_the_quarantine() -> None:
    items, out = feed("[" + ",".join(["1"] * 50_000) + "]")
    assert [index for index, _, _ in items.rejected] == list(range(50_000))
    assert [r.item for r in out.rejected] == [*range(FAULTS_MAX), -1]
    assert out.rejected[-1].reason is Reason.TOO_MANY_FAULTS
    assert "49980" in out.rejected[-1].detail


def test_a_sender_may_be_bound_to_some_series() -> None:
    register = {"energy/x0/kw": 5}.get
    body = f'[{GOOD},{{"series":"energy/x0/kw","v":1}},{{"series":"energy/x1/kw","v":1}}]'
    items, out = feed(body, register=register, allowed=lambda series_id: series_id.startswith("energy/"))
    assert out.series == [5]
    assert [(i, why) for i, why, _ in items.rejected] == [(0, Reason.NOT_ALLOWED), (2, Reason.UNKNOWN_SERIES)]


def test_a_rejected_item_can_be_taken_again_by_itself() -> None:
    _, out = feed('[1, {"series":"energy/x0/kw","v":2}]')
    assert out.rejected[1].topic == "energy/x0/kw"
    items, again = feed(out.rejected[1].payload, register=lambda series_id: 5)
    assert (items.accepted, again.value) == (1, [2.0])


def _item(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


NAMED = st.builds(
    lambda name, t, v, more: f'{{"series":{json.dumps(name)},"t":{t},"v":{v}{more}}}',
    st.sampled_from([LEVEL, LEVEL, "environment/hue/rain", "environment/hue/none", "a,b"]),
    st.sampled_from([str(T_MS), '"2026-09-21T14:13:20Z"', "1", '","', "null"]),
    st.floats(allow_nan=False, allow_infinity=False).map(repr) | VALUES,
    st.sampled_from(["", "", "", ',"q":"bad"', ',"v":1', ',"x":","', ',"\\u0074":1']),
)
BODIES = (
    st.lists((NAMED | VALUES).map(_item), max_size=6).map(lambda items: b"[" + b",".join(items) + b"]")
    | st.lists((NAMED.map(_item) | PAYLOADS), max_size=6).map(b"\n".join)
    | PAYLOADS
)


@given(BODIES, st.booleans())
@settings(max_examples=300, deadline=None)
def test_any_body_decodes_with_speed_as_it_does_with_care(body: bytes, ndjson: bool) -> None:
    compare(body, ndjson)


def compare(body: bytes, ndjson: bool) -> None:
    try:
        found, out = feed(body, ndjson)
    except Unreadable:
        return
    assert found.accepted + len(found.rejected) == len(readings.split(body, ndjson=ndjson))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plain, "named", lambda part: None)
        wanted, careful = feed(body, ndjson)
    assert found == wanted
    assert out.rejected == careful.rejected
    assert (out.series, out.event_us, out.flags) == (careful.series, careful.event_us, careful.flags)
    assert list(map(repr, out.value)) == list(map(repr, careful.value))


def test_files_that_others_gathered_never_raise() -> None:
    for payload in files():
        for body in (payload, b"[" + payload + b"]", b'{"series":"' + payload + b'","v":1}'):
            for ndjson in (False, True):
                compare(body, ndjson)


def test_a_planted_bug_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys that stand twice are taken."""
    monkeypatch.setattr(plain, "_row", lambda reading, commas: (0, reading.v, 0))
    with pytest.raises(AssertionError):
        compare(f'{{"series":"{LEVEL}","v":1,"v":2}}'.encode(), False)
