"""A real Chromium for Playwright: the host's, or Debian's headless shell installed where we are root."""

from __future__ import annotations

import os
import shutil
import subprocess

from services.common import cannot_be_had

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
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        for command in (["update"], ["install", "-y", "--no-install-recommends", *PACKAGES]):
            done = subprocess.run(
                ["apt-get", "-qq", *command],
                env=environment,
                capture_output=True,
                text=True,
                check=False,
                timeout=600,
            )
            if done.returncode:
                cannot_be_had("Chromium", f"apt-get {command[0]} failed: {done.stderr}")
        found = _found()
    return found or cannot_be_had("Chromium", "it is not installed, and only root may install it")


def _found() -> str | None:
    return next((path for name in PROGRAMS if (path := shutil.which(name))), None)
