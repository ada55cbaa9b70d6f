"""`ioc backtest` from end to end: the real floods, labels, another pack, and what it refuses."""

from __future__ import annotations

import json
import shutil
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from support.floods import compare, flood_pack, flood_rows
from support.packs import limit_rule, no_data_rule, write_pack
from typer.testing import CliRunner, Result

from ioc.backtest.command import _moment
from ioc.cli import app
from ioc.errors import ConfigError
from ioc.model import Step

PACK = Path(__file__).resolve().parents[2] / "packs" / "lao-cai"
XHTML = "{http://www.w3.org/1999/xhtml}"
SVG = "{http://www.w3.org/2000/svg}"
LEVEL = "disaster/a/water_level"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["backtest", *map(str, arguments)])


def words(result: Result) -> str:
    return " ".join(result.output.split())


@dataclass(frozen=True)
class Told:
    """What `support.floods` looks at in a transition."""

    kind: Step
    rule: str
    event_us: int


def _us(text: str) -> int:
    moment = datetime.fromisoformat(text)
    return round(moment.timestamp()) * 1_000_000 + moment.microsecond


@pytest.mark.parametrize("form", ["csv", "parquet"])
@pytest.mark.parametrize("file", ["usgs_llano_river_2018.csv.gz", "usgs_halloween_2013.csv.gz"])
def test_a_real_flood_gives_exactly_its_crossings(tmp_path: Path, file: str, form: str) -> None:
    pack = flood_pack(tmp_path / "pack", file)
    rows = flood_rows(file)
    path = tmp_path / f"flood.{form}"
    if form == "csv":
        # As a file may stand: series by series.
        lines = (f"{r.series},{r.event_us},{r.value}\n" for r in sorted(rows, key=lambda r: r.series))
        path.write_text("series,time,value\n" + "".join(lines), "utf-8")
    else:
        columns = {"series": [r.series for r in rows], "time": [r.event_us for r in rows]}
        pq.write_table(pa.table({**columns, "value": [float(r.value) for r in rows]}), path)
    out = tmp_path / "out.json"
    result = run(pack, "--data", path, "--json", out)
    assert result.exit_code == 0, result.output
    told: list[Any] = []
    for alarm in json.loads(out.read_text("utf-8"))["alarms"]:
        told.append(Told(Step.ONSET, alarm["rule"], _us(alarm["from"])))
        if alarm["to"] is not None:
            told.append(Told(Step.CLEAR, alarm["rule"], _us(alarm["to"])))
    compare(file, sorted(told, key=lambda t: t.event_us))


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """Two packs, an hour of readings, and what happened in it."""
    rules = [limit_rule("river", {1: 5.0, 2: 8.0}), limit_rule("off", {1: 4.0}), no_data_rule()]
    rules[1]["enabled"] = False
    write_pack(tmp_path / "new", [LEVEL, "disaster/b/water_level"], rules)
    write_pack(
        tmp_path / "old", [LEVEL], [limit_rule("river", {1: 6.0, 2: 9.0}), limit_rule("gone", {1: 1.0})]
    )
    values = [1, 4.5, 5.5, 7, 8.5, 7, 2, 5.2, 2]
    lines = [f"{LEVEL},2024-09-08T02:{5 * i:02}:00Z,{v}" for i, v in enumerate(values)]
    data = tmp_path / "data"
    data.mkdir()
    (data / "x.csv").write_text(
        "\n".join(["series,time,value", *lines, "disaster/x/y,2024-09-08T02:00:00Z,1"])
    )
    event = {
        "id": "e", "kind": "flood", "what": {"vi": "Lũ <b>", "en": "Flood"}, "stations": ["a"], "series": [LEVEL],
        "from": "2024-09-08T02:15:00Z", "at": "2024-09-08T02:20:00Z", "to": "2024-09-08T02:25:00Z",
        "rules": ["river"], "passes": [],
    }  # fmt: skip
    (data / "truth.json").write_text(json.dumps({"events": [event]}), "utf-8")
    return tmp_path


def test_a_run_with_labels_against_another_pack_tells_all_of_it(world: Path) -> None:
    data = world / "data"
    result = run(
        world / "new", "--data", data, "--labels", data / "truth.json", "--tolerance", "1min", "--against",
        world / "old", "--json", world / "o.json", "--html", world / "o.html",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    document = json.loads((world / "o.json").read_text("utf-8"))
    river = document["rules"]["river"]
    assert (river["alarms"], river["said"], river["by_priority"]) == (2, 3, {"1": 0, "2": 1, "3": 1, "4": 0})
    assert river["fit"]["hits"] == [{"event": "e", "lead_s": 600.0}]
    assert (river["fit"]["false_alarms"], river["fit"]["precision"], river["fit"]["recall"]) == (1, 0.5, 1.0)
    assert document["events"] == {"flood": {"found": 1, "of": 1}}
    assert document["unknown_series"] == {"disaster/x/y": 1}
    assert document["series_without_data"] == ["disaster/b/water_level"]
    assert "off" not in document["rules"]
    against = document["against"]
    assert against["rules"]["river"] == {"only_new": 1, "only_old": 0, "same": 0, "differing": 1}
    assert [alarm["rule"] for alarm in against["only_old"]] == ["gone"]
    assert [(d["new"]["from"], d["old"]["from"]) for d in against["differing"]] == [
        ("2024-09-08T02:10:00Z", "2024-09-08T02:15:00Z")
    ]
    assert "disaster/x/y" in words(result)
    assert "+ 08/09/2024 09:35 river disaster/a/water_level P3" in words(result)


def test_the_page_is_well_formed_stands_alone_and_says_all_in_both_languages(world: Path) -> None:
    data = world / "data"
    run(
        world / "new", "--data", data, "--labels", data / "truth.json", "--against", world / "old", "--html",
        world / "o.html",
    )  # fmt: skip
    text = (world / "o.html").read_text("utf-8")
    page = ET.fromstring(text)
    assert len(page.findall(f".//{SVG}svg")) == 3
    told = " ".join(" ".join(page.itertext()).split())
    for vi, en in [
        ("thử trên số liệu cũ", "backtest"),
        ("Mỗi ngày, theo mức ưu tiên", "Each day, by priority"),
        ("Trong mười phút", "In ten minutes"),
        ("Theo thời gian", "Over time"),
        ("Vượt ngưỡng river", "Over the limit river"),
        ("Sẽ khác gì", "What would change"),
        ("Chỉ với quy tắc mới", "Only with the new rules"),
        ("Lũ <b>", "Flood"),
    ]:
        assert vi in told
        assert en in told
    outside = [v for e in page.iter() for k, v in e.attrib.items() if k in ("src", "href") or "url(" in v]
    assert not outside
    assert not page.findall(f".//{XHTML}script")
    assert not page.findall(f".//{XHTML}link")
    assert "@import" not in text
    assert "@media print" in text


def test_disabled_rules_run_when_asked_for_and_a_span_is_kept_to(world: Path) -> None:
    def asked(*more: str) -> dict[str, Any]:
        result = run(world / "new", "--data", world / "data", "--json", world / "o.json", *more)
        assert result.exit_code == 0, result.output
        document: dict[str, Any] = json.loads((world / "o.json").read_text("utf-8"))
        return document

    assert set(asked("--rules", "off")["rules"]) == {"off"}
    assert not asked("--rules", "off")["rules"]["off"]["enabled_in_pack"]
    assert asked("--all-rules")["rules"]["off"]["alarms"] == 2
    part = asked("--from", "2024-09-08T09:10", "--to", "2024-09-08T02:30:00Z")
    assert (part["readings"], part["from"], part["to"]) == (4, "2024-09-08T02:10:00Z", "2024-09-08T02:30:00Z")
    assert part["rules"]["river"]["open_at_end"] == 1
    assert asked("--to", "2024-09-09")["rules"]["no_data"]["alarms"] == 1


def test_a_rule_that_the_other_pack_lacks_is_all_new(world: Path) -> None:
    result = run(
        world / "new", "--data", world / "data", "--rules", "off", "--against", world / "old", "--json",
        world / "o.json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    against = json.loads((world / "o.json").read_text("utf-8"))["against"]
    assert against["rules"] == {"off": {"only_new": 2, "only_old": 0, "same": 0, "differing": 0}}


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--data", "none"], "there is no such file or folder"),
        (["--data", "data", "--from", "2025-01-01"], "there are no readings in the span"),
        (["--data", "data", "--from", "soon"], "--from: not a time: 'soon'"),
        (["--data", "data", "--from", "2025-01-01", "--to", "2024-01-01"], "--from must lie before --to"),
        (["--data", "data", "--rules", "x"], "no rule 'x' in the pack"),
        (["--data", "data", "--tolerance", "long"], "--tolerance"),
        (["--data", "data", "--against", "data"], "not a pack: it has no pack.yaml"),
        (["--data", "data", "--labels", "data/x.csv"], "its form stands in docs/simulators.md"),
        (["--data", "data", "--html", "none/x.html"], "cannot be written"),
        ([], "name files with --data, or a database in the settings"),
    ],
)
def test_what_cannot_be_done_is_refused_with_a_sentence(
    world: Path, monkeypatch: pytest.MonkeyPatch, more: list[str], told: str
) -> None:
    monkeypatch.chdir(world)
    result = run("new", *more)
    assert result.exit_code == 2, result.output
    assert told in words(result)


def test_a_faulty_pack_is_refused_with_file_and_line(world: Path) -> None:
    path = world / "new" / "rules" / "all.yaml"
    content = yaml.safe_load(path.read_text("utf-8"))
    content["rules"][0]["kind"] = "limits"
    path.write_text(yaml.safe_dump(content), "utf-8")
    result = run(world / "new", "--data", world / "data")
    assert result.exit_code == 2
    assert "rules/all.yaml:" in words(result)


def test_the_stations_of_another_province_are_told_as_such(world: Path) -> None:
    shutil.rmtree(world / "new")
    result = run(PACK, "--data", world / "data")
    assert result.exit_code == 2
    assert "the pack has none of the 2 series of the data" in words(result)


def test_a_day_without_an_offset_is_the_place_s_own() -> None:
    seven = 7 * 3_600_000_000
    assert _moment("--from", "1970-01-02", seven) == 86_400_000_000 - seven
    assert _moment("--from", "1970-01-02T00:00:00Z", seven) == 86_400_000_000
    assert _moment("--from", "", seven) is None
    with pytest.raises(ConfigError, match="--to: not a time"):
        _moment("--to", "32", seven)
    with pytest.raises(ConfigError, match=r"--to: .* not within 1970 to 2099"):
        _moment("--to", "9999-12-31", seven)


def test_a_rule_in_shadow_is_marked_and_in_no_total_and_false_alarms_are_listed(world: Path) -> None:
    path = world / "new" / "rules" / "all.yaml"
    content = yaml.safe_load(path.read_text("utf-8"))
    content["rules"][0]["mode"] = "shadow"
    path.write_text(yaml.safe_dump(content, allow_unicode=True), "utf-8")
    data = world / "data"
    result = run(
        world / "new", "--data", data, "--labels", data / "truth.json", "--tolerance", "1min", "--json",
        world / "o.json", "--html", world / "o.html",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    document = json.loads((world / "o.json").read_text("utf-8"))
    assert document["rules"]["river"]["alarms"] == 2
    assert (document["total"]["alarms"], document["total"]["said"]) == (0, 0)
    assert document["periods_10min"]["worst"]["said"] == 0
    page = " ".join(" ".join(ET.fromstring((world / "o.html").read_text("utf-8")).itertext()).split())
    for told in (words(result), page):
        assert "chạy thử" in told
        assert "Báo sai" in told
    assert "08/09/2024 09:35 river (chạy thử / shadow) a" in words(result)


def test_a_thinned_history_is_told_of_pace_data(world: Path) -> None:
    lines = [f"{LEVEL},2024-09-{day:02}T00:00:00Z,1" for day in range(1, 9)]
    (world / "thin.csv").write_text("\n".join(["series,time,value", *lines]), "utf-8")
    result = run(world / "new", "--data", world / "thin.csv", "--html", world / "o.html")
    assert "hãy thêm --pace data / series are sparser" in words(result)
    assert "hãy thêm --pace data" in (world / "o.html").read_text("utf-8")
    paced = run(world / "new", "--data", world / "thin.csv", "--pace", "data")
    assert "hãy thêm" not in words(paced)
