"""`ioc replay` of real floods over a real broker, each into an instance of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from services.mosquitto import Mosquitto
from support.data import shared
from support.floods import compare, flood_pack, flood_rows
from support.instance import Instance, until

from ioc.model import Step
from ioc.replay import read

pytestmark = [pytest.mark.whole, pytest.mark.services, pytest.mark.timeout(180)]

YAGI = Path(__file__).resolve().parents[2] / "packs" / "yagi-2024"


def replay(url: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "ioc", "replay", *arguments, "--mqtt-url", url], capture_output=True, timeout=120, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


@pytest.mark.parametrize("file", ["usgs_llano_river_2018.csv.gz", "usgs_halloween_2013.csv.gz"])
def test_a_replayed_flood_gives_exactly_the_crossings(
    tmp_path: Path, mosquitto: Mosquitto, new_instance: Callable[..., Instance], file: str
) -> None:
    instance = new_instance(
        "flood", flood_pack(tmp_path / "pack", file), mosquitto.url, IOC_VERDICT__CLOCK="source"
    )
    instance.start()
    said = replay(mosquitto.url, str(shared("data", "series", "hydrology", file)))
    rows = len(flood_rows(file))
    assert str(rows) in said
    until(lambda: instance.rows_logged() >= rows, 60, f"{rows} readings in the log")
    assert instance.stop() == 0
    compare(file, instance.transitions())


def test_the_yagi_pack_replays_at_a_chosen_speed(
    mosquitto: Mosquitto, new_instance: Callable[..., Instance]
) -> None:
    """Twenty-nine hours in about a second."""
    instance = new_instance(
        "yagi", YAGI, mosquitto.url, IOC_VERDICT__CLOCK="source", IOC_VERDICT__SIMULATED="true"
    )
    instance.start()
    replay(mosquitto.url, str(YAGI / "series.csv"), "--speed", "100000")
    rows = len(read(YAGI / "series.csv"))
    until(lambda: instance.rows_logged() >= rows, 30, f"{rows} readings in the log")
    worst = {
        t.asset.split("/")[1]: t.level for t in instance.transitions() if t.kind in (Step.ONSET, Step.WORSE)
    }
    assert worst == {"lao_cai": 3, "bao_ha": 3, "yen_bai": 3}
    assert instance.stop() == 0


def test_a_replay_log_and_a_live_log_are_never_mixed(
    mosquitto: Mosquitto, new_instance: Callable[..., Instance]
) -> None:
    instance = new_instance("mixed", YAGI, mosquitto.url, IOC_VERDICT__CLOCK="source")
    instance.start()
    replay(mosquitto.url, str(YAGI / "series.csv"))
    assert instance.stop() == 0
    instance.start(wait=False, IOC_VERDICT__CLOCK="system")
    assert instance.process is not None
    assert instance.process.wait(30) == 2
    assert "clock" in instance.said()
