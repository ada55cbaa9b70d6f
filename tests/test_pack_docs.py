"""The pack in docs/packs.md is one: it can be read, and its tests pass."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ioc import trial
from ioc.pack import Pack, Settings

TEXT = (Path(__file__).resolve().parent.parent / "docs" / "packs.md").read_text("utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pack")
    for name, content in re.findall(r"```yaml\n# (\S+\.yaml)\n(.*?)```", TEXT, re.DOTALL):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content, "utf-8")
    return folder


def test_every_rule_of_the_examples_is_taken(folder: Path) -> None:
    pack = Pack.read(folder, Settings())
    written = set(
        re.findall(r"^\s+- \{?id: (\w+)", "".join(p.read_text("utf-8") for p in folder.glob("rules/*")), re.M)
    )
    assert written <= set(pack.rules)
    assert len(written) >= 8


def test_the_tests_of_the_examples_pass(folder: Path) -> None:
    tests = trial.read(folder)
    assert len(tests) == 2
    assert trial.run(Pack.read(folder, Settings()), tests).failures == ()
