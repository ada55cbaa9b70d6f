"""The table of `make bench`: which figures there are and what each has to reach; one table over several runs.

A benchmark prints `{"rows": [{"name", "ours", "peer", "peer_name"}], …}`; what a row is, its goal and whether it is met
are said here. Rows that a run leaves out keep the figures, and the date, that they had.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One row: what is measured and its bounds; `ratio` is ours over the peer's."""

    what: str
    unit: str
    ours_min: float | None = None
    ours_max: float | None = None
    ratio_min: float | None = None
    ratio_max: float | None = None

    @property
    def goal(self) -> str:
        """The bounds in words."""
        parts = [
            f"≥ {self.ours_min:,.10g} {self.unit}" if self.ours_min is not None else "",
            f"≤ {self.ours_max:,.10g} {self.unit}" if self.ours_max is not None else "",
            f"≥ {self.ratio_min:g}×" if self.ratio_min is not None else "",
            f"≤ {self.ratio_max:g}×" if self.ratio_max is not None else "",
        ]
        return ", ".join(filter(None, parts))

    def met(self, ours: float | None, ratio: float | None) -> bool | None:
        """Whether every bound holds; None where one cannot be told for want of the figure or the peer."""
        bounds = (
            (ours, self.ours_min, 1), (ours, self.ours_max, -1), (ratio, self.ratio_min, 1), (ratio, self.ratio_max, -1),
        )  # fmt: skip
        asked = [(value, bound, sign) for value, bound, sign in bounds if bound is not None]
        if any(value is not None and sign * value < sign * bound for value, bound, sign in asked):
            return False
        return None if any(value is None for value, _, _ in asked) else True


PER_S = "readings/s"
MS = "ms"
CPU = "µs CPU a message"
NS = "ns a reading"
KINDS_OF_RULES = (
    "rate", "window_sum", "window_mean", "window_max", "window_percentile", "time_to", "counter", "baseline", "zscore",
    "change_point", "anomaly", "quality", "expression", "vn_aqi", "neighbours", "condition", "sequence", "travel",
    "disagrees",
)  # fmt: skip

FIGURES: dict[str, Figure] = {
    "mqtt.sustained.qos0": Figure("sustained through mosquitto, everything on, QoS 0", PER_S, ratio_min=0.97),
    "mqtt.sustained.qos1": Figure("sustained through mosquitto, everything on, QoS 1", PER_S, ratio_min=0.97),
    "mqtt.highest.rate": Figure("highest paced rate with nothing lost", PER_S, ratio_min=1.6),
    "mqtt.p99.at_95k": Figure("publish → websocket at 95,000/s, p99", MS, ours_max=15),
    "cpu.highest": Figure("CPU at the highest rate, projection counted", CPU, ratio_max=0.25),
    "latency.2k.p50": Figure("publish → websocket at 2,000/s, p50", MS, ours_max=0.5),
    "latency.2k.p99": Figure("publish → websocket at 2,000/s, p99", MS, ours_max=1.2),
    "latency.20k.p50": Figure("publish → websocket at 20,000/s, p50", MS),
    "latency.20k.p99": Figure("publish → websocket at 20,000/s, p99", MS, ours_max=4),
    "cpu.2k": Figure("CPU at 2,000/s, projection counted", CPU),
    "cpu.20k": Figure("CPU at 20,000/s, projection counted", CPU, ratio_max=0.6),
    "source.1k": Figure("pre-encoded source → evaluated and in the log, one core, 1,000 series", PER_S, ours_min=900_000),
    "source.100k": Figure("pre-encoded source → evaluated and in the log, one core, 100,000 series", PER_S, ours_min=750_000),
    "stored.rate": Figure("pre-encoded source → stored beside 8 M rows", "rows/s", ours_min=550_000),
    "stored.ratio": Figure("the same, beside raw COPY into the same table", "rows/s", ratio_min=0.85),
    "kafka.json": Figure("Kafka in, JSON, one core", PER_S, ours_min=150_000),
    "kafka.columnar": Figure("Kafka in, columnar records, one core", PER_S, ours_min=1_000_000),
    "http.batches": Figure("HTTP in, batches of 1,000", PER_S, ours_min=100_000),
    "soak": Figure("soak at half the highest rate: worst alert", MS, ours_max=50),
    "rules.quiet": Figure("10 limit rules a series, 100,000 series, batches of 10,000, quiet", PER_S, ours_min=10_000_000),
    "rules.storm": Figure("the same while every series swings", PER_S, ours_min=1_700_000),
    "rules.limit": Figure("10 limit rules a series, batches of 1,000: worst of quiet and storm", PER_S, ratio_min=2),
    "rules.limit.few": Figure("the same, batches of 10", PER_S, ratio_min=1),
    "rules.memory": Figure("1,000,000 series, 5 limit rules each: columns, order and engine, highest resident", "MiB",
                           ours_max=1_536),
    **{f"rules.{kind}": Figure(f"rules, {kind}: batches of 1,000, 100,000 series", NS, ratio_max=1)
       for kind in KINDS_OF_RULES},
    "rules.kinds.few": Figure("rules, the worst kind but limits: batches of 10", NS, ratio_max=1),
    "backtest.year": Figure("`ioc backtest`: a year of 1,000 series at 10 minutes, 5 limit rules and a 24 h window each, from"
                            " Parquet, one core", "s", ours_max=60),
    "backtest.year.shuffled": Figure("the same, every series at seconds of its own, the file not in order of time", "s",
                                     ours_max=60),
}  # fmt: skip


def finished(measured: dict[str, Any], date: str) -> dict[str, Any]:
    """A benchmark's row with everything that the table says of it; a `met` of false from the benchmark stays."""
    figure = FIGURES[measured["name"]]
    ours, peer = measured.get("ours"), measured.get("peer")
    ratio = round(ours / peer, 3) if ours is not None and peer else None
    met = figure.met(ours, ratio)
    return {
        "name": measured["name"], "what": figure.what, "ours": ours, "unit": figure.unit, "peer": peer,
        "peer_name": measured.get("peer_name", ""), "ratio": ratio, "goal": figure.goal,
        "met": False if measured.get("met") is False else met if figure.goal else None,
        "date": date, "note": measured.get("note", ""),
    }  # fmt: skip


def merge(latest: Path, rows: list[dict[str, Any]], machine: dict[str, Any]) -> list[dict[str, Any]]:
    """Write `latest` anew: these rows, the others as they were, in the table's order. Returns all."""
    old = json.loads(latest.read_text("utf-8"))["rows"] if latest.exists() else []
    by_name = {row["name"]: row for row in [*old, *rows]}
    table = [by_name[name] for name in FIGURES if name in by_name]
    latest.write_text(
        json.dumps({"machine": machine, "rows": table}, indent=1, ensure_ascii=False) + "\n", "utf-8"
    )
    return table


def shown(table: list[dict[str, Any]]) -> str:
    """The table for a terminal."""
    lines = [("row", "ours", "peer", "ratio", "goal", "met", "date")]
    for row in table:
        peer = f"{_short(row['peer'])} {row['peer_name']}" if row["peer"] is not None else "–"
        ratio = f"{row['ratio']:.2f}×" if row["ratio"] is not None else "–"
        met = {True: "yes", False: "NO", None: "–"}[row["met"]]
        lines.append(
            (
                row["name"],
                f"{_short(row['ours'])} {row['unit']}",
                peer,
                ratio,
                row["goal"] or "–",
                met,
                row["date"],
            )
        )
    widths = [max(len(line[i]) for line in lines) for i in range(7)]
    return "\n".join(
        "  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _short(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if value >= 1_000 else f"{value:.3g}"
