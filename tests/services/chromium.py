"""A real Chromium for Playwright: the host's, or Debian's headless shell installed where we are root."""

from __future__ import annotations

import shutil

from services.common import cannot_be_had, install

PROGRAMS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
PACKAGES = ("chromium-headless-shell", "fonts-noto-core", "fonts-noto-mono", "fonts-noto-color-emoji")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
"""What to start it with."""


def find_chromium() -> str:
    """Its path; installed first where it is absent and may be."""
    found = _found()
    if found is None:
        if why := install(PACKAGES):
            cannot_be_had("Chromium", why)
        found = _found()
    return found or cannot_be_had("Chromium", "it was installed, and is not there")


def _found() -> str | None:
    return next((path for name in PROGRAMS if (path := shutil.which(name))), None)
