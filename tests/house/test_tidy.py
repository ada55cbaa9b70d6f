"""House rules that a reviewer would otherwise have to look for in every change."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

LINES_MAX = 600

# In pieces, so that this file does not contain what it looks for.
MACHINE_FOLDERS = ("work", "root", "home", "farm")
MACHINE_PATH = re.compile(r"(?:^|[^\w.~:/-])/(?:" + "|".join(MACHINE_FOLDERS) + r")/[A-Za-z.]", re.MULTILINE)
REGISTRIES = ("npm" + "js", "python" + "hosted", "py" + "pi.org", "yarn" + "pkg", "maven" + ".org")
REGISTRY_ADDRESS = re.compile(r"[\w.-]*(?:" + "|".join(re.escape(r) for r in REGISTRIES) + r")[\w.]*")


def in_folder(path: Path, root: Path, *folders: str) -> bool:
    return path.relative_to(root).parts[0] in folders


def listed(found: list[str], advice: str = "") -> str:
    """The whole list: pytest would shorten it."""
    return "\n".join([advice, *found])


def places(pattern: re.Pattern[str], path: Path, text: str, root: Path) -> Iterator[str]:
    for match in pattern.finditer(text):
        line = text.count("\n", 0, match.end()) + 1
        yield f"{path.relative_to(root)}:{line}: {match[0].strip()}"


def test_no_file_is_longer_than_a_reader_can_hold(texts: dict[Path, str], root: Path) -> None:
    long = [
        f"{path.relative_to(root)}: {count} lines"
        for path, text in texts.items()
        if path.suffix in (".py", ".ts") and in_folder(path, root, "ioc", "simulators", "ui")
        and (count := text.count("\n")) > LINES_MAX
    ]  # fmt: skip
    assert not long, listed(long, "is there a second noun in them?")


def test_every_module_says_what_it_owns(texts: dict[Path, str], root: Path) -> None:
    """Test files are left out: each mirrors a module, and its test names are the specification."""
    silent = [
        str(path.relative_to(root))
        for path, text in texts.items()
        if path.suffix == ".py" and not path.name.startswith("test_")
        and not ast.get_docstring(ast.parse(text, str(path)))
    ]  # fmt: skip
    assert not silent, listed(silent)


def test_tests_do_not_sleep(texts: dict[Path, str], root: Path) -> None:
    sleeping = [
        f"{path.relative_to(root)}:{line}"
        for path, text in texts.items()
        if path.name.startswith("test_") and path.suffix == ".py"
        for line in sleeps(ast.parse(text, str(path)))
    ]
    assert not sleeping, listed(
        sleeping, "wait for a condition with a deadline, or pass the time as an argument"
    )


def sleeps(tree: ast.AST) -> Iterator[int]:
    """The lines that sleep; `asyncio.sleep(0)` only lets others run and is none."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in ("time", "asyncio"):
            if any(alias.name == "sleep" for alias in node.names):
                yield node.lineno
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            of = node.func.value
            if node.func.attr == "sleep" and isinstance(of, ast.Name) and of.id in ("time", "asyncio"):
                first = node.args[0] if node.args else None
                if not (isinstance(first, ast.Constant) and first.value == 0):
                    yield node.lineno


def test_no_file_names_a_path_of_somebodys_machine(texts: dict[Path, str], root: Path) -> None:
    found = [p for path, text in texts.items() for p in places(MACHINE_PATH, path, text, root)]
    assert not found, listed(found)


def test_no_file_names_a_package_registry(texts: dict[Path, str], root: Path) -> None:
    found = [p for path, text in texts.items() for p in places(REGISTRY_ADDRESS, path, text, root)]
    assert not found, listed(found, "lock files are made without addresses: make lock")


def test_nothing_is_left_for_later(texts: dict[Path, str], root: Path) -> None:
    words = re.compile(r"\b(?:" + "|".join(("TO" + "DO", "FIX" + "ME", "X" * 3, "HA" + "CK")) + r")\b")
    found = [
        place
        for path, text in texts.items()
        if in_folder(path, root, "ioc", "simulators", "ui", "benchmarks", "tests", "deploy")
        and path.suffix in (".py", ".ts", ".sql", ".sh", ".css", ".html")
        for place in places(words, path, text, root)
    ]
    assert not found, listed(found)


def test_no_large_file_is_tracked(files: list[Path], root: Path) -> None:
    large = {str(path.relative_to(root)): size for path in files if (size := path.stat().st_size) > 1_000_000}
    assert not large, "generated or of a third party? then it does not belong here"


def test_scripts_can_be_run(root: Path) -> None:
    for name in (".ci/run", "deploy/mosquitto-start.sh", "deploy/kafka-start.sh"):
        assert (root / name).stat().st_mode & 0o111, name
