"""SAIDI and SAIFI of a station from its outages, which are told as events with revisions.

SAIDI = Σ (duration × customers) / customers served, in minutes; SAIFI = Σ customers interrupted / customers served;
interruptions of more than 5 minutes (IEEE 1366 and `domain.md` §5), since the local year or month began.

An outage counts once it has ended, whole, in the year or month of its end; without an end it lasts, and with one that
is still ahead (announced work) too, until an event is received after that. A revision replaces an older one of the same
id, whatever source tells it, and may take an end back; an older or equal one is nothing. The sample bears the newest
end that counts, or, where that has been given already, a microsecond after the last: it is the sum as it is known from
then on. What changes an earlier year or month only gives nothing.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ioc.model.batch import I64, Bool
from ioc.model.event import Event
from ioc.rules.derive.base import Deriver, Fed, Given, Instance
from ioc.rules.derive.join import resolutions, said
from ioc.rules.kernels import NO_TIME
from ioc.rules.spec.derived import Reliability

OUTAGES_MAX: Final = 256
"""Outages, open and past, that an instance knows one by one."""
_SHORT_US: Final = 300_000_000
_AHEAD_US: Final = 300_000_000
"""How far a source's clock may be ahead of ours for an end to have come."""
_LASTS_MAX_US: Final = 366 * 86_400_000_000
_CUSTOMERS_MAX: Final = 1 << 24
_LATEST_US: Final = 1 << 52
"""The year 2112. With these bounds sums of customers × milliseconds stay far below 2⁶³; what is beyond is no outage."""
_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_US: Final = datetime.timedelta(microseconds=1)


def build(spec: Reliability, instances: Sequence[Instance], utc_offset_us: int) -> Deriver:
    """The index at rest."""
    return _Outages(spec, instances, utc_offset_us)


class _Outages:
    """10 kB an instance: 256 outages (id as 64 bits of BLAKE2, revision, start, end, customers) and the sums of others.

    Where there are more, the one that began first among those that ended (or among all) is told apart no more: what it
    counted stays counted; a revision of it, and any unknown outage that began no later, is nothing.
    """

    def __init__(self, spec: Reliability, instances: Sequence[Instance], utc_offset_us: int) -> None:
        n = len(instances)
        shape = n, OUTAGES_MAX
        self.columns: Mapping[str, npt.NDArray[Any]] = {
            "id": np.zeros(shape, np.uint64),
            "revision": np.zeros(shape, np.int64),
            "start_us": np.zeros(shape, np.int64),
            "end_us": np.zeros(shape, np.int64),
            "customers": np.zeros(shape, np.int64),
            "heard_us": np.full(n, NO_TIME),
            "since_us": np.full(n, NO_TIME),
            "given_us": np.full(n, NO_TIME),
            "gone_us": np.full(n, NO_TIME),
            "gone": np.zeros((n, 2), np.int64),
        }
        self._minutes, self._served, self._since = spec.kind == "saidi", spec.customers, spec.since
        self._resolution, self._offset_us = resolutions(instances), utc_offset_us

    def feed(self, fed: Fed) -> Given:
        """Nothing: only events count."""
        return Given.none()

    def feed_event(self, event: Event, at: Sequence[int]) -> Given:
        """One revision of an outage; each instance whose sum it changes gives a sample, of row 0."""
        given = (
            [(a, *told) for a in at if (told := self._take(a, event)) is not None] if _is_sound(event) else []
        )
        if not given:
            return Given.none()
        where = np.array([a for a, _, _ in given], np.int64)
        event_us = np.array([us for _, us, _ in given], np.int64)
        value = np.array([float(exact) for _, _, exact in given], np.float64)
        none = np.zeros(len(given), np.uint16)
        return said(np.zeros(len(given), np.int64), where, event_us, value, none, self._resolution[where])

    def _take(self, at: int, event: Event) -> tuple[int, Fraction] | None:
        """The stamp and the index after this revision, or None where it changes nothing."""
        state = self.columns
        before = int(state["since_us"][at]), *self._sums(at)
        slot = self._slot(at, event)
        if slot is None:
            return None
        for name, value in (
            ("id", _key(event.id)),
            ("revision", event.revision),
            ("start_us", event.start_us),
            ("end_us", event.end_us),
            ("customers", event.facts["customers"]),
        ):
            state[name][at, slot] = value
        state["heard_us"][at] = max(event.received_us, int(state["heard_us"][at]))
        newest_us = int(np.where(self._ended(at), state["end_us"][at], 0).max())
        if newest_us and (since_us := self._began(newest_us)) > state["since_us"][at]:
            state["since_us"][at], state["gone"][at] = since_us, 0
        after = int(state["since_us"][at]), *self._sums(at)
        if after == before:
            return None
        state["given_us"][at] = max(newest_us, int(state["given_us"][at]) + 1)
        _, lasted_ms, interrupted = after
        sum_of = Fraction(lasted_ms, 60_000) if self._minutes else Fraction(interrupted)
        return int(state["given_us"][at]), sum_of / self._served

    def _slot(self, at: int, event: Event) -> int | None:
        """Where this outage is kept, having made room; None where the revision is nothing."""
        state = self.columns
        start_us = state["start_us"][at]
        known = np.flatnonzero((state["id"][at] == _key(event.id)) & (start_us != 0))
        if len(known):
            slot = int(known[0])
            return slot if event.revision > state["revision"][at, slot] else None
        if event.start_us <= state["gone_us"][at]:
            return None
        slot = int(np.argmin(start_us))
        if start_us[slot] != 0:
            over = self._over(at)
            if over.any():
                slot = int(np.argmin(np.where(over, start_us, _LATEST_US)))
            state["gone"][at] += self._counted(at)[slot]
            state["gone_us"][at] = max(state["gone_us"][at], start_us[slot])
        return slot

    def _over(self, at: int) -> Bool:
        """Which outages kept have ended (outages,)."""
        end_us = self.columns["end_us"][at]
        over: Bool = (end_us != 0) & (end_us <= self.columns["heard_us"][at] + _AHEAD_US)
        return over

    def _ended(self, at: int) -> Bool:
        """Which of them were long enough to count (outages,)."""
        long: Bool = self.columns["end_us"][at] - self.columns["start_us"][at] > _SHORT_US
        return self._over(at) & long

    def _counted(self, at: int) -> I64:
        """What each outage kept adds to the sums: customers × milliseconds, and customers (outages, 2)."""
        state = self.columns
        within = self._ended(at) & (state["end_us"][at] >= state["since_us"][at])
        customers = np.where(within, state["customers"][at], 0)
        return np.stack(
            [(state["end_us"][at] - state["start_us"][at]) // 1000 * customers, customers], axis=1
        )

    def _sums(self, at: int) -> tuple[int, int]:
        lasted_ms, interrupted = self.columns["gone"][at] + self._counted(at).sum(axis=0)
        return int(lasted_ms), int(interrupted)

    def _began(self, us: int) -> int:
        """When the local year or month of a time began."""
        local = _EPOCH + (us + self._offset_us) * _US
        month = 1 if self._since == "year" else local.month
        began = local.replace(month=month, day=1, hour=0, minute=0, second=0, microsecond=0)
        return (began - _EPOCH) // _US - self._offset_us


def _is_sound(event: Event) -> bool:
    """Whether this is an outage of which start and customers are known, and an end, if any, after it."""
    customers = event.facts.get("customers")
    return (
        event.kind == "outage"
        and isinstance(customers, int)
        and not isinstance(customers, bool)
        and 0 <= customers <= _CUSTOMERS_MAX
        and 0 < event.start_us <= _LATEST_US
        and (event.end_us == 0 or 0 <= event.end_us - event.start_us <= _LASTS_MAX_US)
    )


def _key(event_id: str) -> int:
    return int.from_bytes(hashlib.blake2b(event_id.encode(), digest_size=8).digest(), "little")
