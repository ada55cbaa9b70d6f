from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.log_items import batch, inputs, item, same, transition, transitions

from ioc.errors import LogDamaged
from ioc.log import frame, record
from ioc.model import Batch, Event, Input, SystemFact, Tick, Transition


@given(inputs)
def test_every_input_comes_back_to_the_bit(given_input: Input) -> None:
    kind, body = record.encode(given_input)
    back = record.decode(given_input.number, given_input.now_us, kind, body, given_input.origin)
    assert same(back, given_input)


@given(inputs, st.data())
def test_a_changed_byte_is_always_found_out(given_input: Input, data: st.DataObject) -> None:
    kind, body = record.encode(given_input)
    at = data.draw(st.integers(0, len(body) - 1))
    damaged = bytearray(body)
    damaged[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(LogDamaged) as caught:
        record.decode(given_input.number, given_input.now_us, kind, bytes(damaged), given_input.origin)
    assert caught.value.number == given_input.number


@given(inputs, st.binary(max_size=100))
def test_any_bytes_are_refused_with_the_records_number(given_input: Input, junk: bytes) -> None:
    for body in (junk, frame.pack(junk)):
        with pytest.raises(LogDamaged) as caught:
            record.decode(given_input.number, given_input.now_us, 1, body, given_input.origin)
        assert caught.value.number == given_input.number


@pytest.mark.parametrize(
    "columns",
    [
        (8, 100, 1, "o"),
        (7, 101, 1, "o"),
        (7, 100, 2, "o"),
        (7, 100, 8, "o"),
        (7, 100, 1, "p"),
        (7, 100, 99, "o"),
    ],
    ids=["number", "now_us", "kind", "other kind", "origin", "unknown kind"],
)
def test_a_record_whose_columns_were_changed_is_found_out(columns: tuple[int, int, int, str]) -> None:
    kind, body = record.encode(Input(7, 100, batch(3), "o"))
    assert record.decode(7, 100, kind, body, "o").number == 7
    number, now_us, kind, origin = columns
    with pytest.raises(LogDamaged, match=f"log record {number}: "):
        record.decode(number, now_us, kind, body, origin)


def test_a_record_of_a_later_format_is_refused_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(record.FORMATS, record.Kind.TICK, record.VERSION + 1)
    kind, body = record.encode(item(1, Tick()))
    with pytest.raises(LogDamaged, match=f"format {record.VERSION + 1}; this build reads formats 1 to"):
        record.decode(1, item(1).now_us, kind, body, item(1).origin)


def test_a_record_bears_the_first_format_that_has_its_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    """So an older build reads a log up to its first event, and says what it lacks for the rest."""
    event = item(1, Event("mqtt", "energy", "sa_pa", "outage", "1", 1, 5, 0, 6, {"customers": 3}))
    for given_input, version in ((event, 2), (item(1), 1), (item(1, Tick()), 1)):
        kind, body = record.encode(given_input)
        assert frame.unpack(body)[0] == version
        with monkeypatch.context() as older:
            older.setattr(record, "VERSION", 1)
            if version == 1:
                assert same(record.decode(1, given_input.now_us, kind, body, given_input.origin), given_input)
            else:
                with pytest.raises(LogDamaged, match="has format 2; this build reads formats 1 to 1"):
                    record.decode(1, given_input.now_us, kind, body, given_input.origin)


def test_a_decoded_batch_may_be_written_to_as_a_live_one() -> None:
    for rows in (5, 100):
        given_input = item(1, batch(rows))
        kind, body = record.encode(given_input)
        back = record.decode(1, given_input.now_us, kind, body, given_input.origin).body
        back.flags[0] = 1  # type: ignore[union-attr]
        back.event_us[0] = 1  # type: ignore[union-attr]


def test_a_batch_of_sliced_columns_is_written_as_its_rows() -> None:
    given_input = item(1, batch(200).take(slice(None, None, 3)))
    kind, body = record.encode(given_input)
    assert same(record.decode(1, given_input.now_us, kind, body, given_input.origin), given_input)


@pytest.mark.parametrize("bits", [0x7FF8_0000_0000_0001, 0x8000_0000_0000_0000, 0x4055_0CCC_CCCC_CCCD])
def test_a_batch_of_one_row_is_written_as_its_columns(bits: int) -> None:
    one = Batch(
        "mqtt", np.array([-2], np.int32), np.array([3 << 40], np.int64), np.array([-(5 << 41)], np.int64),
        np.array([bits], np.uint64).view(np.float64), np.array([513], np.uint16), np.array([7], np.uint16),
    )  # fmt: skip
    kind, body = record.encode(item(1, one))
    assert same(record.decode(1, item(1).now_us, kind, body, item(1).origin), item(1, one))
    columns = (one.series, one.event_us, one.received_us, one.value, one.flags, one.revision)
    assert frame.unpack(body).endswith(b"mqtt" + b"".join(column.tobytes() for column in columns))


def test_regular_readings_cost_few_bytes() -> None:
    one = batch(1)
    rows = one.take([0] * 10_000)
    assert len(record.encode(item(1, rows))[1]) < 500
    assert len(record.encode(item(1, batch(10_000)))[1]) < 16 * 10_000


@given(transitions)
def test_every_transition_comes_back_to_the_bit(given_transition: Transition) -> None:
    body = record.encode_transition(given_transition)
    assert same(record.decode_transition(1, given_transition.input, body), given_transition)


def test_a_transition_that_is_not_one_names_its_record() -> None:
    body = record.encode_transition(transition(5))
    for wrong in (b"", b"\x09" + body[1:], body[:-3], b"\x01\xc0"):
        with pytest.raises(LogDamaged, match="log record 5: its journal entry 3 "):
            record.decode_transition(3, 5, wrong)
    with pytest.raises(LogDamaged, match="really one of record 5"):
        record.decode_transition(3, 6, body)


def test_kinds_never_change_their_numbers() -> None:
    assert {kind.name: int(kind) for kind in record.Kind} == {
        "BATCH": 1,
        "REJECTED": 2,
        "COMMAND": 3,
        "PACK_LOADED": 4,
        "SERIES_ADDED": 5,
        "SOURCE_STATE": 6,
        "SYSTEM_FACT": 7,
        "TICK": 8,
        "EVENT": 9,
    }


def test_a_fact_and_a_later_version_of_it_differ() -> None:
    fact = SystemFact("disk_low", "disk", True, 1.0)
    assert not same(fact, replace(fact, value=-0.0)) and not same(
        replace(fact, value=0.0), replace(fact, value=-0.0)
    )
