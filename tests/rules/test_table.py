"""Rules as aligned columns."""

from __future__ import annotations

import numpy as np
from support.rule_world import NUMBERS, RULES, WORLD, limit, registry, rules

from ioc.registry import Registry
from ioc.rules.table import limit_table, watches


def test_cells_lie_by_series_then_in_pack_order() -> None:
    table = limit_table(WORLD, RULES, NUMBERS)
    cells = [(int(s), table.rules[r].id) for s, r in zip(table.channel, table.rule, strict=True)]
    assert cells == [
        (0, "at_once"), (0, "delayed"), (0, "low"),
        (1, "at_once"), (1, "delayed"), (1, "low"),
        (2, "at_once"), (2, "delayed"), (2, "low"),
        (3, "at_once"), (3, "low"),
    ]  # fmt: skip
    assert (table.start.tolist(), table.count.tolist()) == ([0, 3, 6, 9], [3, 3, 3, 2])
    assert table.order.tolist() == [0, 2, 3]


def test_a_cell_is_found_by_rule_and_series() -> None:
    table = limit_table(WORLD, RULES, NUMBERS)
    assert table.find(np.array([2, 1, -1, 0]), np.array([3, 3, 0, 9])).tolist() == [10, -1, -1, -1]


def test_what_is_judged_downwards_is_negated() -> None:
    table = limit_table(WORLD, RULES, NUMBERS)
    at_b = table.limit[8].tolist()
    assert at_b == [-2.5, -1.0, np.inf, np.inf]
    assert table.reset[8].tolist() == [-3.0, -2.5, -np.inf, -np.inf]


def test_a_series_without_a_limit_in_force_has_no_cell() -> None:
    world = registry({"a": ["level"], "b": ["level"], "c": ["level"]})
    flood = rules(
        limit(
            "flood",
            {1: {}},
            stations={"a": {1: 4}, "b": {1: {"value": 5, "mark": "U", "enabled": False}}},
        )
    )
    table = limit_table(world, flood, {"disaster/a/level": 4, "disaster/b/level": 1, "disaster/c/level": 0})
    assert table.channel.tolist() == [4]
    assert len(table.start) == 5


def test_without_rules_or_series_there_is_a_table_all_the_same() -> None:
    assert len(limit_table(Registry((), {}), RULES, {})) == 0
    assert len(limit_table(WORLD, {}, NUMBERS)) == 0


def test_watches_say_which_series_they_are_about() -> None:
    found = watches(WORLD, RULES, NUMBERS)
    assert [(w.rule.id, w.order, w.about.tolist()) for w in found] == [
        ("silent", 1, [True] * 4),
        ("rain_silent", 6, [False, True, False, False]),
        ("old", 7, [True] * 4),
    ]
