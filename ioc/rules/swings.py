"""What a round of good samples does to their cells, compiled: in a storm every series swings, and arrays would make a
dozen passes over all cells for what one pass can do.

The bands are those of `kernels.quiet_band`, and the steps those of `single`, which judges few rows one by one.
"""

from __future__ import annotations

import numpy as np

from ioc.model.batch import F64, I32, I64, Bool
from ioc.rules.jit import compiled
from ioc.rules.kernels import NO_TIME, Index


@compiled
def swing(
    channel: Index,
    value: F64,
    event_us: I64,
    fresh: Bool,
    start: Index,
    count: Index,
    rule: I32,
    sign: F64,
    limit: F64,
    reset: F64,
    on_delay_us: I64,
    off_delay_us: I64,
    max_gap_us: I64,
    unknown: Bool,
    unconfirmed: Bool,
    on: Bool,
    since_us: I64,
    cell_low: F64,
    cell_high: F64,
    low: F64,
    high: F64,
    live: Bool,
    last_us: I64,
    says: Index,
) -> int:
    """Judge n samples (n,), each of another channel; what changes of the table's state is changed in place.

    `says` (c, 4) takes the samples that say something of a cell: place among the n, cell, levels before and after as
    bits; returns how many. It has a row for each cell of these channels. The bands of those cells are left to whoever
    tells: telling may confirm them.
    """
    told = 0
    for n in range(len(channel)):
        one, v, at_us = channel[n], value[n], event_us[n]
        if low[one] <= v <= high[one]:
            continue
        gap = at_us - last_us[one] > max_gap_us[one]
        last_us[one] = at_us
        lowest, highest = -np.inf, np.inf
        for cell in range(start[one], start[one] + count[one]):
            if not cell_low[cell] <= v <= cell_high[cell]:
                r = rule[cell]
                signed = v * sign[r]
                before = after = 0
                waits = False
                most, least = -np.inf, np.inf
                for level in range(limit.shape[1]):
                    was = on[cell, level]
                    now = was
                    before |= int(was) << level
                    if signed < reset[cell, level] if was else signed >= limit[cell, level]:
                        since = since_us[cell, level]
                        if gap or since == NO_TIME:
                            since = at_us
                        if at_us - since >= (off_delay_us[r, level] if was else on_delay_us[r, level]):
                            now = not was
                            on[cell, level] = now
                            since = NO_TIME
                        else:
                            waits = True
                        since_us[cell, level] = since
                    else:
                        since_us[cell, level] = NO_TIME
                    after |= int(now) << level
                    if now:
                        most = max(most, reset[cell, level])
                    else:
                        least = min(least, limit[cell, level])
                if before != after or unknown[cell] or (unconfirmed[cell] and fresh[n]):
                    says[told, 0], says[told, 1], says[told, 2], says[told, 3] = n, cell, before, after
                    told += 1
                if after or waits:
                    live[one] = True
                if waits or unconfirmed[cell]:
                    cell_low[cell], cell_high[cell] = np.inf, -np.inf
                else:
                    least = np.nextafter(least, -np.inf)
                    if sign[r] < 0:
                        most, least = -least, -most
                    cell_low[cell], cell_high[cell] = most, least
            lowest, highest = max(lowest, cell_low[cell]), min(highest, cell_high[cell])
        low[one], high[one] = lowest, highest
    return told
