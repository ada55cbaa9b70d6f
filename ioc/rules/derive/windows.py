"""Windows of event time: sum, mean, extremes, count or percentile over (t − over, t] at each sample.

Everything is computed in whole ticks of the input (the finest, where there are several), then rounded once, half to
even, to the output's resolution. A percentile is by nearest rank: the ⌈p/100 · n⌉-th smallest of n, so always a value
that was measured. A sum is of what is there; what is missing is not made up for.

*Coverage.* Each sample stands for one interval of its input; a window whose samples stand for less than `coverage`
of it is BAD. Bad samples are not held and so count as missing; the window of a bad sample, if covered, is UNCERTAIN,
as is one with an uncertain sample in it. Rings have room for the window at the input's interval, for as much again
(at most for an hour) and some spare: a series so much denser that a sample of the window had to be given up has BAD
windows rather than wrong ones.

*Several inputs* (sums only: rain told every 10 minutes and every hour). Each sample is the total of (t − interval, t].
A coarser one adds what exceeds the finer ones in its period, never less than 0, so that a period counts as the greater
of both, whichever came first.

*Late samples* are put in their place; a revised one replaces its stamp's value, a retracted one is taken out. Each
gives the window that ends at its own stamp, unless a part of that is no longer held. What is older than everything
held changes nothing. An input in its own order but behind the mark of another input counts as late.

Cost: O(1) a sample, amortised, for all but percentiles, O(window); O(samples held) for a late one (and its square at
worst, where there are several inputs).
State: 17 bytes a sample held (33 with several inputs), 4 more for extremes; 48 an instance, 56 for extremes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from ioc.model.batch import I32, I64, U16, Bool
from ioc.model.event import Event
from ioc.rules.derive.base import Deriver, Fed, Given, Instance
from ioc.rules.derive.ring import (
    BACKLOG,
    BAD,
    GIVEN_BAD,
    GIVEN_LATE,
    LATE,
    UNCERTAIN,
    Grid,
    Ring,
    change,
    contiguous,
    inputs_of,
    reach_of,
    ring,
    rounded,
    slot,
    tick_of,
    told,
    upto,
    wrapped,
)
from ioc.rules.jit import compiled
from ioc.rules.kernels import Index
from ioc.rules.spec.derived import Window

SUM: Final = 0
MEAN: Final = 1
MIN: Final = 2
MAX: Final = 3
COUNT: Final = 4
PERCENTILE: Final = 5
FUNCTIONS: Final = {
    "sum": SUM,
    "mean": MEAN,
    "min": MIN,
    "max": MAX,
    "count": COUNT,
    "percentile": PERCENTILE,
}


class Sums(NamedTuple):
    """Running sums over the window that ends at each instance's mark (n,), and for extremes a queue of slots (n, w).

    `first` is how many of the samples held have left the window. The queue holds the slots of those samples that a
    later one does not exceed, from `front` on.
    """

    first: I32
    total: I64
    covered_us: I64
    doubts: I32
    queue: I32
    front: I32
    length: I32


class Plan(NamedTuple):
    """What is asked. By instance (n,) unless said otherwise.

    A result of `p / q` input ticks (or samples) is `p · up / (q · down)` ticks of the output. `needed_us` is the
    least coverage, `rank` (n, roles) the place of each role among the inputs, finest first, `period_us` (n, roles)
    their intervals by rank, `reach_us` how far behind the window samples still matter. The percentile is
    `per / of` of the samples.
    """

    function: int
    over_us: int
    least: int
    per: int
    of: int
    up: I64
    down: I64
    needed_us: I64
    rank: I64
    period_us: I64
    reach_us: I64


@compiled
def _contribute(ring: Ring, plan: Plan, i: int, k: int) -> None:
    """What the k-th sample adds beside finer ones in its period."""
    s = slot(ring, i, k)
    rank = ring.kind[i, s] // 2
    period_us = plan.period_us[i, rank]
    since_us = ring.stamp_us[i, s] - period_us
    if rank > 0 and ring.lost_us[i] > since_us:
        # Finer samples of its period are gone: what it adds was settled while they were there.
        return
    ticks, covered_us = ring.tick[i, s], period_us
    for m in range(k - 1, -1, -1):
        other = slot(ring, i, m)
        if ring.stamp_us[i, other] <= since_us:
            break
        if ring.kind[i, other] // 2 < rank:
            ticks -= ring.counted[i, other]
            covered_us -= ring.covered_us[i, other]
    ring.counted[i, s] = ticks if rank == 0 else max(ticks, 0)
    ring.covered_us[i, s] = max(covered_us, 0)


@compiled
def _contribute_all(ring: Ring, plan: Plan, i: int) -> None:
    for rank in range(plan.period_us.shape[1]):
        for k in range(ring.size[i]):
            if ring.kind[i, slot(ring, i, k)] // 2 == rank:
                _contribute(ring, plan, i, k)


@compiled
def _one_of(ring: Ring, plan: Plan, i: int, low: int, high: int) -> int:
    """The extreme or percentile of samples [low, high), in ticks; there is at least one."""
    count = high - low
    ticks = np.empty(count, np.int64)
    for k in range(count):
        ticks[k] = ring.tick[i, slot(ring, i, low + k)]
    if plan.function == MIN:
        return int(ticks.min())
    if plan.function == MAX:
        return int(ticks.max())
    place = max(-(-plan.per * count // plan.of), 1) - 1
    return int(np.partition(ticks, place)[place])


@compiled
def _behind(ring: Ring, plan: Plan, i: int, event_us: int) -> tuple[int, int, int, int, int]:
    """The window that ends at a stamp: samples [low, high), their sum, what they cover, how many are uncertain."""
    low, high = upto(ring, i, event_us - plan.over_us), upto(ring, i, event_us)
    total, covered_us, doubts = 0, 0, 0
    several = ring.counted.shape[1] > 0
    for k in range(low, high):
        s = slot(ring, i, k)
        total += ring.counted[i, s] if several else ring.tick[i, s]
        covered_us += ring.covered_us[i, s] if several else plan.period_us[i, 0]
        doubts += ring.kind[i, s] & 1
    return low, high, total, covered_us, doubts


@compiled
def _rows(
    ring: Ring,
    sums: Sums,
    plan: Plan,
    at: Index,
    role: Index,
    event_us: I64,
    tick: I64,
    flags: U16,
    out: I64,
    out_flags: U16,
    given: Bool,
) -> None:
    """Row after row (n,) into the state; `out` (n,) in ticks of the output where `given` (n,)."""
    # Each by itself: taken out of its tuple within the loop, an array costs as much as all else.
    stamp_us, held, kinds, counted, added_us, head, size, mark_us, lost_us, capacity = ring
    first, total, covered_us, doubts, queue, front, length = sums
    function, over_us, least, _, _, up, down, needed_us, ranks, period_us, reach_us = plan
    slots = stamp_us.shape[1]
    several = counted.shape[1] > 0
    extreme = function in (MIN, MAX)
    for j in range(len(at)):
        i, t, f = at[j], event_us[j], flags[j]
        rank = ranks[i, role[j]]
        kind = 2 * rank + (f & UNCERTAIN)
        bad = (f & BAD) != 0
        late = (f & LATE) != 0 or t < mark_us[i]
        if late and lost_us[i] > (t - period_us[i, rank] if rank > 0 else t - 1):
            continue
        mark_us[i] = max(mark_us[i], t)
        plain = not late
        if plain and size[i] > 0:
            s = wrapped(head[i] + size[i] - 1, slots)
            plain = stamp_us[i, s] < t or (stamp_us[i, s] == t and kinds[i, s] // 2 < rank)
        if plain:
            excess = 0 if bad else size[i] + 1 - capacity[i]
            while first[i] < size[i]:
                s = wrapped(head[i] + first[i], slots)
                if stamp_us[i, s] > t - over_us and first[i] >= excess:
                    break
                first[i] += 1
                total[i] -= counted[i, s] if several else held[i, s]
                covered_us[i] -= added_us[i, s] if several else period_us[i, 0]
                doubts[i] -= kinds[i, s] & 1
                if length[i] > 0 and queue[i, front[i]] == s:
                    front[i] = wrapped(front[i] + 1, slots)
                    length[i] -= 1
            for _ in range(excess):
                lost_us[i] = max(lost_us[i], stamp_us[i, head[i]])
                head[i] = wrapped(head[i] + 1, slots)
                size[i] -= 1
                first[i] -= 1
            begin = size[i]
            if not bad:
                s = wrapped(head[i] + begin, slots)
                stamp_us[i, s], held[i, s], kinds[i, s] = t, tick[j], kind
                size[i] += 1
                if several:
                    _contribute(ring, plan, i, begin)
        else:
            change(ring, i, t, tick[j], kind, bad)
            if several:
                _contribute_all(ring, plan, i)
            begin = first[i] = upto(ring, i, mark_us[i] - over_us)
            total[i] = covered_us[i] = doubts[i] = front[i] = length[i] = 0
        for k in range(begin, size[i]):
            s = wrapped(head[i] + k, slots)
            total[i] += counted[i, s] if several else held[i, s]
            covered_us[i] += added_us[i, s] if several else period_us[i, 0]
            doubts[i] += kinds[i, s] & 1
            if extreme:
                while length[i] > 0:
                    other = held[i, queue[i, wrapped(front[i] + length[i] - 1, slots)]]
                    if other > held[i, s] if function == MAX else other < held[i, s]:
                        break
                    length[i] -= 1
                queue[i, wrapped(front[i] + length[i], slots)] = s
                length[i] += 1
        whole = lost_us[i] <= t - over_us - reach_us[i]
        if late and not whole:
            continue
        low, high, sum_here, covered_here_us, doubts_here = (
            first[i],
            size[i],
            total[i],
            covered_us[i],
            doubts[i],
        )
        if late:
            low, high, sum_here, covered_here_us, doubts_here = _behind(ring, plan, i, t)
        given[j] = True
        out_flags[j] = (GIVEN_LATE if late else 0) | (f & BACKLOG)
        count = high - low
        if not whole or covered_here_us < needed_us[i] or count < least:
            out_flags[j] |= GIVEN_BAD
            continue
        if bad or doubts_here > 0:
            out_flags[j] |= UNCERTAIN
        part, over = sum_here, 1
        if function == MEAN:
            over = count
        elif function == COUNT:
            part = count
        elif extreme and not late:
            part = held[i, queue[i, front[i]]]
        elif function != SUM:
            part = _one_of(ring, plan, i, low, high)
        out[j] = rounded(part * up[i], over * down[i])


class Windows:
    """One window of every instance."""

    def __init__(self, spec: Window, instances: Sequence[Instance]) -> None:
        several = any(len(inputs_of(i)) > 1 for i in instances)
        assert spec.function == "sum" or not several, "only sums know how several inputs count once"
        n, extreme = len(instances), spec.function in ("min", "max")
        finest = [min(series.resolution for series in inputs_of(i)) for i in instances]
        self._in, self._out = Grid(finest), Grid([i.resolution for i in instances])
        self._plan = _plan(spec, instances, finest)
        self._ring = ring(instances, spec.over)
        slots = self._ring.stamp_us.shape[1] if extreme else 0
        self._sums = Sums(
            np.zeros(n, np.int32),
            np.zeros(n, np.int64),
            np.zeros(n, np.int64),
            np.zeros(n, np.int32),
            np.zeros((n, slots), np.int32),
            np.zeros(n, np.int32),
            np.zeros(n, np.int32),
        )
        sums = {
            ("window_us" if name == "covered_us" else name): c for name, c in self._sums._asdict().items()
        }
        self.columns: Mapping[str, npt.NDArray[Any]] = {**self._ring.columns(), **sums}

    def feed(self, fed: Fed) -> Given:
        """One window for each row that has one."""
        n = len(fed)
        out, out_flags, given = np.zeros(n, np.int64), np.zeros(n, np.uint16), np.zeros(n, np.bool_)
        at, role, event_us, flags = contiguous(fed)
        ticks = self._in.ticks(at, fed.value)
        _rows(
            self._ring, self._sums, self._plan, at, role, event_us, ticks, flags, out, out_flags, given
        )  # fmt: skip
        return told(fed, given, out, out_flags, self._out)

    def feed_event(self, event: Event, at: Sequence[int]) -> Given:
        """Events say nothing here."""
        return Given.none()


def build(spec: Window, instances: Sequence[Instance], utc_offset_us: int) -> Deriver:
    """Windows at rest."""
    return Windows(spec, instances)


def _plan(spec: Window, instances: Sequence[Instance], finest: Sequence[float]) -> Plan:
    inputs = [inputs_of(instance) for instance in instances]
    roles = max((len(instance.inputs) for instance in instances), default=1)
    rank = np.zeros((len(instances), roles), np.int64)
    period_us = np.zeros((len(instances), roles), np.int64)
    for i, instance in enumerate(instances):
        present = [(series.interval_us, role) for role, series in enumerate(instance.inputs) if series]
        for place, (interval_us, role) in enumerate(sorted(present)):
            rank[i, role], period_us[i, place] = place, interval_us
    units = [
        (Fraction(1) if spec.function == "count" else tick_of(tick)) / tick_of(instance.resolution)
        for tick, instance in zip(finest, instances, strict=True)
    ]
    part = Fraction(str(spec.percentile or 0)) / 100
    needed_us = -(-Fraction(str(spec.coverage)) * spec.over // 1)
    return Plan(
        FUNCTIONS[spec.function],
        spec.over,
        0 if spec.function == "count" else 1,
        part.numerator,
        part.denominator,
        np.array([unit.numerator for unit in units], np.int64),
        np.array([unit.denominator for unit in units], np.int64),
        np.full(len(instances), int(needed_us), np.int64),
        rank,
        period_us,
        np.array([reach_of(series) for series in inputs], np.int64),
    )
