"""The NAB scorer against stored results of three detectors, and the kind `anomaly` by that scorer."""

from __future__ import annotations

import csv
import gzip
import json
from typing import Any, Final

import numpy as np
import pytest
from support import nab
from support.data import shared
from support.derive_oracle import instance, series

from ioc.rules.derive import anomaly
from ioc.rules.derive.base import Fed
from ioc.rules.spec.derived import Anomaly

THRESHOLD: Final = 3 / 8
"""Of z / (z + 5): 3 sigmas."""


@pytest.mark.parametrize("detector", ["numenta", "windowedGaussian", "contextOSE"])
def test_the_scorer_gives_the_stored_scores_of_other_detectors(detector: str) -> None:
    folder = shared("data", "nab", "results", "scorer_vectors", detector)
    scores: dict[str, list[float]] = {}
    with gzip.open(folder / "anomaly_scores.csv.gz", "rt", newline="") as file:
        for row in csv.DictReader(file):
            scores.setdefault(row["file"], []).append(float(row["anomaly_score"]))
    half = json.loads(shared("data", "nab", "results", "dev_half_scores.json").read_text())[detector]
    files = nab.load()
    assert scores.keys() == files.keys()
    for name, expected in json.loads((folder / "expected_scores.json").read_text()).items():
        profile, total = nab.PROFILES[name], 0.0
        for path, wanted in expected["files"].items():
            got = nab.score(files[path], np.array(scores[path]) >= expected["threshold"], profile)
            assert got.raw == pytest.approx(wanted["score"], abs=5e-5), path
            assert (got.tp, got.tn, got.fp, got.fn) == tuple(wanted[k] for k in ("tp", "tn", "fp", "fn")), (
                path
            )
            total += got.raw
        assert nab.normalised(total, 57, profile) == pytest.approx(
            half[name]["full_corpus_threshold"]["normalised"], abs=5e-5
        )


def scores(files: dict[str, nab.File], **what: Any) -> dict[str, nab.F64]:
    """One score in [0, 1] a row: every file a series of its own, in file order straight into the kernel, BAD as 0."""
    spec = Anomaly.model_validate({"kind": "anomaly", **what})
    deriver = anomaly.build_anomaly(spec, [instance(series(resolution=1e-6)) for _ in files], 0)
    out = {}
    for at, file in enumerate(files.values()):
        n = len(file.value)
        where, role, flags = np.full(n, at), np.zeros(n, np.int64), np.zeros(n, np.uint16)
        given = deriver.feed(Fed(np.arange(n), where, role, file.event_us, file.value, flags))
        assert len(given) == n
        sigmas = np.nan_to_num(given.value)
        out[file.name] = sigmas / (sigmas + 5)
    return out


def totals(files: dict[str, nab.File], got: dict[str, nab.F64]) -> dict[str, float]:
    return {name: nab.corpus_score(files, got, THRESHOLD, profile) for name, profile in nab.PROFILES.items()}


def test_one_configuration_scores_as_documented_on_all_files() -> None:
    files = nab.load()
    assert len(files) == 31
    got = totals(files, scores(files))
    print(got)
    assert {name: round(value, 1) for name, value in got.items()} == {
        "standard": 69.7,
        "reward_low_FP_rate": 59.7,
        "reward_low_FN_rate": 75.1,
    }
    assert got["standard"] >= 60


def test_no_category_carries_the_score() -> None:
    files = nab.load()
    got = scores(files)
    spread = {}
    for category in sorted({name.split("/")[0] for name in files}):
        rest = {name: file for name, file in files.items() if not name.startswith(category)}
        spread[category] = totals(rest, got)
    print(spread)
    assert all(found["standard"] >= 60 for found in spread.values())


@pytest.mark.parametrize(
    "what",
    [{"memory": 200}, {"memory": 800}, {"rest": 60}, {"rest": 200}, {"limit": 2.5}, {"limit": 4}],
    ids=str,
)
def test_no_parameter_sits_on_an_edge(what: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    files = nab.load()
    limit = what.get("limit", 3.0)
    monkeypatch.setattr(f"{__name__}.THRESHOLD", limit / (limit + 5))
    got = totals(files, scores(files, **what))
    print(what, got)
    assert got["standard"] >= 60
