"""What a program without arrays or a compiler does: for each kind of rule a plain loop over rows.

Each is given its definition and one of the series, which are all alike, and makes a function of a batch (for rules
over several stations: of a batch and what the rules on single series said of it) to what it has found. Same
arithmetic as `ioc.rules.derive`, as short as it is without bad, late or retracted samples.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from statistics import median
from typing import Any

import cel

from ioc.model import ChangeKind
from ioc.model.quality import QualityTests
from ioc.registry import Registry, Series
from ioc.rules.derive import air
from ioc.rules.derive.anomaly import (
    CUT,
    DAYS,
    EDGE_STEP,
    EXCESSES,
    FLOOR,
    HALF,
    LONG,
    POOL,
    PRIOR,
    SCALE,
    SHORT,
    SIGMAS_MAX,
    SIGNS,
    STARTING,
    STEP_MAX,
    SUM_MAX,
    TAIL,
    TIRED,
    TO_SIGMA,
)
from ioc.rules.found import Found
from ioc.rules.samples import Samples

S = 1_000_000
HOUR = 3_600 * S
Result = tuple[int, int, int, float]
"""(row, series, event time, value)."""
Loop = Callable[[Samples], list[Any]]
JointLoop = Callable[[tuple[Samples, list[Found]]], list[Any]]


def rows(samples: Samples) -> Iterator[tuple[int, int, int, float]]:
    """(row, series, event time, value) of each."""
    columns = (samples.row, samples.channel, samples.event_us, samples.value)
    return zip(*(column.tolist() for column in columns), strict=True)


def window_sum(spec: Any, series: Series) -> Loop:
    """A deque and a running total in ticks; also of means."""
    held: dict[int, deque[tuple[int, int]]] = {}
    totals: dict[int, int] = {}
    over_us, needed = spec.over, spec.coverage * spec.over / series.interval_us
    mean = spec.function == "mean"

    def feed(samples: Samples) -> list[Result]:
        out = []
        for row, number, us, value in rows(samples):
            mine = held.get(number)
            if mine is None:
                mine = held[number] = deque()
                totals[number] = 0
            total = totals[number]
            while mine and mine[0][0] <= us - over_us:
                total -= mine.popleft()[1]
            tick = round(value * 100)
            mine.append((us, tick))
            total += tick
            totals[number] = total
            n = len(mine)
            if n < needed:
                out.append((row, number, us, math.nan))
            else:
                out.append((row, number, us, round(total / n) / 100 if mean else total / 100))
        return out

    return feed


def window_max(spec: Any, series: Series) -> Loop:
    """A deque, and one of those that no later sample exceeds."""
    held: dict[int, deque[int]] = {}
    queues: dict[int, deque[tuple[int, float]]] = {}
    over_us, needed = spec.over, spec.coverage * spec.over / series.interval_us

    def feed(samples: Samples) -> list[Result]:
        out = []
        for row, number, us, value in rows(samples):
            mine = held.get(number)
            if mine is None:
                mine = held[number] = deque()
                queue = queues[number] = deque()
            else:
                queue = queues[number]
            while mine and mine[0] <= us - over_us:
                mine.popleft()
            mine.append(us)
            while queue and queue[0][0] <= us - over_us:
                queue.popleft()
            while queue and queue[-1][1] <= value:
                queue.pop()
            queue.append((us, value))
            out.append((row, number, us, queue[0][1] if len(mine) >= needed else math.nan))
        return out

    return feed


def window_percentile(spec: Any, series: Series) -> Loop:
    """A deque, and its values in order."""
    held: dict[int, deque[tuple[int, float]]] = {}
    ordered: dict[int, list[float]] = {}
    over_us, needed, part = spec.over, spec.coverage * spec.over / series.interval_us, spec.percentile

    def feed(samples: Samples) -> list[Result]:
        out = []
        for row, number, us, value in rows(samples):
            mine = held.get(number)
            if mine is None:
                mine = held[number] = deque()
                there = ordered[number] = []
            else:
                there = ordered[number]
            while mine and mine[0][0] <= us - over_us:
                _, old = mine.popleft()
                del there[bisect_left(there, old)]
            mine.append((us, value))
            insort(there, value)
            n = len(there)
            found = there[max(math.ceil(part / 100 * n), 1) - 1] if n >= needed else math.nan
            out.append((row, number, us, found))
        return out

    return feed


def _slopes(mine: deque[tuple[int, int]]) -> list[float]:
    pairs = list(mine)
    slopes = [(v - w) / (t - u) for i, (t, v) in enumerate(pairs) for u, w in pairs[:i]]
    slopes.sort()
    return slopes


def _middle(slopes: list[float]) -> float:
    n = len(slopes)
    return slopes[n // 2] if n % 2 else (slopes[n // 2 - 1] + slopes[n // 2]) / 2


def rate(spec: Any, series: Series) -> Loop:
    """Theil–Sen: the slopes of all pairs, sorted."""
    held: dict[int, deque[tuple[int, int]]] = {}
    over_us, least, factor = spec.over, spec.samples, spec.per * series.resolution / spec.resolution

    def feed(samples: Samples) -> list[Result]:
        out = []
        for row, number, us, value in rows(samples):
            mine = held.get(number)
            if mine is None:
                mine = held[number] = deque()
            while mine and mine[0][0] <= us - over_us:
                mine.popleft()
            mine.append((us, round(value * 100)))
            found = math.nan
            if len(mine) >= least:
                found = round(_middle(_slopes(mine)) * factor) / 1000
            out.append((row, number, us, found))
        return out

    return feed


def time_to(spec: Any, series: Series) -> Loop:
    """The same slopes, and how long at their middle and their quartiles."""
    held: dict[int, deque[tuple[int, int]]] = {}
    bounds: dict[int, tuple[float, float]] = {}
    over_us, least, limit = spec.over, spec.samples, round(spec.limit * 100)
    horizon = spec.horizon // (6 * S)

    def until(tick: int, slope: float) -> float:
        ahead: float = (limit - tick) / slope / (6 * S) if slope > 0 else math.inf
        return (round(ahead) if ahead < horizon else int(horizon)) / 10

    def feed(samples: Samples) -> list[Result]:
        out = []
        for row, number, us, value in rows(samples):
            mine = held.get(number)
            if mine is None:
                mine = held[number] = deque()
            while mine and mine[0][0] <= us - over_us:
                mine.popleft()
            tick = round(value * 100)
            mine.append((us, tick))
            found = math.nan
            if tick >= limit:
                found = 0.0
                bounds[number] = 0.0, 0.0
            elif len(mine) >= least:
                slopes = _slopes(mine)
                quarter = -(-len(slopes) // 4) - 1
                found = until(tick, _middle(slopes))
                bounds[number] = until(tick, slopes[-1 - quarter]), until(tick, slopes[quarter])
            out.append((row, number, us, found))
        return out

    return feed


def counter(spec: Any, series: Series) -> Loop:
    """The last reading of each."""
    last: dict[int, int] = {}

    def feed(samples: Samples) -> list[Result]:
        out = []
        for row, number, us, value in rows(samples):
            tick = round(value * 100)
            before = last.get(number)
            if before is not None:
                gain = tick - before
                out.append((row, number, us, (gain if gain >= 0 else tick) / 100))
            last[number] = tick
        return out

    return feed


def _cut(value: float, most: float) -> float:
    return most if value > most else -most if value < -most else value


class Usual:
    """What the streaming kinds know of one series."""

    __slots__ = ("down", "level", "seen", "spread", "up")

    def __init__(self, level: float) -> None:
        self.seen = 0
        self.level = level
        self.spread = self.up = self.down = 0.0


def zscore(spec: Any, series: Series) -> Loop:
    """Location and scale of each, also for change points."""
    kept: dict[int, Usual] = {}
    memory, wait, tick = spec.memory, max(STARTING, spec.memory // 4), series.resolution
    drift = getattr(spec, "drift", None)

    def feed(samples: Samples) -> list[Result]:
        out = []
        for row, number, us, value in rows(samples):
            k = kept.get(number)
            if k is None:
                k = kept[number] = Usual(value)
            found = math.nan
            if k.seen >= wait:
                z = _cut((value - k.level) / max(TO_SIGMA * k.spread, tick), SIGMAS_MAX)
                if drift is None:
                    found = round(z * 100) / 100
                else:
                    z = _cut(z, STEP_MAX)
                    k.up = _cut(max(0.0, k.up + z - drift), SUM_MAX)
                    k.down = _cut(max(0.0, k.down - z - drift), SUM_MAX)
                    found = round((k.up if k.up >= k.down else -k.down) * 100) / 100
            most = CUT * k.spread + (tick if k.seen >= STARTING else math.inf)
            k.seen += 1
            gain = 1 / min(k.seen, memory)
            residual = _cut(value - k.level, most)
            k.level += gain * residual
            k.spread += gain * (abs(residual) - k.spread)
            out.append((row, number, us, found))
        return out

    return feed


def baseline(spec: Any, series: Series) -> Loop:
    """[level, spread, weight, week, weeks] of each series and hour of the week that was heard."""
    buckets: dict[tuple[int, int], list[float]] = {}
    common: dict[int, list[float]] = {}
    keeps, least, tick = 0.5 ** (1 / spec.half_life), spec.weeks, series.resolution

    def feed(samples: Samples) -> list[Result]:
        out = []
        for row, number, us, value in rows(samples):
            week, hour = divmod(us // HOUR, 168)
            b = buckets.get((number, hour))
            if b is None:
                b = buckets[number, hour] = [value, 0.0, 0.0, -1, 0]
            shared = common.get(number)
            if shared is None:
                shared = common[number] = [0, 0.0]
            level, spread, weight, last, weeks = b
            if last != week:
                weeks += 1
                weight *= keeps
            residual = value - level
            found, known = math.nan, weeks > least
            if known:
                scale = (weight * spread + PRIOR * shared[1]) / (weight + PRIOR)
                found = round(_cut(residual / max(TO_SIGMA * scale, tick), SIGMAS_MAX) * 100) / 100
            if weight:
                most = CUT * shared[1] + tick if shared[0] >= STARTING else math.inf
                shared[0] = min(shared[0] + 1, POOL)
                shared[1] += (min(abs(residual), most) - shared[1]) / shared[0]
            weight += 1
            residual = _cut(residual, CUT * spread + (tick if known else math.inf))
            b[:] = level + residual / weight, spread + (abs(residual) - spread) / weight, weight, week, weeks
            out.append((row, number, us, found))
        return out

    return feed


class Signs(Usual):
    """What the anomaly knows of one series."""

    __slots__ = (
        "active", "activity", "day", "day_long", "day_seen", "day_short", "edge", "excess", "high", "last", "low",
        "passed", "resting", "short", "size", "tired",
    )  # fmt: skip

    def __init__(self, level: float) -> None:
        super().__init__(level)
        self.short = self.last = self.low = self.high = level
        self.activity = self.active = self.day_short = self.day_long = self.tired = 0.0
        self.resting = 0
        self.day = [0.0] * 96
        self.day_seen = [0] * 96
        self.size = [0.0] * SIGNS
        self.edge = [[0.0, 0.0] for _ in range(SIGNS)]
        self.excess = [[0.0, 0.0] for _ in range(SIGNS)]
        self.passed = [[0, 0] for _ in range(SIGNS)]


def anomaly(spec: Any, series: Series) -> Loop:
    """Six signs with two tails each."""
    kept: dict[int, Signs] = {}
    memory, wait, tick, rest = spec.memory, max(STARTING, spec.memory // 4), series.resolution, spec.rest
    limit = round(spec.limit * 100)

    def vote(k: Signs, at: int, sign: float, gain: float, floor: float) -> float:
        size = k.size[at]
        size += gain * (min(abs(sign), 5 * size + floor) - size)
        k.size[at] = size
        step, votes = gain * EDGE_STEP * size, 0.0
        edges, excesses, passed = k.edge[at], k.excess[at], k.passed[at]
        for side in (0, 1):
            beyond = (-sign if side else sign) - edges[side]
            if beyond > 0:
                excess = beyond / (excesses[side] + floor)
                votes += excess / (excess + HALF)
                passed[side] = min(passed[side] + 1, EXCESSES)
                excesses[side] += (beyond - excesses[side]) / passed[side]
                edges[side] += step * (1 - TAIL)
            else:
                edges[side] -= step * TAIL
        return votes

    def feed(samples: Samples) -> list[Result]:
        out = []
        for row, number, us, x in rows(samples):
            k = kept.get(number)
            if k is None:
                k = kept[number] = Signs(x)
            k.seen += 1
            seen = k.seen
            k.low = min(k.low + (x - k.low) / (10 * memory), x)
            k.high = max(k.high + (x - k.high) / (10 * memory), x)
            floor = max(FLOOR * (k.high - k.low), tick)
            b = us // (HOUR // 4) % 96
            of_day = x - k.day[b] if k.day_seen[b] else 0.0
            k.day_seen[b] = min(k.day_seen[b] + 1, DAYS)
            k.day[b] += (x - k.day[b]) / k.day_seen[b]
            few = min(SHORT, seen)
            k.short += (x - k.short) / few
            k.activity += (abs(x - k.last) - k.activity) / few
            k.day_short += (of_day - k.day_short) / few
            k.day_long += (of_day - k.day_long) / min(LONG, seen)
            k.last = x
            gain = max(2 / memory, 1 / (seen + 1))
            signs = (
                x - k.level, k.short - k.level, k.activity - k.active, of_day, k.day_short, k.day_long,
            )  # fmt: skip
            votes = sum([vote(k, at, sign, gain, floor) for at, sign in enumerate(signs)])
            gain = 1 / min(memory, seen)
            k.active += gain * (min(k.activity, CUT * k.active + floor) - k.active)
            residual = _cut(x - k.level, CUT * k.spread + floor)
            k.level += gain * residual
            k.spread += gain * (abs(residual) - k.spread)
            k.tired -= k.tired / (7 * memory)
            if seen <= wait:
                out.append((row, number, us, math.nan))
                continue
            share = max(votes / SIGNS - k.tired, 0.0)
            ticks = round(min(SCALE * share / max(1 - share, SCALE / SIGMAS_MAX), SIGMAS_MAX) * 100)
            if k.resting:
                k.resting -= 1
                ticks = min(ticks, limit // 2)
            elif ticks >= limit:
                k.resting = rest
                k.tired += TIRED
            out.append((row, number, us, ticks / 100))
        return out

    return feed


class Tested:
    """The last samples of a series: two for spikes, those within the flat line's count and the attenuated window."""

    __slots__ = ("before", "flat", "last", "last_us", "seen", "window")

    def __init__(self) -> None:
        self.seen = self.last_us = 0
        self.last = self.before = 0.0
        self.flat: deque[float] = deque()
        self.window: deque[tuple[int, float]] = deque()


def quality(spec: QualityTests, series: Series) -> Loop:
    """Six tests, each looking anew at what it needs."""
    gross, spike, change, flat, weak = (
        spec.gross_range, spec.spike, spec.rate_of_change, spec.flat_line, spec.attenuated,
    )  # fmt: skip
    assert gross and spike and change and flat and weak and gross.suspect and change.fail
    (low, high), (usual_low, usual_high) = gross.fail, gross.suspect
    season = spec.climatology[0]
    assert season.fail
    (season_low, season_high), (cold, warm) = season.fail, season.suspect
    spike_suspect, spike_fail, rate_suspect, rate_fail = (
        spike.suspect,
        spike.fail,
        change.suspect,
        change.fail,
    )
    tolerance, over_us, least = flat.tolerance, weak.over, weak.min_obs
    flat_suspect, flat_fail = flat.suspect // series.interval_us, flat.fail // series.interval_us
    weak_suspect, weak_fail = weak.suspect, weak.fail
    kept: dict[int, Tested] = {}

    def feed(samples: Samples) -> list[Any]:
        out = []
        for row, number, us, v in rows(samples):
            k = kept.get(number)
            if k is None:
                k = kept[number] = Tested()
            failed = suspect = 0
            if v < low or v > high:
                failed |= 1
            elif v < usual_low or v > usual_high:
                suspect |= 1
            if v < season_low or v > season_high:
                failed |= 32
            elif v < cold or v > warm:
                suspect |= 32
            if k.seen:
                speed = abs(v - k.last) / max((us - k.last_us) // S, 1)
                if speed > rate_fail:
                    failed |= 4
                elif speed > rate_suspect:
                    suspect |= 4
            if k.seen > 1:
                height = abs(k.last - (k.before + v) / 2)
                if height > spike_suspect:
                    out.append((row, number, k.last_us, 2 if height > spike_fail else 0, 2))
            near = k.flat
            near.append(v)
            if len(near) > flat_fail + 1:
                near.popleft()
            run, least_value, most_value = 0, v, v
            for one in reversed(near):
                least_value, most_value = min(least_value, one), max(most_value, one)
                if most_value - least_value >= tolerance:
                    break
                run += 1
            if run > flat_fail:
                failed |= 8
            elif run > flat_suspect:
                suspect |= 8
            window = k.window
            while window and window[0][0] <= us - over_us:
                window.popleft()
            window.append((us, v))
            if len(window) >= least:
                values = [value for _, value in window]
                strength = max(values) - min(values)
                if strength < weak_fail:
                    failed |= 16
                elif strength < weak_suspect:
                    suspect |= 16
            k.before, k.last, k.last_us = k.last, v, us
            k.seen += 1
            out.append((row, number, us, failed, suspect))
        return out

    return feed


def expression(spec: Any, series: Series) -> Loop:
    """The last of each input; CEL once both are fresh."""
    program = cel.compile(spec.cel)
    functions = {"min": lambda *of: min(of), "max": lambda *of: max(of), "abs": abs}
    names = list(spec.inputs)
    last: dict[int, list[tuple[int, float] | None]] = {}
    hold_us = series.interval_us // 2

    def feed(samples: Samples) -> list[Result]:
        out = []
        context = cel.Context(functions=functions)
        for row, number, us, value in rows(samples):
            at, role = divmod(number, len(names))
            mine = last.get(at)
            if mine is None:
                mine = last[at] = [None] * len(names)
            mine[role] = us, value
            there = [one for one in mine if one is not None]
            if len(there) < len(names) or max(there)[0] - min(there)[0] > hold_us:
                continue
            for name, (_, known) in zip(names, there, strict=True):
                context.add_variable(name, known)
            try:
                found = float(program.execute(context))
            except Exception:
                found = math.nan
            out.append((row, at, us, round(found * 100) / 100))
            mine[:] = [None] * len(names)
        return out

    return feed


_TABLES = {
    name: [(float(c), float(i)) for c, i in air.VN["o3_1h" if name == "o3" else name]]
    for name in ("pm25", "pm10", "so2", "no2", "co", "o3")
}


def _index(name: str, concentration: float) -> int:
    for (c0, i0), (c1, i1) in pairwise(_TABLES[name]):
        if concentration <= c1:
            return math.floor(i0 + (concentration - c0) * (i1 - i0) / (c1 - c0) + 0.5)
    return 500


def _nowcast(hours: dict[int, float], hour: int) -> float | None:
    means = [hours.get(hour - back) for back in range(12)]
    there = [c for c in means if c is not None]
    if sum(c is not None for c in means[:3]) < 2:
        return None
    highest = max(there)
    weight = max(min(there) / highest, 0.5) if highest else 0.5
    total = below = 0.0
    factor = 1.0
    for c in means:
        if c is not None:
            total += factor * c
            below += factor
        factor *= weight
    return total / below


def vn_aqi(spec: Any, series: Series) -> Loop:
    """Hourly means of each input by hour, in floats; the index once all inputs have the hour."""
    names = list(spec.inputs)
    inputs = len(names)
    hours: dict[int, dict[int, float]] = {}
    come: dict[int, tuple[int, int]] = {}

    def feed(samples: Samples) -> list[Result]:
        out = []
        for row, number, us, value in rows(samples):
            at = number // inputs
            hour = -(-us // HOUR)
            mine = hours.get(number)
            if mine is None:
                mine = hours[number] = {}
            mine[hour] = max(value, 0.0)
            mine.pop(hour - 12, None)
            now, count = come.get(at, (hour, 0))
            count = count + 1 if now == hour else 1
            come[at] = hour, count
            if count < inputs:
                continue
            found = 0
            for role, name in enumerate(names):
                there = hours[at * inputs + role]
                mean = _nowcast(there, hour) if name in ("pm25", "pm10") else there.get(hour)
                if mean is not None:
                    found = max(found, _index(name, mean))
            out.append((row, at, hour * HOUR, float(found)))
        return out

    return feed


class Case:
    """One joint rule on one asset."""

    __slots__ = ("due_us", "first_us", "on")

    def __init__(self) -> None:
        self.on = False
        self.first_us = self.due_us = -1


def joint_rows(told: tuple[Samples, list[Found]]) -> Iterator[tuple[int, int, int, float, bool | None]]:
    """Each row with the fact that begins (True) or ends (False) at it."""
    samples, found = told
    begun = {row: change.kind is ChangeKind.ONSET for row, _, _, change in found}
    for row, number, us, value in rows(samples):
        yield row, number, us, value, begun.get(row)


def neighbours(registry: Registry, numbers: Mapping[str, int]) -> JointLoop:
    """The members of a commune whose fact holds by a sample within an hour of the newest."""
    over_us, k = HOUR, 3
    members: dict[str, list[int]] = defaultdict(list)
    of: dict[int, str] = {}
    for name, number in numbers.items():
        of[number] = registry.series[name].station.commune
        members[of[number]].append(number)
    last: dict[int, int] = {}
    holds: set[int] = set()
    on: set[str] = set()

    def feed(told: tuple[Samples, list[Found]]) -> list[Any]:
        out = []
        for row, number, us, _, begun in joint_rows(told):
            last[number] = us
            if begun is not None:
                (holds.add if begun else holds.discard)(number)
            group = of[number]
            since_us = max(last.get(one, 0) for one in members[group]) - over_us
            count = sum(one in holds and last[one] >= since_us for one in members[group])
            if (count >= k) != (group in on):
                on.symmetric_difference_update((group,))
                out.append((row, group, count))
        return out

    return feed


def condition(registry: Registry, numbers: Mapping[str, int]) -> JointLoop:
    """CEL over the last two values and a fact of each pair, at every sample of either."""
    program = cel.compile("high && x + y > 30.0")
    hold_us = 3 * 600 * S
    last: dict[int, tuple[int, float]] = {}
    holds: set[int] = set()
    on: set[int] = set()

    def feed(told: tuple[Samples, list[Found]]) -> list[Any]:
        out = []
        for row, number, us, value, begun in joint_rows(told):
            last[number] = us, value
            if begun is not None:
                (holds.add if begun else holds.discard)(number)
            a = number - number % 2
            x, y = last.get(a), last.get(a + 1)
            if x is None or y is None or abs(x[0] - y[0]) > hold_us:
                continue
            if program.execute({"x": x[1], "y": y[1], "high": a in holds}) != (a in on):
                on.symmetric_difference_update((a,))
                out.append((row, a, x[1]))
        return out

    return feed


def sequence(registry: Registry, numbers: Mapping[str, int]) -> JointLoop:
    """When the first fact of each pair began; the second within six hours."""
    within_us = 6 * HOUR
    cases: dict[int, Case] = {}

    def feed(told: tuple[Samples, list[Found]]) -> list[Any]:
        out = []
        for row, number, us, _, begun in joint_rows(told):
            if begun is None:
                continue
            a = number - number % 2
            case = cases.setdefault(a, Case())
            if number == a:
                if begun:
                    case.first_us = us
            elif not begun:
                if case.on:
                    case.on = False
                    out.append((row, a, 0))
            elif case.first_us >= 0 and us - case.first_us <= within_us:
                case.on, case.first_us = True, -1
                out.append((row, a, 1))
        return out

    return feed


def travel(registry: Registry, numbers: Mapping[str, int]) -> JointLoop:
    """When a wave is due downstream at the latest; it ends when it came, or by a sample there after that."""
    latest_us = 6 * HOUR
    cases: dict[int, Case] = {}

    def feed(told: tuple[Samples, list[Found]]) -> list[Any]:
        out = []
        for row, number, us, _, begun in joint_rows(told):
            a = number - number % 2
            case = cases.get(a)
            if case is None:
                case = cases[a] = Case()
            if number == a:
                if begun:
                    if case.on:
                        out.append((row, a, 0))
                    case.on, case.due_us = True, us + latest_us
                    out.append((row, a, 1))
            elif case.on and (begun or us > case.due_us):
                case.on = False
                out.append((row, a, 0))
        return out

    return feed


def disagrees(registry: Registry, numbers: Mapping[str, int]) -> JointLoop:
    """Every sample against the median of the last ones within 5 km, at most three intervals apart."""
    limit, least, hold_us = 20.0, 2, 3 * 600 * S
    stations = [(s.station.lat, s.station.lon) for s in registry.series.values()]
    beside = {
        number: [o for o, (lat, _) in enumerate(stations) if o != number and abs(lat - stations[number][0]) * 111.195 <= 5]
        for number in numbers.values()
    }  # fmt: skip
    last: dict[int, tuple[int, float]] = {}
    on: set[int] = set()

    def feed(told: tuple[Samples, list[Found]]) -> list[Any]:
        out = []
        for row, number, us, value, _ in joint_rows(told):
            last[number] = us, value
            others = [last[o][1] for o in beside[number] if o in last and abs(last[o][0] - us) <= hold_us]
            if len(others) < least:
                continue
            difference = value - median(others)
            if (abs(difference) > limit) != (number in on):
                on.symmetric_difference_update((number,))
                out.append((row, number, difference))
        return out

    return feed


LOOPS: dict[str, Callable[..., Any]] = {
    "rate": rate,
    "window_sum": window_sum,
    "window_mean": window_sum,
    "window_max": window_max,
    "window_percentile": window_percentile,
    "time_to": time_to,
    "counter": counter,
    "baseline": baseline,
    "zscore": zscore,
    "change_point": zscore,
    "anomaly": anomaly,
    "quality": quality,
    "expression": expression,
    "vn_aqi": vn_aqi,
    "neighbours": neighbours,
    "condition": condition,
    "sequence": sequence,
    "travel": travel,
    "disagrees": disagrees,
}
