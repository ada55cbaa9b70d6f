"""A real Chromium for end-to-end tests, with pictures kept under `artefacts/`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright
from services.common import cannot_be_had

ARTEFACTS = Path(__file__).resolve().parents[2] / "artefacts"
AXE = Path(__file__).resolve().parents[2] / "ui" / "node_modules" / "axe-core" / "axe.min.js"
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--no-first-run",
]  # fmt: skip
OVERFLOW = """() => {
  const root = document.documentElement;
  return [root.scrollWidth - root.clientWidth, root.scrollHeight - root.clientHeight];
}"""


@contextlib.contextmanager
def browser(executable: str) -> Iterator[Browser]:
    """One Chromium."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        try:
            yield chromium
        finally:
            chromium.close()


def new_page(chromium: Browser, width: int, height: int, **options: Any) -> Page:
    """A page of its own session, in Vietnam; errors of the page fail the test at `clean`."""
    context = chromium.new_context(
        viewport={"width": width, "height": height}, locale="vi-VN", timezone_id="Asia/Ho_Chi_Minh", **options
    )
    page = context.new_page()
    page.set_default_timeout(15_000)
    return page


def picture(page: Page, name: str) -> Path:
    """Keep a picture, to be looked at beside the mock."""
    ARTEFACTS.mkdir(exist_ok=True)
    path = ARTEFACTS / f"{name}.png"
    # Without the blinking, so that two pictures of the same room are alike.
    page.emulate_media(reduced_motion="reduce")
    page.screenshot(path=path)
    page.emulate_media(reduced_motion="no-preference")
    return path


def assert_no_overflow(page: Page) -> None:
    wide, high = page.evaluate(OVERFLOW)
    assert wide <= 0, f"{wide} px too wide"
    assert high <= 0, f"{high} px too high"


def assert_accessible(page: Page) -> None:
    """axe-core finds nothing. It is injected past the page's CSP by the test, not by the page."""
    if not AXE.is_file():
        cannot_be_had("axe-core", "ui/node_modules is not there: make ui")
    page.evaluate(AXE.read_text("utf-8"))
    found = page.evaluate("() => axe.run(document)")
    assert [(v["id"], [n["target"] for n in v["nodes"]]) for v in found["violations"]] == []
