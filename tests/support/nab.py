"""The Numenta Anomaly Benchmark v1.1: its files and its scorer, written from `../shared/data/nab/SCORING.md` alone."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import numpy as np
import numpy.typing as npt

from support.data import shared

F64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Profile:
    """What a hit may earn, a false row costs at most, and a missed window costs."""

    hit: float
    false: float
    miss: float


PROFILES: Final[Mapping[str, Profile]] = {
    "standard": Profile(1, 0.11, 1),
    "reward_low_FP_rate": Profile(1, 0.22, 1),
    "reward_low_FN_rate": Profile(1, 0.11, 2),
}


@dataclass(frozen=True)
class File:
    """One series, n rows in file order; its windows as first and last row, both inclusive."""

    name: str
    event_us: npt.NDArray[np.int64]
    value: F64
    windows: tuple[tuple[int, int], ...]

    @property
    def probation(self) -> int:
        """Rows at the start that count for nothing."""
        return min(len(self.value) * 15 // 100, 750)


@dataclass(frozen=True)
class Score:
    """Of one file by one profile; counts are rows after the probation."""

    raw: float
    tp: int
    tn: int
    fp: int
    fn: int


def load() -> dict[str, File]:
    """Every file of the half that lies here, by `category/name.csv`; stamps are read as UTC."""
    windows = json.loads(shared("data", "nab", "labels", "combined_windows.json").read_text())
    files = {}
    for path in sorted(shared("data", "nab", "data").glob("*/*.csv")):
        name = f"{path.parent.name}/{path.name}"
        with path.open(newline="") as file:
            rows = list(csv.reader(file))[1:]
        times = [datetime.fromisoformat(at).replace(tzinfo=UTC) for at, _ in rows]
        first: dict[datetime, int] = {}
        for row, time in enumerate(times):
            first.setdefault(time, row)
        ends = [
            [first[datetime.fromisoformat(at).replace(tzinfo=UTC)] for at in pair] for pair in windows[name]
        ]
        files[name] = File(
            name,
            np.array([int(time.timestamp()) * 1_000_000 for time in times]),
            np.array([float(value) for _, value in rows]),
            tuple((left, right) for left, right in sorted(ends)),
        )
    return files


def sigma(y: float) -> float:
    """The scaled sigmoid: 0 at 0, towards +1 on the left and −1 on the right."""
    return -1.0 if y > 3 else 2 / (1 + math.exp(5 * y)) - 1


def score(file: File, detected: Bool, profile: Profile) -> Score:
    """What detections (n rows) earn on one file."""
    n = len(detected)
    inside = np.zeros(n, bool)
    for left, right in file.windows:
        inside[left : right + 1] = True
    counted = np.arange(n) >= file.probation
    detected = detected & counted
    raw = 0.0
    for left, right in file.windows:
        hits = np.flatnonzero(detected[left : right + 1])
        width = right - left + 1
        if len(hits):
            raw += profile.hit * sigma(-(width - int(hits[0])) / width) / sigma(-1)
        else:
            raw -= profile.miss
    for row in np.flatnonzero(detected & ~inside).tolist():
        before = [(left, right) for left, right in file.windows if right < row]
        if before:
            left, right = before[-1]
            raw += profile.false * sigma((row - right) / (right - left))
        else:
            raw -= profile.false
    return Score(
        raw,
        int((detected & inside).sum()),
        int((counted & ~detected & ~inside).sum()),
        int((detected & ~inside).sum()),
        int((counted & ~detected & inside).sum()),
    )


def normalised(raw: float, windows: int, profile: Profile) -> float:
    """A sum of raw scores between the null detector (0) and the perfect one (100)."""
    null, perfect = -profile.miss * windows, profile.hit * windows
    return 100 * (raw - null) / (perfect - null)


def corpus_score(
    files: Mapping[str, File], scores: Mapping[str, F64], threshold: float, profile: Profile
) -> float:
    """The normalised score of a detector at one threshold for all files."""
    raw = sum(score(file, scores[name] >= threshold, profile).raw for name, file in files.items())
    return normalised(raw, sum(len(file.windows) for file in files.values()), profile)
