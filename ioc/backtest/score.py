"""What a run would have meant for the room: how many alarms, how they came, how long they stood; and against what really
happened.

*Said* counts what sounds: each onset and each rise to a higher level, with the priority it then had. More than ten of
these within ten minutes are more than one operator can follow (the bound of EEMUA 191); an alarm chatters
that comes three times and more within a minute.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Final

import numpy as np

from ioc.backtest import labels
from ioc.backtest.labels import Fit, Happened, Places
from ioc.backtest.run import Run
from ioc.backtest.spells import Spell, by_rule, spells
from ioc.model.batch import I64
from ioc.rules.kernels import Index

VERSION: Final = 1
"""Of the JSON document; keys are added without a new one, never taken away."""
PERIOD_US: Final = 600_000_000
PERIOD_MOST: Final = 10
CHATTER_TIMES: Final = 3
CHATTER_US: Final = 60_000_000
DAY_US: Final = 86_400_000_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one rule, or of all together. `by_priority`: alarms by the most urgent priority each had, 1 to 4."""

    alarms: int
    said: int
    by_priority: tuple[int, int, int, int]
    per_day: float
    repeats: int
    """Onsets within ten minutes of the last one of the same rule on the same asset."""
    chattering: int
    """How many assets had one rule come three times and more within a minute."""
    in_alarm_us: int
    open: int

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "alarms": self.alarms,
            "said": self.said,
            "by_priority": {str(i + 1): n for i, n in enumerate(self.by_priority)},
            "per_day": round(self.per_day, 3),
            "repeats_10min": self.repeats,
            "chattering": self.chattering,
            "in_alarm_s": self.in_alarm_us / 1e6,
            "open_at_end": self.open,
        }


@dataclass(frozen=True)
class Score:
    """One run with all that follows from it. `events` None: nothing is known of what happened."""

    run: Run
    events: Sequence[Happened] | None = None
    tolerance_us: int = labels.TOLERANCE_US
    paced: bool = False
    """Whether sparse series were waited for as they lie in the data."""

    @cached_property
    def spells(self) -> list[Spell]:
        """Every alarm by its begin."""
        return spells(self.run.changes)

    @cached_property
    def by_rule(self) -> dict[str, list[Spell]]:
        """The alarms of each rule that was asked about."""
        return by_rule(self.spells, self.run.rules)

    @property
    def days(self) -> float:
        """How long the run is; a minute at the least."""
        return max(self.run.end_us - self.run.begin_us, 60_000_000) / DAY_US

    def in_shadow(self, rule: str) -> bool:
        """Whether a rule is only on trial: it makes no alarm in the room, so it is in no total."""
        return rule in self.run.rules and self.run.rules[rule].mode == "shadow"

    @cached_property
    def counted(self) -> list[Spell]:
        """The alarms of the rules that are not on trial."""
        return [spell for spell in self.spells if not self.in_shadow(spell.rule)]

    @cached_property
    def total(self) -> Figures:
        """All rules together, but those on trial."""
        return self._figures(self.counted)

    @cached_property
    def figures(self) -> dict[str, Figures]:
        """Of each rule."""
        return {rule: self._figures(found) for rule, found in self.by_rule.items()}

    def _figures(self, found: Sequence[Spell]) -> Figures:
        begins: dict[tuple[str, str], list[int]] = {}
        for spell in found:
            begins.setdefault((spell.rule, spell.asset), []).append(spell.begin_us)
        said = sum(len(spell.said) for spell in found)
        by_priority = [sum(spell.priority == p for spell in found) for p in (1, 2, 3, 4)]
        return Figures(
            len(found),
            said,
            (by_priority[0], by_priority[1], by_priority[2], by_priority[3]),
            said / self.days,
            sum(b - a <= PERIOD_US for times in begins.values() for a, b in itertools.pairwise(times)),
            sum(map(chatters, begins.values())),
            sum(spell.until(self.run.end_us) - spell.begin_us for spell in found),
            sum(spell.end_us is None for spell in found),
        )

    @cached_property
    def _said(self) -> tuple[I64, Index]:
        """When each thing was said, and with which priority; rules on trial say nothing."""
        said = sorted((us, priority) for spell in self.counted for us, _, priority in spell.said)
        return np.array([us for us, _ in said], np.int64), np.array([p for _, p in said], np.int64)

    @cached_property
    def daily(self) -> dict[str, tuple[int, int, int, int]]:
        """Local day → how often something was said with each priority; days without too."""
        when_us, priority = self._said
        offset_us = self.run.pack.utc_offset_us
        first, last = ((us + offset_us) // DAY_US for us in (self.run.begin_us, self.run.end_us))
        count = np.zeros((last - first + 1, 4), np.int64)
        np.add.at(count, ((when_us + offset_us) // DAY_US - first, priority - 1), 1)
        return {
            f"{_EPOCH + timedelta(days=first + i):%Y-%m-%d}": (int(a), int(b), int(c), int(d))
            for i, (a, b, c, d) in enumerate(count)
        }

    @cached_property
    def periods(self) -> Index:
        """How often something was said in each ten minutes, the first with the begin of the run; (n,)."""
        first = self.run.begin_us // PERIOD_US
        size = self.run.end_us // PERIOD_US - first + 1
        return np.bincount(self._said[0] // PERIOD_US - first, minlength=size).astype(np.int64)

    @cached_property
    def fits(self) -> dict[str, Fit]:
        """Each rule against what happened; nothing without labels."""
        if self.events is None:
            return {}
        events = labels.within(self.events, self.run.begin_us, self.run.end_us)
        named = {rule for event in self.events for rule in event.label.rules}
        places = Places(self.run.pack)
        return {
            name: labels.fit(
                rule, self.by_rule[name], events, name in named, places, self.run.end_us, self.tolerance_us
            )
            for name, rule in self.run.rules.items()
        }

    @cached_property
    def found(self) -> dict[str, tuple[int, int]]:
        """Kind of event → how many any rule found that is not on trial, and how many there were."""
        if self.events is None:
            return {}
        hit = {one.event for rule, fit in self.fits.items() if not self.in_shadow(rule) for one in fit.hits}
        out: dict[str, tuple[int, int]] = {}
        for event in labels.within(self.events, self.run.begin_us, self.run.end_us):
            had, of = out.get(event.label.kind, (0, 0))
            out[event.label.kind] = had + (event.label.id in hit), of + 1
        return dict(sorted(out.items()))

    def document(self) -> dict[str, Any]:
        """All of it as JSON; the form stands in docs/backtest.md."""
        run, periods = self.run, self.periods
        over = int((periods > PERIOD_MOST).sum())
        worst = int(periods.argmax())
        return {
            "version": VERSION,
            "pack": {"id": run.pack.file.id, "hash": run.pack.hash},
            "from": rfc3339(run.begin_us),
            "to": rfc3339(run.end_us),
            "days": round(self.days, 4),
            "readings": run.readings,
            "series": run.series,
            "unknown_series": dict(run.strangers),
            "series_without_data": list(run.silent),
            "sparse_series": list(run.sparse),
            "total": self.total.document(),
            "periods_10min": {
                "all": len(periods),
                "over_10": over,
                "share": round(over / len(periods), 6),
                "worst": {
                    "at": rfc3339((run.begin_us // PERIOD_US + worst) * PERIOD_US),
                    "said": int(periods[worst]),
                },
            },
            "daily": [
                {"day": day, **{str(i + 1): n for i, n in enumerate(counts)}} for day, counts in self.daily.items()
            ],
            "rules": {name: self._rule_document(name) for name in run.rules},
            "events": None if self.events is None else {
                kind: {"found": found, "of": of} for kind, (found, of) in self.found.items()
            },
            "alarms": [alarm_document(spell) for spell in self.spells],
        }  # fmt: skip

    def _rule_document(self, name: str) -> dict[str, Any]:
        rule = self.run.rules[name]
        return {
            "title": {"vi": rule.title.vi, "en": rule.title.en},
            "kind": rule.kind,
            "mode": rule.mode,
            "enabled_in_pack": self.run.pack.rules[name].enabled,
            **self.figures[name].document(),
            "fit": labels.document(self.fits[name]) if self.events is not None else None,
        }


def chatters(begins_us: Sequence[int]) -> bool:
    """Whether onsets, in order, came three times and more within a minute."""
    ahead = begins_us[CHATTER_TIMES - 1 :]
    return any(last - first <= CHATTER_US for first, last in zip(begins_us, ahead, strict=False))


def alarm_document(spell: Spell) -> dict[str, Any]:
    """One alarm as JSON."""
    return {
        "rule": spell.rule,
        "asset": spell.asset,
        "from": rfc3339(spell.begin_us),
        "to": None if spell.end_us is None else rfc3339(spell.end_us),
        "event_time": rfc3339(spell.event_us),
        "level": spell.level,
        "priority": spell.priority,
        "value": spell.value if math.isfinite(spell.value) else None,
        "said": [
            {"at": rfc3339(us), "level": level, "priority": priority} for us, level, priority in spell.said
        ],
    }


def rfc3339(us: int) -> str:
    """UTC, with a fraction only where there is one."""
    text = (_EPOCH + timedelta(microseconds=us)).isoformat()
    return text.removesuffix("+00:00") + "Z"


def local(us: int, utc_offset_us: int) -> str:
    """A moment as people of the pack's zone write it."""
    return f"{_EPOCH + timedelta(microseconds=us + utc_offset_us):%d/%m/%Y %H:%M}"


@dataclass(frozen=True, slots=True)
class Differing:
    """One alarm that two runs have in common, but not as it came."""

    new: Spell
    old: Spell


@dataclass(frozen=True, slots=True)
class Comparison:
    """What would change: alarms of the new rules alone, of the old ones alone, of both alike, of both but otherwise."""

    added: tuple[Spell, ...]
    gone: tuple[Spell, ...]
    same: tuple[Spell, ...]
    differing: tuple[Differing, ...]

    def counts(self, rule: str) -> tuple[int, int, int, int]:
        """Of one rule: added, gone, same, differing."""
        return (
            sum(s.rule == rule for s in self.added),
            sum(s.rule == rule for s in self.gone),
            sum(s.rule == rule for s in self.same),
            sum(d.new.rule == rule for d in self.differing),
        )

    @property
    def rules(self) -> list[str]:
        """Those of which anything was said by either."""
        every = [*self.added, *self.gone, *self.same, *(d.new for d in self.differing)]
        return sorted({spell.rule for spell in every})

    def document(self) -> dict[str, Any]:
        """As JSON."""
        keys = ("only_new", "only_old", "same", "differing")
        return {
            "rules": {rule: dict(zip(keys, self.counts(rule), strict=True)) for rule in self.rules},
            "only_new": [alarm_document(spell) for spell in self.added],
            "only_old": [alarm_document(spell) for spell in self.gone],
            "differing": [
                {"new": alarm_document(d.new), "old": alarm_document(d.old)} for d in self.differing
            ],
        }


def compare(new: Score, old: Score) -> Comparison:
    """Alarms of one rule on one asset are the same alarm when they stand at the same time; each has one counterpart, the
    first that it meets."""
    theirs: dict[tuple[str, str], list[Spell]] = {}
    for spell in old.spells:
        theirs.setdefault((spell.rule, spell.asset), []).append(spell)
    added, same, differing = [], [], []
    for spell in new.spells:
        left = theirs.get((spell.rule, spell.asset), [])
        met = next((one for one in left if _meet(spell, new, one, old)), None)
        if met is None:
            added.append(spell)
            continue
        left.remove(met)
        if spell.end_us == met.end_us and spell.said == met.said:
            same.append(spell)
        else:
            differing.append(Differing(spell, met))
    gone = sorted(
        (spell for left in theirs.values() for spell in left), key=lambda s: (s.begin_us, s.rule, s.asset)
    )
    return Comparison(tuple(added), tuple(gone), tuple(same), tuple(differing))


def _meet(one: Spell, its: Score, other: Spell, theirs: Score) -> bool:
    return one.begin_us <= other.until(theirs.run.end_us) and other.begin_us <= one.until(its.run.end_us)


def document(score: Score, old: Score | None, comparison: Comparison | None) -> Mapping[str, Any]:
    """The whole report as JSON; `against` is None without a second pack."""
    out = score.document()
    out["against"] = None
    if old is not None and comparison is not None:
        before = old.document()
        kept = ("pack", "total", "periods_10min")
        out["against"] = {**{key: before[key] for key in kept}, **comparison.document()}
    return out
