"""The newest state of every series against a plain loop over rows, by few rows at a time and by many."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioc.model import Batch, Flag
from ioc.wall import points as points_module
from ioc.wall.points import Points

SERIES = 3
Row = tuple[int, int, float, int]

_SEEDS = st.tuples(
    st.integers(0, SERIES - 1),
    st.integers(0, 30),
    st.sampled_from([1.0, 2.0, 3.0]),
    st.sampled_from([0, 0, 0, int(Flag.BAD), int(Flag.UNCERTAIN | Flag.BACKLOG)]),
    st.sampled_from([None, None, None, Flag.LAST_KNOWN, Flag.FUTURE, Flag.CONFLICT, Flag.REPEAT]),
)
_BATCHES = st.lists(st.lists(_SEEDS, min_size=1, max_size=12), max_size=12)


def _judged(batches: list[list[tuple[int, int, float, int, Flag | None]]]) -> list[list[Row]]:
    """As order.py would flag them."""
    marks, seen = [-1] * SERIES, set()
    out: list[list[Row]] = []
    for seeds in batches:
        rows: list[Row] = []
        for series, event_us, value, quality, kind in seeds:
            flags = quality
            if kind is not None:
                flags |= int(kind)
            elif (series, event_us) in seen:
                flags |= int(Flag.REVISED)
            elif event_us < marks[series]:
                flags |= int(Flag.LATE)
            if kind is None:
                seen.add((series, event_us))
                marks[series] = max(marks[series], event_us)
            rows.append((series, event_us, value, flags))
        out.append(rows)
    return out


@dataclass
class Plain:
    """One series, as `docs/protocol.md` describes a point."""

    event_us: int | None = None
    value: float = math.nan
    flags: int = 0
    seen: bool = False
    known: bool = False
    bad: bool = False
    changed: int = 1

    def newest(self, event_us: int, value: float, flags: int, seq: int) -> None:
        if self.event_us is None or event_us > self.event_us:
            self.event_us, self.value, self.flags = event_us, value, flags
            self.seen = self.known = True
            self.bad = bool(flags & Flag.BAD)
            self.changed = seq

    def odd(self, event_us: int, value: float, flags: int, seq: int) -> None:
        if flags & Flag.REVISED:
            if not self.known or event_us != self.event_us:
                return
            self.bad = bool(flags & Flag.BAD)
        else:
            if value == self.value:
                return
            self.known = False
        self.value, self.flags, self.changed = value, flags, seq

    @property
    def state(self) -> str:
        return "never" if not self.seen else "bad" if self.bad else "normal"


_ASIDE = Flag.REPEAT | Flag.CONFLICT | Flag.FUTURE | Flag.LATE | Flag.TOO_LATE


@pytest.mark.parametrize("few_rows", [0, 1_000], ids=["in columns", "row by row"])
@given(batches=_BATCHES)
def test_either_path_shows_what_a_plain_loop_would(
    few_rows: int, batches: list[list[tuple[int, int, float, int, Flag | None]]]
) -> None:
    points, plain = Points(), [Plain() for _ in range(SERIES)]
    points.load([f"d/s/{i}" for i in range(SERIES)], np.ones(SERIES, np.bool_), 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(points_module, "_FEW_ROWS", few_rows)
        for seq, rows in enumerate(_judged(batches), 2):
            before = points.state
            series, event_us, value, flags = zip(*rows, strict=True)
            changed = points.feed(Batch.of("mqtt", series, event_us, event_us, value, flags), seq)
            for odd in (False, True):
                for number, event, val, flag in rows:
                    if bool(flag & (Flag.REVISED | Flag.LAST_KNOWN)) is odd and not flag & _ASIDE:
                        (plain[number].odd if odd else plain[number].newest)(event, val, flag, seq)
            assert changed == any(each.changed == seq for each in plain)
            assert points.changed.tolist() == [each.changed for each in plain]
            assert points.state_seq == seq or (points.state == before).all()
            for number, each in enumerate(plain):
                item = points.item(number)
                assert (item.state, item.flags, item.age_known) == (each.state, each.flags, each.known)
                assert item.value == (None if math.isnan(each.value) else each.value)
                assert item.t == (each.event_us // 1000 if each.seen and each.event_us is not None else None)


def test_a_text_is_made_anew_only_after_a_change() -> None:
    points = Points()
    points.load(["d/s/q"], np.ones(1, np.bool_), 1)
    points.feed(Batch.of("mqtt", [0], [5_000], [0], [1.0]), 2)
    first = points.text(0)
    assert points.text(0) is first
    assert points.alarmed(0, 2, 3)
    assert points.text(0) != first
    assert not points.alarmed(0, 2, 4)


def test_the_states_are_told_to_have_changed_by_whatever_changes_them() -> None:
    points = Points()
    points.load(["d/s/q"], np.ones(1, np.bool_), 1)
    points.feed(Batch.of("mqtt", [0], [1], [0], [1.0]), 2)
    assert points.state_seq == 2
    points.feed(Batch.of("mqtt", [0], [2], [0], [2.0]), 3)
    assert points.state_seq == 2
    assert points.silenced(0, True, 4)
    assert points.state_seq == 4
    no = np.zeros(1, np.bool_)
    assert points.refresh(no, no, 5)
    assert points.state_seq == 5
    assert not points.refresh(no, no, 6)
    assert points.state_seq == 5
