"""The soak of `make long`: `benchmarks/soak.py` for an hour at half the measured limit, its row kept beside the others.

IOC_SOAK_SECONDS and IOC_SOAK_RATE shorten or slow it for a try; such a try writes into the test's own folder.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.long, pytest.mark.services, pytest.mark.whole]


def test_an_hour_at_half_the_limit(tmp_path: Path) -> None:
    options = []
    if seconds := os.environ.get("IOC_SOAK_SECONDS"):
        options += ["--seconds", seconds, "--results", str(tmp_path)]
    if rate := os.environ.get("IOC_SOAK_RATE"):
        options += ["--rate", rate]
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "soak.py", *options],
        capture_output=True,
        text=True,
        check=False,
    )
    print(done.stdout)
    assert done.returncode == 0, f"{done.stdout}{done.stderr[-2000:]}"
