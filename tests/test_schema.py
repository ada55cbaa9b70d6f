from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from ioc import schema

ROOT = Path(__file__).resolve().parent.parent
PACKS = sorted((ROOT / "packs").glob("*/pack.yaml"))


def faults(name: str, document: object) -> list[str]:
    """As an editor sees them: YAML's keys are text there."""
    plain = json.loads(json.dumps(document, default=str))
    return [e.message for e in jsonschema.Draft202012Validator(schema.schema(name)).iter_errors(plain)]


@pytest.mark.parametrize("name", schema.FILES)
def test_the_published_schema_is_the_one_of_this_build(name: str) -> None:
    published = ROOT / "docs" / "schema" / f"{name}.schema.json"
    assert published.read_text("utf-8") == schema.text(name), (
        "write them anew: ioc check --schema docs/schema"
    )


@pytest.mark.parametrize("pack", PACKS, ids=lambda path: path.parent.name)
def test_every_shipped_file_fits_its_schema(pack: Path) -> None:
    looked = 0
    for name in schema.FILES:
        files = [pack.parent / f"{name}.yaml", *(pack.parent / name).glob("*.yaml")]
        for file in filter(Path.exists, files):
            looked += 1
            assert faults(name, yaml.safe_load(file.read_text("utf-8"))) == [], file
    assert looked >= 4


def test_a_schema_finds_what_an_editor_should_mark() -> None:
    rule = {"id": "r", "kind": "no_data", "title": {"vi": "a", "en": "b"}, "priority": 2}
    assert faults("rules", {"rules": [rule]}) == []
    assert faults("rules", {"rules": [rule | {"priority": 9}]})
    assert faults("rules", {"rules": [rule | {"prioritaet": 2}]})
    assert faults("rules", {"rules": [rule | {"title": {"vi": "a"}}]})
    down = {"id": "d", "kind": "source_down", "title": {"vi": "a", "en": "b"}, "priority": 2, "after": "30s"}
    assert faults("rules", {"rules": [down]}) == []
    assert faults("rules", {"rules": [down | {"after": "30 seconds"}]})
