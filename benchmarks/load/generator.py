"""Builds `loadgen.c` once, outside the tree, and talks to it."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from child import Child, cache_folder

HERE = Path(__file__).resolve().parent
SOURCE = HERE / "loadgen.c"
FALLBACK = [sys.executable, str(HERE / "fallback.py")]


@cache
def program() -> list[str]:
    """The command that starts the generator: the C one, built when its source is new, or the Python one."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return FALLBACK
    name = hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]
    binary = cache_folder() / f"loadgen-{name}"
    if not binary.exists():
        # Renamed whole, so that two runs at once do not meet half a program.
        with tempfile.TemporaryDirectory(dir=binary.parent) as folder:
            built = Path(folder) / "loadgen"
            done = subprocess.run(
                [compiler, "-O2", "-o", built, SOURCE], capture_output=True, text=True, check=False
            )
            if done.returncode:
                print(
                    f"the C load generator cannot be built, the Python one is slower: {done.stderr[-300:]}",
                    file=sys.stderr,
                )
                return FALLBACK
            built.rename(binary)
    return [str(binary)]


class Load(Child):
    """One connection that readings go over; its stamps and its alerts' values rise over all its runs.

    `mode` is "publish" (to a broker on `port`) or "source" (the broker itself; its first subscriber makes it ready).
    `sent` gets the value and the moment (CLOCK_MONOTONIC, ns) of every reading above the limit.
    """

    def __init__(
        self, mode: str, port: int, *, qos: int = 0, series: int = 1_000, sent: Path | None = None, cpu: int | None = None,
        window: int = 2_000,
    ) -> None:  # fmt: skip
        options = ["--port", port, "--qos", qos, "--series", series, "--window", window]
        if sent is not None:
            options += ["--sent", sent]
        super().__init__([*program(), mode, *map(str, options)], cpu=cpu)

    def wait_ready(self, timeout_s: float = 30.0) -> None:
        """Until the broker has taken it, or somebody has subscribed."""
        assert self.hear(timeout_s) == "ready"

    def begin(self, rate: float, count: int) -> None:
        """Start a run; `rate` 0 is as fast as it goes."""
        self.tell(f"go {rate} {count}")

    def done(self, timeout_s: float) -> dict[str, Any]:
        """How the run went: sent, seconds, rate, worst_lag_ms, acked, alerts, begun_ns, ended_ns."""
        result: dict[str, Any] = json.loads(self.hear(timeout_s))
        assert not result["broken"], "the connection broke while readings were sent"
        return result

    def go(self, rate: float, count: int, timeout_s: float = 120.0) -> dict[str, Any]:
        """A whole run."""
        self.begin(rate, count)
        return self.done(timeout_s)
