"""A stretch of simulated time as files."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path

from simulators import archive
from simulators.catalog import Series, read_rules
from simulators.faults import Fault
from simulators.scene import Scene
from simulators.storm import Storm

LAO_CAI = Path(__file__).resolve().parents[2] / "packs" / "lao-cai"
HOUR_US = 3_600_000_000
FROM_US = 1_725_555_600_000_000
FILES = ("series.csv.gz", "events.jsonl", "truth.json")


def written(
    folder: Path,
    series: Sequence[Series],
    *,
    seed: int = 5,
    faults: Sequence[Fault] = (),
    stormy: bool = True,
) -> tuple[int, int]:
    storm = Storm(seed, FROM_US + 2 * HOUR_US, series) if stormy else None
    scene = Scene(seed, FROM_US, storm=storm, faults=faults)
    return archive.write(
        folder, scene, storm, series, read_rules(LAO_CAI),
        seed=seed, from_us=FROM_US, to_us=FROM_US + 60 * HOUR_US, interval_us=HOUR_US // 2,
    )  # fmt: skip


def lines(folder: Path) -> list[str]:
    with gzip.open(folder / "series.csv.gz", "rt", encoding="utf-8") as file:
        return file.read().splitlines()


def some(province: Sequence[Series]) -> list[Series]:
    return [s for s in province if s.station in ("lao_cai", "ban_ho", "feeder_hoa_ban_1")]


def test_one_seed_writes_the_same_bytes_and_another_seed_others(
    tmp_path: Path, province: tuple[Series, ...]
) -> None:
    for name, seed in (("one", 5), ("same", 5), ("other", 6)):
        written(tmp_path / name, some(province), seed=seed)
    for file in FILES:
        first = (tmp_path / "one" / file).read_bytes()
        assert (tmp_path / "same" / file).read_bytes() == first
        assert (tmp_path / "other" / file).read_bytes() != first


def test_calm_is_written_without_events(tmp_path: Path, province: tuple[Series, ...]) -> None:
    series = some(province)
    assert written(tmp_path, series, stormy=False) == (120 * len(series), 0)
    found = lines(tmp_path)
    assert found[0] == "series,time,value,quality"
    assert len(found) == 1 + 120 * len(series)
    assert (tmp_path / "events.jsonl").read_text() == ""


def test_what_is_no_reading_has_no_row_but_stands_in_the_truth(
    tmp_path: Path, by_id: dict[str, Series]
) -> None:
    series = [by_id["disaster/sa_pa/temperature"]]
    rows, events = written(tmp_path, series, faults=[Fault.parse("malformed")], stormy=False)
    assert 60 < rows < 115
    assert events == 1
    truth = json.loads((tmp_path / "truth.json").read_text("utf-8"))
    assert truth["events"][0]["what"]["en"].endswith("malformed")


def test_every_line_of_an_event_is_a_message_with_its_topic(
    tmp_path: Path, province: tuple[Series, ...]
) -> None:
    written(tmp_path, some(province))
    told = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text("utf-8").splitlines()]
    assert len(told) >= 2
    assert all(set(message) == {"topic", "time", "payload"} for message in told)
    assert {message["topic"] for message in told} == {"ioc/v1/energy/feeder_hoa_ban_1/event/outage"}
