"""Windows, rates, times and counters as plain as can be, on exact fractions; and a harness that feeds a deriver.

Shares nothing with `ioc.rules.derive`: each instance is a sorted list, and every answer is computed from it anew.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, NamedTuple, Protocol

import numpy as np
from hypothesis import strategies as st

from ioc.model import Flag
from ioc.registry import Series
from ioc.rules.derive.base import Deriver, Fed, Instance
from ioc.rules.samples import RETRACTED
from support import several

S = 1_000_000
MINUTE = 60 * S
HOUR = 3600 * S
START = 1_700_000_000 * S
NEVER = -(1 << 62)
BAD = int(Flag.BAD)
UNCERTAIN = int(Flag.UNCERTAIN)
BACKLOG = int(Flag.BACKLOG)
LATE = int(Flag.LATE)
REVISED = int(Flag.REVISED)
GONE = RETRACTED | LATE | BAD


class Row(NamedTuple):
    """One sample of an instance's input."""

    at: int
    role: int
    event_us: int
    value: float
    flags: int = 0


class Told(NamedTuple):
    """One row of a `Given`; None for NaN."""

    row: int
    at: int
    event_us: int
    value: float | None
    flags: int


def series(name: str = "level", *, minutes: float = 10, resolution: float = 0.01) -> Series:
    """One series of a station."""
    return replace(several.series(name, minutes * 60, resolution), range=(-1000, 1000))


def instance(*inputs: Series, resolution: float = 0.01, limit: float | None = None) -> Instance:
    """What computes one value from these inputs."""
    return Instance("a", inputs, resolution, None, limit)


def fed(rows: Sequence[Row], first: int = 0) -> Fed:
    """Rows as columns, numbered from `first`."""
    return Fed(
        np.arange(first, first + len(rows)),
        np.array([r.at for r in rows], np.int64),
        np.array([r.role for r in rows], np.int64),
        np.array([r.event_us for r in rows], np.int64),
        np.array([r.value for r in rows], np.float64),
        np.array([r.flags for r in rows], np.uint16),
    )


def run(make: Callable[[], Deriver], rows: Sequence[Row], cuts: Iterable[int] = ()) -> list[Told]:
    """Feed rows, at each cut in another batch to another deriver that was given the columns of the one before."""
    deriver, out = make(), []
    bounds = [0, *sorted({cut for cut in cuts if 0 < cut < len(rows)}), len(rows)]
    for start, end in itertools.pairwise(bounds):
        before, deriver = deriver, make()
        for name, column in before.columns.items():
            deriver.columns[name][...] = column.copy()
        given = deriver.feed(fed(rows[start:end], start))
        out += [
            Told(row, at, event_us, None if math.isnan(value) else value, flags)
            for row, at, event_us, value, flags in zip(
                given.row.tolist(),
                given.at.tolist(),
                given.event_us.tolist(),
                given.value.tolist(),
                given.flags.tolist(),
                strict=True,
            )
        ]
    return out


class Oracle(Protocol):
    """What answers row by row, for one instance."""

    def take(self, row: Row) -> tuple[float | None, int] | None: ...


def expected(make: Sequence[Callable[[], Oracle]], rows: Sequence[Row]) -> list[Told]:
    """What the oracles, one for each instance, say of the same rows."""
    oracles = [one() for one in make]
    out = []
    for number, row in enumerate(rows):
        answer = oracles[row.at].take(row)
        if answer is not None:
            out.append(Told(number, row.at, row.event_us, *answer))
    return out


def rounded(value: Fraction, resolution: float) -> float:
    """To the nearest multiple, half to even, as the double nearest to it."""
    tick = Fraction(str(resolution))
    return float(round(value / tick) * tick)


class Sample(NamedTuple):
    event_us: int
    rank: int
    value: Fraction
    doubt: bool


@dataclass
class Held:
    """A sorted list of samples, the newest `capacity` of them."""

    capacity: int
    samples: list[Sample] = field(default_factory=list)
    lost_us: int = NEVER

    def put(self, row: Row, rank: int = 0, resolution: float = 0.01) -> None:
        self.samples = [s for s in self.samples if (s.event_us, s.rank) != (row.event_us, rank)]
        if row.flags & BAD:
            return
        tick = Fraction(str(resolution))
        value = round(Fraction(str(row.value)) / tick) * tick
        bisect.insort(self.samples, Sample(row.event_us, rank, value, bool(row.flags & UNCERTAIN)))
        while len(self.samples) > self.capacity:
            self.lost_us = max(self.lost_us, self.samples.pop(0).event_us)

    def window(self, event_us: int, over_us: int) -> list[Sample]:
        return [s for s in self.samples if event_us - over_us < s.event_us <= event_us]


def capacity(inputs: Sequence[Series], over_us: int) -> int:
    """As `windows` documents it."""
    reach = max(s.interval_us for s in inputs) if len(inputs) > 1 else 0
    window = sum(math.ceil((over_us + reach) / s.interval_us) for s in inputs)
    return window + min(window, sum(math.ceil(HOUR / s.interval_us) for s in inputs)) + 8


class WindowOracle:
    """A window of one instance; inputs finest first."""

    def __init__(self, spec: Any, one: Instance) -> None:
        self.spec = spec
        self.inputs = [s for s in one.inputs if s is not None]
        self.resolution = one.resolution
        self.held = Held(capacity(self.inputs, spec.over))
        self.mark_us = NEVER
        self.reach_us = max(s.interval_us for s in self.inputs) if len(self.inputs) > 1 else 0

    def shares(self) -> dict[Sample, tuple[Fraction, int]]:
        """What each sample adds to a sum and how much time it stands for, beside finer ones of its period."""
        out: dict[Sample, tuple[Fraction, int]] = {}
        for rank, one in enumerate(self.inputs):
            for sample in (s for s in self.held.samples if s.rank == rank):
                within = [
                    out[s]
                    for s in self.held.samples
                    if s.rank < rank and sample.event_us - one.interval_us < s.event_us <= sample.event_us
                ]
                value = sample.value - sum((v for v, _ in within), Fraction(0))
                out[sample] = (
                    max(value, Fraction(0)) if rank else value,
                    max(one.interval_us - sum(t for _, t in within), 0),
                )
        return out

    def take(self, row: Row) -> tuple[float | None, int] | None:
        spec, rank = self.spec, row.role
        late = bool(row.flags & (LATE | REVISED)) or row.event_us < self.mark_us
        if late and self.held.lost_us > row.event_us - (self.inputs[rank].interval_us if rank else 1):
            return None
        self.mark_us = max(self.mark_us, row.event_us)
        self.held.put(row, rank)
        here = self.held.window(row.event_us, spec.over)
        whole = self.held.lost_us <= row.event_us - spec.over - self.reach_us
        if late and not whole:
            return None
        flags = (LATE if late else 0) | row.flags & BACKLOG
        shares = self.shares()
        covered = sum(shares[s][1] for s in here)
        enough = covered >= Fraction(str(spec.coverage)) * spec.over and (here or spec.function == "count")
        if not (whole and enough):
            return None, flags | BAD
        if row.flags & BAD or any(s.doubt for s in here):
            flags |= UNCERTAIN
        values = sorted(s.value for s in here)
        if spec.function == "sum":
            result = sum((shares[s][0] for s in here), Fraction(0))
        elif spec.function == "mean":
            result = sum(values, Fraction(0)) / len(values)
        elif spec.function == "count":
            result = Fraction(len(values))
        elif spec.function == "percentile":
            wanted = Fraction(str(spec.percentile)) / 100 * len(values)
            result = next(v for n, v in enumerate(values, 1) if n >= wanted)
        else:
            result = values[0] if spec.function == "min" else values[-1]
        return rounded(result, self.resolution), flags


class RateOracle:
    """A rate of one instance."""

    def __init__(self, spec: Any, one: Instance, unit_us: int = 1) -> None:
        assert one.inputs[0] is not None
        self.spec, self.one, self.input, self.unit_us = spec, one, one.inputs[0], unit_us
        self.held = Held(capacity([self.input], spec.over))

    def here(self, row: Row) -> tuple[bool, bool, list[Sample]] | None:
        """Late, whole, and the samples of the window; None where nothing is said."""
        late = bool(row.flags & (LATE | REVISED))
        if late and self.held.lost_us >= row.event_us:
            return None
        self.held.put(row, 0, self.input.resolution)
        whole = self.held.lost_us <= row.event_us - self.spec.over
        if late and not whole:
            return None
        return late, whole, self.held.window(row.event_us, self.spec.over)

    def take(self, row: Row) -> tuple[float | None, int] | None:
        found = self.here(row)
        if found is None:
            return None
        late, whole, here = found
        flags = (LATE if late else 0) | row.flags & BACKLOG
        if not whole or len(here) < self.spec.samples:
            return None, flags | BAD
        slope = median(slopes(here, self.input)) if self.spec.method == "theil_sen" else self.fitted(here)
        if slope is None:
            return None, flags | BAD
        if row.flags & BAD or any(s.doubt for s in here):
            flags |= UNCERTAIN
        tick_in, tick_out = Fraction(str(self.input.resolution)), Fraction(str(self.one.resolution))
        factor = float(Fraction(self.spec.per, self.unit_us) * tick_in / tick_out)
        return float(round(slope * factor) * tick_out), flags

    def fitted(self, here: Sequence[Sample]) -> float | None:
        """Covariance by variance, exactly but for stamps in whole units and one division."""
        tick, last = Fraction(str(self.input.resolution)), here[-1]
        t = [(last.event_us - s.event_us + self.unit_us // 2) // self.unit_us for s in here]
        v = [int((last.value - s.value) / tick) for s in here]
        n = len(here)
        below = n * sum(x * x for x in t) - sum(t) ** 2
        above = n * sum(x * y for x, y in zip(t, v, strict=True)) - sum(t) * sum(v)
        return float(above) / float(below) if below else None


def slopes(here: Sequence[Sample], one: Series) -> list[Fraction]:
    """The slopes of all pairs, in ticks by µs, in order; exact."""
    tick = Fraction(str(one.resolution))
    most = 64
    if len(here) > most:
        here = [here[n * (len(here) - 1) // (most - 1)] for n in range(most)]
    return sorted(
        (b.value - a.value) / tick / (b.event_us - a.event_us)
        for n, a in enumerate(here)
        for b in here[n + 1 :]
    )


def median(values: Sequence[Fraction]) -> float:
    """The middle one, or the mean of the middle two, each the double nearest to it."""
    middle = len(values) // 2
    if len(values) % 2:
        return float(values[middle])
    return (float(values[middle - 1]) + float(values[middle])) / 2


class TimeOracle(RateOracle):
    """The time to a limit of one instance; `bounds` are those of the last answer in order."""

    bounds: tuple[float | None, float | None] = (None, None)

    def take(self, row: Row) -> tuple[float | None, int] | None:
        found = self.here(row)
        if found is None:
            return None
        late, whole, here = found
        flags = (LATE if late else 0) | row.flags & BACKLOG
        assert self.one.limit is not None
        limit, sign = Fraction(str(self.one.limit)), 1 if self.spec.direction == "up" else -1
        tick = Fraction(str(self.input.resolution))
        value = round(Fraction(str(row.value)) / tick) * tick
        reached = sign * value >= sign * limit
        if row.flags & BAD or not (reached or (whole and len(here) >= self.spec.samples)):
            if not late:
                self.bounds = None, None
            return None, flags | BAD
        if any(s.doubt for s in here):
            flags |= UNCERTAIN
        times = [0.0, 0.0, 0.0]
        if not reached:
            steep = sorted(sign * s for s in slopes(here, self.input))
            quarter = math.ceil(len(steep) / 4) - 1
            ahead = float(sign * limit / tick) - float(sign * value / tick)
            times = [
                self.minutes(ahead, slope)
                for slope in (median(steep), float(steep[len(steep) - 1 - quarter]), float(steep[quarter]))
            ]
        if not late:
            self.bounds = times[1], times[2]
        return times[0], flags

    def minutes(self, ahead: float, slope: float) -> float:
        """Tenths of minutes to go so many ticks, at most the horizon."""
        if slope <= 0 or ahead / slope / (MINUTE / 10) >= self.spec.horizon * 10 // MINUTE:
            return float(Fraction(self.spec.horizon * 10 // MINUTE, 10))
        return float(Fraction(round(ahead / slope / (MINUTE / 10)), 10))


class CounterOracle:
    """A counter of one instance: a list of the good samples in their order."""

    def __init__(self, spec: Any, one: Instance) -> None:
        self.rollover = None if spec.rollover is None else Fraction(str(spec.rollover))
        self.resolution = one.resolution
        self.good: list[Sample] = []

    def take(self, row: Row) -> tuple[float | None, int] | None:
        if row.flags & RETRACTED:
            if self.good and self.good[-1].event_us == row.event_us:
                self.good = self.good[-2:-1]
            return None, LATE | BAD
        if row.flags & (LATE | REVISED):
            return None
        if row.flags & BAD:
            return None, BAD | row.flags & BACKLOG
        self.good.append(
            Sample(
                row.event_us,
                0,
                round(Fraction(str(row.value)) * 100) / Fraction(100),
                bool(row.flags & UNCERTAIN),
            )
        )
        self.good = self.good[-2:]
        if len(self.good) < 2:
            return None
        before, now = self.good
        gain = now.value - before.value
        if gain < 0:
            rolled = self.rollover is not None and before.value >= self.rollover * Fraction(9, 10)
            gain = now.value + (self.rollover - before.value if rolled and self.rollover else 0)
        flags = UNCERTAIN if before.doubt or now.doubt else 0
        return rounded(gain, self.resolution), flags | row.flags & BACKLOG


@st.composite
def histories(
    draw: st.DrawFn,
    instances: Sequence[Instance],
    *,
    size: int = 40,
    values: st.SearchStrategy[int] | None = None,
) -> list[Row]:
    """Rows as the stage feeds them: each input in its order, with gaps, crowds, doubt, bad ones, late, revised and
    retracted ones; values in hundredths."""
    values = st.integers(-50, 50) if values is None else values
    inputs = [(i, role) for i, one in enumerate(instances) for role in range(len(one.inputs))]
    known: dict[tuple[int, int], list[int]] = {key: [] for key in inputs}
    rows = []
    for _ in range(draw(st.integers(1, size))):
        key = draw(st.sampled_from(inputs))
        one = instances[key[0]].inputs[key[1]]
        assert one is not None
        step = one.interval_us
        what = draw(st.sampled_from(["new"] * 12 + ["late", "late", "revised", "retracted"]))
        value = draw(values) / 100
        flags = draw(st.sampled_from([0] * 8 + [UNCERTAIN, BACKLOG, BAD, BAD | BACKLOG]))
        stamps = known[key]
        if what == "new" or not stamps:
            ahead = draw(
                st.sampled_from([step] * 8 + [2 * step, 7 * step, step // 5, step // 5 + S, step + S])
            )
            at = max(stamps) + ahead if stamps else START + draw(st.integers(0, 3)) * step
            stamps.append(at)
        elif what == "late":
            at = max(stamps) - draw(st.sampled_from([step // 2, step, 3 * step, 3 * step + S, 20 * step]))
            if at in stamps:
                continue
            stamps.append(at)
            flags = flags & ~BACKLOG | LATE
        else:
            at = draw(st.sampled_from(stamps[-6:]))
            flags = flags & ~BACKLOG | REVISED if what == "revised" else GONE
        rows.append(Row(*key, at, value, flags))
    return rows
