"""`ioc demo` as a newcomer meets it: one command, its story, a value of one's own, Ctrl-C, and a second start."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import expect
from services.common import new_folder
from support.browser import assert_accessible, assert_no_overflow, browser, new_page, picture
from support.instance import free_port, until

pytestmark = [pytest.mark.whole, pytest.mark.services, pytest.mark.browser, pytest.mark.timeout(240)]

LEVEL = "disaster/lao_cai/water_level"


class Demo:
    """One `ioc demo` process and what it printed."""

    def __init__(self, *arguments: str) -> None:
        self.begun = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ioc", "demo", "--no-open", *arguments], stdout=subprocess.PIPE, text=True
        )
        self.said: list[str] = []
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line.strip())
            if "MÔ PHỎNG" in line or "SIMULATED" in line:
                break
        self.ready_s = time.monotonic() - self.begun

    def find(self, pattern: str) -> str:
        match = re.search(pattern, "\n".join(self.said))
        assert match, self.said
        return match[1]

    @property
    def wall(self) -> str:
        return self.find(r"(http://\S+/wall\S*)")

    @property
    def base(self) -> str:
        return self.find(r"(http://[^/]+)/console")

    def login(self) -> httpx.Client:
        user, password = self.find(r"\((\S+) / \S+\)"), self.find(r"\(\S+ / (\S+)\)")
        client = httpx.Client(base_url=self.base, headers={"Origin": self.base}, timeout=10)
        assert client.post("/api/v1/login", json={"user": user, "password": password}).status_code == 204
        return client

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(30)


@pytest.fixture
def demos() -> Iterator[list[Demo]]:
    started: list[Demo] = []
    yield started
    for demo in started:
        if demo.process.poll() is None:
            demo.process.kill()
            demo.process.wait()


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that the database's own user may enter; pytest's are closed to others."""
    folder = new_folder(in_memory=False)
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


def test_the_first_minute_of_the_demo(demos: list[Demo], chromium: str) -> None:
    """Calm, then a river through three levels, then silence that is unknown; a hand's own value; a clean end."""
    demo = Demo("--ephemeral", "--port", str(free_port()))
    demos.append(demo)
    assert "MÔ PHỎNG" in demo.said[-1]
    data = Path(demo.find(r"Dữ liệu\s+(\S+)"))
    client = demo.login()
    with browser(chromium) as opened:
        wall = new_page(opened, 1920, 1080)
        wall.goto(demo.wall)
        expect(wall.locator("[data-testid=tour]")).to_be_visible()
        wall.locator("[data-testid=tour] button").click()
        expect(wall.locator("[data-testid=tour]")).to_be_hidden()
        expect(wall.locator("[data-testid=simulated]")).to_have_text("MÔ PHỎNG")
        expect(
            wall.locator(f"[data-testid=alarm-row][data-asset='{LEVEL}'][data-priority='1']")
        ).to_be_visible(timeout=60_000)
        silent = wall.locator("[data-testid=alarm-row][data-rule=sensor_silent]")
        expect(silent).to_have_count(3, timeout=60_000)
        kpi = client.get("/api/v1/feeds").json()
        assert kpi["items"][0]["connected"]
        assert kpi["history"]["state"] == "ok"
        assert_no_overflow(wall)
        assert_accessible(wall)
        picture(wall, "demo-1920x1080")
    sent = subprocess.run(
        [sys.executable, "-m", "ioc", "send", "ioc/v1/disaster/yen_bai/water_level", "33.0", "--mqtt-url",
         "mqtt://" + demo.find(r"MQTT\s+(\S+)")], capture_output=True, check=False,
    )  # fmt: skip
    assert sent.returncode == 0, sent.stderr

    def by_hand() -> list[dict[str, object]]:
        items = client.get("/api/v1/alarms").json()["items"]
        return [a for a in items if a["asset"] == "disaster/yen_bai/water_level" and a["level"] == 3]

    (alarm,) = until(by_hand, 10, "an alarm by the value sent by hand")
    assert alarm["simulated"] is True
    assert demo.stop() == 0
    assert not data.exists()
    assert demo.ready_s < 20, "on a quiet machine it is under five seconds"


def test_a_second_start_finds_its_data_again_and_a_busy_port_is_said_aloud(
    demos: list[Demo], open_folder: Path
) -> None:
    port = free_port()
    first = Demo("--data", str(open_folder / "demo"), "--port", str(port))
    demos.append(first)
    client = first.login()
    until(lambda: client.get("/api/v1/journal").json()["items"], 60, "a first transition")
    second = Demo("--ephemeral", "--port", str(port))
    demos.append(second)
    assert str(port) in " ".join(second.said[:4])
    assert second.base != first.base
    assert second.stop() == 0
    known = [t["id"] for t in client.get("/api/v1/journal").json()["items"]]
    assert first.stop() == 0
    again = Demo("--data", str(open_folder / "demo"), "--port", str(port))
    demos.append(again)
    after = [t["id"] for t in again.login().get("/api/v1/journal", params={"limit": 500}).json()["items"]]
    assert set(known) <= set(after)
    assert again.stop() == 0
