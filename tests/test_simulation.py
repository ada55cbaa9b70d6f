"""Seeded simulation of the whole pure pipeline, and the proof that its net catches."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.simulation import Day

from ioc.ingest.stamps import Stamps


@pytest.mark.parametrize("seed", range(8))
def test_whatever_a_day_brings_the_invariants_hold(tmp_path: Path, seed: int) -> None:
    Day(tmp_path, seed).run(600)


def test_the_net_catches_a_planted_bug(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Repeats that are not recognised must be found out."""
    monkeypatch.setattr(Stamps, "knows", lambda self, series, stamp, value: 0)

    def days() -> None:
        for seed in range(8):
            Day(tmp_path, seed).run(600)

    with pytest.raises(AssertionError, match="twice"):
        days()


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_long_campaign_of_days(tmp_path: Path) -> None:
    for seed in range(1_000, 1_600):
        Day(tmp_path, seed).run(2_000)
