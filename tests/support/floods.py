"""The real floods: packs and rows of the USGS series, and the crossings to be found in them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ioc.ingest.codecs.native import rfc3339_us
from ioc.model import Step, Transition
from ioc.replay import Row, read
from support.data import shared
from support.packs import limit_rule, write_pack

FLOAT_ARTEFACT = ("08151500", 12.38, 1.85)
"""One clear there differs by a float artefact: 18:20, or exactly computed 18:25; either passes."""


def expected(file: str) -> list[dict[str, Any]]:
    """The entries of `threshold_crossings.json` for one file."""
    entries = json.loads(shared("data", "series", "hydrology", "threshold_crossings.json").read_text("utf-8"))
    return [e for e in entries if e["file"] == file]


def series_of(entry: dict[str, Any]) -> str:
    return f"disaster/{entry['station_id']}/{entry['column']}"


def rule_of(entry: dict[str, Any]) -> str:
    """One rule for each threshold and hysteresis of each series."""
    text = f"{entry['station_id']}_{entry['column']}_{entry['threshold']}_{entry['hysteresis']}"
    return "r_" + text.replace(".", "p").replace("-", "m")


def flood_pack(
    folder: Path, file: str, more: Sequence[dict[str, Any]] = (), more_series: Sequence[str] = ()
) -> Path:
    """One rule without delays for each threshold and hysteresis."""
    entries = expected(file)
    rows = flood_rows(file)
    rules = [
        limit_rule(rule_of(e), {1: e["threshold"]}, deadband=e["hysteresis"], series={"ids": [series_of(e)]})
        for e in entries
    ]
    return write_pack(
        folder, sorted({r.series for r in rows} | set(more_series)), [*rules, *more], interval="15min"
    )


def flood_rows(file: str) -> list[Row]:
    return read(shared("data", "series", "hydrology", file))


def crossings(transitions: Sequence[Transition], rule: str) -> list[tuple[str, int]]:
    """Raises and clears of one rule, with their event times."""
    kinds = {Step.ONSET: "raise", Step.CLEAR: "clear"}
    return [(kinds[t.kind], t.event_us) for t in transitions if t.rule == rule and t.kind in kinds]


def compare(file: str, transitions: Sequence[Transition]) -> None:
    """Exactly the raise and clear times, rule by rule."""
    entries = expected(file)
    assert entries
    for entry in entries:
        want = [(kind, rfc3339_us(when)) for kind, when, _ in entry["transitions"]]
        got = crossings(transitions, rule_of(entry))
        if (entry["station_id"], entry["threshold"], entry["hysteresis"]) == FLOAT_ARTEFACT and got != want:
            assert len(got) == len(want)
            different = [(a, b) for a, b in zip(got, want, strict=True) if a != b]
            assert len(different) == 1
            (((got_kind, got_us), (want_kind, want_us)),) = different
            assert got_kind == want_kind == "clear"
            assert want_us is not None
            assert got_us - want_us == 5 * 60 * 1_000_000
            continue
        assert got == want, rule_of(entry)
