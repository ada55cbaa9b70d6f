"""YAML that people write, checked by pydantic, with errors that name file, line and path: all of them at once.

Lines are looked up only when a fault must be told: a sound file is read without them, many times as fast.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import gc
import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path as Folder
from typing import Annotated, Any, Final, Generic, TypeVar

import msgspec
import yaml
from pydantic import BaseModel, BeforeValidator, ValidationError, WithJsonSchema

from ioc import __version__
from ioc.errors import PackError, PackFaults

M = TypeVar("M", bound=BaseModel)
Path = tuple[Any, ...]

_BASE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's parser, where the wheel has it, gives the same nodes and marks ten times as fast."""
_STR: Final = "tag:yaml.org,2002:str"
_EXPANDED_MAX: Final = 20
"""How many times its length in nodes a text may mean: aliases of aliases could stand for billions."""
CACHED_FROM: Final = 64 * 1024
"""Letters from which a file's plain data is worth keeping."""
_CACHED_MAX: Final = 256

_UNITS_US = {"us": 1, "ms": 1_000, "s": 1_000_000, "min": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}
_DURATION_SCHEMA = r"^\s*(\d+(\.\d+)?\s*(us|ms|s|min|h|d)\s*)+$"
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


Duration = Annotated[
    int,
    BeforeValidator(duration_us),
    WithJsonSchema(
        {
            "anyOf": [{"type": "string", "pattern": _DURATION_SCHEMA}, {"const": 0}],
            "description": "like 30s, 10min, 6h, 2d or 1h 30min",
        }
    ),
]
"""Microseconds, written as text with units."""


class Lines:
    """Where the parts of one text stand; worked out at the first question."""

    def __init__(self, text: str) -> None:
        self._text = text

    @functools.cached_property
    def _of(self) -> dict[Path, int]:
        out: dict[Path, int] = {}
        with contextlib.suppress(yaml.YAMLError, _Unbuildable):
            _note(_compose(self._text), (), out)
        return out

    def of(self, path: Path) -> int:
        """The 1-based line of a path, or of its nearest ancestor that has one; 0 where there is none."""
        for end in range(len(path), -1, -1):
            if path[:end] in self._of:
                return self._of[path[:end]]
        return 0


def line_of(lines: Lines, path: Path) -> int:
    """The line of a path in a text."""
    return lines.of(path)


class _Loader(_BASE):  # type: ignore[misc]
    """Finds the tag of a plain scalar once for each text of it: a pack says the same words over and over."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._tags: dict[str, str] = {}

    def resolve(self, kind: type, value: Any, implicit: Any) -> str:
        """The tag that a node without one bears."""
        if kind is not yaml.ScalarNode or not implicit[0]:
            return str(super().resolve(kind, value, implicit))
        tag = self._tags.get(value)
        if tag is None:
            tag = self._tags[value] = str(super().resolve(kind, value, implicit))
        return tag


def _compose(text: str) -> yaml.Node | None:
    loader = _Loader(text)
    try:
        node: yaml.Node | None = loader.get_single_node()
        return node
    finally:
        loader.dispose()


def _note(node: yaml.Node | None, path: Path, out: dict[Path, int]) -> None:
    if node is None:
        return
    out.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        for key_node, value_node in node.value:
            key = _scalar(key_node) if isinstance(key_node, yaml.ScalarNode) else None
            out.setdefault((*path, key), key_node.start_mark.line + 1)
            _note(value_node, (*path, key), out)
    elif isinstance(node, yaml.SequenceNode):
        for i, item in enumerate(node.value):
            _note(item, (*path, i), out)


class _Unbuildable(Exception):
    """A node of which no plain data can be made."""


def _scalar(node: yaml.ScalarNode) -> Any:
    """The value of a scalar. Raises _Unbuildable."""
    if node.tag == _STR:
        return node.value
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_object(node)
    except (yaml.YAMLError, ValueError, TypeError, OverflowError) as error:
        raise _Unbuildable(getattr(error, "problem", None) or str(error)) from error
    finally:
        loader.dispose()


class _Plain:
    """Nodes → plain data. Every scalar text that is no string is constructed once."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Any] = {}

    def of(self, node: yaml.Node) -> Any:
        """Raises _Unbuildable; a key that stands twice is that, too."""
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        if isinstance(node, yaml.SequenceNode):
            return [self.of(item) for item in node.value]
        out: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise _Unbuildable
            out[self._scalar(key_node)] = self.of(value_node)
        if len(out) != len(node.value):
            raise _Unbuildable
        return out

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        if node.tag == _STR:
            return node.value
        key = (node.tag, node.value)
        if key not in self._known:
            self._known[key] = _scalar(node)
        return self._known[key]


def _unbuildable(node: yaml.Node, path: Path, file: str) -> Iterator[PackError]:
    """Every reason why no plain data can be made of these nodes, each with its place."""
    line = node.start_mark.line + 1
    if isinstance(node, yaml.ScalarNode):
        try:
            _scalar(node)
        except _Unbuildable as error:
            yield PackError(file, line, dotted(path), f"not YAML: {error}")
    elif isinstance(node, yaml.SequenceNode):
        for i, item in enumerate(node.value):
            yield from _unbuildable(item, (*path, i), file)
    else:
        seen: set[Any] = set()
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            try:
                key = _scalar(key_node) if isinstance(key_node, yaml.ScalarNode) else None
                if key is None:
                    raise _Unbuildable("a key must be a word or a number")
            except _Unbuildable as error:
                yield PackError(file, line, dotted(path), f"not YAML: {error}")
                continue
            if key in seen:
                yield PackError(file, line, dotted((*path, key)), "this key stands twice: keep one of them")
            seen.add(key)
            yield from _unbuildable(value_node, (*path, key), file)


def _expanded(node: yaml.Node, sizes: dict[int, int]) -> int:
    """Of how many nodes a node consists, those behind aliases counted each time. Raises ValueError for a circle."""
    known = sizes.get(id(node))
    if known is not None:
        if not known:
            raise ValueError("an alias (*) stands within what it stands for")
        return known
    sizes[id(node)] = 0
    total = 1
    if isinstance(node, yaml.MappingNode):
        total += sum(_expanded(key, sizes) + _expanded(value, sizes) for key, value in node.value)
    elif isinstance(node, yaml.SequenceNode):
        total += sum(_expanded(item, sizes) for item in node.value)
    sizes[id(node)] = total
    return total


def parse(text: str, file: str, cache: Folder | None = None) -> Any:
    """The document as plain data; where `cache` is a folder, large ones are kept there. Raises PackFaults."""
    if cache is None or len(text) < CACHED_FROM:
        return _parse(text, file)
    path = cache / f"{_key(text)}.parsed"
    kept = _kept(path)
    if kept is not None:
        return kept[0]
    data = _parse(text, file)
    _keep(path, data)
    return data


def _parse(text: str, file: str) -> Any:
    try:
        with uncollected():
            root = _compose(text)
            if root is None:
                return {}
            if "&" in text and _expanded(root, {}) > _EXPANDED_MAX * len(text):
                raise ValueError("its aliases (*) stand for too much")
            try:
                return _Plain().of(root)
            except _Unbuildable:
                raise PackFaults(list(_unbuildable(root, (), file))) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        reason = getattr(error, "problem", None) or str(error)
        raise PackFaults(
            [PackError(file, mark.line + 1 if mark else 0, "", f"not YAML: {reason}")]
        ) from error
    except (ValueError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else str(error)
        raise PackFaults([PackError(file, 0, "", f"not YAML that can be read: {reason}")]) from error


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Without the cyclic collector: it would look again and again through a million nodes of which all are needed."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _key(text: str) -> str:
    return hashlib.sha256(f"{__version__} {yaml.__version__}\n{text}".encode()).hexdigest()


def _kept(path: Folder) -> tuple[Any] | None:
    """What was kept, whole and as it was written; None for anything else."""
    try:
        content = path.read_bytes()
        if hashlib.sha256(content[32:]).digest() != content[:32]:
            return None
        with uncollected():
            return (msgspec.msgpack.decode(memoryview(content)[32:]),)
    except (OSError, msgspec.MsgspecError, ValueError):
        return None


def _keep(path: Folder, data: Any) -> None:
    """Keep plain data that comes back exactly; where that cannot be, the next start parses again."""
    try:
        content = msgspec.msgpack.encode(data)
        if msgspec.msgpack.decode(content) != data:
            return
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        beside = path.with_suffix(f".{os.getpid()}")
        beside.write_bytes(hashlib.sha256(content).digest() + content)
        beside.replace(path)
        aged = sorted(path.parent.glob("*.parsed"), key=lambda p: p.stat().st_mtime, reverse=True)
        for old in aged[_CACHED_MAX:]:
            old.unlink(missing_ok=True)
    except (OSError, msgspec.MsgspecError, OverflowError, TypeError):
        return


def dotted(path: Path) -> str:
    """`("rules", 2, "levels", 1)` → `rules[2].levels[1]`."""
    out = ""
    for part in path:
        out += f"[{part}]" if isinstance(part, int) else (f".{part}" if out else str(part))
    return out


def load(model: type[M], text: str, file: str, cache: Folder | None = None) -> tuple[M, Lines]:
    """One file as a model and its lines. Raises PackFaults with everything that is wrong with it."""
    data, lines = parse(text, file, cache), Lines(text)
    try:
        return model.model_validate(data), lines
    except ValidationError as error:
        raise PackFaults([fault for _, fault in _faults(error, data, lines, file)]) from error


@dataclass(frozen=True, slots=True)
class Listed(Generic[M]):
    """A file whose one key holds a list: the items that are sound, each with its place in the list.

    `broken` are the ids of the others; None where the file itself could not be read, so that nobody knows.
    """

    file: str
    items: tuple[tuple[int, M], ...]
    lines: Lines
    faults: tuple[PackError, ...]
    broken: frozenset[str] | None = frozenset()


def listed(
    model: type[BaseModel], key: str, text: str, file: str, cache: Folder | None = None
) -> Listed[Any]:
    """The file's sound items, and everything that is wrong with the others."""
    lines = Lines(text)
    try:
        data = parse(text, file, cache)
    except PackError as error:
        return Listed(file, (), lines, error.faults, None)
    try:
        return Listed(file, tuple(enumerate(getattr(model.model_validate(data), key))), lines, ())
    except ValidationError as error:
        found = _faults(error, data, lines, file)
    faults = tuple(fault for _, fault in found)
    wrong = {path[1] for path, _ in found if len(path) > 1 and path[0] == key}
    if not all(len(path) > 1 and path[0] == key for path, _ in found):
        return Listed(file, (), lines, faults, None)
    sound = [i for i in range(len(data[key])) if i not in wrong]
    items = getattr(model.model_validate({key: [data[key][i] for i in sound]}), key)
    ids = frozenset(
        str(item.get("id")) for i in wrong if isinstance(item := data[key][i], dict) and "id" in item
    )
    return Listed(file, tuple(zip(sound, items, strict=True)), lines, faults, ids)


def _faults(error: ValidationError, data: Any, lines: Lines, file: str) -> list[tuple[Path, PackError]]:
    """What pydantic found, in the words and at the places of the file."""
    told = error.errors(include_url=False, include_context=False, include_input=False)
    found = [(_known(data, tuple(e["loc"]), missing=e["type"] == "missing"), e) for e in told]
    missing = {path for path, e in found if e["type"] == "missing"}
    meant: set[Path] = set()
    out: dict[tuple[Path, str], PackError] = {}
    for path, e in found:
        reason = e["msg"].removeprefix("Value error, ")
        if e["type"] == "extra_forbidden":
            reason = "this key is unknown"
            others = [str(p[-1]) for p in missing if p[:-1] == path[:-1]]
            if close := difflib.get_close_matches(str(path[-1]), others, 1, 0.45):
                # A key that nobody knows explains more than the one that it leaves missing.
                meant.add((*path[:-1], close[0]))
                reason += f": is {close[0]} meant?"
        elif e["type"] == "missing":
            reason = "this key is missing"
        elif _of_another_form(path, e["type"], found):
            continue
        out.setdefault((path, reason), PackError(file, lines.of(path), dotted(path), reason))
    return [(path, fault) for (path, _), fault in out.items() if path not in meant]


def _of_another_form(path: Path, kind: str, found: Sequence[tuple[Path, Any]]) -> bool:
    """Whether a fault only says that a part is not of a form that it did not mean to have: of two forms that may
    stand there, that is the one which explains less."""
    if not kind.endswith(("_type", "_parsing")):
        return False
    deeper = any(len(other) > len(path) and other[: len(path)] == path for other, _ in found)
    return deeper or (kind == "model_type" and any(p == path and e["type"] != kind for p, e in found))


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
