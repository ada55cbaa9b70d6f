"""A real instance and a real Chromium: why an alarm fired, and a rule that is tried, read on a phone and promoted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect
from support.browser import OVERFLOW, assert_accessible, browser, new_page, picture
from support.instance import PASSWORD, Instance, until
from support.packs import limit_rule, write_pack

from ioc.credentials import new_token, token_digest
from ioc.model import AddToken, Role, Scope
from ioc.offline import submit

pytestmark = [pytest.mark.whole, pytest.mark.browser, pytest.mark.timeout(180)]

LEVEL, NEAR = "disaster/lao_cai/water_level", "disaster/coc_leu/water_level"
VALUES = [9.1, 9.3, 10.4, 10.9, 11.2, 9.0, 8.8, 9.4, 10.6, 11.4, 12.3, 12.9, 12.6]
"""Every 5 minutes, the last one now."""
PHONE = (360, 740)


@dataclass
class Room:
    """A running centre with an hour of data, and a browser."""

    instance: Instance
    chromium: Browser

    def console(self, width: int, height: int) -> Page:
        page = new_page(self.chromium, width, height)
        page.goto(f"{self.instance.url}/console")
        page.locator("input[name=user]").fill("an")
        page.locator("input[name=password]").fill(PASSWORD)
        page.locator("input[name=password]").press("Enter")
        expect(page.locator("[data-testid=link-state]")).to_have_attribute("data-link", "live")
        return page

    def get(self, path: str) -> Any:
        with closing(self.instance.login("an")) as client:
            answer = client.get(f"/api/v1{path}")
            assert answer.status_code == 200, answer.text
            return answer.json()

    def open_alarms(self, rule: str) -> list[dict[str, Any]]:
        return [alarm for alarm in self.get("/alarms")["items"] if alarm["rule"] == rule]


@pytest.fixture
def room(tmp_path: Path, new_instance: Callable[..., Instance], chromium: str) -> Iterator[Room]:
    level = {"quantities": ["water_level"]}
    high = limit_rule("high", {1: 10.0, 2: 12.0}, deadband=0.5, on_delay="5min", series=level)
    tried = limit_rule("tried", {1: 11.0}, deadband=0.5, series=level) | {"mode": "shadow"}
    pack = write_pack(tmp_path / "pack", [LEVEL, NEAR], [high, tried], interval="5min")
    instance = new_instance("room", pack, "mqtt://127.0.0.1:9")
    instance.add_user("an", "An", Role.ADMIN)
    token = new_token()
    gateway = AddToken(
        actor="system",
        token="gateway",
        digest=token_digest(token),
        scope=Scope.READINGS,
        series=("disaster/*",),
    )
    submit(instance.data, gateway)
    instance.start()
    now_ms = time.time_ns() // 1_000_000
    for place, value in enumerate(VALUES, 1 - len(VALUES)):
        at = now_ms + place * 300_000
        items = [{"series": LEVEL, "t": at, "v": value}, {"series": NEAR, "t": at, "v": value - 4}]
        answer = httpx.post(
            f"{instance.url}/api/v1/readings", json=items, headers={"authorization": f"Bearer {token}"}
        )
        assert answer.status_code == 202, answer.text
    with browser(chromium) as opened:
        yield Room(instance, opened)


def assert_fits(page: Page) -> None:
    """No wider than the screen, and every control is big enough for a thumb."""
    wide, _ = page.evaluate(OVERFLOW)
    assert wide <= 0, f"{wide} px too wide"
    small = page.evaluate(
        """() => [...document.querySelectorAll('.why button, .why select, .why summary, .page button, .cards a, .plain-list a')]
        .filter((e) => e.offsetParent && e.getBoundingClientRect().height < 43.5).map((e) => e.outerHTML.slice(0, 120))"""
    )
    assert small == []


def test_why_and_a_trial_that_is_promoted(room: Room) -> None:
    def raised() -> list[dict[str, Any]]:
        return room.open_alarms("high")

    (alarm,) = until(raised, 10, "alarm of the rule that counts")
    told = room.get(f"/alarms/{alarm['id']}/why")
    assert (told["step"]["kind"], told["timer"]["edge"], told["timer"]["needed_s"]) == ("worse", 12.0, 300.0)
    assert told["timer"]["held_s"] == 300.0
    assert [point[1] for point in told["series"]["points"]] == VALUES
    assert len(told["firings"]) == 1
    assert told["neighbours"][0]["series"] == NEAR
    trial = room.get("/rules/tried/shadow")
    assert [w["kind"] for w in trial["would"]] == ["onset", "clear", "onset"]
    assert room.open_alarms("tried") == []

    wide = room.console(1440, 1000)
    wide.goto(f"{room.instance.url}/console#/alarms/{alarm['id']}")
    wide.locator("[data-testid=why]").press("Enter")
    expect(wide.locator("[data-testid=why-chart]").first).to_be_visible()
    expect(wide.locator("[data-testid=why-told]")).to_contain_text("12,00")
    assert_accessible(wide)
    wide.locator(".why").scroll_into_view_if_needed()
    wide.locator("[data-testid=why-told]").evaluate("e => e.closest('.why').scrollIntoView()")
    picture(wide, "why-console")
    wide.locator("[data-testid=why-step]").select_option("1")
    expect(wide.locator("[data-testid=why-told] .lead")).to_contain_text("10,00")
    wide.context.close()

    phone = room.console(*PHONE)
    phone.goto(f"{room.instance.url}/console#/alarms/{alarm['id']}")
    phone.locator("[data-testid=why]").click()
    expect(phone.locator("[data-testid=why-chart]").first).to_be_visible()
    assert_fits(phone)
    assert_accessible(phone)
    phone.locator(".why").evaluate("e => e.scrollIntoView()")
    picture(phone, "why-phone")
    phone.locator("[data-testid=why-told] h4").last.evaluate("e => e.scrollIntoView()")
    picture(phone, "why-phone-below")

    phone.goto(f"{room.instance.url}/console#/shadow")
    phone.locator(".cards a").click()
    expect(phone.locator("[data-testid=trial-day]").first).to_be_visible()
    assert_fits(phone)
    assert_accessible(phone)
    picture(phone, "shadow-phone")
    phone.locator("[data-testid=would]").evaluate("e => e.scrollIntoView()")
    picture(phone, "shadow-phone-below")
    phone.locator("[data-testid=promote]").click()
    assert_fits(phone)
    phone.locator("[data-testid=promote]").click()
    expect(phone.locator("[data-testid=shadow-message]")).to_contain_text("Đã đưa")
    expect(phone.locator("[data-testid=trial]")).to_contain_text("Đã đưa vào dùng")
    (promoted,) = room.open_alarms("tried")
    assert (promoted["state"], promoted["sounding"]) == ("UNACKED", True)
    version = room.get("/rules/versions")["items"][0]
    assert (version["origin"], version["actor"]) == ("posted", "an")
    # What stands where somebody looks, and after a restart.
    room.instance.kill()
    room.instance.start()
    assert [one["id"] for one in room.open_alarms("tried")] == [promoted["id"]]
    assert room.get("/rules/tried/shadow")["ended"] == "promoted"
