"""What the cells hold beyond rest, by rule id, series number and level: for checkpoints and for other tables.

One form for both, so that an edited pack is nothing but a restart under another table.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any

import numpy as np

from ioc.rules import kernels
from ioc.rules.kernels import NO_TIME, Index
from ioc.rules.spec import LEVELS_MAX

if TYPE_CHECKING:
    from ioc.rules.limits import Limits


def taken(limits: Limits) -> dict[str, Any]:
    """Every cell that is not at rest, sorted by rule id and series number."""
    table = limits.table
    waits = (limits.since_us != NO_TIME).any(axis=1)
    held = limits.on.any(axis=1) | waits
    for sparse in (limits.past.cells, limits.doubts, [at // table.width for at in limits.stamps]):
        held[list(sparse)] = True
    cells = np.flatnonzero(held)
    ids = sorted({table.rules[rule].id for rule in np.unique(table.rule[cells]).tolist()})
    rank = np.array([ids.index(r.id) if r.id in ids else -1 for r in table.rules], np.int32)
    rule = rank[table.rule[cells]] if len(cells) else np.zeros(0, np.int32)
    about = table.channels.owner[table.channel[cells]]
    by_rule = np.lexsort((about, rule))
    cells, about = cells[by_rule], about[by_rule].astype(np.int32)
    since_us = np.full((len(cells), LEVELS_MAX), NO_TIME, np.int64)
    since_us[:, : table.width] = limits.since_us[cells]
    entries = [limits.past.cells.get(cell, ()) for cell in cells.tolist()]
    doubt, doubt_us = np.zeros(len(cells), np.uint8), np.zeros(len(cells), np.int64)
    counted = np.zeros((len(cells), LEVELS_MAX), np.int64)
    counted_us: list[int] = []
    if limits.doubts or limits.stamps:
        for row, cell in enumerate(cells.tolist()):
            doubt[row], doubt_us[row] = limits.doubts.get(cell, (0, 0))
            for column in range(table.width):
                stamps = limits.stamps.get(cell * table.width + column, ())
                counted[row, column] = len(stamps)
                counted_us += stamps
    return {
        "rules": ids,
        "rule": np.sort(rule),
        "series": about,
        "on": kernels.mask_of(limits.on[cells]).astype(np.uint8),
        "since_us": since_us,
        "last_us": np.where(waits[cells], limits.last_us[table.channel[cells]], 0),
        "unknown": limits.unknown[cells],
        "unconfirmed": limits.unconfirmed[cells],
        "shown": limits.shown[cells],
        "doubt": doubt,
        "doubt_us": doubt_us,
        "counted": counted,
        "counted_us": np.array(counted_us, np.int64),
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
    _put_doubts(state, limits, cells, kept)
    _put_counted(state, limits, cells, kept)
    active = on.any(axis=1) | np.isin(cells, list(limits.doubts))
    waits = (since_us != NO_TIME).any(axis=1)
    limits.on[cells] = on
    limits.since_us[cells] = since_us
    limits.unknown[cells] = state["unknown"][kept] & active
    limits.unconfirmed[cells] = state["unconfirmed"][kept] & active
    limits.shown[cells] = np.where(active, state["shown"][kept], 0.0)
    limits.last_us[table.channel[cells[waits]]] = state["last_us"][kept[waits]]
    ends = np.cumsum(state["past_count"])
    for cell, start, end in zip(
        cells.tolist(), (ends - state["past_count"])[kept].tolist(), ends[kept].tolist(), strict=True
    ):
        if end > start:
            limits.past.restore(cell, state["past"][start:end].tolist())
            limits.has_past[table.channel[cell]] = True
    limits.refresh(np.unique(table.channel[cells]).astype(np.int64))
    ids = [state["rules"][i] for i in state["rule"][kept].tolist()]
    return dict(zip(zip(ids, state["series"][kept].tolist(), strict=True), cells.tolist(), strict=True))


def _put_doubts(state: dict[str, Any], limits: Limits, cells: Index, kept: Index) -> None:
    if "doubt" not in state:
        return
    levels, event_us = state["doubt"][kept].tolist(), state["doubt_us"][kept].tolist()
    for cell, level, us in zip(cells.tolist(), levels, event_us, strict=True):
        if 0 < level <= limits.table.width and limits.table.limit[cell, level - 1] != np.inf:
            limits.doubts[cell] = level, us


def _put_counted(state: dict[str, Any], limits: Limits, cells: Index, kept: Index) -> None:
    """The stamps of levels that still count, as many as they need."""
    if not len(state.get("counted_us", ())):
        return
    table, each = limits.table, state["counted"]
    ends = np.cumsum(each).reshape(each.shape)
    for cell, row in zip(cells.tolist(), kept.tolist(), strict=True):
        levels = table.rules[table.rule[cell]].levels
        for column in np.flatnonzero(each[row][: table.width]).tolist():
            most = levels[column + 1].times - 1 if column + 1 in levels else 0
            end = int(ends[row, column])
            stamps = state["counted_us"][end - min(most, int(each[row, column])) : end]
            if len(stamps) and table.limit[cell, column] != np.inf:
                limits.stamps[cell * table.width + column] = array("q", stamps.tolist())
