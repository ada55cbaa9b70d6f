"""Records of a Kafka partition decode to what the MQTT messages of the same content would; a faulty one costs no other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.kafka import Item

from ioc.ingest.decoder import Decoded, Decoder
from ioc.ingest.kafka_records import COLUMNAR_ROWS_MAX, SERIES_HEADER, RecordDecoder, columnar
from ioc.log import frame, record
from ioc.model import Batch, Body, Event, Flag, Input, Message, Reason, Rejected

LEVEL, RAIN = "disaster/lao_cai/water_level", "disaster/lao_cai/rain_1h"
NUMBERS = {LEVEL: 0, RAIN: 1}
T_US = 1_725_800_400_123_000
NOW_US = T_US + 5_000_000
BYTES_MAX = 2_000


def feed(*records: Item) -> list[Body]:
    decoder = RecordDecoder("kafka", Decoder(NUMBERS, BYTES_MAX), BYTES_MAX)
    return [body for bodies, _ in decoder.feed(records, NOW_US) for body in bodies]


def item(value: bytes | None, key: str | None = LEVEL, offset: int = 7, **more: str) -> Item:
    headers = [(name.replace("_", "-"), text.encode()) for name, text in more.items()]
    return Item("readings", 3, offset, None if key is None else key.encode(), value, headers)


def columns(
    series: list[int], ids: list[str], value: list[float] | None = None
) -> tuple[dict[str, str], bytes]:
    n = len(series)
    stamps = [T_US + i for i in range(n)]
    headers, body = columnar(Batch.of("", series, stamps, [0] * n, value or [1.5] * n), ids)
    return {name.replace("-", "_"): text.decode() for name, text in headers}, body


def values(bodies: list[Body]) -> list[float]:
    return [float(v) for body in bodies if isinstance(body, Batch) for v in body.value]


def only(bodies: list[Body]) -> Rejected:
    (body,) = bodies
    assert isinstance(body, Rejected)
    return body


def test_the_key_names_the_series_and_a_header_counts_more() -> None:
    (batch,) = feed(item(b"84.2"), item(b"3.1", ioc_series=RAIN), item(b'{"rain_1h": 4}', "disaster/lao_cai"))
    assert isinstance(batch, Batch)
    assert batch.series.tolist() == [0, 1, 1]
    assert batch.value.tolist() == [84.2, 3.1, 4.0]
    assert batch.received_us.tolist() == [NOW_US] * 3


def test_an_event_is_named_by_key_or_header_as_a_series_is() -> None:
    said = b'{"id": "A-1", "start": %d, "customers": 3}' % (T_US // 1_000)
    kind = "energy/sa_pa/event/outage"
    found = feed(item(said, kind), item(b"1"), item(said, ioc_series=kind))
    wanted = Event("kafka", "energy", "sa_pa", "outage", "A-1", 1, T_US, 0, NOW_US, {"customers": 3})
    assert [body for body in found if isinstance(body, Event)] == [wanted, wanted]
    assert values(found) == [1.0]


def test_a_faulty_record_costs_no_event() -> None:
    said, kind = b'{"id": "A-1", "start": %d}' % (T_US // 1_000), "energy/sa_pa/event/outage"
    found = feed(item(said, kind), item(b"nonsense", kind, offset=8), item(said, kind))
    assert [type(body) for body in found] == [Rejected, Event, Event]
    rejected = only([body for body in found if isinstance(body, Rejected)])
    assert rejected.detail.startswith("readings/3@8: ")
    assert rejected.topic == f"ioc/v1/{kind}"


def test_other_headers_are_not_looked_at() -> None:
    (batch,) = feed(item(b"84.2", traceparent="00-1"))
    assert isinstance(batch, Batch)
    assert batch.series.tolist() == [0]


def test_one_record_of_columns_holds_many_series() -> None:
    headers, body = columns([1, 0, 1], [RAIN, LEVEL])
    (batch,) = feed(item(body, None, **headers))
    assert isinstance(batch, Batch)
    assert batch.series.tolist() == [0, 1, 0]
    assert batch.event_us.tolist() == [T_US, T_US + 1, T_US + 2]
    assert batch.received_us.tolist() == [NOW_US] * 3
    assert batch.source == "kafka"


def test_columns_of_one_series_may_be_named_by_the_key() -> None:
    _, body = columns([0, 0], [LEVEL])
    assert values(feed(item(body))) == [1.5, 1.5]


def test_readings_stay_in_the_order_of_the_records_whatever_their_form() -> None:
    headers, body = columns([0, 0], [LEVEL], [2.0, 3.0])
    found = feed(item(b"1"), item(body, **headers), item(b"nonsense"), item(b"4"), item(None), item(b"5"))
    assert values(found) == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert [b.reason for b in found if isinstance(b, Rejected)] == [Reason.NOT_JSON, Reason.NOT_JSON]


def test_each_piece_tells_the_offset_behind_it() -> None:
    headers, body = columns([0], [LEVEL])
    records = [
        item(b"1", offset=4),
        item(b"2", offset=9),
        item(body, offset=10, **headers),
        item(b"3", offset=12),
    ]
    decoder = RecordDecoder("kafka", Decoder(NUMBERS, BYTES_MAX), BYTES_MAX)
    assert [following for _, following in decoder.feed(records, NOW_US)] == [10, 11, 13]


@pytest.mark.parametrize(
    ("record", "reason", "told"),
    [
        (item(b"nonsense"), Reason.NOT_JSON, ""),
        (item(b""), Reason.NOT_JSON, ""),
        (item(None), Reason.NOT_JSON, "tombstone"),
        (item(b"1", None), Reason.TOPIC, ""),
        (item(b"1", "disaster/lao_cai/no_such"), Reason.UNKNOWN_SERIES, ""),
        (item(b"1", "weather/lao_cai/rain_1h"), Reason.TOPIC, ""),
        (item(b"1" * (BYTES_MAX + 1)), Reason.TOO_LARGE, ""),
        (item(b"\x28\xb5\x2f\xfd" + bytes(BYTES_MAX)), Reason.TOO_LARGE, ""),
        (item(b"\x28\xb5\x2f\xfd"), Reason.NOT_JSON, "damaged"),
        (item(columns([0], [LEVEL])[1][:-3]), Reason.NOT_JSON, "checksum"),
        (item(record.encode(Input(0, 0, Rejected("", "", Reason.TOPIC, "", 0, b"", 0)))[1]), Reason.NOT_JSON, ""),
        (item(record.encode(Input(5, 0, Batch.of("", [0], [T_US], [0], [1.0])))[1]), Reason.NOT_JSON, "5"),
    ],
)  # fmt: skip
def test_a_faulty_record_is_rejected_and_can_be_found(record: Item, reason: Reason, told: str) -> None:
    found = only(feed(record))
    assert found.reason == reason
    assert found.detail.startswith("readings/3@7: ")
    assert told in found.detail
    assert found.payload == (record.value or b"")
    assert found.topic == f"ioc/v1/{(record.key or b'').decode()}", "so that it can be injected again"


def test_a_few_bytes_that_unpack_to_gigabytes_are_refused_before() -> None:
    bomb = frame.pack(bytes(COLUMNAR_ROWS_MAX * 32 + 2_000))
    assert len(bomb) < BYTES_MAX
    assert only(feed(item(bomb))).reason == Reason.TOO_LARGE


def test_a_row_of_columns_that_cannot_be_taken_is_rejected_alone() -> None:
    headers, body = columns([0, 1, 5, 0], [LEVEL, "disaster/x/y"], [1.0, 2.0, 3.0, float("nan")])
    found = feed(item(body, **headers))
    assert values(found) == [1.0]
    rejected = [b for b in found if isinstance(b, Rejected)]
    assert [r.item for r in rejected] == [1, 2, 3]
    assert all(r.detail.startswith("readings/3@7: ") for r in rejected)


def test_a_name_that_is_not_utf8_is_rejected() -> None:
    assert only(feed(Item("t", 0, 0, b"disaster/\xff", b"1"))).reason == Reason.TOPIC
    headers, body = columns([0], [LEVEL])
    assert only(feed(Item("t", 0, 0, b"disaster/\xff", body))).reason == Reason.UNKNOWN_SERIES
    assert headers


def test_the_helper_for_producers_says_no_time_and_quality() -> None:
    flags = [int(Flag.NO_STAMP), int(Flag.BAD)]
    headers, body = columnar(Batch.of("x", [0, 0], [0, T_US], [9, 9], [1.0, 2.0], flags), [LEVEL])
    assert headers == [(SERIES_HEADER, LEVEL.encode())]
    (batch,) = feed(item(body))
    assert isinstance(batch, Batch)
    assert batch.flags.tolist() == flags
    assert batch.event_us.tolist() == [0, T_US]


PAYLOADS = st.sampled_from(
    [
        b"1",
        b"-2.5",
        b'{"t": 1725800400123, "v": 3}',
        b'[{"v": 1}, {"v": "x"}]',
        b'{"v": 1, "v": 2}',
        b"x",
        b"",
        b"null",
    ]
)
RECORDS = st.one_of(
    st.builds(item, PAYLOADS, st.sampled_from([LEVEL, RAIN, "disaster/lao_cai", "disaster/a/b", "", None])),
    st.builds(item, st.none()),
    st.builds(item, st.binary(max_size=40)),
    st.lists(st.integers(-1, 2), max_size=40).map(
        lambda series: item(columns(series, [RAIN, LEVEL])[1], f"{RAIN},{LEVEL}")
    ),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(RECORDS, max_size=30), st.integers(1, 7))
def test_many_records_are_what_each_of_them_is_alone(records: list[Item], chunk: int) -> None:
    """Whatever is decoded at one go: the rows in order, the same rejections, one for each fault."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ioc.ingest.kafka_records._CHUNK", chunk)
        found = feed(*records)
    alone = [body for each in records for body in one_by_one(each)]
    assert rows(found) == rows(alone)
    assert [b for b in found if isinstance(b, Rejected)] == [b for b in alone if isinstance(b, Rejected)]


def one_by_one(each: Item) -> list[Body]:
    """The oracle: JSON by the careful decoder, the rest by itself."""
    if each.value is None or each.value[:4] == b"\x28\xb5\x2f\xfd":
        return feed(each)
    out = Decoded()
    name = (each.key or b"").decode()
    Decoder(NUMBERS, BYTES_MAX).feed(Message("kafka", f"ioc/v1/{name}", each.value, NOW_US), out)
    batch = out.batch("kafka")
    told = [
        Rejected("kafka", r.topic, r.reason, f"readings/3@7: {r.detail}", NOW_US, r.payload, r.length, r.item)
        for r in out.rejected
    ]
    return [*told, *([batch] if batch is not None else [])]


def rows(bodies: list[Body]) -> list[tuple[int, int, float, int]]:
    return [
        row
        for body in bodies
        if isinstance(body, Batch)
        for row in zip(
            body.series.tolist(),
            body.event_us.tolist(),
            body.value.tolist(),
            body.flags.tolist(),
            strict=True,
        )
    ]


def test_the_net_catches_a_row_that_is_moved() -> None:
    """Planted: columns decoded before the JSON that came earlier."""
    headers, body = columns([0, 0], [LEVEL], [2.0, 3.0])
    records = [item(b"1"), item(body, **headers)]
    assert rows(feed(*reversed(records))) != rows([b for r in records for b in one_by_one(r)])
    assert np.array_equal(values(feed(*records)), [1.0, 2.0, 3.0])
