"""`make bench`: what a benchmark prints is kept whole, with the machine; one that fails is named and harms no other."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).resolve().parents[2] / "benchmarks" / "run.py"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "bench_good.py").write_text("import json\nprint(json.dumps({'p99_ms': 1.5}))\n")
    return tmp_path


def bench(folder: Path, *names: str, timeout: str = "30") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(RUN), *names, "--folder", str(folder), "--timeout", timeout]
    return subprocess.run(
        [*command, "--results", str(folder / "results")], capture_output=True, text=True, check=False
    )


def results(folder: Path) -> dict[str, object]:
    return {
        file.stem.split("-")[-1]: json.loads(file.read_text()) for file in (folder / "results").glob("*.json")
    }


def test_a_result_is_kept_with_the_machine_it_was_made_on(folder: Path) -> None:
    assert bench(folder).returncode == 0
    (kept,) = results(folder).values()
    assert isinstance(kept, dict)
    assert kept["benchmark"] == "good"
    assert kept["result"] == {"p99_ms": 1.5}
    assert {"at", "commit", "cpu", "cores", "memory_gib", "kernel", "python", "libraries"} <= set(
        kept["machine"]
    )


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("raise SystemExit('no disk')", "no disk"),
        ("print('fast')", "did not print one JSON object"),
        ("while True: pass", "not done after 1 s"),
    ],
)
def test_a_benchmark_that_fails_is_named_and_the_others_go_on(folder: Path, script: str, reason: str) -> None:
    (folder / "bench_bad.py").write_text(script + "\n")
    done = bench(folder, timeout="1")
    assert done.returncode == 1
    assert reason in done.stdout
    assert "without a result: bad" in done.stderr
    assert list(results(folder)) == ["good"]


def test_an_unknown_name_is_refused_with_the_ones_there_are(folder: Path) -> None:
    done = bench(folder, "nope")
    assert done.returncode == 2
    assert "there are: good" in done.stderr
