"""`feed_columnar` gives what a loop over the rows would give."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ioc.ingest import decoder as module
from ioc.ingest.codecs.native import TIME_MAX_US, TIME_MIN_US
from ioc.ingest.decoder import FAULTS_MAX, Decoded, Decoder
from ioc.model import Batch, Flag, Message, Reason

NUMBERS = {"environment/hue/pm25": 3, "environment/hue/rain": 0, "system/monitor/disk": 9}
IDS = [
    "environment/hue/rain",
    "environment/hue/none",
    "environment/hue/pm25",
    "system/monitor/disk",
    "\ud800",
    "",
]
T_US = 1_790_000_000_123_456
ROWS = st.lists(
    st.tuples(
        st.integers(-2, len(IDS) + 1) | st.sampled_from([0, 2, -(2**31), 2**31 - 1]),
        st.sampled_from([T_US, 0, 1, -1, TIME_MIN_US - 1, TIME_MIN_US, TIME_MAX_US - 1, TIME_MAX_US, 2**63 - 1, -(2**63)]),
        st.floats() | st.floats(-9, 9),
        st.integers(0, 2**16 - 1),
    ),
    max_size=60,
)  # fmt: skip


def batch_of(rows: list[tuple[int, int, float, int]]) -> Batch:
    series, event_us, value, flags = zip(*rows, strict=True) if rows else ((), (), (), ())
    return Batch.of("kafka", series, event_us, np.full(len(rows), 5), value, flags, np.full(len(rows), 6))


def compare(rows: list[tuple[int, int, float, int]]) -> None:
    out = Decoded()
    Decoder(NUMBERS, 1000).feed_columnar("kafka", IDS, batch_of(rows), 77, out)
    taken, wrong = [], []
    for at, (index, event_us, value, flags) in enumerate(rows):
        name = IDS[index] if 0 <= index < len(IDS) else ""
        if not 0 <= index < len(IDS):
            wrong.append((at, Reason.UNKNOWN_SERIES))
        elif not math.isfinite(value):
            wrong.append((at, Reason.NOT_FINITE))
        elif event_us and not TIME_MIN_US <= event_us < TIME_MAX_US:
            wrong.append((at, Reason.BAD_TIME))
        elif not name.startswith("environment/") or name not in NUMBERS:
            wrong.append((at, Reason.UNKNOWN_SERIES))
        else:
            kept = flags & (Flag.UNCERTAIN | Flag.BAD) | (0 if event_us else Flag.NO_STAMP)
            taken.append((NUMBERS[name], event_us, value, int(kept)))
    found = out.batch("kafka")
    assert (found is None) == (not taken)
    if found is not None:
        series, event_us_, value_, flags_ = zip(*taken, strict=True)
        assert found.equals(Batch.of("kafka", series, event_us_, [77] * len(taken), value_, flags_))
    told = [(r.item, r.reason) for r in out.rejected]
    assert told[:FAULTS_MAX] == wrong[:FAULTS_MAX]
    assert told[FAULTS_MAX:] == ([(-1, Reason.TOO_MANY_FAULTS)] if len(wrong) > FAULTS_MAX else [])


@given(ROWS)
@settings(max_examples=150, deadline=None)
def test_any_columns_are_taken_as_a_loop_would_take_them(rows: list[tuple[int, int, float, int]]) -> None:
    compare(rows)


def test_only_series_that_are_used_register_themselves() -> None:
    given: dict[str, int] = {}
    ids = ["energy/x0/kw", "energy/x1/kw", "energy/x2/kw", "energy/x3/t"]
    out = Decoded()
    decoder = Decoder({}, 1000, lambda series_id: given.setdefault(series_id, 100 + len(given)))
    rows = [(2, T_US, 1.0, 0), (0, T_US, math.nan, 0), (2, 0, 2.0, 0), (3, T_US, 1.0, 0)]
    decoder.feed_columnar("kafka", ids, batch_of(rows), 77, out)
    assert given == {"energy/x2/kw": 100}
    assert [(r.topic, r.reason) for r in out.rejected] == [
        ("energy/x0/kw", Reason.NOT_FINITE), ("energy/x3/t", Reason.UNKNOWN_SERIES),
    ]  # fmt: skip


def test_a_rejected_row_can_be_taken_again_as_an_item() -> None:
    out, again = Decoded(), Decoded()
    Decoder(NUMBERS, 1000).feed_columnar("kafka", ["energy/x0/kw"], batch_of([(0, T_US, 1 / 3, 2)]), 77, out)
    (rejected,) = out.rejected
    later = Decoder({"energy/x0/kw": 4}, 1000)
    later.feed_readings(rejected.source, rejected.payload, False, rejected.received_us, again)
    assert (again.series, again.event_us, again.value, again.flags) == ([4], [T_US], [1 / 3], [int(Flag.BAD)])


def test_rows_stand_between_those_of_messages() -> None:
    decoder, out = Decoder(NUMBERS, 1000), Decoded()
    decoder.feed(Message("kafka", "ioc/v1/environment/hue/rain", b"1", 7), out)
    decoder.feed_columnar("kafka", IDS, batch_of([(2, T_US, 2.0, 0), (0, T_US, 3.0, 0)]), 8, out)
    decoder.feed(Message("kafka", "ioc/v1/environment/hue/rain", b"4", 9), out)
    batch = out.batch("kafka")
    assert batch is not None
    assert batch.value.tolist() == [1.0, 2.0, 3.0, 4.0]
    assert batch.received_us.tolist() == [7, 8, 8, 9]


def test_a_planted_bug_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """All flags of the sender are believed."""
    monkeypatch.setattr(module, "_SENSOR", np.uint16(0xFFFF))
    with pytest.raises(AssertionError):
        compare([(0, T_US, 1.0, int(Flag.LATE))])
