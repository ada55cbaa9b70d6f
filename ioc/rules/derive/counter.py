"""What an accumulating counter gained since its last good sample: rain gauges, energy meters.

The first good sample gives nothing. A fall is a roll-over where the definition has one and the counter stood in its
last tenth, and a reset otherwise: it counts anew from 0. A bad sample gives BAD, and the next good one all that was
gained since the last good one; UNCERTAIN if either end is.

Late and revised samples change nothing and give nothing: one between two samples would only divide what has been
counted as a whole. A retracted sample gives BAD at its stamp; if it was the last one, the next is counted from the one
before it, so that a spike never looks like a reset. A stage that finds a spike by the sample after it must therefore
retract it before it feeds that sample.

State: 34 bytes an instance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ioc.model.batch import I64, U16, Bool
from ioc.model.event import Event
from ioc.rules.derive.base import Deriver, Fed, Given, Instance
from ioc.rules.derive.ring import (
    BACKLOG,
    BAD,
    GIVEN_BAD,
    GIVEN_LATE,
    LATE,
    NEVER_US,
    UNCERTAIN,
    Grid,
    contiguous,
    inputs_of,
    rounded,
    tick_of,
    told,
)
from ioc.rules.jit import compiled
from ioc.rules.kernels import Index
from ioc.rules.samples import RETRACTED
from ioc.rules.spec.derived import Counter


class Last(NamedTuple):
    """The last good sample of each instance (n,) and the one before it, in input ticks; NEVER_US if there is none."""

    last_us: I64
    last: I64
    last_doubt: Bool
    before_us: I64
    before: I64
    before_doubt: Bool


@compiled
def _rows(
    kept: Last,
    rollover: I64,
    up: I64,
    down: I64,
    at: Index,
    event_us: I64,
    tick: I64,
    flags: U16,
    out: I64,
    out_flags: U16,
    given: Bool,
) -> None:
    """Row after row (n,) into the state; `out` (n,) in ticks of the output where `given` (n,).

    By instance: `rollover` in input ticks, 0 if there is none; `up / down` output ticks make an input tick.
    """
    last_us, last, last_doubt, before_us, before, before_doubt = kept
    for j in range(len(at)):
        i, f = at[j], flags[j]
        if (f & LATE) != 0:
            if (f & RETRACTED) != 0:
                given[j] = True
                out_flags[j] = GIVEN_LATE | GIVEN_BAD
                if event_us[j] == last_us[i]:
                    last_us[i], last[i], last_doubt[i] = before_us[i], before[i], before_doubt[i]
                    before_us[i] = NEVER_US
            continue
        if (f & BAD) != 0:
            given[j] = True
            out_flags[j] = GIVEN_BAD | (f & BACKLOG)
            continue
        doubt = (f & UNCERTAIN) != 0
        if last_us[i] != NEVER_US:
            gain = tick[j] - last[i]
            if gain < 0:
                rolls = rollover[i] > 0 and 10 * last[i] >= 9 * rollover[i]
                gain = tick[j] + rollover[i] - last[i] if rolls else tick[j]
            given[j] = True
            out[j] = rounded(gain * up[i], down[i])
            out_flags[j] = (f & BACKLOG) | (UNCERTAIN if doubt or last_doubt[i] else 0)
        before_us[i], before[i], before_doubt[i] = last_us[i], last[i], last_doubt[i]
        last_us[i], last[i], last_doubt[i] = event_us[j], tick[j], doubt


class Counters:
    """The increments of every instance."""

    def __init__(self, spec: Counter, instances: Sequence[Instance]) -> None:
        inputs = [inputs_of(instance)[0] for instance in instances]
        ticks = [tick_of(series.resolution) for series in inputs]
        units = [tick / tick_of(i.resolution) for tick, i in zip(ticks, instances, strict=True)]
        rollover = Fraction(str(spec.rollover or 0))
        n = len(instances)
        self._in = Grid([series.resolution for series in inputs])
        self._out = Grid([instance.resolution for instance in instances])
        self._rollover = np.array([round(rollover / tick) for tick in ticks], np.int64)
        self._up = np.array([unit.numerator for unit in units], np.int64)
        self._down = np.array([unit.denominator for unit in units], np.int64)
        self._kept = Last(
            np.full(n, NEVER_US, np.int64),
            np.zeros(n, np.int64),
            np.zeros(n, np.bool_),
            np.full(n, NEVER_US, np.int64),
            np.zeros(n, np.int64),
            np.zeros(n, np.bool_),
        )
        self.columns: Mapping[str, npt.NDArray[Any]] = self._kept._asdict()

    def feed(self, fed: Fed) -> Given:
        """One increment for each row that has one."""
        n = len(fed)
        out, out_flags, given = np.zeros(n, np.int64), np.zeros(n, np.uint16), np.zeros(n, np.bool_)
        at, _, event_us, flags = contiguous(fed)
        ticks = self._in.ticks(at, fed.value)
        _rows(
            self._kept, self._rollover, self._up, self._down, at, event_us, ticks, flags, out, out_flags, given
        )  # fmt: skip
        return told(fed, given, out, out_flags, self._out)

    def feed_event(self, event: Event, at: Sequence[int]) -> Given:
        """Events say nothing here."""
        return Given.none()


def build(spec: Counter, instances: Sequence[Instance], utc_offset_us: int) -> Deriver:
    """Counters at rest."""
    return Counters(spec, instances)
