"""What `truth.json` says is what the rows beside it show."""

from __future__ import annotations

import gzip
import json
from bisect import bisect_left
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from simulators import archive, truth
from simulators.catalog import Rule, Series, read_rules
from simulators.faults import CLOCK_US, Fault
from simulators.scene import Scene
from simulators.storm import Storm
from simulators.truth import SCAN_US, Truth, rfc3339

LAO_CAI = Path(__file__).resolve().parents[2] / "packs" / "lao-cai"
SEED = 5
HOUR_US = 3_600_000_000
FROM_US = 1_725_555_600_000_000
BEGIN_US = FROM_US + 24 * HOUR_US
TO_US = BEGIN_US + 130 * HOUR_US
INTERVAL_US = 600_000_000
KEPT = {"water_level", "rain_1h", "rain_24h", "soil_moisture", "tilt", "current"}
STATIONS = {
    "lao_cai", "pho_lu", "bao_ha", "yen_bai", "vinh_yen", "nghia_lo", "van_ban", "pho_rang", "phuc_khanh", "bat_xat",
    "bac_ha", "ban_ho", "tram_tau", "sa_pa", "feeder_hoa_ban_1", "feeder_suoi_bac_3",
}  # fmt: skip
Rows = dict[str, list[tuple[int, float]]]


def moment(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1_000_000)


def rows_of(folder: Path) -> Rows:
    out: Rows = {}
    with gzip.open(folder / "series.csv.gz", "rt", encoding="utf-8") as file:
        assert next(file) == "series,time,value,quality\n"
        for line in file:
            series_id, time, value, quality = line.rstrip("\n").split(",")
            assert quality == "good"
            out.setdefault(series_id, []).append((moment(time), float(value)))
    return out


@pytest.fixture(scope="module")
def rules() -> tuple[Rule, ...]:
    return read_rules(LAO_CAI)


@pytest.fixture(scope="module")
def kept(province: tuple[Series, ...]) -> tuple[Series, ...]:
    return tuple(s for s in province if s.quantity in KEPT and s.station in STATIONS)


@pytest.fixture(scope="module")
def folder(
    tmp_path_factory: pytest.TempPathFactory, kept: tuple[Series, ...], rules: tuple[Rule, ...]
) -> Path:
    return written(tmp_path_factory.mktemp("storm"), kept, rules)


def written(folder: Path, series: Sequence[Series], rules: Sequence[Rule]) -> Path:
    storm = Storm(SEED, BEGIN_US, series)
    scene = Scene(SEED, FROM_US, storm=storm)
    archive.write(
        folder, scene, storm, series, rules, seed=SEED, from_us=FROM_US, to_us=TO_US, interval_us=INTERVAL_US
    )
    return folder


@pytest.fixture(scope="module")
def rows(folder: Path) -> Rows:
    return rows_of(folder)


@pytest.fixture(scope="module")
def events(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / "truth.json").read_text("utf-8"))["events"]
    return found


def sound(rows: Rows, events: list[dict[str, Any]]) -> Rows:
    """Only series that are never broken."""
    broken = {s for e in events if e["kind"] == "sensor_fault" for s in e["series"]}
    return {s: points for s, points in rows.items() if s not in broken}


def differences(
    rows: Rows, events: list[dict[str, Any]], rules: Sequence[Rule], kept: Sequence[Series]
) -> list[str]:
    """Where the rows of sound series and the events say different things; a plain reading of both."""
    out = []
    by_id = {s.id: s for s in kept}
    for series_id, points in sound(rows, events).items():
        limits = [v for r in rules if r.up for v in r.limits_of(by_id[series_id]).values()]
        if not series_id.endswith("/water_level") or not limits:
            continue
        spans = [
            (moment(e["from"]), moment(e["to"]), moment(e["at"]))
            for e in events
            if e["kind"] == "flood" and series_id in e["series"]
        ]
        for t_us, v in points:
            held = any(a <= t_us <= b for a, b, _ in spans)
            near = any(abs(t_us - edge) <= 2 * SCAN_US for a, b, _ in spans for edge in (a, b))
            if v >= max(limits) and not held and not near:
                out.append(f"{series_id} at {rfc3339(t_us)}: {v} beyond the limit, but no flood")
        for a, b, at_us in spans:
            inside = [p for p in points if a <= p[0] <= b]
            if (
                inside
                and max(inside, key=lambda p: p[1])[1] > points[bisect_left(points, (at_us, 0.0))][1] + 0.05
            ):
                out.append(f"{series_id}: the peak is not at {rfc3339(at_us)}")
            if inside and sum(v < max(limits) for _, v in inside) > len(inside) / 2:
                out.append(f"{series_id}: no flood from {rfc3339(a)}")
    return out


def test_the_file_says_seed_and_stretch(folder: Path) -> None:
    document = json.loads((folder / "truth.json").read_text("utf-8"))
    assert document["seed"] == SEED
    assert (moment(document["from"]), moment(document["to"])) == (FROM_US, TO_US)
    assert set(document) == {"seed", "from", "to", "events"}


def test_every_event_has_a_name_of_its_own_both_languages_and_a_time_within_it(
    events: list[dict[str, Any]], rules: tuple[Rule, ...], kept: tuple[Series, ...]
) -> None:
    assert len({e["id"] for e in events}) == len(events)
    assert {e["kind"] for e in events} == {"flood", "heavy_rain", "landslide_risk", "outage", "sensor_fault"}
    known, ids = {r.id for r in rules}, {s.id: s.station for s in kept}
    for event in events:
        assert event["what"]["vi"] and event["what"]["en"] and event["what"]["vi"] != event["what"]["en"]
        assert moment(event["from"]) <= moment(event["at"]) <= moment(event["to"])
        assert set(event["rules"]) <= known
        assert event["stations"] == sorted({ids[s] for s in event["series"]})
    assert [e["from"] for e in events] == sorted(e["from"] for e in events)


def test_floods_are_there_from_and_to_the_highest_alarm_level(
    rows: Rows, events: list[dict[str, Any]], rules: tuple[Rule, ...], kept: tuple[Series, ...]
) -> None:
    assert {s for e in events if e["kind"] == "flood" for s in e["stations"]} >= {
        "lao_cai",
        "bao_ha",
        "yen_bai",
    }
    assert differences(rows, events, rules, kept) == []


def test_a_truth_that_is_an_hour_late_would_be_noticed(
    kept: tuple[Series, ...], rules: tuple[Rule, ...], rows: Rows
) -> None:
    class Late(Scene):
        def clean(self, series: Series, model_us: int) -> float:
            return super().clean(series, model_us - HOUR_US)

    gauges = [s for s in kept if s.station == "yen_bai"]
    storm = Storm(SEED, BEGIN_US, kept)
    late = Truth(Late(SEED, FROM_US, storm=storm), storm, gauges, rules, FROM_US, TO_US)
    events = [e.document() for e in late.events()]
    assert differences({s.id: rows[s.id] for s in gauges}, events, rules, kept) != []


def test_the_rules_named_for_a_flood_are_those_whose_limits_its_rows_pass(
    rows: Rows, events: list[dict[str, Any]], rules: tuple[Rule, ...], kept: tuple[Series, ...]
) -> None:
    clean = sound(rows, events)
    by_id = {s.id: s for s in kept}
    checked = 0
    for event in events:
        for series_id in event["series"]:
            for rule in rules if series_id in clean and event["kind"] != "sensor_fault" else ():
                for level, limit in rule.limits_of(by_id[series_id]).items():
                    inside = [
                        v for t, v in clean[series_id] if moment(event["from"]) <= t <= moment(event["to"])
                    ]
                    if any(rule.passed(limit, v) for v in inside):
                        assert rule.id in event["rules"], (event["id"], level)
                        checked += 1
    assert checked > 30


def test_a_level_is_passed_when_the_rows_first_pass_it(rows: Rows, events: list[dict[str, Any]]) -> None:
    flood = next(e for e in events if e["kind"] == "flood" and e["stations"] == ["lao_cai"])
    river = [p for p in flood["passes"] if p["rule"] == "river_alarm_level"]
    assert [p["level"] for p in river] == [1, 2, 3]
    for passed, limit in zip(river, (80.0, 82.0, 83.5), strict=True):
        first = next(t for t, v in rows[passed["series"]] if limit <= v < 100.0 and t >= BEGIN_US)
        assert abs(moment(passed["at"]) - first) <= INTERVAL_US + SCAN_US
    assert moment(river[2]["at"]) == moment(flood["from"])


def test_heavy_rain_is_at_the_time_of_its_hundredth_millimetre(
    rows: Rows, events: list[dict[str, Any]]
) -> None:
    clean = sound(rows, events)
    heavy = [
        e for e in events if e["kind"] == "heavy_rain" if f"disaster/{e['stations'][0]}/rain_24h" in clean
    ]
    assert len(heavy) > 5
    for event in heavy:
        points = clean[f"disaster/{event['stations'][0]}/rain_24h"]
        reached = next(t for t, v in points if v >= 100.0 and t >= moment(event["from"]))
        assert abs(reached - moment(event["at"])) <= INTERVAL_US + SCAN_US
        assert "rain_24h" in event["rules"]


def test_a_slope_that_gave_way_shows_it_in_its_tilt(rows: Rows, events: list[dict[str, Any]]) -> None:
    for event in events:
        if event["kind"] == "landslide_risk":
            tilt = rows[f"disaster/{event['stations'][0]}/tilt"]
            at_us = moment(event["at"])
            before = next(v for t, v in reversed(tilt) if t <= at_us - 7 * HOUR_US)
            after = next(v for t, v in tilt if t >= at_us + HOUR_US)
            assert (after - before > 4.0) == ("gave way" in event["what"]["en"])


def test_broken_sensors_break_as_it_is_told(rows: Rows, events: list[dict[str, Any]]) -> None:
    kinds = set()
    for event in (e for e in events if e["kind"] == "sensor_fault"):
        what, (series_id,) = event["what"]["en"].split(": ")[1], event["series"]
        begin, end = moment(event["from"]), moment(event["to"])
        inside = [v for t, v in rows[series_id] if begin <= t < end]
        kinds.add(what)
        if what == "silence":
            assert inside == []
            assert event["rules"]
        elif what == "stuck":
            assert len(set(inside)) == 1
        elif what == "spike":
            assert max(inside) > 5 * sorted(inside)[len(inside) // 2] or max(inside) > 90
        elif what.startswith("clock"):
            steps = [(a, b) for (a, _), (b, _) in zip(rows[series_id], rows[series_id][1:], strict=False)]
            assert sum(b - a == INTERVAL_US + CLOCK_US for a, b in steps) == 1
            assert sum(b - a == INTERVAL_US - CLOCK_US for a, b in steps) == 1
        else:
            assert what == "drift"
    assert kinds == {"silence", "stuck", "spike", "drift", "clock 7 h ahead"}


def test_outages_are_the_events_that_are_sent(folder: Path, events: list[dict[str, Any]], rows: Rows) -> None:
    sent = [json.loads(line) for line in (folder / "events.jsonl").read_text("utf-8").splitlines()]
    last = {s["payload"]["id"]: s for s in sent}
    told = {(e["stations"][0], moment(e["from"]), moment(e["to"])) for e in events if e["kind"] == "outage"}
    ended = {
        (s["topic"].split("/")[3], s["payload"]["start"] * 1000, s["payload"]["end"] * 1000)
        for s in last.values()
    }
    assert told == ended
    assert [s["time"] for s in sent] == sorted(s["time"] for s in sent)
    for station, begin, end in told:
        assert {v for t, v in rows[f"energy/{station}/current"] if begin <= t < end} <= {0.0}


def test_faults_that_were_asked_for_are_in_the_truth(
    kept: tuple[Series, ...], rules: tuple[Rule, ...]
) -> None:
    faults = [Fault.parse("silence:sa_pa"), Fault.parse("late:lao_cai/water_level")]
    scene = Scene(SEED, FROM_US, faults=faults)
    found = Truth(scene, None, kept, rules, FROM_US, FROM_US + HOUR_US).events()
    assert [e.kind for e in found] == ["sensor_fault"] * 2
    by_rules = {e.rules: {s.id for s in e.series} for e in found}
    assert by_rules[("river_too_late",)] == {"disaster/lao_cai/water_level"}
    assert by_rules[("sensor_silent",)] >= {"disaster/sa_pa/rain_1h", "disaster/sa_pa/rain_24h"}
    assert all(e.to_us == FROM_US + HOUR_US for e in found)


def test_calm_has_no_events(kept: tuple[Series, ...], rules: tuple[Rule, ...]) -> None:
    assert Truth(Scene(1, FROM_US), None, kept, rules, FROM_US, TO_US).events() == []


def test_what_comes_again_within_six_hours_is_one_event() -> None:
    points = [(h * HOUR_US, v) for h, v in enumerate([0.0, 9.0, 0.0, 9.0, 9.0, *[0.0] * 7, 9.0])]
    assert [len(run) for run in truth._runs(points, lambda v: v > 5.0)] == [3, 1]


def test_moments_are_rfc_3339_in_utc() -> None:
    assert rfc3339(1_725_555_600_000_000) == "2024-09-05T17:00:00Z"
    assert rfc3339(1_725_555_600_250_000) == "2024-09-05T17:00:00.250000Z"
