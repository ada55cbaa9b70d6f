"""One version, wherever it is written, and the changelog speaks of it."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import yaml

import ioc


def test_the_version_is_the_same_everywhere(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    package = json.loads((root / "ui/package.json").read_text("utf-8"))
    compose = yaml.safe_load((root / "docker-compose.yml").read_text("utf-8"))
    assert project["version"] == ioc.__version__
    assert package["version"] == ioc.__version__
    for service in ("ioc", "simulators"):
        assert compose["services"][service]["image"] == f"ioc-monitor:{ioc.__version__}"


def test_the_changelog_has_the_version(root: Path) -> None:
    changelog = (root / "CHANGELOG.md").read_text("utf-8")
    versions = re.findall(r"^## \[([^]]+)\] - (unreleased|\d{4}-\d\d-\d\d)$", changelog, re.M)
    assert versions[0][0] == ioc.__version__
