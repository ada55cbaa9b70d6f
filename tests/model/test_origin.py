"""Origins say where a source goes on, and two neighbours may become one record."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ioc.model import origin

PLACES = st.dictionaries(
    st.tuples(st.from_regex(r"[a-zA-Z0-9._-]{1,20}", fullmatch=True), st.integers(0, 99)),
    st.integers(0, 1 << 60),
    min_size=1,
    max_size=5,
)


@given(PLACES)
def test_offsets_come_back_as_they_were_written(places: origin.Offsets) -> None:
    assert origin.offsets(origin.of_offsets("kafka", places)) == places


@given(PLACES, PLACES)
def test_the_later_offset_of_a_partition_stands(first: origin.Offsets, second: origin.Offsets) -> None:
    both = origin.joined(origin.of_offsets("kafka", first), origin.of_offsets("kafka", second))
    assert both is not None
    assert origin.offsets(both) == first | second


def test_other_origins_bear_no_offsets_and_join_only_with_themselves() -> None:
    assert origin.offsets("mqtt#7") == {}
    assert origin.offsets("") == {}
    assert origin.joined("mqtt#7", "mqtt#7") == "mqtt#7"
    assert origin.joined("mqtt#7", "mqtt#8") is None
    assert origin.joined("kafka@a:0=1", "other@a:0=2") is None
    assert origin.joined("http#1", "kafka@a:0=2") is None


def test_a_reinjected_record_names_the_one_it_takes_up() -> None:
    assert origin.reinjected(f"{origin.REINJECT}8123") == 8123
    assert origin.reinjected("mqtt#7") is None
