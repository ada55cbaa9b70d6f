"""What is kept of a cell's levels."""

from __future__ import annotations

from ioc.rules.past import ENTRIES_MAX, SPAN_US, Past


def test_before_anything_was_seen_no_level_was_on() -> None:
    past = Past()
    assert past.around(3, 100) == (0, 0)
    past.note(3, 100, 0b11)
    assert past.around(3, 99) == (0, 0)
    assert past.around(3, 100) == (0, 0b11)
    assert past.around(3, 101) == (0b11, 0b11)


def test_of_two_changes_at_one_stamp_the_later_stands() -> None:
    past = Past()
    past.note(3, 100, 1)
    past.note(3, 100, 0)
    assert past.around(3, 100) == (0, 0)
    assert past.around(3, 101) == (0, 0)


def test_what_is_beyond_the_span_is_forgotten_but_for_what_stood_at_its_beginning() -> None:
    past = Past()
    past.note(3, 100, 1)
    past.note(3, 200, 3)
    past.note(3, 200 + SPAN_US, 0)
    assert past.around(3, 150) is None
    assert past.around(3, 201) == (3, 3)


def test_a_flapping_cell_keeps_its_newest_changes() -> None:
    past = Past()
    for i in range(1_000):
        past.note(3, i, i % 2)
    assert len(past.cells[3]) == ENTRIES_MAX
    assert past.around(3, 1_000 - ENTRIES_MAX) is None
    assert past.around(3, 999) == (0, 1)
