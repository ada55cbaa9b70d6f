"""Letting a rule count that was only tried: one word of one file, everything else of it as it was written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ioc.errors import IocError


class NotPromotable(IocError):
    """The rule is not in shadow, or its file is written in a way that only a person can change."""


def promoted(files: Mapping[str, str], rule: str) -> tuple[str, str]:
    """The file that has the rule, by name, and its text with `mode: live` in place of `mode: shadow`.

    Comments and layout stay. Raises NotPromotable.
    """
    for name in sorted(files):
        if not name.startswith("rules/"):
            continue
        node = yaml.compose(files[name], Loader=yaml.SafeLoader)
        mode = _mode(node, rule)
        if mode is None:
            continue
        if mode.value != "shadow":
            raise NotPromotable(f"{name}: rule {rule!r} is not in shadow")
        text = files[name]
        changed = f"{text[: mode.start_mark.index]}live{text[mode.end_mark.index :]}"
        if _data(changed) != _live(yaml.safe_load(text), rule):
            raise NotPromotable(f"{name}: the mode of {rule!r} is shared with others; change it by hand")
        return name, changed
    raise NotPromotable(f"no file says of rule {rule!r} that it is in shadow")


def in_folder(folder: Path, rule: str) -> Path:
    """The same to a pack on disk, whose file is replaced whole. Raises NotPromotable and OSError."""
    files = {path.relative_to(folder).as_posix(): path for path in sorted((folder / "rules").glob("*.yaml"))}
    name, text = promoted({name: path.read_text("utf-8") for name, path in files.items()}, rule)
    new = files[name].with_suffix(".tmp")
    new.write_text(text, "utf-8")
    new.chmod(files[name].stat().st_mode & 0o777)
    new.replace(files[name])
    return files[name]


def _mode(node: yaml.Node | None, rule: str) -> yaml.ScalarNode | None:
    """Where a file says the mode of a rule."""
    rules = _entries(node).get("rules")
    for one in rules.value if isinstance(rules, yaml.SequenceNode) else ():
        entries = _entries(one)
        mode = entries.get("mode")
        if getattr(entries.get("id"), "value", None) == rule and isinstance(mode, yaml.ScalarNode):
            return mode
    return None


def _entries(node: yaml.Node | None) -> dict[str, yaml.Node]:
    if not isinstance(node, yaml.MappingNode):
        return {}
    return {key.value: value for key, value in node.value if isinstance(key, yaml.ScalarNode)}


def _data(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return None


def _live(data: Any, rule: str) -> Any:
    return {**data, "rules": [{**one, "mode": "live"} if one["id"] == rule else one for one in data["rules"]]}
