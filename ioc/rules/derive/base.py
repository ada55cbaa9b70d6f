"""What every kind of derived series is: a `Deriver`, told samples of its inputs, which gives samples of its outputs.

A deriver holds all instances of one definition (a window of every rain gauge). Its whole state is `columns`: arrays
whose first axis is the instance, changed in place; so checkpoints, other packs and the memory a series needs are the
stage's business and no kind's. Whatever it gives depends on each instance's own samples in their order and on
nothing else: not on how rows are cut into batches, not on other instances.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ioc.model.batch import F64, I64, U16
from ioc.model.event import Event
from ioc.registry import Series
from ioc.rules.kernels import Index


@dataclass(frozen=True, slots=True)
class Instance:
    """One output and what it is computed from.

    `inputs` by role (None where an optional one is absent), in the order of the definition. `resolution` is that of
    the output. `output` is None for a value computed inside a rule. `limit` is that of `TimeTo`, resolved (None: no
    limit is in force here, so that nothing is given).
    """

    station: str
    inputs: tuple[Series | None, ...]
    resolution: float
    output: Series | None = None
    limit: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Fed:
    """Samples of a deriver's inputs, in the order of the batch; columns of shape (n,).

    Rows in order (maybe BACKLOG, UNCERTAIN, or BAD), late ones (LATE or REVISED: only contents of windows move by
    them) and retracted ones (`samples.RETRACTED` with LATE and BAD: take that stamp out again). Nothing else comes.
    """

    row: Index
    at: Index
    """Which instance."""
    role: Index
    """Which of its inputs."""
    event_us: I64
    value: F64
    flags: U16

    def __len__(self) -> int:
        return len(self.row)


@dataclass(frozen=True, slots=True, eq=False)
class Given:
    """Samples of a deriver's outputs, `row` never falling; each bears the row that completed it.

    Flags: BAD (value NaN) where it cannot be said: an input is bad, too little is there; else UNCERTAIN and BACKLOG
    as its inputs', NO_STAMP never. A late input gives at most one row with LATE at its own stamp: what the value
    there would have been; it says nothing of what comes after. Event times of one instance never fall but for those.
    """

    row: Index
    at: Index
    event_us: I64
    value: F64
    flags: U16

    def __len__(self) -> int:
        return len(self.row)

    @staticmethod
    def none() -> Given:
        """Nothing."""
        whole = np.zeros(0, np.int64)
        return Given(whole, whole, whole, np.zeros(0), np.zeros(0, np.uint16))


class Deriver(Protocol):
    """All instances of one definition."""

    columns: Mapping[str, npt.NDArray[Any]]
    """The whole state; each array's first axis is the instance."""

    def feed(self, fed: Fed) -> Given:
        """Take samples and give what they make."""

    def feed_event(self, event: Event, at: Sequence[int]) -> Given:
        """Take an event of these instances' stations; most kinds have nothing to say."""


Build = Callable[[Any, Sequence[Instance], int], Deriver]
"""(the definition, its instances, the pack's offset from UTC in microseconds) → the deriver at rest."""


def per_unit(resolution: float) -> int:
    """How many ticks make 1, or 0 where a tick is 1 or more."""
    return round(1 / resolution) if resolution < 1 else 0


def ticks(value: F64, resolution: float) -> I64:
    """Values (n,) in whole ticks, half to even; NaN as 0."""
    scaled = value * per_unit(resolution) if resolution < 1 else value / resolution
    whole = np.rint(scaled)
    known = whole == whole
    if np.count_nonzero(known) != len(whole):
        whole[~known] = 0.0
    return whole.astype(np.int64)


def from_ticks(count: I64, resolution: float) -> F64:
    """The double nearest to so many ticks: the one that the same decimal figure is read as."""
    each = per_unit(resolution)
    return (count / each if each else count * resolution).astype(np.float64)
