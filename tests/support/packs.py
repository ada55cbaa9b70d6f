"""Small packs written on the spot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml


def text(vi: str, en: str | None = None) -> dict[str, str]:
    return {"vi": vi, "en": en or vi}


def limit_rule(
    rule: str, limits: Mapping[int, float], *, deadband: float = 0.0, on_delay: str = "0", off_delay: str = "0",
    series: Mapping[str, Any] | None = None, direction: str = "up", stations: Mapping[str, Any] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """A limit rule; priorities fall from 3 as levels rise."""
    out: dict[str, Any] = {
        "id": rule,
        "kind": "limit",
        "title": text(f"Vượt ngưỡng {rule}", f"Over the limit {rule}"),
        "series": dict(series or {}),
        "direction": direction,
        "source": {"text": "a test", "mark": "F"},
        "levels": {
            level: {
                "name": text(f"Mức {level}", f"Level {level}"),
                "priority": max(1, 4 - level),
                "limit": value,
                "deadband": deadband,
                "on_delay": on_delay,
                "off_delay": off_delay,
            }
            for level, value in limits.items()
        },
    }
    if stations:
        out["stations"] = dict(stations)
    return out


def no_data_rule(priority: int = 4) -> dict[str, Any]:
    return {"id": "no_data", "kind": "no_data", "title": text("Mất dữ liệu", "No data"), "priority": priority}


def too_late_rule(priority: int = 4) -> dict[str, Any]:
    return {
        "id": "too_late",
        "kind": "too_late",
        "title": text("Dữ liệu quá muộn", "Data too late"),
        "priority": priority,
    }


def write_pack(
    folder: Path,
    series: Sequence[str],
    rules: Sequence[Mapping[str, Any]],
    *,
    interval: str = "10min",
    value_range: tuple[float, float] = (-1e9, 1e9),
    resolution: float = 0.01,
) -> Path:
    """A pack of these series ids, all alike, and these rules."""
    quantities = sorted({s.split("/")[2] for s in series})
    stations: dict[str, list[dict[str, str]]] = {}
    for series_id in series:
        domain, station, quantity = series_id.split("/")
        stations.setdefault(station, []).append({"quantity": quantity, "domain": domain})
    files = {
        "pack.yaml": {"id": folder.name.replace("-", "_"), "title": text("Thử nghiệm", "Test"),
                      "organisation": text("Trung tâm thử nghiệm", "Test centre")},
        "quantities.yaml": {"quantities": {
            q: {"name": text(q), "unit": "m", "unit_text": "m", "resolution": resolution, "interval": interval,
                "range": list(value_range)} for q in quantities}},
        "stations/all.yaml": {"stations": [
            {"id": s, "name": text(f"Trạm {s}", f"Station {s}"), "commune": "02647", "lat": 22.49, "lon": 103.97,
             "series": entries} for s, entries in stations.items()]},
        "rules/all.yaml": {"rules": [dict(r) for r in rules]},
    }  # fmt: skip
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(content, allow_unicode=True, sort_keys=False), "utf-8")
    return folder
