"""The quality tests against a plain row-by-row oracle, and one behaviour a test where words are clearer."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ioc.model import Batch, Flag
from ioc.model import quality as q
from ioc.registry import Quantity, Registry, SeriesEntry, Station
from ioc.rules import quality
from ioc.rules.quality import Quality
from ioc.rules.samples import IGNORED, RETRACTED, Samples

BAD = int(Flag.BAD | Flag.OUT_OF_RANGE)
LATE = int(Flag.LATE | Flag.REVISED)
S = 1_000_000
START = 1_700_000_000 * S
HOUR = 3600 * S
OFFSET = 7 * HOUR
UNTESTED, COMPUTED = 3, 99
"""A numbered series without tests, and the channel of a value inside a rule."""

Row = tuple[int, int, int, float, int, int]
"""Row, channel, event time, value, flags, tests."""


# --- the oracle: lists and loops, nothing of ioc.rules.quality but how much its rings hold ---


@dataclass
class Plain:
    """One series as a person would judge it, keeping everything."""

    tests: q.QualityTests
    interval_us: int
    offset_us: int
    taken: list[tuple[int, float, bool]] = field(default_factory=list)
    """(event time, value, whether found bad at once)."""

    def feed(self, row: int, channel: int, at: int, value: float, flags: int) -> list[Row]:
        out: list[Row] = []
        failed, suspect, unknown = 0, 0, False
        found = q.Test.PHYSICAL_RANGE if flags & BAD else 0
        if flags & IGNORED:
            return [(row, channel, at, value, flags, int(found))]
        if self.tests.gross_range:
            span = self.tests.gross_range
            if not span.fail[0] <= value <= span.fail[1]:
                failed |= q.Test.GROSS_RANGE
            elif span.suspect and not span.suspect[0] <= value <= span.suspect[1]:
                suspect |= q.Test.GROSS_RANGE
        if self.tests.climatology:
            month = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at + self.offset_us)).month
            seasons = [s for s in self.tests.climatology if month in s.months]
            if not seasons:
                unknown = True
            elif seasons[-1].fail and not seasons[-1].fail[0] <= value <= seasons[-1].fail[1]:
                failed |= q.Test.CLIMATOLOGY
            elif not seasons[-1].suspect[0] <= value <= seasons[-1].suspect[1]:
                suspect |= q.Test.CLIMATOLOGY
        if not flags & (LATE | BAD):
            for verdict, test in self._in_order(at, value):
                failed |= test if verdict == "fail" else 0
                suspect |= test if verdict == "suspect" else 0
                unknown |= verdict == "unknown"
            out += self._spike(row, channel, value)
            self.taken.append((at, value, bool(failed)))
        flags |= Flag.BAD if failed else Flag.UNCERTAIN if suspect or unknown else 0
        return [*out, (row, channel, at, value, int(flags), int(found | failed | suspect * 256))]

    def _in_order(self, at: int, value: float) -> list[tuple[str, int]]:
        out: list[tuple[str, int]] = []
        if self.tests.rate_of_change and self.taken:
            gap_us = at - self.taken[-1][0]
            seconds = gap_us / S if self.interval_us < S else float(max(gap_us // S, 1))
            rate, limits = abs(value - self.taken[-1][1]) / seconds, self.tests.rate_of_change
            is_fail = limits.fail is not None and rate > limits.fail
            verdict = "fail" if is_fail else "suspect" if rate > limits.suspect else "good"
            out.append((verdict, q.Test.RATE_OF_CHANGE))
        if self.tests.spike and not self.taken:
            out.append(("unknown", 0))
        values = [*(v for _, v, _ in self.taken), value]
        if self.tests.flat_line:
            flat = self.tests.flat_line

            def is_flat(time_us: int) -> bool:
                count = time_us // self.interval_us + 1
                last = values[-count:]
                return len(last) == count and max(last) - min(last) < flat.tolerance

            verdict = "fail" if is_flat(flat.fail) else "suspect" if is_flat(flat.suspect) else "good"
            out.append((verdict, q.Test.FLAT_LINE))
        if self.tests.attenuated:
            out.append((self._attenuated(self.tests.attenuated, at, value), q.Test.ATTENUATED))
        return out

    def _attenuated(self, test: q.Attenuated, at: int, value: float) -> str:
        window = [v for t, v, _ in self.taken if t > at - test.over] + [value]
        room = quality.ring_size(self.tests, self.interval_us)
        kept = window[-room:]
        if len(kept) < test.min_obs:
            return "unknown"
        strength = max(kept) - min(kept)
        if test.check == "std":
            mean = math.fsum(kept) / len(kept)
            strength = math.sqrt(math.fsum((v - mean) ** 2 for v in kept) / len(kept))
            if len(window) > room:
                return "unknown"
        if strength >= test.suspect:
            return "good"
        if len(window) > room:
            return "unknown"
        return "fail" if strength < test.fail else "suspect"

    def _spike(self, row: int, channel: int, value: float) -> list[Row]:
        if not self.tests.spike or len(self.taken) < 2:
            return []
        (_, before, _), (at, last, was_bad) = self.taken[-2:]
        height = abs(last - (before + value) / 2)
        if height > self.tests.spike.fail:
            flags = (Flag.REPEAT if was_bad else Flag.LATE) | Flag.BAD
            return [(row, channel, at, last, flags | RETRACTED, int(q.Test.SPIKE))]
        if height > self.tests.spike.suspect:
            flags = Flag.REPEAT | Flag.UNCERTAIN
            return [(row, channel, at, last, flags | RETRACTED, q.Test.SPIKE * 256)]
        return []


# --- a world at random: whole numbers and few of them, so that every bound is met exactly ---


def some_tests(rng: Random) -> q.QualityTests:
    """Any of the six, each more likely there than not."""
    spans = [tuple(sorted(rng.sample(range(-2, 13), 2))) for _ in range(2)]
    inner = [(low + 1, high - 1) if high - low > 2 else None for low, high in spans]
    flat, weak = sorted(rng.choices(range(1, 7), k=2)), sorted(rng.choices((0.5, 1.0, 2.0, 3.0), k=2))
    spike, rate = (
        sorted(rng.choices((1.0, 2.0, 2.5, 4.0), k=2)),
        sorted(rng.choices((0.1, 0.2, 0.5, 2.0), k=2)),
    )
    whole: dict[str, Any] = {
        "gross_range": {"fail": spans[0], "suspect": inner[0]},
        "spike": {"suspect": spike[0], "fail": spike[1]},
        "rate_of_change": {"suspect": rate[0], "fail": rng.choice((rate[1], None))},
        "flat_line": {
            "tolerance": rng.choice((0.5, 1.0, 2.0)),
            "suspect": f"{flat[0] * 10}s",
            "fail": f"{flat[1] * 10}s",
        },
        "attenuated": {
            "over": f"{rng.choice((10, 30, 60))}s",
            "suspect": weak[1],
            "fail": weak[0],
            "min_obs": rng.choice((2, 3, 5)),
            "check": rng.choice(("range", "std")),
        },
        "climatology": [
            {"months": [11], "suspect": inner[1] or spans[1], "fail": rng.choice((spans[1], None))},
            *([{"months": [11, 12], "suspect": (0, 9)}] if rng.random() < 0.3 else []),
        ],
    }
    return q.QualityTests.model_validate({k: v for k, v in whole.items() if rng.random() < 0.7})


def world(
    tests: Sequence[q.QualityTests | None], intervals: Sequence[str]
) -> tuple[Registry, dict[str, int]]:
    """One series for each of these."""
    text = {"vi": "v", "en": "e"}
    station = Station.model_validate(
        {"id": "a", "name": text, "commune": "1", "lat": 22, "lon": 104, "series": ()}
    )
    quantity = Quantity.model_validate(
        {
            "name": text,
            "unit": "m",
            "unit_text": "m",
            "resolution": 0.5,
            "interval": "10s",
            "range": [-1000, 1000],
        }
    )
    made = Registry((station,), {f"q{i}": quantity for i in range(len(tests))})
    for i, (each, interval) in enumerate(zip(tests, intervals, strict=True)):
        entry = {"quantity": f"q{i}", "domain": "disaster", "interval": interval}
        made.add(station, SeriesEntry.model_validate(entry | {"quality": each}))
    return made, {name: i for i, name in enumerate(made.series)}


def some_rows(rng: Random, n: int) -> list[tuple[int, int, float, int]]:
    """(channel, event time, value, flags): stamps of rows in order rise; signals rest, move, jump."""
    # Three days before December, so that some runs cross into it.
    at = dict.fromkeys((0, 1, 2, UNTESTED, COMPUTED), START + rng.choice((0, 16 * 24 * HOUR + 33 * 60 * S)))
    value = dict.fromkeys(at, 5.0)
    rows = []
    for _ in range(n):
        channel = rng.choice((0, 0, 0, 1, 1, 2, 2, UNTESTED, COMPUTED))
        value[channel] = rng.choice(
            (
                value[channel],
                value[channel],
                value[channel] + rng.choice((-0.5, 0.5)),
                float(rng.randrange(-3, 14)),
            )
        )
        flags = rng.choice(
            (0,) * 24
            + (Flag.LATE, Flag.REVISED, Flag.REPEAT, Flag.FUTURE, Flag.TOO_LATE, Flag.BAD, Flag.BACKLOG)
            + (Flag.UNCERTAIN, Flag.OUT_OF_RANGE | Flag.BAD, Flag.LATE | Flag.BAD, Flag.LAST_KNOWN)
        )
        if flags & (IGNORED | LATE):
            rows.append((channel, at[channel] - rng.randrange(60) * S, value[channel], int(flags)))
            continue
        at[channel] += rng.choice((10 * S, 10 * S, 10 * S, 1 * S, 400_000, 1_600_000, 20 * S, 90 * S))
        rows.append((channel, at[channel], value[channel], int(flags)))
    return rows


def samples_of(rows: Sequence[tuple[int, int, float, int]], first: int = 0) -> Samples:
    n = len(rows)
    return Samples(
        np.arange(first, first + n),
        np.array([r[0] for r in rows], np.int64),
        np.array([r[1] for r in rows], np.int64),
        np.array([r[2] for r in rows], np.float64),
        np.array([r[3] for r in rows], np.uint16),
        np.zeros(n, np.uint16),
    )


def as_rows(samples: Samples) -> list[Row]:
    columns = (samples.row, samples.channel, samples.event_us, samples.value, samples.flags, samples.tests)
    return list(zip(*(c.tolist() for c in columns), strict=True))


class World:
    """Three series with tests of their own, and what the oracle makes of the rows."""

    def __init__(self, rng: Random) -> None:
        self.tests = [some_tests(rng) for _ in range(3)]
        self.intervals = [rng.choice(("10s", "10s", "10s", "500ms")) for _ in range(3)]
        self.registry, self.numbers = world([*self.tests, None], [*self.intervals, "10s"])
        self.rows = some_rows(rng, rng.randrange(120))

    def quality(self) -> Quality:
        return Quality(self.registry, self.numbers, OFFSET)

    def expected(self) -> list[Row]:
        plain = {
            i: Plain(tests, series.interval_us, OFFSET)
            for i, (tests, series) in enumerate(zip(self.tests, self.registry.series.values(), strict=False))
        }
        rest = Plain(q.QualityTests(), 10 * S, 0)
        return [
            out
            for row, (channel, *sample) in enumerate(self.rows)
            for out in plain.get(channel, rest).feed(row, channel, *sample)
        ]


def in_parts(made: Quality, rows: Sequence[tuple[int, int, float, int]], cuts: Sequence[int]) -> list[Row]:
    bounds = [0, *sorted(min(c, len(rows)) for c in cuts), len(rows)]
    return [
        row
        for begin, end in itertools.pairwise(bounds)
        for row in as_rows(made.feed(samples_of(rows[begin:end], begin)))
    ]


RANDOM = st.randoms(use_true_random=False)
CUTS = st.lists(st.integers(0, 120), max_size=8)


@settings(max_examples=300, deadline=None)
@given(RANDOM, CUTS)
def test_any_split_gives_what_the_oracle_says_of_each_row(rng: Random, cuts: list[int]) -> None:
    made = World(rng)
    assert in_parts(made.quality(), made.rows, cuts) == made.expected()


@settings(max_examples=100, deadline=None)
@given(RANDOM)
def test_series_that_come_in_another_order_are_judged_alike(rng: Random) -> None:
    made = World(rng)
    expected = [row[1:] for row in sorted(made.expected(), key=lambda row: row[1])]
    by_series = sorted(made.rows, key=lambda row: row[0])
    assert [row[1:] for row in in_parts(made.quality(), by_series, ())] == expected


@settings(max_examples=100, deadline=None)
@given(RANDOM, st.integers(0, 120), st.booleans())
def test_a_restart_or_another_pack_at_any_place_changes_nothing(rng: Random, cut: int, moved: bool) -> None:
    made = World(rng)
    first, second = made.quality(), made.quality()
    cut = min(cut, len(made.rows))
    before = as_rows(first.feed(samples_of(made.rows[:cut])))
    if moved:
        second.take_over(first)
    else:
        state = first.state()
        first.feed(samples_of(made.rows[cut:], cut))
        second.restore(state)
    assert [*before, *as_rows(second.feed(samples_of(made.rows[cut:], cut)))] == made.expected()


@settings(max_examples=30, deadline=None)
@given(RANDOM)
def test_the_machine_code_is_the_loop_in_python(rng: Random) -> None:
    made = World(rng)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("judge", "flat_run", "attenuation"):
            patch.setattr(quality, name, getattr(quality, name).py_func)
        plain = as_rows(made.quality().feed(samples_of(made.rows)))
    assert plain == as_rows(made.quality().feed(samples_of(made.rows)))


# --- the net catches ---

Break = Callable[[quality.Sets], quality.Sets]
PLANTED: dict[str, Break] = {
    "gross range: the bound itself fails": lambda s: s._replace(
        gross_fail=np.nextafter(s.gross_fail, s.gross_fail[:, ::-1])
    ),
    "spike: at the threshold": lambda s: s._replace(spike=np.nextafter(s.spike, 0)),
    "rate: by microseconds instead of whole seconds": lambda s: s._replace(finely=~s.finely),
    "flat line: one interval too many": lambda s: s._replace(flat=s.flat + 1),
    "attenuated: the sample at the window's beginning is in it": lambda s: s._replace(
        over_us=np.where(s.over_us > 0, s.over_us + 1, 0)
    ),
    "attenuated: a sample too few is enough": lambda s: s._replace(min_obs=s.min_obs - 1),
    "climatology: the month before": lambda s: s._replace(season=np.roll(s.season, 1, axis=1)),
}


def disagreements() -> int:
    count = 0
    for seed in range(60):
        made = World(Random(seed))
        count += in_parts(made.quality(), made.rows, (40,)) != made.expected()
    return count


@pytest.mark.parametrize("bug", PLANTED)
def test_the_net_catches(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    true = quality.judge
    monkeypatch.setattr(quality, "judge", lambda sets, *rest: true(PLANTED[bug](sets), *rest))
    assert disagreements()


def test_the_net_has_no_holes_without_a_bug() -> None:
    assert disagreements() == 0


# --- one behaviour a test ---


def one(tests: dict[str, Any], interval: str = "10s") -> Quality:
    return Quality(*world([q.QualityTests.model_validate(tests)], [interval]), 0)


def fed(
    made: Quality, *values: float | tuple[float, int], every_s: float = 10
) -> list[tuple[float, int, int]]:
    """What comes of these samples in order: value, flags, tests."""
    pairs = [v if isinstance(v, tuple) else (v, 0) for v in values]
    rows = [(0, START + round(i * every_s * S), v, int(f)) for i, (v, f) in enumerate(pairs)]
    return [(row[3], row[4], row[5]) for row in as_rows(made.feed(samples_of(rows)))]


SPIKE = {"spike": {"suspect": 2, "fail": 5}}


def test_a_failed_spike_is_retracted_right_before_the_sample_that_shows_it() -> None:
    made = one(SPIKE)
    rows = [(0, START + i * 10 * S, v, 0) for i, v in enumerate((1.0, 20.0, 1.5))]
    assert as_rows(made.feed(samples_of(rows[:2])))[1][4:] == (0, 0)
    flags = int(Flag.LATE | Flag.BAD) | RETRACTED
    assert as_rows(made.feed(samples_of(rows[2:], 7))) == [
        (7, 0, START + 10 * S, 20.0, flags, q.Test.SPIKE),
        (7, 0, START + 20 * S, 1.5, 0, 0),
    ]


def test_a_suspect_spike_is_told_and_retracts_nothing() -> None:
    told = fed(one(SPIKE), 1, 5, 1)[2]
    assert told == (5.0, Flag.REPEAT | Flag.UNCERTAIN | RETRACTED, q.Test.SPIKE * q.SUSPECT)
    assert told[1] & IGNORED


def test_a_spike_that_was_bad_already_is_told_and_not_retracted_again() -> None:
    told = fed(one(SPIKE | {"gross_range": {"fail": (0, 10)}}), 1, 20, 1)
    assert told[1:3] == [
        (20.0, Flag.BAD, q.Test.GROSS_RANGE),
        (20.0, Flag.REPEAT | Flag.BAD | RETRACTED, q.Test.SPIKE),
    ]


def test_the_first_sample_cannot_be_tested_for_a_spike_and_is_uncertain() -> None:
    assert [flags for _, flags, _ in fed(one(SPIKE), 1, 1, 1)] == [Flag.UNCERTAIN, 0, 0]


def test_what_the_sensor_sent_as_bad_makes_no_neighbour_a_spike() -> None:
    made = fed(one(SPIKE), 1, (-999, int(Flag.BAD | Flag.OUT_OF_RANGE)), 1.5, 1)
    assert [tests for *_, tests in made] == [0, q.Test.PHYSICAL_RANGE, 0, 0]


def test_an_impossible_rate_is_bad_and_a_high_one_uncertain() -> None:
    made = one({"rate_of_change": {"suspect": 0.1, "fail": 1}})
    assert fed(made, 1, 2, 4, 15)[1:] == [
        (2.0, 0, 0),
        (4.0, Flag.UNCERTAIN, q.Test.RATE_OF_CHANGE * q.SUSPECT),
        (15.0, Flag.BAD, q.Test.RATE_OF_CHANGE),
    ]


def test_a_late_sample_is_held_against_its_range_and_moves_nothing() -> None:
    made = one(SPIKE | {"gross_range": {"fail": (0, 10)}})
    fed(made, 1, 1)
    before = made.state()
    late = (0, START, 20.0, int(Flag.LATE))
    assert as_rows(made.feed(samples_of([late])))[0][4:] == (Flag.LATE | Flag.BAD, q.Test.GROSS_RANGE)
    assert all(np.array_equal(before[name], column) for name, column in made.state().items())


def test_a_sensor_that_was_bad_is_named_also_where_nothing_is_tested() -> None:
    made = Quality(Registry((), {}), {}, 0)
    batch = Batch.of("mqtt", [0, 1], [START] * 2, [START] * 2, [1, 2], [int(Flag.BAD), 0])
    assert made.feed(Samples.of(batch)).tests.tolist() == [q.Test.PHYSICAL_RANGE, 0]


def test_a_signal_denser_than_the_window_has_room_for_is_never_called_weak_by_a_part_of_it() -> None:
    weak = {"attenuated": {"over": "10s", "suspect": 2, "fail": 1, "min_obs": 2}}
    assert quality.ring_size(q.QualityTests.model_validate(weak), 10 * S) == 12
    flags = [flags for _, flags, _ in fed(one(weak), 9, *[1] * 12, every_s=0.5)]
    assert flags[11:] == [0, Flag.UNCERTAIN]


def test_other_tests_begin_anew_and_the_same_go_on() -> None:
    tests = q.QualityTests.model_validate(SPIKE)
    first = Quality(*world([tests, tests], ["10s", "10s"]), 0)
    second = Quality(*world([tests, tests], ["20s", "10s"]), 0)
    first.feed(samples_of([(0, START, 1.0, 0), (1, START, 2.0, 0)]))
    second.take_over(first)
    assert second.columns["seen"].tolist() == [0, 1] and second.columns["last"].tolist() == [0.0, 2.0]


def test_memory_is_what_is_said_of_it() -> None:
    flat = {"flat_line": {"tolerance": 1, "suspect": "30s", "fail": "60s"}}
    weak = {"attenuated": {"over": "60s", "suspect": 2, "fail": 1, "min_obs": 2}}
    each = [SPIKE, flat, weak, flat | weak]
    made = Quality(*world([*map(q.QualityTests.model_validate, each), None], ["10s"] * 5), 0)
    assert made.bytes_each.tolist() == [73, 73 + 7 * 8, 73 + 32 * 16, 73 + 32 * 16, 0]
    assert sum(column.nbytes for column in made.columns.values()) == made.bytes_each.sum()


def test_tests_that_say_nothing_are_faults() -> None:
    tests = q.QualityTests.model_validate({"flat_line": {"tolerance": 1, "suspect": "5s", "fail": "12d"}})
    (series,) = world([tests], ["10s"])[0].series.values()
    assert [fault.split()[0] for fault in quality.faults(series)] == ["quality.flat_line.suspect", "quality"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"spike": {"suspect": 2, "fail": 1}},
        {"rate_of_change": {"suspect": 2, "fail": 1}},
        {"flat_line": {"tolerance": 1, "suspect": "20s", "fail": "10s"}},
        {"attenuated": {"over": "10s", "suspect": 1, "fail": 2, "min_obs": 2}},
        {"climatology": [{"months": [1], "suspect": (2, 1)}]},
        {"climatology": [{"months": [1], "suspect": (1, 2), "fail": (1.5, 3)}]},
        {"climatology": [{"months": [], "suspect": (1, 2)}]},
    ],
)
def test_bounds_in_the_wrong_order_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        q.QualityTests.model_validate(wrong)
