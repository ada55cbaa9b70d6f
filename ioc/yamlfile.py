"""YAML that people write, checked by pydantic, with errors that name file, line and path."""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ValidationError

from ioc.errors import PackError

M = TypeVar("M", bound=BaseModel)
Path = tuple[Any, ...]

# libyaml's parser, where the wheel has it, gives the same nodes and marks ten times as fast.
_LOADER: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_UNITS_US = {"us": 1, "ms": 1_000, "s": 1_000_000, "min": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(us|ms|s|min|h|d)")


def duration_us(value: object) -> int:
    """`"90s"`, `"1h 30min"` → microseconds. Raises ValueError with the accepted forms."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f"a duration is written like 30s, 10min, 6h or 2d, not {value!r}")
    text = str(value).strip()
    if text == "0":
        return 0
    parts = _DURATION.findall(text)
    if not parts or _DURATION.sub("", text).strip():
        raise ValueError(f"a duration is written like 30s, 10min, 6h or 2d, not {text!r}")
    return sum(round(float(number) * _UNITS_US[unit]) for number, unit in parts)


Duration = Annotated[int, BeforeValidator(duration_us)]
"""Microseconds, written as text with units."""


def parse(text: str, file: str) -> tuple[Any, dict[Path, int]]:
    """The document as plain data, and the 1-based line of every path in it. Raises PackError."""
    try:
        root = yaml.compose(text, Loader=_LOADER)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        reason = getattr(error, "problem", None) or str(error)
        raise PackError(file, mark.line + 1 if mark else 0, "", f"not YAML: {reason}") from error
    lines: dict[Path, int] = {}
    loader = yaml.SafeLoader("")
    try:
        return (_build(root, (), lines, file, loader) if root is not None else {}), lines
    finally:
        loader.dispose()


def _build(node: yaml.Node, path: Path, lines: dict[Path, int], file: str, loader: yaml.SafeLoader) -> Any:
    line = node.start_mark.line + 1
    lines.setdefault(path, line)
    if isinstance(node, yaml.MappingNode):
        out: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key: Hashable = loader.construct_object(key_node)
            key_line = key_node.start_mark.line + 1
            if key in out:
                raise PackError(file, key_line, dotted((*path, key)), "this key stands twice")
            lines[(*path, key)] = key_line
            out[key] = _build(value_node, (*path, key), lines, file, loader)
        return out
    if isinstance(node, yaml.SequenceNode):
        return [_build(item, (*path, i), lines, file, loader) for i, item in enumerate(node.value)]
    return loader.construct_object(node)


def dotted(path: Path) -> str:
    """`("rules", 2, "levels", 1)` → `rules[2].levels[1]`."""
    out = ""
    for part in path:
        out += f"[{part}]" if isinstance(part, int) else (f".{part}" if out else str(part))
    return out


def line_of(lines: dict[Path, int], path: Path) -> int:
    """The line of a path, or of its nearest ancestor that has one."""
    for end in range(len(path), -1, -1):
        if path[:end] in lines:
            return lines[path[:end]]
    return 0


def load(model: type[M], text: str, file: str) -> tuple[M, dict[Path, int]]:
    """One file as a model and its lines. Raises PackError at the first fault."""
    data, lines = parse(text, file)
    try:
        return model.model_validate(data), lines
    except ValidationError as error:
        # A key that nobody knows explains more than the one that it leaves missing.
        faults = sorted(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")
        fault = faults[0]
        known = _known(data, tuple(fault["loc"]), missing=fault["type"] == "missing")
        reason = (
            "this key is unknown"
            if fault["type"] == "extra_forbidden"
            else fault["msg"].removeprefix("Value error, ")
        )
        raise PackError(file, line_of(lines, known), dotted(known), reason) from error


def _known(data: Any, path: Path, *, missing: bool) -> Path:
    """The path without pydantic's own parts (union tags and the like); a last key that is missing stays."""
    out: list[Any] = []
    for i, part in enumerate(path):
        keys = {str(k): k for k in data} if isinstance(data, dict) else {}
        if isinstance(data, dict) and (part in data or str(part) in keys):
            key = part if part in data else keys[str(part)]
            out.append(key)
            data = data[key]
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            out.append(part)
            data = data[part]
        elif missing and i == len(path) - 1 and isinstance(data, dict):
            out.append(part)
    return tuple(out)
