"""What the cells hold beyond rest, by rule id, series number and level: for checkpoints and for other tables.

One form for both, so that an edited pack is nothing but a restart under another table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ioc.rules import kernels
from ioc.rules.kernels import NO_TIME
from ioc.rules.spec import LEVELS_MAX

if TYPE_CHECKING:
    from ioc.rules.limits import Limits


def taken(limits: Limits) -> dict[str, Any]:
    """Every cell that is not at rest, sorted by rule id and series number."""
    table = limits.table
    waits = (limits.since_us != NO_TIME).any(axis=1)
    held = limits.on.any(axis=1) | waits
    held[list(limits.past.cells)] = True
    cells = np.flatnonzero(held)
    ids = sorted({table.rules[rule].id for rule in np.unique(table.rule[cells]).tolist()})
    rank = np.array([ids.index(r.id) if r.id in ids else -1 for r in table.rules], np.int32)
    rule = rank[table.rule[cells]] if len(cells) else np.zeros(0, np.int32)
    cells = cells[np.lexsort((table.series[cells], rule))]
    since_us = np.full((len(cells), LEVELS_MAX), NO_TIME, np.int64)
    since_us[:, : table.width] = limits.since_us[cells]
    entries = [limits.past.cells.get(cell, ()) for cell in cells.tolist()]
    return {
        "rules": ids,
        "rule": np.sort(rule),
        "series": table.series[cells],
        "on": kernels.mask_of(limits.on[cells]).astype(np.uint8),
        "since_us": since_us,
        "last_us": np.where(waits[cells], limits.last_us[table.series[cells]], 0),
        "unknown": limits.unknown[cells],
        "unconfirmed": limits.unconfirmed[cells],
        "shown": limits.shown[cells],
        "past_count": np.array([len(e) for e in entries], np.int64),
        "past": np.array([e for each in entries for e in each], np.int64),
    }


def put(state: dict[str, Any], limits: Limits) -> dict[tuple[str, int], int]:
    """Give the cells of a table at rest what `taken` gave; those it lacks are left out.

    Returns the cell of each (rule id, series number) that has a place.
    """
    table = limits.table
    places = {rule.id: i for i, rule in enumerate(table.rules)}
    known = np.array([places.get(rule_id, -1) for rule_id in state["rules"]], np.int64)
    rule = known[state["rule"]] if len(known) else np.zeros(0, np.int64)
    cells = table.find(rule, state["series"].astype(np.int64))
    kept = np.flatnonzero(cells >= 0)
    cells = cells[kept]
    has = table.limit[cells] != np.inf
    on = kernels.levels_of(state["on"][kept].astype(np.int64), table.width) & has
    since_us = np.where(has, state["since_us"][kept][:, : table.width], NO_TIME)
    active, waits = on.any(axis=1), (since_us != NO_TIME).any(axis=1)
    limits.on[cells] = on
    limits.since_us[cells] = since_us
    limits.unknown[cells] = state["unknown"][kept] & active
    limits.unconfirmed[cells] = state["unconfirmed"][kept] & active
    limits.shown[cells] = np.where(active, state["shown"][kept], 0.0)
    limits.last_us[table.series[cells[waits]]] = state["last_us"][kept[waits]]
    ends = np.cumsum(state["past_count"])
    for cell, start, end in zip(
        cells.tolist(), (ends - state["past_count"])[kept].tolist(), ends[kept].tolist(), strict=True
    ):
        if end > start:
            limits.past.restore(cell, state["past"][start:end].tolist())
            limits.has_past[table.series[cell]] = True
    limits.refresh(np.unique(table.series[cells]).astype(np.int64))
    ids = [state["rules"][i] for i in state["rule"][kept].tolist()]
    return dict(zip(zip(ids, state["series"][kept].tolist(), strict=True), cells.tolist(), strict=True))
