"""Any bytes decode to rows or to Rejected with a reason; nothing is lost and nothing raises."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.data import shared

from ioc.ingest.decoder import FAULTS_MAX, Decoded, Decoder
from ioc.log import record
from ioc.model import PAYLOAD_KEPT_BYTES, Event, Flag, Input, Message, Reason

NUMBERS = {"disaster/lao_cai/water_level": 0, "disaster/lao_cai/rain_1h": 1}
LEVEL = "ioc/v1/disaster/lao_cai/water_level"
STATION = "ioc/v1/disaster/lao_cai"
T_MS = 1_725_800_400_123


def decode(payload: bytes | str, topic: str = LEVEL, retained: bool = False, **options: object) -> Decoded:
    decoder = Decoder(NUMBERS, 256 * 1024, **options)  # type: ignore[arg-type]
    out = Decoded()
    data = payload.encode() if isinstance(payload, str) else payload
    decoder.feed(Message("mqtt", topic, data, 77, retained), out)
    return out


def test_a_bare_number_bears_no_time() -> None:
    out = decode("84.2")
    assert (out.series, out.value, out.flags) == ([0], [84.2], [int(Flag.NO_STAMP)])
    assert not out.rejected


@pytest.mark.parametrize(
    "stamp", [str(T_MS), '"2024-09-08T20:00:00.123+07:00"', '"2024-09-08T13:00:00.123Z"']
)
def test_time_is_rfc3339_or_epoch_milliseconds(stamp: str) -> None:
    out = decode(f'{{"t": {stamp}, "v": 84.2, "q": "uncertain"}}')
    assert out.event_us == [T_MS * 1000]
    assert out.flags == [int(Flag.UNCERTAIN)]


def test_an_object_of_several_quantities_shares_time_and_quality() -> None:
    out = decode(f'{{"t": {T_MS}, "q": "bad", "water_level": 84.2, "rain_1h": 3.1}}', STATION)
    assert out.series == [0, 1]
    assert out.value == [84.2, 3.1]
    assert out.event_us == [T_MS * 1000] * 2
    assert out.flags == [int(Flag.BAD)] * 2


def test_in_an_array_the_good_ones_are_kept_and_the_bad_ones_name_their_place() -> None:
    out = decode('[{"v": 1}, {"v": "x"}, {"v": 3}, 4]')
    assert out.value == [1.0, 3.0]
    assert [(r.item, r.reason) for r in out.rejected] == [(1, Reason.WRONG_TYPE), (3, Reason.WRONG_TYPE)]


def test_one_item_of_an_array_can_be_decoded_alone() -> None:
    payload = b'[{"v": 1}, {"v": "x"}, {"v": 3}]'
    found = []
    for item in (None, 0, 1, 2, 3, -1):
        out = Decoded()
        Decoder(NUMBERS, 1000).feed(Message("mqtt", LEVEL, payload, 77), out, only_item=item)
        found.append((out.value, [(r.item, r.reason) for r in out.rejected]))
    wrong = Reason.WRONG_TYPE
    assert found[0] == ([1.0, 3.0], [(1, wrong)])
    assert found[1:4] == [([1.0], []), ([], [(1, wrong)]), ([3.0], [])]
    assert found[4:] == [([], [(3, wrong)]), ([], [(-1, wrong)])]


def test_what_is_no_array_is_decoded_whole_whichever_item_is_asked_for() -> None:
    out = Decoded()
    Decoder(NUMBERS, 1000).feed(Message("mqtt", LEVEL, b"84.2", 77), out, only_item=7)
    assert out.value == [84.2]


def test_retained_is_marked() -> None:
    assert decode("1", retained=True).flags == [int(Flag.RETAINED | Flag.NO_STAMP)]


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ("", Reason.NOT_JSON),
        ("NaN", Reason.NOT_FINITE),
        ('{"v": Infinity}', Reason.NOT_FINITE),
        ('{"v": -Infinity}', Reason.NOT_FINITE),
        ('{"v": 1e999}', Reason.NOT_FINITE),
        ('{"v": ' + "9" * 400 + "}", Reason.NOT_FINITE),
        ('{"v": ' + "9" * 5000 + "}", Reason.NOT_JSON),
        ('{"v": 1, "v": 2}', Reason.DUPLICATE_KEY),
        ('{"v": 1, "x": {"a": 1, "a": 2}}', Reason.DUPLICATE_KEY),
        ('{"v": true}', Reason.WRONG_TYPE),
        ('{"v": "84.2"}', Reason.WRONG_TYPE),
        ('{"v": null}', Reason.WRONG_TYPE),
        ('{"v": 1, "unit": "m"}', Reason.WRONG_TYPE),
        ('{"t": 1725800400123}', Reason.WRONG_TYPE),
        ("[]", Reason.WRONG_TYPE),
        ("true", Reason.WRONG_TYPE),
        ('"84.2"', Reason.WRONG_TYPE),
        ('{"v": 1, "t": true}', Reason.WRONG_TYPE),
        ('{"v": 1, "t": 1725800400}', Reason.BAD_TIME),
        ('{"v": 1, "t": 1e300}', Reason.BAD_TIME),
        ('{"v": 1, "t": "2024-09-08 20:00"}', Reason.BAD_TIME),
        ('{"v": 1, "t": "2024-09-08T20:00:00"}', Reason.BAD_TIME),
        ('{"v": 1, "t": "2024-02-30T20:00:00Z"}', Reason.BAD_TIME),
        ('{"v": 1, "t": "9999-12-31T23:59:59Z"}', Reason.BAD_TIME),
        ('{"v": 1, "q": "GOOD"}', Reason.BAD_QUALITY_WORD),
        ('{"v": 1, "q": 192}', Reason.BAD_QUALITY_WORD),
        (b"\xff\xfe", Reason.NOT_UTF8),
        (b'{"v": 1, "x": "\xff"}', Reason.NOT_UTF8),
        ("[" * 100_000, Reason.NOT_JSON),
        (b"1" * 300_000, Reason.TOO_LARGE),
    ],
)
def test_what_cannot_be_taken_is_rejected_with_its_reason(payload: bytes | str, reason: Reason) -> None:
    out = decode(payload)
    assert out.series == []
    assert [r.reason for r in out.rejected] == [reason]
    assert out.rejected[0].detail


@pytest.mark.parametrize("payload", [r'{"\ud800": 1}', r'{"\ud800": "x"}', r'{"v": 1, "q": "\udfff"}'])
def test_half_a_surrogate_pair_is_rejected_in_words_that_can_be_written(payload: str) -> None:
    for topic in (LEVEL, STATION):
        for rejected in decode(payload, topic).rejected:
            rejected.detail.encode("utf-8")
            record.encode(Input(1, 1, rejected))


def test_an_array_of_nonsense_is_told_by_its_first_faults_and_a_count() -> None:
    rejected = decode("[" + ",".join(["1"] * 50_000) + "]").rejected
    assert len(rejected) == FAULTS_MAX + 1
    assert rejected[-1].reason is Reason.TOO_MANY_FAULTS
    assert "49980" in rejected[-1].detail
    assert all(r.payload is rejected[0].payload or r.payload == rejected[0].payload for r in rejected)


@pytest.mark.parametrize("name", ["t", "x" * 65])
def test_reserved_and_endless_names_never_register(name: str) -> None:
    out = decode("1", f"ioc/v1/energy/x0/{name}", register=lambda series_id: 7)
    assert [r.reason for r in out.rejected] == [Reason.UNKNOWN_SERIES]


def test_a_rejected_payload_is_kept_up_to_64_kb_with_its_length() -> None:
    (rejected,) = decode(b"x" * 100_000).rejected
    assert len(rejected.payload) == PAYLOAD_KEPT_BYTES
    assert rejected.length == 100_000


@pytest.mark.parametrize(
    "topic", ["ioc/v1/disaster", "ioc/v1/weather/a/b", "ioc/v1/disaster/A/b", "x", "", LEVEL + "/x"]
)
def test_a_foreign_topic_is_rejected(topic: str) -> None:
    assert [r.reason for r in decode("1", topic).rejected] == [Reason.TOPIC]


def test_an_unknown_series_is_rejected_unless_the_configuration_lets_it_register() -> None:
    topic = "ioc/v1/disaster/lao_cai/level_x"
    assert [r.reason for r in decode("1", topic).rejected] == [Reason.UNKNOWN_SERIES]
    assert decode("1", topic, register=lambda series_id: 7).series == [7]


def test_a_quantity_that_is_no_id_is_never_registered() -> None:
    out = decode('{"Mực nước": 1}', STATION, register=lambda series_id: 7)
    assert [r.reason for r in out.rejected] == [Reason.UNKNOWN_SERIES]


@given(st.binary(max_size=300), st.sampled_from([LEVEL, STATION]))
def test_any_bytes_decode_or_are_rejected(payload: bytes, topic: str) -> None:
    out = decode(payload, topic)
    assert out.series or out.rejected


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(T_MS),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["t", "v", "q", "water_level", "x"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(JSON, st.sampled_from([LEVEL, STATION]))
def test_any_json_decodes_or_is_rejected(document: object, topic: str) -> None:
    out = decode(json.dumps(document), topic)
    assert out.series or out.rejected


def test_the_json_test_suite_is_judged_as_it_says() -> None:
    """n_ must be refused; y_ and i_ may be refused for other reasons, never as broken JSON where y_."""
    folder = shared("data", "malformed", "JSONTestSuite", "test_parsing")
    seen = 0
    for path in sorted(folder.iterdir()):
        out = decode(path.read_bytes())
        assert out.series or out.rejected, path.name
        if path.name.startswith("n_"):
            assert not out.series, path.name
        if path.name.startswith("y_") and "duplicated_key" not in path.name:
            assert all(r.reason not in (Reason.NOT_JSON, Reason.NOT_UTF8) for r in out.rejected), path.name
        seen += 1
    assert seen > 100


def test_naughty_strings_never_raise() -> None:
    for text in json.loads(shared("data", "malformed", "blns", "blns_half.json").read_text("utf-8")):
        out = decode(text)
        assert out.series or out.rejected
        decode("1", f"ioc/v1/disaster/{text}/x")


OUTAGE = "ioc/v1/energy/sa_pa/event/outage"


def test_an_event_bears_its_topic_and_the_rest_of_its_payload_as_facts() -> None:
    out = decode(f'{{"id": "A-1", "revision": 2, "start": {T_MS}, "customers": 312}}', OUTAGE, retained=True)
    assert out.events == [
        Event("mqtt", "energy", "sa_pa", "outage", "A-1", 2, T_MS * 1000, 0, 77, {"customers": 312})
    ]
    assert (len(out), out.rejected) == (0, [])


@pytest.mark.parametrize(
    "topic",
    [
        OUTAGE + "/more",
        "ioc/v1/energy/sa_pa/events/outage",
        "ioc/v1/energy/sa_pa/event/",
        "ioc/v1/energy/sa_pa/event/Outage",
        "ioc/v1/energy/sa_pa/event/" + "x" * 65,
        "ioc/v1/energy/" + "x" * 65 + "/event/outage",
        "ioc/v1/energy//event/outage",
        "ioc/v1/system/monitor/event/outage",
        OUTAGE + "\n",
    ],
)
def test_what_is_no_topic_of_an_event_is_rejected(topic: str) -> None:
    out = decode(f'{{"id": "A-1", "start": {T_MS}}}', topic)
    assert out.events == []
    assert [r.reason for r in out.rejected] == [Reason.TOPIC]


def test_a_faulty_event_is_rejected_whole_and_keeps_its_payload() -> None:
    payload = f'{{"id": "A-1", "start": {T_MS}, "revision": 0}}'
    (rejected,) = decode(payload, OUTAGE).rejected
    assert (rejected.reason, rejected.topic, rejected.item) == (Reason.WRONG_TYPE, OUTAGE, -1)
    assert rejected.payload == payload.encode()
    assert "revision" in rejected.detail


def test_an_event_longer_than_any_payload_may_be_is_too_large() -> None:
    out = Decoded()
    Decoder(NUMBERS, 20).feed(Message("mqtt", OUTAGE, b'{"id": "A-1", "start": 1}', 77), out)
    assert [r.reason for r in out.rejected] == [Reason.TOO_LARGE]


def test_a_quantity_may_still_be_named_event() -> None:
    out = Decoded()
    Decoder({"energy/sa_pa/event": 5}, 1000).feed(Message("mqtt", "ioc/v1/energy/sa_pa/event", b"1", 77), out)
    assert (out.series, out.events) == ([5], [])
