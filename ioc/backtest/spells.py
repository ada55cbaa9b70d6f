"""Spells: from the onset of a rule on an asset to its end, as the changes of a run tell them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ioc.model.change import Change, ChangeKind

_RISES = frozenset({ChangeKind.ONSET, ChangeKind.LEVEL_UP})


@dataclass(slots=True)
class Spell:
    """One alarm. Times are when it was told; `event_us` is that of the sample which raised it.

    `end_us` is None while it is open at the end of the run. `level` and `priority` are the highest level and the most
    urgent priority that it had; `said` each time that it sounded, as (time, level, priority).
    """

    rule: str
    asset: str
    begin_us: int
    event_us: int
    level: int
    priority: int
    value: float
    end_us: int | None = None
    said: list[tuple[int, int, int]] = field(default_factory=list)

    def until(self, end_us: int) -> int:
        """When it ended, or the end of the run."""
        return end_us if self.end_us is None else self.end_us


def spells(changes: Iterable[Change]) -> list[Spell]:
    """Every alarm, by its begin, then rule and asset."""
    out: list[Spell] = []
    open_: dict[tuple[str, str], Spell] = {}
    for change in changes:
        about = (change.rule, change.asset)
        spell = open_.get(about)
        if change.kind is ChangeKind.ONSET:
            spell = Spell(
                change.rule, change.asset, change.now_us, change.event_us, change.level, change.priority, change.value
            )  # fmt: skip
            open_[about] = spell
            out.append(spell)
        elif spell is None:
            continue
        elif change.kind in (ChangeKind.CLEAR, ChangeKind.RULE_REMOVED):
            spell.end_us = change.now_us
            del open_[about]
        if change.kind in _RISES:
            spell.level = max(spell.level, change.level)
            spell.priority = min(spell.priority, change.priority)
            spell.said.append((change.now_us, change.level, change.priority))
    return sorted(out, key=lambda spell: (spell.begin_us, spell.rule, spell.asset))


def by_rule(found: Sequence[Spell], rules: Iterable[str]) -> dict[str, list[Spell]]:
    """The spells of each rule, in their order; rules without any too."""
    out: dict[str, list[Spell]] = {rule: [] for rule in rules}
    for spell in found:
        out[spell.rule].append(spell)
    return out
