"""What every test may use; the real services come from `services.plugin`."""

from __future__ import annotations

import importlib.util

import pytest

if importlib.util.find_spec("services") and importlib.util.find_spec("services.plugin"):
    pytest_plugins = ["services.plugin"]

ONE_BY_ONE = ("services", "browser", "root", "whole")
"""Markers of tests that share a service, a mount or the machine's attention: one process runs them all."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Spread over processes (`--dist loadgroup`), what runs one by one stays together."""
    for item in items:
        if any(item.get_closest_marker(name) for name in ONE_BY_ONE):
            item.add_marker(pytest.mark.xdist_group("one by one"))
