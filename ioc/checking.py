"""What `ioc check` says of one pack: its rules, the memory they need, and how its tests come out."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from ioc import trial
from ioc.config import Config
from ioc.errors import PackFaults
from ioc.pack import Pack, beyond
from ioc.rules.engine import Engine


def check_one(folder: Path, settings: Config, out: Console) -> bool:
    """Print what a pack holds and needs; whether its tests pass. Raises PackError."""
    loaded = Pack.read(folder, settings.verdict)
    if faults := beyond(loaded, int(settings.log.retention_days * 86_400_000_000)):
        raise PackFaults(faults)
    tests = trial.read(folder)
    report = trial.run(loaded, tests)
    numbers = {series: number for number, series in enumerate(loaded.registry.series)}
    engine = Engine(loaded.registry, {}, numbers)
    engine.rebuild(loaded.registry, loaded.rules, numbers, 0, loaded.planned, loaded.utc_offset_us)
    table = Table("Quy tắc / Rule", "Loại / Kind", "Chuỗi / Series", "Trạng thái / State", "Kiểm thử / Tests")
    for rule in loaded.rules.values():
        selector = getattr(rule, "series", None)
        matched = sum(selector.matches(s) for s in loaded.registry.series.values()) if selector else 0
        state = "bật / on" if rule.enabled else "[dim]tắt / off[/]"
        if rule.enabled and rule.mode == "shadow":
            state = "chạy thử / shadow"
        mine = sum(rule.id in case.rules for _, _, case in tests)
        table.add_row(
            f"{rule.title.vi}\n[dim]{rule.id}[/]", rule.kind, str(matched) if selector else "–", state, str(mine or "–"),
        )  # fmt: skip
    out.print(table)
    needs = engine.memory()
    for name, (count, each) in needs.items():
        out.print(f"  {name}: {count} × {each:,} byte", highlight=False)
    total = sum(count * each for count, each in needs.values())
    out.print(f"Bộ nhớ của quy tắc / Memory of the rules: {total / 2**20:.1f} MiB", highlight=False)
    for failure in report.failures:
        out.print(f"[bold red]✗[/] {failure.file}:{failure.line}: {failure.name}", highlight=False)
        for title, lines in (("phải có / expected", failure.expected), ("đã có / said", failure.said)):
            out.print(f"    {title}:", highlight=False)
            for line in lines or ("(không có gì / nothing)",):
                out.print(f"      {line}", highlight=False)
    if tests:
        passed = report.run - len(report.failures)
        out.print(f"{passed}/{report.run} kiểm thử đạt / tests pass.", highlight=False)
        for title, rules in (
            ("Chưa có kiểm thử nào làm kêu / No test fires", report.never_fired),
            ("Chưa có kiểm thử nào phải im / No test that must not fire", report.never_quiet),
        ):
            if rules:
                out.print(f"[yellow]![/] {title}: {', '.join(rules)}", highlight=False)
    out.print(
        f"{loaded.file.title.vi}: {len(loaded.registry.stations)} trạm / stations, {len(loaded.registry.series)} "
        f"chuỗi / series, {len(loaded.rules)} quy tắc / rules. "
        + (
            f"{len(report.failures)} kiểm thử KHÔNG ĐẠT / tests FAIL."
            if report.failures
            else "Hợp lệ / Valid."
        ),
        highlight=False,
    )
    return not report.failures
