"""Runs the benchmarks (`make bench`) and keeps what they print, with the machine, in benchmarks/results/.

    python benchmarks/run.py                 all of them
    python benchmarks/run.py rules log       some, by name

A benchmark is a file `bench_NAME.py` that prints one JSON object. Its result is written to `DATE-NAME.json`, raw, to be
committed as it is; a second run on the same day replaces the first. The rows that it names (`rows.py`) go into
`latest.json`, beside those of earlier runs, and the whole table is printed at the end. A benchmark that fails is named
and the others go on; the exit code is then 1.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from machine import ROOT, describe
from rows import finished, merge, shown

HERE = Path(__file__).resolve().parent
TIMEOUT_S = 1_800


class BenchmarkFailed(Exception):
    """A benchmark gave no result."""


def found(folder: Path) -> dict[str, Path]:
    """Every benchmark by its name."""
    return {file.stem.removeprefix("bench_"): file for file in sorted(folder.glob("bench_*.py"))}


def measure(file: Path, timeout_s: float) -> dict[str, Any]:
    """Run one in a process of its own, so that none warms or burdens another. Raises BenchmarkFailed."""
    # The project, installed or not, and the real services that the tests set up.
    places = (str(ROOT), str(ROOT / "tests"), str(HERE), os.environ.get("PYTHONPATH", ""))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, places))}
    begun = time.monotonic()
    # A session of its own: what it has started ends with it, even when it takes too long.
    process = subprocess.Popen(
        [sys.executable, str(file)], cwd=ROOT, env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        said, complained = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired as error:
        raise BenchmarkFailed(f"not done after {timeout_s:.0f} s") from error
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if process.returncode:
        raise BenchmarkFailed(f"exit {process.returncode}\n{complained.strip()[-2_000:]}")
    try:
        result = json.loads(said)
    except ValueError as error:
        raise BenchmarkFailed(f"did not print one JSON object: {said[:200]!r}") from error
    return {"seconds": round(time.monotonic() - begun, 2), "result": result}


def main() -> int:
    """The exit code: 0 if all of them gave a result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="some of: " + ", ".join(found(HERE)))
    parser.add_argument("--folder", type=Path, default=HERE, help="where the benchmarks lie")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    parser.add_argument(
        "--timeout", type=float, default=TIMEOUT_S, metavar="S", help="for each (%(default)s)"
    )
    given = parser.parse_args()
    benchmarks = found(given.folder)
    if unknown := set(given.names) - set(benchmarks):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are: {', '.join(benchmarks)}")
    given.results.mkdir(parents=True, exist_ok=True)
    failed, rows = [], []
    for name in given.names or benchmarks:
        machine = describe()
        print(f"{name} …", end=" ", flush=True)
        try:
            measured = measure(benchmarks[name], given.timeout)
        except BenchmarkFailed as error:
            failed.append(name)
            print(f"failed: {error}")
            continue
        date = f"{datetime.now(UTC):%Y-%m-%d}"
        rows += [finished(row, date) for row in measured["result"].get("rows", ())]
        file = given.results / f"{date}-{name}.json"
        whole = {"benchmark": name, "machine": machine, **measured}
        file.write_text(json.dumps(whole, indent=2, ensure_ascii=False) + "\n", "utf-8")
        print(f"{measured['seconds']} s → {file}")
    if rows:
        print("\n" + shown(merge(given.results / "latest.json", rows, describe())))
    if failed:
        print(f"without a result: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
