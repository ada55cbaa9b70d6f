"""Rule tests as data: series and the changes that a pack's rules must make of them, in `tests/*.yaml` of the pack.

A test names the rules it looks at; what it expects is everything they say, in order, and nothing else. A rule is
tested as if it were enabled, so that one that waits for its source to be verified is known to work.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
from pydantic import Field, field_validator, model_validator

from ioc.errors import PackError
from ioc.ingest.order import Judgement, Order
from ioc.model.batch import Batch, Flag
from ioc.model.change import Change, ChangeKind
from ioc.model.inputs import SourceState
from ioc.pack import Pack
from ioc.registry import MAX_AGE_US, Registry, Slug
from ioc.rules.derive.base import Instance
from ioc.rules.engine import Engine
from ioc.rules.joint import facts_of
from ioc.rules.spec import JointRule, LimitRule, Model, Rule, StationLimit
from ioc.yamlfile import Duration, duration_us, line_of, load

SOURCE: Final = "test"
STEPS_MAX: Final = 100_000
_NUMBER: Final = r"-?\d+(?:\.\d+)?"
_TOKEN: Final = re.compile(
    rf"(?:(_)|({_NUMBER})(?:([+-]{_NUMBER.removeprefix('-?')}))?)(?:x(\d+))?([!?])?"
    r"(?:@([+-])(\d+(?:s|min|h|d)))?"
)

Step = tuple[float, int, int] | None
"""Value, flags, and how many microseconds its stamp is ahead of its coming; None where nothing comes."""


class Expected(Model):
    """One change: when (after the start), of which rule on which asset, and to which level."""

    at: Duration
    change: ChangeKind
    rule: Slug | None = None
    asset: str | None = None
    level: int | None = None
    priority: int | None = None


class Case(Model):
    """One test. `input`: series id → values at each `interval`, in promtool's notation. A series that the pack expects
    more often is taken to report at this interval, so that hours of a flood need no thousands of values.

    `79.5` a value, `79.5x3` it and three more like it, `79+0.5x4` five values rising by 0.5, `_` nothing comes,
    `_x5` six times nothing; `!` behind a value says bad quality, `?` uncertain; `@+7h`, `@-2h` behind it say that its
    stamp is so far ahead of its coming, or behind.
    """

    name: str
    rules: Annotated[tuple[Slug, ...], Field(min_length=1)]
    start: datetime.datetime = datetime.datetime(2024, 9, 8, tzinfo=datetime.UTC)
    interval: Annotated[Duration, Field(gt=0)]
    input: Annotated[dict[str, str], Field(min_length=1)]
    expect: tuple[Expected, ...] = ()
    until: Duration = 0
    """How long to wait after the last value, for what silence brings."""

    @field_validator("input")
    @classmethod
    def _values(cls, value: dict[str, str]) -> dict[str, str]:
        for series_id, text in value.items():
            try:
                steps(text)
            except ValueError as error:
                raise ValueError(f"{series_id}: {error}") from error
        return value

    @model_validator(mode="after")
    def _zone(self) -> Case:
        if self.start.tzinfo is None:
            raise ValueError("start needs its offset, as in 2024-09-08T00:00:00+07:00")
        return self


class TestsFile(Model):
    """`tests/*.yaml`."""

    tests: tuple[Case, ...]


@dataclass(frozen=True, slots=True)
class Failure:
    """A test that did not come out: what was expected and what was said, one line for each change."""

    file: str
    line: int
    name: str
    expected: tuple[str, ...]
    said: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """How the tests of one pack came out. `never_fired` and `never_quiet` are rules without such a test."""

    run: int
    failures: tuple[Failure, ...]
    never_fired: tuple[str, ...]
    never_quiet: tuple[str, ...]


def steps(text: str) -> list[Step]:
    """The values that a text stands for. Raises ValueError with what is wrong."""
    out: list[Step] = []
    for word in text.split():
        match = _TOKEN.fullmatch(word)
        if match is None:
            raise ValueError(
                f"{word!r} is none of 79.5, 79.5x3, 79+0.5x4, _, _x5 (with ! bad or ? uncertain, @+7h stamped ahead)"
            )
        nothing, first, by, more, mark, side, off = match.groups()
        count = int(more or 0) + 1
        if len(out) + count > STEPS_MAX:
            raise ValueError(f"more than {STEPS_MAX:,} values")
        if nothing:
            out += [None] * count
            continue
        flags = {"!": int(Flag.BAD), "?": int(Flag.UNCERTAIN)}.get(mark or "", 0)
        ahead_us = duration_us(off) * (-1 if side == "-" else 1) if off else 0
        # By decimal digits, so that 79+0.1x3 ends at the 79.3 that a limit is compared with.
        digits = max(_digits(first), _digits(by or "0"))
        out += [(round(float(first) + float(by or 0) * i, digits), flags, ahead_us) for i in range(count)]
    return out


def _digits(number: str) -> int:
    return len(number.partition(".")[2])


def read(folder: Path) -> list[tuple[str, int, Case]]:
    """Every test of a pack, with file and line. Raises PackError."""
    out = []
    for path in sorted((folder / "tests").glob("*.yaml")):
        name = path.relative_to(folder).as_posix()
        file, lines = load(TestsFile, path.read_text("utf-8"), name)
        for i, case in enumerate(file.tests):
            out.append((name, line_of(lines, ("tests", i)), case))
    return out


def run(pack: Pack, tests: Sequence[tuple[str, int, Case]]) -> Report:
    """Every test against the pack. Raises PackError where one names what the pack has not."""
    failures: list[Failure] = []
    fired: set[str] = set()
    quiet: set[str] = set()
    for file, line, case in tests:
        said = said_of(pack, case, file, line)
        wanted = [_line(case, e) for e in case.expect]
        found = [_told(case, e, c) for e, c in zip(_aligned(case.expect, said), said, strict=True)]
        if wanted != found:
            failures.append(
                Failure(file, line, case.name, tuple(wanted), tuple(_told(case, None, c) for c in said))
            )
            continue
        began = {c.rule for c in said if c.kind is ChangeKind.ONSET}
        fired |= began
        quiet |= set(case.rules) - began
    theirs = [rule.id for rule in pack.rules.values() if rule.kind != "system" and rule.kind != "source_down"]
    return Report(
        len(tests),
        tuple(failures),
        tuple(rule for rule in theirs if rule not in fired),
        tuple(rule for rule in theirs if rule not in quiet),
    )


def with_needed(rules: Mapping[str, Rule], chosen: Iterable[str]) -> list[str]:
    """Rules, in pack order, and those whose facts they ask for, by whatever way."""
    waiting, found = list(chosen), set[str]()
    while waiting:
        rule_id = waiting.pop()
        if rule_id in found:
            continue
        found.add(rule_id)
        rule = rules.get(rule_id)
        waiting += [fact.rule for _, fact in facts_of(rule)] if isinstance(rule, JointRule) else []
    return [rule_id for rule_id in rules if rule_id in found] + [r for r in found if r not in rules]


def said_of(pack: Pack, case: Case, file: str = "", line: int = 0) -> list[Change]:
    """What the rules of a test say of its series; those whose facts they ask for are run too, unheard."""
    rules = {rule: as_enabled(_known(pack, rule, file, line)) for rule in with_needed(pack.rules, case.rules)}
    columns = {series: steps(text) for series, text in case.input.items()}
    for series_id in columns:
        if series_id not in pack.registry.series:
            raise PackError(file, line, f"{case.name}: input", f"no series {series_id!r} in the pack")
    numbers = numbers_of(pack, columns)
    registry = _paced(pack.registry, numbers, case.interval)
    planned = tuple(
        replace(one, instances=tuple(_of(registry, instance) for instance in one.instances))
        for one in pack.planned
        if one.rule is None or one.rule in rules
    )
    order = Order(
        registry.columns(numbers),
        lateness_us=pack.settings.lateness,
        max_ahead_us=pack.settings.max_ahead,
        stamps_max=pack.settings.stamps_max,
    )
    start_us = round(case.start.timestamp() * 1e6)
    engine = Engine(registry, {}, numbers)
    engine.rebuild(registry, rules, numbers, start_us, planned, pack.utc_offset_us)
    said = engine.feed_source(SourceState(SOURCE, True, 1, ""), start_us)
    for now_us, batch in _batches(columns, numbers, start_us, case.interval):
        said += _deadlines(engine, now_us)
        judged = Judgement(order).judge(batch, now_us)
        order.feed(judged)
        said += engine.feed_batch(judged, now_us)
    last_us = start_us + max(map(len, columns.values())) * case.interval + case.until
    said += _deadlines(engine, last_us)
    return [change for change in said if change.rule in case.rules]


def _paced(registry: Registry, names: Iterable[str], interval_us: int) -> Registry:
    """The same stations, with none of these series expected more often than this."""
    paced = Registry((), registry.quantities)
    paced.stations = registry.stations
    paced.series = dict(registry.series)
    for name in names:
        series = registry.series[name]
        if series.interval_us < interval_us:
            gap_us = 3 * interval_us
            paced.series[name] = replace(
                series,
                interval_us=interval_us,
                stale_after_us=gap_us,
                max_age_us=max(MAX_AGE_US, gap_us),
                max_gap_us=gap_us,
            )
    return paced


def _of(registry: Registry, instance: Instance) -> Instance:
    """The same computed from, and given as, the series of this registry."""
    return replace(
        instance,
        inputs=tuple(series and registry.series[series.id] for series in instance.inputs),
        output=instance.output and registry.series[instance.output.id],
    )


def _batches(
    columns: Mapping[str, list[Step]], numbers: Mapping[str, int], start_us: int, interval_us: int
) -> Iterator[tuple[int, Batch]]:
    for step in range(max(map(len, columns.values()))):
        now_us = start_us + step * interval_us
        here = [
            (numbers[series], *value)
            for series, values in columns.items()
            if step < len(values) and (value := values[step]) is not None
        ]
        if here:
            series, value, flags, ahead_us = zip(*here, strict=True)
            came = np.full(len(here), now_us)
            yield (
                now_us,
                Batch.of(SOURCE, series, came + np.array(ahead_us), came, value, np.array(flags, np.uint16)),
            )


def _deadlines(engine: Engine, until_us: int) -> list[Change]:
    said: list[Change] = []
    while (due_us := engine.next_deadline_us(until_us)) <= until_us:
        said += engine.feed_deadlines(due_us)
    return said


def numbers_of(pack: Pack, inputs: Mapping[str, Any]) -> dict[str, int]:
    """Numbers for the series of a test and for all that is derived from them, by whatever way."""
    names = dict.fromkeys(inputs)
    for planned in pack.planned:
        for instance in planned.instances:
            needed = [series.id for series in instance.inputs if series is not None]
            if instance.output is not None and needed and any(name in names for name in needed):
                names.update(dict.fromkeys((*needed, instance.output.id)))
    return {name: number for number, name in enumerate(names)}


def _known(pack: Pack, rule: str, file: str, line: int) -> Rule:
    if rule not in pack.rules:
        raise PackError(file, line, "rules", f"no rule {rule!r} in the pack")
    return pack.rules[rule]


def as_enabled(rule: Rule) -> Rule:
    """The rule with all that its certainty keeps off switched on."""
    update: dict[str, Any] = {"enabled": True, "mode": "live"}
    if isinstance(rule, LimitRule):
        update["stations"] = {
            station: {
                level: limit.model_copy(update={"enabled": True})
                if isinstance(limit, StationLimit)
                else limit
                for level, limit in limits.items()
            }
            for station, limits in rule.stations.items()
        }
    return rule.model_copy(update=update)


def _aligned(expected: Sequence[Expected], said: Sequence[Change]) -> list[Expected | None]:
    return [expected[i] if i < len(expected) else None for i in range(len(said))]


def _line(case: Case, expected: Expected) -> str:
    """An expected change, with what it leaves open filled in where there is no choice."""
    rule = expected.rule or (case.rules[0] if len(case.rules) == 1 else "")
    asset = expected.asset or (next(iter(case.input)) if len(case.input) == 1 else "")
    return _text(expected.at, rule, asset, expected.change, expected.level, expected.priority)


def _told(case: Case, expected: Expected | None, change: Change) -> str:
    """A change in the same form, with no more said of it than the expected one says."""
    at_us = change.now_us - round(case.start.timestamp() * 1e6)
    level = change.level if expected is None or expected.level is not None else None
    priority = change.priority if expected is None or expected.priority is not None else None
    rule, asset = change.rule, change.asset
    if expected is not None:
        rule = rule if expected.rule or len(case.rules) == 1 else ""
        asset = asset if expected.asset or len(case.input) == 1 else ""
    return _text(at_us, rule, asset, change.kind, level, priority)


def _text(at_us: int, rule: str, asset: str, kind: str, level: int | None, priority: int | None) -> str:
    minutes, seconds = divmod(at_us / 1e6, 60)
    when = f"{minutes:.0f}min" + (f" {seconds:g}s" if seconds else "")
    parts = [f"at {when}", str(kind), rule, asset]
    if level is not None:
        parts.append(f"level {level}")
    if priority is not None:
        parts.append(f"priority {priority}")
    return "  ".join(part for part in parts if part)
