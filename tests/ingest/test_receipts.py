"""Requests under a key are recognised for a day, from the log alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ioc.ingest.receipts import KEPT_MAX, KEPT_US, Receipt, Receipts, digest_of, origin_of, receipt_of
from ioc.log.state import pack_state, unpack_state
from ioc.model import Batch, Body, Reason, Rejected, Tick

T0 = 1_795_500_000_000_000


def _batch(rows: int) -> Batch:
    return Batch.of("http", [0] * rows, [T0] * rows, [T0] * rows, [1.0] * rows)


REJECTED = Rejected("http", "", Reason.NOT_JSON, "why", T0, b"x", 1, 0)


def test_a_request_is_found_with_all_that_its_records_brought() -> None:
    receipts = Receipts()
    receipt, digest = receipt_of("gateway", "k1"), digest_of(b"body")
    origin = origin_of(receipt, digest)
    for body in (REJECTED, _batch(3), _batch(2)):
        receipts.feed(origin, body, T0)
    assert receipts.find(receipt, T0 + 1) == Receipt(T0, digest, 5)
    assert receipts.find(receipt_of("gateway", "k2"), T0) is None


def test_one_that_brought_nothing_good_is_found_as_well() -> None:
    receipts = Receipts()
    receipt = receipt_of("gateway", "k1")
    receipts.feed(origin_of(receipt, digest_of(b"")), REJECTED, T0)
    assert receipts.find(receipt, T0) == Receipt(T0, digest_of(b""), 0)


def test_tokens_and_keys_are_not_mistaken_for_one_another() -> None:
    assert len({receipt_of(*pair) for pair in (("a", "b"), ("ab", ""), ("b", "a"), ("a", "b2"))}) == 4


def test_what_bears_no_key_or_comes_from_elsewhere_is_not_remembered() -> None:
    receipts = Receipts()
    for origin in ("", "mqtt#7", "kafka@t:0=5", "http#" + "a" * 24, "reinject#5", "http#x:y"):
        receipts.feed(origin, _batch(1), T0)
    assert receipts.state() == []


def test_a_receipt_is_forgotten_after_a_day_and_may_be_used_anew() -> None:
    receipts = Receipts()
    receipt = receipt_of("gateway", "k1")
    receipts.feed(origin_of(receipt, digest_of(b"a")), _batch(1), T0)
    assert receipts.find(receipt, T0 + KEPT_US - 1) is not None
    assert receipts.find(receipt, T0 + KEPT_US) is None
    receipts.feed(origin_of(receipt, digest_of(b"b")), _batch(2), T0 + KEPT_US)
    assert receipts.find(receipt, T0 + KEPT_US) == Receipt(T0 + KEPT_US, digest_of(b"b"), 2)


def test_there_are_never_more_than_the_bound_and_the_oldest_go_first() -> None:
    receipts = Receipts()
    names = [f"{n:024x}" for n in range(KEPT_MAX + 10)]
    for n, name in enumerate(names):
        receipts.feed(origin_of(name, "0" * 16), REJECTED, T0 + n)
    kept = [row[0] for row in receipts.state()]
    assert kept == names[10:]


_BODIES: st.SearchStrategy[Body] = st.one_of(
    st.integers(1, 3).map(_batch), st.just(REJECTED), st.just(Tick())
)
_RECORDS = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c"]), _BODIES, st.integers(0, KEPT_US // 2)), max_size=20
)


@given(_RECORDS, st.integers(0, 20))
def test_receipts_restored_at_any_cut_go_on_as_if_nothing_had_happened(
    records: list[tuple[str, Body, int]], cut: int
) -> None:
    through, resumed = Receipts(), Receipts()
    now_us = T0
    for number, (key, body, later_us) in enumerate(records):
        now_us += later_us
        if number == cut:
            resumed.restore(unpack_state(pack_state({"receipts": through.state()}))["receipts"])
        origin = origin_of(receipt_of("t", key), digest_of(key.encode()))
        through.feed(origin, body, now_us)
        if number >= cut:
            resumed.feed(origin, body, now_us)
            assert resumed.state() == through.state()
