"""The whole of `ioc backtest`: what was asked, read, run, scored and put into words."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from ioc.backtest import data, labels, report
from ioc.backtest.data import DataError, Readings
from ioc.backtest.run import Run, paced, run
from ioc.backtest.score import DAY_US, Comparison, Score, compare, document
from ioc.config import Config
from ioc.errors import ConfigError
from ioc.model.event import Event
from ioc.pack import Pack
from ioc.storage.rows import FIRST_US, LAST_US
from ioc.yamlfile import duration_us

Told = Callable[[str, int, int], None]
"""Progress: of what, how much is done, of how much (0 unknown)."""
_READING: Final = "Đọc / Reading"
_RUNNING: Final = "Chạy / Running"
_BEFORE: Final = "So với / Against"


@dataclass(frozen=True, slots=True)
class Asked:
    """What stands on the command line."""

    pack: Path
    since: str = ""
    until: str = ""
    against: Path | None = None
    data: Path | None = None
    labels: Path | None = None
    tolerance: str = "6h"
    rules: tuple[str, ...] = ()
    all_rules: bool = False
    pace: str = "pack"


@dataclass(frozen=True, slots=True)
class Result:
    """What came of it, ready to be shown."""

    score: Score
    old: Score | None
    comparison: Comparison | None

    def shown(self) -> Iterator[Table | str]:
        """For a terminal."""
        return report.tables(self.score, self.old, self.comparison)

    def json(self) -> str:
        """All of it."""
        return (
            json.dumps(document(self.score, self.old, self.comparison), ensure_ascii=False, indent=1) + "\n"
        )

    def html(self) -> str:
        """The page."""
        return report.html(self.score, self.old, self.comparison)


def show(
    asked: Asked, settings: Config, json_file: Path | None, html_file: Path | None, out: Console, err: Console
) -> None:
    """Carry it out with a progress bar on `err`, print the tables on `out` and write the files that were asked for.

    Raises what `carry_out` does, and ConfigError for a file that cannot be written.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err) as bar:
        task = bar.add_task("")

        def told(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total or None)

        result = carry_out(asked, settings, told)
    for part in result.shown():
        out.print(part, highlight=False)
    for path, text in ((json_file, result.json), (html_file, result.html)):
        if path is not None:
            try:
                path.write_text(text(), "utf-8")
            except OSError as error:
                raise ConfigError(f"{path}: cannot be written: {error.strerror}") from error
            out.print(f"Đã ghi / Written: {path}", highlight=False, soft_wrap=True)


def carry_out(asked: Asked, settings: Config, told: Told = lambda what, done, total: None) -> Result:
    """Raises PackError, ConfigError (DataError too) and StoreUnavailable."""
    pack = Pack.read(asked.pack, settings.verdict)
    before = Pack.read(asked.against, settings.verdict) if asked.against is not None else None
    since_us, until_us = (
        _moment(option, text, pack.utc_offset_us)
        for option, text in (("--from", asked.since), ("--to", asked.until))
    )
    if since_us is not None and until_us is not None and since_us >= until_us:
        raise ConfigError("--from must lie before --to")
    tolerance_us = _tolerance(asked.tolerance)
    happened = None
    if asked.labels is not None:
        happened = labels.read(asked.labels)
        labels.check(asked.labels, happened, [pack] if before is None else [pack, before])
    if asked.pace not in ("pack", "data"):
        raise ConfigError(f"--pace is pack or data, not {asked.pace!r}")
    readings, events = _history(asked, settings, since_us, until_us, told)

    def judged(one: Pack, only: Sequence[str], what: str) -> Run:
        return run(
            paced(one, readings) if asked.pace == "data" else one,
            readings,
            events=events,
            only=only,
            everything=asked.all_rules,
            until_us=until_us,
            tell=lambda done, total: told(what, done, total),
        )

    score = Score(judged(pack, asked.rules, _RUNNING), happened, tolerance_us, asked.pace == "data")
    if before is None:
        return Result(score, None, None)
    known = [rule for rule in asked.rules if rule in before.rules]
    if asked.rules and not known:
        # The rules that were asked about are new.
        then = replace(score.run, pack=before, rules={}, changes=())
    else:
        then = judged(before, known, _BEFORE)
    old = Score(then, happened, tolerance_us)
    return Result(score, old, compare(score, old))


def _history(
    asked: Asked, settings: Config, since_us: int | None, until_us: int | None, told: Told
) -> tuple[Readings, list[Event]]:
    def tell(done: int, total: int) -> None:
        told(_READING, done, total)

    if asked.data is None:
        dsn = settings.database.dsn.get_secret_value()
        if not dsn:
            raise ConfigError(
                "there is no history: name files with --data, or a database in the settings (database.dsn)"
            )
        first_us, last_us = (
            FIRST_US if since_us is None else since_us,
            LAST_US if until_us is None else until_us,
        )
        return asyncio.run(data.stored(dsn, first_us, last_us, tell)), []
    readings = data.read(asked.data, tell)
    if not len(readings):
        raise DataError(f"{asked.data}: holds no reading")
    readings = readings.between(since_us, until_us)
    events = data.read_events(asked.data) if asked.data.is_dir() else []
    return readings, [
        event
        for event in events
        if (since_us is None or event.received_us >= since_us)
        and (until_us is None or event.received_us < until_us)
    ]


def _moment(option: str, text: str, utc_offset_us: int) -> int | None:
    """A moment; without an offset it is the pack's local time, without a time the begin of that day."""
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise ConfigError(
            f"{option}: not a time: {text!r}; write 2024-09-01 or 2024-09-01T07:00:00+07:00"
        ) from error
    if moment.tzinfo is not None:
        us = round(moment.timestamp() * 1_000_000)
    else:
        us = round(moment.replace(tzinfo=UTC).timestamp() * 1_000_000) - utc_offset_us
    if not -DAY_US <= us <= data.END_US:
        raise ConfigError(f"{option}: {text!r} is not within 1970 to 2099")
    return us


def _tolerance(text: str) -> int:
    try:
        return duration_us(text)
    except ValueError as error:
        raise ConfigError(f"--tolerance: {error}") from error
