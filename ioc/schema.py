"""JSON Schemas of a pack's files, so that editors complete and check them while they are written.

`docs/schema/` holds what `write` makes; a test keeps the two equal. What needs other files (whether a series exists)
only `ioc check` can say.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

from ioc.pack import PackFile
from ioc.registry import QuantitiesFile, StationsFile
from ioc.rules.spec import DerivedFile, RulesFile

FILES: Final[dict[str, type[BaseModel]]] = {
    "pack": PackFile,
    "quantities": QuantitiesFile,
    "stations": StationsFile,
    "derived": DerivedFile,
    "rules": RulesFile,
}
"""By name of the file, or of the folder whose files have this form."""


def schema(name: str) -> dict[str, Any]:
    """The JSON Schema (2020-12) of one kind of file."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **FILES[name].model_json_schema()}


def text(name: str) -> str:
    """The same as it is published."""
    return json.dumps(schema(name), ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def write(folder: Path) -> None:
    """Every schema as `{name}.schema.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        (folder / f"{name}.schema.json").write_text(text(name), "utf-8")
