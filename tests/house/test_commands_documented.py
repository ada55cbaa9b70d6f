"""Every `ioc` command stands in the documentation, and the documentation's index leads to every page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from ioc.cli import app


def commands(command: Any, path: str) -> Iterator[str]:
    """The full name of every command that does something."""
    below = getattr(command, "commands", None)
    if below is None:
        yield path
    else:
        for name, part in below.items():
            yield from commands(part, f"{path} {name}")


def test_every_command_is_documented(root: Path) -> None:
    text = "\n".join(file.read_text("utf-8") for file in sorted((root / "docs").glob("**/*.md")))
    names = list(commands(typer.main.get_command(app), "ioc"))
    assert len(names) > 5
    assert not [name for name in names if not re.search(rf"\b{re.escape(name)}\b", text)]


def test_the_commands_page_names_no_command_that_does_not_exist(root: Path) -> None:
    names = set(commands(typer.main.get_command(app), "ioc"))
    page = (root / "docs/commands.md").read_text("utf-8")
    for row in re.findall(r"^\| (`ioc .+?) \|", page, re.M):
        for shown in re.findall(r"`(ioc [^`]+)`", row):
            words = [word for word in shown.split() if word.islower()]
            assert " ".join(words) in names, shown


def test_the_index_leads_to_every_page(root: Path) -> None:
    docs = root / "docs"
    linked = {
        (docs / target).resolve()
        for target in re.findall(r"\]\(([^)#:]+)", (docs / "index.md").read_text("utf-8"))
    }
    assert {page.resolve() for page in docs.glob("*.md") if page.name != "index.md"} <= linked


def test_links_between_the_pages_lead_somewhere(root: Path) -> None:
    pages = [*(root / "docs").glob("**/*.md"), *root.glob("*.md")]
    broken = [
        f"{page.relative_to(root)}: {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text("utf-8"))
        if not (page.parent / target).exists()
    ]
    assert not broken, "\n".join(broken)
