"""The table of `make bench`: goals, what counts as met, and rows that outlive the run that did not measure them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rows import FIGURES, Figure, finished, merge, shown


@pytest.mark.parametrize(
    ("figure", "ours", "peer", "met"),
    [
        (Figure("", "ms", ours_max=15), 15.0, None, True),
        (Figure("", "ms", ours_max=15), 15.1, None, False),
        (Figure("", "/s", ratio_min=0.97), 97.0, 100.0, True),
        (Figure("", "/s", ratio_min=0.97), 96.0, 100.0, False),
        (Figure("", "/s", ratio_min=0.97), 97.0, None, None),
        (Figure("", "/s", ours_min=5, ratio_min=0.5), 4.0, None, False),
        (Figure("", "µs", ratio_max=0.25), 2.0, 10.0, True),
        (Figure("", "µs", ratio_max=0.25), None, 10.0, None),
    ],
)
def test_a_goal_is_met_missed_or_cannot_be_told(
    figure: Figure, ours: float | None, peer: float | None, met: bool | None
) -> None:
    assert figure.met(ours, ours / peer if ours is not None and peer else None) is met


def test_a_figure_that_comes_with_losses_is_not_met_however_fast() -> None:
    row = finished(
        {"name": "source.1k", "ours": 2e6, "met": False, "note": "something was lost"}, "2026-01-01"
    )
    assert row["met"] is False


def test_rows_that_were_not_measured_stay_with_their_date(tmp_path: Path) -> None:
    latest = tmp_path / "latest.json"
    merge(latest, [finished({"name": "soak", "ours": 20.0}, "2026-01-01")], {"cpu": "old"})
    fresh = finished(
        {"name": "mqtt.sustained.qos0", "ours": 99.0, "peer": 100.0, "peer_name": "bare"}, "2026-01-02"
    )
    merge(latest, [fresh], {"cpu": "new"})
    kept = json.loads(latest.read_text("utf-8"))
    assert kept["machine"] == {"cpu": "new"}
    assert [(row["name"], row["date"], row["met"]) for row in kept["rows"]] == [
        ("mqtt.sustained.qos0", "2026-01-02", True),
        ("soak", "2026-01-01", True),
    ]
    assert {"name", "ours", "peer", "ratio", "goal", "met"} <= set(kept["rows"][0])


def test_the_table_can_be_shown_with_gaps() -> None:
    table = [finished({"name": name}, "2026-01-01") for name in FIGURES]
    assert len(shown(table).splitlines()) == 1 + len(FIGURES)
