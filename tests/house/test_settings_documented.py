"""`deploy/ioc.toml.example` shows every setting, with its default and a word about it, and loads when uncommented."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from ioc import config

WITHOUT_A_FIXED_DEFAULT = {"pack"} | {
    f"{feed}.{file}" for feed in ("mqtt", "kafka") for file in ("ca_file", "cert_file", "key_file")
}
"""Where the example shows a value that is no default: the one depends on where it is installed, the other is none."""


@pytest.fixture
def uncommented(root: Path) -> str:
    text = (root / "deploy/ioc.toml.example").read_text("utf-8")
    return re.sub(r"^#(?=[a-z_]+ = )", "", text, flags=re.M)


def settings(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from settings(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name


def keys(table: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in table.items():
        if isinstance(value, dict):
            yield from keys(value, f"{prefix}{name}.")
        else:
            yield prefix + name


def test_every_setting_stands_in_the_example_and_nothing_else(uncommented: str) -> None:
    assert sorted(keys(tomllib.loads(uncommented))) == sorted(settings(config.Config))


def test_the_example_shows_the_defaults(
    uncommented: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("IOC_DATA", "IOC_MQTT__URL"):
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / "ioc.toml"
    file.write_text(uncommented, "utf-8")
    shown, default = config.read(file), config.read(None)

    def value(of: Any, key: str) -> Any:
        for name in key.split("."):
            of = getattr(of, name)
        return of

    assert shown.data == tmp_path / default.data
    for key in sorted(set(settings(config.Config)) - WITHOUT_A_FIXED_DEFAULT - {"data"}):
        assert value(shown, key) == value(default, key), key


def test_the_example_as_it_stands_changes_nothing(root: Path) -> None:
    assert not list(keys(tomllib.loads((root / "deploy/ioc.toml.example").read_text("utf-8"))))
