"""What happens to a sample, one row after the other on dicts: slow, obvious, and sharing nothing with the arrays."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ioc.model import Batch, Flag
from ioc.registry import SeriesColumns

LEAVES_NO_TRACE = Flag.FUTURE | Flag.LAST_KNOWN | Flag.REPEAT | Flag.CONFLICT | Flag.TOO_LATE


@dataclass
class Past:
    """One series: its mark, what is forgotten, and every value at every stamp."""

    mark: int = -1
    floor: int = -1
    half: int = -1
    taken: int = 0
    known: dict[int, list[float]] = field(default_factory=dict)

    def take(self, stamp: int, value: float, stamps_max: int) -> None:
        if stamp in self.known:
            self.known[stamp].append(value)
            return
        self.known[stamp] = [value]
        self.mark = max(self.mark, stamp)
        self.taken += 1
        if self.taken >= stamps_max // 2:
            self.floor, self.half, self.taken = self.half, self.mark, 0


class OrderOracle:
    """The same as `Order`; `judge` judges a commit's batches at once."""

    def __init__(self, columns: SeriesColumns, lateness_us: int, max_ahead_us: int, stamps_max: int) -> None:
        self.past: dict[int, Past] = {}
        self.lateness_us = lateness_us
        self.rebuild(columns, lateness_us, max_ahead_us, stamps_max)

    def rebuild(self, columns: SeriesColumns, lateness_us: int, max_ahead_us: int, stamps_max: int) -> None:
        if lateness_us > self.lateness_us:
            for past in self.past.values():
                past.floor = max(past.floor, past.mark - self.lateness_us - 1)
                past.half = max(past.half, past.floor)
        self.columns = columns
        self.lateness_us, self.max_ahead_us, self.stamps_max = lateness_us, max_ahead_us, stamps_max

    def judge(self, batches: list[Batch], now_us: int | None) -> Iterator[Batch]:
        past = deepcopy(self.past)
        for batch in batches:
            rows = [self._row(past, batch, row, now_us) for row in range(len(batch))]
            yield Batch.of(
                batch.source, batch.series, [r[0] for r in rows], batch.received_us, batch.value,
                [int(r[1]) for r in rows], [r[2] for r in rows],
            )  # fmt: skip

    def _row(
        self, pasts: dict[int, Past], batch: Batch, row: int, now_us: int | None
    ) -> tuple[int, Flag, int]:
        series, stamp, value = int(batch.series[row]), int(batch.event_us[row]), float(batch.value[row])
        received, flags = int(batch.received_us[row]), Flag(int(batch.flags[row]))
        past = pasts.get(series, Past())
        if not self.columns.low[series] <= value <= self.columns.high[series]:
            flags |= Flag.OUT_OF_RANGE | Flag.BAD
        if Flag.NO_STAMP in flags:
            if Flag.RETAINED in flags:
                return received, flags | Flag.LAST_KNOWN, 0
            stamp = max(received, past.mark + 1)
        elif now_us is not None and stamp - max(now_us, received) > self.max_ahead_us:
            return stamp, flags | Flag.FUTURE, 0
        if stamp < past.mark - self.lateness_us or stamp <= past.floor:
            return stamp, flags | Flag.TOO_LATE, 0
        known = past.known.get(stamp, [])
        if value in known:
            return stamp, flags | Flag.REPEAT, 0
        if known and not self.columns.replace[series]:
            return stamp, flags | Flag.CONFLICT, 0
        if known:
            flags |= Flag.REVISED
        elif stamp < past.mark:
            flags |= Flag.LATE
        elif received - stamp > self.columns.max_age_us[series]:
            flags |= Flag.BACKLOG
        revision = len(known)
        pasts.setdefault(series, past).take(stamp, value, self.stamps_max)
        return stamp, flags, revision

    def feed(self, batch: Batch) -> None:
        for series, stamp, value, flags in zip(
            batch.series.tolist(),
            batch.event_us.tolist(),
            batch.value.tolist(),
            batch.flags.tolist(),
            strict=True,
        ):
            if not Flag(flags) & LEAVES_NO_TRACE:
                self.past.setdefault(series, Past()).take(stamp, value, self.stamps_max)

    def state(self) -> dict[str, Any]:
        numbers = sorted(self.past)
        pasts = [self.past[n] for n in numbers]
        rows = [
            [(s, v) for s in sorted(p.known) if s >= max(p.mark - self.lateness_us, p.floor + 1) for v in p.known[s]]
            for p in pasts
        ]  # fmt: skip
        return {
            "numbers": np.array(numbers, np.int32),
            "marks": np.array([(p.mark, p.floor, p.half, p.taken) for p in pasts], np.int64).reshape(-1, 4),
            "counts": np.array([len(r) for r in rows], np.int32),
            "stamp": np.array([s for r in rows for s, _ in r], np.int64),
            "value": np.array([v for r in rows for _, v in r], np.float64),
        }
