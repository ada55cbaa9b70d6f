"""What a newcomer meets first: make says in a sentence what is missing, and its targets are what CI and people expect."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make on this machine")


@pytest.fixture
def house(root: Path, tmp_path: Path) -> Path:
    """A folder with the Makefile and the lock, and no environment yet."""
    for name in ("Makefile", "requirements.lock", "pyproject.toml", "hatch_build.py"):
        shutil.copy(root / name, tmp_path / name)
    return tmp_path


def python_that(house: Path, script: str) -> str:
    file = house / "python"
    file.write_text(f"#!/bin/sh\n{script}\n", "utf-8")
    file.chmod(0o755)
    return f"PYTHON={file}"


def make(house: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", *args], cwd=house, capture_output=True, text=True, check=False)


def test_an_old_python_is_named_and_refused(house: Path) -> None:
    old = python_that(house, 'case "$1" in -V) echo Python 3.9.2;; *) exit 1;; esac')
    done = make(house, ".venv", old)
    assert done.returncode
    assert "is Python 3.9.2; Python 3.11 or newer is needed" in done.stderr


def test_a_python_without_venv_says_which_package_brings_it(house: Path) -> None:
    done = make(house, ".venv", python_that(house, 'case "$*" in *ensurepip*) exit 1;; esac'))
    assert done.returncode
    assert "apt-get install python3-venv" in done.stderr


def test_no_python_at_all_is_said(house: Path) -> None:
    done = make(house, ".venv", "PYTHON=no-such-python")
    assert done.returncode
    assert "there is no 'no-such-python' here" in done.stderr


def test_help_lists_every_target_that_people_use(house: Path) -> None:
    listed = set(re.findall(r"^  make (\S+)", make(house, "help").stdout, re.M))
    assert {".venv", "ui", "demo", "test", "check", "bench", "long", "lock", "clean", "help"} <= listed


def test_targets_that_are_no_files_are_phony(house: Path) -> None:
    text = (house / "Makefile").read_text("utf-8")
    phony = set(" ".join(re.findall(r"^\.PHONY:(.*)$", text, re.M)).split())
    assert set(re.findall(r"^([a-z.-]+):(?!=)", text, re.M)) == phony


def test_the_quick_check_leaves_out_every_marked_test(house: Path) -> None:
    markers = tomllib.loads((house / "pyproject.toml").read_text("utf-8"))["tool"]["pytest"]["ini_options"][
        "markers"
    ]
    quick = re.search(r"^QUICK := (.+)$", (house / "Makefile").read_text("utf-8"), re.M)
    assert quick
    assert set(re.findall(r"not (\w+)", quick[1])) == {marker.split(":")[0] for marker in markers}
