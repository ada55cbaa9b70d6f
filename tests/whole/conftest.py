"""Instances that end with their test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.instance import Instance


@pytest.fixture
def new_instance(tmp_path: Path) -> Iterator[Callable[..., Instance]]:
    """`new_instance("name", pack, mqtt_url, IOC_…="…")`; nothing is started yet."""
    made: list[Instance] = []

    def new(name: str, pack: Path, mqtt_url: str, **settings: Any) -> Instance:
        folder = tmp_path / name
        folder.mkdir()
        instance = Instance(folder, pack, mqtt_url, **settings)
        made.append(instance)
        return instance

    yield new
    for instance in made:
        instance.close()
