"""The processes of a measurement: they say "ready" and then answer lines with lines; what they cost, from /proc."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path


def cache_folder() -> Path:
    """Where built and downloaded things are kept, outside the tree."""
    folder = Path(
        os.environ.get("IOC_BENCH_CACHE") or Path(tempfile.gettempdir()) / f"ioc-bench-{os.getuid()}"
    )
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise SystemExit(f"{folder} belongs to somebody else; set IOC_BENCH_CACHE")
    return folder


def pinned(cpu: int | None) -> list[str]:
    """What to put before a command so that it, with all its threads and children, stays on one processor."""
    if cpu is None:
        return []
    if shutil.which("taskset") is None:
        raise SystemExit("one-core rows need `taskset` (util-linux)")
    return ["taskset", "-c", str(cpu)]


class Child:
    """One process that is told lines and answers lines."""

    def __init__(
        self, command: Sequence[str], *, cpu: int | None = None, env: Mapping[str, str] | None = None
    ) -> None:
        self.command = [*pinned(cpu), *command]
        self.process = subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
        )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def tell(self, line: str) -> None:
        """Give it a line."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def hear(self, timeout_s: float) -> str:
        """Its next line. Raises TimeoutError, or ChildProcessError if it has ended."""
        assert self.process.stdout is not None
        # It says one line at a time, so nothing waits in Python's own buffer.
        if not select.select([self.process.stdout], [], [], timeout_s)[0]:
            raise TimeoutError(f"no word within {timeout_s:.0f} s from {' '.join(self.command)}")
        line = self.process.stdout.readline()
        if not line:
            raise ChildProcessError(f"ended with {self.process.wait()}: {' '.join(self.command)}")
        return line.rstrip("\n")

    def ask(self, line: str, timeout_s: float = 30.0) -> str:
        """Give it a line and take its answer."""
        self.tell(line)
        return self.hear(timeout_s)

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


def family(pid: int) -> list[int]:
    """A process and all below it."""
    out = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for below in task.read_text().split():
            out += family(int(below))
    return out


def cpu_s(pids: Iterable[int]) -> float:
    """CPU seconds that these processes have used so far."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def resident_mib(pid: int) -> float:
    """Memory of one process that is in RAM."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return round(int(line.split()[1]) / 1024, 1)
    return 0.0
