"""A whole stretch of simulated time as files: what the sensors sent, the events, and the ground truth beside them."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from simulators.catalog import Rule, Series
from simulators.payload import Sample
from simulators.scene import Scene
from simulators.storm import Storm
from simulators.truth import Truth, rfc3339

COLUMNS = "series,time,value,quality"


def write(
    folder: Path,
    scene: Scene,
    storm: Storm | None,
    series: Sequence[Series],
    rules: Sequence[Rule],
    *,
    seed: int,
    from_us: int,
    to_us: int,
    interval_us: int,
) -> tuple[int, int]:
    """`series.csv.gz`, `events.jsonl` and `truth.json`; how many rows and events of the truth they hold.

    Rows stand in the order of sending, every series each `interval_us`, so a clock that is wrong leaves stamps out of
    order. What is no reading has no row. One seed, one pair of times: the same bytes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stamp = lru_cache(maxsize=1024)(rfc3339)
    rows = 0
    with (
        (folder / "series.csv.gz").open("wb") as raw,
        gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed,
        io.TextIOWrapper(packed, "utf-8", newline="\n") as out,
    ):
        out.write(COLUMNS + "\n")
        for t_us in range(from_us, to_us, interval_us):
            for one in series:
                for part in scene.parts(one, t_us):
                    if isinstance(part, Sample):
                        out.write(f"{one.id},{stamp(part.t_us)},{part.value!r},{part.quality}\n")
                        rows += 1
    told = [r for r in (storm.revisions if storm else ()) if from_us <= r.t_us < to_us]
    lines = (
        f'{{"topic":"{r.outage.topic}","time":"{rfc3339(r.t_us)}","payload":{scene.told(r).decode()}}}\n'
        for r in told
    )
    (folder / "events.jsonl").write_text("".join(lines), "utf-8", newline="\n")
    truth = Truth(scene, storm, series, rules, from_us, to_us).document(seed)
    text = json.dumps(truth, ensure_ascii=False, indent=1) + "\n"
    (folder / "truth.json").write_text(text, "utf-8", newline="\n")
    return rows, len(truth["events"])
