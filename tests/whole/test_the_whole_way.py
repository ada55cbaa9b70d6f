"""The whole way, in a real Chromium: mosquitto → log → rule → alarm → wall, acknowledged in the console, stored."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect
from services.mosquitto import Mosquitto
from services.timescale import Timescale, create_database
from support.browser import assert_accessible, assert_no_overflow, browser, new_page, picture
from support.instance import PASSWORD, Instance, until
from support.tables import applied, journal, readings

from ioc.model import Acknowledge, Role
from ioc.publish import Publisher

pytestmark = [pytest.mark.whole, pytest.mark.services, pytest.mark.browser, pytest.mark.timeout(240)]

LEVEL = "disaster/lao_cai/water_level"
STATIC = Path(__file__).resolve().parents[2] / "ioc" / "wall" / "static" / "wall.html"


@dataclass
class Room:
    """A running centre, its broker and database, two officers, and a browser."""

    instance: Instance
    mosquitto: Mosquitto
    dsn: str
    chromium: Browser
    token: str

    def publish(self, value: float, series: str = LEVEL) -> float:
        """When it was published."""
        with Publisher(self.mosquitto.url) as publisher:
            publisher.publish(f"ioc/v1/{series}", str(value).encode())
        return time.monotonic()

    def wall(self, width: int, height: int, query: str = "", base: str = "") -> Page:
        page = new_page(self.chromium, width, height)
        page.goto(f"{base or self.instance.url}/wall{query}#token={self.token}")
        expect(page.locator("[data-testid=link-state]")).to_have_attribute("data-link", "live")
        return page

    def console(self, user: str, width: int = 1440, height: int = 900) -> Page:
        page = new_page(self.chromium, width, height)
        page.goto(f"{self.instance.url}/console")
        page.locator("input[name=user]").fill(user)
        page.locator("input[name=password]").fill(PASSWORD)
        page.locator("input[name=password]").press("Enter")
        expect(page.locator("[data-testid=link-state]")).to_have_attribute("data-link", "live")
        return page


@pytest.fixture
def room(
    mosquitto: Mosquitto, timescale: Timescale, chromium: str, new_instance: Callable[..., Instance]
) -> Iterator[Room]:
    if not STATIC.is_file():
        pytest.fail("the screens are not built: make ui")
    from ioc.credentials import new_token, token_digest
    from ioc.model import AddToken
    from ioc.offline import submit

    dsn = timescale.dsn(create_database(timescale))
    pack = Path(__file__).resolve().parents[2] / "packs" / "lao-cai"
    instance = new_instance("room", pack, mosquitto.url, IOC_DATABASE__DSN=dsn, IOC_VERDICT__SIMULATED="true")
    instance.add_user("an", "Nguyễn Văn An", Role.ADMIN)
    instance.add_user("binh", "Trần Thị Bình")
    token = new_token()
    submit(instance.data, AddToken(actor="system", token="wall", digest=token_digest(token)))
    instance.start()
    with browser(chromium) as opened:
        yield Room(instance, mosquitto, dsn, opened, token)


def row(page: Page, name: str = "alarm-row") -> object:
    return page.locator(f"[data-testid={name}][data-asset='{LEVEL}']")


def test_the_whole_way(room: Room) -> None:
    """Within 1 s the wall flashes; acknowledged, it stops and names the officer; all of it is stored."""
    wall = room.wall(1920, 1080)
    console = room.console("an")
    room.publish(79.0)
    published = room.publish(84.2)
    shape = wall.locator(f"[data-testid=alarm-row][data-asset='{LEVEL}'] [data-testid=shape]")
    wall.wait_for_function(
        """level => [...document.querySelectorAll('[data-testid=alarm-row]')].some(
             r => r.dataset.asset === level && r.querySelector('[data-testid=shape]')?.dataset.flashing === 'true')""",
        arg=LEVEL,
        polling=20,
    )
    assert time.monotonic() - published < 1.0
    assert (
        shape.evaluate(
            "e => getComputedStyle(e).animationName || getComputedStyle(e.firstElementChild).animationName"
        )
        != "none"
    )
    expect(wall.locator("[data-testid=banner]")).to_contain_text("Mực nước vượt báo động")
    expect(wall.locator("[data-testid=simulated]")).to_have_text("MÔ PHỎNG")
    picture(wall, "wall-1920x1080")

    console.locator(f"[data-testid=row][data-asset='{LEVEL}']").click()
    console.locator("[data-testid=note]").fill("Đã báo Ủy ban xã, cử người xuống ngầm tràn")
    picture(console, "console-detail")
    console.locator("[data-testid=ack]").click()
    expect(shape).to_have_attribute("data-flashing", "false")
    expect(wall.locator(f"[data-testid=alarm-row][data-asset='{LEVEL}']")).to_contain_text("Nguyễn Văn An")
    expect(console.locator("[data-testid=timeline]")).to_contain_text("Đã báo Ủy ban xã")
    picture(wall, "wall-acknowledged")

    until(lambda: len(journal(room.dsn)) >= 2, 15, "both transitions in the database")
    until(lambda: applied(room.dsn) >= room.instance.reader().last_number, 15, "the database's catching up")
    assert (LEVEL, 84.2) in {(s, v) for s, _, v, _ in readings(room.dsn)}
    kept = [(kind, actor, note) for rule, asset, *_, kind, actor, note in journal(room.dsn) if asset == LEVEL]
    assert kept == [("onset", "", ""), ("ack", "an", "Đã báo Ủy ban xã, cử người xuống ngầm tràn")]
    commands = [r.body for r in room.instance.inputs() if isinstance(r.body, Acknowledge)]
    assert [(c.actor, c.version) for c in commands] == [("an", 1)]


def test_two_officers_at_once_get_one_yes_and_one_409_that_names_the_other(room: Room) -> None:
    room.publish(84.2)
    first, second = room.instance.login("an"), room.instance.login("binh")

    def open_here() -> list[dict[str, Any]]:
        # The wave that this gauge announces downstream is an alarm of its own.
        return [a for a in first.get("/api/v1/alarms").json()["items"] if a["asset"] == LEVEL]

    (alarm,) = until(open_here, 10, "an alarm")
    replies: dict[str, httpx.Response] = {}

    def acknowledge(name: str, client: httpx.Client) -> None:
        replies[name] = client.post(
            f"/api/v1/alarms/{alarm['id']}/ack", json={"version": alarm["version"], "note": name},
            headers={"Idempotency-Key": name},
        )  # fmt: skip

    threads = [threading.Thread(target=acknowledge, args=pair) for pair in (("an", first), ("binh", second))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(r.status_code for r in replies.values()) == [200, 409]
    loser = next(r for r in replies.values() if r.status_code == 409).json()
    winner = next(r for r in replies.values() if r.status_code == 200).json()
    assert loser["error"] == "version"
    assert loser["current"]["acked_by_name"] == winner["acked_by_name"]
    assert winner["acked_by_name"] in loser["message"]["vi"]
    console = room.console("an")
    expect(console.locator(f"[data-testid=row][data-asset='{LEVEL}']")).to_contain_text(
        winner["acked_by_name"]
    )


class Cut:
    """A plain proxy before the server that can be cut and joined."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._links: list[socket.socket] = []
        self.joined = True
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._server.accept()
                if not self.joined:
                    near.close()
                    continue
                far = socket.create_connection(("127.0.0.1", self._to))
                self._links += [near, far]
                for a, b in ((near, far), (far, near)):
                    threading.Thread(target=self._pump, args=(a, b), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                while not self.joined:
                    if sink.fileno() < 0:
                        return
                    threading.Event().wait(0.05)
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def cut(self) -> None:
        """Bytes no longer come through, and nobody is told: as when a switch loses power."""
        self.joined = False

    def drop(self) -> None:
        """The connections end."""
        for link in self._links:
            with contextlib.suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)
                link.close()
        self._links.clear()

    def join(self) -> None:
        self.joined = True

    def close(self) -> None:
        self.drop()
        self._server.close()


def test_a_wall_cut_off_says_so_within_five_seconds_and_misses_nothing(room: Room) -> None:
    """Cut for 10 s: MẤT KẾT NỐI within 5 s; afterwards no gap and no double."""
    cut = Cut(room.instance.port)
    try:
        wall = room.wall(1920, 1080, base=f"http://127.0.0.1:{cut.port}")
        room.publish(80.5)
        expect(wall.locator(f"[data-testid=alarm-row][data-asset='{LEVEL}']")).to_have_count(1)
        cut.cut()
        begun = time.monotonic()
        expect(wall.locator("[data-testid=lost]")).to_be_visible(timeout=6_000)
        assert time.monotonic() - begun < 5.0
        expect(wall.locator("[data-testid=lost]")).to_contain_text("MẤT KẾT NỐI")
        picture(wall, "wall-lost")
        room.publish(84.2)
        room.publish(33.0, "disaster/yen_bai/water_level")
        time_left = 10.0 - (time.monotonic() - begun)
        wall.wait_for_timeout(max(0.0, time_left) * 1000)
        cut.drop()
        cut.join()
        expect(wall.locator("[data-testid=lost]")).to_be_hidden(timeout=20_000)
        expect(wall.locator("[data-testid=alarm-row][data-rule=river_alarm_level]")).to_have_count(2)
        expect(wall.locator(f"[data-testid=alarm-row][data-asset='{LEVEL}']")).to_contain_text("84,20")
    finally:
        cut.close()


@pytest.mark.parametrize(("width", "height"), [(1920, 1080), (3840, 2160)])
def test_the_wall_fits_its_screen_and_is_accessible(room: Room, width: int, height: int) -> None:
    for series, value in (
        (LEVEL, 84.2), ("disaster/yen_bai/water_level", 31.4), ("disaster/bao_ha/water_level", 57.5),
        ("energy/ss_500_lao_cai/frequency", 49.6), ("disaster/phuc_khanh/rain_24h", 120.0),
        ("environment/tang_loong/pm25", 151.0), ("environment/tang_loong/ph", 4.0),
    ):  # fmt: skip
        room.publish(value, series)
    wall = room.wall(width, height)
    expect(wall.locator("[data-testid=alarm-row]").first).to_be_visible()
    wall.wait_for_timeout(1500)
    assert_no_overflow(wall)
    assert_accessible(wall)
    picture(wall, f"wall-{width}x{height}-busy")


def test_the_console_is_accessible_and_fits_a_phone(room: Room) -> None:
    room.publish(84.2)
    login = new_page(room.chromium, 390, 844)
    login.goto(f"{room.instance.url}/console")
    expect(login.locator("input[name=user]")).to_be_visible()
    assert_accessible(login)
    phone = room.console("binh", 390, 844)
    expect(phone.locator(f"[data-testid=row][data-asset='{LEVEL}']")).to_be_visible()
    assert_accessible(phone)
    picture(phone, "console-phone-list")
    phone.locator(f"[data-testid=row][data-asset='{LEVEL}']").click()
    expect(phone.locator("[data-testid=ack]")).to_be_visible()
    assert_accessible(phone)
    picture(phone, "console-phone-detail")
    wide = phone.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0
    box = phone.locator("[data-testid=ack]").bounding_box()
    assert box is not None
    assert box["height"] >= 44
    desk = room.console("an")
    expect(desk.locator(f"[data-testid=row][data-asset='{LEVEL}']")).to_be_visible()
    assert_accessible(desk)
    picture(desk, "console-list")


def test_the_quarantine_shows_what_could_not_be_taken(room: Room) -> None:
    with Publisher(room.mosquitto.url) as publisher:
        publisher.publish(f"ioc/v1/{LEVEL}", b'{"v": NaN}')
        publisher.publish("ioc/v1/disaster/nowhere/water_level", b"1")
    client = room.instance.login("an")
    items = until(
        lambda: i if len(i := client.get("/api/v1/quarantine").json()["items"]) == 2 else None, 10, "both"
    )
    assert {i["reason"] for i in items} == {"not_finite", "unknown_series"}
    until(
        lambda: (
            {f["source"]: f["rejected"] for f in client.get("/api/v1/feeds").json()["items"]}["mqtt"] == 2
        ),
        10,
        "the feed's count of them",
    )
