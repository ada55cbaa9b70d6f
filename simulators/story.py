"""The demo's first two minutes, and the small events after them (wall.md, first 60 seconds).

Calm; from +10 s the river at Lào Cai rises through its three alarm levels; at +40 s three sensors fall silent; from
+90 s all recovers; then calm, with something small every few minutes. Series that a pack lacks are left out.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from simulators.noise import key, unit

S = 1_000_000
RISE_US = 10 * S
CREST_US = 32 * S
SILENT_US = 40 * S
RECOVERY_US = 90 * S
FALLEN_US = 106 * S
AFTER_US = 150 * S
PERIOD_US = 180 * S
SMALL_US = 45 * S
SMALL_SILENCE_US = 100 * S
"""Longer than the silence that the slowest of these series is allowed."""
RAMP_US = 5 * S

RIVER = "disaster/lao_cai/water_level"
DISCHARGE = "disaster/lao_cai/discharge"
CREST_M = 84.2
CREST_M3S = 3900.0
SILENT = (
    "disaster/phuc_khanh/soil_moisture",
    "environment/tang_loong/pm25",
    "energy/bac_ha_hpp/inflow",
)


@dataclass(frozen=True, slots=True)
class Small:
    """A passing event: a series that nears `target`, or is silent if there is none."""

    series_id: str
    target: float | None

    @property
    def length_us(self) -> int:
        """How long it lasts."""
        return SMALL_SILENCE_US if self.target is None else SMALL_US


SMALL = (
    Small("environment/yen_bai/pm25", 62.0),
    Small("disaster/y_ty/wind_speed", 18.6),
    Small("energy/ss_500_lao_cai/frequency", 49.74),
    Small("disaster/o_quy_ho/visibility", 700.0),
    Small("energy/ss_220_yen_bai/frequency", 50.26),
    Small("energy/ss_110_suoi_bac/voltage_110kv", 102.5),
    Small("environment/water_thao_lao_cai/tss", 118.0),
    Small("energy/ngoi_phat/spill_gate", 15.0),
    Small("disaster/luc_yen/temperature", None),
    Small("environment/air_cam_duong/pm10", None),
)


class Story:
    """What happens to which series when; a function of the seed and the time since the start."""

    def __init__(self, seed: int, series_ids: Collection[str]) -> None:
        self._seed = seed
        self._small = tuple(s for s in SMALL if s.series_id in series_ids)
        self._touched = {RIVER, DISCHARGE, *SILENT, *(s.series_id for s in self._small)}

    def value(self, series_id: str, elapsed_us: int, calm: float) -> float | None:
        """What the sensor shows instead of its calm value; None if it is silent."""
        if series_id not in self._touched:
            return calm
        if series_id == RIVER:
            return calm + (CREST_M - calm) * flood(elapsed_us)
        if series_id == DISCHARGE:
            return calm + (CREST_M3S - calm) * flood(elapsed_us)
        if series_id in SILENT:
            return None if SILENT_US <= elapsed_us < RECOVERY_US else calm
        return self._passing(series_id, elapsed_us, calm)

    def small(self, count: int) -> tuple[Small, int] | None:
        """The nth small event and when it begins; None in a pack that has none of their series."""
        if not self._small:
            return None
        source = key(self._seed, "story")
        chosen = self._small[int((unit(source, 2 * count) + 1.0) / 2.0 * len(self._small))]
        slack = (unit(source, 2 * count + 1) + 1.0) / 2.0 * (PERIOD_US - chosen.length_us)
        return chosen, AFTER_US + count * PERIOD_US + int(slack)

    def _passing(self, series_id: str, elapsed_us: int, calm: float) -> float | None:
        if elapsed_us < AFTER_US:
            return calm
        found = self.small((elapsed_us - AFTER_US) // PERIOD_US)
        assert found is not None
        event, begin_us = found
        since, left = elapsed_us - begin_us, begin_us + event.length_us - elapsed_us
        if event.series_id != series_id or since < 0 or left <= 0:
            return calm
        if event.target is None:
            return None
        return calm + (event.target - calm) * min(since / RAMP_US, left / RAMP_US, 1.0)


def flood(elapsed_us: int) -> float:
    """How far the river is between its calm level (0) and its crest (1)."""
    if elapsed_us < RECOVERY_US:
        return min(max((elapsed_us - RISE_US) / (CREST_US - RISE_US), 0.0), 1.0)
    return max(1.0 - (elapsed_us - RECOVERY_US) / (FALLEN_US - RECOVERY_US), 0.0)
