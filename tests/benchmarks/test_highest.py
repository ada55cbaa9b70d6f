"""The ladder of rates: up until a rate fails twice, down from a start that was too high."""

from __future__ import annotations

from dataclasses import replace

import pytest
from bench_highest import climb, highest
from rig import Run

SOUND = Run(0, 0, 1, 0.0, 0, 1, 0, 1.0, 1.0, 1.0, 0.0, 0.0, 1.0)


@pytest.mark.parametrize(("limit", "found"), [(100, 100), (140, 140), (60, 60), (149, 140)])
def test_the_highest_sound_rate_is_found_from_below_and_from_above(limit: int, found: int) -> None:
    runs = list(
        climb(lambda rate: replace(SOUND, asked=rate, achieved=rate, lost=int(rate > limit)), 100, 20)
    )
    best = highest(runs)
    assert best is not None
    assert best.asked == found


def test_one_bad_run_is_tried_again() -> None:
    tried: list[int] = []

    def attempt(rate: int) -> Run:
        tried.append(rate)
        return replace(SOUND, asked=rate, achieved=rate, lost=int(rate > 120 or tried.count(rate) == 1))

    best = highest(list(climb(attempt, 100, 20)))
    assert best is not None
    assert (best.asked, tried) == (120, [100, 100, 120, 120, 140, 140])


@pytest.mark.parametrize(
    "bad", [{"lost": 1}, {"alerts_lost": 1}, {"achieved": 98.0}, {"load_lag_ms": 101.0}, {"backlog_ms": 201.0}, {"behind_s": 3.1}]
)  # fmt: skip
def test_what_is_lost_late_or_left_waiting_is_not_sound(bad: dict[str, float]) -> None:
    run = replace(SOUND, asked=100.0, achieved=100.0)
    assert run.sound
    assert not replace(run, **bad).sound  # type: ignore[arg-type]
