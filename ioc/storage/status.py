"""How the projection fares, as a small file that the monitor reads: it runs in a process of its own."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

State = Literal["ok", "lagging", "down"]


@dataclass(frozen=True, slots=True)
class ProjectionStatus:
    """`applied` and `applied_seq` are how far input and output have been applied; `at_us` when this was written."""

    state: State
    applied: int
    applied_seq: int
    detail: str
    at_us: int


def write_status(path: Path, status: ProjectionStatus) -> None:
    """Replace the file whole, so that no reader sees half of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(asdict(status), ensure_ascii=False), "utf-8")
    temporary.replace(path)
